"""Who sleeps on a queue, as /proc tells."""

from __future__ import annotations

import os
import signal
import time

import pytest

from harness.sysv import Queue, sleepers


@pytest.mark.private_ipc
def test_tells_who_sleeps_in_which_call() -> None:
    """A process asleep in msgrcv on the queue is found, with its call, and one on another queue is not."""
    with Queue.create(0x51) as queue, Queue.create(0x52) as other:
        pid = os.fork()
        if pid == 0:
            queue.receive()
            os._exit(0)

        deadline = time.monotonic() + 5
        while not (found := sleepers(queue.id)) and time.monotonic() < deadline:
            os.sched_yield()

        assert [(sleeper.pid, sleeper.call) for sleeper in found] == [(pid, "msgrcv")]
        assert sleepers(other.id) == []
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        assert sleepers(queue.id) == []
