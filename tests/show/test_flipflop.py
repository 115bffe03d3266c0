"""harness/show/flipflop.py: the strip of winners, the shares, the broken turns, within 80 columns."""

from __future__ import annotations

from typing import Any

import pytest
from rich.console import Console

from harness.show.chart import strip
from harness.show.flipflop import flipflop_lines, flipflop_view


def spread(value: float, *, to: float | None = None, n: int = 2) -> dict[str, float]:
    return {"median": value, "low": value, "high": value, "min": value, "max": value if to is None else to, "n": n}


def broken(number: int, reason: str, by_ns: int | None) -> dict[str, Any]:
    return {"number": number, "winner": "B", "turn": "A", "reason": reason, "by_ns": by_ns}


def result_with(**changes: Any) -> dict[str, Any]:
    """A result of two rounds of 130 messages, with the changes in its first round."""
    run = {
        "round": 0,
        "complete": True,
        "order": "AB",
        "winners": "ABBB" * 32 + "AB",
        "shares": {"A": 0.25, "B": 0.75},
        "broken": 0.5,
        "reasons": {"queued": 1, "at-work": 64, "not-back": 0, "blocked-later": 0, "unseen": 0},
        "breaks": [broken(2, "queued", 2_000_000), *(broken(n, "at-work", 10_300_000) for n in range(3, 67))],
        "predicted": 129 / 130,
        "surprises": [{"number": 7, "winner": "B", "predicted": "A", "by_ns": 767}],
        "late_ns": spread(101_000, n=130),
    }
    return {
        "plan": {"receivers": 2, "every_ns": 20_000_000, "count": 130, "backlog": 3, "rounds": 2},
        "complete": True,
        "receivers": [
            {"receiver": "A", "work_ns": 50_000_000, "share": spread(0.25), "waited_ns": spread(29_900_000, n=66)},
            {"receiver": "B", "work_ns": 0, "share": spread(0.5, to=0.75), "waited_ns": None},
        ],
        "broken": spread(0.5),
        "predicted": spread(129 / 130, to=1.0),
        "runs": [run | changes, run],
        "disturbance": {
            "verdict": "clean",
            "steal_share": 0.0,
            "runnable_wait_share": 0.001,
            "throttled_ns": 0,
            "jitter": None,
        },
        "warnings": [],
    }


def drawn(result: dict[str, Any]) -> str:
    console = Console(width=80, color_system=None, force_terminal=False)
    with console.capture() as captured:
        console.print(flipflop_view(result))
    return captured.get()


@pytest.mark.parametrize("draw", [drawn, lambda result: "\n".join(flipflop_lines(result))])
def test_both_outputs_say_the_same(draw: Any) -> None:
    """The strip in rows of 60, shares, waits, how often the turn broke and why, the surprise, and the plan."""
    text = draw(result_with())

    for words in (
        "  0 ABBBABBB",
        " 60 ABBB",
        "120 ABBBABBBAB",
        "25.0%",
        "50.0% to 75.0%",
        "29.9 ms",
        "broken at 65 of 130 messages (all rounds 50.0%); in turn: AB",
        "64 times whose turn it was still had an earlier message in hand",
        "message 2: A's turn, B got it: queued for 2.00 ms when B asked first",
        "message 3: A's turn, B got it: A was at work, and asked 10.3 ms later",
        "... and 55 more",
        "who had asked longest ago got the next: 129 of 130 messages (all rounds 99.2% to 100.0%)",
        "message 7: B got it, which noted its asking 767 ns after A",
        "2 receivers, 130 messages every 20.0 ms, 3 of them queued before anybody asked",
    ):
        assert " ".join(words.split()) in " ".join(text.split()), words


def test_the_view_fits_80_columns() -> None:
    """No line of the report is longer than 80 columns."""
    assert max(len(line) for line in drawn(result_with()).splitlines()) <= 80


@pytest.mark.parametrize(
    ("reason", "by_ns", "words"),
    [
        ("not-back", 500_000, "A asked 500 µs later"),
        ("blocked-later", 3_000, "A had blocked 3.00 µs after B"),
        ("unseen", 700, "A noted its asking 700 ns before B"),
        ("at-work", None, "A did not ask again"),
    ],
)
def test_every_reason_has_words(reason: str, by_ns: int | None, words: str) -> None:
    """Each reason of a broken turn is a sentence with its time."""
    assert any(words in line for line in flipflop_lines(result_with(breaks=[broken(1, reason, by_ns)])))


def test_a_cut_round_foretells_nothing() -> None:
    """Of a round that was cut the winners are shown, and the report says why nothing is foretold."""
    result = result_with(predicted=None, surprises=[], complete=False)
    result |= {"complete": False, "cut": {"cause": "interrupted", "sentence": "interrupted by SIGINT"}}

    text = drawn(result)

    assert "the round was cut" in text
    assert "INCOMPLETE: interrupted by SIGINT" in text


def test_nothing_measured_is_still_a_report() -> None:
    """Interrupted before the first message: the plan and the notes, and no empty table."""
    result = result_with() | {"runs": []}
    result |= {"complete": False, "cut": {"cause": "interrupted", "sentence": "interrupted by SIGINT"}}

    assert "share" not in drawn(result)
    assert "INCOMPLETE" in drawn(result)
    assert flipflop_lines(result)[0].startswith("2 receivers")


def test_a_strip_counts_what_it_leaves_out() -> None:
    """A strip has a number before each line, and one more line for what does not fit."""
    assert strip("abcdefg", most=5, width=3) == ["0 abc", "3 def", "6 g"]
    assert strip("abcdefg", most=2, width=3) == ["0 abc", "3 def", "  ... and 1 more"]
    assert strip("", most=2) == []
