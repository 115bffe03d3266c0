"""`harness lab`: where a learner is in the labs, and what they do there: check, watch, hint, diff, reset, run.

Exit statuses as everywhere (app.py): `harness lab 04` ends with 1 until that lab is done, and with 3 where nothing of
it could run. Ctrl-C is how a watch ends: with 0.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from harness.sysv.errors import HarnessError, MachineError, NoMessageQueuesError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import RenderableType

    from harness.cli.signals import Interrupts
    from harness.labkit.catalog import Lab
    from harness.labkit.progress import Progress

Which = Annotated[str, typer.Argument(metavar="NN", help="The lab: 04, 4 or 04_flip_flop.", show_default=False)]


class LabGroup(TyperGroup):
    """`harness lab 04` is `harness lab check 04`: a word that begins with a digit names a lab, not a command."""

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """The command that the first word means, and the words that are its arguments."""
        return super().resolve_command(ctx, ["check", *args] if args[0][:1].isdigit() else args)


lab_commands = typer.Typer(
    cls=LabGroup, invoke_without_command=True, subcommand_metavar="[NN | COMMAND ...]", rich_markup_mode=None
)


@lab_commands.callback()
def lab(ctx: typer.Context) -> None:
    """Work through the labs: where you are, and what is next.

    Nothing is remembered: it is read from each lab.py, and the checks of one lab are run, that in which you are.
    With a lab's number, as in `harness lab 04`, that lab is checked.

    Example: harness lab
    """
    if ctx.invoked_subcommand is not None:
        return
    from harness.cli.signals import Interrupts  # noqa: PLC0415
    from harness.labkit.progress import survey  # noqa: PLC0415
    from harness.show.lab import overview_lines, overview_view  # noqa: PLC0415  slow to import
    from harness.sysv.support import diagnose  # noqa: PLC0415

    queues = diagnose()
    with Interrupts() as interrupts:
        found = survey(_labs(), lambda each: _quietly(each, interrupts), queues=queues.available)
    if sys.stdout.isatty():
        _show(overview_view(found))
    else:
        typer.echo("\n".join(overview_lines(found)))
    if not queues.available:
        raise NoMessageQueuesError("no message queues here", why=queues.explanation, hint=queues.hint)


@lab_commands.command()
def check(lab: Which) -> None:
    """Check a lab with pytest; `harness lab 04` is short for it.

    Exit status: 0 done, 1 not yet, 3 where this machine can run none of its checks.

    Example: harness lab 04
    """
    from harness.cli.signals import Interrupts  # noqa: PLC0415

    chosen = _lab(lab)
    _make(chosen)
    with Interrupts() as interrupts:
        found = _checked(chosen, interrupts)
    raise typer.Exit({"done": 0, "cannot run here": 3}.get(found.state, 1))


@lab_commands.command()
def watch(
    lab: Annotated[
        str | None, typer.Argument(metavar="NN", help="The lab; without it, the one in which you are.")
    ] = None,
) -> None:
    """Check a lab again at each save of its lab.py.

    It stays with that lab, also when it is done. Ctrl-C ends it, with status 0.

    Example: harness lab watch 04
    """
    from datetime import datetime  # noqa: PLC0415

    from harness.cli.signals import Interrupts  # noqa: PLC0415
    from harness.labkit.progress import run_checks, saves  # noqa: PLC0415
    from harness.show.lab import after_run, run_line, run_rule  # noqa: PLC0415  slow to import

    with Interrupts() as interrupts:
        chosen = _lab(lab) if lab else _current(interrupts)
        _make(chosen)
        for number, _ in enumerate(saves(chosen.file, ended=interrupts), 1):
            at = datetime.now().astimezone().strftime("%H:%M:%S")
            if sys.stdout.isatty():
                _show(run_rule(chosen.name, number, at))
            else:
                typer.echo(run_line(chosen.name, number, at))
            sys.stdout.flush()  # before pytest writes behind it
            found = run_checks(chosen, interrupted=interrupts)
            if found is not None:
                _require_a_run(found)
                typer.echo(after_run(found))
                sys.stdout.flush()
        status = interrupts.exit_status or 0
    typer.echo(f"no longer watching {chosen.name}")
    raise typer.Exit(0 if status == 128 + signal.SIGINT else status)


@lab_commands.command()
def hint(
    task: Annotated[str, typer.Argument(metavar="TASK", help="The task's number.", show_default=False)],
    step: Annotated[
        int, typer.Option(min=1, metavar="N", help="1 a question, 2 the name of the call, 3 almost the code.")
    ] = 1,
) -> None:
    """Help with a task, in three steps.

    Example: harness lab hint 4.1 --step 2
    """
    from harness.show.lab import hint_lines, hint_view  # noqa: PLC0415  slow to import

    task, steps = _hint(task)
    if step > len(steps):
        raise UsageError(f"task {task} has no step {step}", hint=f"the last is --step {len(steps)}")
    if sys.stdout.isatty():
        _show(hint_view(task, steps, step))
    else:
        typer.echo("\n".join(hint_lines(task, steps, step)))


@lab_commands.command()
def diff(lab: Which) -> None:
    """Show how the solution differs from yours, once that is done.

    Example: harness lab diff 04
    """
    from difflib import unified_diff  # noqa: PLC0415

    from harness.cli.signals import Interrupts  # noqa: PLC0415
    from harness.show.lab import diff_view  # noqa: PLC0415  slow to import

    chosen = _lab(lab)
    _require_solution(chosen)
    again = f"harness lab {chosen.number} checks it"
    if not chosen.file.exists():
        raise HarnessError(f"{chosen.name} is not started", hint=again)
    with Interrupts() as interrupts:
        found = _quietly(chosen, interrupts)
    _require_a_run(found)
    if found.state != "done":
        raise HarnessError(f"{chosen.name} is not done yet: {found.done}/{found.tasks} tasks", hint=again)
    mine, theirs = (file.read_text(encoding="utf-8").splitlines() for file in (chosen.file, chosen.solution))
    text = "\n".join(unified_diff(mine, theirs, "lab.py", "solution.py", lineterm=""))
    if not text:
        typer.echo("lab.py is the solution, to the letter")
    elif sys.stdout.isatty():
        _show(diff_view(text))
    else:
        typer.echo(text)


@lab_commands.command()
def reset(lab: Which) -> None:
    """Begin a lab anew; what you wrote is kept.

    lab.py is made from starter.py again. What was there is kept beside it, as lab.py.1, lab.py.2 and so on; none of
    these is ever overwritten.

    Example: harness lab reset 04
    """
    chosen = _lab(lab)
    kept = chosen.start_anew()
    typer.echo(f"{_path(chosen.file)} is as in starter.py" + (f"; yours is {_path(kept)} now" if kept else ""))


@lab_commands.command()
def run(
    lab: Which,
    args: Annotated[
        list[str] | None, typer.Argument(metavar="-- ARGS", help="The program's own arguments, untouched.")
    ] = None,
    solution: Annotated[bool, typer.Option("--solution", help="Run solution.py instead of lab.py.")] = False,
) -> None:
    """Run a lab's program, where `ipcs -q` shows its queues.

    It uses this machine's own queues, unlike the checks. Signals and the exit status are the program's own.

    Example: harness lab run 04 -- send
    """
    chosen = _lab(lab)
    if solution:
        _require_solution(chosen)
    else:
        _make(chosen)
    file = chosen.solution if solution else chosen.file
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, str(file), *(args or [])])  # noqa: S606 - it becomes that program


# --- what they share ------------------------------------------------------------------------------------------------


def _labs() -> list[Lab]:
    from harness.labkit.catalog import find_labs, labs_in  # noqa: PLC0415

    return labs_in(find_labs(Path.cwd()))


def _lab(word: str) -> Lab:
    from harness.labkit.catalog import find_lab, find_labs  # noqa: PLC0415

    return find_lab(find_labs(Path.cwd()), word.rstrip("/"))  # a shell completes folders with a /


def _make(lab: Lab) -> None:
    """Make lab.py where it is missing, and say so: on standard error, as a program's output follows."""
    if lab.make_file():
        typer.echo(f"made {_path(lab.file)} from starter.py; it is yours", err=True)


def _path(file: Path) -> Path:
    """As one would type it here."""
    return file.relative_to(Path.cwd()) if file.is_relative_to(Path.cwd()) else file


def _require_solution(lab: Lab) -> None:
    if not lab.solution.exists():
        raise UsageError(f"{lab.name} has no solution.py here", hint="who teaches this may have it")


def _checked(lab: Lab, interrupts: Interrupts, *, quiet: bool = False) -> Progress:
    from harness.labkit.progress import run_checks  # noqa: PLC0415

    found = run_checks(lab, quiet=quiet, interrupted=interrupts)
    if found is None:
        raise typer.Exit(interrupts.exit_status or 1)
    return found


def _require_a_run(found: Progress) -> None:
    if found.state == "cannot run here":
        raise MachineError(f"{found.lab.name} cannot be checked here", why=found.note)


def _quietly(lab: Lab, interrupts: Interrupts) -> Progress:
    with _meanwhile(f"checking {lab.name} ..."):
        return _checked(lab, interrupts, quiet=True)


@contextlib.contextmanager
def _meanwhile(words: str) -> Iterator[None]:
    """Show words on the terminal while something takes seconds; elsewhere nothing."""
    terminal = sys.stderr.isatty()
    if terminal:
        print(words, end="", file=sys.stderr, flush=True)  # noqa: T201
    try:
        yield
    finally:
        if terminal:
            print(f"\r{' ' * len(words)}\r", end="", file=sys.stderr, flush=True)  # noqa: T201


def _current(interrupts: Interrupts) -> Lab:
    """The lab in which the learner is: by the sources alone where one is in progress, as its checks run soon."""
    from harness.labkit.progress import by_source, in_progress, survey  # noqa: PLC0415

    labs = _labs()
    current = in_progress([by_source(lab) for lab in labs])
    if current is None:
        current = survey(labs, lambda lab: _quietly(lab, interrupts)).current
    if current is None:
        raise UsageError("no lab is open", hint="name one, as in: harness lab watch 04")
    return current.lab


def _hint(task: str) -> tuple[str, list[str]]:
    """The task's number as hints.md has it, and the steps of its hint."""
    number, _, rest = task.partition(".")
    lab = _lab(number)
    try:
        hints = lab.hints()
    except (OSError, ValueError) as error:
        raise UsageError(f"{_path(lab.folder / 'hints.md')} cannot be read", why=str(error)) from error
    for name, steps in hints.items():
        if steps and name == f"{int(lab.number)}.{rest}":
            return name, steps
    raise UsageError(f"there is no hint for task {task!r}", hint=f"{lab.name} has " + ", ".join(hints))


def _show(view: RenderableType) -> None:
    from rich.console import Console  # noqa: PLC0415  slow to import

    Console(highlight=False).print(view)
