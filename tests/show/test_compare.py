"""harness/show/compare.py: figures, bars, and the table of properties, within 80 columns."""

from __future__ import annotations

from typing import Any

import pytest
from rich.console import Console

from harness.experiments.compare import NAMES, tasks_of
from harness.experiments.properties import table
from harness.show.chart import spans
from harness.show.compare import compare_lines, compare_view


def spread(value: float) -> dict[str, float]:
    return {"median": value, "low": 0.9 * value, "high": 1.1 * value, "min": value, "max": value, "n": 5}


def found(name: str, rate: float, **changes: Any) -> dict[str, Any]:
    return {
        "name": name,
        "title": name,
        "loop": "C" if name == "sysv-c" else "Python",
        "tasks": tasks_of(name),
        "room": None if name == "sysv-c" else "16 KiB of text (msgmnb)",
        "held": None if name == "sysv-c" else 512,
        "rate": spread(rate),
        "p50_ns": spread(34_800),
        "p99_ns": spread(150_000),
        "to_sysv": {"rate": spread(rate / 500_000), "p50_ns": spread(1.2), "p99_ns": spread(2.0)},
        **changes,
    }


def result_with(**changes: Any) -> dict[str, Any]:
    rates = {name: 500_000.0 / place for place, name in enumerate(NAMES, 1)}
    return {
        "plan": {
            "size_bytes": 32,
            "rounds": 5,
            "duration_s": 0.15,
            "paced": 400,
            "rate": 2000.0,
            "measuring": True,
        },
        "complete": True,
        "rounds": 5,
        "transports": [found(name, rate) for name, rate in rates.items()],
        "missing": [],
        "wrong": [],
        "properties": table({"sysv": {"select": True, "peek": False}, "pipe": {"boundaries": False}}),
        "disturbance": {
            "verdict": "clean",
            "steal_share": 0.0,
            "runnable_wait_share": 0.001,
            "throttled_ns": 0,
            "jitter": None,
        },
        "warnings": [],
        **changes,
    }


def drawn(result: dict[str, Any]) -> str:
    console = Console(width=80, color_system=None, force_terminal=False)
    with console.capture() as captured:
        console.print(compare_view(result))
    return captured.get()


def plain(result: dict[str, Any]) -> str:
    return "\n".join(compare_lines(result))


@pytest.mark.parametrize("draw", [drawn, plain])
def test_both_outputs_say_the_same(draw: Any) -> None:
    """Rates, ratios, latencies, what is in C, what each holds, properties with sources, and the plan."""
    text = " ".join(draw(result_with()).split())

    for words in (
        "500 k/s",
        "0.90 to 1.10",
        "34.8 µs",
        "150 µs",
        "sysv-c is a loop in C; all others are one and the same loop in Python",
        "sysv: 512 messages; 16 KiB of text (msgmnb)",
        "by type*",
        "MSG_COPY!",
        "no: a stream*",
        "yes, until removed",
        "redis: Redis BLPOP; Redis lists",
        "5 of 5 rounds by turns",
        "then 400 messages at 2.00 k/s",
        "mp.Queue 3, zeromq 4, redis 3",
        "steal 0.0%",
    ):
        assert words in text, words


def test_the_view_fits_80_columns() -> None:
    """No line is longer than 80 columns, and nothing in a table is cut."""
    text = drawn(result_with())

    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text


def test_the_bars_show_the_ratio() -> None:
    """A bar for each, with its ratio behind it; the best is the longest."""
    bars = [line for line in drawn(result_with()).splitlines() if "█" in line and "quartile" not in line]

    assert [line.split()[0] for line in bars] == list(NAMES)
    assert bars[0].endswith(" 1.00")
    assert bars[0].count("█") > bars[1].count("█")


@pytest.mark.parametrize("draw", [drawn, plain])
def test_what_is_not_here_or_went_wrong_is_told(draw: Any) -> None:
    """The missing with their reason, what was lost, and what was cut, stand below."""
    text = " ".join(
        draw(
            result_with(
                missing=[{"name": "redis", "why": "redis-server is not on the PATH"}],
                wrong=["pipe, round 2: sent 9, received 8, 1 of them not the next"],
                complete=False,
                cut={"sentence": "interrupted by SIGINT"},
                transports=[
                    found("mp.Queue", 1e5, held=None, room="memory"),
                    found("pipe", 1e5, held=0, room="64 KiB"),
                ],
            )
        ).split()
    )

    for words in (
        "not here: redis: redis-server is not on the PATH",
        "WRONG: pipe, round 2",
        "INCOMPLETE: interrupted by SIGINT",
        "mp.Queue: more than was tried; memory",
        "pipe: less than a message; 64 KiB",
    ):
        assert words in text, words


@pytest.mark.parametrize("draw", [drawn, plain])
def test_without_figures_only_the_table_is_shown(draw: Any) -> None:
    """With --properties, or before the first whole round, there is the table and no heading over nothing."""
    plan = result_with()["plan"]
    text = draw(result_with(transports=[], rounds=0, plan={**plan, "measuring": False}, warnings=["tried in vain"]))

    assert "rounds" not in text
    assert "to sysv" not in text
    assert "steal" not in text
    assert "LRANGE" in text
    assert "tried in vain" in text


def test_spans_are_bars_with_their_quartiles() -> None:
    """Full to the lower quartile, darker to the median, light to the upper; the mark where the bar leaves room."""
    lines = spans({"a": (2, 4, 8), "long": (1, 1, 1)}, words=lambda value: f"{value:g}", width=8, mark=4)

    assert lines == ["a    ██▓▓░░░░ 4", "long █  │     1"]
    assert spans({}, words=str, width=8) == []
    assert spans({"none": (0, 0, 0)}, words=str, width=8) == []
