"""The python engine: what a Python program gets from sysv_ipc, with everything on.

The two loops are written for speed, since their speed is what is measured: names are locals, sysv_ipc's calls
take their arguments by position (a keyword costs 320 ns), and one clock read serves as the end of one message and
the start of the next. Still every message is stamped, checked and recorded.
"""

from __future__ import annotations

import struct
import time
from array import array
from collections import Counter
from errno import E2BIG, EINVAL
from itertools import chain, count, islice, repeat
from operator import itemgetter, rshift, sub
from typing import TYPE_CHECKING, Any

from harness.engines.checks import sequence_check
from harness.engines.layout import END_NOW, HEADER, HEADER_BYTES, WORD, ConsumerWord, Control, ProducerWord
from harness.engines.protocol import TABLE_SIZE, ConsumerTask, Loop, ProducerTask, Reason
from harness.measure.histogram import BUCKETS, bucket_of
from harness.measure.ledger import RING_BITS, RING_MASK
from harness.sysv.binding import sysv_ipc
from harness.sysv.msgrcv import FlaggedReceive

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from harness.engines.layout import Board
    from harness.sysv import Queue

SPIN_NS = 60_000
"""Below this a sleep wakes too late, so the rest of a wait is spent in a loop."""

MASK = TABLE_SIZE - 1
BURST = 256
"""The most messages that are sent or taken in one go."""
BURST_NS = 2_000_000
"""More than a burst takes; nearer than this to a mark messages are taken one by one, so that the mark is exact."""
FEW = 8
"""Fewer messages than this are taken one by one: a burst has costs of its own."""
BURST_BYTES = 1 << 18
"""The most text that a consumer takes in one go: what no longer fits the cache costs more than the burst saves."""
HEADER_WORDS = HEADER_BYTES // WORD
HEADER_OF = itemgetter(slice(0, HEADER_BYTES))
WORD_FORMAT = "L" if struct.calcsize("@L") == WORD else "Q"
"""How to pack a header's word: a long takes 40 % of the time of a long long on Python 3.12 and 3.13."""
# A histogram's bucket by looking it up, which costs a third of working it out. A bucket depends on a value's eight
# highest bits alone, so for values of 17 to 25 bits nine low bits can go, and for those of 26 to 34 bits (17 s) 18.
NEAR, FAR, BEYOND = 1 << 16, 1 << 25, 1 << 34
NEAR_BUCKETS, FAR_BUCKETS, BEYOND_BUCKETS = (
    [bucket_of(high << low_bits) for high in range(NEAR)] for low_bits in (0, 9, 18)
)


def _packer(size: int) -> Callable[[int, int, int, int], bytes]:
    """Makes a message's text of `size` bytes: the header's four words, then zeros."""
    return struct.Struct(f"@4{WORD_FORMAT}{size - HEADER_BYTES}x").pack


class PythonSender:
    """A producer's loop on sysv_ipc.

    Messages that need not wait for one another go out in bursts. A burst is a chain of C iterators: `map(pack, ...)`
    asks for the tag, the next number, the due time and the clock, and `map(send, ...)` sends what it packed, so that
    hardly any bytecode runs between two system calls. Bytecode is what costs here: after each call into the kernel
    the interpreter's branches are predicted anew.
    """

    def __init__(self, task: ProducerTask, queue: Queue, board: Board) -> None:
        self._task = task
        self._send = queue.raw.send
        self._board = board
        part = board.producers[task.producer]
        self._words = part.words
        self._counted = part.next_number
        self._pacing = part.pacing
        self._returned = 0
        self.errno = 0
        self.k = task.first_k
        self._first_tag = task.run_id << 32 | board.shape.stream(task.producer, 0)
        self._packers = {size: _packer(size) for size in set(task.size_table)}
        self._uniform = len(task.types) == 1 and len(self._packers) == 1

    def run(self, until_ns: int, limit_k: int) -> Reason:
        """See `protocol.Sender`."""
        task, clock = self._task, time.monotonic_ns
        refuse, most = task.refuse, BURST if self._uniform else 1
        try:
            while self.k < limit_k:
                now = clock()
                if now >= until_ns:
                    return Reason.TIME
                ready = most
                if task.loop is Loop.OPEN:
                    now = self._wait(min(self._due(self.k), until_ns))
                    ready = self._ready_by(now)
                elif task.loop is Loop.CLOSED:
                    ready = min(1, self._wait_for_room(until_ns))  # latency counts from each send: no bursts
                    now = clock()
                if not ready:
                    return Reason.TIME
                try:
                    self._burst(min(ready, most, limit_k - self.k), now)
                except sysv_ipc.BusyError:
                    if refuse:
                        self._words[ProducerWord.REFUSED] += 1
                        self.k += 1
                    else:
                        self._send_asleep()
                self._returned = clock()
        except (sysv_ipc.Error, OSError) as error:
            return self._reason(error)
        return Reason.COUNT

    def _burst(self, count_: int, now: int) -> None:
        """Send `count_` messages, the first of which can go `now`; stops at a full queue with BusyError."""
        counted, clock = self._counted, time.monotonic_ns
        message_type, kind, size = self._next_message()
        tag, first = self._first_tag + kind, counted[kind]
        paced = self._task.loop is Loop.OPEN
        due = self._due(self.k) if paced else now
        at = self.k
        try:
            if count_ == 1:
                self._send(self._packers[size](tag, first, due, now), False, message_type)
                counted[kind] = first + 1
                return
            # Unpaced the due time has no meaning but to tell the warm-up's messages: the burst's start does for that.
            dues = self._dues() if paced else repeat(now)
            texts = map(self._packers[size], repeat(tag), count(first), dues, iter(clock, -1))
            sends = map(self._send, islice(texts, count_), repeat(False), repeat(message_type))
            for counted[kind], _ in zip(count(first + 1), sends, strict=False):  # counts each one as it is sent
                pass
        finally:
            if sent := counted[kind] - first:
                self.k += sent
                if paced and at >= 0:
                    self._record_pacing(now - max(due, self._returned), followers=sent - 1)

    def _record_pacing(self, error: int, *, followers: int) -> None:
        """Count one message's pacing error, in ns, and those that followed on the return of the one before."""
        self._pacing[NEAR_BUCKETS[error] if 0 <= error < NEAR else bucket_of(error)] += 1
        self._pacing[0] += followers

    def _next_message(self) -> tuple[int, int, int]:
        """Type, its index, and size of the next message."""
        task = self._task
        place = (self.k + task.producer) & MASK
        kind = task.type_table[place]
        return task.types[kind], kind, task.size_table[place]

    def _due(self, k: int) -> int:
        """When message k is due: the same sum as `measure.pacing.Schedule` and the native engine."""
        task = self._task
        return self._board.control[Control.T0_NS] + int((k * task.producers + task.producer) * task.period_ns)

    def _dues(self) -> Iterator[int]:
        """The due times of the next message and all after it."""
        task = self._task
        slots = count(self.k * task.producers + task.producer, task.producers)
        return map(self._board.control[Control.T0_NS].__add__, map(int, map(task.period_ns.__mul__, slots)))

    def _ready_by(self, now: int) -> int:
        """How many messages are due by `now` and not sent, as far as a burst cares."""
        if self._due(self.k) > now:
            return 0
        ready = 1
        while ready < BURST and self._due(self.k + ready) <= now:
            ready *= 2
        return ready if ready == 1 or self._due(self.k + ready - 1) <= now else ready // 2

    def _wait(self, due_ns: int) -> int:
        """Wait for a due time; returns the clock's reading at or after it."""
        clock = time.monotonic_ns
        spin_ns = SPIN_NS if self._task.spin else 0
        while (now := clock()) < due_ns:
            if due_ns - now > spin_ns:
                time.sleep((due_ns - now - spin_ns) / 1e9)
        return now

    def _wait_for_room(self, until_ns: int) -> int:
        """Closed loop: wait until messages may go out; returns how many, 0 when time is up first."""
        while (room := self._task.outstanding - self._board.unreceived(self._task.producer)) <= 0:
            if time.monotonic_ns() >= until_ns:
                return 0
            if not self._task.spin:
                time.sleep(0)  # gives the CPU away
        return room

    def _send_asleep(self) -> None:
        """The queue is full: sleep in msgsnd until there is room. EINTR is retried unless the run is stopping."""
        self._words[ProducerWord.FULL] += 1
        since = time.monotonic_ns()
        message_type, kind, size = self._next_message()
        due = self._due(self.k) if self._task.loop is Loop.OPEN else since
        text = self._packers[size](self._first_tag + kind, self._counted[kind], due, since)
        try:
            while True:
                try:
                    self._send(text, True, message_type)
                except sysv_ipc.Error as error:
                    if is_interruption(error) and not self._board.control[Control.STOP]:
                        continue
                    raise
                if self._task.loop is Loop.OPEN and self.k >= 0:
                    self._record_pacing(since - max(due, self._returned), followers=0)
                self._counted[kind] += 1
                self.k += 1
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
    """A consumer's loop on sysv_ipc.

    One message at a time, until it falls behind: where it is the only reader of the only stream, it takes as many
    messages as are certainly there in one go, each with its own clock reading, and checks and records them together.
    What it holds meanwhile stands in `ConsumerWord.HOLDS`, so that the ledger can place it if the process is killed.
    """

    def __init__(self, task: ConsumerTask, queue: Queue, board: Board) -> None:
        self._task = task
        self._receive = _receive_of(task, queue)
        self._board = board
        self._part = board.consumers[task.consumer]
        self._words = self._part.words
        self._check = sequence_check(board, task.consumer)
        self._ringed = board.shape.ringed
        self._only_stream = board.shape.streams == 1 and not self._ringed
        self._only_headers = task.max_bytes <= HEADER_BYTES
        self._burst = max(FEW, min(BURST, BURST_BYTES // max(task.max_bytes, HEADER_BYTES)))
        self._only_tag = struct.pack("=Q", task.run_id << 32)
        self._paced = task.paced
        self._t0 = self._last = 0
        self.errno = 0
        # What is counted is stored in shared memory at once and read from lists: a look into shared memory costs four
        # times as much. No number is the expected one where consumers share their streams: each goes to the rings.
        types, streams = len(task.types), board.shape.streams
        self._counted = self._part.expected
        self._expected = [-1 if self._ringed else 0] * streams
        self._service, self._service_seen = self._part.service, [0] * BUCKETS
        latencies = [(histogram, [0] * BUCKETS) for histogram in self._part.latency]
        # What a header's first word says: the stream, and the type and histogram that go with it.
        self._streams = {
            task.run_id << 32 | stream: (stream, task.types[stream % types], *latencies[stream % types])
            for stream in range(streams)
        }

    def run(self, until_ns: int) -> Reason:
        """See `protocol.Receiver`. A call that a signal interrupted is made again unless the run is stopping."""
        self._t0 = self._board.control[Control.T0_NS]
        while True:
            try:
                return self._run(until_ns)
            except sysv_ipc.Error as error:
                if isinstance(error, sysv_ipc.ExistentialError):
                    return Reason.QUEUE_REMOVED
                if not is_interruption(error):
                    return Reason.FAILED
                if self._board.control[Control.STOP] >= END_NOW:
                    return Reason.INTERRUPTED
            except OSError as error:
                self.errno = error.errno or 0
                return Reason.POISONED if error.errno == E2BIG else Reason.FAILED
            finally:
                self._words[ConsumerWord.LAST_RECEIVE_NS] = self._last

    def _run(self, until_ns: int) -> Reason:
        receive, clock, paced, msgtyp = self._receive, time.monotonic_ns, self._paced, self._task.msgtyp
        unpack = HEADER.unpack if self._only_headers else HEADER.unpack_from
        streams, counted, expected = self._streams, self._counted, self._expected
        near, service, service_seen, t0 = NEAR_BUCKETS, self._service, self._service_seen, self._t0
        sent, only_stream = self._board.producers[0].next_number, self._only_stream
        taken: Sequence[tuple[tuple[bytes, int], int]]
        now = clock()
        while True:
            if only_stream and now < until_ns - BURST_NS and (ready := sent[0] - expected[0]) >= FEW:
                taken = self._take(min(ready, self._burst))
            else:
                taken = (((receive(True, msgtyp)), clock()),)
            for (text, message_type), now in taken:
                try:
                    tag, number, intended, started = unpack(text)
                    stream, its_type, latency, latency_seen = streams[tag]
                except (KeyError, struct.error):
                    its_type = 0
                if message_type != its_type:
                    self._words[ConsumerWord.FOREIGN] += 1
                    continue
                if number == expected[stream]:
                    expected[stream] = counted[stream] = number + 1
                else:
                    self._see(stream, number)
                if intended >= t0:
                    if paced:
                        value = now - intended
                        bucket = near[value] if 0 <= value < NEAR else bucket_of_far(value)
                        latency[bucket] = latency_seen[bucket] = latency_seen[bucket] + 1
                    value = now - started
                    bucket = near[value] if 0 <= value < NEAR else bucket_of_far(value)
                    service[bucket] = service_seen[bucket] = service_seen[bucket] + 1
                    self._last = now
            if not taken:
                now = self._last
            elif len(taken) > 1:
                self._words[ConsumerWord.HOLDS] = 0
            if now >= until_ns:
                return Reason.TIME

    def _see(self, stream: int, number: int) -> None:
        """A number that is not simply the next one, or one of a stream that several consumers share."""
        part = self._part
        if not self._ringed:
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

    def _take(self, count_: int) -> Sequence[tuple[tuple[bytes, int], int]]:
        """Receive `count_` messages that are there; returns those that are still to be looked at one by one.

        `zip` asks for a message, then for the clock: C calling C; and `chain` takes its pairs apart, so that it can
        use one pair over and over. If the messages are exactly the next ones of the stream, they are recorded here
        together, and none is returned.
        """
        calls = map(self._receive, repeat(True), repeat(self._task.msgtyp))
        received = zip(calls, iter(time.monotonic_ns, -1), strict=False)
        flat: list[Any] = []
        self._words[ConsumerWord.HOLDS] = count_
        try:
            flat.extend(chain.from_iterable(islice(received, count_)))
        except (sysv_ipc.Error, OSError):
            if not flat:
                raise  # else what came before it counts first; the next call meets it again
        messages, times = flat[0::2], flat[1::2]
        taken = [] if self._settled(messages, times) else list(zip(messages, times, strict=True))
        self._words[ConsumerWord.HOLDS] = len(taken)
        return taken

    def _settled(self, messages: list[tuple[bytes, int]], times: list[int]) -> bool:
        """Record messages together if they are exactly the next ones of the only stream, all sent since t0."""
        expected, count_ = self._expected, len(times)
        texts, types = zip(*messages, strict=True)
        words = array("Q")
        words.frombytes(b"".join(texts if self._only_headers else map(HEADER_OF, texts)))
        as_expected = (
            len(words) == HEADER_WORDS * count_
            and words[0::HEADER_WORDS].tobytes() == self._only_tag * count_
            and words[1::HEADER_WORDS] == array("Q", range(expected[0], expected[0] + count_))
            and words[2] >= self._t0
            and types.count(self._task.types[0]) == count_
        )
        if as_expected:
            expected[0] += count_
            self._counted[0] = expected[0]
            if self._paced:
                _, _, latency, latency_seen = self._streams[words[0]]
                record_all(latency, latency_seen, list(map(sub, times, words[2::HEADER_WORDS])))
            record_all(self._service, self._service_seen, list(map(sub, times, words[3::HEADER_WORDS])))
            self._last = times[-1]
        return as_expected


def _receive_of(task: ConsumerTask, queue: Queue) -> Callable[[bool, int], tuple[bytes, int]]:
    """sysv_ipc's receive; with flags, which it lacks, the one by way of ctypes: 2 us more a message (measured)."""
    max_bytes = max(task.max_bytes, HEADER_BYTES)
    if task.flags:
        return FlaggedReceive(queue.id, max_bytes=max_bytes, flags=task.flags)
    return queue.raw_for(max_bytes).receive


def bucket_of_far(value: int) -> int:
    """The bucket of a value in ns that is not near."""
    if NEAR <= value < FAR:
        return FAR_BUCKETS[value >> 9]
    return BEYOND_BUCKETS[value >> 18] if FAR <= value < BEYOND else bucket_of(value)


def record_all(histogram: memoryview, seen: list[int], values: list[int]) -> None:
    """Count values, in ns, in a histogram in shared memory and in the list that mirrors it."""
    lowest, highest = min(values), max(values)
    buckets: Iterable[int]
    if lowest >= 0 and highest < NEAR:
        buckets = map(NEAR_BUCKETS.__getitem__, values)
    elif lowest >= NEAR and highest < FAR:
        buckets = map(FAR_BUCKETS.__getitem__, map(rshift, values, repeat(9)))
    elif lowest >= FAR and highest < BEYOND:
        buckets = map(BEYOND_BUCKETS.__getitem__, map(rshift, values, repeat(18)))
    else:
        buckets = [NEAR_BUCKETS[value] if 0 <= value < NEAR else bucket_of_far(value) for value in values]
    for bucket, number in Counter(buckets).items():
        seen[bucket] += number
        histogram[bucket] = seen[bucket]


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
