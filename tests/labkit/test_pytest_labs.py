"""What `pytest labs/` means: not started, wrong, done; its options, its last line, its exit status, where it runs."""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
import textwrap
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from harness.sysv import Limits, queues

if TYPE_CHECKING:
    from tests.conftest import OrdinaryUser
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
def lab(labs: Labs) -> Path:
    return labs.add("01_one", checks=CHECKS, starter=STARTER, solution=SOLUTION)


@pytest.mark.parametrize("options", [(), ("-n", "2")], ids=["alone", "under xdist"])
def test_a_fresh_lab_is_not_started(options: tuple[str, ...], labs: Labs, lab: Path) -> None:
    """lab.py is made from starter.py, one line says so, every check is "not started", and the status is 0."""
    found = labs.run("labs", *options)

    assert found.last_line == "3 not started"
    assert found.status == 0
    assert "labs: lab.py made from starter.py in 01_one\nlabs: lab.py is yours, and never overwritten" in found.text
    assert (lab / "lab.py").read_text() == (lab / "starter.py").read_text()
    assert re.search(r"^01_one +not started", found.text, re.MULTILINE)
    assert "next: labs/01_one/README.md, then labs/01_one/lab.py" in found.text


@pytest.mark.parametrize("options", [(), ("-n", "2")], ids=["alone", "under xdist"])
def test_a_lab_in_progress_is_counted_in_tasks(options: tuple[str, ...], labs: Labs, lab: Path) -> None:
    """One task done of two: "1 passed, 2 not started", status 0, and the next step names the open task."""
    (lab / "lab.py").write_text(HALF)

    found = labs.run("labs", *options)

    assert found.last_line == "1 passed, 2 not started"
    assert found.status == 0
    assert re.search(r"^01_one +in progress 1/2 ", found.text, re.MULTILINE)
    assert "next: task 1.2 in labs/01_one/lab.py; a hint: harness lab hint 1.2" in found.text


def test_wrong_code_is_red(labs: Labs, lab: Path) -> None:
    """Wrong code fails, with status 1, and its task is not done."""
    (lab / "lab.py").write_text(WRONG)

    found = labs.run("labs")

    assert found.last_line == "2 failed, 1 passed"
    assert found.status == 1
    assert re.search(r"^01_one +in progress 1/2 ", found.text, re.MULTILINE)


def test_the_four_lines_fit_the_terminal(labs: Labs, lab: Path) -> None:
    """On 80 columns a long answer is broken at words, indented below its beginning; JUnit XML has it whole."""
    long = "a reason that goes on " * 8
    (lab / "test_lab.py").write_text((lab / "test_lab.py").read_text().replace("it is not 2", long))
    (lab / "lab.py").write_text(WRONG)

    found = labs.run("labs", "--junit-xml", "junit.xml", env={"COLUMNS": "80"})

    told = re.search(r"^because: a reason that goes on a reason.*(?:\n {9}\w.*)+", found.text, re.MULTILINE)
    assert told is not None, found.text
    assert max(map(len, told[0].splitlines())) <= 80
    assert f"because: {long.strip()}" in (labs.root / "junit.xml").read_text()


def test_a_lab_that_is_done(labs: Labs, lab: Path) -> None:
    """All checks pass: the lab is done, status 0."""
    (lab / "lab.py").write_text(SOLUTION)

    found = labs.run("labs")

    assert found.last_line == "3 passed"
    assert found.status == 0
    assert re.search(r"^01_one +done", found.text, re.MULTILINE)


def test_lab_py_is_never_overwritten(labs: Labs, lab: Path) -> None:
    """A lab.py that is there stays to the byte, whatever runs."""
    (lab / "lab.py").write_text("# mine\n")

    for options in ((), ("--solutions",), ("--grade",), ("-n", "2")):
        labs.run("labs", *options)

    assert (lab / "lab.py").read_text() == "# mine\n"


def test_solutions_checks_the_solution(labs: Labs, lab: Path) -> None:
    """--solutions checks solution.py, and makes no lab.py."""
    found = labs.run("labs", "--solutions")

    assert found.last_line == "3 passed"
    assert not (lab / "lab.py").exists()


@pytest.mark.parametrize("option", ["--grade", "--solutions"])
def test_an_open_todo_is_red_for_teachers(option: str, labs: Labs, lab: Path) -> None:
    """--grade and --solutions take an open todo for wrong, and name it."""
    (lab / "lab.py").write_text(HALF)
    (lab / "solution.py").write_text(HALF)

    found = labs.run("labs", option)

    assert found.last_line == "2 failed, 1 passed"
    assert found.status == 1
    assert "saw:     task 1.2 give two is still open" in found.text


def test_lab_file_checks_that_file(labs: Labs, lab: Path) -> None:
    """--lab-file checks any file, by a path as it is typed, also from another folder."""
    (labs.root / "theirs.py").write_text(WRONG)

    from_root = labs.run("labs/01_one", "--lab-file", "theirs.py")
    from_lab = labs.run("--lab-file", "../../theirs.py", cwd=lab)

    assert from_root.last_line == from_lab.last_line == "2 failed, 1 passed"


def test_a_lab_file_that_is_not_there(labs: Labs, lab: Path) -> None:
    """--lab-file with a wrong path is one line and status 4, pytest's for a wrong command line."""
    found = labs.run("labs", "--lab-file", "nothing.py")

    assert "--lab-file nothing.py: there is no such file" in found.text
    assert "Traceback" not in found.text
    assert found.status == 4


def test_from_inside_a_lab_and_by_node_id(labs: Labs, lab: Path) -> None:
    """`pytest` in a lab's folder checks that lab; a node id checks that check, and the line says that only some ran."""
    (lab / "lab.py").write_text(SOLUTION)

    inside = labs.run(cwd=lab)
    one = labs.run("labs/01_one/test_lab.py::test_one")

    assert inside.last_line == "3 passed"
    assert one.last_line == "1 passed"
    assert "(1 of 3 checks ran)" in one.text


def test_other_tests_are_left_alone(labs: Labs) -> None:
    """A test that belongs to no lab runs as ever, and nothing is said of labs."""
    (labs.root / "test_other.py").write_text("def test_other(): assert True\n")

    found = labs.run("test_other.py")

    assert found.last_line == "1 passed"
    assert "labs:" not in found.text


def test_a_swallowed_todo_is_still_not_started(labs: Labs, lab: Path) -> None:
    """A bare `except:` cannot hide a todo, nor make a check pass or fail."""
    swallows = """
    from harness.labkit import todo

    def one() -> int:
        try: todo("1.1 give one")
        except: pass
        return 1

    def two() -> int:
        try: todo("1.2 give two")
        except: pass
        return 99
    """
    (lab / "lab.py").write_text(textwrap.dedent(swallows))

    found = labs.run("labs")

    assert found.last_line == "3 not started"


def test_a_program_that_meets_a_todo_is_not_started(labs: Labs) -> None:
    """A todo in a program that a check started, or in a child of it, is seen; the program ends with status 77."""
    checks = """
    @task("1.1")
    def test_program(stage):
        \"\"\"The program says hello.\"\"\"
        program = stage.run()
        assert program.wait() == 77
        program.wait_for("hello")
    """
    starter = """
    import os
    from harness.labkit import todo
    if __name__ == "__main__":
        pid = os.fork()
        if pid == 0:
            try:
                todo("1.1 say hello")
            finally:
                os._exit(0)
        os.waitpid(pid, 0)
        todo("1.1 say hello")
    """
    labs.add("01_one", checks=checks, starter=starter)

    found = labs.run("labs")

    assert found.last_line == "1 not started"


def test_junit_xml_is_pytests(labs: Labs, lab: Path) -> None:
    """JUnit XML has every check; what is not started is skipped there, with that word."""
    (lab / "lab.py").write_text(HALF)

    labs.run("labs", "--junit-xml", "junit.xml")

    cases = ET.parse(labs.root / "junit.xml").getroot().findall(".//testcase")
    skipped = [case.find("skipped") for case in cases]
    assert [case.get("name") for case in cases] == ["test_one", "test_two", "test_two_again"]
    words = [None if mark is None else mark.get("message") for mark in skipped]
    assert words == [None, *["not started: 1.2 give two"] * 2]


@pytest.mark.parametrize("options", [(), ("-n", "2")], ids=["alone", "under xdist"])
def test_the_report_has_every_check(options: tuple[str, ...], labs: Labs, lab: Path) -> None:
    """--lab-report: schema, kit, learner, the hash of lab.py; for each check passed, because and a hint."""
    (lab / "lab.py").write_text(HALF.replace("return 1", "return 0"))

    labs.run("labs", "--lab-report", "report.json", "--learner", "Ada <L>", *options)

    report = json.loads((labs.root / "report.json").read_text())
    (one,) = report["labs"]
    assert report["schema"] == "harness.lab-report/1"
    assert report["learner"] == "Ada <L>"
    assert report["kit"]
    assert one["sha256"] == hashlib.sha256((lab / "lab.py").read_bytes()).hexdigest()
    assert (one["lab"], one["tasks"], one["tasks_done"]) == ("01_one", 2, 0)
    keys = ("name", "task", "state", "passed", "because")
    assert [tuple(check[key] for key in keys) for check in one["checks"]] == [
        ("test_one", "1.1", "failed", False, "it is not 1"),
        ("test_two", "1.2", "not started", None, "not started: 1.2 give two"),
        ("test_two_again", "1.2", "not started", None, "not started: 1.2 give two"),
    ]
    assert one["checks"][0]["description"] == "`one` gives 1."
    assert one["checks"][0]["hint"] == "harness lab hint 1.1"


def test_a_report_that_cannot_be_written_is_told_before_the_run(labs: Labs, lab: Path) -> None:
    """--lab-report into a folder that is not there: one line, status 4, and nothing runs."""
    found = labs.run("labs", "--lab-report", "nowhere/report.json")

    assert "does not exist" in found.text
    assert found.status == 4
    assert "Traceback" not in found.text


def test_a_report_lost_on_a_full_disk_fails_the_run(labs: Labs, lab: Path) -> None:
    """When the report cannot be saved after all, a line says so and the status is 1."""
    (lab / "lab.py").write_text(SOLUTION)

    found = labs.run("labs", "--lab-report", "/dev/full")

    assert "the result was not saved" in found.text
    assert found.status == 1


def test_without_message_queues_nothing_ran(labs: Labs, lab: Path, no_msgget: tuple[str, ...]) -> None:
    """Where msgget answers ENOSYS: the header says why, checks are skipped with that reason, the status is not 0."""
    found = labs.run("labs", before=no_msgget)

    assert "labs: no message queues here: the kernel answered msgget ENOSYS" in found.text
    assert "allow msgget, msgsnd, msgrcv and msgctl" in found.text
    assert found.last_line == "3 skipped"
    assert found.status == 5
    assert re.search(r"^01_one +cannot run here", found.text, re.MULTILINE)
    assert "Traceback" not in found.text


def test_a_check_about_a_machine_without_queues_runs_there(labs: Labs, no_msgget: tuple[str, ...]) -> None:
    """`@needs_no_queues` lets a check run where msgget answers ENOSYS."""
    checks = CHECKS.replace('@task("1.1")', '@task("1.1")\n@needs_no_queues')
    labs.add("01_one", checks=checks, starter=STARTER, mine=SOLUTION)

    found = labs.run("labs", before=no_msgget)

    assert found.last_line == "1 passed, 2 skipped"
    assert found.status == 0
    assert re.search(r"^01_one +done here", found.text, re.MULTILINE)
    assert "next: task" not in found.text


@pytest.mark.parametrize("system", ["darwin", "win32"])
def test_elsewhere_checks_are_listed_and_skipped(system: str, labs: Labs, lab: Path) -> None:
    """On a system that is no Linux what only Linux has is not imported, and each check is skipped with the way out."""
    hidden = ["sysv_ipc", "posix_ipc", "fcntl", "resource", "termios", "pwd", "grp"]
    (labs.root / "elsewhere.py").write_text(
        f"import os, pytest, signal, sys\n"
        f"for name in {hidden}: sys.modules[name] = None\n"
        f"for name in ('fork', 'pidfd_open'): delattr(os, name)\n"
        f"for name in ('SIGALRM', 'SIGXCPU'): delattr(signal, name)\n"
        f"import ctypes\n"
        f"ctypes.CDLL = None\n"
        f"sys.exit(pytest.main(sys.argv[4:]))\n"
    )
    # Not at once: pytest itself asks, when it begins, what it has at hand on that system.
    (labs.root / "conftest.py").write_text(
        f"import sys, sysconfig\nsysconfig.get_config_vars()\nsys.platform = {system!r}\n"
    )

    found = labs.run("labs", before=[sys.executable, "elsewhere.py"])

    assert "vagrant up" in found.text
    assert "Traceback" not in found.text
    assert found.last_line == "3 skipped"
    assert found.status == 5


def test_a_folder_that_cannot_be_written_is_told(open_labs: Labs, as_user: OrdinaryUser) -> None:
    """Where lab.py cannot be made: one line with the way out, status 4, and nothing half written."""
    lab = open_labs.add("01_one", checks=CHECKS, starter=STARTER, solution=SOLUTION)
    lab.chmod(0o555)

    done = as_user.run(sys.executable, "-m", "pytest", "-p", "no:cacheprovider", str(open_labs.folder))

    lab.chmod(0o755)
    assert "lab.py cannot be made from starter.py" in done.stdout + done.stderr
    assert "work in a copy of the project" in done.stdout + done.stderr
    assert done.returncode == 4
    assert not (lab / "lab.py").exists()


GROUND = """
from pathlib import Path
from harness.sysv import Limits, queues

@task("1.1")
def test_ground(lab):
    \"\"\"The check stands on ground of its own.\"\"\"
    made = sysv_ipc.MessageQueue(0x3034, sysv_ipc.IPC_CREX, 0o200)
    with pytest.raises(sysv_ipc.PermissionsError):
        made.receive(block=False)
    made.remove()
    assert Path("/proc/self/ns/ipc").readlink() != Path(os.environ["CALLERS_NAMESPACE"])
    assert str(Limits.read()) == os.environ["CALLERS_LIMITS"]
    Limits.write(msgmni=3)
    caps = [line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("CapEff")]
    harmless = 1 << 2 | 1 << 31  # CAP_DAC_READ_SEARCH, CAP_SETFCAP
    assert int(caps[0], 16) & ~harmless == 0
    again = subprocess.run(["grep", "CapEff", "/proc/self/status"], capture_output=True, text=True).stdout.split()
    assert int(again[1], 16) & ~harmless == 0
"""


@pytest.mark.parametrize("options", [(), ("-n", "2")], ids=["alone", "under xdist"])
@pytest.mark.parametrize("ordinary", [False, True], ids=["as the caller", "as an ordinary user"])
def test_a_check_stands_on_its_own_ground(
    options: tuple[str, ...],
    ordinary: bool,
    open_labs: Labs,
    as_user: OrdinaryUser,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """A private namespace with the host's limits, which may be changed there, and no privileges: EACCES is real."""
    open_labs.add("01_one", checks=GROUND, starter="", mine="")
    env = {
        "CALLERS_NAMESPACE": str(Path("/proc/self/ns/ipc").readlink()),
        "CALLERS_LIMITS": str(Limits.read()),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    prefix = as_user.prefix if ordinary else ()
    (open_labs.root / "any").mkdir()
    (open_labs.root / "any").chmod(0o777)

    found = open_labs.run("labs", *options, "--basetemp", str(open_labs.root / "any" / "tmp"), before=prefix, env=env)

    assert found.last_line == "1 passed", found.text


def test_shared_queues_are_the_callers(labs: Labs) -> None:
    """--shared-queues runs checks on this machine's own queues, says so, and removes what a check left there."""
    key = 0x5E570000 + os.getpid() % 0xFFFF
    checks = f"""
    @task("1.1")
    def test_leaks(lab):
        \"\"\"A queue is left.\"\"\"
        sysv_ipc.MessageQueue({key}, sysv_ipc.IPC_CREX)
        assert os.readlink("/proc/self/ns/ipc") == os.environ["CALLERS_NAMESPACE"]
    """
    labs.add("01_one", checks=checks, starter="", mine="")

    found = labs.run("labs", "--shared-queues", env={"CALLERS_NAMESPACE": str(Path("/proc/self/ns/ipc").readlink())})

    assert "on this machine's own queues, one check at a time" in found.text
    assert f"your code had left 1 queue behind: 0x{key:08x}" in found.text
    assert key not in [queue.key for queue in queues()]


def test_in_process_is_not_forked(labs: Labs) -> None:
    """--in-process runs checks in pytest's own process, for a debugger, and says that nobody watches."""
    checks = """
    @task("1.1")
    def test_process(lab):
        \"\"\"The check runs in pytest's process.\"\"\"
        assert os.getpid() == int(os.environ["PYTEST_PID"])
    """
    labs.add("01_one", checks=checks, starter="", mine="")
    (labs.root / "conftest.py").write_text("import os\nos.environ['PYTEST_PID'] = str(os.getpid())\n")

    found = labs.run("labs", "--in-process")

    assert found.last_line == "1 passed"
    assert "nobody watches for hangs" in found.text


def test_what_the_machine_cannot_stage_is_skipped_with_the_reason(labs: Labs) -> None:
    """CannotStageError in a check is a skip that tells the reason, and no failure of the learner's."""
    checks = """
    @task("1.1")
    def test_stage(lab):
        \"\"\"Something is staged.\"\"\"
        from harness.labkit.ground import CannotStageError
        raise CannotStageError("no moon tonight")
    """
    labs.add("01_one", checks=checks, starter="", mine="")

    found = labs.run("labs")

    assert found.last_line == "1 skipped"
    assert "no moon tonight" in found.text
    assert found.status == 5


def test_a_network_of_its_own(labs: Labs) -> None:
    """`@own_network`: port 9999 is free in two checks at once, and the loopback works."""
    checks = """
    import socket

    @task("1.1")
    @own_network
    @pytest.mark.parametrize("time", [1, 2])
    def test_port(lab, time):
        \"\"\"Port 9999 is free.\"\"\"
        server = socket.create_server(("127.0.0.1", 9999))
        socket.create_connection(("127.0.0.1", 9999)).close()
        assert not [line for line in open("/proc/net/udp").readlines()[1:]]
    """
    labs.add("01_one", checks=checks, starter="", mine="")

    found = labs.run("labs", "-n", "2")

    assert found.last_line == "2 passed", found.text


def test_another_users_queue(labs: Labs) -> None:
    """The fixture foreign_queue makes a queue of another user, which a check may look at and not remove."""
    checks = """
    @task("1.1")
    def test_foreign(lab, foreign_queue):
        \"\"\"Another user's queue.\"\"\"
        id = foreign_queue(0x3034, mode=0o644, payloads=[b"theirs"])
        queue = sysv_ipc.MessageQueue(0x3034, 0, 0)
        assert (queue.id, queue.uid, queue.cuid) == (id, 65534, 65534)
        assert queue.receive() == (b"theirs", 1)
        with pytest.raises(sysv_ipc.PermissionsError):
            queue.send(b"x")
        with pytest.raises(sysv_ipc.PermissionsError):
            queue.remove()
    """
    labs.add("01_one", checks=checks, starter="", mine="")

    found = labs.run("labs")

    if os.geteuid() == 0:
        assert found.last_line == "1 passed", found.text
    else:
        assert "only root can make a queue that belongs to another user" in found.text


def test_an_interrupt_ends_all(labs: Labs) -> None:
    """Ctrl-C in the middle of a check ends pytest at once and the check's process with it."""
    checks = f"""
    @task("1.1")
    @limit(60)
    def test_waits(lab):
        \"\"\"It waits.\"\"\"
        os.chdir({str(labs.folder)!r})
        os.kill(int(os.environ["PYTEST_PID"]), signal.SIGINT)
        signal.pause()
    """
    labs.add("01_one", checks=checks, starter="", mine="")
    (labs.root / "conftest.py").write_text("import os\nos.environ['PYTEST_PID'] = str(os.getpid())\n")

    found = labs.run("labs", timeout_s=20)

    assert found.status == 2
    standing = [entry for entry in Path("/proc").glob("[0-9]*") if _cwd(entry) == str(labs.folder)]
    assert standing == []


def _cwd(entry: Path) -> str:
    try:
        return str((entry / "cwd").readlink())
    except OSError:
        return ""
