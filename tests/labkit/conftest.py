"""Small labs made for one test, and a real pytest run on them, as a learner runs it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

HEAD = """
import os, signal, subprocess, sys, time
import pytest
import sysv_ipc
from harness.labkit import Teach, limit, needs_no_queues, own_network, task
"""


@dataclass(frozen=True)
class Outcome:
    """What a run of pytest said: its text without the time it took, and its exit status."""

    text: str
    status: int

    @property
    def last_line(self) -> str:
        """The closing line, such as "1 passed, 1 not started"."""
        lines = re.findall(r"^=+ (.* in [\d.]+s.*?) =+$", self.text, re.MULTILINE)
        return re.sub(r" in [\d.]+s.*", "", lines[-1]) if lines else ""


class Labs:
    """A folder `labs` of its own."""

    def __init__(self, folder: Path) -> None:
        self.root = folder
        self.folder = folder / "labs"
        self.folder.mkdir()
        (folder / "pytest.ini").write_text("[pytest]\naddopts = --import-mode=importlib -p no:cacheprovider\n")

    def add(self, name: str, *, checks: str, starter: str, solution: str = "", mine: str | None = None) -> Path:
        """Make a lab out of the source of its checks and files; `mine` becomes lab.py."""
        lab = self.folder / name
        lab.mkdir()
        (lab / "test_lab.py").write_text(HEAD + textwrap.dedent(checks), encoding="utf-8")
        (lab / "starter.py").write_text(textwrap.dedent(starter), encoding="utf-8")
        (lab / "solution.py").write_text(textwrap.dedent(solution or starter), encoding="utf-8")
        if mine is not None:
            (lab / "lab.py").write_text(textwrap.dedent(mine), encoding="utf-8")
        return lab

    def run(
        self,
        *arguments: str,
        cwd: Path | None = None,
        before: Sequence[str] = (),
        env: dict[str, str] | None = None,
        timeout_s: float = 60,
    ) -> Outcome:
        """Run pytest here, with the words `before` put in front of the command."""
        done = subprocess.run(
            [*before, sys.executable, "-m", "pytest", *arguments],
            cwd=cwd or self.root,
            env={**os.environ, "COLUMNS": "120", **(env or {})},
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout_s,
        )
        return Outcome(done.stdout + done.stderr, done.returncode)


@pytest.fixture
def labs(tmp_path: Path) -> Labs:
    return Labs(tmp_path)


@pytest.fixture
def open_labs() -> Iterator[Labs]:
    """As `labs`, where other users may look in: pytest keeps its own temporary folders to their owner."""
    with tempfile.TemporaryDirectory(prefix="open-labs-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield Labs(folder)
