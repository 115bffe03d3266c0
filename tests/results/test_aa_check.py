"""tools/aa_check.py: it counts what comparisons of identical code say, and says so of code that is not."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
Make = Callable[..., dict[str, Any]]


def said_of(document: dict[str, Any], folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    (folder / "runs.json").write_text(json.dumps(document))
    return subprocess.run(
        [sys.executable, "tools/aa_check.py", *arguments, str(folder / "runs.json")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_it_counts_what_each_try_says(load_document: Make, tmp_path: Path) -> None:
    """Runs that do not differ compare as no difference each time, however they are put together."""
    done = said_of(load_document([100.0] * 20), tmp_path, "--tries", "3")

    lines = done.stdout.splitlines()
    assert (done.returncode, done.stderr) == (0, "")
    assert lines[0] == "20 runs, 5 a side"
    assert "drawn at random: 3 tries" in lines
    assert "one after the other: 2 tries" in lines
    assert lines.count("  rate              3 no difference") == 1
    assert lines[-1] == "  all figures       2 no difference, 0 would end with 1"


def test_it_sees_code_that_changed(load_document: Make, tmp_path: Path) -> None:
    """Where the rate fell between two sides that follow each other, that try says so."""
    done = said_of(load_document([100.0] * 5 + [50.0] * 5), tmp_path, "--tries", "2")

    assert "  rate              0 no difference, 1 worse" in done.stdout.splitlines()
    assert "  all figures       0 no difference, 1 would end with 1" in done.stdout.splitlines()


def test_too_few_runs_are_refused(load_document: Make, tmp_path: Path) -> None:
    """Two sides need as many runs as both have: status 2 and one line."""
    done = said_of(load_document([100.0] * 9), tmp_path)

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "9 whole runs are too few for two sides of 5\n"
