# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, cdivision=True
"""Single queue calls, timed in C without the GIL: what the experiments about selection and waiting are made of.

Each function answers with how many calls it made, or with minus the errno of the call that failed. Times are
CLOCK_MONOTONIC, in ns, from just before the call to just after it: two readings of the clock are in each.
`probes.py` has the same in Python, and says what each is for.
"""

from libc.errno cimport EAGAIN, EBADMSG, EINTR, ENOMSG, errno
from libc.stdint cimport int64_t
from libc.stdlib cimport calloc, free

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
    int clock_gettime(int clock, timespec *now)

cdef extern from "<pthread.h>" nogil:
    ctypedef unsigned long pthread_t
    ctypedef struct pthread_attr_t:
        pass
    int pthread_attr_init(pthread_attr_t *attr)
    int pthread_attr_setstacksize(pthread_attr_t *attr, size_t size)
    int pthread_attr_destroy(pthread_attr_t *attr)
    int pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*work)(void *) noexcept nogil, void *arg)
    int pthread_join(pthread_t thread, void **result)


cdef inline int64_t clock_ns() noexcept nogil:
    cdef timespec now
    clock_gettime(CLOCK_MONOTONIC, &now)
    return <int64_t>now.tv_sec * 1_000_000_000 + now.tv_nsec


cdef long *new_message(size_t size) except NULL:
    cdef long *message = <long *>calloc(1, sizeof(long) + size + 1)
    if message == NULL:
        raise MemoryError
    return message


def fill(int queue_id, long message_type, size_t size, int64_t count):
    """Send `count` messages without waiting."""
    cdef long *message = new_message(size)
    cdef int64_t done = 0, result
    message[0] = message_type
    with nogil:
        while done < count:
            if msgsnd(queue_id, message, size, IPC_NOWAIT) != 0:
                if errno == EINTR:
                    continue
                break
            done += 1
        result = done if done == count else -errno
    free(message)
    return result


def rotate(int queue_id, size_t room, int64_t count):
    """Take the message at the head and send it again, `count` times."""
    cdef long *message = new_message(room)
    cdef int64_t result
    with nogil:
        result = turn(queue_id, message, room, count)
    free(message)
    return result


cdef int64_t turn(int queue_id, long *message, size_t room, int64_t count) noexcept nogil:
    cdef ssize_t size
    cdef int64_t done = 0
    while done < count:
        size = msgrcv(queue_id, message, room, 0, IPC_NOWAIT)
        if size < 0 or msgsnd(queue_id, message, size, IPC_NOWAIT) != 0:
            return -errno
        done += 1
    return done


def time_receives(int queue_id, long msgtyp, int flags, size_t room, bint back, int64_t turns, int64_t[::1] times):
    """Time one msgrcv for each place of `times`; a message taken is sent `back`, then `turns` rotations are made.

    A call that finds no message (ENOMSG) is timed as any other.
    """
    cdef long *message = new_message(room)
    cdef int64_t count = times.shape[0], place = 0, before, result = count
    cdef ssize_t size
    with nogil:
        while place < count:
            before = clock_ns()
            size = msgrcv(queue_id, message, room, msgtyp, flags | IPC_NOWAIT)
            times[place] = clock_ns() - before
            if size < 0 and errno != ENOMSG:
                result = -errno
                break
            if size >= 0 and back:
                if msgsnd(queue_id, message, size, IPC_NOWAIT) != 0:
                    result = -errno
                    break
                if turn(queue_id, message, room, turns) < 0:
                    result = -errno
                    break
            place += 1
    free(message)
    return result


def time_sends(int queue_id, long message_type, size_t size, int64_t[::1] times):
    """Time one msgsnd for each place of `times`; each message is taken off again before the next."""
    cdef long *message = new_message(size)
    cdef int64_t count = times.shape[0], place = 0, before, result = count
    with nogil:
        while place < count:
            message[0] = message_type
            before = clock_ns()
            if msgsnd(queue_id, message, size, IPC_NOWAIT) != 0:
                result = -errno
                break
            times[place] = clock_ns() - before
            if msgrcv(queue_id, message, size, message_type, IPC_NOWAIT) < 0:
                result = -errno
                break
            place += 1
    free(message)
    return result


def exchange(int queue_id, long sends, long takes, bint begins, size_t size, int64_t until_ns):
    """Answer each message of type `takes` with one of type `sends` until `until_ns`; who `begins` sends first.

    The one that does not begin goes on until the queue is removed.
    """
    cdef long *message = new_message(size)
    cdef int64_t done = 0
    with nogil:
        while True:
            if begins:
                if clock_ns() >= until_ns:
                    break
                message[0] = sends
                if msgsnd(queue_id, message, size, 0) != 0:
                    if errno == EINTR:
                        continue
                    done = -errno
                    break
            while msgrcv(queue_id, message, size, takes, 0) < 0:
                if errno != EINTR:
                    done = -errno if begins else done
                    with gil:
                        free(message)
                        return done
            if not begins:
                message[0] = sends
                while msgsnd(queue_id, message, size, 0) != 0:
                    if errno != EINTR:
                        with gil:
                            free(message)
                            return done
            done += 1
    free(message)
    return done


def poll(int queue_id, long msgtyp, size_t room):
    """Ask for a message that is not there, without waiting, until the queue is removed; returns how often."""
    cdef long *message = new_message(room)
    cdef int64_t done = 0
    with nogil:
        while msgrcv(queue_id, message, room, msgtyp, IPC_NOWAIT) >= 0 or errno == ENOMSG or errno == EINTR:
            done += 1
    free(message)
    return done


def time_refusals(int queue_id, long message_type, size_t size, int64_t[::1] times):
    """Time one msgsnd without waiting on a full queue for each place of `times`; each must be refused (EAGAIN)."""
    cdef long *message = new_message(size)
    cdef int64_t count = times.shape[0], place = 0, before, result = count
    cdef int done
    message[0] = message_type
    with nogil:
        while place < count:
            before = clock_ns()
            done = msgsnd(queue_id, message, size, IPC_NOWAIT)
            times[place] = clock_ns() - before
            if done == 0 or errno != EAGAIN:
                result = -EBADMSG if done == 0 else -errno
                break
            place += 1
    free(message)
    return result


def stamp_sends(int queue_id, long message_type, size_t size, int64_t[::1] stamps):
    """Send one message for each place of `stamps`, asleep while the queue is full, and put there when it returned."""
    cdef long *message = new_message(size)
    cdef int64_t count = stamps.shape[0], place = 0, result = count
    message[0] = message_type
    with nogil:
        while place < count:
            if msgsnd(queue_id, message, size, 0) != 0:
                if errno == EINTR:
                    continue
                result = -errno
                break
            stamps[place] = clock_ns()
            place += 1
    free(message)
    return result


def take(int queue_id, size_t room):
    """Receive the message at the head without waiting; returns the clock's reading just before the call."""
    cdef long *message = new_message(room)
    cdef int64_t before
    with nogil:
        before = clock_ns()
        if msgrcv(queue_id, message, room, 0, IPC_NOWAIT) < 0:
            before = -errno
    free(message)
    return before


def flood(int queue_id, long message_type, size_t size):
    """Send without end, asleep while the queue is full, until the queue is removed; returns how many were sent."""
    cdef long *message = new_message(size)
    cdef int64_t done = 0
    message[0] = message_type
    with nogil:
        while True:
            if msgsnd(queue_id, message, size, 0) == 0:
                done += 1
            elif errno != EINTR:
                break
    free(message)
    return done


def tally(int queue_id, size_t room, int64_t most, int64_t until_ns, int64_t[::1] counts):
    """Receive what is at the head until `until_ns` or `most` messages have come; count each type at its place."""
    cdef long *message = new_message(room)
    cdef int64_t done = 0, types = counts.shape[0], result = 0
    with nogil:
        while done < most and clock_ns() < until_ns:
            if msgrcv(queue_id, message, room, 0, 0) < 0:
                if errno == EINTR:
                    continue
                result = -errno
                break
            if message[0] >= types:
                result = -EBADMSG
                break
            counts[message[0]] += 1
            done += 1
    free(message)
    return result if result < 0 else done


cdef struct Bed:
    int queue_id
    long message_type
    pthread_t thread


cdef void *sleep_in(void *argument) noexcept nogil:
    """One sleeper's life: asleep in msgrcv until the queue is removed."""
    cdef Bed *bed = <Bed *>argument
    cdef long message[2]
    while msgrcv(bed.queue_id, message, sizeof(long), bed.message_type, 0) < 0:
        if errno != EINTR:
            break
    return NULL


cdef class Sleepers:
    """Threads that sleep in msgrcv, one for each type from `first_type` on; `add` starts more, `join` waits for all.

    They end when the queue is removed: `join` before that waits for ever.
    """

    cdef Bed *beds
    cdef readonly int64_t count
    cdef int64_t most, stack_bytes
    cdef int queue_id
    cdef long first_type

    def __cinit__(self, int queue_id, long first_type, int64_t most, int64_t stack_bytes):
        self.beds = <Bed *>calloc(most, sizeof(Bed))
        if self.beds == NULL:
            raise MemoryError
        self.queue_id = queue_id
        self.first_type = first_type
        self.most = most
        self.stack_bytes = stack_bytes
        self.count = 0

    def __dealloc__(self):
        free(self.beds)

    def add(self, int64_t count):
        """Start `count` more; returns how many there are now, fewer when the system has no more threads."""
        cdef pthread_attr_t attributes
        cdef int64_t target = min(self.most, self.count + count)
        cdef Bed *bed
        pthread_attr_init(&attributes)
        pthread_attr_setstacksize(&attributes, self.stack_bytes)
        while self.count < target:
            bed = &self.beds[self.count]
            bed.queue_id = self.queue_id
            bed.message_type = self.first_type + self.count
            if pthread_create(&bed.thread, &attributes, sleep_in, bed) != 0:
                break
            self.count += 1
        pthread_attr_destroy(&attributes)
        return self.count

    def join(self):
        """Wait until all have ended."""
        cdef int64_t place
        with nogil:
            for place in range(self.count):
                pthread_join(self.beds[place].thread, NULL)
        self.count = 0
