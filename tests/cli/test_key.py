"""`harness load --key`: somebody else's queue is loaded, left where it is, and not touched where it is in use."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import pytest

from harness.sysv import Queue, queues, sleepers

Harness = Callable[..., subprocess.CompletedProcess[str]]
KEY = 0xC0049
SHORT = ("load", "--rate", "5k", "--duration", "0.2s", "--warmup", "0s", "--key", "0xC0049")
CONSUMER = f"""
from harness.sysv import Queue
queue = Queue.open({KEY})
while True:
    queue.receive()
"""

pytestmark = pytest.mark.private_ipc


@pytest.fixture
def queue() -> Iterator[Queue]:
    """Somebody else's queue."""
    with Queue.create(KEY) as made:
        yield made


@pytest.fixture
def sleeper(queue: Queue) -> Iterator[int]:
    """The process id of another program that sleeps on the queue."""
    process = subprocess.Popen([sys.executable, "-c", CONSUMER])
    deadline_s = time.monotonic() + 10
    while not sleepers(queue.id):
        assert time.monotonic() < deadline_s
        time.sleep(0.01)
    yield process.pid
    process.kill()
    process.wait()


def test_it_is_loaded_and_left_empty_where_it_was(queue: Queue, harness: Harness) -> None:
    """The queue is used, and afterwards is there as before: the same id, the same limit, and nothing in it."""
    before = queue.stat()

    done = harness(*SHORT, "--json", "-", "--quiet")

    after = queue.stat()
    result = json.loads(done.stdout)
    assert done.returncode == 0
    assert result["sent"] == result["received"] > 0
    assert (after.id, after.queue_bytes, after.mode) == (before.id, before.queue_bytes, before.mode)
    assert after.messages == 0
    assert after.last_send_time > 0
    assert [found.key for found in queues()] == [KEY]


def test_one_that_holds_messages_is_refused(queue: Queue, harness: Harness) -> None:
    """With messages in it the run is refused with 2, and they are still there."""
    queue.send(b"somebody's")

    done = harness(*SHORT)

    assert done.returncode == 2
    assert "holds 1 message" in done.stderr
    assert "--force" in done.stderr
    assert queue.stat().messages == 1


def test_force_takes_what_was_in_it(queue: Queue, harness: Harness) -> None:
    """With --force the run goes on; what was in the queue is told as foreign and not mixed into the ledger."""
    queue.send(b"somebody's")

    done = harness(*SHORT, "--force")

    assert done.returncode == 0
    assert "1 messages on the queue were not this run's" in done.stdout


def test_one_on_which_somebody_sleeps_is_refused(sleeper: int, queue: Queue, harness: Harness) -> None:
    """A process asleep on the queue would take messages of the run: it is named, and the run refused with 2."""
    done = harness(*SHORT)

    assert done.returncode == 2
    assert f"process {sleeper} sleeps in msgrcv" in done.stderr
    assert "--consumers 0" in done.stderr
    assert queue.stat().last_send_time == 0


def test_forced_beside_a_thief_the_loss_is_told(sleeper: int, harness: Harness) -> None:
    """With --force beside another reader, what it took is reported as lost, and the status is 1."""
    done = harness(*SHORT, "--force", "--drain", "0.2s", "--json", "-", "--quiet")

    assert json.loads(done.stdout)["lost"] > 0
    assert done.returncode == 1


def test_somebody_elses_consumers_are_loaded(sleeper: int, queue: Queue, harness: Harness) -> None:
    """--consumers 0 sends to whoever reads the queue; nothing is claimed of what they received."""
    done = harness(*SHORT, "--consumers", "0", "--json", "-")

    result = json.loads(done.stdout)
    assert done.returncode == 0
    assert result["sent"] > 0
    assert result["received"] is None
    assert "the receivers are not ours" in done.stderr
    assert queue.stat().last_receive_pid == sleeper


def test_without_anybody_reading_a_full_queue_ends_in_seconds(queue: Queue, harness: Harness) -> None:
    """--consumers 0 on a queue that nobody reads: the producers block, the run still ends, and the rest is counted."""
    done = harness(*SHORT, "--consumers", "0", "--size", "1KiB", "--json", "-", "--quiet")

    result = json.loads(done.stdout)
    assert result["left_in_queue"] == queue.stat().messages == result["sent"] > 0
    assert result["unsent"] > 0
    assert result["sustained"] is False


def test_a_queue_that_is_removed_meanwhile_was_not_ours(harness: Harness) -> None:
    """A key without a queue is refused with 2, and none is made."""
    done = harness(*SHORT)

    assert done.returncode == 2
    assert "there is no queue with key 0x000c0049" in done.stderr
    assert queues() == []
