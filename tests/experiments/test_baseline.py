"""`harness load --baseline`: the same plan against the stored runs, another plan by turns with this one."""

from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import pytest

from harness.experiments.baseline import other_plan, run_against
from harness.experiments.load import run_load
from harness.experiments.plan import LoadPlan
from harness.measure.quantities import Ramp
from harness.results.loading import Result
from harness.results.schema import diff_schema, load_schema
from harness.sysv.errors import PlanError, UsageError

if TYPE_CHECKING:
    from harness.experiments.crew import Started
    from harness.experiments.follow import Snapshot

PLAN = LoadPlan(rate=Fraction(5000), duration_s=0.03, warmup_s=0.0, drain_s=0.2, repeat=2)
LARGER = replace(PLAN, size=(64, 64))
ANY = 1e9
"""A tolerance that nothing is beyond."""


class Watcher:
    """An observer that remembers the size of each run's messages, and which run of how many it was."""

    interval_s = 3600.0

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.numbers: list[tuple[int, int]] = []

    def started(self, plan: LoadPlan, engine: str, started: Started, number: int, of: int) -> None:
        self.sizes.append(plan.size[0])
        self.numbers.append((number, of))

    def sample(self, snapshot: Snapshot) -> None:
        pass


@pytest.fixture(scope="module")
def stored() -> Result:
    """A real result, as it comes out of its file."""
    return Result("A.json", json.loads(json.dumps(run_load(PLAN, Watcher()))))


def check_json(document: dict[str, Any]) -> None:
    validators = pytest.importorskip("jsonschema").Draft202012Validator
    again = json.loads(json.dumps(document, allow_nan=False))
    assert again == document
    validators(load_schema()).validate(again)
    for comparison in again["baseline"]:
        validators(diff_schema()).validate(comparison)


def test_the_same_plan_is_held_against_the_stored_runs(stored: Result) -> None:
    """The plan runs as often as asked, alone, and is compared with what the file has."""
    watcher = Watcher()

    document = run_against(stored, replace(PLAN, repeat=3, label="now", seed=4), watcher, tolerance=ANY)

    (comparison,) = document["baseline"]
    assert watcher.numbers == [(1, 3), (2, 3), (3, 3)]
    assert (comparison["before"]["title"], comparison["after"]["title"]) == ("A.json", "this run")
    assert (comparison["before"]["runs"], comparison["after"]["runs"]) == (2, 3)
    assert (comparison["paired"], comparison["warnings"][2:]) == (False, [])
    check_json(document)


def test_another_plan_is_run_by_turns_with_the_stored_one(stored: Result) -> None:
    """Both plans run in each round, who goes first turns, and the ratio is taken within each round."""
    watcher = Watcher()

    document = run_against(stored, replace(LARGER, repeat=3), watcher, tolerance=ANY)

    before, options = document["baseline"]
    assert watcher.sizes == [64, 32, 32, 64, 64, 32]
    assert watcher.numbers == [(number, 6) for number in range(1, 7)]
    assert [before[side]["title"] for side in ("before", "after")] == ["A.json", "A.json again"]
    assert [options[side]["title"] for side in ("before", "after")] == ["A.json again", "this run"]
    assert (before["paired"], options["paired"]) == (False, True)
    assert (before["after"]["runs"], options["before"]["runs"], options["after"]["runs"]) == (3, 3, 3)
    assert any("different plans: size" in warning for warning in options["warnings"])
    assert len(document["runs"]) == 3
    assert document["plan"]["size"] == {"smallest": 64, "largest": 64}
    rates = {run["achieved_rate"] for run in document["runs"]}
    assert set(options["figures"][0]["after"]["values"]) == rates
    check_json(document)


@pytest.mark.parametrize("ended_after", [1, 2])
def test_an_interruption_leaves_the_comparison_out(ended_after: int, stored: Result) -> None:
    """Cut short in either side's run, the result is incomplete, has this plan's figures, and compares nothing."""
    watcher = Watcher()

    def interrupted() -> str | None:
        return "SIGINT" if len(watcher.numbers) >= ended_after else None

    document = run_against(
        stored, replace(LARGER, duration_s=0.2, repeat=3), watcher, tolerance=ANY, interrupted=interrupted
    )

    assert len(watcher.numbers) == ended_after
    assert document["complete"] is False
    assert document["cut"]["sentence"] == "interrupted by SIGINT"
    assert document["baseline"] == []
    assert document["plan"]["size"] == {"smallest": 64, "largest": 64}
    check_json(document)


def test_an_interrupted_repeat_of_the_same_plan_compares_nothing(stored: Result) -> None:
    """A run of the baseline's own plan that is cut short is told as far as it came."""
    document = run_against(stored, PLAN, Watcher(), tolerance=ANY, interrupted=lambda: "SIGTERM")

    assert document["complete"] is False
    assert document["baseline"] == []


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("schema", "harness.ceiling/1", "is 'harness.ceiling/1'"),
        ("runs", [], "no whole run"),
        ("environment", {}, "is damaged"),
        ("engine", None, "unknown engine None"),
        ("plan", {"rate": 1.0}, "the plan in A.json is damaged"),
    ],
)
def test_a_baseline_that_is_none_is_refused(key: str, value: Any, words: str, stored: Result) -> None:
    """What cannot be compared or run again is a UsageError before anything runs."""
    with pytest.raises(UsageError, match=words):
        other_plan(Result("A.json", {**stored.document, key: value}), LARGER)


def test_a_baseline_of_another_machine_is_refused(stored: Result) -> None:
    """What another machine did says nothing of this run."""
    environment = {**stored.document["environment"], "cpu_model": "Another"}

    with pytest.raises(UsageError, match="different machines: cpu_model Another and"):
        other_plan(Result("A.json", {**stored.document, "environment": environment}), PLAN)


def test_a_ramp_is_not_run_by_turns(stored: Result) -> None:
    """A ramp on one side and another plan on the other have no rounds in common: refused, with a hint."""
    ramp = Ramp(Fraction(1000), Fraction(2000), 2)
    words = replace(PLAN, rate=ramp).to_json()

    with pytest.raises(PlanError, match="a ramp cannot be run by turns"):
        other_plan(stored, replace(PLAN, rate=ramp))
    with pytest.raises(PlanError, match="cannot be made again"):
        other_plan(Result("A.json", {**stored.document, "plan": words}), PLAN)


def test_the_same_plan_needs_no_other_beside_it(stored: Result) -> None:
    """Where nothing that counts differs there is no other plan; else it is the stored one, as often as this one."""
    beside = other_plan(stored, replace(LARGER, repeat=9))

    assert other_plan(stored, replace(PLAN, repeat=9, label="x")) is None
    assert beside is not None
    assert (beside.size, beside.repeat, beside.rate) == ((32, 32), 9, Fraction(5000))
