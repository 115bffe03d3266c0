"""Words and figures that the terminal, the plain lines and the ceiling's table share."""

from __future__ import annotations

from typing import Any

from harness.measure.quantities import format_duration_ns, format_rate, format_size

NONE = "-"
PERCENTILES = ("p50", "p90", "p99", "p99_9", "p99_99", "max", "mean")
HEADINGS = ("p50", "p90", "p99", "p99.9", "p99.99", "max", "mean")


def duration(value_ns: float | None) -> str:
    """A duration in ns, or a dash where there is none."""
    return NONE if value_ns is None else format_duration_ns(value_ns)


def rate(value: float | None) -> str:
    """Messages a second, or a dash."""
    return NONE if value is None else format_rate(value)


def count(value: int | None) -> str:
    """A count with thousands set apart, or a dash."""
    return NONE if value is None else f"{value:,}"


def share(value: float | None) -> str:
    """A share as a percentage, or a dash."""
    return NONE if value is None else f"{value:.1%}"


def plural(number: int, thing: str) -> str:
    """A number and a thing: 1 producer, 2 producers."""
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def asked(plan: dict[str, Any]) -> str:
    """What a plan asks for, in one line."""
    if plan["loop"] == "closed":
        how = f"closed loop, {plan['outstanding']} outstanding a producer,"
    elif plan["rate"] == "max":
        how = "as fast as the queue lets,"
    elif isinstance(plan["rate"], str):
        how = f"{plan['rate']},"
    else:
        how = format_rate(plan["rate"]) + ("," if plan["count"] is not None else "")
    length = f"{plan['count']:,} messages" if plan["count"] is not None else f"for {plan['duration_s']:g} s"
    types = plan["types"]
    kinds = f"type {types[0]['type']}" if len(types) == 1 else f"{len(types)} types"
    return f"{how} {length}, messages of {sizes(plan)}, {kinds}"


def sizes(plan: dict[str, Any]) -> str:
    """The size of a plan's messages, or the smallest and the largest."""
    smallest, largest = plan["size"]["smallest"], plan["size"]["largest"]
    return format_size(smallest) if smallest == largest else f"{format_size(smallest)} to {format_size(largest)}"


def crew(plan: dict[str, Any], engine: str) -> str:
    """Who does it, in one line."""
    queues = plural(plan["queues"], "queue")
    if plan["key"] is not None:
        where = f"queue {plan['key']}"
    elif plan["queue_bytes"] is None:
        where = queues
    else:
        where = f"{queues} of {format_size(plan['queue_bytes'])}"
    readers = plural(plan["consumers"], "consumer") if plan["consumers"] else "somebody else's consumers"
    return f"{engine} engine, {plural(plan['producers'], 'producer')}, {where}, {readers} ({plan['select']})"


def verdict(result: dict[str, Any]) -> str:
    """Whether the rate was held, and what cut the run short, in a word or two."""
    if not result["complete"]:
        return f"INCOMPLETE: {result['cut']['sentence']}" if result["cut"] else "INCOMPLETE"
    if result["sustained"] is None:
        return "done"
    return "sustained" if result["sustained"] else "NOT SUSTAINED"


def ledger_lines(result: dict[str, Any]) -> list[str]:
    """The two sums that every message is in, and what must be 0."""
    attempted = " + ".join(f"{name} {count(result[name])}" for name in ("sent", "refused", "unknown"))
    lines = [f"attempted {count(result['attempted'])} = {attempted}"]
    if result["received"] is None:
        return [
            *lines,
            f"left in queue {count(result['left_in_queue'])}; the receivers are not ours, nothing is known of them",
        ]
    undecided = f" + undecided {count(result['undecided'])}" if result["undecided"] else ""
    return [
        *lines,
        (
            f"sent {count(result['sent'])} = received once {count(result['received_once'])}{undecided}"
            f" + left {count(result['left_in_queue'])} + lost {count(result['lost'])}"
            f" + held {count(result['held_by_killed'])}"
        ),
        f"duplicated {count(result['duplicated'])}, out of order {count(result['out_of_order'])}"
        + (f", foreign {count(result['foreign'])}" if result["foreign"] else ""),
    ]


def cost_line(result: dict[str, Any]) -> str:
    """CPU, switches, memory and the time asleep in send, in one line."""
    per = result["per_message"]
    cpu = NONE if per["cpu_ns"] is None else f"{per['cpu_ns']:,.0f} ns"
    switches = NONE if per["switches"] is None else f"{per['switches']:.2g}"
    memory = NONE if result["memory_bytes"] is None else f"{result['memory_bytes'] / 2**20:.0f} MiB"
    return f"{cpu} of CPU and {switches} switches a message; memory (PSS) {memory}"


def queue_line(result: dict[str, Any]) -> str:
    """How often the queue was full and how long senders slept."""
    return f"full {count(result['queue_full'])} times; senders slept {result['blocked_s']:.3g} s in msgsnd"


def machine_line(result: dict[str, Any]) -> str:
    """The disturbance figures and the word."""
    found = result["disturbance"]
    jitter = found["jitter"] or {}
    return (
        f"steal {share(found['steal_share'])}, waiting {share(found['runnable_wait_share'])}, throttled"
        f" {duration(found['throttled_ns'])}, clock gaps p99 {duration(jitter.get('p99_ns'))}"
        f": {found['verdict']}"
    )


def honesty_lines(result: dict[str, Any]) -> list[str]:
    """Under every experiment's report: was the machine quiet, was it cut, and what else a reader should know."""
    lines = [machine_line(result)]
    if result["disturbance"]["verdict"] != "clean":
        lines.append(result["disturbance"]["next_step"])
    if not result["complete"]:
        lines.append(f"INCOMPLETE: {result['cut']['sentence']}")
    return [*lines, *result["warnings"]]
