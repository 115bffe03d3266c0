"""The message and the shared memory of a run: one definition for both engines, the crew and the display.

A message is a 32-byte header, then padding up to its size:

    word 0   tag           run id << 32 | stream       whose it is: see below
    word 1   number        dense in its stream, from 0; a refused send uses none
    word 2   intended_ns   when it was due (closed loop: when its send was started; unpaced: its send or its burst)
    word 3   started_ns    start of the send call

All four are unsigned 64-bit words in the machine's byte order; all times are CLOCK_MONOTONIC. A stream is
(producer, message type), numbered `producer * types + type`: a producer has one queue, so the queue is implied.

The board is one block of shared memory (a memfd), an array of 64-bit words and, behind them, bytes:

    control    when to start, when to stop
    queues     what the kernel says of each queue, sampled by the leader
    producers  per producer: its words, the next number of each type, its pacing-error histogram
    consumers  per consumer: its words; per stream the expected number, how many are missed and, where several
               consumers read one stream, how many came; a latency histogram for each type, one of the service time
    rings      per stream 2**20 one-byte generations, where several consumers read one stream

Each word has one writer, which stores it whole: `struct.pack_into` would zero it first, and a reader would see
that zero in a fifth of its reads (measured). A killed process's last counts stay readable, and the size does not
depend on how long a run takes.
"""

from __future__ import annotations

import mmap
import os
import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import Self

from harness.measure.histogram import BUCKETS, Histogram
from harness.measure.ledger import RING_SIZE, sweep

HEADER = struct.Struct("=QQQQ")
HEADER_BYTES = HEADER.size
WORD = 8
LINE = 8
"""Words in a 64-byte cache line: what two processes write never shares one."""
WRAP = 1 << 64


class Control(IntEnum):
    """Words that the coordinator writes and everybody reads."""

    GO = 0
    """1: the times below are set, start."""
    STOP = 1
    """1: producers stop sending now. 2: whoever sees an error or an interruption of a queue call ends."""
    WARM_NS = 2
    T0_NS = 3
    END_NS = 4
    GIVE_UP_NS = 5
    """When a producer that is behind its schedule stops catching up."""


END_NOW = 2
"""The value of `Control.STOP` at which consumers end too."""


class QueueWord(IntEnum):
    """Words per queue, written by the leader from msgctl(IPC_STAT)."""

    MESSAGES = 0


class ProducerWord(IntEnum):
    """Words per producer."""

    STATE = 0
    REFUSED = 1
    FULL = 2
    """How often the queue was found full."""
    BLOCKED_NS = 3
    """Time asleep in msgsnd because of that."""
    FIRST_SEND_NS = 4
    """Start of the first send call at or after t0."""
    SENT_BEFORE = 5
    """Messages sent before t0."""
    SENT_BY_END = 6
    """Messages sent before the window's end, warm-up included."""
    REFUSED_BEFORE = 7
    MARKED = 8
    """How many of the two marks above are set: 1 after t0, 2 after the window's end."""


class ConsumerWord(IntEnum):
    """Words per consumer."""

    STATE = 0  # the same place as a producer's
    RECEIVED_BEFORE = 1
    """Messages received before t0."""
    RECEIVED_BY_END = 2
    """Messages received before the window's end, warm-up included."""
    LAST_RECEIVE_NS = 3
    DUPLICATED = 4
    OUT_OF_ORDER = 5
    UNDECIDED = 6
    FOREIGN = 7
    HOLDS = 9
    """Messages in hand that are not counted yet, beyond the usual one: a burst of the python engine."""
    MARKED = 8
    """How many of the first two marks are set: 1 after t0, 2 after the window's end."""


class State(IntEnum):
    """How far a worker is, and how it ended."""

    STARTING = 0
    READY = 1
    RUNNING = 2
    DONE = 3
    QUEUE_REMOVED = 4
    POISONED = 5
    """A message larger than its buffer lies at the head of the queue."""
    FAILED = 6


@dataclass(frozen=True, slots=True)
class Shape:
    """How many of each a board holds."""

    producers: int
    consumers: int
    queues: int
    types: int
    ringed: bool

    @property
    def streams(self) -> int:
        """Streams of the run."""
        return self.producers * self.types

    def stream(self, producer: int, type_index: int) -> int:
        """The stream in which a producer sends its messages of a type."""
        return producer * self.types + type_index

    @property
    def queues_at(self) -> int:
        """First word of the queues."""
        return 2 * LINE

    @property
    def producers_at(self) -> int:
        """First word of the producers."""
        return self.queues_at + self.queues * LINE

    @property
    def producer_words(self) -> int:
        """Words per producer."""
        return 2 * LINE + _lines(self.types) + BUCKETS

    @property
    def consumers_at(self) -> int:
        """First word of the consumers."""
        return self.producers_at + self.producers * self.producer_words

    @property
    def consumer_words(self) -> int:
        """Words per consumer."""
        return 2 * LINE + 3 * _lines(self.streams) + (self.types + 1) * BUCKETS

    @property
    def rings_at(self) -> int:
        """First byte of the rings."""
        return _pages((self.consumers_at + self.consumers * self.consumer_words) * WORD)

    @property
    def size(self) -> int:
        """Bytes of the board."""
        return self.rings_at + (self.streams * RING_SIZE if self.ringed else 0)


def _lines(words: int) -> int:
    return -(-words // LINE) * LINE


def _pages(count: int) -> int:
    return -(-count // mmap.PAGESIZE) * mmap.PAGESIZE


class Board:
    """A run's shared memory, seen through its shape. Whoever maps it closes it (`with`)."""

    def __init__(self, descriptor: int, shape: Shape) -> None:
        self.shape = shape
        self._map = mmap.mmap(descriptor, shape.size)
        self._bytes = memoryview(self._map)
        self._words = self._bytes[: shape.rings_at].cast("Q")
        self._views: list[memoryview] = []
        self.control = self.part(0, len(Control))
        self.queues = [self.part(shape.queues_at + i * LINE, len(QueueWord)) for i in range(shape.queues)]
        self.producers = [
            ProducerPart(self, shape.producers_at + i * shape.producer_words) for i in range(shape.producers)
        ]
        self.consumers = [
            ConsumerPart(self, shape.consumers_at + i * shape.consumer_words) for i in range(shape.consumers)
        ]
        self.rings = [self._ring(stream) for stream in range(shape.streams)] if shape.ringed else []

    @property
    def memory(self) -> memoryview:
        """The whole block, for the native engine, which finds its way by the shape's offsets."""
        return self._bytes

    def part(self, start: int, length: int) -> memoryview:
        """`length` words from word `start` on; released when the board is closed."""
        view = self._words[start : start + length]
        self._views.append(view)
        return view

    def _ring(self, stream: int) -> memoryview:
        start = self.shape.rings_at + stream * RING_SIZE
        view = self._bytes[start : start + RING_SIZE]
        self._views.append(view)
        return view

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Unmap the memory; every view of it becomes invalid."""
        for view in self._views:
            view.release()
        self._views.clear()
        self._words.release()
        self._bytes.release()
        self._map.close()

    @property
    def sent(self) -> int:
        """Messages sent so far, warm-up included."""
        return sum(producer.sent for producer in self.producers)

    @property
    def refused(self) -> int:
        """Sends refused so far because the queue was full."""
        return sum(producer.words[ProducerWord.REFUSED] for producer in self.producers)

    @property
    def received(self) -> int:
        """Messages received so far, warm-up included."""
        return sum(consumer.total for consumer in self.consumers)

    def received_of(self, stream: int) -> int:
        """Messages of one stream received so far; a duplicate does not count again where one consumer reads it."""
        return sum(consumer.received_of(stream) for consumer in self.consumers)

    def unreceived(self, producer: int) -> int:
        """Messages of one producer that no consumer has received yet."""
        first = self.shape.stream(producer, 0)
        received = sum(self.received_of(stream) for stream in range(first, first + self.shape.types))
        return self.producers[producer].sent - received

    def latency(self, type_index: int | None = None) -> Histogram:
        """Latency in ns over all consumers, of one type or of all."""
        types = range(self.shape.types) if type_index is None else (type_index,)
        total = Histogram()
        for consumer in self.consumers:
            for index in types:
                total.merge(Histogram(consumer.latency[index]))
        return total

    def service(self) -> Histogram:
        """Service time in ns over all consumers."""
        total = Histogram()
        for consumer in self.consumers:
            total.merge(Histogram(consumer.service))
        return total

    def pacing(self) -> Histogram:
        """Pacing error in ns over all producers."""
        total = Histogram()
        for producer in self.producers:
            total.merge(Histogram(producer.pacing))
        return total

    def missing(self, stream: int) -> int:
        """Numbers of a stream that its producer counted as sent and that no consumer has seen (so far)."""
        producer, type_index = divmod(stream, self.shape.types)
        sent = self.producers[producer].next_number[type_index]
        passed_over = sum(consumer.missed[stream] for consumer in self.consumers) % WRAP
        if passed_over > WRAP // 2:
            passed_over -= WRAP
        if self.shape.ringed:
            return passed_over + sweep(self.rings[stream], sent)
        behind = max((consumer.expected[stream] for consumer in self.consumers), default=0)
        return passed_over + max(0, sent - behind)

    def seen_unsent(self, stream: int) -> int:
        """Numbers that arrived although their producer had not counted them: it was killed in between."""
        producer, type_index = divmod(stream, self.shape.types)
        sent = self.producers[producer].next_number[type_index]
        return max(0, max((consumer.expected[stream] for consumer in self.consumers), default=0) - sent)


class ProducerPart:
    """One producer's part of the board."""

    def __init__(self, board: Board, start: int) -> None:
        types = board.shape.types
        self.words = board.part(start, len(ProducerWord))
        self.next_number = board.part(start + 2 * LINE, types)
        self.pacing = board.part(start + 2 * LINE + _lines(types), BUCKETS)

    @property
    def sent(self) -> int:
        """Messages sent so far, warm-up included."""
        return sum(self.next_number)


class ConsumerPart:
    """One consumer's part of the board. Its three counts are attributes, as the sequence checks want them."""

    def __init__(self, board: Board, start: int) -> None:
        streams = board.shape.streams
        self._ringed = board.shape.ringed
        self.words = board.part(start, len(ConsumerWord))
        at = start + 2 * LINE
        self.expected = board.part(at, streams)
        self.received = board.part(at + _lines(streams), streams)
        self.missed = board.part(at + 2 * _lines(streams), streams)
        at += 3 * _lines(streams)
        self.latency = [board.part(at + i * BUCKETS, BUCKETS) for i in range(board.shape.types)]
        self.service = board.part(at + board.shape.types * BUCKETS, BUCKETS)

    def received_of(self, stream: int) -> int:
        """Messages of one stream that this consumer received."""
        return self.received[stream] if self._ringed else self.expected[stream] - self.missed[stream]

    @property
    def total(self) -> int:
        """Messages received so far, warm-up and duplicates included."""
        if self._ringed:
            return sum(self.received)
        return sum(self.expected) - sum(self.missed) + self.duplicated

    @property
    def duplicated(self) -> int:
        """Numbers that came a second time."""
        return self.words[ConsumerWord.DUPLICATED]

    @duplicated.setter
    def duplicated(self, value: int) -> None:
        self.words[ConsumerWord.DUPLICATED] = value

    @property
    def out_of_order(self) -> int:
        """Numbers that came after a higher one of their stream."""
        return self.words[ConsumerWord.OUT_OF_ORDER]

    @out_of_order.setter
    def out_of_order(self, value: int) -> None:
        self.words[ConsumerWord.OUT_OF_ORDER] = value

    @property
    def undecided(self) -> int:
        """Numbers that came too late for the check to tell."""
        return self.words[ConsumerWord.UNDECIDED]

    @undecided.setter
    def undecided(self, value: int) -> None:
        self.words[ConsumerWord.UNDECIDED] = value


def new_memory(shape: Shape) -> int:
    """A memfd of the board's size, zeroed; returns its descriptor, which the caller closes."""
    descriptor = os.memfd_create("harness-board", os.MFD_CLOEXEC)
    os.ftruncate(descriptor, shape.size)
    return descriptor
