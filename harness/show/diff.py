"""How a comparison of two results looks: a table for a terminal, lines for everything else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from harness.measure.quantities import format_duration_ns, format_rate
from harness.show import words

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

STYLES: Final = {"worse": "bold red", "better": "bold green", "no difference": "", "not enough runs": "yellow"}
MANY: Final = 10
"""From so many times on a change is told as a factor."""
UNITS: Final[Mapping[str, Callable[[float], str]]] = {
    "messages/s": format_rate,
    "messages": lambda value: f"{value:,.0f}",
    "ns": format_duration_ns,
    "bytes": lambda value: f"{value / 2**20:.1f} MiB",
    "ratio": lambda value: f"{value:.3f}",
}


def diff_view(comparison: dict[str, Any]) -> RenderableType:
    """The whole comparison for a terminal; it fits 80 columns."""
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="dim")
    for column in ("figure", "before", "after", "change", f"{confidence(comparison)} interval", "verdict"):
        left = column in ("figure", "verdict")
        table.add_column(column, justify="left" if left else "right", no_wrap=column != "figure", overflow="fold")
    for figure in shown(comparison):
        style = "bold red" if figure["failed"] else STYLES[figure["verdict"]]
        table.add_row(*cells(figure), Text(figure["verdict"], style))
    foot = Text("\n".join(notes(comparison)), style="dim")
    end = Text(verdict_line(comparison), style="bold red" if comparison["failed"] else STYLES[comparison["verdict"]])
    return Group("", Text("\n".join(sides(comparison))), "", table, "", foot, end)


def diff_lines(comparison: dict[str, Any]) -> list[str]:
    """The same as plain lines, one for each figure."""
    lines = sides(comparison)
    for figure in shown(comparison):
        name, before, after, change, interval = cells(figure)
        within = f" ({confidence(comparison)}: {interval})" if figure["interval"] else ""
        lines.append(f"{name}: {before} to {after}, {change}{within}: {figure['verdict']}")
    return [*lines, *notes(comparison), verdict_line(comparison)]


def shown(comparison: dict[str, Any]) -> list[dict[str, Any]]:
    """The figures that say something: without those that must be 0 and are."""
    return [figure for figure in comparison["figures"] if not _rightly_zero(figure)]


def _rightly_zero(figure: dict[str, Any]) -> bool:
    return bool(figure["better"] == "zero" and figure["before"]["value"] == figure["after"]["value"] == 0)


def cells(figure: dict[str, Any]) -> tuple[str, str, str, str, str]:
    """Name, before, after, change, and the change's interval."""
    unit = UNITS[figure["unit"]]
    before, after = (figure[side]["value"] for side in ("before", "after"))
    interval = figure["interval"]
    return (
        figure["name"],
        words.NONE if before is None else unit(before),
        words.NONE if after is None else unit(after),
        percent(figure["change"]),
        words.NONE if interval is None else f"{percent(interval['low'])} to {percent(interval['high'])}",
    )


def percent(change: float | None) -> str:
    """A change with its sign, in two or three digits: "+4.5 %", "-12 %"; "x64", "1/64" from tenfold on; or a dash."""
    if change is None:
        return words.NONE
    ratio = 1 + change
    if ratio >= MANY:
        return f"x{ratio:,.0f}"
    if 0 < ratio <= 1 / MANY:  # 0 by rounding, from a ratio below 1e-16
        return f"1/{1 / ratio:,.0f}"
    digits = 1 if abs(change) < 0.0995 else 0  # noqa: PLR2004  9.95 % rounds to 10
    return f"{100 * change:+.{digits}f} %"


def confidence(comparison: dict[str, Any]) -> str:
    """That of the intervals: "99.5%"."""
    return f"{100 * comparison['confidence']:g}%"


def sides(comparison: dict[str, Any]) -> list[str]:
    """Two lines: which results these are."""
    lines = []
    for name in ("before", "after"):
        side = comparison[name]
        label = f" {side['label']!r}" if side["label"] else ""
        when = f", {side['started_at']}" if side["started_at"] else ""
        code = f"harness {side['harness']}" if side["revision"] is None else f"revision {side['revision'][:10]}"
        changed = " with changes" if side["dirty"] else ""
        runs = words.plural(side["runs"], "run")
        lines.append(f"{name:6} {side['title']}{label}: {runs}{when}, {code}{changed}")
    return lines


def notes(comparison: dict[str, Any]) -> list[str]:
    """What the verdicts are made of, and what a reader should know before believing them."""
    floor, fewest = comparison["floor"], comparison["fewest_runs"]
    zero = [figure["name"] for figure in comparison["figures"] if _rightly_zero(figure)]
    lines = [f"{', '.join(zero)}: 0 before and after"] if zero else []
    how = "ratios within a round" if comparison["paired"] else "medians over whole runs"
    lines.append(f"{how}; a difference is one whose whole interval is beyond {floor:.0%}")
    if any(figure["verdict"] == "not enough runs" for figure in comparison["figures"]):
        lines.append(f"not enough runs: it takes {fewest} on each side, as single runs differ too much")
    return [*lines, *(f"note: {warning}" for warning in comparison["warnings"])]


def verdict_line(comparison: dict[str, Any]) -> str:
    """What it comes to, and what failed."""
    limit = f"{comparison['tolerance']:.0%}"
    if comparison["failed"]:
        return f"{comparison['verdict']}; beyond the tolerance of {limit}: {', '.join(comparison['failed'])}"
    return f"{comparison['verdict']}; nothing beyond the tolerance of {limit}"
