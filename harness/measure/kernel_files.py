"""The kernel's small text files, read the way an observer must: what cannot be read is None, and nothing is raised.

For the readers of this folder (observe, throttling), which take `root`, the directory that stands for "/", so that a
test can lay out a machine of its own. Writes nothing.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

ROOT: Final = Path("/")


def read_text(path: Path) -> str | None:
    """The file's text, or None: a missing file, a process that has ended and a refusal all mean "not to be read"."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None


def parse_fields(text: str) -> dict[str, int]:
    """The lines "name: 12 kB", "name:<tab>12" and "name 12" as numbers; other lines are left out."""
    fields = {}
    for line in text.splitlines():
        words = line.replace(":", " ", 1).split()
        if len(words) > 1 and words[1].isdecimal():
            fields[words[0]] = int(words[1])
    return fields
