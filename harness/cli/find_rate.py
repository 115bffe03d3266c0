"""`harness load --find-rate`: the load command's way to the highest rate that is held, from the same options.

The options are the command's, in load.py. Those that the search decides itself are refused here, and not ignored.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import typer

from harness.cli.experiment import report, save
from harness.cli.parsing import typed
from harness.cli.watch import Silent, View, Written
from harness.show.find_rate import announcement, doing, find_rate_lines, find_rate_view, probe_line
from harness.sysv.errors import PlanError

if TYPE_CHECKING:
    from rich.console import Console

    from harness.experiments.crew import Started
    from harness.experiments.find_rate import FindRatePlan
    from harness.experiments.follow import Snapshot
    from harness.experiments.plan import LoadPlan
    from harness.experiments.rate_search import Ask
    from harness.results import Destination, Threshold

CHOSEN = {
    "rate": "it chooses its rates itself",
    "closed": "a closed loop has no rate to find",
    "outstanding": "a closed loop has no rate to find",
    "duration": "it chooses how long each probe lasts",
    "count": "it chooses how long each probe lasts",
    "repeat": "it repeats probes by its own rules",
    "baseline": "its result is a bracket, and no run",
    "tolerance": "its result is a bracket, and no run",
    "csv_file": "its probes are many runs, and no series",
    "hlog_file": "its probes are at different rates, whose latencies do not add up",
    "hgrm_file": "its probes are at different rates, whose latencies do not add up",
}
"""Options that contradict --find-rate, and why."""


def load_to_find_rate(context: typer.Context, given: dict[str, Any]) -> None:
    """The load command, once --find-rate was given; raises UsageError for what the options do not mean."""
    from harness.cli.load import check_files  # noqa: PLC0415  it imports this module
    from harness.results import Destination, parse_threshold  # noqa: PLC0415  not needed for --help

    plan = make_plan(context, given)
    thresholds = [parse_threshold(text) for text in given["fail_if"] or ()]
    destination = None if given["json_file"] is None else Destination.parse(given["json_file"])
    if destination is not None:
        check_files({"json": destination})
    if given["dry_run"]:
        typer.echo(json.dumps(plan.to_json(), indent=2))
        return
    raise typer.Exit(_run(plan, thresholds, destination, strict=given["strict"], quiet=given["quiet"]))


def make_plan(context: typer.Context, given: dict[str, Any]) -> FindRatePlan:
    """The plan that the options ask for."""
    from harness.cli import load  # noqa: PLC0415  it imports this module
    from harness.experiments.find_rate import FIRST_RATE, WARMUP_S, FindRatePlan  # noqa: PLC0415  not needed for --help

    options = typed(context)
    for name, why in CHOSEN.items():
        if name in options:
            raise PlanError(
                f"--find-rate and {options[name]} contradict each other", why=why, hint=f"leave out {options[name]}"
            )
    plan = load.make_plan({**given, "rate": str(FIRST_RATE)})
    return FindRatePlan(load=plan if "warmup" in options else replace(plan, warmup_s=WARMUP_S))


def _run(
    plan: FindRatePlan, thresholds: list[Threshold], destination: Destination | None, *, strict: bool, quiet: bool
) -> int:
    from rich.console import Console  # noqa: PLC0415  slow to import, not needed for --help

    from harness.cli.signals import Interrupts  # noqa: PLC0415
    from harness.experiments.find_rate import run_find_rate  # noqa: PLC0415

    # Where a result goes to standard output, people are told on the other stream.
    taken = destination is not None and destination.is_stdout
    console = Console(file=sys.stderr if taken else sys.stdout, highlight=False)
    with Interrupts() as interrupts:
        with _watcher(plan, console, quiet=quiet) as watcher:
            result = run_find_rate(
                plan, watcher, interrupted=interrupts, argv=["harness", *sys.argv[1:]], thresholds=thresholds
            )
        shown = quiet or report(console, lambda: find_rate_view(result), lambda: find_rate_lines(result))
        saved = save({destination: lambda: json.dumps(result, indent=1) + "\n"} if destination is not None else {})
        return exit_status(result, interrupts.exit_status, saved=saved and shown, strict=strict)


def exit_status(result: dict[str, Any], interrupted: int | None, *, saved: bool, strict: bool) -> int:
    """The exit status that a result deserves: no rate that is held is wrong; one not confirmed, under --strict."""
    if interrupted is not None:
        return interrupted
    wrong = (
        not saved
        or not result["complete"]
        or bool(result["wrong"])
        or result["bracket"]["held"] is None
        or (strict and not result["confirmed"])
    )
    return 1 if wrong else 0


def _watcher(plan: FindRatePlan, console: Console, *, quiet: bool) -> SearchUnseen | SearchLines | SearchView:
    if quiet:
        return SearchUnseen()
    console.print(announcement(plan.to_json(), plan.limit_s), style="dim")
    if console.is_terminal:
        return SearchView(console, plan.limit_s)
    return SearchLines(console.file)  # type: ignore[arg-type]


class SearchUnseen(Silent):
    """Shows nothing."""

    def asked(self, ask: Ask, spent_s: float) -> None:
        """A probe begins."""

    def probed(self, probe: dict[str, Any]) -> None:
        """A probe has ended."""


class SearchLines(Written):
    """A plain line for each probe, once it has ended."""

    interval_s = 3600.0

    def started(self, plan: LoadPlan, engine: str, started: Started, number: int, of: int) -> None:
        """A probe's run begins."""

    def sample(self, snapshot: Snapshot) -> None:
        """A moment of it."""

    def asked(self, ask: Ask, spent_s: float) -> None:
        """A probe begins."""

    def probed(self, probe: dict[str, Any]) -> None:
        """One line."""
        self.write(probe_line(probe))


class SearchView(View):
    """The live view of a load, with how far the search is before its title."""

    def __init__(self, console: Console, limit_s: float) -> None:
        super().__init__(console)
        self._limit_s = limit_s
        self._doing = ""

    def asked(self, ask: Ask, spent_s: float) -> None:
        """Keep what the next run is for."""
        self._doing = doing(ask, spent_s, self._limit_s)

    def started(self, plan: LoadPlan, engine: str, started: Started, number: int, of: int) -> None:
        """Take the probe's title."""
        super().started(plan, engine, started, number, of)
        self._title = f"{self._doing}: {self._title}"

    def probed(self, probe: dict[str, Any]) -> None:
        """The table at the end tells."""
