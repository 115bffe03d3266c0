"""harness.show.doctor: the report as a table and as lines."""

from __future__ import annotations

import io

from rich.console import Console

from harness.experiments.doctor import Check, DoctorReport
from harness.show.doctor import doctor_table, doctor_text

GOOD = Check("cores", "ok", "2 cores")
NOTE = Check("limits", "note", "msgmax 8192\nmsgmnb 16384 [bytes]", "do this\nand that")
PROBLEM = Check("msgget", "problem", "the kernel answered msgget ENOSYS", "wsl --set-version DISTRO 2")


def report(*checks: Check) -> DoctorReport:
    return DoctorReport(checks=checks, environment={})


def rendered(of: DoctorReport, *, width: int = 80, terminal: bool = False) -> str:
    stream = io.StringIO()
    Console(file=stream, width=width, force_terminal=terminal, color_system="standard" if terminal else None).print(
        doctor_table(of)
    )
    return stream.getvalue()


def test_table_keeps_within_eighty_columns_and_loses_no_word() -> None:
    """At 80 columns no line is longer, and every word of what was seen and what to do is there."""
    seen = "a sentence of many words that no terminal of that width could ever show on a single line of its own at once"
    to_do = "another sentence which is as long as the first one, so that it needs more than one line of the table too"

    output = rendered(report(GOOD, Check("private namespace", "problem", seen, to_do)))

    assert max(len(line) for line in output.splitlines()) <= 80
    assert set((seen + " " + to_do).split()) <= set(output.split())


def test_table_shows_square_brackets_as_they_are() -> None:
    """What was seen is text, not markup."""
    assert "msgmnb 16384 [bytes]" in rendered(report(NOTE))


def test_problem_stands_out_in_colour_on_a_terminal_only() -> None:
    """On a terminal a problem is bold red; without one there is no escape sequence at all."""
    on_terminal = rendered(report(PROBLEM), terminal=True)
    elsewhere = rendered(report(PROBLEM))

    assert "\x1b[1;31mproblem" in on_terminal
    assert "\x1b[1;31mThis machine cannot" in on_terminal
    assert "\x1b" not in elsewhere


def test_plain_text_has_each_item_on_a_line_of_its_own() -> None:
    """Plain text starts each check with its status, and puts what else was seen and what to do below it, unwrapped."""
    assert doctor_text(report(GOOD, NOTE)) == (
        "ok       cores: 2 cores\n"
        "note     limits: msgmax 8192\n"
        "         msgmnb 16384 [bytes]\n"
        "         -> do this\n"
        "         -> and that\n"
        "\n"
        "This machine can run `harness load`.\n"
    )


def test_verdict_names_the_checks_that_are_problems() -> None:
    """The last line says whether the machine can run a load, and which checks stand in the way."""
    broken = report(GOOD, NOTE, PROBLEM)

    assert doctor_text(broken).endswith("This machine cannot run `harness load`: see msgget.\n")
    assert "cannot run `harness load`: see msgget." in rendered(broken)
    assert "can run `harness load`." in rendered(report(NOTE))
