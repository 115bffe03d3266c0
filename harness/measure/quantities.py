"""What a person writes as a quantity ("500k", "10s", "8KiB", "1:70,2:20") to numbers with units, and back.

For the command line, which reads options with it, and for the displays, which write figures with it. Every
`parse_...` raises ValueError with one line that says what was wrong and what would be right; whoever calls puts the
option's name before it. Nothing here knows what a queue can hold: limits of that kind are the plan's to check.

All parsers read the same number: digits, with "_" between digits or "," between groups of three ("5,000,000", as
`format_count` writes it), a fraction after ".", an exponent ("2.5e5"). Arithmetic is exact (`Fraction`), since a
rate that was rounded drifts over a long run.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Literal, NoReturn, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping

MOST_RATE: Final = 1_000_000_000
"""The highest rate that is read, in messages a second: one message a nanosecond, the unit of the clock."""

MOST_DURATION_S: Final = 366 * 86_400
"""The longest duration that is read, in seconds: a year, which in nanoseconds still fits 64 bits."""

MOST_WHOLE: Final = 2**63 - 1
"""The largest count or size that is read: a signed 64-bit word."""

MOST_TYPE: Final = 2**31 - 1
"""The largest message type that every engine can send: sysv_ipc takes a C int (msgop(2) itself takes a long)."""

MOST_KEY: Final = 2**32 - 1
"""The largest key: key_t has 32 bits, which ipcs(1) shows as hexadecimal without sign."""

MOST_STEPS: Final = 1_000
"""The most steps of a ramp."""

_LONGEST_TEXT = 64  # characters: no quantity needs more, and the arithmetic on what is read stays small
_NUMBER = re.compile(
    r"(?P<number>[+-]?(?:\d{1,3}(?:,\d{3})+|\d+(?:_\d+)*)(?:\.\d+)?(?:[eE][+-]?\d{1,2})?)\s*(?P<unit>[^\d\s,._].*)?",
    re.ASCII,
)
_KEY = re.compile(r"0[xX][0-9a-fA-F]+|0[oO][0-7]+|[1-9][0-9]*", re.ASCII)


def _quoted(text: str) -> str:
    """`text` as an error shows it: on one line, and not longer than a line."""
    return repr(text if len(text) <= _LONGEST_TEXT else f"{text[:_LONGEST_TEXT]}...")


@dataclass(frozen=True, slots=True)
class _Kind:
    """One kind of quantity: its name and how to write it, for errors, and its units ("" where it may have none)."""

    name: str
    write: str
    units: Mapping[str, Fraction]

    def refuse(self, text: str, why: str = "") -> NoReturn:
        """Raise the ValueError that every parser raises: what was wrong, and what would be right."""
        because = f" ({why})" if why else ""
        raise ValueError(f"{_quoted(text)} is not {self.name}{because}; write {self.write}")

    def read(self, text: str) -> Fraction:
        """Number times unit, exactly; ValueError when it is neither or is negative."""
        match = _NUMBER.fullmatch(text.strip())
        if match is None or len(text) > _LONGEST_TEXT:
            self.refuse(text)
        unit = (match["unit"] or "").strip()
        if unit not in self.units:
            self.refuse(text, f"unknown unit {_quoted(unit)}" if unit else "a unit is missing")
        value = Fraction(match["number"].replace(",", "").replace("_", "")) * self.units[unit]
        if value < 0:
            self.refuse(text, "it is below 0")
        return value

    def read_positive(self, text: str) -> Fraction:
        """As `read`, and ValueError for 0."""
        value = self.read(text)
        if value == 0:
            self.refuse(text, "it must be above 0")
        return value

    def read_whole(self, text: str) -> int:
        """As `read_positive`, and ValueError for parts of a whole and for what 63 bits do not hold."""
        value = self.read_positive(text)
        if value.denominator != 1:
            self.refuse(text, "it must be a whole number")
        if value > MOST_WHOLE:
            self.refuse(text, "it is over 2**63 - 1")
        return int(value)


def _units(**factors: int | Fraction) -> Mapping[str, Fraction]:
    return MappingProxyType({unit: Fraction(factor) for unit, factor in factors.items()})


_MULTIPLES: Final = {"": 1, "k": 10**3, "K": 10**3, "M": 10**6, "G": 10**9}
_SECONDS: Final = {
    "ns": Fraction(1, 10**9),
    "us": Fraction(1, 10**6),
    "\N{MICRO SIGN}s": Fraction(1, 10**6),
    "\N{GREEK SMALL LETTER MU}s": Fraction(1, 10**6),  # the other character that keyboards give for it
    "ms": Fraction(1, 10**3),
    "s": Fraction(1),
}

_RATE = _Kind(
    "a rate",
    "messages a second, as 500k, 1M or 2.5e5",
    _units(**_MULTIPLES, **{f"{unit}/s": factor for unit, factor in _MULTIPLES.items()}),
)
_COUNT = _Kind("a count", "a whole number, as 1000, 500k or 5M", _units(**_MULTIPLES))
_DURATION = _Kind(
    "a duration",
    "a number and ms, s, m (minutes) or h, as 500ms, 10s or 1.5m",
    _units(**_SECONDS, **{"": 1, "m": 60, "min": 60, "h": 3600}),
)
_LATENCY = _Kind("a latency", "a number and ns, us, ms or s, as 200us or 1.5ms", _units(**_SECONDS))
_SIZE = _Kind(
    "a size",
    "bytes, as 32, 8KiB, 1MiB or 8kB (8000)",
    _units(**{"": 1, "B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}),
)
_SHARE = _Kind("a share", "a percentage, as 10% or 2.5%", _units(**{"%": Fraction(1, 100)}))


# Rates


@dataclass(frozen=True, slots=True)
class Ramp:
    """A rate that goes from `first` to `last`, up or down, in `steps` evenly spaced steps; messages a second.

    Raises ValueError at construction when it cannot be one.
    """

    first: Fraction
    last: Fraction
    steps: int = 10

    def __post_init__(self) -> None:
        for rate in (self.first, self.last):
            if not 0 < rate <= MOST_RATE:
                raise ValueError(f"a ramp cannot reach {rate} messages a second; write rates above 0 and up to 1G")
        if self.first == self.last:
            raise ValueError("a ramp needs two different rates; write one rate alone to hold it")
        if not 2 <= self.steps <= MOST_STEPS:  # noqa: PLR2004  two ends make two steps
            raise ValueError(f"a ramp cannot have {self.steps} steps; write 2 to {MOST_STEPS}, as 100k..1M/5")

    def rates(self) -> tuple[Fraction, ...]:
        """The rate of each step, exactly and evenly spaced, `first` and `last` among them; messages a second."""
        step = (self.last - self.first) / (self.steps - 1)
        return tuple(self.first + step * number for number in range(self.steps))


RateSpec: TypeAlias = Fraction | Ramp | Literal["max"]
"""What a rate option may say: messages a second, a ramp of them, or as fast as the queue lets."""


def parse_rate(text: str) -> Fraction:
    """Messages a second of "500k", "1M", "2.5e5" or "500k/s"; k is 10**3, M 10**6, G 10**9.

    Raises ValueError unless it is above 0 and at most `MOST_RATE`.
    """
    rate = _RATE.read_positive(text)
    if rate > MOST_RATE:
        _RATE.refuse(text, "the most is 1G")
    return rate


def parse_rates(text: str) -> Ramp:
    """The ramp of "100k..1M", in 10 steps, or of "100k..1M/5", in 5.

    Raises ValueError when a rate is wrong, the two are the same, or the steps are not 2 to `MOST_STEPS`.
    """
    first, dots, rest = text.partition("..")
    if not dots:
        raise ValueError(f"{_quoted(text)} is not a range of rates; write two rates, as 100k..1M or 100k..1M/5")
    # "1M/s" ends in a unit, "1M/5" in a number of steps
    last, slash, steps = rest.rpartition("/")
    if slash and re.fullmatch(r"\s*\d{1,9}\s*", steps, re.ASCII):
        return Ramp(parse_rate(first), parse_rate(last), int(steps))
    return Ramp(parse_rate(first), parse_rate(rest))


def parse_rate_spec(text: str) -> RateSpec:
    """What a rate option says: "max", a ramp ("100k..1M") or a rate ("500k"); ValueError when none of them."""
    if text.strip() == "max":
        return "max"
    return parse_rates(text) if ".." in text else parse_rate(text)


# Durations


def parse_duration_s(text: str, *, positive: bool = False) -> float:
    """Seconds of "10s", "500ms", "1.5m" (minutes), "2h", or "10" (seconds).

    Raises ValueError when it is negative, over `MOST_DURATION_S`, or 0 while it must be `positive`.
    """
    duration_s = _DURATION.read_positive(text) if positive else _DURATION.read(text)
    if duration_s > MOST_DURATION_S:
        _DURATION.refuse(text, "the longest is 366 days")
    return float(duration_s)


def parse_duration_ns(text: str, *, positive: bool = False) -> int:
    """Nanoseconds of "200us" or "1.5ms"; the unit is required, for a latency without one could be anything.

    Raises ValueError when it is negative, no whole number of nanoseconds, over `MOST_DURATION_S`, or 0 while it must
    be `positive`.
    """
    duration_ns = 10**9 * (_LATENCY.read_positive(text) if positive else _LATENCY.read(text))
    if duration_ns.denominator != 1:
        _LATENCY.refuse(text, "it must be whole nanoseconds")
    if duration_ns > MOST_DURATION_S * 10**9:
        _LATENCY.refuse(text, "the longest is 366 days")
    return int(duration_ns)


# Sizes and counts


def parse_size(text: str) -> int:
    """Bytes of "32", "32B", "8KiB" (8192) or "8kB" (8000).

    Raises ValueError unless it is a whole number above 0. "8K" and "8k" are refused: they are 8192 to some and 8000
    to others.
    """
    if re.search(r"\d\s*[kKMG]\s*$", text):
        _SIZE.refuse(text, "it may mean powers of 1000 or of 1024")
    return _SIZE.read_whole(text)


def parse_size_range(text: str) -> tuple[int, int]:
    """The least and the greatest size in bytes of "64..1024"; one size alone is both.

    Raises ValueError when a size is wrong or the first is above the second.
    """
    first, dots, second = text.partition("..")
    least = parse_size(first)
    greatest = parse_size(second) if dots else least
    if least > greatest:
        raise ValueError(
            f"{_quoted(text)} is not a range of sizes (it goes down); write the smaller first, as 64..1024"
        )
    return least, greatest


def parse_count(text: str) -> int:
    """The whole number above 0 of "1000", "500k" or "5M"; ValueError for anything else."""
    return _COUNT.read_whole(text)


def parse_share(text: str) -> Fraction:
    """The share of "10%" (1/10) or "2.5%"; it may be over 1.

    Raises ValueError when it is negative or has no %: "10" is ten percent to some and ten times to others.
    """
    return _SHARE.read(text)


# Message types and keys


@dataclass(frozen=True, slots=True)
class TypeShare:
    """A message type and its weight among the types that are sent; ValueError at construction when out of range."""

    type: int
    weight: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.type <= MOST_TYPE:
            raise ValueError(f"{self.type} is not a message type; write 1 to {MOST_TYPE}")
        if not 1 <= self.weight <= MOST_TYPE:
            raise ValueError(f"{self.weight} is not the weight of a type; write a whole number above 0, as 1:70,2:30")


def parse_types(text: str) -> tuple[TypeShare, ...]:
    """Message types with their weights, of "1:70,2:20,3:10"; without weights, as "1,2,3", each weighs 1.

    Raises ValueError when a type is not in 1..2**31-1 or comes twice, or a weight is no whole number above 0.
    """
    shares: dict[int, TypeShare] = {}
    for part in text.split(","):
        match = re.fullmatch(r"\s*(-?\d{1,19})\s*(?::\s*(-?\d{1,19})\s*)?", part, re.ASCII)
        if match is None:
            raise ValueError(
                f"{_quoted(part)} is not a message type with a weight; "
                "write types and weights, as 1:70,2:20,3:10, or types, as 1,2,3"
            )
        share = TypeShare(int(match[1]), 1 if match[2] is None else int(match[2]))
        if share.type in shares:
            raise ValueError(f"message type {share.type} comes twice in {_quoted(text)}; write each type once")
        shares[share.type] = share
    return tuple(shares.values())


def parse_key(text: str) -> int:
    """The key of a queue, of "0xC0049", "786505" or "0o3000111": the same number three times.

    Raises ValueError unless it is in 1..2**32-1; 0 is IPC_PRIVATE, which names no queue (msgget(2)). A leading 0 is
    refused: "03000111" is octal in PHP and C, while ipcs(1) shows hexadecimal, and the two have been confused.
    """
    key = text.strip()
    write = "write hexadecimal 0xC0049, decimal 786505 or octal 0o3000111"
    if re.fullmatch(r"0[0-9]+", key, re.ASCII):
        raise ValueError(f"{_quoted(text)} is not a key (octal or hexadecimal?); {write}")
    if key == "0":
        raise ValueError(f"{_quoted(text)} is not a key (0 is IPC_PRIVATE, which names no queue); {write}")
    if len(key) > _LONGEST_TEXT or not _KEY.fullmatch(key):
        raise ValueError(f"{_quoted(text)} is not a key; {write}")
    number = int(key, 0)
    if not 1 <= number <= MOST_KEY:
        raise ValueError(f"{_quoted(text)} is not a key (a key is 1 to 0xffffffff); {write}")
    return number


# Formatting


def _three_digits(value: float) -> str:
    """A number from 1 up with three significant digits; whole from 1000 up."""
    if value >= 99.95:  # noqa: PLR2004  from here one decimal would make four digits
        return f"{value:.0f}"
    return f"{value:.1f}" if value >= 9.995 else f"{value:.2f}"  # noqa: PLR2004  as above


def _scaled(value: float, steps: tuple[tuple[float, str], ...]) -> str:
    """`value` in the first unit in which it rounds to below 1000, or in the last."""
    for factor, unit in steps[:-1]:
        if value / factor < 999.5:  # noqa: PLR2004  what rounds to 1000 takes the next unit
            return f"{_three_digits(value / factor)} {unit}"
    factor, unit = steps[-1]
    return f"{_three_digits(value / factor)} {unit}"


def format_rate(rate: float | Fraction) -> str:
    """Messages a second with three significant digits: "500 k/s", "1.24 M/s", "12.0 /s", "0 /s".

    At most 8 characters from 0.1 to 10**12, so that `f"{format_rate(rate):>8}"` makes a column. `parse_rate` reads it.
    """
    if rate < 0:
        return f"-{format_rate(-rate)}"
    if rate < 1:
        return f"{float(rate):.3g} /s"
    return _scaled(float(rate), ((1, "/s"), (1e3, "k/s"), (1e6, "M/s"), (1e9, "G/s")))


def format_count(count: int) -> str:
    """A count with its digits in groups of three: "5,000,000"; `parse_count` reads it."""
    return f"{count:,}"


def format_duration_ns(duration_ns: float) -> str:
    """A duration given in ns, with three significant digits: "812 ns", "1.24 \N{MICRO SIGN}s", "3.50 ms", "1.02 s".

    Below a microsecond it is whole nanoseconds, which is what the clock counts in; from 1000 s up whole seconds.
    At most 8 characters up to 100,000 s (9 below 0). `parse_duration_ns` reads what is not negative.
    """
    if duration_ns < 0:
        return f"-{format_duration_ns(-duration_ns)}"
    if duration_ns < 999.5:  # noqa: PLR2004  what rounds to 1000 ns is 1.00 us
        return f"{duration_ns:.0f} ns"
    return _scaled(duration_ns, ((1e3, "\N{MICRO SIGN}s"), (1e6, "ms"), (1e9, "s")))


def format_size(size_bytes: int) -> str:
    """Bytes in the largest binary unit that divides them, so that nothing is rounded: "8 KiB", "10,000 B".

    Sizes stand at limits, where one byte decides. `parse_size` reads it.
    """
    for factor, unit in ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
        if size_bytes and size_bytes % factor == 0:
            return f"{size_bytes // factor:,} {unit}"
    return f"{size_bytes:,} B"


def format_key(key: int) -> str:
    """A key as ipcs(1) shows it: "0x000c0049"; `parse_key` reads it."""
    return f"0x{key & MOST_KEY:08x}"
