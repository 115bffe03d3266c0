"""A private IPC namespace: queues that nobody else sees, that vanish with their last process, and own limits.

Used by the leader of a run, before it creates queues and starts processes, and by tests. The kernel removes a
namespace's queues when its last process ends, even by SIGKILL, so nothing leaks. Not here: starting the leader.

With CAP_SYS_ADMIN, unshare(CLONE_NEWIPC) is enough. Without, a user namespace comes along, in which the caller's uid
is mapped to 0: with the identity map, writing msgmnb there is refused. Both move one thread: CLONE_NEWUSER is EINVAL
with a second thread, and CLONE_NEWIPC leaves the other threads behind, so more than one thread is refused here.
Sources: ipc_namespaces(7), user_namespaces(7), unshare(2).
"""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from harness.sysv import libc
from harness.sysv.checks import check_size_bytes
from harness.sysv.errors import HarnessError, MachineError, NamespaceError
from harness.sysv.limits import Limits

if TYPE_CHECKING:
    from collections.abc import Mapping

Kind = Literal["ipc", "user+ipc"]

_CLONE_NEWIPC = 0x08000000  # include/uapi/linux/sched.h
_CLONE_NEWUSER = 0x10000000
_PROBE_TIMEOUT_S = 20.0

_REFUSALS = {
    errno.ENOSPC: ("there are too many namespaces, or they are nested too deeply", "end what holds them: lsns"),
    errno.EUSERS: ("there are too many namespaces, or they are nested too deeply", "end what holds them: lsns"),
    errno.EINVAL: ("this kernel was built without IPC or user namespaces", "use another kernel"),
    errno.ENOSYS: ("this kernel has no unshare, or a filter refuses it", "allow unshare in the container's profile"),
    errno.EACCES: ("this process is not dumpable, as after setuid without exec", "exec a new program first"),
    errno.EPERM: (
        "a container's or service's seccomp profile, or a chroot, forbids it",
        "run outside, or give the container CAP_SYS_ADMIN or a profile that allows unshare",
    ),
}
"""(why, hint) for unshare(2)'s errors, and those of /proc/self/uid_map, where no sysctl explains them."""


@dataclass(frozen=True, slots=True)
class PrivateNamespace:
    """How the namespace was entered: `kind` "ipc" (with CAP_SYS_ADMIN) or "user+ipc"; and its limits then."""

    kind: Kind
    limits: Limits

    def enter_command(self, pid: int) -> list[str]:
        """The command that lists the queues which process `pid`, in this namespace, sees; for its user or root."""
        # Without --preserve-credentials nsenter sets groups, which this user namespace denies.
        user = ["--user", "--preserve-credentials"] if self.kind == "user+ipc" else []
        return ["nsenter", "--target", str(pid), *user, "--ipc", "ipcs", "-q"]


@dataclass(frozen=True, slots=True)
class NamespaceSupport:
    """Whether a private namespace can be had, and its limits raised; if not, `why`, and a `hint`."""

    available: bool
    limits_can_be_raised: bool
    kind: Kind | None = None
    why: str = ""
    hint: str = ""


def enter_private(
    *, queue_bytes: int | None = None, message_bytes: int | None = None, msgmni: int | None = None
) -> PrivateNamespace:
    """Move this process into a new, empty IPC namespace, which has the old one's limits or more.

    `queue_bytes`: raise msgmnb so far that a queue can hold it; `message_bytes`: raise msgmax, and msgmnb too if
    `queue_bytes` is not given; `msgmni`: so many queues. Processes started later are in it too.

    Raises UsageError for a number outside 1..2**31-1; NamespaceError when refused, saying why. If the refusal was of
    the limits, the process has moved already: end it.
    """
    for what, value in {"queue_bytes": queue_bytes, "message_bytes": message_bytes, "msgmni": msgmni}.items():
        if value is not None:
            check_size_bytes(value, what=what)
    _check_one_thread()
    before = _limits()
    kind = _unshare()
    try:
        after = Limits.write(
            msgmax=max(before.msgmax, message_bytes or 0),
            msgmnb=max(before.msgmnb, queue_bytes or message_bytes or 0),
            msgmni=max(before.msgmni, msgmni or 0),
        )
    except MachineError as error:
        raise NamespaceError(f"in the private IPC namespace, {error.seen}", why=error.why, hint=error.hint) from error
    return PrivateNamespace(kind=kind, limits=after)


def probe() -> NamespaceSupport:
    """Try it in a short-lived process of its own, so that the caller stays where it is; never raises.

    It starts a new Python rather than forks, as the caller may have threads.
    """
    code = "import sys; sys.path[:] = sys.argv[1:]; from harness.sysv import namespace; namespace._answer_probe()"
    try:
        done = subprocess.run(
            [sys.executable, "-c", code, *(os.path.abspath(folder) for folder in sys.path)],  # noqa: PTH100 - "" too
            capture_output=True,
            text=True,
            check=True,
            timeout=_PROBE_TIMEOUT_S,
        )
        return NamespaceSupport(**json.loads(done.stdout))
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        words = getattr(error, "stderr", None) or str(error)
        return NamespaceSupport(available=False, limits_can_be_raised=False, why=f"the probe failed: {words.strip()}")


def explain_refusal(number: int, *, with_user: bool, knobs: Mapping[str, int]) -> tuple[str, str]:
    """Why unshare answered errno `number`, and what to do: (why, hint).

    `with_user`: a user namespace was asked for too. `knobs`: the sysctls that `_knobs` reads, by name.
    """
    name = errno.errorcode.get(number, str(number))
    why, hint = _REFUSALS.get(number, (os.strerror(number), ""))
    if number in (errno.ENOSPC, errno.EUSERS):
        for knob in ("user.max_user_namespaces", "user.max_ipc_namespaces"):
            if knobs.get(knob) == 0:
                why, hint = f"{knob} is 0", f"sudo sysctl -w {knob}=1000"
    elif with_user and knobs.get("kernel.apparmor_restrict_unprivileged_userns") == 1:
        why = "AppArmor restricts user namespaces of ordinary users (Ubuntu 23.10 and later)"
        hint = "run as root, or: sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0"
    elif with_user and knobs.get("kernel.unprivileged_userns_clone") == 0:
        why = "this system keeps user namespaces from ordinary users"
        hint = "run as root, or: sudo sysctl -w kernel.unprivileged_userns_clone=1"
    return f"{name}: {why}", hint


def _check_one_thread() -> None:
    try:
        threads = len(os.listdir("/proc/self/task"))  # noqa: PTH208 - names alone are counted
    except OSError as error:
        raise NamespaceError(
            "no private IPC namespace", why=f"/proc cannot be read: {error}", hint="it is for Linux with /proc mounted"
        ) from error
    if threads != 1:
        raise NamespaceError(
            "no private IPC namespace",
            why=f"this process has {threads} threads, and entering moves one only",
            hint="enter it before any thread is started, or from a new process",
        )


def _limits() -> Limits:
    try:
        return Limits.read()
    except MachineError as error:
        raise NamespaceError("no private IPC namespace", why=str(error), hint=error.hint) from error


def _unshare() -> Kind:
    result, number = libc.call("unshare", _CLONE_NEWIPC)
    if result == 0:
        return "ipc"
    if number != errno.EPERM:
        raise _refused(number, with_user=False)
    uid, gid = os.geteuid(), os.getegid()
    result, number = libc.call("unshare", _CLONE_NEWUSER | _CLONE_NEWIPC)
    if result == -1:
        raise _refused(number, with_user=True)
    try:
        # The order is the kernel's rule: an ordinary user may write gid_map only once setgroups is denied.
        for name, text in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")):
            Path("/proc/self", name).write_text(text, encoding="ascii")
    except OSError as error:
        why, hint = explain_refusal(error.errno or 0, with_user=True, knobs=_knobs())
        raise NamespaceError(f"the user namespace cannot be set up ({error.filename})", why=why, hint=hint) from error
    return "user+ipc"


def _refused(number: int, *, with_user: bool) -> NamespaceError:
    why, hint = explain_refusal(number, with_user=with_user, knobs=_knobs())
    return NamespaceError("no private IPC namespace", why=why, hint=hint)


def _knobs() -> dict[str, int]:
    """The sysctls that explain a refusal, as far as this kernel has them."""
    found: dict[str, int] = {}
    for name in (
        "kernel.apparmor_restrict_unprivileged_userns",
        "kernel.unprivileged_userns_clone",
        "user.max_user_namespaces",
        "user.max_ipc_namespaces",
    ):
        try:
            found[name] = int(Path("/proc/sys", *name.split(".")).read_text(encoding="ascii"))
        except (OSError, ValueError):
            continue
    return found


def _answer_probe() -> None:
    """The probe's process: enter, try to raise a limit, and write what came of it to standard output as JSON."""
    try:
        entered = enter_private()
    except HarnessError as error:
        answer = NamespaceSupport(available=False, limits_can_be_raised=False, why=str(error), hint=error.hint)
    else:
        try:
            Limits.write(msgmnb=1 if entered.limits.msgmnb != 1 else 2)  # any other number takes the same right
            answer = NamespaceSupport(available=True, limits_can_be_raised=True, kind=entered.kind)
        except HarnessError as error:
            answer = NamespaceSupport(
                available=True, limits_can_be_raised=False, kind=entered.kind, why=str(error), hint=error.hint
            )
    sys.stdout.write(json.dumps(asdict(answer)))
