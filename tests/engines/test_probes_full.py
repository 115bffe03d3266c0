"""The probes of full queues, native and Python: refused, asleep, woken, and counted by type."""

from __future__ import annotations

import os
import time
from array import array
from functools import partial
from typing import TYPE_CHECKING

import pytest

from harness.engines import probes as module
from harness.engines.choice import native_problem
from harness.experiments.block_flow import shared_words
from harness.sysv import Queue, asleep_in
from harness.sysv.errors import HarnessError, QueueRemovedError, RunError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from harness.engines.probes import Probes

pytestmark = pytest.mark.private_ipc

TEXT, HOLDS = 8, 3
LIMIT_S = 10.0


@pytest.fixture(params=["native", "python"])
def probes(request: pytest.FixtureRequest) -> Probes:
    if request.param == "native" and (problem := native_problem()):
        pytest.skip(f"no native probes: {problem}")
    return module.load(request.param)


@pytest.fixture
def queue() -> Queue:
    """A queue that holds three messages."""
    queue = Queue.private(max_bytes=TEXT)
    queue.resize(TEXT * HOLDS)
    return queue


@pytest.fixture
def asleep(queue: Queue) -> Iterator[Callable[[Callable[[], object]], int]]:
    """Does something in a forked process until that sleeps in msgsnd; the process id. The queue's end is its end."""
    pids: list[int] = []

    def fork(work: Callable[[], object]) -> int:
        pid = os.fork()
        if not pid:
            try:
                work()
            except HarnessError:
                os._exit(3)
            os._exit(0)
        pids.append(pid)
        deadline_s = time.monotonic() + LIMIT_S
        while (sleeper := asleep_in(pid)) is None:
            assert time.monotonic() < deadline_s
            time.sleep(0.001)
        assert sleeper.call == "msgsnd"
        return pid

    yield fork
    if pids:
        queue.remove()
    for pid in pids:
        os.waitpid(pid, 0)


def test_each_refusal_is_timed(probes: Probes, queue: Queue) -> None:
    """A full queue refuses every send: each has a time, and nothing came in."""
    probes.fill(queue.id, 1, TEXT, HOLDS)
    times = array("q", bytes(8 * 5))

    probes.time_refusals(queue.id, message_type=1, size_bytes=TEXT, times=times)

    assert min(times) > 0
    assert queue.stat().messages == HOLDS


def test_a_send_that_gets_in_is_no_refusal(probes: Probes, queue: Queue) -> None:
    """Where there is room the time would be that of another thing, so it is an error."""
    with pytest.raises(RunError, match="during the measurement"):
        probes.time_refusals(queue.id, message_type=1, size_bytes=TEXT, times=array("q", bytes(8)))


def test_a_send_that_slept_has_the_time_of_its_return(
    probes: Probes, queue: Queue, asleep: Callable[[Callable[[], object]], int]
) -> None:
    """The first sends find room and return at once; the next sleeps until a message is taken, and returns then."""
    stamps = shared_words(HOLDS + 1)

    asleep(lambda: probes.stamp_sends(queue.id, message_type=1, size_bytes=TEXT, stamps=stamps))
    before = time.monotonic_ns()
    assert all(0 < stamp < before for stamp in stamps[:HOLDS])
    assert stamps[HOLDS] == 0
    taken = probes.take(queue.id, room_bytes=TEXT)

    deadline_s = time.monotonic() + LIMIT_S
    while not stamps[HOLDS]:
        assert time.monotonic() < deadline_s
    assert before <= taken < stamps[HOLDS] <= time.monotonic_ns()


def test_nothing_to_take_is_an_error(probes: Probes, queue: Queue) -> None:
    """Taking from an empty queue would start a clock for nothing."""
    with pytest.raises(RunError, match="ENOMSG"):
        probes.take(queue.id, room_bytes=TEXT)


def test_senders_flood_until_the_queue_is_gone(
    probes: Probes, queue: Queue, asleep: Callable[[Callable[[], object]], int]
) -> None:
    """Two senders keep a queue full; what was received is counted by type, up to the number asked for."""
    for message_type in (1, 2):
        asleep(partial(probes.flood, queue.id, message_type=message_type, size_bytes=TEXT))
    counts = array("q", bytes(8 * 3))

    came = probes.tally(
        queue.id, room_bytes=TEXT, most=500, until_ns=time.monotonic_ns() + int(LIMIT_S * 1e9), counts=counts
    )

    assert came == sum(counts) == 500
    assert counts[0] == 0


def test_a_tally_ends_with_its_time(probes: Probes, queue: Queue) -> None:
    """When the time is up nothing more is received, not even what is there."""
    probes.fill(queue.id, 1, TEXT, HOLDS)
    counts = array("q", bytes(8 * 2))

    assert probes.tally(queue.id, room_bytes=TEXT, most=9, until_ns=time.monotonic_ns(), counts=counts) == 0
    assert queue.stat().messages == HOLDS


def test_a_type_without_a_place_is_an_error(probes: Probes, queue: Queue) -> None:
    """A message of a type that nobody counts is told, and nothing is written beside the counts."""
    probes.fill(queue.id, 2, TEXT, 1)

    with pytest.raises(RunError, match="EBADMSG"):
        probes.tally(queue.id, room_bytes=TEXT, most=1, until_ns=1 << 62, counts=array("q", bytes(8 * 2)))


def test_a_flood_of_a_queue_that_is_gone_is_none(probes: Probes, queue: Queue) -> None:
    """Its end is the removal of the queue: afterwards it sends nothing and returns; a tally says why it cannot."""
    queue.remove()

    assert probes.flood(queue.id, message_type=1, size_bytes=TEXT) == 0
    with pytest.raises(QueueRemovedError):
        probes.tally(queue.id, room_bytes=TEXT, most=1, until_ns=1 << 62, counts=array("q", bytes(8)))
