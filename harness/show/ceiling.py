"""The tables of `harness ceiling`: ratios with their spread, and the rates behind them."""

from __future__ import annotations

from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from harness.measure.quantities import format_size
from harness.show import words

EXPLAINED = {
    "bare": "C, send and receive only",
    "native": "C, everything on",
    "plain": "sysv_ipc, send and receive only",
    "python": "sysv_ipc, everything on",
}


def ceiling_view(result: dict[str, Any]) -> RenderableType:
    """The whole report for a terminal."""
    ratios = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim", title_justify="left")
    for column in ("message", "ratio", "median", "quartiles", "range", "aim"):
        ratios.add_column(column, justify="left" if column in ("message", "ratio") else "right", no_wrap=True)
    rates = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for column in ("message", "loop", "", "median", "quartiles"):
        rates.add_column(column, justify="right" if column in ("median", "quartiles") else "left", no_wrap=True)
    for entry in result["sizes"]:
        for ratio in entry["ratios"]:
            ratios.add_row(*_ratio_cells(entry["size"], ratio))
        for engine, found in entry["rates"].items():
            rates.add_row(
                format_size(entry["size"]),
                engine,
                EXPLAINED[engine],
                words.rate(found["median"]),
                f"{words.rate(found['low'])} to {words.rate(found['high'])}",
            )
    tables = [part for table in (ratios, rates) if table.row_count for part in ("", table)]
    return Group(*tables, "", Text("\n".join(notes(result)), style="dim"))


def _ratio_cells(size: int, ratio: dict[str, Any]) -> tuple[str | Text, ...]:
    median = Text(f"{ratio['median']:.3f}")
    if ratio["aim"] is not None and size <= 1024:  # noqa: PLR2004  what the aims were set for
        median.stylize("bold green" if ratio["median"] >= ratio["aim"] else "bold yellow")
    return (
        format_size(size),
        f"{ratio['of']} / {ratio['to']}",
        median,
        f"{ratio['low']:.3f} to {ratio['high']:.3f}",
        f"{ratio['min']:.3f} to {ratio['max']:.3f}",
        words.NONE if ratio["aim"] is None else f"{ratio['aim']:.2f}",
    )


def ceiling_lines(result: dict[str, Any]) -> list[str]:
    """The same as plain lines."""
    lines = []
    for entry in result["sizes"]:
        for ratio in entry["ratios"]:
            cells = [str(cell) for cell in _ratio_cells(entry["size"], ratio)]
            lines.append(f"{cells[0]}: {cells[1]} {cells[2]} (quartiles {cells[3]}, range {cells[4]}, aim {cells[5]})")
        lines += [
            f"{format_size(entry['size'])}: {engine} {words.rate(found['median'])}"
            for engine, found in entry["rates"].items()
        ]
    return lines + notes(result)


def notes(result: dict[str, Any]) -> list[str]:
    """How many rounds, how quiet the machine was, and what is missing."""
    quiet = ", ".join(f"{number} {verdict}" for verdict, number in result["verdicts"].items())
    rounds = min((entry["rounds"] for entry in result["sizes"]), default=0)
    lines = [f"{rounds} of {result['plan']['rounds']} rounds by turns; runs: {quiet or 'none'}"]
    if not result["complete"]:
        lines.append("INCOMPLETE: it was interrupted")
    return [*lines, *result["wrong"], *result["warnings"]]
