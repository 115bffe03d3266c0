"""SIGTERM ends the proxy at once, with messages in the queue.

fails: test_sigterm_drains_what_is_queued, test_a_drain_has_a_limit
sometimes: test_a_flood_beyond_the_depth_is_refused_and_counted, test_a_flood_is_answered_and_the_ledger_balances, test_a_killed_worker_costs_at_most_its_message
teaches: what was answered OK and is still in the queue dies with the queue
"""

from __future__ import annotations

import contextlib
import json
import mmap
import os
import select
import selectors
import signal
import socket
import sqlite3
import struct
import sys
import time
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import sysv_ipc

from parts import KERNEL_SAYS_NO, Journal, Signals, Stop, bound, datagrams, fork_worker, left_in, options_from, reply

if TYPE_CHECKING:
    from collections.abc import Callable

NUMBER = struct.Struct("!Q")
OK, ER = b"OK\n", b"ER\n"
POLL_S = 0.01  # how often the loop looks at the queue while it drains, or has to send something again
FIRST_S, CAP_S, GOOD_S = 0.05, 5.0, 10.0  # a restart's first delay, its longest; a life that wipes out earlier deaths
WINDOW_S = 60.0  # deaths within so many seconds count as one crash loop
GRACE_S = 1.0  # from SIGTERM to SIGKILL, at least

# The words of the ledger. The parent writes these,
RECEIVED, ACCEPTED, REFUSED, AGAIN, DEATHS, DEEPEST = range(6)
# and each worker has these for itself. IN_HAND is a number in the journal, or 0.
TAKEN, HANDLED, FAILED, IN_HAND = range(4)
PARENTS_WORDS, WORKERS_WORDS = 6, 4


# --- 18.1 the ledger -------------------------------------------------------------------------------------------------


class Ledger:
    """Counts in memory that survives whoever writes them: made before the fork, shared by all, 64 bits a word.

    Each word has one writer, so that `words[N] += 1` needs no lock. `parent` are the parent's words, `worker(n)` those
    of worker n, which a restarted worker n goes on counting in.
    """

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self.words = memoryview(mmap.mmap(-1, 8 * (PARENTS_WORDS + workers * WORKERS_WORDS))).cast("Q")
        self.parent = self.words[:PARENTS_WORDS]

    def worker(self, number: int) -> memoryview:
        """The words of this worker, beginning with 0."""
        begin = PARENTS_WORDS + number * WORKERS_WORDS
        return self.words[begin : begin + WORKERS_WORDS]

    def report(self, left: int) -> dict[str, int]:
        """All counts by name, in messages; `left` are in the queue now.

        `held` are taken and neither handled nor failed: in hand, or lost with a killed worker. `unexplained` are sent
        (accepted, or sent again) and neither taken nor left.
        """
        names = ["received", "accepted", "refused", "again", "deaths", "deepest"]
        found = dict(zip(names, self.parent, strict=True))
        workers = [self.worker(number) for number in range(self.workers)]
        taken, handled, failed = (sum(words[word] for words in workers) for word in (TAKEN, HANDLED, FAILED))
        found |= {"handled": handled, "failed": failed, "held": taken - handled - failed, "left": left}
        found["unexplained"] = found["accepted"] + found["again"] - taken - left
        return found


def balances(report: dict[str, int]) -> bool:
    """Whether a report at rest (nobody sends, takes or counts meanwhile) adds up.

    Each datagram was accepted or refused. Each message that was sent is handled, failed, held or left; but a worker
    that is killed between msgrcv and its count leaves one unexplained: at most as many as there were deaths.
    """
    return (
        report["received"] == report["accepted"] + report["refused"] and 0 <= report["unexplained"] <= report["deaths"]
    )


# --- 18.2 and 18.5 the front -----------------------------------------------------------------------------------------


class Front:
    """Lets messages in, and never waits. At most `depth` are in the queue, none has more than `most_bytes`.

    `words` are the parent's in the ledger. `owed` are the numbers of the journal that have to be sent again.
    """

    def __init__(
        self,
        queue: sysv_ipc.MessageQueue,
        words: memoryview,
        *,
        depth: int,
        most_bytes: int,
        journal: Journal | None = None,
    ) -> None:
        self.queue = queue
        self.words = words
        self.depth = depth
        self.most_bytes = most_bytes
        self.journal = journal
        self.owed: deque[int] = deque()

    def offer(self, payload: bytes) -> bytes:
        """Put the payload on the queue if it may; returns OK or ER. Counts it: received, and accepted or refused."""
        self.words[RECEIVED] += 1
        if self.put(payload):
            self.words[ACCEPTED] += 1
            return OK
        self.words[REFUSED] += 1
        return ER

    def put(self, payload: bytes) -> bool:
        """(Finished.) Whether the payload is on the queue now, and in the journal if there is one."""
        if not self.admits(payload):
            return False
        return self.send(0, payload) if self.journal is None else self.put_journaled(self.journal, payload)

    def admits(self, payload: bytes) -> bool:
        """Whether the payload may come in: it is not too long, and `depth` is not reached yet."""
        return len(payload) <= self.most_bytes and left_in(self.queue) < self.depth

    def send(self, number: int, payload: bytes) -> bool:
        """Whether the kernel takes the message now; never waits. DEEPEST is the highest depth that a send reached."""
        depth = left_in(self.queue) + 1
        try:
            self.queue.send(NUMBER.pack(number) + payload, block=False)
        except KERNEL_SAYS_NO:  # no room in bytes, no queue any more: whatever it is, no promise
            return False
        self.words[DEEPEST] = max(self.words[DEEPEST], depth)
        return True

    def put_journaled(self, journal: Journal, payload: bytes) -> bool:
        """Write the payload into the journal, then send it; withdraw it if it cannot be sent.

        Returns whether it is in both. If the journal cannot be written (sqlite3.Error), it is in neither.
        """
        try:
            number = journal.write(payload)
            if self.send(number, payload):
                return True
            journal.withdraw(number)
        except sqlite3.Error:
            pass
        return False

    def send_again(self) -> None:
        """Send what is owed and not done, in its order, until `depth` is reached or the kernel takes no more.

        What is sent is counted as AGAIN. What finds no room stays owed.
        """
        while self.journal is not None and self.owed and left_in(self.queue) < self.depth:
            payload = self.journal.payload(self.owed[0])
            if payload is not None:
                if not self.send(self.owed[0], payload):
                    return
                self.words[AGAIN] += 1
            self.owed.popleft()


# --- 18.3 a worker ---------------------------------------------------------------------------------------------------


def work(
    queue: sysv_ipc.MessageQueue,
    words: memoryview,
    handle: Callable[[bytes], None],
    stop: Stop,
    journal: Journal | None = None,
) -> None:
    """Take and handle messages until `stop.asked`; who has one in hand finishes it. `words` are this worker's.

    A message is counted as TAKEN as soon as it is, with its number IN_HAND until it is settled; then as HANDLED or
    FAILED, whichever `try_to_handle` says, or `handle_once` if there is a journal.
    """
    while not stop.asked:
        try:
            message, _ = queue.receive()
        except sysv_ipc.Error as error:
            if type(error) is not sysv_ipc.Error:  # the bare class is EINTR: look at `asked`, and go on
                raise
            continue
        (number,), payload = NUMBER.unpack_from(message), message[NUMBER.size :]
        words[IN_HAND] = number
        words[TAKEN] += 1
        outcome = handle_once(journal, number, payload, handle) if journal else try_to_handle(payload, handle)
        words[outcome] += 1
        words[IN_HAND] = 0


def try_to_handle(payload: bytes, handle: Callable[[bytes], None]) -> int:
    """Handle the payload; returns HANDLED, or FAILED if `handle` raised an Exception, told on standard error."""
    try:
        handle(payload)
    except Exception as error:  # noqa: BLE001 - whatever it is, it would be the same again: given up
        print(f"given up: {error!r}", file=sys.stderr)
        return FAILED
    return HANDLED


def handle_once(journal: Journal, number: int, payload: bytes, handle: Callable[[bytes], None]) -> int:
    """Handle the payload, and then mark its number as done, also if it failed; returns HANDLED or FAILED.

    A number that is done already, or that the journal does not have, is HANDLED without being handled again.
    """
    if journal.payload(number) is None:
        return HANDLED
    outcome = try_to_handle(payload, handle)
    journal.mark_done(number)
    return outcome


# --- 18.4 the crew ---------------------------------------------------------------------------------------------------


@dataclass
class Member:
    """A worker as its supervisor sees it; times are in seconds."""

    pid: int | None = None  # None while it is not running
    started_s: float = 0.0
    delay_s: float = 0.0  # how long its last restart was put off
    due_s: float = 0.0  # when it may start


class Crew:
    """Keeps `size` workers running. `start(number)` forks one and returns its pid; `clock()` gives seconds."""

    def __init__(
        self,
        size: int,
        start: Callable[[int], int],
        *,
        most_deaths: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.members = [Member() for _ in range(size)]
        self.start = start
        self.clock = clock
        self.deaths_s: deque[float] = deque(maxlen=most_deaths)

    def start_due(self) -> None:
        """Start everybody who is not running and may start."""
        for number, member in enumerate(self.members):
            if member.pid is None and self.clock() >= member.due_s:
                member.pid, member.started_s = self.start(number), self.clock()

    def due_in_s(self) -> float | None:
        """In how many seconds the next may start, 0 if it is late; None while everybody runs."""
        due_s = [member.due_s for member in self.members if member.pid is None]
        return max(0.0, min(due_s) - self.clock()) if due_s else None

    def reap(self) -> list[int]:
        """Collect those who have died, and wait for nobody; returns their numbers.

        The delay before a restart is FIRST_S, then twice the last one, at most CAP_S; FIRST_S after GOOD_S of life.
        """
        dead = []
        for number, member in enumerate(self.members):
            if member.pid is None or os.waitpid(member.pid, os.WNOHANG)[0] == 0:
                continue
            now_s = self.clock()
            lived_well = now_s - member.started_s >= GOOD_S
            member.delay_s = FIRST_S if lived_well else max(FIRST_S, min(2 * member.delay_s, CAP_S))
            member.pid, member.due_s = None, now_s + member.delay_s
            self.deaths_s.append(now_s)
            dead.append(number)
        return dead

    def crash_loop(self) -> bool:
        """Whether the last `most_deaths` deaths lie within WINDOW_S."""
        full = len(self.deaths_s) == self.deaths_s.maxlen
        return full and self.deaths_s[-1] - self.deaths_s[0] <= WINDOW_S

    def end(self, grace_s: float) -> None:
        """SIGTERM to all at once, SIGKILL to those who run after `grace_s`; nobody is a zombie afterwards."""
        running = [member for member in self.members if member.pid is not None]
        pidfds = {member.pid: os.pidfd_open(member.pid) for member in running if member.pid}
        for pid in pidfds:
            os.kill(pid, signal.SIGTERM)
        deadline_s = time.monotonic() + grace_s
        for pid, pidfd in pidfds.items():
            select.select([pidfd], [], [], max(0.0, deadline_s - time.monotonic()))  # until it has ended
            os.kill(pid, signal.SIGKILL)  # nothing to one that has: until waitpid the number is its own
            os.waitpid(pid, 0)
            os.close(pidfd)
        for member in running:
            member.pid = None


# --- 18.6 the whole --------------------------------------------------------------------------------------------------


@dataclass
class Proxy:
    """Both sockets, the signals and the crew, in one loop that never waits for anything else."""

    sock: socket.socket
    metrics: socket.socket
    signals: Signals
    front: Front
    crew: Crew
    ledger: Ledger
    drain_s: float  # how long what is queued may take, at the end
    stop_at_s: float | None = None  # on the monotonic clock; None until it drains
    selector: selectors.BaseSelector = field(default_factory=selectors.DefaultSelector)

    def run(self) -> int:
        """Serve until SIGTERM or SIGINT, and drain: status 0; in a crash loop, end at once: status 1.

        The crew is kept running, also while it drains, and has ended when this returns.
        """
        self.selector.register(self.sock, selectors.EVENT_READ, self.let_in)
        self.selector.register(self.metrics, selectors.EVENT_READ, self.tell)
        self.selector.register(self.signals, selectors.EVENT_READ, self.heed)
        while not self.crew.crash_loop() and not self.drained():
            self.crew.start_due()
            self.front.send_again()
            busy = self.stop_at_s is not None or self.front.owed
            for key, _ in self.selector.select(POLL_S if busy else self.crew.due_in_s()):
                key.data()
            self.bury()
        left_s = 0 if self.stop_at_s is None else self.stop_at_s - time.monotonic()
        self.crew.end(max(GRACE_S, left_s))  # who has a message in hand may finish it
        return 1 if self.crew.crash_loop() else 0

    def let_in(self) -> None:
        """Offer what waits in `sock` to the front, and answer; nothing any more once it drains."""
        if self.stop_at_s is None:
            for payload, sender in datagrams(self.sock, self.front.most_bytes):
                reply(self.sock, self.front.offer(payload), sender)

    def tell(self) -> None:
        """Answer whatever waits in `metrics` with the ledger's report, as a line of JSON."""
        for _, sender in datagrams(self.metrics, 0):
            report = self.ledger.report(left_in(self.front.queue))
            reply(self.metrics, json.dumps(report).encode() + b"\n", sender)

    def heed(self) -> None:
        """At the first SIGTERM or SIGINT begin to drain: `sock` is closed, and the end comes after `drain_s`."""
        if self.signals.take() & {signal.SIGTERM, signal.SIGINT} and self.stop_at_s is None:
            self.stop_at_s = time.monotonic() + self.drain_s
            self.selector.unregister(self.sock)
            self.sock.close()

    def drained(self) -> bool:
        """Whether a drain has come to its end: the queue is empty and nothing is owed, or its time is up."""
        if self.stop_at_s is None:
            return False
        return True

    def bury(self) -> None:
        """Count those who have died; what one had in hand, by its number in the journal, is owed now."""
        for number in self.crew.reap():
            self.ledger.parent[DEATHS] += 1
            words = self.ledger.worker(number)
            if words[IN_HAND]:
                self.front.owed.append(words[IN_HAND])
                words[IN_HAND] = 0  # its writer is dead, and the next one not born


def main(argv: list[str] | None = None) -> int:
    """(Finished.) Run the proxy and its workers; returns the exit status."""
    options = options_from(argv)
    signals = Signals()  # from here SIGTERM does not end us before the queue is removed
    most_bytes = int(Path("/proc/sys/kernel/msgmax").read_text(encoding="ascii"))
    try:
        sock, metrics = bound(options.bind, options.port), bound("127.0.0.1", options.metrics_port)
    except OSError as error:
        print(f"cannot bind UDP {options.port} and {options.metrics_port}: {error.strerror}", file=sys.stderr)
        return 1
    try:
        queue = sysv_ipc.MessageQueue(options.key, sysv_ipc.IPC_CREX, options.mode, max_message_size=most_bytes)
    except sysv_ipc.ExistentialError:
        print(f"queue 0x{options.key:08x} exists already, and may be somebody's: see ipcs -q", file=sys.stderr)
        return 1
    most_bytes -= NUMBER.size
    ledger = Ledger(options.workers)
    journal = Journal(options.journal) if options.journal else None
    front = Front(queue, ledger.parent, depth=options.depth, most_bytes=most_bytes, journal=journal)

    def start(number: int) -> int:
        def task() -> None:
            def handle(payload: bytes) -> None:
                time.sleep(options.work)
                print(f"[worker {number}] {payload.decode(errors='replace')}", flush=True)

            sock.close()
            metrics.close()
            work(queue, ledger.worker(number), handle, Stop(), journal)

        if journal is not None:
            journal.close()
        pid = fork_worker(task)
        print(f"worker {number} is {pid}", flush=True)
        return pid

    crew = Crew(options.workers, start, most_deaths=options.most_deaths)
    try:
        if journal is not None:
            front.owed.extend(journal.not_done())
        status = Proxy(sock, metrics, signals, front, crew, ledger, options.drain).run()
        print(json.dumps(ledger.report(left_in(queue))), flush=True)
        if status != 0:
            print(f"giving up: {options.most_deaths} deaths within {WINDOW_S:g} s", file=sys.stderr)
    finally:
        with contextlib.suppress(*KERNEL_SAYS_NO):
            queue.remove()
    return status


if __name__ == "__main__":
    sys.exit(main())
