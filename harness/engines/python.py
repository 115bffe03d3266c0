"""The python engine: what a Python program gets from sysv_ipc, with everything on.

The two loops are written for speed, since their speed is what is measured: names are locals, sysv_ipc's calls
take their arguments by position (a keyword costs 320 ns), and one clock read serves as the end of one message and
the start of the next. Still every message is stamped, checked and recorded.
"""

from __future__ import annotations

import struct
import time
from errno import E2BIG, EINVAL
from itertools import chain, cycle, islice
from typing import TYPE_CHECKING

from harness.engines.checks import sequence_check
from harness.engines.layout import HEADER, HEADER_BYTES, ConsumerWord, Control, ProducerWord
from harness.engines.protocol import TABLE_SIZE, ConsumerTask, Loop, ProducerTask, Reason
from harness.measure.histogram import BUCKETS, bucket_of
from harness.measure.ledger import RING_BITS, RING_MASK
from harness.sysv.binding import sysv_ipc

if TYPE_CHECKING:
    from harness.engines.layout import Board
    from harness.sysv import Queue

SPIN_NS = 60_000
"""Below this a sleep wakes too late, so the rest of a wait is spent in a loop."""

MASK = TABLE_SIZE - 1
# A histogram's bucket by looking it up, which costs a third of working it out. A bucket depends on a value's eight
# highest bits alone, so for values of 17 to 25 bits nine low bits can go, and for those of 26 to 34 bits (17 s) 18.
NEAR, FAR, BEYOND = 1 << 16, 1 << 25, 1 << 34
NEAR_BUCKETS, FAR_BUCKETS, BEYOND_BUCKETS = (
    [bucket_of(high << low_bits) for high in range(NEAR)] for low_bits in (0, 9, 18)
)


class PythonSender:
    """A producer's loop on sysv_ipc."""

    def __init__(self, task: ProducerTask, queue: Queue, board: Board) -> None:
        self._task = task
        self._send = queue.raw.send
        self._board = board
        part = board.producers[task.producer]
        self._words = part.words
        self._next_number = part.next_number
        self._pacing = part.pacing
        self._returned = 0
        self.errno = 0
        self.k = task.first_k
        first_stream = board.shape.stream(task.producer, 0)
        # One entry a message: type, its index, the header's first word, and what pads the text to its size.
        self._table = [
            (task.types[kind], kind, task.run_id << 32 | (first_stream + kind), bytes(size - HEADER_BYTES))
            for kind, size in zip(task.type_table, task.size_table, strict=True)
        ]

    def run(self, until_ns: int, limit_k: int) -> Reason:
        """See `protocol.Sender`."""
        task, table, near = self._task, self._table, NEAR_BUCKETS
        send, pack, clock = self._send, HEADER.pack, time.monotonic_ns
        counted, pacing = self._next_number, self._pacing
        next_number = list(
            counted
        )  # read from a list, written to both: a look into shared memory costs four times as much
        t0, period_ns = self._board.control[Control.T0_NS], task.period_ns
        paced, closed = task.loop is Loop.OPEN, task.loop is Loop.CLOSED
        step, offset = task.producers, task.producer
        k, returned = self.k, self._returned
        due = now = clock()
        entries = chain(islice(table, (k + offset) & MASK, None), cycle(table))
        try:
            for k, (message_type, kind, tag, padding) in zip(range(k, limit_k), entries):  # noqa: B020, B905  endless
                if now >= until_ns:
                    return Reason.TIME
                if paced:
                    due = t0 + int((k * step + offset) * period_ns)
                    if due > now:
                        now = self._wait(min(until_ns, due))
                        if now < due:
                            return Reason.TIME
                elif closed:
                    if not self._wait_for_room(until_ns):
                        return Reason.TIME
                    due = now = clock()
                else:
                    due = now

                number = next_number[kind]
                text = pack(tag, number, due, now)
                if padding:
                    text += padding
                try:
                    send(text, False, message_type)
                except sysv_ipc.BusyError:
                    if task.refuse:
                        self._words[ProducerWord.REFUSED] += 1
                        now = returned = clock()
                        continue
                    self._send_asleep(text, message_type)
                next_number[kind] = counted[kind] = number + 1
                if paced and k >= 0:
                    error = now - (max(returned, due))
                    pacing[near[error] if 0 <= error < NEAR else bucket_of(error)] += 1
                now = returned = clock()
            k = limit_k
        except (sysv_ipc.Error, OSError) as error:
            return self._reason(error)
        finally:
            self.k, self._returned = k, returned
        return Reason.COUNT

    def _wait(self, due_ns: int) -> int:
        """Wait for a due time; returns the clock's reading at or after it."""
        clock = time.monotonic_ns
        spin_ns = SPIN_NS if self._task.spin else 0
        while (now := clock()) < due_ns:
            if due_ns - now > spin_ns:
                time.sleep((due_ns - now - spin_ns) / 1e9)
        return now

    def _wait_for_room(self, until_ns: int) -> bool:
        """Closed loop: wait until fewer than `outstanding` messages are unreceived; False when time is up first."""
        while self._board.unreceived(self._task.producer) >= self._task.outstanding:
            if time.monotonic_ns() >= until_ns:
                return False
            if not self._task.spin:
                time.sleep(0)  # gives the CPU away
        return True

    def _send_asleep(self, text: bytes, message_type: int) -> None:
        """The queue is full: sleep in msgsnd until there is room. EINTR is retried unless the run is stopping."""
        self._words[ProducerWord.FULL] += 1
        since = time.monotonic_ns()
        try:
            while True:
                try:
                    self._send(text, True, message_type)
                except sysv_ipc.Error as error:
                    if is_interruption(error) and not self._board.control[Control.STOP]:
                        continue
                    raise
                return
        finally:
            self._words[ProducerWord.BLOCKED_NS] += time.monotonic_ns() - since

    def _reason(self, error: Exception) -> Reason:
        # sysv_ipc's send reports EIDRM as ExistentialError, but EINVAL (the queue went before the call) as OSError.
        if isinstance(error, sysv_ipc.ExistentialError) or getattr(error, "errno", 0) == EINVAL:
            return Reason.QUEUE_REMOVED
        if is_interruption(error):
            return Reason.INTERRUPTED
        self.errno = getattr(error, "errno", 0) or 0
        return Reason.FAILED


class PythonReceiver:
    """A consumer's loop on sysv_ipc."""

    def __init__(self, task: ConsumerTask, queue: Queue, board: Board) -> None:
        self._task = task
        self._receive = queue.raw_for(max(task.max_bytes, HEADER_BYTES)).receive
        self._board = board
        self._part = board.consumers[task.consumer]
        self._check = sequence_check(board, task.consumer)
        self._only_headers = task.max_bytes <= HEADER_BYTES
        self.errno = 0
        types, streams = len(task.types), board.shape.streams
        # What is counted is stored in shared memory at once, but read from lists: a look into shared memory costs
        # four times as much. Where consumers share their streams no number is the expected one, and each message
        # goes by way of the rings.
        self._expected = [-1] * streams if board.shape.ringed else [0] * streams
        self._service = [0] * BUCKETS
        # What a header's first word says: the stream, the type it must have come with, and where its latency goes.
        latencies = [(self._part.latency[kind], [0] * BUCKETS) for kind in range(types)]
        self._streams = {
            task.run_id << 32 | stream: (stream, task.types[stream % types], *latencies[stream % types])
            for stream in range(streams)
        }

    def run(self, until_ns: int) -> Reason:
        """See `protocol.Receiver`. A call that a signal interrupted is made again unless the run is stopping."""
        while True:
            reason = self._run(until_ns)
            if reason is not Reason.INTERRUPTED or self._board.control[Control.STOP]:
                return reason

    def _run(self, until_ns: int) -> Reason:
        part, streams = self._part, self._streams
        near, far, beyond = NEAR_BUCKETS, FAR_BUCKETS, BEYOND_BUCKETS
        receive, clock, paced, msgtyp = self._receive, time.monotonic_ns, self._task.paced, self._task.msgtyp
        unpack = HEADER.unpack if self._only_headers else HEADER.unpack_from
        t0 = self._board.control[Control.T0_NS]
        counted, expected = part.expected, self._expected
        service, service_seen = part.service, self._service
        last = part.words[ConsumerWord.LAST_RECEIVE_NS]
        try:
            while True:
                text, message_type = receive(True, msgtyp)
                now = clock()
                try:
                    tag, number, intended, started = unpack(text)
                    stream, its_type, latency, latency_seen = streams[tag]
                except (KeyError, struct.error):
                    its_type = 0
                if message_type != its_type:
                    part.words[ConsumerWord.FOREIGN] += 1
                    if now >= until_ns:
                        return Reason.TIME
                    continue

                if number == expected[stream]:
                    expected[stream] = counted[stream] = number + 1
                else:
                    self._see(stream, number)
                if intended >= t0:
                    if paced:
                        value = now - intended
                        if value < NEAR:
                            bucket = near[value]
                        elif value < FAR:
                            bucket = far[value >> 9]
                        else:
                            bucket = beyond[value >> 18] if value < BEYOND else bucket_of(value)
                        latency[bucket] = latency_seen[bucket] = latency_seen[bucket] + 1
                    value = now - started
                    if value < NEAR:
                        bucket = near[value]
                    elif value < FAR:
                        bucket = far[value >> 9]
                    else:
                        bucket = beyond[value >> 18] if value < BEYOND else bucket_of(value)
                    service[bucket] = service_seen[bucket] = service_seen[bucket] + 1
                    last = now
                if now >= until_ns:
                    return Reason.TIME
        except sysv_ipc.Error as error:
            if is_interruption(error):
                return Reason.INTERRUPTED
            return Reason.QUEUE_REMOVED if isinstance(error, sysv_ipc.ExistentialError) else Reason.FAILED
        except OSError as error:
            self.errno = error.errno or 0
            return Reason.POISONED if error.errno == E2BIG else Reason.FAILED
        finally:
            part.words[ConsumerWord.LAST_RECEIVE_NS] = last

    def _see(self, stream: int, number: int) -> None:
        """A number that is not the next one, or that of a stream which several consumers share."""
        part = self._part
        if not self._board.shape.ringed:
            self._check.see(stream, number)
            self._expected[stream] = part.expected[stream]
            return
        ring = self._board.rings[stream]
        part.received[stream] += 1
        generation = ((number >> RING_BITS) + 1) & 255
        if ring[number & RING_MASK] == (generation - 1) & 255 and number >= part.expected[stream]:
            ring[number & RING_MASK] = generation
            part.expected[stream] = number + 1
        else:
            self._check.see(stream, number)


def is_interruption(error: Exception) -> bool:
    """Whether this is sysv_ipc's way of reporting EINTR: its bare base class, and nothing retried."""
    return type(error) is sysv_ipc.Error


class PythonEngine:
    """What a Python program gets: sysv_ipc with everything on."""

    name = "python"

    def sender(self, task: ProducerTask, queue: Queue, board: Board) -> PythonSender:
        """A producer's loop on its part of the board."""
        return PythonSender(task, queue, board)

    def receiver(self, task: ConsumerTask, queue: Queue, board: Board) -> PythonReceiver:
        """A consumer's loop on its part of the board."""
        return PythonReceiver(task, queue, board)
