"""The report of `harness compare`: figures against the System V queue's, bars, the table of properties."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from harness.measure.quantities import format_count, format_duration_ns, format_rate, format_size
from harness.show import chart, words

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ABILITIES = {
    "select": "selects",
    "priority": "priority",
    "boundaries": "boundaries",
    "peek": "peek",
    "poll": "select(2)",
}
LASTING = {"outlives": "outlives its processes", "hosts": "other hosts", "limits": "largest; what may wait"}
"""The properties, in two tables that 80 columns hold, under short words."""
TRIED, OTHERWISE = "*", "!"
"""Behind a property: the run tried it and found it so, or not so."""
BAR_WIDTH = 52


def compare_view(result: dict[str, Any]) -> RenderableType:
    """The whole report for a terminal."""
    parts: list[RenderableType] = []
    if result["transports"]:
        size = format_size(result["plan"]["size_bytes"])
        parts += [Text(f"\nmessages of {size}, against the System V queue (sysv)", style="bold"), _figures(result), ""]
        parts += [Text("\n".join(_bars(result)), no_wrap=True), ""]
        parts.append(Text("\n".join(_explained(result)), style="dim"))
    for title, columns in (("what a receiver can do", ABILITIES), ("how far it goes", LASTING)):
        parts += [Text(f"\n{title}", style="bold"), _properties(result, columns)]
    parts.append(Text("\n".join(["", *_sources(result)]), style="dim"))
    return Group(*parts, "", Text("\n".join(notes(result)), style="dim"))


def compare_lines(result: dict[str, Any]) -> list[str]:
    """The same as plain lines."""
    lines = []
    for found in result["transports"]:
        rate, p50, p99 = found["rate"], found["p50_ns"], found["p99_ns"]
        lines.append(
            f"{found['name']}: {format_rate(rate['median'])}, {_ratio(found['to_sysv']['rate'])} to sysv; paced p50"
            f" {format_duration_ns(p50['median'])}, {_ratio(found['to_sysv']['p50_ns'])} to sysv, p99"
            f" {format_duration_ns(p99['median'])}"
        )
    if result["transports"]:
        lines += _explained(result)
    for row in result["properties"]:
        cells = "; ".join(f"{heading} {_cell(row[asked])}" for asked, heading in (ABILITIES | LASTING).items())
        lines.append(f"{row['name']}: {cells}")
    return lines + _sources(result) + notes(result)


def _ratio(spread: dict[str, Any]) -> str:
    return f"{spread['median']:.2f} ({spread['low']:.2f} to {spread['high']:.2f})"


def _figures(result: dict[str, Any]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("", no_wrap=True)
    for heading in ("unpaced", "to sysv", "quartiles", "paced p50", "to sysv", "p99"):
        table.add_column(heading, justify="right", no_wrap=True)
    for found in result["transports"]:
        rate, p50 = found["to_sysv"]["rate"], found["to_sysv"]["p50_ns"]
        table.add_row(
            found["name"],
            format_rate(found["rate"]["median"]),
            f"{rate['median']:.2f}",
            f"{rate['low']:.2f} to {rate['high']:.2f}",
            format_duration_ns(found["p50_ns"]["median"]),
            f"{p50['median']:.2f}",
            format_duration_ns(found["p99_ns"]["median"]),
        )
    return table


def _bars(result: dict[str, Any]) -> list[str]:
    ratios = {found["name"]: found["to_sysv"]["rate"] for found in result["transports"]}
    return chart.spans(
        {name: (ratio["low"], ratio["median"], ratio["high"]) for name, ratio in ratios.items()},
        words=lambda value: f"{value:.2f}",
        width=BAR_WIDTH,
        mark=1.0,
    )


def _explained(result: dict[str, Any]) -> list[str]:
    """How to read the figures, what is in C, and what each holds: the depth that a fast sender can run ahead."""
    in_c = [found["name"] for found in result["transports"] if found["loop"] == "C"]
    lines = ["rates against sysv in the same round: █ to the lower quartile, ▓ to the median, ░ to the upper, │ 1"]
    if in_c:
        lines.append(f"{', '.join(in_c)} is a loop in C; all others are one and the same loop in Python")
    lines.append("held while nobody receives (tried), and by what:")
    return lines + [
        f"  {found['name']}: {_held(found['held'])}; {found['room']}"
        for found in result["transports"]
        if found["room"] is not None
    ]


def _held(messages: int | None) -> str:
    if messages is None:
        return "more than was tried"
    return f"{format_count(messages)} messages" if messages else "less than a message"


def _cell(fact: dict[str, Any]) -> str:
    tried = fact["tried"]
    if tried is None:
        return str(fact["says"])
    return f"{fact['says']}{TRIED if tried == fact['holds'] else OTHERWISE}"


def _properties(result: dict[str, Any], columns: dict[str, str]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("", no_wrap=True)
    for heading in columns.values():
        table.add_column(heading, no_wrap=True)
    for row in result["properties"]:
        table.add_row(row["name"], *(_cell(row[asked]) for asked in columns))
    return table


def _sources(result: dict[str, Any]) -> list[str]:
    """Where each row's facts stand, and what the marks mean."""
    lines = [f"{TRIED} the run tried it on this machine, and it was so; {OTHERWISE} it was not so"]
    for row in result["properties"]:
        named = dict.fromkeys(part for fact in _facts(row) for part in fact["source"].split("; "))
        lines.append(f"{row['name']}: {'; '.join(named)}")
    return lines


def _facts(row: dict[str, Any]) -> Iterator[dict[str, Any]]:
    return (row[asked] for asked in ABILITIES | LASTING)


def notes(result: dict[str, Any]) -> list[str]:
    """The plan in a line, what is not here, what went wrong, and how quiet the machine was."""
    plan = result["plan"]
    lines: list[str] = []
    if plan["measuring"]:
        lines.append(
            f"{result['rounds']} of {plan['rounds']} rounds by turns, medians; a turn is {plan['duration_s']:g} s"
            f" unpaced, then {format_count(plan['paced'])} messages at {format_rate(plan['rate'])}"
        )
    lines += [f"not here: {found['name']}: {found['why']}" for found in result["missing"]]
    lines += [f"WRONG: {sentence}" for sentence in result["wrong"]]
    if not plan["measuring"]:  # how quiet the machine was does not matter
        return [
            *lines,
            *([] if result["complete"] else [f"INCOMPLETE: {result['cut']['sentence']}"]),
            *result["warnings"],
        ]
    if busy := _busy(result["transports"]):
        lines.append(busy)
    return [*lines, *words.honesty_lines(result)]


def _busy(transports: Sequence[dict[str, Any]]) -> str:
    """Who keeps more than a sender and a receiver at work, which is what makes a small machine oversubscribed."""
    more = [f"{found['name']} {found['tasks']}" for found in transports if found["tasks"] > 2]  # noqa: PLR2004
    return f"processes and threads at work, where more than two: {', '.join(more)}" if more else ""
