"""From an option's text to its value, with the option's name before what was wrong; and which options were given."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from harness.sysv.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    import typer

T = TypeVar("T")


def read(option: str, parse: Callable[[str], T], text: str) -> T:
    """The value; raises UsageError where `parse` raises ValueError."""
    try:
        return parse(text)
    except ValueError as error:
        raise UsageError(f"{option}: {error}") from None


def read_list(option: str, parse: Callable[[str], T], text: str) -> tuple[T, ...]:
    """The values between commas, in the order written; raises UsageError as `read`."""
    return tuple(read(option, parse, part) for part in text.split(","))


def count_or_0(text: str) -> int:
    """As `parse_count`, and 0, where an option takes that for "none"."""
    from harness.measure.quantities import parse_count  # noqa: PLC0415  not needed for --help

    return 0 if text.strip() == "0" else parse_count(text)


def typed(context: typer.Context) -> dict[str, str]:
    """The parameters that stood on the command line, by name, with their longest spelling."""
    found = {}
    for parameter in context.command.params:
        source = context.get_parameter_source(parameter.name or "")
        if parameter.name and source is not None and source.name == "COMMANDLINE":
            found[parameter.name] = max(parameter.opts, key=len)
    return found
