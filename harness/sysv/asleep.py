"""Who is asleep in msgsnd or msgrcv, and in what words it asked, as /proc tells.

Used before a run touches somebody else's queue, and by who shows what a process waits for. The kernel keeps no public
list of a queue's waiters. /proc/PID/syscall (proc_pid_syscall(5)) shows the number and the arguments of the call that a
process is blocked in: for both calls the queue's id, the message's address and a size, then for msgrcv the msgtyp and
the flags.

It is read with the right to trace a process (ptrace(2), PTRACE_MODE_ATTACH_FSCREDS): root reads all, others their own,
and under Yama (kernel.yama.ptrace_scope 1, as on Ubuntu) only their own descendants. A process that cannot be read, a
32-bit program, and the threads beside a process's main one are not seen.
"""

from __future__ import annotations

import ctypes
import platform
from dataclasses import dataclass
from pathlib import Path

from harness.sysv.msgrcv import MSG_EXCEPT

CALLS = {
    "x86_64": {69: "msgsnd", 70: "msgrcv"},
    "aarch64": {189: "msgsnd", 188: "msgrcv"},
    "riscv64": {189: "msgsnd", 188: "msgrcv"},
}
"""Numbers of the two calls (Linux, arch/x86/entry/syscalls/syscall_64.tbl, include/uapi/asm-generic/unistd.h)."""

PROC = Path("/proc")

_WORDS = 9  # the number, six arguments, the stack pointer, the program counter; fewer when not in a call


@dataclass(frozen=True, slots=True)
class Sleeper:
    """A process (or thread's main process) asleep on a queue, and what it asked for.

    `size_bytes` is the size of the message that it sends, or of the buffer that it receives into. `msgtyp` is what a
    receiver asked for, as in Selector; None for a sender. `queue_id` is a number of the sleeper's IPC namespace.
    `flags` has MSG_EXCEPT where a receiver asked for any type but `msgtyp`, as in Selector; else it is 0.
    """

    pid: int
    call: str
    msgtyp: int | None
    size_bytes: int
    queue_id: int
    flags: int = 0


def sleepers(queue_id: int, proc: Path = PROC) -> list[Sleeper]:
    """The processes of this IPC namespace that sleep in msgsnd or msgrcv on the queue, as far as they can be read."""
    return [sleeper for sleeper in all_sleepers(proc) if sleeper.queue_id == queue_id]


def all_sleepers(proc: Path = PROC) -> list[Sleeper]:
    """As `sleepers`, on any queue of this IPC namespace; one walk through /proc for all of them."""
    mine = (proc / "self/ns/ipc").readlink()
    found = []
    for entry in proc.iterdir():
        if not entry.name.isdigit():
            continue
        sleeper = asleep_in(int(entry.name), proc)
        if sleeper and _namespace(entry) == mine:
            found.append(sleeper)
    return sorted(found, key=lambda sleeper: sleeper.pid)


def asleep_in(pid: int, proc: Path = PROC) -> Sleeper | None:
    """What a process sleeps in, if that is msgsnd or msgrcv on a queue of its own IPC namespace, whichever that is.

    None if it sleeps elsewhere, runs, has ended, or is not ours to read. The answer is of one moment: it may have
    woken by now.
    """
    try:
        words = (proc / str(pid) / "syscall").read_text(encoding="ascii").split()
    except OSError:
        return None  # it ended, or is not ours to read
    if len(words) < _WORDS:
        return None
    call = CALLS.get(platform.machine(), {}).get(int(words[0]))
    if call is None:
        return None
    queue_id, _address, size_bytes, msgtyp, flags = (int(word, 16) for word in words[1:6])
    return Sleeper(
        pid=pid,
        call=call,
        # As printed the argument is an unsigned word of the machine.
        msgtyp=ctypes.c_int64(msgtyp).value if call == "msgrcv" else None,
        size_bytes=size_bytes,
        queue_id=ctypes.c_int32(queue_id).value,  # a C int: the word's upper half may hold anything
        flags=flags & MSG_EXCEPT if call == "msgrcv" else 0,  # msgsnd's fifth word means nothing
    )


def _namespace(entry: Path) -> Path | None:
    try:
        return (entry / "ns/ipc").readlink()
    except OSError:
        return None  # it ended, or is not ours to read
