"""What `harness load --find-rate` shows: the bracket, how it was found, and each probe; as a table and as lines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from harness.show import words

if TYPE_CHECKING:
    from harness.experiments.rate_search import Ask

GOOD, BAD, DOUBTFUL, QUIET = "bold green", "bold red", "bold yellow", "dim"
STAGES = {"ramp": "ramp", "judge": "2 of 3", "confirm": "confirm"}


def find_rate_view(result: dict[str, Any]) -> RenderableType:
    """The whole report for a terminal; it fits 80 columns."""
    probes = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style=QUIET)
    for column in ("probe", "asked", "for", "received", "p99", "machine", "verdict"):
        probes.add_column(column, justify="left" if column in ("probe", "machine", "verdict") else "right")
    for probe in result["probes"]:
        probes.add_row(*_cells(probe), style="" if probe["counted"] else QUIET)
    style = GOOD if result["confirmed"] and result["bracket"]["narrow"] else DOUBTFUL
    head = Text("\n").join(Text(line, style=style if number == 0 else "") for number, line in enumerate(_head(result)))
    foot = Text("\n".join(_notes(result)))
    return Group("", head, "", probes, "", foot)


def find_rate_lines(result: dict[str, Any]) -> list[str]:
    """The same as plain lines; the probes are told by `probe_line` while they are made."""
    return [*_head(result), *_notes(result)]


def announcement(asked: dict[str, Any], limit_s: float) -> str:
    """What is about to happen, and for how long at most; `asked` is the plan of the load."""
    return f"finding the highest rate that is held, messages of {words.sizes(asked)}: at most {limit_s:g} s"


def doing(ask: Ask, spent_s: float, limit_s: float) -> str:
    """What is probed now, in a few words."""
    return f"{spent_s:.0f} of at most {limit_s:g} s, {STAGES[ask.stage]}{' again' if ask.again else ''}"


def probe_line(probe: dict[str, Any]) -> str:
    """One probe in one line."""
    stage, asked, length, received, p99, machine, verdict = (str(cell) for cell in _cells(probe))
    return f"{stage:<7}  {asked:>8} for {length:>4}: received {received:>8}, p99 {p99:>7}, {machine:<14} {verdict}"


def _cells(probe: dict[str, Any]) -> tuple[str | Text, ...]:
    """A probe's row. One that was cut has no rate: what was drained after the cut would count as received in it."""
    cut = probe["held"] is None
    return (
        "again" if probe["again"] else STAGES[probe["stage"]],
        words.rate(probe["rate"]),
        f"{probe['length_s']:g} s",
        words.NONE if cut else words.rate(probe["achieved_rate"]),
        words.NONE if cut else words.duration(probe["latency_ns"]["p99"]),
        probe["disturbance"],
        _verdict(probe),
    )


def _verdict(probe: dict[str, Any]) -> Text:
    """Whether it was held, else why not; in parentheses where that does not count, as it is repeated."""
    if probe["held"] is None:
        return Text("cut", style=DOUBTFUL)
    if probe["held"]:
        return Text("held", style=GOOD)
    failed = [item["threshold"] for item in probe["thresholds"] if item["failed"]]
    why = ", ".join(([] if probe["sustained"] else ["not sustained"]) + failed)
    return Text(why if probe["counted"] else f"({why})", style=BAD)


def _head(result: dict[str, Any]) -> list[str]:
    """What was found, and how sure it is."""
    found = result["bracket"]
    held, not_held = words.rate(found["held"]), words.rate(found["not_held"])
    if found["held"] is None:
        above = "" if found["not_held"] is None else f"; not even {not_held} was"
        lines = [f"no rate was held{above}"]
    elif found["not_held"] is None:
        lines = [f"held {held}; no rate that is not held was found"]
    else:
        lines = [f"held {held}, not held {not_held}: {words.share(found['width_share'])} apart"]
    lines += _how_sure(result)
    lines.append(f"{words.plural(len(result['probes']), 'probe')} in {result['elapsed_s']:.0f} s")
    if result["thresholds"]:
        lines.append(f"held means: sustained, and none of {', '.join(result['thresholds'])}")
    return lines


def _how_sure(result: dict[str, Any]) -> list[str]:
    """Whether it came to its end, and was confirmed; nothing more where there is nothing to confirm."""
    if result["cut"]:
        return [f"INCOMPLETE: {result['cut']['sentence']}"]
    wide = "" if result["bracket"]["narrow"] else "; the bracket is WIDE"
    if result["confirmed"]:
        return [f"confirmed for {result['plan']['confirm_s']:g} s{wide}"]
    if result["end"] == "limit":
        return [f"NOT CONFIRMED: the limit of {result['plan']['limit_s']:g} s was reached{wide}"]
    return []


def _notes(result: dict[str, Any]) -> list[str]:
    """What went wrong, what to know, and what to do next."""
    lines = [f"WRONG: {sentence}" for sentence in result["wrong"]]
    lines += [f"warning: {warning}" for warning in result["warnings"]]
    return [*lines, f"next: {result['advice']}"] if result["advice"] else lines
