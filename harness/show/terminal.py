"""The live view and the final report of `harness load` on a terminal, as rich renderables; they fit 80 columns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from harness.show import words

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.experiments.follow import Snapshot

BLOCKS = " ▁▂▃▄▅▆▇█"
GOOD, BAD, DOUBTFUL, QUIET = "bold green", "bold red", "bold yellow", "dim"


def live_view(snapshot: Snapshot, title: str, look: str, history: Sequence[Snapshot] = ()) -> RenderableType:
    """A run at one moment: progress and time left, rates against the rate asked, depth, latency so far."""
    latency = snapshot.latency.summary()
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style=QUIET, width=8)
    grid.add_column()
    grid.add_row("progress", _progress(snapshot))
    asked = "" if snapshot.asked_rate is None else f"   asked {words.rate(snapshot.asked_rate)}"
    grid.add_row(
        "rate",
        f"sent {words.rate(snapshot.sent_rate):>8}   received {words.rate(snapshot.received_rate):>8}{asked}",
    )
    grid.add_row("messages", f"sent {snapshot.sent:,}   received {snapshot.received:,}" + _refused(snapshot))
    grid.add_row("depth", f"{snapshot.depth:>9,}  {sparkline([past.depth for past in history])}")
    name = "latency" if snapshot.asked_rate is not None else "service"
    grid.add_row(
        name,
        f"p50 {words.duration(latency['p50'])}   p99 {words.duration(latency['p99'])}"
        f"   p99.9 {words.duration(latency['p99_9'])}   max {words.duration(latency['max'])}",
    )
    hint = Text(f"look at its queue from another terminal: {look}", style=QUIET)
    return Group(Text(title, style="bold"), grid, hint)


def _progress(snapshot: Snapshot) -> RenderableType:
    row = Table.grid(padding=(0, 2))
    if snapshot.total_s is None:
        row.add_row(f"{snapshot.phase}, {snapshot.elapsed_s:.1f} s")
        return row
    left = max(0.0, snapshot.total_s - snapshot.elapsed_s)
    row.add_row(
        ProgressBar(total=snapshot.total_s, completed=min(snapshot.elapsed_s, snapshot.total_s), width=30),
        f"{snapshot.phase}, {left:.0f} s left",
    )
    return row


def _refused(snapshot: Snapshot) -> str:
    return f"   refused {snapshot.refused:,}" if snapshot.refused else ""


def sparkline(values: Sequence[float], width: int = 40) -> str:
    """The last `width` values as a line of blocks, scaled to their largest."""
    shown = values[-width:]
    top = max(shown, default=0)
    if top <= 0:
        return ""
    return "".join(BLOCKS[round(value / top * (len(BLOCKS) - 1))] for value in shown)


def report(result: dict[str, Any]) -> RenderableType:
    """What was asked and what was held, the ledger, the percentiles, the costs, the doubts and the next step."""
    plan = result["plan"]
    head = Table.grid(padding=(0, 2))
    head.add_column(style=QUIET, width=8)
    head.add_column()
    head.add_row("asked", words.asked(plan))
    head.add_row("by", words.crew(plan, result["engine"]))
    held = Text(words.rate(result["achieved_rate"]))
    held.append("  ")
    held.append(words.verdict(result), style=_verdict_style(result))
    held.append("  ")
    held.append(result["disturbance"]["verdict"], style=_machine_style(result))
    if len(result["runs"]) > 1:
        rates = [run["achieved_rate"] or 0.0 for run in result["runs"]]
        held.append(f"  (median of {len(rates)}: {words.rate(min(rates))} to {words.rate(max(rates))})", style=QUIET)
    head.add_row("held", held)

    rest = Table.grid(padding=(0, 2))
    rest.add_column(style=QUIET, width=8)
    rest.add_column()
    rest.add_row("ledger", Text("\n".join(words.ledger_lines(result)), style="" if _ledger_right(result) else BAD))
    rest.add_row("queue", words.queue_line(result))
    rest.add_row("cost", words.cost_line(result))
    rest.add_row("machine", words.machine_line(result))
    for warning in result["warnings"]:
        rest.add_row("note", Text(warning, style=DOUBTFUL))
    for item in result["thresholds"]:
        rest.add_row("check", Text(item["sentence"], style=BAD if item["failed"] else ""))
    if result["advice"]:
        rest.add_row("next", result["advice"])

    parts: list[RenderableType] = ["", head, "", percentiles(result)]
    if result["steps"]:
        parts += ["", steps(result)]
    if len(result["by_type"]) > 1:
        parts += ["", by_type(result)]
    return Group(*parts, "", by_worker(result), "", rest)


def _ledger_right(result: dict[str, Any]) -> bool:
    return not (result["lost"] or result["duplicated"] or result["out_of_order"])


def _verdict_style(result: dict[str, Any]) -> str:
    if not result["complete"] or result["sustained"] is False:
        return BAD
    return GOOD if result["sustained"] else ""


def _machine_style(result: dict[str, Any]) -> str:
    return {"clean": GOOD, "disturbed": DOUBTFUL, "oversubscribed": DOUBTFUL}.get(
        result["disturbance"]["verdict"], QUIET
    )


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style=QUIET)
    for number, column in enumerate(columns):
        table.add_column(column, justify="left" if number == 0 else "right", no_wrap=True)
    return table


def percentiles(result: dict[str, Any]) -> Table:
    """Latency from the intended send time, service time and pacing error side by side."""
    table = _table("", *words.HEADINGS)
    for title, group in (("latency", "latency_ns"), ("service", "service_ns"), ("pacing", "pacing_error_ns")):
        figures = result[group]
        if figures["p50"] is not None:
            table.add_row(title, *(words.duration(figures[key]) for key in words.PERCENTILES))
    return table


def steps(result: dict[str, Any]) -> Table:
    """The steps of a ramp."""
    table = _table("asked", "held", "p50", "p99", "depth at end", "verdict")
    for step in result["steps"]:
        rows = step["series"]["rows"]
        table.add_row(
            words.rate(step["rate"]),
            words.rate(step["achieved_rate"]),
            words.duration(step["latency_ns"]["p50"]),
            words.duration(step["latency_ns"]["p99"]),
            words.count(rows[-1][-1] if rows else None),
            Text(words.verdict(step), style=_verdict_style(step)),
        )
    return table


def by_type(result: dict[str, Any]) -> Table:
    """What became of each message type."""
    table = _table("type", "sent", "received", "p50", "p99", "max")
    for row in result["by_type"]:
        latency = row["latency_ns"]
        table.add_row(
            str(row["type"]),
            words.count(row["sent"]),
            words.count(row["received"]),
            *(words.duration(latency[key]) for key in ("p50", "p99", "max")),
        )
    return table


def by_worker(result: dict[str, Any]) -> Table:
    """What each process did and what it cost."""
    table = _table("worker", "queue", "messages", "CPU", "waiting", "switches", "ended")
    for row in result["by_worker"]:
        table.add_row(
            f"{row['role']} {row['index']}" + (f" ({row['takes']})" if row["takes"] else ""),
            str(row["queue"]),
            words.count(row["messages"]),
            words.share(row["cpu_share"]),
            words.share(row["wait_share"]),
            words.count(row["switches"]),
            row["ended"] or words.NONE,
        )
    return table
