"""The python engine: what a Python program gets from sysv_ipc, with everything on.

The two loops are written for speed, since their speed is what is measured: names are locals, sysv_ipc's calls
take their arguments by position (a keyword costs 320 ns), and one clock read serves as the end of one message and
the start of the next. Still every message is stamped, checked and recorded.
"""

from __future__ import annotations

import struct
import time
from array import array
from errno import E2BIG, EINVAL
from typing import TYPE_CHECKING

from harness.engines.checks import sequence_check
from harness.engines.layout import HEADER, HEADER_BYTES, ConsumerWord, Control, ProducerWord
from harness.engines.protocol import TABLE_SIZE, ConsumerTask, Loop, ProducerTask, Reason
from harness.measure.histogram import bucket_of
from harness.measure.ledger import RING_BITS, RING_MASK
from harness.sysv.binding import sysv_ipc

if TYPE_CHECKING:
    from harness.engines.layout import Board
    from harness.sysv import Queue

SPIN_NS = 60_000
"""Below this a sleep wakes too late, so the rest of a wait is spent in a loop."""

NEAR = 1 << 16
NEAR_BUCKETS = array("H", map(bucket_of, range(NEAR)))
"""The buckets of the values below 66 us: looking one up costs a third of working it out."""


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
        self._received = [consumer.received for consumer in board.consumers]
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
        task = self._task
        send, pack, clock = self._send, HEADER.pack, time.monotonic_ns
        next_number, pacing, table, near = self._next_number, self._pacing, self._table, NEAR_BUCKETS
        t0 = self._board.control[Control.T0_NS]
        paced, closed = task.loop is Loop.OPEN, task.loop is Loop.CLOSED
        step, offset, period_ns = task.producers, task.producer, task.period_ns
        block = not task.refuse
        k, returned = self.k, self._returned
        now = clock()
        try:
            while k < limit_k:
                if now >= until_ns:
                    return Reason.TIME
                due = now
                if paced:
                    due = t0 + int((k * step + offset) * period_ns)
                    if due > now:
                        now = self._wait(due if due < until_ns else until_ns)
                        continue
                elif closed and not self._wait_for_room(until_ns):
                    return Reason.TIME
                elif closed:
                    due = now = clock()

                message_type, kind, tag, padding = table[(k + offset) & (TABLE_SIZE - 1)]
                number = next_number[kind]
                text = pack(tag, number, due, now)
                if padding:
                    text += padding
                try:
                    send(text, False, message_type)
                except sysv_ipc.BusyError:
                    if block:
                        self._send_asleep(text, message_type)
                    else:
                        self._words[ProducerWord.REFUSED] += 1
                        k += 1
                        now = returned = clock()
                        continue
                after = clock()
                if k >= 0:
                    error = now - (due if due > returned else returned)
                    pacing[near[error] if 0 <= error < NEAR else bucket_of(error)] += 1
                next_number[kind] = number + 1
                k += 1
                now = returned = after
        except sysv_ipc.Error as error:
            return self._reason(error)
        except OSError as error:
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
        first = self._board.shape.stream(self._task.producer, 0)
        streams = slice(first, first + self._board.shape.types)
        while (
            sum(self._next_number) - sum(sum(received[streams]) for received in self._received)
            >= self._task.outstanding
        ):
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
        self.errno = 0
        # Every header this run may send: its first word and the message type say which stream it belongs to.
        self._streams = {
            (task.run_id << 32 | stream, task.types[stream % len(task.types)]): stream
            for stream in range(board.shape.streams)
        }

    def run(self, until_ns: int) -> Reason:
        """See `protocol.Receiver`."""
        board, part, task = self._board, self._part, self._task
        receive, unpack, clock = self._receive, HEADER.unpack_from, time.monotonic_ns
        streams, types, near = self._streams, len(task.types), NEAR_BUCKETS
        expected, received = part.expected, part.received
        latencies, service, rings = part.latency, part.service, board.rings
        paced, msgtyp = task.paced, task.msgtyp
        latency_histogram = latencies[0]
        t0 = board.control[Control.T0_NS]
        last = part.words[ConsumerWord.LAST_RECEIVE_NS]
        try:
            while True:
                text, message_type = receive(True, msgtyp)
                now = clock()
                try:
                    tag, number, intended, started = unpack(text)
                    stream = streams[tag, message_type]
                except (KeyError, struct.error):
                    part.words[ConsumerWord.FOREIGN] += 1
                    if now >= until_ns:
                        return Reason.TIME
                    continue

                received[stream] += 1
                t0 = t0 or board.control[Control.T0_NS]  # receivers are up before the times are set
                if intended >= t0:
                    if paced:
                        if types > 1:
                            latency_histogram = latencies[stream % types]
                        value = now - intended
                        latency_histogram[near[value] if value < NEAR else bucket_of(value)] += 1
                    value = now - started
                    service[near[value] if value < NEAR else bucket_of(value)] += 1
                    last = now

                if rings:
                    ring, cell, generation = rings[stream], number & RING_MASK, ((number >> RING_BITS) + 1) & 255
                    if ring[cell] == (generation - 1) & 255 and number >= expected[stream]:
                        ring[cell] = generation
                        expected[stream] = number + 1
                    else:
                        self._check.see(stream, number)
                elif number == expected[stream]:
                    expected[stream] = number + 1
                else:
                    self._check.see(stream, number)
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
