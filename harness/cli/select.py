"""`harness select`: what selecting by message type costs."""

from __future__ import annotations

from typing import Annotated

import typer

from harness.cli.experiment import EngineName, JsonFile  # noqa: TC001  typer reads them
from harness.cli.parsing import count_or_0, read, read_list


def select(
    depths: Annotated[
        str, typer.Option(metavar="NUMBERS", help="How many messages lie in the queue, with commas.")
    ] = "10,30,100,300,1k,3k,10k,30k,100k",
    size: Annotated[str, typer.Option(metavar="SIZE", help="Bytes of text of each message.")] = "32B",
    rounds: Annotated[int, typer.Option(metavar="N", help="Rounds; each measures everything once.")] = 5,
    sleepers: Annotated[
        str, typer.Option(metavar="NUMBERS", help="Sleeping receivers that a send walks past; 'none' leaves it out.")
    ] = "0,100,400,1k,2k,4k",
    bystander: Annotated[
        str, typer.Option(metavar="N", help="Depth of the queue that a poller walks beside a pair; 0 leaves it out.")
    ] = "10k",
    engine: EngineName = "auto",
    json_file: JsonFile = None,
) -> None:
    """Measure what selecting by message type costs: the kernel walks the queue's list.

    One receive against the depth of the queue, for nine ways to ask; one send against sleeping receivers; and how far a
    process that polls for a missing type slows an unrelated pair. It takes about half a minute.

    Example: harness select --depths 10,100,1k --rounds 3 --bystander 0
    """
    from harness.cli.experiment import carry  # noqa: PLC0415  not needed for --help
    from harness.experiments.select import SelectPlan, run_select  # noqa: PLC0415
    from harness.measure import quantities as q  # noqa: PLC0415
    from harness.show.select import select_lines, select_view  # noqa: PLC0415

    plan = SelectPlan(
        depths=read_list("--depths", q.parse_count, depths),
        size_bytes=read("--size", q.parse_size, size),
        rounds=rounds,
        sleepers=() if sleepers == "none" else read_list("--sleepers", count_or_0, sleepers),
        bystander_depth=read("--bystander", count_or_0, bystander),
        engine=engine,
    )
    carry(
        lambda progress, interrupts, argv: run_select(plan, progress, interrupted=interrupts, argv=argv),
        view=select_view,
        lines=select_lines,
        json_file=json_file,
    )
