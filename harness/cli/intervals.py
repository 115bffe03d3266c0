"""The runs of a `harness load` as the intervals of its --hlog, gathered while it goes on."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from harness.results.hdr import Interval, histogram_in

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.experiments.follow import Run
    from harness.experiments.plan import LoadPlan

NS = 1e9


class Intervals:
    """What `run_load` tells of each run that has ended; the steps of a ramp are tagged, as they do not add up.

    `clock` answers in seconds since the epoch, `monotonic_ns` as a run's own times; tests hand in theirs.
    """

    def __init__(
        self,
        plan: LoadPlan,
        *,
        clock: Callable[[], float] = time.time,
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._tagged = len(plan.steps) > 1
        self._clock = clock
        self._monotonic_ns = monotonic_ns
        self.seen: list[Interval] = []

    def __call__(self, run: Run, figures: dict[str, Any]) -> None:
        """Keep a run; one that was cut before its window had no interval."""
        if not run.t0_ns:
            return
        ago_s = (self._monotonic_ns() - run.t0_ns) / NS
        rate = run.plan.fixed_rate
        self.seen.append(
            Interval(
                start_s=self._clock() - ago_s,
                length_s=run.elapsed_s,
                histogram=histogram_in(figures),
                of=figures["histogram"]["of"],
                tag=f"{float(rate):.0f}" if self._tagged and rate is not None else "",
            )
        )
