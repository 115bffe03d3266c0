r"""A UDP proxy and its workers that you could leave alone overnight.

                      parent: front and supervisor in one loop           metrics.: a JSON line
    client --UDP-->  | offer: OK, or ER when too much |  <--UDP-- you
                       |  msgsnd, never waiting     ^ SIGTERM, SIGINT, SIGCHLD through one file descriptor
                       v                            |
                     queue 0x1212 (mine, 0600)      |      journal (SQLite, with --journal)
                       |  msgrcv                    |        ^ written before msgsnd, marked when handled
                       v                            |        |
                     worker 0, worker 1, ...  ------'--------'
                       |
                       v counts: the ledger, memory that all share, one writer a word

A message on the queue is its number in the journal (8 bytes; 0 without a journal) and the payload.

Run `python lab.py`, send with `nc -u 127.0.0.1 9999`, ask with `echo | nc -u -w1 127.0.0.1 9998`; Ctrl-C drains.
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

from harness.labkit import todo

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
        self.words: memoryview = todo("18.1 memory that is still the same memory after a fork, as 64-bit words")
        self.parent = self.words[:PARENTS_WORDS]

    def worker(self, number: int) -> memoryview:
        """The words of this worker, beginning with 0."""
        todo("18.1 this worker's slice of the words")

    def report(self, left: int) -> dict[str, int]:
        """All counts by name, in messages; `left` are in the queue now.

        `held` are taken and neither handled nor failed: in hand, or lost with a killed worker. `unexplained` are sent
        (accepted, or sent again) and neither taken nor left.
        """
        todo("18.1 all counts by name")


def balances(report: dict[str, int]) -> bool:
    """Whether a report at rest (nobody sends, takes or counts meanwhile) adds up.

    Each datagram was accepted or refused. Each message that was sent is handled, failed, held or left; but a worker
    that is killed between msgrcv and its count leaves one unexplained: at most as many as there were deaths.
    """
    todo("18.1 do the books balance?")


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
        todo("18.2 put it, count it, answer")

    def put(self, payload: bytes) -> bool:
        """(Finished.) Whether the payload is on the queue now, and in the journal if there is one."""
        if not self.admits(payload):
            return False
        return self.send(0, payload) if self.journal is None else self.put_journaled(self.journal, payload)

    def admits(self, payload: bytes) -> bool:
        """Whether the payload may come in: it is not too long, and `depth` is not reached yet."""
        todo("18.2 not too long, and not too many")

    def send(self, number: int, payload: bytes) -> bool:
        """Whether the kernel takes the message now; never waits. DEEPEST is the highest depth that a send reached."""
        todo("18.2 send without waiting")

    def put_journaled(self, journal: Journal, payload: bytes) -> bool:
        """Write the payload into the journal, then send it; withdraw it if it cannot be sent.

        Returns whether it is in both. If the journal cannot be written (sqlite3.Error), it is in neither.
        """
        todo("18.5 write, send, or withdraw")

    def send_again(self) -> None:
        """Send what is owed and not done, in its order, until `depth` is reached or the kernel takes no more.

        What is sent is counted as AGAIN. What finds no room stays owed.
        """
        todo("18.5 send what is owed")


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
    todo("18.3 take, count, handle, count, until asked to stop")


def try_to_handle(payload: bytes, handle: Callable[[bytes], None]) -> int:
    """Handle the payload; returns HANDLED, or FAILED if `handle` raised an Exception, told on standard error."""
    todo("18.3 handle it, and survive what it raises")


def handle_once(journal: Journal, number: int, payload: bytes, handle: Callable[[bytes], None]) -> int:
    """Handle the payload, and then mark its number as done, also if it failed; returns HANDLED or FAILED.

    A number that is done already, or that the journal does not have, is HANDLED without being handled again.
    """
    todo("18.5 handle it unless it is done, and mark it")


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
        todo("18.4 start who is due")

    def due_in_s(self) -> float | None:
        """In how many seconds the next may start, 0 if it is late; None while everybody runs."""
        todo("18.4 when is the next start?")

    def reap(self) -> list[int]:
        """Collect those who have died, and wait for nobody; returns their numbers.

        The delay before a restart is FIRST_S, then twice the last one, at most CAP_S; FIRST_S after GOOD_S of life.
        """
        todo("18.4 collect the dead, and put off their restart")

    def crash_loop(self) -> bool:
        """Whether the last `most_deaths` deaths lie within WINDOW_S."""
        todo("18.4 too many deaths in too short a time?")

    def end(self, grace_s: float) -> None:
        """SIGTERM to all at once, SIGKILL to those who run after `grace_s`; nobody is a zombie afterwards."""
        todo("18.4 end them all, politely first")


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
        todo("18.6 the loop")

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
        todo("18.6 begin to drain")

    def drained(self) -> bool:
        """Whether a drain has come to its end: the queue is empty and nothing is owed, or its time is up."""
        todo("18.6 is the drain at its end?")

    def bury(self) -> None:
        """Count those who have died; what one had in hand, by its number in the journal, is owed now."""
        todo("18.6 count the dead, and what they owe")


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
