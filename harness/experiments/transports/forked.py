"""What multiprocessing offers for it: Queue, SimpleQueue and Pipe, made with the context "fork".

A Queue's sending process has a thread that feeds its pipe; it starts with the first put, so after the fork.
"""

from __future__ import annotations

import multiprocessing

# The context would import them when they are used: see protocol.Extra for why that is too late in the chamber.
import multiprocessing.connection
import multiprocessing.queues
import multiprocessing.synchronize
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from harness.experiments.transports.protocol import Place, Receive, Send

CONTEXT = multiprocessing.get_context("fork")


class ForkedQueue:
    """multiprocessing.Queue: a buffer and a thread in the sending process, then a pipe; messages are pickled."""

    name: ClassVar[str] = "mp.Queue"
    title: ClassVar[str] = "multiprocessing.Queue"
    tasks: ClassVar[int] = 3

    def __init__(self, place: Place) -> None:  # noqa: ARG002  it holds any size
        self._queue = CONTEXT.Queue()

    @classmethod
    def available(cls) -> str | None:
        """See `Transport`."""
        return None

    @property
    def room(self) -> str:
        """See `Transport`."""
        return "the sending process's memory, then a pipe"

    def sender(self) -> Send:
        """See `Transport`."""
        return self._queue.put

    def receiver(self) -> Receive:
        """See `Transport`."""
        receive: Receive = self._queue.get
        return receive

    def close(self) -> None:
        """See `Transport`."""
        self._queue.close()


class ForkedSimpleQueue:
    """multiprocessing.SimpleQueue: a pipe between two locks; messages are pickled."""

    name: ClassVar[str] = "mp.SimpleQueue"
    title: ClassVar[str] = "multiprocessing.SimpleQueue"
    tasks: ClassVar[int] = 2

    def __init__(self, place: Place) -> None:  # noqa: ARG002  it holds any size
        self._queue = CONTEXT.SimpleQueue()

    @classmethod
    def available(cls) -> str | None:
        """See `Transport`."""
        return None

    @property
    def room(self) -> str:
        """See `Transport`."""
        return "a pipe"

    def sender(self) -> Send:
        """See `Transport`."""
        return self._queue.put

    def receiver(self) -> Receive:
        """See `Transport`."""
        return self._queue.get

    def close(self) -> None:
        """See `Transport`."""
        self._queue.close()


class ForkedPipe:
    """multiprocessing.Pipe, one way: a pipe with a framing of its own; send_bytes and recv_bytes pickle nothing."""

    name: ClassVar[str] = "mp.Pipe"
    title: ClassVar[str] = "multiprocessing.Pipe"
    tasks: ClassVar[int] = 2

    def __init__(self, place: Place) -> None:  # noqa: ARG002  it holds any size
        self._receiving, self._sending = CONTEXT.Pipe(duplex=False)

    @classmethod
    def available(cls) -> str | None:
        """See `Transport`."""
        return None

    @property
    def room(self) -> str:
        """See `Transport`."""
        return "a pipe"

    def sender(self) -> Send:
        """See `Transport`."""
        return self._sending.send_bytes

    def receiver(self) -> Receive:
        """See `Transport`."""
        return self._receiving.recv_bytes

    def close(self) -> None:
        """See `Transport`."""
        self._sending.close()
        self._receiving.close()
