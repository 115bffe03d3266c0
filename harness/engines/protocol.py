"""What an engine is. Implemented by `python`, `native` and the `reference` loops; driven by `experiments.worker`.

A worker's life is cut into slices: `run(until_ns)` works at full speed until the clock passes `until_ns`, then
returns to the driver, which sets the marks (t0, the window's end), looks at the stop flag and calls again. All
that happens per message happens inside `run`; nothing that happens per message stands in the driver.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, IntEnum
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from array import array

    from harness.engines.layout import Board
    from harness.sysv import Queue

TABLE_SIZE = 4096
"""Length of the tables that say which type and size each message gets; a power of two."""


class Reason(IntEnum):
    """Why a slice ended."""

    TIME = 0
    """The clock passed `until_ns`."""
    COUNT = 1
    """The producer sent or was refused as many as it was told to."""
    INTERRUPTED = 2
    """A signal ended a queue call and the stop flag is up."""
    QUEUE_REMOVED = 3
    """EIDRM or EINVAL: the queue is gone."""
    POISONED = 4
    """E2BIG: the message at the head does not fit the buffer."""
    ANOMALY = 5
    """Native engine to its own wrapper only: a number that was not the next one."""
    FAILED = 6
    """Another errno, kept in the sender's or receiver's `errno`."""


class Loop(Enum):
    """What a producer waits for before each send."""

    OPEN = "open"
    """The message's due time."""
    CLOSED = "closed"
    """Fewer than `outstanding` of its messages unreceived."""
    UNPACED = "unpaced"
    """Nothing: the full queue holds it back."""


@dataclass(frozen=True, slots=True)
class ProducerTask:
    """What one producer does."""

    producer: int
    producers: int
    run_id: int
    types: tuple[int, ...]
    """Message types by index."""
    type_table: array[int]
    """Which type (index) each message gets: `TABLE_SIZE` 32-bit indices, used over and over."""
    size_table: array[int]
    """Bytes of text of each message, header included; likewise."""
    loop: Loop
    period_ns: float
    """Open loop: time between two messages of the whole crew, in ns."""
    first_k: int
    """Open loop: index of the first message; negative in the warm-up."""
    outstanding: int
    """Closed loop: how many messages may be unreceived."""
    refuse: bool
    """A full queue refuses (IPC_NOWAIT) instead of putting the producer to sleep."""
    spin: bool
    """There is a CPU to spare for waiting in a loop; else waiting gives the CPU away."""


@dataclass(frozen=True, slots=True)
class ConsumerTask:
    """What one consumer does."""

    consumer: int
    run_id: int
    msgtyp: int
    """The selector, as msgrcv takes it."""
    flags: int
    """MSG_EXCEPT, for anything but `msgtyp`; else 0."""
    max_bytes: int
    """Size of the receive buffer."""
    types: tuple[int, ...]
    paced: bool
    """Latency has a meaning: it counts from the intended time (open) or the send's start (closed)."""


class Sender(Protocol):
    """A producer's loop."""

    @property
    def errno(self) -> int:
        """The errno behind Reason.FAILED."""
        ...

    def run(self, until_ns: int, limit_k: int) -> Reason:
        """Send until the clock passes `until_ns` or the message index reaches `limit_k`."""
        ...

    @property
    def k(self) -> int:
        """Index of the next message."""
        ...


class Receiver(Protocol):
    """A consumer's loop."""

    @property
    def errno(self) -> int:
        """The errno behind Reason.FAILED."""
        ...

    def run(self, until_ns: int) -> Reason:
        """Receive until a message arrives at or after `until_ns`; that message is counted and recorded."""
        ...


class Engine(Protocol):
    """A way to send and to receive."""

    name: str

    def sender(self, task: ProducerTask, queue: Queue, board: Board) -> Sender:
        """A producer's loop on its part of the board."""
        ...

    def receiver(self, task: ConsumerTask, queue: Queue, board: Board) -> Receiver:
        """A consumer's loop on its part of the board."""
        ...
