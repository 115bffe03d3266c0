"""How the queues look in `harness top`: a table for a terminal, lines for everything else.

Pure functions of a look and of what the viewer chose; `harness top` reads the keys and prints what they return.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from rich.console import Group
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rich.console import RenderableType

    from harness.experiments.top import Contents, Look, Process, Row

SORTS: dict[str, Callable[[Row], float]] = {
    "messages": lambda row: -row.queue.messages,
    "full": lambda row: -row.full_share,
    "change": lambda row: -abs(row.messages_per_s or 0.0),
    "asleep": lambda row: -len(row.sending) - len(row.receiving),
    "key": lambda row: row.queue.key,
    "id": lambda row: row.queue.id,
}
"""What the queues can be sorted by, each with the order's key; ties stay in the kernel's order."""

HELP = "↑↓ choose   s sort   / filter   x remove   q quit"
BAR = 8
WIDE = 100
"""From so many columns on there is room for the bytes themselves."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What the viewer chose: the order, a text that a row must have, and a queue by its id.

    `asking`: what the last line asks at the moment; `said`: what it says of the last answer.
    """

    sort: str = "messages"
    filter: str = ""
    chosen: int | None = None
    asking: Literal["", "filter", "remove"] = ""
    said: str = ""


def arranged(look: Look, choice: Choice) -> list[Row]:
    """The rows that pass the filter (in key, id, owner or a process's name), in the chosen order."""
    rows = [row for row in look.rows if choice.filter.lower() in _searched(row)]
    return sorted(rows, key=SORTS[choice.sort])


def view(look: Look, choice: Choice, contents: Contents | None, *, width: int, height: int) -> RenderableType:
    """The screen: a heading, the queues, the chosen one in detail, and a line with the keys or a question."""
    rows = arranged(look, choice)
    chosen = next((row for row in rows if row.queue.id == choice.chosen), None)
    detail = _detail(chosen, contents) if chosen else []
    room = max(1, height - 4 - len(detail))
    place = rows.index(chosen) if chosen else 0
    first = max(0, min(place - room // 2, len(rows) - room))
    hidden = len(rows) - len(rows[first : first + room])
    parts: list[RenderableType] = [
        _heading(look, rows, choice, hidden),
        table(rows[first : first + room], width=width, chosen=choice.chosen),
        *detail,
        _last_line(choice),
    ]
    return Group(*parts)


def table(rows: Sequence[Row], *, width: int, chosen: int | None = None) -> Table:
    """The queues, a row each; with the bytes themselves where the terminal is wide enough."""
    wide = width >= WIDE
    made = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="dim", width=width)
    for name, justify in [("key", "left"), ("id", "right"), ("owner", "left"), ("mode", "right"), ("full", "left")]:
        made.add_column(name, justify=justify, no_wrap=True)  # type: ignore[arg-type]
    if wide:
        made.add_column("bytes", justify="right", no_wrap=True)
    for name in ("msgs", "+/s", "asleep"):
        made.add_column(name, justify="right", no_wrap=True)
    made.add_column("last sender → receiver", no_wrap=True, overflow="ellipsis", ratio=1)
    for row in rows:
        queue = row.queue
        made.add_row(
            f"0x{queue.key:08x}" if queue.key else "private",
            str(queue.id),
            Text(row.owner[:8], overflow="ellipsis"),
            f"{queue.mode:03o}",
            _bar(row.full_share),
            *([f"{queue.used_bytes:,}/{queue.queue_bytes:,}"] if wide else []),
            f"{queue.messages:,}",
            _rate(row.messages_per_s),
            _asleep(row),
            f"{_name(row.last_sender)} → {_name(row.last_receiver)}",
            style="reverse" if queue.id == chosen else "",
        )
    return made


def lines(look: Look) -> str:
    """The queues as plain lines for `--once`: a heading, then one queue a line, nothing cut."""
    heading = "key id owner mode used_bytes queue_bytes messages sending receiving last_sender last_receiver"
    rows = [
        [
            f"0x{row.queue.key:08x}",
            row.queue.id,
            row.owner,
            f"{row.queue.mode:03o}",
            row.queue.used_bytes,
            row.queue.queue_bytes,
            row.queue.messages,
            len(row.sending),
            len(row.receiving),
            _word(row.last_sender),
            _word(row.last_receiver),
        ]
        for row in look.rows
    ]
    return "\n".join([heading, *(" ".join(map(str, row)) for row in rows)])


def _last_line(choice: Choice) -> Text:
    if choice.asking == "filter":
        return Text(f"filter: {choice.filter}_   Enter keeps it, Esc drops it", "bold yellow")
    if choice.asking == "remove":
        return Text(f"remove queue id {choice.chosen} and all in it? y removes it, any other key does not", "bold red")
    return Text(choice.said, "bold yellow") if choice.said else Text(HELP, "dim")


def _heading(look: Look, rows: Sequence[Row], choice: Choice, hidden: int) -> Text:
    messages = sum(row.queue.messages for row in rows)
    words = f"{len(rows)} of {len(look.rows)} queues" if choice.filter else f"{len(rows)} queues"
    text = Text(f"{words}, {messages:,} messages, by {choice.sort}", "bold")
    if choice.filter:
        text.append(f", with {choice.filter!r}")
    if hidden:
        text.append(f"  ({hidden} more do not fit)", "dim")
    return text


def _detail(row: Row, contents: Contents | None) -> list[RenderableType]:
    """Up to four lines on the chosen queue."""
    queue = row.queue
    name = f"0x{queue.key:08x}" if queue.key else "private"
    found: list[RenderableType] = [
        Text(f"\n{name}, id {queue.id}: {queue.used_bytes:,} of {queue.queue_bytes:,} bytes", "bold")
    ]
    for call, processes in (("msgsnd", row.sending), ("msgrcv", row.receiving)):
        if processes:
            found.append(
                Text(f"asleep in {call}: {', '.join(map(_name, processes))}", overflow="ellipsis", no_wrap=True)
            )
    if contents and contents.why_not:
        found.append(Text(f"types: {contents.why_not}", "dim", overflow="ellipsis", no_wrap=True))
    elif contents and contents.types:
        types = ", ".join(f"{count:,} of type {kind}" for kind, count in contents.types.items())
        of = f"of the first {contents.looked_at} messages: " if queue.messages > contents.looked_at else ""
        found.append(Text(f"{of}{types}", overflow="ellipsis", no_wrap=True))
    return found


def _bar(share: float) -> Text:
    filled = round(min(share, 1.0) * BAR)
    style = "red" if share >= 0.9 else "yellow" if share >= 0.5 else "green"  # noqa: PLR2004 - shares of a whole
    return Text("█" * filled + "░" * (BAR - filled), style).append(f"{share:>5.0%}")


def _rate(per_s: float | None) -> str:
    return "" if per_s is None else f"{per_s:+,.0f}" if round(per_s) else "0"


def _asleep(row: Row) -> str:
    words = [f"{len(row.sending)}s"] * bool(row.sending) + [f"{len(row.receiving)}r"] * bool(row.receiving)
    return " ".join(words)


def _name(process: Process | None) -> str:
    if process is None:
        return "-"
    return f"{process.pid}:{process.name}" if process.name else f"{process.pid} (ended)"


def _word(process: Process | None) -> str:
    """As `_name`, without a blank: for scripts."""
    return _name(process).replace(" (ended)", "").replace(" ", "_")


def _searched(row: Row) -> str:
    names = [process.name for process in (row.last_sender, row.last_receiver, *row.sending, *row.receiving) if process]
    return " ".join([f"0x{row.queue.key:08x}", str(row.queue.id), row.owner, *names]).lower()
