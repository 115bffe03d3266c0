"""`harness ceiling`: what it costs to look. Both engines with everything on, against loops that only send and receive.

    native   C, everything on      against  bare    C, send and receive only
    python   sysv_ipc, everything on  against  plain   sysv_ipc, send and receive only

All run unpaced, by turns, in the same rounds: the rate of one run says little here (where its wake-ups land moves it
by half), a ratio within one round says more, and the median over rounds is what counts. The order turns from round to
round, so that none always follows the same one.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol

from harness.engines import choice
from harness.experiments.figures import figures_of
from harness.experiments.follow import Run, Unseen, execute
from harness.experiments.plan import LoadPlan
from harness.measure.statistics import ratio_spread, spread
from harness.results.environment import describe
from harness.sysv import require
from harness.sysv.errors import PlanError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from harness.engines.layout import Board

SCHEMA = "harness.ceiling/1"
FEWEST_ROUNDS = 3
RATIOS = (("native", "bare"), ("python", "plain"), ("plain", "bare"), ("python", "bare"))
"""Which engine is held against which."""
AIMS = {("native", "bare"): 0.95, ("python", "plain"): 0.75}
"""What the project has promised itself of a ratio, for messages of 32 B and 1 KiB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CeilingPlan:
    """How many rounds, of which length, with which message sizes. Raises PlanError for fewer than 3 rounds."""

    rounds: int = 11
    duration_s: float = 0.5
    warmup_s: float = 0.2
    sizes: tuple[int, ...] = (32, 1024, 8192)
    pin: bool = True

    def __post_init__(self) -> None:
        if self.rounds < FEWEST_ROUNDS:
            raise PlanError(
                f"{self.rounds} rounds say nothing about the spread", hint=f"write --rounds {FEWEST_ROUNDS} or more"
            )
        for size in self.sizes:
            self.load(size, "plain")

    def load(self, size: int, engine: str) -> LoadPlan:
        """The run of one engine in one round."""
        return LoadPlan(
            rate="max",
            duration_s=self.duration_s,
            warmup_s=self.warmup_s,
            size=(size, size),
            engine=engine,
            pin=self.pin,
            drain_s=0.5,
        )


class Progress(Protocol):
    """Who wants to know how far it is."""

    def __call__(self, done: int, of: int, engine: str, size: int) -> None:
        """`done` of `of` runs are over; the next is `engine`'s with messages of `size` bytes."""
        ...


def run_ceiling(
    plan: CeilingPlan,
    progress: Progress,
    *,
    interrupted: Callable[[], str | None] = lambda: None,
    argv: Sequence[str] = (),
) -> dict[str, Any]:
    """Carry it out; returns the `harness.ceiling/1` document (docs/results.md). Raises HarnessError as `run_load`."""
    require()
    problem = choice.native_problem()
    engines = ("plain", "python") if problem else ("bare", "native", "plain", "python")
    started_at = datetime.now(UTC).isoformat(timespec="seconds")
    rates: dict[int, dict[str, list[float]]] = {size: {engine: [] for engine in engines} for size in plan.sizes}
    verdicts: list[str] = []
    wrong: list[str] = []
    turns = [
        (size, engines[(turn + number) % len(engines)])
        for number in range(plan.rounds)
        for size in plan.sizes
        for turn in range(len(engines))
    ]
    for done, (size, engine) in enumerate(turns):
        if interrupted():
            break
        progress(done, len(turns), engine, size)
        figures = _one(plan.load(size, engine), engine, interrupted)
        if not figures["complete"]:
            break
        rates[size][engine].append(figures["achieved_rate"] or 0.0)
        verdicts.append(figures["disturbance"]["verdict"])
        if engine in choice.NAMES and (figures["lost"] or figures["duplicated"] or figures["out_of_order"]):
            wrong.append(f"{engine}, {size} B: messages lost, doubled or out of order")
    return {
        "schema": SCHEMA,
        "argv": list(argv),
        "started_at": started_at,
        "plan": {
            "rounds": plan.rounds,
            "duration_s": plan.duration_s,
            "warmup_s": plan.warmup_s,
            "sizes": list(plan.sizes),
            "pin": plan.pin,
        },
        "complete": len(verdicts) == len(turns),
        "sizes": [_of_size(size, rates[size]) for size in plan.sizes],
        "verdicts": {verdict: verdicts.count(verdict) for verdict in sorted(set(verdicts))},
        "wrong": wrong,
        "warnings": [f"no native engine, so no bare loop either: {problem}; {choice.BUILD_HINT}"] if problem else [],
        "environment": describe(),
    }


def _one(plan: LoadPlan, engine: str, interrupted: Callable[[], str | None]) -> dict[str, Any]:
    kept: list[dict[str, Any]] = []

    def keep(run: Run, board: Board) -> None:
        kept.append(figures_of(run, board))

    execute(plan, engine, Unseen(), interrupted, number=1, of=1, finish=keep)
    return kept[0]


def _of_size(size: int, rates: dict[str, list[float]]) -> dict[str, Any]:
    """Rates and ratios of one message size, over the rounds that every engine finished."""
    # A round in which a loop received nothing, as in a window that is too short for it, has no ratios.
    whole_rounds = [by_engine for by_engine in zip(*rates.values(), strict=False) if min(by_engine) > 0]
    rounds = len(whole_rounds)
    whole = {engine: [by_engine[place] for by_engine in whole_rounds] for place, engine in enumerate(rates)}
    ratios = [
        {
            "of": upper,
            "to": lower,
            "aim": AIMS.get((upper, lower)),
            **ratio_spread(whole[upper], whole[lower]).to_json(),
        }
        for upper, lower in RATIOS
        if rounds and upper in whole and lower in whole
    ]
    return {
        "size": size,
        "rounds": rounds,
        "rates": {engine: {**spread(values).to_json(), "all": values} for engine, values in whole.items() if values},
        "ratios": ratios,
    }
