"""`make student-zip`: what learners are given: the project without solutions, instructor's notes, mistakes and tests.

    python tools/student_zip.py FILE.zip

It takes what git tracks, as it stands in the working tree, so that nobody's own lab.py gets in.
"""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDER = "msgq-labs"
"""The folder that unpacking makes."""

LEFT_OUT = re.compile(r"labs/\d\d_\w+/(solution\.py|INSTRUCTOR\.md|mistakes/)|tests/|tools/|typings/|\.ci/|\.git")


def student_files() -> list[str]:
    """The paths that go in, from the project's root."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [name for name in listed.split("\0") if name and not LEFT_OUT.match(name) and (ROOT / name).is_file()]


def main(argv: list[str]) -> int:
    """Write the archive that is named; returns the exit status."""
    if len(argv) != 1:
        sys.stderr.write("usage: python tools/student_zip.py FILE.zip\n")
        return 2
    target = Path(argv[0])
    half = target.with_name(target.name + ".part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(half, "w", zipfile.ZIP_DEFLATED) as archive:
            for name in student_files():
                archive.write(ROOT / name, f"{FOLDER}/{name}")
        half.replace(target)
    except OSError as error:
        with contextlib.suppress(OSError):
            half.unlink()
        sys.stderr.write(f"{target} was not written: {error.strerror or error}\n")
        return 1
    sys.stdout.write(f"{target}: unpack it, then: cd {FOLDER} && make && . .venv/bin/activate && pytest labs/\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
