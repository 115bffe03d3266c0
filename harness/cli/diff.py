"""`harness diff`: two results of one kind, and whether the second is worse."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer

from harness.cli.parsing import read


def diff(
    before: Annotated[str, typer.Argument(metavar="A.json", help="The result to compare with.")],
    after: Annotated[str, typer.Argument(metavar="B.json", help="The result that may be worse.")],
    tolerance: Annotated[
        str, typer.Option(metavar="SHARE", help="Exit 1 when a figure is worse by more than this.")
    ] = "10%",
    force: Annotated[
        bool, typer.Option("--force", help="Although the machines or the plans are not the same.")
    ] = False,
    json_file: Annotated[
        str | None, typer.Option("--json", metavar="FILE", help="Write the comparison as JSON; - for standard output.")
    ] = None,
) -> None:
    """Compare two results of one kind, figure by figure, and tell what became worse.

    Whole runs are compared, and it takes five on each side (harness load --repeat 5): single runs of the same code
    differ by a third. With fewer, only a --tolerance over 40 % is held against them.

    Example: harness diff A.json B.json --tolerance 15%
    """
    from rich.console import Console  # noqa: PLC0415  slow to import, not needed for --help

    from harness.measure import quantities as q  # noqa: PLC0415
    from harness.results import Destination  # noqa: PLC0415
    from harness.results.compare import compare  # noqa: PLC0415
    from harness.results.loading import load_result  # noqa: PLC0415
    from harness.show.diff import diff_lines, diff_view  # noqa: PLC0415

    share = float(read("--tolerance", q.parse_share, tolerance))
    destination = Destination.parse(json_file) if json_file is not None else None
    if destination is not None:
        destination.check()
    comparison = compare(
        load_result(before), load_result(after), tolerance=share, force=force, argv=["harness", *sys.argv[1:]]
    )
    console = Console(file=sys.stderr if destination and destination.is_stdout else sys.stdout, highlight=False)
    if console.is_terminal:
        console.print(diff_view(comparison))
    else:
        print("\n".join(diff_lines(comparison)), file=console.file)
    if destination is not None:
        destination.write(json.dumps(comparison, indent=1) + "\n")
    raise typer.Exit(int(bool(comparison["failed"])))
