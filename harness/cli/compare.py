"""`harness compare`: what else one could use."""

from __future__ import annotations

from typing import Annotated

import typer

from harness.cli.experiment import JsonFile  # noqa: TC001  typer reads it
from harness.cli.parsing import read


def compare(
    transports: Annotated[
        str | None,
        typer.Option(metavar="NAMES", help="Which, with commas, as mq,pipe,redis; sysv always. Default: all here."),
    ] = None,
    size: Annotated[str, typer.Option(metavar="SIZE", help="Bytes of each message.")] = "32B",
    rounds: Annotated[int, typer.Option(metavar="N", help="Rounds; each measures everything once.")] = 5,
    duration: Annotated[str, typer.Option(metavar="TIME", help="Length of each unpaced part.")] = "150ms",
    rate: Annotated[str, typer.Option(metavar="RATE", help="Messages a second of each paced part.")] = "2k",
    paced: Annotated[str, typer.Option(metavar="TIME", help="Length of each paced part.")] = "200ms",
    properties: Annotated[
        bool, typer.Option("--properties", help="Only the table of what each can and cannot; measure nothing.")
    ] = False,
    json_file: JsonFile = None,
) -> None:
    """Run the same workload over what one could use instead of a System V message queue.

    POSIX queues, pipes, Unix sockets, multiprocessing's three, ZeroMQ and Redis where they are installed (pip install
    'msgq-harness[compare]'): rate and latency by turns in the same rounds, and what each can and cannot. It takes
    about half a minute.

    Example: harness compare --transports pipe,datagram --rounds 3
    """
    from harness.cli.experiment import carry  # noqa: PLC0415  not needed for --help
    from harness.experiments.compare import ComparePlan, run_compare  # noqa: PLC0415
    from harness.measure import quantities as q  # noqa: PLC0415
    from harness.show.compare import compare_lines, compare_view  # noqa: PLC0415

    plan = ComparePlan(
        transports=tuple(name.strip() for name in transports.split(",")) if transports is not None else None,
        size_bytes=read("--size", q.parse_size, size),
        rounds=rounds,
        duration_s=read("--duration", lambda text: q.parse_duration_s(text, positive=True), duration),
        rate=read("--rate", q.parse_rate, rate),
        paced_s=read("--paced", lambda text: q.parse_duration_s(text, positive=True), paced),
        measuring=not properties,
    )
    carry(
        lambda progress, interrupts, argv: run_compare(plan, progress, interrupted=interrupts, argv=argv),
        view=compare_view,
        lines=compare_lines,
        json_file=json_file,
        wrong=lambda result: not result["complete"] or bool(result["wrong"]),
    )
