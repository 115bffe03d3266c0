"""What the tests of the command line share: the real program, run to its end, or while it goes on."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

Harness = Callable[..., subprocess.CompletedProcess[str]]
MARKER = "HARNESS_TEST_RUN"
LIMIT_S = 20.0
HEARS_SIGINT = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
os.execv(sys.argv[1], sys.argv[1:])
"""
"""Becomes the program that it is given. In a shell's background job SIGINT is ignored, and that would be inherited."""


@pytest.fixture
def harness() -> Harness:
    """Runs `harness` with arguments to its end, whatever its status, and captures what it writes."""

    def run(*arguments: str, limit_s: float = 30.0) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "harness", *arguments], capture_output=True, text=True, check=False, timeout=limit_s
        )

    return run


@dataclass
class Going:
    """A `harness` that goes on. What it started is known by a marker in the environment, whoever its parent is."""

    process: subprocess.Popen[str]
    marker: str

    def members(self) -> list[int]:
        """The living processes that it started, in the order of their numbers."""
        found = []
        wanted = f"{MARKER}={self.marker}".encode()
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                # A zombie's environment is empty: it is not living.
                if wanted in (process / "environ").read_bytes().split(b"\0"):
                    found.append(int(process.name))
        return sorted(pid for pid in found if pid != self.process.pid)

    def wait_for_members(self, count: int) -> list[int]:
        """Until it has started so many processes."""
        deadline_s = time.monotonic() + LIMIT_S
        while len(found := self.members()) < count:
            assert self.process.poll() is None, self.process.communicate()
            assert time.monotonic() < deadline_s, f"{len(found)} of {count} processes"
            time.sleep(0.01)
        return found

    def end(self) -> tuple[int, str, str]:
        """Its exit status and what it wrote, once it has ended; nothing that it started may be left."""
        out, err = self.process.communicate(timeout=LIMIT_S)
        deadline_s = time.monotonic() + LIMIT_S
        while left := self.members():
            assert time.monotonic() < deadline_s, f"left behind: {left}"
            time.sleep(0.01)
        return self.process.returncode, out, err


@pytest.fixture
def begin() -> Iterator[Callable[..., Going]]:
    """Starts `harness` with arguments, and lets it go on."""
    started: list[Going] = []

    def start(*arguments: str) -> Going:
        marker = secrets.token_hex(8)
        process = subprocess.Popen(
            [sys.executable, "-c", HEARS_SIGINT, sys.executable, "-m", "harness", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, MARKER: marker},
            start_new_session=True,
        )
        started.append(Going(process, marker))
        return started[-1]

    yield start
    for going in started:
        if going.process.poll() is None:
            going.process.kill()
            going.process.communicate()
        for pid in going.members():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
