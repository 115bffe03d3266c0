"""All message queues of this IPC namespace, as `ipcs -q` lists them, whoever owns them.

Used by queue.py (one queue's state), limits.py (usage), and whoever looks for leftovers. It changes nothing.
Sources: /proc/sysvipc/msg (ipc/msg.c, sysvipc_msg_proc_show), which shows every queue of the namespace whatever its
mode, user ids as this user namespace sees them, process ids as this pid namespace sees them (0: a process outside it);
and msgctl for the byte limit, which that file does not have.
"""

from __future__ import annotations

import ctypes
import errno
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from harness.sysv import libc, support
from harness.sysv.checks import unsigned_key
from harness.sysv.errors import MachineError

if TYPE_CHECKING:
    from collections.abc import Callable

LISTING = Path("/proc/sysvipc/msg")

_IPC_STAT = 2
_MSG_STAT_ANY = 13  # by index, without read permission; Linux 4.17
_INDEX_BITS = (15, 24)  # the low bits of an id are its index; 24 with the boot parameter ipcmni_extend (ipc/util.h)
_QUEUE_BYTES_OFFSET = 88  # msg_qbytes in struct msqid64_ds, include/uapi/asm-generic/msgbuf.h, on 64 bits
_STRUCT_BYTES = 256  # the struct has 120
_GENERIC_LAYOUT = ("x86_64", "aarch64", "riscv64")


@dataclass(frozen=True, slots=True)
class QueueStat:
    """One queue at one moment; times are whole seconds since the epoch, and 0 stands for never or nobody.

    `key` is as ipcs prints it (0 to 0xffffffff; 0 for IPC_PRIVATE). `used_bytes` counts message text only.
    `queue_bytes` (msg_qbytes) limits used_bytes, and the number of messages too.
    """

    key: int
    id: int
    mode: int
    uid: int
    gid: int
    cuid: int
    cgid: int
    messages: int
    used_bytes: int
    queue_bytes: int
    last_send_pid: int
    last_receive_pid: int
    last_send_time: int
    last_receive_time: int
    last_change_time: int


def queues() -> list[QueueStat]:
    """Every queue of this IPC namespace, in the kernel's order; a queue removed meanwhile is left out.

    Raises NoMessageQueuesError where there are none to list, MachineError on a processor whose struct is not known.
    """
    return parse(read_listing(), queue_bytes_of=read_queue_bytes)


def read_listing() -> str:
    """The text of /proc/sysvipc/msg; raises NoMessageQueuesError, or MachineError if it cannot be read."""
    try:
        return LISTING.read_text(encoding="ascii")
    except OSError as error:
        support.require()
        raise MachineError(f"cannot read {LISTING}", why=error.strerror or "", hint="mount /proc") from error


def parse(text: str, *, queue_bytes_of: Callable[[int], int | None]) -> list[QueueStat]:
    """Read the text of /proc/sysvipc/msg; `queue_bytes_of` an id is its byte limit, or None if it is gone by now.

    The columns are padded to a width but never cut, and always stand apart: splitting at blanks is safe for
    numbers of any length.
    """
    found: list[QueueStat] = []
    for line in text.splitlines()[1:]:
        columns = line.split()
        key, id_, perms, used_bytes, messages, send_pid, receive_pid, uid, gid, cuid, cgid, *times = columns
        queue_bytes = queue_bytes_of(int(id_))
        if queue_bytes is None:
            continue
        send_time, receive_time, change_time = times
        found.append(
            QueueStat(
                key=unsigned_key(int(key)),
                id=int(id_),
                mode=int(perms, 8),
                uid=int(uid),
                gid=int(gid),
                cuid=int(cuid),
                cgid=int(cgid),
                messages=int(messages),
                used_bytes=int(used_bytes),
                queue_bytes=queue_bytes,
                last_send_pid=int(send_pid),
                last_receive_pid=int(receive_pid),
                last_send_time=int(send_time),
                last_receive_time=int(receive_time),
                last_change_time=int(change_time),
            )
        )
    return found


def read_queue_bytes(id: int) -> int | None:  # noqa: A002 - the kernel's word
    """The byte limit (msg_qbytes) of the queue with this id, also of one that may not be read; None if it is gone.

    Raises MachineError on a processor whose struct msqid64_ds is not the generic 64-bit one, or on a refusal.
    """
    if platform.machine() not in _GENERIC_LAYOUT or ctypes.sizeof(ctypes.c_void_p) != 8:  # noqa: PLR2004 - 64 bits
        raise MachineError(f"the layout of struct msqid_ds on {platform.machine()} is not known here")
    buffer = ctypes.create_string_buffer(_STRUCT_BYTES)
    result, number = libc.call("msgctl", id, _IPC_STAT, buffer)
    if result == -1 and number == errno.EACCES:
        result, number = _stat_any(id, buffer)
    if result == -1:
        if number in (errno.EINVAL, errno.EIDRM):
            return None
        raise MachineError(f"msgctl(IPC_STAT) of queue id {id} failed", why=errno.errorcode.get(number, str(number)))
    return ctypes.c_uint64.from_buffer(buffer, _QUEUE_BYTES_OFFSET).value


def _stat_any(id_: int, buffer: ctypes.Array[ctypes.c_char]) -> tuple[int, int]:
    """IPC_STAT without read permission: (0, 0), or (-1, errno)."""
    for bits in _INDEX_BITS:
        result, number = libc.call("msgctl", id_ & (2**bits - 1), _MSG_STAT_ANY, buffer)
        if result == id_:
            return 0, 0
        if result == -1 and number not in (errno.EINVAL, errno.EIDRM):
            return -1, number
    return -1, errno.EINVAL
