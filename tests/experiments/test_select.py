"""`harness select`: what it measures, what it makes of it, and what it refuses."""

from __future__ import annotations

import json
from typing import Any

import pytest

from harness.experiments.chamber import Outcome
from harness.experiments.select import CASES, WALKS, SelectPlan, figures, passed, run_select
from harness.measure.statistics import quartiles
from harness.sysv.errors import PlanError

SMALL = SelectPlan(depths=(2, 10, 30), rounds=3, sleepers=(0, 5), bystander_depth=10, bystander_s=0.02)


@pytest.fixture(scope="module", params=["native", "python"])
def result(request: pytest.FixtureRequest) -> dict[str, Any]:
    """A whole small run of each engine."""
    from harness.engines.choice import native_problem  # noqa: PLC0415

    if request.param == "native" and (problem := native_problem()):
        pytest.skip(f"no native probes: {problem}")
    from dataclasses import replace  # noqa: PLC0415

    return run_select(replace(SMALL, engine=request.param))


def test_every_way_to_ask_is_measured_at_every_depth(result: dict[str, Any]) -> None:
    """Nine ways, three depths, three rounds each; every time is above 0."""
    found = {(way["case"], point["depth"]): point for way in result["receive"] for point in way["points"]}

    assert set(found) == {(case, depth) for case in CASES for depth in (2, 10, 30)}
    assert all(point["n"] == 3 and point["min"] > 0 for point in found.values())


def test_what_walks_has_a_fit_and_what_does_not_has_none(result: dict[str, Any]) -> None:
    """A cost for each message walked past is told of the ways that walk, and of no other."""
    assert {way["case"] for way in result["receive"] if way["fit"]} == set(WALKS)


def test_sends_and_the_bystander_are_measured(result: dict[str, Any]) -> None:
    """Sends past 0 and 5 sleepers have times; the pair has a rate alone and beside the poller, and their ratio."""
    assert [point["sleepers"] for point in result["send"]["points"]] == [0, 5]
    assert result["bystander"]["alone_rate"]["min"] > 0
    assert result["bystander"]["slowed"]["n"] == 3


def test_the_document_is_whole_and_honest(result: dict[str, Any]) -> None:
    """It can be written as JSON, has all rows that were announced, and says how quiet the machine was."""
    assert json.loads(json.dumps(result)) == result
    assert (result["schema"], result["complete"], result["warnings"]) == ("harness.select/1", True, [])
    assert len(result["rows"]) == SMALL.rows + 1  # and the overhead
    assert result["overhead_ns"] > 0
    assert result["disturbance"]["verdict"]


def test_interrupted_it_shows_what_it_has() -> None:
    """After some rows an interrupt ends it; the figures are of these, and it is marked."""
    seen: list[int] = []

    found = run_select(
        SMALL, lambda done, *_: seen.append(done), interrupted=lambda: "SIGINT" if seen and seen[-1] > 12 else None
    )

    assert (found["complete"], found["cut"]["cause"]) == (False, "interrupted")
    assert found["receive"]


def test_more_sleepers_than_there_can_be_are_told() -> None:
    """Where fewer threads can be had than were asked for, the number that was measured stands in the result."""
    plan = SelectPlan(depths=(2,), rounds=3, sleepers=(600,), bystander_depth=0, engine="python")

    found = run_select(plan)

    assert [point["sleepers"] for point in found["send"]["points"]] == [500]
    assert "600 sleeping receivers were asked for, and 500 could be had" in found["warnings"][0]


def test_figures_are_medians_over_rounds() -> None:
    """A point is the spread of its rounds; the bystander's ratio is taken within each round."""
    rows = [
        {"part": "receive", "round": one, "depth": depth, "case": "tail", "ns": float(100 * depth + one)}
        for one in range(3)
        for depth in (2, 10, 30)
    ]
    rows += [{"part": "bystander", "round": one, "alone": 10.0 * (one + 1), "polled": 5.0} for one in range(3)]

    found = figures(SMALL, Outcome("", rows=rows))

    (tail,) = found["receive"]
    assert [point["median"] for point in tail["points"]] == [201.0, 1001.0, 3001.0]
    assert tail["fit"]["near"]["per_step"] == pytest.approx(100.0)
    assert (found["bystander"]["slowed"]["low"], found["bystander"]["slowed"]["median"]) == quartiles([2, 4, 6])[:2]
    assert found["send"] is None


@pytest.mark.parametrize(
    ("case", "steps"), [("middle", 5), ("tail", 10), ("except", 10), ("peek", 10), ("lowest", 11), ("miss", 11)]
)
def test_how_many_messages_a_call_passes(case: str, steps: int) -> None:
    """Of 11 messages the one in the middle has 5 before it, the last 10; who finds none or the lowest looks at all."""
    assert passed(case, {"depth": 11}) == steps


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"depths": ()}, "no depth"),
        ({"depths": (1,)}, "nothing to walk"),
        ({"rounds": 2}, "spread"),
        ({"sleepers": (-1,)}, "below"),
        ({"depths": (2**27,), "size_bytes": 32}, r"need a queue of 4,294,967,360 bytes: msgmnb ends"),
        ({"engine": "bare"}, "unknown engine"),
    ],
)
def test_a_plan_that_cannot_be_is_refused(given: dict[str, Any], words: str) -> None:
    """What cannot be measured is a PlanError that says why, before anything is made."""
    with pytest.raises(PlanError, match=words):
        SelectPlan(**given)
