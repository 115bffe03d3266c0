"""The report of `harness block`: a table for each part, the shares of competing senders, the latency over a stall."""

from __future__ import annotations

from dataclasses import dataclass
from string import ascii_uppercase
from typing import TYPE_CHECKING, Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from harness.measure.quantities import format_duration_ns, format_rate, format_size
from harness.show import chart, words

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Spread = dict[str, float] | None

SHARES_WIDTH = 40
"""Of the line in which each sender has its part."""
CASES = {
    "alone": "no other sender",
    "steady": "{senders} small senders",
    "hurried": "{senders} small senders, fast receiver",
}

OVERLOADED = {
    "refuse": "refuse: what is refused is gone; what gets in waits as long as a full queue takes",
    "block": "block: the sender keeps all, and falls behind for as long as the overload lasts",
}


@dataclass(frozen=True, slots=True)
class Section:
    """One part of the report: a table whose first column names the rows, a picture, and sentences."""

    title: str
    heading: tuple[str, ...] = ()
    rows: Sequence[tuple[str, ...]] = ()
    picture: Sequence[str] = ()
    lines: Sequence[str] = ()


def block_view(result: dict[str, Any]) -> RenderableType:
    """The whole report for a terminal."""
    parts: list[RenderableType] = []
    for section in sections(result):
        parts.append(Text(f"\n{section.title}", style="bold"))
        if section.rows:
            parts.append(_table(section))
        if section.picture:
            parts += ["", Text("\n".join(section.picture), no_wrap=True), ""]
        parts.append(Text("\n".join(section.lines)))
    return Group(*parts, "", Text("\n".join(notes(result)), style="dim"))


def block_lines(result: dict[str, Any]) -> list[str]:
    """The same as plain lines."""
    lines = []
    for section in sections(result):
        lines.append(f"{section.title}:")
        for name, *cells in section.rows:
            told = (f"{heading} {cell}" for heading, cell in zip(section.heading[1:], cells, strict=True))
            lines.append(f"{section.heading[0]} {name}: ".lstrip() + ", ".join(told))
        lines += [*section.picture, *section.lines]
    return lines + notes(result)


def sections(result: dict[str, Any]) -> list[Section]:
    """The parts that were measured, in words and figures."""
    makers: dict[str, Callable[[dict[str, Any]], Section]] = {
        "wake": _wake,
        "fairness": _fairness,
        "starvation": _starvation,
        "overload": _overload,
        "never_fits": _never_fits,
        "stall": _stall,
    }
    return [make(result) for key, make in makers.items() if result[key]]


def _table(section: Section) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for place, heading in enumerate(section.heading):
        left = place == 0 or heading == "shares"
        table.add_column(heading, justify="left" if left else "right", no_wrap=True)
    for row in section.rows:
        table.add_row(*row)
    return table


def _time(spread: Spread, of: str = "median") -> str:
    return words.NONE if spread is None else format_duration_ns(spread[of])


def _share(spread: Spread, of: str = "median") -> str:
    return words.share(None if spread is None else spread[of])


def _count(spread: Spread, of: str = "median") -> str:
    return words.NONE if spread is None else f"{spread[of]:,.0f}"


def _quartiles(spread: Spread) -> str:
    return f"{_time(spread, 'low')} to {_time(spread, 'high')}" if spread else words.NONE


def _wake(result: dict[str, Any]) -> Section:
    found = result["wake"]
    lines = []
    if ratio := found["across_to_same"]:
        lines.append(
            f"across CPUs it takes {ratio['median']:.2f} times as long as on one"
            f" (quartiles {ratio['low']:.2f} to {ratio['high']:.2f})"
        )
    lines += [
        f"a receive and a send that need not wait take {_time(found['floor_ns'])}; the rest is the waking",
        "the receiver rests right after its receive, so that on one CPU the sender can run",
    ]
    return Section(
        "a sender asleep on a full queue: from the receive that makes room to its return",
        ("sender and receiver", "median", "quartiles", "p99"),
        [
            (at["place"], _time(at["median_ns"]), _quartiles(at["median_ns"]), _time(at["p99_ns"]))
            for at in found["places"]
        ],
        lines=lines,
    )


def _fairness(result: dict[str, Any]) -> Section:
    found = result["fairness"]
    index, senders = found["jain"], found["senders"]
    rows = [
        (
            f"{window['round'] + 1}.{window['window'] + 1}",
            f"{window['jain']:.2f}",
            f"{min(window['shares']):.0%}",
            f"{max(window['shares']):.0%}",
            format_rate(window["rate"]),
            chart.divided(window["shares"], ascii_uppercase, SHARES_WIDTH),
        )
        for window in found["windows"]
    ]
    return Section(
        f"{senders} senders into a full queue: who got how much of the room",
        ("window", "index", "least", "most", "rate", "shares"),
        rows,
        lines=[
            f"Jain's index: {index['median']:.2f} in the median, {index['min']:.2f} to {index['max']:.2f}",
            f"1 is an equal share for all, {1 / senders:.2g} all for one",
            "each receive wakes all who wait; whoever runs first gets the room, without turns",
            "a window has fresh processes (2.1: the first of round 2); where they land counts",
        ],
    )


def _starvation(result: dict[str, Any]) -> Section:
    plan, limit_ns = result["plan"], result["starvation_limit_s"] * 1e9
    rest = format_duration_ns(result["steady_rest_ns"])
    small, large = (format_size(size) for size in plan["sizes"])
    rows = [
        (
            CASES[case["case"]].format(senders=plan["senders"]),
            f"{case['got_in']} of {case['rounds']}",
            _time(case["waited_ns"]) if case["got_in"] else f"over {format_duration_ns(limit_ns)}",
            _count(case["overtaken_by"]),
            _count(case["overtaken_by"], "max"),
        )
        for case in result["starvation"]
    ]
    return Section(
        f"a message of {large} that waits for room, while others send {small}",
        ("", "got in", "after", "overtaken by", "at most"),
        rows,
        lines=[
            f"each receive frees {small}: a small sender takes it, the large one is passed over",
            f"the receiver rests for {rest} after each message, the fast one never",
        ],
    )


def _overload(result: dict[str, Any]) -> Section:
    ways = result["overload"]
    heading = ("", *(way["when_full"] for way in ways))
    table: dict[str, Callable[[dict[str, Any]], str]] = {
        "offered": lambda way: format_rate(way["offered_rate"]),
        "taken by the consumer": lambda way: format_rate(way["goodput"]["median"]),
        "refused": lambda way: _share(way["refused_share"]),
        "due, and not sent by the end": lambda way: _share(way["unsent_share"]),
        "a refused msgsnd takes": lambda way: _time(way["refused_system_call_ns"]),
        "  with Python's exception": lambda way: _time(way["refused_call_ns"]),
        "a send that waits sleeps": lambda way: _time(way["sleep_ns"]),
        "producer asleep in msgsnd": lambda way: _share(way["asleep_share"]),
        "the last send was late by": lambda way: _time(way["behind_ns"]),
        "latency, p50": lambda way: _latency(way, "p50"),
        "latency, max": lambda way: _latency(way, "max"),
        "lost": lambda way: words.count(way["lost"]),
    }
    return Section(
        "twice as much as the consumer takes: refuse (IPC_NOWAIT) or block",
        heading,
        [(name, *(cell(way) for way in ways)) for name, cell in table.items()],
        lines=[OVERLOADED[way["when_full"]] for way in ways],
    )


def _latency(way: dict[str, Any], percentile: str) -> str:
    """Where messages were not sent, those that would have waited longest are missing: it is a lower bound."""
    bound = "over " if way["unsent_share"]["median"] > 0.001 else ""  # noqa: PLR2004  as a load's `sustained`
    return bound + _time(way[f"latency_{percentile}_ns"])


def _never_fits(result: dict[str, Any]) -> Section:
    found = result["never_fits"]
    size, limit = format_size(found["size_bytes"]), format_size(result["plan"]["queue_bytes"])
    rounds = words.plural(found["rounds"], "round")
    slept = f"msgsnd itself slept on the empty queue in {found['kernel_waits']} of {rounds}"
    return Section(
        f"a message of {size} into a queue of {limit}",
        lines=[
            f"our send tells it after {_time(found['detected_ns'])}: {' or '.join(found['errors'])} ({found['errno']})",
            found["sentence"],
            f"{slept}; we ended it after {_time(found['watched_ns'])}",
        ],
    )


def _stall(result: dict[str, Any]) -> Section:
    found = result["stall"]
    columns = ("p50", "p90", "p99", "max")
    late = format_duration_ns(found["late_ns"])
    rows = [
        (name, *(_time(found[key][column]) for column in columns), _count(found[late_key]))
        for name, key, late_key in (
            ("from when it was due", "intended_ns", "late_by_intended"),
            ("from when its send began", "sent_ns", "late_by_sent"),
        )
    ]
    series = found["series"]["rows"]
    picture = chart.timeline(
        {"from when it was due": [row[:2] for row in series], "from when its send began": [row[::2] for row in series]},
        x_words=lambda value: f"{value:g}",
        y_words=lambda value: format_duration_ns(value) if value else "0",
        x_title="s",
    )
    sums = ", ".join(
        f"{name} {found[key]:,}"
        for name, key in (("lost", "lost"), ("received twice", "received_again"), ("not sent", "unsent"))
    )
    lines = [
        *_held(result["plan"], found),
        *_gone(found),
        f"{words.plural(found['rounds'], 'round')} of {found['due']:,} messages: {sums}",
    ]
    return Section(
        f"latency at {format_rate(found['rate'])} while the consumer stalls for {_time(found['stalled_ns'])}",
        ("", *columns, f"over {late}"),
        rows,
        picture,
        lines,
    )


def _held(plan: dict[str, Any], found: dict[str, Any]) -> list[str]:
    """Where the messages of the stall were, and so which of the two clocks saw them wait."""
    missed = round(found["rate"] * found["stalled_ns"]["median"] / 1e9)
    room = plan["queue_bytes"] // plan["sizes"][0]
    due = f"about {missed:,} messages became due while nothing was taken"
    if found["deepest"]["max"] < room:
        return [due, "the queue had room for all, so both clocks saw them wait"]
    return [
        f"{due}; {room:,} filled the queue",
        "the others were sent late, and look quick from there: coordinated omission",
    ]


def _gone(found: dict[str, Any]) -> list[str]:
    if found["gone_ns"] is None:
        return ["the backlog was not gone by the end"]
    before, rate = _time(found["before_p99_ns"]), format_rate(found["catch_up_rate"]["median"])
    return [
        f"the backlog was gone {_time(found['gone_ns'])} after the stall, at {rate}; that is when latency",
        f"was back at its p99 before the stall, {before}",
    ]


def notes(result: dict[str, Any]) -> list[str]:
    """What the figures are of, how quiet the machine was, what is wrong, and what is missing."""
    plan = result["plan"]
    return [
        f"{result['engine']} engine, {plan['rounds']} rounds, medians; queues of {format_size(plan['queue_bytes'])}",
        *result["wrong"],
        *words.honesty_lines(result),
    ]
