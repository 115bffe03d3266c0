"""What the tests of the command line share: the real program, run to its end."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import pytest

Harness = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def harness() -> Harness:
    """Runs `harness` with arguments to its end, whatever its status, and captures what it writes."""

    def run(*arguments: str, limit_s: float = 30.0) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "harness", *arguments], capture_output=True, text=True, check=False, timeout=limit_s
        )

    return run
