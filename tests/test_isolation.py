"""The tests' own ground (conftest.py): that a private test reports truly, is killed in time, and leaks are found."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

CASES = """
import os, signal, subprocess
import pytest
from harness.sysv import Queue, queues

pytestmark = pytest.mark.private_ipc(limit_s=2)

@pytest.fixture
def queue():
    with Queue.create(0x3034) as queue:
        yield queue

def test_passes(queue): assert [found.id for found in queues()] == [queue.id]
def test_fails(): assert 1 + 1 == 3
def test_skips(): pytest.skip("said so")
def test_hangs(queue):
    subprocess.Popen(["sleep", "4321"])
    queue.receive()
def test_dies(): os.kill(os.getpid(), signal.SIGSEGV)
@pytest.mark.private_ipc(queue_bytes=123456, limit_s=2)
def test_limits(queue): assert queue.stat().queue_bytes == 123456
@pytest.mark.private_ipc(msgmni=2**31 - 1)
def test_refused(): pass
def test_setup_fails(nothing): pass
"""


def run(folder: Path, repository: Path, *arguments: str) -> str:
    """What pytest wrote of the tests in `folder`, under this project's conftest.py."""
    shutil.copy(repository / "tests" / "conftest.py", folder)
    (folder / "pytest.ini").write_text("[pytest]\naddopts = -ra --import-mode=importlib --strict-markers\n")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--rootdir", str(folder), str(folder), *arguments],
        cwd=repository,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return f"{done.stdout}{done.stderr}\nstatus {done.returncode}"


@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["alone", "under xdist"])
def test_a_private_test_reports_what_happened(workers: tuple[str, ...], tmp_path: Path, repository: Path) -> None:
    """Passes, failures, skips, hangs, deaths and refusals in the fork are told as such, alone and under xdist."""
    (tmp_path / "test_cases.py").write_text(CASES)

    words = run(tmp_path, repository, *workers)

    assert "4 failed" not in words
    assert "3 failed, 2 passed, 2 skipped, 1 error" in words
    assert "assert (1 + 1) == 3" in words
    assert "said so" in words
    assert "did not end within 2 s, and was killed" in words
    assert "in receive" in words
    assert "died, status -11" in words
    assert "cannot set msgmni" in words
    assert "fixture 'nothing' not found" in words


def test_what_a_killed_test_started_is_killed_too(tmp_path: Path, repository: Path) -> None:
    """After the limit nothing of the test's process group is left."""
    (tmp_path / "test_cases.py").write_text(
        CASES.replace('["sleep", "4321"]', f'["sleep", "4321"], cwd={str(tmp_path)!r}')
    )

    run(tmp_path, repository, "-k", "hangs")

    deadline_s = time.monotonic() + 10
    while any(_works_in(process, tmp_path) for process in Path("/proc").glob("[0-9]*")):
        assert time.monotonic() < deadline_s


def test_other_tests_of_a_module_keep_their_fixtures(tmp_path: Path, repository: Path) -> None:
    """A module's fixture is set up and torn down in whichever process uses it, and tmp_path survives the forks."""
    (tmp_path / "test_mixed.py").write_text(
        "import os, pytest\n"
        "@pytest.fixture(scope='module')\n"
        "def pid():\n"
        "    yield os.getpid()\n"
        "@pytest.fixture(scope='session')\n"
        "def kept(tmp_path_factory):\n"
        "    return tmp_path_factory.mktemp('kept')\n"
        "def test_one(pid, kept): assert pid == os.getpid()\n"
        "@pytest.mark.private_ipc\n"
        "def test_two(pid, tmp_path): assert pid == os.getpid()\n"
        "def test_three(pid, kept): assert pid == os.getpid() and kept.exists()\n"
    )
    (tmp_path / "test_next.py").write_text("def test_next(): pass\n")

    assert "4 passed" in run(tmp_path, repository)


def test_a_queue_left_in_the_callers_namespace_fails_the_session(tmp_path: Path, repository: Path) -> None:
    """A queue that a test leaves behind is named at the end, and the session fails."""
    # The whole session runs in a namespace of its own, so that this machine's stays clean.
    (tmp_path / "test_leak.py").write_text(
        "from harness.sysv import Queue\ndef test_leaks(): Queue.create(0x77); assert True\n"
    )
    unshare = ["unshare", "--user", "--map-root-user", "--ipc"]
    if subprocess.run([*unshare, "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("unshare is refused here")
    shutil.copy(repository / "tests" / "conftest.py", tmp_path)
    (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = --import-mode=importlib\n")

    done = subprocess.run(
        [*unshare, sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--rootdir", str(tmp_path), str(tmp_path)],
        cwd=repository,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert "the tests left a queue behind on this machine: key 0x00000077" in done.stdout
    assert done.returncode == 1


def _works_in(process: Path, folder: Path) -> bool:
    try:
        return (process / "cwd").resolve() == folder.resolve() and (process / "comm").read_text() == "sleep\n"
    except OSError:
        return False
