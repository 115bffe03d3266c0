"""The bare msgget and its errno number, which sysv_ipc's exceptions do not carry.

For who teaches what the call answers. Who wants a queue takes queue.py, whose errors carry the number too.
"""

from __future__ import annotations

import sys

from harness.sysv import libc, support
from harness.sysv.checks import check_mode, check_size_bytes, signed_key


def msgget_errno(key: int, flags: int, mode: int) -> int:
    """Call msgget(key, flags | mode); the errno number it ends with, or 0 when it succeeds.

    It is the call itself: with IPC_CREAT (0o1000) it creates the queue that is not there, which stays until it is
    removed, and with key 0 (IPC_PRIVATE) it creates one at each call, whatever `flags` has. `key` is as ipcs prints it,
    0 to 0xffffffff. `mode` is a new queue's mode, and of one that is there the permission that is asked for: 0 asks
    for none.

    The numbers of msgget(2): EACCES, EEXIST, ENOENT, ENOMEM, ENOSPC (msgmni queues exist); and ENOSYS where the kernel
    has no queues or a filter says so. Raises UsageError for a key or mode that cannot be, or flags outside 0..2**31-1;
    NoMessageQueuesError where the system is not Linux.
    """
    key_t = signed_key(key, private=True)
    check_size_bytes(flags, what="flags", least=0)
    check_mode(mode)
    if sys.platform != "linux":
        support.require()
    result, number = libc.call("msgget", key_t, flags | mode)
    return number if result == -1 else 0
