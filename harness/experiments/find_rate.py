"""`harness load --find-rate`: the highest rate that a workload holds, as a bracket [held, not held].

Which probe comes next is decided in rate_search.py; here each is carried out as any run is, with a crew of its own, and
judged: a rate is held when it is `sustained` and meets every threshold. The result is the `harness.find-rate/1`
document (docs/results.md).

The limit of time is announced and kept: no probe begins that would not fit, and one that takes longer than it should is
cut when the limit is reached.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

from harness.engines import choice
from harness.experiments.follow import Observer
from harness.experiments.load import now, run_once
from harness.experiments.rate_search import Ask, Outcome, Rules, Verdict, bracket, next_probe
from harness.measure.quantities import format_rate
from harness.results.environment import describe
from harness.sysv import require
from harness.sysv.errors import HarnessError, PlanError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from harness.experiments.plan import LoadPlan
    from harness.results import Threshold

SCHEMA = "harness.find-rate/1"
FIRST_RATE = 20_000
"""Messages a second: every engine holds that of small messages on any machine, and ten steps up are a million."""
WARMUP_S = 0.2
"""Enough to have each process and its pages in memory; with the usual second the ramp would take twice as long."""
NOT_THE_PLANS = ("rate", "duration_s", "count", "repeat", "closed", "outstanding", "loop")
"""Of a load's plan: what the search decides itself."""
WRONG = ("lost", "duplicated", "out_of_order")


@dataclass(frozen=True, slots=True, kw_only=True)
class FindRatePlan:
    """What to load, and how to search. `load.rate` is where the search begins; its duration is each probe's own.

    Raises PlanError for a load that has no rate to find: a closed loop, --rate max, a ramp, a count, repeats.
    """

    load: LoadPlan
    ramp_s: float = 1.0
    judge_s: float = 3.0
    confirm_s: float = 10.0
    limit_s: float = 90.0

    def __post_init__(self) -> None:
        hint = "leave it out, or leave out --find-rate"
        if self.load.closed:
            raise PlanError("a closed loop has no rate to find", why="it sends as fast as it is answered", hint=hint)
        if self.load.fixed_rate is None:
            raise PlanError("--find-rate chooses its rates itself", hint="leave out --rate")
        if self.load.count is not None:
            raise PlanError("--find-rate and --count contradict each other", why="a probe lasts a time", hint=hint)
        if self.load.repeat != 1:
            raise PlanError(
                "--find-rate and --repeat contradict each other", why="it repeats probes by its own rules", hint=hint
            )
        if not min(self.ramp_s, self.judge_s, self.confirm_s) > 0:
            raise PlanError("a probe must take some time")

    @property
    def rules(self) -> Rules:
        """What the search goes by."""
        assert self.load.fixed_rate is not None, "checked above"
        return Rules(
            first_rate=self.load.fixed_rate,
            ramp_s=self.ramp_s,
            judge_s=self.judge_s,
            confirm_s=self.confirm_s,
            limit_s=self.limit_s,
        )

    def to_json(self) -> dict[str, Any]:
        """The plan as it stands in the result: the load's without what the search decides, and the search's."""
        rules = self.rules
        return {
            **{key: value for key, value in self.load.to_json().items() if key not in NOT_THE_PLANS},
            "first_rate": float(rules.first_rate),
            "ramp_s": self.ramp_s,
            "judge_s": self.judge_s,
            "confirm_s": self.confirm_s,
            "limit_s": self.limit_s,
        }


class Watcher(Observer, Protocol):
    """Who wants to see the search go on; of each probe's run it sees what any observer sees."""

    def asked(self, ask: Ask, spent_s: float) -> None:
        """A probe is about to begin; so much of the limit is spent."""
        ...

    def probed(self, probe: dict[str, Any]) -> None:
        """A probe has ended; `probe` is as in the result."""
        ...


def run_find_rate(
    plan: FindRatePlan,
    watcher: Watcher,
    *,
    interrupted: Callable[[], str | None] = lambda: None,
    argv: Sequence[str] = (),
    thresholds: Sequence[Threshold] = (),
) -> dict[str, Any]:
    """Search; returns the `harness.find-rate/1` document. Raises HarnessError as `run_load` if the first probe does."""
    require()
    engine = choice.resolve(plan.load.engine)
    started_at = now()
    search = _Search(plan, engine, watcher, interrupted, thresholds)
    search.carry_out()
    if engine == "python" and plan.load.engine == "auto":
        search.warnings.append(
            f"the native engine was not built, so this is the python engine's rate ({choice.BUILD_HINT})"
        )
    document: dict[str, Any] = {
        "schema": SCHEMA,
        "label": plan.load.label,
        "argv": list(argv),
        "started_at": started_at,
        "plan": plan.to_json(),
        "engine": engine,
        "thresholds": [str(threshold) for threshold in thresholds],
        "complete": search.cut is None,
        "cut": search.cut,
        "end": search.end,
        "bracket": _bracket(search.outcomes, plan.rules),
        "confirmed": search.end == "confirmed",
        "elapsed_s": search.elapsed_s,
        "probes": search.probes,
        "wrong": search.wrong,
        "warnings": search.warnings,
        "advice": "",
        "environment": describe(),
    }
    document["advice"] = advice(document)
    return document


class _Search:
    """The search while it goes on: asks for the next probe, runs it, judges it, and keeps what is to be told."""

    def __init__(
        self,
        plan: FindRatePlan,
        engine: str,
        watcher: Watcher,
        interrupted: Callable[[], str | None],
        thresholds: Sequence[Threshold],
    ) -> None:
        self._plan = plan
        self._engine = engine
        self._watcher = watcher
        self._interrupted = interrupted
        self._thresholds = thresholds
        self._began_s = time.monotonic()
        self.elapsed_s = 0.0
        self.outcomes: list[Outcome] = []
        self.probes: list[dict[str, Any]] = []
        self.wrong: list[str] = []
        self.warnings: list[str] = []
        self.cut: dict[str, str] | None = None
        self.end: str = "cut"

    def carry_out(self) -> None:
        """Until there is a verdict, the limit of time is reached, or something else cuts the search short."""
        while not isinstance(ask := next_probe(self.outcomes, self._plan.rules), Verdict):
            if signal := self._interrupted():
                self.cut = {"cause": "interrupted", "sentence": f"interrupted by {signal}"}
                return
            if not self._probe(ask):
                return
        self.end = ask.end

    def _probe(self, ask: Ask) -> bool:
        """Make one probe; False when it was cut, and the search with it."""
        if ask.again:
            self.probes[-1]["counted"] = False
        self._watcher.asked(ask, self.elapsed_s)
        load = replace(self._plan.load, rate=ask.rate, duration_s=ask.length_s)
        try:
            figures = run_once(load, self._engine, self._watcher, self._stopped, number=1, of=1)
        except HarnessError as error:
            if not self.probes:
                raise
            self.cut = {"cause": "refused", "sentence": str(error)}  # what was found until now is still worth telling
            return False
        before_s, self.elapsed_s = self.elapsed_s, time.monotonic() - self._began_s
        probe = _told(ask, figures, self._thresholds, took_s=self.elapsed_s - before_s)
        self.probes.append(probe)
        self.wrong += _wrong(ask, figures)
        if probe["held"]:  # what others warn of, unsent messages, is why they were not held
            self.warnings += [warning for warning in figures["warnings"] if warning not in self.warnings]
        self._watcher.probed(probe)
        if not figures["complete"]:
            self._note_cut(figures["cut"])
            return False
        disturbed = probe["disturbance"] == "disturbed"
        self.outcomes.append(Outcome(held=probe["held"], disturbed=disturbed, took_s=probe["took_s"]))
        return True

    def _stopped(self) -> str | None:
        """What ends a run before its time: what ends the command, or the limit."""
        over = time.monotonic() - self._began_s >= self._plan.limit_s
        return self._interrupted() or ("the limit of time" if over else None)

    def _note_cut(self, cut: dict[str, str]) -> None:
        if cut["cause"] == "interrupted" and self._interrupted() is None:
            self.end = "limit"
        else:
            self.cut = cut


def _told(ask: Ask, figures: dict[str, Any], thresholds: Sequence[Threshold], *, took_s: float) -> dict[str, Any]:
    """A probe as it stands in the result; `held` is None for one that was cut."""
    checked = [threshold.check(figures).to_json() for threshold in thresholds]
    held = figures["sustained"] is True and not any(outcome["failed"] for outcome in checked)
    same = ("sustained", "achieved_rate", "unsent", "refused", "lost", "latency_ns", "service_ns")
    return {
        "stage": ask.stage,
        "rate": float(ask.rate),
        "length_s": ask.length_s,
        "again": ask.again,
        "counted": figures["complete"],
        "held": held if figures["complete"] else None,
        **{name: figures[name] for name in same},
        "thresholds": checked,
        "disturbance": figures["disturbance"]["verdict"],
        "took_s": took_s,
    }


def _wrong(ask: Ask, figures: dict[str, Any]) -> list[str]:
    """What a queue must never do, in a sentence."""
    found = [f"{name.replace('_', ' ')} {figures[name]:,}" for name in WRONG if figures[name]]
    if figures["balanced"] is False and figures["complete"]:
        found.append("the ledger does not balance")
    return [f"at {format_rate(ask.rate)}: {', '.join(found)}"] if found else []


def _bracket(outcomes: Sequence[Outcome], rules: Rules) -> dict[str, Any]:
    """Between which rates it lies, whatever ended the search."""
    found = bracket(outcomes, rules)
    return {
        "held": None if found.held is None else float(found.held),
        "not_held": None if found.not_held is None else float(found.not_held),
        "width_share": found.width_share,
        "narrow": found.narrow,
    }


def advice(document: dict[str, Any]) -> str:
    """The next thing to try."""
    found = document["bracket"]
    held, not_held = found["held"], found["not_held"]
    if document["cut"]:
        return "Run it again: what stands here is only what was found until then."
    if document["wrong"]:
        return (
            "Look at one such rate alone (--rate): messages went wrong, which the kernel's queue does not do by itself."
        )
    if held is None:
        return "Nothing was held: look at one rate (--rate) and its report, or loosen --fail-if."
    if document["confirmed"] and found["narrow"]:
        return f"See how it is held: --rate {held:.0f} --duration 60s, or what breaks above: --rate {not_held:.0f}."
    if any(not probe["counted"] for probe in document["probes"]):
        return "A quiet machine needs fewer probes: harness doctor says what disturbs this one."
    return f"Look closer from there: --rate {held:.0f}..{(not_held or 2 * held):.0f}."
