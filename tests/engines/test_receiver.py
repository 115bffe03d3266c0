"""A consumer's slice: what it counts, records and finds wrong with messages made by hand; the same for both engines."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from harness.engines.layout import HEADER, HEADER_BYTES, ConsumerWord, Control
from harness.engines.protocol import Reason
from harness.measure.ledger import RING_SIZE, generation_of
from harness.sysv.msgrcv import MSG_EXCEPT

if TYPE_CHECKING:
    from harness.engines.protocol import Engine
    from tests.engines.conftest import Bench

pytestmark = pytest.mark.private_ipc(queue_bytes=2**20, message_bytes=8192)

MS = 1_000_000


def test_takes_one_message_when_time_is_up(engine: Engine, bench: type[Bench]) -> None:
    """A slice whose time is over takes the one message that tells it so, and counts it."""
    at = bench()
    at.put(0, 1, 2)

    reason = at.receiver(engine).run(0)

    assert reason is Reason.TIME
    assert (at.board.received, at.board.received_of(0), at.queue.stat().messages) == (1, 1, 2)


def test_receives_until_its_time_is_up(engine: Engine, bench: type[Bench]) -> None:
    """Before its time is up it goes on, and the message that arrives then ends it."""
    at = bench()
    at.put(*range(2000))
    start = time.monotonic_ns()

    reason = at.receiver(engine).run(start + 100_000)

    assert reason is Reason.TIME
    assert time.monotonic_ns() >= start + 100_000
    assert 1 <= at.board.received <= 2000
    assert at.board.received + at.queue.stat().messages == 2000


def test_records_latency_from_the_intended_and_service_from_the_started_time(
    engine: Engine, bench: type[Bench]
) -> None:
    """Both end when the receive returns; latency begins when the message was due, service when its send started."""
    at = bench()
    now = time.monotonic_ns()
    at.put(0, intended_ns=now - 9000 * MS, started_ns=now - 3000 * MS)

    at.receiver(engine).run(0)

    latency, service = at.board.latency(), at.board.service()
    assert (latency.total, service.total) == (1, 1)
    assert 8900 * MS < (latency.min or 0) < 15_000 * MS
    assert 2900 * MS < (service.min or 0) < (latency.min or 0) - 5000 * MS
    assert now <= at.board.consumers[0].words[ConsumerWord.LAST_RECEIVE_NS] <= time.monotonic_ns()


def test_keeps_latencies_by_type(engine: Engine, bench: type[Bench]) -> None:
    """Each type has a histogram of its own, whichever producer sent it; service has one for all."""
    at = bench(types=(3, 9), producers=2)
    for stream in (0, 1, 3):
        at.put(0, stream=stream)
    receiver = at.receiver(engine)

    for _ in range(3):
        receiver.run(0)

    assert [at.board.latency(kind).total for kind in (0, 1)] == [1, 2]
    assert at.board.service().total == 3
    assert [at.board.received_of(stream) for stream in range(4)] == [1, 1, 0, 1]


def test_keeps_the_warm_up_out_of_the_histograms(engine: Engine, bench: type[Bench]) -> None:
    """What was due before t0 is counted and checked, but neither its latency nor its service is recorded."""
    at = bench()
    t0 = time.monotonic_ns()
    at.board.control[Control.T0_NS] = t0
    at.put(0, intended_ns=t0 - 1, started_ns=t0 + 1)
    at.put(1, intended_ns=t0, started_ns=t0)
    receiver = at.receiver(engine)

    receiver.run(0)
    warm = (at.board.received, at.board.latency().total, at.board.service().total)
    receiver.run(0)

    assert warm == (1, 0, 0)
    assert (at.board.received, at.board.latency().total, at.board.service().total) == (2, 1, 1)


def test_has_no_latency_unpaced(engine: Engine, bench: type[Bench]) -> None:
    """Where nothing is due at a time of its own there is no latency; the service time is there."""
    at = bench()
    at.put(0)

    at.receiver(engine, paced=False).run(0)

    assert (at.board.latency().total, at.board.service().total) == (0, 1)


@pytest.mark.parametrize(
    ("numbers", "found"),
    [
        ([0, 1, 2, 3], {"duplicated": 0, "out_of_order": 0, "missing": 0}),
        ([0, 1, 3, 5], {"duplicated": 0, "out_of_order": 0, "missing": 2}),
        ([2, 3], {"duplicated": 0, "out_of_order": 0, "missing": 2}),
        ([0, 1, 1, 2, 0], {"duplicated": 2, "out_of_order": 0, "missing": 0}),
        ([1, 0, 3, 2], {"duplicated": 0, "out_of_order": 2, "missing": 0}),
        ([0, 5, 3, 3, 1, 6], {"duplicated": 1, "out_of_order": 2, "missing": 2}),
    ],
)
def test_finds_loss_duplication_and_disorder(
    engine: Engine, bench: type[Bench], numbers: list[int], found: dict[str, int]
) -> None:
    """Each number that is not the next one is counted as what it is, and ends the slice when its time is up."""
    at = bench(types=(4, 5))
    at.put(*numbers, stream=1)
    at.board.producers[0].next_number[1] = max(numbers) + 1
    receiver = at.receiver(engine)

    for _ in numbers:
        assert receiver.run(0) is Reason.TIME

    part = at.board.consumers[0]
    assert found == {
        "duplicated": part.duplicated,
        "out_of_order": part.out_of_order,
        "missing": at.board.missing(1),
    }
    assert (part.undecided, at.board.missing(0)) == (0, 0)
    assert (at.board.received, part.expected[1]) == (len(numbers), max(numbers) + 1)
    assert at.board.latency().total == len(numbers)


def test_goes_on_in_the_same_slice_after_what_is_odd(engine: Engine, bench: type[Bench]) -> None:
    """One slice takes odd and even numbers alike, up to the removal of the queue."""
    at = bench()
    at.put(0, 2, 2, 1, 3)
    receiver = at.receiver(engine)

    with at.asleep_in(lambda: receiver.run(at.forever)) as child:
        at.queue.remove()
        reason = child.reason()

    part = at.board.consumers[0]
    assert reason == Reason.QUEUE_REMOVED
    assert (at.board.received, part.duplicated, part.out_of_order, part.expected[0]) == (5, 1, 1, 4)


class TestForeign:
    def test_is_another_run_s(self, engine: Engine, bench: type[Bench]) -> None:
        """A message of another run is foreign: counted as that and as nothing else."""
        at = bench()
        at.put(0, run_id=at.run_id + 1)

        reason = at.receiver(engine).run(0)

        part = at.board.consumers[0]
        assert reason is Reason.TIME
        assert part.words[ConsumerWord.FOREIGN] == 1
        assert (at.board.received, at.board.service().total, list(part.expected)) == (0, 0, [0])

    @pytest.mark.parametrize("stream", [2, 3, 2**32 - 1])
    def test_is_a_stream_that_is_not(self, engine: Engine, bench: type[Bench], stream: int) -> None:
        """A stream that this run does not have is foreign."""
        at = bench(types=(4, 5))
        at.put(0, stream=stream)

        at.receiver(engine).run(0)

        assert (at.board.consumers[0].words[ConsumerWord.FOREIGN], at.board.received) == (1, 0)

    def test_is_a_type_that_the_stream_does_not_have(self, engine: Engine, bench: type[Bench]) -> None:
        """A header of this run with the type of another stream, or of none, is foreign."""
        at = bench(types=(4, 5))
        at.put(0, stream=0, message_type=5)
        at.put(0, stream=0, message_type=6)
        receiver = at.receiver(engine)

        receiver.run(0)
        receiver.run(0)

        assert (at.board.consumers[0].words[ConsumerWord.FOREIGN], at.board.received) == (2, 0)

    @pytest.mark.parametrize("max_bytes", [HEADER_BYTES, 4096])
    def test_is_too_short(self, engine: Engine, bench: type[Bench], max_bytes: int) -> None:
        """What is shorter than a header is foreign, also when a good header lies in the buffer from the last time."""
        at = bench(max_bytes=max_bytes)
        at.put(0)
        header = HEADER.pack(at.run_id << 32, 1, 0, 0)
        for length in (HEADER_BYTES - 1, 8, 0):
            at.queue.send(header[:length], type=1, timeout=0)
        at.put(1)
        receiver = at.receiver(engine)

        for _ in range(5):
            assert receiver.run(0) is Reason.TIME

        part = at.board.consumers[0]
        assert part.words[ConsumerWord.FOREIGN] == 3
        assert (at.board.received, part.expected[0], part.duplicated) == (2, 2, 0)


def test_takes_what_is_longer_than_a_header(engine: Engine, bench: type[Bench]) -> None:
    """The header is the beginning of the text; what follows is padding, up to the size of the buffer."""
    at = bench(max_bytes=100)
    text = HEADER.pack(at.run_id << 32, 0, 0, 0) + b"x" * 68
    at.queue.send(text, type=1, timeout=0)

    at.receiver(engine).run(0)

    assert (at.board.received, at.board.consumers[0].words[ConsumerWord.FOREIGN]) == (1, 0)


def test_a_message_over_its_buffer_poisons_it(engine: Engine, bench: type[Bench]) -> None:
    """A message that does not fit ends the slice, stays where it is, and is not counted."""
    at = bench(max_bytes=1000)
    at.put(0)
    at.queue.send(bytes(1001), type=1, timeout=0)
    at.put(1)
    receiver = at.receiver(engine)

    reasons = [receiver.run(0), receiver.run(0), receiver.run(0)]

    assert reasons == [Reason.TIME, Reason.POISONED, Reason.POISONED]
    assert (at.board.received, at.queue.stat().messages) == (1, 2)


def test_a_removed_queue_ends_it(engine: Engine, bench: type[Bench]) -> None:
    """When the queue is gone before the call, the slice says so."""
    at = bench()
    receiver = at.receiver(engine)
    at.queue.remove()

    assert receiver.run(at.forever) is Reason.QUEUE_REMOVED


def test_takes_only_what_it_selects(engine: Engine, bench: type[Bench]) -> None:
    """The selector goes to msgrcv as it is: a type of its own, the lowest up to one, or any but one."""
    at = bench(types=(4, 5))
    at.put(0, 1, stream=0)
    at.put(0, stream=1)
    exact, at_most = at.receiver(engine, msgtyp=5), at.receiver(engine, msgtyp=-5)
    any_but = at.receiver(engine, msgtyp=5, flags=MSG_EXCEPT)

    received = []
    for receiver in (exact, at_most, any_but):
        assert receiver.run(0) is Reason.TIME
        received.append([at.board.received_of(stream) for stream in (0, 1)])

    assert received == [[0, 1], [1, 1], [2, 1]]
    assert at.board.latency().total == 3


def test_any_type_but_one_passes_that_one_over(engine: Engine, bench: type[Bench]) -> None:
    """With MSG_EXCEPT a consumer leaves the head where it is of that type, and takes all others in order."""
    at = bench(types=(4, 5, 6))
    for number in range(3):
        for stream in (1, 0, 2):
            at.put(number, stream=stream)
    receiver = at.receiver(engine, msgtyp=5, flags=MSG_EXCEPT)

    for _ in range(6):
        receiver.run(0)

    part = at.board.consumers[0]
    assert [at.board.received_of(stream) for stream in range(3)] == [3, 0, 3]
    assert (part.duplicated, part.out_of_order, part.undecided) == (0, 0, 0)
    assert [message_type for message_type, _, _ in at.take()] == [5, 5, 5]


def test_a_message_over_the_buffer_ends_it_whatever_it_selects(engine: Engine, bench: type[Bench]) -> None:
    """With MSG_EXCEPT too a message larger than the buffer is no message of the run, and stays."""
    at = bench(max_bytes=1000)
    at.queue.send(bytes(1001), type=1, timeout=0)

    assert at.receiver(engine, msgtyp=2, flags=MSG_EXCEPT).run(at.forever) is Reason.POISONED
    assert (at.board.received, at.queue.stat().messages) == (0, 1)


class TestRings:
    def test_two_receivers_share_a_stream(self, engine: Engine, other_engine: Engine, bench: type[Bench]) -> None:
        """What two consumers receive of one stream between them, in any order, is whole, once and in order."""
        at = bench(consumers=2, ringed=True)
        at.sender(engine).run(at.forever, 300)
        receivers = [at.receiver(engine, 0), at.receiver(other_engine, 1)]

        for index in range(300):
            receivers[index * index % 3 % 2].run(0)

        counts = [consumer.total for consumer in at.board.consumers]
        assert sum(counts) == at.board.received_of(0) == 300
        assert min(counts) == 100
        assert at.board.missing(0) == 0
        for part in at.board.consumers:
            assert (part.duplicated, part.out_of_order, part.undecided) == (0, 0, 0)

    def test_finds_what_is_odd_across_receivers(self, engine: Engine, other_engine: Engine, bench: type[Bench]) -> None:
        """A duplicate is found at whichever consumer it comes to, disorder only within one, and loss by the sweep."""
        at = bench(consumers=2, ringed=True)
        receivers = [at.receiver(engine, 0), at.receiver(other_engine, 1)]
        at.board.producers[0].next_number[0] = 8

        for consumer, number in ((0, 0), (1, 2), (0, 1), (1, 0), (0, 5), (0, 4), (1, 5)):
            at.put(number)
            assert receivers[consumer].run(0) is Reason.TIME

        first, second = at.board.consumers
        assert (first.duplicated, first.out_of_order) == (0, 1)
        assert (second.duplicated, second.out_of_order) == (2, 0)
        assert at.board.missing(0) == 3  # 3, 6 and 7
        assert at.board.received == 7

    def test_overtaken_is_undecided(self, engine: Engine, other_engine: Engine, bench: type[Bench]) -> None:
        """A number that comes after its cell was passed by a whole round is undecided, and nothing is missing."""
        at = bench(consumers=2, ringed=True)
        at.board.rings[0][:] = bytes([generation_of(0)]) * RING_SIZE
        at.board.rings[0][5] = 0
        at.board.producers[0].next_number[0] = RING_SIZE + 6
        at.board.rings[0][:5] = bytes([generation_of(RING_SIZE)]) * 5
        receivers = [at.receiver(engine, 0), at.receiver(other_engine, 1)]

        at.put(RING_SIZE + 5)
        receivers[0].run(0)
        missing = at.board.missing(0)
        at.put(5)
        receivers[1].run(0)

        assert missing == 1
        assert [part.undecided for part in at.board.consumers] == [0, 1]
        assert at.board.missing(0) == 0
