"""The report of `harness claims`: each claim, how it was tried, what was found, the verdict; also as Markdown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from harness.show import words

if TYPE_CHECKING:
    from collections.abc import Sequence

UNDECIDED = "undecided"
STYLES = {
    "true": "bold green",
    "true with conditions": "bold yellow",
    "outdated": "bold yellow",
    "wrong": "bold red",
    UNDECIDED: "dim",
}
HEADINGS = ("the article says", "tried", "found", "verdict")
WIDTHS = (16, 19, None, 11)
"""On a terminal; what was found gets the rest."""


def claims_view(result: dict[str, Any]) -> RenderableType:
    """The whole report for a terminal."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim", leading=1)
    for heading, width in zip(HEADINGS, WIDTHS, strict=True):
        table.add_column(heading, width=width)
    for claim in result["claims"]:
        says, method, finding, verdict = _cells(claim)
        table.add_row(says, Text(method, style="dim"), finding, Text(verdict, style=STYLES[verdict]))
    return Group("", table, "", Text("\n".join(notes(result)), style="dim"))


def claims_lines(result: dict[str, Any]) -> list[str]:
    """The same as plain lines."""
    lines = []
    for claim in result["claims"]:
        says, method, finding, verdict = _cells(claim)
        lines += [f"{verdict}: {says}", f"  tried: {method}", f"  found: {finding}"]
    return lines + notes(result)


def claims_markdown(result: dict[str, Any]) -> str:
    """The same as a document of its own, with the rules that the verdicts follow."""
    lines = [
        "# Five claims about System V message queues, put to this machine",
        "",
        f"By `harness claims`, {result['started_at']}. What stands here was measured then; nothing of it is stored.",
        "",
        *_markdown_table(HEADINGS, [_cells(claim) for claim in result["claims"]]),
        "",
        "A verdict follows from the evidence by a rule:",
        "",
        *_markdown_table(("claim", "rule"), [(claim["says"], claim["rule"]) for claim in result["claims"]]),
        "",
        *(f"- {line}" for line in notes(result)),
    ]
    return "\n".join(lines) + "\n"


def _cells(claim: dict[str, Any]) -> tuple[str, str, str, str]:
    return claim["says"], claim["method"], claim["finding"], claim["verdict"] or UNDECIDED


def _markdown_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|").replace("<", "&lt;") for cell in cells) + " |"

    return [line(headings), line(["---"] * len(headings)), *(line(cells) for cells in rows)]


def notes(result: dict[str, Any]) -> list[str]:
    """What machine it was, the plan in a line, how quiet it was, and what is missing."""
    machine, plan = result["environment"], result["plan"]
    memory = words.NONE if machine["memory_bytes"] is None else f"{machine['memory_bytes'] / 2**30:.1f} GiB"
    kernel, cpus = machine["kernel_release"] or words.NONE, machine["cores_allowed"] or words.NONE
    rounds = words.plural(plan["rounds"], "round")
    return [
        f"Linux {kernel}, {cpus} CPUs, {memory} of memory",
        f"{rounds} of runs of {plan['duration_s']:g} s; bursts of {plan['burst_messages']:,} messages",
        *words.honesty_lines(result),
    ]
