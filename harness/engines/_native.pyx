# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, cdivision=True
"""The hot loops of the native engine, in C: everything that happens per message, outside the GIL.

Wait for the due time, stamp, send; receive, stamp, check the number, record. A loop comes back to Python when its
slice of time is over, when a number is not the next one, and when the queue is gone. The message and the board are
those of `layout`; the histogram's bucket formula is that of `measure.histogram` (a test compares the two).
"""

from libc.errno cimport EAGAIN, EIDRM, EINTR, EINVAL, E2BIG, errno
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset

cdef extern from "<sys/msg.h>" nogil:
    int IPC_NOWAIT
    int msgsnd(int msqid, const void *msgp, size_t msgsz, int msgflg)
    ssize_t msgrcv(int msqid, void *msgp, size_t msgsz, long msgtyp, int msgflg)

cdef extern from "<time.h>" nogil:
    ctypedef long time_t
    struct timespec:
        time_t tv_sec
        long tv_nsec
    int CLOCK_MONOTONIC
    int TIMER_ABSTIME
    int clock_gettime(int clock, timespec *now)
    int clock_nanosleep(int clock, int flags, const timespec *request, timespec *remain)

cdef extern from "<sched.h>" nogil:
    int sched_yield()

cdef extern from *:
    """
    #if defined(__x86_64__) || defined(__i386__)
    #define harness_relax() __builtin_ia32_pause()
    #else
    #define harness_relax() ((void)0)
    #endif
    """
    void harness_relax() nogil

from harness.engines.layout import ConsumerWord, Control, LINE, ProducerWord
from harness.engines.protocol import TABLE_SIZE, Loop
from harness.measure.histogram import BUCKETS, HIGHEST_VALUE, SUB_BUCKET_BITS

# Why a slice ended: protocol.Reason.
cdef enum:
    TIME = 0
    COUNT = 1
    INTERRUPTED = 2
    QUEUE_REMOVED = 3
    POISONED = 4
    ANOMALY = 5
    FAILED = 6

# The constants of layout and histogram, read once at import, so that they cannot drift apart.
cdef int C_STOP = Control.STOP
cdef int C_T0 = Control.T0_NS
cdef int P_REFUSED = ProducerWord.REFUSED
cdef int P_FULL = ProducerWord.FULL
cdef int P_BLOCKED = ProducerWord.BLOCKED_NS
cdef int R_LAST = ConsumerWord.LAST_RECEIVE_NS
cdef int R_FOREIGN = ConsumerWord.FOREIGN
cdef int BITS = SUB_BUCKET_BITS
cdef uint64_t HIGHEST = HIGHEST_VALUE
cdef int BUCKET_COUNT = BUCKETS
cdef int MASK = TABLE_SIZE - 1
cdef int WORDS_HEAD = 2 * LINE

cdef enum:
    HEADER_BYTES = 32
    RING_BITS = 20

# Below this a sleep wakes too late on most machines, so the rest of a wait is spent in a loop.
cdef int64_t SPIN_NS = 60_000


cdef inline int64_t clock_ns() noexcept nogil:
    cdef timespec now
    clock_gettime(CLOCK_MONOTONIC, &now)
    return <int64_t>now.tv_sec * 1_000_000_000 + now.tv_nsec


cdef inline void sleep_until(int64_t when) noexcept nogil:
    cdef timespec target
    target.tv_sec = when // 1_000_000_000
    target.tv_nsec = when % 1_000_000_000
    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &target, NULL)


cdef extern from *:
    """
    static inline int harness_bit_length(unsigned long long value) {
        return value ? 64 - __builtin_clzll(value) : 0;
    }
    """
    int harness_bit_length(uint64_t value) nogil


cdef inline int bucket(int64_t signed_value) noexcept nogil:
    cdef uint64_t value = 0 if signed_value < 0 else <uint64_t>signed_value
    cdef int shift
    if value > HIGHEST:
        value = HIGHEST
    shift = harness_bit_length(value) - BITS - 1
    if shift <= 0:
        return <int>value
    return (shift << BITS) + <int>(value >> shift)


def bucket_of(int64_t value_ns):
    """The histogram bucket of a value in ns; public so that a test can compare it with `measure.histogram`."""
    return bucket(value_ns)


cdef inline uint64_t *words_at(uint8_t[::1] memory, Py_ssize_t word) noexcept:
    return <uint64_t *>&memory[0] + word


cdef class Sender:
    """A producer's loop; see `protocol.Sender`."""

    cdef uint8_t[::1] memory           # keeps the board mapped
    cdef const uint32_t[::1] type_table
    cdef const uint32_t[::1] size_table
    cdef uint64_t *control
    cdef uint64_t *words
    cdef uint64_t *next_number
    cdef uint64_t *pacing
    cdef uint64_t *consumers
    cdef Py_ssize_t consumer_words, consumer_count
    cdef uint64_t *message             # the type (a long), then the text
    cdef uint64_t tag
    cdef long types[1024]
    cdef int type_count, queue_id, paced, closed, refuse, spin, ringed, first_stream
    cdef int64_t position, outstanding, returned
    cdef double period
    cdef int64_t producer, producers
    cdef readonly int error_number

    def __cinit__(self):
        self.message = NULL

    def __dealloc__(self):
        free(self.message)

    def __init__(self, task, int queue_id, board):
        shape = board.shape
        if len(task.types) > 1024:
            raise ValueError(f"the native engine takes 1024 message types, not {len(task.types)}")
        self.memory = board.memory
        self.type_table = task.type_table
        self.size_table = task.size_table
        self.control = words_at(self.memory, 0)
        self.words = words_at(self.memory, shape.producers_at + task.producer * shape.producer_words)
        self.next_number = self.words + WORDS_HEAD
        self.pacing = self.words + <Py_ssize_t>shape.producer_words - BUCKET_COUNT
        self.consumers = words_at(self.memory, shape.consumers_at)
        self.consumer_words = shape.consumer_words
        self.consumer_count = shape.consumers
        self.first_stream = task.producer * shape.types
        self.tag = (<uint64_t>task.run_id << 32) | <uint64_t>self.first_stream
        self.type_count = len(task.types)
        for index, message_type in enumerate(task.types):
            self.types[index] = message_type
        self.message = <uint64_t *>calloc(1, sizeof(uint64_t) + max(task.size_table))
        if self.message == NULL:
            raise MemoryError
        self.queue_id = queue_id
        self.paced = task.loop is Loop.OPEN
        self.closed = task.loop is Loop.CLOSED
        self.outstanding = task.outstanding
        self.refuse = task.refuse
        self.ringed = shape.ringed
        self.spin = task.spin
        self.position = task.first_k
        self.period = task.period_ns
        self.producer = task.producer
        self.producers = task.producers
        self.error_number = 0
        self.returned = 0

    @property
    def k(self):
        """Index of the next message."""
        return self.position

    def run(self, int64_t until_ns, int64_t limit_k):
        """Send until the clock passes `until_ns` or the index reaches `limit_k`; returns a Reason's number."""
        cdef int reason
        with nogil:
            reason = self.loop(until_ns, limit_k)
        return reason

    cdef int64_t unreceived(self) noexcept nogil:
        """Messages of this producer that no consumer has taken yet: `Board.unreceived`."""
        cdef int64_t count = 0
        cdef Py_ssize_t consumer, stream
        cdef Py_ssize_t padded = self.padded_streams()
        cdef uint64_t *expected
        for stream in range(self.type_count):
            count += <int64_t>self.next_number[stream]
            for consumer in range(self.consumer_count):
                # A consumer's words, then per stream: expected numbers, received counts, missed numbers.
                expected = self.consumers + consumer * self.consumer_words + WORDS_HEAD + self.first_stream + stream
                if self.ringed:
                    count -= <int64_t>expected[padded]
                else:
                    count -= <int64_t>(expected[0] - expected[2 * padded])
        return count

    cdef Py_ssize_t padded_streams(self) noexcept nogil:
        return (self.producers * self.type_count + 7) // 8 * 8

    cdef int loop(self, int64_t until, int64_t limit) noexcept nogil:
        cdef int64_t now = clock_ns(), t0 = <int64_t>self.control[C_T0]
        cdef int64_t due, after, since
        cdef uint32_t kind
        cdef size_t size
        cdef int sent

        while True:
            if self.position >= limit:
                return COUNT
            if now >= until:
                return TIME
            due = now
            if self.paced:
                due = t0 + <int64_t>(<double>(self.position * self.producers + self.producer) * self.period)
                if due > now:
                    if due > until:
                        due = until  # come back to Python in time; the message is not due before
                    while now < due:
                        if not self.spin:
                            sleep_until(due)
                        elif due - now > SPIN_NS:
                            sleep_until(due - SPIN_NS)
                        else:
                            harness_relax()
                        now = clock_ns()
                    continue
            elif self.closed:
                while self.unreceived() >= self.outstanding:
                    if now >= until:
                        return TIME
                    if self.spin:
                        harness_relax()
                    else:
                        sched_yield()
                    now = clock_ns()
                due = now

            kind = self.type_table[(self.position + self.producer) & MASK]
            size = self.size_table[(self.position + self.producer) & MASK]
            self.message[0] = <uint64_t>self.types[kind]
            self.message[1] = self.tag + kind
            self.message[2] = self.next_number[kind]
            self.message[3] = <uint64_t>due
            self.message[4] = <uint64_t>now
            sent = msgsnd(self.queue_id, self.message, size, IPC_NOWAIT)
            if sent < 0:
                if errno == EAGAIN and self.refuse:
                    self.words[P_REFUSED] += 1
                    self.position += 1
                    now = clock_ns()
                    self.returned = now
                    continue
                if errno == EAGAIN:
                    self.words[P_FULL] += 1
                    since = clock_ns()
                    while True:
                        sent = msgsnd(self.queue_id, self.message, size, 0)
                        if sent == 0 or errno != EINTR or self.control[C_STOP] != 0:
                            break
                    self.words[P_BLOCKED] += <uint64_t>(clock_ns() - since)
                if sent < 0:
                    return self.failure()
            after = clock_ns()
            if self.paced and self.position >= 0:
                self.pacing[bucket(now - (due if due > self.returned else self.returned))] += 1
            self.next_number[kind] += 1
            self.position += 1
            self.returned = after
            now = after

    cdef int failure(self) noexcept nogil:
        if errno == EINTR:
            return INTERRUPTED
        if errno == EIDRM or errno == EINVAL:
            return QUEUE_REMOVED
        self.error_number = errno
        return FAILED


cdef class Receiver:
    """A consumer's loop; see `protocol.Receiver`.

    `stream` and `number` tell of the last ANOMALY, and `time_is_up` whether that message ends the slice.
    """

    cdef uint8_t[::1] memory
    cdef uint64_t *control
    cdef uint64_t *words
    cdef uint64_t *expected
    cdef uint64_t *received
    cdef uint64_t *latency
    cdef uint64_t *service
    cdef uint8_t *rings
    cdef uint64_t *message
    cdef size_t room
    cdef long types[1024]
    cdef long msgtyp
    cdef int flags
    cdef int type_count, queue_id, paced, ringed
    cdef uint64_t run_id
    cdef uint64_t stream_count
    cdef readonly int error_number
    cdef readonly uint64_t stream, number
    cdef readonly bint time_is_up

    def __cinit__(self):
        self.message = NULL

    def __dealloc__(self):
        free(self.message)

    def __init__(self, task, int queue_id, board):
        shape = board.shape
        if len(task.types) > 1024:
            raise ValueError(f"the native engine takes 1024 message types, not {len(task.types)}")
        self.memory = board.memory
        self.control = words_at(self.memory, 0)
        self.words = words_at(self.memory, shape.consumers_at + task.consumer * shape.consumer_words)
        self.stream_count = shape.streams
        cdef Py_ssize_t padded = (shape.streams + 7) // 8 * 8
        self.expected = self.words + WORDS_HEAD
        self.received = self.expected + padded
        self.latency = self.expected + 3 * padded
        self.type_count = len(task.types)
        self.service = self.latency + <Py_ssize_t>self.type_count * BUCKET_COUNT
        self.ringed = shape.ringed
        self.rings = &self.memory[0] + <Py_ssize_t>shape.rings_at
        for index, message_type in enumerate(task.types):
            self.types[index] = message_type
        self.room = max(task.max_bytes, HEADER_BYTES)
        self.message = <uint64_t *>calloc(1, sizeof(uint64_t) + self.room)
        if self.message == NULL:
            raise MemoryError
        self.queue_id = queue_id
        self.msgtyp = task.msgtyp
        self.flags = task.flags
        self.paced = task.paced
        self.run_id = task.run_id
        self.error_number = 0

    def run(self, int64_t until_ns):
        """Receive until a message arrives at or after `until_ns`; returns a Reason's number."""
        cdef int reason
        with nogil:
            reason = self.loop(until_ns)
        return reason

    cdef int loop(self, int64_t until) noexcept nogil:
        cdef int64_t now, t0, start
        cdef ssize_t size
        cdef uint64_t stream, number, tag
        cdef uint8_t generation
        cdef uint8_t *cell
        cdef int kind, in_order

        t0 = <int64_t>self.control[C_T0]
        while True:
            size = msgrcv(self.queue_id, self.message, self.room, self.msgtyp, self.flags)
            now = clock_ns()
            if size < 0:
                if errno == EINTR:
                    if self.control[C_STOP] < 2:  # 1 stops the producers only
                        continue
                    return INTERRUPTED
                if errno == EIDRM or errno == EINVAL:
                    return QUEUE_REMOVED
                if errno == E2BIG:
                    return POISONED
                self.error_number = errno
                return FAILED
            tag = self.message[1]
            stream = tag & <uint64_t>0xFFFFFFFF
            kind = <int>(stream % <uint64_t>self.type_count)
            if (
                size < HEADER_BYTES
                or tag >> 32 != self.run_id
                or stream >= self.stream_count
                or <long>self.message[0] != self.types[kind]
            ):
                self.words[R_FOREIGN] += 1
                if now >= until:
                    return TIME
                continue

            start = <int64_t>self.message[4]
            if <int64_t>self.message[3] >= t0:
                if self.paced:
                    self.latency[kind * BUCKET_COUNT + bucket(now - <int64_t>self.message[3])] += 1
                self.service[bucket(now - start)] += 1
                self.words[R_LAST] = <uint64_t>now

            number = self.message[2]
            if self.ringed:
                self.received[stream] += 1
                cell = self.rings + (stream << RING_BITS) + (number & ((1 << RING_BITS) - 1))
                generation = <uint8_t>((number >> RING_BITS) + 1)
                in_order = cell[0] == <uint8_t>(generation - 1) and number >= self.expected[stream]
                if in_order:
                    cell[0] = generation
            else:
                in_order = number == self.expected[stream]
            if not in_order:
                self.stream = stream
                self.number = number
                self.time_is_up = now >= until
                return ANOMALY
            self.expected[stream] = number + 1
            if now >= until:
                return TIME


def bare_send(int queue_id, size_t size, int64_t count):
    """Send `count` messages of type 1 and nothing else; returns how many were sent before the queue went away."""
    cdef uint64_t *message = <uint64_t *>calloc(1, sizeof(uint64_t) + size)
    cdef int64_t done = 0
    if message == NULL:
        raise MemoryError
    message[0] = 1
    with nogil:
        while done < count:
            if msgsnd(queue_id, message, size, 0) == 0:
                done += 1
            elif errno != EINTR:
                break
    free(message)
    return done


def bare_receive(int queue_id, size_t size, int64_t count):
    """Receive `count` messages of any type and nothing else; returns how many came before the queue went away."""
    cdef uint64_t *message = <uint64_t *>calloc(1, sizeof(uint64_t) + size)
    cdef int64_t done = 0
    if message == NULL:
        raise MemoryError
    with nogil:
        while done < count:
            if msgrcv(queue_id, message, size, 0, 0) >= 0:
                done += 1
            elif errno != EINTR:
                break
    free(message)
    return done
