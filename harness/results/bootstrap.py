"""How far a ratio of medians may be trusted: the bootstrap over whole runs (Efron 1979), percentile interval.

A run is drawn whole, since what differs between runs of the same code (where wake-ups land, what else the machine
does) holds for a whole run; the messages within one tell nothing of it. The draws are seeded: the same two results
compare the same way each time.
"""

from __future__ import annotations

import random
from statistics import median
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

RESAMPLES = 4000
"""Draws. The ends of a 99.5 % interval are then the 10th from below and from above; with 20,000 they move by less than
the runs themselves do."""
_SEED = 20_260_000


def ratio_of_medians(before: Sequence[float], after: Sequence[float]) -> float:
    """median(after) / median(before); all values above 0."""
    return median(after) / median(before)


def ratio_interval(
    before: Sequence[float], after: Sequence[float], confidence: float, *, resamples: int = RESAMPLES
) -> tuple[float, float]:
    """Where median(after) / median(before) lies, with this confidence (0.995); values above 0, some on each side."""
    dice = random.Random(_SEED)  # noqa: S311  repeatable, not secret
    ratios = sorted(
        ratio_of_medians(dice.choices(before, k=len(before)), dice.choices(after, k=len(after)))
        for _ in range(resamples)
    )
    return _middle(ratios, confidence)


def paired_ratio_interval(
    ratios: Sequence[float], confidence: float, *, resamples: int = RESAMPLES
) -> tuple[float, float]:
    """Where the median of ratios lies that were each taken within one round, with this confidence."""
    dice = random.Random(_SEED)  # noqa: S311  repeatable, not secret
    medians = sorted(median(dice.choices(ratios, k=len(ratios))) for _ in range(resamples))
    return _middle(medians, confidence)


def _middle(ordered: Sequence[float], confidence: float) -> tuple[float, float]:
    """The ends of the middle part of values in rising order."""
    outside = round(len(ordered) * (1 - confidence) / 2)
    return ordered[outside], ordered[-1 - outside]
