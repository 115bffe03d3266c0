"""Counts of durations in log-linear buckets: the memory is fixed, the error relative, and two add up to one.

The engines count into the same layout in shared memory (the compiled one repeats the index formula below, so the
constants are public); displays and results read percentiles from a copy. This module keeps no samples and no clock.

The layout. A value v of at most 42 bits (2**42 ns are 73 minutes; more is counted as the most) goes to

    shift = max(0, bit_length(v) - 8)        how many low bits the bucket does not tell apart
    index = (shift << 7) + (v >> shift)

so that values below 256 ns have a bucket each, and each power of two above is divided into 128 buckets of equal
width: a bucket is never wider than 1/128 of the values in it. `hdrhistogram` has the same idea; a flat list takes
200 ns a message where its `record_value` takes 900 (MEASURING, two shared cores, Linux 6.18).

So that nothing looks better than it was, what is reported of a value is its bucket's upper edge; only `min` is a lower
one.
"""

from __future__ import annotations

from bisect import bisect_left
from fractions import Fraction
from itertools import accumulate, compress
from math import ceil
from operator import mul
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

SUB_BUCKET_BITS: Final = 7
"""Each power of two is divided into 2**7 buckets."""

SUB_BUCKETS: Final = 1 << SUB_BUCKET_BITS
"""Buckets in each power of two: a value is known within 1/128."""

VALUE_BITS: Final = 42
"""Bits of the greatest value that is told apart."""

HIGHEST_VALUE: Final = (1 << VALUE_BITS) - 1
"""The greatest value, in ns (73 minutes): what is above is counted as this."""

BUCKETS: Final = (VALUE_BITS - SUB_BUCKET_BITS + 1) << SUB_BUCKET_BITS
"""How many buckets there are: 4608."""

_PERCENTILES: Final = {"p50": 50, "p90": 90, "p99": 99, "p99_9": 99.9, "p99_99": 99.99}


def bucket_of(value: int) -> int:
    """The index of the bucket that counts `value` ns; values outside 0..HIGHEST_VALUE count as the nearest in it."""
    # Called for each value that is recorded: comparisons take half the time of min() and max().
    if not 0 <= value <= HIGHEST_VALUE:
        return 0 if value < 0 else BUCKETS - 1
    shift = value.bit_length() - SUB_BUCKET_BITS - 1
    return (shift << SUB_BUCKET_BITS) + (value >> shift) if shift > 0 else value


def lowest_in(index: int) -> int:
    """The least value, in ns, that bucket `index` counts; ValueError when there is no such bucket."""
    if not 0 <= index < BUCKETS:
        raise ValueError(f"there is no bucket {index}; the buckets are 0 to {BUCKETS - 1}")
    shift = max(0, (index >> SUB_BUCKET_BITS) - 1)
    return (index - (shift << SUB_BUCKET_BITS)) << shift


def highest_in(index: int) -> int:
    """The greatest value, in ns, that bucket `index` counts; ValueError when there is no such bucket."""
    return lowest_in(index) + (1 << max(0, (index >> SUB_BUCKET_BITS) - 1)) - 1


# twice a bucket's middle is a whole number, so that a mean is not rounded before its end
_TWICE_MIDDLES: Final = tuple(lowest_in(index) + highest_in(index) for index in range(BUCKETS))


class Histogram:
    """How many durations, in ns, fell into each bucket.

    Empty, or a copy of `counts`: one for each of the `BUCKETS`, as a memoryview of shared memory gives them. The copy
    stands still while the run goes on. Raises ValueError when they are not so many or one is negative.
    """

    def __init__(self, counts: Iterable[int] | None = None) -> None:
        self._counts = [0] * BUCKETS if counts is None else list(counts)
        if len(self._counts) != BUCKETS:
            raise ValueError(f"a histogram has {BUCKETS} counts, not {len(self._counts)}")
        if min(self._counts) < 0:
            raise ValueError("a histogram cannot have a count below 0")

    def __eq__(self, other: object) -> bool:
        return self._counts == other._counts if isinstance(other, Histogram) else NotImplemented

    __hash__ = None  # type: ignore[assignment]  # it changes with each record

    def __repr__(self) -> str:
        return f"<Histogram of {self.total} values, {self.min} to {self.max} ns>"

    # Filling

    def record(self, value: int, count: int = 1) -> None:
        """Count `value` ns, `count` times; ValueError when `count` is negative."""
        if count < 0:
            raise ValueError(f"cannot record a value {count} times")
        self._counts[bucket_of(value)] += count

    def merge(self, other: Histogram) -> None:
        """Add all that `other` counted: the result is as if everything had been recorded here."""
        self._counts = [ours + theirs for ours, theirs in zip(self._counts, other._counts, strict=True)]

    # Reading

    @property
    def total(self) -> int:
        """How many values were recorded."""
        return sum(self._counts)

    @property
    def min(self) -> int | None:
        """Lower edge of the lowest bucket that has counts, in ns; None when empty."""
        index = next(compress(range(BUCKETS), self._counts), None)
        return None if index is None else lowest_in(index)

    @property
    def max(self) -> int | None:
        """Upper edge of the highest bucket that has counts, in ns; None when empty."""
        index = next(compress(reversed(range(BUCKETS)), reversed(self._counts)), None)
        return None if index is None else highest_in(index)

    @property
    def mean(self) -> float | None:
        """Mean of the values, each taken as the middle of its bucket, in ns; None when empty."""
        total = self.total
        occupied = compress(_TWICE_MIDDLES, self._counts)
        twice = sum(map(mul, occupied, compress(self._counts, self._counts)))
        return twice / (2 * total) if total else None

    def percentile(self, percent: float) -> int | None:
        """Upper edge, in ns, of the bucket that holds rank ceil(percent / 100 * total), the least rank being 1.

        None when empty. Raises ValueError when `percent` is not in 0..100.
        """
        return self._percentiles([percent])[0]

    def count_at_or_below(self, value: int) -> int:
        """How many values were at most `value` ns, each taken as its bucket's upper edge.

        Values in a bucket that `value` cuts through do not count, so this is never more than the truth.
        """
        return sum(self._counts[: bucket_of(value + 1)] if value < HIGHEST_VALUE else self._counts)

    def buckets(self) -> Iterator[tuple[int, int, int]]:
        """Each bucket that has counts, in rising order: lowest value in ns, highest value in ns, count."""
        for index in self._occupied():
            yield lowest_in(index), highest_in(index), self._counts[index]

    def summary(self) -> dict[str, int | float | None]:
        """p50, p90, p99, p99_9, p99_99 and max (whole ns) and mean (ns); all None when empty."""
        percentiles = zip(_PERCENTILES, self._percentiles(_PERCENTILES.values()), strict=True)
        return {**dict(percentiles), "max": self.max, "mean": self.mean}

    # JSON

    def to_json(self) -> dict[str, Any]:
        """All that was counted: the layout, and [index, count] of each bucket that has counts, in rising order."""
        return {
            "unit": "ns",
            "encoding": "log-linear",
            "sub_bucket_bits": SUB_BUCKET_BITS,
            "counts": [[index, self._counts[index]] for index in self._occupied()],
        }

    @classmethod
    def from_json(cls, data: Any) -> Histogram:
        """The histogram that `to_json` wrote; ValueError says what is wrong with anything else."""
        if not isinstance(data, dict):
            raise ValueError(f"a histogram is a JSON object, not {type(data).__name__}")  # noqa: TRY004  a file's content
        for name, expected in (("unit", "ns"), ("encoding", "log-linear"), ("sub_bucket_bits", SUB_BUCKET_BITS)):
            if data.get(name) != expected:
                raise ValueError(f"a histogram's {name} is {expected!r}, not {data.get(name)!r}")
        pairs = data.get("counts")
        if not isinstance(pairs, list):
            raise ValueError("a histogram's counts are a list of [index, count]")  # noqa: TRY004  a file's content
        histogram, before = cls(), -1
        for pair in pairs:
            match pair:
                # bool is an int to Python, but not to JSON
                case [int(index), int(count)] if not isinstance(index, bool) and not isinstance(count, bool):
                    pass
                case _:
                    raise ValueError(f"a histogram's counts are whole [index, count], not {pair!r}")
            if not before < index < BUCKETS:
                raise ValueError(f"a histogram's indices rise from 0 to {BUCKETS - 1}; {index} does not after {before}")
            if count < 1:
                raise ValueError(f"a histogram lists counts above 0, not {count} at {index}")
            histogram._counts[index], before = count, index
        return histogram

    # `compress`, `accumulate`, `map` and `bisect` walk the buckets without a step of Python each: a display reads
    # live counts twice a second, and has under 1 ms for it.

    def _occupied(self) -> list[int]:
        return list(compress(range(BUCKETS), self._counts))

    def _percentiles(self, percents: Iterable[float]) -> list[int | None]:
        occupied = self._occupied()
        cumulative = list(accumulate(compress(self._counts, self._counts)))
        total = cumulative[-1] if cumulative else 0
        ranks = [_rank(percent, total) for percent in percents]
        if not total:
            return [None for _ in ranks]
        return [highest_in(occupied[bisect_left(cumulative, rank)]) for rank in ranks]


def _rank(percent: float, total: int) -> int:
    """Which of `total` values in rising order, counted from 1, is the percentile."""
    if not 0 <= percent <= 100:  # noqa: PLR2004  per cent
        raise ValueError(f"{percent} is not a percentage; it is 0 to 100")
    # 99.9 / 100 * 1000 is above 999 in binary, and its ceiling 1000: reckon with the decimal that was written
    return max(1, ceil(Fraction(str(percent)) * total / 100))
