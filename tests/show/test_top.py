"""harness/show/top.py: how a look is drawn."""

from __future__ import annotations

from dataclasses import replace

import pytest
from rich.console import Console

from harness.experiments.top import Contents, Look, Process, Row
from harness.show.top import SORTS, Choice, arranged, lines, view
from harness.sysv import QueueStat


def row(key: int, messages: int, *, used_bytes: int = 0, **more: object) -> Row:
    stat = QueueStat(key, key % 1000, 0o600, 0, 0, 0, 0, messages, used_bytes, 16384, 11, 0, 1, 0, 1)
    made = Row(stat, "root", Process(11, "sender"), None, (), ())
    return replace(made, **more)  # type: ignore[arg-type]


LOOK = Look(
    0.0,
    (
        row(0x3034, 3, used_bytes=12000, messages_per_s=-5.0, receiving=(Process(7, "worker"), Process(8, "worker"))),
        row(0xC0049, 300, messages_per_s=1234.0, sending=(Process(9, "proxy"),)),
        row(0, 1, last_sender=Process(12, "")),
    ),
)


def drawn(choice: Choice, *, width: int = 80, height: int = 24, contents: Contents | None = None) -> str:
    console = Console(width=width, height=height, color_system=None, force_terminal=False)
    with console.capture() as captured:
        console.print(view(LOOK, choice, contents, width=width, height=height))
    return captured.get()


@pytest.mark.parametrize("width", [80, 120])
def test_every_queue_has_a_line_that_fits(width: int) -> None:
    """Key, fill, messages, change and sleepers of each queue stand on one line of the terminal's width."""
    text = drawn(Choice(), width=width)

    assert max(len(line) for line in text.splitlines()) <= width
    assert "0x00003034" in text
    assert "73%" in text
    assert "+1,234" in text
    assert "2r" in text
    assert "1s" in text
    assert "private" in text
    assert ("12,000/16,384" in text) == (width >= 100)


@pytest.mark.parametrize(
    ("sort", "first"),
    [("messages", 0xC0049), ("full", 0x3034), ("change", 0xC0049), ("asleep", 0x3034), ("key", 0), ("id", 0)],
)
def test_each_order(sort: str, first: int) -> None:
    """Each order puts the queue first that has most of it, and keys and ids rise."""
    assert arranged(LOOK, Choice(sort=sort))[0].queue.key == first
    assert sort in SORTS


@pytest.mark.parametrize(("text", "keys"), [("3034", [0x3034]), ("WORKER", [0x3034]), ("proxy", [0xC0049]), ("zz", [])])
def test_the_filter_looks_at_keys_and_names(text: str, keys: list[int]) -> None:
    """A queue stays if the text is in its key, id, owner, or a process's name, in either case."""
    assert [found.queue.key for found in arranged(LOOK, Choice(filter=text))] == keys


def test_the_chosen_queue_is_told_in_detail() -> None:
    """Below the table: bytes, who sleeps in which call, and the types that wait."""
    chosen = Choice(chosen=0xC0049 % 1000)

    text = drawn(chosen, contents=Contents({1: 200, 7: 56}, 256))

    assert "0x000c0049, id" in text
    assert "asleep in msgsnd: 9:proxy" in text
    assert "of the first 256 messages: 200 of type 1, 56 of type 7" in text


def test_more_queues_than_lines() -> None:
    """What does not fit is counted, and the chosen queue is among what is shown."""
    choice = Choice(sort="key", chosen=0xC0049 % 1000)

    text = drawn(choice, height=7)

    assert "more do not fit" in text
    assert "0x000c0049" in text


def test_a_question_and_an_answer_stand_in_the_last_line() -> None:
    """What is asked takes the place of the keys, and so does what became of it."""
    assert drawn(Choice(asking="remove", chosen=52)).splitlines()[-1].startswith("remove queue id 52")
    assert drawn(Choice(asking="filter", filter="ab")).splitlines()[-1].startswith("filter: ab_")
    assert drawn(Choice(said="queue id 52 is removed")).splitlines()[-1].strip() == "queue id 52 is removed"


def test_plain_lines_have_as_many_words_as_the_heading() -> None:
    """`--once` writes a heading and a line a queue, for awk: the same number of words in each."""
    heading, *rows = lines(LOOK).splitlines()

    assert [len(line.split()) for line in rows] == [len(heading.split())] * 3
