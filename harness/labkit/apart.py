"""A piece of work in a forked child: watched from outside, killed when it takes too long, and nothing of it is left.

Used for each check of a lab, and by the project's own tests (tests/conftest.py). Why from outside: a hang is the
commonest mistake, and an exception raised from a signal handler around msgrcv lands in the wrong `except`, or loses
the message in hand. Why no watchdog thread inside (faulthandler.dump_traceback_later): a process with a second thread
may not enter a private namespace, and since Python 3.12 warns at each fork. So the stack comes by a signal whose C
handler writes it, and a kill comes after.

While the child runs, this process is the reaper of its orphans (PR_SET_CHILD_SUBREAPER, prctl(2)): what the work
started and forgot, also by forking twice, becomes a child of this process, is named, and killed.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import pickle
import select
import signal
import sys
import tempfile
import time
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from harness.sysv import libc

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

T = TypeVar("T")

SHOW_STACK = signal.SIGXCPU if sys.platform == "linux" else signal.SIGTERM
"""One that no lab uses; its default action ends the process, should the child not listen yet."""

_STACK_PATIENCE_S = 0.5
_LEAVING_PATIENCE_S = 0.25
_SETTLED_LOOK_S = 0.05
_SETTLED_PATIENCE_S = 0.25
_PR_SET_PDEATHSIG = 1  # include/uapi/linux/prctl.h
_PR_SET_CHILD_SUBREAPER = 36
_PR_GET_CHILD_SUBREAPER = 37


@dataclass
class Ending(Generic[T]):
    """How the work ended: with an `answer`, or it `hung` (and `seen` is what was seen of it), or it died.

    `status` is the child's, as subprocess has it. `stack` is where it stood, when it hung. `left` are the command
    lines of the processes that it left running; they are gone by now. `strayed`: a process that the work forked came
    back out of it, as a second self of the child.
    """

    answer: T | None = None
    answered: bool = False
    hung: bool = False
    status: int = 0
    stack: str = ""
    seen: Any = None
    left: list[str] = field(default_factory=list)
    strayed: bool = False


def run_apart(
    work: Callable[[], T],
    *,
    limit_s: float,
    look: Callable[[int], Any] | None = None,
    settled: Callable[[], bool] | None = None,
) -> Ending[T]:
    """Run `work` in a forked child, in a process group of its own, for at most `limit_s`; what it returns is pickled.

    `look` is called with the child's pid before a hanging child is killed. Once `settled` says that what comes of the
    work is known already, the child has a moment to end. Raises what interrupts this process (KeyboardInterrupt),
    after having killed the child.
    """
    # Files and not a pipe: a process that the work forgot would hold a pipe open.
    with (
        tempfile.TemporaryFile() as answer,
        tempfile.TemporaryFile() as stack,
        tempfile.TemporaryFile() as stray,
        _reaping_orphans() as orphans,
    ):
        caller = os.getpid()
        with warnings.catch_warnings():
            # Python 3.12 warns of a fork beside threads; the work takes no lock that another thread could hold.
            warnings.simplefilter("ignore", DeprecationWarning)
            pid = os.fork()
        if pid == 0:
            status = 1
            try:
                os.setpgid(0, 0)
                end_with_parent(caller)
                faulthandler.register(SHOW_STACK, file=stack, all_threads=True)
                faulthandler.enable(file=stack)  # a crash is told by whoever watches, not on the terminal
                own = os.getpid()
                result = work()
                if os.getpid() == own:
                    pickle.dump(result, answer)
                    answer.flush()
                    status = 0
                else:
                    # Also under an exception this must not go on as if it were the child: that is why it is no `raise`.
                    os.write(stray.fileno(), b"a fork came back")
            finally:
                os._exit(status)
        orphans.pid = pid
        ending: Ending[T] = Ending()
        _watch(pid, ending, limit_s, look, settled)
        ending.left = orphans.end()
        # Its work may have ended the process itself, even with status 0.
        if ending.status == 0 and not ending.hung and os.fstat(answer.fileno()).st_size > 0:
            answer.seek(0)
            ending.answer, ending.answered = pickle.load(answer), True  # noqa: S301 - our own child wrote it
        stack.seek(0)
        ending.stack = stack.read().decode(errors="replace")
        ending.strayed = os.fstat(stray.fileno()).st_size > 0
    return ending


def end_with_parent(parent: int) -> None:
    """Let the kernel kill this process when the thread that forked it ends; end now if `parent` is gone already."""
    libc.call("prctl", _PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def children_of(pid: int) -> list[int]:
    """The children of a process, zombies included; empty when it is gone."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*"):
        with contextlib.suppress(OSError):
            found += [int(word) for word in (task / "children").read_text(encoding="ascii").split()]
    return found


def family_of(pid: int) -> list[int]:
    """A process and all its descendants that can be found from it, itself first."""
    found = [pid]
    for member in found:
        found += [child for child in children_of(member) if child not in found]
    return found


def command_of(pid: int) -> str:
    """A living process's command line, shortened; empty for a zombie, or when it is gone."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[0]
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return ""
    if state in "ZX":
        return ""
    return " ".join(Path(word).name if "/" in word else word for word in words if word)[:100] or "a process"


def _watch(
    pid: int,
    ending: Ending[T],
    limit_s: float,
    look: Callable[[int], Any] | None,
    settled: Callable[[], bool] | None,
) -> None:
    pidfd = os.pidfd_open(pid)
    try:
        if not _ends(pidfd, limit_s, settled):
            ending.hung = True
            if look is not None:
                ending.seen = look(pid)
            os.kill(pid, SHOW_STACK)
            select.select([pidfd], [], [], _STACK_PATIENCE_S)
    finally:
        if ending.hung or not select.select([pidfd], [], [], 0)[0]:
            # Before waitpid, as until then no other process can have the number; no group: pid made none yet.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
        os.close(pidfd)
    ending.status = os.waitstatus_to_exitcode(status)


def _ends(pidfd: int, limit_s: float, settled: Callable[[], bool] | None) -> bool:
    """Whether the process ends in time: within `limit_s`, and within a moment after `settled`."""
    if settled is None:
        return bool(select.select([pidfd], [], [], limit_s)[0])
    deadline_s = time.monotonic() + limit_s
    while (left_s := deadline_s - time.monotonic()) > 0:
        if select.select([pidfd], [], [], min(left_s, _SETTLED_LOOK_S))[0]:
            return True
        if settled():
            return bool(select.select([pidfd], [], [], min(left_s, _SETTLED_PATIENCE_S))[0])
    return False


class _Orphans:
    """The children that this process gets from the work, told from those it had before."""

    def __init__(self) -> None:
        self._before = set(children_of(os.getpid()))
        self.pid = 0

    def end(self) -> list[str]:
        """Kill and reap all that the work left; return the command lines of those that meant to go on."""
        deadline_s = time.monotonic() + _LEAVING_PATIENCE_S
        left: list[str] = []
        while mine := [pid for pid in children_of(os.getpid()) if pid not in self._before and pid != self.pid]:
            late = time.monotonic() > deadline_s
            for pid in mine:
                # One that is on its way out gets a moment: a zombie is reaped and was nobody's fault.
                command = command_of(pid)
                if late and command:
                    left.append(command)
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(pid, 0 if late else os.WNOHANG)
            time.sleep(0.001)
        return left


@contextlib.contextmanager
def _reaping_orphans() -> Iterator[_Orphans]:
    import ctypes  # noqa: PLC0415 - as late as the C library

    before = ctypes.c_int(0)
    libc.call("prctl", _PR_GET_CHILD_SUBREAPER, ctypes.byref(before), 0, 0, 0)
    orphans = _Orphans()
    libc.call("prctl", _PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    try:
        yield orphans
    finally:
        orphans.end()
        libc.call("prctl", _PR_SET_CHILD_SUBREAPER, before.value, 0, 0, 0)
