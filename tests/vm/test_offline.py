"""`make offline`: what the guest needs is asked for, and a download that fails is told."""

from __future__ import annotations

import os
import re
import runpy
import subprocess
import sys
import tomllib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def test_all_that_pip_needs_in_the_guest_is_asked_for(repository: Path) -> None:
    """What runs and what builds the project is fetched, whatever this host is."""
    project = tomllib.loads((repository / "pyproject.toml").read_text())
    needed = {*project["project"]["dependencies"], *project["build-system"]["requires"]}

    asked = runpy.run_path(str(repository / "tools" / "offline.py"))["requirements"]()

    assert {re.split("[^a-zA-Z_-]", one)[0] for one in needed} <= {re.split("[^a-zA-Z_-]", one)[0] for one in asked}
    assert not [one for one in asked if ";" in one]


def test_a_download_that_fails_is_told(repository: Path, tmp_path: Path) -> None:
    """Without an index: pip's own words, then one line, status 1, no traceback."""
    done = subprocess.run(
        [sys.executable, "tools/offline.py", str(tmp_path / "vendor")],
        cwd=repository,
        env={"PATH": os.environ["PATH"], "PIP_NO_INDEX": "1", "PIP_CONFIG_FILE": os.devnull},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(f"{tmp_path / 'vendor'} is not complete")
    assert "Traceback" not in done.stderr


def test_what_is_downloaded_stays_out_of_git(repository: Path) -> None:
    """git ignores vendor/, and .vagrant/ too."""
    for name in ("vendor/one.whl", ".vagrant/machines"):
        assert subprocess.run(["git", "check-ignore", "--quiet", name], cwd=repository, check=False).returncode == 0
