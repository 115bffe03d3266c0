"""The processes and failures that a lab's check puts on: programs, datagrams, netcat, `ipcs -q`, other users' queues.

A check asks for the fixture `stage`. Whatever was started through it is gone when the check ends. Nothing here sleeps
for luck: each wait is for a condition, has a limit, and says what it waited for.
"""

from __future__ import annotations

import contextlib
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any, Self

from harness.labkit import apart
from harness.labkit.failures import CannotStageError, WrongAnswerError
from harness.labkit.ground import ask_steward
from harness.labkit.teach import Teach
from harness.sysv import asleep_in, queues

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from harness.sysv import QueueStat, Sleeper

WAIT_S = 2.0
"""How long a wait lasts before it is given up, in seconds, unless said otherwise."""

_PAUSE_S = 0.002
_POLITE_S = 0.5


def wait_until(condition: Callable[[], Any], what: str, *, limit_s: float = WAIT_S) -> Any:
    """Ask `condition` until it is true, and return what it gave; else fail: `what` completes "waited 2 s for ..."."""
    deadline_s = time.monotonic() + limit_s
    while not (found := condition()):
        if time.monotonic() > deadline_s:
            raise WrongAnswerError(
                Teach(
                    saw=f"waited {limit_s:g} s for {what}",
                    because="it did not come about",
                    try_="run the program by hand, and look at the queue meanwhile: ipcs -q",
                    see="README.md, Do",
                )
            )
        time.sleep(_PAUSE_S)
    return found


def _plain_environment() -> dict[str, str]:
    """The caller's, without what makes Python flush by itself: whether a program flushes is part of some labs."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}


class Program:
    """A program that a check started. Its output is read as it comes; `output` and `errors` hold what came so far."""

    def __init__(
        self, command: Sequence[str], *, cwd: Path, env: dict[str, str] | None = None, by_hand: str = "harness lab run"
    ) -> None:
        self.command = list(command)
        self._by_hand = by_hand
        starter = os.getpid()
        self._process = subprocess.Popen(
            self.command,
            cwd=cwd,
            env=_plain_environment() | (env or {}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            bufsize=0,
            preexec_fn=lambda: apart.end_with_parent(starter),  # noqa: PLW1509 - a check's process has one thread
        )
        self._raw = {self._process.stdout: bytearray(), self._process.stderr: bytearray()}
        for stream in self._raw:
            os.set_blocking(stream.fileno(), False)  # type: ignore[union-attr]

    @property
    def pid(self) -> int:
        """The program's process id."""
        return self._process.pid

    @property
    def raw_output(self) -> bytes:
        """All bytes that it wrote to standard output so far."""
        self._read(0)
        return bytes(self._raw[self._process.stdout])

    @property
    def output(self) -> str:
        """All that it wrote to standard output so far."""
        return self.raw_output.decode(errors="replace")

    @property
    def errors(self) -> str:
        """All that it wrote to standard error so far."""
        self._read(0)
        return bytes(self._raw[self._process.stderr]).decode(errors="replace")

    @property
    def status(self) -> int | None:
        """Its exit status, minus the signal that killed it, or None while it runs."""
        return self._process.poll()

    @property
    def children(self) -> list[int]:
        """The process ids of its children."""
        return apart.children_of(self.pid)

    def wait_for(self, pattern: str, *, limit_s: float = WAIT_S) -> re.Match[str]:
        """Wait until its output has the regular expression; fails with what it wrote, or when it ends before."""
        deadline_s = time.monotonic() + limit_s
        while (found := re.search(pattern, self.output, re.MULTILINE)) is None:
            ended = self._process.poll() is not None
            if ended and (found := re.search(pattern, self.output, re.MULTILINE)):
                break
            if ended or time.monotonic() > deadline_s:
                raise WrongAnswerError(self._not_said(pattern, limit_s))
            self._read(0.02)
        return found

    def wait(self, *, limit_s: float = WAIT_S) -> int:
        """Wait for its end, reading on; returns its exit status; fails when it goes on."""
        deadline_s = time.monotonic() + limit_s
        while self._process.poll() is None:
            if time.monotonic() > deadline_s:
                raise WrongAnswerError(
                    Teach(
                        saw=f"the program still ran after {limit_s:g} s{self._doing()}; "
                        f"it wrote {self._tail(self.output)}",
                        because="it should have ended by itself by then",
                        try_="follow what ends its loop, and what it waits for",
                        see=self._by_hand,
                    )
                )
            self._read(0.01)
        self._read(0)
        return self._process.returncode

    def signal(self, number: int) -> None:
        """Send a signal to the program alone, not to its children."""
        self._process.send_signal(number)

    def wait_asleep(self, call: str = "msgrcv", *, pid: int | None = None, limit_s: float = WAIT_S) -> Sleeper:
        """Wait until the program (or its child `pid`) sleeps in that queue call; says in which queue, for what."""
        who = self.pid if pid is None else pid
        deadline_s = time.monotonic() + limit_s
        while not ((found := asleep_in(who)) and found.call == call):
            ended = self._process.poll()
            if ended is not None or time.monotonic() > deadline_s:
                when = f"{limit_s:g} s went by" if ended is None else f"the program ended with status {ended}"
                raise WrongAnswerError(
                    Teach(
                        saw=f"{when} before it slept in {call}; it wrote {self._tail(self.output)}, "
                        f"and on standard error {self._tail(self.errors)}",
                        because=f"a program that waits for the queue sleeps in {call}, and uses no CPU meanwhile",
                        try_=f"follow your program to its {call}: what keeps it from getting there?",
                        see=self._by_hand,
                    )
                )
            self._read(_PAUSE_S)
        return found

    def end(self) -> None:
        """End it and all of its process group, whatever they do."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGCONT)
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_POLITE_S)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()
        self._read(0)
        for stream in self._raw:
            stream.close()  # type: ignore[union-attr]

    def _read(self, patience_s: float) -> None:
        streams = [stream for stream in self._raw if stream is not None and not stream.closed]
        while streams:
            ready, _, _ = select.select(streams, [], [], patience_s)
            if not ready:
                return
            patience_s = 0
            for stream in ready:
                if data := os.read(stream.fileno(), 65536):
                    self._raw[stream] += data
                else:
                    streams.remove(stream)

    def _doing(self) -> str:
        asleep = asleep_in(self.pid)
        return f", asleep in {asleep.call}" if asleep else ""

    def _not_said(self, pattern: str, limit_s: float) -> Teach:
        ended = self._process.poll()
        when = f"the program ended with status {ended}" if ended is not None else f"{limit_s:g} s went by"
        return Teach(
            saw=f"{when} before its output had {pattern!r}; it wrote {self._tail(self.output)}, "
            f"and on standard error {self._tail(self.errors)}",
            because="output that is not flushed stays in the program until its buffer is full or it ends"
            if ended is None
            else "a program that ends before its work is done has met something that it did not expect",
            try_="print(..., flush=True)" if ended is None else "read the last line that it wrote on standard error",
            see=self._by_hand,
        )

    @staticmethod
    def _tail(text: str) -> str:
        return repr(text[-300:]) if text else "nothing"


class Stage:
    """What one check put on. `file` is the file that is checked; `folder` an empty folder of its own.

    `lab` is the lab's folder: what lies in it can be imported by `file`, wherever that is.
    """

    def __init__(self, file: Path, folder: Path, *, lab: Path, steward: socket.socket | None = None) -> None:
        self.file = file
        self._lab = lab
        self.folder = folder
        self._steward = steward
        self._programs: list[Program] = []
        self._owner = os.getpid()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        # A fork of the check that strayed here must not end its parent's programs.
        if os.getpid() == self._owner:
            for program in reversed(self._programs):
                program.end()

    def run(self, *arguments: str, env: dict[str, str] | None = None) -> Program:
        """Start the lab's program with these arguments, as a learner does: `python lab.py ARGUMENTS`."""
        path = os.pathsep.join(filter(None, [str(self._lab), os.environ.get("PYTHONPATH")]))
        return self.start(sys.executable, str(self.file), *arguments, env={"PYTHONPATH": path} | (env or {}))

    def start(self, *command: str, env: dict[str, str] | None = None) -> Program:
        """Start any program; it is in a process group of its own."""
        words = " ".join(["harness lab run", self._lab.name[:2], "--", *command[2:]])
        program = Program(command, cwd=self.folder, env=env, by_hand=words)
        self._programs.append(program)
        return program

    def free_port(self) -> int:
        """A UDP port of 127.0.0.1 that nobody has at this moment."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as some:
            some.bind(("127.0.0.1", 0))
            return int(some.getsockname()[1])

    def ask(self, port: int, payload: bytes, *, limit_s: float = WAIT_S) -> bytes | None:
        """Send one datagram to 127.0.0.1 and return the first that comes back, or None when none does in time."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.settimeout(limit_s)
            client.connect(("127.0.0.1", port))
            try:
                client.send(payload)
                return client.recv(65536)
            except (TimeoutError, ConnectionRefusedError):
                return None

    def netcat(self, port: int, text: str, *options: str, limit_s: int = 1) -> str:
        """What the real netcat gets when a person types `text` into `nc -u 127.0.0.1 PORT`."""
        command = shutil.which("nc")
        if command is None:
            raise CannotStageError("netcat is not installed: apt install netcat-openbsd")
        words = options or ("-u",)
        done = subprocess.run(
            [command, *words, "-w", str(limit_s), "127.0.0.1", str(port)],
            input=text.encode(),
            capture_output=True,
            check=False,
            timeout=limit_s + 5,
        )
        return done.stdout.decode(errors="replace")

    def ipcs(self) -> list[list[str]]:
        """The rows of the real `ipcs -q`: key, msqid, owner, perms, used-bytes, messages."""
        command = shutil.which("ipcs")
        if command is None:
            raise CannotStageError("ipcs is not installed: apt install util-linux")
        done = subprocess.run([command, "-q"], capture_output=True, text=True, check=True, timeout=10)
        return [line.split() for line in done.stdout.splitlines() if line.startswith("0x")]

    def queue(self, key: int) -> QueueStat | None:
        """The queue with this key as the kernel lists it, or None."""
        return next((queue for queue in queues() if queue.key == key), None)

    def foreign_queue(self, key: int, *, mode: int = 0o644, payloads: Sequence[bytes] = ()) -> int:
        """Make a queue that belongs to another user (nobody); returns its id. The check asks for it as a fixture.

        Raises CannotStageError for an ordinary user: only root can become somebody else.
        """
        if self._steward is None:
            raise CannotStageError("only a check with the fixture foreign_queue, run as root, has another user's queue")
        order = {"key": key, "mode": mode, "payloads": [payload.hex() for payload in payloads]}
        return int(ask_steward(self._steward, order)["id"])

    def without_message_queues(self, *arguments: str) -> Program:
        """Start the lab's program where msgget and its kin answer ENOSYS, as on WSL1 (a seccomp filter)."""
        return self.start(sys.executable, "-m", "harness.labkit.no_msgget", sys.executable, str(self.file), *arguments)
