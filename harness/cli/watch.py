"""The three ways to watch a run: a live view on a terminal, one line a second elsewhere, or nothing (--quiet).

Each is an Observer of `experiments.follow` (udp.py has the like for a load through a proxy); what they draw comes from
`show`. A display that can no longer be
written to (a closed terminal, a reader that went away) falls silent: the run and its result matter more.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from queue import SimpleQueue
from typing import TYPE_CHECKING, Generic, Self, TextIO, TypeVar

from harness.show import words
from harness.show.plain import progress_line

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from harness.experiments.crew import Started
    from harness.experiments.follow import Snapshot
    from harness.experiments.plan import LoadPlan

HISTORY = 40
LOWEST = 19
"""Nice value of the display."""
LAST_FRAME_S = 2.0
"""How long the end of a run waits for the display to be cleared."""


class Unwatched:
    """Nothing to enter and to leave, and nobody who looks."""

    interval_s = 3600.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass


class Silent(Unwatched):
    """Shows nothing."""

    def started(self, plan: LoadPlan, engine: str, started: Started, number: int, of: int) -> None:
        """A run begins."""

    def sample(self, snapshot: Snapshot) -> None:
        """A moment of it."""


class Written(Unwatched):
    """Plain lines, one a second."""

    interval_s = 1.0

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._gone = False

    def write(self, line: str) -> None:
        """One line; nothing any more once the reader went away."""
        if self._gone:
            return
        try:
            print(line, file=self._stream, flush=True)
        except (OSError, ValueError):
            self._gone = True


class Lines(Written):
    """A load on a queue in plain lines."""

    def started(self, plan: LoadPlan, engine: str, started: Started, number: int, of: int) -> None:
        """Say which run of how many begins, and how to look at its queue."""
        self.write(f"{title(plan, engine, number, of)}; look at its queue: {started.look}")

    def sample(self, snapshot: Snapshot) -> None:
        """One line."""
        self.write(progress_line(snapshot))


Moment = TypeVar("Moment")


class Drawn(Unwatched, Generic[Moment]):
    """A live view, drawn by a thread of its own; `picture` draws a moment of the run.

    A frame costs 1.6 ms of CPU (measured), which a run may be short of: so there are two a second, and where the
    workers need every CPU, that thread alone takes the lowest priority. The main thread, which samples the run and
    starts its processes, keeps its own; its children would inherit a lowered one, and it could not be raised again.
    """

    interval_s = 0.5

    def __init__(self, console: Console) -> None:
        self._console = console
        self._frames: SimpleQueue[Moment | None] = SimpleQueue()
        self.polite = threading.Event()
        """Set where the run needs every CPU."""
        self._thread = threading.Thread(target=self._draw, name="display", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._frames.put(None)
        self._thread.join(LAST_FRAME_S)

    def sample(self, snapshot: Moment) -> None:
        """One frame; drawn when the display's thread gets to it."""
        self._frames.put(snapshot)

    def picture(self, snapshot: Moment) -> RenderableType:
        """What a moment of the run looks like."""
        raise NotImplementedError

    def _draw(self) -> None:
        from rich.live import Live  # noqa: PLC0415  slow to import

        lowered = False
        try:
            with Live(console=self._console, auto_refresh=False, transient=True) as live:
                while (snapshot := self._frames.get()) is not None:
                    if self.polite.is_set() and not lowered:
                        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), LOWEST)
                        lowered = True
                    live.update(self.picture(snapshot), refresh=True)
        except (OSError, ValueError):
            return  # the terminal is gone


class View(Drawn["Snapshot"]):
    """The live view of a load on a queue."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self._title = self._look = ""
        self._history: deque[Snapshot] = deque(maxlen=HISTORY)

    def started(self, plan: LoadPlan, engine: str, started: Started, number: int, of: int) -> None:
        """Take the new run's title; an earlier run's history is forgotten."""
        self._title, self._look = title(plan, engine, number, of), started.look
        self._history.clear()
        if plan.producers + plan.consumers >= len(os.sched_getaffinity(0)):
            self.polite.set()

    def picture(self, snapshot: Snapshot) -> RenderableType:
        """Progress, rates, depth and latency so far."""
        from harness.show.terminal import live_view  # noqa: PLC0415  slow to import

        self._history.append(snapshot)
        return live_view(snapshot, self._title, self._look, list(self._history))


def title(plan: LoadPlan, engine: str, number: int, of: int) -> str:
    """Which run of how many, and what it does."""
    which = f"run {number} of {of}: " if of > 1 else ""
    return f"{which}{words.asked(plan.to_json())}, {engine} engine"
