"""The report of `harness select`: a table of nine ways to ask, a curve, what a step costs, the sends, the bystander."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from harness.measure.quantities import format_count, format_duration_ns, format_rate
from harness.show import chart, words

if TYPE_CHECKING:
    from collections.abc import Iterator

COLUMNS = {
    "any": "any",
    "head": "head",
    "middle": "middle",
    "tail": "tail",
    "lowest": "≤ n",
    "lowest-1": "≤ n, 1",
    "except": "except",
    "miss": "miss",
    "peek": "peek",
}
"""The nine ways to ask, as short as a column of 80 allows."""
DRAWN = ("any", "middle", "tail", "miss")
"""What the curve shows: the others lie on these."""


def select_view(result: dict[str, Any]) -> RenderableType:
    """The whole report for a terminal."""
    parts: list[RenderableType] = []
    if result["receive"]:
        parts += [Text("\none receive, by depth of the queue", style="bold"), _receive_table(result), ""]
        parts += [Text("\n".join(_curve(result)), no_wrap=True), ""]
        parts.append(Text("\n".join(_walk_lines(result))))
    if result["send"]:
        parts += [Text("\none send, by receivers asleep on other types", style="bold"), _send_table(result["send"])]
        parts.append(Text("\n".join(_step_lines("a sleeping receiver", result["send"]["fit"]))))
    if result["bystander"]:
        parts += [Text("\nthe bystander", style="bold"), Text(bystander_line(result["bystander"]))]
    return Group(*parts, "", Text("\n".join(notes(result)), style="dim"))


def select_lines(result: dict[str, Any]) -> list[str]:
    """The same as plain lines."""
    lines = []
    for depth, cells in _by_depth(result):
        lines.append(
            f"receive, depth {format_count(depth)}: " + ", ".join(f"{COLUMNS[c]} {t}" for c, t in cells.items())
        )
    lines += _walk_lines(result)
    if result["send"]:
        lines += [
            f"send past {format_count(point['sleepers'])} sleeping receivers: {format_duration_ns(point['median'])}"
            for point in result["send"]["points"]
        ]
        lines += _step_lines("a sleeping receiver", result["send"]["fit"])
    if result["bystander"]:
        lines.append(bystander_line(result["bystander"]))
    return lines + notes(result)


def _by_depth(result: dict[str, Any]) -> Iterator[tuple[int, dict[str, str]]]:
    """For each depth the median of each way to ask."""
    medians = {
        (way["case"], point["depth"]): format_duration_ns(point["median"])
        for way in result["receive"]
        for point in way["points"]
    }
    for depth in sorted({depth for _, depth in medians}):
        yield depth, {case: medians.get((case, depth), words.NONE) for case in COLUMNS}


def _receive_table(result: dict[str, Any]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="dim")
    table.add_column("depth", justify="right", no_wrap=True)
    for heading in COLUMNS.values():
        table.add_column(heading, justify="right", no_wrap=True)
    for depth, cells in _by_depth(result):
        table.add_row(format_count(depth), *cells.values())
    return table


def _curve(result: dict[str, Any]) -> list[str]:
    ways = {way["case"]: way["points"] for way in result["receive"]}
    return chart.curves(
        {case: [(point["depth"], point["median"]) for point in ways[case]] for case in DRAWN if case in ways},
        x_words=lambda value: format_count(int(value)),
        y_words=format_duration_ns,
        x_title="messages",
    )


def _walk_lines(result: dict[str, Any]) -> list[str]:
    """What a message costs that a receive walks past, by way to ask."""
    lines = []
    for way in result["receive"]:
        lines += [f"{COLUMNS[way['case']]}: {line}" for line in _step_lines("a message walked past", way["fit"])]
    return lines


def _step_lines(what: str, fit: dict[str, Any] | None) -> list[str]:
    if fit is None:
        return []
    near, far = fit["near"], fit["far"]
    line = f"{what} costs {_slope(near)}"
    if far is not None:
        line += f" up to {format_count(fit['bend'])}; beyond, where a cache ends, {_slope(far)}"
    return [line]


def _slope(line: dict[str, Any]) -> str:
    interval = "" if line["low"] is None else f" ({line['low']:.3g} to {line['high']:.3g})"
    return f"{line['per_step']:.3g} ns{interval}"


def _send_table(send: dict[str, Any]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for heading in ("asleep", "median", "quartiles"):
        table.add_column(heading, justify="right", no_wrap=True)
    for point in send["points"]:
        quartiles = f"{format_duration_ns(point['low'])} to {format_duration_ns(point['high'])}"
        table.add_row(format_count(point["sleepers"]), format_duration_ns(point["median"]), quartiles)
    return table


def bystander_line(found: dict[str, Any]) -> str:
    """What a poller does to a pair, in a sentence."""
    slowed = found["slowed"]
    return (
        f"a pair makes {format_rate(found['alone_rate']['median'])} round trips alone, and"
        f" {format_rate(found['polled_rate']['median'])} beside a process that polls a queue of"
        f" {format_count(found['depth'])} for a missing type: slowed {slowed['median']:.2f} times"
        f" (quartiles {slowed['low']:.2f} to {slowed['high']:.2f})"
    )


def notes(result: dict[str, Any]) -> list[str]:
    """What each time holds, how quiet the machine was, and what is missing."""
    plan = result["plan"]
    lines = [f"{result['engine']} engine, {plan['rounds']} rounds, medians; messages of {plan['size_bytes']} B"]
    if result["overhead_ns"] is not None:
        lines.append(f"a receive from an empty queue, the least of all: {format_duration_ns(result['overhead_ns'])}")
    return [*lines, *words.honesty_lines(result)]
