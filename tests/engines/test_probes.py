"""The probes, native and Python: the same calls in the same order, timed, and the queue as it was."""

from __future__ import annotations

import threading
import time
from array import array
from pathlib import Path

import pytest

from harness.engines import probes as module
from harness.engines.choice import native_problem
from harness.engines.probes import MSG_COPY, MSG_EXCEPT, Probes
from harness.sysv import Message, Queue, asleep_in, peek_types
from harness.sysv.errors import EngineError, QueueRemovedError, RunError

pytestmark = pytest.mark.private_ipc

LIMIT_S = 10.0
TEXT = 8


@pytest.fixture(params=["native", "python"])
def probes(request: pytest.FixtureRequest) -> Probes:
    if request.param == "native" and (problem := native_problem()):
        pytest.skip(f"no native probes: {problem}")
    return module.load(request.param)


@pytest.fixture
def queue() -> Queue:
    return Queue.private(max_bytes=TEXT)


def times(count: int) -> array[int]:
    return array("q", bytes(8 * count))


def threads() -> set[int]:
    """The ids of this process's threads."""
    return {int(entry.name) for entry in Path("/proc/self/task").iterdir()}


def filled(probes: Probes, queue: Queue, *types: int) -> None:
    for one in types:
        probes.fill(queue.id, one, TEXT, 1)


def wait_until_asleep(thread_or_pid: int) -> None:
    deadline_s = time.monotonic() + LIMIT_S
    while asleep_in(thread_or_pid) is None:
        assert time.monotonic() < deadline_s, "it never slept in msgrcv"
        time.sleep(0.001)


def test_fill_sends_as_many_as_asked(probes: Probes, queue: Queue) -> None:
    """So many messages of the type and size are in the queue."""
    probes.fill(queue.id, 7, TEXT, 5)

    assert list(queue.drain()) == [Message(7, bytes(TEXT))] * 5


def test_a_full_queue_is_an_error_of_fill(probes: Probes, queue: Queue) -> None:
    """More than the queue holds is refused with EAGAIN, in words."""
    with pytest.raises(RunError, match="EAGAIN"):
        probes.fill(queue.id, 7, TEXT, 10_000)


def test_rotate_moves_heads_to_the_tail(probes: Probes, queue: Queue) -> None:
    """Two of four heads go to the tail, each behind the other."""
    filled(probes, queue, 1, 2, 3, 4)

    probes.rotate(queue.id, TEXT, 2)

    assert peek_types(queue.id) == [3, 4, 1, 2]


@pytest.mark.parametrize(
    ("asked", "after"),
    [
        ((0, 0, 0), [1, 3, 2, 2]),
        ((3, 0, 0), [2, 1, 2, 3]),
        ((3, 0, 2), [2, 3, 2, 1]),
        ((-3, 0, 0), [2, 3, 2, 1]),
        ((2, MSG_EXCEPT, 0), [2, 3, 2, 1]),
        ((9, 0, 0), [2, 1, 3, 2]),
    ],
    ids=["any", "exactly", "exactly-turned", "at-most", "except", "miss"],
)
def test_a_timed_receive_takes_what_was_asked_for_and_sends_it_back(
    probes: Probes, queue: Queue, asked: tuple[int, int, int], after: list[int]
) -> None:
    """One call takes the message that the selector means, sends it to the tail, and rotates; a miss changes nothing."""
    filled(probes, queue, 2, 1, 3, 2)
    msgtyp, flags, turns = asked
    found = times(1)

    probes.time_receives(queue.id, msgtyp=msgtyp, flags=flags, room_bytes=TEXT, times=found, turns=turns)

    assert peek_types(queue.id) == after
    assert found[0] > 0


def test_a_copy_leaves_the_queue_as_it_is(probes: Probes, queue: Queue) -> None:
    """With MSG_COPY and nothing sent back each call is timed, and nothing moves."""
    filled(probes, queue, 1, 2, 3)
    found = times(3)

    probes.time_receives(queue.id, msgtyp=1, flags=MSG_COPY, room_bytes=TEXT, times=found, back=False)

    assert peek_types(queue.id) == [1, 2, 3]
    assert min(found) > 0


def test_timed_sends_leave_nothing(probes: Probes, queue: Queue) -> None:
    """Each place has a time, and each message is taken off again."""
    found = times(4)

    probes.time_sends(queue.id, message_type=3, size_bytes=TEXT, times=found)

    assert min(found) > 0
    assert queue.stat().messages == 0


def test_the_overhead_is_that_of_an_empty_receive(probes: Probes, queue: Queue) -> None:
    """It is the median of calls that find nothing: above 0, and not above the longest of them."""
    found = times(9)

    assert 0 < module.overhead_ns(probes, queue.id, found) <= max(found)


def test_an_exchange_counts_its_round_trips(probes: Probes, queue: Queue) -> None:
    """The one that begins ends at its time, the other when the queue is removed, both with the same count."""
    answered: list[int] = []
    other = threading.Thread(
        target=lambda: answered.append(probes.exchange(queue.id, sends=2, takes=1, begins=False, size_bytes=TEXT))
    )
    other.start()

    done = probes.exchange(
        queue.id, sends=1, takes=2, begins=True, size_bytes=TEXT, until_ns=time.monotonic_ns() + 20_000_000
    )
    queue.remove()
    other.join(LIMIT_S)

    assert done > 0
    assert answered == [done]


def test_a_poller_ends_with_its_queue(probes: Probes, queue: Queue) -> None:
    """It asks over and over for what is not there, until the queue is removed."""
    asked: list[int] = []
    poller = threading.Thread(target=lambda: asked.append(probes.poll(queue.id, msgtyp=9, room_bytes=TEXT)))
    poller.start()
    wait_s = time.monotonic() + LIMIT_S
    while not poller.is_alive() and time.monotonic() < wait_s:
        time.sleep(0.001)

    queue.remove()
    poller.join(LIMIT_S)

    assert len(asked) == 1


def test_sleepers_sleep_each_on_its_type_until_the_queue_is_removed(probes: Probes, queue: Queue) -> None:
    """Three threads sleep in msgrcv for types 5, 6 and 7, and end with the queue."""
    before = threads()
    sleepers = probes.sleepers(queue.id, first_type=5, most=10)

    assert sleepers.add(1) == 1
    assert sleepers.add(2) == 3
    new = threads() - before
    for thread in new:
        wait_until_asleep(thread)
    asked = {found.msgtyp for thread in new if (found := asleep_in(thread))}
    queue.remove()
    sleepers.join()

    assert asked == {5, 6, 7}
    deadline_s = time.monotonic() + LIMIT_S
    while threads() != before:  # a thread that was joined stands in /proc for a moment
        assert time.monotonic() < deadline_s
        time.sleep(0.001)


def test_no_more_sleepers_than_were_announced(probes: Probes, queue: Queue) -> None:
    """`most` is a limit: who asks for more is told how many there are."""
    sleepers = probes.sleepers(queue.id, first_type=5, most=2)

    found = sleepers.add(5)
    queue.remove()
    sleepers.join()

    assert found == 2


def test_a_removed_queue_is_said_so(probes: Probes, queue: Queue) -> None:
    """A probe on a queue that is gone raises QueueRemovedError, not a bare errno."""
    queue.remove()

    with pytest.raises(QueueRemovedError):
        probes.time_receives(queue.id, msgtyp=0, room_bytes=TEXT, times=times(1))


def test_unknown_probes_are_refused() -> None:
    """The ceiling's references are engines, and no probes."""
    with pytest.raises(EngineError, match="plain"):
        module.load("plain")
