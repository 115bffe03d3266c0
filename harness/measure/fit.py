"""What one more step costs, from times measured at several depths: a line, or two where a cache ends in between.

For the experiment about selection, where a receive walks `skipped` messages: time = base + skipped * per_step. Times
span four decades, so the line is fitted to relative errors: 10 % off counts the same at 1 us and at 1 ms. The interval
is a bootstrap over whole rounds, since the points of one round share whatever disturbed it.
"""

from __future__ import annotations

import random
from dataclasses import asdict, dataclass
from statistics import median
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

RESAMPLES = 400
LEAST_POINTS = 3
"""The first line needs as many, or a wild point alone would be a slope."""
LEAST_FAR_POINTS = 2
"""The second line begins at the bend, and may end at the next point: a cache can end just before the deepest."""
BETTER = 0.5
"""Two lines have to leave at most this share of one line's squared error: they have two numbers more to please with."""
BEND = 1.3
"""And the second must be so much steeper: a cache that ends makes steps dearer."""


@dataclass(frozen=True, slots=True)
class Line:
    """base + steps * per_step, in the times' unit, with a 95 % interval of per_step (None: one round alone)."""

    base: float
    per_step: float
    low: float | None = None
    high: float | None = None

    def at(self, steps: float) -> float:
        """The time at so many steps."""
        return self.base + steps * self.per_step


@dataclass(frozen=True, slots=True)
class Fit:
    """A line for up to `bend` steps, and a second one beyond; without a bend the first holds for all."""

    near: Line
    bend: int | None = None
    far: Line | None = None

    def to_json(self) -> dict[str, object]:
        """Its fields under their names."""
        return asdict(self)


def fit_steps(rounds: Sequence[Mapping[int, float]], *, seed: int = 0) -> Fit | None:
    """Fit the medians over `rounds`, each a time for each number of steps; None with fewer than 3 numbers of steps.

    Raises ValueError when there is no round, or a time is not above 0.
    """
    if not rounds:
        raise ValueError("there are no rounds to fit")
    if any(value <= 0 for times in rounds for value in times.values()):
        raise ValueError("a time must be above 0")
    points = _medians(rounds)
    if len(points) < LEAST_POINTS:
        return None
    bend = _bend(points)
    near_points, far_points = _parts(points, bend)
    near, far = _line(near_points), _line(far_points) if bend is not None else None
    if len(rounds) > 1:
        chance = random.Random(seed)  # noqa: S311  no secret
        draws = [_parts(_medians(chance.choices(rounds, k=len(rounds))), bend) for _ in range(RESAMPLES)]
        near = _with_interval(near, [_line(part).per_step for part, _ in draws])
        if far is not None:
            far = _with_interval(far, [_line(part).per_step for _, part in draws])
    return Fit(near, bend, far)


def _medians(rounds: Sequence[Mapping[int, float]]) -> list[tuple[int, float]]:
    common = set(rounds[0]).intersection(*rounds[1:])
    return [(steps, median(times[steps] for times in rounds)) for steps in sorted(common)]


def _line(points: Sequence[tuple[int, float]]) -> Line:
    """Least squares of relative errors: each point weighs 1 / time**2."""
    weights = [1 / value**2 for _, value in points]
    total = sum(weights)
    middle_x = sum(weight * steps for weight, (steps, _) in zip(weights, points, strict=True)) / total
    middle_y = sum(weight * value for weight, (_, value) in zip(weights, points, strict=True)) / total
    spread = sum(weight * (steps - middle_x) ** 2 for weight, (steps, _) in zip(weights, points, strict=True))
    if not spread:
        return Line(middle_y, 0.0)
    slope = (
        sum(
            weight * (steps - middle_x) * (value - middle_y)
            for weight, (steps, value) in zip(weights, points, strict=True)
        )
        / spread
    )
    return Line(middle_y - slope * middle_x, slope)


def _error(points: Sequence[tuple[int, float]], line: Line) -> float:
    return sum(((line.at(steps) - value) / value) ** 2 for steps, value in points)


def _parts(
    points: Sequence[tuple[int, float]], bend: int | None
) -> tuple[list[tuple[int, float]], list[tuple[int, float]]]:
    """The points up to the bend, and those from it on: it belongs to both lines."""
    if bend is None:
        return list(points), []
    return [point for point in points if point[0] <= bend], [point for point in points if point[0] >= bend]


def _bend(points: Sequence[tuple[int, float]]) -> int | None:
    """Where two lines fit clearly better than one, with the second steeper; or None."""
    whole = _error(points, _line(points))
    best: tuple[float, int] | None = None
    for steps, _ in points[LEAST_POINTS - 1 : 1 - LEAST_FAR_POINTS]:
        near_points, far_points = _parts(points, steps)
        near, far = _line(near_points), _line(far_points)
        error = _error(near_points, near) + _error(far_points, far)
        if far.per_step > BEND * near.per_step > 0 and (best is None or error < best[0]):
            best = error, steps
    return best[1] if best is not None and best[0] < BETTER * whole else None


def _with_interval(line: Line, slopes: Sequence[float]) -> Line:
    """With the central 95 % of the resampled slopes."""
    ordered = sorted(slopes)
    cut = len(ordered) // 40
    return Line(line.base, line.per_step, ordered[cut], ordered[-1 - cut])
