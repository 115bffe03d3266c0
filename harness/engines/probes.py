"""Single queue calls, timed: what the experiments about selection and full queues are made of; in C where it was built.

    probes = load("native")
    probes.time_receives(queue.id, msgtyp=7, times=times)      one msgrcv for each place of `times`, in ns

Unlike an engine, a probe carries no header and checks no sequence: it asks what one call costs. Both kinds make the
same calls in the same order. Times are CLOCK_MONOTONIC and hold two readings of the clock (some 50 ns in C, some 90 in
Python), and the Python probes' hold the way through ctypes as well (some 700 ns): `probes.overhead_ns` measures it.
"""

from __future__ import annotations

import ctypes
import errno
import os
import threading
import time
from statistics import median
from typing import TYPE_CHECKING, Protocol

from harness.engines import choice
from harness.sysv import libc
from harness.sysv.errors import EngineError, HarnessError, QueueRemovedError, RunError

if TYPE_CHECKING:
    from array import array

MSG_EXCEPT = 0o20000  # include/uapi/linux/msg.h, as the next two
MSG_COPY = 0o40000
IPC_NOWAIT = 0o4000
STACK_BYTES = 64 * 1024
"""A sleeper's stack: it makes one system call. glibc takes no less than 16 KiB (pthread_attr_setstacksize(3))."""
MOST_PYTHON_SLEEPERS = 500
"""Each Python thread costs some 60 us to start and a Python frame; this many take a tenth of a second."""


class Sleepers(Protocol):
    """Threads asleep in msgrcv on one queue, each for a type of its own; they end when the queue is removed."""

    def add(self, count: int) -> int:
        """Start `count` more; returns how many there are, fewer when the system refuses more threads."""
        ...

    def join(self) -> None:
        """Wait for all; the queue has to be removed before."""
        ...


class Probes(Protocol):
    """The calls.

    Each raises QueueRemovedError when the queue is gone, MachineError where the kernel lacks what is asked for
    (MSG_COPY), RunError for another errno.
    """

    name: str
    most_sleepers: int

    def fill(self, queue_id: int, message_type: int, size_bytes: int, count: int) -> None:
        """Send `count` messages without waiting."""
        ...

    def rotate(self, queue_id: int, room_bytes: int, count: int) -> None:
        """Take the message at the head and send it again, `count` times."""
        ...

    def time_receives(
        self,
        queue_id: int,
        *,
        msgtyp: int,
        flags: int = 0,
        room_bytes: int,
        times: array[int],
        back: bool = True,
        turns: int = 0,
    ) -> None:
        """Time one msgrcv, without waiting, for each place of `times` (ns), whether it finds a message or not.

        A message taken is sent `back` to the tail, and then `turns` times the head is moved to the tail: with as many
        as stood behind it, it comes back to its place.
        """
        ...

    def time_sends(self, queue_id: int, *, message_type: int, size_bytes: int, times: array[int]) -> None:
        """Time one msgsnd for each place of `times` (ns); each message is taken off again."""
        ...

    def exchange(
        self, queue_id: int, *, sends: int, takes: int, begins: bool, size_bytes: int, until_ns: int = 0
    ) -> int:
        """Play one side of ping-pong between two types; returns how many were answered.

        Who `begins` sends first and ends at `until_ns` (CLOCK_MONOTONIC); the other ends when the queue is removed.
        """
        ...

    def poll(self, queue_id: int, *, msgtyp: int, room_bytes: int) -> int:
        """Ask for `msgtyp` without waiting, over and over, until the queue is removed; returns how often."""
        ...

    def time_refusals(self, queue_id: int, *, message_type: int, size_bytes: int, times: array[int]) -> None:
        """Time one msgsnd without waiting, on a full queue, for each place of `times` (ns).

        Raises RunError when one gets in.
        """
        ...

    def stamp_sends(self, queue_id: int, *, message_type: int, size_bytes: int, stamps: memoryview[int]) -> None:
        """Send one message for each place of `stamps`, asleep while the queue is full.

        A place gets the time at which its msgsnd returned (CLOCK_MONOTONIC, ns). Shared memory will do.
        """
        ...

    def take(self, queue_id: int, *, room_bytes: int) -> int:
        """Receive the message at the head without waiting; returns the time just before the call (ns)."""
        ...

    def flood(self, queue_id: int, *, message_type: int, size_bytes: int) -> int:
        """Send without end, asleep while the queue is full, until the queue is removed; returns how many went in."""
        ...

    def tally(self, queue_id: int, *, room_bytes: int, most: int, until_ns: int, counts: array[int]) -> int:
        """Receive from the head until `until_ns` or `most` messages; `counts` has a place for each type from 0 on.

        Returns how many came. Raises RunError for a type that has no place.
        """
        ...

    def sleepers(self, queue_id: int, *, first_type: int, most: int) -> Sleepers:
        """Nobody yet; `add` starts them, with types from `first_type` on."""
        ...


def load(name: str = "auto") -> Probes:
    """The probes of an engine's name: auto, native or python. Raises EngineError when native was not built."""
    resolved = choice.resolve(name)
    if resolved == "native":
        return NativeProbes()
    if resolved == "python":
        return PythonProbes()
    raise EngineError(f"there are no probes {name!r}", hint=f"take one of {', '.join(choice.NAMES)}")


def overhead_ns(probes: Probes, queue_id: int, times: array[int]) -> float:
    """What a probe's time holds besides the kernel's work: the median of receives from an empty queue, in ns.

    That is a system call which finds nothing, so the least that any of the other times can be.
    """
    probes.time_receives(queue_id, msgtyp=0, room_bytes=1, times=times)
    return float(median(times))


class NativeProbes:
    """The calls from C, without the GIL."""

    name = "native"
    most_sleepers = 100_000

    def __init__(self) -> None:
        from harness.engines import _probes  # noqa: PLC0415  only where it was built

        self._c = _probes

    def fill(self, queue_id: int, message_type: int, size_bytes: int, count: int) -> None:
        """See `Probes`."""
        _checked(self._c.fill(queue_id, message_type, size_bytes, count))

    def rotate(self, queue_id: int, room_bytes: int, count: int) -> None:
        """See `Probes`."""
        _checked(self._c.rotate(queue_id, room_bytes, count))

    def time_receives(
        self,
        queue_id: int,
        *,
        msgtyp: int,
        flags: int = 0,
        room_bytes: int,
        times: array[int],
        back: bool = True,
        turns: int = 0,
    ) -> None:
        """See `Probes`."""
        _checked(self._c.time_receives(queue_id, msgtyp, flags, room_bytes, back, turns, times))

    def time_sends(self, queue_id: int, *, message_type: int, size_bytes: int, times: array[int]) -> None:
        """See `Probes`."""
        _checked(self._c.time_sends(queue_id, message_type, size_bytes, times))

    def exchange(
        self, queue_id: int, *, sends: int, takes: int, begins: bool, size_bytes: int, until_ns: int = 0
    ) -> int:
        """See `Probes`."""
        return _checked(self._c.exchange(queue_id, sends, takes, begins, size_bytes, until_ns))

    def poll(self, queue_id: int, *, msgtyp: int, room_bytes: int) -> int:
        """See `Probes`."""
        return self._c.poll(queue_id, msgtyp, room_bytes)

    def time_refusals(self, queue_id: int, *, message_type: int, size_bytes: int, times: array[int]) -> None:
        """See `Probes`."""
        _checked(self._c.time_refusals(queue_id, message_type, size_bytes, times))

    def stamp_sends(self, queue_id: int, *, message_type: int, size_bytes: int, stamps: memoryview[int]) -> None:
        """See `Probes`."""
        _checked(self._c.stamp_sends(queue_id, message_type, size_bytes, stamps))

    def take(self, queue_id: int, *, room_bytes: int) -> int:
        """See `Probes`."""
        return _checked(self._c.take(queue_id, room_bytes))

    def flood(self, queue_id: int, *, message_type: int, size_bytes: int) -> int:
        """See `Probes`."""
        return self._c.flood(queue_id, message_type, size_bytes)

    def tally(self, queue_id: int, *, room_bytes: int, most: int, until_ns: int, counts: array[int]) -> int:
        """See `Probes`."""
        return _checked(self._c.tally(queue_id, room_bytes, most, until_ns, counts))

    def sleepers(self, queue_id: int, *, first_type: int, most: int) -> Sleepers:
        """See `Probes`."""
        return self._c.Sleepers(queue_id, first_type, most, STACK_BYTES)


class PythonProbes:
    """The same calls through ctypes: what is left of the difference is Python's."""

    name = "python"
    most_sleepers = MOST_PYTHON_SLEEPERS

    def fill(self, queue_id: int, message_type: int, size_bytes: int, count: int) -> None:
        """See `Probes`."""
        message = _message(size_bytes, message_type)
        for _ in range(count):
            _send(queue_id, message, size_bytes)

    def rotate(self, queue_id: int, room_bytes: int, count: int) -> None:
        """See `Probes`."""
        message = _message(room_bytes)
        for _ in range(count):
            _send(queue_id, message, _receive(queue_id, message, room_bytes, 0, IPC_NOWAIT))

    def time_receives(
        self,
        queue_id: int,
        *,
        msgtyp: int,
        flags: int = 0,
        room_bytes: int,
        times: array[int],
        back: bool = True,
        turns: int = 0,
    ) -> None:
        """See `Probes`."""
        message, clock = _message(room_bytes), time.monotonic_ns
        for place in range(len(times)):
            before = clock()
            size, number = _msgrcv(queue_id, message, room_bytes, msgtyp, flags | IPC_NOWAIT)
            times[place] = clock() - before
            if size < 0 and number != errno.ENOMSG:
                _checked(-number)
            if size >= 0 and back:
                _send(queue_id, message, size)
                self.rotate(queue_id, room_bytes, turns)

    def time_sends(self, queue_id: int, *, message_type: int, size_bytes: int, times: array[int]) -> None:
        """See `Probes`."""
        message, clock = _message(size_bytes, message_type), time.monotonic_ns
        for place in range(len(times)):
            before = clock()
            _send(queue_id, message, size_bytes)
            times[place] = clock() - before
            _receive(queue_id, message, size_bytes, message_type, IPC_NOWAIT)

    def exchange(
        self, queue_id: int, *, sends: int, takes: int, begins: bool, size_bytes: int, until_ns: int = 0
    ) -> int:
        """See `Probes`."""
        ours, theirs, done = _message(size_bytes, sends), _message(size_bytes), 0
        try:
            while not begins or time.monotonic_ns() < until_ns:
                if begins:
                    _send(queue_id, ours, size_bytes, 0)
                _receive(queue_id, theirs, size_bytes, takes, 0)
                if not begins:
                    _send(queue_id, ours, size_bytes, 0)
                done += 1
        except HarnessError:
            if begins:
                raise
        return done

    def poll(self, queue_id: int, *, msgtyp: int, room_bytes: int) -> int:
        """See `Probes`."""
        message, done = _message(room_bytes), 0
        while _msgrcv(queue_id, message, room_bytes, msgtyp, IPC_NOWAIT)[1] in (0, errno.ENOMSG, errno.EINTR):
            done += 1
        return done

    def time_refusals(self, queue_id: int, *, message_type: int, size_bytes: int, times: array[int]) -> None:
        """See `Probes`."""
        message, clock = _message(size_bytes, message_type), time.monotonic_ns
        for place in range(len(times)):
            before = clock()
            number = _msgsnd(queue_id, message, size_bytes, IPC_NOWAIT)
            times[place] = clock() - before
            if number != errno.EAGAIN:
                _checked(-(number or errno.EBADMSG))

    def stamp_sends(self, queue_id: int, *, message_type: int, size_bytes: int, stamps: memoryview[int]) -> None:
        """See `Probes`."""
        message = _message(size_bytes, message_type)
        for place in range(len(stamps)):
            _send(queue_id, message, size_bytes, 0)
            stamps[place] = time.monotonic_ns()

    def take(self, queue_id: int, *, room_bytes: int) -> int:
        """See `Probes`."""
        message, before = _message(room_bytes), time.monotonic_ns()
        _checked(-_msgrcv(queue_id, message, room_bytes, 0, IPC_NOWAIT)[1])
        return before

    def flood(self, queue_id: int, *, message_type: int, size_bytes: int) -> int:
        """See `Probes`."""
        message, done = _message(size_bytes, message_type), 0
        while (number := _msgsnd(queue_id, message, size_bytes, 0)) in (0, errno.EINTR):
            done += number == 0
        return done

    def tally(self, queue_id: int, *, room_bytes: int, most: int, until_ns: int, counts: array[int]) -> int:
        """See `Probes`."""
        message, clock, done = _message(room_bytes), time.monotonic_ns, 0
        message_type = ctypes.c_long.from_buffer(message)
        while done < most and clock() < until_ns:
            _receive(queue_id, message, room_bytes, 0, 0)
            if message_type.value >= len(counts):
                _checked(-errno.EBADMSG)
            counts[message_type.value] += 1
            done += 1
        return done

    def sleepers(self, queue_id: int, *, first_type: int, most: int) -> Sleepers:
        """See `Probes`."""
        return _PythonSleepers(queue_id, first_type, min(most, MOST_PYTHON_SLEEPERS))


class _PythonSleepers:
    """A Python thread for each."""

    def __init__(self, queue_id: int, first_type: int, most: int) -> None:
        self._queue_id = queue_id
        self._first_type = first_type
        self._most = most
        self._threads: list[threading.Thread] = []

    def add(self, count: int) -> int:
        """See `Sleepers`."""
        before = threading.stack_size(STACK_BYTES)
        try:
            while len(self._threads) < self._most and count > 0:
                thread = threading.Thread(target=self._sleep, args=(self._first_type + len(self._threads),))
                thread.start()
                self._threads.append(thread)
                count -= 1
        except RuntimeError:
            pass  # no more threads: how many there are is the answer
        finally:
            threading.stack_size(before)
        return len(self._threads)

    def _sleep(self, message_type: int) -> None:
        message = _message(8)
        while _msgrcv(self._queue_id, message, 8, message_type, 0)[1] == errno.EINTR:
            pass

    def join(self) -> None:
        """See `Sleepers`."""
        for thread in self._threads:
            thread.join()
        self._threads.clear()


def _message(text_bytes: int, message_type: int = 0) -> ctypes.Array[ctypes.c_char]:
    """A struct msgbuf: the type, a long, then room for the text."""
    message = ctypes.create_string_buffer(ctypes.sizeof(ctypes.c_long) + max(text_bytes, 1))
    ctypes.c_long.from_buffer(message).value = message_type
    return message


def _msgrcv(
    queue_id: int, message: ctypes.Array[ctypes.c_char], room_bytes: int, msgtyp: int, flags: int
) -> tuple[int, int]:
    """The call: (bytes of text, 0) or (-1, errno)."""
    size, number = libc.call("msgrcv", queue_id, message, ctypes.c_size_t(room_bytes), ctypes.c_long(msgtyp), flags)
    return (size, 0) if size >= 0 else (-1, number)


def _receive(queue_id: int, message: ctypes.Array[ctypes.c_char], room_bytes: int, msgtyp: int, flags: int) -> int:
    while True:
        size, number = _msgrcv(queue_id, message, room_bytes, msgtyp, flags)
        if number != errno.EINTR:
            return _checked(-number if number else size)


def _msgsnd(queue_id: int, message: ctypes.Array[ctypes.c_char], size_bytes: int, flags: int) -> int:
    """The call: 0 or errno."""
    result, number = libc.call("msgsnd", queue_id, message, ctypes.c_size_t(size_bytes), flags)
    return 0 if result == 0 else number


def _send(queue_id: int, message: ctypes.Array[ctypes.c_char], size_bytes: int, flags: int = IPC_NOWAIT) -> None:
    while number := _msgsnd(queue_id, message, size_bytes, flags):
        if number != errno.EINTR:
            _checked(-number)


def _checked(result: int) -> int:
    """The result of a probe, or the error that a negative one is."""
    if result >= 0:
        return result
    if -result in (errno.EIDRM, errno.EINVAL):
        raise QueueRemovedError("the queue was removed during the measurement", errno=-result)
    raise RunError(
        "a queue call failed during the measurement",
        why=f"{errno.errorcode.get(-result, -result)}: {os.strerror(-result)}",
    )
