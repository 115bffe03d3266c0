"""Which messages a receiver takes: msgrcv's third argument, with a name for each of its three meanings.

Used by queue.py and by whoever plans who receives what. Not here: Linux's MSG_EXCEPT, which sysv_ipc does not offer,
and MSG_COPY (peeking.py).
"""

from __future__ import annotations

import errno
from dataclasses import dataclass

from harness.sysv.errors import PayloadError

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
    """What one receive takes. Make one with `any`, `exactly` or `at_most`.

    `msgtyp` is the number that msgrcv(2) takes: 0, the type, or minus the type. Raises PayloadError for a type
    outside 1..2**31-1.
    """

    msgtyp: int = 0

    def __post_init__(self) -> None:
        if not _is_zero(self.msgtyp):
            check_type(_magnitude(self.msgtyp), what="a selector's type")

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

    def takes(self, type: int) -> bool:  # noqa: A002 - the field's word
        """Whether this selector takes a message of `type` at all; which one it takes first is the kernel's choice."""
        if self.msgtyp > 0:
            return type == self.msgtyp
        return self.msgtyp == 0 or type <= -self.msgtyp

    def __repr__(self) -> str:
        if self.msgtyp == 0:
            return "Selector.any()"
        return f"Selector.exactly({self.msgtyp})" if self.msgtyp > 0 else f"Selector.at_most({-self.msgtyp})"

    def __str__(self) -> str:
        if self.msgtyp == 0:
            return "any type"
        return f"type {self.msgtyp}" if self.msgtyp > 0 else f"lowest type up to {-self.msgtyp}"


def _is_zero(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value == 0


def _magnitude(value: object) -> object:
    """The type that a negative msgtyp stands for; anything else as it is, for check_type to judge."""
    return -value if isinstance(value, int) and value < 0 else value
