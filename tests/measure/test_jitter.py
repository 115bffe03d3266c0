"""The jitter baseline counts the gaps of a clock, and calls the long ones lost."""

from __future__ import annotations

from itertools import chain, count, repeat
from typing import TYPE_CHECKING

import pytest

from harness.measure.jitter import Jitter, jitter_baseline

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


def clock_of(gaps: Iterable[int]) -> Callable[[], int]:
    """A clock that starts at 1000 ns and goes on by one of `gaps` at each reading."""
    now = 1000
    steps = chain([0], gaps)

    def clock() -> int:
        nonlocal now
        now += next(steps)
        return now

    return clock


class TestJitterBaseline:
    def test_of_a_steady_clock_loses_nothing(self) -> None:
        """A clock whose readings are 100 ns apart has that gap throughout, and no time is lost."""
        assert jitter_baseline(10_000, clock_of(repeat(100))) == Jitter(
            duration_ns=10_000, gaps=100, median_ns=100, p99_ns=100, max_ns=100, lost_share=0.0
        )

    def test_counts_long_gaps_as_lost(self) -> None:
        """Time in gaps above 10 us is lost; a gap of 10 us is not."""
        found = jitter_baseline(80_000, clock_of([10_000, 10_001, 29_999, 30_000]))

        assert (found.duration_ns, found.gaps) == (80_000, 4)
        assert found.lost_share == 70_000 / 80_000
        assert (found.median_ns, found.max_ns) == (10_001, 30_000)

    def test_has_the_99th_percentile(self) -> None:
        """Of 200 gaps the 198th in order is the 99th percentile."""
        found = jitter_baseline(sum(range(1, 201)), clock_of(count(1)))

        assert (found.gaps, found.median_ns, found.p99_ns, found.max_ns) == (200, 100, 198, 200)

    def test_reads_the_system_s_clock(self) -> None:
        """On the system's own clock it takes at least the time that was asked for."""
        found = jitter_baseline(1_000_000)

        assert found.duration_ns >= 1_000_000
        assert 0 <= found.median_ns <= found.p99_ns <= found.max_ns <= found.duration_ns

    @pytest.mark.parametrize("duration_ns", [0, -1])
    def test_takes_time(self, duration_ns: int) -> None:
        """A baseline of no time is refused."""
        with pytest.raises(ValueError, match="takes time"):
            jitter_baseline(duration_ns)
