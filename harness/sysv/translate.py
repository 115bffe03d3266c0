"""sysv_ipc's exceptions, and those of msgrcv.py, which are the same, turned into the project's tree of errors.

Used by queue.py, and by peeking.py for the bare number of its call. sysv_ipc 1.2 names failures inconsistently: a
removed queue is ExistentialError on receive but OSError EINVAL on a later send, msgmni reached is an OSError without
errno, and EINTR is the bare base class, which queue.py retries and which never gets here. The numbers are those of
msgget(2), msgop(2) and msgctl(2).
"""

from __future__ import annotations

import errno
import os

from harness.sysv import support
from harness.sysv.binding import sysv_ipc
from harness.sysv.errors import (
    HarnessError,
    MachineError,
    MessageTooLargeError,
    NoSuchQueueError,
    PoisonMessageError,
    QueueError,
    QueueExistsError,
    QueueLimitError,
    QueuePermissionError,
    QueueRemovedError,
)
from harness.sysv.limits import Limits


def key_words(key: int) -> str:
    """A key as ipcs prints it."""
    return f"key 0x{key:08x}"


def from_msgget(error: Exception, *, key: int, exclusive: bool) -> HarnessError:
    """The error for what sysv_ipc.MessageQueue raised; `exclusive`: a new queue was asked for (IPC_EXCL).

    Raises NoMessageQueuesError itself where the machine has no queues.
    """
    if isinstance(error, sysv_ipc.ExistentialError):
        if exclusive:
            return QueueExistsError(
                f"a queue with {key_words(key)} exists already",
                hint=f"open it, or remove it: ipcrm -Q 0x{key:x}",
                errno=errno.EEXIST,
            )
        return NoSuchQueueError(
            f"there is no queue with {key_words(key)}",
            hint="start the program that creates it first; ipcs -q lists the queues of this IPC namespace",
            errno=errno.ENOENT,
        )
    if isinstance(error, sysv_ipc.PermissionsError):
        return _permission(f"queue {key_words(key)}", "open it", errno.EACCES)
    number = getattr(error, "errno", None)
    # sysv_ipc gives its own text, and no number, for ENOSPC alone.
    if isinstance(error, OSError) and number in (None, errno.ENOSPC):
        return QueueLimitError(
            "the kernel will not make another queue",
            why="this IPC namespace holds msgmni queues already",
            hint="ipcs -q lists them; ipcrm -q ID removes one; sysctl kernel.msgmni shows the limit",
            errno=errno.ENOSPC,
        )
    if isinstance(error, MemoryError) or number == errno.ENOMEM:
        return QueueLimitError("the kernel will not make another queue", why="no memory", errno=errno.ENOMEM)
    support.require()
    return _other(f"msgget of {key_words(key)} failed", error)


def from_send(error: Exception, *, queue: str, size_bytes: int) -> HarnessError:
    """The error for what send raised, except EAGAIN and EINTR, for a message of `size_bytes`."""
    if isinstance(error, sysv_ipc.ExistentialError):
        return removed(queue, errno.EIDRM)
    if isinstance(error, sysv_ipc.PermissionsError):
        return _permission(queue, "send to it", errno.EACCES)
    if isinstance(error, MemoryError) or getattr(error, "errno", None) == errno.ENOMEM:
        return QueueLimitError(f"no memory for a message of {size_bytes} bytes to {queue}", errno=errno.ENOMEM)
    if getattr(error, "errno", None) == errno.EINVAL:
        # do_msgsnd looks at the size before it looks for the queue (ipc/msg.c), so this order tells the two apart.
        msgmax = Limits.read().msgmax
        if size_bytes > msgmax:
            return MessageTooLargeError(
                f"a message of {size_bytes} bytes cannot be sent",
                why=f"msgmax is {msgmax} bytes",
                hint="send less, or raise it: sysctl kernel.msgmax",
                errno=errno.EINVAL,
            )
        return removed(queue, errno.EINVAL)
    support.require()
    return _other(f"msgsnd to {queue} failed", error)


def from_receive(error: Exception, *, queue: str, taken: str, max_bytes: int) -> HarnessError:
    """The error for what receive raised, except ENOMSG and EINTR; `taken` says which messages were asked for."""
    if isinstance(error, sysv_ipc.ExistentialError):
        return removed(queue, errno.EIDRM)
    if isinstance(error, sysv_ipc.PermissionsError):
        return _permission(queue, "receive from it", errno.EACCES)
    if getattr(error, "errno", None) == errno.E2BIG:
        return PoisonMessageError(
            f"the first message of {queue} for this receiver ({taken}) is larger than its {max_bytes} bytes",
            why="the kernel leaves such a message at the head, where it blocks what is behind it for this receiver",
            hint="open the queue with a larger max_bytes; or receive(truncate=True), which cuts it and loses the rest",
            errno=errno.E2BIG,
        )
    if isinstance(error, MemoryError):
        return QueueLimitError(f"no memory for a buffer of {max_bytes} bytes", errno=errno.ENOMEM)
    support.require()
    return _other(f"msgrcv from {queue} failed", error)


def from_copy(number: int, *, queue: str, index: int) -> HarnessError:
    """The error for the errno `number` of msgrcv with MSG_COPY of the message at `index`, except ENOMSG."""
    if number in (errno.EIDRM, errno.EINVAL):
        return removed(queue, number)
    if number == errno.EACCES:
        return _permission(queue, "look into it", number)
    if number == errno.E2BIG:
        return MessageTooLargeError(
            f"message {index} of {queue} cannot be copied",
            why="it is larger than msgmax, which was lowered since it was sent",
            hint="raise it again: sysctl kernel.msgmax",
            errno=number,
        )
    if number == errno.ENOMEM:
        return QueueLimitError(f"no memory for a copy of message {index} of {queue}", errno=number)
    support.require()
    if number == errno.ENOSYS:
        return MachineError(
            "queued messages cannot be looked at here",
            why="msgrcv answers ENOSYS to MSG_COPY: this kernel was built without CONFIG_CHECKPOINT_RESTORE",
            hint="use another kernel, or the project's virtual machine: vagrant up; ipcs -q tells how many there are",
        )
    return _other(f"msgrcv with MSG_COPY from {queue} failed", OSError(number, os.strerror(number)))


def from_msgctl(error: Exception, *, queue: str, action: str) -> HarnessError:
    """The error for what IPC_STAT, IPC_SET or IPC_RMID raised; `action` says what was tried: "remove it"."""
    number = getattr(error, "errno", None)
    if isinstance(error, sysv_ipc.ExistentialError) or number in (errno.EIDRM, errno.EINVAL):
        return removed(queue, errno.EINVAL if number is None else number)
    if isinstance(error, sysv_ipc.PermissionsError | PermissionError):
        return _permission(queue, action, errno.EPERM)
    support.require()
    return _other(f"msgctl of {queue} failed", error)


def removed(queue: str, number: int) -> QueueRemovedError:
    """The error for a queue that is gone."""
    return QueueRemovedError(f"{queue} is gone", why="somebody removed it", errno=number)


def _permission(queue: str, action: str, number: int) -> QueuePermissionError:
    return QueuePermissionError(
        f"this user may not {action}: {queue}",
        why="its mode and owner do not allow it",
        hint="ipcs -q shows both; the owner, its creator or root may change the mode",
        errno=number,
    )


def _other(seen: str, error: Exception) -> QueueError:
    number = getattr(error, "errno", None) or 0
    return QueueError(seen, why=str(error), errno=number)
