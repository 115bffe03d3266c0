"""The jitter baseline: what the machine does to a process that only wants to run.

Taken before a run and kept in its `Disturbance`. It has no limit of its own: it tells a reader how far to trust a
tail latency, which cannot be better than the machine's own gaps.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

LONG_GAP_NS: Final = 10_000
"""A gap between two readings of the clock above this is time lost: the loop itself takes some 100 ns."""


@dataclass(frozen=True, slots=True)
class Jitter:
    """Gaps between readings of the clock in a loop that does nothing else, and the share of time in long gaps."""

    duration_ns: int
    gaps: int
    median_ns: int
    p99_ns: int
    max_ns: int
    lost_share: float


def jitter_baseline(duration_ns: int = 50_000_000, clock: Callable[[], int] = time.monotonic_ns) -> Jitter:
    """Read `clock` (ns) in a loop for `duration_ns`: what the machine does to a process that only wants to run.

    Taken before a run, on a CPU that the run will use. Gaps over LONG_GAP_NS count as lost. Raises ValueError when
    `duration_ns` is not above 0.
    """
    if duration_ns <= 0:
        raise ValueError(f"a jitter baseline takes time, not {duration_ns} ns")
    # counted, not listed: gaps repeat, and a list of them would grow and make gaps of its own
    counts: dict[int, int] = {}
    start = before = clock()
    end = start + duration_ns
    while before < end:
        now = clock()
        counts[now - before] = counts.get(now - before, 0) + 1
        before = now
    gaps = sum(counts.values())
    lost_ns = sum(gap * count for gap, count in counts.items() if gap > LONG_GAP_NS)
    return Jitter(
        duration_ns=before - start,
        gaps=gaps,
        median_ns=_ranked(counts, ceil(gaps / 2)),
        p99_ns=_ranked(counts, ceil(gaps * 99 / 100)),
        max_ns=max(counts),
        lost_share=lost_ns / (before - start),
    )


def _ranked(counts: dict[int, int], rank: int) -> int:
    """The value of this rank, counted from 1, among values that come `counts` times."""
    for value, count in sorted(counts.items()):
        rank -= count
        if rank <= 0:
            return value
    raise AssertionError("a rank is at most the number of values")
