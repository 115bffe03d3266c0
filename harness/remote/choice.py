"""Here, or in the VM: who asked for it, what this machine has, and whether there is a VM.

A Linux machine with message queues stays by itself unless it is asked (`--vm`). Any other system goes into the VM, also
one that has a msgget of its own, such as macOS: the queues that are studied here are Linux's. So does a Linux machine
where the calls are refused (WSL1), provided that a VM is known; else the words stay that say what to do there.

HARNESS_VM in the environment: `never` keeps everything here unless it is asked; `inside` is set in the VM.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from harness.remote.vagrant import connect, find_vagrantfile
from harness.sysv.errors import NoVirtualMachineError, UsageError
from harness.sysv.support import diagnose

if TYPE_CHECKING:
    from harness.remote.vagrant import Machine

VARIABLE = "HARNESS_VM"
INSIDE = "inside"
NEVER = "never"
BESIDE = Path(__file__).parents[2]
"""The checkout that this package is in, for somebody who stands elsewhere."""


def choose(start: Path, *, asked: bool) -> tuple[Machine, str] | None:
    """The VM to go to, and why, in words; None for here.

    Its Vagrantfile is in `start`, above it, or beside this package. Raises VirtualMachineError where the VM cannot be
    reached, UsageError where one was asked for and there is no Vagrantfile.
    """
    setting = os.environ.get(VARIABLE)
    if setting == INSIDE or (setting == NEVER and not asked):
        return None
    found = diagnose()
    if not asked and (found.available or found.cause == "no-sysv-ipc"):
        return None
    folder = find_vagrantfile(start, BESIDE)
    if folder is None:
        if not asked:
            return None
        raise UsageError(
            "there is no Vagrantfile here", why=f"nor in a folder above {start}", hint="cd into the project"
        )
    try:
        machine = connect(folder)
    except NoVirtualMachineError:
        if asked or sys.platform != "linux":
            raise
        return None
    return machine, "--vm" if asked else f"no message queues here ({found.cause})"
