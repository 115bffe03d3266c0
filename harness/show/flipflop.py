"""The report of `harness flipflop`: the winners as a strip, who got how many, where the turn was broken, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from harness.measure.quantities import format_duration_ns
from harness.show import chart, words

if TYPE_CHECKING:
    from collections.abc import Sequence

STYLES = ("cyan", "yellow", "magenta", "green", "blue", "red")
"""Of the receivers in turn; the letters say the same without colour."""
MOST_LINES = 20
MOST_BREAKS = 10
BAR_WIDTH = 16

REASONS = {
    "queued": "nobody waited: it was queued, and went to whoever asked first",
    "at-work": "whose turn it was still had an earlier message in hand",
    "not-back": "whose turn it was did not work, but had not asked yet",
    "blocked-later": "whose turn it was had blocked again, but after the winner",
    "unseen": "the noted times do not say why",
}


def flipflop_view(result: dict[str, Any]) -> RenderableType:
    """The whole report for a terminal."""
    names = [receiver["receiver"] for receiver in result["receivers"]]
    parts: list[RenderableType] = []
    if result["runs"]:
        run = result["runs"][0]
        parts.append(Text(f"\n{_strip_title(result, run)}", style="bold"))
        parts.append(_coloured("\n".join(chart.strip(run["winners"], most=MOST_LINES)), names))
        parts += ["", _receivers_table(result, run)]
        parts += [Text("\nstrict alternation", style="bold"), Text("\n".join(_break_lines(result, run)))]
        parts += [Text("\nthe order of asking", style="bold"), Text("\n".join(_predicted_lines(result, run)))]
    return Group(*parts, "", Text("\n".join(notes(result)), style="dim"))


def flipflop_lines(result: dict[str, Any]) -> list[str]:
    """The same as plain lines."""
    lines: list[str] = []
    if result["runs"]:
        run = result["runs"][0]
        lines += [f"{_strip_title(result, run)}:", *chart.strip(run["winners"], most=MOST_LINES)]
        for receiver in result["receivers"]:
            name, work, share, rounds, waited = _receiver_cells(receiver, run)
            lines.append(f"{name}: work {work}, share {share}, all rounds {rounds}, waited {waited}")
        lines += [*_break_lines(result, run), *_predicted_lines(result, run)]
    return lines + notes(result)


def _strip_title(result: dict[str, Any], run: dict[str, Any]) -> str:
    return f"who got each message, round {run['round'] + 1} of {result['plan']['rounds']}"


def _coloured(text: str, names: Sequence[str]) -> Text:
    lines = Text(text, no_wrap=True)
    for place, name in enumerate(names):
        lines.highlight_regex(name, STYLES[place % len(STYLES)])
    return lines


def _receivers_table(result: dict[str, Any], run: dict[str, Any]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for heading in ("", "work", "share", "all rounds", "waited"):
        table.add_column(heading, justify="right" if heading else "left", no_wrap=True)
    table.add_column("", no_wrap=True)
    for place, receiver in enumerate(result["receivers"]):
        style = STYLES[place % len(STYLES)]
        name, *cells = _receiver_cells(receiver, run)
        table.add_row(Text(name, style=style), *cells, Text(chart.bar(run["shares"][name], BAR_WIDTH), style=style))
    return table


def _receiver_cells(receiver: dict[str, Any], run: dict[str, Any]) -> tuple[str, str, str, str, str]:
    """Name, work time, share in this round, over the rounds, median of its waits."""
    name, waited = receiver["receiver"], receiver["waited_ns"]
    return (
        name,
        format_duration_ns(receiver["work_ns"]) if receiver["work_ns"] else "none",
        words.share(run["shares"][name]),
        _range(receiver["share"]),
        words.duration(waited and waited["median"]),
    )


def _range(shares: dict[str, Any]) -> str:
    """The least and the greatest of shares over the rounds, or the one that all have."""
    least, greatest = words.share(shares["min"]), words.share(shares["max"])
    return least if least == greatest else f"{least} to {greatest}"


def _break_lines(result: dict[str, Any], run: dict[str, Any]) -> list[str]:
    """How often the turn was broken, how often for each reason, then the first breaks one by one."""
    broken, of = len(run["breaks"]), words.plural(len(run["winners"]), "message")
    lines = [
        f"broken at {broken:,} of {of} (all rounds {_range(result['broken'])}); in turn: {run['order']}",
        *(f"{count:>5,} times {REASONS[reason]}" for reason, count in run["reasons"].items() if count),
        *(
            f"  message {entry['number']}: {entry['turn']}'s turn, {entry['winner']} got it: {_why(entry)}"
            for entry in run["breaks"][:MOST_BREAKS]
        ),
    ]
    return lines + _more(len(run["breaks"]))


def _more(count: int) -> list[str]:
    return [f"  ... and {count - MOST_BREAKS:,} more"] if count > MOST_BREAKS else []


def _why(entry: dict[str, Any]) -> str:
    """The reason of one break, with its time."""
    turn, winner, by = entry["turn"], entry["winner"], words.duration(entry["by_ns"])
    if entry["by_ns"] is None:
        return f"{turn} did not ask again"
    return {
        "queued": f"queued for {by} when {winner} asked first",
        "at-work": f"{turn} was at work, and asked {by} later",
        "not-back": f"{turn} asked {by} later",
        "blocked-later": f"{turn} had blocked {by} after {winner}",
        "unseen": f"{turn} noted its asking {by} before {winner}",
    }[entry["reason"]]


def _predicted_lines(result: dict[str, Any], run: dict[str, Any]) -> list[str]:
    """How far "who has asked longest ago gets the next" foretells the winners, and what it missed."""
    if run["predicted"] is None:
        return ["the round was cut, so nothing can be said of who had asked longest ago"]
    of, missed = len(run["winners"]), run["surprises"]
    right = f"{of - len(missed):,} of {words.plural(of, 'message')}"
    lines = [
        f"who had asked longest ago got the next: {right} (all rounds {_range(result['predicted'])})",
        *(
            f"  message {entry['number']}: {entry['winner']} got it, which noted its asking"
            f" {words.duration(entry['by_ns'])} after {entry['predicted']}"
            for entry in missed[:MOST_BREAKS]
        ),
        *_more(len(missed)),
    ]
    if missed:
        lines.append("  it is noted just before the call: the kernel's own order can be another")
    return lines


def notes(result: dict[str, Any]) -> list[str]:
    """The plan in a line, how late the sender was, how quiet the machine was, and what is missing."""
    plan = result["plan"]
    every = f"every {format_duration_ns(plan['every_ns'])}" if plan["every_ns"] else "back to back"
    backlog = f", {plan['backlog']:,} of them queued before anybody asked" if plan["backlog"] else ""
    messages, rounds = words.plural(plan["count"], "message"), words.plural(plan["rounds"], "round")
    lines = [f"{plan['receivers']} receivers, {messages} {every}{backlog}, {rounds}"]
    if plan["every_ns"] and result["runs"] and (late := result["runs"][0]["late_ns"]):
        lines.append(f"a message was sent {words.duration(late['median'])} after it was due")
    return [*lines, *words.honesty_lines(result)]
