"""The kit that labs are made with: what a lab's file, its checks and the command `harness lab` share.

todos     what a learner's file says where work is open
teach     an answer that teaches, in four lines: saw, because, try, see
marks     what a check says of itself: its task, its limit, what it needs
catalog   the labs on disk: folders, files, tasks, checks; read, never run
loading   a learner's file becomes a module
watched   what a check sees of that module: a forgotten `return` is told at once
apart     a piece of work in a forked child, watched from outside, with nothing left of it afterwards
ground    what such a child stands on: its own namespace, no privileges, somebody else's queue
evidence  what a hanging check was waiting for
checking  one check, from its fork to its reports
failures  why a check did not pass, apart from an assert of its own
explain   what the kit says of code that raised, hung, died, or left something
verdict   from pytest's report of a check to: passed, failed, not started, cannot
stage     the processes and failures that a check puts on
summary   the lines at the end
report    --lab-report
progress  how far each lab is, for `harness lab`: from the sources, and from a run of one lab's checks
plugin    all of that in pytest

A learner's file imports `todo` from here, also on hosts without pytest or message queues: so a name's module is
imported when the name is first asked for (PEP 562).
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harness.labkit.failures import CannotStageError
    from harness.labkit.marks import limit, needs_no_queues, own_network, task
    from harness.labkit.stage import Program, Stage, wait_until
    from harness.labkit.teach import Teach
    from harness.labkit.todos import todo

_HOMES = {
    "CannotStageError": "failures",
    "Program": "stage",
    "Stage": "stage",
    "Teach": "teach",
    "limit": "marks",
    "needs_no_queues": "marks",
    "own_network": "marks",
    "task": "marks",
    "todo": "todos",
    "wait_until": "stage",
}

__all__ = [
    "CannotStageError",
    "Program",
    "Stage",
    "Teach",
    "limit",
    "needs_no_queues",
    "own_network",
    "task",
    "todo",
    "wait_until",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"harness.labkit.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
