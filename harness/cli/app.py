"""The command `harness`: its commands, and what becomes of errors (one line, a hint, an exit status).

Exit statuses: 0 done and right; 1 the run is wrong or a threshold failed; 2 usage; 3 this machine cannot;
130, 143, 129 interrupted by SIGINT, SIGTERM, SIGHUP.

This module is imported for `--help` and for completion, so it imports nothing that is slow: each command imports
what it needs when it runs.
"""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from harness import __version__
from harness.cli.block import block
from harness.cli.ceiling import ceiling
from harness.cli.claims import claims
from harness.cli.compare import compare
from harness.cli.diff import diff
from harness.cli.doctor import doctor
from harness.cli.flipflop import flipflop
from harness.cli.lab import lab_commands
from harness.cli.load import load
from harness.cli.select import select
from harness.cli.top import top
from harness.cli.vm import in_vm
from harness.sysv.errors import HarnessError

EPILOG = "Exit status: 0 right, 1 wrong, 2 usage, 3 this machine cannot, 130/143/129 interrupted."

app = typer.Typer(
    name="harness",
    help="Load-test and explain System V message queues.",
    epilog=EPILOG,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command(name="load")(load)
app.command(name="block")(block)
app.command(name="ceiling")(ceiling)
app.command(name="claims")(claims)
app.command(name="compare")(compare)
app.command(name="diff")(diff)
app.command(name="doctor")(doctor)
app.command(name="flipflop")(flipflop)
app.command(name="select")(select)
app.command(name="top")(top)
app.add_typer(lab_commands, name="lab")


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"harness {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
    vm: Annotated[
        bool, typer.Option("--vm", help="Run the command in the project's virtual machine, with Vagrant.")
    ] = False,
) -> None:
    """Load-test and explain System V message queues."""


def main(argv: list[str] | None = None) -> int:
    """Run one command; returns the exit status. Errors of ours become one line and a hint on stderr."""
    _hold_standard_descriptors()
    args = sys.argv[1:] if argv is None else argv
    try:
        there = in_vm(args)
        if there is not None:
            return there
        status = app(args=args or ["--help"], prog_name="harness", standalone_mode=False)
    except HarnessError as error:
        complain(error)
        return error.exit_status
    except typer.Exit as ended:
        return ended.exit_code
    except typer.Abort:
        return 130
    except typer.TyperException as error:
        context = getattr(error, "ctx", None)
        command = context.command_path if context else "harness"
        print(f"harness: {error.format_message()}  (see {command} --help)", file=sys.stderr)  # noqa: T201
        return error.exit_code
    except BrokenPipeError:
        # Whoever read our output is gone; nothing more can be said to it.
        sys.stdout = None
        return 1
    except OSError as error:
        # A full disk behind standard output. The output is given up, or Python would try again when it ends.
        sys.stdout = None
        complain(HarnessError("something could not be read or written", why=str(error)))
        return 1
    if not args:
        return 2  # no command: the help was shown, but nothing was done
    return status if isinstance(status, int) else 0


def _hold_standard_descriptors() -> None:
    """Open what the caller closed (`>&-`, some schedulers) on /dev/null.

    Else the next file or pipe gets the number 0, 1 or 2, and a program started later takes it for standard output.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:  # noqa: PLR2004  standard error
        os.set_inheritable(descriptor, True)
    os.close(descriptor)


def complain(error: HarnessError) -> None:
    """One line that says what was seen and why, one that says what to do."""
    print(f"harness: {error}", file=sys.stderr)  # noqa: T201
    if error.hint:
        print(f"  hint: {error.hint}", file=sys.stderr)  # noqa: T201
