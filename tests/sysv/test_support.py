"""Why a machine has no message queues: judged from what was seen, and under a real seccomp filter."""

from __future__ import annotations

import errno
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from harness.sysv import Support, diagnose, queues
from harness.sysv.support import Observations, judge

if TYPE_CHECKING:
    from pathlib import Path

WSL1 = "Linux version 4.4.0-19041-Microsoft (Microsoft@Microsoft.com) (gcc version 5.4.0 (GCC) ) #2311-Microsoft"
WSL2 = "Linux version 5.15.90.1-microsoft-standard-WSL2 (oe-user@oe-host) (x86_64-msft-linux-gcc (GCC) 9.3.0)"
PLAIN = "Linux version 6.1.0-18-amd64 (debian-kernel@lists.debian.org)"
ENOSYS = dict.fromkeys(("msgget", "msgsnd", "msgrcv", "msgctl"), errno.ENOSYS)


@pytest.mark.parametrize(
    ("seen", "cause", "hint"),
    [
        (Observations("linux", PLAIN), "ready", ""),
        (Observations("linux", PLAIN, has_binding=False), "no-sysv-ipc", "pip install sysv_ipc"),
        (Observations("linux", WSL1, ENOSYS, has_listing=False), "wsl1", "wsl --set-version DISTRO 2"),
        (Observations("linux", WSL2, ENOSYS, seccomp=2), "filter", "seccomp profile"),
        (Observations("linux", f"{WSL2} Microsoft", ENOSYS, seccomp=2), "filter", "seccomp profile"),
        (Observations("linux", WSL2), "ready", ""),
        (Observations("linux", PLAIN, ENOSYS, seccomp=2), "filter", "seccomp profile"),
        (Observations("linux", PLAIN, ENOSYS, seccomp=0), "filter", "seccomp profile"),
        (Observations("linux", PLAIN, {"msgget": errno.EPERM}, seccomp=2), "filter", "seccomp profile"),
        (Observations("linux", PLAIN, ENOSYS, has_listing=False), "kernel-without-sysvipc", "vagrant up"),
        (Observations("linux", PLAIN, ENOSYS, has_listing=False, seccomp=2), "kernel-without-sysvipc", "vagrant up"),
        (Observations("linux", PLAIN, ENOSYS, has_listing=False, seccomp=None), "unknown", "/proc"),
        (Observations("darwin"), "macos", "vagrant up"),
        (Observations("win32"), "windows", "vagrant up"),
        (Observations("freebsd14"), "other-system", "vagrant up"),
    ],
)
def test_each_cause_is_told_apart_with_its_way_out(seen: Observations, cause: str, hint: str) -> None:
    """What was seen leads to one cause, a sentence, and what to do."""
    found = judge(seen)

    assert found.cause == cause
    assert found.available is (cause == "ready")
    assert found.explanation
    assert hint in found.hint


@pytest.mark.private_ipc
def test_the_diagnosis_leaves_no_queue() -> None:
    """Asking creates nothing, and this machine, where the test runs, has message queues."""
    found = diagnose()

    assert isinstance(found, Support)
    assert found.available
    assert queues() == []


@pytest.mark.parametrize(
    "code",
    [
        "from harness.sysv import diagnose; found = diagnose(); print(found.cause, found.explanation, found.hint)",
        "from harness.sysv import Queue; Queue.create(0x3034)",
        "from harness.sysv import Queue; Queue.open(0x3034)",
        "from harness.sysv import Queue; Queue.private()",
    ],
)
def test_under_a_filter_everything_says_what_is_missing(
    code: str, no_msgget: tuple[str, ...], repository: Path
) -> None:
    """Under a seccomp filter that answers ENOSYS, the diagnosis and every way to a queue name the filter."""
    done = subprocess.run(
        [*no_msgget, sys.executable, "-c", code], cwd=repository, capture_output=True, text=True, check=False
    )

    words = done.stdout + done.stderr
    assert "msgget ENOSYS" in words
    assert "a seccomp filter refuses them" in words
    assert done.returncode == (0 if "diagnose" in code else 1)


def test_the_filter_is_the_one_that_other_programs_meet(no_msgget: tuple[str, ...]) -> None:
    """sysv_ipc itself fails under the filter with ENOSYS, as was reported from WSL1."""
    code = "import sysv_ipc\ntry: sysv_ipc.MessageQueue(5)\nexcept OSError as error: print(error.errno)"

    done = subprocess.run([*no_msgget, sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == str(errno.ENOSYS)
