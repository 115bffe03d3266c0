"""Medians, quartiles, slopes: statistics that one disturbed round or run does not carry away.

For the experiments (is the backlog growing?), the results (how far do the runs differ?) and the displays. Not here:
percentiles of latencies, which come from `histogram`, and the bootstrap over runs, which belongs to comparing results.

The figures vary by 2x with the placement of wake-ups, and not in the shape of a bell (MEASURING): so there are no
means and no standard deviations.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from itertools import combinations
from math import isfinite
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


@dataclass(frozen=True, slots=True)
class Spread:
    """Where values lie: median, lower and upper quartile, least, greatest, how many; in the values' own unit."""

    median: float
    low: float
    high: float
    min: float
    max: float
    n: int

    def to_json(self) -> dict[str, float]:
        """The six fields under their names."""
        return asdict(self)


def median(values: Iterable[float]) -> float:
    """The value in the middle, or the mean of the two there; ValueError when there are none or one is not finite."""
    return _quantile(_ordered(values), 2, 4)


def quartiles(values: Iterable[float]) -> tuple[float, float, float]:
    """Lower quartile, median, upper quartile, interpolated between neighbours (as R's type 7 and numpy do).

    Raises ValueError when there are no values or one is not finite.
    """
    ordered = _ordered(values)
    return _quantile(ordered, 1, 4), _quantile(ordered, 2, 4), _quantile(ordered, 3, 4)


def spread(values: Iterable[float]) -> Spread:
    """The spread of `values`; ValueError when there are none or one is not finite."""
    ordered = _ordered(values)
    low, middle, high = quartiles(ordered)
    return Spread(median=middle, low=low, high=high, min=ordered[0], max=ordered[-1], n=len(ordered))


def ratio_spread(a: Sequence[float], b: Sequence[float]) -> Spread:
    """The spread of a[i] / b[i], where `a[i]` and `b[i]` were measured in the same round.

    Pairing takes out what disturbed both of a round; a ratio of two medians does not. Raises ValueError when there
    are not as many of one as of the other, there are none, one is not finite, or one of `b` is not above 0.
    """
    if len(a) != len(b):
        raise ValueError(f"rounds come in pairs, but there are {len(a)} of one and {len(b)} of the other")
    for divisor in b:
        if not divisor > 0:
            raise ValueError(f"a ratio to {divisor} says nothing; what is divided by must be above 0")
    return spread(dividend / divisor for dividend, divisor in zip(a, b, strict=True))


def theil_sen(points: Sequence[tuple[float, float]], limit: int = 200) -> float | None:
    """The slope of (x, y) points, as the median of the slopes of all pairs, in units of y per unit of x.

    A few wild points do not move it (Theil 1950, Sen 1968), so that one stall does not look like a growing backlog.
    The pairs grow with the square of the points: more than `limit` are thinned evenly, first and last kept.
    None when no two points differ in x. Raises ValueError when `limit` is below 2 or a slope is not finite.
    """
    kept = _thinned(points, limit)
    slopes = [(y2 - y1) / (x2 - x1) for (x1, y1), (x2, y2) in combinations(kept, 2) if x1 != x2]
    return median(slopes) if slopes else None


def _thinned(points: Sequence[tuple[float, float]], limit: int) -> Sequence[tuple[float, float]]:
    if limit < 2:  # noqa: PLR2004  a slope needs two points
        raise ValueError(f"a slope needs at least 2 points, not {limit}")
    if len(points) <= limit:
        return points
    return [points[position * (len(points) - 1) // (limit - 1)] for position in range(limit)]


def _ordered(values: Iterable[float]) -> list[float]:
    ordered = sorted(values)
    if not ordered:
        raise ValueError("there are no values to describe")
    for value in ordered:
        if not isfinite(value):
            raise ValueError(f"{value} cannot be described; values must be finite")
    return ordered


def _quantile(ordered: Sequence[float], numerator: int, denominator: int) -> float:
    """The quantile numerator/denominator of values in rising order, in whole numbers up to the last step."""
    below, part = divmod((len(ordered) - 1) * numerator, denominator)
    if part == 0:
        return ordered[below]
    lower, upper = ordered[below], ordered[below + 1]
    return lower + (upper - lower) * (part / denominator)
