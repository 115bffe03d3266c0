"""What every experiment's command does around its run: check the files first, show how far it is, report, save, exit.

A command makes its plan and calls `carry`; `load`, which draws a live view of its own, shares `report` and `save`.
"""

from __future__ import annotations

import json
import os
import sys
from errno import ENOSPC
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Self

import typer

from harness.sysv.errors import HarnessError, ResultNotSavedError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from rich.console import Console, RenderableType

    from harness.cli.signals import Interrupts
    from harness.experiments.chamber import Progress
    from harness.results import Destination

JsonFile = Annotated[
    str | None, typer.Option("--json", metavar="FILE", help="Write the result as JSON; - for standard output.")
]
EngineName = Annotated[str, typer.Option(metavar="NAME", help="auto, native or python.")]


def carry(
    run: Callable[[Progress, Interrupts, Sequence[str]], dict[str, Any]],
    *,
    view: Callable[[dict[str, Any]], RenderableType],
    lines: Callable[[dict[str, Any]], list[str]],
    json_file: str | None,
    others: Sequence[tuple[str | None, Callable[[dict[str, Any]], str]]] = (),
    wrong: Callable[[dict[str, Any]], bool] = lambda result: not result["complete"],
) -> None:
    """Run an experiment and end the command with the exit status that its result deserves.

    `run` gets the progress to tell, what tells of an interrupt, and the command's words. `others` are further files,
    where they go (None: not asked for) and what makes their text. `wrong` says whether a result is one to fail for.
    """
    from rich.console import Console  # noqa: PLC0415  slow to import, not needed for --help

    from harness.cli.signals import Interrupts  # noqa: PLC0415
    from harness.results import Destination  # noqa: PLC0415

    asked = [(json_file, _as_json), *others]
    files = [(Destination.parse(file), text_of) for file, text_of in asked if file is not None]
    _check(destination for destination, _ in files)
    # Where a result goes to standard output, people are told on the other stream.
    stream = sys.stderr if any(destination.is_stdout for destination, _ in files) else sys.stdout
    console = Console(file=stream, highlight=False)
    with Interrupts() as interrupts:
        with _ProgressLine() as progress:
            result = run(progress, interrupts, ["harness", *sys.argv[1:]])
        shown = report(console, lambda: view(result), lambda: lines(result))
        saved = save({destination: partial(text_of, result) for destination, text_of in files})
        status = interrupts.exit_status
    raise typer.Exit(status if status is not None else int(not shown or not saved or wrong(result)))


def _as_json(result: dict[str, Any]) -> str:
    return json.dumps(result, indent=1) + "\n"


def _check(destinations: Iterable[Destination]) -> None:
    """Refuse before the run what could not be written after it."""
    taken: set[str] = set()
    for destination in destinations:
        place = destination.path if destination.is_stdout else os.path.realpath(destination.path)
        if place in taken:
            raise UsageError(f"two results go to {destination}", hint="give each a file of its own")
        taken.add(place)
        destination.check()


class _ProgressLine:
    """One line on a terminal's standard error, overwritten as it goes; elsewhere nothing."""

    def __init__(self) -> None:
        self._shown = sys.stderr is not None and sys.stderr.isatty()
        self._last = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._write("")

    def __call__(self, done: int, of: int, doing: str) -> None:
        """`done` of `of`, and what is measured now."""
        self._write(f"{done} of {of}; {doing}" if doing else f"{done} of {of}")

    def _write(self, text: str) -> None:
        if not self._shown or text == self._last:
            return
        self._last = text
        try:
            # Cut to the 80 columns of the narrowest terminal, or the next line would not overwrite it.
            print(f"\r\x1b[K{text[:79]}", end="", file=sys.stderr, flush=True)  # noqa: T201
        except (OSError, ValueError):
            self._shown = False  # the terminal is gone; the run and its result matter more


def report(console: Console, view: Callable[[], RenderableType], lines: Callable[[], Sequence[str]]) -> bool:
    """Show the report; False when a full disk swallowed it. A reader who went away is no failure."""
    from harness.cli.app import complain  # noqa: PLC0415  it imports the commands

    try:
        if console.is_terminal:
            console.print(view())
        else:
            print("\n".join(lines()), file=console.file, flush=True)
    except (OSError, ValueError) as error:
        if getattr(error, "errno", 0) == ENOSPC:
            complain(ResultNotSavedError("the report could not be written", why=str(error), hint="make room for it"))
            return False
        # Else nobody is there to read it; the files and the exit status still tell.
    return True


def save(texts: Mapping[Destination, Callable[[], str]]) -> bool:
    """Write what was asked for; a failure is told, and does not keep the other files from being written."""
    from harness.cli.app import complain  # noqa: PLC0415  it imports the commands

    saved = True
    for destination, text in texts.items():
        try:
            destination.write(text())
        except HarnessError as error:
            complain(error)
            saved = False
    return saved
