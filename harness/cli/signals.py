"""Signals that end a run: noted in a flag, never raised, so that what was measured can be shown and saved."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from types import FrameType

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupts:
    """While it is open, SIGINT, SIGTERM and SIGHUP set a flag. The handlers that were there come back afterwards."""

    def __init__(self) -> None:
        self._seen: list[signal.Signals] = []

    def __enter__(self) -> Self:
        # What the caller has set to be ignored (nohup, a shell's background job) stays ignored.
        heard = [number for number in ENDING if signal.getsignal(number) is not signal.SIG_IGN]
        self._before = {number: signal.signal(number, self._note) for number in heard}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, _frame: FrameType | None) -> None:
        self._seen.append(signal.Signals(number))

    def __call__(self) -> str | None:
        """The first signal's name, "SIGINT twice" for a second Ctrl-C, or None."""
        if self._seen.count(signal.SIGINT) > 1:
            return "SIGINT twice"
        return self._seen[0].name if self._seen else None

    @property
    def exit_status(self) -> int | None:
        """128 and the first signal's number, as shells have it; None without one."""
        return 128 + self._seen[0] if self._seen else None
