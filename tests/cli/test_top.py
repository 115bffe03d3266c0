"""`harness top`: plain lines and JSON for scripts, and the live view on a real terminal (a pty)."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from harness.cli.top import DOWN, ESCAPE, UP, pressed
from harness.experiments.top import look
from harness.show.top import Choice
from harness.sysv import Queue, queues

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.private_ipc


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "harness", "top", *arguments], capture_output=True, text=True, check=False, timeout=20
    )


class Terminal:
    """`harness top` on a terminal of its own."""

    def __init__(self, *arguments: str) -> None:
        self.pid, self._descriptor = pty.fork()
        if self.pid == 0:
            os.environ |= {"TERM": "xterm", "COLUMNS": "80", "LINES": "24"}
            os.execv(sys.executable, [sys.executable, "-m", "harness", "top", *arguments])
        self.text = ""

    def press(self, keys: str) -> None:
        os.write(self._descriptor, keys.encode())

    def wait_for(self, pattern: str) -> None:
        deadline_s = time.monotonic() + 15
        while not re.search(pattern, self.text):
            assert time.monotonic() < deadline_s, self.text[-2000:]
            if select.select([self._descriptor], [], [], 0.1)[0]:
                self.text += os.read(self._descriptor, 65536).decode(errors="replace")

    def end(self) -> int:
        """Its exit status, after what it still writes."""
        while True:
            try:
                if not os.read(self._descriptor, 65536):
                    break
            except OSError:  # EIO: the other side is closed
                break
        _, status = os.waitpid(self.pid, 0)
        os.close(self._descriptor)
        return os.waitstatus_to_exitcode(status)


@pytest.fixture
def queue() -> Iterator[Queue]:
    with Queue.create(0x3034) as made:
        made.send(b"four", type=8)
        yield made


def test_once_writes_plain_lines(queue: Queue) -> None:
    """`--once` writes a heading and the queue's line, and ends with 0."""
    done = run("--once")

    assert done.returncode == 0
    assert done.stdout.splitlines()[1].startswith(f"0x00003034 {queue.id} ")


def test_without_a_terminal_it_looks_once(queue: Queue) -> None:
    """In a pipe `harness top` is `harness top --once`."""
    assert run().stdout == run("--once").stdout


def test_json_has_every_queue(queue: Queue) -> None:
    """`--json` writes the queues with who sent last, as JSON."""
    found = json.loads(run("--json").stdout)

    (one,) = found["queues"]
    assert found["schema"] == "harness.top/1"
    assert (one["key_hex"], one["messages"], one["used_bytes"], one["last_sender"]["pid"]) == (
        "0x00003034",
        1,
        4,
        os.getpid(),
    )


def test_without_queues_it_says_so() -> None:
    """No queue at all: a heading and nothing else, status 0."""
    done = run("--once")

    assert len(done.stdout.splitlines()) == 1
    assert done.returncode == 0


def test_a_wrong_interval_is_told() -> None:
    """--every 0 is one line and status 2."""
    done = run("--every", "0s")

    assert done.returncode == 2
    assert len(done.stderr.splitlines()) <= 2
    assert "--every" in done.stderr


def test_the_view_shows_filters_and_ends(queue: Queue) -> None:
    """On a terminal: the queue, its types when chosen, q ends with 0, and the terminal is put back."""
    terminal = Terminal("--every", "200ms")
    terminal.wait_for("0x00003034")
    terminal.press("j")
    terminal.wait_for("1 of type 8")
    terminal.press("q")

    assert terminal.end() == 0


def test_a_queue_is_removed_after_a_question(queue: Queue) -> None:
    """x asks; another key than y leaves the queue, y removes it."""
    terminal = Terminal("--every", "200ms")
    terminal.wait_for("0x00003034")
    terminal.press("jx")
    terminal.wait_for("remove queue id")
    terminal.press("n")
    terminal.wait_for("nothing was removed")
    assert [found.id for found in queues()] == [queue.id]

    terminal.press("xy")
    terminal.wait_for("is removed")
    terminal.press("q")
    terminal.end()

    assert queues() == []


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_view(number: signal.Signals, status: int, queue: Queue) -> None:
    """Ctrl-C and SIGTERM end the view with their status, at once."""
    terminal = Terminal("--every", "1h")
    terminal.wait_for("0x00003034")

    os.kill(terminal.pid, number)

    assert terminal.end() == status


def test_keys_change_the_choice() -> None:
    """Arrows stay within the list, s goes through the orders, typing filters, Esc forgets."""
    with Queue.create(0x1), Queue.create(0x2):
        seen = look()
        ids = [row.queue.id for row in seen.rows]

        def after(*keys: str) -> Choice:
            choice: Choice | None = Choice()
            for key in keys:
                assert choice is not None
                choice = pressed(key, choice, seen)
            assert choice is not None
            return choice

        assert after(DOWN).chosen == ids[0]
        assert after(DOWN, DOWN, DOWN).chosen == ids[1]
        assert after(DOWN, DOWN, UP, UP).chosen == ids[0]
        assert after("s").sort == "full"
        assert after("/", "a", "q", "b", "\x7f").filter == "aq"
        assert after("/", "a", "\r").asking == ""
        assert after("/", "a", ESCAPE).filter == ""
        assert after("x").asking == ""
        assert pressed("q", Choice(), seen) is None
