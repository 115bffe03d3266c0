"""msgrcv with the flags that sysv_ipc does not offer, by way of ctypes: MSG_NOERROR, MSG_EXCEPT and MSG_COPY.

Used by queue.py, peeking.py and the python engine. What each flag does is in msgop(2); the numbers are those of Linux
(include/uapi/linux/msg.h). A foreign call of ctypes costs more than sysv_ipc's receive, so who needs no flag takes
that. It releases the GIL, and a signal that interrupts it makes it answer EINTR, as with sysv_ipc.
"""

from __future__ import annotations

import ctypes
import errno
import os
import sys

from harness.sysv import libc, support
from harness.sysv.binding import sysv_ipc

IPC_NOWAIT = 0o4000
MSG_NOERROR = 0o10000
MSG_EXCEPT = 0o20000
MSG_COPY = 0o40000

TYPE_BYTES = ctypes.sizeof(ctypes.c_long)


class Buffer:
    """A struct msgbuf: a long for the type, then room for `text_bytes` of text. Not for two threads at once."""

    def __init__(self, text_bytes: int) -> None:
        self.text_bytes = text_bytes
        self._memory = ctypes.create_string_buffer(TYPE_BYTES + text_bytes)
        self._type = ctypes.c_long.from_buffer(self._memory)
        self._text = memoryview(self._memory)[TYPE_BYTES:]
        self._size = ctypes.c_size_t(text_bytes)

    @property
    def type(self) -> int:
        """The type of the message that came last."""
        return self._type.value

    def text(self, size_bytes: int) -> bytes:
        """The first `size_bytes` of what came last."""
        return self._text[:size_bytes].tobytes()

    def receive(self, queue_id: int, msgtyp: int, flags: int) -> tuple[int, int]:
        """Call msgrcv; (the bytes of the message's text, 0), or (-1, errno). With MSG_COPY `msgtyp` is the index."""
        result, number = libc.call("msgrcv", queue_id, self._memory, self._size, ctypes.c_long(msgtyp), flags)
        return (result, number) if result == -1 else (result, 0)


class FlaggedReceive:
    """`sysv_ipc.MessageQueue.receive` with flags: the same arguments, answer and exceptions. Not for two threads.

    `flags` are those of msgop(2), without IPC_NOWAIT. All calls use one buffer of `max_bytes`. Raises
    NoMessageQueuesError where the system is not Linux.
    """

    def __init__(self, queue_id: int, *, max_bytes: int, flags: int) -> None:
        if sys.platform != "linux":
            support.require()  # a system that does not know MSG_EXCEPT would take a message of the wrong type
        self._queue_id = queue_id
        self._flags = flags
        self._buffer = Buffer(max_bytes)

    def __call__(self, block: bool = True, type: int = 0, /) -> tuple[bytes, int]:  # noqa: A002 - the field's word
        """The message's text and its type; `block` and `type` (msgtyp) as sysv_ipc's receive takes them."""
        buffer = self._buffer
        size_bytes, number = buffer.receive(self._queue_id, type, self._flags if block else self._flags | IPC_NOWAIT)
        if number:
            raise _as_sysv_ipc(number)
        return buffer.text(size_bytes), buffer.type


def _as_sysv_ipc(number: int) -> Exception:
    """What sysv_ipc's receive raises for this errno."""
    words = os.strerror(number)
    if number == errno.EINTR:
        return sysv_ipc.Error(words)  # its bare base class, and nothing else is
    if number in (errno.ENOMSG, errno.EAGAIN):
        return sysv_ipc.BusyError(words)
    if number in (errno.EIDRM, errno.EINVAL):
        return sysv_ipc.ExistentialError(words)
    if number == errno.EACCES:
        return sysv_ipc.PermissionsError(words)
    return OSError(number, words)
