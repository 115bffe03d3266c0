"""Every error this project raises on purpose, as one tree.

    HarnessError                     exit 1   anything below; carries `seen`, `why`, `hint`
    ├── UsageError                   exit 2   what was asked cannot be meant
    │   └── PlanError                exit 2   a plan that contradicts itself or cannot be carried out
    ├── MachineError                 exit 3   this machine cannot do it
    │   ├── NoMessageQueuesError     exit 3   msgget answers ENOSYS, or is not there at all
    │   ├── NamespaceError           exit 3   no private IPC namespace, and the host's limits do not suffice
    │   ├── EngineError              exit 3   the engine that was asked for was not built
    │   └── VirtualMachineError      exit 3   the VM cannot be reached, or is not as this project needs it
    │       └── NoVirtualMachineError exit 3  there is none yet: no Vagrant, or nothing created
    ├── QueueError                   exit 1   a queue call failed; carries `errno`
    │   ├── PayloadError             exit 1   not bytes-like, or a message type outside 1..2**31-1 (errno EINVAL)
    │   ├── MessageTooLargeError     exit 1   EINVAL of msgsnd: over msgmax, or over what this queue can ever hold
    │   ├── PoisonMessageError       exit 1   E2BIG: the message at the head does not fit the receiver's buffer
    │   ├── QueueFullError           exit 1   EAGAIN: no room, now or until the timeout
    │   ├── NoMessageError           exit 1   ENOMSG: nothing that the selector takes, now or until the timeout
    │   ├── QueueRemovedError        exit 1   EIDRM, and EINVAL afterwards: the queue is gone
    │   ├── QueueExistsError         exit 1   EEXIST
    │   ├── NoSuchQueueError         exit 2   ENOENT
    │   ├── QueuePermissionError     exit 3   EACCES, EPERM
    │   └── QueueLimitError          exit 3   ENOSPC, ENOMEM: msgmni queues exist already, or memory is out
    └── RunError                     exit 1   a run began and went wrong
        ├── WorkerKilledError        exit 1   a producer, a consumer or the leader died
        ├── ConnectionLostError      exit 1   the way to the VM broke off in the middle
        └── ResultNotSavedError      exit 1   the result could not be written where it was asked for

Each says what was seen, why, and what to do about it: `str(error)` is one line of the first two, `error.hint`
the third. The command line prints both and ends with `error.exit_status`; a traceback is a bug of ours.
Errno values are those of msgget(2), msgop(2) and msgctl(2).
"""

from __future__ import annotations

from typing import ClassVar


class HarnessError(Exception):
    """Base of the tree: what was `seen`, `why` it is so (may be empty), and a `hint` what to do (may be empty)."""

    exit_status: ClassVar[int] = 1

    def __init__(self, seen: str, *, why: str = "", hint: str = "") -> None:
        super().__init__(f"{seen}: {why}" if why else seen)
        self.seen = seen
        self.why = why
        self.hint = hint


class UsageError(HarnessError):
    """What was asked cannot be meant; nothing was created."""

    exit_status = 2


class PlanError(UsageError):
    """A plan that contradicts itself or cannot be carried out."""


class MachineError(HarnessError):
    """This machine cannot do what was asked."""

    exit_status = 3


class NoMessageQueuesError(MachineError):
    """There are no System V message queues here: msgget answers ENOSYS, or does not exist."""


class NamespaceError(MachineError):
    """A private IPC namespace was refused, and the host's limits do not suffice."""


class EngineError(MachineError):
    """The engine that was asked for was not built."""


class VirtualMachineError(MachineError):
    """The virtual machine cannot be reached, or is not as this project needs it."""


class NoVirtualMachineError(VirtualMachineError):
    """There is no virtual machine yet: Vagrant is not installed, or nothing was created."""


class QueueError(HarnessError):
    """A queue call failed; `errno` is the kernel's number, or the one it would have given."""

    def __init__(self, seen: str, *, why: str = "", hint: str = "", errno: int = 0) -> None:
        super().__init__(seen, why=why, hint=hint)
        self.errno = errno


class PayloadError(QueueError):
    """A payload that is not bytes-like, or a message type outside 1..2**31-1."""


class MessageTooLargeError(QueueError):
    """A message over msgmax, or over what the queue can ever hold."""


class PoisonMessageError(QueueError):
    """The message at the head is larger than the receiver's buffer, and blocks what is behind it (E2BIG)."""


class QueueFullError(QueueError):
    """There was no room in the queue, now or until the timeout (EAGAIN)."""


class NoMessageError(QueueError):
    """There was nothing that the selector takes, now or until the timeout (ENOMSG)."""


class QueueRemovedError(QueueError):
    """The queue was removed: EIDRM for those asleep on it, EINVAL for those who come later."""


class QueueExistsError(QueueError):
    """A queue with this key exists already (EEXIST)."""


class NoSuchQueueError(QueueError):
    """No queue has this key (ENOENT)."""

    exit_status = 2


class QueuePermissionError(QueueError):
    """The queue's mode does not let this user do that (EACCES, EPERM)."""

    exit_status = 3


class QueueLimitError(QueueError):
    """The kernel will not make another queue (ENOSPC at msgmni) or has no memory for it (ENOMEM)."""

    exit_status = 3


class RunError(HarnessError):
    """A run began and went wrong; what was measured until then is still shown and saved."""


class WorkerKilledError(RunError):
    """A producer, a consumer or the leader died before its time."""


class ConnectionLostError(RunError):
    """The way to the virtual machine broke off in the middle; what ran there is ended there."""


class ResultNotSavedError(RunError):
    """The result could not be written where it was asked for."""
