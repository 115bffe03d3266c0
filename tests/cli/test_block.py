"""`harness block` as a person or a script types it: what comes out where, and with which status."""

from __future__ import annotations

import json
import os
import signal
import time
from typing import TYPE_CHECKING, Any

import pytest

from harness.cli.app import main
from harness.sysv import asleep_in

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.cli.conftest import Going, Harness

SHORT = ("block", "--parts", "never-fits", "--rounds", "3")
LONG = ("block", "--parts", "never-fits,stall", "--stall", "20s")
PROCESSES = 4
"""Chamber, guardian, producer, consumer: more are there in the stall alone."""


def test_a_report_and_a_file(harness: Harness, tmp_path: Path) -> None:
    """Plain lines into a pipe, the document into the file, status 0."""
    done = harness(*SHORT, "--queue-bytes", "10kB", "--json", str(tmp_path / "result.json"))

    result = json.loads((tmp_path / "result.json").read_text())
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("a message of 10,001 B into a queue of 10,000 B:\nour send tells it after ")
    assert result["schema"] == "harness.block/1"
    assert result["plan"]["parts"] == ["never-fits"]
    assert result["argv"][:2] == ["harness", "block"]
    assert len(result["rows"]) == 3


def test_the_document_on_standard_output(harness: Harness) -> None:
    """With --json - the report goes to the other stream, so that a program can read the document."""
    done = harness(*SHORT, "--json", "-")

    assert json.loads(done.stdout)["never_fits"]["rounds"] == 3
    assert "our send tells it after" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--senders", "1"), "1 senders"),
        (("--sizes", "64B"), "--sizes: '64B' is not a small and a large size"),
        (("--sizes", "64B,8K"), "--sizes: '8K'"),
        (("--sizes", "64B,32KiB"), "never fits"),
        (("--stall", "0s"), "--stall: '0s'"),
        (("--stall", "2m"), "a stall of 120 s"),
        (("--when-full", "drop"), "--when-full 'drop'"),
        (("--parts", "wake,nap"), "unknown part 'nap'"),
        (("--rounds", "1"), "1 rounds"),
        (("--queue-bytes", "1GiB"), "16,777,216 messages"),
        (("--engine", "steam"), "unknown engine"),
        (("--json", "nowhere/result.json"), "does not exist"),
    ],
)
def test_bad_input_is_one_line(arguments: tuple[str, ...], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    """What cannot be meant ends with 2, one line and perhaps a hint, before anything runs."""
    assert main(["block", *arguments]) == 2

    said = capsys.readouterr()
    assert said.out == ""
    assert words in said.err.splitlines()[0]
    assert len(said.err.splitlines()) <= 2


def test_lost_messages_are_a_failure(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A result that is complete and wrong ends with 1, and says what is wrong."""

    def run(*_: object, **__: object) -> dict[str, Any]:
        parts = dict.fromkeys(("wake", "fairness", "starvation", "overload", "never_fits", "stall"))
        disturbance = {"verdict": "clean", "jitter": None, "throttled_ns": 0}
        return {
            **parts,
            "engine": "python",
            "plan": {"rounds": 3, "queue_bytes": 16384},
            "complete": True,
            "wrong": ["stall, round 1: 2 messages lost, 0 received twice"],
            "disturbance": {**disturbance, "steal_share": 0.0, "runnable_wait_share": 0.0},
            "warnings": [],
        }

    monkeypatch.setattr("harness.experiments.block.run_block", run)

    assert main(["block"]) == 1
    assert "stall, round 1: 2 messages lost" in capsys.readouterr().out


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=str)
def test_a_signal_ends_it(number: signal.Signals, status: int, begin: Callable[..., Going], tmp_path: Path) -> None:
    """Ctrl-C ends it with the shell's status; what was measured is shown and saved as incomplete, nothing is left."""
    going = begin(*LONG, "--json", str(tmp_path / "result.json"))
    going.wait_for_members(PROCESSES)

    going.process.send_signal(number)

    ended, out, err = going.end()
    result = json.loads((tmp_path / "result.json").read_text())
    assert (ended, err) == (status, "")
    assert "our send tells it after" in out
    assert f"INCOMPLETE: interrupted by {number.name}" in out
    assert (result["complete"], result["stall"]) == (False, None)
    assert result["never_fits"]["rounds"] == 1


def test_a_killed_producer_is_told(begin: Callable[..., Going], tmp_path: Path) -> None:
    """When the producer of a flow dies, the experiment is cut and says so; it is not waited for."""
    going = begin(*LONG, "--json", str(tmp_path / "result.json"))
    members = going.wait_for_members(PROCESSES)
    deadline_s = time.monotonic() + 10
    # In the stall the queue is full, and the producer sleeps.
    while not (asleep := [pid for pid in members if (found := asleep_in(pid)) and found.call == "msgsnd"]):
        assert time.monotonic() < deadline_s
        time.sleep(0.01)

    os.kill(asleep[0], signal.SIGKILL)

    status, out, err = going.end()
    assert (status, err) == (1, "")
    assert "INCOMPLETE: a process of the experiment was killed by signal 9" in out


def test_sigkill_leaves_nothing(begin: Callable[..., Going]) -> None:
    """When the command itself is killed, its processes end, and with them their namespace and its queues."""
    going = begin(*LONG)
    going.wait_for_members(PROCESSES)

    going.process.kill()

    assert going.end()[0] == -signal.SIGKILL
