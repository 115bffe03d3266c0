"""Where a result goes: the destination of --json and --csv, looked at before a run and written to after it.

The command line parses and checks a destination before a run begins, so that a wrong path costs a second and not an
hour, and writes to it at the end. This module knows nothing of what the text means, and never makes a directory.

A regular file is replaced whole: readers see the old result or the new one, never a half. Whatever is not a regular
file (a pipe, a device, a descriptor that the shell opened) is written in place, as there is nothing to replace.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import stat
import sys
from dataclasses import dataclass
from pathlib import Path

from harness.sysv.errors import ResultNotSavedError, UsageError

_STDOUT = "-"
_STDOUT_DESCRIPTOR = 1
# proc(5): /dev/stdout, /dev/stderr and /dev/fd/N all lead here.
_DESCRIPTOR_DIRECTORY = re.compile(r"(?P<process>/proc/\d+)(/task/\d+)?/fd")
_MOST_LINKS = 40  # path_resolution(7): the kernel gives up (ELOOP) after as many


@dataclass(frozen=True)
class Destination:
    """A place for a result: `-` for standard output, otherwise a path; `path` is as the user wrote it."""

    path: str

    @classmethod
    def parse(cls, text: str) -> Destination:
        """Take what stood behind the option; raises UsageError where it cannot name a file at all."""
        if not text or "\0" in text:
            raise UsageError(f"{text!r} names no file", hint="give a path, or - for standard output")
        if text.endswith(("/", os.sep)):
            raise UsageError(f"{text} is a directory", hint=f"name a file in it, such as {text}result.json")
        return cls(text)

    def __str__(self) -> str:
        return "standard output" if self.is_stdout else self.path

    @property
    def is_stdout(self) -> bool:
        """Whether the result shares standard output with what else is printed there."""
        return self.path == _STDOUT

    def check(self) -> None:
        """Raise UsageError if a write could not work; nothing is created, opened or changed.

        A full disk, a quota or a reader that goes away cannot be seen beforehand: `write` reports those.
        """
        if self.is_stdout:
            if sys.stdout is None:
                raise UsageError("standard output is closed", hint="give a path instead of -")
            return
        try:
            self._check_path()
        except OSError as error:
            raise UsageError(f"cannot write to {self.path}", why=_reason(error), hint="give another path") from error

    def write(self, text: str) -> None:
        """Write `text` as UTF-8; raises ResultNotSavedError, and then a regular file still has its old content.

        A named pipe without a reader makes this wait for one, as any other program would.
        """
        data = text.encode()
        try:
            if self.is_stdout:
                _write_stdout(text, data)
            elif (descriptor := _own_descriptor(self.path)) is not None:
                _write_descriptor(descriptor, data)
            elif _is_written_in_place(self.path):
                _write_in_place(self.path, data)
            else:
                # The target of a symbolic link is replaced, not the link.
                _replace(Path(os.path.realpath(self.path)), data)
        except OSError as error:
            raise ResultNotSavedError(
                f"the result was not saved to {self}", why=_reason(error), hint=_hint_after(error)
            ) from error

    def _check_path(self) -> None:
        """Raise UsageError or OSError if the path cannot be written to."""
        if _own_descriptor(self.path) is not None:
            Path(self.path).stat()  # an OSError if that descriptor is not open
            return
        existing = _stat_or_none(self.path)
        if existing is not None:
            if stat.S_ISDIR(existing.st_mode):
                raise UsageError(f"{self.path} is a directory", hint=f"name a file in it: {self.path}/result.json")
            if stat.S_ISSOCK(existing.st_mode) or stat.S_ISBLK(existing.st_mode):
                raise UsageError(f"{self.path} is a socket or a disk, not a file", hint="give another path")
            if not _allowed(self.path, os.W_OK):
                raise UsageError(
                    f"{self.path} is not writable", why="its mode or its file system", hint="give another path"
                )
            if not stat.S_ISREG(existing.st_mode):
                return
        parent = os.path.dirname(os.path.realpath(self.path))  # noqa: PTH120 - Path.resolve raises on a loop of links
        if not os.path.isdir(parent):  # noqa: PTH112 - the same
            raise UsageError(f"the directory {parent} does not exist", hint=f"mkdir -p {parent}")
        if not _allowed(parent, os.W_OK | os.X_OK):
            raise UsageError(
                f"the directory {parent} is not writable",
                why="a result is written to a new file there first, then put in place whole",
                hint="give a path in a directory of yours",
            )


def _own_descriptor(path: str) -> int | None:
    """The number N if `path` leads to /proc/self/fd/N, such as /dev/stdout does.

    Such a path must not be resolved further: with `harness load --json /dev/stdout > all.txt` the end of the chain is
    the regular file all.txt, and replacing or truncating it would lose what the shell's descriptor wrote to it.
    """
    # Not getpid: seen from within a PID namespace, /proc may be that of the world outside.
    own = os.path.realpath("/proc/self")
    for _ in range(_MOST_LINKS):
        directory, name = os.path.split(path)
        place = _DESCRIPTOR_DIRECTORY.fullmatch(os.path.realpath(directory))
        if place and name.isdecimal() and place["process"] == own:
            return int(name)
        try:
            path = os.path.join(directory, os.readlink(path))  # noqa: PTH115, PTH118 - text, as Path drops `..` rules
        except OSError:  # not a link: the end of the chain
            return None
    return None


def _is_written_in_place(path: str) -> bool:
    """Whether there is something at `path` that is no regular file."""
    existing = _stat_or_none(path)
    return existing is not None and not stat.S_ISREG(existing.st_mode)


def _stat_or_none(path: str) -> os.stat_result | None:
    """The status of what `path` leads to; None if there is nothing (also behind a dangling link)."""
    try:
        return Path(path).stat()
    except FileNotFoundError:
        return None


def _allowed(path: str, mode: int) -> bool:
    """access(2), asked for the ids that a write would use."""
    return os.access(path, mode, effective_ids=os.access in os.supports_effective_ids)


def _write_stdout(text: str, data: bytes) -> None:
    """Write behind what was printed so far, past Python's buffer.

    What stays in that buffer after a failure would be tried again, and complained about, when the interpreter ends.
    """
    if sys.stdout is None:
        raise OSError(errno.EBADF, "standard output is closed")
    try:
        descriptor = sys.stdout.fileno()
    except (OSError, ValueError):  # captured by a caller in this process: no descriptor behind it
        sys.stdout.write(text)
        sys.stdout.flush()
        return
    sys.stdout.flush()
    _write_all(descriptor, data)


def _write_descriptor(descriptor: int, data: bytes) -> None:
    """Write to a descriptor that is open already, where its offset is."""
    if descriptor == _STDOUT_DESCRIPTOR and sys.stdout is not None:
        sys.stdout.flush()
    _write_all(descriptor, data)


def _write_in_place(path: str, data: bytes) -> None:
    """Open a pipe or device and write to it."""
    descriptor = os.open(path, os.O_WRONLY | os.O_NOCTTY)
    try:
        _write_all(descriptor, data)
    finally:
        os.close(descriptor)


def _replace(target: Path, data: bytes) -> None:
    """Put a file with `data` where `target` is, in one step; the temporary beside it is gone in every case."""
    existing = _stat_or_none(str(target))
    temporary = target.parent / f".harness-{secrets.token_hex(8)}.tmp"
    # Mode 0666 is cut by the umask, as for any new file; tempfile's 0600 would surprise whoever shares results.
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        try:
            if existing is not None:
                _take_over_mode(descriptor, existing)
            _write_all(descriptor, data)
            os.fsync(descriptor)  # some file systems report a full disk or a bad one only here
        finally:
            os.close(descriptor)
        os.replace(temporary, target)  # noqa: PTH105 - rename(2) by its name
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def _take_over_mode(descriptor: int, existing: os.stat_result) -> None:
    """Give the new file the mode of the old one, and its owner where root replaces somebody's file."""
    with contextlib.suppress(PermissionError):
        os.fchown(descriptor, existing.st_uid, existing.st_gid)
    os.fchmod(descriptor, stat.S_IMODE(existing.st_mode))  # after fchown, which clears bits of it


def _write_all(descriptor: int, data: bytes) -> None:
    """write(2) may take less than it was given: a pipe does, and a disk that fills up."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def _reason(error: OSError) -> str:
    """The kernel's own words."""
    return error.strerror or str(error)


def _hint_after(error: OSError) -> str:
    """What to do when the run is over and its result could not be written."""
    if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
        return "make room there, or give a path on another disk"
    if error.errno == errno.EPIPE:
        return "whoever read the output went away; give a path to keep the result"
    return "give another path, or - for standard output"
