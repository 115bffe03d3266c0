"""The leader of a run: the process that owns its namespace, its queues and its workers.

    coordinator (harness load)  --stdin: one pickled Order, then commands-->  leader  --fork-->  workers
                                <--stdout: one JSON event a line------------

It is a fresh program, `python -m harness.experiments.leader`, so that it has one thread, whatever threads its caller
has: with a second one `unshare` of a user namespace is EINVAL, and as root it would move the calling thread alone.
It leads a session of its own, so that Ctrl-C and a closed terminal reach only the coordinator.

Nothing may be left behind, whoever dies:

    the coordinator     its end of the pipe closes; the leader kills the workers, removes its queues and exits
    the leader          its workers get SIGKILL (PR_SET_PDEATHSIG); a private namespace goes with its last process,
                        and the coordinator removes the queues of a `--visible` run
    a worker            the leader reports it and goes on; the coordinator decides

The leader is therefore also the guardian of a `--visible` run: it alone creates the queues in the host's
namespace, and removes them when the pipe closes. Only if the coordinator and the leader are both killed with SIGKILL
is a queue left there; `harness doctor` lists it.
"""

from __future__ import annotations

import gc
import json
import os
import pickle
import resource
import select
import signal
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from harness.engines import choice
from harness.engines.layout import Board, ConsumerWord, ProducerWord, QueueWord, State
from harness.experiments import worker
from harness.experiments.processes import fork_worker
from harness.sysv import Limits, Queue, enter_private, sleepers
from harness.sysv.errors import HarnessError, NamespaceError, PlanError, QueueExistsError, QueueRemovedError

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.experiments.plan import LoadPlan

KEYS = range(0x4D51_0000, 0x4D52_0000)
"""Keys of the queues that runs make: "MQ", then a number. Documented, so that `ipcs -q` shows whose they are."""
SAMPLE_S = 0.1
"""How often the leader asks the kernel how full the queues are."""
WAKE_S = 0.01
"""How often workers that are to stop get their signal: one can slip in just before msgrcv."""
STOP_LIMIT_S = 2.0
"""After this a worker that does not stop is killed."""
COMMANDS = 0
"""The descriptor that the coordinator's commands come from: standard input."""


@dataclass(frozen=True, slots=True)
class Order:
    """What a leader is told: the plan with its engine resolved, the run's id and the descriptor of its board."""

    plan: LoadPlan
    run_id: int
    board: int
    spin: bool
    cpus: tuple[int, ...]
    """Where to pin the workers, in turn; empty: nowhere."""


class Leader:
    """One run's queues and workers. Everything it made is gone when `close` returns."""

    def __init__(self, order: Order, tell: Callable[..., None]) -> None:
        self._order = order
        self._plan = order.plan
        self._tell = tell
        self._board = Board(order.board, order.plan.shape)
        self._queues: list[Queue] = []
        self._workers: dict[int, tuple[str, int]] = {}
        self.asked_to_end = False

    def prepare(self) -> None:
        """Enter the namespace, make or open the queues, fork the workers; raises HarnessError."""
        plan = self._plan
        kind, look = "host", "ipcs -q"
        queue_bytes = plan.effective_queue_bytes
        if not plan.in_host_namespace:
            try:
                private = enter_private(queue_bytes=queue_bytes, message_bytes=plan.size[1], msgmni=plan.queues)
                kind, look = private.kind, " ".join(private.enter_command(os.getpid()))
            except NamespaceError as refused:
                queue_bytes = self._fall_back(refused)
        if plan.key is None:
            for _ in range(plan.queues):
                self._queues.append(self._create(queue_bytes))
        else:
            self._queues.append(self._open(plan.key))
            queue_bytes = self._queues[0].stat().queue_bytes
            if plan.size[1] > queue_bytes:
                raise PlanError(
                    f"a message of {plan.size[1]} bytes never fits that queue of {queue_bytes} bytes",
                    hint="lower --size",
                )
        self._engine = choice.load(plan.engine)
        gc.collect()
        gc.freeze()  # the workers share these pages; a collection would write to them all
        gc.disable()
        names = [("producer", index) for index in range(plan.producers)]
        names += [("consumer", index) for index in range(plan.consumers)]
        for position, (role, index) in enumerate(names):
            self._workers[fork_worker(partial(self._work, role, index, position))] = (role, index)
        self._tell(
            "started",
            leader=os.getpid(),
            namespace=kind,
            look=look,
            queues=[{"id": queue.id, "key": queue.key, "queue_bytes": queue_bytes} for queue in self._queues],
            workers=[{"pid": pid, "role": role, "index": index} for pid, (role, index) in self._workers.items()],
        )

    def _fall_back(self, refused: NamespaceError) -> int:
        """Use the host's namespace if its limits suffice for what was asked; returns the queue's byte limit."""
        plan, host = self._plan, Limits.read()
        wanted = plan.queue_bytes or max(host.msgmnb, plan.size[1])
        if wanted > host.msgmnb or plan.size[1] > host.msgmax:
            raise NamespaceError(
                refused.seen,
                why=f"{refused.why}; and the host's own limits (msgmnb {host.msgmnb}, msgmax {host.msgmax} bytes) are"
                " too small for this run",
                hint=f"{refused.hint}; or lower --queue-bytes and --size; or: sysctl -w kernel.msgmnb={wanted}",
            ) from refused
        self._tell(
            "warning",
            text=f"no private namespace ({refused}): the queue is in the host's, with {host.msgmnb} bytes",
        )
        return wanted

    def _create(self, queue_bytes: int) -> Queue:
        """A new queue under the first free key of ours."""
        for key in KEYS:
            try:
                queue = Queue.create(key, max_bytes=self._plan.size[1])
            except QueueExistsError:
                continue
            if queue.stat().queue_bytes != queue_bytes:
                try:
                    queue.resize(queue_bytes)
                except HarnessError:
                    queue.remove()
                    raise
            return queue
        raise NamespaceError(
            f"all {len(KEYS)} keys of ours are taken", hint="see `harness doctor` for what is left over"
        )

    def _open(self, key: int) -> Queue:
        """Somebody's queue: refused when messages or sleepers are in it, unless --force."""
        queue = Queue.open(key, max_bytes=self._plan.size[1])
        messages = queue.stat().messages
        if messages and not self._plan.force:
            raise PlanError(
                f"queue {key:#010x} holds {messages} messages",
                why="they would be mixed with the run's own",
                hint="empty it, or add --force",
            )
        if self._plan.consumers and not self._plan.force and (asleep := sleepers(queue.id)):
            raise PlanError(
                f"process {asleep[0].pid} sleeps in {asleep[0].call} on queue {key:#010x}",
                why="it would take or add messages, and the run would count some of its own as lost",
                hint="stop it, load it with --consumers 0, or add --force",
            )
        return queue

    def _work(self, role: str, index: int, position: int) -> int:
        """A worker's whole life, in the forked child; returns its exit status."""
        # SIGUSR1 only ends a queue call (EINTR); the loop then looks at the stop flag. The handler never raises.
        signal.signal(signal.SIGUSR1, lambda *_: None)
        if self._order.cpus:
            os.sched_setaffinity(0, {self._order.cpus[position % len(self._order.cpus)]})
        plan, board = self._plan, self._board
        engine, queue = self._engine, self._queues[plan.queue_of(index)]
        if role == "producer":
            sender = engine.sender(
                plan.producer_task(index, run_id=self._order.run_id, spin=self._order.spin), queue, board
            )
            due = plan.due_of(index) if plan.due is not None else None
            state = worker.produce(sender, board, index, loop=plan.loop, due=due)
            board.producers[index].words[ProducerWord.STATE] = state
        else:
            # Somebody else's queue may hold larger messages than ours: they count as foreign, not as poison.
            room = max(plan.size[1], plan.host.msgmax if plan.key is not None else 0)
            receiver = engine.receiver(
                plan.consumer_task(index, run_id=self._order.run_id, max_bytes=room), queue, board
            )
            state = worker.consume(receiver, board, index)
            board.consumers[index].words[ConsumerWord.STATE] = state
        return 0 if state is State.DONE else 10 + state

    def watch(self) -> None:
        """Serve until the coordinator says `finish`, or goes away; report workers that end before."""
        poller = select.poll()
        poller.register(COMMANDS, select.POLLIN)
        watched = {os.pidfd_open(pid): pid for pid in self._workers}  # readable as soon as the process has ended
        for descriptor in watched:
            poller.register(descriptor, select.POLLIN)
        next_sample = 0.0
        while not self.asked_to_end:
            now = time.monotonic()
            if now >= next_sample:
                self._sample()
                next_sample = now + SAMPLE_S
            ready = [descriptor for descriptor, _ in poller.poll(max(1.0, (next_sample - now) * 1000))]
            self._reap()
            for descriptor in ready:
                if watched.get(descriptor, 0) not in self._workers and descriptor != COMMANDS:
                    poller.unregister(descriptor)
            if COMMANDS in ready:
                if b"finish" in os.read(COMMANDS, 4096):
                    self._stop_workers()
                return  # finished, or the coordinator is gone: close() does the rest

    def _sample(self) -> None:
        if self._plan.key is None and self._plan.consumers:
            return  # nobody else uses the queue: the board's own counts tell its depth
        for queue, words in zip(self._queues, self._board.queues, strict=True):
            try:
                words[QueueWord.MESSAGES] = queue.stat().messages
            except HarnessError:
                continue  # removed from outside: the workers meet it too, and report it

    def _reap(self, *, wait: bool = False) -> None:
        for pid in list(self._workers):
            ended, status = os.waitpid(pid, 0 if wait else os.WNOHANG)
            if ended:
                role, index = self._workers.pop(pid)
                self._tell("ended", pid=pid, role=role, index=index, **_how_it_ended(status))

    def _stop_workers(self) -> None:
        """The orderly end: the stop flag is up. Only what nobody sends or takes any more can be counted."""
        deadline = time.monotonic() + STOP_LIMIT_S
        while self._workers and time.monotonic() < deadline:
            self._signal(signal.SIGUSR1)
            self._reap()
            if self._workers:
                time.sleep(WAKE_S)
        if self._workers:
            stuck = sorted(f"{role} {index}" for role, index in self._workers.values())
            self._tell("warning", text=f"{', '.join(stuck)} did not stop and had to be killed")
            self._signal(signal.SIGKILL)
            self._reap(wait=True)
        left = 0
        for queue in self._queues:
            with suppress(HarnessError):
                left += queue.stat().messages
        self._remove_queues()
        self._tell("finished", left=left)

    def _signal(self, number: int) -> None:
        for pid in self._workers:
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def _remove_queues(self) -> None:
        for queue in self._queues:
            if queue.owned:
                with suppress(QueueRemovedError):
                    queue.remove()

    def close(self) -> None:
        """Kill the workers that are left, then remove the queues that this run made."""
        self._signal(signal.SIGKILL)
        for pid in list(self._workers):
            with suppress(ChildProcessError):
                os.waitpid(pid, 0)
        self._workers.clear()
        self._remove_queues()


def _how_it_ended(status: int) -> dict[str, Any]:
    if os.WIFSIGNALED(status):
        return {"signal": os.WTERMSIG(status), "state": None}
    code = os.waitstatus_to_exitcode(status)
    return {"signal": None, "state": State.DONE.name if code == 0 else _state_name(code - 10)}


def _state_name(value: int) -> str:
    return State(value).name if value in set(State) else State.FAILED.name


def tell(event: str, **what: Any) -> None:
    """Send one event to the coordinator; when it is gone, its end of the other pipe says so soon enough."""
    with suppress(BrokenPipeError):
        os.write(1, json.dumps({"event": event, **what}).encode() + b"\n")


def main() -> int:
    """Run one order; the exit status is 0 unless the leader itself failed."""
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    order: Order = pickle.load(sys.stdin.buffer)  # noqa: S301  from the process that started us
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    leader = Leader(order, tell)

    def end(*_: object) -> None:
        leader.asked_to_end = True

    # Asked to end from outside (a shutdown, kill): clean up as if the coordinator had gone.
    signal.signal(signal.SIGTERM, end)
    try:
        leader.prepare()
        leader.watch()
    except HarnessError as error:
        tell("error", type=type(error).__name__, seen=error.seen, why=error.why, hint=error.hint)
    finally:
        leader.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
