"""`harness load --find-rate`: how probes are run and judged, what is told of them, and what cuts a search short."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import pytest

from harness.experiments import find_rate
from harness.experiments.find_rate import FindRatePlan, run_find_rate
from harness.experiments.plan import LoadPlan
from harness.measure.quantities import Ramp
from harness.results.thresholds import parse_threshold
from harness.sysv.errors import PlanError

if TYPE_CHECKING:
    from harness.experiments.crew import Started
    from harness.experiments.follow import Snapshot
    from harness.experiments.rate_search import Ask

LOAD = LoadPlan(rate=Fraction(20_000), warmup_s=0.0)
PLAN = FindRatePlan(load=LOAD)
Run = Callable[[LoadPlan], dict[str, Any]]


class Watcher:
    """Remembers what it was told."""

    interval_s = 3600.0

    def __init__(self) -> None:
        self.told: list[tuple[str, float]] = []
        self.engines: list[str] = []

    def started(self, plan: LoadPlan, engine: str, started: Started, number: int, of: int) -> None:
        self.engines.append(engine)

    def sample(self, snapshot: Snapshot) -> None:
        pass

    def asked(self, ask: Ask, spent_s: float) -> None:
        self.told.append(("asked", float(ask.rate)))

    def probed(self, probe: dict[str, Any]) -> None:
        self.told.append(("probed", probe["rate"]))


def figures(plan: LoadPlan, *, sustained: bool | None, **changes: Any) -> dict[str, Any]:
    """What a run that went well tells, as far as the search reads it."""
    rate = float(plan.fixed_rate or 0)
    return {
        "complete": True,
        "cut": None,
        "sustained": sustained,
        "achieved_rate": rate,
        **dict.fromkeys(("unsent", "refused", "lost", "duplicated", "out_of_order"), 0),
        "balanced": True,
        "latency_ns": {"p50": 1000, "p99": int(rate)},
        "service_ns": {"p50": 1000, "p99": 2000},
        "disturbance": {"verdict": "clean"},
        "warnings": [],
        **changes,
    }


@pytest.fixture
def pretend(monkeypatch: pytest.MonkeyPatch) -> Callable[[Run], None]:
    """Makes runs of probes be what a function says of their plan."""

    def put(run: Run) -> None:
        monkeypatch.setattr(find_rate, "run_once", lambda plan, *_, **__: run(plan))

    return put


def holds(capacity: float, **changes: Any) -> Run:
    """Runs that are sustained up to a rate."""
    return lambda plan: figures(plan, sustained=(plan.fixed_rate or 0) <= capacity, **changes)


def test_the_document_has_the_bracket_and_every_probe(pretend: Callable[[Run], None]) -> None:
    """What was found, how it was confirmed, and each probe with its rate, length and verdict are told as JSON."""
    pretend(holds(100_000))

    result = run_find_rate(PLAN, Watcher(), argv=["harness"])

    found, last = result["bracket"], result["probes"][-1]
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    assert (result["schema"], result["argv"]) == ("harness.find-rate/1", ["harness"])
    assert found["held"] <= 100_000 < found["not_held"]
    assert found["width_share"] == pytest.approx(1 - found["held"] / found["not_held"])
    assert found["narrow"] is True
    assert (result["complete"], result["cut"], result["end"], result["confirmed"]) == (True, None, "confirmed", True)
    assert (last["stage"], last["rate"], last["length_s"], last["held"]) == ("confirm", found["held"], 10.0, True)
    assert [probe["rate"] for probe in result["probes"][:3]] == [20_000, 30_000, 45_000]
    assert all(probe["held"] is (probe["rate"] <= 100_000) for probe in result["probes"])
    assert result["elapsed_s"] == pytest.approx(sum(probe["took_s"] for probe in result["probes"]), abs=0.5)


def test_each_probe_is_a_run_of_the_load_with_its_own_rate_and_length(pretend: Callable[[Run], None]) -> None:
    """Whatever else the load asks for, its probes have it too."""
    plans: list[LoadPlan] = []

    def keep(plan: LoadPlan) -> dict[str, Any]:
        plans.append(plan)
        return holds(50_000)(plan)

    pretend(keep)
    load = replace(LOAD, size=(64, 128), producers=2, seed=7)

    result = run_find_rate(FindRatePlan(load=load), Watcher())

    assert {replace(plan, rate=load.rate, duration_s=load.duration_s) for plan in plans} == {load}
    assert [(plan.rate, plan.duration_s) for plan in plans] == [
        (probe["rate"], probe["length_s"]) for probe in result["probes"]
    ]


def test_who_watches_is_told_of_each_probe(pretend: Callable[[Run], None]) -> None:
    """Before a probe it hears what is asked, after it what came of it."""
    pretend(holds(50_000))
    watcher = Watcher()

    result = run_find_rate(PLAN, watcher)

    rates = [probe["rate"] for probe in result["probes"]]
    assert watcher.told == [(kind, rate) for rate in rates for kind in ("asked", "probed")]


def test_a_rate_that_misses_a_threshold_is_not_held(pretend: Callable[[Run], None]) -> None:
    """A probe is held when it is sustained and meets every threshold; which one it missed is told."""
    pretend(holds(1e9))  # whose p99, in ns, is the rate

    result = run_find_rate(PLAN, Watcher(), thresholds=[parse_threshold("p99>70us"), parse_threshold("lost>0")])

    missed = next(probe for probe in result["probes"] if not probe["held"])
    assert result["bracket"]["held"] <= 70_000 < result["bracket"]["not_held"]
    assert result["thresholds"] == ["p99>70us", "lost>0"]
    assert missed["sustained"] is True
    assert [(item["threshold"], item["failed"]) for item in missed["thresholds"]] == [
        ("p99>70us", True),
        ("lost>0", False),
    ]


def test_a_probe_that_was_repeated_does_not_count(pretend: Callable[[Run], None]) -> None:
    """The one that was disturbed says that it does not count, the one after it that it repeats it."""
    disturbed = iter([True])

    def once_disturbed(plan: LoadPlan) -> dict[str, Any]:
        if plan.fixed_rate == 30_000 and next(disturbed, False):
            return figures(plan, sustained=False, disturbance={"verdict": "disturbed"})
        return holds(50_000)(plan)

    pretend(once_disturbed)

    result = run_find_rate(PLAN, Watcher())

    at_30k = [
        (probe["again"], probe["counted"], probe["held"]) for probe in result["probes"] if probe["rate"] == 30_000
    ]
    assert at_30k == [(False, False, False), (True, True, True)]
    assert result["bracket"]["held"] > 30_000


def test_more_workers_than_cpus_are_no_disturbance(pretend: Callable[[Run], None]) -> None:
    """What a quieter time would not cure is not repeated."""
    pretend(holds(50_000, disturbance={"verdict": "oversubscribed"}))

    assert not any(probe["again"] for probe in run_find_rate(PLAN, Watcher())["probes"])


def test_messages_that_go_wrong_are_told(pretend: Callable[[Run], None]) -> None:
    """Loss and disorder, which a queue does not do, are told with the rate, also where that was not held."""
    pretend(lambda plan: figures(plan, sustained=plan.rate == 20_000, lost=0 if plan.rate == 20_000 else 3))

    result = run_find_rate(PLAN, Watcher())

    assert result["wrong"][0] == "at 30.0 k/s: lost 3"
    assert "messages went wrong" in result["advice"]


def test_warnings_of_what_was_held_are_told_once(pretend: Callable[[Run], None]) -> None:
    """A doubt that every run has stands there once; those of rates that were not held are why they were not."""
    pretend(
        lambda plan: figures(
            plan,
            sustained=plan.rate <= 20_000,  # type: ignore[operator]
            warnings=["no private namespace"] if plan.rate <= 20_000 else ["never sent"],  # type: ignore[operator]
        )
    )

    assert run_find_rate(PLAN, Watcher())["warnings"] == ["no private namespace"]


def test_where_nothing_is_held_it_says_so(pretend: Callable[[Run], None]) -> None:
    """Without a rate that is held there is no confirmation, and the advice is to look at one rate."""
    pretend(holds(0))

    result = run_find_rate(PLAN, Watcher())

    assert (result["end"], result["complete"], result["confirmed"]) == ("nothing-held", True, False)
    assert result["bracket"] == {"held": None, "not_held": 19.5, "width_share": None, "narrow": False}
    assert "Nothing was held" in result["advice"]


def test_an_interrupt_between_probes_keeps_what_there_is(pretend: Callable[[Run], None]) -> None:
    """Asked to end, it begins no other probe, and the bracket so far is told, marked incomplete."""
    pretend(holds(100_000))
    watcher = Watcher()

    result = run_find_rate(PLAN, watcher, interrupted=lambda: "SIGTERM" if len(watcher.told) >= 6 else None)

    assert len(result["probes"]) == 3
    assert (result["complete"], result["end"], result["confirmed"]) == (False, "cut", False)
    assert result["cut"] == {"cause": "interrupted", "sentence": "interrupted by SIGTERM"}
    assert result["bracket"]["held"] == 45_000


def test_a_probe_that_was_cut_is_told_and_decides_nothing(pretend: Callable[[Run], None]) -> None:
    """The probe in which it ended stands there without a verdict."""
    cut = {"cause": "worker-killed", "sentence": "consumer 0 was killed"}
    pretend(
        lambda plan: (
            figures(plan, sustained=True)
            if plan.rate == 20_000
            else figures(plan, sustained=None, complete=False, cut=cut)
        )
    )

    result = run_find_rate(PLAN, Watcher())

    assert [probe["held"] for probe in result["probes"]] == [True, None]
    assert result["probes"][-1]["counted"] is False
    assert (result["complete"], result["cut"]) == (False, cut)
    assert result["bracket"]["held"] == 20_000


def test_a_run_that_is_refused_later_keeps_what_there_is(pretend: Callable[[Run], None]) -> None:
    """A queue that is not free any more after some probes ends the search; at the first probe it is an error."""

    def refuse_from(rate: int) -> Run:
        def run(plan: LoadPlan) -> dict[str, Any]:
            if plan.rate == rate:
                raise PlanError("queue 0x1 holds 5 messages")
            return figures(plan, sustained=True)

        return run

    pretend(refuse_from(45_000))
    result = run_find_rate(PLAN, Watcher())
    assert result["cut"] == {"cause": "refused", "sentence": "queue 0x1 holds 5 messages"}
    assert result["bracket"]["held"] == 30_000

    pretend(refuse_from(20_000))
    with pytest.raises(PlanError, match="holds 5 messages"):
        run_find_rate(PLAN, Watcher())


def test_a_probe_that_takes_too_long_is_cut_at_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """At the limit a run is asked to end; that is the search's own end, and no interruption."""
    now_s = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now_s[0])

    def run(plan: LoadPlan, engine: str, observer: object, stopped: Callable[[], str | None], **_: int) -> Any:
        if plan.rate == 20_000:
            now_s[0] += 2
            return figures(plan, sustained=True)
        assert stopped() is None
        now_s[0] += 100
        assert stopped() == "the limit of time"
        return figures(plan, sustained=None, complete=False, cut={"cause": "interrupted", "sentence": "by the limit"})

    monkeypatch.setattr(find_rate, "run_once", run)

    result = run_find_rate(PLAN, Watcher())

    assert (result["end"], result["complete"], result["cut"]) == ("limit", True, None)
    assert result["bracket"]["held"] == 20_000


@pytest.mark.parametrize(
    ("load", "words"),
    [
        ({"closed": True, "rate": "max"}, "closed loop has no rate"),
        ({"rate": "max"}, "chooses its rates"),
        ({"rate": Ramp(Fraction(1000), Fraction(2000), 2)}, "chooses its rates"),
        ({"count": 1000, "duration_s": None}, "--count contradict"),
        ({"repeat": 3}, "--repeat contradict"),
    ],
)
def test_a_load_without_a_rate_to_find_is_refused(load: dict[str, Any], words: str) -> None:
    """A closed loop, no rate, a ramp, a count and repeats contradict the search, and each says what to leave out."""
    with pytest.raises(PlanError, match=words) as caught:
        FindRatePlan(load=LoadPlan(**load))

    assert "leave" in caught.value.hint


def test_a_probe_without_length_is_refused() -> None:
    """Every stage takes some time."""
    with pytest.raises(PlanError, match="some time"):
        FindRatePlan(load=LOAD, judge_s=0.0)


def test_real_probes_are_judged_by_what_they_measured() -> None:
    """On the real kernel, under a threshold on the rate, what goes beyond it is not held, and nothing is lost."""
    load = LoadPlan(rate=Fraction(2000), warmup_s=0.0, drain_s=0.3, engine="python")
    plan = FindRatePlan(load=load, ramp_s=0.05, judge_s=0.05, confirm_s=0.05, limit_s=30.0)
    watcher = Watcher()

    result = run_find_rate(
        plan,
        watcher,
        interrupted=lambda: "enough" if len(watcher.told) >= 8 else None,
        thresholds=[parse_threshold("rate>2500")],
    )

    assert len(result["probes"]) == 4
    assert set(watcher.engines) == {"python"}
    assert result["wrong"] == []
    assert all(probe["achieved_rate"] <= 2500 for probe in result["probes"] if probe["held"])
    assert any(probe["thresholds"][0]["failed"] for probe in result["probes"])
    assert json.loads(json.dumps(result, allow_nan=False)) == result


def test_an_interrupt_during_a_real_probe_ends_it_early() -> None:
    """A signal during a probe cuts that run, and the search with it."""
    plan = FindRatePlan(load=LoadPlan(rate=Fraction(2000), warmup_s=0.0), ramp_s=30.0)
    watcher = Watcher()

    result = run_find_rate(plan, watcher, interrupted=lambda: "SIGINT" if watcher.engines else None)

    assert result["complete"] is False
    assert result["cut"]["cause"] == "interrupted"
    assert [probe["held"] for probe in result["probes"]] == [None]
