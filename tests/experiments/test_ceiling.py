"""`harness ceiling`: what it compares, what it tells, and that it can be interrupted."""

from __future__ import annotations

import json
from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from harness.engines.choice import native_problem
from harness.experiments.ceiling import CeilingPlan, _of_size, run_ceiling
from harness.show.ceiling import ceiling_lines, ceiling_view
from harness.sysv.errors import PlanError


def test_too_few_rounds_are_refused() -> None:
    """Two rounds have no spread worth the name, so the plan cannot be made."""
    with pytest.raises(PlanError, match="spread"):
        CeilingPlan(rounds=2)


def test_a_size_that_cannot_be_sent_is_refused() -> None:
    """A ceiling's sizes are checked as a load's are, before anything runs."""
    with pytest.raises(PlanError, match="header"):
        CeilingPlan(sizes=(8,))


@pytest.fixture(scope="module")
def ceiling() -> tuple[dict[str, Any], list[str]]:
    """A short ceiling, and the loops in the order in which they ran."""
    order: list[str] = []

    def note(done: int, of: int, engine: str, size: int) -> None:
        order.append(engine)

    plan = CeilingPlan(rounds=3, duration_s=0.03, warmup_s=0.0, sizes=(32,), pin=False)
    return run_ceiling(plan, note), order


def test_every_loop_runs_in_every_round(ceiling: tuple[dict[str, Any], list[str]]) -> None:
    """Each loop that is here gets a rate for each round, and each ratio is of rates of the same round."""
    result, _ = ceiling

    engines = {"plain", "python"} | (set() if native_problem() else {"bare", "native"})
    rates = {engine: found["all"] for engine, found in result["sizes"][0]["rates"].items()}
    ratio = next(item for item in result["sizes"][0]["ratios"] if (item["of"], item["to"]) == ("python", "plain"))
    pairs = [a / b for a, b in zip(rates["python"], rates["plain"], strict=True)]
    assert result["complete"] is True
    assert set(rates) == engines
    assert all(len(values) == 3 and min(values) > 0 for values in rates.values())
    assert ratio["median"] == pytest.approx(sorted(pairs)[1])
    assert result["wrong"] == []
    assert json.loads(json.dumps(result)) == result


def test_no_loop_always_follows_the_same_one(ceiling: tuple[dict[str, Any], list[str]]) -> None:
    """The order of the loops turns from round to round, so that what one leaves behind does not favour another."""
    _, order = ceiling

    loops = len(set(order))

    assert len({order[start] for start in range(0, len(order), loops)}) > 1


def test_an_interruption_keeps_whole_rounds() -> None:
    """Interrupted, it tells of the rounds that every loop finished, and says that it is incomplete."""
    runs = 0

    def interrupted() -> str | None:
        return "SIGINT" if runs > 5 else None

    def count(done: int, of: int, engine: str, size: int) -> None:
        nonlocal runs
        runs += 1

    result = run_ceiling(
        CeilingPlan(rounds=5, duration_s=0.02, warmup_s=0.0, sizes=(32,), pin=False), count, interrupted=interrupted
    )

    assert result["complete"] is False
    assert 1 <= result["sizes"][0]["rounds"] < 5
    assert any("INCOMPLETE" in line for line in ceiling_lines(result))


def test_a_round_without_a_rate_has_no_ratio() -> None:
    """A loop that received nothing in its window leaves that round out for all, and is no error."""
    found = _of_size(32, {"plain": [10.0, 0.0, 20.0], "python": [5.0, 5.0, 5.0]})

    (ratio,) = found["ratios"]
    assert (found["rounds"], found["rates"]["python"]["all"]) == (2, [5.0, 5.0])
    assert (ratio["of"], ratio["min"], ratio["max"]) == ("python", 0.25, 0.5)


def test_without_a_whole_round_there_is_no_figure() -> None:
    """Where no round is whole there are neither rates nor ratios."""
    found = _of_size(32, {"plain": [0.0], "python": [5.0]})

    assert (found["rounds"], found["rates"], found["ratios"]) == (0, {}, [])


def test_interrupted_in_its_first_round_it_shows_no_empty_table() -> None:
    """Without a whole round the report is what it has to say in lines."""
    plan = CeilingPlan(rounds=3, duration_s=0.03, warmup_s=0.0, sizes=(32,), pin=False)
    result = run_ceiling(plan, lambda *_: None, interrupted=lambda: "SIGINT")
    written = StringIO()

    Console(file=written, width=80).print(ceiling_view(result))

    text = written.getvalue()
    assert "INCOMPLETE" in text
    assert "quartiles" not in text
