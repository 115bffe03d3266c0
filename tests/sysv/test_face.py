"""The face of harness.sysv, and that it can be imported where there are no message queues."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import harness.sysv

WITHOUT_LINUX = """
import asyncio, ctypes, json, multiprocessing, pathlib, platform, subprocess, sys, typing
sys.modules["sysv_ipc"] = None
sys.modules["pwd"] = None
sys.platform = sys.argv[1]
import harness.sysv
from harness.sysv.errors import NoMessageQueuesError
try:
    harness.sysv.Queue.create(0x3034)
except NoMessageQueuesError as error:
    print(error, "|", error.hint)
"""


def test_the_face_is_sorted_and_complete() -> None:
    """Every name of __all__ exists, and they stand in order."""
    names = harness.sysv.__all__

    assert names == sorted(names)
    assert [name for name in names if not hasattr(harness.sysv, name)] == []


def test_no_name_of_the_face_is_a_modules_name() -> None:
    """A module of the same name would take a name's place in the package as soon as it is imported."""
    modules = {path.stem for path in Path(harness.sysv.__file__).parent.glob("*.py")}

    assert not modules & set(harness.sysv.__all__)


@pytest.mark.parametrize(
    ("platform", "words"), [("darwin", "macOS"), ("win32", "Windows"), ("linux", "sysv_ipc is not installed")]
)
def test_it_can_be_imported_without_sysv_ipc(platform: str, words: str, repository: Path) -> None:
    """Without sysv_ipc the import succeeds, and creating a queue says why it cannot be."""
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_LINUX, platform], cwd=repository, capture_output=True, text=True, check=False
    )

    assert done.stderr == ""
    assert words in done.stdout
