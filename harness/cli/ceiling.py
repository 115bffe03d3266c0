"""`harness ceiling`: what the measuring itself costs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.cli.experiment import JsonFile  # noqa: TC001  typer reads it
from harness.cli.parsing import read

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.cli.signals import Interrupts
    from harness.experiments.chamber import Progress


def ceiling(
    rounds: Annotated[int, typer.Option(metavar="N", help="Rounds; each runs every loop once, at every size.")] = 11,
    duration: Annotated[str, typer.Option(metavar="TIME", help="Measured length of one run.")] = "500ms",
    sizes: Annotated[str, typer.Option(metavar="SIZES", help="Message sizes, with commas.")] = "32B,1KiB,8KiB",
    pin: Annotated[bool, typer.Option("--pin/--no-pin", help="Pin the two processes to two CPUs.")] = True,
    json_file: JsonFile = None,
) -> None:
    """Hold both engines, with everything on, against loops that only send and receive.

    By turns in the same rounds, since single runs differ by a third; the medians of the ratios are what counts.
    It takes about three minutes.

    Example: harness ceiling --rounds 3 --duration 100ms --sizes 32B
    """
    from harness.cli.experiment import carry  # noqa: PLC0415  not needed for --help
    from harness.experiments.ceiling import CeilingPlan, run_ceiling  # noqa: PLC0415
    from harness.measure import quantities as q  # noqa: PLC0415
    from harness.show.ceiling import ceiling_lines, ceiling_view  # noqa: PLC0415

    plan = CeilingPlan(
        rounds=rounds,
        duration_s=read("--duration", lambda text: q.parse_duration_s(text, positive=True), duration),
        sizes=tuple(read("--sizes", q.parse_size, part) for part in sizes.split(",")),
        pin=pin,
    )

    def run(progress: Progress, interrupts: Interrupts, argv: Sequence[str]) -> dict[str, Any]:
        def tell(done: int, of: int, engine: str, size: int) -> None:
            progress(done, of, f"{engine}, {size} B")

        return run_ceiling(plan, tell, interrupted=interrupts, argv=argv)

    carry(
        run,
        view=ceiling_view,
        lines=ceiling_lines,
        json_file=json_file,
        wrong=lambda result: not result["complete"] or bool(result["wrong"]),
    )
