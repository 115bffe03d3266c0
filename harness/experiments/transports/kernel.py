"""Transports that the kernel has: System V and POSIX message queues, pipes, Unix sockets of two kinds."""

from __future__ import annotations

import fcntl
import os
import resource
import secrets
import socket
import struct
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from harness.experiments.transports.protocol import Extra
from harness.measure.quantities import format_size
from harness.sysv import Queue
from harness.sysv.errors import MachineError

if TYPE_CHECKING:
    from harness.experiments.transports.protocol import Place, Receive, Send

POSIX_IPC = Extra.load("posix_ipc")
MQUEUE = Path("/proc/sys/fs/mqueue")
LENGTH = struct.Struct("=I")


class SysV:
    """A System V message queue, by sysv_ipc, as the python engine uses it."""

    name: ClassVar[str] = "sysv"
    title: ClassVar[str] = "System V queue (sysv_ipc)"
    tasks: ClassVar[int] = 2

    def __init__(self, place: Place) -> None:
        self._queue = Queue.private(max_bytes=place.size_bytes)

    @classmethod
    def available(cls) -> str | None:
        """Always: without it there is nothing to compare with."""
        return None

    @property
    def room(self) -> str:
        """See `Transport`."""
        return f"{format_size(self._queue.stat().queue_bytes)} of text (msgmnb)"

    def sender(self) -> Send:
        """See `Transport`."""
        return self._queue.raw.send  # by default it waits, and the type is 1

    def receiver(self) -> Receive:
        """See `Transport`."""
        receive = self._queue.raw.receive
        return lambda: receive()[0]

    def close(self) -> None:
        """See `Transport`."""
        self._queue.remove()


class PosixQueue:
    """A POSIX message queue, by posix_ipc: as deep as the System V queue where that is allowed, else less.

    Its name is gone as soon as it is open, so that nothing is left of it, whoever is killed (mq_unlink(3)).
    """

    name: ClassVar[str] = "mq"
    title: ClassVar[str] = "POSIX queue (posix_ipc)"
    tasks: ClassVar[int] = 2

    def __init__(self, place: Place) -> None:
        posix_ipc = POSIX_IPC.module
        wanted = max(1, place.queue_bytes // place.size_bytes)
        _raise_limits(messages=wanted, message_bytes=place.size_bytes)
        name = f"/harness-{secrets.token_hex(8)}"
        # Halved until it is allowed: msg_max, and RLIMIT_MSGQUEUE, which counts what others of this user have too.
        while True:
            try:
                self._queue = posix_ipc.MessageQueue(
                    name,
                    posix_ipc.O_CREX,
                    mode=0o600,
                    max_messages=wanted,
                    max_message_size=place.size_bytes,
                )
                break
            except (OSError, ValueError, posix_ipc.Error) as error:
                if wanted == 1:
                    # posix_ipc reads EMFILE as too many open files; mqueue means RLIMIT_MSGQUEUE by it too.
                    allowed, _ = resource.getrlimit(resource.RLIMIT_MSGQUEUE)
                    raise MachineError(
                        "no POSIX message queue", why=f"{error} (RLIMIT_MSGQUEUE is {allowed} bytes)"
                    ) from error
                wanted //= 2
        self._queue.unlink()

    @classmethod
    def available(cls) -> str | None:
        """See `Transport`."""
        return POSIX_IPC.problem

    @property
    def room(self) -> str:
        """See `Transport`."""
        return f"{self._queue.max_messages} messages (mq_maxmsg)"

    def sender(self) -> Send:
        """See `Transport`."""
        send: Send = self._queue.send
        return send

    def receiver(self) -> Receive:
        """See `Transport`."""
        receive = self._queue.receive
        return lambda: receive()[0]

    def close(self) -> None:
        """See `Transport`."""
        self._queue.close()


def _raise_limits(*, messages: int, message_bytes: int) -> None:
    """Raise this IPC namespace's limits as far as needed and permitted (mq_overview(7)); what is refused stays."""
    for knob, wanted in (("msg_max", messages), ("msgsize_max", message_bytes)):
        with suppress(OSError, ValueError):
            path = MQUEUE / knob
            if int(path.read_text()) < wanted:
                path.write_text(str(wanted))
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_MSGQUEUE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


class Pipe:
    """A pipe. It carries a stream of bytes, so each message goes with its length before it; one receiver only."""

    name: ClassVar[str] = "pipe"
    title: ClassVar[str] = "pipe, with lengths"
    tasks: ClassVar[int] = 2

    def __init__(self, place: Place) -> None:
        self._reading, self._writing = os.pipe()
        # One receiver, so it may read ahead: many messages by one system call, which a stream alone can offer.
        self._reader = os.fdopen(self._reading, "rb", buffering=max(8192, place.size_bytes + LENGTH.size))

    @classmethod
    def available(cls) -> str | None:
        """See `Transport`."""
        return None

    @property
    def room(self) -> str:
        """See `Transport`."""
        return f"{format_size(fcntl.fcntl(self._writing, fcntl.F_GETPIPE_SZ))} (F_GETPIPE_SZ)"

    def sender(self) -> Send:
        """See `Transport`."""
        write, descriptor, length = os.write, self._writing, LENGTH.pack

        # A blocking write of any length is whole, unless a signal comes in between (pipe(7)); a sender gets none.
        def send(payload: bytes) -> None:
            write(descriptor, length(len(payload)) + payload)

        return send

    def receiver(self) -> Receive:
        """See `Transport`."""
        read, length = self._reader.read, LENGTH.unpack

        def receive() -> bytes:
            return read(length(read(LENGTH.size))[0])

        return receive

    def close(self) -> None:
        """See `Transport`."""
        os.close(self._writing)
        self._reader.close()


class _UnixPair:
    """A pair of Unix sockets that keep messages whole."""

    kind: ClassVar[socket.SocketKind]

    def __init__(self, place: Place) -> None:
        self._sending, self._receiving = socket.socketpair(socket.AF_UNIX, self.kind)
        self._size_bytes = place.size_bytes

    @classmethod
    def available(cls) -> str | None:
        """See `Transport`."""
        return None

    @property
    def room(self) -> str:
        """See `Transport`."""
        held = self._sending.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)
        return f"{format_size(held)} with the kernel's own share of each message (SO_SNDBUF)"

    def sender(self) -> Send:
        """See `Transport`."""
        return self._sending.send

    def receiver(self) -> Receive:
        """See `Transport`."""
        return partial(self._receiving.recv, self._size_bytes)

    def close(self) -> None:
        """See `Transport`."""
        self._sending.close()
        self._receiving.close()


class Datagram(_UnixPair):
    """Unix datagrams, between two sockets that are connected to each other.

    So SO_SNDBUF is what bounds them: max_dgram_qlen holds for a receiver that is not connected back to its sender
    (unix_dgram_sendmsg in net/unix/af_unix.c).
    """

    name: ClassVar[str] = "datagram"
    title: ClassVar[str] = "Unix datagrams"
    tasks: ClassVar[int] = 2
    kind = socket.SOCK_DGRAM


class SeqPacket(_UnixPair):
    """Unix sequenced packets: connected, as a stream is."""

    name: ClassVar[str] = "seqpacket"
    title: ClassVar[str] = "Unix sequenced packets"
    tasks: ClassVar[int] = 2
    kind = socket.SOCK_SEQPACKET
