"""Which engines are here, and which one `auto` means."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from harness.sysv.errors import EngineError

if TYPE_CHECKING:
    from harness.engines.protocol import Engine

NAMES = ("auto", "native", "python")
"""What `--engine` takes."""

BUILD_HINT = (
    "install a C compiler and the Python headers (Debian: apt install gcc python3-dev), "
    "then make clean && make; or take --engine python"
)


def native_problem() -> str | None:
    """Why the native engine cannot be used, or None when it can."""
    try:
        import_module("harness.engines._native")
    except ModuleNotFoundError:
        return "it was not built"
    except ImportError as error:  # built, but for another Python or another version of this package
        return str(error)
    return None


def resolve(name: str) -> str:
    """Turn `auto` into the engine it means here: native where it was built, else python.

    Raises EngineError when native is asked for and was not built.
    """
    if name == "auto":
        return "python" if native_problem() else "native"
    if name in ("native", "bare") and (problem := native_problem()):
        raise EngineError("the native engine is not here", why=problem, hint=BUILD_HINT)
    return name


def load(name: str) -> Engine:
    """The engine of a resolved name: native, python, or one of the ceiling's two references, bare and plain."""
    match resolve(name):
        case "native":
            from harness.engines.native import NativeEngine  # noqa: PLC0415  only where it was built

            return NativeEngine()
        case "python":
            from harness.engines.python import PythonEngine  # noqa: PLC0415  one engine a process

            return PythonEngine()
        case "bare":
            from harness.engines.reference import BareEngine  # noqa: PLC0415  one engine a process

            return BareEngine()
        case "plain":
            from harness.engines.reference import PlainEngine  # noqa: PLC0415  one engine a process

            return PlainEngine()
        case _:
            raise EngineError(f"there is no engine {name!r}", hint=f"take one of {', '.join(NAMES)}")
