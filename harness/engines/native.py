"""The native engine: the loops of `_native.pyx`, and the sequence check for what they find odd.

Importing this module fails where the Cython module was not built; `choice` is the place that asks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.engines import _native
from harness.engines.checks import sequence_check
from harness.engines.protocol import ConsumerTask, ProducerTask, Reason

if TYPE_CHECKING:
    from harness.engines.layout import Board
    from harness.sysv import Queue


class NativeSender:
    """The C loop of a producer."""

    def __init__(self, task: ProducerTask, queue: Queue, board: Board) -> None:
        self._loop = _native.Sender(task, queue.id, board)

    @property
    def errno(self) -> int:
        """The errno behind Reason.FAILED."""
        return self._loop.error_number

    @property
    def k(self) -> int:
        """Index of the next message."""
        return self._loop.k

    def run(self, until_ns: int, limit_k: int) -> Reason:
        """See `protocol.Sender`."""
        return Reason(self._loop.run(until_ns, limit_k))


class NativeReceiver:
    """The C loop of a consumer."""

    def __init__(self, task: ConsumerTask, queue: Queue, board: Board) -> None:
        self._loop = _native.Receiver(task, queue.id, board)
        self._check = sequence_check(board, task.consumer)

    @property
    def errno(self) -> int:
        """The errno behind Reason.FAILED."""
        return self._loop.error_number

    def run(self, until_ns: int) -> Reason:
        """See `protocol.Receiver`; odd numbers are settled here and the loop goes on."""
        while (reason := self._loop.run(until_ns)) == Reason.ANOMALY:
            self._check.see(self._loop.stream, self._loop.number)
            if self._loop.time_is_up:
                return Reason.TIME
        return Reason(reason)


class NativeEngine:
    """What the kernel gives: a C loop with everything on."""

    name = "native"

    def sender(self, task: ProducerTask, queue: Queue, board: Board) -> NativeSender:
        """A producer's loop on its part of the board."""
        return NativeSender(task, queue, board)

    def receiver(self, task: ConsumerTask, queue: Queue, board: Board) -> NativeReceiver:
        """A consumer's loop on its part of the board."""
        return NativeReceiver(task, queue, board)
