"""The checks of lab 01: `pytest labs/01_preflight`.

Those that need no message queues run on a machine without any, too. ENOSYS is a real one: a seccomp filter refuses
msgget as WSL1 does. ENOSPC is a real one: the check's own namespace allows no more queues.
"""

from __future__ import annotations

import errno
import os
import platform

import pytest
import sysv_ipc

from harness.labkit import CannotStageError, Teach, limit, needs_no_queues, task
from harness.labkit.ground import BYSTANDER_KEY
from harness.labkit.no_msgget import PROCESSORS
from harness.sysv import Limits, diagnose, queues
from harness.sysv.errors import MachineError

ANSWERS = "README.md, The kernel's answers"
WSL = "README.md, Which machine"


@pytest.fixture
def no_more_queues():
    """The namespace has as many queues as msgmni allows, so that msgget answers ENOSPC."""
    held = queues()
    if BYSTANDER_KEY not in [queue.key for queue in held]:
        raise CannotStageError("msgmni is lowered in a private IPC namespace only, and this check has none")
    try:
        Limits.write(msgmni=len(held))
    except MachineError as error:
        raise CannotStageError(str(error)) from error


def raised_by_msgget(key: int, flags: int) -> Exception | None:
    """What sysv_ipc raises for this call."""
    try:
        sysv_ipc.MessageQueue(key, flags)
    except (OSError, sysv_ipc.Error) as error:
        return error
    return None


def words_for(error: Exception | None) -> str:
    return f"{type(error).__name__}({error})"


# --- 1.1 -------------------------------------------------------------------------------------------------------------


@task("1.1")
@needs_no_queues
def test_a_queue_means_ready(lab):
    """`judge` of no error at all is "ready"."""
    answer = lab.judge(None)

    assert answer == "ready", Teach(
        saw=f"msgget raised nothing, and judge(None) gave {answer!r}",
        because="a kernel that makes a queue has queues",
        try_="begin with: if error is None",
        see=ANSWERS,
    )


@task("1.1")
@needs_no_queues
def test_enosys_means_missing(lab):
    """`judge` of ENOSYS is "missing"."""
    answer = lab.judge(OSError(errno.ENOSYS, os.strerror(errno.ENOSYS)))

    assert answer == "missing", Teach(
        saw=f"msgget answered ENOSYS, errno {errno.ENOSYS}, and judge gave {answer!r}",
        because="ENOSYS says that the kernel does not know the call; trying again, or as root, changes nothing",
        try_="compare error.errno with errno.ENOSYS",
        see=ANSWERS,
    )


def expect_refused(lab, error: Exception | None, name: str, because: str) -> None:
    answer = lab.judge(error)

    assert answer == "refused", Teach(
        saw=f"msgget answered {name}: sysv_ipc raised {words_for(error)}, and judge gave {answer!r}",
        because=because,
        try_='only ENOSYS is "missing"; whatever else was raised is "refused"',
        see=ANSWERS,
    )


@task("1.1")
def test_a_limit_that_is_reached_is_no_missing_call(lab, no_more_queues):
    """`judge` of ENOSPC, a full namespace, is "refused"."""
    error = raised_by_msgget(sysv_ipc.IPC_PRIVATE, sysv_ipc.IPC_CREX)

    expect_refused(
        lab,
        error,
        "ENOSPC",
        "msgmni queues exist already, so the kernel has queues; sysv_ipc raises an OSError for this as well, but one "
        "without a number",
    )


@task("1.1")
def test_a_forbidden_queue_is_no_missing_call(lab):
    """`judge` of EACCES, of ENOENT and of ENOMEM is "refused"."""
    closed = sysv_ipc.MessageQueue(0x77, sysv_ipc.IPC_CREX, 0)
    forbidden = raised_by_msgget(0x77, 0)
    closed.remove()
    if forbidden is None:
        raise CannotStageError("this process may open any queue: it has root's rights")
    because = "who refuses one queue has others; a number is only in an OSError, and only sometimes"

    expect_refused(lab, forbidden, "EACCES", because)
    expect_refused(lab, raised_by_msgget(0x77, 0), "ENOENT", because)
    expect_refused(lab, MemoryError("not enough memory"), "ENOMEM", because)
    expect_refused(lab, OSError(errno.EPERM, "Operation not permitted"), "EPERM", because)


# --- 1.2 -------------------------------------------------------------------------------------------------------------


@task("1.2")
@needs_no_queues
@pytest.mark.parametrize(
    "release",
    ["3.4.0-Microsoft", "4.4.0-17763-Microsoft", "4.4.0-19041-Microsoft", "4.4.0-22621-Microsoft"],
)
def test_wsl1_is_known_by_its_release(lab, release):
    """`way_out` of a WSL1 is to make it a WSL2."""
    version = f"Linux version {release} (Microsoft@Microsoft.com) (gcc version 5.4.0 (GCC) ) #1237-Microsoft Sat 2021\n"

    way = lab.way_out(version)

    assert way == lab.TO_WSL2, Teach(
        saw=f"for the release {release} way_out gave {way!r}",
        because="WSL1 is no Linux kernel: Windows translates its calls, and msgget is not among them; its releases end "
        "in -Microsoft",
        try_="compare the end of the third word",
        see=WSL,
    )


@task("1.2")
@needs_no_queues
@pytest.mark.parametrize(
    "version",
    [
        "Linux version 5.15.90.1-microsoft-standard-WSL2 (oe-user@oe-host) (x86_64-msft-linux-gcc (GCC) 9.3.0) #1 SMP",
        "Linux version 4.19.43-microsoft-standard (oe-user@oe-host) (gcc version 7.3.0 (GCC)) #1 SMP",
        "Linux version 6.1.0-18-amd64 (debian-kernel@lists.debian.org) (gcc-12 (Debian 12.2.0-14) 12.2.0) #1 SMP",
        "Linux version 6.8.0-1010-azure (Microsoft@build) (gcc-13) #10-Microsoft SMP",
    ],
)
def test_wsl2_and_others_are_not_taken_for_wsl1(lab, version):
    """`way_out` of all others is the VM: WSL2 is a real Linux kernel, and to make it a WSL2 is no help."""
    way = lab.way_out(version)

    assert way == lab.TO_VM, Teach(
        saw=f"for the release {version.split()[2]} way_out gave {way!r}",
        because="WSL2's release has a small microsoft in it, a built kernel names its builder beside it, and neither "
        "is WSL1: only the release's end tells",
        try_="look at the third word alone, as it is written",
        see=WSL,
    )


# --- 1.3 -------------------------------------------------------------------------------------------------------------


@task("1.3")
def test_ask_leaves_no_queue(lab):
    """`ask` gives None where there are queues, however often; and afterwards there are as many as before."""
    before = [queue.id for queue in queues()]

    answers = [lab.ask(), lab.ask()]

    left = [queue for queue in queues() if queue.id not in before and queue.cuid == os.geteuid()]
    assert answers == [None, None], Teach(
        saw=f"this machine has queues, and ask, called twice, gave {[words_for(answer) for answer in answers]}",
        because="a private queue is new at each call, whatever others have made; with a key it depends on them",
        try_="IPC_PRIVATE as the key, IPC_CREX as the flags",
        see=ANSWERS,
    )
    assert not left, Teach(
        saw=f"ask was called twice, and {len(left)} new queues are there",
        because="a queue outlives its program; after msgmni preflights the machine has no room for another queue",
        try_="call remove() on the queue that you made",
        see=ANSWERS,
    )


@task("1.3")
def test_ask_hands_the_error_on(lab, no_more_queues):
    """`ask` returns what sysv_ipc raised, and does not raise it."""
    try:
        error = lab.ask()
    except (OSError, sysv_ipc.Error) as raised:
        error = f"ask raised it: {raised}"

    assert isinstance(error, OSError), Teach(
        saw=f"msgmni queues existed, and ask gave {error!r}",
        because="here an error is an answer like another; judge tells what it means",
        try_="except Exception as error: return error",
        see=ANSWERS,
    )


@task("1.3")
@limit(10)
@needs_no_queues
def test_a_machine_without_queues_gets_a_way_out(stage):
    """Where msgget answers ENOSYS the program says "missing", with the error and a way out, and ends with status 1."""
    if not diagnose().available:
        program = stage.run()  # nothing needs to be staged
    elif platform.machine() in PROCESSORS:
        program = stage.without_message_queues()
    else:
        raise CannotStageError(f"the filter that refuses msgget is not written for {platform.machine()}")

    status = program.wait()

    said = program.output.splitlines()
    is_right = len(said) == 2 and said[0].startswith("missing: ") and "vagrant up" in said[1]
    assert (status, is_right) == (1, True), Teach(
        saw=f"msgget answered ENOSYS; the program wrote {said} {program.errors[-200:]!r}, and ended with {status}",
        because="sysv_ipc raises ENOSYS as an OSError of Python's, and not as an error of its own",
        try_="ask must return that error too: except Exception as error",
        see=ANSWERS,
    )


@task("1.3")
@limit(10)
def test_a_machine_with_queues_is_ready(stage):
    """Where there are queues the program says "ready", and nothing else, and ends with status 0."""
    program = stage.run()
    status = program.wait()

    assert (status, program.output) == (0, "ready\n"), Teach(
        saw=f"the program wrote {program.output!r} {program.errors[-200:]!r}, and ended with status {status}",
        because="msgget made the queue that was asked for",
        try_="leave main as starter.py has it, and see what the other checks say",
        see=ANSWERS,
    )


@task("1.3")
@limit(10)
def test_a_machine_that_is_full_is_not_told_to_move(stage, no_more_queues):
    """Where msgget answers ENOSPC the program says "refused" and why, and ends with status 1."""
    program = stage.run()
    status = program.wait()

    said = program.output.splitlines()
    assert (status, len(said), said[0].split(": ")[0] if said else "") == (1, 1, "refused"), Teach(
        saw=f"msgmni queues existed; the program wrote {said} {program.errors[-200:]!r}, and ended with {status}",
        because="this kernel has queues: another machine is not what is needed, but ipcs -q and ipcrm",
        try_="leave main as starter.py has it, and see what the other checks say",
        see=ANSWERS,
    )
