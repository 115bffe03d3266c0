"""`harness doctor`: what this machine can do."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Write the report as JSON.")] = False,
) -> None:
    """Tell what this machine can do, and what to do about what it cannot.

    Example: harness doctor
    """
    from rich.console import Console  # noqa: PLC0415  slow to import, not needed for --help

    from harness.experiments.doctor import examine  # noqa: PLC0415
    from harness.show.doctor import doctor_table, doctor_text  # noqa: PLC0415

    report = examine()
    if as_json:
        typer.echo(json.dumps(report.to_json(), indent=2))
    elif sys.stdout.isatty():
        Console().print(doctor_table(report))
    else:
        typer.echo(doctor_text(report))
    raise typer.Exit(report.exit_status)
