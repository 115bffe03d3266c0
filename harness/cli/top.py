"""`harness top`: the queues of this machine, live; `--once` and `--json` for scripts.

The keys change a `Choice`; what is drawn is a pure function of it and of a look (harness/show/top.py).
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import sys
import time
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli.parsing import read
from harness.measure.quantities import parse_duration_s
from harness.sysv.errors import HarnessError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from harness.experiments.top import Look
    from harness.show.top import Choice

LOOK_UP_S = 0.2
"""How long a signal may wait to be noticed, in seconds."""

UP, DOWN, ENTER, ESCAPE, BACKSPACE = "\x1b[A", "\x1b[B", "\r", "\x1b", "\x7f"


def top(
    every: Annotated[str, typer.Option(metavar="DURATION", help="How often to look: 500ms, 1s, 5s.")] = "1s",
    once: Annotated[bool, typer.Option("--once", help="Look once, write plain lines, and end.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Look once, write JSON, and end.")] = False,
) -> None:
    """Show what is going on in the message queues that this user can see.

    In the live view: arrows or j and k choose a queue, s changes the order, / filters, x removes the chosen queue
    after a question, q ends.

    Example: harness top --once
    """
    from harness.experiments.top import look  # noqa: PLC0415
    from harness.show.top import lines  # noqa: PLC0415  slow to import

    every_s = read("--every", partial(parse_duration_s, positive=True), every)
    if as_json:
        typer.echo(json.dumps(look().to_json(), indent=2))
    elif once or not (sys.stdin.isatty() and sys.stdout.isatty()):
        typer.echo(lines(look()))
    else:
        raise typer.Exit(_watch(every_s))


def _watch(every_s: float) -> int:
    from rich.console import Console  # noqa: PLC0415
    from rich.live import Live  # noqa: PLC0415

    from harness.cli.signals import Interrupts  # noqa: PLC0415
    from harness.experiments.top import contents, look  # noqa: PLC0415
    from harness.show.top import Choice, view  # noqa: PLC0415

    console = Console()
    keys = Keys()
    choice: Choice | None = Choice()
    seen = look()
    with (
        Interrupts() as interrupted,
        _unbuffered_keys(),
        Live(console=console, screen=True, auto_refresh=False) as live,
    ):
        while choice is not None and not interrupted():
            inside = contents(choice.chosen) if choice.chosen is not None else None
            width, height = console.size
            live.update(view(seen, choice, inside, width=width, height=height), refresh=True)
            key = keys.read(until_s=seen.at_s + every_s, unless=interrupted)
            if key:
                choice = pressed(key, choice, seen)
            if time.monotonic() >= seen.at_s + every_s:
                seen = look(seen)
    return interrupted.exit_status or 0


def pressed(key: str, choice: Choice, seen: Look) -> Choice | None:
    """What a key makes of the choice; None ends the view."""
    from harness.show.top import arranged  # noqa: PLC0415

    if choice.asking == "remove":
        return replace(choice, asking="", said=_removed(choice) if key in ("y", "Y") else "nothing was removed")
    if choice.asking == "filter":
        return _typed(key, choice)
    if key in ("q", "Q"):
        return None
    return _moved(key, replace(choice, said=""), [row.queue.id for row in arranged(seen, choice)])


def _moved(key: str, choice: Choice, ids: list[int]) -> Choice:
    """A key while nothing is asked; `ids` are the queues in the order of the screen."""
    from harness.show.top import SORTS  # noqa: PLC0415

    place = ids.index(choice.chosen) if choice.chosen in ids else None
    if key in (DOWN, UP, "j", "k") and ids:
        step = 1 if key in (DOWN, "j") else -1
        return replace(choice, chosen=ids[0 if place is None else max(0, min(place + step, len(ids) - 1))])
    if key == "s":
        orders = list(SORTS)
        return replace(choice, sort=orders[(orders.index(choice.sort) + 1) % len(orders)])
    if key == "/":
        return replace(choice, asking="filter")
    if key == "x" and place is not None:
        return replace(choice, asking="remove")
    if key == ESCAPE:
        return replace(choice, filter="", chosen=None)
    return choice


def _typed(key: str, choice: Choice) -> Choice:
    """A key while the filter is typed; it acts at once."""
    if key == ENTER:
        return replace(choice, asking="")
    if key == ESCAPE:
        return replace(choice, asking="", filter="")
    if key == BACKSPACE:
        return replace(choice, filter=choice.filter[:-1])
    return replace(choice, filter=choice.filter + key) if key.isprintable() else choice


def _removed(choice: Choice) -> str:
    from harness.sysv import remove_queue  # noqa: PLC0415

    assert choice.chosen is not None
    try:
        remove_queue(choice.chosen)
    except HarnessError as error:
        return str(error)
    return f"queue id {choice.chosen} is removed"


class Keys:
    """Keys as they are pressed, one at a time; an arrow is one key of three bytes."""

    def __init__(self, descriptor: int = 0) -> None:
        self._descriptor = descriptor
        self._waiting = ""

    def read(self, *, until_s: float, unless: Callable[[], object]) -> str:
        """The next key; "" when none comes until `until_s` (of time.monotonic), or when `unless` is true."""
        while not self._waiting:
            left_s = until_s - time.monotonic()
            if left_s <= 0 or unless():
                return ""
            # A signal's handler sets a flag, and does not end a select (PEP 475).
            if not select.select([self._descriptor], [], [], min(left_s, LOOK_UP_S))[0]:
                continue
            data = os.read(self._descriptor, 64)
            if not data:
                return "q"  # the terminal is gone
            self._waiting = data.decode(errors="ignore").replace("\n", ENTER)
        length = 3 if self._waiting.startswith("\x1b[") else 1
        key, self._waiting = self._waiting[:length], self._waiting[length:]
        return key


@contextlib.contextmanager
def _unbuffered_keys() -> Iterator[None]:
    """The terminal gives each key at once and shows none of them; it is put back at the end."""
    import termios  # noqa: PLC0415 - not on Windows
    import tty  # noqa: PLC0415

    try:
        before = termios.tcgetattr(0)
    except termios.error as error:
        raise UsageError("the terminal cannot be read", why=str(error), hint="harness top --once") from error
    try:
        tty.setcbreak(0)
        yield
    finally:
        termios.tcsetattr(0, termios.TCSADRAIN, before)
