"""`harness flipflop`: who got each message, whose turn it would have been, and why it went elsewhere."""

from __future__ import annotations

import json
from typing import Any

import pytest

from harness.experiments.chamber import Outcome
from harness.experiments.flipflop import FlipflopPlan, figures, figures_of_run, run_flipflop
from harness.sysv.errors import PlanError

MS = 1_000_000


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"receivers": 1}, "1 receivers"),
        ({"receivers": 27}, "a letter each"),
        ({"receivers": 3, "work_ns": (1, 2)}, "2 work times for 3 receivers"),
        ({"work_ns": (-1,)}, "below 0"),
        ({"every_ns": -1}, "below 0"),
        ({"count": 0}, "0 messages"),
        ({"count": 5, "backlog": 6}, "backlog of 6 of 5"),
        ({"rounds": 0}, "0 rounds"),
    ],
)
def test_what_cannot_be_meant_is_refused(wrong: dict[str, Any], words: str) -> None:
    """A plan that cannot be carried out cannot be made, and says why."""
    with pytest.raises(PlanError, match=words):
        FlipflopPlan(**wrong)


def test_the_time_announced_counts_what_lasts_longer() -> None:
    """A round lasts until all is sent, or until all is worked on where every receiver works."""
    paced = FlipflopPlan(every_ns=20 * MS, count=100, rounds=1, work_ns=(0, 50 * MS))
    worked = FlipflopPlan(every_ns=0, count=100, rounds=1, work_ns=(100 * MS,))

    assert 2.0 < paced.announced_s < 4.0
    assert 5.0 < worked.announced_s < 7.0


# --- on the real kernel ----------------------------------------------------------------------------------------------


def turns_in_a_row(winners: str, receivers: int) -> int:
    """The longest stretch of messages in which each went to whom it went `receivers` messages before."""
    longest = now = 0
    for earlier, later in zip(winners, winners[receivers:], strict=False):
        now = now + 1 if earlier == later else 0
        longest = max(longest, now)
    return longest


def test_receivers_that_only_wait_take_turns() -> None:
    """Three receivers without work get paced messages in strict alternation, as the noted times foretell."""
    result = run_flipflop(FlipflopPlan(receivers=3, every_ns=15 * MS, count=18))

    # A busy machine can hold a receiver up for longer than the pace, but not time and again in each of three rounds.
    assert any(turns_in_a_row(run["winners"], 3) >= 9 and len(set(run["winners"])) == 3 for run in result["runs"])
    assert result["predicted"]["median"] > 0.5
    assert result["complete"] is True
    assert json.loads(json.dumps(result)) == result


def test_a_receiver_that_works_loses_its_turn() -> None:
    """Work of two and a half periods beside none: one message in four, as the turn goes by the order of re-blocking."""
    result = run_flipflop(FlipflopPlan(work_ns=(25 * MS, 0), every_ns=10 * MS, count=13))

    assert any("ABBBA" in run["winners"] for run in result["runs"]), result["runs"]
    assert all(run["shares"]["A"] < run["shares"]["B"] for run in result["runs"])
    assert any({"at-work", "blocked-later"} <= {entry["reason"] for entry in run["breaks"]} for run in result["runs"])


def test_a_backlog_goes_to_who_asks_first() -> None:
    """Messages that were queued before anybody asked are not dealt out: whoever asks gets the next."""
    result = run_flipflop(FlipflopPlan(count=200, backlog=200, rounds=1))

    (run,) = result["runs"]
    assert len(run["winners"]) == 200
    assert len(run["breaks"]) == run["reasons"]["queued"] + run["reasons"]["unseen"]
    assert run["late_ns"] is None


def test_back_to_back_every_message_has_one_winner() -> None:
    """Whoever is quickest gets what is sent without a pause, and nothing is lost or counted twice."""
    result = run_flipflop(FlipflopPlan(receivers=4, every_ns=0, count=500, rounds=2))

    messages = [row for row in result["rows"] if row["part"] == "message"]
    assert [(row["round"], row["number"]) for row in messages] == [(r, n) for r in range(2) for n in range(500)]
    assert all(row["sent_ns"] <= row["received_ns"] >= row["asked_ns"] for row in messages)
    assert all(sum(run["shares"].values()) == pytest.approx(1) for run in result["runs"])


def test_an_interruption_keeps_what_was_seen() -> None:
    """Interrupted in the middle of a round, it shows the messages until then, and foretells nothing of a cut round."""
    seen = 0

    def progress(done: int, of: int, doing: str) -> None:
        nonlocal seen
        seen = done

    result = run_flipflop(
        FlipflopPlan(every_ns=5 * MS, count=10_000, rounds=1),
        progress,
        interrupted=lambda: "SIGINT" if seen >= 4 else None,
    )

    (run,) = result["runs"]
    assert result["complete"] is False
    assert 4 <= len(run["winners"]) < 10_000
    assert run["predicted"] is None
    assert result["predicted"] is None


# --- the figures, of made-up rows ------------------------------------------------------------------------------------


def message(number: int, receiver: str, *, asked: int, sent: int, took: int = 1) -> dict[str, Any]:
    times = {"due_ns": sent, "sent_ns": sent, "asked_ns": asked, "received_ns": max(sent, asked) + took}
    return {"part": "message", "round": 0, "number": number, "receiver": receiver, **times}


def run_of(*rows: dict[str, Any], asking: list[int] | None, **plan: Any) -> dict[str, Any]:
    return figures_of_run(FlipflopPlan(count=len(rows), rounds=1, **plan), rows, asking)


def test_turns_that_are_kept_are_not_broken() -> None:
    """Whoever blocked first begins; each in turn is no break, and all was foretold."""
    rows = [
        message(0, "B", asked=1, sent=10),
        message(1, "A", asked=2, sent=20),
        message(2, "B", asked=12, sent=30),
        message(3, "A", asked=22, sent=40),
    ]

    run = run_of(*rows, asking=[42, 32])

    assert (run["order"], run["winners"]) == ("BA", "BABA")
    assert (run["breaks"], run["broken"], run["predicted"]) == ([], 0, 1)
    assert run["shares"] == {"A": 0.5, "B": 0.5}


@pytest.mark.parametrize(
    ("back", "asked", "work", "reason", "by_ns"),
    [
        (31, 21, 20, "at-work", 6),  # A works from 11 to 31
        (31, 21, 5, "not-back", 6),  # its work was over at 16
        (23, 21, 5, "blocked-later", 2),
        (31, 28, 20, "queued", 3),  # nobody had asked at 25
        (15, 21, 5, "unseen", 6),
        (1, 21, 20, "at-work", None),  # A did not ask again: its last asking is that of the first message
    ],
)
def test_every_reason(back: int, asked: int, work: int, reason: str, by_ns: int | None) -> None:
    """A takes the first message and B the second and, sent at 25, the third, which was A's: why, and by how much."""
    rows = [
        message(0, "A", asked=1, sent=10),
        message(1, "B", asked=2, sent=20),
        message(2, "B", asked=asked, sent=25),
    ]

    run = run_of(*rows, asking=[back, 40], work_ns=(work, 0))

    (entry,) = run["breaks"]
    assert entry == {"number": 2, "winner": "B", "turn": "A", "reason": reason, "by_ns": by_ns}
    assert run["reasons"][reason] == 1
    assert sum(run["reasons"].values()) == 1
    assert run["broken"] == pytest.approx(1 / 3)


def test_a_winner_that_the_times_do_not_foretell_is_a_surprise() -> None:
    """B noted its asking before A, and A got the message: one surprise, and the next winner is foretold again."""
    rows = [message(0, "A", asked=5, sent=10), message(1, "B", asked=2, sent=20)]

    run = run_of(*rows, asking=[12, 22])

    assert run["predicted"] == 0.5
    assert run["surprises"] == [{"number": 0, "winner": "A", "predicted": "B", "by_ns": 3}]


def test_shares_are_spread_over_whole_rounds() -> None:
    """A round that was cut shows its own winners and does not count in the spread over the rounds."""
    plan = FlipflopPlan(count=2, rounds=2, work_ns=(3, 4))
    whole = [message(0, "A", asked=1, sent=10), message(1, "B", asked=2, sent=20)]
    cut = [{**message(0, "A", asked=1, sent=10), "round": 1}]
    end = {"part": "end", "round": 0, "asking_ns": [12, 22]}

    found = figures(plan, Outcome("now", rows=[*whole, end, *cut]))

    assert [run["complete"] for run in found["runs"]] == [True, False]
    assert found["receivers"][0]["share"] == {"median": 0.5, "low": 0.5, "high": 0.5, "min": 0.5, "max": 0.5, "n": 1}
    assert found["receivers"][1]["work_ns"] == 4
    assert found["receivers"][0]["waited_ns"]["n"] == 2


def test_without_a_message_nothing_is_said() -> None:
    """Interrupted before the first message there are no figures, and no zeros in their place."""
    found = figures(FlipflopPlan(), Outcome("now"))

    assert found["runs"] == []
    assert (found["broken"], found["predicted"], found["receivers"][0]["share"]) == (None, None, None)
