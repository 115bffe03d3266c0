"""Given: four transports, the calls of POSIX message queues, and the stopwatch. `lab.py` adds the fifth transport.

A transport here is one way, from whoever sends to whoever receives; both may be forks of the process that made it.
"""

# ruff: noqa: D102 - what the methods of a transport do, Transport says

from __future__ import annotations

import contextlib
import ctypes
import ctypes.util
import multiprocessing
import os
import signal
import socket
import struct
import time
import traceback
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import sysv_ipc

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

LARGEST_BYTES = 8192  # of a message on a queue, System V's or POSIX's, unless an administrator raised it


class Transport(Protocol):
    """What a program needs of it, whatever it is made of."""

    def send(self, payload: bytes) -> None:
        """Send one message; waits while there is no room."""

    def receive(self) -> bytes:
        """Wait for the next message."""

    def close(self) -> None:
        """Give up what this process holds of it."""


# --- four transports -------------------------------------------------------------------------------------------------


class SysV:
    """A System V message queue with a key of its own."""

    def __init__(self) -> None:
        self.queue = sysv_ipc.MessageQueue(None, sysv_ipc.IPC_CREX, max_message_size=LARGEST_BYTES)

    def send(self, payload: bytes) -> None:
        self.queue.send(payload)

    def receive(self) -> bytes:
        return bytes(self.queue.receive()[0])

    def close(self) -> None:
        """The queue has no owner whose end it would notice: it is removed here, for everybody."""
        self.queue.remove()


class Pipe:
    """A pipe. It carries a stream of bytes, so each message goes with its length before it; one receiver only."""

    _HEADER = struct.Struct("!I")

    def __init__(self) -> None:
        reading, writing = os.pipe()
        self.reading, self.writing = os.fdopen(reading, "rb"), os.fdopen(writing, "wb")

    def send(self, payload: bytes) -> None:
        self.writing.write(self._HEADER.pack(len(payload)) + payload)
        self.writing.flush()

    def receive(self) -> bytes:
        (length,) = self._HEADER.unpack(self.reading.read(self._HEADER.size))
        return self.reading.read(length)

    def close(self) -> None:
        self.writing.close()
        self.reading.close()


class Datagram:
    """A pair of Unix sockets that keep datagrams whole."""

    def __init__(self) -> None:
        self.sending, self.receiving = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        # Large enough for any, and made once: a new one for each message would cost more than the message.
        self._buffer = memoryview(bytearray(1 << 20))

    def send(self, payload: bytes) -> None:
        self.sending.send(payload)

    def receive(self) -> bytes:
        length = self.receiving.recv_into(self._buffer)
        return bytes(self._buffer[:length])

    def close(self) -> None:
        self.sending.close()
        self.receiving.close()


class Multiprocessing:
    """What multiprocessing offers for this: a pipe with a framing of its own."""

    def __init__(self) -> None:
        self.receiving, self.sending = multiprocessing.get_context("fork").Pipe(duplex=False)

    def send(self, payload: bytes) -> None:
        self.sending.send_bytes(payload)

    def receive(self) -> bytes:
        return self.receiving.recv_bytes()

    def close(self) -> None:
        self.sending.close()
        self.receiving.close()


# --- POSIX message queues: the calls, as mq_overview(7) has them -----------------------------------------------------

# On Linux a queue's descriptor is a file descriptor: os.close, os.fstat and select take it.


def _library() -> ctypes.CDLL:
    """The C library; with a glibc before 2.34 the calls are in librt."""
    library = ctypes.CDLL(None, use_errno=True)
    if not hasattr(library, "mq_open"):
        library = ctypes.CDLL(ctypes.util.find_library("rt"), use_errno=True)
    library.mq_receive.restype = ctypes.c_ssize_t
    return library


_LIBRARY = _library()


@dataclass(frozen=True)
class MqAttributes:
    """A queue's limits, and how many messages it holds now."""

    max_messages: int
    max_bytes: int  # of one message
    messages: int


def mq_open(name: str, flags: int, mode: int = 0o600, *, max_messages: int = 0, max_bytes: int = 0) -> int:
    """Open the queue `name` ("/..."), or make it with os.O_CREAT; returns its descriptor.

    mode and limits count only when it is made. Raises OSError: FileExistsError with os.O_EXCL, FileNotFoundError
    without os.O_CREAT, EINVAL for limits over those in /proc/sys/fs/mqueue.
    """
    attributes = (ctypes.c_long * 8)(0, max_messages, max_bytes)
    return _checked(_LIBRARY.mq_open(name.encode(), flags, mode, attributes))


def mq_send(descriptor: int, payload: bytes, priority: int) -> None:
    """Send one message; waits while the queue is full. Raises OSError EMSGSIZE for one over max_bytes."""
    _checked(_LIBRARY.mq_send(descriptor, payload, ctypes.c_size_t(len(payload)), ctypes.c_uint(priority)))


def mq_receive(descriptor: int, buffer_bytes: int) -> tuple[bytes, int]:
    """Wait for the message with the highest priority; returns it and its priority.

    Raises OSError EMSGSIZE for a buffer under max_bytes, whatever size the message has.
    """
    buffer, priority = ctypes.create_string_buffer(buffer_bytes), ctypes.c_uint()
    length = _checked(_LIBRARY.mq_receive(descriptor, buffer, ctypes.c_size_t(buffer_bytes), ctypes.byref(priority)))
    return ctypes.string_at(buffer, length), priority.value


def mq_attributes(descriptor: int) -> MqAttributes:
    """The queue's limits and state."""
    attributes = (ctypes.c_long * 8)()
    _checked(_LIBRARY.mq_getattr(descriptor, attributes))
    return MqAttributes(max_messages=attributes[1], max_bytes=attributes[2], messages=attributes[3])


def mq_unlink(name: str) -> None:
    """Take the name away; the queue goes when the last descriptor of it is closed. Raises FileNotFoundError."""
    _checked(_LIBRARY.mq_unlink(name.encode()))


def _checked(result: int) -> int:
    if result == -1:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


# --- the stopwatch ---------------------------------------------------------------------------------------------------


def one_way_us(transport: Transport, messages: int, payload: bytes) -> float:
    """Microseconds a message, from here to a process of its own, in a row of so many."""
    reading, writing = os.pipe()
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        try:
            os.write(writing, b"ready")
            for _ in range(messages):
                transport.receive()
            os.write(writing, b"done")
        except Exception:  # noqa: BLE001
            traceback.print_exc()
            os.kill(parent, signal.SIGTERM)  # it would sleep for ever, before a queue that nobody empties
        finally:
            os._exit(0)
    os.close(writing)
    try:
        os.read(reading, 100)
        began_s = time.perf_counter()
        for _ in range(messages):
            transport.send(payload)
        os.read(reading, 100)
        return 1e6 * (time.perf_counter() - began_s) / messages
    finally:
        os.kill(pid, signal.SIGKILL)  # it has all, or waits for what will not come
        os.waitpid(pid, 0)
        os.close(reading)


def measure(
    makers: Mapping[str, Callable[[], Transport]], *, rounds: int, messages: int, size_bytes: int
) -> list[dict[str, float]]:
    """Microseconds a message of each transport, round by round.

    In each round everyone is measured once, so that what the machine does meanwhile meets all of them; who begins
    changes from round to round.
    """
    names = list(makers)
    found = []
    for number in range(rounds):
        first = number % len(names)
        times = {}
        for name in names[first:] + names[:first]:
            with contextlib.closing(makers[name]()) as transport:  # also on Ctrl-C: a System V queue would stay
                times[name] = one_way_us(transport, messages, bytes(size_bytes))
        found.append(times)
    return found
