"""The report of `harness select`: nine ways to ask at 80 columns, what a step costs, and what a reader should know."""

from __future__ import annotations

from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from harness.experiments.select import CASES, WALKS
from harness.show.select import select_lines, select_view


def line(per_step: float) -> dict[str, Any]:
    return {"base": 500.0, "per_step": per_step, "low": per_step * 0.9, "high": per_step * 1.1}


def point(of: str, number: int, ns: float) -> dict[str, Any]:
    return {of: number, "median": ns, "low": ns * 0.9, "high": ns * 1.1, "min": ns, "max": ns, "n": 5}


@pytest.fixture
def result() -> dict[str, Any]:
    """A document as a run leaves it, with the times that fill a column most."""
    fit = {"near": line(3.05), "bend": 10_000, "far": line(56.6)}
    rates = {"median": 7214.3, "low": 7000.0, "high": 7300.0, "min": 6999.0, "max": 7301.0, "n": 5}
    return {
        "engine": "native",
        "plan": {"rounds": 5, "size_bytes": 32},
        "complete": True,
        "cut": None,
        "overhead_ns": 241.0,
        "receive": [
            {
                "case": case,
                "asked": asked,
                "points": [point("depth", depth, 4.44 * depth + 600) for depth in (10, 1_000, 100_000)],
                "fit": fit if case in WALKS else None,
            }
            for case, asked in CASES.items()
        ],
        "send": {
            "points": [point("sleepers", 0, 852.0), point("sleepers", 4_000, 110_884.5)],
            "fit": {"near": line(8.7), "bend": None, "far": None},
        },
        "bystander": {
            "depth": 10_000,
            "alone_rate": rates,
            "polled_rate": rates,
            "slowed": {"median": 5.1, "low": 4.9, "high": 5.3, "min": 4.0, "max": 6.0, "n": 5},
        },
        "disturbance": {
            "verdict": "clean",
            "next_step": "Nothing: the machine was quiet.",
            "steal_share": 0.0,
            "runnable_wait_share": 0.0,
            "throttled_ns": 0,
            "jitter": None,
        },
        "warnings": ["one thing to know"],
    }


def shown(result: dict[str, Any], width: int = 80) -> str:
    console = Console(file=StringIO(), width=width, force_terminal=True, color_system=None, highlight=False)
    console.print(select_view(result))
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


def test_the_table_fits_80_columns(result: dict[str, Any]) -> None:
    """A row has the depth and nine times, whole, in 80 columns."""
    rows = [row for row in shown(result).splitlines() if row.lstrip().startswith("100,000")]

    assert rows[0].split()[:3] == ["100,000", "445", "µs"]
    assert rows[0].count("µs") == 9
    assert "…" not in shown(result)


def test_what_a_step_costs_is_told_with_its_interval_and_the_bend(result: dict[str, Any]) -> None:
    """Near and far slopes with their intervals, and where one becomes the other."""
    for text in (" ".join(shown(result).split()), "\n".join(select_lines(result))):
        assert "tail: a message walked past costs 3.05 ns (2.75 to 3.35) up to 10,000; beyond" in text
        assert "56.6 ns (50.9 to 62.3)" in text
        assert "a sleeping receiver costs 8.7 ns" in text


def test_the_bystander_is_a_sentence(result: dict[str, Any]) -> None:
    """How far a poller slows the pair stands in both reports."""
    for text in (" ".join(shown(result).split()), "\n".join(select_lines(result))):
        assert "slowed 5.10 times (quartiles 4.90 to 5.30)" in text


def test_parts_that_were_left_out_are_not_shown(result: dict[str, Any]) -> None:
    """Without sends and bystander neither heading stands there."""
    text = shown(result | {"send": None, "bystander": None})

    assert "bystander" not in text
    assert "asleep" not in text


def test_what_a_reader_should_know_stands_below(result: dict[str, Any]) -> None:
    """The verdict on the machine, what was cut, and each warning."""
    cut = {"complete": False, "cut": {"cause": "interrupted", "sentence": "interrupted by SIGINT"}}

    lines = select_lines(result | cut)

    assert lines[-3].endswith(": clean")
    assert lines[-2:] == ["INCOMPLETE: interrupted by SIGINT", "one thing to know"]


def test_an_incomplete_result_without_rows_is_shown(result: dict[str, Any]) -> None:
    """Interrupted before anything was measured, there is a report all the same."""
    nothing: dict[str, Any] = {"receive": [], "send": None, "bystander": None, "overhead_ns": None}

    assert "native engine" in shown(result | nothing)
    assert select_lines(result | nothing)
