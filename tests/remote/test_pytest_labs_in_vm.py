"""`pytest labs/` whose checks run in the VM, and reads as if they had run here."""

from __future__ import annotations

import json
import signal
import xml.etree.ElementTree as ET
from typing import TYPE_CHECKING

import pytest

from tests.remote.conftest import wait_for

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable
    from pathlib import Path

    from tests.remote.conftest import Done, StandIn

WRONG = """
def answer():
    return 41


def fill(queue):
    queue.send(b"words", type=1)
"""


def test_on_another_system(vm: StandIn, host: Callable[..., Done], lab: Path, macos: dict[str, str]) -> None:
    """On macOS the checks run in the VM by themselves: results, assertion texts, summary, reports and status."""
    (lab / "lab.py").write_text(WRONG)

    done = host("-m", "pytest", "labs/", "--junitxml=junit.xml", "--lab-report", "report.json", **macos)

    assert done.status == 1
    assert "labs: no message queues here (macos): in the VM msgq" in done.err
    assert "saw:     answer() is 41" in done.out
    assert "1 failed, 1 passed" in done.out
    assert "= labs =" in done.out
    cases = list(ET.parse(vm.project / "junit.xml").iter("testcase"))
    assert {case.get("name"): case.find("failure") is None for case in cases} == {
        "test_answer": False,
        "test_queue": True,
    }
    found = json.loads((vm.project / "report.json").read_text())["labs"][0]["checks"]
    assert [check["state"] for check in found] == ["failed", "passed"]
    assert vm.left() == []
    assert (lab / "lab.py").read_text() == WRONG


def test_where_the_calls_are_refused(
    vm: StandIn, host: Callable[..., Done], lab: Path, no_msgget: tuple[str, ...]
) -> None:
    """Linux without msgget goes into the VM that it has, and is left with its header line where it has none."""
    (lab / "lab.py").write_text((lab / "solution.py").read_text())

    there = host("-m", "pytest", "labs/", before=no_msgget)
    vm.is_("not_created")
    here = host("-m", "pytest", "labs/", before=no_msgget)

    # The filter is inherited by the stand-in too; what counts is where pytest ran.
    assert "harness-visit-" in there.out
    assert "labs: no message queues here (filter): in the VM msgq" in there.err
    assert "harness-visit-" not in here.out
    assert "labs: no message queues here: the kernel answered msgget ENOSYS" in here.out


def test_linux_with_queues_stays(vm: StandIn, host: Callable[..., Done], lab: Path) -> None:
    """Where there are queues, the VM is not even asked about, until --vm asks for it."""
    here = host("-m", "pytest", "labs/", "--solutions")
    asked_before = vm.calls()
    there = host("-m", "pytest", "labs/", "--solutions", "--vm")

    assert asked_before == []
    assert "harness-visit-" not in here.out
    assert "harness-visit-" in there.out
    assert (here.status, there.status) == (0, 0)
    assert "2 passed" in there.out


def test_a_missing_lab_py_is_made_here(vm: StandIn, host: Callable[..., Done], lab: Path) -> None:
    """The learner's lab.py is made in the host's checkout, where the editor is, and said; then it goes along."""
    done = host("-m", "pytest", "labs/", "--vm")

    assert "lab.py made from starter.py in 01_words" in done.err
    assert (lab / "lab.py").read_text() == (lab / "starter.py").read_text()
    assert "2 not started" in done.out
    assert "made from starter.py" not in done.out


def test_from_inside_a_lab_with_paths_and_names(vm: StandIn, host: Callable[..., Done], lab: Path) -> None:
    """Where one stands, absolute paths, single checks and a file from elsewhere mean in the VM what they mean here."""
    mine = vm.folder.parent / "mine.py"
    mine.write_text(WRONG)

    absolute = host("-m", "pytest", f"{lab}/test_lab.py::test_answer", "--vm", "--solutions", cwd=lab)
    relative = host("-m", "pytest", ".", "--vm", "--lab-file", str(mine), "--junitxml", "../../x.xml", cwd=lab)

    assert "1 passed" in absolute.out
    assert f"rootdir: {vm.folder}" in absolute.out
    assert "1 failed, 1 passed" in relative.out
    assert (vm.project / "x.xml").exists()
    assert not (lab / "lab.py").exists()


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ("not_created", "labs: the VM is not created yet\n  hint: vagrant up"),
        ("poweroff", "labs: the VM is halted (poweroff)\n  hint: vagrant up"),
        ("saved", "labs: the VM is suspended (saved)\n  hint: vagrant resume"),
        (
            "unreachable",
            "labs: the VM runs, but SSH does not get in: ssh: connect to host 127.0.0.1 port 2222: refused",
        ),
    ],
)
def test_an_obstacle(vm: StandIn, host: Callable[..., Done], lab: Path, state: str, words: str) -> None:
    """What is in the way is one line and the next command, with status 3; nothing has run."""
    vm.is_(state)

    done = host("-m", "pytest", "labs/", "--vm")

    assert done.status == 3
    assert words in done.err
    assert "Traceback" not in done.err
    assert "passed" not in done.out


def test_what_is_no_lab_is_not_sent(vm: StandIn, host: Callable[..., Done], lab: Path) -> None:
    """--vm with anything but one project's labs is a usage error, not a run of half of it."""
    (vm.project / "test_other.py").write_text("def test_other(): pass\n")

    done = host("-m", "pytest", "test_other.py", "labs/", "--vm")

    assert done.status == 4
    assert "--vm runs labs of one project" in done.err


@pytest.mark.parametrize("option", ["--help", "--version", "--markers", "--collect-only"])
def test_help_and_lists_stay_here(
    vm: StandIn, host: Callable[..., Done], lab: Path, no_msgget: tuple[str, ...], option: str
) -> None:
    """What runs no check needs no VM."""
    assert host("-m", "pytest", "labs/", option, before=no_msgget).status == 0
    assert vm.calls() == []


def test_with_xdist(vm: StandIn, host: Callable[..., Done], lab: Path) -> None:
    """Workers of pytest-xdist are workers in the VM, which is entered once."""
    done = host("-m", "pytest", "labs/", "--vm", "--solutions", "-n", "2")

    assert "2 passed" in done.out
    assert "2 workers" in done.out
    assert len(vm.calls()) == 1


def test_a_report_that_cannot_be_written(vm: StandIn, host: Callable[..., Done], lab: Path) -> None:
    """A report's place is looked at before anything runs."""
    done = host("-m", "pytest", "labs/", "--vm", "--lab-report", "nowhere/report.json")

    assert done.status == 4
    assert "nowhere" in done.err
    assert len(vm.ssh_pids()) == 0


def test_ctrl_c(vm: StandIn, going: Callable[..., subprocess.Popen[str]], lab: Path) -> None:
    """Ctrl-C ends pytest there as it does here, with its summary and its status, and nothing goes on in the VM."""
    (lab / "lab.py").write_text("import time\ndef answer():\n    print('begun', flush=True); time.sleep(60)\n")
    process = going("-m", "pytest", "labs/", "--vm", "-s")
    output = process.stdout
    assert output is not None
    wait_for(lambda: "begun" in output.readline())

    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=15)

    assert process.returncode == 2
    assert "KeyboardInterrupt" in out
    assert vm.processes() == []
    assert vm.left() == []
