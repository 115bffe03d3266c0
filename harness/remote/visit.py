"""One visit to the VM: files go in, a command runs there, files come back, and nothing of it is left.

    with Visit(machine, files) as visit:
        status = visit.run(["-m", "pytest", "labs/"], terminal=True)
        visit.files()        name -> bytes of what the command wrote into visit.out

Three SSH connections, one after the other: to bring files, to run, to fetch. The middle one has the caller's terminal
where there is one (`ssh -tt`): keys, colours and the live view are as at home, Ctrl-C goes through the terminal, and
when the connection ends, the guest's kernel sends SIGHUP. Without a terminal none is made there either: standard output
and standard error stay apart, and a pipe gets what was written, to the byte. Then the guest's end (guest.py) watches
its standard input: this end writes a signal's name to it, and when it ends, so does the command.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from typing import TYPE_CHECKING, Any, Self

from harness.remote import guest
from harness.remote.choice import INSIDE, VARIABLE
from harness.remote.sources import fingerprint
from harness.remote.vagrant import trouble
from harness.sysv.errors import ConnectionLostError, HarnessError, VirtualMachineError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from harness.remote.vagrant import Machine

SSH_FAILED = 255  # ssh(1)
_TAKEN_OVER = ("NO_COLOR", "FORCE_COLOR", "PY_COLORS", "PYTEST_ADDOPTS")
_OPTIONS = ("BatchMode yes", "ConnectTimeout 10", "ServerAliveInterval 3", "ServerAliveCountMax 3")
_PATIENCE_S = 60.0
_ENDING_PATIENCE_S = guest.PATIENCE_S + 5
_POLL_S = 0.2


class Visit:
    """A fresh folder in the VM, while it is open. `files` are (path here, name in the project there)."""

    def __init__(self, machine: Machine, files: Iterable[tuple[Path, str]]) -> None:
        self._machine = machine
        self._files = files
        self._folder = ""
        self._interrupts: list[int] = []

    def __enter__(self) -> Self:
        """Raises VirtualMachineError where SSH does not get in, or the VM was provisioned by another version."""
        script = f"test -e {guest.PROVISIONED} || exit {guest.NOT_PROVISIONED}; " + self._end("take", fingerprint())
        done = self._ssh(script, data=self._packed())
        if done.returncode != 0:
            raise self._not_taken(done)
        self._folder = done.stdout.decode().strip()
        return self

    def __exit__(self, *_: object) -> None:
        if self._folder:
            with contextlib.suppress(HarnessError):
                self.files()

    @property
    def out(self) -> str:
        """The folder in the VM whose files come back."""
        return f"{self._folder}/{guest.OUT}"

    @property
    def project(self) -> str:
        """The folder in the VM where the files are."""
        return f"{self._folder}/{guest.PROJECT}"

    def run(self, command: Sequence[str], *, cwd: str = ".", env: Mapping[str, str] | None = None) -> int:
        """Run Python there with these arguments; its exit status, or 128 and the signal that interrupted it here.

        Raises ConnectionLostError.
        """
        terminal = os.isatty(0) and os.isatty(1)
        names = _TAKEN_OVER if terminal else (*_TAKEN_OVER, "COLUMNS")  # a terminal has its own width
        taken = {name: os.environ[name] for name in names if name in os.environ}
        order = {
            "folder": self._folder,
            "cwd": cwd,
            "command": list(command),
            "terminal": terminal,
            "env": {**taken, **(env or {}), VARIABLE: INSIDE},
        }
        status = self._carry_out(self._end("run", json.dumps(order)), terminal=terminal)
        if status == SSH_FAILED or status < 0:
            self._folder = ""  # its end there removes it
            if self._interrupts:
                return 128 + self._interrupts[0]
            raise ConnectionLostError(
                "the connection to the VM broke off; what ran there is ended there",
                why=self._what_became_of_it(),
                hint="vagrant status",
            )
        return status

    def files(self) -> dict[str, bytes]:
        """What the command wrote into `out`, by name; the folder there is removed. Raises ConnectionLostError."""
        folder, self._folder = self._folder, ""
        done = self._ssh(self._end("give", folder))
        if done.returncode != 0:
            raise ConnectionLostError(
                "the files could not be fetched from the VM", why=_last_line(done.stderr), hint="vagrant status"
            )
        with tarfile.open(fileobj=io.BytesIO(done.stdout), mode="r:gz") as tar:
            return {entry.name: tar.extractfile(entry).read() for entry in tar if entry.isfile()}  # type: ignore[union-attr]

    # --- SSH --------------------------------------------------------------------------------------------------------

    def _end(self, command: str, argument: str) -> str:
        """The guest's end of the visit, for the shell there."""
        return f"exec {guest.PYTHON} -P -m harness.remote.guest {command} {shlex.quote(argument)}"

    def _command(self, script: str, *options: str) -> list[str]:
        program = shutil.which("ssh")
        if program is None:
            raise VirtualMachineError(
                "there is no ssh on PATH", hint="install the OpenSSH client; Windows: Settings, Optional features"
            )
        settings = [
            word for option in (*_OPTIONS, *self._machine.options) for word in ("-o", option.replace(" ", "=", 1))
        ]
        return [program, "-F", "none", *settings, *options, self._machine.name, script]

    def _ssh(self, script: str, *, data: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        try:
            return subprocess.run(
                self._command(script, "-T"), input=data, capture_output=True, timeout=_PATIENCE_S, check=False
            )
        except subprocess.TimeoutExpired as error:
            return subprocess.CompletedProcess(error.cmd, SSH_FAILED, b"", str(error).encode())

    def _carry_out(self, script: str, *, terminal: bool) -> int:
        """The exit status of ssh, which is the command's; negative as subprocess has it."""
        apart: dict[str, Any] = {}
        if not terminal:  # else the terminal's Ctrl-C would end ssh, and the command's last words were lost
            windows = sys.platform == "win32"
            apart = {"creationflags": 0x200} if windows else {"start_new_session": True}  # CREATE_NEW_PROCESS_GROUP
        with _terminal_kept(), self._interruptible() as interrupted:
            ssh = subprocess.Popen(
                self._command(script, "-tt" if terminal else "-T"), stdin=None if terminal else subprocess.PIPE, **apart
            )
            passed, deadline_s = 0, float("inf")
            while True:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    return ssh.wait(_POLL_S)
                for number in interrupted[passed:]:
                    passed += 1
                    deadline_s = min(deadline_s, time.monotonic() + _ENDING_PATIENCE_S)
                    _pass_on(ssh, number)
                if time.monotonic() > deadline_s:
                    ssh.kill()

    @contextlib.contextmanager
    def _interruptible(self) -> Iterator[list[int]]:
        """Signals that should end this program are noted while the command runs there."""
        names = [name for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
        heard = [getattr(signal, name) for name in names if signal.getsignal(getattr(signal, name)) != signal.SIG_IGN]
        before = {number: signal.signal(number, lambda n, _: self._interrupts.append(n)) for number in heard}
        try:
            yield self._interrupts
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    # --- what goes in, and what went wrong --------------------------------------------------------------------------

    def _packed(self) -> bytes:
        data = io.BytesIO()
        with tarfile.open(fileobj=data, mode="w:gz", compresslevel=1, dereference=True) as tar:
            for file, name in self._files:
                tar.add(file, f"{guest.PROJECT}/{name}", recursive=False)
        return data.getvalue()

    def _not_taken(self, done: subprocess.CompletedProcess[bytes]) -> HarnessError:
        if done.returncode == SSH_FAILED:
            error = trouble(self._machine.folder)
            return type(error)(error.seen, why=_last_line(done.stderr), hint=error.hint)
        if done.returncode == guest.NOT_PROVISIONED:
            return VirtualMachineError("the VM is not provisioned, or not to the end", hint="vagrant provision")
        said = _last_line(done.stderr) or f"exit status {done.returncode}"
        if done.returncode == guest.OTHER_SOURCES or "No module named" in said:
            return VirtualMachineError(
                "the VM was provisioned by another version of this project",
                why="its harness is not the one here" if done.returncode == guest.OTHER_SOURCES else said,
                hint="vagrant rsync, then vagrant provision",
            )
        return VirtualMachineError("the VM runs, but a visit does not begin", why=said, hint="vagrant ssh")

    def _what_became_of_it(self) -> str:
        try:
            return str(trouble(self._machine.folder))
        except HarnessError as error:
            return str(error)


def _pass_on(ssh: subprocess.Popen[bytes], number: int) -> None:
    if ssh.stdin is not None:
        with contextlib.suppress(OSError):
            ssh.stdin.write(f"{signal.Signals(number).name}\n".encode())
            ssh.stdin.flush()
    elif number != signal.SIGINT:  # in a terminal Ctrl-C goes through it
        ssh.terminate()


@contextlib.contextmanager
def _terminal_kept() -> Iterator[None]:
    """The terminal is afterwards as it was, also when ssh was killed in the middle."""
    try:
        import termios  # noqa: PLC0415 - not on Windows

        before = termios.tcgetattr(0)
    except (ImportError, OSError, ValueError):
        yield
        return
    except termios.error:  # standard input is no terminal
        yield
        return
    try:
        yield
    finally:
        termios.tcsetattr(0, termios.TCSADRAIN, before)


def _last_line(data: bytes) -> str:
    lines = [line.strip() for line in data.decode(errors="replace").splitlines()]
    return next((line for line in reversed(lines) if line), "")
