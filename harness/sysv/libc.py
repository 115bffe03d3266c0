"""The C library's calls that neither Python 3.11 nor sysv_ipc offers: unshare, msgctl of any id, msgrcv with flags.

Used by support.py, namespace.py, inventory.py, msgrcv.py and msgget.py. It knows no queue and raises no error of ours:
a call answers with its result and errno, and the caller judges.
"""

from __future__ import annotations

import ctypes
import functools


@functools.cache
def _library() -> ctypes.CDLL:
    """The C library of this process; loaded at the first call, as Windows has none to load at import."""
    return ctypes.CDLL(None, use_errno=True)


def call(name: str, *arguments: object) -> tuple[int, int]:
    """Call the C function `name`; return (result, errno), where errno counts only if the result is -1.

    Integers go as C int; pass `ctypes.c_long(n)` or `ctypes.c_size_t(n)` where the function takes those.
    Raises AttributeError where the C library has no such function.
    """
    function = getattr(_library(), name)  # which it looks up once; by index it would each time
    # A signal's handler can run between any two of these lines and come here too: it leaves errno as it found it.
    before = ctypes.set_errno(0)
    try:
        result: int = function(*arguments)
    finally:
        number = ctypes.set_errno(before)
    return result, number
