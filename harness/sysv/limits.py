"""The limits of this IPC namespace (/proc/sys/kernel/msgmax, msgmnb, msgmni), and how much of them is in use.

Used by whoever creates queues or explains why one cannot be. A queue keeps the msgmnb it was created with: raise the
limits first, then create. Sources: msgget(2), proc_sys_kernel(5), ipc/ipc_sysctl.c.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass, fields
from pathlib import Path

from harness.sysv import inventory, support
from harness.sysv.checks import check_size_bytes
from harness.sysv.errors import MachineError

SYSCTL_FOLDER = Path("/proc/sys/kernel")


@dataclass(frozen=True, slots=True)
class Limits:
    """`msgmax`: bytes of one message; `msgmnb`: bytes a new queue may hold; `msgmni`: queues in this namespace."""

    msgmax: int
    msgmnb: int
    msgmni: int

    @classmethod
    def read(cls) -> Limits:
        """The limits as they stand; raises NoMessageQueuesError, or MachineError if /proc cannot be read."""
        return cls(**{field.name: _read(field.name) for field in fields(cls)})

    @staticmethod
    def write(*, msgmax: int | None = None, msgmnb: int | None = None, msgmni: int | None = None) -> Limits:
        """Set those that are given and differ, and return the limits as they then stand.

        Raises UsageError outside 0..2**31-1, which the kernel takes; MachineError where /proc/sys is read-only, this
        user may not, or the kernel refuses the number (msgmni ends at 32768). Those written before a refusal stay
        written.
        """
        for name, value in {"msgmax": msgmax, "msgmnb": msgmnb, "msgmni": msgmni}.items():
            if value is not None and check_size_bytes(value, what=name, least=0) != _read(name):
                _write(name, value)
        return Limits.read()

    @staticmethod
    def raise_to(*, msgmax: int | None = None, msgmnb: int | None = None, msgmni: int | None = None) -> Limits:
        """As `write`, but a limit that is high enough already is left as it is."""
        now = Limits.read()
        return Limits.write(
            msgmax=max(msgmax or 0, now.msgmax),
            msgmnb=max(msgmnb or 0, now.msgmnb),
            msgmni=max(msgmni or 0, now.msgmni),
        )


@dataclass(frozen=True, slots=True)
class Usage:
    """What stands in this namespace: `queues`, the `messages` in them, and their text in `used_bytes`."""

    queues: int
    messages: int
    used_bytes: int


def usage() -> Usage:
    """What this namespace holds at this moment; raises NoMessageQueuesError or MachineError."""
    # The byte limits are of no interest here, so no system call is spent on each queue.
    found = inventory.parse(inventory.read_listing(), queue_bytes_of=lambda _id: 0)
    return Usage(
        queues=len(found),
        messages=sum(queue.messages for queue in found),
        used_bytes=sum(queue.used_bytes for queue in found),
    )


def _read(name: str) -> int:
    path = SYSCTL_FOLDER / name
    try:
        return int(path.read_text(encoding="ascii"))
    except OSError as error:
        support.require()
        raise MachineError(f"cannot read {path}", why=error.strerror or "", hint="mount /proc") from error


def _write(name: str, value: int) -> None:
    path = SYSCTL_FOLDER / name
    seen = f"cannot set {name} to {value}"
    try:
        path.write_text(str(value), encoding="ascii")
    except OSError as error:
        if error.errno == errno.EROFS:
            why = "/proc/sys is mounted read-only, as containers have it"
            hint = f"start the container with --sysctl kernel.{name}={value}"
        elif error.errno in (errno.EACCES, errno.EPERM):
            why = "only root of this IPC namespace may"
            hint = f"sudo sysctl -w kernel.{name}={value}"
        elif error.errno == errno.EINVAL:
            why, hint = "the kernel refuses the number", "msgmni ends at 32768" if name == "msgmni" else ""
        else:
            why, hint = error.strerror or str(error), ""
        raise MachineError(seen, why=why, hint=hint) from error
