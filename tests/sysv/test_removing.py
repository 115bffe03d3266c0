"""harness/sysv/removing.py: a queue is removed by its id."""

from __future__ import annotations

import os

import pytest

from harness.labkit.ground import NOBODY, drop_privileges
from harness.sysv import Queue, queues, remove_queue
from harness.sysv.errors import QueuePermissionError, QueueRemovedError


@pytest.mark.private_ipc
def test_a_private_queue_is_removed_by_its_id() -> None:
    """A queue without a key is removed by its id, with what is in it."""
    queue = Queue.private()
    queue.send(b"x")

    remove_queue(queue.id)

    assert queues() == []


@pytest.mark.private_ipc
def test_a_queue_that_is_gone_is_told() -> None:
    """An id that names no queue any more is QueueRemovedError."""
    queue = Queue.private()
    remove_queue(queue.id)

    with pytest.raises(QueueRemovedError, match=f"queue id {queue.id} is gone"):
        remove_queue(queue.id)


@pytest.mark.private_ipc
def test_another_users_queue_is_refused() -> None:
    """Who is neither owner nor creator may not remove it: QueuePermissionError."""
    pid = os.fork()
    if pid == 0:
        try:
            os.setresuid(NOBODY, NOBODY, NOBODY)
            Queue.create(0x77, mode=0o666)
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
    drop_privileges()
    theirs = [queue.id for queue in queues()]
    if not theirs:
        pytest.skip("only root can make a queue that belongs to another user")

    with pytest.raises(QueuePermissionError):
        remove_queue(theirs[0])

    assert [queue.id for queue in queues()] == theirs
