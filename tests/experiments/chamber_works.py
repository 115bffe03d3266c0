"""Works for test_chamber.py: in a module of their own, since the chamber imports what it is told to do by name."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Any

from harness.sysv import Limits, Queue, queues
from harness.sysv.errors import QueueLimitError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness.experiments.inside import Bench


def count(plan: int, bench: Bench) -> Iterator[dict[str, Any]]:
    """So many rows."""
    bench.warn("counted")
    for number in range(plan):
        bench.doing(f"number {number}")
        yield {"number": number}


def look_around(plan: None, bench: Bench) -> Iterator[dict[str, Any]]:
    """What the chamber's namespace is like; the queue made here is left there."""
    before = len(queues())
    Queue.create(0x77)
    limits = Limits.read()
    yield {"before": before, "msgmnb": limits.msgmnb, "msgmax": limits.msgmax}


def forks(plan: None, bench: Bench) -> Iterator[dict[str, Any]]:
    """A process of its own, and its end."""
    pid = bench.start(lambda: 7)
    yield {"status": bench.wait(pid, 10)}


def fork_dies(plan: None, bench: Bench) -> Iterator[dict[str, Any]]:
    """A row, then a process that is killed."""
    yield {"number": 1}
    bench.wait(bench.start(lambda: os.kill(os.getpid(), signal.SIGKILL)), 10)


def sleeps(plan: int, bench: Bench) -> Iterator[dict[str, Any]]:
    """Rows that name a process asleep on an empty queue, then the same oneself, for ever."""
    queue = Queue.private()

    def sleep() -> None:
        queue.receive()

    yield {"pid": bench.start(sleep)}
    yield {"pid": os.getpid()}
    queue.receive()


def fails_at_once(plan: None, bench: Bench) -> Iterator[dict[str, Any]]:
    """An error of ours."""
    yield from ()
    raise QueueLimitError("too many", why="of them", hint="use fewer")


def has_a_defect(plan: int, bench: Bench) -> Iterator[dict[str, Any]]:
    """So many rows, then an error that is not ours."""
    for number in range(plan):
        yield {"number": number}
    raise ZeroDivisionError("a defect")


def kills_itself(plan: int, bench: Bench) -> Iterator[dict[str, Any]]:
    """So many rows, then SIGKILL."""
    for number in range(plan):
        yield {"number": number}
    os.kill(os.getpid(), signal.SIGKILL)


def has_a_folder(plan: bool, bench: Bench) -> Iterator[dict[str, Any]]:
    """What its folder is like; a file is left in it, and the end is `plan`'s: by SIGKILL or not."""
    assert bench.folder is not None
    (bench.folder / "left").write_text("there")
    yield {"folder": str(bench.folder), "mode": bench.folder.stat().st_mode & 0o777}
    if plan:
        os.kill(os.getpid(), signal.SIGKILL)
