"""`harness claims`: whether the article is right."""

from __future__ import annotations

from typing import Annotated

import typer

from harness.cli.experiment import JsonFile  # noqa: TC001  typer reads it
from harness.cli.parsing import read


def claims(
    rounds: Annotated[int, typer.Option(metavar="N", help="Rounds of runs for the rates; each makes all once.")] = 3,
    duration: Annotated[str, typer.Option(metavar="TIME", help="Measured length of one run.")] = "300ms",
    json_file: JsonFile = None,
    markdown_file: Annotated[
        str | None,
        typer.Option("--markdown", metavar="FILE", help="Write the table as Markdown; - for standard output."),
    ] = None,
) -> None:
    """Put an article's five claims about message queues to this machine.

    Throughput, selection by type, the largest message, the room in a queue, and order: each is measured or tried now,
    and the verdict (true, true with conditions, outdated, wrong, undecided) follows from that by a rule. It takes some
    20 seconds.

    Example: harness claims --rounds 1 --duration 100ms
    """
    from harness.cli.experiment import carry  # noqa: PLC0415  not needed for --help
    from harness.experiments.claims import ClaimsPlan, run_claims  # noqa: PLC0415
    from harness.measure import quantities as q  # noqa: PLC0415
    from harness.show.claims import claims_lines, claims_markdown, claims_view  # noqa: PLC0415

    plan = ClaimsPlan(
        rounds=rounds,
        duration_s=read("--duration", lambda text: q.parse_duration_s(text, positive=True), duration),
    )
    carry(
        lambda progress, interrupts, argv: run_claims(plan, progress, interrupted=interrupts, argv=argv),
        view=claims_view,
        lines=claims_lines,
        json_file=json_file,
        others=[(markdown_file, claims_markdown)],
    )
