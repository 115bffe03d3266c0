"""A result's document from a file; what is none is refused with one line and the way out (exit status 2)."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from harness.sysv.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Result:
    """A document, and what to call it: the file's name as the user wrote it, or words."""

    title: str
    document: Mapping[str, Any]

    @property
    def schema(self) -> str:
        """The document's kind and version."""
        return str(self.document["schema"])


def load_result(path: str) -> Result:
    """Read a file that a command's --json wrote.

    Raises UsageError when it cannot be read, is no JSON, or is no document with a `schema`.
    """
    try:
        data = Path(path).read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the path
        why = getattr(error, "strerror", None) or str(error)
        raise UsageError(f"cannot read {path!r}", why=why, hint="harness load --json FILE writes a result") from None
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise UsageError(f"{path} is not JSON", why="it is no text", hint=_HINT) from None
    try:
        document = json.loads(text, parse_constant=_refuse)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        why = f"{error.msg} at {where}" if text.strip() else "it is empty"
        raise UsageError(f"{path} is not whole JSON", why=why, hint=_HINT) from None
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path} is not JSON", why=str(error), hint=_HINT) from None
    if not isinstance(document, dict) or not isinstance(document.get("schema"), str):
        raise UsageError(f"{path} is no result", why='there is no "schema" at its top', hint=_HINT)
    return Result(path, document)


_HINT = "give the file that --json wrote; if it was cut short, make it again"


def _refuse(constant: str) -> NoReturn:
    """NaN and Infinity, which Python's reader takes and JSON does not have."""
    raise ValueError(f"{constant} is no JSON number")
