"""What a check sees of a lab's module: the module itself, but a function that forgot its `return` is told at once.

A function whose signature promises a value and which gives None has most often printed it, or ends without `return`.
A check would compare None with something and say what is wrong with None; this says what is wrong with the function.
Names that are not there are told as well. Used by the `lab` fixture.
"""

from __future__ import annotations

import functools
import inspect
import sys
from contextlib import redirect_stdout
from typing import TYPE_CHECKING, Any

from harness.labkit.failures import WrongAnswerError
from harness.labkit.teach import Teach

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType


class WatchedModule:
    """Stands before a module: reading a function gives it watched, all else goes straight through, also setting."""

    def __init__(self, module: ModuleType) -> None:
        object.__setattr__(self, "_module", module)

    def __getattr__(self, name: str) -> Any:
        module: ModuleType = object.__getattribute__(self, "_module")
        try:
            value = getattr(module, name)
        except AttributeError:
            if name.startswith("__"):
                raise
            file = str(module.__file__).rpartition("/")[2]
            raise WrongAnswerError(
                Teach(
                    saw=f"{file} has no `{name}`",
                    because="the checks call it by this name",
                    try_="give it the name and the signature that starter.py has",
                    see="starter.py",
                )
            ) from None
        if inspect.isfunction(value) and value.__module__ == module.__name__ and _promises_a_value(value):
            return _watched(value)
        return value

    def __setattr__(self, name: str, value: object) -> None:
        setattr(object.__getattribute__(self, "_module"), name, value)

    def __delattr__(self, name: str) -> None:
        delattr(object.__getattribute__(self, "_module"), name)

    def __repr__(self) -> str:
        return repr(object.__getattribute__(self, "_module"))


def _promises_a_value(function: Callable[..., object]) -> bool:
    promised = getattr(function, "__annotations__", {}).get("return")
    if promised is None or inspect.isgeneratorfunction(function) or inspect.iscoroutinefunction(function):
        return False
    words = promised if isinstance(promised, str) else getattr(promised, "__name__", str(promised))
    return not any(word in words for word in ("None", "Optional", "Any", "object", "NoReturn", "Never"))


def _watched(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        heard = _Heard(sys.stdout)
        with redirect_stdout(heard):
            value = function(*args, **kwargs)
        if value is None:
            raise WrongAnswerError(_forgot(function, heard.said))
        return value

    return call


def _forgot(function: Callable[..., Any], printed: str) -> Teach:
    first = printed.strip().splitlines()[0] if printed.strip() else ""
    promised = function.__annotations__["return"]
    words = promised if isinstance(promised, str) else getattr(promised, "__name__", str(promised))
    return Teach(
        saw=f"{function.__name__}() returned None" + (f", and printed {first!r}" if first else ""),
        because=(
            "printing shows a value to people, `return` hands it to the caller"
            if first
            else "a function that ends without `return` gives None"
        )
        + f"; its signature promises {words}",
        try_="return the value" + (" instead of printing it" if first else " on every way through the function"),
        see="starter.py, the docstring of the function",
    )


class _Heard:
    """Passes all on to where standard output went, and remembers a little of it."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self.said = ""

    def write(self, text: str) -> int:
        if len(self.said) < 200:  # noqa: PLR2004 - a line's worth is quoted
            self.said += text
        return int(self._stream.write(text))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)  # fileno, buffer, flush and the like
