"""`harness ceiling`: what it compares, what it tells, and that it can be interrupted."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from harness.engines.choice import native_problem
from harness.experiments.ceiling import CeilingPlan, run_ceiling
from harness.show.ceiling import ceiling_lines
from harness.sysv.errors import PlanError

SHORT = CeilingPlan(rounds=3, duration_s=0.03, warmup_s=0.02, sizes=(32, 1024), pin=False)


def test_too_few_rounds_are_refused() -> None:
    """Two rounds have no spread worth the name, so the plan cannot be made."""
    with pytest.raises(PlanError, match="spread"):
        CeilingPlan(rounds=2)


def test_a_size_that_cannot_be_sent_is_refused() -> None:
    """A ceiling's sizes are checked as a load's are, before anything runs."""
    with pytest.raises(PlanError, match="header"):
        CeilingPlan(sizes=(8,))


def test_every_loop_runs_in_every_round() -> None:
    """Each loop that is here gets a rate for each round and size, and each ratio is of rates of the same round."""
    seen: list[tuple[str, int]] = []

    result = run_ceiling(SHORT, lambda _done, _of, engine, size: seen.append((engine, size)))

    engines = {"plain", "python"} | (set() if native_problem() else {"bare", "native"})
    assert result["complete"] is True
    assert set(seen) == {(engine, size) for engine in engines for size in SHORT.sizes}
    for entry in result["sizes"]:
        rates = {engine: entry["rates"][engine]["all"] for engine in entry["rates"]}
        assert set(rates) == engines
        assert all(len(values) == SHORT.rounds and min(values) > 0 for values in rates.values())
        ratio = next(item for item in entry["ratios"] if (item["of"], item["to"]) == ("python", "plain"))
        pairs = [a / b for a, b in zip(rates["python"], rates["plain"], strict=True)]
        assert ratio["median"] == pytest.approx(sorted(pairs)[1])
    assert result["wrong"] == []
    assert json.loads(json.dumps(result)) == result


def test_no_loop_always_follows_the_same_one() -> None:
    """The order of the loops turns from round to round, so that what one leaves behind does not favour another."""
    order: list[str] = []

    run_ceiling(
        CeilingPlan(rounds=3, duration_s=0.02, warmup_s=0.0, sizes=(32,), pin=False),
        lambda _done, _of, engine, _size: order.append(engine),
    )

    loops = len(set(order))
    assert len({order[start] for start in range(0, len(order), loops)}) > 1


def test_an_interruption_keeps_whole_rounds() -> None:
    """Interrupted, it tells of the rounds that every loop finished, and says that it is incomplete."""
    runs = 0

    def interrupted() -> str | None:
        return "SIGINT" if runs > 5 else None

    def count(_done: int, _of: int, _engine: str, _size: int) -> None:
        nonlocal runs
        runs += 1

    result = run_ceiling(
        CeilingPlan(rounds=5, duration_s=0.02, warmup_s=0.0, sizes=(32,), pin=False), count, interrupted=interrupted
    )

    assert result["complete"] is False
    assert 1 <= result["sizes"][0]["rounds"] < 5
    assert any("INCOMPLETE" in line for line in ceiling_lines(result))


def test_the_command_writes_pure_json_to_standard_output() -> None:
    """With --json - the report goes to standard error, and standard output can be parsed."""
    command = "ceiling --rounds 3 --duration 20ms --sizes 32B --no-pin --json -".split()

    done = subprocess.run(
        [sys.executable, "-m", "harness", *command], capture_output=True, text=True, check=False, timeout=60
    )

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["schema"] == "harness.ceiling/1"
    assert "python / plain" in done.stderr
