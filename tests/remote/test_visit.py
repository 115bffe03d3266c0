"""A visit to the VM: what comes back, and that nothing stays when it is interrupted, cut, or never began."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import select
import signal
import sys
import time
from typing import TYPE_CHECKING

import pytest

from tests.remote.conftest import wait_for

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable
    from pathlib import Path

    from tests.remote.conftest import Done, StandIn

LOAD = ("-m", "harness", "--vm", "load", "--rate", "1k", "--warmup", "0s", "--json", "out.json")
VISIT = """
import sys
from pathlib import Path
from harness.remote.vagrant import connect
from harness.remote.visit import Visit
from harness.sysv.errors import HarnessError

try:
    with Visit(connect(Path.cwd()), []) as visit:
        sys.exit(visit.run(["-c", sys.argv[1]]))
except HarnessError as error:
    sys.exit(f"{error.exit_status}: {error} ({error.hint})")
"""


def test_status_and_streams_are_carried_over(vm: StandIn, host: Callable[..., Done]) -> None:
    """What the command writes, byte for byte and stream by stream, and its exit status are as at home."""
    code = "import sys; print('to out \\u00e4'); print('to err', file=sys.stderr); sys.exit(7)"

    done = host("-c", VISIT, code)

    assert (done.out, done.err, done.status) == ("to out ä\n", "to err\n", 7)
    assert vm.left() == []


@pytest.mark.parametrize(
    ("code", "status"), [("import os; os.kill(os.getpid(), 9)", 137), ("raise SystemExit(255)", 254)]
)
def test_a_status_that_ssh_has_for_itself(host: Callable[..., Done], code: str, status: int) -> None:
    """A command that was killed has the shell's status for it, and 255 is left to ssh, which means: no connection."""
    assert host("-c", VISIT, code).status == status


def test_what_a_command_left_running_is_ended(vm: StandIn, host: Callable[..., Done]) -> None:
    """A process that the command forgot, in a session of its own, is gone when the visit is over."""
    forgotten = "import subprocess; subprocess.Popen(['sleep', '600'], start_new_session=True)"

    done = host("-c", VISIT, forgotten)

    assert done.status == 0
    assert vm.processes() == []


def test_a_vm_that_is_not_provisioned(vm: StandIn, host: Callable[..., Done]) -> None:
    """Where the provisioner did not come to its end, the next command is said."""
    (vm.folder / "home" / "venv" / "built-from").unlink()

    done = host("-c", VISIT, "")

    assert done.err == "3: the VM is not provisioned, or not to the end (vagrant provision)\n"


def test_a_vm_with_another_harness(vm: StandIn, host: Callable[..., Done], repository: Path) -> None:
    """A VM whose harness has other sources is not used: its figures would be called this version's."""
    other = vm.folder / "home" / "older"
    (other / "harness").mkdir(parents=True)
    for name in ("__init__.py", "remote", "sysv"):
        (other / "harness" / name).symlink_to(repository / "harness" / name)
    python = vm.folder / "home" / "venv" / "bin" / "python"
    python.write_text(f'#!/bin/sh\nPYTHONPATH={other} exec {sys.executable} "$@"\n')

    done = host("-c", VISIT, "")

    assert "provisioned by another version" in done.err
    assert "vagrant rsync, then vagrant provision" in done.err
    assert done.err.startswith("3: ")
    assert vm.left() == []


def test_a_vm_from_before_there_were_visits(vm: StandIn, host: Callable[..., Done]) -> None:
    """A VM whose harness does not know this way yet is told as one of another version, too."""
    python = vm.folder / "home" / "venv" / "bin" / "python"
    python.write_text("#!/bin/sh\necho \"python: No module named 'harness.remote'\" >&2\nexit 1\n")

    done = host("-c", VISIT, "")

    assert "provisioned by another version" in done.err
    assert "No module named" in done.err


def test_ssh_that_does_not_get_in(vm: StandIn, host: Callable[..., Done]) -> None:
    """A VM that runs without SSH: ssh's own words, and the next command."""
    vm.is_("unreachable")

    done = host("-c", VISIT, "")

    assert "3: the VM runs, but SSH does not get in: ssh: connect to host" in done.err
    assert "(vagrant reload)" in done.err


def test_ctrl_c_without_a_terminal(vm: StandIn, going: Callable[..., subprocess.Popen[str]]) -> None:
    """Ctrl-C reaches the run in the VM, which tells and saves what it has; the file comes, and the status is 130."""
    process = going(*LOAD, "--duration", "60s")
    wait_for(lambda: len(vm.processes()) > 4)

    os.killpg(process.pid, signal.SIGINT)
    out, _ = process.communicate(timeout=15)

    assert process.returncode == 130
    assert "ledger" in out
    assert '"complete": false' in (vm.project / "out.json").read_text()
    assert vm.processes() == []
    assert vm.left() == []


@pytest.mark.parametrize("stubborn", [False, True])
def test_a_cut_connection(vm: StandIn, going: Callable[..., subprocess.Popen[str]], stubborn: bool) -> None:
    """When ssh is cut in the middle, the truth is told, the status is 1, and nothing goes on in the VM."""
    ignore = "signal.signal(signal.SIGHUP, signal.SIG_IGN);" if stubborn else ""
    process = going(
        "-c", VISIT, f"import signal, sys; {ignore} print('begun', flush=True); signal.pause(); signal.pause()"
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"

    vm.is_("poweroff")
    os.kill(vm.ssh_pids()[-1], signal.SIGKILL)
    _, err = process.communicate(timeout=15)

    assert process.returncode == 1
    assert "the connection to the VM broke off" in err
    assert "the VM is halted (poweroff)" in err
    wait_for(lambda: not vm.processes())
    assert vm.left() == []


def test_a_host_that_is_killed(vm: StandIn, going: Callable[..., subprocess.Popen[str]]) -> None:
    """When the host's command is killed with SIGKILL, what it started in the VM ends."""
    process = going(*LOAD, "--duration", "60s")
    wait_for(lambda: len(vm.processes()) > 4)

    process.kill()

    wait_for(lambda: not vm.processes())
    assert vm.left() == []


class Terminal:
    """A terminal on which a command of the host runs."""

    def __init__(self, vm: StandIn, *arguments: str) -> None:
        self.pid, self._master = pty.fork()
        if self.pid == 0:
            os.chdir(vm.project)
            signal.signal(signal.SIGINT, signal.default_int_handler)
            os.execve(sys.executable, [sys.executable, "-P", *arguments], {**vm.env, "TERM": "xterm-256color"})
        self.text = ""

    def read(self) -> bool:
        """Read what there is; whether there can be more."""
        if not select.select([self._master], [], [], 0.05)[0]:
            return True
        with contextlib.suppress(OSError):
            data = os.read(self._master, 65536)
            self.text += data.decode(errors="replace")
            return bool(data)
        return False

    def wait_for(self, pattern: str, limit_s: float = 20.0) -> None:
        """Until the screen has had that on it."""
        deadline_s = time.monotonic() + limit_s
        while not re.search(pattern, self.text):
            assert self.read(), self.text
            assert time.monotonic() < deadline_s, self.text

    def type(self, keys: str) -> None:
        """Press keys."""
        os.write(self._master, keys.encode())

    def end(self) -> int:
        """Read to the end; the exit status."""
        while self.read():
            pass
        os.close(self._master)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def test_the_live_view_and_ctrl_c_on_a_terminal(vm: StandIn) -> None:
    """On a terminal the run in the VM has one too: it draws its live view, and Ctrl-C ends it with what it has."""
    terminal = Terminal(vm, *LOAD, "--duration", "60s")
    terminal.wait_for("\x1b\\[")
    wait_for(lambda: terminal.read() and len(vm.processes()) > 4)

    terminal.type("\x03")

    assert terminal.end() == 130
    assert '"complete": false' in (vm.project / "out.json").read_text()
    assert vm.processes() == []
    assert vm.left() == []


def test_pytest_has_the_terminal(vm: StandIn, lab: Path) -> None:
    """pytest in the VM writes to a terminal too, with its colours; pytest here has given back what it held of it."""
    terminal = Terminal(vm, "-m", "pytest", "labs/", "--vm", "--solutions")

    assert terminal.end() == 0
    assert re.search("\x1b\\[.*2 passed", terminal.text)
    assert vm.left() == []


def test_a_cut_connection_on_a_terminal(vm: StandIn) -> None:
    """When the connection of a terminal is cut, its far side is hung up: nothing goes on in the VM, and it is told."""
    terminal = Terminal(vm, *LOAD, "--duration", "60s")
    wait_for(lambda: terminal.read() and len(vm.processes()) > 4)

    os.kill(vm.ssh_pids()[-1], signal.SIGKILL)

    assert terminal.end() == 1
    assert "the connection to the VM broke off" in terminal.text
    wait_for(lambda: not vm.processes())
    assert vm.left() == []
