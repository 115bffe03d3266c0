"""`todo("4.1 ...")`: what a lab's file says where the learner has not written yet.

It must be seen whoever calls it: a check in the same process, a program that a check started, a child that this
program forked, code under a bare `except:`. So it is written down as it is raised: in a list for this process, and in
the file that HARNESS_TODO_FILE names for all others. Used by labs; read by verdict.py.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from collections.abc import Iterator

STATUS = 77
"""The exit status of a program that met an open todo: what automake's tests use for "could not be run"."""

FILE_VARIABLE = "HARNESS_TODO_FILE"

_met: list[str] = []


class Todo(SystemExit):
    """An open task was met. As a SystemExit it passes `except Exception`, and ends a program with status 77."""

    def __init__(self, words: str) -> None:
        super().__init__(STATUS)
        self.words = words

    def __str__(self) -> str:
        return f"not started: {self.words}"


def todo(words: str) -> NoReturn:
    """Say that the task is still open; `words` begin with its number, as in "4.1 receive two messages".

    Raises Todo; a program that does not catch it ends with status 77 and has said on standard error what is open.
    """
    _met.append(words)
    if name := os.environ.get(FILE_VARIABLE):
        # A check must not fail for a file of the kit's that is gone.
        with contextlib.suppress(OSError), Path(name).open("a", encoding="utf-8") as file:
            file.write(f"{words}\n")
    if sys.stderr is not None:
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.write(f"not started: {words}\n")
            sys.stderr.flush()
    raise Todo(words)


def met() -> list[str]:
    """The open tasks met since `watched` began, by this process and all that inherited HARNESS_TODO_FILE."""
    found = list(_met)
    if name := os.environ.get(FILE_VARIABLE):
        with contextlib.suppress(OSError):
            lines = Path(name).read_text(encoding="utf-8").splitlines()
            found += [line for line in lines if line not in found]
    return found


@contextlib.contextmanager
def watched() -> Iterator[None]:
    """Begin anew: until this ends, `met` tells of this process and of all that are started in it."""
    _met.clear()
    before = os.environ.get(FILE_VARIABLE)
    with tempfile.NamedTemporaryFile(prefix="harness-todo-") as file:
        os.environ[FILE_VARIABLE] = file.name
        try:
            yield
        finally:
            os.environ.pop(FILE_VARIABLE)
            if before is not None:
                os.environ[FILE_VARIABLE] = before
