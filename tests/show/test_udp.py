"""harness.show.udp: the line a second, the live view and the report of a load through a proxy."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console, RenderableType

from harness.experiments.udp_follow import UdpSample, UdpSnapshot
from harness.measure.histogram import Histogram
from harness.show.udp import udp_asked, udp_lines, udp_progress, udp_report, udp_view
from harness.show.words import NONE

TIMES = {
    "p50": 50_000,
    "p90": 90_000,
    "p99": 500_000,
    "p99_9": 900_000,
    "p99_99": 4_000_000,
    "max": 15_000_000,
    "mean": 60_000.0,
}
NO_TIMES: dict[str, None] = dict.fromkeys(TIMES)


def result_with(*, plan: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    """A result of a run that went well, with what is given in place of its own."""
    result: dict[str, Any] = {
        "plan": {
            "target": "udp://127.0.0.1:9999",
            "rate": 20_000.0,
            "duration_s": 5.0,
            "count": None,
            "size": {"smallest": 32, "largest": 32},
            "sockets": 64,
            "pipelined": False,
        }
        | (plan or {}),
        "complete": True,
        "cut": None,
        "sustained": True,
        "achieved_rate": 19_987.0,
        **dict.fromkeys(("latency_ns", "service_ns", "pacing_error_ns"), TIMES),
        "refusal_ns": NO_TIMES,
        "due": 100_000,
        **dict.fromkeys(("sent", "ok"), 120_000),
        **dict.fromkeys(("unsent", "er", "other", "missing", "late", "unreachable", "unsendable", "surplus"), 0),
        **dict.fromkeys(("held_back", "in_flight", "socket_loss", "reply_loss", "socket_backlog_bytes"), 0),
        "balanced": True,
        "sender": {"cpu_share": 0.5, "wait_share": 0.01, "cpu_ns_per_request": 12_345.6},
        "memory_bytes": 40 * 2**20,
        "disturbance": {
            "verdict": "clean",
            "steal_share": 0.001,
            "runnable_wait_share": 0.002,
            "throttled_ns": 0,
            "jitter": {"p99_ns": 600, "max_ns": 70_000},
        },
        "runs": [{"achieved_rate": 19_987.0}],
        "thresholds": [],
        "warnings": [],
        "advice": "Try --repeat 5.",
    }
    return result | changes


def snapshot_with(*, unreachable: int = 0, latency: Histogram | None = None, **counts: int) -> UdpSnapshot:
    usual = {"sent": 50_000, "ok": 49_000, "er": 0, "other": 0, "missing": 0, "late": 0, "behind": 0, "outstanding": 9}
    return UdpSnapshot(
        phase="load",
        elapsed_s=3.5,
        total_s=6.0,
        sample=UdpSample(t_s=2.5, **{**usual, "settled": 49_000, **counts}),
        unreachable=unreachable,
        sent_rate=20_000.0,
        ok_rate=19_900.0,
        latency=latency or Histogram(),
    )


def rendered(what: RenderableType, *, width: int = 80) -> str:
    stream = io.StringIO()
    Console(file=stream, width=width).print(what)
    return stream.getvalue()


def words_of(text: str) -> str:
    """The text on one line, however it was wrapped."""
    return " ".join(text.split())


def line(result: dict[str, Any], name: str) -> str:
    """The lines of the report that begin with a name, as one text."""
    return "\n".join(found for found in udp_lines(result) if found.startswith(f"{name}: "))


def test_a_progress_line_tells_the_moment() -> None:
    """One line has the time, the phase, both rates, what went wrong, and the latency so far."""
    latency = Histogram()
    latency.record(1_000_000)

    told = udp_progress(snapshot_with(er=7, missing=3, late=1, behind=12, latency=latency))

    assert "\n" not in told
    for words in ("3.5/6 s", "load", "sent 20.0 k/s", "OK 19.9 k/s", "ER 7", "missing 3", "late 1", "behind 12"):
        assert words in told
    assert "p99 1.00 ms" in told
    assert "unreachable" not in told


def test_a_closed_port_is_told_at_once() -> None:
    """Where nobody listens, the line and the live view say so while the run still goes on."""
    snapshot = snapshot_with(unreachable=17)

    assert "port unreachable 17" in udp_progress(snapshot)
    assert "nobody listens there: port unreachable 17" in rendered(udp_view(snapshot, "title"))


def test_the_live_view_has_it_all_in_80_columns() -> None:
    """Title, progress, rates, replies, what waits and latency; nothing is cut off."""
    told = rendered(udp_view(snapshot_with(er=7, missing=3, late=1, other=2, behind=12), "the title"))

    for words in (
        "the title",
        "load, 2 s left",
        "sent 20.0 k/s",
        "ER 7",
        "missing 3",
        "late 1",
        "other 2",
        "12 to be sent",
    ):
        assert words in told
    assert "9 for a reply" in told
    assert "…" not in told


def test_the_report_has_every_fact_on_a_line_of_its_own() -> None:
    """What was asked, held, measured, counted and paid stands each on a line with its name."""
    result = result_with()

    assert line(result, "asked") == (
        "asked: udp://127.0.0.1:9999 at 20.0 k/s for 5 s, datagrams of 32 B, 64 sockets, one request on each"
    )
    assert line(result, "held") == "held: 20.0 k/s (sustained, clean)"
    assert "p99 500 µs" in line(result, "latency")
    assert "sent 120,000 = OK 120,000 + ER 0 + other 0 + missing 0" in line(result, "ledger")
    assert "50.0% of a CPU, 12,346 ns a request" in line(result, "sender")
    assert line(result, "next") == "next: Try --repeat 5."
    assert not any("\n" in text for text in udp_lines(result))


def test_what_went_wrong_is_told_apart() -> None:
    """Refused, late, missing, dropped and unreachable each have their word and number."""
    result = result_with(
        ok=90_000, er=10_000, missing=20_000, late=5_000, socket_loss=14_000, reply_loss=1, socket_backlog_bytes=2048,
        unreachable=3, in_flight=4, unsendable=6, held_back=7, unsent=8, refusal_ns=TIMES, sustained=False,
        warnings=["look out"], thresholds=[{"failed": True, "sentence": "er>0 failed"}],
    )  # fmt: skip

    for told in ("\n".join(udp_lines(result)), words_of(rendered(udp_report(result), width=200))):
        for words in (
            "NOT SUSTAINED", "ER 10,000", "missing 20,000", "port unreachable 3", "awaited at the end 4", "not sent 8",
            "of the missing came late 5,000; dropped at the proxy's socket 14,000 (at ours 1); 2 KiB still wait in it",
            "refused by our own kernel at the send 6", "no socket was free 7", "refusal", "look out", "er>0 failed",
        ):  # fmt: skip
            assert words in told


def test_what_is_not_known_is_a_dash() -> None:
    """What could not be read is no zero, and a pipelined run says nothing of late replies."""
    result = result_with(
        plan={"pipelined": True, "sockets": 1}, late=None, held_back=None, socket_loss=None, reply_loss=None,
        in_flight=None, memory_bytes=None, latency_ns=NO_TIMES, service_ns=NO_TIMES, achieved_rate=None,
        socket_backlog_bytes=None, sender=dict.fromkeys(("cpu_share", "wait_share", "cpu_ns_per_request")),
    )  # fmt: skip

    told = "\n".join(udp_lines(result))
    assert "None" not in told + rendered(udp_report(result))
    assert f"dropped at the proxy's socket {NONE} (at ours {NONE})" in told
    assert "late" not in line(result, "loss")
    assert "free" not in line(result, "ledger")
    assert f"awaited at the end {NONE}" in told
    assert line(result, "latency") == ""
    assert line(result, "asked").endswith("1 socket, pipelined")


def test_the_report_fits_80_columns() -> None:
    """On a narrow terminal nothing is cut off, and it has the words of the plain lines."""
    told = rendered(udp_report(result_with(runs=[{"achieved_rate": 1.0}, {"achieved_rate": 3_000.0}])))

    assert max(map(len, told.splitlines())) <= 80
    assert "…" not in told
    for words in ("sustained", "clean", "median of 2: 1.00 /s to 3.00 k/s", "OK 120,000", "p99.99", "Try --repeat 5."):
        assert words in words_of(told)


@pytest.mark.parametrize(
    ("plan", "words"),
    [
        ({"count": 5000, "duration_s": None}, "at 20.0 k/s, 5,000 requests"),
        ({"size": {"smallest": 64, "largest": 1024}}, "datagrams of 64 B to 1 KiB"),
        ({"sockets": 1}, "1 socket,"),
    ],
)
def test_what_was_asked_is_told_in_words(plan: dict[str, Any], words: str) -> None:
    """Each way to ask has its words."""
    assert words in udp_asked(result_with(plan=plan)["plan"])
