"""harness/experiments/top.py: what a look sees of real queues."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from harness.experiments.top import contents, look
from harness.sysv import Queue, asleep_in

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.private_ipc


@pytest.fixture
def asleep() -> Iterator[Callable[[Callable[[], object]], int]]:
    """Start a process that calls something and sleeps in it; gives its pid when it sleeps."""
    pids: list[int] = []

    def start(call: Callable[[], object]) -> int:
        pid = os.fork()
        if pid == 0:
            try:
                call()
            finally:
                os._exit(0)
        pids.append(pid)
        deadline_s = time.monotonic() + 10
        while asleep_in(pid) is None:
            assert time.monotonic() < deadline_s, "it did not fall asleep"
        return pid

    yield start
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def test_a_look_names_who_sent_last_and_who_sleeps(asleep: Callable[[Callable[[], object]], int]) -> None:
    """A row has the queue's state, its last sender by name, and who sleeps in receive and in send, apart."""
    with Queue.create(0x3034) as empty, Queue.create(0x77) as full:
        full.resize(10)
        full.send(b"0123456789")
        receiver = asleep(empty.receive)
        sender = asleep(lambda: full.send(b"x"))

        rows = {row.queue.key: row for row in look().rows}

    name = Path("/proc/self/comm").read_text().strip()
    assert [process.pid for process in rows[0x3034].receiving] == [receiver]
    assert [process.pid for process in rows[0x77].sending] == [sender]
    assert rows[0x3034].sending == rows[0x77].receiving == ()
    assert rows[0x3034].last_sender is None
    assert rows[0x77].last_sender is not None
    assert (rows[0x77].last_sender.pid, rows[0x77].last_sender.name) == (os.getpid(), name)
    assert rows[0x77].full_share == 1.0


def test_rates_come_from_two_looks() -> None:
    """The net change of messages and bytes since the look before, per second of the clock; None at the first look."""
    with Queue.create(0x77) as queue:
        first = look(clock=lambda: 100.0)
        for _ in range(6):
            queue.send(b"four")
        second = look(first, clock=lambda: 102.0)

    assert first.rows[0].messages_per_s is None
    assert second.rows[0].messages_per_s == 3.0
    assert second.rows[0].bytes_per_s == 12.0


def test_a_queue_is_full_by_messages_too() -> None:
    """Empty messages fill a queue: the share counts whichever of bytes and messages is nearer to the limit."""
    with Queue.create(0x77) as queue:
        queue.resize(10)
        for _ in range(5):
            queue.send(b"")

        (row,) = look().rows

    assert row.full_share == 0.5


def test_contents_counts_the_types_of_the_first_messages() -> None:
    """What waits is counted by type, and nothing is taken."""
    with Queue.create(0x77) as queue:
        for kind in (3, 1, 3):
            queue.send(b"x", type=kind)

        found = contents(queue.id)

        assert found.types == {1: 1, 3: 2}
        assert queue.stat().messages == 3


def test_contents_of_a_removed_queue_says_why_not() -> None:
    """A queue that is gone gives no error, but the reason."""
    queue = Queue.create(0x77)
    queue.remove()

    found = contents(queue.id)

    assert found.types == {}
    assert "gone" in found.why_not
