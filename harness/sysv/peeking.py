"""Messages looked at while they stay in their queue: msgrcv with MSG_COPY, which sysv_ipc does not offer.

For `Queue.peek`, and for who knows a queue's id only; no receiver notices, and nothing that ipcs lists changes. Linux
3.8 has it, and only with CONFIG_CHECKPOINT_RESTORE, for whose sake it was made (msgop(2)). Not called peek.py: a module
would stand in the way of the function of that name in the face.

MSG_NOERROR, which cuts a message for an ordinary receiver, does nothing here: copy_msg answers EINVAL to a buffer that
is too small (ipc/msgutil.c). So a message is copied whole, and cut here.
"""

from __future__ import annotations

import errno
import sys
from typing import TYPE_CHECKING

from harness.sysv import support, translate
from harness.sysv.checks import check_size_bytes
from harness.sysv.limits import Limits
from harness.sysv.message import Message
from harness.sysv.msgrcv import IPC_NOWAIT, MSG_COPY, Buffer

if TYPE_CHECKING:
    from collections.abc import Iterator

DEFAULT_BYTES = 8192
"""The kernel's own msgmax (MSGMAX, include/uapi/linux/msg.h): where nobody raised it, nothing is cut."""

_FIRST_BUFFER_BYTES = 8192


def peek(queue_id: int, index: int, *, max_bytes: int = DEFAULT_BYTES) -> Message | None:
    """A copy of the message at `index`, where 0 is the head; None when the queue has none there.

    The payload is cut to `max_bytes`. The type is the kernel's long, so it can be over 2**31-1 if another program sent
    it. The kernel walks to the message under the queue's lock, where senders and receivers meanwhile wait; a large
    message costs a walk more for each doubling from 8 KiB to its size.

    Raises UsageError for a number outside 0..2**31-1; QueueRemovedError, also for an id that never was;
    QueuePermissionError without read permission; MessageTooLargeError for a message over the msgmax of today, which
    was lowered after it was sent; QueueLimitError without memory; NoMessageQueuesError; MachineError where the kernel
    has no MSG_COPY.
    """
    check_size_bytes(index, what="an index", least=0)
    check_size_bytes(max_bytes, what="max_bytes", least=0)
    return next(_copies(queue_id, range(index, index + 1), max_bytes), None)


def peek_types(queue_id: int, *, most: int = 256) -> list[int]:
    """The types of the first `most` messages, from the head; fewer when the queue has fewer. Raises as `peek`.

    Each message costs a call, a walk to it under the queue's lock, and a copy of it: n messages n * n / 2 steps that
    senders and receivers wait for. It is no picture of one moment: a message taken meanwhile moves those behind it,
    and one of them is missed.
    """
    check_size_bytes(most, what="most", least=0)
    return [message.type for message in _copies(queue_id, range(most), 0)]


def _copies(queue_id: int, indices: range, max_bytes: int) -> Iterator[Message]:
    """The messages at `indices`, cut to `max_bytes`, until there is none at one of them."""
    check_size_bytes(queue_id, what="a queue id", least=0)
    if sys.platform != "linux":
        support.require()  # before the call: a system that does not know the flag would take the message
    msgmax = Limits.read().msgmax
    # Never a buffer over msgmax: the kernel would answer EINVAL to a message over it, as if the queue were gone.
    buffer = Buffer(min(_FIRST_BUFFER_BYTES, msgmax))
    for index in indices:
        size_bytes, number = buffer.receive(queue_id, index, MSG_COPY | IPC_NOWAIT)
        while number == errno.E2BIG and buffer.text_bytes < msgmax:
            # Not at once as large as msgmax, which can be 2 GiB: the kernel allocates what the buffer promises.
            buffer = Buffer(min(2 * buffer.text_bytes, msgmax))
            size_bytes, number = buffer.receive(queue_id, index, MSG_COPY | IPC_NOWAIT)
        if number == errno.ENOMSG:
            return
        if number:
            raise translate.from_copy(number, queue=f"queue id {queue_id}", index=index)
        yield Message(buffer.type, buffer.text(min(size_bytes, max_bytes)))
