"""Run a command on a machine that seems to have no System V message queues, as WSL1 or an old container.

    python -m harness.labkit.no_msgget COMMAND [ARGUMENT...]

A seccomp filter answers ENOSYS to msgget, msgsnd, msgrcv and msgctl in this process, which then becomes COMMAND; all
that it starts inherit the filter. It needs no privilege, and no package. For x86_64 and aarch64 Linux.
Sources: seccomp(2), include/uapi/linux/{filter,audit,seccomp}.h.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
import sys

# The processor's AUDIT_ARCH number and its numbers of msgget, msgsnd, msgrcv, msgctl.
PROCESSORS = {
    "x86_64": (0xC000003E, (68, 69, 70, 71)),
    "aarch64": (0xC00000B7, (186, 189, 188, 187)),
}

PR_SET_SECCOMP = 22
PR_SET_NO_NEW_PRIVS = 38
SECCOMP_MODE_FILTER = 2
SECCOMP_RET_ERRNO = 0x00050000
SECCOMP_RET_ALLOW = 0x7FFF0000
BPF_LOAD_WORD = 0x20
BPF_JUMP_IF_EQUAL = 0x15
BPF_RETURN = 0x06
NUMBER_OFFSET, ARCH_OFFSET = 0, 4  # in struct seccomp_data


class Program(ctypes.Structure):
    """struct sock_fprog: how many instructions, and where they are."""

    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_void_p))


def instructions(arch: int, calls: tuple[int, ...]) -> bytes:
    """The filter: another architecture's calls and all others pass, these answer ENOSYS."""

    def instruction(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
        return struct.pack("HBBI", code, if_true, if_false, value)

    checks = [
        # The distance to the last instruction, counted from the one after this.
        instruction(BPF_JUMP_IF_EQUAL, call, if_true=len(calls) - position)
        for position, call in enumerate(calls)
    ]
    return b"".join(
        [
            instruction(BPF_LOAD_WORD, ARCH_OFFSET),
            instruction(BPF_JUMP_IF_EQUAL, arch, if_false=1 + len(calls)),
            instruction(BPF_LOAD_WORD, NUMBER_OFFSET),
            *checks,
            instruction(BPF_RETURN, SECCOMP_RET_ALLOW),
            instruction(BPF_RETURN, SECCOMP_RET_ERRNO | errno.ENOSYS),
        ]
    )


def refuse_message_queues() -> None:
    """Put the filter in force in this process and all it will start; raises OSError, KeyError for the processor."""
    code = instructions(*PROCESSORS[platform.machine()])
    buffer = ctypes.create_string_buffer(code, len(code))
    program = Program(len(code) // 8, ctypes.addressof(buffer))
    libc = ctypes.CDLL(None, use_errno=True)
    zero = ctypes.c_ulong(0)
    # Without it only root may set a filter.
    if libc.prctl(PR_SET_NO_NEW_PRIVS, ctypes.c_ulong(1), zero, zero, zero) == -1:
        raise OSError(ctypes.get_errno(), "PR_SET_NO_NEW_PRIVS")
    if libc.prctl(PR_SET_SECCOMP, ctypes.c_ulong(SECCOMP_MODE_FILTER), ctypes.byref(program)) == -1:
        raise OSError(ctypes.get_errno(), "PR_SET_SECCOMP")


if __name__ == "__main__":
    if not sys.argv[1:]:
        sys.exit("usage: python -m harness.labkit.no_msgget COMMAND [ARGUMENT...]")
    refuse_message_queues()
    os.execvp(sys.argv[1], sys.argv[1:])  # noqa: S606 - it becomes that program
