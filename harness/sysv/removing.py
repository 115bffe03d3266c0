"""A queue removed by its id, which is all that a listing knows of a private one. Used by who cleans up.

Who has made or opened a queue removes it by `Queue.remove`.
"""

from __future__ import annotations

import os

from harness.sysv import libc, translate

_IPC_RMID = 0  # include/uapi/linux/ipc.h


def remove_queue(queue_id: int) -> None:
    """Remove the queue with this id (msqid), and all that is in it; who sleeps on it wakes with EIDRM.

    Raises QueueRemovedError for one that is gone, QueuePermissionError if this user is neither owner nor creator.
    """
    result, number = libc.call("msgctl", queue_id, _IPC_RMID, None)
    if result == -1:
        error = OSError(number, os.strerror(number))
        raise translate.from_msgctl(error, queue=f"queue id {queue_id}", action="remove it") from error
