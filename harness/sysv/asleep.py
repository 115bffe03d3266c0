"""Who is asleep in msgsnd or msgrcv on a queue, as /proc tells. Used before a run touches somebody else's queue.

The kernel keeps no public list of a queue's waiters. /proc/PID/syscall (proc(5)) shows the number and the arguments
of the call that a process is blocked in, and the first argument of both calls is the queue's id. It can be read
for one's own processes, and by root for all; a process that cannot be read is not seen.
"""

from __future__ import annotations

import platform
from dataclasses import dataclass
from pathlib import Path

CALLS = {
    "x86_64": {69: "msgsnd", 70: "msgrcv"},
    "aarch64": {189: "msgsnd", 188: "msgrcv"},
    "riscv64": {189: "msgsnd", 188: "msgrcv"},
}
"""Numbers of the two calls (Linux, arch/x86/entry/syscalls/syscall_64.tbl, include/uapi/asm-generic/unistd.h)."""


@dataclass(frozen=True, slots=True)
class Sleeper:
    """A process (or thread's main process) asleep on a queue."""

    pid: int
    call: str


def sleepers(queue_id: int, proc: Path = Path("/proc")) -> list[Sleeper]:
    """The processes of this IPC namespace that sleep in msgsnd or msgrcv on the queue, as far as they can be read."""
    calls = CALLS.get(platform.machine(), {})
    mine = (proc / "self/ns/ipc").readlink()
    found = []
    for entry in proc.iterdir():
        if not entry.name.isdigit():
            continue
        try:
            words = (entry / "syscall").read_text(encoding="ascii").split()
            if len(words) < 2 or not words[0].isdigit():  # noqa: PLR2004  "running", or a number and arguments
                continue
            call = calls.get(int(words[0]))
            if call and int(words[1], 16) == queue_id and (entry / "ns/ipc").readlink() == mine:
                found.append(Sleeper(int(entry.name), call))
        except OSError:
            continue  # it ended, or is not ours to read
    return sorted(found, key=lambda sleeper: sleeper.pid)
