"""A producer's slice: what it puts on the queue, when, and what it counts; the same for both engines."""

from __future__ import annotations

import time
from fractions import Fraction
from itertools import cycle, islice, pairwise
from typing import TYPE_CHECKING

import pytest

from harness.engines.layout import HEADER_BYTES, Control, ProducerWord
from harness.engines.protocol import TABLE_SIZE, Loop, Reason
from harness.measure.pacing import Schedule

if TYPE_CHECKING:
    from harness.engines.protocol import Engine
    from tests.engines.conftest import Bench

pytestmark = pytest.mark.private_ipc(queue_bytes=2**20, message_bytes=4096)

MS = 1_000_000


def test_sends_as_many_as_it_is_told(engine: Engine, bench: type[Bench]) -> None:
    """Up to the limit and no further: all are on the queue and counted, and the next index is the limit."""
    at = bench()
    sender = at.sender(engine)

    reason = sender.run(at.forever, 5)

    assert reason is Reason.COUNT
    assert (sender.k, at.board.sent, at.queue.stat().messages) == (5, 5, 5)


def test_goes_on_where_the_last_slice_ended(engine: Engine, bench: type[Bench]) -> None:
    """The second slice goes on with the next index and number; one with no time or nothing left sends nothing."""
    at = bench()
    sender = at.sender(engine)
    sender.run(at.forever, 2)

    reasons = [sender.run(0, 4), sender.run(at.forever, 2), sender.run(at.forever, 4)]

    assert reasons == [Reason.TIME, Reason.COUNT, Reason.COUNT]
    assert [header[1] for _, header, _ in at.take()] == [0, 1, 2, 3]


def test_stamps_each_message(engine: Engine, bench: type[Bench]) -> None:
    """The tag is of run and stream; unpaced, a message is due when its send or its burst starts, and the times rise."""
    at = bench(types=(7,), producers=2)
    before = time.monotonic_ns()

    at.sender(engine, producer=1).run(at.forever, 20)

    after = time.monotonic_ns()
    headers = [header for _, header, _ in at.take()]
    times = [before, *(started for _, _, _, started in headers), after]
    assert {tag for tag, _, _, _ in headers} == {at.run_id << 32 | 1}
    assert all(before <= intended <= started for _, _, intended, started in headers)
    assert times == sorted(times)


def test_follows_its_tables(engine: Engine, bench: type[Bench]) -> None:
    """Types and sizes are the tables', over and over from the producer's own place, and numbers dense per type."""
    at = bench(types=(3, 9, 2**31 - 1), producers=2)
    kinds, sizes = [0, 1, 0, 2], [HEADER_BYTES, 40, HEADER_BYTES + 1, 100]
    count = TABLE_SIZE + 7

    at.sender(engine, producer=1, type_table=kinds, size_table=sizes).run(at.forever, count)

    sent = at.take()
    expected_kinds = list(islice(cycle(kinds), 1, 1 + count))
    assert [message_type for message_type, _, _ in sent] == [at.types[kind] for kind in expected_kinds]
    assert [size for _, _, size in sent] == list(islice(cycle(sizes), 1, 1 + count))
    assert [header[0] & 0xFFFFFFFF for _, header, _ in sent] == [3 + kind for kind in expected_kinds]
    for kind in range(3):
        numbers = [header[1] for message_type, header, _ in sent if message_type == at.types[kind]]
        assert numbers == list(range(len(numbers)))
        assert at.board.producers[1].next_number[kind] == len(numbers)
    assert at.board.producers[0].sent == 0


def test_refused_sends_use_no_number(engine: Engine, bench: type[Bench]) -> None:
    """What a full queue refuses is counted, and the message after it has the next number all the same."""
    at = bench(holds=3)
    sender = at.sender(engine, refuse=True)

    reason = sender.run(at.forever, 5)
    first = [header[1] for _, header, _ in at.take()]
    sender.run(at.forever, 6)

    assert reason is Reason.COUNT
    assert first == [0, 1, 2]
    assert (at.board.refused, at.board.sent, sender.k) == (2, 4, 6)
    assert [header[1] for _, header, _ in at.take()] == [3]
    assert at.board.producers[0].words[ProducerWord.FULL] == 0


def test_a_removed_queue_ends_it(engine: Engine, bench: type[Bench]) -> None:
    """When the queue is gone the slice says so, and nothing is counted as sent."""
    at = bench()
    sender = at.sender(engine)
    at.queue.remove()

    reason = sender.run(at.forever, 5)

    assert reason is Reason.QUEUE_REMOVED
    assert (at.board.sent, sender.k) == (0, 0)


class TestOpenLoop:
    @pytest.mark.parametrize("spin", [False, True])
    def test_sends_nothing_before_its_due_time(self, engine: Engine, bench: type[Bench], spin: bool) -> None:
        """Each message carries its exact due time, and its send starts then or later."""
        at = bench(producers=3)
        schedule = Schedule(Fraction(30_000), 3, 2)
        t0 = time.monotonic_ns() + 2 * MS
        at.board.control[Control.T0_NS] = t0

        at.sender(engine, producer=2, loop=Loop.OPEN, period_ns=schedule.period_ns, spin=spin).run(at.forever, 50)

        headers = [header for _, header, _ in at.take()]
        assert [intended for _, _, intended, _ in headers] == [t0 + schedule.offset_ns(k) for k in range(50)]
        assert all(started >= intended for _, _, intended, started in headers)

    @pytest.mark.parametrize("spin", [False, True])
    def test_comes_back_in_time_without_sending(self, engine: Engine, bench: type[Bench], spin: bool) -> None:
        """A slice that ends before the next due time returns then, with nothing sent."""
        at = bench()
        at.board.control[Control.T0_NS] = time.monotonic_ns() + 3600 * 10**9
        until = time.monotonic_ns() + MS

        reason = at.sender(engine, loop=Loop.OPEN, period_ns=1e6, spin=spin).run(until, 5)

        assert reason is Reason.TIME
        assert until <= time.monotonic_ns() < until + 1000 * MS
        assert (at.board.sent, at.queue.stat().messages) == (0, 0)

    def test_catches_up_without_forgetting_what_was_due(self, engine: Engine, bench: type[Bench]) -> None:
        """A producer that is late sends at once what is due, each with the time that it was due, not now's."""
        at = bench()
        t0 = time.monotonic_ns() - 50 * MS
        at.board.control[Control.T0_NS] = t0

        at.sender(engine, loop=Loop.OPEN, period_ns=10.0 * MS).run(at.forever, 5)

        headers = [header for _, header, _ in at.take()]
        assert [intended - t0 for _, _, intended, _ in headers] == [k * 10 * MS for k in range(5)]
        assert all(started >= t0 + 50 * MS for _, _, _, started in headers)

    def test_has_a_pacing_error_from_the_later_of_due_and_free(self, engine: Engine, bench: type[Bench]) -> None:
        """The first of two late messages is late by the delay; the second waited for the first, which is no error."""
        at = bench()
        at.board.control[Control.T0_NS] = time.monotonic_ns() - 50 * MS

        at.sender(engine, loop=Loop.OPEN, period_ns=1.0 * MS).run(at.forever, 2)

        pacing = at.board.pacing()
        assert pacing.total == 2
        assert (pacing.max or 0) >= 50 * MS
        assert (pacing.min or 0) < 10 * MS

    def test_keeps_the_warm_up_out_of_the_histogram(self, engine: Engine, bench: type[Bench]) -> None:
        """Messages with an index below 0 are sent and counted, and have no pacing error."""
        at = bench()
        at.board.control[Control.T0_NS] = time.monotonic_ns()
        sender = at.sender(engine, loop=Loop.OPEN, period_ns=1000.0, first_k=-3, type_table=[0, 0, 0, 0])

        first = sender.run(at.forever, 0)
        warm = at.board.pacing().total
        sender.run(at.forever, 2)

        assert first is Reason.COUNT
        assert (warm, at.board.pacing().total, at.board.sent) == (0, 2, 5)
        assert [header[1] for _, header, _ in at.take()] == [0, 1, 2, 3, 4]

    def test_has_no_pacing_error_unpaced(self, engine: Engine, bench: type[Bench]) -> None:
        """Where nothing is due at a time of its own there is no pacing error to record."""
        at = bench()

        at.sender(engine).run(at.forever, 5)

        assert at.board.pacing().total == 0


class TestClosedLoop:
    @pytest.mark.parametrize("ringed", [False, True])
    @pytest.mark.parametrize("spin", [False, True])
    def test_waits_for_what_is_unreceived(
        self, engine: Engine, other_engine: Engine, bench: type[Bench], spin: bool, ringed: bool
    ) -> None:
        """It sends up to what may be outstanding, and then one for each that was received."""
        at = bench(producers=2, consumers=2 if ringed else 1, ringed=ringed, types=(1, 2))
        sender = at.sender(engine, producer=1, loop=Loop.CLOSED, outstanding=3, spin=spin, type_table=[0, 1])
        receiver = at.receiver(other_engine)
        sent, reasons = [], set()

        for allowed in (3, 4, 5, 6):
            while at.board.sent < allowed:
                reasons.add(sender.run(time.monotonic_ns() + 2 * MS, 100))
            reasons.add(sender.run(time.monotonic_ns() + 2 * MS, 100))  # time for one too many
            sent.append(at.board.sent)
            receiver.run(0)

        assert reasons == {Reason.TIME}
        assert sent == [3, 4, 5, 6]

    def test_never_exceeds_what_may_be_outstanding(self, engine: Engine, bench: type[Bench]) -> None:
        """However often the queue is looked at when it is as full as may be, there is never one message more on it."""
        at = bench()
        sender = at.sender(engine, loop=Loop.CLOSED, outstanding=2)
        seen = set()

        with at.running(lambda: sender.run(at.forever, 300)) as child:
            receiver = at.receiver(engine)
            for received in range(300):
                least = min(received + 2, 300)
                while at.board.sent < least:
                    assert child.process.is_alive() or at.board.sent == 300
                seen.add(at.queue.stat().messages)
                receiver.run(0)
            reason = child.reason()

        assert reason == Reason.COUNT
        assert seen == {1, 2}
        assert at.board.received == 300

    def test_is_due_when_its_send_starts(self, engine: Engine, bench: type[Bench]) -> None:
        """In a closed loop a message is due at the start of its send, after the wait for room."""
        at = bench()
        sender = at.sender(engine, loop=Loop.CLOSED, outstanding=1)
        sender.run(at.forever, 1)
        sender.run(time.monotonic_ns() + MS, 2)
        at.receiver(engine).run(0)
        room_ns = time.monotonic_ns()

        sender.run(at.forever, 2)

        [(_, (_, number, intended, started), _)] = at.take()
        assert (number, intended) == (1, started)
        assert started >= room_ns


def test_sends_in_the_order_of_its_numbers(engine: Engine, bench: type[Bench]) -> None:
    """The times and numbers of a stream rise together over slices."""
    at = bench()
    sender = at.sender(engine)

    for limit in range(0, 100, 7):
        sender.run(at.forever, limit)

    headers = [header for _, header, _ in at.take()]
    assert all(one[1] + 1 == other[1] and one[3] <= other[3] for one, other in pairwise(headers))


def test_counts_a_pacing_error_for_each_message_it_sends(engine: Engine, bench: type[Bench]) -> None:
    """Each message that is sent has its place in the histogram, in a burst that a full queue cuts short too."""
    at = bench(holds=5)
    at.board.control[Control.T0_NS] = time.monotonic_ns() - 10**9
    sender = at.sender(engine, loop=Loop.OPEN, period_ns=1000.0, refuse=True)

    sender.run(at.forever, 9)

    assert at.board.sent == 5
    assert at.board.refused == 4
    assert at.board.pacing().total == 5
