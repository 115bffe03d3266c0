"""Inside the chamber: the fresh process in a namespace of its own, where an experiment's work is done row by row.

It is a program, `python -m harness.experiments.inside`, for the same reasons as the leader of a load run (leader.py):
one thread, whatever threads its caller has. It takes one pickled Order from standard input and writes one JSON event a
line to standard output. A guardian, forked before anything else, holds the other end of the caller's pipe: when the
caller is gone or wants no more, it kills the chamber, and with its last process the namespace and its queues are gone.
If the work needs a folder for files, the guardian removes that when the chamber has ended, however it did.
"""

from __future__ import annotations

import gc
import json
import os
import pickle
import resource
import secrets
import select
import shutil
import signal
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.experiments.processes import fork_worker, outlive_parent
from harness.measure.observe import busy_others_share, steal_share
from harness.measure.watch import MachineReading, read_machine
from harness.sysv import asleep_in, enter_private
from harness.sysv.errors import HarnessError, RunError, WorkerKilledError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from harness.experiments.chamber import Needs
    from harness.measure.observe import Usage
    from harness.sysv import Sleeper

SHORTEST_LIFE_NS = 50_000_000
"""A process younger than this has not run long enough for its share of waiting to mean anything."""
LOOK_EVERY_NS = 100_000_000
"""Looking at the machine takes some 0.2 ms, so not at every row."""
REMOVE_LIMIT_S = 2.0
ASLEEP_LIMIT_S, ASLEEP_POLL_S = 20.0, 50e-6


@dataclass(frozen=True, slots=True)
class Order:
    """What the chamber is told: call `work(plan, bench)` and send each row, in a namespace as `needs` says."""

    work: Callable[[Any, Bench], Iterator[dict[str, Any]]]
    plan: Any
    needs: Needs


class Bench:
    """What an experiment's work has at hand: processes of its own, and somebody to tell how far it is.

    Queues are made with `Queue.create` as anywhere; they need not be removed, as the namespace goes with the chamber.
    Files belong into `folder`, which goes with it too; None unless the experiment's `Needs` has one.
    """

    def __init__(self, tell: Callable[..., None], folder: Path | None = None) -> None:
        self.folder = folder
        self._tell = tell
        self._running: dict[int, tuple[int, Usage | None]] = {}
        self._begin: MachineReading[int] = read_machine({})
        self._worst_wait: float | None = None
        self._looked_ns = 0
        self._watch(os.getpid())

    def doing(self, words: str) -> None:
        """Say what is measured now, for a display."""
        self._tell("doing", words=words)

    def warn(self, text: str) -> None:
        """Something that a reader of the result should know."""
        self._tell("warning", text=text)

    def start(self, work: Callable[[], int | None], *, cpu: int | None = None) -> int:
        """Fork a process that does `work` (see fork_worker), on that CPU alone if one is named; returns its pid."""

        def pinned() -> int | None:
            if cpu is not None:
                os.sched_setaffinity(0, {cpu})
            return work()

        pid = fork_worker(pinned)
        self._watch(pid)
        return pid

    def wait(self, pid: int, limit_s: float) -> int:
        """Wait for a process of `start`; returns its exit status. After `limit_s` it is killed.

        Raises WorkerKilledError when a signal ended it, ours too.
        """
        pidfd = os.pidfd_open(pid)
        try:
            in_time = bool(select.select([pidfd], [], [], limit_s)[0])
        finally:
            os.close(pidfd)
        self.look(at_once=True)
        if not in_time:
            os.kill(pid, signal.SIGKILL)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        del self._running[pid]
        if not in_time:
            raise WorkerKilledError(
                f"a process of the experiment was not done after {limit_s:g} s and had to be killed"
            )
        if status < 0:
            raise WorkerKilledError(f"a process of the experiment was killed by signal {-status}")
        return status

    def end(self, pid: int) -> None:
        """Kill a process of `start`, whatever it does, and collect it."""
        self.look(at_once=True)
        os.kill(pid, signal.SIGKILL)  # until waitpid the number is its own
        os.waitpid(pid, 0)
        del self._running[pid]

    def until_asleep(self, pid: int, limit_s: float = ASLEEP_LIMIT_S) -> Sleeper:
        """Wait until a process of `start` sleeps in msgsnd or msgrcv; returns what it asked for.

        Raises RunError when it has ended, or does not sleep within `limit_s`.
        """
        deadline_s = time.monotonic() + limit_s
        while (sleeper := asleep_in(pid)) is None:
            if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
                raise RunError("a process of the experiment ended, where it should have waited at a queue")
            if time.monotonic() > deadline_s:
                raise RunError(
                    f"a process of the experiment was not seen asleep at a queue within {limit_s:g} s",
                    hint="is the machine overloaded, or /proc/PID/syscall closed to us?",
                )
            time.sleep(ASLEEP_POLL_S)
        return sleeper

    def _watch(self, pid: int) -> None:
        reading = read_machine({pid: pid})
        self._running[pid] = (reading.ns, reading.usage[pid])

    def look(self, *, at_once: bool = False) -> None:
        """Tell what the machine did until now; not more often than every LOOK_EVERY_NS unless `at_once`."""
        now = read_machine({pid: pid for pid in self._running})
        if not at_once and now.ns - self._looked_ns < LOOK_EVERY_NS:
            return
        self._looked_ns = now.ns
        for pid, (begin_ns, before) in self._running.items():
            after = now.usage[pid]
            if before and after and now.ns - begin_ns >= SHORTEST_LIFE_NS:
                share = (after - before).wait_share(now.ns - begin_ns)
                if share is not None:
                    self._worst_wait = max(share, self._worst_wait or 0.0)
        throttled = None
        if self._begin.throttling and now.throttling:
            throttled = (now.throttling - self._begin.throttling).throttled_ns
        self._tell(
            "machine",
            steal_share=steal_share(self._begin.cpu, now.cpu),
            runnable_wait_share=self._worst_wait,
            throttled_ns=throttled,
            busy_others_share=busy_others_share(self._begin.cpu, now.cpu, self._own_run_ns(now)),
        )

    def _own_run_ns(self, now: MachineReading[int]) -> int:
        """CPU time of the chamber and all it started, whether they have ended or not."""
        ended = resource.getrusage(resource.RUSAGE_CHILDREN)
        alive = sum(usage.run_ns or 0 for usage in now.usage.values() if usage)
        return int((ended.ru_utime + ended.ru_stime) * 1e9) + alive


def tell(event: str, **what: Any) -> None:
    """Send one event to the caller; when it is gone, the guardian ends us soon enough."""
    with suppress(BrokenPipeError):
        os.write(1, json.dumps({"event": event, **what}).encode() + b"\n")


def _guard(chamber: int, folder: Path | None) -> int:
    """The guardian's life: until the caller's end of the pipe closes, or the chamber has ended.

    The folder goes last, when nobody is left who could put something into it.
    """
    outlive_parent()
    ended = os.pidfd_open(chamber)
    while ended not in (ready := select.select([0, ended], [], [])[0]):
        if 0 in ready and not os.read(0, 4096):
            signal.pidfd_send_signal(ended, signal.SIGKILL)
            select.select([ended], [], [])
            break
    if folder is not None:
        _remove(folder)
    return 0


def _remove(folder: Path) -> None:
    """Remove it, though a killed child of the chamber may be in its last system call: try until it is gone."""
    deadline_s = time.monotonic() + REMOVE_LIMIT_S
    while folder.exists() and time.monotonic() < deadline_s:
        shutil.rmtree(folder, ignore_errors=True)


def main() -> int:
    """Carry out one order; the exit status is 0 unless the chamber itself failed."""
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    order: Order = pickle.load(sys.stdin.buffer)  # noqa: S301  from the process that started us
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    chamber, needs = os.getpid(), order.needs
    # Named here and made behind the guardian's back, so that whoever is killed at whatever moment, it is removed.
    folder = Path(tempfile.gettempdir(), f"harness-{secrets.token_hex(8)}") if needs.folder else None
    fork_worker(lambda: _guard(chamber, folder))
    try:
        if folder is not None:
            folder.mkdir(mode=0o700)
        entered = enter_private(queue_bytes=needs.queue_bytes, message_bytes=needs.message_bytes, msgmni=needs.queues)
        tell("started", pid=chamber, look=" ".join(entered.enter_command(chamber)))
        gc.freeze()
        gc.disable()  # a collection in the middle of a measurement would be measured
        bench = Bench(tell, folder)
        for row in order.work(order.plan, bench):
            tell("row", row=row)
            bench.look()
        bench.look(at_once=True)
        tell("done")
    except HarnessError as error:
        tell("error", type=type(error).__name__, seen=error.seen, why=error.why, hint=error.hint)
    return 0


if __name__ == "__main__":
    sys.exit(main())
