"""`harness flipflop` as a person or a script types it: what comes out where, and with which status."""

from __future__ import annotations

import json
import os
import signal
import time
from typing import TYPE_CHECKING

import pytest

from harness.cli.app import main
from harness.sysv import asleep_in

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.cli.conftest import Going, Harness

SHORT = ("flipflop", "--every", "2ms", "--count", "10", "--rounds", "1")
LONG = ("flipflop", "--every", "50ms", "--count", "10k")
PROCESSES = 5
"""Chamber, guardian, two receivers, sender."""


def test_a_report_and_a_file(harness: Harness, tmp_path: Path) -> None:
    """Plain lines into a pipe, the document into the file, status 0; 0 needs no unit."""
    done = harness(*SHORT, "--work", "0,1ms", "--json", str(tmp_path / "result.json"))

    result = json.loads((tmp_path / "result.json").read_text())
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("who got each message, round 1 of 1:\n 0 ")
    assert result["schema"] == "harness.flipflop/1"
    assert result["plan"]["work_ns"] == [0, 1_000_000]
    assert result["argv"][:2] == ["harness", "flipflop"]
    assert len(result["runs"][0]["winners"]) == 10


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--receivers", "1"), "1 receivers"),
        (("--work", "1ms,2ms,3ms"), "3 work times for 2 receivers"),
        (("--work", "fast"), "--work: 'fast' is not a duration"),
        (("--every", "-1ms"), "--every"),
        (("--count", "0"), "--count"),
        (("--backlog", "61"), "a backlog of 61"),
        (("--rounds", "0"), "0 rounds"),
        (("--json", "nowhere/result.json"), "does not exist"),
    ],
)
def test_bad_input_is_one_line(arguments: tuple[str, ...], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    """What cannot be meant ends with 2, one line and perhaps a hint, before anything runs."""
    assert main(["flipflop", *arguments]) == 2

    said = capsys.readouterr()
    assert said.out == ""
    assert words in said.err.splitlines()[0]
    assert len(said.err.splitlines()) <= 2


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=str)
def test_a_signal_ends_it(number: signal.Signals, status: int, begin: Callable[..., Going], tmp_path: Path) -> None:
    """Ctrl-C ends it with the shell's status; what was seen is shown and saved as incomplete, and nothing is left."""
    going = begin(*LONG, "--json", str(tmp_path / "result.json"))
    going.wait_for_members(PROCESSES)

    going.process.send_signal(number)

    ended, out, err = going.end()
    assert (ended, err) == (status, "")
    result = json.loads((tmp_path / "result.json").read_text())
    assert f"INCOMPLETE: interrupted by {number.name}" in out
    assert result["complete"] is False


def test_a_killed_receiver_is_told(begin: Callable[..., Going]) -> None:
    """When a receiver dies, the experiment is cut and says so, with status 1, and nothing is left."""
    going = begin(*LONG)
    members = going.wait_for_members(PROCESSES)
    deadline_s = time.monotonic() + 10
    while not (asleep := [pid for pid in members if asleep_in(pid)]):
        assert time.monotonic() < deadline_s
        time.sleep(0.01)

    os.kill(asleep[0], signal.SIGKILL)

    status, out, err = going.end()
    # Killed before the first message there is nothing to report, and it is an error.
    assert status == 1
    assert "a process of the experiment was killed by signal 9" in (err or out)


def test_sigkill_leaves_nothing(begin: Callable[..., Going]) -> None:
    """When the command itself is killed, its processes end, and with them their namespace and its queue."""
    going = begin(*LONG)
    going.wait_for_members(PROCESSES)

    going.process.kill()

    assert going.end()[0] == -signal.SIGKILL
