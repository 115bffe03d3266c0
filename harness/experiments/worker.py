"""What a producer and a consumer do between their slices: wait for the start, set the marks, notice the end.

Runs in the forked processes of a crew; the engine's loop does everything that happens per message. The marks are
how many messages had passed at t0 and at the window's end: they give the rates.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from harness.engines.layout import END_NOW, ConsumerWord, Control, ProducerWord, State
from harness.engines.protocol import Loop, Reason
from harness.measure.pacing import NS_PER_S

if TYPE_CHECKING:
    from harness.engines.layout import Board
    from harness.engines.protocol import Receiver, Sender

SLICE_NS = 60_000_000
"""A loop comes back to Python this often, for signals and the stop flag."""
FOREVER = 1 << 62
START_POLL_S = 0.000_2

ENDS = {
    Reason.COUNT: State.DONE,
    Reason.INTERRUPTED: State.DONE,
    Reason.QUEUE_REMOVED: State.QUEUE_REMOVED,
    Reason.POISONED: State.POISONED,
    Reason.FAILED: State.FAILED,
}


def produce(sender: Sender, board: Board, producer: int, *, loop: Loop, due: int | None) -> State:
    """One producer's life: warm-up, window, and up to `Control.GIVE_UP_NS` of catching up. Returns how it ended.

    `due` is how many messages it has to send in the window; None means as many as go in.
    """
    control, part = board.control, board.producers[producer]
    part.words[ProducerWord.STATE] = State.READY
    if not _wait_for_go(board):
        return State.DONE
    part.words[ProducerWord.STATE] = State.RUNNING
    t0, end, give_up = (control[word] for word in (Control.T0_NS, Control.END_NS, Control.GIVE_UP_NS))

    def run_until(mark_ns: int, limit_k: int) -> Reason:
        while not control[Control.STOP]:
            slice_end = min(mark_ns, time.monotonic_ns() + SLICE_NS)
            reason = sender.run(slice_end, limit_k)
            if reason is not Reason.TIME:
                return reason
            if slice_end >= mark_ns:
                return Reason.TIME
        return Reason.INTERRUPTED

    # Paced, the warm-up's messages have negative numbers; unpaced, they are what goes before t0: without a warm-up
    # none may, or a run of --count would send more than that.
    reason, warm = Reason.TIME, control[Control.WARM_NS]
    if loop is Loop.OPEN:
        reason = run_until(t0, 0)
    else:
        time.sleep(max(0, warm - time.monotonic_ns()) / NS_PER_S)
        if warm < t0:
            reason = run_until(t0, FOREVER)
    part.words[ProducerWord.SENT_BEFORE] = part.sent
    part.words[ProducerWord.REFUSED_BEFORE] = part.words[ProducerWord.REFUSED]
    part.words[ProducerWord.MARKED] = 1
    if reason in (Reason.TIME, Reason.COUNT):
        part.words[ProducerWord.FIRST_SEND_NS] = max(t0, time.monotonic_ns())
        first_k = 0 if loop is Loop.OPEN else sender.k
        limit = FOREVER if due is None else first_k + due
        reason = run_until(end, limit)
        part.words[ProducerWord.SENT_BY_END] = part.sent
        part.words[ProducerWord.MARKED] = 2
        if reason is Reason.TIME and loop is Loop.OPEN:
            reason = run_until(give_up, limit)
    return _ended(reason, control[Control.STOP])


def consume(receiver: Receiver, board: Board, consumer: int) -> State:
    """One consumer's life: receive until a signal comes with the stop flag up, or the queue is removed."""
    control, words = board.control, board.consumers[consumer].words
    part = board.consumers[consumer]
    words[ConsumerWord.STATE] = State.READY
    if not _wait_for_go(board):
        return State.DONE
    words[ConsumerWord.STATE] = State.RUNNING
    marks = ((Control.T0_NS, ConsumerWord.RECEIVED_BEFORE), (Control.END_NS, ConsumerWord.RECEIVED_BY_END))
    while True:
        marked = words[ConsumerWord.MARKED]
        mark_ns = control[marks[marked][0]] if marked < len(marks) else FOREVER
        before = part.total
        slice_end = min(mark_ns, time.monotonic_ns() + SLICE_NS)
        reason = receiver.run(slice_end)
        if reason is not Reason.TIME:
            return _ended(reason, control[Control.STOP])
        if slice_end == mark_ns:
            # The slice's last message came at or after the mark.
            words[marks[marked][1]] = max(before, part.total - 1)
            words[ConsumerWord.MARKED] = marked + 1
        if control[Control.STOP] >= END_NOW:  # not asleep, but at a queue that was not drained: the rest stays there
            return State.DONE


def _wait_for_go(board: Board) -> bool:
    """Wait until the times are set; False when the run is over before it began."""
    while not board.control[Control.GO]:
        if board.control[Control.STOP]:
            return False
        time.sleep(START_POLL_S)
    return True


def _ended(reason: Reason, stop: int) -> State:
    if reason is Reason.TIME:
        return State.DONE
    if reason is Reason.QUEUE_REMOVED and stop:
        return State.DONE  # that is how a run is told that it is over
    return ENDS[reason]
