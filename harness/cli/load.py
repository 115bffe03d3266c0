"""`harness load`: its options, and the way from them to a plan, a run, a report and files."""

from __future__ import annotations

import json
import os
import sys
from errno import ENOSPC
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.cli.parsing import read
from harness.sysv.errors import HarnessError, PlanError, ResultNotSavedError, UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from harness.cli.watch import Silent
    from harness.experiments.plan import LoadPlan
    from harness.results import Destination

OPEN = "What is sent"
CREW = "Who sends and receives"
QUEUE = "Which queue"
RUN = "How it is run"
OUT = "What comes out"


def load(
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
        str, typer.Option(metavar="HOW", help="How consumers select: any, exact (types dealt out), at-most.")
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
    repeat: Annotated[int, typer.Option(metavar="N", help="Whole runs, each with a fresh crew; medians count.")] = 1,
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
    fail_if: Annotated[
        list[str] | None,
        typer.Option(metavar="EXPR", help="Exit 1 if true: 'p99>200us', 'service.p99>1ms', 'lost>0', 'rate<490k'."),
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Exit 1 unless the rate was sustained.")] = False,
    json_file: Annotated[
        str | None, typer.Option("--json", metavar="FILE", help="Write the result as JSON; - for standard output.")
    ] = None,
    csv_file: Annotated[
        str | None, typer.Option("--csv", metavar="FILE", help="Write the series as CSV; - for standard output.")
    ] = None,
    label: Annotated[str, typer.Option(metavar="TEXT", help="A name for this run, kept in the result.")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the validated plan and stop.")] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="No display and no report: files and exit status.")
    ] = False,
) -> None:
    """Load a queue and tell, honestly, what happened.

    Messages are sent on a schedule (open loop) and latency counts from the time each was due, so that a stall shows.
    The queue lives in a private namespace and is gone afterwards, unless --visible or --key say otherwise.

    Example: harness load --rate 500k --duration 2s --fail-if 'p99>5ms'
    """
    from harness.results import Destination, parse_threshold  # noqa: PLC0415  not needed for --help

    given = dict(locals())
    plan = make_plan(given)
    thresholds = [parse_threshold(text) for text in fail_if or ()]
    files = {"json": json_file, "csv": csv_file}
    destinations = {name: Destination.parse(text) for name, text in files.items() if text is not None}
    _check(destinations)
    if dry_run:
        typer.echo(json.dumps(plan.to_json(), indent=2))
        return
    raise typer.Exit(_run(plan, thresholds, destinations, strict=strict, quiet=quiet))


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
        repeat=given["repeat"],
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
    return max(queues, 1 if cpus <= few else 2)


def _check(destinations: dict[str, Destination]) -> None:
    """Refuse before the run what could not be written after it."""
    files = [os.path.realpath(destination.path) for destination in destinations.values() if not destination.is_stdout]
    if len(destinations) - len(files) > 1 or len(set(files)) < len(files):
        raise UsageError("--json and --csv name the same file", hint="give them different names")
    for destination in destinations.values():
        destination.check()


def _run(
    plan: LoadPlan, thresholds: list[Any], destinations: dict[str, Destination], *, strict: bool, quiet: bool
) -> int:
    from rich.console import Console  # noqa: PLC0415  slow to import, not needed for --help

    from harness.cli.signals import Interrupts  # noqa: PLC0415
    from harness.experiments.load import run_load  # noqa: PLC0415

    # Where a result goes to standard output, people are told on the other stream.
    taken = any(destination.is_stdout for destination in destinations.values())
    stream = sys.stderr if taken else sys.stdout
    console = Console(file=stream, highlight=False)
    with Interrupts() as interrupts:
        with _display(console, quiet=quiet) as display:
            result = run_load(
                plan, display, interrupted=interrupts, argv=["harness", *sys.argv[1:]], thresholds=thresholds
            )
        shown = quiet or _report(result, console)
        saved = _save(result, destinations) and shown
        return _status(result, interrupts.exit_status, saved=saved, strict=strict)


def _display(console: Console, *, quiet: bool) -> Silent:
    from harness.cli.watch import Lines, Silent, View  # noqa: PLC0415

    if quiet:
        return Silent()
    return View(console) if console.is_terminal else Lines(console.file)  # type: ignore[arg-type]


def _report(result: dict[str, Any], console: Console) -> bool:
    """Show the report; False when a full disk swallowed it. A reader who went away is no failure."""
    from harness.cli.app import complain  # noqa: PLC0415  it imports this module
    from harness.show.plain import report_lines  # noqa: PLC0415
    from harness.show.terminal import report  # noqa: PLC0415

    try:
        if console.is_terminal:
            console.print(report(result))
        else:
            print("\n".join(report_lines(result)), file=console.file, flush=True)
    except (OSError, ValueError) as error:
        if getattr(error, "errno", 0) == ENOSPC:
            complain(ResultNotSavedError("the report could not be written", why=str(error), hint="make room for it"))
            return False
        # Else nobody is there to read it; the files and the exit status still tell.
    return True


def _save(result: dict[str, Any], destinations: dict[str, Destination]) -> bool:
    """Write what was asked for; a failure is told, and does not keep the other file from being written."""
    from harness.cli.app import complain  # noqa: PLC0415  it imports this module
    from harness.show.series import series_csv  # noqa: PLC0415

    texts = {"json": lambda: json.dumps(result, indent=1) + "\n", "csv": lambda: series_csv(result)}
    saved = True
    for name, destination in destinations.items():
        try:
            destination.write(texts[name]())
        except HarnessError as error:
            complain(error)
            saved = False
    return saved


def _status(result: dict[str, Any], interrupted: int | None, *, saved: bool, strict: bool) -> int:
    """The exit status that a result deserves; an interruption goes before what it made incomplete."""
    if interrupted is not None:
        return interrupted
    wrong = (
        not saved
        or not result["complete"]
        or bool(result["lost"] or result["duplicated"] or result["out_of_order"])
        or result["balanced"] is False
        or any(item["failed"] for item in result["thresholds"])
        or (strict and result["sustained"] is not True)
    )
    return 1 if wrong else 0
