"""The open loop waits for each receipt before it sends the next: a closed loop with pauses.

fails: test_an_open_loop_keeps_its_schedule, test_what_is_not_sent_in_time_is_counted_as_unsent
sometimes: test_for_real_the_open_loop_sees_what_the_closed_one_hides
teaches: who waits for a receipt before the next send is a closed loop again
"""

from __future__ import annotations

import argparse
import contextlib
import math
import os
import signal
import struct
import sys
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, Self

import sysv_ipc

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

STALL_AFTER_S = 0.25
FIGURES = (("p50", 50), ("p90", 90), ("p99", 99), ("max", 100))
REQUEST = struct.Struct("q56x")  # the number; 64 bytes, so that the receipts of a full queue always have room
RECEIPT = struct.Struct("qd")  # the number, and the time on the clock of time.monotonic, which all processes share


@dataclass(frozen=True)
class Measured:
    """One measurement: a latency in seconds for each message that was sent, and how many were due and never sent."""

    latencies: list[float]
    unsent: int = 0


class Line(Protocol):
    """The way to a worker and back."""

    def send(self, number: int) -> None:
        """Send the message with this number; waits while the queue is full."""

    def wait(self, number: int) -> float:
        """Wait until the worker has received that message; returns when that was, on the loop's clock, in seconds."""


def closed_loop(line: Line, duration_s: float, clock: Callable[[], float] = time.monotonic) -> Measured:
    """Send messages 0, 1, 2, ... one at a time, and start none once `duration_s` is over.

    A message's latency is from just before its send to its receipt.
    """
    latencies: list[float] = []
    end_s = clock() + duration_s
    while (start_s := clock()) < end_s:
        number = len(latencies)
        line.send(number)
        latencies.append(line.wait(number) - start_s)
    return Measured(latencies)


def open_loop(
    line: Line,
    rate: float,
    duration_s: float,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Measured:
    """Send `rate` messages a second for `duration_s`: number k is due at t0 + k / rate.

    None is sent before it is due. One that is late is sent at once, and its latency counts from when it was due. What
    is not sent when `duration_s` is over stays unsent. The receipts are asked for at the end.
    """
    t0_s = clock()
    planned = round(rate * duration_s)
    due_s: list[float] = []
    while len(due_s) < planned and (now := clock()) < t0_s + duration_s:
        number = len(due_s)
        # From t0 each time: a sum of many steps would carry every delay along.
        due = t0_s + number / rate
        if now < due:
            sleep(due - now)
        line.send(number)
        line.wait(number)
        due_s.append(due)
    latencies = [line.wait(number) - due for number, due in enumerate(due_s)]
    return Measured(latencies, unsent=planned - len(due_s))


def percentile(values: list[float], percent: int) -> float:
    """The smallest of the values that at least `percent` % (1 to 100) of them do not exceed (nearest rank)."""
    rank = math.ceil(len(values) * percent / 100)
    return sorted(values)[rank - 1]


def say(measured: Measured) -> str:
    """For example `500 sent, 0 unsent: p50 0.10 ms, p90 0.20 ms, p99 1.25 ms, max 3.00 ms`.

    With unsent messages each figure is a lower bound, and says so: `p50 at least 0.10 ms`.
    """
    bound = "at least " if measured.unsent else ""
    figures = [f"{name} {bound}{percentile(measured.latencies, percent) * 1000:.2f} ms" for name, percent in FIGURES]
    return f"{len(measured.latencies)} sent, {measured.unsent} unsent: {', '.join(figures)}"


def merge(runs: list[Measured]) -> Measured:
    """Several measurements as one, of which percentiles can be asked."""
    return Measured(
        latencies=[latency for run in runs for latency in run.latencies],
        unsent=sum(run.unsent for run in runs),
    )


class QueueLine:
    """A real worker, forked here, on two real queues; all is gone at the end of the `with` block."""

    def __enter__(self) -> Self:
        self._requests = sysv_ipc.MessageQueue(sysv_ipc.IPC_PRIVATE, sysv_ipc.IPC_CREX, max_message_size=REQUEST.size)
        self._receipts = sysv_ipc.MessageQueue(sysv_ipc.IPC_PRIVATE, sysv_ipc.IPC_CREX, max_message_size=RECEIPT.size)
        self._received_s: dict[int, float] = {}
        self.worker = os.fork()
        if self.worker == 0:
            try:
                self._work()
            finally:
                os._exit(os.EX_OK)
        return self

    def __exit__(self, *_: object) -> None:
        os.kill(self.worker, signal.SIGKILL)
        os.waitpid(self.worker, 0)
        self._requests.remove()
        self._receipts.remove()

    def send(self, number: int) -> None:
        """Send the message with this number; waits while the queue is full."""
        # Receipts are taken as we go, so that their queue never fills and never holds the worker up.
        with contextlib.suppress(sysv_ipc.BusyError):
            while True:
                self._take_receipt(block=False)
        self._requests.send(REQUEST.pack(number))

    def wait(self, number: int) -> float:
        """Wait until the worker has received that message; returns when that was, on the clock of time.monotonic."""
        while number not in self._received_s:
            self._take_receipt(block=True)
        return self._received_s[number]

    def _take_receipt(self, *, block: bool) -> None:
        data, _ = self._receipts.receive(block=block)
        number, received_s = RECEIPT.unpack(data)
        self._received_s[number] = received_s

    def _work(self) -> None:
        while True:
            data, _ = self._requests.receive()
            (number,) = REQUEST.unpack(data)
            self._receipts.send(RECEIPT.pack(number, time.monotonic()))


@contextlib.contextmanager
def stalled(pid: int, after_s: float, stall_s: float) -> Iterator[None]:
    """Meanwhile, stop the process after `after_s` seconds, for `stall_s` seconds: it knows nothing of it."""
    stop = threading.Timer(after_s, os.kill, (pid, signal.SIGSTOP))
    go_on = threading.Timer(after_s + stall_s, os.kill, (pid, signal.SIGCONT))
    for timer in (stop, go_on):
        timer.start()
    try:
        yield
    finally:
        for timer in (stop, go_on):
            timer.cancel()
            timer.join()


def main(argv: list[str] | None = None) -> int:
    """Measure in one of the two ways, and print what it says; returns the exit status."""
    parser = argparse.ArgumentParser(description="Measure how long messages wait, while the worker stands still once.")
    parser.add_argument("loop", choices=["closed", "open"])
    parser.add_argument("--rate", type=float, default=500.0, help="messages/s of the open loop")
    parser.add_argument("--duration", type=float, default=1.0, help="seconds")
    parser.add_argument("--stall", type=float, default=0.3, help="seconds for which the worker stands still")
    options = parser.parse_args(argv)
    with QueueLine() as line, stalled(line.worker, STALL_AFTER_S, options.stall):
        if options.loop == "open":
            measured = open_loop(line, options.rate, options.duration)
        else:
            measured = closed_loop(line, options.duration)
    print(say(measured))
    return 0


if __name__ == "__main__":
    sys.exit(main())
