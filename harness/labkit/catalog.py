"""The labs on disk: which there are, their files, tasks, hints and checks. Everything is read; nothing is run.

Used by the plugin, the summary, the report and `harness lab`. A lab is a folder `labs/NN_name` that holds a
test_lab.py; the number is the only order. Works on hosts without message queues, and without pytest.
"""

from __future__ import annotations

import ast
import contextlib
import os
import re
import secrets
from dataclasses import dataclass
from functools import cached_property
from itertools import count
from pathlib import Path

from harness.sysv.errors import UsageError

TEST_FILE = "test_lab.py"
_FOLDER = re.compile(r"\d\d_\w+")
_HINTS_TASK = re.compile(r"^## (\d+\.\d+)\b(.*)$", re.MULTILINE)
_HINT = re.compile(r"<details>\s*<summary>(.*?)</summary>(.*?)</details>", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Check:
    """One test function of a lab: its `task` number, its one-sentence `description`, and whether it needs queues."""

    name: str
    task: str
    description: str
    line: int
    needs_queues: bool = True


@dataclass(frozen=True)
class Lab:
    """One lab, by its folder."""

    folder: Path

    @property
    def name(self) -> str:
        """The folder's name, such as "04_flip_flop"."""
        return self.folder.name

    @property
    def number(self) -> str:
        """The two digits."""
        return self.name[:2]

    @property
    def file(self) -> Path:
        """The learner's own."""
        return self.folder / "lab.py"

    @property
    def starter(self) -> Path:
        """What a learner starts from."""
        return self.folder / "starter.py"

    @property
    def solution(self) -> Path:
        """The exemplar; not there in what students are given."""
        return self.folder / "solution.py"

    @property
    def test_file(self) -> Path:
        """The checks."""
        return self.folder / TEST_FILE

    @cached_property
    def checks(self) -> tuple[Check, ...]:
        """Its checks in the order of the file; raises UsageError where the file cannot be read."""
        return read_checks(self.test_file)

    @property
    def tasks(self) -> tuple[str, ...]:
        """The numbers of its tasks, in order."""
        return tuple(sorted({check.task for check in self.checks}, key=_by_number))

    def open_todos(self, file: Path | None = None) -> list[str]:
        """The words of every todo(...) in lab.py (or in `file`), read from the source; none where it cannot be read."""
        path = file or (self.file if self.file.exists() else self.starter)
        try:
            tree = ast.parse(path.read_text(encoding="utf-8"))
        except (OSError, SyntaxError, ValueError):
            return []
        return [
            call.args[0].value
            for call in ast.walk(tree)
            if isinstance(call, ast.Call)
            and ast.unparse(call.func) == "todo"
            and call.args
            and isinstance(call.args[0], ast.Constant)
            and isinstance(call.args[0].value, str)
        ]

    def hints(self) -> dict[str, list[str]]:
        """The steps of each task's hint, out of hints.md."""
        text = (self.folder / "hints.md").read_text(encoding="utf-8")
        headings = list(_HINTS_TASK.finditer(text))
        ends = [heading.start() for heading in headings[1:]] + [len(text)]
        return {
            heading[1]: [words.strip() for _, words in _HINT.findall(text[heading.end() : end])]
            for heading, end in zip(headings, ends, strict=True)
        }

    def make_file(self) -> bool:
        """Make lab.py from starter.py if it is missing; whether it was made. What is there is never touched.

        Raises UsageError where it cannot be written.
        """
        try:
            if self.file.exists():
                return False
            _write_new(self.file, self.starter.read_bytes())
        except FileExistsError:
            return False
        except OSError as error:
            raise self._not_made(error) from error
        return True

    def start_anew(self) -> Path | None:
        """Make lab.py from starter.py again; what was there stays beside it, as lab.py.1, lab.py.2 ...

        Returns where that is, None where there was nothing to keep. There is a whole lab.py at every moment, and none
        of the older ones is overwritten. Raises UsageError where it cannot be written.
        """
        if self.make_file():
            return None
        fresh = self.folder / f"lab.py.{secrets.token_hex(4)}.new"
        try:
            mine, starter = self.file.read_bytes(), self.starter.read_bytes()
            if mine == starter:
                return None
            try:
                _write_new(fresh, starter)
                kept = self._keep(mine)
                fresh.replace(self.file)
            finally:
                fresh.unlink(missing_ok=True)
        except OSError as error:
            raise self._not_made(error) from error
        return kept

    def _keep(self, data: bytes) -> Path:
        for number in count(1):
            kept = self.folder / f"lab.py.{number}"
            with contextlib.suppress(FileExistsError):
                _write_new(kept, data)
                return kept
        raise AssertionError("numbers do not end")

    def _not_made(self, error: OSError) -> UsageError:
        return UsageError(
            f"{self.file} cannot be made from starter.py",
            why=error.strerror or str(error),
            hint="work in a copy of the project that is yours to write in",
        )


def lab_of(path: Path) -> Lab | None:
    """The lab that a file, or a folder, belongs to, by the names of its folders; None for any other."""
    for folder in (path, *path.parents):
        if _FOLDER.fullmatch(folder.name) and folder.parent.name == "labs" and (folder / TEST_FILE).is_file():
            return Lab(folder)
    return None


def labs_in(folder: Path) -> list[Lab]:
    """The labs in a folder `labs`, in order."""
    return [lab for path in sorted(folder.iterdir()) if (lab := lab_of(path)) and lab.folder == path]


def find_labs(start: Path) -> Path:
    """The folder `labs` for somebody who stands in `start`: in it, above it, or beside this package.

    Raises UsageError where there is none.
    """
    beside = Path(__file__).parents[2]
    for folder in (start, *start.parents, beside):
        for candidate in (folder, folder / "labs"):
            if candidate.name == "labs" and candidate.is_dir() and labs_in(candidate):
                return candidate
    raise UsageError("no labs here", why=f"neither {start} nor a folder above it has labs", hint="cd into the project")


def find_lab(labs: Path, word: str) -> Lab:
    """The lab that somebody means by "04", "4" or "04_flip_flop"; raises UsageError that lists the labs there are."""
    found = labs_in(labs)
    for lab in found:
        if word == lab.name or (word.isdecimal() and int(word) == int(lab.number)):
            return lab
    raise UsageError(f"there is no lab {word!r}", hint="there are " + ", ".join(lab.name for lab in found))


def read_checks(file: Path) -> tuple[Check, ...]:
    """The checks of a test_lab.py, read from its source; raises UsageError where that cannot be read."""
    try:
        tree = ast.parse(file.read_text(encoding="utf-8"))
    except (OSError, SyntaxError, ValueError) as error:
        raise UsageError(f"{file} cannot be read", why=str(error)) from error
    return tuple(
        _check(node) for node in tree.body if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    )


def _write_new(file: Path, data: bytes) -> None:
    """Write a file that is not there yet, whole or not at all; raises FileExistsError, or why it cannot be written."""
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        with open(descriptor, "wb") as new:  # noqa: PTH123 - a descriptor, so that O_EXCL holds
            new.write(data)
            new.flush()
            os.fsync(new.fileno())  # some file systems report a full disk only here
    except OSError:
        with contextlib.suppress(OSError):
            file.unlink()  # ours, and only half written
        raise


def _check(function: ast.FunctionDef) -> Check:
    number, needs_queues = "", True
    for mark in function.decorator_list:
        if isinstance(mark, ast.Call) and ast.unparse(mark.func) == "task" and isinstance(mark.args[0], ast.Constant):
            number = str(mark.args[0].value)
        if ast.unparse(mark) == "needs_no_queues":
            needs_queues = False
    description = " ".join((ast.get_docstring(function) or function.name).split())
    return Check(function.name, number, description, function.lineno, needs_queues)


def _by_number(task: str) -> tuple[int, ...]:
    return tuple(int(part) for part in task.split(".") if part.isdigit())
