"""The plan of a load through a proxy, `harness load udp://HOST:PORT`: complete, and validated at its construction.

As `plan.py` is for a queue. Nothing is resolved or sent here, so that `--dry-run` touches no network.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass, fields
from fractions import Fraction
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

from harness.measure.pacing import NS_PER_S, Schedule
from harness.measure.quantities import format_size
from harness.sysv.errors import PlanError

DEFAULT_SOCKETS = 64
DEFAULT_PIPELINED_SOCKETS = 4
DEFAULT_REPLY_TIMEOUT_S = 1.0
MOST_SOCKETS = 4096
MOST_RATE = 1_000_000
"""More than one process can send by far; what is above is a slip of the keyboard."""
MOST_REPEATS = 1000
LARGEST_DATAGRAM = 65_507
"""Bytes: 65,535 of an IPv4 packet, less its header and that of UDP (udp(7))."""
LARGEST_PORT = 65_535
TABLE_SIZE = 256
"""Sizes are dealt out in rounds of so many datagrams, of which each is kept ready."""

_TARGET = re.compile(r"udp://(?:\[(?P<v6>[^\]]*)\]|(?P<name>[^\[\]/@:]*))(?P<port>:.*)?", re.ASCII)
_WRITE = "write udp://127.0.0.1:9999 or udp://[::1]:9999"


@dataclass(frozen=True, slots=True)
class Target:
    """Where the datagrams go: an address or a name, and a port of 1 to 65,535."""

    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"udp://{host}:{self.port}"

    @property
    def address(self) -> IPv4Address | IPv6Address | None:
        """The address that was written, or 127.0.0.1 for "localhost"; None for any other name.

        The proxies here listen on IPv4, and "localhost" is ::1 first on many machines: a datagram to it would then
        reach nobody.
        """
        if self.host.lower() == "localhost":
            return IPv4Address("127.0.0.1")
        try:
            return ip_address(self.host)
        except ValueError:
            return None


def parse_target(text: str) -> Target:
    """The target of "udp://127.0.0.1:9999", "udp://[::1]:9999" or "udp://localhost:9999"; ValueError for others."""
    match = _TARGET.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text[:80]!r} is not a UDP target; {_WRITE}")
    host = match["v6"] if match["v6"] is not None else match["name"]
    if not host or (match["v6"] is not None and ":" not in host):
        raise ValueError(f"{text[:80]!r} names no host; {_WRITE}")
    port = (match["port"] or "")[1:]
    if not port:
        raise ValueError(f"{text[:80]!r} names no port; {_WRITE}")
    if not re.fullmatch(r"\d{1,5}", port, re.ASCII) or not 1 <= int(port) <= LARGEST_PORT:
        raise ValueError(f"{port[:20]!r} is not a port (1 to {LARGEST_PORT}); {_WRITE}")
    return Target(host, int(port))


@dataclass(frozen=True, slots=True, kw_only=True)
class UdpPlan:
    """One load through a proxy. Raises PlanError at construction when it contradicts itself or cannot be carried out.

    Exactly one of `duration_s` and `count` is set; `sockets` None stands for 64, or 4 pipelined. `reply_timeout_s` is
    None, and only then, when requests are pipelined.
    """

    target: Target
    rate: Fraction = Fraction(10_000)
    duration_s: float | None = 10.0
    count: int | None = None
    size: tuple[int, int] = (32, 32)
    sockets: int = DEFAULT_SOCKETS
    pipelined: bool = False
    reply_timeout_s: float | None = DEFAULT_REPLY_TIMEOUT_S
    allow_remote: bool = False
    warmup_s: float = 1.0
    drain_s: float = 1.0
    repeat: int = 1
    seed: int = 0
    label: str = ""

    def __post_init__(self) -> None:
        self._check_target()
        self._check_time()
        smallest, largest = self.size
        if not 1 <= smallest <= largest <= LARGEST_DATAGRAM:
            raise PlanError(
                f"{format_size(largest)} is more than a datagram holds"
                if largest > LARGEST_DATAGRAM
                else f"the size range {smallest}..{largest} is none",
                why=f"a datagram has 1 to {LARGEST_DATAGRAM:,} bytes",
                hint="write --size 32B",
            )
        if not 1 <= self.sockets <= MOST_SOCKETS:
            raise PlanError(
                f"{self.sockets} sockets",
                why=f"1 to {MOST_SOCKETS} are possible",
                hint=f"write --sockets {DEFAULT_SOCKETS}",
            )
        if self.pipelined != (self.reply_timeout_s is None):
            raise PlanError(
                "--reply-timeout and --pipelined contradict each other",
                why="pipelined, no reply can be told to be of one request, so that none has a time",
                hint="leave out one of them",
            )
        if self.reply_timeout_s is not None and not self.reply_timeout_s > 0:
            raise PlanError("a reply needs some time", hint="write --reply-timeout 1s")

    def _check_target(self) -> None:
        address = self.target.address
        if address is not None and address.is_unspecified:
            raise PlanError(
                f"{address} is where a server listens, not where it is reached",
                hint=f"write udp://127.0.0.1:{self.target.port}",
            )
        if address is not None and (address.is_multicast or address == IPv4Address("255.255.255.255")):
            raise PlanError(f"{address} is not one host's address", hint="name the host of one proxy")
        if not self.allow_remote and not (address is not None and address.is_loopback):
            raise PlanError(
                f"{self.target.host} is not this machine's loopback",
                why="a load can put others out of work",
                hint="add --allow-remote if that host is yours to load, or use 127.0.0.1, [::1] or localhost",
            )

    def _check_time(self) -> None:
        if (self.duration_s is None) == (self.count is None):
            raise PlanError("a run needs either a duration or a count", hint="give one of --duration and --count")
        if self.duration_s is not None and not self.duration_s > 0:
            raise PlanError(f"a run cannot last {self.duration_s:g} s", hint="write --duration 10s")
        if self.count is not None and self.count < 1:
            raise PlanError(f"{self.count} requests are none", hint="write --count 10k")
        if not 0 < self.rate <= MOST_RATE:
            raise PlanError(
                f"{float(self.rate):g} requests/s",
                why=f"one process sends at most some 100,000, and {MOST_RATE:,} is the limit here",
                hint="write --rate 20k",
            )
        if self.warmup_s < 0 or self.drain_s < 0:
            raise PlanError("--warmup and --drain cannot be negative", hint="write 0s for none")
        if not 1 <= self.repeat <= MOST_REPEATS:
            raise PlanError(f"{self.repeat} repeats", why=f"1 to {MOST_REPEATS} are possible", hint="write --repeat 5")

    @property
    def schedule(self) -> Schedule:
        """When each request is due."""
        return Schedule(self.rate, 1, 0)

    @property
    def window_ns(self) -> int:
        """Length of the measured window in ns."""
        if self.count is not None:
            return int(self.count * NS_PER_S / self.rate)
        assert self.duration_s is not None, "the plan has one of the two"
        return round(self.duration_s * NS_PER_S)

    @property
    def due(self) -> int:
        """Requests due in the window."""
        return self.count if self.count is not None else self.schedule.due(self.window_ns)

    def payloads(self) -> list[bytes]:
        """What request k sends is payload k mod their number: lines of text, in sizes that the seed has shuffled."""
        low, high = self.size
        sizes = [low + (high - low) * place // (TABLE_SIZE - 1) for place in range(TABLE_SIZE)]
        random.Random(self.seed).shuffle(sizes)  # noqa: S311  repeatable, not secret
        texts = {size: b"x" * (size - 1) + b"\n" for size in sorted(set(sizes))}
        return [texts[size] for size in sizes]

    def to_json(self) -> dict[str, Any]:
        """The plan as it stands in a result."""
        plain = {item.name: getattr(self, item.name) for item in fields(self)}
        plain["target"] = str(self.target)
        plain["rate"] = float(self.rate)
        plain["size"] = {"smallest": self.size[0], "largest": self.size[1]}
        return plain
