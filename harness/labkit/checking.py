"""One check of a lab, run in a forked child that stands on ground of its own; what comes back are pytest's reports.

Used by plugin.py. Apart from the check's own outcome these are told: a hang (with what it waited for), a death, a todo
that was met anywhere, queues and processes left behind, somebody else's queue touched, a fork that came back.
"""

from __future__ import annotations

import contextlib
import traceback
from typing import TYPE_CHECKING

from _pytest.runner import runtestprotocol

from harness.labkit import explain, ground, marks, todos, verdict
from harness.labkit.apart import run_apart
from harness.labkit.evidence import waiting_words
from harness.labkit.failures import CannotStageError
from harness.sysv.errors import HarnessError

if TYPE_CHECKING:
    import pytest

    from harness.labkit.apart import Ending


def run_forked(item: pytest.Item, subject: verdict.Subject, *, shared: bool) -> list[pytest.TestReport]:
    """Run the check; `shared`: on this machine's own queues, so that only one check at a time may."""
    # Nothing of the caller's may be torn down in the fork too: so all is before it, and is made again when needed.
    item.session._setupstate.teardown_exact(None)  # noqa: SLF001 - pytest has no public way
    # The first to ask for this folder empties it: that must not be a fork.
    item.config._tmp_path_factory.getbasetemp()  # type: ignore[attr-defined] # noqa: SLF001
    marker = item.get_closest_marker("limit")
    limit_s = float(marker.args[0]) if marker else marks.LIMIT_S
    with todos.watched(), ground.one_at_a_time() if shared else contextlib.nullcontext():
        ending = run_apart(
            lambda: _reports_inside(item, subject, shared=shared),
            limit_s=limit_s,
            look=waiting_words,
            # A program that met a todo has said all that there is: nobody needs to wait for the rest of the check.
            settled=None if subject.strict else lambda: bool(todos.met()),
        )
        open_ = todos.met()
    if not ending.answered or ending.answer is None:
        return [verdict.ended_badly(item.nodeid, item.location, subject, ending, limit_s=limit_s, open_=open_)]
    _tell_of_processes(ending, subject)
    return ending.answer


def _tell_of_processes(ending: Ending[list[pytest.TestReport]], subject: verdict.Subject) -> None:
    """A check that went well is red after all when processes of its code go on."""
    call = _passed_call(ending.answer or [])
    if call is not None and ending.strayed:
        verdict.fail(call, subject, explain.fork_came_back())
    elif call is not None and ending.left:
        verdict.fail(call, subject, explain.processes_left(ending.left))


def _reports_inside(item: pytest.Item, subject: verdict.Subject, *, shared: bool) -> list[pytest.TestReport]:
    """In the child: make the ground, run the check with its fixtures, look what it left."""
    try:
        if not subject.check.needs_queues:
            return runtestprotocol(item, nextitem=None, log=False)
        made = item.stash[verdict.GROUND] = ground.take(
            shared=shared,
            network=item.get_closest_marker("own_network") is not None,
            foreign="foreign_queue" in getattr(item, "fixturenames", ()),
        )
        reports = runtestprotocol(item, nextitem=None, log=False)
        told = made.left_behind()
        call = _passed_call(reports)
        if told is not None and call is not None:
            verdict.fail(call, subject, told)
    except (CannotStageError, HarnessError) as error:
        return [verdict.cannot_run(item.nodeid, item.location, subject, str(error))]
    except BaseException:  # noqa: BLE001 - as pytest.exit in a check: it must be told, not lost with the fork
        return [verdict.broken(item.nodeid, item.location, subject, traceback.format_exc())]
    return reports


def _passed_call(reports: list[pytest.TestReport]) -> pytest.TestReport | None:
    return next((report for report in reports if report.when == "call" and report.passed), None)
