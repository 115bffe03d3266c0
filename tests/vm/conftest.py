"""The virtual machine's files, looked at without a virtual machine: stand-ins on PATH, a temporary /etc.

HARNESS_REQUIRE_VM_TOOLS=1 in the environment turns the skips where there is no shellcheck, ruby or rsync into failures.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

PATIENCE_S = 20.0


@pytest.fixture
def tool() -> Callable[[str], str]:
    """The path of a program; where there is none the test is skipped, or fails when the tools are required."""

    def find(name: str) -> str:
        found = shutil.which(name)
        if found is None:
            missing = f"there is no {name}: apt install {name}"
            if os.environ.get("HARNESS_REQUIRE_VM_TOOLS") == "1":
                pytest.fail(missing)
            pytest.skip(missing)
        return found

    return find


@dataclass
class Guest:
    """A folder that a provisioner takes for a guest: `etc` for its /etc, and programs that only note their call."""

    repository: Path
    root: Path
    variables: dict[str, str] = field(default_factory=dict)

    @property
    def etc(self) -> Path:
        return self.root / "etc"

    @property
    def calls(self) -> list[str]:
        """What the stand-ins were called with, a line each, in order."""
        noted = self.root / "calls"
        return noted.read_text().splitlines() if noted.exists() else []

    def stand_in(self, name: str, body: str = "") -> None:
        """Put a program of this name in front of PATH; it notes its call, and then does `body` (bash)."""
        program = self.root / "bin" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text(f'#!/usr/bin/env bash\necho "{name} $*" >> "{self.root}/calls"\n{body}\n')
        program.chmod(0o755)

    def provision(self, script: str) -> subprocess.CompletedProcess[str]:
        """Run one of the provisioners, as the guest would."""
        return subprocess.run(
            [str(self.repository / "provision" / script)],
            env={"PATH": f"{self.root}/bin:{os.environ['PATH']}", "ETC": str(self.etc), **self.variables},
            cwd=self.root,
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE_S,
        )


@pytest.fixture
def guest(repository: Path, tmp_path: Path) -> Guest:
    (tmp_path / "etc").mkdir()
    return Guest(repository, tmp_path)
