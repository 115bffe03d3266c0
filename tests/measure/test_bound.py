"""The sockets bound to an address, and what they dropped: the kernel's own lists, and lists that a test laid out."""

from __future__ import annotations

import contextlib
import socket
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import TYPE_CHECKING

import pytest

from harness.measure.bound import BoundSocket, drops_between, read_bound, read_full_receives

if TYPE_CHECKING:
    from pathlib import Path

HOME = IPv4Address("127.0.0.1")


def fill(target: tuple[str, int], datagrams: int = 100) -> None:
    family = socket.AF_INET6 if ":" in target[0] else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sender:
        for _ in range(datagrams):
            sender.sendto(b"x", target)


@pytest.mark.parametrize(
    ("bound_to", "reached_at"),
    [("127.0.0.1", "127.0.0.1"), ("0.0.0.0", "127.0.0.1"), ("::1", "::1"), ("::", "::1"), ("::", "127.0.0.1")],
)
def test_a_sockets_drops_are_found(bound_to: str, reached_at: str) -> None:
    """Whether bound to the address or to all, a socket is found with what it dropped and what waits in it."""
    family = socket.AF_INET6 if ":" in bound_to else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        if bound_to == "::":
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        try:
            sock.bind((bound_to, 0))
        except OSError as error:
            pytest.skip(f"no IPv6 here: {error}")
        port = sock.getsockname()[1]
        before = read_bound(ip_address(reached_at), port)
        fill((reached_at, port))
        after = read_bound(ip_address(reached_at), port)
        kept = 0
        sock.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while sock.recv(64):
                kept += 1

    assert before is not None
    assert after is not None
    assert list(before.values()) == [BoundSocket(drops=0, waiting_bytes=0)]
    assert drops_between(before, after) == 100 - kept > 0
    assert all(found.waiting_bytes > 0 for found in after.values())


def test_other_ports_and_addresses_are_not_counted() -> None:
    """A socket on another port, or on another address, is none that the datagrams reach."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.2", 0))
        port = sock.getsockname()[1]

        assert read_bound(HOME, port) == {}
        assert len(read_bound(IPv4Address("127.0.0.2"), port) or {}) == 1
        assert read_bound(IPv4Address("127.0.0.2"), port - 1) == {}


def test_without_the_kernels_list_nothing_is_known(tmp_path: Path) -> None:
    """Where the lists cannot be read, or are another kind of list, the answer is None."""
    assert read_bound(HOME, 9999, tmp_path) is None
    assert read_full_receives(tmp_path) is None
    (tmp_path / "proc/net").mkdir(parents=True)
    (tmp_path / "proc/net/snmp").write_text("Udp: InDatagrams\nUdp: 5\n")
    assert read_full_receives(tmp_path) is None


def test_a_kernel_without_ipv6_has_ipv4_alone(tmp_path: Path) -> None:
    """No list of IPv6 is no reason not to know those of IPv4, but for a target in IPv6."""
    (tmp_path / "proc/net").mkdir(parents=True)
    line = "  1: 0100007F:270F 00000000:0000 07 00000000:00000A00 00:00000000 00000000     0        0 4242 2 0 17\n"
    (tmp_path / "proc/net/udp").write_text(f"  sl  local_address ...\n{line}")

    assert read_bound(HOME, 9999, tmp_path) == {4242: BoundSocket(drops=17, waiting_bytes=2560)}
    assert read_bound(IPv6Address("::1"), 9999, tmp_path) is None


def found(**drops: int) -> dict[int, BoundSocket]:
    return {int(inode[1:]): BoundSocket(count, 0) for inode, count in drops.items()}


@pytest.mark.parametrize(
    ("before", "after", "drops"),
    [
        (found(i1=5), found(i1=7), 2),
        (found(i1=5), found(i1=5), 0),
        (found(i1=5), found(i1=6, i2=3), 4),
        (found(), found(i2=3), 3),
        (found(i1=5), found(i2=3), None),
        (found(i1=5), found(), None),
        (found(), found(), None),
        (None, found(i1=1), None),
        (found(i1=1), None, None),
    ],
)
def test_a_difference_that_is_not_known_is_none(
    before: dict[int, BoundSocket] | None, after: dict[int, BoundSocket] | None, drops: int | None
) -> None:
    """Drops are counted per socket; of one that has gone, what it dropped last is not known."""
    assert drops_between(before, after) == drops


def test_full_receives_count_every_socket_of_the_namespace() -> None:
    """What a full socket dropped is in the namespace's sum, too."""
    before = read_full_receives()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.bind(("127.0.0.1", 0))
        fill(sock.getsockname())
    after = read_full_receives()

    assert before is not None
    assert after is not None
    assert after - before > 50


def test_full_receives_are_those_of_both_kinds(tmp_path: Path) -> None:
    """IPv4's and IPv6's counts are one sum."""
    (tmp_path / "proc/net").mkdir(parents=True)
    (tmp_path / "proc/net/snmp").write_text("Udp: InDatagrams RcvbufErrors\nUdp: 5 7\nUdpLite: X\nUdpLite: 9\n")
    (tmp_path / "proc/net/snmp6").write_text("Udp6InErrors 1\nUdp6RcvbufErrors\t3\n")

    assert read_full_receives(tmp_path) == 10
