"""How far a learner is: what the sources tell, what one lab's checks tell, which lab is current, and each save."""

from __future__ import annotations

import os
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from harness.labkit.catalog import Lab, find_lab
from harness.labkit.progress import Progress, by_checks, by_source, run_checks, saves, survey
from harness.sysv.errors import HarnessError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.labkit.conftest import Labs

CHECKS = """
@task("1.1")
def test_one(lab):
    \"\"\"`one` gives 1.\"\"\"
    assert lab.one() == 1, Teach(saw="s", because="it is not 1", try_="t", see="e")

@task("1.2")
def test_two(lab):
    \"\"\"`two` gives 2.\"\"\"
    assert lab.two() == 2, Teach(saw="s", because="it is not 2", try_="t", see="e")

@task("1.2")
def test_two_again(lab):
    \"\"\"`two` gives 2 again.\"\"\"
    assert lab.two() == 2, Teach(saw="s", because="it is not 2", try_="t", see="e")
"""
STARTER = """
from harness.labkit import todo

def one() -> int:
    todo("1.1 give one")

def two() -> int:
    todo("1.2 give two")
"""
SOLUTION = """
def one() -> int:
    return 1

def two() -> int:
    return 2
"""
HALF = f"from harness.labkit import todo\n{SOLUTION}".replace("return 2", "todo('1.2 give two')")
WRONG = SOLUTION.replace("return 2", "return 3")


@pytest.fixture
def make(labs: Labs) -> Callable[..., Lab]:
    """Makes a lab with two tasks; `mine` is its lab.py."""

    def add(name: str = "01_one", mine: str | None = None, checks: str = CHECKS) -> Lab:
        return Lab(labs.add(name, checks=checks, starter=STARTER, solution=SOLUTION, mine=mine))

    return add


def found(name: str, passed: bool | None, because: str = "") -> dict[str, Any]:
    """A check as --lab-report has it; neither passed nor failed is one that this machine cannot run."""
    state = {True: "passed", False: "failed", None: "cannot"}[passed]
    return {"name": name, "state": state, "passed": passed, "because": because}


# --- the sources ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mine", "state", "done", "first_open"),
    [
        (None, "not started", 0, "1.1"),
        (STARTER, "not started", 0, "1.1"),
        (f"# mine\n{STARTER}", "not started", 0, "1.1"),
        (HALF, "in progress", 1, "1.2"),
        (WRONG, "written", 2, ""),
        ("def one(:\n", "in progress", 0, "1.1"),
        ("todo('something')", "in progress", 0, "1.1"),
    ],
    ids=["no lab.py", "as the starter", "a comment", "one todo left", "no todo left", "no Python", "no number"],
)
def test_what_the_source_tells(
    mine: str | None, state: str, done: int, first_open: str, make: Callable[..., Lab]
) -> None:
    """lab.py alone tells what was begun, how many tasks have no open todo, and the first that has one."""
    progress = by_source(make(mine=mine))

    assert (progress.state, progress.tasks, progress.done, progress.first_open) == (state, 2, done, first_open)
    assert not progress.checked


def test_what_is_no_python_is_told_with_its_line(make: Callable[..., Lab]) -> None:
    """A lab.py with a syntax error is in progress, with the line, also when its checks have run."""
    lab = make(mine="x = 1\ndef one(:\n")

    assert by_source(lab).note.startswith("line 2 cannot be read: ")
    assert by_checks(lab, [found("test_one", False)]).note == by_source(lab).note


@pytest.mark.skipif(sys.version_info < (3, 12), reason="older Pythons say nothing of it")
@pytest.mark.filterwarnings("error")
def test_a_doubtful_literal_warns_of_nothing(make: Callable[..., Lab]) -> None:
    """Reading a learner's source prints none of Python's warnings about it."""
    assert by_source(make(mine=r"one = '\d'")).state == "written"


def test_without_queues_a_lab_cannot_run_but_what_is_written_counts(make: Callable[..., Lab]) -> None:
    """On a machine without queues a lab cannot run, unless one of its checks needs none."""
    without = CHECKS.replace('@task("1.1")', '@needs_no_queues\n@task("1.1")')

    progress = by_source(make("01_one", HALF), queues=False)
    other = by_source(make("02_two", HALF, without), queues=False)

    assert (progress.state, progress.done) == ("cannot run here", 1)
    assert other.state == "in progress"


# --- the checks -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mine", "state", "done", "first_open"),
    [
        (SOLUTION, "done", 2, ""),
        (WRONG, "in progress", 1, "1.2"),
        (HALF, "in progress", 1, "1.2"),
        (STARTER, "not started", 0, "1.1"),
    ],
    ids=["right", "wrong", "half", "not started"],
)
def test_what_the_checks_tell(mine: str, state: str, done: int, first_open: str, make: Callable[..., Lab]) -> None:
    """A real run of the checks tells right from wrong, counted in tasks."""
    progress = run_checks(make(mine=mine), quiet=True)

    assert progress is not None
    assert (progress.state, progress.tasks, progress.done, progress.first_open) == (state, 2, done, first_open)
    assert progress.checked


def test_a_check_that_cannot_run_here_keeps_no_lab_open(make: Callable[..., Lab]) -> None:
    """Where all others pass, a lab is done although this machine could not put on one check; it is told."""
    lab = make(mine=SOLUTION)
    checks = [found("test_one", True), found("test_two", True), found("test_two_again", None, "no second user")]

    progress = by_checks(lab, checks)

    assert (progress.state, progress.done, progress.note) == ("done", 2, "1 check cannot run here")


def test_where_nothing_can_run_the_reason_is_told(make: Callable[..., Lab]) -> None:
    """A lab of which no check could run is neither done nor open, and says why."""
    checks = [found(name, None, "no queues") for name in ("test_one", "test_two", "test_two_again")]

    progress = by_checks(make(mine=SOLUTION), checks)

    assert (progress.state, progress.done, progress.note) == ("cannot run here", 0, "no queues")


def test_a_check_that_did_not_run_keeps_its_task_open(make: Callable[..., Lab]) -> None:
    """A task is done only when each of its checks has passed."""
    progress = by_checks(make(mine=SOLUTION), [found("test_one", True), found("test_two", True)])

    assert (progress.state, progress.done, progress.first_open) == ("in progress", 1, "1.2")


@pytest.mark.parametrize(
    ("checks", "addopts", "why"),
    [("import nothing_of_this_name", "", "pytest found none"), (CHECKS, "--no-such-option", "no-such-option")],
    ids=["checks that cannot be imported", "an option of the learner's environment"],
)
def test_checks_that_cannot_be_run_are_an_error(
    checks: str, addopts: str, why: str, make: Callable[..., Lab], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where pytest itself fails, that is an error in one line, and says how to see more."""
    monkeypatch.setenv("PYTEST_ADDOPTS", addopts)

    with pytest.raises(HarnessError, match="the checks of 01_one did not run") as raised:
        run_checks(make(mine=SOLUTION, checks=checks), quiet=True)

    assert why in raised.value.why
    assert "\n" not in str(raised.value)
    assert raised.value.hint == "python -m pytest labs/01_one shows more"


def test_an_interruption_ends_the_checks(make: Callable[..., Lab]) -> None:
    """Once a signal was noted, pytest is ended, and there is no result."""
    slow = CHECKS.replace("assert lab.one()", "time.sleep(60)\n    assert lab.one()").replace(
        '@task("1.1")', '@limit(90)\n@task("1.1")'
    )

    assert run_checks(make(mine=SOLUTION, checks=slow), quiet=True, interrupted=lambda: "SIGINT") is None


# --- all labs -------------------------------------------------------------------------------------------------------


class Checker:
    """Stands for the checks: notes whose were asked for, and finds what it was told."""

    def __init__(self, *, right: bool) -> None:
        self.right = right
        self.asked: list[str] = []

    def __call__(self, lab: Lab) -> Progress:
        self.asked.append(lab.name)
        checks = ("test_one", "test_two", "test_two_again")
        return by_checks(lab, [found(name, self.right or name == "test_one") for name in checks])


def test_the_checks_of_the_first_lab_in_progress_are_run(make: Callable[..., Lab]) -> None:
    """The current lab is the first in progress, and only its checks run; a lab that was skipped is not."""
    labs = [make("01_a", SOLUTION), make("02_b"), make("03_c", HALF), make("04_d", HALF), make("05_e")]
    check = Checker(right=False)

    result = survey(labs, check)

    assert check.asked == ["03_c"]
    assert [progress.state for progress in result.labs] == [
        "written",
        "not started",
        "in progress",
        "in progress",
        "not started",
    ]
    assert result.current is result.labs[2]
    assert [progress.checked for progress in result.labs] == [False, False, True, False, False]


@pytest.mark.parametrize(("right", "current"), [(False, "01_a"), (True, "03_c")])
def test_where_none_is_in_progress_the_last_saved_is_checked(
    right: bool, current: str, make: Callable[..., Lab]
) -> None:
    """Without an open todo, the lab saved last is checked: it is current where it fails, else the next not started."""
    labs = [make("01_a", WRONG), make("02_b", WRONG), make("03_c")]
    os.utime(labs[0].file, (2_000_000_000, 2_000_000_000))
    os.utime(labs[1].file, (1_000_000_000, 1_000_000_000))
    check = Checker(right=right)

    result = survey(labs, check)

    assert check.asked == ["01_a"]
    assert result.current is not None
    assert result.current.lab.name == current


def test_what_is_not_started_needs_no_check(make: Callable[..., Lab]) -> None:
    """A learner who has begun nothing is sent to the first lab, and no check is run."""
    check = Checker(right=True)

    result = survey([make("01_a"), make("02_b")], check)

    assert check.asked == []
    assert result.current is result.labs[0]


def test_without_queues_nothing_is_run(make: Callable[..., Lab]) -> None:
    """Where no lab can run, none is checked, and none is current."""
    check = Checker(right=True)

    result = survey([make("01_a", HALF), make("02_b")], check, queues=False)

    assert (check.asked, result.current) == ([], None)


# --- each save ------------------------------------------------------------------------------------------------------


class Watch:
    """A watch over a file, in steps: `sleep` does the next of `things`, and the watch ends when there is none."""

    def __init__(self, *things: Callable[[], object]) -> None:
        self._things = list(things)
        self._over = False

    def sleep(self, _: float) -> None:
        if self._things:
            self._things.pop(0)()
        else:
            self._over = True

    def ended(self) -> bool:
        return self._over


def save(file: Path, text: str, at_s: int) -> None:
    file.write_text(text)
    os.utime(file, (at_s, at_s))


def rest() -> None:
    """Nothing happens."""


def test_each_save_is_noticed_once(tmp_path: Path) -> None:
    """A watch begins with a run, and runs again for a new time or a new size, and for nothing else."""
    file = tmp_path / "lab.py"
    save(file, "1", at_s=100)
    watch = Watch(
        rest,
        lambda: save(file, "2", at_s=101),
        rest,
        rest,
        lambda: save(file, "three", at_s=101),
        rest,
        lambda: save(file, "older", at_s=99),
        rest,
    )

    seen = [file.read_text() for _ in saves(file, ended=watch.ended, sleep=watch.sleep)]

    assert seen == ["1", "2", "three", "older"]


def test_a_save_during_a_run_is_noticed_after_it(tmp_path: Path) -> None:
    """What is saved while the checks run is checked next."""
    file = tmp_path / "lab.py"
    save(file, "1", at_s=100)
    watch = Watch(rest)
    seen = []

    for number, _ in enumerate(saves(file, ended=watch.ended, sleep=watch.sleep)):
        seen.append(file.read_text())
        if number == 0:
            save(file, "2", at_s=101)

    assert seen == ["1", "2"]


def test_a_half_saved_file_is_not_checked(tmp_path: Path) -> None:
    """An editor that empties the file before it writes the new one leads to one run, of the whole."""
    file = tmp_path / "lab.py"
    save(file, "1", at_s=100)
    watch = Watch(lambda: save(file, "", at_s=101), lambda: save(file, "whole", at_s=101), rest)

    seen = [file.read_text() for _ in saves(file, ended=watch.ended, sleep=watch.sleep)]

    assert seen == ["1", "whole"]


def test_a_file_that_is_gone_for_a_moment_is_waited_for(tmp_path: Path) -> None:
    """An editor that removes the file before it writes the new one leads to one run."""
    file = tmp_path / "lab.py"
    save(file, "1", at_s=100)
    watch = Watch(file.unlink, rest, lambda: save(file, "2", at_s=101), rest)

    seen = [file.read_text() for _ in saves(file, ended=watch.ended, sleep=watch.sleep)]

    assert seen == ["1", "2"]


# --- lab.py anew ----------------------------------------------------------------------------------------------------


def files(lab: Lab) -> dict[str, str]:
    return {path.name: path.read_text() for path in lab.folder.glob("lab.py*")}


def test_what_was_there_is_kept_under_the_next_free_number(make: Callable[..., Lab]) -> None:
    """lab.py is as the starter again; what was there has a number that nothing had."""
    lab = make(mine="first")
    starter = textwrap.dedent(STARTER)
    (lab.folder / "lab.py.2").write_text("older")

    kept = [lab.start_anew()]
    for text in ("second", "third"):
        lab.file.write_text(text)
        kept.append(lab.start_anew())

    assert [path.name for path in kept if path] == ["lab.py.1", "lab.py.3", "lab.py.4"]
    assert files(lab) == {
        "lab.py": starter,
        "lab.py.1": "first",
        "lab.py.2": "older",
        "lab.py.3": "second",
        "lab.py.4": "third",
    }


@pytest.mark.parametrize("mine", [None, STARTER])
def test_where_there_is_nothing_to_keep_nothing_is_kept(mine: str | None, make: Callable[..., Lab]) -> None:
    """A lab.py that is missing is made; one that is the starter stays."""
    lab = make(mine=mine)

    assert lab.start_anew() is None
    assert files(lab) == {"lab.py": textwrap.dedent(STARTER)}


@pytest.mark.parametrize("fails_at", [1, 2, 3])
def test_a_full_disk_loses_nothing(fails_at: int, make: Callable[..., Lab], monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever of its writes fails, lab.py is as it was, nothing half written is left, and it is told in one line."""
    lab = make(mine="mine")
    writes = iter(range(1, 10))

    def full(*_: object) -> None:
        if next(writes) == fails_at:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    monkeypatch.setattr(Path, "replace", lambda *_: full())

    with pytest.raises(UsageError, match="No space left on device"):
        lab.start_anew()

    assert files(lab).pop("lab.py") == "mine"
    assert set(files(lab).values()) == {"mine"}


def test_a_digit_that_is_no_number_names_no_lab(make: Callable[..., Lab]) -> None:
    """A superscript two is a digit to Python, and no number: there is no such lab."""
    with pytest.raises(UsageError, match="there is no lab '²'"):
        find_lab(make().folder.parent, "²")
