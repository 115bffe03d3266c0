"""The UDP sockets that are bound to an address, and what the kernel dropped because they were full.

For a load through a proxy, which reads before and after: a datagram that finds the receiver's buffer full is dropped
without a word to its sender, and only the receiver's kernel counts it. What cannot be read (another host, another
network namespace) is None.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING

from harness.measure.kernel_files import ROOT, parse_fields, read_text

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_COLUMNS = 13
"""Of a line: local address second, queues fifth, inode tenth, drops last (net/ipv4/udp.c, udp4_format_sock)."""


@dataclass(frozen=True, slots=True)
class BoundSocket:
    """One socket: datagrams dropped since it was made because it was full, and what waits in it, in bytes of memory."""

    drops: int
    waiting_bytes: int


def read_bound(address: IPv4Address | IPv6Address, port: int, root: Path = ROOT) -> dict[int, BoundSocket] | None:
    """The sockets of this network namespace that datagrams to the address and port can reach, by inode.

    Those bound to that address, and those bound to all (0.0.0.0, ::). None when the kernel's lists cannot be read.
    """
    found: dict[int, BoundSocket] = {}
    for name, addresses in _where(address).items():
        text = read_text(root / "proc/net" / name)
        if text is None and name == "udp6" and isinstance(address, IPv4Address):
            continue  # a kernel without IPv6
        if text is None:
            return None
        wanted = {f"{_as_listed(listed)}:{port:04X}" for listed in addresses}
        for line in text.splitlines()[1:]:
            words = line.split()
            if len(words) >= _COLUMNS and words[1] in wanted:
                waiting = words[4].partition(":")[2]
                found[int(words[9])] = BoundSocket(drops=int(words[12]), waiting_bytes=int(waiting, 16))
    return found


def drops_between(before: Mapping[int, BoundSocket] | None, after: Mapping[int, BoundSocket] | None) -> int | None:
    """Datagrams that these sockets dropped between two readings; a socket that is new counts from its beginning.

    None when a reading is missing, there is no socket in the second, or one of the first is gone: what it dropped
    last, nobody knows.
    """
    if before is None or not after or not before.keys() <= after.keys():
        return None
    return sum(found.drops - (before[inode].drops if inode in before else 0) for inode, found in after.items())


def _where(address: IPv4Address | IPv6Address) -> dict[str, list[IPv4Address | IPv6Address]]:
    """In which list a socket that gets datagrams to the address stands, and under which local addresses."""
    everything = IPv6Address(0)
    if isinstance(address, IPv6Address):
        return {"udp6": [address, everything]}
    # A socket of IPv6 that is bound to all takes those of IPv4 as well, unless it was told not to (ipv6(7)).
    return {"udp": [address, IPv4Address(0)], "udp6": [IPv6Address(f"::ffff:{address}"), everything]}


def _as_listed(address: IPv4Address | IPv6Address) -> str:
    """An address as the lists have it: words of 32 bits, each in this machine's byte order, in hexadecimal."""
    packed = address.packed
    words = [int.from_bytes(packed[at : at + 4], sys.byteorder) for at in range(0, len(packed), 4)]
    return "".join(f"{word:08X}" for word in words)


def read_full_receives(root: Path = ROOT) -> int | None:
    """Datagrams that any UDP socket of this network namespace had no room for, since it was made; None if not known.

    Udp and Udp6 RcvbufErrors of /proc/net/snmp and snmp6 (Documentation/networking/snmp_counter.rst).
    """
    lines = [line.split() for line in (read_text(root / "proc/net/snmp") or "").splitlines() if line[:4] == "Udp:"]
    if len(lines) != 2 or "RcvbufErrors" not in lines[0]:  # noqa: PLR2004  the names, then the values
        return None
    counted = int(lines[1][lines[0].index("RcvbufErrors")])
    return counted + parse_fields(read_text(root / "proc/net/snmp6") or "").get("Udp6RcvbufErrors", 0)
