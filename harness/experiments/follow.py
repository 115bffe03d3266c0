"""One run of a crew from start to end: samples it, drains it, notices what goes wrong, and keeps what was measured.

The order of a run: the jitter baseline; the crew comes up; warm-up; the window [t0, end); producers that are behind
catch up for at most 100 ms; consumers drain until all is received or nothing has moved for `drain_s`; the end.
Whatever cuts this short (a signal, a killed worker, a removed queue) is a `Cut`, and the figures say so.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from harness.engines.layout import QueueWord, State
from harness.engines.protocol import Loop
from harness.experiments.crew import Crew, Ending, Started, WorkerInfo
from harness.experiments.plan import CATCH_UP_NS, LoadPlan
from harness.experiments.series import Sample, Series
from harness.measure.disturbance import Disturbance
from harness.measure.jitter import Jitter, jitter_baseline
from harness.measure.observe import Usage, read_pss_bytes
from harness.measure.watch import MachineReading, disturbance_between, read_machine, used_between
from harness.sysv.errors import RunError

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.engines.layout import Board
    from harness.measure.histogram import Histogram

NS = 1e9
TICK_S = 0.1
"""On two CPUs each look at the run takes time from a worker: ten a second cost 0.3 % of one CPU."""
DRAIN_TICK_S = 0.01
"""The end of a drain brings no event, and nobody should wait for it longer than needed."""
HURRIED_DRAIN_S = 2.0
"""An interrupted run drains for at most this long."""
LATE_NS = 200_000_000
"""So long after the last catching up a producer that has not ended is asleep on a full queue."""


@dataclass(frozen=True, slots=True)
class Cut:
    """Why a run ended before its time: a `cause` for programs, a `sentence` for people."""

    cause: str
    sentence: str


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A run at one moment, for a display. Rates are messages/s since the snapshot before."""

    phase: str
    elapsed_s: float
    total_s: float | None
    sent: int
    received: int
    refused: int
    sent_rate: float
    received_rate: float
    asked_rate: float | None
    due: int | None
    depth: int
    room: int
    latency: Histogram


class Observer(Protocol):
    """Who wants to see a run while it goes on."""

    interval_s: float

    def started(self, plan: LoadPlan, engine: str, started: Started, number: int, of: int) -> None:
        """A run begins, the `number`-th of `of`."""
        ...

    def sample(self, snapshot: Snapshot) -> None:
        """Called about every `interval_s`."""
        ...


class Unseen:
    """An observer that looks at nothing: for experiments that show whole runs only."""

    interval_s = 3600.0

    def started(self, plan: LoadPlan, engine: str, started: Started, number: int, of: int) -> None:
        """See `Observer`."""

    def sample(self, snapshot: Snapshot) -> None:
        """See `Observer`."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What the system says of the run's processes at one moment, and how far they were."""

    received: int
    sent: int
    machine: MachineReading[WorkerInfo]

    @property
    def ns(self) -> int:
        """When it was, CLOCK_MONOTONIC."""
        return self.machine.ns


@dataclass(slots=True)
class Run:
    """Everything one run left behind; `figures` makes the result of it while the board is still mapped."""

    plan: LoadPlan
    engine: str
    started: Started
    t0_ns: int = 0
    end_ns: int = 0
    stopped_ns: int = 0
    """When the run was cut, or the window's end."""
    cut: Cut | None = None
    series: Series = field(default_factory=Series)
    readings: list[Reading] = field(default_factory=list)
    jitter: Jitter | None = None
    memory_bytes: int | None = None
    left_in_queue: int | None = None
    endings: list[Ending] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    cpus: int = 1

    @property
    def elapsed_s(self) -> float:
        """Length of the window that was measured, in s."""
        return max(0, self.stopped_ns - self.t0_ns) / NS

    def disturbance(self) -> Disturbance:
        """What else happened on the machine between the first and the last reading."""
        workers = self.plan.producers + self.plan.consumers
        if len(self.readings) < 2:  # noqa: PLR2004  nothing can be said of one moment
            return Disturbance(
                steal_share=None,
                runnable_wait_share=None,
                throttled_ns=None,
                jitter=self.jitter,
                workers=workers,
                cpus=self.cpus,
            )
        before, after = self.readings[0].machine, self.readings[-1].machine
        return disturbance_between(before, after, workers=workers, cpus=self.cpus, jitter=self.jitter)

    def used(self) -> dict[WorkerInfo, Usage | None]:
        """CPU time and context switches of each worker between the first and the last reading."""
        return used_between(self.readings[0].machine, self.readings[-1].machine) if self.readings else {}


class Follower:
    """Follows one crew through its run."""

    def __init__(self, run: Run, crew: Crew, observer: Observer, interrupted: Callable[[], str | None]) -> None:
        self._run = run
        self._crew = crew
        self._board: Board = crew.board
        self._observer = observer
        self._interrupted = interrupted
        self._plan = run.plan
        self._shown: tuple[int, int, int] = (0, 0, 0)
        self._shown_ns = 0
        self._warmup_due = sum(
            -run.plan.producer_task(producer, run_id=0, spin=False).first_k for producer in range(run.plan.producers)
        )
        window_s = (run.plan.window_ns or 0) / NS
        self._reading_every_ns = int(max(0.1, min(1.0, window_s / 10)) * NS)

    def follow(self) -> None:
        """From the start to the orderly end; a RunError on the way (the leader died) becomes the run's cut."""
        run, crew = self._run, self._crew
        try:
            crew.wait_ready()
            run.t0_ns, run.end_ns = crew.start()
            self._window()
            self._drain()
            run.series.finish(self._sample((time.monotonic_ns() - run.t0_ns) / NS))
            crew.finish()
        except RunError as error:
            self._cut("leader-killed", str(error))
        run.left_in_queue = crew.left_in_queue
        run.endings = crew.endings
        run.stopped_ns = run.stopped_ns or self._window_end()
        run.warnings += run.started.warnings
        if crew.stderr:
            run.warnings.append(f"a worker reported a defect: {crew.stderr.splitlines()[-1]}")

    def _window_end(self) -> int:
        """The window's end; without one (a count at no rate) the time of the last receive."""
        if self._plan.window_ns is not None:
            return self._run.end_ns
        return time.monotonic_ns()

    def _window(self) -> None:
        """Until every producer has ended, or should have."""
        late_ns = self._run.end_ns + CATCH_UP_NS + LATE_NS
        while not self._crew.producers_done():
            self._tick("warm-up" if time.monotonic_ns() < self._run.t0_ns else "load")
            if self._is_cut() or time.monotonic_ns() > late_ns:
                break
        if self._run.cut is None and self._plan.window_ns is None:
            self._run.stopped_ns = time.monotonic_ns()

    def _drain(self) -> None:
        """Until all that was sent is received, or nothing has moved for `drain_s`."""
        self._crew.stop_sending()
        if self._run.cut and self._run.cut.cause in ("worker-killed", "queue-removed"):
            return
        hurried_ns = time.monotonic_ns() + int(HURRIED_DRAIN_S * NS)
        moved_ns, received = time.monotonic_ns(), self._board.received
        while not (self._crew.producers_done() and self._nothing_left()):
            self._tick("drain", DRAIN_TICK_S)
            now, count = time.monotonic_ns(), self._board.received
            if count != received:
                moved_ns, received = now, count
            if now - moved_ns > self._plan.drain_s * NS or self._crew.killed:
                break
            if self._interrupted_again() or (self._run.cut and now > hurried_ns):
                break

    def _nothing_left(self) -> bool:
        return not self._plan.consumers or self._board.received >= self._board.sent

    def _is_cut(self) -> bool:
        """Whether something ends the run early; notes what."""
        killed = self._crew.killed
        if killed:
            self._cut(*_what_ended(killed[0]))
        elif signal := self._interrupted():
            self._cut("interrupted", f"interrupted by {signal}")
        return self._run.cut is not None

    def _interrupted_again(self) -> bool:
        if self._run.cut is None and (signal := self._interrupted()):
            self._cut("interrupted", f"interrupted by {signal}, while draining")
            return True
        return self._interrupted() == "SIGINT twice"

    def _cut(self, cause: str, sentence: str) -> None:
        if self._run.cut is None:
            self._run.cut = Cut(cause, sentence)
            self._run.stopped_ns = min(time.monotonic_ns(), self._run.end_ns or time.monotonic_ns())

    def _tick(self, phase: str, wait_s: float = TICK_S) -> None:
        """Wait a little for events, then take whatever sample is due."""
        self._crew.poll(wait_s)
        now = time.monotonic_ns()
        run = self._run
        t_s = (now - run.t0_ns) / NS
        if run.series.due(t_s):
            run.series.add(self._sample(t_s))
        in_window = run.t0_ns <= now < run.end_ns
        if in_window and (not run.readings or now >= run.readings[-1].ns + self._reading_every_ns):
            self._read(now)
        if now - self._shown_ns >= self._observer.interval_s * NS:
            self._show(phase, now)

    def _sample(self, t_s: float) -> Sample:
        board, rate = self._board, self._plan.fixed_rate
        received, sent, refused = board.received, board.sent, board.refused
        behind = None
        if rate is not None:
            within = min(max(t_s, -self._plan.warmup_s), (self._plan.window_ns or 0) / NS)
            behind = max(0, int(self._warmup_due + within * rate) - sent - refused)
        return Sample(t_s, sent, received, refused, behind, self._depth(sent, received))

    def _depth(self, sent: int, received: int) -> int:
        if self._plan.consumers and self._plan.key is None:
            return max(0, sent - received)
        return sum(words[QueueWord.MESSAGES] for words in self._board.queues)

    def _read(self, now: int) -> None:
        workers = self._run.started.workers
        machine = read_machine({worker: worker.pid for worker in workers})
        self._run.readings.append(Reading(received=self._board.received, sent=self._board.sent, machine=machine))
        del self._run.readings[1:-1]  # the first and the last tell; a run's length must not show in its memory
        if now > self._run.end_ns - 2 * self._reading_every_ns and self._run.memory_bytes is None:
            pids = [self._run.started.leader, *(worker.pid for worker in workers)]
            shares = [read_pss_bytes(os.getpid()), *(read_pss_bytes(pid) for pid in pids)]
            self._run.memory_bytes = sum(share for share in shares if share) if all(shares) else None

    def _show(self, phase: str, now: int) -> None:
        board, plan = self._board, self._plan
        sent, received = board.sent, board.received
        past_ns, past_sent, past_received = self._shown
        seconds = (now - past_ns) / NS if past_ns else 0.0
        t_s = (now - self._run.t0_ns) / NS
        window_ns = plan.window_ns
        self._observer.sample(
            Snapshot(
                phase=phase,
                elapsed_s=max(0.0, t_s + plan.warmup_s),
                total_s=None if window_ns is None else plan.warmup_s + window_ns / NS,
                sent=sent,
                received=received,
                refused=board.refused,
                sent_rate=(sent - past_sent) / seconds if seconds else 0.0,
                received_rate=(received - past_received) / seconds if seconds else 0.0,
                asked_rate=float(plan.fixed_rate) if plan.fixed_rate is not None else None,
                due=plan.due,
                depth=self._depth(sent, received),
                room=self._run.started.queues[0]["queue_bytes"] * len(self._run.started.queues),
                latency=board.service() if plan.loop is Loop.UNPACED else board.latency(),
            )
        )
        self._shown = (now, sent, received)
        self._shown_ns = now


def _what_ended(ending: Ending) -> tuple[str, str]:
    who = f"{ending.worker.role} {ending.worker.index} (pid {ending.worker.pid})"
    if ending.signal is not None:
        return "worker-killed", f"{who} was killed by signal {ending.signal}"
    if ending.state == State.QUEUE_REMOVED.name:
        return "queue-removed", "the queue was removed while the run was going on"
    if ending.state == State.POISONED.name:
        return "poisoned", f"{who} met a message larger than its buffer at the head of the queue (E2BIG)"
    return "worker-failed", f"{who} failed"


def execute(
    plan: LoadPlan,
    engine: str,
    observer: Observer,
    interrupted: Callable[[], str | None],
    *,
    number: int,
    of: int,
    finish: Callable[[Run, Board], None],
) -> Run:
    """One run of a plan with a fresh crew; `finish` gets the run and its board before the board is unmapped.

    `interrupted` answers the name of the signal that asks the run to end, "SIGINT twice" for the impatient, or None.
    Raises HarnessError when the run cannot start.
    """
    jitter = jitter_baseline()
    with Crew(plan, engine) as crew:
        run = Run(plan, engine, crew.started, jitter=jitter, cpus=len(os.sched_getaffinity(0)))
        observer.started(plan, engine, crew.started, number, of)
        Follower(run, crew, observer, interrupted).follow()
        finish(run, crew.board)
    return run
