"""Which files of a project go into the VM: the labs, and the files beside them that have pytest's settings."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_SETTINGS = ("pytest.ini", ".pytest.ini", "pyproject.toml", "tox.ini", "setup.cfg", "conftest.py")


def files_of(root: Path) -> Iterator[tuple[Path, str]]:
    """Each file as a path here and its name relative to `root`, the folder that has `labs`."""
    for name in _SETTINGS:
        if (root / name).is_file():
            yield root / name, name
    for file in sorted((root / "labs").rglob("*")):
        below = file.relative_to(root)
        hidden = any(part.startswith(".") or part == "__pycache__" for part in below.parts)
        if file.is_file() and not hidden:
            yield file, below.as_posix()
