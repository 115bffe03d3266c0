"""`pytest labs/`: the pytest plugin that runs a lab's checks. Loaded by pytest through the entry point `pytest11`.

It looks only at items in a file `labs/NN_name/test_lab.py`; for all others it is not there. The way of a check:

    pytest_runtest_protocol    forks (apart.py); the child takes its ground (ground.py), then lets pytest run the check
        fixture `lab`          loads lab.py, solution.py or --lab-file (loading.py, watched.py)
        fixture `stage`        starts and ends processes (stage.py)
        pytest_runtest_makereport   turns each report into what a learner is told (verdict.py)
    back in pytest's process   hangs, deaths and what was left behind are told; the reports go on as any others

With --in-process, --pdb and --trace nothing is forked and nobody watches: for a debugger.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from _pytest.runner import runtestprotocol

from harness.labkit import catalog, marks, todos, verdict
from harness.labkit.catalog import TEST_FILE, lab_of
from harness.sysv.errors import HarnessError, UsageError

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator

    from harness.labkit.catalog import Lab
    from harness.labkit.ground import Ground
    from harness.labkit.stage import Stage
    from harness.labkit.watched import WatchedModule


@dataclass
class Session:
    """What this pytest process knows of the labs: the labs that were met, their reports, and why there are no queues."""

    labs: dict[str, Lab] = field(default_factory=dict)
    reports: list[Any] = field(default_factory=list)
    made: list[str] = field(default_factory=list)
    no_queues: str = ""
    ground: str = ""


_session: pytest.StashKey[Session] = pytest.StashKey()
_subject: pytest.StashKey[verdict.Subject] = pytest.StashKey()
_ground: pytest.StashKey[Ground | None] = pytest.StashKey()


# --- options and settings -------------------------------------------------------------------------------------------


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("labs", "the labs (labs/README.md)")
    group.addoption("--solutions", action="store_true", help="check solution.py of each lab instead of lab.py")
    group.addoption("--grade", action="store_true", help="an open todo is a failure, for teachers")
    group.addoption("--lab-file", metavar="FILE", help="check this file instead of lab.py")
    group.addoption("--shared-queues", action="store_true", help="run checks on this machine's own queues")
    group.addoption("--in-process", action="store_true", help="do not fork: for debuggers; nobody watches for hangs")
    group.addoption("--lab-report", metavar="FILE.json", help="write what each check found, as JSON")
    group.addoption("--learner", metavar="NAME", help="the name in --lab-report (default: this user's)")


def pytest_configure(config: pytest.Config) -> None:
    for name, words in marks.WORDS.items():
        config.addinivalue_line("markers", f"{name}: {words}")
    config.stash[_session] = Session()
    config.pluginmanager.register(_Listener(config.stash[_session]), "harness-labs-listener")
    if config.getoption("lab_file") and config.getoption("solutions"):
        raise pytest.UsageError("--lab-file and --solutions name different files; give one of them")
    if name := config.getoption("lab_file"):
        path = Path(os.path.abspath(config.invocation_params.dir / name))  # noqa: PTH100 - a link stays one
        if not path.is_file():
            raise pytest.UsageError(f"--lab-file {name}: there is no such file")
        config.option.lab_file = str(path)
    if name := config.getoption("lab_report"):
        _check_destination(config, name)


def _check_destination(config: pytest.Config, name: str) -> None:
    from harness.labkit.report import destination  # noqa: PLC0415 - only where it is asked for

    if _is_worker(config):
        return
    try:
        destination(config.invocation_params.dir, name).check()
    except UsageError as error:
        raise pytest.UsageError(f"--lab-report: {error}  ({error.hint})") from error


def _is_worker(config: pytest.Config) -> bool:
    """Whether this is a worker of pytest-xdist, whose controller does what is done once."""
    return hasattr(config, "workerinput")


def _is_forked(config: pytest.Config) -> bool:
    return not (config.getoption("in_process") or config.getoption("usepdb") or config.getoption("trace"))


@pytest.hookimpl(tryfirst=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    config = session.config
    asked = _asked_labs(config)
    if not asked:
        return
    ours = config.stash[_session]
    ours.no_queues = _why_no_queues()
    if _is_worker(config) or config.getoption("solutions") or config.getoption("lab_file"):
        return
    if config.getoption("collectonly"):
        return
    try:
        ours.made = [lab.name for lab in asked if lab.make_file()]
    except UsageError as error:
        raise pytest.UsageError(f"{error}  ({error.hint})") from error


def _asked_labs(config: pytest.Config) -> list[Lab]:
    """The labs that the command line's paths lead to."""
    found: dict[str, Lab] = {}
    for argument in config.args:
        path = Path(os.path.abspath(config.invocation_params.dir / str(argument).partition("::")[0]))  # noqa: PTH100
        if (lab := lab_of(path)) is not None:
            found[lab.name] = lab
        elif path.is_dir():
            for folder in (path, path / "labs"):
                if folder.name == "labs" and folder.is_dir():
                    found |= {lab.name: lab for lab in catalog.labs_in(folder)}
    return list(found.values())


def _why_no_queues() -> str:
    from harness.sysv import diagnose  # noqa: PLC0415

    found = diagnose()
    return "" if found.available else f"no message queues here: {found.explanation}. {found.hint}"


def pytest_report_header(config: pytest.Config) -> list[str]:
    ours = config.stash[_session]
    asked = _asked_labs(config)
    if not asked:
        return []
    lines = [f"labs: {_ground_words(config, ours)}"]
    if ours.made:
        names = ", ".join(ours.made) if len(ours.made) < 4 else f"{len(ours.made)} labs"  # noqa: PLR2004 - a line's worth
        lines.append(f"labs: lab.py made from starter.py in {names}; it is yours, and never overwritten")
    return lines


def _ground_words(config: pytest.Config, ours: Session) -> str:
    if ours.no_queues:
        return ours.no_queues
    if not _is_forked(config):
        return "checks run in this process, on this machine's own queues; nobody watches for hangs"
    if config.getoption("shared_queues"):
        return "checks run on this machine's own queues, one at a time (ipcs -q shows them)"
    from harness.sysv import Limits, probe  # noqa: PLC0415

    limits = Limits.read()
    support = probe()
    words = f"msgmax {limits.msgmax}, msgmnb {limits.msgmnb}, msgmni {limits.msgmni}"
    if not support.available:
        return (
            f"no private namespace ({support.why}), so checks run on this machine's own queues, one at a time; {words}"
        )
    ours.ground = "each check in a private IPC namespace"
    if not support.limits_can_be_raised:
        return f"{ours.ground}, at the kernel's own limits ({support.why}); here: {words}"
    return f"{ours.ground}; {words}"


# --- collection -----------------------------------------------------------------------------------------------------


def pytest_pycollect_makemodule(module_path: Path, parent: Any) -> pytest.Collector | None:
    """Where this system is no Linux, a lab's checks are listed, not imported: they use what only Linux has."""
    if module_path.name != TEST_FILE or sys.platform == "linux" or lab_of(module_path) is None:
        return None
    collector: pytest.Collector = _ListedChecks.from_parent(parent, path=module_path)
    return collector


class _ListedChecks(pytest.File):
    def collect(self) -> Iterable[pytest.Item]:
        lab = lab_of(self.path)
        for check in lab.checks if lab else ():
            yield _ListedCheck.from_parent(self, name=check.name)


class _ListedCheck(pytest.Item):
    def runtest(self) -> None:
        raise AssertionError("a listed check is skipped before it runs")

    def reportinfo(self) -> tuple[Path, int, str]:
        return self.path, 0, self.name


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        lab = lab_of(item.path) if item.path.name == TEST_FILE else None
        if lab is None:
            continue
        name = getattr(item, "originalname", None) or item.name
        check = next((check for check in lab.checks if check.name == name), None)
        if check is not None:
            strict = bool(config.getoption("solutions") or config.getoption("grade"))
            file = _file_of(lab, config)
            item.stash[_subject] = verdict.Subject(lab=lab.name, check=check, file=file, strict=strict)


def _file_of(lab: Lab, config: pytest.Config) -> Path:
    if name := config.getoption("lab_file"):
        return Path(name)
    return lab.solution if config.getoption("solutions") else lab.file


# --- a check --------------------------------------------------------------------------------------------------------


@pytest.fixture
def lab(request: pytest.FixtureRequest) -> WatchedModule:
    """The file that is checked, as a module: lab.py, the solution, or what --lab-file names."""
    from harness.labkit.loading import load  # noqa: PLC0415
    from harness.labkit.watched import WatchedModule  # noqa: PLC0415

    return WatchedModule(load(request.node.stash[_subject].file))


@pytest.fixture
def stage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stage]:
    """What puts processes and failures on; all that it started is gone afterwards."""
    from harness.labkit.stage import Stage  # noqa: PLC0415

    subject, ground = request.node.stash[_subject], request.node.stash.get(_ground, None)
    steward = ground.steward if ground else None
    with Stage(subject.file, tmp_path, number=subject.lab[:2], steward=steward) as made:
        yield made


@pytest.fixture
def thorough(request: pytest.FixtureRequest) -> bool:
    """Whether to try often: true for the solutions, which have the time; a learner waits."""
    return bool(request.config.getoption("solutions"))


@pytest.fixture
def foreign_queue(stage: Stage) -> Any:
    """Makes a queue that belongs to another user: `foreign_queue(key, mode=0o644, payloads=())` gives its id."""
    return stage.foreign_queue


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> bool | None:
    subject = item.stash.get(_subject, None)
    if subject is None:
        return None
    ours = item.config.stash[_session]
    if ours.no_queues and (subject.check.needs_queues or sys.platform != "linux"):
        reports = [verdict.skip_all(item.nodeid, item.location, subject, ours.no_queues)]
    elif _is_forked(item.config):
        reports = _run_forked(item, subject)
    else:
        return None
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    for report in reports:
        item.ihook.pytest_runtest_logreport(report=report)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True


def _run_forked(item: pytest.Item, subject: verdict.Subject) -> list[pytest.TestReport]:
    from harness.labkit.apart import run_apart  # noqa: PLC0415 - not on Windows
    from harness.labkit.evidence import waiting_words  # noqa: PLC0415

    # Nothing of the caller's may be torn down in the fork too: so all is before it, and is made again when needed.
    item.session._setupstate.teardown_exact(None)  # noqa: SLF001 - pytest has no public way
    item.config._tmp_path_factory.getbasetemp()  # type: ignore[attr-defined] # noqa: SLF001 - the first to ask empties it
    marker = item.get_closest_marker("limit")
    limit_s = float(marker.args[0]) if marker else marks.LIMIT_S
    with tempfile.NamedTemporaryFile(prefix="harness-todo-") as met, _environment(todos.FILE_VARIABLE, met.name):
        todos.forget()
        ending = run_apart(lambda: _reports_inside(item, subject), limit_s=limit_s, look=waiting_words)
        open_ = todos.met()
    if not ending.answered or ending.answer is None:
        return [verdict.ended_badly(item.nodeid, item.location, subject, ending, limit_s, open_)]
    reports = ending.answer
    _tell_of_leftovers(reports, subject, ending.left, strayed=ending.strayed)
    return reports


def _tell_of_leftovers(
    reports: list[pytest.TestReport], subject: verdict.Subject, left: list[str], *, strayed: bool
) -> None:
    """A check that went well is red after all when processes of its code go on."""
    call = next((report for report in reports if report.when == "call"), None)
    if call is None or not call.passed:
        return
    if strayed:
        verdict.fail(call, subject, verdict.fork_came_back())
    elif left:
        verdict.fail(call, subject, verdict.processes_left(left))


def _reports_inside(item: pytest.Item, subject: verdict.Subject) -> list[pytest.TestReport]:
    """In the child: make the ground, run the check with its fixtures, look what it left."""
    from harness.labkit import ground  # noqa: PLC0415

    shared = bool(item.config.getoption("shared_queues"))
    try:
        with contextlib.ExitStack() as stack:
            if subject.check.needs_queues:
                made = ground.take(
                    shared=shared,
                    network=item.get_closest_marker("own_network") is not None,
                    foreign="foreign_queue" in getattr(item, "fixturenames", ()),
                )
                item.stash[_ground] = made
                if not made.private:
                    stack.enter_context(ground.one_at_a_time())
            reports = runtestprotocol(item, nextitem=None, log=False)
            call = next((report for report in reports if report.when == "call"), None)
            told = item.stash[_ground].left_behind() if subject.check.needs_queues and item.stash[_ground] else None
            if told is not None and call is not None and call.passed:
                verdict.fail(call, subject, told)
            return reports
    except ground.CannotStageError as error:
        return [verdict.skip_all(item.nodeid, item.location, subject, str(error))]
    except HarnessError as error:
        return [verdict.skip_all(item.nodeid, item.location, subject, f"{error} ({error.hint})")]
    except BaseException:  # noqa: BLE001 - as pytest.exit in a check: it must be told, not lost with the fork
        report = verdict.skip_all(item.nodeid, item.location, subject, "")
        report.outcome, report.longrepr = "failed", traceback.format_exc()
        return [report]


@contextlib.contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    subject = item.stash.get(_subject, None)
    if subject is not None:
        error = call.excinfo.value if call.excinfo else None
        frames = (
            [(str(entry.path), entry.lineno + 1, entry.name) for entry in call.excinfo.traceback]
            if call.excinfo
            else []
        )
        verdict.judge(report, error, frames, of=subject, open_=todos.met())
    return report


# --- what is told ---------------------------------------------------------------------------------------------------


def pytest_report_teststatus(report: Any) -> tuple[str, str, Any] | None:
    if verdict.is_lab_report(report) and report.labkit["state"] == verdict.NOT_STARTED and report.skipped:
        return "not started", "x", ("NOT STARTED", {"yellow": True})
    return None


class _Listener:
    """Keeps the labs' reports in the process that prints: pytest's own, or the controller of xdist."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def pytest_runtest_logreport(self, report: Any) -> None:
        if verdict.is_lab_report(report):
            self._session.reports.append(report)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    config = session.config
    if _is_worker(config):
        return
    states = [report.labkit["state"] for report in config.stash[_session].reports]
    if states and all(state == verdict.CANNOT for state in states) and session.exitstatus == pytest.ExitCode.OK:
        # Nothing could run: that must not read as a success.
        session.exitstatus = pytest.ExitCode.NO_TESTS_COLLECTED
    if name := config.getoption("lab_report"):
        _write_report(session, name)


def _write_report(session: pytest.Session, name: str) -> None:
    from harness.labkit.report import destination, document  # noqa: PLC0415

    config = session.config
    ours = config.stash[_session]
    labs = _asked_labs(config)
    text = document(
        ours.reports,
        {lab.name: (lab, _file_of(lab, config)) for lab in labs},
        learner=config.getoption("learner"),
        ground=ours.ground or ours.no_queues,
    )
    try:
        destination(config.invocation_params.dir, name).write(text)
    except HarnessError as error:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
        reporter = config.pluginmanager.get_plugin("terminalreporter")
        if reporter is not None:
            reporter.write_line(f"FAILED: {error}  ({error.hint})", red=True)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    ours = config.stash[_session]
    if not ours.reports:
        return
    from harness.labkit.summary import lines  # noqa: PLC0415

    labs = {lab.name: lab for lab in _asked_labs(config)}
    terminalreporter.section("labs")
    for line in lines(ours.reports, labs, ground=ours.ground):
        terminalreporter.write_line(line)
