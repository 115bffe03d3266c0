"""`pytest labs/`: the pytest plugin that runs a lab's checks. Loaded by pytest through the entry point `pytest11`.

It looks only at items in a file `labs/NN_name/test_lab.py`; for all others it is not there. The way of a check:

    pytest_runtest_protocol    hands it to checking.py: a forked child (apart.py) takes its ground (ground.py), then
                               lets pytest run the check
        fixture `lab`          loads lab.py, solution.py or --lab-file (loading.py, watched.py)
        fixture `stage`        starts and ends processes (stage.py)
        pytest_runtest_makereport   turns each report into what a learner is told (verdict.py)
    back in pytest's process   hangs, deaths and what was left behind are told; the reports go on as any others

With --in-process, --pdb and --trace nothing is forked and nobody watches: for a debugger.

On a machine without message queues, and with --vm, none of this happens here: in_vm.py runs the same command in the VM.
"""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from _pytest.runner import runtestprotocol

from harness.labkit import catalog, marks, todos, verdict
from harness.labkit.catalog import TEST_FILE, lab_of
from harness.labkit.states import CANNOT, NOT_STARTED
from harness.labkit.summary import check_states, lines
from harness.sysv.errors import HarnessError, UsageError

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator

    from harness.labkit.catalog import Lab
    from harness.labkit.stage import Stage
    from harness.labkit.watched import WatchedModule
    from harness.remote.vagrant import Machine


@dataclass
class Session:
    """What this pytest process knows of the labs.

    `reports` of their checks; `made`: the labs whose lab.py was made now; `no_queues`: why this machine has none;
    `shared`: checks stand on this machine's own queues; `ground`: where they run, in words.
    """

    reports: list[Any] = field(default_factory=list)
    made: list[str] = field(default_factory=list)
    no_queues: str = ""
    shared: bool = False
    ground: str = ""


_session: pytest.StashKey[Session] = pytest.StashKey()


# --- options and settings -------------------------------------------------------------------------------------------


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("labs", "the labs (labs/README.md)")
    group.addoption("--solutions", action="store_true", help="check solution.py of each lab instead of lab.py")
    group.addoption("--grade", action="store_true", help="an open todo is a failure, for teachers")
    group.addoption("--lab-file", metavar="FILE", help="check this file instead of lab.py")
    group.addoption("--shared-queues", action="store_true", help="run checks on this machine's own queues")
    group.addoption("--in-process", action="store_true", help="do not fork: for debuggers; nobody watches for hangs")
    group.addoption("--lab-report", metavar="FILE.json", help="write what each check found, as JSON")
    group.addoption("--vm", action="store_true", help="run in the project's virtual machine, with Vagrant")
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


def _on_linux() -> bool:
    return sys.platform == "linux"


def _is_worker(config: pytest.Config) -> bool:
    """Whether this is a worker of pytest-xdist, whose controller does what is done once."""
    return hasattr(config, "workerinput")


def _is_forked(config: pytest.Config) -> bool:
    return not (config.getoption("in_process") or config.getoption("usepdb") or config.getoption("trace"))


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> int | None:
    """Run all of it in the VM instead, where this machine has no queues or --vm asks for it; None for here."""
    option = config.option
    told_only = option.help or option.version or option.markers or getattr(option, "show_fixtures_per_test", False)
    if _is_worker(config) or told_only or option.showfixtures or (option.collectonly and not option.vm):
        return None
    root = _only_labs(config)
    if root is None:
        if option.vm:
            raise pytest.UsageError("--vm runs labs of one project, and nothing else: pytest labs/ --vm")
        return None
    from harness.remote.choice import choose  # noqa: PLC0415 - sessions without labs do not need it

    try:
        chosen = choose(root, asked=option.vm)
        return _in_vm(config, root, *chosen) if chosen else None
    except UsageError as error:
        raise pytest.UsageError(f"{error}  ({error.hint})") from error
    except HarnessError as error:
        sys.stderr.write(f"labs: {error}\n  hint: {error.hint}\n")
        return error.exit_status
    except KeyboardInterrupt:
        return pytest.ExitCode.INTERRUPTED


def _only_labs(config: pytest.Config) -> Path | None:
    """The project whose labs are asked for; None where there is anything else on the command line."""
    roots = set()
    for argument in config.args:
        path = Path(os.path.abspath(config.invocation_params.dir / str(argument).partition("::")[0]))  # noqa: PTH100
        folder = found.folder.parent if (found := lab_of(path)) else path
        roots.add(folder.parent if folder.name == "labs" and folder.is_dir() and catalog.labs_in(folder) else None)
    return roots.pop() if len(roots) == 1 else None


def _in_vm(config: pytest.Config, root: Path, machine: Machine, why: str) -> int:
    from harness.labkit.in_vm import run_labs  # noqa: PLC0415 - only where it is needed
    from harness.results.files import Destination  # noqa: PLC0415

    option, here = config.option, config.invocation_params.dir
    files = {"--junitxml": option.xmlpath, "--lab-report": option.lab_report}
    reports = {name: Destination.parse(str(here / file)) for name, file in files.items() if file and file != "-"}
    for destination in reports.values():
        destination.check()
    made = []
    if not (option.solutions or option.lab_file):
        made = [lab.name for lab in _asked_labs(config) if lab.make_file()]
    for line in (f"{why}: in the VM {machine.name}", *_made_words(made)):
        sys.stderr.write(f"labs: {line}\n")
    # pytest holds standard input, and this gives it back; its output it holds no longer.
    capture = config.pluginmanager.get_plugin("capturemanager")
    if capture is not None:
        capture.suspend(in_=True)
    lab_file = Path(os.path.abspath(here / option.lab_file)) if option.lab_file else None  # noqa: PTH100
    if lab_file is not None and not lab_file.is_file():
        raise UsageError(f"--lab-file {option.lab_file}: there is no such file", hint="give another path")
    words = [str(word) for word in config.invocation_params.args]
    return run_labs(machine, root, words, cwd=here, reports=reports, lab_file=lab_file)


@pytest.hookimpl(tryfirst=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    config = session.config
    asked = _asked_labs(config)
    if not asked:
        return
    ours = config.stash[_session]
    _look_at_the_ground(config, ours)
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


def pytest_report_header(config: pytest.Config) -> list[str]:
    ours = config.stash[_session]
    if not ours.ground:
        return []
    said = ours.ground.split("; ")
    return [f"labs: {words}" for words in (*said, *_made_words(ours.made))]


def _made_words(made: list[str]) -> list[str]:
    if not made:
        return []
    names = ", ".join(made) if len(made) < 4 else f"{len(made)} labs"  # noqa: PLR2004 - a line's worth
    return [f"lab.py made from starter.py in {names}", "lab.py is yours, and never overwritten"]


def _look_at_the_ground(config: pytest.Config, ours: Session) -> None:
    """Find out where checks will stand, and say it in words."""
    from harness.sysv import Limits, diagnose, probe  # noqa: PLC0415

    found = diagnose()
    if not found.available:
        ours.no_queues = f"no message queues here: {found.explanation}. {found.hint}"
        ours.ground = ours.no_queues
        return
    limits = Limits.read()
    words = f"msgmax {limits.msgmax}, msgmnb {limits.msgmnb}, msgmni {limits.msgmni}"
    if not _is_forked(config):
        ours.ground = "in pytest's own process, on this machine's own queues; nobody watches for hangs"
    elif config.getoption("shared_queues"):
        ours.shared = True
        ours.ground = f"on this machine's own queues, one check at a time (ipcs -q shows them); {words}"
    elif not (support := probe()).available:
        ours.shared = True
        ours.ground = (
            f"on this machine's own queues, one check at a time: no private namespace ({support.why}); {words}"
        )
    else:
        where = "each check in a private IPC namespace"
        own = "" if support.limits_can_be_raised else f", at the kernel's own limits ({support.why}); here"
        ours.ground = f"{where}{own}; {words}"


# --- collection -----------------------------------------------------------------------------------------------------


def pytest_pycollect_makemodule(module_path: Path, parent: Any) -> pytest.Collector | None:
    """Where this system is no Linux, a lab's checks are listed, not imported: they use what only Linux has."""
    if module_path.name != TEST_FILE or _on_linux() or lab_of(module_path) is None:
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
            # A learner's forgotten socket is no error of the check's, however strict a project is with its own.
            item.add_marker(pytest.mark.filterwarnings("default"))
            item.stash[verdict.SUBJECT] = verdict.Subject(lab=lab.name, check=check, file=file, strict=strict)
            item.repr_failure = partial(_short_failure, item, item.repr_failure)  # type: ignore[method-assign]


def _file_of(lab: Lab, config: pytest.Config) -> Path:
    if name := config.getoption("lab_file"):
        return Path(name)
    return lab.solution if config.getoption("solutions") else lab.file


# --- a check --------------------------------------------------------------------------------------------------------


@pytest.fixture
def lab(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> WatchedModule:
    """The file that is checked, as a module: lab.py, the solution, or what --lab-file names.

    What lies in the lab's folder can be imported by it, wherever it lies itself.
    """
    from harness.labkit.loading import load  # noqa: PLC0415
    from harness.labkit.watched import WatchedModule  # noqa: PLC0415

    monkeypatch.syspath_prepend(str(request.node.path.parent))
    return WatchedModule(load(request.node.stash[verdict.SUBJECT].file))


@pytest.fixture
def stage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stage]:
    """What puts processes and failures on; all that it started is gone afterwards."""
    from harness.labkit.stage import Stage  # noqa: PLC0415

    subject, ground = request.node.stash[verdict.SUBJECT], request.node.stash.get(verdict.GROUND, None)
    steward = ground.steward if ground else None
    with Stage(subject.file, tmp_path, lab=request.node.path.parent, steward=steward) as made:
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
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    subject = item.stash.get(verdict.SUBJECT, None)
    if subject is None:
        return None
    ours = item.config.stash[_session]
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    if ours.no_queues and (subject.check.needs_queues or not _on_linux()):
        reports = [verdict.cannot_run(item.nodeid, item.location, subject, ours.no_queues)]
    elif _is_forked(item.config):
        from harness.labkit.checking import run_forked  # noqa: PLC0415 - not on Windows

        reports = run_forked(item, subject, shared=ours.shared)
    else:
        with todos.watched():
            reports = runtestprotocol(item, nextitem=nextitem, log=False)
    for report in reports:
        item.ihook.pytest_runtest_logreport(report=report)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True


def _short_failure(
    item: pytest.Item, pytests: Any, error: pytest.ExceptionInfo[BaseException], style: Any = None
) -> Any:
    """In place of pytest's traceback, which takes a tenth of a second to make, where the verdict says it all anyway."""
    if verdict.explains(error.value, _frames(error), item.stash[verdict.SUBJECT], todos.met()):
        return str(error.value)
    return pytests(error, style)


def _frames(error: pytest.ExceptionInfo[BaseException] | None) -> list[tuple[str, int, str]]:
    return [(str(entry.path), entry.lineno + 1, entry.name) for entry in error.traceback] if error else []


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    subject = item.stash.get(verdict.SUBJECT, None)
    if subject is not None:
        error = call.excinfo.value if call.excinfo else None
        verdict.judge(report, error, _frames(call.excinfo), of=subject, open_=todos.met())
    return report


# --- what is told ---------------------------------------------------------------------------------------------------


def pytest_report_teststatus(report: Any) -> tuple[str, str, Any] | None:
    if verdict.is_lab_report(report) and report.labkit["state"] == NOT_STARTED and report.skipped:
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
    reports = config.stash[_session].reports
    labs = {report.labkit["lab"] for report in reports}
    states = {state for lab in labs for state in check_states(reports, lab).values()}
    if states == {CANNOT} and session.exitstatus == pytest.ExitCode.OK:
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
        ground=ours.ground,
    )
    try:
        destination(config.invocation_params.dir, name).write(text)
    except HarnessError as error:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
        reporter = config.pluginmanager.get_plugin("terminalreporter")
        if reporter is not None:
            reporter.write_line(f"FAILED: {error}  ({error.hint})", red=True)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> Generator[None, None, None]:
    # Before pytest shows the failures; what JUnit XML and --lab-report have of them is not broken into lines.
    reports = config.stash[_session].reports
    width = shutil.get_terminal_size().columns
    for report in reports:
        verdict.wrap(report, width)
    yield
    if reports:
        terminalreporter.section("labs")
        for line in lines(
            reports, {lab.name: lab for lab in _asked_labs(config)}, ground=config.stash[_session].ground
        ):
            terminalreporter.write_line(line)
