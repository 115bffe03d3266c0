"""`harness load`: its options, and the way from them to a plan, a run, a report and files."""

from __future__ import annotations

import json
import os
import sys
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.cli.parsing import read
from harness.sysv.errors import PlanError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rich.console import Console, RenderableType

    from harness.cli.watch import Lines, Silent, View
    from harness.experiments.plan import LoadPlan
    from harness.results import Destination
    from harness.results.hdr import Interval


def load(
    context: typer.Context,
    target: Annotated[
        str | None,
        typer.Argument(metavar="[TARGET]", help="udp://HOST:PORT: load through the proxy there, not a queue directly."),
    ] = None,
    rate: Annotated[
        str | None,
        typer.Option(metavar="RATE", help="Messages/s: 500k, 1M, 2.5e5, max, or a ramp 100k..1M.  [default: 500k]"),
    ] = None,
    closed: Annotated[
        bool, typer.Option("--closed", help="Closed loop: send only while few messages are unreceived.")
    ] = False,
    outstanding: Annotated[int, typer.Option(metavar="K", help="With --closed: how many may be unreceived.")] = 1,
    duration: Annotated[
        str | None,
        typer.Option(
            metavar="TIME", help="Length of the measured window: 10s, 500ms.  [default: 10s; ramp: 3s a step]"
        ),
    ] = None,
    count: Annotated[str | None, typer.Option(metavar="N", help="Send so many messages instead: 5M.")] = None,
    size: Annotated[
        str, typer.Option(metavar="SIZE", help="Bytes of text: 32B, 8KiB, or 64..1024 (uniform); at least 32.")
    ] = "32B",
    types: Annotated[str, typer.Option(metavar="TYPES", help="Message types, weighted: 1 or 1:70,2:20,3:10.")] = "1",
    select: Annotated[
        str,
        typer.Option(metavar="HOW", help="How consumers select: any, exact (types dealt out), at-most, except."),
    ] = "any",
    producers: Annotated[int | None, typer.Option(metavar="P", help="Sending processes.  [default: chosen]")] = None,
    consumers: Annotated[
        int | None,
        typer.Option(metavar="C", help="Receiving processes; 0 with --key: somebody else's.  [default: chosen]"),
    ] = None,
    queues: Annotated[int, typer.Option(metavar="N", help="Queues; worker i uses queue i mod N.")] = 1,
    queue_bytes: Annotated[
        str | None,
        typer.Option(metavar="SIZE", help="The queue's limit (msg_qbytes).  [default: 16MiB; --visible: msgmnb]"),
    ] = None,
    when_full: Annotated[str, typer.Option(metavar="HOW", help="A full queue: block or refuse.")] = "block",
    engine: Annotated[str, typer.Option(metavar="NAME", help="auto, native or python.")] = "auto",
    warmup: Annotated[str, typer.Option(metavar="TIME", help="Load before the window, not measured.")] = "1s",
    drain: Annotated[
        str, typer.Option(metavar="TIME", help="Wait for the rest until nothing has moved for so long.")
    ] = "1s",
    repeat: Annotated[
        int | None,
        typer.Option(
            metavar="N", help="Whole runs, each with a fresh crew; medians count.  [default: 1; --baseline: 5]"
        ),
    ] = None,
    pin: Annotated[bool, typer.Option("--pin", help="Pin each worker to a CPU.")] = False,
    visible: Annotated[
        bool, typer.Option("--visible", help="Use the host's namespace, so that ipcs -q shows the queue.")
    ] = False,
    key: Annotated[
        str | None, typer.Option(metavar="KEY", help="Load the existing queue of this key: 0xC0049.")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="With --key: although it holds messages or somebody waits on it.")
    ] = False,
    seed: Annotated[int, typer.Option(metavar="N", help="Order of types and sizes.")] = 0,
    sockets: Annotated[
        int | None,
        typer.Option(metavar="N", help="TARGET: source sockets; one request under way on each.  [default: 64]"),
    ] = None,
    reply_timeout: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="TARGET: then a reply is missing; if it comes after, late.  [default: 1s]"),
    ] = None,
    pipelined: Annotated[
        bool, typer.Option("--pipelined", help="TARGET: do not wait for replies; they are only counted.")
    ] = False,
    allow_remote: Annotated[
        bool, typer.Option("--allow-remote", help="TARGET: also another host than this one.")
    ] = False,
    fail_if: Annotated[
        list[str] | None,
        typer.Option(metavar="EXPR", help="Exit 1 if true: 'p99>200us', 'service.p99>1ms', 'lost>0', 'rate<490k'."),
    ] = None,
    find_rate: Annotated[
        bool,
        typer.Option("--find-rate", help="Find the highest rate that is held (and meets every --fail-if), in 90 s."),
    ] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Exit 1 unless the rate was sustained.")] = False,
    baseline: Annotated[
        str | None,
        typer.Option(metavar="A.json", help="Compare with this earlier result; another plan is repeated by turns."),
    ] = None,
    tolerance: Annotated[
        str | None,
        typer.Option(metavar="SHARE", help="With --baseline: exit 1 when worse by more than this.  [default: 10%]"),
    ] = None,
    json_file: Annotated[
        str | None, typer.Option("--json", metavar="FILE", help="Write the result as JSON; - for standard output.")
    ] = None,
    csv_file: Annotated[
        str | None, typer.Option("--csv", metavar="FILE", help="Write the series as CSV; - for standard output.")
    ] = None,
    hlog_file: Annotated[
        str | None,
        typer.Option("--hlog", metavar="FILE", help="Write each run's distribution as an HdrHistogram log."),
    ] = None,
    hgrm_file: Annotated[
        str | None, typer.Option("--hgrm", metavar="FILE", help="Write the percentiles for HdrHistogram's plotter.")
    ] = None,
    label: Annotated[str, typer.Option(metavar="TEXT", help="A name for this run, kept in the result.")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the validated plan and stop.")] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="No display and no report: files and exit status.")
    ] = False,
) -> None:
    """Load a queue, or a proxy in front of one, and tell, honestly, what happened.

    Messages are sent on a schedule (open loop) and latency counts from the time each was due, so that a stall shows.
    The queue lives in a private namespace and is gone afterwards, unless --visible or --key say otherwise.

    Example: harness load --rate 500k --duration 2s --fail-if 'p99>5ms'
    """
    given = dict(locals())
    from harness.cli.udp import load_through, refuse_without_target  # noqa: PLC0415  not needed for --help
    from harness.results import Destination, parse_threshold  # noqa: PLC0415

    if target is not None:
        load_through(context, given)
        return
    refuse_without_target(context)
    if find_rate:
        from harness.cli.find_rate import load_to_find_rate  # noqa: PLC0415

        load_to_find_rate(context, given)
        return
    plan = make_plan(given)
    thresholds = [parse_threshold(text) for text in fail_if or ()]
    share = _tolerance(tolerance, baseline)
    files = {"json": json_file, "csv": csv_file, "hlog": hlog_file, "hgrm": hgrm_file}
    destinations = {name: Destination.parse(text) for name, text in files.items() if text is not None}
    check_files(destinations)
    if dry_run:
        typer.echo(json.dumps(plan.to_json(), indent=2))
        return
    run = _runner(baseline, share)
    raise typer.Exit(_run(run, plan, thresholds, destinations, strict=strict, quiet=quiet))


def make_plan(given: dict[str, Any]) -> LoadPlan:
    """The plan that options ask for; raises UsageError for what they do not mean."""
    from harness.engines import choice  # noqa: PLC0415  not needed for --help
    from harness.experiments.plan import LoadPlan  # noqa: PLC0415
    from harness.measure import quantities as q  # noqa: PLC0415

    if given["engine"] not in choice.NAMES:  # the plan also knows the ceiling's two bare loops
        raise PlanError(f"unknown engine {given['engine']!r}", hint=f"write one of {', '.join(choice.NAMES)}")
    if given["closed"]:
        spec = read("--rate", q.parse_rate_spec, "max" if given["rate"] is None else given["rate"])
    else:
        spec = read("--rate", q.parse_rate_spec, "500k" if given["rate"] is None else given["rate"])
    if given["count"] is not None and given["duration"] is not None:
        raise PlanError("--duration and --count contradict each other", hint="give one of them")
    shares = read("--types", q.parse_types, given["types"])
    duration_s = None
    if given["count"] is None:
        asked = given["duration"]
        if asked is None:
            asked = "3s" if isinstance(spec, q.Ramp) else "10s"
        duration_s = read("--duration", lambda text: q.parse_duration_s(text, positive=True), asked)
    queues = given["queues"]
    producers = given["producers"] if given["producers"] is not None else max(1, queues)
    consumers = given["consumers"]
    if consumers is None:
        consumers = default_consumers(len(os.sched_getaffinity(0)), queues, len(shares), given["select"])
    return LoadPlan(
        rate=spec,
        closed=given["closed"],
        outstanding=given["outstanding"],
        duration_s=duration_s,
        count=None if given["count"] is None else read("--count", q.parse_count, given["count"]),
        size=read("--size", q.parse_size_range, given["size"]),
        types=shares,
        select=given["select"],
        producers=producers,
        consumers=consumers,
        queues=queues,
        queue_bytes=None if given["queue_bytes"] is None else read("--queue-bytes", q.parse_size, given["queue_bytes"]),
        engine=given["engine"],
        warmup_s=read("--warmup", q.parse_duration_s, given["warmup"]),
        drain_s=read("--drain", q.parse_duration_s, given["drain"]),
        repeat=_repeats(given["repeat"], given["baseline"]),
        pin=given["pin"],
        when_full=given["when_full"],
        visible=given["visible"],
        key=None if given["key"] is None else read("--key", q.parse_key, given["key"]),
        force=given["force"],
        seed=given["seed"],
        label=given["label"],
    )


def default_consumers(cpus: int, queues: int, types: int, select: str) -> int:
    """One consumer on up to three CPUs, two on more; as many as queues and selected types need."""
    if select == "exact":
        return queues * types
    few = 3
    return max(queues * (2 if select == "except" else 1), 1 if cpus <= few else 2)


def _repeats(asked: int | None, baseline: str | None) -> int:
    """As many runs as were asked for; else one, or as many as a comparison takes."""
    from harness.results.compare import FEWEST_RUNS  # noqa: PLC0415  not needed for --help

    if asked is not None:
        return asked
    return 1 if baseline is None else FEWEST_RUNS


def _tolerance(text: str | None, baseline: str | None) -> float:
    """How much worse than the baseline a figure may be, as a share."""
    from harness.measure import quantities as q  # noqa: PLC0415  not needed for --help
    from harness.results.compare import TOLERANCE  # noqa: PLC0415

    if text is None:
        return TOLERANCE
    if baseline is None:
        raise UsageError("--tolerance without --baseline means nothing", hint="add --baseline A.json")
    return float(read("--tolerance", q.parse_share, text))


def _runner(baseline: str | None, tolerance: float) -> Callable[..., dict[str, Any]]:
    """What carries out the plan: alone, or against an earlier result, which is read here."""
    from harness.experiments.baseline import run_against  # noqa: PLC0415  not needed for --help
    from harness.experiments.load import run_load  # noqa: PLC0415
    from harness.results.loading import load_result  # noqa: PLC0415

    return run_load if baseline is None else partial(run_against, load_result(baseline), tolerance=tolerance)


def check_files(destinations: dict[str, Destination]) -> None:
    """Refuse before the run what could not be written after it."""
    files = [os.path.realpath(destination.path) for destination in destinations.values() if not destination.is_stdout]
    if len(destinations) - len(files) > 1 or len(set(files)) < len(files):
        raise UsageError(
            "two results go to the same file", hint="give --json, --csv, --hlog and --hgrm different names"
        )
    for destination in destinations.values():
        destination.check()
    if "hlog" in destinations or "hgrm" in destinations:
        from harness.results import hdr  # noqa: PLC0415  not needed for --help

        hdr.require()


def _run(
    run: Callable[..., dict[str, Any]],
    plan: LoadPlan,
    thresholds: list[Any],
    destinations: dict[str, Destination],
    *,
    strict: bool,
    quiet: bool,
) -> int:
    from rich.console import Console  # noqa: PLC0415  slow to import, not needed for --help

    from harness.cli.experiment import report, save  # noqa: PLC0415
    from harness.cli.intervals import Intervals  # noqa: PLC0415
    from harness.cli.signals import Interrupts  # noqa: PLC0415

    # Where a result goes to standard output, people are told on the other stream.
    taken = any(destination.is_stdout for destination in destinations.values())
    stream = sys.stderr if taken else sys.stdout
    console = Console(file=stream, highlight=False)
    intervals = Intervals(plan)
    with Interrupts() as interrupts:
        with _display(console, quiet=quiet) as display:
            argv = ["harness", *sys.argv[1:]]
            result = run(plan, display, interrupted=interrupts, argv=argv, thresholds=thresholds, ended=intervals)
        shown = quiet or report(console, lambda: _view(result), lambda: _lines(result))
        texts = _texts(result, intervals.seen)
        saved = save({destination: texts[name] for name, destination in destinations.items()}) and shown
        return _status(result, interrupts.exit_status, saved=saved, strict=strict)


def _display(console: Console, *, quiet: bool) -> Silent | Lines | View:
    from harness.cli.watch import Lines, Silent, View  # noqa: PLC0415

    if quiet:
        return Silent()
    return View(console) if console.is_terminal else Lines(console.file)  # type: ignore[arg-type]


def _view(result: dict[str, Any]) -> RenderableType:
    """The report for a terminal, with what a baseline was compared to."""
    from rich.console import Group  # noqa: PLC0415  slow to import, not needed for --help

    from harness.show.diff import diff_view  # noqa: PLC0415
    from harness.show.terminal import report as load_view  # noqa: PLC0415

    return Group(load_view(result), *map(diff_view, result["baseline"]))


def _lines(result: dict[str, Any]) -> list[str]:
    """The same as plain lines."""
    from harness.show.diff import diff_lines  # noqa: PLC0415  not needed for --help
    from harness.show.plain import report_lines  # noqa: PLC0415

    return [*report_lines(result), *(line for part in result["baseline"] for line in diff_lines(part))]


def _texts(result: dict[str, Any], intervals: Sequence[Interval]) -> dict[str, Callable[[], str]]:
    """What each file has in it, made when it is written."""
    from harness.results import hdr  # noqa: PLC0415  not needed for --help
    from harness.show.series import series_csv  # noqa: PLC0415

    return {
        "json": lambda: json.dumps(result, indent=1) + "\n",
        "csv": lambda: series_csv(result),
        "hlog": lambda: hdr.hlog(intervals),
        "hgrm": lambda: hdr.hgrm(hdr.histogram_in(result)),
    }


def _status(result: dict[str, Any], interrupted: int | None, *, saved: bool, strict: bool) -> int:
    """The exit status that a result deserves; an interruption goes before what it made incomplete."""
    if interrupted is not None:
        return interrupted
    wrong = (
        not saved
        or not result["complete"]
        or bool(result["lost"] or result["duplicated"] or result["out_of_order"])
        or result["balanced"] is False
        or any(item["failed"] for item in (*result["thresholds"], *result["baseline"]))
        or (strict and result["sustained"] is not True)
    )
    return 1 if wrong else 0
