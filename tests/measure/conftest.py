"""What the tests of the readers share: a machine made of files."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture(name="write")
def fixture_write(tmp_path: Path) -> Callable[[str, str], None]:
    """Writes a file of the machine whose "/" is tmp_path."""

    def write(path: str, text: str) -> None:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)

    return write
