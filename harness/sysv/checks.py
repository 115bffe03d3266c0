"""What a caller may hand to a queue: keys, modes, payloads, sizes, timeouts; checked before sysv_ipc sees them.

Used by queue.py, and before calls of the C library, where ctypes cuts a number to a C int in silence. sysv_ipc must not
be trusted with this either: it takes str (and sends UTF-8), reads key None as "draw a random key", cuts a too long key
to 32 bits, and has crashed the interpreter on `send(5)` (seen with 1.2.0).
"""

from __future__ import annotations

import errno

from harness.sysv.errors import PayloadError, UsageError

LARGEST_KEY = 2**32 - 1
LARGEST_MODE = 0o777
LARGEST_SIZE_BYTES = 2**31 - 1
"""msgmax and msgmnb are C ints in the kernel (ipc/ipc_sysctl.c)."""


def signed_key(key: int, *, private: bool = False) -> int:
    """The key_t, a signed 32-bit number, of a `key` written as ipcs prints it: 1 to 0xffffffff.

    Raises UsageError for anything else; 0 is IPC_PRIVATE, which names no queue, and passes if `private` says so.
    """
    if not _is_int(key) or not 0 <= key <= LARGEST_KEY:
        raise UsageError(f"a key must be an int from {0 if private else 1} to 0x{LARGEST_KEY:x}, not {key!r}")
    if key == 0 and not private:
        raise UsageError(
            "a key must not be 0", why="0 is IPC_PRIVATE, a new queue at every call", hint="use Queue.private()"
        )
    return key if key < 2**31 else key - 2**32


def unsigned_key(key: int) -> int:
    """A key_t as ipcs prints it, 0 to 0xffffffff."""
    return key & LARGEST_KEY


def check_mode(mode: int) -> int:
    """Return `mode` if it is an int from 0 to 0o777, else raise UsageError."""
    if not _is_int(mode) or not 0 <= mode <= LARGEST_MODE:
        raise UsageError(f"a mode must be an int from 0 to 0o777, not {oct(mode) if _is_int(mode) else repr(mode)}")
    return mode


def check_size_bytes(size_bytes: int, *, what: str, least: int = 1) -> int:
    """Return `size_bytes` if it is an int from `least` to 2**31-1, else raise UsageError naming `what`."""
    if not _is_int(size_bytes) or not least <= size_bytes <= LARGEST_SIZE_BYTES:
        raise UsageError(f"{what} must be an int from {least} to {LARGEST_SIZE_BYTES}, not {size_bytes!r}")
    return size_bytes


def check_timeout(timeout: object) -> None:
    """Raise UsageError unless `timeout` (seconds) is None or a number from 0."""
    # `not >=` and not `<`: it refuses NaN too.
    if timeout is not None and (not isinstance(timeout, int | float) or not timeout >= 0):
        raise UsageError(
            f"a timeout must be None or a number of seconds from 0, not {timeout!r}",
            hint="None waits for ever, 0 never waits",
        )


def check_payload(payload: object) -> bytes | bytearray | memoryview:
    """Return `payload` in a form that sysv_ipc takes whole, or raise PayloadError.

    A memoryview that is not contiguous is copied: sysv_ipc refuses it in a way that has crashed the interpreter.
    """
    if isinstance(payload, bytes | bytearray):
        return payload
    if isinstance(payload, memoryview):
        try:
            return payload if payload.c_contiguous else payload.tobytes()
        except ValueError as error:
            raise PayloadError("a payload must not be a released memoryview", errno=errno.EINVAL) from error
    raise PayloadError(
        f"a payload must be bytes, bytearray or memoryview, not {type(payload).__name__}",
        hint="encode text first: text.encode()" if isinstance(payload, str) else "",
        errno=errno.EINVAL,
    )


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
