"""Which engine a name means, where the native one was built and where it was not."""

from __future__ import annotations

import subprocess
import sys

import pytest

from harness.engines import choice
from harness.sysv.errors import EngineError

WITHOUT_NATIVE = """
import importlib.abc
import sys

class NotBuilt(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name == "harness.engines._native":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return None

sys.meta_path.insert(0, NotBuilt())
from harness.engines import choice
from harness.sysv.errors import EngineError
"""


def without_native(code: str) -> list[str]:
    """What `code` prints, a line each, in a Python where the native module was not built."""
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_NATIVE + code], capture_output=True, text=True, check=False, timeout=30
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_auto_is_native_where_that_was_built() -> None:
    """`auto` means native where there is no problem with it, and else python."""
    assert choice.resolve("auto") == ("native" if choice.native_problem() is None else "python")


def test_python_is_python_everywhere() -> None:
    """A name that was asked for is that engine."""
    assert choice.resolve("python") == "python"
    assert choice.load("python").name == "python"


def test_a_loaded_engine_has_the_name_that_was_resolved() -> None:
    """Loading `auto` gives the engine that it resolves to."""
    assert choice.load("auto").name == choice.resolve("auto")


def test_auto_is_python_where_native_was_not_built() -> None:
    """Without the native module `auto` resolves to, and loads, the python engine."""
    assert without_native("print(choice.resolve('auto'), choice.load('auto').name)") == ["python python"]


def test_the_problem_is_named_where_native_was_not_built() -> None:
    """Without the native module the problem is that it was not built."""
    assert without_native("print(choice.native_problem())") == ["it was not built"]


@pytest.mark.parametrize("name", ["native", "bare"])
@pytest.mark.parametrize("call", ["resolve", "load"])
def test_native_where_it_was_not_built_is_an_engine_error(name: str, call: str) -> None:
    """Who asks for native code that was not built is told so, and what to do: exit status 3."""
    code = f"""
try:
    choice.{call}({name!r})
except EngineError as error:
    print(error.exit_status)
    print(error)
    print(error.hint)
"""

    status, seen, hint = without_native(code)

    assert status == str(EngineError.exit_status) == "3"
    assert seen == "the native engine is not here: it was not built"
    assert "gcc" in hint
    assert "--engine python" in hint
