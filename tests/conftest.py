"""What every test may use: a private IPC namespace for a test, an ordinary user, and a watch over what is left behind.

`@pytest.mark.private_ipc(queue_bytes=..., message_bytes=..., msgmni=..., limit_s=20)` runs a test, with its fixtures,
in a process of its own inside a private namespace. It is forked, because a worker of pytest-xdist has two threads and
the namespace moves one only: the fork has one. Its reports come back as pytest made them. A test that takes longer
than `limit_s` is killed with all that it started, and fails with its stack. Where there can be no namespace, it is
skipped with the reason. Its fixtures of module or session scope are made in the fork, so again for each such test.
"""

from __future__ import annotations

import contextlib
import heapq
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from _pytest.runner import runtestprotocol
from hypothesis import settings

from harness.labkit.apart import run_apart
from harness.sysv import enter_private, queues
from harness.sysv.errors import HarnessError, NamespaceError

if TYPE_CHECKING:
    from pathlib import Path

# The same examples in every run, and no time limit on any of them: a test is red for what the code does, not for luck.
settings.register_profile("steady", deadline=None, derandomize=True)
settings.load_profile("steady")

# What a test starts stays on this machine, whatever VM is there; tests/remote asks for one of its own.
os.environ["HARNESS_VM"] = "never"

LIMIT_S = 20.0
LEFT_BEHIND_PATIENCE_S = 3.0
NOBODY = 65534

_queues_before: pytest.StashKey[set[int]] = pytest.StashKey()
_left_behind: pytest.StashKey[list[str]] = pytest.StashKey()


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        "private_ipc(queue_bytes, message_bytes, msgmni, limit_s=20): run the test in a private IPC namespace",
    )


# --- the private namespace ---------------------------------------------------------------------------------------


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> bool | None:
    marker = item.get_closest_marker("private_ipc")
    if marker is None:
        return None
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    for report in _run_apart(item, **marker.kwargs):
        item.ihook.pytest_runtest_logreport(report=report)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True


def _run_apart(item: pytest.Item, *, limit_s: float = LIMIT_S, **limits: int) -> list[pytest.TestReport]:
    if sys.platform != "linux":
        return [_report(item, "skipped", "private IPC namespaces are Linux's")]
    # Nothing of the caller's may be torn down in the fork too: so all is before it, and is made again when needed.
    item.session._setupstate.teardown_exact(None)
    # The first to ask for this folder empties it: that must not be a fork.
    item.config._tmp_path_factory.getbasetemp()  # type: ignore[attr-defined]
    ending = run_apart(lambda: _reports_inside(item, limits), limit_s=limit_s)
    if ending.answer is not None:
        return ending.answer
    what = f"did not end within {limit_s:g} s, and was killed" if ending.hung else f"died, status {ending.status}"
    return [_report(item, "failed", f"the test's process {what}\n{ending.stack}")]


def _reports_inside(item: pytest.Item, limits: dict[str, int]) -> list[pytest.TestReport]:
    try:
        enter_private(**limits)
        return runtestprotocol(item, nextitem=None, log=False)
    except NamespaceError as error:
        return [_report(item, "skipped", f"{error} ({error.hint})")]
    except BaseException:  # noqa: BLE001 - as KeyboardInterrupt and pytest.exit in the test
        return [_report(item, "failed", traceback.format_exc())]


def _report(item: pytest.Item, outcome: Any, words: str) -> pytest.TestReport:
    path, line, _ = item.location
    longrepr: Any = (path, line or 0, f"Skipped: {words}") if outcome == "skipped" else words
    return pytest.TestReport(
        nodeid=item.nodeid,
        location=item.location,
        keywords={},
        outcome=outcome,
        longrepr=longrepr,
        when="setup" if outcome == "skipped" else "call",
    )


# --- an ordinary user ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class OrdinaryUser:
    """Runs programs as a user without privileges: `nobody` when the tests run as root, else the tests' own user.

    Put `prefix` before a command and hand `env` over, or let `run` and `python` do it. As root, the one capability
    left is CAP_DAC_READ_SEARCH, so that it can read this code and this Python wherever they are; it counts for no queue
    and no namespace.
    """

    prefix: tuple[str, ...]
    env: dict[str, str]

    def run(self, *command: str, timeout_s: float = LIMIT_S) -> subprocess.CompletedProcess[str]:
        """Run a command to its end, whatever its status, and capture what it writes."""
        return subprocess.run(
            [*self.prefix, *command],
            env=self.env,
            cwd="/",
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout_s,
        )

    def python(self, code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run Python code, which can import `harness`."""
        return self.run(sys.executable, "-c", code, *arguments)


@pytest.fixture
def as_user(pytestconfig: pytest.Config) -> OrdinaryUser:
    folders = os.pathsep.join([str(pytestconfig.rootpath), os.environ.get("PYTHONPATH", "")])
    env = {**os.environ, "PYTHONPATH": folders, "PYTHONDONTWRITEBYTECODE": "1"}
    if os.geteuid() != 0:
        return OrdinaryUser((), env)
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        pytest.skip("setpriv (util-linux) is not installed, so root cannot become an ordinary user here")
    drop = ("--reuid", str(NOBODY), "--regid", str(NOBODY), "--clear-groups")
    only = "=-all,+dac_read_search"
    user = OrdinaryUser((setpriv, *drop, f"--inh-caps{only}", f"--ambient-caps{only}", f"--bounding-set{only}"), env)
    tried = user.run("true")
    if tried.returncode != 0:
        pytest.skip(f"root cannot become an ordinary user here: {tried.stderr.strip()}")
    return user


@pytest.fixture(scope="session")
def no_msgget(pytestconfig: pytest.Config) -> tuple[str, ...]:
    """What to put before a command so that it finds no message queues: msgget and its kin answer ENOSYS."""
    return (sys.executable, str(pytestconfig.rootpath / "harness" / "labkit" / "no_msgget.py"))


@pytest.fixture(scope="session")
def repository(pytestconfig: pytest.Config) -> Path:
    """The folder that holds pyproject.toml."""
    return pytestconfig.rootpath


# --- something that answers datagrams --------------------------------------------------------------------------------


Answer = Callable[[int], "list[tuple[float, bytes]]"]
"""What the number of a request (from 0) is answered with: replies, each with its delay in s."""


class UdpServer:
    """Answers each datagram as it is told, in a thread of its own, on a free port of the loopback.

    `ports` are the senders' ports in the order of their datagrams, `payloads` what they sent.
    """

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self.ports: list[int] = []
        self.payloads: list[bytes] = []
        self._sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        self._sock.bind(("127.0.0.1", 0))
        self._sock.settimeout(0.005)
        self.port: int = self._sock.getsockname()[1]
        self.target = f"udp://127.0.0.1:{self.port}"
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="udp-server")
        self._thread.start()

    def close(self) -> None:
        """End the thread, and close the port."""
        self._stop.set()
        self._thread.join()
        self._sock.close()

    def _serve(self) -> None:
        later: list[tuple[float, int, bytes, Any]] = []
        while not self._stop.is_set():
            with contextlib.suppress(TimeoutError):
                payload, sender = self._sock.recvfrom(65536)
                number = len(self.ports)
                self.ports.append(sender[1])
                self.payloads.append(payload)
                for delay_s, reply in self._answer(number):
                    heapq.heappush(later, (time.monotonic() + delay_s, len(later) + number, reply, sender))
            while later and later[0][0] <= time.monotonic():
                _, _, reply, sender = heapq.heappop(later)
                with contextlib.suppress(OSError):  # its sender may be gone
                    self._sock.sendto(reply, sender)


@pytest.fixture
def udp_server() -> Iterator[Callable[[Answer], UdpServer]]:
    """Starts servers that answer as they are told; all are closed at the test's end."""
    servers: list[UdpServer] = []

    def start(answer: Answer) -> UdpServer:
        servers.append(UdpServer(answer))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


# --- what is left behind -------------------------------------------------------------------------------------------


def _host_queues() -> dict[int, str]:
    """This user's queues in the namespace of the tests' caller, as id and words."""
    try:
        return {
            queue.id: f"key 0x{queue.key:08x} id {queue.id} messages {queue.messages}"
            for queue in queues()
            if queue.cuid == os.geteuid()
        }
    except HarnessError:
        return {}


def pytest_sessionstart(session: pytest.Session) -> None:
    # The controller of pytest-xdist looks, not its workers: while those still run, others' queues are no leftovers.
    if sys.platform == "linux" and not hasattr(session.config, "workerinput"):
        session.config.stash[_queues_before] = set(_host_queues())


def pytest_sessionfinish(session: pytest.Session) -> None:
    before = session.config.stash.get(_queues_before, None)
    if before is None:
        return
    deadline_s = time.monotonic() + LEFT_BEHIND_PATIENCE_S
    while left := {id_: words for id_, words in _host_queues().items() if id_ not in before}:
        if time.monotonic() > deadline_s:
            session.config.stash[_left_behind] = list(left.values())
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
            return
        time.sleep(0.05)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for words in config.stash.get(_left_behind, []):
        terminalreporter.write_line(f"FAILED: the tests left a queue behind on this machine: {words}", red=True)
