"""One System V message queue, typed: create or open it, send, receive, look at it, remove it.

Used by everything above that touches a queue; loops that must be fast check their payloads themselves and use `raw`.
Not here: all queues of the machine (inventory.py), the limits (limits.py), the private namespace (namespace.py), a look
into a queue of which only the id is known (peeking.py). What sysv_ipc does not offer goes by way of msgrcv.py.

Three things sysv_ipc leaves to its caller are done here. What is handed in is checked first (checks.py says why).
A call that a signal interrupts is made again, as PEP 475 has it for Python's own calls: the signal's handler runs, and
what it raises comes out of the call. And every failure is one of the tree in errors.py (translate.py).

A warning on signals: a handler that raises can lose the message in hand, between the kernel's handing it over and
Python's seeing it (134 of 2000 on Python 3.11, 983 of 1000 on 3.12). Let handlers set a flag. A signal that comes just
before the call sleeps does not wake it: let a repeating interval timer run beforehand. One that the handler starts is
not enough: of a signal that comes in C, before msgrcv sleeps, no handler runs until msgrcv returns (labs/10).
"""

from __future__ import annotations

import contextlib
import errno
import os
from typing import TYPE_CHECKING, Self

from harness.sysv import inventory, peeking, support, translate
from harness.sysv.binding import sysv_ipc
from harness.sysv.checks import (
    check_mode,
    check_payload,
    check_size_bytes,
    check_timeout,
    signed_key,
    unsigned_key,
)
from harness.sysv.errors import (
    HarnessError,
    MessageTooLargeError,
    NoMessageError,
    NoSuchQueueError,
    QueueExistsError,
    QueueFullError,
    QueuePermissionError,
    QueueRemovedError,
)
from harness.sysv.limits import Limits
from harness.sysv.message import Message
from harness.sysv.msgrcv import MSG_NOERROR, FlaggedReceive
from harness.sysv.selector import Selector, check_type
from harness.sysv.waiting import T, Waiter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType

    from harness.sysv.inventory import QueueStat

DEFAULT_MODE = 0o600
LARGEST_DEFAULT_BUFFER_BYTES = 2**20
"""sysv_ipc allocates its whole buffer at each receive, so the default does not follow msgmax beyond this."""

_IPC_PRIVATE = 0  # not sysv_ipc's key None, which draws a random key that others can find
_ANY_TYPE = Selector.any()
_REAL_TIME = Waiter()


class Queue:
    """A message queue. Made by `create`, `open`, `open_or_create` or `private`.

    As a context manager, who created the queue removes it at the end, and who opened it leaves it. A copy that a fork
    took into another process never removes it there.

    All four take `max_bytes`, the largest message text `receive` takes (default: the namespace's msgmax, but at most
    1 MiB), and `waiter`, the clock and the pauses of limited waits, for tests. They raise UsageError for a key
    outside 1..0xffffffff, a wrong mode or a wrong max_bytes; NoMessageQueuesError where there are none;
    QueueLimitError at msgmni.
    """

    def __init__(self, raw: sysv_ipc.MessageQueue, *, max_bytes: int, owned: bool, waiter: Waiter) -> None:
        self._raw = raw
        self._max_bytes = max_bytes
        self._owner_pid = os.getpid() if owned else 0
        self._waiter = waiter
        self._id = raw.id
        self._key = unsigned_key(raw.key)

    @classmethod
    def create(
        cls, key: int, *, mode: int = DEFAULT_MODE, max_bytes: int | None = None, waiter: Waiter = _REAL_TIME
    ) -> Self:
        """Make a new queue; raises QueueExistsError if one has this key."""
        raw, size_bytes = _msgget(signed_key(key), create=True, exclusive=True, mode=mode, max_bytes=max_bytes)
        return cls(raw, max_bytes=size_bytes, owned=True, waiter=waiter)

    @classmethod
    def open(cls, key: int, *, max_bytes: int | None = None, waiter: Waiter = _REAL_TIME) -> Self:
        """Find an existing queue; raises NoSuchQueueError.

        It asks for no permission: a queue that this user may only send to can be opened, and receiving then fails.
        """
        raw, size_bytes = _msgget(signed_key(key), create=False, exclusive=False, mode=0, max_bytes=max_bytes)
        return cls(raw, max_bytes=size_bytes, owned=False, waiter=waiter)

    @classmethod
    def open_or_create(
        cls, key: int, *, mode: int = DEFAULT_MODE, max_bytes: int | None = None, waiter: Waiter = _REAL_TIME
    ) -> Self:
        """Find the queue with this key or make it; `owned` tells which. The mode matters to a new queue only."""
        # One msgget with IPC_CREAT would not tell which it was. Each turn that fails twice, somebody else has removed
        # and made the queue, so the loop ends when they do.
        while True:
            try:
                return cls.open(key, max_bytes=max_bytes, waiter=waiter)
            except NoSuchQueueError:
                pass
            try:
                return cls.create(key, mode=mode, max_bytes=max_bytes, waiter=waiter)
            except QueueExistsError:
                pass

    @classmethod
    def private(cls, *, mode: int = DEFAULT_MODE, max_bytes: int | None = None, waiter: Waiter = _REAL_TIME) -> Self:
        """Make a queue without a key (IPC_PRIVATE), which only this process and its forks can use by this class."""
        raw, size_bytes = _msgget(_IPC_PRIVATE, create=True, exclusive=True, mode=mode, max_bytes=max_bytes)
        return cls(raw, max_bytes=size_bytes, owned=True, waiter=waiter)

    @property
    def id(self) -> int:
        """The kernel's number of this queue (msqid)."""
        return self._id

    @property
    def key(self) -> int:
        """The key as ipcs prints it; 0 for a private queue."""
        return self._key

    @property
    def max_bytes(self) -> int:
        """The largest message text, in bytes, that `receive` takes."""
        return self._max_bytes

    @property
    def owned(self) -> bool:
        """Whether this object, in this process, created the queue, and so removes it at the end of a `with`."""
        return self._owner_pid == os.getpid()

    @property
    def raw(self) -> sysv_ipc.MessageQueue:
        """The sysv_ipc.MessageQueue beneath, for hot loops: unchecked, unretried, with its own exceptions.

        Hand it only bytes-like payloads of at most `max_bytes`, and types from 1 to 2**31-1.
        """
        return self._raw

    def raw_for(self, max_bytes: int) -> sysv_ipc.MessageQueue:
        """As `raw`, with another buffer size; raises QueueRemovedError, and MessageTooLargeError if private."""
        check_size_bytes(max_bytes, what="max_bytes", least=0)
        if max_bytes == self._max_bytes:
            return self._raw
        if self._key == _IPC_PRIVATE:
            raise MessageTooLargeError(
                f"{self._name()} is private and was made for messages of up to {self._max_bytes} bytes",
                why="sysv_ipc sets this size when it looks up a key, and a private queue has none",
                hint=f"Queue.private(max_bytes={max_bytes})",
                errno=errno.EINVAL,
            )
        try:
            raw, _ = _msgget(signed_key(self._key), create=False, exclusive=False, mode=0, max_bytes=max_bytes)
        except NoSuchQueueError as error:
            raise translate.removed(self._name(), errno.EINVAL) from error
        if raw.id != self._id:
            # Somebody removed the queue and made another of the same key.
            raise translate.removed(self._name(), errno.EINVAL)
        return raw

    def send(
        self,
        payload: bytes | bytearray | memoryview,
        *,
        type: int = 1,  # noqa: A002 - the field's word
        timeout: float | None = None,
    ) -> None:
        """Put one message at the tail of the queue.

        `timeout` None waits for room for ever; 0 does not wait; more waits as many seconds, by trying again every
        50 us to 5 ms: the caller is then not in the kernel's list of waiting senders, and those that are go first.
        Senders are not served in order anyway: a small message passes a large one that waits.

        Raises PayloadError (nothing was sent); MessageTooLargeError over msgmax, over what this queue can ever hold
        (the kernel would wait for ever), or over `max_bytes` of a private queue; QueueFullError; QueueRemovedError;
        QueuePermissionError; QueueLimitError without memory.
        """
        data = check_payload(payload)
        check_type(type)
        check_timeout(timeout)
        size_bytes = data.nbytes if isinstance(data, memoryview) else len(data)
        raw = self._raw
        if size_bytes > self._max_bytes:
            self._check_msgmax(size_bytes)
            raw = self.raw_for(size_bytes)
        try:
            # Not waiting first costs a queue with room nothing, and spares it a look at queue_bytes at each message.
            _uninterrupted(lambda: raw.send(data, False, type))
        except sysv_ipc.BusyError as error:
            self._check_can_ever_hold(size_bytes)
            if timeout == 0:
                raise self._full(size_bytes, 0) from error
        except (sysv_ipc.Error, OSError, MemoryError) as error:
            raise translate.from_send(error, queue=self._name(), size_bytes=size_bytes) from error
        else:
            return
        try:
            if timeout is None:
                _uninterrupted(lambda: raw.send(data, True, type))
            else:
                self._waiter.retry(
                    lambda: _uninterrupted(lambda: raw.send(data, False, type)),
                    busy=sysv_ipc.BusyError,
                    timeout_s=timeout,
                )
        except sysv_ipc.BusyError as error:
            raise self._full(size_bytes, timeout or 0) from error
        except (sysv_ipc.Error, OSError, MemoryError) as error:
            raise translate.from_send(error, queue=self._name(), size_bytes=size_bytes) from error

    def receive(
        self, selector: Selector = _ANY_TYPE, *, timeout: float | None = None, truncate: bool = False
    ) -> Message:
        """Take the first message that `selector` takes off the queue.

        `timeout` as in `send`: a number over 0 keeps no place in the kernel's list of waiting receivers, so one that
        waits for ever is served first, and turns between receivers are not kept.

        With `truncate` a message larger than `max_bytes` is cut to as many, and the rest of it is lost (MSG_NOERROR,
        msgop(2)). Nothing tells of it: a payload of `max_bytes` may be a whole message or the beginning of one.

        Raises NoMessageError; PoisonMessageError when that message is larger than `max_bytes` (it stays, except that
        a receiver that was waiting already is passed over, and the next that it fits gets it), which `truncate` rules
        out; QueueRemovedError; QueuePermissionError; QueueLimitError without memory.
        """
        check_timeout(timeout)
        flags, msgtyp = selector.flags | (MSG_NOERROR if truncate else 0), selector.msgtyp
        try:
            receive = self._receive_with(flags)
            if timeout is None:
                payload, message_type = _uninterrupted(lambda: receive(True, msgtyp))
            else:
                payload, message_type = self._waiter.retry(
                    lambda: _uninterrupted(lambda: receive(False, msgtyp)),
                    busy=sysv_ipc.BusyError,
                    timeout_s=timeout,
                )
        except sysv_ipc.BusyError as error:
            raise NoMessageError(
                f"{self._name()} has no message for this receiver ({selector}){_within(timeout or 0)}",
                errno=errno.ENOMSG,
            ) from error
        except (sysv_ipc.Error, OSError, MemoryError) as error:
            raise translate.from_receive(
                error, queue=self._name(), taken=str(selector), max_bytes=self._max_bytes
            ) from error
        return Message(message_type, payload)

    def drain(self, selector: Selector = _ANY_TYPE) -> Iterator[Message]:
        """Receive until nothing is left that `selector` takes; never waits. Raises as `receive`, but NoMessageError."""
        while True:
            try:
                message = self.receive(selector, timeout=0)
            except NoMessageError:
                return
            yield message

    def peek(self, index: int = 0, *, max_bytes: int = peeking.DEFAULT_BYTES) -> Message | None:
        """A copy of the message at `index`, where 0 is the head; None when there is none. See `peeking.peek`.

        The payload is cut to `max_bytes`, here those of this call. Raises as `peeking.peek`.
        """
        return peeking.peek(self._id, index, max_bytes=max_bytes)

    def stat(self) -> QueueStat:
        """The queue's state at this moment, also of one that may not be read; raises QueueRemovedError.

        It reads a line for each queue of the namespace: not for hot loops.
        """
        found = inventory.parse(inventory.read_listing(), queue_bytes_of=self._queue_bytes_if_mine)
        if not found:
            raise translate.removed(self._name(), errno.EINVAL)
        return found[0]

    def resize(self, queue_bytes: int) -> None:
        """Set how many bytes, and how many messages, the queue may hold (msg_qbytes); what is in it stays.

        Raises QueuePermissionError if this user is neither owner nor creator, or over msgmnb without
        CAP_SYS_RESOURCE; QueueRemovedError; UsageError outside 1..2**31-1.
        """
        check_size_bytes(queue_bytes, what="queue_bytes")
        try:
            self._raw.max_size = queue_bytes
        except sysv_ipc.PermissionsError as error:
            msgmnb = Limits.read().msgmnb
            if queue_bytes <= msgmnb:
                raise translate.from_msgctl(error, queue=self._name(), action="change its size") from error
            raise QueuePermissionError(
                f"{self._name()} cannot be set to {queue_bytes} bytes",
                why=f"msgmnb is {msgmnb}, and only CAP_SYS_RESOURCE of the host goes over it",
                hint="raise msgmnb first: sysctl kernel.msgmnb, or enter_private(queue_bytes=...)",
                errno=errno.EPERM,
            ) from error
        except (sysv_ipc.Error, OSError) as error:
            raise translate.from_msgctl(error, queue=self._name(), action="change its size") from error

    def remove(self) -> None:
        """Remove the queue and what is in it; who waits on it wakes with QueueRemovedError.

        Raises QueueRemovedError if it is gone already, so that a second remover learns of the first (the context
        manager takes that in silence); QueuePermissionError if this user is neither owner nor creator.
        """
        try:
            self._raw.remove()
        except (sysv_ipc.Error, OSError) as error:
            raise translate.from_msgctl(error, queue=self._name(), action="remove it") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self.owned:
            # If somebody was quicker: gone is what was wanted.
            with contextlib.suppress(QueueRemovedError):
                self.remove()

    def __repr__(self) -> str:
        try:
            stat = self.stat()
        except QueueRemovedError:
            return f"<Queue 0x{self._key:08x} id {self._id} removed>"
        except HarnessError as error:
            return f"<Queue 0x{self._key:08x} id {self._id} unknown: {error}>"
        return (
            f"<Queue 0x{self._key:08x} id {self._id} owner {_user_name(stat.uid)} perms {stat.mode:o}"
            f" used-bytes {stat.used_bytes} messages {stat.messages}>"
        )

    def _receive_with(self, flags: int) -> Callable[[bool, int], tuple[bytes, int]]:
        """sysv_ipc's receive, or where there are flags, our own; its buffer is of one call, as threads may share us."""
        return FlaggedReceive(self._id, max_bytes=self._max_bytes, flags=flags) if flags else self._raw.receive

    def _name(self) -> str:
        return f"queue 0x{self._key:08x} (id {self._id})"

    def _full(self, size_bytes: int, timeout_s: float) -> QueueFullError:
        return QueueFullError(
            f"{self._name()} has no room for a message of {size_bytes} bytes{_within(timeout_s)}",
            hint="receive from it, wait longer, or resize it",
            errno=errno.EAGAIN,
        )

    def _check_msgmax(self, size_bytes: int) -> None:
        """So that a message over msgmax is told so, not that its buffer could not be made."""
        if size_bytes > Limits.read().msgmax:
            error = OSError(errno.EINVAL, os.strerror(errno.EINVAL))
            raise translate.from_send(error, queue=self._name(), size_bytes=size_bytes)

    def _check_can_ever_hold(self, size_bytes: int) -> None:
        """Refuse what the kernel would wait for on an empty queue for ever (msg_fits_inqueue, ipc/msg.c)."""
        queue_bytes = self._queue_bytes()
        if max(size_bytes, 1) > queue_bytes:  # an empty message needs room for one message
            raise MessageTooLargeError(
                f"a message of {size_bytes} bytes can never be sent to {self._name()}",
                why=f"it holds at most {queue_bytes} bytes, and the kernel would wait for ever",
                hint="send less, or resize the queue",
                errno=errno.EINVAL,
            )

    def _queue_bytes_if_mine(self, id_: int) -> int | None:
        try:
            return self._queue_bytes() if id_ == self._id else None
        except QueueRemovedError:
            return None

    def _queue_bytes(self) -> int:
        try:
            return self._raw.max_size
        except sysv_ipc.PermissionsError:
            # Not readable for this user; the kernel tells this much by another call.
            queue_bytes = inventory.read_queue_bytes(self._id)
            if queue_bytes is None:
                raise translate.removed(self._name(), errno.EINVAL) from None
            return queue_bytes
        except (sysv_ipc.Error, OSError) as error:
            raise translate.from_msgctl(error, queue=self._name(), action="look at it") from error


def _msgget(
    key: int, *, create: bool, exclusive: bool, mode: int, max_bytes: int | None
) -> tuple[sysv_ipc.MessageQueue, int]:
    """sysv_ipc's queue and its buffer size. `key` is a key_t."""
    check_mode(mode)
    if max_bytes is not None:
        check_size_bytes(max_bytes, what="max_bytes", least=0)
    if sysv_ipc is None:
        support.require()  # type: ignore[unreachable]  # not so where it is not installed: binding.py
    size_bytes = min(Limits.read().msgmax, LARGEST_DEFAULT_BUFFER_BYTES) if max_bytes is None else max_bytes
    flags = (sysv_ipc.IPC_CREAT if create else 0) | (sysv_ipc.IPC_EXCL if exclusive else 0)
    try:
        return sysv_ipc.MessageQueue(key, flags, mode, size_bytes), size_bytes
    except (sysv_ipc.Error, OSError, MemoryError) as error:
        raise translate.from_msgget(error, key=unsigned_key(key), exclusive=exclusive) from error


def _uninterrupted(call: Callable[[], T]) -> T:
    """Make `call`, again if a signal interrupted it; the signal's handler has run by then, and may have raised."""
    while True:
        try:
            return call()
        except sysv_ipc.Error as error:
            # EINTR comes as the bare base class; its subclasses are the other failures.
            if type(error) is not sysv_ipc.Error:
                raise


def _within(timeout_s: float) -> str:
    return f" within {timeout_s:g} s" if timeout_s > 0 else ""


def _user_name(uid: int) -> str:
    """The user's name, or the number where it has none, as ipcs prints owners."""
    import pwd  # noqa: PLC0415 - Windows, where this module is imported too, has none

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
