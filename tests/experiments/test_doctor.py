"""harness.experiments.doctor: what it makes of a machine, and what it finds on this one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import pytest

from harness import engines
from harness.experiments import leader
from harness.experiments.doctor import (
    VISIBLE_KEYS,
    Check,
    DoctorReport,
    NativeEngine,
    Observations,
    _is_alive,
    _native_engine,
    examine,
    judge,
    observe,
)
from harness.sysv import NamespaceSupport, Queue, QueueStat, Support


class OrdinaryUser(Protocol):
    """What the fixture `as_user` gives."""

    def python(self, code: str, *arguments: str) -> subprocess.CompletedProcess[str]: ...


READY = Support(available=True, cause="ready", explanation="msgget answers")
NO_MSGGET = Support(available=False, cause="wsl1", explanation="this is WSL1", hint="wsl --set-version DISTRO 2")
NO_NAMESPACE = NamespaceSupport(available=False, limits_can_be_raised=False, why="EPERM", hint="run as root")
BUILT = NativeEngine(built=True, load_error=None, has_compiler=True, has_headers=True)
ENVIRONMENT: dict[str, Any] = {
    "cores_online": 4,
    "cores_allowed": 4,
    "clock_source": "tsc",
    "kernel_release": "6.18.0",
    "limits": {"msgmax": 8192, "msgmnb": 16384, "msgmni": 32000},
    "versions": {"python": "CPython 3.12.1", "harness": "0.1.0", "sysv_ipc": "1.2.0", "rich": "15.0.0"},
}
GOOD = Observations(
    environment=ENVIRONMENT,
    support=READY,
    namespace=NamespaceSupport(available=True, limits_can_be_raised=True, kind="ipc"),
    queues=(),
    alive_pids=frozenset(),
    native=BUILT,
    has_vagrant=True,
)


def machine(*, environment: dict[str, Any] | None = None, **changes: Any) -> Observations:
    """A machine where all is well, but for the changes."""
    return replace(GOOD, environment={**ENVIRONMENT, **(environment or {})}, **changes)


def check_of(seen: Observations, name: str) -> Check:
    (found,) = [check for check in judge(seen) if check.name == name]
    return found


def exit_status_of(seen: Observations) -> int:
    return DoctorReport(checks=judge(seen), environment=seen.environment).exit_status


def queue(**changes: int) -> QueueStat:
    """One queue, empty and never used unless said otherwise."""
    return QueueStat(**{**dict.fromkeys(QueueStat.__dataclass_fields__, 0), **changes})


def namespace_state() -> list[str]:
    """Which IPC namespace this is, its queues and its limits."""
    limits = [Path("/proc/sys/kernel", name).read_text() for name in ("msgmax", "msgmnb", "msgmni")]
    return [str(Path("/proc/self/ns/ipc").readlink()), Path("/proc/sysvipc/msg").read_text(), *limits]


def test_good_machine_has_nothing_to_do_but_what_concerns_visible_runs() -> None:
    """Where all is well every check is ok, and the exit status 0."""
    checks = judge(GOOD)

    assert {check.status for check in checks} == {"ok"}
    assert [check.name for check in checks if check.to_do] == ["limits"]
    assert exit_status_of(GOOD) == 0


def test_machine_without_msgget_is_a_problem_with_its_cause_and_way_out() -> None:
    """Without msgget the exit status is 3, and the line says why and what to do."""
    seen = machine(support=NO_MSGGET, namespace=None, queues=None)

    found = check_of(seen, "msgget")

    assert (found.status, found.seen, found.to_do) == ("problem", "this is WSL1", "wsl --set-version DISTRO 2")
    assert exit_status_of(seen) == 3
    assert [check.name for check in judge(seen) if check.status == "problem"] == ["msgget"]


def test_nothing_but_a_problem_changes_the_exit_status() -> None:
    """A machine with every note there is can still run a load."""
    seen = machine(
        namespace=NO_NAMESPACE,
        queues=(queue(key=0x4D510001),),
        native=NativeEngine(built=False, load_error=None, has_compiler=False, has_headers=False),
        has_vagrant=False,
        environment={"cores_online": 1, "cores_allowed": 1, "clock_source": "hpet"},
    )

    notes = [check for check in judge(seen) if check.status == "note"]

    assert len(notes) == 6
    assert all(check.to_do for check in notes if check.name != "vagrant")
    assert exit_status_of(seen) == 0


def test_limits_are_told_in_messages_of_8_kib_and_for_visible_runs() -> None:
    """The kernel's default limits are explained, with what to set for --visible runs of large messages."""
    found = check_of(machine(queues=(queue(), queue())), "limits")

    assert "that is 2 messages of 8 KiB" in found.seen
    assert "of which there are 2" in found.seen
    assert found.to_do == "for --visible runs of large messages: sudo sysctl -w kernel.msgmnb=1048576"


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ({"msgmax": 8192, "msgmnb": 2**20, "msgmni": 9}, "128 messages"),
        ({"msgmax": 8192, "msgmnb": 8192, "msgmni": 9}, "1 message of"),
        ({"msgmax": 8191, "msgmnb": 2**20, "msgmni": 9}, "no message"),
        ({"msgmax": 8192, "msgmnb": 8191, "msgmni": 9}, "no message"),
    ],
)
def test_limits_below_one_message_of_8_kib_are_a_note(limits: dict[str, int], expected: str) -> None:
    """Limits that let no message of 8 KiB pass are a note, as private namespaces raise theirs; others are ok."""
    found = check_of(machine(environment={"limits": limits}), "limits")

    assert expected in found.seen
    assert found.status == ("note" if expected == "no message" else "ok")
    assert ("msgmax" in found.to_do) == (limits["msgmax"] < 8192)


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"namespace": NO_NAMESPACE}, "problem"),
        ({"namespace": NamespaceSupport(available=True, limits_can_be_raised=False)}, "problem"),
        ({}, "note"),
    ],
)
def test_limits_below_any_message_are_a_problem_where_they_cannot_be_raised(
    changes: dict[str, Any], status: str
) -> None:
    """Limits below the 32 bytes of a header stop a run, unless a private namespace can raise its own."""
    seen = machine(environment={"limits": {"msgmax": 31, "msgmnb": 16384, "msgmni": 9}}, **changes)

    assert check_of(seen, "limits").status == status


@pytest.mark.parametrize(("namespace", "status"), [(NO_NAMESPACE, "problem"), (GOOD.namespace, "note")])
def test_namespace_full_of_queues_is_a_problem_without_a_private_one(namespace: NamespaceSupport, status: str) -> None:
    """With msgmni queues there already, a run needs a namespace of its own, and the line says how to make room."""
    seen = machine(
        environment={"limits": {"msgmax": 8192, "msgmnb": 16384, "msgmni": 2}},
        queues=(queue(), queue()),
        namespace=namespace,
    )

    found = check_of(seen, "limits")

    assert found.status == status
    assert "ipcrm -q ID" in found.to_do


def test_unreadable_limits_are_a_note() -> None:
    """Where /proc/sys does not give the limits, the doctor says so and goes on."""
    seen = machine(environment={"limits": dict.fromkeys(("msgmax", "msgmnb", "msgmni"))})

    assert check_of(seen, "limits").status == "note"


@pytest.mark.parametrize(
    ("namespace", "status", "words"),
    [
        (NamespaceSupport(available=True, limits_can_be_raised=True, kind="ipc"), "ok", "as root may"),
        (NamespaceSupport(available=True, limits_can_be_raised=True, kind="user+ipc"), "ok", "user namespace"),
        (NamespaceSupport(True, False, "ipc", "/proc/sys is read-only", "hint"), "note", "but /proc/sys is read-only"),
        (NO_NAMESPACE, "note", "EPERM; runs take place in the host's"),
        (None, "note", "not tried"),
    ],
)
def test_private_namespace_is_told_with_what_limits_it(
    namespace: NamespaceSupport | None, status: str, words: str
) -> None:
    """Whether a private namespace can be had, and its limits raised, is told with the reason and the way out."""
    found = check_of(machine(namespace=namespace), "private namespace")

    assert found.status == status
    assert words in found.seen
    assert found.to_do == (namespace.hint if namespace else "")


@pytest.mark.parametrize(
    ("online", "allowed", "status", "words"),
    [
        (4, 4, "ok", "4 cores"),
        (4, 2, "ok", "2 cores of the machine's 4"),
        (4, 1, "note", "1 core of the machine's 4"),
        (1, None, "note", "bound by wake-ups"),
        (None, None, "note", "not known"),
    ],
)
def test_fewer_than_two_cores_are_a_note(online: int | None, allowed: int | None, status: str, words: str) -> None:
    """It is the cores that this process may use which count; with one, rates are bound by wake-ups."""
    found = check_of(machine(environment={"cores_online": online, "cores_allowed": allowed}), "cores")

    assert found.status == status
    assert words in found.seen


@pytest.mark.parametrize(
    ("source", "status"),
    [
        ("tsc", "ok"),
        ("kvm-clock", "ok"),
        ("arch_sys_counter", "ok"),
        ("hpet", "note"),
        ("acpi_pm", "note"),
        (None, "note"),
    ],
)
def test_slow_clock_source_is_a_note(source: str | None, status: str) -> None:
    """A clock that is slow to read, or not known, is a note."""
    assert check_of(machine(environment={"clock_source": source}), "clock source").status == status


@pytest.mark.parametrize(
    ("native", "seen", "to_do"),
    [
        (NativeEngine(True, None, False, False), "built, and loads", ""),
        (NativeEngine(True, "undefined symbol", True, True), "does not load: undefined symbol", "make clean"),
        (NativeEngine(False, None, False, True), "a C compiler is missing", "gcc python3-dev"),
        (NativeEngine(False, None, True, False), "Python's headers are missing", "gcc python3-dev"),
        (NativeEngine(False, None, False, False), "a C compiler and Python's headers are missing", "gcc python3-dev"),
        (NativeEngine(False, None, True, True), "are here", "make clean"),
    ],
)
def test_native_engine_that_is_not_there_is_told_with_what_is_missing(
    native: NativeEngine, seen: str, to_do: str
) -> None:
    """Without the compiled engine the line names what building it lacks, and the command."""
    found = check_of(machine(native=native), "engine native")

    assert seen in found.seen
    assert to_do in found.to_do
    assert found.status == ("ok" if not to_do else "note")


def test_missing_sysv_ipc_is_one_problem_and_not_two() -> None:
    """Without the package sysv_ipc, msgget's line is the problem, and the engine's line says what to install."""
    versions = {**ENVIRONMENT["versions"], "sysv_ipc": None}
    missing = Support(available=False, cause="no-sysv-ipc", explanation="not installed", hint="pip install sysv_ipc")
    seen = machine(support=missing, environment={"versions": versions})

    found = check_of(seen, "engine python")

    assert (found.status, found.to_do) == ("note", "pip install sysv_ipc")
    assert [check.name for check in judge(seen) if check.status == "problem"] == ["msgget"]


def test_leftovers_are_told_from_queues_of_others_and_from_those_in_use() -> None:
    """Of our keys, a queue whose users are gone comes with its ipcrm; one that a live process used does not."""
    seen = machine(
        queues=(
            queue(id=1, key=0x4D50FFFF),
            queue(id=2, key=0x4D510000, messages=12, last_send_pid=77),
            queue(id=3, key=0x4D51FFFF, messages=1, last_send_pid=77, last_receive_pid=88),
            queue(id=4, key=0x4D520000),
        ),
        alive_pids=frozenset({88}),
    )

    found = check_of(seen, "leftover queues")

    assert found.status == "note"
    assert found.seen.splitlines() == [
        "id 2, key 0x4d510000, 12 messages; whoever used it last is gone",
        "id 3, key 0x4d51ffff, 1 message; process 88 used it and is alive: perhaps a run",
    ]
    assert found.to_do == "ipcrm -q 2"


def test_vagrant_matters_only_where_there_is_no_msgget() -> None:
    """A missing Vagrant is a note, with something to do only where the machine has no queues of its own."""
    here = check_of(machine(has_vagrant=False), "vagrant")
    elsewhere = check_of(machine(has_vagrant=False, support=NO_MSGGET), "vagrant")

    assert (here.status, here.to_do) == ("note", "")
    assert "vagrant up" in elsewhere.to_do


def test_report_of_this_machine_goes_into_json() -> None:
    """On this machine, which can run the harness, the report has every check, a schema, and goes through JSON."""
    report = examine()

    stored = json.loads(json.dumps(report.to_json(), allow_nan=False))

    assert stored["schema"] == "harness.doctor/1"
    assert stored["exit_status"] == report.exit_status == 0
    assert [check["name"] for check in stored["checks"]] == [check.name for check in report.checks]
    assert set(stored["checks"][0]) == {"name", "status", "seen", "to_do"}
    assert stored["environment"]["kernel_release"] == os.uname().release
    assert all(check.seen for check in report.checks)


def test_module_that_does_not_load_is_told_without_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A native module that is there and fails to import is told from one that was not built, and no path is shown."""
    (tmp_path / "_native.py").write_text(
        "raise ImportError(f'{__file__}: undefined symbol: PyOld', name=__name__, path=__file__)"
    )
    monkeypatch.setattr(engines, "__path__", [str(tmp_path)])
    monkeypatch.delitem(sys.modules, "harness.engines._native", raising=False)

    native = _native_engine()

    assert native.built
    assert native.load_error == "harness.engines._native: undefined symbol: PyOld"


def test_module_that_was_not_built_is_told_with_what_building_lacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the module, and without a C compiler on the PATH, both are seen."""
    monkeypatch.setattr(engines, "__path__", [str(tmp_path)])
    monkeypatch.delitem(sys.modules, "harness.engines._native", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)

    native = _native_engine()

    assert (native.built, native.load_error, native.has_compiler) == (False, None, False)


def test_nobody_and_a_process_that_ended_are_not_alive() -> None:
    """This process is alive; 0, which stands for nobody, is not, nor is a process that ended."""
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()

    assert [_is_alive(pid) for pid in (os.getpid(), 0, ended.pid)] == [True, False, False]


def test_process_is_alive_also_when_it_is_somebody_elses(as_user: OrdinaryUser) -> None:
    """An ordinary user, who may not send a signal to process 1, sees that it is alive."""
    done = as_user.python("from harness.experiments.doctor import _is_alive; print(_is_alive(1))")

    assert done.stdout == "True\n", done.stderr


@pytest.mark.private_ipc
def test_leftover_of_a_dead_process_is_to_go_and_what_a_live_one_used_is_not() -> None:
    """Of two real queues, one used by a process that ended and one by a live one, only the first is to be removed."""
    used, left = Queue.create(0x4D510001), Queue.create(0x4D510002)
    used.send(b"x")
    child = os.fork()
    if child == 0:
        left.send(b"y")
        os._exit(0)
    os.waitpid(child, 0)

    found = check_of(observe(), "leftover queues")

    assert found.seen.splitlines() == [
        f"id {used.id}, key 0x4d510001, 1 message; process {os.getpid()} used it and is alive: perhaps a run",
        f"id {left.id}, key 0x4d510002, 1 message; whoever used it last is gone",
    ]
    assert found.to_do == f"ipcrm -q {left.id}"


@pytest.mark.private_ipc
def test_examination_leaves_the_namespace_as_it_was() -> None:
    """Looking creates no queue that stays, changes no limit, and moves the caller into no other namespace."""
    before = namespace_state()

    examine()

    assert namespace_state() == before


def test_machine_with_a_filter_before_msgget_is_a_problem(no_msgget: tuple[str, ...], repository: Path) -> None:
    """Under a real seccomp filter the doctor still reports on everything, and ends with exit status 3."""
    code = "import json; from harness.experiments.doctor import examine; print(json.dumps(examine().to_json()))"

    done = subprocess.run(
        [*no_msgget, sys.executable, "-c", code],
        cwd=repository,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    stored = json.loads(done.stdout)
    checks = {check["name"]: check for check in stored["checks"]}
    assert stored["exit_status"] == 3
    assert [name for name, check in checks.items() if check["status"] == "problem"] == ["msgget"]
    assert "ENOSYS" in checks["msgget"]["seen"]
    assert checks["private namespace"]["seen"] == "not tried, as there are no message queues"
    assert len(checks) == len(judge(GOOD))


def test_ordinary_user_gets_a_report_too(as_user: OrdinaryUser) -> None:
    """Without root's rights the doctor reports as well, and says how a private namespace is had or why not."""
    code = "import json; from harness.experiments.doctor import examine; print(json.dumps(examine().to_json()))"

    done = as_user.python(code)

    assert done.returncode == 0, done.stderr
    stored = json.loads(done.stdout)
    (found,) = [check for check in stored["checks"] if check["name"] == "private namespace"]
    assert stored["exit_status"] == 0
    assert ("with a user namespace" in found["seen"]) == (found["status"] == "ok")


def test_keys_of_leftovers_are_those_that_runs_use() -> None:
    """The doctor looks for the keys that a run's leader gives to its queues."""
    assert leader.KEYS == VISIBLE_KEYS
