"""A worker process: forked, never running on into its parent's code, and gone with its parent.

For the leader of a load run and for the chamber of the other experiments; both have one thread, which forks.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import traceback
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

PR_SET_PDEATHSIG = 1  # include/uapi/linux/prctl.h


def fork_worker(work: Callable[[], int | None]) -> int:
    """Fork a process that does `work` and never comes back; returns its process id.

    Its exit status is what `work` returns (None is 0), and 1 after a traceback on standard error. SIGINT does nothing
    to it, since Ctrl-C is its parent's business, and SIGKILL comes to it when its parent ends (prctl(2)).
    """
    parent = os.getpid()
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() == parent:  # else it died before the line above
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            status = work() or 0
    except BaseException:  # noqa: BLE001  a forked child must not run on into its parent's code
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


def outlive_parent() -> None:
    """In a worker: do not die with the parent after all, as one that cleans up behind it must not."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, 0, 0, 0, 0)
