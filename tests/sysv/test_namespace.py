"""The private namespace, entered for real, as root and as an ordinary user."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from harness.sysv import Limits, NamespaceSupport, PrivateNamespace, enter_private, probe
from harness.sysv.errors import NamespaceError, UsageError
from harness.sysv.namespace import explain_refusal

if TYPE_CHECKING:
    from tests.conftest import OrdinaryUser

OWN_NAMESPACE = Path("/proc/self/ns/ipc")

# Enter, make a queue, let nsenter look, and tell all as JSON. Imports come first: in a user namespace the capability
# that lets a test's ordinary user read root's files does not count.
ENTER = """
import json, os, subprocess, sys, pwd
from pathlib import Path
from harness.sysv import Limits, Queue, enter_private, usage
before, link = Limits.read(), os.readlink("/proc/self/ns/ipc")
entered = enter_private(**json.loads(sys.argv[1]))
with Queue.create(0x3034, max_bytes=64) as queue:
    queue.send(b"abcd")
    looker = os.fork()
    if looker == 0:
        os.execvp("sleep", ["sleep", "60"])
    try:
        print(json.dumps({
            "kind": entered.kind,
            "moved": link != os.readlink("/proc/self/ns/ipc"),
            "queues": usage().queues,
            "uid": os.getuid(),
            "before": [before.msgmax, before.msgmnb, before.msgmni],
            "limits": [entered.limits.msgmax, entered.limits.msgmnb, entered.limits.msgmni],
            "queue_bytes": queue.stat().queue_bytes,
            "looker": looker,
            "command": entered.enter_command(looker),
        }), flush=True)
        sys.stdin.read()
    finally:
        os.kill(looker, 9)
        os.waitpid(looker, 0)
"""


def enter_and_look(
    prefix: tuple[str, ...], env: dict[str, str], repository: Path, **limits: int
) -> tuple[dict[str, Any], str]:
    """What ENTER told, and what its enter_command then listed, run as the same user."""
    with subprocess.Popen(
        [*prefix, sys.executable, "-c", ENTER, json.dumps(limits)],
        env={**env, "PYTHONPATH": f"{repository}:{env.get('PYTHONPATH', '')}"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            told = json.loads(process.stdout.readline())
            looked = subprocess.run([*prefix, *told["command"]], capture_output=True, text=True, check=False)
        finally:
            process.stdin.close()
    return told, looked.stdout + looked.stderr


def test_the_tests_own_user_gets_a_namespace(repository: Path) -> None:
    """The process moves, its limits are the old ones or as asked, and the command shows its queue."""
    told, listing = enter_and_look((), dict(os.environ), repository, queue_bytes=1_000_000, message_bytes=50_000)

    msgmax, msgmnb, msgmni = told["before"]
    assert told["moved"]
    assert told["queues"] == 1
    assert told["limits"] == [max(msgmax, 50_000), max(msgmnb, 1_000_000), msgmni]
    assert told["queue_bytes"] == max(msgmnb, 1_000_000)
    assert "0x00003034" in listing


def test_an_ordinary_user_gets_a_namespace(as_user: OrdinaryUser, repository: Path) -> None:
    """Without privileges a user namespace comes along, the limits are raised all the same, and the command works."""
    # util-linux's word on it, not ours: else a fault of ours would be a skip.
    possible = as_user.run("unshare", "--user", "--map-root-user", "--ipc", "true")
    if possible.returncode != 0:
        pytest.skip(f"ordinary users get no user namespace here: {possible.stderr}")

    probed = as_user.python("from harness.sysv import probe; print(probe())")
    told, listing = enter_and_look(as_user.prefix, as_user.env, repository, queue_bytes=1_000_000, msgmni=32_001)

    assert "available=True, limits_can_be_raised=True, kind='user+ipc'" in probed.stdout
    assert (told["kind"], told["uid"], told["moved"]) == ("user+ipc", 0, True)
    assert told["limits"][1:] == [max(told["before"][1], 1_000_000), max(told["before"][2], 32_001)]
    assert "0x00003034" in listing


@pytest.mark.private_ipc
@pytest.mark.parametrize(("msgmax", "msgmnb", "msgmni"), [(9000, 30_000, 11), (0, 0, 0)])
def test_the_new_namespace_has_the_limits_of_the_old(msgmax: int, msgmnb: int, msgmni: int) -> None:
    """Limits that differ from the kernel's defaults, also lower ones, are copied."""
    Limits.write(msgmax=msgmax, msgmnb=msgmnb, msgmni=msgmni)

    entered = enter_private()

    assert entered.limits == Limits(msgmax=msgmax, msgmnb=msgmnb, msgmni=msgmni) == Limits.read()


@pytest.mark.private_ipc
@pytest.mark.parametrize(
    ("asked", "msgmax", "msgmnb"),
    [
        ({"message_bytes": 100_000}, 100_000, 100_000),
        ({"message_bytes": 100_000, "queue_bytes": 200_000}, 100_000, 200_000),
        ({"queue_bytes": 1}, 8192, 16384),
    ],
)
def test_a_message_that_is_asked_for_fits_the_queue(asked: dict[str, int], msgmax: int, msgmnb: int) -> None:
    """message_bytes raises msgmax, and msgmnb with it unless queue_bytes is given; nothing is lowered."""
    entered = enter_private(**asked)

    assert (entered.limits.msgmax, entered.limits.msgmnb) == (msgmax, msgmnb)


@pytest.mark.private_ipc
def test_limits_that_are_refused_are_a_namespace_error() -> None:
    """A limit that the kernel refuses is a NamespaceError that names it."""
    with pytest.raises(NamespaceError, match="msgmni"):
        enter_private(msgmni=2**31 - 1)


@pytest.mark.private_ipc
@pytest.mark.parametrize("wrong", [{"queue_bytes": 0}, {"message_bytes": -1}, {"msgmni": 2**31}, {"queue_bytes": True}])
def test_numbers_that_no_limit_can_be_are_refused_before_anything_moves(wrong: dict[str, int]) -> None:
    """A wrong number is a UsageError, and the process stays where it was."""
    before = OWN_NAMESPACE.readlink()

    with pytest.raises(UsageError):
        enter_private(**wrong)

    assert OWN_NAMESPACE.readlink() == before


def test_a_process_with_two_threads_is_refused(repository: Path) -> None:
    """Two threads are a NamespaceError that counts them, and nothing moves."""
    code = (
        "import os, threading\n"
        "from harness.sysv import enter_private\n"
        "from harness.sysv.errors import NamespaceError\n"
        "before, done = os.readlink('/proc/self/ns/ipc'), threading.Event()\n"
        "threading.Thread(target=done.wait).start()\n"
        "try: enter_private()\n"
        "except NamespaceError as error: print(error)\n"
        "print(before == os.readlink('/proc/self/ns/ipc'))\n"
        "done.set()\n"
    )

    done = subprocess.run([sys.executable, "-c", code], cwd=repository, capture_output=True, text=True, check=True)

    assert "2 threads" in done.stdout
    assert done.stdout.endswith("True\n")


def test_the_probe_leaves_the_caller_where_it_is() -> None:
    """probe tries in another process, and works from one with threads, as a test's worker has them."""
    before = OWN_NAMESPACE.readlink()

    found = probe()

    assert isinstance(found, NamespaceSupport)
    assert found.available is (found.kind is not None)
    assert found.available or found.why
    assert OWN_NAMESPACE.readlink() == before


def test_the_probe_tells_when_unshare_is_refused(repository: Path) -> None:
    """Where no more namespaces may be made, probe says so and which sysctl it is."""
    if os.geteuid() != 0:
        pytest.skip("only root may set user.max_ipc_namespaces to 0, in a user namespace of the test's own")
    code = (
        "from pathlib import Path\n"
        "Path('/proc/sys/user/max_ipc_namespaces').write_text('0')\n"
        "from harness.sysv import probe\n"
        "print(probe())\n"
    )

    done = subprocess.run(
        ["unshare", "--user", "--map-root-user", sys.executable, "-c", code],
        cwd=repository,
        capture_output=True,
        text=True,
        check=False,
    )

    if "unshare failed" in done.stderr:
        pytest.skip(f"no user namespace can be had for it here, as in a chroot: {done.stderr.strip()}")
    assert "available=False" in done.stdout, done.stderr
    assert "user.max_ipc_namespaces is 0" in done.stdout


@pytest.mark.parametrize(
    ("number", "with_user", "knobs", "why", "hint"),
    [
        (errno.EPERM, True, {"kernel.apparmor_restrict_unprivileged_userns": 1}, "AppArmor", "sysctl"),
        (errno.EACCES, True, {"kernel.apparmor_restrict_unprivileged_userns": 1}, "AppArmor", "sysctl"),
        (errno.EPERM, True, {"kernel.unprivileged_userns_clone": 0}, "ordinary users", "sysctl"),
        (errno.EPERM, True, {"kernel.unprivileged_userns_clone": 1}, "seccomp", "CAP_SYS_ADMIN"),
        (errno.EPERM, True, {}, "seccomp", "CAP_SYS_ADMIN"),
        (errno.ENOSPC, True, {"user.max_user_namespaces": 0}, "max_user_namespaces is 0", "sysctl"),
        (errno.ENOSPC, False, {"user.max_ipc_namespaces": 0}, "max_ipc_namespaces is 0", "sysctl"),
        (errno.ENOSPC, False, {"user.max_ipc_namespaces": 99}, "too many", "lsns"),
        (errno.EUSERS, True, {}, "too deeply", "lsns"),
        (errno.EINVAL, False, {}, "built without", ""),
        (errno.ENOSYS, False, {}, "no unshare", "profile"),
        (errno.EACCES, True, {}, "not dumpable", "exec"),
        (errno.ENOMEM, False, {}, "ENOMEM: Cannot allocate memory", ""),
    ],
)
def test_each_refusal_is_explained(number: int, with_user: bool, knobs: dict[str, int], why: str, hint: str) -> None:
    """An errno and the sysctls lead to a reason that begins with the errno's name, and to what can be done."""
    found_why, found_hint = explain_refusal(number, with_user=with_user, knobs=knobs)

    assert found_why.startswith(errno.errorcode[number])
    assert why in found_why
    assert hint in found_hint


@pytest.mark.parametrize(
    ("kind", "command"),
    [
        ("ipc", "nsenter --target 42 --ipc ipcs -q"),
        ("user+ipc", "nsenter --target 42 --user --preserve-credentials --ipc ipcs -q"),
    ],
)
def test_the_command_fits_the_kind(kind: Any, command: str) -> None:
    """A user namespace must be entered too, where there is one."""
    entered = PrivateNamespace(kind=kind, limits=Limits(msgmax=1, msgmnb=1, msgmni=1))

    assert " ".join(entered.enter_command(42)) == command
