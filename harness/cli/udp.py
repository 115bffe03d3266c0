"""`harness load udp://HOST:PORT`: the load command's way through a proxy, from the same options to a report.

The options are the command's, in load.py. Those that are about queues are refused here, and not ignored.
"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import typer

from harness.cli.parsing import read, typed
from harness.cli.watch import Drawn, Unwatched, Written
from harness.sysv.errors import PlanError, UsageError

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from harness.experiments.udp_follow import UdpSnapshot
    from harness.experiments.udp_plan import UdpPlan
    from harness.results import Destination, Threshold

ONLY_HERE = frozenset({"sockets", "reply_timeout", "pipelined", "allow_remote"})
"""Options that mean nothing without a target."""
TAKEN = ONLY_HERE | {
    "target", "rate", "duration", "count", "size", "warmup", "drain", "repeat", "seed", "fail_if", "strict",
    "json_file", "csv_file", "label", "dry_run", "quiet",
}  # fmt: skip
"""Options that a load through a proxy understands."""


def refuse_without_target(context: typer.Context) -> None:
    """Raise UsageError for an option that only goes with a target."""
    for name, option in typed(context).items():
        if name in ONLY_HERE:
            raise UsageError(
                f"{option} goes with a target only", hint=f"write harness load udp://127.0.0.1:9999 {option} ..."
            )


def load_through(context: typer.Context, given: dict[str, Any]) -> None:
    """The load command, once a target was given; raises UsageError for what the options do not mean."""
    from harness.cli.load import check_files  # noqa: PLC0415  it imports this module
    from harness.experiments.udp import COUNTS  # noqa: PLC0415  not needed for --help
    from harness.results import Destination, parse_threshold  # noqa: PLC0415

    for name, option in typed(context).items():
        if name not in TAKEN:
            raise UsageError(
                f"{option} is about queues, and what is loaded here is a UDP port",
                hint=f"leave out {option}, or leave out {given['target']}",
            )
    plan = make_plan(given)
    thresholds = [parse_threshold(text, counts=COUNTS) for text in given["fail_if"] or ()]
    files = {"json": given["json_file"], "csv": given["csv_file"]}
    destinations = {name: Destination.parse(text) for name, text in files.items() if text is not None}
    check_files(destinations)
    if given["dry_run"]:
        typer.echo(json.dumps(plan.to_json(), indent=2))
        return
    raise typer.Exit(_run(plan, thresholds, destinations, strict=given["strict"], quiet=given["quiet"]))


def make_plan(given: dict[str, Any]) -> UdpPlan:
    """The plan that the options ask for; raises UsageError for what they do not mean."""
    from harness.experiments import udp_plan as u  # noqa: PLC0415  not needed for --help
    from harness.measure import quantities as q  # noqa: PLC0415

    target = read("TARGET", u.parse_target, given["target"])
    rate = read("--rate", q.parse_rate_spec, given["rate"] or "10k")
    if rate == "max" or isinstance(rate, q.Ramp):
        raise PlanError(
            f"--rate {given['rate']} does not go with a UDP target",
            why="a proxy is loaded at one rate, that of those who do not wait for it",
            hint="write --rate 20k; what it said OK to a second stands in the report also where that was too much",
        )
    if given["count"] is not None and given["duration"] is not None:
        raise PlanError("--duration and --count contradict each other", hint="give one of them")
    duration_s = None
    if given["count"] is None:
        duration_s = read(
            "--duration", lambda text: q.parse_duration_s(text, positive=True), given["duration"] or "10s"
        )
    pipelined, timeout_s = given["pipelined"], None
    if given["reply_timeout"] is not None:
        timeout_s = read(
            "--reply-timeout", lambda text: q.parse_duration_s(text, positive=True), given["reply_timeout"]
        )
    elif not pipelined:
        timeout_s = u.DEFAULT_REPLY_TIMEOUT_S
    sockets = given["sockets"]
    if sockets is None:
        sockets = u.DEFAULT_PIPELINED_SOCKETS if pipelined else u.DEFAULT_SOCKETS
    return u.UdpPlan(
        target=target,
        rate=rate,
        duration_s=duration_s,
        count=None if given["count"] is None else read("--count", q.parse_count, given["count"]),
        size=read("--size", q.parse_size_range, given["size"]),
        sockets=sockets,
        pipelined=pipelined,
        reply_timeout_s=timeout_s,
        allow_remote=given["allow_remote"],
        warmup_s=read("--warmup", q.parse_duration_s, given["warmup"]),
        drain_s=read("--drain", q.parse_duration_s, given["drain"]),
        repeat=1 if given["repeat"] is None else given["repeat"],
        seed=given["seed"],
        label=given["label"],
    )


def _run(
    plan: UdpPlan, thresholds: list[Threshold], destinations: dict[str, Destination], *, strict: bool, quiet: bool
) -> int:
    from rich.console import Console  # noqa: PLC0415  slow to import, not needed for --help

    from harness.cli.experiment import report, save  # noqa: PLC0415
    from harness.cli.signals import Interrupts  # noqa: PLC0415
    from harness.experiments.udp import run_udp  # noqa: PLC0415
    from harness.show.series import series_csv  # noqa: PLC0415
    from harness.show.udp import udp_lines, udp_report  # noqa: PLC0415

    # Where a result goes to standard output, people are told on the other stream.
    taken = any(destination.is_stdout for destination in destinations.values())
    console = Console(file=sys.stderr if taken else sys.stdout, highlight=False)
    with Interrupts() as interrupts:
        with _display(console, quiet=quiet) as display:
            result = run_udp(
                plan, display, interrupted=interrupts, argv=["harness", *sys.argv[1:]], thresholds=thresholds
            )
        shown = quiet or report(console, lambda: udp_report(result), lambda: udp_lines(result))
        texts = {"json": lambda: json.dumps(result, indent=1) + "\n", "csv": lambda: series_csv(result)}
        saved = save({destination: texts[name] for name, destination in destinations.items()}) and shown
        return exit_status(result, interrupts.exit_status, saved=saved, strict=strict)


def exit_status(result: dict[str, Any], interrupted: int | None, *, saved: bool, strict: bool) -> int:
    """The exit status that a result deserves; an interruption goes before what it made incomplete.

    Refused, late and missing requests are findings about the proxy, and no errors except under --strict and --fail-if.
    """
    if interrupted is not None:
        return interrupted
    wrong = (
        not saved
        or not result["complete"]
        or result["balanced"] is False
        or any(item["failed"] for item in result["thresholds"])
        or (strict and result["sustained"] is not True)
    )
    return 1 if wrong else 0


def _display(console: Console, *, quiet: bool) -> UdpSilent | UdpWritten | UdpDrawn:
    if quiet:
        return UdpSilent()
    return UdpDrawn(console) if console.is_terminal else UdpWritten(console.file)  # type: ignore[arg-type]


class UdpSilent(Unwatched):
    """Shows nothing."""

    def started(self, plan: UdpPlan, number: int, of: int) -> None:
        """A run begins."""

    def sample(self, snapshot: UdpSnapshot) -> None:
        """A moment of it."""


class UdpWritten(Written):
    """One plain line a second."""

    def started(self, plan: UdpPlan, number: int, of: int) -> None:
        """Say which run of how many begins."""
        self.write(title(plan, number, of))

    def sample(self, snapshot: UdpSnapshot) -> None:
        """One line."""
        from harness.show.udp import udp_progress  # noqa: PLC0415  not needed for --help

        self.write(udp_progress(snapshot))


class UdpDrawn(Drawn["UdpSnapshot"]):
    """The live view."""

    def started(self, plan: UdpPlan, number: int, of: int) -> None:
        """Take the new run's title. The sender and the proxy need their CPUs: the view takes the lowest priority."""
        self._title = title(plan, number, of)
        self.polite.set()

    def picture(self, snapshot: UdpSnapshot) -> RenderableType:
        """Progress, rates, replies and latency so far."""
        from harness.show.udp import udp_view  # noqa: PLC0415  slow to import

        return udp_view(snapshot, self._title)


def title(plan: UdpPlan, number: int, of: int) -> str:
    """Which run of how many, and what it does."""
    from harness.show.udp import udp_asked  # noqa: PLC0415  not needed for --help

    which = f"run {number} of {of}: " if of > 1 else ""
    return f"{which}{udp_asked(plan.to_json())}"
