"""Whether this machine has System V message queues, and if not, why not and what to do.

Used by queue.py when a call answers ENOSYS, and by `harness doctor`. `judge` is a pure function of what `observe` saw;
`observe` asks the kernel in ways that create nothing. It does not ask for private namespaces: namespace.py does.
"""

from __future__ import annotations

import ctypes
import errno
import platform
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from harness.sysv import binding, libc
from harness.sysv.errors import NoMessageQueuesError

if TYPE_CHECKING:
    from collections.abc import Mapping

Cause = Literal[
    "ready",
    "wsl1",
    "macos",
    "windows",
    "other-system",
    "filter",
    "kernel-without-sysvipc",
    "no-sysv-ipc",
    "unknown",
]

_SECCOMP_FILTER = 2  # the mode in /proc/PID/status, proc_pid_status(5)
_PROBE_KEY = 0x6D736771  # any key but 0; whether a queue has it does not matter
_IPC_NOWAIT = 0o4000
_IPC_STAT = 2


@dataclass(frozen=True, slots=True)
class Observations:
    """What was seen of this machine.

    `refused`: the calls that answered as if they did not exist or were forbidden, with that errno.
    `seccomp`: the mode of /proc/self/status (2: a filter), None if it cannot be read.
    """

    platform: str
    kernel: str = ""
    refused: Mapping[str, int] = field(default_factory=dict)
    has_listing: bool = True
    seccomp: int | None = 0
    has_binding: bool = True


@dataclass(frozen=True, slots=True)
class Support:
    """The answer: is it `available`; the `cause` as one word, an `explanation` as a sentence, a `hint` what to do."""

    available: bool
    cause: Cause
    explanation: str
    hint: str = ""


def diagnose() -> Support:
    """Find out whether this machine has message queues; creates nothing, never raises."""
    return judge(observe())


def require() -> None:
    """Raise NoMessageQueuesError, saying why and what to do, unless this machine has message queues."""
    found = diagnose()
    if not found.available:
        raise NoMessageQueuesError("no System V message queues here", why=found.explanation, hint=found.hint)


def observe() -> Observations:
    """Look at this machine. The calls go to an id and a key that need not exist, so that nothing is created."""
    if sys.platform != "linux":
        return Observations(platform=sys.platform, has_binding=binding.sysv_ipc is not None)
    return Observations(
        platform=sys.platform,
        kernel=_read("/proc/version") or platform.release(),
        refused=_refused_calls(),
        has_listing=Path("/proc/sysvipc/msg").exists(),
        seccomp=_seccomp_mode(),
        has_binding=binding.sysv_ipc is not None,
    )


def judge(seen: Observations) -> Support:
    """What the observations mean; the first cause that explains them."""
    if seen.platform != "linux":
        return _other_system(seen.platform)
    if seen.refused:
        return _refused(seen)
    if not seen.has_binding:
        return Support(
            available=False,
            cause="no-sysv-ipc",
            explanation="the kernel has message queues, but the Python package sysv_ipc is not installed",
            hint="pip install sysv_ipc",
        )
    return Support(available=True, cause="ready", explanation="msgget, msgsnd, msgrcv and msgctl answer")


def _other_system(name: str) -> Support:
    if name == "darwin":
        return Support(
            available=False,
            cause="macos",
            explanation="this is macOS, and the queues that are studied here are Linux's",
            hint="run it in the project's virtual machine: vagrant up",
        )
    if name in ("win32", "cygwin"):
        return Support(
            available=False,
            cause="windows",
            explanation="Windows has no msgget",
            hint="run it in the project's virtual machine (vagrant up), or under WSL2 (wsl --install)",
        )
    return Support(
        available=False,
        cause="other-system",
        explanation=f"this is {name}, and the queues that are studied here are Linux's",
        hint="run it in the project's virtual machine: vagrant up",
    )


def _refused(seen: Observations) -> Support:
    calls = ", ".join(f"{call} {errno.errorcode.get(number, number)}" for call, number in seen.refused.items())
    answered = f"the kernel answered {calls}"
    if _is_wsl1(seen.kernel):
        return Support(
            available=False,
            cause="wsl1",
            explanation=f"{answered}: this is WSL1, which does not have these calls",
            hint="from Windows: wsl --set-version DISTRO 2 (names: wsl --list); or use the virtual machine: vagrant up",
        )
    # The listing decides, not the mode of seccomp: containers run under some filter almost always, and a filter hides
    # no file; but a kernel without queues has no listing.
    if seen.has_listing:
        return Support(
            available=False,
            cause="filter",
            explanation=f"{answered}, although it has message queues: {_filter_words(seen.seccomp)} refuses them",
            hint="allow msgget, msgsnd, msgrcv and msgctl in the container runtime's or service's seccomp profile",
        )
    if seen.seccomp is None:
        return Support(
            available=False,
            cause="unknown",
            explanation=f"{answered}, and /proc is not there to tell why",
            hint="mount /proc and try again",
        )
    return Support(
        available=False,
        cause="kernel-without-sysvipc",
        explanation=f"{answered}, and there is no /proc/sysvipc: this kernel was built without CONFIG_SYSVIPC",
        hint="use another kernel, or the project's virtual machine: vagrant up",
    )


def _filter_words(seccomp: int | None) -> str:
    return "a seccomp filter" if seccomp == _SECCOMP_FILTER else "a security module or tracer"


def _is_wsl1(kernel: str) -> bool:
    """WSL1 says 4.4.0-19041-Microsoft; WSL2 says 5.15.90.1-microsoft-standard-WSL2."""
    return "Microsoft" in kernel and "WSL2" not in kernel and "microsoft-standard" not in kernel


def _refused_calls() -> dict[str, int]:
    """The calls that answer ENOSYS or EPERM to arguments that a kernel with queues answers ENOENT or EINVAL."""
    buffer = ctypes.create_string_buffer(256)
    ctypes.c_long.from_buffer(buffer).value = 1  # the message type
    answers = {
        "msgget": libc.call("msgget", _PROBE_KEY, 0),
        "msgsnd": libc.call("msgsnd", -1, buffer, ctypes.c_size_t(0), _IPC_NOWAIT),
        "msgrcv": libc.call("msgrcv", -1, buffer, ctypes.c_size_t(0), ctypes.c_long(0), _IPC_NOWAIT),
        "msgctl": libc.call("msgctl", -1, _IPC_STAT, buffer),
    }
    return {
        name: number
        for name, (result, number) in answers.items()
        if result == -1 and number in (errno.ENOSYS, errno.EPERM)
    }


def _seccomp_mode() -> int | None:
    for line in _read("/proc/self/status").splitlines():
        if line.startswith("Seccomp:"):
            return int(line.split()[1])
    return None


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
