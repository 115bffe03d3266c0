"""What wakes a slice that sleeps in the kernel: room, a message, the queue's removal, and real signals."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from harness.engines.layout import ConsumerWord, Control, ProducerWord
from harness.engines.protocol import Reason
from harness.sysv.msgrcv import MSG_EXCEPT

if TYPE_CHECKING:
    from harness.engines.protocol import Engine
    from tests.engines.conftest import Bench

pytestmark = pytest.mark.private_ipc(queue_bytes=2**16)

SIGNALS = 50
Selecting = dict[str, int]


class TestSender:
    def test_sleeps_until_there_is_room(self, engine: Engine, bench: type[Bench]) -> None:
        """A full queue puts it to sleep; with room it goes on, and counts how often and for how long it slept."""
        at = bench(holds=2)
        sender = at.sender(engine)

        with at.asleep_in(lambda: sender.run(at.forever, 3)) as child:
            asleep_ns = time.monotonic_ns()
            sent_asleep = at.board.sent
            awake_ns = time.monotonic_ns()
            at.receiver(engine).run(0)
            reason = child.reason()

        words = at.board.producers[0].words
        assert (reason, sent_asleep, at.board.sent) == (Reason.COUNT, 2, 3)
        assert words[ProducerWord.FULL] == 1
        assert words[ProducerWord.BLOCKED_NS] >= awake_ns - asleep_ns
        assert words[ProducerWord.REFUSED] == 0

    def test_wakes_when_the_queue_is_removed(self, engine: Engine, bench: type[Bench]) -> None:
        """Asleep in front of a full queue, it wakes when that is removed, and has not counted its message."""
        at = bench(holds=2)
        sender = at.sender(engine)

        with at.asleep_in(lambda: sender.run(at.forever, 3)) as child:
            at.queue.remove()
            reason = child.reason()

        assert (reason, at.board.sent) == (Reason.QUEUE_REMOVED, 2)

    def test_sleeps_again_after_a_signal(self, engine: Engine, bench: type[Bench]) -> None:
        """A signal without the stop flag changes nothing: it sleeps on, and its message is sent once."""
        at = bench(holds=2)
        sender = at.sender(engine)

        with at.asleep_in(lambda: sender.run(at.forever, 3)) as child:
            child.signal_and_wait_asleep()
            at.receiver(engine).run(0)
            reason = child.reason()

        assert (reason, at.board.sent) == (Reason.COUNT, 3)
        assert [header[1] for _, header, _ in at.take()] == [1, 2]

    @pytest.mark.parametrize("stop", [1, 2])
    def test_ends_at_a_signal_when_it_is_to_stop(self, engine: Engine, bench: type[Bench], stop: int) -> None:
        """A signal with the stop flag up, at either value, ends the slice; its message is not counted."""
        at = bench(holds=2)
        sender = at.sender(engine)

        with at.asleep_in(lambda: sender.run(at.forever, 3)) as child:
            at.board.control[Control.STOP] = stop
            child.signal()
            reason = child.reason()

        assert (reason, at.board.sent, at.queue.stat().messages) == (Reason.INTERRUPTED, 2, 2)


@pytest.fixture(params=[{}, {"msgtyp": 9, "flags": MSG_EXCEPT}], ids=["any", "except"])
def selecting(request: pytest.FixtureRequest) -> Selecting:
    """A receiver's task that takes type 1: by the call that most use, and by the one with flags."""
    fields: Selecting = request.param
    return fields


class TestReceiver:
    def test_wakes_when_the_queue_is_removed(self, engine: Engine, bench: type[Bench], selecting: Selecting) -> None:
        """Asleep on an empty queue, it wakes when that is removed; what it received stays counted."""
        at = bench()
        at.put(0, 1)
        receiver = at.receiver(engine, **selecting)

        with at.asleep_in(lambda: receiver.run(at.forever)) as child:
            at.queue.remove()
            reason = child.reason()

        assert (reason, at.board.received) == (Reason.QUEUE_REMOVED, 2)

    @pytest.mark.parametrize("stop", [0, 1])
    def test_sleeps_again_after_a_signal(
        self, engine: Engine, bench: type[Bench], selecting: Selecting, stop: int
    ) -> None:
        """A signal changes nothing while the run goes on, nor when only its producers are to stop."""
        at = bench()
        at.board.control[Control.STOP] = stop
        receiver = at.receiver(engine, **selecting)

        with at.asleep_in(lambda: receiver.run(0)) as child:
            child.signal_and_wait_asleep()
            at.put(0)
            reason = child.reason()

        assert (reason, at.board.received) == (Reason.TIME, 1)

    def test_ends_at_a_signal_when_the_run_is_over(
        self, engine: Engine, bench: type[Bench], selecting: Selecting
    ) -> None:
        """A signal with the flag that ends the run ends the slice."""
        at = bench()
        receiver = at.receiver(engine, **selecting)

        with at.asleep_in(lambda: receiver.run(at.forever)) as child:
            at.board.control[Control.STOP] = 2
            child.signal()
            reason = child.reason()

        assert reason == Reason.INTERRUPTED

    def test_outlasts_many_signals(self, engine: Engine, bench: type[Bench], selecting: Selecting) -> None:
        """However many signals come, each message in between is received once, and the last receive's time is kept."""
        at = bench()
        receiver = at.receiver(engine, **selecting)

        with at.asleep_in(lambda: receiver.run(at.forever)) as child:
            for number in range(SIGNALS):
                child.signal_and_wait_asleep()
                switches = child.switches()
                last_put_ns = time.monotonic_ns()
                at.put(number)
                child.wait_until_asleep(switches)
            at.queue.remove()
            reason = child.reason()

        part = at.board.consumers[0]
        assert (reason, at.board.received, part.duplicated) == (Reason.QUEUE_REMOVED, SIGNALS, 0)
        assert part.words[ConsumerWord.LAST_RECEIVE_NS] >= last_put_ns
