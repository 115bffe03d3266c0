"""`harness ceiling`: what the measuring itself costs."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer

from harness.cli.parsing import read


def ceiling(
    rounds: Annotated[int, typer.Option(metavar="N", help="Rounds; each runs every loop once, at every size.")] = 11,
    duration: Annotated[str, typer.Option(metavar="TIME", help="Measured length of one run.")] = "500ms",
    sizes: Annotated[str, typer.Option(metavar="SIZES", help="Message sizes, with commas.")] = "32B,1KiB,8KiB",
    pin: Annotated[bool, typer.Option("--pin/--no-pin", help="Pin the two processes to two CPUs.")] = True,
    json_file: Annotated[
        str | None, typer.Option("--json", metavar="FILE", help="Write the result as JSON; - for standard output.")
    ] = None,
) -> None:
    """Hold both engines, with everything on, against loops that only send and receive.

    By turns in the same rounds, since single runs differ by a third; the medians of the ratios are what counts.
    It takes about three minutes.

    Example: harness ceiling --rounds 3 --duration 100ms --sizes 32B
    """
    from rich.console import Console  # noqa: PLC0415  slow to import, not needed for --help

    from harness.cli.signals import Interrupts  # noqa: PLC0415
    from harness.experiments.ceiling import CeilingPlan, run_ceiling  # noqa: PLC0415
    from harness.measure import quantities as q  # noqa: PLC0415
    from harness.results import Destination  # noqa: PLC0415
    from harness.show.ceiling import ceiling_lines, ceiling_view  # noqa: PLC0415

    plan = CeilingPlan(
        rounds=rounds,
        duration_s=read("--duration", lambda text: q.parse_duration_s(text, positive=True), duration),
        sizes=tuple(read("--sizes", q.parse_size, part) for part in sizes.split(",")),
        pin=pin,
    )
    destination = Destination.parse(json_file) if json_file else None
    if destination is not None:
        destination.check()
    console = Console(file=sys.stderr if destination and destination.is_stdout else sys.stdout, highlight=False)

    def progress(done: int, of: int, engine: str, size: int) -> None:
        if sys.stderr.isatty():
            print(f"\r{done} of {of} runs; now {engine}, {size} B   ", end="", file=sys.stderr, flush=True)  # noqa: T201

    with Interrupts() as interrupts:
        result = run_ceiling(plan, progress, interrupted=interrupts, argv=["harness", *sys.argv[1:]])
        if sys.stderr.isatty():
            print("\r\x1b[K", end="", file=sys.stderr)  # noqa: T201  the progress line goes
        if console.is_terminal:
            console.print(ceiling_view(result))
        else:
            print("\n".join(ceiling_lines(result)), file=console.file)
        if destination is not None:
            destination.write(json.dumps(result, indent=1) + "\n")
        status = interrupts.exit_status
    raise typer.Exit(status if status is not None else int(not result["complete"] or bool(result["wrong"])))
