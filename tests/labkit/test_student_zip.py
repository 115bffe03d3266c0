"""`make student-zip`: what learners are given is whole, runs, and gives nothing away."""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_students_get_the_labs_without_the_answers(tmp_path: Path) -> None:
    """The archive has each lab's README, starter, checks and hints; no solution, no instructor's notes, no mistakes."""
    subprocess.run([sys.executable, "tools/student_zip.py", str(tmp_path / "labs.zip")], cwd=ROOT, check=True)

    with zipfile.ZipFile(tmp_path / "labs.zip") as archive:
        names = archive.namelist()
    given = {name.rpartition("/")[2] for name in names if re.search(r"labs/\d\d_", name)}
    assert {"README.md", "starter.py", "test_lab.py", "hints.md"} <= given
    assert not given & {"solution.py", "INSTRUCTOR.md", "lab.py"}
    assert not [name for name in names if "/mistakes/" in name or "/tests/" in name]
    assert {"msgq-labs/README.md", "msgq-labs/Makefile", "msgq-labs/pyproject.toml"} <= set(names)


def test_what_students_get_runs(tmp_path: Path) -> None:
    """In the unpacked archive `pytest labs/NN` makes lab.py, and says that the lab is not started."""
    subprocess.run([sys.executable, "tools/student_zip.py", str(tmp_path / "labs.zip")], cwd=ROOT, check=True)
    zipfile.ZipFile(tmp_path / "labs.zip").extractall(tmp_path)
    folder = tmp_path / "msgq-labs"

    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "labs/04_flip_flop"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert "04_flip_flop          not started" in done.stdout
    assert (folder / "labs" / "04_flip_flop" / "lab.py").exists()
    assert done.returncode == 0


def test_a_full_disk_leaves_no_half_archive(tmp_path: Path) -> None:
    """Where the archive cannot be written: one line, status 1, no traceback, and nothing half written."""
    (tmp_path / "here").write_text("a file, not a folder")

    done = subprocess.run(
        [sys.executable, "tools/student_zip.py", str(tmp_path / "here" / "labs.zip")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["here"]
