"""`harness block`: what a full queue does to those who send to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, cast

import typer

from harness.cli.experiment import EngineName, JsonFile  # noqa: TC001  typer reads them
from harness.cli.parsing import read, read_list
from harness.sysv.errors import UsageError

if TYPE_CHECKING:
    from harness.experiments.block import Part, WhenFull


def block(
    senders: Annotated[int, typer.Option(metavar="N", help="How many compete for the room.")] = 4,
    sizes: Annotated[
        str, typer.Option(metavar="SMALL,LARGE", help="Bytes of a small message, and of one that starves behind them.")
    ] = "64B,8KiB",
    stall: Annotated[str, typer.Option(metavar="TIME", help="How long the consumer takes nothing.")] = "1s",
    when_full: Annotated[
        str, typer.Option(metavar="WAY", help="What an overloaded queue does: block, refuse or both.")
    ] = "both",
    queue_bytes: Annotated[str, typer.Option(metavar="SIZE", help="Byte limit of each queue.")] = "16KiB",
    parts: Annotated[
        str,
        typer.Option(
            metavar="NAMES", help="Which of wake, fairness, starvation, overload, never-fits, stall; with commas."
        ),
    ] = "wake,fairness,starvation,overload,never-fits,stall",
    rounds: Annotated[int, typer.Option(metavar="N", help="Rounds; each measures everything once.")] = 5,
    engine: EngineName = "auto",
    json_file: JsonFile = None,
) -> None:
    """Measure what a full queue does to those who send to it.

    How fast a sleeping sender wakes; how fairly the room is shared; how a large message starves behind small ones;
    refusing against blocking; a message that can never fit; and how latency grows while the consumer stalls, and how
    long until the backlog is gone. It takes about half a minute.

    Example: harness block --parts wake,fairness --rounds 3
    """
    from harness.cli.experiment import carry  # noqa: PLC0415  not needed for --help
    from harness.experiments.block import BlockPlan, run_block  # noqa: PLC0415
    from harness.measure import quantities as q  # noqa: PLC0415
    from harness.show.block import block_lines, block_view  # noqa: PLC0415

    both = read_list("--sizes", q.parse_size, sizes)
    if len(both) != 2:  # noqa: PLR2004  a small one and a large one
        raise UsageError(f"--sizes: {sizes!r} is not a small and a large size", hint="write --sizes 64B,8KiB")
    plan = BlockPlan(
        parts=cast("tuple[Part, ...]", tuple(part.strip() for part in parts.split(","))),  # the plan checks them
        senders=senders,
        sizes=(both[0], both[1]),
        queue_bytes=read("--queue-bytes", q.parse_size, queue_bytes),
        stall_s=read("--stall", lambda text: q.parse_duration_s(text, positive=True), stall),
        when_full=cast("WhenFull", when_full),
        rounds=rounds,
        engine=engine,
    )
    carry(
        lambda progress, interrupts, argv: run_block(plan, progress, interrupted=interrupts, argv=argv),
        view=block_view,
        lines=block_lines,
        json_file=json_file,
        wrong=lambda result: bool(not result["complete"] or result["wrong"]),
    )
