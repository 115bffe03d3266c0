"""How `harness lab` looks: bar, standings and next steps, hints, differences; at 80 columns, and in a pipe."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from rich.console import Console, RenderableType

from harness.labkit.catalog import Lab
from harness.labkit.progress import Progress, Survey
from harness.show.lab import (
    after_run,
    diff_view,
    hint_lines,
    hint_view,
    next_steps,
    overview_lines,
    overview_view,
    run_line,
    run_rule,
    standing,
)

if TYPE_CHECKING:
    from harness.labkit.progress import State

STEPS = ["What does `send` leave\nto a default?", "`queue.send`", "```python\nqueue.send(TEXT, type=...)\n```"]


def lab(name: str, state: State, done: int = 0, tasks: int = 3, **more: Any) -> Progress:
    return Progress(Lab(Path("/labs") / name), state, tasks, done, **more)


def survey(*labs: Progress, current: int | None = None) -> Survey:
    return Survey(labs, None if current is None else labs[current])


CLASS = survey(
    lab("01_preflight", "done", 2, 2, checked=True),
    lab("02_first_queue", "written", 3),
    lab("04_flip_flop", "in progress", 1, checked=True, first_open="4.2"),
    lab("05_worker", "not started"),
    current=2,
)


def rendered(view: RenderableType, *, width: int = 80, terminal: bool = False, **more: Any) -> str:
    stream = io.StringIO()
    Console(file=stream, width=width, force_terminal=terminal, highlight=False, **more).print(view)
    return stream.getvalue()


def test_the_plain_overview() -> None:
    """Plain text: a bar in tasks, a line a lab with the current one marked, and the next step; ASCII only."""
    text = "\n".join(overview_lines(CLASS))

    assert text.isascii()
    assert text.splitlines() == [
        "labs [#####################...................] 6 of 11 tasks",
        "",
        "  01_preflight          done",
        "  02_first_queue        written (not checked now)",
        "> 04_flip_flop          in progress 1/3",
        "  05_worker             not started",
        "",
        "next: task 4.2 in labs/04_flip_flop/lab.py",
        "next: harness lab 04 checks it; harness lab hint 4.2 helps",
    ]


@pytest.mark.parametrize("width", [80, 120])
def test_the_terminal_shows_the_same(width: int) -> None:
    """A terminal of 80 columns or more shows each fact of the plain overview, each lab on one line."""
    text = rendered(overview_view(CLASS), width=width)

    lines = [line.rstrip() for line in text.splitlines()]
    assert max(map(len, lines)) <= 80
    assert len(lines) == len(overview_lines(CLASS))
    for progress in CLASS.labs:
        assert any(progress.lab.name in line and standing(progress) in line for line in lines)
    assert all(any(step in line for line in lines) for step in next_steps(CLASS))
    assert "6 of 11 tasks" in lines[0]
    assert [line.split()[1] for line in lines if line.startswith("▶")] == ["04_flip_flop"]


def test_colours_are_for_terminals_only() -> None:
    """On a terminal what is done is green; elsewhere, and with NO_COLOR, no colour is sent."""
    view = overview_view(CLASS)

    assert "\x1b[32mdone" in rendered(view, terminal=True)
    assert "\x1b" not in rendered(view)
    assert "\x1b[32m" not in rendered(view, terminal=True, no_color=True)


def test_a_long_note_is_not_cut_off() -> None:
    """What a terminal has no room for beside the lab's name goes on below."""
    note = "line 120 cannot be read: " + "unterminated triple-quoted string literal " * 3

    text = rendered(overview_view(survey(lab("04_flip_flop", "in progress", note=note), current=0)))

    assert max(map(len, text.splitlines())) <= 80
    assert set(note.split()) <= set(text.split())


@pytest.mark.parametrize(("done", "filled"), [(0, 0), (1, 0), (99, 39), (100, 40)])
def test_the_bar_is_full_only_when_all_is_done(done: int, filled: int) -> None:
    """The bar never says more than is done."""
    first = overview_lines(survey(lab("01_a", "in progress", done, 100)))[0]

    assert first == f"labs [{'#' * filled}{'.' * (40 - filled)}] {done} of 100 tasks"


@pytest.mark.parametrize(
    ("progress", "words"),
    [
        (lab("01_a", "not started"), "not started"),
        (lab("01_a", "in progress", 1, checked=True), "in progress 1/3"),
        (lab("01_a", "in progress", 1), "in progress 1/3 (not checked now)"),
        (lab("01_a", "written", 3), "written (not checked now)"),
        (lab("01_a", "done", 3, checked=True), "done"),
        (lab("01_a", "done", 3, checked=True, note="1 check cannot run here"), "done; 1 check cannot run here"),
        (lab("01_a", "cannot run here"), "cannot run here"),
        (lab("01_a", "cannot run here", 2), "cannot run here, 2/3 written"),
    ],
)
def test_each_standing_has_its_words(progress: Progress, words: str) -> None:
    """The words say how far a lab is, and whether its checks have run to say so."""
    assert standing(progress) == words


@pytest.mark.parametrize(
    ("found", "steps"),
    [
        (
            survey(lab("05_worker", "not started", first_open="5.1"), current=0),
            ["read labs/05_worker/README.md", "harness lab watch 05"],
        ),
        (
            survey(lab("05_worker", "in progress", 3), current=0),
            ["labs/05_worker/lab.py", "harness lab 05 checks it"],
        ),
        (
            survey(lab("01_a", "written", 3), lab("02_b", "done", 3, checked=True)),
            ["all of it is written; pytest labs/ checks it all"],
        ),
        (survey(lab("01_a", "done", 3, checked=True)), ["all of it is done"]),
        (survey(lab("01_a", "cannot run here", 3)), []),
    ],
)
def test_the_next_step_is_told(found: Survey, steps: list[str]) -> None:
    """What to open or to type next, for each place in which a learner may be."""
    assert next_steps(found) == steps


def test_a_hint_is_one_step_and_says_how_to_see_the_next() -> None:
    """A hint shows its step alone, which it is of how many, and the command for the next."""
    lines = hint_lines("4.1", STEPS, 1)

    assert lines == [
        "task 4.1, step 1 of 3",
        "",
        "What does `send` leave",
        "to a default?",
        "",
        "the next step: harness lab hint 4.1 --step 2",
    ]


def test_the_last_step_leads_back_to_the_lab() -> None:
    """After the last step there is none to name."""
    assert hint_lines("4.1", STEPS, 3)[-1] == "this was the last step; harness lab 04 checks what you write"


@pytest.mark.parametrize("step", [1, 2, 3])
def test_a_hint_on_a_terminal_is_drawn_from_its_markdown(step: int) -> None:
    """A terminal shows the hint's text without the marks of Markdown, within its columns."""
    text = rendered(hint_view("4.1", STEPS, step), width=40)

    assert "`" not in text
    assert f"step {step} of 3" in text
    assert max(map(len, text.splitlines())) <= 40


def test_a_diff_is_in_colours_and_whole() -> None:
    """Lines that went and lines that came have different colours, and a long line goes on below."""
    diff = "--- lab.py\n+++ solution.py\n@@ -1 +1 @@\n-old\n+" + "word " * 30

    text = rendered(diff_view(diff), terminal=True, color_system="standard")

    assert re.search(r"\x1b\[91[;\d]*m-old", text)
    assert re.search(r"\x1b\[92[;\d]*m\+word", text)
    assert rendered(diff_view(diff)).count("word") == 30


@pytest.mark.parametrize("width", [80, 120])
def test_each_run_of_a_watch_begins_with_a_clear_line(width: int) -> None:
    """The line names the lab, the run and the time; on a terminal it is as wide as that."""
    assert run_line("04_flip_flop", 2, "12:30:00") == "--- 04_flip_flop, run 2, 12:30:00 ---"

    rule = rendered(run_rule("04_flip_flop", 2, "12:30:00"), width=width).rstrip("\n")

    assert " 04_flip_flop, run 2, 12:30:00 " in rule
    assert len(rule) == width


def test_after_a_run_it_is_told_what_comes() -> None:
    """How far the lab is now, and how to go on or to end."""
    words = after_run(lab("01_a", "in progress", 1, checked=True))

    assert words == "in progress 1/3; checked again when you save lab.py, Ctrl-C ends"
