"""From an option's text to its value, with the option's name before what was wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from harness.sysv.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


def read(option: str, parse: Callable[[str], T], text: str) -> T:
    """The value; raises UsageError where `parse` raises ValueError."""
    try:
        return parse(text)
    except ValueError as error:
        raise UsageError(f"{option}: {error}") from None
