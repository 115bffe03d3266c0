"""From pytest's report of a lab's check to what a learner is told: passed, failed, not started, or cannot run here.

Used by plugin.py: `judge` as each report is made, the others for what is seen only from outside (a hang, a death,
things left behind). Each report gets an attribute `labkit`, a dictionary of plain values that survives pickling and
xdist's wire: summary.py and report.py read it.

pytest has no state "not started", so such a report is a skip with a mark; pytest_report_teststatus shows it as `x`.
"""

from __future__ import annotations

import errno
import linecache
import re
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from harness.labkit.ground import CannotStageError
from harness.labkit.teach import Teach

if TYPE_CHECKING:
    from harness.labkit.apart import Ending
    from harness.labkit.catalog import Check

PASSED, FAILED, NOT_STARTED, CANNOT = "passed", "failed", "not started", "cannot"


@dataclass(frozen=True, slots=True)
class Subject:
    """What is checked: a `check` of the lab `lab`, on the `file`; `strict`: an open todo is wrong."""

    lab: str
    check: Check
    file: Path
    strict: bool


def judge(
    report: pytest.TestReport,
    error: BaseException | None,
    stack: list[tuple[str, int, str]],
    *,
    of: Subject,
    open_: list[str],
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
        fail(report, of, _still_open(open_[0]))
    elif report.skipped:
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        _note(report, of, state=CANNOT, because=reason.removeprefix("Skipped: "))
    elif report.failed and error is not None:
        _explain(report, error, stack, of)


def fail(report: pytest.TestReport, of: Subject, told: Teach, rest: str = "") -> None:
    """Make the report red: the four lines, and what stands below them."""
    report.outcome = "failed"
    report.longrepr = f"{told}\n{rest}".rstrip() + "\n"
    _note(report, of, state=FAILED, saw=told.saw, because=told.because, try_=told.try_, see=told.see)


def skip_all(nodeid: str, location: tuple[str, int | None, str], of: Subject, why: str) -> pytest.TestReport:
    """A report for a check that cannot run on this machine at all."""
    report = _empty_report(nodeid, location, "setup")
    _skip(report, of, why, state=CANNOT)
    return report


def ended_badly(
    nodeid: str,
    location: tuple[str, int | None, str],
    of: Subject,
    ending: Ending[Any],
    limit_s: float,
    open_: list[str],
) -> pytest.TestReport:
    """A report for a check whose process hung or died, and so has made none."""
    report = _empty_report(nodeid, location, "call")
    if open_ and not of.strict:
        _skip(report, of, f"not started: {open_[0]}", state=NOT_STARTED)
        return report
    told = _hung(ending, of, limit_s) if ending.hung else _died(ending, of)
    frames = _learners_frames(ending.stack, of.file)
    rest = "" if not frames else "where it stood:\n" + "\n".join(f"  {frame}" for frame in frames)
    fail(report, of, told, rest)
    return report


def processes_left(left: list[str]) -> Teach:
    """What is told when a check ended and processes of its code went on."""
    return Teach(
        saw=f"when the check ended, {len(left)} of your processes still ran: {'; '.join(left[:3])}",
        because="a child does not end with its parent: it goes on as an orphan, and takes messages from the next run",
        try_="end every child that you start, and wait for it: os.kill, then os.waitpid",
        see="labs/11_supervisor/README.md",
    )


def fork_came_back() -> Teach:
    """What is told when a forked child returned into the check."""
    return Teach(
        saw="a child that your code forked came back out of your function, and ran the rest of the check too",
        because="after os.fork both processes go on from the same line; only os._exit keeps the child from going further",
        try_="in the child: try: ... finally: os._exit(status)",
        see="https://docs.python.org/3/library/os.html#os._exit",
    )


def is_lab_report(report: Any) -> bool:
    """Whether the report is one of a lab's check."""
    return hasattr(report, "labkit")


# --- explanations -------------------------------------------------------------------------------------------------


def _explain(report: pytest.TestReport, error: BaseException, stack: list[tuple[str, int, str]], of: Subject) -> None:
    text = str(error)
    found = Teach.found_in(text) if isinstance(error, AssertionError | pytest.fail.Exception) or error.args else None
    if found:
        told, rest = found
        fail(report, of, told, rest.strip("\n"))
        return
    frame = next((frame for frame in reversed(stack) if Path(frame[0]) == of.file), None)
    if frame is not None:
        fail(report, of, _raised(error, frame, of))


def _raised(error: BaseException, frame: tuple[str, int, str], of: Subject) -> Teach:
    _, line, function = frame
    source = linecache.getline(str(of.file), line).strip()
    where = f"{of.file.name} line {line}, in {function}" if function != "<module>" else f"{of.file.name} line {line}"
    kind = type(error)
    name = kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__name__}"
    because, try_ = _words_for(error)
    return Teach(
        saw=f"{name}: {error}" if str(error) else name,
        because=because or "your code raised it, and nothing caught it; the check expected it to go through",
        try_=try_ or "read the line named below, and what each name in it is at that moment",
        see=f"{where}: {source}",
    )


def _words_for(error: BaseException) -> tuple[str, str]:
    """(because, try) for what sysv_ipc raises, which carries no errno and says little; its facts are of version 1.2."""
    kind, words = f"{type(error).__module__}.{type(error).__name__}", str(error)
    if isinstance(error, SystemExit):
        return (
            "your code ended the program (sys.exit) inside a function that the check called",
            "return a value instead",
        )
    if kind == "sysv_ipc.ExistentialError":
        return (
            "the kernel answered ENOENT, EEXIST or EIDRM: there is no queue with this key, or there is one already, "
            "or it was removed",
            "ask which queue your code means at this line, and whether it exists at that moment",
        )
    if kind == "sysv_ipc.BusyError":
        return (
            "the kernel answered EAGAIN (no room) or ENOMSG (no message that was asked for), and the call does not wait",
            "catch sysv_ipc.BusyError, or let the call wait",
        )
    if kind == "sysv_ipc.PermissionsError":
        return "the kernel answered EACCES: the queue's mode does not allow this", "look at the mode: ipcs -q"
    if kind == "sysv_ipc.Error":
        return (
            "the kernel answered EINTR: a signal's handler ran while the call slept, and the call was given up",
            "look at your flag, and make the call again",
        )
    if isinstance(error, OSError) and error.errno == errno.E2BIG:
        return (
            "the kernel answered E2BIG: the message is larger than the buffer, and it stays at the head of the queue",
            "make the queue object with max_message_size as large as msgmax",
        )
    if isinstance(error, ValueError) and "max_message_size" in words:
        return (
            "sysv_ipc refuses to send more than max_message_size bytes, 2048 unless you say otherwise",
            "give max_message_size when you make the queue object",
        )
    return "", ""


def _still_open(words: str) -> Teach:
    number = words.split(maxsplit=1)[0]
    return Teach(
        saw=f"task {words} is still open",
        because="the check met its todo(...)",
        try_="write it, and take the todo line away",
        see=f"harness lab hint {number}",
    )


def _hung(ending: Ending[Any], of: Subject, limit_s: float) -> Teach:
    frames = _learners_frames(ending.stack, of.file)
    see = frames[0] if frames else "the check's own lines: harness lab check"
    waiting = ending.seen or []
    if waiting:
        sending = "msgsnd" in waiting[0]
        return Teach(
            saw=f"no end within {limit_s:g} s: {'; '.join(waiting[:3])}",
            because="msgsnd sleeps until the queue has room for the message"
            if sending
            else "msgrcv sleeps until there is a message that it selects",
            try_="find out who should make room, and does not"
            if sending
            else "find out who should have sent that message, or whether you ask for the wrong type",
            see=see,
        )
    return Teach(
        saw=f"no end within {limit_s:g} s, and none of its processes sleeps in a queue call",
        because="a loop that never ends, or a wait for something that does not come",
        try_="say aloud what ends each loop, and what each wait is for",
        see=see,
    )


def _died(ending: Ending[Any], of: Subject) -> Teach:
    status = ending.status
    if status < 0:
        name = signal.Signals(-status).name
        return Teach(
            saw=f"the process that ran your code died of {name}",
            because="sysv_ipc 1.2 crashes when send gets something that is not bytes"
            if name in ("SIGSEGV", "SIGABRT")
            else "a signal that nobody handles ends a process",
            try_="hand only bytes to send, and an int as its type"
            if name in ("SIGSEGV", "SIGABRT")
            else "look for os.kill in your code: whom does it name?",
            see=of.file.name,
        )
    return Teach(
        saw=f"the process that ran your code ended with status {status}, in the middle of the check",
        because="os._exit ends the process that calls it, at once, whoever that is",
        try_="call os._exit only in a child that you forked",
        see=of.file.name,
    )


def _learners_frames(stack: str, file: Path) -> list[str]:
    """The lines of a C-level stack (faulthandler's) that stand in the learner's file, innermost first."""
    found = re.findall(r'File "(.+)", line (\d+) in (.+)', stack)
    return [
        f"{file.name} line {line}, in {function}: {linecache.getline(str(file), int(line)).strip()}"
        for name, line, function in found
        if Path(name) == file
    ]


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
