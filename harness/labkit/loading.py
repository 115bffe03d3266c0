"""A lab's file becomes a module: lab.py, solution.py, or whatever --lab-file names.

Its folder's name begins with a digit, so it cannot be imported; it is compiled from its source each time, never from
__pycache__, where two saves within a second ran stale code (seen 10 times of 10). It is in sys.modules before it runs,
since dataclasses look there.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING

from harness.labkit.failures import UnreadableError
from harness.labkit.teach import Teach

if TYPE_CHECKING:
    from pathlib import Path


def load(path: Path) -> ModuleType:
    """Run the file as the module `labs.<folder>.<stem>`; raises UnreadableError, or what its code raises."""
    name = f"labs.{path.parent.name}.{path.stem}"
    module = ModuleType(name)
    module.__file__ = str(path)
    try:
        code = compile(path.read_bytes(), str(path), "exec", dont_inherit=True)
    except (OSError, SyntaxError, ValueError) as error:
        raise UnreadableError(_unreadable(path, error)) from error
    sys.modules[name] = module
    try:
        exec(code, module.__dict__)  # noqa: S102 - it is what a lab is for
    except BaseException:
        sys.modules.pop(name, None)
        raise
    return module


def _unreadable(path: Path, error: Exception) -> Teach:
    line = getattr(error, "lineno", None)
    where = f"{path.name} line {line}" if line else path.name
    text = (getattr(error, "text", None) or "").strip()
    return Teach(
        saw=f"{where} cannot be read" + (f": {text}" if text else ""),
        because=f"Python says: {getattr(error, 'msg', None) or error}",
        try_="mend that line, or the one before it: an open bracket or quote is often there",
        see=f"python -m py_compile {path.name}",
    )
