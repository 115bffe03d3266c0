"""`harness load` without a terminal: one line a second, and a report of plain lines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.show import words

if TYPE_CHECKING:
    from harness.experiments.follow import Snapshot


def progress_line(snapshot: Snapshot) -> str:
    """One moment of a run, in one line."""
    total = "" if snapshot.total_s is None else f"/{snapshot.total_s:g}"
    latency = snapshot.latency.summary()
    return (
        f"{snapshot.elapsed_s:6.1f}{total} s  {snapshot.phase:<7}  sent {words.rate(snapshot.sent_rate):>8}"
        f"  received {words.rate(snapshot.received_rate):>8}  depth {snapshot.depth:>7,}"
        f"  p50 {words.duration(latency['p50']):>7}  p99 {words.duration(latency['p99']):>7}"
    )


def report_lines(result: dict[str, Any]) -> list[str]:
    """The whole report, line by line; the same facts as the terminal's."""
    plan = result["plan"]
    lines = [
        f"asked: {words.asked(plan)}",
        f"by: {words.crew(plan, result['engine'])}",
        f"held: {words.rate(result['achieved_rate'])} ({words.verdict(result)}, {result['disturbance']['verdict']})",
    ]
    for title, group in (("latency", "latency_ns"), ("service", "service_ns"), ("pacing error", "pacing_error_ns")):
        figures = result[group]
        if figures["p50"] is not None:
            values = zip(words.HEADINGS, words.PERCENTILES, strict=True)
            lines.append(f"{title}: " + "  ".join(f"{head} {words.duration(figures[key])}" for head, key in values))
    lines += [f"ledger: {line}" for line in words.ledger_lines(result)]
    lines += [
        f"queue: {words.queue_line(result)}",
        f"cost: {words.cost_line(result)}",
        f"machine: {words.machine_line(result)}",
    ]
    lines += [
        f"step {words.rate(step['rate'])}: held {words.rate(step['achieved_rate'])}, {words.verdict(step)},"
        f" p99 {words.duration(step['latency_ns']['p99'])}"
        for step in result["steps"]
    ]
    lines += [f"warning: {warning}" for warning in result["warnings"]]
    lines += [f"check: {item['sentence']}" for item in result["thresholds"]]
    if result["advice"]:
        lines.append(f"next: {result['advice']}")
    return lines
