"""`harness claims` as a person or a script types it: what comes out where, and with which status."""

from __future__ import annotations

import json
import re
import shlex
import signal
from typing import TYPE_CHECKING

import pytest

from harness.cli.app import main

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.cli.conftest import Going, Harness


def test_the_example_works_and_writes_both_files(
    harness: Harness, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """What the help shows as an example runs: five claims as lines, as JSON and as Markdown, status 0."""
    assert main(["claims", "--help"]) == 0
    found = re.search(r"Example: harness (.*?)\n\n", capsys.readouterr().out, re.DOTALL)
    assert found

    files = ("--json", str(tmp_path / "claims.json"), "--markdown", str(tmp_path / "claims.md"))
    done = harness(*shlex.split(found[1]), *files)

    result = json.loads((tmp_path / "claims.json").read_text())
    markdown = (tmp_path / "claims.md").read_text()
    assert (done.returncode, done.stderr) == (0, "")
    assert result["schema"] == "harness.claims/1"
    assert len(result["claims"]) == 5
    for claim in result["claims"]:
        assert f"{claim['verdict'] or 'undecided'}: {claim['says']}\n" in done.stdout
        assert f"| {claim['says']} |" in markdown


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--rounds", "0"), "0 rounds"),
        (("--duration", "0s"), "--duration"),
        (("--markdown", "nowhere/claims.md"), "does not exist"),
        (("--json", "same", "--markdown", "./same"), "two results go to ./same"),
        (("--json", "-", "--markdown", "-"), "two results go to standard output"),
    ],
)
def test_bad_input_is_one_line(arguments: tuple[str, ...], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    """What cannot be meant ends with 2, one line and perhaps a hint, before anything runs."""
    assert main(["claims", *arguments]) == 2

    said = capsys.readouterr()
    assert said.out == ""
    assert words in said.err.splitlines()[0]
    assert len(said.err.splitlines()) <= 2


def test_ctrl_c_keeps_what_was_tried(begin: Callable[..., Going], tmp_path: Path) -> None:
    """Ctrl-C ends it with 130; the claims are shown and saved, those not tried undecided, and nothing is left."""
    going = begin("claims", "--rounds", "100", "--duration", "1m", "--json", str(tmp_path / "claims.json"))
    going.wait_for_members(2)

    going.process.send_signal(signal.SIGINT)

    status, out, err = going.end()
    assert (status, err) == (130, "")
    result = json.loads((tmp_path / "claims.json").read_text())
    assert "INCOMPLETE: interrupted by SIGINT" in out
    assert result["complete"] is False
    assert result["claims"][0]["verdict"] is None
