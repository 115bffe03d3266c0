"""Preflight: does this machine have message queues? Ask the kernel for one, and give it back at once.

    ask ---msgget---> the kernel ---an error, or none---> judge ---> ready, refused or missing
                                                                     missing: way_out

Run `python solution.py`. It leaves no queue behind.
"""

from __future__ import annotations

import argparse
import errno
import sys
from pathlib import Path

import sysv_ipc

VERSION = Path("/proc/version")
TO_WSL2 = "this is WSL1. From Windows: wsl --set-version DISTRO 2 (wsl --list tells its name); or the VM: vagrant up"
TO_VM = "use another kernel, or the VM: vagrant up"


def judge(error: Exception | None) -> str:
    """What the kernel's answer to msgget means, given what sysv_ipc raised, or None if nothing.

    "ready"    it made the queue
    "missing"  it has no such call (ENOSYS)
    "refused"  it has the call, and said no to this one: its limits, its memory, your rights
    """
    if error is None:
        return "ready"
    # Of sysv_ipc's errors only an OSError has a number, and not every one of those.
    if isinstance(error, OSError) and error.errno == errno.ENOSYS:
        return "missing"
    return "refused"


def way_out(version: str) -> str:
    """TO_WSL2 if this text of /proc/version is WSL1's, else TO_VM.

    Its third word is the kernel's release: 4.4.0-19041-Microsoft on WSL1, 5.15.90.1-microsoft-standard-WSL2 on WSL2,
    which has queues, and anything at all elsewhere.
    """
    release = version.split()[2]
    return TO_WSL2 if release.endswith("-Microsoft") else TO_VM


def ask() -> Exception | None:
    """Make a private queue and remove it at once; returns what sysv_ipc raised, or None."""
    try:
        sysv_ipc.MessageQueue(sysv_ipc.IPC_PRIVATE, sysv_ipc.IPC_CREX).remove()
    except Exception as error:  # noqa: BLE001 - whatever it is, it is the answer
        return error
    return None


def main(argv: list[str] | None = None) -> int:
    """Say what this machine is good for; returns 0 if it is ready, else 1."""
    argparse.ArgumentParser(description="Does this machine have message queues?").parse_args(argv)
    error = ask()
    answer = judge(error)
    print(answer if error is None else f"{answer}: {error}")
    if answer == "missing":
        print(way_out(VERSION.read_text()))
    return 0 if answer == "ready" else 1


if __name__ == "__main__":
    sys.exit(main())
