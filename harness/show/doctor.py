"""How the doctor's report looks: a table for a terminal, lines for everything else.

Pure functions of the report; `harness doctor` prints what they return.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rich.console import Group
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from harness.experiments.doctor import Check, DoctorReport, Status

_STYLES: Final[dict[Status, str]] = {"ok": "green", "note": "yellow", "problem": "bold red"}


def doctor_table(report: DoctorReport) -> Group:
    """The report as a rich renderable, readable at 80 columns; what to do stands under what was seen."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("", no_wrap=True)
    table.add_column("check", no_wrap=True)
    table.add_column("seen, and → what to do about it")
    for check in report.checks:
        style = _STYLES[check.status]
        table.add_row(Text(check.status, style), Text(check.name, "bold"), _seen_and_to_do(check))
    return Group(table, Text(), Text(_verdict(report), _STYLES["problem" if report.exit_status else "ok"]))


def doctor_text(report: DoctorReport) -> str:
    """The report as plain text, never wrapped: a line for each check that `grep ^problem` finds, then the details."""
    lines: list[str] = []
    for check in report.checks:
        first, *rest = check.seen.splitlines()
        lines.append(f"{check.status:8} {check.name}: {first}")
        lines += [f"{'':8} {line}" for line in rest]
        lines += [f"{'':8} -> {line}" for line in check.to_do.splitlines()]
    return "\n".join([*lines, "", _verdict(report), ""])


def _seen_and_to_do(check: Check) -> Text:
    """Text objects, not markup: what was seen may hold square brackets."""
    text = Text(check.seen)
    for line in check.to_do.splitlines():
        text.append(f"\n→ {line}", "cyan")
    return text


def _verdict(report: DoctorReport) -> str:
    problems = [check.name for check in report.checks if check.status == "problem"]
    if not problems:
        return "This machine can run `harness load`."
    return f"This machine cannot run `harness load`: see {', '.join(problems)}."
