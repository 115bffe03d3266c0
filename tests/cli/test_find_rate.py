"""`harness load --find-rate` as it is typed: what it refuses, what comes out, and with which status."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest
from rich.console import Console

from harness.cli.app import main
from harness.cli.find_rate import SearchView, exit_status
from harness.experiments import find_rate
from harness.experiments.crew import Started
from harness.experiments.plan import LoadPlan
from harness.experiments.rate_search import Ask
from harness.measure.histogram import Histogram

if TYPE_CHECKING:
    from pathlib import Path

LIMIT_S = 30.0


@pytest.fixture
def up_to_50k(monkeypatch: pytest.MonkeyPatch) -> list[LoadPlan]:
    """Probes that run nothing, and hold up to 50 k/s; the list has their plans."""
    plans: list[LoadPlan] = []

    def run_once(plan: LoadPlan, *_: Any, **__: Any) -> dict[str, Any]:
        plans.append(plan)
        return {
            "complete": True,
            "sustained": (plan.fixed_rate or 0) <= 50_000,
            "achieved_rate": float(plan.fixed_rate or 0),
            **dict.fromkeys(("unsent", "refused", "lost", "duplicated", "out_of_order"), 0),
            "balanced": True,
            "latency_ns": Histogram().summary(),
            "service_ns": Histogram().summary(),
            "disturbance": {"verdict": "clean"},
            "warnings": [],
        }

    monkeypatch.setattr(find_rate, "run_once", run_once)
    return plans


def test_without_a_terminal_each_probe_is_a_line(up_to_50k: list[LoadPlan], capsys: pytest.CaptureFixture[str]) -> None:
    """First the limit, then a line for each probe, then what was found."""
    status = main(["load", "--find-rate"])

    told = capsys.readouterr()
    lines = told.out.splitlines()
    assert (status, told.err) == (0, "")
    assert lines[0].endswith("at most 90 s")
    assert len([line for line in lines if " for " in line and "received" in line]) == len(up_to_50k)
    assert any(line.startswith("held ") and " not held " in line for line in lines)
    assert lines[-1].startswith("next: ")


def test_the_result_is_json(up_to_50k: list[LoadPlan], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--json writes the document; with --quiet nothing else comes out."""
    path = tmp_path / "found.json"

    status = main(["load", "--find-rate", "--quiet", "--json", str(path), "--label", "x", "--fail-if", "lost>0"])

    result = json.loads(path.read_text())
    assert (status, *capsys.readouterr()) == (0, "", "")
    assert (result["schema"], result["label"], result["thresholds"]) == ("harness.find-rate/1", "x", ["lost>0"])
    assert result["bracket"]["held"] <= 50_000 < result["bracket"]["not_held"]


def test_json_on_standard_output_is_nothing_but_json(
    up_to_50k: list[LoadPlan], capsys: pytest.CaptureFixture[str]
) -> None:
    """With --json - what people read goes to standard error."""
    assert main(["load", "--find-rate", "--json", "-"]) == 0

    told = capsys.readouterr()
    assert json.loads(told.out)["confirmed"] is True
    assert "confirmed for 10 s" in told.err


def test_options_of_the_load_go_into_each_probe(up_to_50k: list[LoadPlan]) -> None:
    """What is not the search's own is as it was typed; the warm-up is short unless it was typed too."""
    main(["load", "--find-rate", "--quiet", "--size", "64B", "--producers", "2", "--engine", "python"])
    main(["load", "--find-rate", "--quiet", "--warmup", "1s"])

    assert {(plan.size, plan.producers, plan.engine) for plan in up_to_50k if plan.warmup_s == 0.2} == {
        ((64, 64), 2, "python")
    }
    assert {plan.warmup_s for plan in up_to_50k} == {0.2, 1.0}


@pytest.mark.parametrize(
    "option",
    [
        "--rate 5k",
        "--closed",
        "--count 100",
        "--repeat 2",
        "--duration 3s",
        "--csv x.csv",
        "--hlog x.hlog",
        "--baseline x.json",
    ],
)
def test_options_that_the_search_decides_are_refused(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Each names both options, says why, and what to leave out; nothing runs."""
    status = main(["load", "--find-rate", *option.split()])

    name, *_ = option.split()
    told = capsys.readouterr()
    assert (status, told.out) == (2, "")
    assert f"--find-rate and {name} contradict each other: " in told.err
    assert f"hint: leave out {name}" in told.err


def test_a_dry_run_shows_the_plan(up_to_50k: list[LoadPlan], capsys: pytest.CaptureFixture[str]) -> None:
    """--dry-run prints what would be searched and how, and runs nothing."""
    assert main(["load", "--find-rate", "--dry-run", "--seed", "5"]) == 0

    plan = json.loads(capsys.readouterr().out)
    assert (plan["seed"], plan["first_rate"], plan["limit_s"]) == (5, 20_000, 90)
    assert "rate" not in plan
    assert up_to_50k == []


@pytest.mark.parametrize(
    ("changes", "strict", "status"),
    [
        ({}, False, 0),
        ({}, True, 0),
        ({"confirmed": False}, False, 0),
        ({"confirmed": False}, True, 1),
        ({"bracket": {"held": None}}, False, 1),
        ({"complete": False}, False, 1),
        ({"wrong": ["at 20.0 k/s: lost 3"]}, False, 1),
    ],
)
def test_the_status_tells_what_was_found(changes: dict[str, Any], strict: bool, status: int) -> None:
    """Nothing held, an early end and lost messages are wrong; no confirmation is under --strict alone."""
    result = {"complete": True, "wrong": [], "bracket": {"held": 5.0}, "confirmed": True, **changes}

    assert exit_status(result, None, saved=True, strict=strict) == status
    assert exit_status(result, None, saved=False, strict=strict) == 1
    assert exit_status(result, 130, saved=False, strict=strict) == 130


def test_the_live_view_says_how_far_the_search_is() -> None:
    """On a terminal the run's title has what is probed, and how much of the limit is spent."""
    view = SearchView(Console(file=io.StringIO()), 90.0)
    plan = LoadPlan()

    view.asked(Ask("ramp", plan.fixed_rate or 0, 1.0), 12.0)  # type: ignore[arg-type]
    view.started(plan, "native", Started(leader=1, namespace="user", look="", queues=[], workers=[]), 1, 1)

    assert view._title.startswith("12 of at most 90 s, ramp: 500 k/s for 10 s")


def test_an_interrupt_shows_and_saves_what_there_is(tmp_path: Path) -> None:
    """Ctrl-C during the search ends it with 130; the probes until then are told, marked incomplete."""
    path = tmp_path / "found.json"
    command = [sys.executable, "-m", "harness", "load", "--find-rate", "--engine", "python", "--json", str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        limit = threading.Timer(LIMIT_S, process.kill)
        limit.start()
        assert process.stdout is not None
        for line in process.stdout:
            if "received" in line:
                os.kill(process.pid, signal.SIGINT)
                break
        rest = process.stdout.read()
        limit.cancel()

    result = json.loads(path.read_text())
    assert process.returncode == 130
    assert "INCOMPLETE: interrupted by SIGINT" in rest
    assert (result["complete"], result["cut"]["cause"]) == (False, "interrupted")
    assert len(result["probes"]) >= 1
