"""What the tests of faults share: a `harness load` in a process of its own, its leader and workers, and its end.

A run is known by a marker in the environment, which everything it starts inherits; so what it left behind is found
whoever its parent is by then. Nothing here sleeps for a fixed time: it looks until a limit, and fails at the limit.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import secrets
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from harness.sysv import queues

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

MARKER = "HARNESS_TEST_RUN"
LIMIT_S = 20.0
LOOK_S = 0.005
OURS = range(0x4D51_0000, 0x4D52_0000)
"""The keys of queues that runs make."""


def wait_until(true: Callable[[], Any], what: str, limit_s: float = LIMIT_S) -> Any:
    """What `true` answered when it first was; fails with `what` after `limit_s` seconds."""
    deadline_s = time.monotonic() + limit_s
    while not (answer := true()):
        assert time.monotonic() < deadline_s, f"not within {limit_s:g} s: {what}"
        time.sleep(LOOK_S)
    return answer


def our_queues() -> list[int]:
    """The keys of the queues in this namespace that a run made."""
    return [queue.key for queue in queues() if queue.key in OURS]


def _parent_of(pid: int) -> int:
    """The parent's process id, by /proc/PID/stat, where it stands second behind the name in brackets."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


@dataclass
class Load:
    """One `harness load`; `output` is what it wrote so far (on a terminal: all of it; else standard output)."""

    process: subprocess.Popen[bytes]
    marker: str
    terminal: int | None
    output: bytes = b""
    _unread: list[int] = field(default_factory=list)

    def members(self) -> dict[int, str]:
        """The living processes of this run, without the coordinator: process id and command line."""
        found = {}
        wanted = f"{MARKER}={self.marker}".encode()
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                # A zombie's environment is empty: it is not living.
                if wanted in (process / "environ").read_bytes().split(b"\0"):
                    found[int(process.name)] = (process / "cmdline").read_text().replace("\0", " ")
        found.pop(self.process.pid, None)
        return {pid: words for pid, words in found.items() if "harness.experiments.leader" in words}

    def crew(self, workers: int = 2) -> list[int]:
        """The process ids of the leader and of its workers, in the order they were started, once all are there."""
        found = wait_until(lambda: len(found := self.members()) > workers and found, f"a leader and {workers} workers")
        [leader] = [pid for pid in found if _parent_of(pid) not in found]
        # In the order of their birth (proc(5)); process ids start again from below at some point.
        children = Path(f"/proc/{leader}/task/{leader}/children").read_text()
        return [leader, *(int(pid) for pid in children.split())]

    def read(self, wait_s: float = 0.0) -> None:
        """Take what was written meanwhile."""
        source = self.terminal if self.terminal is not None else self._unread[0] if self._unread else None
        if source is None or not select.select([source], [], [], wait_s)[0]:
            return
        try:
            chunk = os.read(source, 65536)
        except OSError:  # EIO: nobody has the terminal open any more
            chunk = b""
        self.output += chunk
        if not chunk and self.terminal is None:
            self._unread.clear()

    def wait_for(self, text: str) -> None:
        """Until `text` was written."""

        def seen() -> bool:
            self.read(0.02)
            return text.encode() in self.output

        wait_until(seen, f"{text!r} in what it wrote: {self.output.decode(errors='replace')}")

    def wait_until_loaded(self) -> None:
        """Until it has told of the window that is measured, so that messages have passed."""
        self.wait_for("  load   " if self.terminal is None else "load, ")

    def end(self, limit_s: float = LIMIT_S) -> int:
        """Wait for the coordinator to end by itself; its exit status as subprocess has it."""

        def ended() -> bool:
            self.read(0.02)
            return self.process.poll() is not None

        wait_until(ended, "the end of the coordinator", limit_s)
        while self._unread:
            self.read(1.0)
        return int(self.process.returncode)

    @property
    def said(self) -> str:
        """What it wrote so far, as text."""
        return self.output.decode(errors="replace")

    def press(self, keys: bytes) -> None:
        """Type on its terminal."""
        assert self.terminal is not None
        os.write(self.terminal, keys)

    def hang_up(self) -> None:
        """Close its terminal, as a window is closed."""
        assert self.terminal is not None
        os.close(self.terminal)
        self.terminal = None

    def wait_until_nothing_is_left(self, limit_s: float = LIMIT_S) -> float:
        """Until none of its processes and none of the runs' queues is there; returns how long that took, in s."""
        began_s = time.monotonic()
        wait_until(lambda: not self.members() and not our_queues(), "the end of its processes and queues", limit_s)
        return time.monotonic() - began_s

    def close(self) -> None:
        """Whatever became of it, leave nothing."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        for pid in self.members():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if self.terminal is not None:
            os.close(self.terminal)
        if self.process.stdout is not None:
            self.process.stdout.close()


Start = "Callable[..., Load]"


@pytest.fixture
def start() -> Iterator[Callable[..., Load]]:
    """Starts `harness load` with arguments; `on_terminal` gives it a controlling terminal of its own."""
    loads: list[Load] = []

    def begin(
        *arguments: str,
        on_terminal: bool = False,
        prefix: tuple[str, ...] = (),
        env: Mapping[str, str] = os.environ,
        stdout: int = subprocess.PIPE,
        stderr: int = subprocess.STDOUT,
    ) -> Load:
        marker = secrets.token_hex(8)
        command = [*prefix, sys.executable, "-m", "harness", "load", *arguments]
        environment = {**env, MARKER: marker, "TERM": "xterm", "COLUMNS": "", "LINES": ""}
        terminal = None
        if on_terminal:
            terminal, side = pty.openpty()
            fcntl.ioctl(side, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
            process = subprocess.Popen(
                command,
                stdin=side,
                stdout=side,
                stderr=side,
                env=environment,
                start_new_session=True,
                preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509  one thread, or a fork of it
            )
            os.close(side)
        else:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr, env=environment, start_new_session=True
            )
        load = Load(process, marker, terminal)
        if process.stdout is not None:
            load._unread.append(process.stdout.fileno())
        loads.append(load)
        return load

    yield begin
    for load in loads:
        load.close()


@pytest.fixture
def result_of(tmp_path: Path) -> Callable[[], dict[str, Any]]:
    """Reads the result that a run saved to result.json in the test's folder."""

    def read() -> dict[str, Any]:
        found: dict[str, Any] = json.loads((tmp_path / "result.json").read_text())
        return found

    return read
