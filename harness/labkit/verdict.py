"""From pytest's report of a lab's check to what a learner is told: passed, failed, not started, or cannot run here.

Used by plugin.py: `judge` as each report is made, the others for what is seen only from outside (a hang, a death,
things left behind). Each report gets an attribute `labkit`, a dictionary of plain values that survives pickling and
xdist's wire: summary.py and report.py read it.

pytest has no state "not started", so such a report is a skip with a mark; pytest_report_teststatus shows it as `x`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from harness.labkit import explain
from harness.labkit.failures import CannotStageError
from harness.labkit.states import CANNOT, FAILED, NOT_STARTED, PASSED
from harness.labkit.teach import Teach

if TYPE_CHECKING:
    from harness.labkit.apart import Ending
    from harness.labkit.catalog import Check
    from harness.labkit.ground import Ground

Frames = list[tuple[str, int, str]]
"""Where an exception came through: (file, line, function) each, the innermost last."""

SUBJECT: pytest.StashKey[Subject] = pytest.StashKey()
"""On each item that is a check of a lab."""
GROUND: pytest.StashKey[Ground] = pytest.StashKey()
"""On the item, in the child that runs it."""


@dataclass(frozen=True, slots=True)
class Subject:
    """What is checked: a `check` of the lab `lab`, on the `file`; `strict`: an open todo is wrong."""

    lab: str
    check: Check
    file: Path
    strict: bool


def explains(error: BaseException, stack: Frames, of: Subject, open_: list[str]) -> bool:
    """Whether `judge` will have words of its own for this error, so that pytest's are not needed."""
    if open_ or isinstance(error, CannotStageError):
        return True
    return Teach.found_in(str(error)) is not None or _learners_frame(stack, of) is not None


def judge(
    report: pytest.TestReport, error: BaseException | None, stack: Frames, *, of: Subject, open_: list[str]
) -> None:
    """Set what the report says; `error` is what the check raised, `stack` its (file, line, function) frames.

    `open_` are the todos that were met until now.
    """
    _note(report, of, state=PASSED if report.passed else FAILED)
    if isinstance(error, CannotStageError):
        _skip(report, of, str(error), state=CANNOT)
    elif open_ and not of.strict:
        if report.when != "teardown":
            _skip(report, of, f"not started: {open_[0]}", state=NOT_STARTED)
    elif open_ and report.when == "call":
        fail(report, of, explain.still_open(open_[0]))
    elif report.skipped:
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        _note(report, of, state=CANNOT, because=reason.removeprefix("Skipped: "))
    elif report.failed and error is not None:
        _explain(report, error, stack, of)


def fail(report: pytest.TestReport, of: Subject, told: Teach, rest: str = "") -> None:
    """Make the report red: the four lines, and what stands below them."""
    report.outcome = "failed"
    if report.when == "setup":
        report.when = "call"  # a lab.py that cannot be loaded is a wrong answer, and no error of the checks
    report.longrepr = f"{told}\n{rest}".rstrip() + "\n"
    _note(report, of, state=FAILED, saw=told.saw, because=told.because, try_=told.try_, see=told.see)


def wrap(report: Any, width: int) -> None:
    """Break the four lines of a red report so that they fit a terminal of `width` columns."""
    found = Teach.found_in(report.longrepr) if report.failed and isinstance(report.longrepr, str) else None
    if found is not None:
        told, rest = found
        report.longrepr = f"{told.wrapped(width)}\n{rest}"


def cannot_run(nodeid: str, location: tuple[str, int | None, str], of: Subject, why: str) -> pytest.TestReport:
    """A report for a check that cannot run on this machine."""
    report = _empty_report(nodeid, location, "setup")
    _skip(report, of, why, state=CANNOT)
    return report


def broken(nodeid: str, location: tuple[str, int | None, str], of: Subject, words: str) -> pytest.TestReport:
    """A report for a check that pytest itself did not get through."""
    report = _empty_report(nodeid, location, "call")
    report.outcome, report.longrepr = "failed", words
    _note(report, of, state=FAILED)
    return report


def ended_badly(
    nodeid: str,
    location: tuple[str, int | None, str],
    of: Subject,
    ending: Ending[Any],
    *,
    limit_s: float,
    open_: list[str],
) -> pytest.TestReport:
    """A report for a check whose process hung or died, and so has made none."""
    report = _empty_report(nodeid, location, "call")
    if open_ and not of.strict:
        _skip(report, of, f"not started: {open_[0]}", state=NOT_STARTED)
        return report
    told = explain.hung(ending, of.file, limit_s) if ending.hung else explain.died(ending, of.file)
    frames = explain.learners_frames(ending.stack, of.file)
    rest = "" if not frames else "where it stood:\n" + "\n".join(f"  {frame}" for frame in frames)
    fail(report, of, told, rest)
    return report


def is_lab_report(report: Any) -> bool:
    """Whether the report is one of a lab's check."""
    return hasattr(report, "labkit")


def _explain(report: pytest.TestReport, error: BaseException, stack: Frames, of: Subject) -> None:
    found = Teach.found_in(str(error))
    if found:
        told, rest = found
        fail(report, of, told, rest.strip("\n"))
    elif frame := _learners_frame(stack, of):
        fail(report, of, explain.raised(error, frame, of.file))


def _learners_frame(stack: Frames, of: Subject) -> tuple[str, int, str] | None:
    """The innermost frame that stands in the file that is checked."""
    return next((frame for frame in reversed(stack) if Path(frame[0]) == of.file), None)


# --- reports --------------------------------------------------------------------------------------------------------


def _skip(report: pytest.TestReport, of: Subject, words: str, *, state: str) -> None:
    path, line, _ = report.location
    report.outcome = "skipped"
    report.longrepr = (path, line or 0, words if state == NOT_STARTED else f"Skipped: {words}")
    _note(report, of, state=state, because=words)


def _note(report: pytest.TestReport, of: Subject, *, state: str, **told: str) -> None:
    report.labkit = {  # type: ignore[attr-defined]
        "lab": of.lab,
        "task": of.check.task,
        "check": of.check.name,
        "description": of.check.description,
        "state": state,
        "saw": told.get("saw", ""),
        "because": told.get("because", ""),
        "try": told.get("try_", ""),
        "see": told.get("see", ""),
    }


def _empty_report(nodeid: str, location: tuple[str, int | None, str], when: Any) -> pytest.TestReport:
    return pytest.TestReport(
        nodeid=nodeid, location=location, keywords={}, outcome="passed", longrepr=None, when=when, duration=0.0
    )
