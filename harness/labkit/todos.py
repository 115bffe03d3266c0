"""`todo("4.1 ...")`: what a lab's file says where the learner has not written yet.

It must be seen whoever calls it: a check in the same process, a program that a check started, a child that this
program forked, code under a bare `except:`. So it is written down as it is raised: in a list for this process, and in
the file that HARNESS_TODO_FILE names for all others. Used by labs; read by verdict.py.
"""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from typing import NoReturn

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
    """The open tasks that were met since `forget`, by this process and by all that inherited HARNESS_TODO_FILE."""
    found = list(_met)
    if name := os.environ.get(FILE_VARIABLE):
        with contextlib.suppress(OSError):
            found += [line for line in Path(name).read_text(encoding="utf-8").splitlines() if line not in found]
    return found


def forget() -> None:
    """Begin anew, as for the next check in the same process."""
    _met.clear()
    if name := os.environ.get(FILE_VARIABLE):
        with contextlib.suppress(OSError):
            Path(name).write_text("", encoding="utf-8")
