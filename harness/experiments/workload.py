"""The one workload of `harness compare`: a process that sends, one that receives, and the same Python loop for all.

    warm-up     a few messages as fast as it goes, which also open connections and start threads
    unpaced     as fast as it goes for a time: messages/s between the first receive and the last
    paced       at a rate, each message on its due time: latency from the intended send time to the receive

Each part ends with a message without a time, whose number tells how many were sent. Every message has a number and a
time; the receiver checks that all arrive, in order. The next part begins when the receiver has had all of this one, so
that nothing of one lies in the way of the other.
"""

from __future__ import annotations

import mmap
import os
import select
import struct
import time
import traceback
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.engines.python import SPIN_NS
from harness.measure.histogram import Histogram
from harness.sysv.errors import HarnessError, RunError, WorkerKilledError

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.experiments.inside import Bench
    from harness.experiments.transports import Receive, Send, Transport

STAMP = struct.Struct("=QQ")
"""What each message begins with: its number, and its time (CLOCK_MONOTONIC, ns)."""
STAMP_BYTES = STAMP.size
NO_TIME = 0
WARM_UP = 200
"""Messages: after fewer, the interpreter has specialized its bytecode and every connection stands."""
MOST_UNPACED_BYTES = 1 << 28
"""An unpaced part ends at this too: some transports hold in memory what the receiver has not taken."""
LIMIT_S = 20.0
"""A part that takes this much longer than planned has failed."""
WAIT_S = 0.000_5
MOST_HELD, MOST_HELD_BYTES = 5_000, 1 << 24
"""No more is sent to see how much fits."""
STILL_S, STILL_LOOKS = 0.02, 3
"""So long a sender must have stood still, so many times in a row, to be called held back."""


class Word(IntEnum):
    """The words that both processes and their parent see; each has one writer."""

    OPEN = 0
    """Receiver: it can take messages."""
    PART = 1
    """Receiver: how many parts it has had whole."""
    BEGUN = 2
    """Sender to nobody: its first send has begun."""
    HELD = 3
    """The same: how many of them have returned."""
    SENT = 4
    """Receiver, as all below: what the sender said of the unpaced and the paced part together."""
    RECEIVED = 5
    WRONG = 6
    """Messages whose number was not the next one."""
    UNPACED = 7
    """Messages of the unpaced part, and how long they took."""
    UNPACED_NS = 8
    P50_NS = 9
    P99_NS = 10
    MAX_NS = 11


PAGE = 4096
SENDER_SAID, RECEIVER_SAID, LONGEST_SAID = 1024, 2048, 1000
"""Where in the page either process leaves why it failed."""


@dataclass(frozen=True, slots=True)
class Load:
    """What is sent: messages of `size_bytes`; unpaced for `unpaced_s`, then `paced` messages, one each `period_ns`."""

    size_bytes: int
    unpaced_s: float
    paced: int
    period_ns: float
    spin: bool
    """There is a CPU to spare for waiting in a loop."""

    @property
    def planned_s(self) -> float:
        """How long it takes if all goes well, about."""
        return self.unpaced_s + self.paced * self.period_ns / 1e9


class Shared:
    """A page that a parent and its forks see."""

    def __init__(self) -> None:
        self._page = mmap.mmap(-1, PAGE)
        self.words = memoryview(self._page).cast("Q")

    def guarded(self, at: int, work: Callable[[], None]) -> int:
        """In a fork: do the work; returns its exit status. What it fails of is left for the parent to read."""
        try:
            work()
        except Exception as error:  # noqa: BLE001  whatever a foreign library raises is the reason
            said = f"{type(error).__name__}: {error}" if isinstance(error, (OSError, HarnessError)) else None
            said = said or traceback.format_exception_only(error)[-1].strip()
            said_bytes = said.encode()[:LONGEST_SAID]
            self._page[at : at + len(said_bytes)] = said_bytes
            return 1
        return 0

    @property
    def failure(self) -> str:
        """Why one of the two failed; empty when none did."""
        for at in (RECEIVER_SAID, SENDER_SAID):
            said = self._page[at : at + LONGEST_SAID].rstrip(b"\0").decode(errors="replace")
            if said:
                return said
        return ""


def run_turn(bench: Bench, transport: Transport, load: Load) -> dict[str, Any]:
    """One turn of a transport: its messages/s and latencies in ns. Raises RunError when a process failed."""
    shared = Shared()
    receiver = bench.start(lambda: shared.guarded(RECEIVER_SAID, lambda: _receive_all(transport, load, shared.words)))
    sender = bench.start(lambda: shared.guarded(SENDER_SAID, lambda: _send_all(transport, load, shared.words)))
    try:
        statuses = _wait_for_both(bench, sender, receiver, LIMIT_S + load.planned_s)
    except WorkerKilledError as error:
        raise RunError(f"{transport.title} failed", why=shared.failure or str(error)) from error
    if any(statuses):
        raise RunError(f"{transport.title} failed", why=shared.failure or "a process of it ended early")
    words = shared.words
    return {
        "rate": words[Word.UNPACED] * 1e9 / words[Word.UNPACED_NS],
        "sent": words[Word.SENT],
        "received": words[Word.RECEIVED],
        "wrong": words[Word.WRONG],
        "p50_ns": words[Word.P50_NS],
        "p99_ns": words[Word.P99_NS],
        "max_ns": words[Word.MAX_NS],
    }


def _wait_for_both(bench: Bench, sender: int, receiver: int, limit_s: float) -> tuple[int, ...]:
    """The exit status of the first that ends, and of the other; of one that failed alone, as the other would wait."""
    pidfds = {os.pidfd_open(pid): pid for pid in (sender, receiver)}
    ended = select.select(list(pidfds), [], [], limit_s)[0]
    first = pidfds[ended[0]] if ended else sender
    for pidfd in pidfds:
        os.close(pidfd)
    other = receiver if first == sender else sender
    status = bench.wait(first, limit_s)
    if status:
        bench.end(other)
        return (status,)
    return status, bench.wait(other, limit_s)


# --- the two processes -----------------------------------------------------------------------------------------------


def _send_all(transport: Transport, load: Load, words: memoryview) -> None:
    """The sender's life."""
    send = transport.sender()
    pack = _packer(load.size_bytes)
    _wait_for(words, Word.OPEN, 1)
    for number in range(WARM_UP):
        send(pack(number, time.monotonic_ns()))
    send(pack(WARM_UP, NO_TIME))
    _wait_for(words, Word.PART, 1)
    count = _send_unpaced(send, pack, load)
    send(pack(count, NO_TIME))
    _wait_for(words, Word.PART, 2)
    _send_paced(send, pack, load)
    send(pack(load.paced, NO_TIME))
    _wait_for(words, Word.PART, 3)  # some transports lose with their process what they have not handed over


def _packer(size_bytes: int) -> Callable[[int, int], bytes]:
    return struct.Struct(f"=QQ{size_bytes - STAMP_BYTES}x").pack


def _send_unpaced(send: Send, pack: Callable[[int, int], bytes], load: Load) -> int:
    """As fast as it goes, and one at least; returns how many."""
    clock, number, most = time.monotonic_ns, 0, max(1, MOST_UNPACED_BYTES // load.size_bytes)
    until_ns = clock() + int(load.unpaced_s * 1e9)
    while number < most and ((now := clock()) < until_ns or not number):
        send(pack(number, now))
        number += 1
    return number


def _send_paced(send: Send, pack: Callable[[int, int], bytes], load: Load) -> None:
    """Each at its due time, or as soon after it as can be; stamped with the due time."""
    clock, spin_ns = time.monotonic_ns, SPIN_NS if load.spin else 0
    t0 = clock() + SPIN_NS
    for number in range(load.paced):
        due = t0 + int(number * load.period_ns)
        while (now := clock()) < due:
            if due - now > spin_ns:
                time.sleep((due - now - spin_ns) / 1e9)
        send(pack(number, due))


def _receive_all(transport: Transport, load: Load, words: memoryview) -> None:
    """The receiver's life."""
    receive = transport.receiver()
    words[Word.OPEN] = 1
    _receive_unpaced(receive)
    words[Word.PART] = 1
    sent, received, wrong, took_ns = _receive_unpaced(receive)
    words[Word.UNPACED], words[Word.UNPACED_NS] = received, max(1, took_ns)
    words[Word.PART] = 2
    latencies = [0] * load.paced
    paced_sent, paced_received, paced_wrong = _receive_paced(receive, latencies)
    words[Word.SENT], words[Word.RECEIVED] = sent + paced_sent, received + paced_received
    words[Word.WRONG] = wrong + paced_wrong
    histogram = Histogram()
    for latency in latencies[:paced_received]:
        histogram.record(latency)
    words[Word.P50_NS], words[Word.P99_NS] = histogram.percentile(50) or 0, histogram.percentile(99) or 0
    words[Word.MAX_NS] = histogram.max or 0
    words[Word.PART] = 3


def _receive_unpaced(receive: Receive) -> tuple[int, int, int, int]:
    """Until the message without a time; returns how many were sent, came and were not the next; and the time in ns.

    The time goes from the first receive to that of the last message, which tells the end. So there are as many steps
    as messages before it.
    """
    unpack, expected, received, wrong = STAMP.unpack_from, 0, 0, 0
    number, stamp = unpack(receive())
    began_ns = time.monotonic_ns()
    while stamp:
        if number != expected:
            wrong += 1
        expected = number + 1
        received += 1
        number, stamp = unpack(receive())
    return number, received, wrong, time.monotonic_ns() - began_ns


def _receive_paced(receive: Receive, latencies: list[int]) -> tuple[int, int, int]:
    """As above, with each message's latency in ns for a time."""
    clock, unpack, expected, received, wrong = time.monotonic_ns, STAMP.unpack_from, 0, 0, 0
    while True:
        number, due = unpack(receive())
        now = clock()
        if not due:
            return number, received, wrong
        if number != expected:
            wrong += 1
        expected = number + 1
        if received < len(latencies):
            latencies[received] = now - due
        received += 1


def _wait_for(words: memoryview, word: Word, value: int) -> None:
    """Until the other process is so far; raises RunError when that takes too long."""
    deadline_s = time.monotonic() + LIMIT_S
    while words[word] < value:
        if time.monotonic() > deadline_s:
            raise RunError(f"the receiver was not ready within {LIMIT_S:g} s")
        time.sleep(WAIT_S)


# --- how much it holds -----------------------------------------------------------------------------------------------


def held_by(bench: Bench, transport: Transport, size_bytes: int) -> int | None:
    """How many messages fit while nobody receives; None when that is more than was tried. Tried, not looked up.

    0 where one message is more than it holds, so that its sender waits for the receiver in the middle of it. Raises
    RunError when it refuses such a message.
    """
    shared, most = Shared(), max(16, min(MOST_HELD, MOST_HELD_BYTES // size_bytes))

    def receive() -> None:
        _receive_nothing(transport, shared.words)

    def send() -> None:
        _send_to_nobody(transport, size_bytes, shared.words, most)

    pids = [
        bench.start(lambda: shared.guarded(RECEIVER_SAID, receive)),
        bench.start(lambda: shared.guarded(SENDER_SAID, send)),
    ]
    try:
        _wait_until_still(shared, most, lambda: all(map(_sleeps, pids)))
    finally:
        for pid in pids:
            bench.end(pid)
    if shared.failure:
        raise RunError(f"it takes no message of {size_bytes} bytes", why=shared.failure)
    held = shared.words[Word.HELD]
    return None if held >= most else held


def _sleeps(pid: int) -> bool:
    """Whether every thread of a process waits for something other than a CPU (proc_pid_stat(5), its state)."""
    try:
        stats = [path.read_text(encoding="utf-8") for path in Path(f"/proc/{pid}/task").glob("*/stat")]
    except OSError:  # a thread that has just ended
        return False
    return all(stat.rpartition(")")[2].split()[0] == "S" for stat in stats)


def _wait_until_still(shared: Shared, most: int, sleeps: Callable[[], bool]) -> None:
    """Until the sender has stopped getting on: asleep, failed or done. On a busy machine it may only have no CPU."""
    deadline_s, before, still = time.monotonic() + LIMIT_S, -1, 0
    while still < STILL_LOOKS and time.monotonic() < deadline_s:
        held = shared.words[Word.HELD]
        if held >= most or shared.failure:
            return
        still = still + 1 if held == before and shared.words[Word.BEGUN] and sleeps() else 0
        before = held
        time.sleep(STILL_S)


def _receive_nothing(transport: Transport, words: memoryview) -> None:
    receive = transport.receiver()
    words[Word.OPEN] = 1
    while receive is not None:  # it stays as it is until it is ended
        time.sleep(LIMIT_S)


def _send_to_nobody(transport: Transport, size_bytes: int, words: memoryview, most: int) -> None:
    send, payload = transport.sender(), bytes(size_bytes)
    _wait_for(words, Word.OPEN, 1)
    words[Word.BEGUN] = 1
    for number in range(1, most + 1):
        send(payload)
        words[Word.HELD] = number
    time.sleep(LIMIT_S)
