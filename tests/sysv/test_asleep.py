"""Who sleeps on a queue, and for what, as /proc tells."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from typing import TYPE_CHECKING

import pytest

from harness.sysv import Queue, Selector, Sleeper, asleep_in, enter_private, sleepers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

PATIENCE_S = 5.0


@contextlib.contextmanager
def forked(call: Callable[[], object]) -> Iterator[int]:
    """The pid of a child that makes a call; killed at the end."""
    pid = os.fork()
    if pid == 0:
        try:
            call()
        finally:
            os._exit(1)
    try:
        yield pid
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def asleep(pid: int) -> Sleeper:
    """What the process sleeps in, once it does."""
    deadline_s = time.monotonic() + PATIENCE_S
    while (found := asleep_in(pid)) is None:
        assert time.monotonic() < deadline_s, f"process {pid} never slept on a queue"
        os.sched_yield()
    return found


@pytest.mark.private_ipc
def test_tells_who_sleeps_in_which_call() -> None:
    """A process asleep in msgrcv on the queue is found, with its call, and one on another queue is not."""
    with Queue.create(0x51) as queue, Queue.create(0x52) as other:
        with forked(queue.receive) as pid:
            asleep(pid)

            assert [(sleeper.pid, sleeper.call) for sleeper in sleepers(queue.id)] == [(pid, "msgrcv")]
            assert sleepers(other.id) == []
        assert sleepers(queue.id) == []


@pytest.mark.private_ipc
@pytest.mark.parametrize(
    "selector",
    [
        Selector.any(),
        Selector.exactly(5),
        Selector.exactly(2**31 - 1),
        Selector.at_most(5),
        Selector.at_most(2**31 - 1),
        Selector.anything_but(5),
    ],
)
def test_a_receivers_wish_is_told(selector: Selector) -> None:
    """Of a sleeping receiver the msgtyp is told with its sign and MSG_EXCEPT, and the size of its buffer."""
    with Queue.private(max_bytes=4321) as queue, forked(lambda: queue.receive(selector)) as pid:
        assert asleep(pid) == Sleeper(
            pid=pid,
            call="msgrcv",
            msgtyp=selector.msgtyp,
            size_bytes=4321,
            queue_id=queue.id,
            flags=selector.flags,
        )


@pytest.mark.private_ipc
def test_a_senders_message_has_its_size() -> None:
    """Of a sleeping sender the size of its message is told, and no msgtyp."""
    with Queue.private() as queue:
        queue.resize(100)
        queue.send(b"x" * 60)
        with forked(lambda: queue.send(b"x" * 55, type=3)) as pid:
            expected = Sleeper(pid=pid, call="msgsnd", msgtyp=None, size_bytes=55, queue_id=queue.id)

            assert asleep(pid) == expected
            assert sleepers(queue.id) == [expected]


@pytest.mark.private_ipc
def test_several_sleepers_are_told_apart() -> None:
    """Each process on the queue has its own line, in the order of their pids."""
    with (
        Queue.private() as queue,
        forked(lambda: queue.receive(Selector.exactly(1))) as first,
        forked(lambda: queue.receive(Selector.at_most(2))) as second,
    ):
        wanted = {first: 1, second: -2}
        for pid in wanted:
            asleep(pid)

        found = [(sleeper.pid, sleeper.msgtyp) for sleeper in sleepers(queue.id)]

        assert found == sorted(wanted.items())


@pytest.mark.private_ipc
def test_who_sleeps_elsewhere_is_not_asleep_on_a_queue() -> None:
    """A process that runs, one that waits for something else, and one that has ended sleep on no queue."""
    reader, writer = os.pipe()

    def start_and_wait() -> None:
        os.write(writer, b"1")
        signal.pause()

    with forked(start_and_wait) as waiting:
        os.read(reader, 1)  # from now on it is about to pause, or does

        assert asleep_in(waiting) is None
    assert asleep_in(waiting) is None
    assert asleep_in(os.getpid()) is None


@pytest.mark.private_ipc
def test_a_sleeper_of_another_namespace_is_told_by_pid_only() -> None:
    """A queue of the same id elsewhere is another queue, so only who names the process is told of it."""

    def sleep_elsewhere() -> None:
        enter_private()
        Queue.private().receive()

    with Queue.private() as queue, forked(sleep_elsewhere) as pid:
        assert asleep(pid).queue_id == queue.id
        assert sleepers(queue.id) == []


@pytest.mark.parametrize("text", ["running\n", "-1 0x7ffc0 0x7ffb0\n", ""])
def test_a_process_in_no_call_sleeps_on_no_queue(text: str, tmp_path: Path) -> None:
    """What the kernel writes of a process that is in no system call is no sleeper and no error."""
    (tmp_path / "7").mkdir()
    (tmp_path / "7" / "syscall").write_text(text)

    assert asleep_in(7, tmp_path) is None
