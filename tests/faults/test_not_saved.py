"""The result cannot be written, or nobody reads: the run says so, shows what it has, and ends with 1."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

SHORT = ("--rate", "5k", "--duration", "0.2s", "--warmup", "0s")
HARNESS = (sys.executable, "-m", "harness")


def load(*arguments: str, stdout: int = subprocess.PIPE) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*HARNESS, "load", *SHORT, *arguments],
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        timeout=30,
    )


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB."""
    libc = ctypes.CDLL(None, use_errno=True)
    folder = tmp_path / "disk"
    folder.mkdir()
    if libc.mount(b"tmpfs", bytes(folder), b"tmpfs", ctypes.c_ulong(0), b"size=64k") != 0:
        pytest.skip(f"no tmpfs can be mounted here: {os.strerror(ctypes.get_errno())}")
    try:
        yield folder
    finally:
        libc.umount2(bytes(folder), 2)


def test_a_full_disk_fails_the_run_and_keeps_the_old_result(small_disk: Path) -> None:
    """On a full disk the run ends with 1 and its report; the old file is whole, and no temporary is left beside it."""
    old = small_disk / "result.json"
    old.write_text('{"old": true}')
    with contextlib.suppress(OSError):
        (small_disk / "ballast").write_bytes(bytes(2**20))

    done = load("--json", str(old))

    assert done.returncode == 1
    assert "the result was not saved" in done.stderr
    assert "No space left on device" in done.stderr
    assert "held: " in done.stdout
    assert json.loads(old.read_text()) == {"old": True}
    assert sorted(file.name for file in small_disk.iterdir()) == ["ballast", "result.json"]


def test_one_file_that_fails_does_not_keep_the_other_from_being_written(tmp_path: Path) -> None:
    """With /dev/full behind --json, --csv is still written, the report shown, and the status 1."""
    done = load("--json", "/dev/full", "--csv", str(tmp_path / "series.csv"))

    assert done.returncode == 1
    assert "No space left on device" in done.stderr
    assert "hint: " in done.stderr
    assert "held: " in done.stdout
    assert (tmp_path / "series.csv").read_text().count("\n") > 1


def test_a_full_standard_output_under_json_is_told() -> None:
    """`--json - > /dev/full` ends with 1, the reason, and the report on standard error."""
    with Path("/dev/full").open("w") as full:
        done = load("--json", "-", stdout=full.fileno())

    assert done.returncode == 1
    assert "the result was not saved to standard output" in done.stderr
    assert "held: " in done.stderr
    assert "Traceback" not in done.stderr


def test_a_reader_of_the_result_that_went_away_is_told() -> None:
    """`harness load --json - | true` ends with 1 and says that the reader went away."""
    reader, writer = os.pipe()
    os.close(reader)

    done = load("--json", "-", stdout=writer)

    os.close(writer)
    assert done.returncode == 1
    assert "whoever read the output went away" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "command",
    [("load", "--dry-run"), ("load", "--help"), ("doctor",), ("--version",), ()],
    ids=" ".join,
)
def test_what_cannot_be_printed_is_one_line(command: tuple[str, ...]) -> None:
    """With standard output on a full disk each command ends with 1 and one line, and no traceback."""
    with Path("/dev/full").open("w") as full:
        done = subprocess.run([*HARNESS, *command], stdout=full, stderr=subprocess.PIPE, text=True, check=False)

    assert done.returncode == 1
    assert "No space left on device" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_standard_descriptors_that_are_closed_do_no_harm(closed: str, tmp_path: Path) -> None:
    """Started without standard input, output or error, as some schedulers do, a run is made and saved."""
    file = tmp_path / "result.json"

    done = subprocess.run(
        ["sh", "-c", f'exec "$@" {closed}', "sh", *HARNESS, "load", *SHORT, "--json", str(file)],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0
    assert "Traceback" not in done.stderr
    assert json.loads(file.read_text())["complete"] is True


def test_a_report_that_a_full_disk_swallowed_fails_the_run() -> None:
    """With standard output on /dev/full the report is lost: one line and a hint say so, and the status is 1."""
    with Path("/dev/full").open("w", encoding="ascii") as full:
        done = load(stdout=full.fileno())

    assert done.returncode == 1
    assert "the report could not be written" in done.stderr
    assert "Traceback" not in done.stderr
