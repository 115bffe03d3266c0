"""What an experiment's work has at hand in the chamber: waiting until a process of its own sleeps at a queue."""

from __future__ import annotations

import signal

import pytest

from harness.experiments.inside import Bench
from harness.sysv import Queue
from harness.sysv.errors import RunError

pytestmark = pytest.mark.private_ipc


@pytest.fixture
def bench() -> Bench:
    return Bench(lambda *_, **__: None)


def test_a_process_that_waits_is_seen_asleep(bench: Bench) -> None:
    """It is waited for until a process sleeps at a queue, and told what that asked for."""
    with Queue.private(max_bytes=8) as queue:
        pid = bench.start(lambda: queue.receive().type)

        sleeper = bench.until_asleep(pid)

        assert (sleeper.pid, sleeper.call, sleeper.queue_id) == (pid, "msgrcv", queue.id)
        bench.end(pid)


def test_a_process_that_ended_is_not_waited_for(bench: Bench) -> None:
    """One that has ended never sleeps: that is told at once, and it can still be collected."""
    pid = bench.start(lambda: 7)

    with pytest.raises(RunError, match="ended, where it should have waited"):
        bench.until_asleep(pid)

    assert bench.wait(pid, 1.0) == 7


def test_a_process_that_does_not_wait_has_a_limit(bench: Bench) -> None:
    """One that stays busy elsewhere is waited for no longer than the limit."""
    pid = bench.start(signal.pause)

    with pytest.raises(RunError, match=r"not seen asleep at a queue within 0\.05 s"):
        bench.until_asleep(pid, 0.05)

    bench.end(pid)
