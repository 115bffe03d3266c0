"""`harness select` as it is typed: its files, its exit statuses, and what it says of what cannot be meant."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

SHORT = ["--depths", "2,10", "--rounds", "3", "--sleepers", "none", "--bystander", "0"]


def test_the_result_is_saved_and_the_report_shown(
    harness: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    """It ends with 0, the file has the document, and standard output the report."""
    file = tmp_path / "select.json"

    done = harness("select", *SHORT, "--json", str(file))

    assert (done.returncode, done.stderr) == (0, "")
    assert "receive, depth 10: any " in done.stdout
    assert json.loads(file.read_text())["schema"] == "harness.select/1"


def test_json_on_standard_output_is_alone_there(harness: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    """With --json - standard output is the document, and the report goes to standard error."""
    done = harness("select", *SHORT, "--json", "-")

    assert json.loads(done.stdout)["complete"] is True
    assert "receive, depth 2: any " in done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--depths", "10,many"], "--depths: "),
        (["--depths", "1"], "a depth of 1 has nothing to walk"),
        (["--rounds", "1"], "1 rounds say nothing about the spread"),
        (["--depths", "1G"], "need a queue of"),
        (["--sleepers", "-5"], "--sleepers: "),
        (["--engine", "quantum"], "unknown engine 'quantum'"),
        (["--json", "/no/such/folder/x.json"], "does not exist"),
    ],
)
def test_what_cannot_be_meant_is_one_line_and_a_hint(
    harness: Callable[..., subprocess.CompletedProcess[str]], arguments: list[str], words: str
) -> None:
    """Bad input ends with 2, one line that names it, and at most one hint; nothing is measured."""
    done = harness("select", *arguments)

    lines = done.stderr.splitlines()
    assert (done.returncode, done.stdout) == (2, "")
    assert words in lines[0]
    assert len(lines) <= 2


def test_ctrl_c_shows_what_there_is(tmp_path: Path) -> None:
    """SIGINT in the middle ends it with 130; the file has what was measured, marked as incomplete."""
    file = tmp_path / "select.json"
    command = [sys.executable, "-m", "harness", "select", "--rounds", "900", "--json", str(file)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        while process.poll() is None and not children.read_text().strip():
            pass  # until its chamber is there, so that its handlers are
        process.send_signal(signal.SIGINT)
        report, errors = process.communicate(timeout=20)

    assert (process.returncode, errors) == (130, "")
    assert "INCOMPLETE: interrupted by SIGINT" in report
    assert json.loads(file.read_text())["complete"] is False
