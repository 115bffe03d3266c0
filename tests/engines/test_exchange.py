"""A sender and a receiver, of the same engine or of one each: what goes in comes out, whole, once and in order."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction
from typing import TYPE_CHECKING

import pytest

from harness.engines.layout import ConsumerWord
from harness.engines.protocol import TABLE_SIZE, Reason
from harness.experiments.plan import LoadPlan
from harness.measure.quantities import TypeShare

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.engines.protocol import Engine
    from tests.engines.conftest import Bench

pytestmark = pytest.mark.private_ipc(queue_bytes=2**20, message_bytes=4096)


def test_a_message_means_the_same_to_both(engine: Engine, other_engine: Engine, bench: type[Bench]) -> None:
    """Two producers, three types and changing sizes: all is received, nothing is odd, each type has its latencies."""
    at = bench(types=(2, 7, 2**31 - 1), producers=2)
    for producer in (0, 1):
        at.sender(engine, producer, type_table=[0, 1, 0, 2], size_table=[32, 33, 500]).run(at.forever, 400)
    receiver = at.receiver(other_engine)

    for _ in range(800):
        assert receiver.run(0) is Reason.TIME

    part = at.board.consumers[0]
    assert at.board.received == at.board.sent == 800
    assert [at.board.received_of(stream) for stream in range(6)] == [200, 100, 100] * 2
    assert [at.board.missing(stream) for stream in range(6)] == [0] * 6
    assert (part.duplicated, part.out_of_order, part.undecided, part.words[ConsumerWord.FOREIGN]) == (0, 0, 0, 0)
    assert [at.board.latency(kind).total for kind in range(3)] == [400, 200, 200]
    assert at.board.service().total == 800


def test_receivers_change_places(engine: Engine, other_engine: Engine, bench: type[Bench]) -> None:
    """A receiver that goes on where another engine's left off expects the number that comes next."""
    at = bench()
    at.sender(engine).run(at.forever, 10)
    receivers = [at.receiver(engine), at.receiver(other_engine)]

    for index in range(10):
        receivers[index // 5].run(0)

    part = at.board.consumers[0]
    assert (at.board.received, part.expected[0], part.duplicated, part.out_of_order) == (10, 10, 0, 0)
    assert at.board.missing(0) == 0


def test_senders_change_places(engine: Engine, other_engine: Engine, bench: type[Bench]) -> None:
    """A sender that goes on where another engine's left off takes the next number."""
    at = bench()
    at.sender(engine).run(at.forever, 5)

    at.sender(other_engine, first_k=5).run(at.forever, 10)

    assert [header[1] for _, header, _ in at.take()] == list(range(10))


def test_a_sender_and_a_sleeping_receiver(engine: Engine, other_engine: Engine, bench: type[Bench]) -> None:
    """Both at once, through a queue far smaller than what goes through it: every message comes once."""
    at = bench(holds=8)
    receiver = at.receiver(other_engine)
    sender = at.sender(engine)

    with at.asleep_in(lambda: receiver.run(at.forever)) as child:
        reason = sender.run(at.forever, 5000)
        child.wait_until(lambda: at.board.received == 5000)
        at.queue.remove()
        end = child.reason()

    assert (reason, end) == (Reason.COUNT, Reason.QUEUE_REMOVED)
    assert (at.board.sent, at.board.received, at.board.missing(0)) == (5000, 5000, 0)
    assert at.board.consumers[0].duplicated == 0


def test_a_plan_s_weights_and_sizes_arrive(engine: Engine, bench: type[Bench]) -> None:
    """Over a whole table the types come in the shares that the plan gives them, and sizes from least to largest."""
    plan = LoadPlan(rate=Fraction(1000), types=(TypeShare(1, 3), TypeShare(5, 1)), size=(32, 100), seed=7)
    task = plan.producer_task(0, run_id=1, spin=False)
    at = bench(types=task.types)

    at.sender(engine, type_table=task.type_table, size_table=task.size_table).run(at.forever, TABLE_SIZE)

    sent = at.take()
    assert Counter(message_type for message_type, _, _ in sent) == {1: TABLE_SIZE * 3 // 4, 5: TABLE_SIZE // 4}
    assert Counter(size for _, _, size in sent) == Counter(task.size_table)
    assert (min(task.size_table), max(task.size_table)) == (32, 100)


@pytest.mark.parametrize("name", ["bare", "plain"])
class TestReference:
    def test_sends_and_receives_in_whole_batches(
        self, name: str, bench: type[Bench], load_engine: Callable[[str], Engine]
    ) -> None:
        """The reference loops count in batches of a thousand, at both ends alike."""
        at, engine = bench(), load_engine(name)

        sent = at.sender(engine).run(at.forever, 1500)
        received = at.receiver(engine).run(0)

        assert (sent, received) == (Reason.COUNT, Reason.TIME)
        assert (at.board.sent, at.board.received, at.queue.stat().messages) == (2000, 1000, 1000)

    def test_end_when_the_queue_is_removed(
        self, name: str, bench: type[Bench], load_engine: Callable[[str], Engine]
    ) -> None:
        """A batch that the queue's removal cuts short is counted as far as it came."""
        at, engine = bench(), load_engine(name)
        receiver, sender = at.receiver(engine), at.sender(engine)
        at.put(*range(10))

        with at.asleep_in(lambda: receiver.run(at.forever)) as child:
            at.queue.remove()
            reasons = (child.reason(), sender.run(at.forever, 1))

        assert reasons == (Reason.QUEUE_REMOVED, Reason.QUEUE_REMOVED)
        assert (at.board.received, at.board.sent) == (10, 0)
