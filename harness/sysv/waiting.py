"""Waiting with a limit for a call that can only wait for ever or not at all.

msgsnd and msgrcv know no timeout (semtimedop has no sibling), so a limited wait is a loop of IPC_NOWAIT calls with
pauses between. Other ways: an alarm signal, which races with the call and works in the main thread only; a second
thread or process that waits, which can lose the message it holds. So: a loop. Its price is told in queue.py.
Used by queue.py; knows no queue.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

FIRST_PAUSE_S = 50e-6
LONGEST_PAUSE_S = 5e-3


@dataclass(frozen=True, slots=True)
class Waiter:
    """Tries again until a limit, pausing 50 us at first and twice as long each time, up to 5 ms.

    `clock` answers in seconds and never goes back; `sleep` takes seconds. Tests hand in their own.
    """

    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep

    def retry(self, attempt: Callable[[], T], *, busy: type[Exception], timeout_s: float) -> T:
        """Return what `attempt` returns; while it raises `busy`, try again for `timeout_s`, then let it rise.

        The last attempt comes when the time is up, so that a long pause cannot miss what came within it.
        """
        deadline_s = self.clock() + timeout_s
        pause_s = FIRST_PAUSE_S
        while True:
            try:
                return attempt()
            except busy:
                left_s = deadline_s - self.clock()
                if left_s <= 0:
                    raise
            self.sleep(min(pause_s, left_s))
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
