"""Waiting with a limit, on a clock that is handed in: no test sleeps."""

from __future__ import annotations

import pytest

from harness.sysv import Waiter
from harness.sysv.waiting import FIRST_PAUSE_S, LONGEST_PAUSE_S


class Busy(Exception):  # noqa: N818 - it stands for sysv_ipc.BusyError
    pass


class FakeTime:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.pauses_s: list[float] = []

    def sleep(self, pause_s: float) -> None:
        self.pauses_s.append(pause_s)
        self.now_s += pause_s

    @property
    def waiter(self) -> Waiter:
        return Waiter(clock=lambda: self.now_s, sleep=self.sleep)


def refuse() -> None:
    raise Busy


def test_no_time_means_one_attempt() -> None:
    """A timeout of 0 tries once and does not sleep."""
    time = FakeTime()

    with pytest.raises(Busy):
        time.waiter.retry(refuse, busy=Busy, timeout_s=0)

    assert time.pauses_s == []


def test_pauses_double_from_the_first_to_the_longest() -> None:
    """Pauses start at 50 us, double, and stop growing at 5 ms."""
    time = FakeTime()

    with pytest.raises(Busy):
        time.waiter.retry(refuse, busy=Busy, timeout_s=0.1)

    assert time.pauses_s[0] == FIRST_PAUSE_S
    assert time.pauses_s[1] == 2 * FIRST_PAUSE_S
    assert max(time.pauses_s) == LONGEST_PAUSE_S


def test_the_pauses_add_up_to_the_timeout() -> None:
    """The last pause is cut, so that the wait is as long as was asked and no longer."""
    time = FakeTime()

    with pytest.raises(Busy):
        time.waiter.retry(refuse, busy=Busy, timeout_s=0.1)

    assert sum(time.pauses_s) == pytest.approx(0.1)


def test_the_last_attempt_comes_when_the_time_is_up() -> None:
    """What came during the last pause is not missed."""
    time = FakeTime()

    def attempt() -> str:
        if time.now_s < 100.1 - 1e-9:
            raise Busy
        return "came"

    assert time.waiter.retry(attempt, busy=Busy, timeout_s=0.1) == "came"


def test_other_errors_end_the_wait_at_once() -> None:
    """Only the busy error is tried again."""
    time = FakeTime()

    def attempt() -> None:
        raise KeyError

    with pytest.raises(KeyError):
        time.waiter.retry(attempt, busy=Busy, timeout_s=1)

    assert time.pauses_s == []
