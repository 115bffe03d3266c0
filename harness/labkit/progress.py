"""How far a learner is, lab by lab: read from lab.py, and from a run of one lab's checks. Nothing is remembered.

Used by `harness lab`. lab.py alone tells whether a lab was begun and which todos are open; whether what is written is
right, only its checks tell. They take seconds, so `survey` runs those of one lab, and of all others it is told that
they were not checked. That one is the first lab in progress; where none is, the written one that was saved last.
"""

from __future__ import annotations

import ast
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from harness.labkit.states import CANNOT, NOT_RUN, NOT_STARTED, PASSED
from harness.sysv.errors import HarnessError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from harness.labkit.catalog import Lab

State = Literal["not started", "in progress", "written", "done", "cannot run here"]

POLL_S = 0.3
SETTLE_S = 0.1
_ENDING_PATIENCE_S = 30.0  # a second Ctrl-C ends it


@dataclass(frozen=True, slots=True)
class Progress:
    """How far one lab is: `done` of its `tasks`, and the first that is not.

    Where its checks ran (`checked`), a task is done that passed them; else one without an open todo, and a lab
    without any is "written". `note`: why it is not simply so, in words.
    """

    lab: Lab
    state: State
    tasks: int
    done: int
    first_open: str = ""
    checked: bool = False
    note: str = ""


@dataclass(frozen=True, slots=True)
class Survey:
    """All labs in order, and the one to work on; None where nothing is left to do."""

    labs: tuple[Progress, ...]
    current: Progress | None


# --- from the source ------------------------------------------------------------------------------------------------


def by_source(lab: Lab, *, queues: bool = True) -> Progress:
    """How far a lab is, as far as lab.py tells; `queues`: whether this machine has message queues."""
    tasks = lab.tasks
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what Python thinks of a learner's literals, it says when they run
        unreadable = _unreadable(lab.file)
        open_ = lab.open_todos()
        untouched = not lab.file.exists() or (bool(open_) and sorted(open_) == sorted(lab.open_todos(lab.starter)))
    left = [task for task in tasks if any(words.split()[:1] == [task] for words in open_)]
    state: State = "written"
    if unreadable or untouched:
        state, left = ("in progress" if unreadable else "not started"), list(tasks)
    elif open_:
        state, left = "in progress", left or list(tasks)  # as one cannot know which, where a todo has no number
    if not queues and all(check.needs_queues for check in lab.checks):
        state = "cannot run here"
    return Progress(lab, state, len(tasks), len(tasks) - len(left), left[0] if left else "", note=unreadable)


def _unreadable(file: Path) -> str:
    """Why lab.py is no Python; empty where it is, or is not there."""
    try:
        ast.parse(file.read_bytes())
    except FileNotFoundError:
        return ""
    except SyntaxError as error:
        return f"line {error.lineno} cannot be read: {error.msg}"
    except (OSError, ValueError) as error:
        return f"cannot be read: {error}"
    return ""


# --- from the checks ------------------------------------------------------------------------------------------------


def by_checks(lab: Lab, checks: Sequence[dict[str, Any]]) -> Progress:
    """How far a lab is by what its checks found: those of a --lab-report."""
    states = {check["name"]: check["state"] for check in checks}
    tasks = lab.tasks
    left = [
        task
        for task in tasks
        if any(states.get(check.name, NOT_RUN) not in (PASSED, CANNOT) for check in lab.checks if check.task == task)
    ]
    cannot = Counter(states.values())[CANNOT]
    state: State = "in progress" if left else "done"
    source = by_source(lab)
    if source.state == "not started" and set(states.values()) <= {NOT_STARTED, NOT_RUN, CANNOT}:
        state = "not started"
    note = source.note or (f"{cannot} check{'s' * (cannot != 1)} cannot run here" if cannot else "")
    if cannot and cannot == len(states):
        state, left, note = "cannot run here", list(tasks), checks[0]["because"]
    return Progress(lab, state, len(tasks), len(tasks) - len(left), left[0] if left else "", checked=True, note=note)


def run_checks(
    lab: Lab, *, quiet: bool = False, interrupted: Callable[[], str | None] = lambda: None
) -> Progress | None:
    """Run a lab's checks with pytest, which prints unless `quiet`; None where `interrupted` named a signal.

    Raises HarnessError where they could not be run.
    """
    with tempfile.TemporaryDirectory(prefix="harness-lab-") as folder, tempfile.TemporaryFile() as errors:
        report = Path(folder) / "report.json"
        pytest = subprocess.Popen(
            [sys.executable, "-m", "pytest", str(lab.folder), "--lab-report", str(report)],
            cwd=lab.folder.parents[1],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL if quiet else None,
            stderr=errors,  # where pytest cannot begin, or is interrupted before it listens
            process_group=0,  # a Ctrl-C comes to it once, from here
        )
        _wait(pytest, interrupted)
        if interrupted() is not None:
            return None
        try:
            (found,) = json.loads(report.read_text(encoding="utf-8"))["labs"]
        except (OSError, ValueError) as error:
            errors.seek(0)
            said = [line.strip() for line in errors.read().decode(errors="replace").splitlines()]
            raise HarnessError(
                f"the checks of {lab.name} did not run",
                why=next((line for line in reversed(said) if "error" in line.lower()), "pytest found none"),
                hint=f"python -m pytest labs/{lab.name} shows more",
            ) from error
    return by_checks(lab, found["checks"])


def _wait(process: subprocess.Popen[bytes], interrupted: Callable[[], str | None]) -> None:
    """Wait until it ends; an interruption ends it, so that it cleans up, and a second one, or its delay, kills it."""
    deadline_s: float | None = None
    try:
        while True:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(POLL_S)
                return
            what = interrupted()
            if what is not None and deadline_s is None:
                process.send_signal(signal.SIGINT)
                deadline_s = time.monotonic() + _ENDING_PATIENCE_S
            elif what == "SIGINT twice" or (deadline_s is not None and time.monotonic() > deadline_s):
                return
    finally:
        if process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


# --- all labs -------------------------------------------------------------------------------------------------------


def survey(labs: Sequence[Lab], check: Callable[[Lab], Progress], *, queues: bool = True) -> Survey:
    """How far all labs are; the checks of one are run, by `check`."""
    found = [by_source(lab, queues=queues) for lab in labs]
    written = [progress for progress in found if progress.state == "written"]
    last_saved = max(written, key=lambda progress: progress.lab.file.stat().st_mtime_ns, default=None)
    subject = in_progress(found) or last_saved
    if subject is not None:
        found[found.index(subject)] = check(subject.lab)
    not_started = next((progress for progress in found if progress.state == "not started"), None)
    return Survey(tuple(found), in_progress(found) or not_started)


def in_progress(found: Sequence[Progress]) -> Progress | None:
    """The first lab that was begun and is not done."""
    return next((progress for progress in found if progress.state == "in progress"), None)


# --- each save ------------------------------------------------------------------------------------------------------


def saves(file: Path, *, ended: Callable[[], object], sleep: Callable[[float], None] = time.sleep) -> Iterator[None]:
    """Yield at once, and again after each save of the file, one during the caller's work included, until `ended`.

    Its time and size are looked at again and again: inotify tells nothing of a folder shared with another system. An
    editor may remove the file for a moment, or empty it first: a save is over when two looks see the same.
    """
    seen = last = _stamp(file)
    if seen is not None:
        yield
    while not ended():
        now = _stamp(file)
        if now in (seen, None):
            sleep(POLL_S)
        elif now != last:
            sleep(SETTLE_S)
        else:
            seen = now
            yield
        last = now


def _stamp(file: Path) -> tuple[int, int] | None:
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size
