"""Where every experiment but load happens: a fresh process in an IPC namespace of its own, which reports row by row.

    caller (a command, a notebook)  --stdin: one pickled Order; its end means "end now"-->  chamber (inside.py)
                                    <--stdout: one JSON event a line----------------------

    outcome = carry_out(work, plan, needs=Needs(...), announced_s=20, progress=..., interrupted=...)
    document = {"schema": ..., **head(outcome), "rows": outcome.rows, ...}

`work(plan, bench)` is a generator in a module of its own; it yields a row (a JSON object) for each thing measured, in
the chamber. The caller keeps its namespace and its threads, gets the rows as they come, and may stop at any time: what
was measured until then is the outcome, marked as cut. Nothing can be left behind, whoever is killed.
"""

from __future__ import annotations

import json
import os
import pickle
import select
import subprocess
import sys
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol, Self

from harness.experiments.crew import error_of
from harness.experiments.follow import Cut
from harness.experiments.inside import Order
from harness.measure.disturbance import Disturbance
from harness.measure.jitter import jitter_baseline
from harness.measure.kernel_files import ROOT, parse_fields, read_text
from harness.measure.quantities import format_size
from harness.results.environment import describe
from harness.sysv import require
from harness.sysv.errors import MachineError, RunError, UsageError, WorkerKilledError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from harness.experiments.inside import Bench
    from harness.measure.jitter import Jitter
    from harness.sysv.errors import HarnessError

POLL_S = 0.1
"""How often a caller that waits for a row looks whether it was interrupted."""
LATE_TIMES, LATE_S = 3.0, 20.0
"""An experiment that takes three times what it announced, and this many s more, is ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """What the chamber's namespace must allow, and how many processes will be at work at a time."""

    queue_bytes: int
    message_bytes: int = 8192
    queues: int | None = None
    workers: int = 1
    memory_bytes: int = 0
    """What the messages take of the kernel's memory, about: refused beforehand where there is not twice as much."""
    folder: bool = False
    """Whether the work needs files: a folder of its own, `Bench.folder`, gone with it."""


class Progress(Protocol):
    """Who wants to know how far it is."""

    def __call__(self, done: int, of: int, doing: str) -> None:
        """`done` of `of` rows have come; `doing` is what is measured now."""
        ...


@dataclass(slots=True)
class Outcome:
    """What came of it: the rows until the end or the cut, and how quiet the machine was meanwhile."""

    started_at: str
    rows: list[dict[str, Any]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    cut: Cut | None = None
    machine: dict[str, Any] = field(default_factory=dict)
    jitter: Jitter | None = None
    workers: int = 1
    doing: str = ""
    done: bool = False

    def take(self, event: dict[str, Any]) -> None:
        """Take in what the chamber said; an error before its first row is raised, a later one is the cut."""
        match event["event"]:
            case "doing":
                self.doing = event["words"]
            case "row":
                self.rows.append(event["row"])
            case "warning":
                self.warnings.append(event["text"])
            case "machine":
                self.machine = {key: value for key, value in event.items() if key != "event"}
            case "error":
                self.fail(error_of(event))
            case "done":
                self.done = True

    def fail(self, error: HarnessError) -> None:
        """Raise it if nothing was measured yet; else what was measured stays, and this is why it is not whole.

        What this machine cannot do, or nobody can mean, is raised in any case: more rows would not have come.
        """
        if not self.rows or isinstance(error, MachineError | UsageError):
            raise error
        self.cut = Cut("killed" if isinstance(error, WorkerKilledError) else "failed", str(error))

    @property
    def disturbance(self) -> Disturbance:
        """What else happened on the machine."""
        return Disturbance(
            steal_share=self.machine.get("steal_share"),
            runnable_wait_share=self.machine.get("runnable_wait_share"),
            throttled_ns=self.machine.get("throttled_ns"),
            busy_others_share=self.machine.get("busy_others_share"),
            jitter=self.jitter,
            workers=self.workers,
            cpus=len(os.sched_getaffinity(0)),
        )


def head(
    schema: str, outcome: Outcome, *, plan: dict[str, Any], argv: Sequence[str], engine: str | None
) -> dict[str, Any]:
    """What every experiment's document begins with (docs/results.md)."""
    return {
        "schema": schema,
        "argv": list(argv),
        "started_at": outcome.started_at,
        "plan": plan,
        "engine": engine,
        "complete": outcome.cut is None,
        "cut": {"cause": outcome.cut.cause, "sentence": outcome.cut.sentence} if outcome.cut else None,
        "disturbance": outcome.disturbance.to_json(),
        "warnings": outcome.warnings,
        "environment": describe(),
    }


def nobody(done: int, of: int, doing: str) -> None:
    """A Progress for who does not want to know."""


def carry_out(
    work: Callable[[Any, Bench], Iterator[dict[str, Any]]],
    plan: Any,
    *,
    needs: Needs,
    rows: int,
    announced_s: float,
    progress: Progress = nobody,
    interrupted: Callable[[], str | None] = lambda: None,
) -> Outcome:
    """Do the work in a chamber; returns when it is done, interrupted or dead.

    `rows` is how many are expected, for the progress. Raises NamespaceError when this machine gives no namespace of
    one's own, RunError or WorkerKilledError when the chamber failed before its first row; later it is a cut.
    """
    require()
    _check_memory(needs.memory_bytes)
    outcome = Outcome(
        started_at=datetime.now(UTC).isoformat(timespec="seconds"), jitter=jitter_baseline(), workers=needs.workers
    )
    deadline_s = time.monotonic() + LATE_TIMES * announced_s + LATE_S
    with _Chamber() as chamber:
        try:
            chamber.give(Order(work, plan, needs))
            while outcome.cut is None:
                progress(len(outcome.rows), rows, outcome.doing)
                for event in chamber.events():
                    outcome.take(event)
                if outcome.done:
                    break
                if signal := interrupted():
                    outcome.cut = Cut("interrupted", f"interrupted by {signal}")
                elif time.monotonic() > deadline_s:
                    outcome.cut = Cut("over-time", f"not done after {LATE_TIMES:g} times as long as announced")
        except EOFError:
            outcome.fail(chamber.failure())
    return outcome


def _check_memory(needed_bytes: int) -> None:
    """Raise MachineError where the kernel would have to look for memory while we measure; unknown is let pass."""
    available = parse_fields(read_text(ROOT / "proc/meminfo") or "").get("MemAvailable")
    if available is not None and 2 * needed_bytes > available * 1024:
        raise MachineError(
            f"the messages need about {format_size(needed_bytes)} of memory",
            why=f"{format_size(available * 1024)} are available, and half of that is left to the others",
            hint="ask for fewer or smaller messages",
        )


class _Chamber:
    """The process: started, given its order, listened to, ended."""

    def __init__(self) -> None:
        self._buffer = b""

    def __enter__(self) -> Self:
        self._stderr = os.memfd_create("harness-chamber-stderr", os.MFD_CLOEXEC)
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "harness.experiments.inside"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            bufsize=0,
            start_new_session=True,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._orders, self._events = self._process.stdin, self._process.stdout
        return self

    def __exit__(self, *_: object) -> None:
        self._orders.close()  # the guardian sees that, and kills the chamber if it has not ended
        self._process.wait()
        while self._events.read(65536):  # its workers die with it; who holds the pipe no more is gone
            pass
        self._events.close()
        os.close(self._stderr)

    def give(self, order: Order) -> None:
        """Hand over the order; raises EOFError when nobody takes it."""
        try:
            self._orders.write(pickle.dumps(order))
        except BrokenPipeError:
            raise EOFError from None

    def events(self) -> list[dict[str, Any]]:
        """What was said since, after waiting for it for up to POLL_S; raises EOFError when the chamber is gone."""
        if select.select([self._events], [], [], POLL_S)[0]:
            chunk = self._events.read(65536)
            if not chunk:
                raise EOFError
            self._buffer += chunk
        *lines, self._buffer = self._buffer.split(b"\n")
        return [json.loads(line) for line in lines]

    def failure(self) -> RunError:
        """Why it went away by itself."""
        status = self._process.wait()
        if status < 0:
            return WorkerKilledError(f"the experiment's process was killed by signal {-status}")
        said = os.pread(self._stderr, 65536, 0).decode(errors="replace").strip()
        last = said.splitlines()[-1] if said else f"exit status {status}"
        return RunError("the experiment's process failed", why=last, hint="this is a defect: please report it")
