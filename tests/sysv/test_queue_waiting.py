"""Waiting on a queue: with and without limit, through signals, and until the queue is removed."""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from harness.sysv import Queue, Selector, Waiter
from harness.sysv.errors import NoMessageError, QueueFullError, QueueRemovedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from multiprocessing.process import BaseProcess

pytestmark = pytest.mark.private_ipc

PATIENCE_S = 10.0
forking = multiprocessing.get_context("fork")


@contextlib.contextmanager
def forked(target: Callable[[], None]) -> Iterator[BaseProcess]:
    """A child that runs `target`; killed at the end if it is still there."""
    child = forking.Process(target=target)
    child.start()
    try:
        yield child
        child.join(PATIENCE_S)
    finally:
        child.kill()
        child.join()


def wait_until_asleep(pid: int | None, where: str) -> None:
    """Until the process sleeps in the kernel's function `where`."""
    deadline_s = time.monotonic() + PATIENCE_S
    while Path(f"/proc/{pid}/wchan").read_text() != where:
        assert time.monotonic() < deadline_s, f"process {pid} never slept in {where}"


@contextlib.contextmanager
def alarm(handler: Callable[[], object], *, every_s: float = 0.0, after_s: float = 0.05) -> Iterator[None]:
    """SIGALRM comes after `after_s`, then every `every_s`, and its handler calls `handler`."""
    before = signal.signal(signal.SIGALRM, lambda _number, _frame: handler())
    signal.setitimer(signal.ITIMER_REAL, after_s, every_s)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


class Stop(Exception):  # noqa: N818 - a handler's own exception
    pass


def stop() -> None:
    raise Stop


@pytest.mark.parametrize(
    ("selector", "truncate"),
    [(Selector.exactly(2), False), (Selector.exactly(2), True), (Selector.anything_but(1), False)],
)
def test_a_waiting_receiver_gets_what_is_sent_later(selector: Selector, truncate: bool) -> None:
    """receive without timeout sleeps in the kernel until a message comes."""
    with Queue.private() as queue:

        def receive() -> None:
            assert queue.receive(selector, truncate=truncate).payload == b"late"

        with forked(receive) as child:
            wait_until_asleep(child.pid, "do_msgrcv")
            queue.send(b"other", type=1)
            queue.send(b"late", type=2)

        assert child.exitcode == 0
        assert queue.stat().messages == 1


def test_a_waiting_sender_goes_on_when_there_is_room() -> None:
    """send without timeout sleeps in the kernel until there is room."""
    with Queue.private() as queue:
        queue.resize(1)
        queue.send(b"1")

        with forked(lambda: queue.send(b"2")) as child:
            wait_until_asleep(child.pid, "do_msgsnd")
            first = queue.receive()

        assert child.exitcode == 0
        assert (first.payload, queue.receive(timeout=0).payload) == (b"1", b"2")


@pytest.mark.parametrize("truncate", [False, True])
def test_removal_wakes_a_waiting_receiver(truncate: bool) -> None:
    """A receiver asleep on the queue wakes with QueueRemovedError (EIDRM)."""
    with Queue.private() as queue:

        def receive() -> None:
            with pytest.raises(QueueRemovedError):
                queue.receive(truncate=truncate)

        with forked(receive) as child:
            wait_until_asleep(child.pid, "do_msgrcv")
            queue.remove()

        assert child.exitcode == 0


def test_removal_wakes_a_waiting_sender() -> None:
    """A sender asleep on the full queue wakes with QueueRemovedError (EIDRM)."""
    with Queue.private() as queue:
        queue.resize(1)
        queue.send(b"1")

        def send() -> None:
            with pytest.raises(QueueRemovedError):
                queue.send(b"2")

        with forked(send) as child:
            wait_until_asleep(child.pid, "do_msgsnd")
            queue.remove()

        assert child.exitcode == 0


@pytest.mark.parametrize("truncate", [False, True])
def test_a_receive_that_a_signal_interrupts_goes_on(truncate: bool) -> None:
    """The handler runs, and the same call then returns the message that the handler sent."""
    with Queue.private() as queue, alarm(lambda: queue.send(b"from the handler")):
        assert queue.receive(truncate=truncate).payload == b"from the handler"


def test_a_handler_that_looks_into_the_queue_does_not_spoil_the_interrupted_receive() -> None:
    """The handler's own calls end with errors of their own (ENOMSG), and the call that it interrupted still goes on."""
    looks = 0

    def look() -> None:
        nonlocal looks
        looks += 1
        if looks < 20:
            assert queue.peek() is None
        elif looks == 20:
            queue.send(b"enough")

    with Queue.private() as queue, alarm(look, every_s=0.005, after_s=0.005):
        assert queue.receive(truncate=True).payload == b"enough"

    assert looks >= 20


def test_a_send_that_a_signal_interrupts_goes_on() -> None:
    """The handler makes room, and the same call then sends."""
    taken = []

    with Queue.private() as queue, alarm(lambda: taken.append(queue.receive(timeout=0))):
        queue.resize(1)
        queue.send(b"1")

        queue.send(b"2")

        assert [message.payload for message in taken] == [b"1"]
        assert queue.receive(timeout=0).payload == b"2"


@pytest.mark.parametrize("truncate", [False, True])
def test_what_a_handler_raises_comes_out_of_receive(truncate: bool) -> None:
    """A handler that raises ends the call with its own exception, not with sysv_ipc's."""
    with Queue.private() as queue, alarm(stop), pytest.raises(Stop):
        queue.receive(truncate=truncate)


def test_what_a_handler_raises_comes_out_of_send() -> None:
    """A handler that raises ends the waiting send with its own exception."""
    with Queue.private() as queue:
        queue.resize(1)
        queue.send(b"1")

        with alarm(stop), pytest.raises(Stop):
            queue.send(b"2")


@pytest.mark.parametrize("truncate", [False, True])
def test_signals_do_not_lengthen_a_timeout(truncate: bool) -> None:
    """However many signals interrupt it, a limited wait keeps its total."""
    signals = []

    with Queue.private() as queue, alarm(lambda: signals.append(1), every_s=0.01, after_s=0.01):
        began_s = time.monotonic()
        with pytest.raises(NoMessageError):
            queue.receive(timeout=0.3, truncate=truncate)
        took_s = time.monotonic() - began_s

    assert 0.3 <= took_s < 2
    assert len(signals) > 5


def test_timeout_0_neither_sleeps_nor_waits() -> None:
    """With timeout 0 an empty and a full queue answer at once."""

    def sleep(_pause_s: float) -> None:
        raise AssertionError

    with Queue.private(waiter=Waiter(sleep=sleep)) as queue:
        with pytest.raises(NoMessageError):
            queue.receive(timeout=0)
        queue.resize(1)
        queue.send(b"1", timeout=0)
        with pytest.raises(QueueFullError):
            queue.send(b"2", timeout=0)


def test_a_limited_wait_ends_when_its_time_is_up() -> None:
    """A receive with a timeout tries until then, on the clock that was handed in, and says how long it waited."""
    now_s = [0.0]

    def sleep(pause_s: float) -> None:
        now_s[0] += pause_s

    with Queue.private(waiter=Waiter(clock=lambda: now_s[0], sleep=sleep)) as queue:
        with pytest.raises(NoMessageError, match="within 60 s"):
            queue.receive(timeout=60)
        queue.resize(1)
        queue.send(b"1")
        with pytest.raises(QueueFullError, match="within 30 s"):
            queue.send(b"2", timeout=30)

    assert now_s[0] == pytest.approx(90)


def test_a_limited_wait_finds_what_comes_meanwhile() -> None:
    """What is sent, or what room there is, during a pause ends the wait."""
    queue: Queue

    def sleep(_pause_s: float) -> None:
        if queue.stat().messages:
            queue.raw.receive(False)
        else:
            queue.raw.send(b"came")

    with Queue.private(waiter=Waiter(sleep=sleep)) as queue:
        assert queue.receive(timeout=5).payload == b"came"
        queue.resize(1)
        queue.send(b"1")
        queue.send(b"2", timeout=5)
        assert queue.receive(timeout=0).payload == b"2"


def test_a_limited_wait_ends_when_the_queue_is_removed() -> None:
    """Removal during the pauses is a QueueRemovedError at the next attempt."""
    queue: Queue

    with (
        Queue.private(waiter=Waiter(sleep=lambda _pause_s: queue.remove())) as queue,
        pytest.raises(QueueRemovedError, match="is gone"),
    ):
        queue.receive(timeout=5)
