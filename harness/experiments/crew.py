"""The processes of one run, seen from the process that asked for it: start them, follow them, end them.

    with Crew(plan, engine) as crew:    the leader is started, the workers are forked and wait
        crew.start()                    the times are set, the workers go
        while ...: crew.poll(0.1)       what happened meanwhile; the board's counters can be read at any time
        crew.finish()                   the orderly end: the queue's rest is counted, the workers return
    leaving the block                   whatever is left is killed and removed

The caller never changes its namespace, and everything that touches a queue happens in the leader (see there), but for
one thing: what a killed leader leaves in the host's namespace is removed from here.
"""

from __future__ import annotations

import json
import os
import pickle
import select
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Self

from harness.engines.layout import Board, Control, ProducerWord, State, new_memory
from harness.experiments.leader import Order
from harness.experiments.plan import CATCH_UP_NS, new_run_id
from harness.sysv import Queue, errors
from harness.sysv.errors import HarnessError, RunError, WorkerKilledError

if TYPE_CHECKING:
    from harness.experiments.plan import LoadPlan

START_LIMIT_S = 20.0
FINISH_LIMIT_S = 5.0
LEAD_NS = 20_000_000
"""From "go" to the first due message: time for every worker to see it."""


@dataclass(frozen=True, slots=True)
class WorkerInfo:
    """One worker: its role ("producer" or "consumer"), number and process id."""

    role: str
    index: int
    pid: int


@dataclass(frozen=True, slots=True)
class Ending:
    """How a worker ended: by a signal, or with a state."""

    worker: WorkerInfo
    signal: int | None
    state: str | None

    @property
    def as_planned(self) -> bool:
        """Whether it came to its own end."""
        return self.signal is None and self.state == State.DONE.name


@dataclass(slots=True)
class Started:
    """What the leader made: where the queues are and who works on them."""

    leader: int
    namespace: str
    look: str
    queues: list[dict[str, int]]
    workers: list[WorkerInfo]
    warnings: list[str] = field(default_factory=list)


class Crew:
    """A leader and its workers. Raises HarnessError from `__enter__` when the run cannot start."""

    def __init__(self, plan: LoadPlan, engine: str) -> None:
        self._plan = plan
        self._engine = engine
        self.run_id = new_run_id()
        self.endings: list[Ending] = []
        self.left_in_queue: int | None = None
        self._buffer = b""
        self._warnings: list[str] = []
        self._hosts_queues: list[dict[str, int]] = []

    def __enter__(self) -> Self:
        memory = new_memory(self._plan.shape)
        try:
            self.board = Board(memory, self._plan.shape)
            self._stderr = os.memfd_create("harness-leader-stderr", os.MFD_CLOEXEC)
            self._leader = subprocess.Popen(
                [sys.executable, "-P", "-m", "harness.experiments.leader"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._stderr,
                bufsize=0,
                pass_fds=(memory,),
                start_new_session=True,
            )
            try:
                self._give_order(memory)
                self.started = self._await_start()
            except BaseException:
                self.__exit__()
                raise
        finally:
            os.close(memory)
        return self

    def __exit__(self, *_: object) -> None:
        assert self._leader.stdin is not None
        assert self._leader.stdout is not None
        self._leader.stdin.close()  # the leader sees that and cleans up
        try:
            self._leader.wait(FINISH_LIMIT_S)
        except subprocess.TimeoutExpired:
            self._leader.kill()
            self._leader.wait()
        self._leader.stdout.close()
        os.close(self._stderr)
        self.board.close()
        if self._leader.returncode != 0:
            self._remove_left_queues()

    def _remove_left_queues(self) -> None:
        """A private namespace goes with its last process; in the host's, what a killed leader made is still there."""
        for left in self._hosts_queues:
            with suppress(HarnessError):
                queue = Queue.open(left["key"])
                if queue.id == left["id"]:
                    queue.remove()

    def _give_order(self, memory: int) -> None:
        cpus = tuple(sorted(os.sched_getaffinity(0)))
        workers = self._plan.producers + self._plan.consumers
        order = Order(
            plan=replace(self._plan, engine=self._engine),
            run_id=self.run_id,
            board=memory,
            spin=workers <= len(cpus),
            cpus=cpus if self._plan.pin else (),
        )
        assert self._leader.stdin is not None
        try:
            self._leader.stdin.write(pickle.dumps(order))
        except BrokenPipeError:
            raise self._leader_died() from None

    def _await_start(self) -> Started:
        deadline = time.monotonic() + START_LIMIT_S
        while True:
            for event in self._events(deadline - time.monotonic()):
                if event["event"] == "warning":
                    self._warnings.append(event["text"])
                if event["event"] == "error":
                    raise error_of(event)
                if event["event"] == "started":
                    if event["namespace"] == "host" and self._plan.key is None:
                        self._hosts_queues = event["queues"]
                    return Started(
                        leader=event["leader"],
                        namespace=event["namespace"],
                        look=event["look"],
                        queues=event["queues"],
                        workers=[WorkerInfo(**worker) for worker in event["workers"]],
                        warnings=self._warnings,
                    )
            if time.monotonic() > deadline:
                raise RunError("the run's leader did not start in time", hint="is the machine overloaded?")

    def _events(self, wait_s: float) -> list[dict[str, Any]]:
        """What the leader has said, waiting up to `wait_s` for it; raises WorkerKilledError when it is gone."""
        assert self._leader.stdout is not None
        descriptor = self._leader.stdout.fileno()
        poller = select.poll()
        poller.register(descriptor, select.POLLIN)
        if poller.poll(max(0.0, wait_s * 1000)):
            chunk = os.read(descriptor, 65536)
            if not chunk:
                raise self._leader_died()
            self._buffer += chunk
        *lines, self._buffer = self._buffer.split(b"\n")
        return [json.loads(line) for line in lines]

    def _leader_died(self) -> HarnessError:
        status = self._leader.wait()
        said = os.pread(self._stderr, 65536, 0).decode(errors="replace").strip()
        if status < 0:
            return WorkerKilledError(f"the run's leader was killed by signal {-status}")
        last = said.splitlines()[-1] if said else f"exit status {status}"
        return RunError("the run's leader failed", why=last, hint="this is a defect: please report it")

    @property
    def stderr(self) -> str:
        """What the leader and the workers wrote to stderr: nothing, unless one of them has a defect."""
        return os.pread(self._stderr, 65536, 0).decode(errors="replace").strip()

    def wait_ready(self) -> None:
        """Wait until every worker stands at the start; raises RunError when one does not come."""
        deadline = time.monotonic() + START_LIMIT_S
        states = [part.words for part in self.board.producers] + [part.words for part in self.board.consumers]
        while any(words[ProducerWord.STATE] == State.STARTING for words in states):
            self.poll(0.002)
            if any(not ending.as_planned for ending in self.endings):
                return  # whoever follows the run sees it at once
            if time.monotonic() > deadline:
                raise RunError("a worker did not start in time", hint="is the machine overloaded?")

    def start(self) -> tuple[int, int]:
        """Set the times and let the workers go; returns t0 and the window's end in CLOCK_MONOTONIC ns.

        Without a window (a count at no rate) the end is far away.
        """
        control = self.board.control
        warm = time.monotonic_ns() + LEAD_NS
        t0 = warm + round(self._plan.warmup_s * 1e9)
        window = self._plan.window_ns
        end = t0 + (window if window is not None else 1 << 60)
        control[Control.WARM_NS] = warm
        control[Control.END_NS] = end
        control[Control.GIVE_UP_NS] = end + CATCH_UP_NS
        control[Control.T0_NS] = t0
        control[Control.GO] = 1
        return t0, end

    def stop_sending(self) -> None:
        """Ask the producers to stop now; what is in the queue can still be received."""
        self.board.control[Control.STOP] = max(1, self.board.control[Control.STOP])

    def poll(self, wait_s: float) -> None:
        """Take in what the leader reports, waiting up to `wait_s` s; raises WorkerKilledError when it is gone."""
        for event in self._events(wait_s):
            if event["event"] == "warning":
                self._warnings.append(event["text"])
            elif event["event"] == "ended":
                worker = WorkerInfo(event["role"], event["index"], event["pid"])
                self.endings.append(Ending(worker, event["signal"], event["state"]))
            elif event["event"] == "finished":
                self.left_in_queue = event["left"]
            elif event["event"] == "error":
                raise error_of(event)

    def producers_done(self) -> bool:
        """Whether every producer has ended, one way or another."""
        ended = sum(ending.worker.role == "producer" for ending in self.endings)
        return ended == self._plan.producers

    def finish(self) -> None:
        """The orderly end. Afterwards `left_in_queue` and all `endings` are known."""
        self.board.control[Control.STOP] = 2
        assert self._leader.stdin is not None
        deadline = time.monotonic() + FINISH_LIMIT_S
        try:
            self._leader.stdin.write(b"finish\n")
        except BrokenPipeError:
            raise self._leader_died() from None
        while self.left_in_queue is None:
            self.poll(max(0.0, deadline - time.monotonic()))
            if time.monotonic() > deadline:
                raise RunError("the run's leader did not finish in time")

    @property
    def killed(self) -> list[Ending]:
        """The workers that did not come to their own end."""
        return [ending for ending in self.endings if not ending.as_planned]


def error_of(event: dict[str, Any]) -> HarnessError:
    """The error that a leader's or a chamber's event tells of."""
    kind = getattr(errors, event["type"], HarnessError)
    error: HarnessError = kind(event["seen"], why=event["why"], hint=event["hint"])
    return error
