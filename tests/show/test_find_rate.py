"""What `--find-rate` shows: the bracket, how sure it is, and each probe."""

from __future__ import annotations

import io
from fractions import Fraction
from typing import Any

import pytest
from rich.console import Console

from harness.experiments.rate_search import Ask
from harness.show.find_rate import announcement, doing, find_rate_lines, find_rate_view, probe_line


def probe(stage: str, rate: float, *, held: bool | None, **changes: Any) -> dict[str, Any]:
    return {
        "stage": stage,
        "rate": rate,
        "length_s": {"ramp": 1.0, "judge": 3.0, "confirm": 10.0}[stage],
        "again": False,
        "counted": True,
        "held": held,
        "sustained": held,
        "achieved_rate": rate,
        "latency_ns": {"p50": 5000, "p99": 80_000},
        "thresholds": [],
        "disturbance": "clean",
        **changes,
    }


def result_with(**changes: Any) -> dict[str, Any]:
    return {
        "plan": {"limit_s": 90.0, "confirm_s": 10.0, "size": {"smallest": 32, "largest": 64}},
        "bracket": {"held": 480_000.0, "not_held": 500_000.0, "width_share": 0.04, "narrow": True},
        "complete": True,
        "cut": None,
        "end": "confirmed",
        "confirmed": True,
        "elapsed_s": 61.3,
        "thresholds": [],
        "probes": [
            probe("ramp", 513_000.0, held=False, counted=False, disturbance="disturbed"),
            probe("ramp", 513_000.0, held=False, again=True),
            probe("judge", 480_000.0, held=True),
            probe("confirm", 480_000.0, held=True),
        ],
        "wrong": [],
        "warnings": [],
        "advice": "See how it is held.",
        **changes,
    }


def drawn(result: dict[str, Any]) -> list[str]:
    """The report on a terminal of 80 columns."""
    console = Console(file=io.StringIO(), width=80, color_system=None)
    console.print(find_rate_view(result))
    text: str = console.file.getvalue()  # type: ignore[attr-defined]
    return text.splitlines()


def test_the_lines_tell_what_was_found_and_what_to_do() -> None:
    """The bracket with its width, the confirmation, and the next step."""
    assert find_rate_lines(result_with()) == [
        "held 480 k/s, not held 500 k/s: 4.0% apart",
        "confirmed for 10 s",
        "4 probes in 61 s",
        "next: See how it is held.",
    ]


def test_the_terminal_shows_each_probe_on_one_line_of_80_columns() -> None:
    """The table has a row for each probe, none is wrapped, and a repeated one says that it does not count."""
    rows = drawn(result_with(thresholds=["p99>100us"]))

    table = rows[next(number for number, row in enumerate(rows) if row.startswith("probe")) :]
    assert [row.split()[0] for row in table[1:5]] == ["ramp", "again", "2", "confirm"]
    assert table[1].rstrip().endswith("(not sustained)")
    assert table[4].rstrip().endswith("held")
    assert max(map(len, rows)) <= 80


def test_thresholds_say_what_held_means() -> None:
    """With thresholds the report says so, and a probe that missed one names it."""
    failed = {"threshold": "p99>100us", "failed": True}
    missed = probe("judge", 500_000.0, held=False, sustained=True, thresholds=[failed])

    assert "none of p99>100us" in "\n".join(find_rate_lines(result_with(thresholds=["p99>100us"])))
    assert probe_line(missed).endswith("p99>100us")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"bracket": {"held": None, "not_held": 19.5, "width_share": None, "narrow": False}, "end": "nothing-held"},
            "no rate was held; not even 19.5 /s was",
        ),
        (
            {"bracket": {"held": None, "not_held": None, "width_share": None, "narrow": False}, "end": "limit"},
            "no rate was held",
        ),
        (
            {"bracket": {"held": 480_000.0, "not_held": None, "width_share": None, "narrow": False}},
            "held 480 k/s; no rate that is not held was found",
        ),
        (
            {"bracket": {"held": 400_000.0, "not_held": 500_000.0, "width_share": 0.2, "narrow": False}},
            "the bracket is WIDE",
        ),
        ({"end": "limit", "confirmed": False}, "NOT CONFIRMED: the limit of 90 s was reached"),
        (
            {"complete": False, "cut": {"cause": "interrupted", "sentence": "interrupted by SIGINT"}, "end": "cut"},
            "INCOMPLETE: interrupted by SIGINT",
        ),
        ({"wrong": ["at 20.0 k/s: lost 3"]}, "WRONG: at 20.0 k/s: lost 3"),
        ({"warnings": ["no private namespace"]}, "warning: no private namespace"),
    ],
)
def test_what_is_less_than_that_is_told(changes: dict[str, Any], words: str) -> None:
    """An edge that is missing, a wide bracket, no confirmation, an interruption and what went wrong are in words."""
    result = result_with(**{"confirmed": "end" not in changes, **changes})

    assert words in "\n".join(find_rate_lines(result))
    assert words in "\n".join(drawn(result))


def test_a_probe_is_one_line_while_it_goes_on() -> None:
    """A probe that has ended has stage, rate, length, what was received, p99, the machine and the verdict."""
    told = probe_line(probe("judge", 480_000.0, held=True))

    assert " ".join(told.split()) == "2 of 3 480 k/s for 3 s: received 480 k/s, p99 80.0 µs, clean held"
    cut = probe_line(probe("ramp", 20_000.0, held=None))
    assert "received        -, p99       -" in cut
    assert cut.endswith("cut")


def test_it_announces_itself_and_says_how_far_it_is() -> None:
    """The limit is told beforehand, and before each probe what is spent of it."""
    assert announcement(result_with()["plan"], 90.0).endswith("messages of 32 B to 64 B: at most 90 s")
    assert doing(Ask("judge", Fraction(1000), 3.0, again=True), 34.4, 90.0) == "34 of at most 90 s, 2 of 3 again"
