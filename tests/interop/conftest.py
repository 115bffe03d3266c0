"""A real PHP to talk to: one small program of this folder at a time, asked and answered in JSON (README.md).

HARNESS_REQUIRE_PHP=1 in the environment turns the skips where there is no PHP into failures.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest

from harness.sysv import asleep_in

if TYPE_CHECKING:
    from collections.abc import Iterator

FOLDER = Path(__file__).parent
PATIENCE_S = 10.0
# What a php.ini may set otherwise; -n would drop Debian's conf.d, which loads sysvmsg.
PHP = ("php", "-d", "display_errors=stderr", "-d", "html_errors=0", "-d", "serialize_precision=-1")


def problem() -> str | None:
    """Why there is no PHP to talk to, and what to install; None if there is one."""
    if shutil.which("php") is None:
        return "there is no php: apt install php-cli"
    asked = subprocess.run([*PHP, "-m"], capture_output=True, text=True, check=False, timeout=PATIENCE_S)
    if "sysvmsg" not in asked.stdout.split():
        return "this php has no sysvmsg: apt install php-cli"
    return None


# Here and not in a fixture: a private_ipc test makes its fixtures anew in its fork, and this starts a program.
PROBLEM = problem()


class Php:
    """Starts the PHP programs of this folder; `asked` is what the program's header comment names."""

    def command(self, script: str, **asked: Any) -> list[str]:
        """The command that runs a program."""
        return [*PHP, str(FOLDER / script), json.dumps(asked)]

    def run(self, script: str, **asked: Any) -> dict[str, Any]:
        """Run a program to its end: its answer."""
        with self.started(script, **asked) as process:
            return self.answer(process)

    def send(self, key: int, case: str, **changes: Any) -> dict[str, Any]:
        """Run send.php: by default type 1, unserialized, without waiting."""
        return self.run("send.php", key=key, case=case, **{"type": 1, "serialize": False, "blocking": False} | changes)

    def receive(self, key: int, **changes: Any) -> dict[str, Any]:
        """Run receive.php: by default any type, not unserialized, without waiting."""
        asked = {"type": 0, "max_bytes": 8192, "unserialize": False, "flags": ["MSG_IPC_NOWAIT"]}
        return self.run("receive.php", key=key, **asked | changes)

    @contextlib.contextmanager
    def started(self, script: str, **asked: Any) -> Iterator[subprocess.Popen[str]]:
        """A program that runs meanwhile; killed at the end if it is still there."""
        pipe = subprocess.PIPE
        with subprocess.Popen(self.command(script, **asked), stdout=pipe, stderr=pipe, text=True) as process:
            try:
                yield process
            finally:
                process.kill()

    def answer(self, process: subprocess.Popen[str]) -> dict[str, Any]:
        """What a started program prints at its end, with its process id as `pid`."""
        words, errors = process.communicate(timeout=PATIENCE_S)
        assert (process.returncode, errors) == (0, "")
        return {"pid": process.pid, **cast("dict[str, Any]", json.loads(words))}

    def wait_until_asleep(self, pid: int | None) -> None:
        """Until the process, PHP's or not, sleeps in msgsnd or msgrcv."""
        assert pid is not None
        deadline_s = time.monotonic() + PATIENCE_S
        while asleep_in(pid) is None:
            assert time.monotonic() < deadline_s, f"process {pid} never slept on a queue"
            os.sched_yield()


@pytest.fixture
def php() -> Php:
    """A real PHP; without one the test is skipped, or fails when HARNESS_REQUIRE_PHP is 1."""
    if PROBLEM is None:
        return Php()
    if os.environ.get("HARNESS_REQUIRE_PHP") == "1":
        pytest.fail(f"PHP is required, but {PROBLEM}")
    pytest.skip(PROBLEM)
