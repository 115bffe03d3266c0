"""Which messages a receiver takes: msgrcv's third argument, its flag MSG_EXCEPT, and a name for each of four meanings.

Used by queue.py and by whoever plans who receives what. Not here: MSG_COPY, which takes nothing (peeking.py).
"""

from __future__ import annotations

import errno
from dataclasses import dataclass

from harness.sysv.errors import PayloadError
from harness.sysv.msgrcv import MSG_EXCEPT

LARGEST_TYPE = 2**31 - 1
"""The largest message type that sysv_ipc carries: it keeps types in a C int, the kernel in a long."""


def check_type(value: object, *, what: str = "a message type") -> int:
    """Return `value` if it is an int in 1..2**31-1; anything else, also a bool, is a PayloadError."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise PayloadError(f"{what} must be an int, not {type(value).__name__}", errno=errno.EINVAL)
    if not 1 <= value <= LARGEST_TYPE:
        raise PayloadError(
            f"{what} must be from 1 to {LARGEST_TYPE}, not {value}",
            hint="0 and negative numbers mean something only to receivers: Selector.any(), Selector.at_most(n)",
            errno=errno.EINVAL,
        )
    return value


@dataclass(frozen=True, slots=True, repr=False)
class Selector:
    """What one receive takes. Make one with `any`, `exactly`, `at_most` or `anything_but`.

    `msgtyp` is the number that msgrcv(2) takes: 0, the type, or minus the type; `flags` is MSG_EXCEPT, which turns the
    meaning of a type round, or 0. Raises PayloadError for a type outside 1..2**31-1, and for MSG_EXCEPT without one:
    the kernel would ignore it.
    """

    msgtyp: int = 0
    flags: int = 0

    def __post_init__(self) -> None:
        if not _is_zero(self.msgtyp):
            check_type(_magnitude(self.msgtyp), what="a selector's type")
        if not _is_zero(self.flags) and (self.flags != MSG_EXCEPT or self.msgtyp <= 0):
            raise PayloadError(
                f"a selector's flags must be 0, or MSG_EXCEPT with a type, not {self.flags!r} with {self.msgtyp}",
                hint="use Selector.anything_but(type)",
                errno=errno.EINVAL,
            )

    @classmethod
    def any(cls) -> Selector:
        """The message at the head of the queue, whatever its type."""
        return cls(0)

    @classmethod
    def exactly(cls, type: int) -> Selector:  # noqa: A002 - the field's word
        """The first message of this type."""
        return cls(check_type(type, what="a selector's type"))

    @classmethod
    def at_most(cls, type: int) -> Selector:  # noqa: A002 - the field's word
        """The first message of the lowest type present, if that is at most `type`."""
        return cls(-check_type(type, what="a selector's type"))

    @classmethod
    def anything_but(cls, type: int) -> Selector:  # noqa: A002 - the field's word
        """The first message of another type than this (MSG_EXCEPT, which Linux alone has)."""
        return cls(check_type(type, what="a selector's type"), MSG_EXCEPT)

    def takes(self, type: int) -> bool:  # noqa: A002 - the field's word
        """Whether this selector takes a message of `type` at all; which one it takes first is the kernel's choice."""
        if self.flags:
            return type != self.msgtyp
        if self.msgtyp > 0:
            return type == self.msgtyp
        return self.msgtyp == 0 or type <= -self.msgtyp

    def __repr__(self) -> str:
        if self.msgtyp == 0:
            return "Selector.any()"
        if self.flags:
            return f"Selector.anything_but({self.msgtyp})"
        return f"Selector.exactly({self.msgtyp})" if self.msgtyp > 0 else f"Selector.at_most({-self.msgtyp})"

    def __str__(self) -> str:
        if self.msgtyp == 0:
            return "any type"
        if self.flags:
            return f"any type but {self.msgtyp}"
        return f"type {self.msgtyp}" if self.msgtyp > 0 else f"lowest type up to {-self.msgtyp}"


def _is_zero(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value == 0


def _magnitude(value: object) -> object:
    """The type that a negative msgtyp stands for; anything else as it is, for check_type to judge."""
    return -value if isinstance(value, int) and value < 0 else value
