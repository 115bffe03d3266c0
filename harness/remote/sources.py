"""A fingerprint of the installed harness: host and VM must have the same one."""

from __future__ import annotations

import hashlib
from pathlib import Path

PACKAGE = Path(__file__).parents[1]
_KINDS = {".py", ".pyx", ".json"}  # what is installed everywhere; not what was built from it


def fingerprint(package: Path = PACKAGE) -> str:
    """The same for the same sources, whatever the system ends its lines with."""
    digest = hashlib.sha256()
    for file in sorted(file for file in package.rglob("*") if file.suffix in _KINDS):
        text = file.read_bytes().replace(b"\r\n", b"\n")
        digest.update(f"{file.relative_to(package).as_posix()} {len(text)}\n".encode() + text)
    return digest.hexdigest()
