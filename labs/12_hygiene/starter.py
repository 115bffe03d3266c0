"""Whose queue is it, what may you do with it, and may you remove it? A janitor that removes only orphans of one's own.

    clean   looks at every queue of this machine, judges it, and says so; removes nothing without --remove

                    not yours?  another key?  somebody asleep?  last user alive?  used lately?
        queue  --->     |            |               |                |               |   --->  an orphan
                        '------------'------ kept ---'----------------'---------------'

    room    runs a program in an IPC namespace of its own: it sees no queue of ours, and leaves none behind

Run `python lab.py clean` and `python lab.py room ipcs -q`.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import sysv_ipc

from harness.labkit import todo
from harness.sysv import QueueStat, asleep_in, enter_private, queues, sleepers
from harness.sysv.errors import HarnessError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

KEYS = (0o3000111, 12340)  # the keys of the original's two programs
OLDER_THAN_S = 600.0
SLACK_S = 2.0  # the kernel notes a queue's times in whole seconds, and a process's start in hundredths
READ, WRITE = 4, 2


# --- who may ---------------------------------------------------------------------------------------------------------


def rights(mode: int, who: str) -> int:
    """The three bits of a queue's mode that count for `who`: "owner", "group" or "others"."""
    todo("12.1 the three bits of one class")


def may(what: str, mode: int, who: str) -> bool:
    """Whether the kernel lets `who` do `what` ("send", "receive" or "remove") with a queue of this mode.

    Root, who has CAP_IPC_OWNER, is not asked.
    """
    todo("12.1 what the kernel looks at for each of the three")


def may_open(mode: int, asked: int, who: str) -> bool:
    """Whether `who` gets a queue of this mode from msgget(key, asked), as in sysv_ipc.MessageQueue(key, mode=asked)."""
    todo("12.1 what msgget asks for, and what is granted")


# --- an orphan? ------------------------------------------------------------------------------------------------------


def started_s(pid: int) -> float | None:
    """When the process began, in seconds since the epoch; None if there is none, or only its zombie."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    state, *fields = text.rpartition(")")[2].split()  # before it stands the name, which may hold blanks and brackets
    if state in "ZX":
        return None
    booted_s = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
    return booted_s + int(fields[18]) / os.sysconf("SC_CLK_TCK")


def asleep_on(queue_id: int) -> int:
    """How many processes sleep on the queue, or may do: where we see only that one sleeps on some queue, it counts.

    So it is on Ubuntu (Yama, kernel.yama.ptrace_scope 1), where /proc/PID/syscall is for root and for ancestors.
    """
    here = Path("/proc/self/ns/ipc").readlink()
    count = len(sleepers(queue_id))
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended, or belongs to somebody else
            in_a_call = "do_msg" in (process / "wchan").read_text(encoding="ascii")
            if in_a_call and (process / "ns/ipc").readlink() == here and asleep_in(int(process.name)) is None:
                count += 1
    return count


def judge(
    queue: QueueStat,
    *,
    uid: int,
    keys: Collection[int],
    older_than_s: float,
    now_s: float,
    asleep: int,
    started_s: Callable[[int], float | None],
) -> str:
    """Why this queue must be kept, in a few words, or "" if it is an orphan that user `uid` may remove.

    `keys` are those that are known to be one's own; `asleep`: how many processes sleep on the queue; `started_s(pid)`
    tells when the process with this number began, or None. Times are seconds since the epoch.
    """
    todo("12.2 one reason after the other; an orphan is what is left")


# --- the janitor -----------------------------------------------------------------------------------------------------


def remove_exactly(queue: QueueStat) -> bool:
    """Remove this very queue; False if it is gone, also when a new queue has its key by now. Its mode is no matter."""
    todo("12.3 by key you find a queue, by id you know it")


def clean(keys: Collection[int], older_than_s: float, *, remove: bool) -> list[str]:
    """A line for each queue of this IPC namespace, with what was done and why; removes orphans if `remove`.

    The lines end with `kept: REASON`, `orphan, would be removed`, `orphan, removed` or `gone by now`.
    """
    todo("12.3 a line for each queue, and the deed where it is asked for")


# --- a room of its own -----------------------------------------------------------------------------------------------


def room(command: Sequence[str]) -> int:
    """Run the command in an IPC namespace of its own, and return its exit status, minus the signal that killed it.

    It sees none of our queues, and its own vanish with its last process. 127 if it cannot be run. Where we are stays
    as it is.
    """
    todo("12.4 fork, enter a namespace, become the program; wait for it")


def main(argv: list[str] | None = None) -> int:
    """Clean up, or run a program in a room of its own; returns the exit status."""
    parser = argparse.ArgumentParser(description="Hygiene for message queues.")
    commands = parser.add_subparsers(dest="command", required=True)
    cleaning = commands.add_parser("clean", help="judge every queue; remove nothing without --remove")
    cleaning.add_argument(
        "--keys", nargs="+", type=lambda text: int(text, 0), default=KEYS, help="those that are yours"
    )
    cleaning.add_argument("--older-than", type=float, default=OLDER_THAN_S, metavar="SECONDS")
    cleaning.add_argument("--remove", action="store_true", help="remove what is an orphan")
    running = commands.add_parser("room", help="run a program in an IPC namespace of its own")
    running.add_argument("program")
    running.add_argument("words", nargs=argparse.REMAINDER)
    options = parser.parse_args(argv)
    if options.command == "room":
        return room([options.program, *options.words])
    print("\n".join(clean(options.keys, options.older_than, remove=options.remove)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
