"""`harness lab`: where am I, check, watch, hint, diff, reset and run, as the real program on a small folder of labs."""

from __future__ import annotations

import errno
import os
import pty
import re
import shlex
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from harness.cli.app import main
from harness.labkit import catalog

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.conftest import OrdinaryUser

LIMIT_S = 60.0
HARNESS = [sys.executable, "-m", "harness", "lab"]
CHECKS = """
import time
from harness.labkit import Teach, limit, task

@task("4.1")
@limit(60)
def test_one(lab):
    \"\"\"`one` gives 1.\"\"\"
    assert lab.one() == 1, Teach(saw="s", because="it is not 1", try_="t", see="e")

@task("4.2")
def test_two(lab):
    \"\"\"`two` gives 2.\"\"\"
    assert lab.two() == 2, Teach(saw="s", because="it is not 2", try_="t", see="e")
"""
STARTER = """
import os, sys
from harness.labkit import todo

def one() -> int:
    todo("4.1 give one")

def two() -> int:
    todo("4.2 give two")

def main(argv) -> int:
    print(*argv, sep="|")
    return 7

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
"""
HALF = STARTER.replace('todo("4.1 give one")', "return 1")
SOLUTION = HALF.replace('todo("4.2 give two")', "return 2").replace("return 7", "return 8")
WRONG = SOLUTION.replace("return 2", "return 3")
HINTS = """
## 4.1 one

<details><summary>A question</summary>

Which number is `1`?

</details>
<details><summary>The name of the call</summary>

`return`

</details>

## 4.2 two

<details><summary>A question</summary>

And `2`?

</details>
"""


@dataclass(frozen=True)
class Place:
    """A folder with labs of its own; `lab` is the folder of lab 04, which has two tasks."""

    root: Path
    started: list[subprocess.Popen[str]] = field(default_factory=list)

    @property
    def lab(self) -> Path:
        return self.root / "labs" / "04_small"

    @property
    def mine(self) -> Path:
        return self.lab / "lab.py"

    def add(self, name: str, *, mine: str | None = None, checks: str = CHECKS) -> None:
        folder = self.root / "labs" / name
        folder.mkdir(parents=True)
        files = {"test_lab.py": checks, "starter.py": STARTER, "solution.py": SOLUTION, "hints.md": HINTS}
        for file, text in (files | ({"lab.py": mine} if mine is not None else {})).items():
            (folder / file).write_text(text)

    def save(self, text: str) -> None:
        """Save lab.py at one stroke."""
        (self.root / "saved").write_text(text)
        (self.root / "saved").replace(self.mine)

    def start(self, *arguments: str, before: tuple[str, ...] = ()) -> subprocess.Popen[str]:
        """`harness lab` with arguments, which listens to SIGINT also where these tests run in the background."""
        process = subprocess.Popen(
            [*before, *HARNESS, *arguments],
            cwd=self.root,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 - it takes no lock
        )
        self.started.append(process)
        return process

    def harness(self, *arguments: str, before: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
        """`harness lab` with arguments, to its end."""
        process = self.start(*arguments, before=before)
        out, err = process.communicate(timeout=LIMIT_S)
        return subprocess.CompletedProcess(arguments, process.returncode, out, err)

    def on_terminal(self, *arguments: str, **env: str) -> str:
        """What `harness lab` shows on a terminal, with its control sequences."""
        ours, theirs = pty.openpty()
        process = subprocess.Popen(
            [*HARNESS, *arguments],
            cwd=self.root,
            env={**os.environ, "TERM": "xterm", "COLUMNS": "80", **env},
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
        )
        os.close(theirs)
        shown = b""
        try:
            while data := os.read(ours, 65536):
                shown += data
        except OSError as error:
            if error.errno != errno.EIO:  # so a pty says that its last writer has gone
                raise
        os.close(ours)
        process.wait(LIMIT_S)
        return shown.decode()


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path)
    made.add("04_small")
    (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = --import-mode=importlib -p no:cacheprovider\n")
    yield made
    for process in made.started:
        process.terminate()  # where a test failed
        process.communicate(timeout=LIMIT_S)


def processes_in(folder: Path) -> list[str]:
    """The command lines of all processes that name the folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().decode(errors="replace")
        except OSError:
            continue
        if str(folder) in words:
            found.append(words.replace("\0", " "))
    return found


def wait_until(condition: Callable[[], object]) -> None:
    deadline_s = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < deadline_s
        time.sleep(0.01)


# --- where am I -----------------------------------------------------------------------------------------------------


def test_where_am_i(place: Place) -> None:
    """The overview has a line a lab, the checks of the current one have run, and it makes no lab.py."""
    place.mine.write_text(WRONG)
    place.add("05_other")

    done = place.harness()

    assert re.search(r"^> 04_small +in progress 1/2$", done.stdout, re.MULTILINE)
    assert re.search(r"^  05_other +not started$", done.stdout, re.MULTILINE)
    assert "1 of 4 tasks" in done.stdout
    assert "task 4.2 in labs/04_small/lab.py" in done.stdout
    assert (done.returncode, done.stderr) == (0, "")
    assert not (place.root / "labs" / "05_other" / "lab.py").exists()


def test_a_learner_who_begins_is_sent_to_the_first_lab(place: Place) -> None:
    """With nothing begun no check is run, and the next step is the first README."""
    done = place.harness()

    assert re.search(r"^> 04_small +not started$", done.stdout, re.MULTILINE)
    assert "next: read labs/04_small/README.md" in done.stdout
    assert done.returncode == 0


def test_a_lab_py_that_is_no_python_is_in_progress(place: Place) -> None:
    """A syntax error is told by its line, and is no error of the command."""
    place.mine.write_text("def one(:\n")

    done = place.harness()

    assert "in progress 0/2; line 1 cannot be read" in done.stdout
    assert (done.returncode, done.stderr) == (0, "")


def test_on_a_terminal_it_has_colours_and_the_waiting_is_told(place: Place) -> None:
    """A terminal shows colours, and what is being checked meanwhile; NO_COLOR takes the colours away."""
    place.mine.write_text(HALF)

    coloured, plain = place.on_terminal(), place.on_terminal(NO_COLOR="1")

    assert "checking 04_small ..." in coloured
    assert "\x1b[33min progress 1/2" in coloured
    assert "in progress 1/2" in plain
    assert "\x1b[33m" not in plain


def test_without_queues_the_overview_ends_with_3(place: Place, no_msgget: tuple[str, ...]) -> None:
    """Where this machine has no queues, the labs are listed, the reason is told in one line, and what to do."""
    done = place.harness(before=no_msgget)

    assert re.search(r"^  04_small +cannot run here$", done.stdout, re.MULTILINE)
    assert done.stderr.startswith("harness: no message queues here: the kernel answered")
    assert len(done.stderr.splitlines()) == 2
    assert done.returncode == 3


# --- check ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mine", "status", "words"),
    [
        (None, 1, "2 not started"),
        (HALF, 1, "1 passed, 1 not started"),
        (WRONG, 1, "1 failed, 1 passed"),
        (SOLUTION, 0, "2 passed"),
    ],
)
def test_a_check_ends_with_1_until_the_lab_is_done(mine: str | None, status: int, words: str, place: Place) -> None:
    """`harness lab 04` shows what pytest shows, and ends with 0 only when every check has passed."""
    if mine is not None:
        place.mine.write_text(mine)

    done = place.harness("04")

    assert words in done.stdout.splitlines()[-1]
    assert done.returncode == status
    assert done.stderr == ("" if mine else "made labs/04_small/lab.py from starter.py; it is yours\n")


@pytest.mark.parametrize("word", ["04", "4", "04_small", "04_small/"])
def test_a_lab_is_named_by_its_number_or_its_folder(word: str, place: Place) -> None:
    """Each of these names the same lab; the last is what a shell completes."""
    assert place.harness("reset", word).stdout == "labs/04_small/lab.py is as in starter.py\n"


def test_pytest_keeps_its_colours_on_a_terminal_only(place: Place) -> None:
    """pytest writes to the terminal itself; in a pipe there is no control sequence."""
    place.mine.write_text(SOLUTION)

    assert "\x1b[32m" in place.on_terminal("04")
    assert "\x1b" not in place.harness("04").stdout


def test_where_nothing_can_run_a_check_ends_with_3(place: Place, no_msgget: tuple[str, ...]) -> None:
    """Without queues the status is 3, although nothing was wrong."""
    place.mine.write_text(SOLUTION)

    done = place.harness("04", before=no_msgget)

    assert done.returncode == 3
    assert "no message queues here" in done.stdout


def test_ctrl_c_ends_a_check_and_leaves_no_process(place: Place) -> None:
    """SIGINT ends pytest and the check that it runs; the status is 130, and there is no traceback."""
    running = place.root / "running"
    place.mine.write_text(SOLUTION.replace("return 1", f"open({str(running)!r}, 'w'); import time; time.sleep(60)"))
    process = place.start("04")
    wait_until(running.exists)

    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=LIMIT_S)

    assert process.returncode == 130
    assert err == ""
    assert "KeyboardInterrupt" in out
    assert "Traceback" not in out
    assert processes_in(place.root) == []


def test_ctrl_c_before_pytest_listens_leaves_no_traceback(place: Place) -> None:
    """SIGINT while pytest is still being imported ends it without a word."""
    place.mine.write_text(SOLUTION)
    process = place.start("04")
    wait_until(lambda: processes_in(place.lab))

    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=LIMIT_S)

    assert process.returncode == 130
    assert err == ""
    assert "Traceback" not in out
    assert processes_in(place.root) == []


# --- watch ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("named", [True, False])
def test_a_watch_checks_at_each_save_and_stays(named: bool, place: Place) -> None:
    """The lab, named or current, is checked at once and after each save, also when it is done; Ctrl-C ends with 0."""
    place.mine.write_text(HALF)
    place.add("05_other")
    process = place.start("watch", *(["04"] if named else []))
    assert process.stdout
    lines: list[str] = []

    def read_until(words: str) -> None:
        for line in process.stdout or ():
            lines.append(line)
            if words in line:
                return
        raise AssertionError("".join(lines))

    read_until("in progress 1/2; checked again when you save lab.py, Ctrl-C ends")
    place.save(SOLUTION)
    read_until("done; checked again when you save lab.py, Ctrl-C ends")
    place.save(WRONG)
    read_until("in progress 1/2; checked again")
    process.send_signal(signal.SIGINT)
    rest, err = process.communicate(timeout=LIMIT_S)

    runs = [line.split(",")[:2] for line in lines if line.startswith("--- ")]
    assert runs == [["--- 04_small", f" run {number}"] for number in (1, 2, 3)]
    assert rest == "no longer watching 04_small\n"
    assert (process.returncode, err) == (0, "")


def test_ctrl_c_during_a_run_ends_a_watch(place: Place) -> None:
    """Ctrl-C while checks run ends them and the watch, with status 0 and no process left."""
    running = place.root / "running"
    place.mine.write_text(SOLUTION.replace("return 1", f"open({str(running)!r}, 'w'); import time; time.sleep(60)"))
    process = place.start("watch", "04")
    wait_until(running.exists)

    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=LIMIT_S)

    assert out.endswith("no longer watching 04_small\n")
    assert (process.returncode, err) == (0, "")
    assert processes_in(place.root) == []


def test_a_watch_that_is_terminated_says_so(place: Place) -> None:
    """SIGTERM ends a watch with the shell's status for it."""
    place.mine.write_text(SOLUTION)
    process = place.start("watch", "04")
    assert process.stdout
    assert any("Ctrl-C ends" in line for line in process.stdout)

    process.terminate()
    process.communicate(timeout=LIMIT_S)

    assert process.returncode == 128 + signal.SIGTERM


def test_a_watch_ends_where_nothing_can_run(place: Place, no_msgget: tuple[str, ...]) -> None:
    """Without queues there is nothing to watch for: 3, and the reason."""
    done = place.harness("watch", "04", before=no_msgget)

    assert done.returncode == 3
    assert "harness: 04_small cannot be checked here: no message queues here" in done.stderr


def test_with_all_done_a_watch_wants_a_name(place: Place) -> None:
    """Where no lab is open, `harness lab watch` says that one must be named."""
    place.mine.write_text(SOLUTION)

    done = place.harness("watch")

    assert done.returncode == 2
    assert "harness: no lab is open\n  hint: name one" in done.stderr


# --- hint -----------------------------------------------------------------------------------------------------------


def test_a_hint_gives_one_step(place: Place) -> None:
    """Without --step the first, as it is written; with it that one."""
    first, second = place.harness("hint", "4.1"), place.harness("hint", "04.1", "--step", "2")

    assert first.stdout == (
        "task 4.1, step 1 of 2\n\nWhich number is `1`?\n\nthe next step: harness lab hint 4.1 --step 2\n"
    )
    assert "step 2 of 2\n\n`return`\n" in second.stdout
    assert (first.returncode, second.returncode) == (0, 0)


def test_a_hint_on_a_terminal_is_drawn(place: Place) -> None:
    """On a terminal the marks of Markdown are gone."""
    shown = place.on_terminal("hint", "4.1")

    assert "Which number is" in shown
    assert "`" not in shown


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["4.9"], "harness: there is no hint for task '4.9'\n  hint: 04_small has 4.1, 4.2\n"),
        (["4"], "harness: there is no hint for task '4'\n  hint: 04_small has 4.1, 4.2\n"),
        (["7.1"], "harness: there is no lab '7'\n  hint: there are 04_small\n"),
        (["4.1", "--step", "3"], "harness: task 4.1 has no step 3\n  hint: the last is --step 2\n"),
    ],
)
def test_a_hint_that_there_is_not(arguments: list[str], words: str, place: Place) -> None:
    """A task or step that there is not is one line, and one that says which there are."""
    done = place.harness("hint", *arguments)

    assert (done.returncode, done.stdout, done.stderr) == (2, "", words)


def test_a_lab_without_hints_is_told(place: Place) -> None:
    """A missing hints.md is one line."""
    (place.lab / "hints.md").unlink()

    done = place.harness("hint", "4.1")

    assert done.returncode == 2
    assert done.stderr.startswith("harness: labs/04_small/hints.md cannot be read: ")


# --- diff -----------------------------------------------------------------------------------------------------------


def test_a_diff_comes_after_the_pass(place: Place) -> None:
    """Once the lab is done, the unified diff leads from lab.py to solution.py, and pytest is not heard."""
    place.mine.write_text(SOLUTION.replace("return 8", "return 9"))

    done = place.harness("diff", "04")

    lines = done.stdout.splitlines()
    assert lines[:2] == ["--- lab.py", "+++ solution.py"]
    assert "-    return 9" in lines
    assert "+    return 8" in lines
    assert not any("passed" in line for line in lines)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_diff_on_a_terminal_is_in_colours(place: Place) -> None:
    """On a terminal what went is red."""
    place.mine.write_text(SOLUTION.replace("return 8", "return 9"))

    assert re.search(r"\x1b\[91[;\d]*m-    return 9", place.on_terminal("diff", "04"))


def test_no_difference_is_told(place: Place) -> None:
    """Who wrote the solution to the letter is told so."""
    place.mine.write_text(SOLUTION)

    assert place.harness("diff", "04").stdout == "lab.py is the solution, to the letter\n"


@pytest.mark.parametrize(
    ("mine", "words"),
    [(None, "04_small is not started"), (HALF, "04_small is not done yet: 1/2 tasks")],
)
def test_before_the_pass_there_is_no_diff(mine: str | None, words: str, place: Place) -> None:
    """Until the lab is done, the solution is not shown: one line, and 1."""
    if mine is not None:
        place.mine.write_text(mine)

    done = place.harness("diff", "04")

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"harness: {words}\n  hint: harness lab 04 checks it\n"


@pytest.mark.parametrize("arguments", [("diff", "04"), ("run", "--solution", "04")])
def test_a_solution_that_is_not_given_is_told(arguments: tuple[str, ...], place: Place) -> None:
    """In what students are given there are no solutions: one line says so."""
    (place.lab / "solution.py").unlink()

    done = place.harness(*arguments)

    assert done.returncode == 2
    assert done.stderr.startswith("harness: 04_small has no solution.py here\n")


# --- reset ----------------------------------------------------------------------------------------------------------


def test_a_reset_keeps_what_was_there(place: Place) -> None:
    """lab.py is the starter again, and the command says where the learner's is."""
    place.mine.write_text("mine")

    done = place.harness("reset", "04")

    assert place.mine.read_text() == STARTER
    assert (place.lab / "lab.py.1").read_text() == "mine"
    assert done.stdout == "labs/04_small/lab.py is as in starter.py; yours is labs/04_small/lab.py.1 now\n"
    assert place.harness("reset", "04").stdout == "labs/04_small/lab.py is as in starter.py\n"


def test_a_reset_on_a_full_disk_changes_nothing(place: Place) -> None:
    """Where no file may grow to the starter's size, lab.py stays, nothing else is there, and one line tells why."""
    place.mine.write_text("mine")
    limit = ("prlimit", f"--fsize={len(STARTER) // 2}")

    done = place.harness("reset", "04", before=limit)

    assert done.returncode == 2
    assert "lab.py cannot be made from starter.py: File too large\n  hint: " in done.stderr
    assert place.mine.read_text() == "mine"
    assert sorted(path.name for path in place.lab.glob("lab.py*")) == ["lab.py"]


@pytest.mark.parametrize("command", [["04"], ["watch", "04"], ["run", "04"], ["reset", "04"]])
def test_a_folder_in_which_one_may_not_write(command: list[str], place: Place, as_user: OrdinaryUser) -> None:
    """Where lab.py cannot be made, that is one line and a hint."""
    for folder in (place.lab, *place.lab.parents):
        if folder.is_relative_to("/tmp") and folder != Path("/tmp"):
            folder.chmod(0o555)

    done = as_user.run("env", "-C", str(place.root), *HARNESS, *command)

    for folder in (place.lab, *place.lab.parents):
        if folder.is_relative_to("/tmp") and folder != Path("/tmp"):
            folder.chmod(0o755)
    assert done.returncode == 2
    assert "lab.py cannot be made from starter.py: Permission denied\n  hint: work in a copy" in done.stderr


# --- run ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        (["--", "--help", "--solution", "-x", "a b", "--", ""], "--help|--solution|-x|a b|--|"),
        (["send"], "send"),
        ([], ""),
    ],
)
def test_the_program_gets_its_arguments_untouched(arguments: list[str], shown: str, place: Place) -> None:
    """What follows `--` is the program's own; the status is the program's too."""
    place.mine.write_text(STARTER)

    done = place.harness("run", "04", *arguments)

    assert (done.returncode, done.stdout, done.stderr) == (7, f"{shown}\n", "")


def test_a_program_that_is_missing_is_made(place: Place) -> None:
    """lab.py is made from starter.py, and the line that says so is not in the program's output."""
    done = place.harness("run", "04", "--", "receive")

    assert done.stdout == "receive\n"
    assert done.stderr == "made labs/04_small/lab.py from starter.py; it is yours\n"
    assert done.returncode == 7


def test_the_solution_can_be_run(place: Place) -> None:
    """With --solution it is solution.py that runs, and lab.py is not made."""
    done = place.harness("run", "04", "--solution", "--", "a")

    assert (done.returncode, done.stdout, done.stderr) == (8, "a\n", "")
    assert not place.mine.exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_reaches_the_program_itself(number: signal.Signals, place: Place) -> None:
    """The program is the process that was started: a signal ends it as it would have without harness."""
    place.mine.write_text(
        "import signal\nsignal.signal(signal.SIGINT, signal.SIG_DFL)\nprint('up', flush=True)\nsignal.pause()"
    )
    process = place.start("run", "04")
    assert process.stdout
    assert process.stdout.readline() == "up\n"

    process.send_signal(number)
    process.communicate(timeout=LIMIT_S)

    assert process.returncode == -number


# --- all of them ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["", "check", "watch", "hint", "diff", "reset", "run"])
def test_the_example_works_as_it_is_printed(command: str, place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    """What each help shows as an example can be typed, and says something."""
    assert main(["lab", *command.split(), "--help"]) == 0
    found = re.search(r"Example: harness lab ?(.*?)\n\n", capsys.readouterr().out, re.DOTALL)
    assert found
    place.mine.write_text(SOLUTION)
    process = place.start(*shlex.split(found[1]))
    assert process.stdout

    if command == "watch":
        assert any("Ctrl-C ends" in line for line in process.stdout)
        process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=LIMIT_S)

    assert process.returncode == (8 if command == "run" else 0)
    assert out
    assert err == ""


@pytest.mark.parametrize("command", [["99"], ["watch", "99"], ["diff", "99"], ["reset", "99"], ["run", "99"]])
def test_a_lab_that_there_is_not(command: list[str], place: Place) -> None:
    """An unknown number is one line, and one that lists the labs."""
    done = place.harness(*command)

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "harness: there is no lab '99'\n  hint: there are 04_small\n"


@pytest.mark.parametrize("command", [[], ["04"], ["watch"], ["hint", "4.1"]])
def test_where_there_are_no_labs(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Outside the project, where the package has no labs beside it either, one line says so."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(catalog, "__file__", str(tmp_path / "package" / "labkit" / "catalog.py"))

    assert main(["lab", *command]) == 2

    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("harness: no labs here: ")
    assert len(said.err.splitlines()) == 2
