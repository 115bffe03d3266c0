"""A load through a proxy: the line a second, the live view, and the report (rich, and plain lines)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from harness.measure.quantities import format_rate, format_size
from harness.show import words
from harness.show.terminal import BAD, DOUBTFUL, GOOD, QUIET

if TYPE_CHECKING:
    from harness.experiments.udp_follow import UdpSnapshot

GROUPS = (
    ("latency", "latency_ns"),
    ("service", "service_ns"),
    ("refusal", "refusal_ns"),
    ("pacing error", "pacing_error_ns"),
)


def udp_asked(plan: dict[str, Any]) -> str:
    """What a plan asks for, in one line."""
    length = f", {plan['count']:,} requests" if plan["count"] is not None else f" for {plan['duration_s']:g} s"
    smallest, largest = plan["size"]["smallest"], plan["size"]["largest"]
    size = format_size(smallest) if smallest == largest else f"{format_size(smallest)} to {format_size(largest)}"
    how = "pipelined" if plan["pipelined"] else "one request on each"
    sockets = words.plural(plan["sockets"], "socket")
    return f"{plan['target']} at {format_rate(plan['rate'])}{length}, datagrams of {size}, {sockets}, {how}"


def udp_progress(snapshot: UdpSnapshot) -> str:
    """One moment of a run, in one line."""
    sample, latency = snapshot.sample, snapshot.latency.summary()
    sent, ok = words.rate(snapshot.sent_rate), words.rate(snapshot.ok_rate)
    closed = f"  port unreachable {snapshot.unreachable:,}" if snapshot.unreachable else ""
    return (
        f"{snapshot.elapsed_s:6.1f}/{snapshot.total_s:g} s  {snapshot.phase:<7}  sent {sent:>8}  OK {ok:>8}"
        f"  ER {sample.er:,}  missing {sample.missing:,}  late {sample.late:,}"
        f"  behind {sample.behind:,}  p99 {words.duration(latency['p99']):>7}{closed}"
    )


def udp_view(snapshot: UdpSnapshot, title: str) -> RenderableType:
    """A run at one moment, for a terminal."""
    sample, latency = snapshot.sample, snapshot.latency.summary()
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style=QUIET, width=8)
    grid.add_column()
    row = Table.grid(padding=(0, 2))
    left_s = max(0.0, snapshot.total_s - snapshot.elapsed_s)
    row.add_row(
        ProgressBar(total=snapshot.total_s, completed=min(snapshot.elapsed_s, snapshot.total_s), width=30),
        f"{snapshot.phase}, {left_s:.0f} s left",
    )
    grid.add_row("progress", row)
    grid.add_row("rate", f"sent {words.rate(snapshot.sent_rate):>8}   OK {words.rate(snapshot.ok_rate):>8}")
    grid.add_row(
        "replies",
        f"OK {sample.ok:,}   ER {sample.er:,}   missing {sample.missing:,}   late {sample.late:,}"
        + (f"   other {sample.other:,}" if sample.other else ""),
    )
    grid.add_row("waiting", f"{sample.outstanding:,} for a reply   {sample.behind:,} to be sent")
    grid.add_row("latency", "   ".join(f"{name} {words.duration(latency[name])}" for name in ("p50", "p99", "max")))
    parts: list[RenderableType] = [Text(title, style="bold"), grid]
    if snapshot.unreachable:
        parts.append(Text(f"nobody listens there: port unreachable {snapshot.unreachable:,}", style=BAD))
    return Group(*parts)


def udp_report(result: dict[str, Any]) -> RenderableType:
    """The whole report for a terminal."""
    head, rest = _grid(), _grid()
    head.add_row("asked", udp_asked(result["plan"]))
    held = Text(words.rate(result["achieved_rate"]))
    held.append("  ")
    held.append(words.verdict(result), style=_style(result))
    held.append("  ")
    held.append(result["disturbance"]["verdict"], style=QUIET)
    if len(result["runs"]) > 1:
        rates = [run["achieved_rate"] or 0.0 for run in result["runs"]]
        held.append(f"  (median of {len(rates)}: {words.rate(min(rates))} to {words.rate(max(rates))})", style=QUIET)
    head.add_row("held", held)
    times = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style=QUIET)
    for number, heading in enumerate(("", *words.HEADINGS)):
        times.add_column(heading, justify="left" if number == 0 else "right", no_wrap=True)
    for title, group in GROUPS:
        if result[group]["p50"] is not None:
            times.add_row(title, *(words.duration(result[group][key]) for key in words.PERCENTILES))
    rest.add_row("ledger", Text("\n".join(ledger_lines(result)), style=BAD if result["balanced"] is False else ""))
    rest.add_row("loss", Text(loss_line(result), style=DOUBTFUL if result["missing"] else ""))
    rest.add_row("sender", sender_line(result))
    rest.add_row("machine", words.machine_line(result))
    for warning in result["warnings"]:
        rest.add_row("note", Text(warning, style=DOUBTFUL))
    for item in result["thresholds"]:
        rest.add_row("check", Text(item["sentence"], style=BAD if item["failed"] else ""))
    rest.add_row("next", result["advice"])
    return Group("", head, "", times, "", rest)


def _grid() -> Table:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style=QUIET, width=8)
    grid.add_column()
    return grid


def _style(result: dict[str, Any]) -> str:
    if not result["complete"] or result["sustained"] is False:
        return BAD
    return GOOD if result["sustained"] else ""


def udp_lines(result: dict[str, Any]) -> list[str]:
    """The same as plain lines."""
    lines = [
        f"asked: {udp_asked(result['plan'])}",
        f"held: {words.rate(result['achieved_rate'])} ({words.verdict(result)}, {result['disturbance']['verdict']})",
    ]
    for title, group in GROUPS:
        times = result[group]
        if times["p50"] is not None:
            values = zip(words.HEADINGS, words.PERCENTILES, strict=True)
            lines.append(f"{title}: " + "  ".join(f"{head} {words.duration(times[key])}" for head, key in values))
    lines += [f"ledger: {line}" for line in ledger_lines(result)]
    lines += [
        f"loss: {loss_line(result)}",
        f"sender: {sender_line(result)}",
        f"machine: {words.machine_line(result)}",
    ]
    lines += [f"warning: {warning}" for warning in result["warnings"]]
    lines += [f"check: {item['sentence']}" for item in result["thresholds"]]
    return [*lines, f"next: {result['advice']}"]


def ledger_lines(result: dict[str, Any]) -> list[str]:
    """The sums that every request is in, warm-up included."""
    places = [f"{name} {words.count(result[key])}" for name, key in (("OK", "ok"), ("ER", "er"), ("other", "other"))]
    places.append(f"missing {words.count(result['missing'])}")
    if result["unreachable"]:
        places.append(f"port unreachable {words.count(result['unreachable'])}")
    if result["in_flight"] != 0:
        places.append(f"awaited at the end {words.count(result['in_flight'])}")
    lines = [
        f"due {words.count(result['due'])} (in the window), not sent {words.count(result['unsent'])}",
        f"sent {words.count(result['sent'])} = {' + '.join(places)}",
    ]
    if result["unsendable"]:
        lines.append(f"refused by our own kernel at the send {words.count(result['unsendable'])}")
    if not result["plan"]["pipelined"]:
        lines.append(f"sent late, as no socket was free {words.count(result['held_back'])}")
    return lines


def loss_line(result: dict[str, Any]) -> str:
    """Of what is missing: what came late, and what the kernel dropped, and where."""
    late = "" if result["late"] is None else f"came late {words.count(result['late'])}; "
    backlog = result["socket_backlog_bytes"]
    waiting = f"; {format_size(backlog)} still wait in it" if backlog else ""
    return (
        f"of the missing {late}dropped at the proxy's socket {words.count(result['socket_loss'])}"
        f" (at ours {words.count(result['reply_loss'])}){waiting}"
    )


def sender_line(result: dict[str, Any]) -> str:
    """What the sending process took."""
    found = result["sender"]
    cpu = words.NONE if found["cpu_ns_per_request"] is None else f"{found['cpu_ns_per_request']:,.0f} ns"
    memory = words.NONE if result["memory_bytes"] is None else f"{result['memory_bytes'] / 2**20:.0f} MiB"
    return (
        f"{words.share(found['cpu_share'])} of a CPU, {cpu} a request; waited for one"
        f" {words.share(found['wait_share'])} of the time; memory (PSS) {memory}"
    )
