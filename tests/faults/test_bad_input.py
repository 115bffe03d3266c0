"""What cannot be meant is refused before anything is made: exit status 2, one line and a hint, no traceback."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from harness.cli.app import main

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import OrdinaryUser

BAD = {
    "rate abc": ("--rate abc", "'abc' is not a rate", "500k"),
    "rate 0": ("--rate 0", "above 0", "500k"),
    "rate empty": ("--rate=", "'' is not a rate", "500k"),
    "duration -1s": ("--duration -1s", "below 0", "10s"),
    "duration empty": ("--duration=", "is not a duration", "10s"),
    "size 9GiB": ("--size 9GiB", "9 GiB is more than any message", "--size 8KiB"),
    "never fits": ("--size 32MiB", "never fits a queue of 16 MiB", "--queue-bytes"),
    "never fits this one": ("--size 64KiB --queue-bytes 32KiB", "never fits a queue of 32 KiB", "--queue-bytes"),
    "over the host's msgmax": ("--visible --size 1MiB", "over this host's msgmax", "kernel.msgmax="),
    "over the host's msgmnb": ("--visible --queue-bytes 1GiB", "over this host's msgmnb", "kernel.msgmnb="),
    "both ends": ("--duration 1s --count 5", "contradict", "one of them"),
    "few consumers": ("--queues 2 --producers 2 --consumers 1", "cannot read 2 queues", "--consumers 2"),
    "fail-if operator": ("--fail-if p99>>2ms", "'>>'", "--fail-if 'p99>200us'"),
    "fail-if figure": ("--fail-if p98>2ms", "'p98'", "--fail-if 'p99>200us'"),
    "fail-if unit": ("--fail-if p99>2", "does not fit p99", "--fail-if 'p99>200us'"),
    "unknown option": ("--speed 5", "--speed", "--help"),
    "not a number": ("--producers two", "--producers", "--help"),
    "unknown engine": ("--engine turbo", "'turbo'", "native"),
    "no such directory": ("--json nowhere/result.json", "does not exist", "mkdir -p"),
    "a directory": ("--json .", "directory", "result.json"),
    "same file": ("--json a --csv a", "same file", "different names"),
    "same file by two names": ("--json a --csv ./a", "same file", "different names"),
    "type nobody takes": ("--types 1,2 --select exact --consumers 1", "nobody would take type 2", "--consumers 2"),
    "nobody receives": ("--consumers 0", "nobody takes", "--key"),
}


@pytest.mark.parametrize("name", BAD)
def test_it_is_refused_in_one_line_that_says_what_would_be_right(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bad input ends with status 2, one line of what is wrong, what would be right, and no file."""
    arguments, wrong, right = BAD[name]
    monkeypatch.chdir(tmp_path)

    status = main(["load", *arguments.split(" ")])

    output = capsys.readouterr()
    lines = output.err.splitlines()
    assert status == 2
    assert lines[0].startswith("harness: ")
    assert wrong in lines[0]
    assert right in output.err
    assert len(lines) == 1 or (len(lines) == 2 and lines[1].startswith("  hint: "))
    assert output.out == ""
    assert list(tmp_path.iterdir()) == []


def test_no_process_is_started_for_bad_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a process nor a queue is made before the input is found right."""

    def refuse(*_: object, **__: object) -> None:
        pytest.fail("a process was started")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(subprocess, "Popen", refuse)

    assert {main(["load", *arguments.split(" ")]) for arguments, _, _ in BAD.values()} == {2}


@pytest.mark.private_ipc
def test_an_unknown_key_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """--key for a queue that is not there ends with 2 and says how to see those that are."""
    status = main(["load", "--key", "0xC0049", "--duration", "1s"])

    said = capsys.readouterr().err
    assert status == 2
    assert "there is no queue with key 0x000c0049" in said
    assert "ipcs -q" in said


def test_the_program_itself_says_it_without_a_traceback() -> None:
    """The real program ends with 2, an empty standard output and the line on standard error."""
    done = subprocess.run(
        [sys.executable, "-m", "harness", "load", "--rate", "abc"], capture_output=True, text=True, check=False
    )

    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("harness: --rate: 'abc' is not a rate")
    assert "Traceback" not in done.stderr


def test_a_path_that_may_not_be_written_is_refused_before_the_run(as_user: OrdinaryUser, tmp_path: Path) -> None:
    """--json where this user may not write ends with 2 at once, and nothing is sent."""
    tmp_path.chmod(0o500)
    target = tmp_path / "result.json"

    done = as_user.run(sys.executable, "-m", "harness", "load", "--duration", "60s", "--json", str(target))

    tmp_path.chmod(0o700)
    assert done.returncode == 2
    assert "not writable" in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize("arguments", [(), ("--dry-run",), ("--engine", "python")], ids=["", "dry run", "python"])
def test_without_msgget_it_says_why_and_what_to_do(arguments: tuple[str, ...], no_msgget: tuple[str, ...]) -> None:
    """Where a filter refuses msgget a run ends with 3, names the filter and the way out; a dry run still plans."""
    done = subprocess.run(
        [*no_msgget, sys.executable, "-m", "harness", "load", *arguments], capture_output=True, text=True, check=False
    )

    if "--dry-run" in arguments:
        assert done.returncode == 0
        return
    assert done.returncode == 3
    assert "seccomp filter" in done.stderr
    assert "hint: allow msgget" in done.stderr
    assert done.stderr.count("\n") == 2
