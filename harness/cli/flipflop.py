"""`harness flipflop`: who gets the next message."""

from __future__ import annotations

from typing import Annotated

import typer

from harness.cli.experiment import JsonFile  # noqa: TC001  typer reads it
from harness.cli.parsing import count_or_0, read, read_list


def flipflop(
    receivers: Annotated[int, typer.Option(metavar="N", help="Receiving processes, 2 to 26.")] = 2,
    work: Annotated[
        str, typer.Option(metavar="TIMES", help="How long each works on a message: one for all, or one each.")
    ] = "0",
    every: Annotated[str, typer.Option(metavar="TIME", help="Time between two messages; 0 is back to back.")] = "20ms",
    count: Annotated[str, typer.Option(metavar="N", help="Messages in a round.")] = "60",
    backlog: Annotated[str, typer.Option(metavar="N", help="So many of them are queued before anybody asks.")] = "0",
    rounds: Annotated[int, typer.Option(metavar="N", help="Rounds, each with fresh processes and a new queue.")] = 3,
    json_file: JsonFile = None,
) -> None:
    """Show who gets the next message when several receivers wait on one queue.

    The winners as a strip, the share of each, and where strict alternation broke and why: the next message goes to
    whoever has asked longest ago, so a receiver that works between two receives loses its turn.

    Example: harness flipflop --receivers 3 --work 0,5ms,50ms --rounds 1
    """
    from harness.cli.experiment import carry  # noqa: PLC0415  not needed for --help
    from harness.experiments.flipflop import FlipflopPlan, run_flipflop  # noqa: PLC0415
    from harness.measure import quantities as q  # noqa: PLC0415
    from harness.show.flipflop import flipflop_lines, flipflop_view  # noqa: PLC0415

    def time_ns(text: str) -> int:
        """As other options read a duration: 0 needs no unit."""
        return round(q.parse_duration_s(text) * 1e9)

    plan = FlipflopPlan(
        receivers=receivers,
        work_ns=read_list("--work", time_ns, work),
        every_ns=read("--every", time_ns, every),
        count=read("--count", q.parse_count, count),
        backlog=read("--backlog", count_or_0, backlog),
        rounds=rounds,
    )
    carry(
        lambda progress, interrupts, argv: run_flipflop(plan, progress, interrupted=interrupts, argv=argv),
        view=flipflop_view,
        lines=flipflop_lines,
        json_file=json_file,
    )
