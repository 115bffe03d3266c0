"""A stand-in for Vagrant and for ssh, on PATH: they answer as the real ones do, and the VM is a folder on this machine.

`vagrant` answers `ssh-config` and `status --machine-readable` as Vagrant 2.3.4 was seen to, for the state in the file
`state`; it notes each call. `ssh` runs the last word with a shell in the VM's home, on a terminal of its own with -tt,
and ends like ssh: with the command's status, or 255 where the connection is cut. When it ends, the far side hears it as
from sshd: its standard input ends, or its terminal is hung up.
"""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import textwrap
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

VAGRANT = """
import os, sys
from pathlib import Path
vm = Path(__file__).parents[1]
state = (vm / "state").read_text().strip()
with (vm / "calls").open("a") as calls:
    calls.write(f"{os.environ.get('VAGRANT_CWD', os.getcwd())} {' '.join(sys.argv[1:])}\\n")
if sys.argv[1:] == ["ssh-config"]:
    if state not in ("running", "unreachable"):
        sys.exit("The provider for this Vagrant-managed machine is reporting that it\\nis not yet ready for SSH.")
    print("Host msgq\\n  HostName 127.0.0.1\\n  User vagrant\\n  Port 2222\\n  UserKnownHostsFile /dev/null\\n"
          "  StrictHostKeyChecking no\\n  PasswordAuthentication no\\n  IdentityFile \\"/a folder/private_key\\"\\n"
          "  IdentitiesOnly yes\\n  LogLevel FATAL\\n")
elif sys.argv[1:] == ["status", "--machine-readable"]:
    if state == "broken":
        print("1795896683,,error-exit,Vagrant::Errors::VagrantfileLoadError,"
              "There is a syntax error%!(VAGRANT_COMMA) look:\\\\n\\\\nline 3")
        sys.exit(1)
    state = "running" if state == "unreachable" else state
    print("1795896683,msgq,metadata,provider,libvirt\\n1795896683,msgq,provider-name,libvirt\\n"
          f"1795896683,msgq,state,{state}\\n1795896683,msgq,state-human-short,{state}\\n"
          f"1795896683,,ui,info,Current machine states:\\\\n\\\\nmsgq {state} (libvirt)")
else:
    sys.exit("this stand-in does not know " + " ".join(sys.argv[1:]))
"""

SSH = """
import os, pty, select, signal, subprocess, sys, termios, threading, tty
from pathlib import Path
vm = Path(__file__).parents[1]
script, host = sys.argv[-1], sys.argv[-2]
options = sys.argv[1:-2]
assert options[:2] == ["-F", "none"] and host == "msgq", sys.argv
assert 'IdentityFile="/a folder/private_key"' in options and "BatchMode=yes" in options, sys.argv
with (vm / "connections").open("a") as file:
    file.write(f"{os.getpid()} {script.split(' guest ')[-1][:200]}\\n")
if (vm / "state").read_text().strip() != "running":
    sys.exit(subprocess.call(["sh", "-c", "echo ssh: connect to host 127.0.0.1 port 2222: refused >&2; exit 255"]))
env = {name: value for name, value in os.environ.items() if name == "TERM"}
env |= {"HOME": str(vm / "home"), "PATH": "/usr/bin:/bin", "IN_THE_VM": str(vm), "TMPDIR": str(vm / "tmp")}
command = ["/bin/sh", "-c", script]
if "-tt" in options:
    pid, master = pty.fork()
    if pid == 0:
        os.chdir(vm / "home")
        os.execve(command[0], command, env)
    before = termios.tcgetattr(0)
    tty.setraw(0)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(255))
    try:
        inputs = [0, master]
        while True:
            ready, _, _ = select.select(inputs, [], [])
            if 0 in ready and (data := os.read(0, 4096)):
                os.write(master, data)
            if master in ready:
                try:
                    data = os.read(master, 4096)
                except OSError:
                    break
                os.write(1, data)
    finally:
        termios.tcsetattr(0, termios.TCSADRAIN, before)
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
# As with sshd, the far side is no child that shares our end: only the pipe to it tells that we are gone.
far = subprocess.Popen(command, cwd=vm / "home", env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                       stderr=subprocess.PIPE, start_new_session=True)
def copy(source, target):
    while data := os.read(source.fileno(), 65536):
        os.write(target, data)
copies = [threading.Thread(target=copy, args=pair, daemon=True) for pair in ((far.stdout, 1), (far.stderr, 2))]
for thread in copies:
    thread.start()
def ended():
    status = far.wait()
    for thread in copies:
        thread.join()
    sys.exit(status)
while far.poll() is None:
    if select.select([0], [], [], 0.02)[0]:
        data = os.read(0, 65536)
        if not data:
            far.stdin.close()
            ended()
        try:
            far.stdin.write(data)
            far.stdin.flush()
        except BrokenPipeError:
            break
ended()
"""


@dataclass(frozen=True)
class StandIn:
    """The VM: `folder` has its state, its home and notes of what was asked."""

    folder: Path
    project: Path

    @property
    def env(self) -> dict[str, str]:
        """The environment of a host on which Vagrant and ssh are these."""
        env = {name: value for name, value in os.environ.items() if not name.startswith(("HARNESS_", "VAGRANT_"))}
        return env | {"PATH": f"{self.folder / 'bin'}:/usr/bin:/bin", "COLUMNS": "120"}

    def is_(self, state: str) -> None:
        """Put the VM into a state."""
        (self.folder / "state").write_text(state)

    def calls(self) -> list[str]:
        """What Vagrant was asked, with the folder in which."""
        return self._lines("calls")

    def ssh_pids(self) -> list[int]:
        """The processes that ssh was, in order."""
        return [int(line.split()[0]) for line in self._lines("connections")]

    def processes(self) -> list[int]:
        """The living processes in the VM: they have a word in their environment."""
        wanted, found = f"IN_THE_VM={self.folder}".encode(), []
        for process in Path("/proc").glob("[0-9]*"):
            try:
                if wanted in (process / "environ").read_bytes().split(b"\0"):
                    found.append(int(process.name))
            except OSError:
                continue
        return found

    def left(self) -> list[str]:
        """What is left in the VM's folder for temporary files."""
        return sorted(path.name for path in (self.folder / "tmp").iterdir())

    def _lines(self, name: str) -> list[str]:
        file = self.folder / name
        return file.read_text().splitlines() if file.exists() else []


def wait_for(condition: Callable[[], object], *, limit_s: float = 15.0) -> None:
    """Until the condition holds."""
    deadline_s = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline_s, "it did not come about in time"
        time.sleep(0.02)


def program(path: Path, source: str) -> None:
    """An executable Python program."""
    path.write_text(f"#!{sys.executable} -S\n{textwrap.dedent(source)}")
    path.chmod(path.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)


@pytest.fixture
def vm(tmp_path: Path) -> Iterator[StandIn]:
    """A running VM that is provisioned, and a project with its Vagrantfile."""
    folder, project = tmp_path / "vm", tmp_path / "project"
    for path in (folder / "bin", folder / "home" / "venv" / "bin", folder / "tmp", project / "labs"):
        path.mkdir(parents=True)
    (project / "Vagrantfile").write_text("# the stand-in does not read it\n")
    program(folder / "bin" / "vagrant", VAGRANT)
    program(folder / "bin" / "ssh", SSH)
    python = folder / "home" / "venv" / "bin" / "python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    (folder / "home" / "venv" / "built-from").write_text("all of it\n")
    made = StandIn(folder, project)
    made.is_("running")
    yield made
    wait_for(lambda: not made.processes())


@dataclass
class Done:
    """How a command on the host ended."""

    out: str
    err: str
    status: int


@pytest.fixture
def host(vm: StandIn) -> Callable[..., Done]:
    """Runs Python on the host with arguments, in the project's folder, to its end."""

    def run(*arguments: str, before: tuple[str, ...] = (), cwd: Path | None = None, **env: str) -> Done:
        done = subprocess.run(
            [*before, sys.executable, "-P", *arguments],
            cwd=cwd or vm.project,
            env={**vm.env, **env},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        return Done(done.stdout, done.stderr, done.returncode)

    return run


@pytest.fixture
def going(vm: StandIn) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts Python on the host with arguments, and leaves it going; it hears Ctrl-C."""
    started: list[subprocess.Popen[str]] = []
    hears = "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL); os.execv(sys.argv[1], sys.argv[1:])"

    def start(*arguments: str, **streams: Any) -> subprocess.Popen[str]:
        streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **streams}
        process = subprocess.Popen(
            [sys.executable, "-c", hears, sys.executable, "-P", *arguments],
            cwd=vm.project,
            env=vm.env,
            text=True,
            start_new_session=True,
            **streams,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.fixture
def macos(tmp_path: Path) -> dict[str, str]:
    """An environment in which Python on the host takes it for macOS."""
    folder = tmp_path / "as-macos"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text("import sys\nsys.platform = 'darwin'\n")
    return {"PYTHONPATH": str(folder)}


CHECKS = '''
from harness.labkit import Teach, needs_no_queues, task
from harness.sysv import Queue


@task("1.1")
@needs_no_queues
def test_answer(lab, stage):
    """answer() is 42."""
    found = lab.answer()
    assert found == 42, Teach(saw=f"answer() is {found}", because="it is 42", try_="return 42", see="answer()")


@task("1.2")
def test_queue(lab, stage):
    """fill() puts the words into a queue."""
    with Queue.private() as queue:
        lab.fill(queue)
        assert queue.receive().payload == b"words"
'''
STARTER = """
from harness.labkit import todo


def answer():
    todo("give the answer")


def fill(queue):
    todo("put the words into it")
"""
SOLUTION = """
def answer():
    return 42


def fill(queue):
    queue.send(b"words", type=1)
"""


@pytest.fixture
def lab(vm: StandIn) -> Path:
    """The folder of a lab in the project; its lab.py is not there yet."""
    folder = vm.project / "labs" / "01_words"
    folder.mkdir()
    (vm.project / "pytest.ini").write_text("[pytest]\naddopts = --import-mode=importlib -p no:cacheprovider\n")
    for name, text in {"test_lab": CHECKS, "starter": STARTER, "solution": SOLUTION}.items():
        (folder / f"{name}.py").write_text(text)
    return folder
