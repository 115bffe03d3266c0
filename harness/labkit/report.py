"""--lab-report: what each check found, as JSON, for a teacher who gathers many.

    {"schema": "harness.lab-report/1", "kit": "0.1.0", "learner": ..., "made_at": ..., "ran": ...,
     "labs": [{"lab": "04_flip_flop", "file": "lab.py", "sha256": ..., "tasks": 3, "tasks_done": 1,
               "checks": [{"name", "task", "description", "state", "passed", "because", "hint"}]}]}

`state` is one of "passed", "failed", "not started", "cannot" (this machine), "not run"; `passed` is null for the last
three, and `because` says why. Written by plugin.py.
"""

from __future__ import annotations

import getpass
import hashlib
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from harness import __version__
from harness.labkit.states import FAILED, NOT_RUN, PASSED
from harness.labkit.summary import check_states, standing
from harness.results.files import Destination

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from harness.labkit.catalog import Check, Lab

SCHEMA = "harness.lab-report/1"


def destination(folder: Path, name: str) -> Destination:
    """Where the report goes, for a path that was typed in `folder`; raises UsageError."""
    return Destination.parse(name if name == "-" else str(folder / name))


def document(reports: list[Any], labs: Mapping[str, tuple[Lab, Path]], *, learner: str | None, ground: str) -> str:
    """The report's text; `labs` has the file that was checked for each lab."""
    met = sorted({report.labkit["lab"] for report in reports} & labs.keys())
    found = {
        "schema": SCHEMA,
        "kit": __version__,
        "learner": learner or _user(),
        "made_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "ran": ground,
        "labs": [_lab(*labs[name], reports) for name in met],
    }
    return json.dumps(found, indent=2, ensure_ascii=False) + "\n"


def _lab(lab: Lab, file: Path, reports: list[Any]) -> dict[str, Any]:
    states = check_states(reports, lab.name)
    said = {
        report.labkit["check"]: report.labkit
        for report in reversed(reports)
        if report.labkit["lab"] == lab.name and report.labkit["state"] == states.get(report.labkit["check"])
    }
    how_far = standing(lab, reports)
    return {
        "lab": lab.name,
        "file": file.name,
        "sha256": _hash(file),
        "tasks": how_far.tasks,
        "tasks_done": how_far.done,
        "checks": [_check(check, said.get(check.name)) for check in lab.checks],
    }


def _check(check: Check, said: dict[str, str] | None) -> dict[str, Any]:
    passed = {PASSED: True, FAILED: False}.get(said["state"]) if said else None
    return {
        "name": check.name,
        "task": check.task,
        "description": check.description,
        "state": said["state"] if said else NOT_RUN,
        "passed": passed,
        "because": said["because"] if said else "it was not among the checks that ran",
        "hint": f"harness lab hint {check.task}" if passed is not True else "",
    }


def _hash(file: Path) -> str | None:
    try:
        return hashlib.sha256(file.read_bytes()).hexdigest()
    except OSError:
        return None


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        return "unknown"
