"""The two loops with nothing on, which `harness ceiling` holds the engines against.

`bare` is send and receive in C, `plain` the same through sysv_ipc. They count in batches and read the clock once a
batch; there is no header, no check and no latency, so nothing but the ceiling experiment uses them.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from harness.engines.layout import ConsumerWord, Control
from harness.engines.protocol import ConsumerTask, ProducerTask, Reason
from harness.sysv.binding import sysv_ipc

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.engines.layout import Board
    from harness.sysv import Queue

BATCH = 1000
"""Messages between two looks at the clock: at a million a second, one look a millisecond."""


class BatchSender:
    """Calls `send_batch(count)`, which returns how many it sent before the queue went away."""

    errno = 0

    def __init__(self, task: ProducerTask, board: Board, send_batch: Callable[[int], int]) -> None:
        self._send_batch = send_batch
        self._part = board.producers[task.producer]
        self.k = task.first_k

    def run(self, until_ns: int, limit_k: int) -> Reason:
        """See `protocol.Sender`; always whole batches, so that the receiver can count in batches too."""
        while self.k < limit_k:
            if time.monotonic_ns() >= until_ns:
                return Reason.TIME
            sent = self._send_batch(BATCH)
            self._part.next_number[0] += sent
            self.k += sent
            if sent < BATCH:
                return Reason.QUEUE_REMOVED
        return Reason.COUNT


class BatchReceiver:
    """Calls `receive_batch(count)`, which returns how many came before the queue went away."""

    errno = 0

    def __init__(self, task: ConsumerTask, board: Board, receive_batch: Callable[[int], int]) -> None:
        self._receive_batch = receive_batch
        self._board = board
        self._part = board.consumers[task.consumer]

    def run(self, until_ns: int) -> Reason:
        """See `protocol.Receiver`."""
        part = self._part
        while True:
            count = self._receive_batch(BATCH)
            part.expected[0] += count
            if count:
                part.words[ConsumerWord.LAST_RECEIVE_NS] = time.monotonic_ns()
            if count < BATCH:
                return Reason.INTERRUPTED if self._board.control[Control.STOP] else Reason.QUEUE_REMOVED
            if time.monotonic_ns() >= until_ns:
                return Reason.TIME


class BareEngine:
    """Send and receive in C, and nothing else."""

    name = "bare"

    def sender(self, task: ProducerTask, queue: Queue, board: Board) -> BatchSender:
        """A producer's loop on its part of the board."""
        from harness.engines._native import bare_send  # noqa: PLC0415  only where it was built

        return BatchSender(task, board, lambda count: bare_send(queue.id, task.size_table[0], count))

    def receiver(self, task: ConsumerTask, queue: Queue, board: Board) -> BatchReceiver:
        """A consumer's loop on its part of the board."""
        from harness.engines._native import bare_receive  # noqa: PLC0415  only where it was built

        return BatchReceiver(task, board, lambda count: bare_receive(queue.id, task.max_bytes, count))


class PlainEngine:
    """Send and receive through sysv_ipc, and nothing else."""

    name = "plain"

    def sender(self, task: ProducerTask, queue: Queue, board: Board) -> BatchSender:
        """A producer's loop on its part of the board."""
        send = queue.raw.send
        text = bytes(task.size_table[0])

        def send_batch(count: int) -> int:
            done = 0
            try:
                for done in range(count):  # noqa: B007  tells how far it came
                    send(text, True, 1)
            except (sysv_ipc.Error, OSError):
                return done
            return count

        return BatchSender(task, board, send_batch)

    def receiver(self, task: ConsumerTask, queue: Queue, board: Board) -> BatchReceiver:
        """A consumer's loop on its part of the board."""
        receive = queue.raw_for(task.max_bytes).receive

        def receive_batch(count: int) -> int:
            done = 0
            try:
                for done in range(count):  # noqa: B007  tells how far it came
                    receive(True, 0)
            except (sysv_ipc.Error, OSError):
                return done
            return count

        return BatchReceiver(task, board, receive_batch)
