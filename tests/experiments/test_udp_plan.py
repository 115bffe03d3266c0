"""The plan of a load through a proxy: which targets it reads, what it refuses, and what it promises."""

from __future__ import annotations

import json
import pickle
from fractions import Fraction
from typing import Any

import pytest

from harness.experiments.udp_plan import LARGEST_DATAGRAM, Target, UdpPlan, parse_target
from harness.sysv.errors import PlanError

HERE = Target("127.0.0.1", 9999)

REFUSED: dict[str, tuple[dict[str, Any], str, str]] = {
    "another host": ({"target": Target("192.0.2.1", 9999)}, "not this machine's loopback", "--allow-remote"),
    "another host's name": ({"target": Target("example.org", 9999)}, "not this machine's loopback", "--allow-remote"),
    "another host in IPv6": ({"target": Target("2001:db8::1", 9)}, "not this machine's loopback", "--allow-remote"),
    "where a server listens": ({"target": Target("0.0.0.0", 9999)}, "not where it is reached", "udp://127.0.0.1:9999"),
    "a group": ({"target": Target("224.0.0.1", 9), "allow_remote": True}, "not one host's", "name the host"),
    "everybody": ({"target": Target("255.255.255.255", 9), "allow_remote": True}, "not one host's", "name the host"),
    "no end": ({"duration_s": None}, "either a duration or a count", "one of"),
    "two ends": ({"count": 5}, "either a duration or a count", "one of"),
    "no time": ({"duration_s": 0.0}, "cannot last 0 s", "--duration"),
    "no requests": ({"duration_s": None, "count": 0}, "0 requests are none", "--count"),
    "no rate": ({"rate": Fraction(0)}, "0 requests/s", "--rate"),
    "a rate beyond any": ({"rate": Fraction(10**7)}, "1e\\+07 requests/s", "--rate"),
    "warm-up backwards": ({"warmup_s": -1.0}, "cannot be negative", "0s"),
    "drain backwards": ({"drain_s": -1.0}, "cannot be negative", "0s"),
    "no repeat": ({"repeat": 0}, "0 repeats", "--repeat"),
    "nothing to send": ({"size": (0, 0)}, "is none", "--size"),
    "sizes upside down": ({"size": (64, 32)}, "is none", "--size"),
    "more than a datagram": ({"size": (32, LARGEST_DATAGRAM + 1)}, "more than a datagram holds", "--size"),
    "no sockets": ({"sockets": 0}, "0 sockets", "--sockets"),
    "many sockets": ({"sockets": 4097}, "4097 sockets", "--sockets"),
    "pipelined with times": ({"pipelined": True}, "contradict each other", "leave out"),
    "no time for a reply": ({"reply_timeout_s": 0.0}, "needs some time", "--reply-timeout"),
    "neither": ({"reply_timeout_s": None}, "contradict each other", "leave out"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_meant_is_refused(name: str) -> None:
    """A plan that contradicts itself or cannot be carried out does not come into being, and says the way out."""
    changes, words, hint = REFUSED[name]

    with pytest.raises(PlanError, match=words) as error:
        UdpPlan(**{"target": HERE, **changes})

    assert hint in error.value.hint


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("udp://127.0.0.1:9999", HERE),
        (" udp://127.0.0.1:9999 ", HERE),
        ("udp://localhost:1", Target("localhost", 1)),
        ("udp://[::1]:65535", Target("::1", 65535)),
        ("udp://proxy-1.example.org:9999", Target("proxy-1.example.org", 9999)),
    ],
)
def test_a_target_is_read(text: str, target: Target) -> None:
    """Addresses of both kinds and names are read, and written again as they were."""
    assert parse_target(text) == target
    assert str(target) == text.strip()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is not a UDP target"),
        ("9999", "is not a UDP target"),
        ("127.0.0.1:9999", "is not a UDP target"),
        ("tcp://127.0.0.1:9999", "is not a UDP target"),
        ("udp://me@127.0.0.1:9999", "is not a UDP target"),
        ("udp://127.0.0.1:9999/path", "is not a port"),
        ("udp://", "names no host"),
        ("udp://:9999", "names no host"),
        ("udp://::1:9999", "names no host"),
        ("udp://[127.0.0.1]:9999", "names no host"),
        ("udp://127.0.0.1", "names no port"),
        ("udp://127.0.0.1:", "names no port"),
        ("udp://[::1]", "names no port"),
        ("udp://127.0.0.1:0", "'0' is not a port"),
        ("udp://127.0.0.1:65536", "'65536' is not a port"),
        ("udp://127.0.0.1:70000", "'70000' is not a port"),
        ("udp://127.0.0.1:-1", "'-1' is not a port"),
        ("udp://127.0.0.1:٣", "is not a port"),
        ("udp://127.0.0.1:http", "'http' is not a port"),
        ("udp://" + "x" * 10_000, "names no port"),
    ],
)
def test_what_is_no_target_is_one_line(text: str, words: str) -> None:
    """Anything else is refused with one line that shows how a target is written."""
    with pytest.raises(ValueError, match=words) as error:
        parse_target(text)

    assert "write udp://127.0.0.1:9999" in str(error.value)
    assert len(str(error.value)) < 200


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost", "LOCALHOST"])
def test_the_loopback_may_be_loaded(host: str) -> None:
    """Every address of the loopback may be loaded as it is."""
    address = UdpPlan(target=Target(host, 9999)).target.address

    assert address is not None
    assert address.is_loopback


@pytest.mark.parametrize("host", ["192.0.2.1", "example.org", "2001:db8::1"])
def test_another_host_may_be_loaded_on_request(host: str) -> None:
    """With allow_remote any host is taken; a name is not looked up before the run."""
    assert UdpPlan(target=Target(host, 9999), allow_remote=True).target.host == host


def test_localhost_is_ipv4() -> None:
    """The proxies here listen on IPv4, where "localhost" would be ::1 first on many machines."""
    assert str(Target("localhost", 9999).address) == "127.0.0.1"


def test_the_window_follows_from_a_count() -> None:
    """A count at a rate takes as long as it takes, and a duration has as many requests as are due in it."""
    by_count = UdpPlan(target=HERE, rate=Fraction(20_000), count=30_000, duration_s=None)
    by_time = UdpPlan(target=HERE, rate=Fraction(1000, 3), duration_s=1.0)

    assert (by_count.window_ns, by_count.due) == (1_500_000_000, 30_000)
    assert by_time.due == 334


def test_payloads_are_lines_in_all_sizes_of_the_range() -> None:
    """Datagrams are text that ends its line, of sizes even over the range, in an order that the seed tells."""
    plan = UdpPlan(target=HERE, size=(10, 300), seed=1)

    payloads = plan.payloads()

    assert all(payload == b"x" * (len(payload) - 1) + b"\n" for payload in payloads)
    assert (min(map(len, payloads)), max(map(len, payloads))) == (10, 300)
    assert payloads == UdpPlan(target=HERE, size=(10, 300), seed=1).payloads()
    assert payloads != UdpPlan(target=HERE, size=(10, 300), seed=2).payloads()
    assert sum(map(len, payloads)) / len(payloads) == pytest.approx(155, abs=1)


def test_a_plan_can_be_written_and_handed_over() -> None:
    """It stands in a result as JSON, and reaches the sending process as it was."""
    plan = UdpPlan(target=Target("::1", 9999), rate=Fraction(1, 3), label="é")

    assert json.loads(json.dumps(plan.to_json()))["target"] == "udp://[::1]:9999"
    assert plan.to_json()["size"] == {"smallest": 32, "largest": 32}
    assert pickle.loads(pickle.dumps(plan)) == plan
