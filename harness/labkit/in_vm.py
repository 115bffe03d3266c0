"""`pytest labs/` in the VM: the labs go there as they are at this moment, pytest runs there, its reports come back.

Used by plugin.py, before pytest begins a session here. What was typed goes along word for word; only paths into the
project are written as they are there, and the report files are appended, in the place from which they are fetched.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from harness.remote.project import files_of
from harness.remote.visit import Visit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.remote.vagrant import Machine
    from harness.results.files import Destination

_LAB_FILE = "lab_file.py"


def run_labs(
    machine: Machine,
    root: Path,
    words: Sequence[str],
    *,
    cwd: Path,
    reports: dict[str, Destination],
    lab_file: Path | None = None,
) -> int:
    """Run pytest with `words`, typed in `cwd`, on the project in `root`; its exit status.

    `reports`: option -> where its file goes here. `lab_file` goes along, wherever it is. Raises HarnessError.
    """
    files = list(files_of(root))
    if lab_file is not None:
        files.append((lab_file, _LAB_FILE))
    with Visit(machine, files) as visit:
        there = [inside(word, cwd, root, visit.project) for word in words if word != "--vm"]
        there += [f"{option}={visit.out}/{option.lstrip('-')}" for option in reports]
        if lab_file is not None:
            there.append(f"--lab-file={visit.project}/{_LAB_FILE}")
        below = cwd.relative_to(root).as_posix() if cwd.is_relative_to(root) else "."
        status = visit.run(["-m", "pytest", *there], cwd=below)
        written = visit.files()
        for option, destination in reports.items():
            if (name := option.lstrip("-")) in written:
                destination.write(written[name].decode())
                sys.stderr.write(f"labs: brought {destination} from the VM\n")
    return status


def inside(word: str, cwd: Path, root: Path, project: str) -> str:
    """A word of the command line, with the path in it, if there is one, as it is in the VM.

    A path may stand alone, before `::`, or behind `--option=`; it is one if it exists here, below `root`.
    """
    option, equals, rest = word.partition("=") if word.startswith("-") else ("", "", word)
    text, colons, node = rest.partition("::")
    path = Path(os.path.abspath(cwd / text)) if text else root  # noqa: PTH100 - a link stays one
    if not text or not path.is_relative_to(root) or not path.exists():
        return word
    return f"{option}{equals}{project}/{path.relative_to(root).as_posix()}".rstrip("/.") + colons + node
