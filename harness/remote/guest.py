"""The VM's end of a visit. The host starts it there over SSH, with the Python that the provisioner installed.

    take FINGERPRINT     a tar from standard input into a fresh folder, whose path it prints
    run JSON             a command in that folder, until it ends or the host is gone; its exit status
    give FOLDER          a tar of what the command wrote for the host, to standard output; then the folder is removed

`run` ends the command when the way to the host ends: with a terminal the kernel sends SIGHUP then, without one standard
input ends. Before that, a host without a terminal may write a line with a signal's name, as for Ctrl-C. The command
hears SIGHUP, has PATIENCE_S to clean up, and then all that it started is killed, wherever it was forked to: this
process is the reaper of orphans (PR_SET_CHILD_SUBREAPER, prctl(2)).
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path
from typing import Any

from harness.remote.sources import fingerprint
from harness.sysv import libc

NOT_PROVISIONED = 93
OTHER_SOURCES = 94
"""Exit statuses of `take`, which no other program of a visit uses."""

PYTHON = "~/venv/bin/python"
PROVISIONED = "~/venv/built-from"
"""What provision/project.sh makes, this file last."""

PROJECT = "project"
OUT = "out"
"""In the visit's folder: what came from the host, and what goes back to it."""

PATIENCE_S = 3.0
_PR_SET_CHILD_SUBREAPER = 36  # include/uapi/linux/prctl.h
_ENDING = ("SIGINT", "SIGTERM", "SIGHUP")


def take(expected: str) -> int:
    """Unpack what the host sends, unless it has another harness than this machine."""
    if fingerprint() != expected:
        return OTHER_SOURCES
    folder = Path(tempfile.mkdtemp(prefix="harness-visit-"))
    folder.chmod(0o755)  # a lab's programs may run as another user
    try:
        (folder / PROJECT).mkdir()
        (folder / OUT).mkdir()
        # Debian 12's Python 3.11.2 has no filters yet.
        filters: dict[str, Any] = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
        with tarfile.open(fileobj=sys.stdin.buffer, mode="r|gz") as tar:
            tar.extractall(folder, **filters)  # noqa: S202 - our own host made it
    except (OSError, EOFError, tarfile.TarError) as error:  # a full disk, a host that is gone
        shutil.rmtree(folder)
        sys.stderr.write(f"it does not take the files: {error}\n")
        return 1
    sys.stdout.write(f"{folder}\n")
    return 0


def give(folder: Path) -> int:
    """Pack what is in the folder's OUT, and remove the folder."""
    with tarfile.open(fileobj=sys.stdout.buffer, mode="w|gz") as tar:
        for file in sorted((folder / OUT).iterdir()):
            tar.add(file, file.name, recursive=False)
    shutil.rmtree(folder)
    return 0


def run(order: dict[str, Any]) -> int:
    """Run `command` in `cwd` below `folder`, with `env` added; `terminal`: standard input is the user's."""
    libc.call("prctl", _PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    folder, terminal = Path(order["folder"]), bool(order["terminal"])
    heard, wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    for name in (*_ENDING, "SIGCHLD"):
        # A handler, and not SIG_IGN, which the command would inherit.
        signal.signal(getattr(signal, name), lambda *_: None)
    # pytest keeps the temporary folders of its last three runs: here they go with the visit.
    env = {"LANG": "C.UTF-8", **os.environ, "PYTEST_DEBUG_TEMPROOT": str(folder), **order["env"]}
    env["PATH"] = f"{Path(sys.executable).parent}:{env.get('PATH', os.defpath)}"
    child = subprocess.Popen(
        [sys.executable, "-P", *order["command"]],
        cwd=folder / PROJECT / order["cwd"],
        env=env,
        stdin=None if terminal else subprocess.DEVNULL,
        # Ctrl-C reaches all of the terminal's foreground group, as at home; without a terminal it comes from here.
        process_group=None if terminal else 0,
    )
    lost = _watch(child, heard, terminal=terminal)
    _kill_what_is_left()
    if lost:
        shutil.rmtree(folder, ignore_errors=True)
    status = child.returncode if child.returncode >= 0 else 128 - child.returncode
    return 254 if status == 255 else status  # 255 is ssh's own  # noqa: PLR2004


def _watch(child: subprocess.Popen[bytes], heard: int, *, terminal: bool) -> bool:
    """Until the command has ended; whether the host was lost before."""
    lost, deadline_s = False, float("inf")
    inputs = [heard] if terminal else [heard, 0]
    while child.poll() is None:
        if time.monotonic() > deadline_s:
            child.kill()
        ready, _, _ = select.select(inputs, [], [], 0.2 if lost else None)
        names = [signal.Signals(number).name for number in (os.read(heard, 64) if heard in ready else b"")]
        if 0 in ready:
            words = os.read(0, 64).decode(errors="replace").split()
            names += words or ["SIGHUP"]
        for name in names:
            if name == "SIGHUP" and not lost:
                lost, deadline_s = True, time.monotonic() + PATIENCE_S
                inputs = [heard]
            # In a terminal the command has heard Ctrl-C already.
            if name in _ENDING and not (terminal and name == "SIGINT"):
                with contextlib.suppress(ProcessLookupError):
                    (os.kill if terminal else os.killpg)(child.pid, getattr(signal, name))
    return lost


def _kill_what_is_left() -> None:
    """Kill what the command left running; its orphans are children of this process, and so are theirs when they die."""
    children = Path(f"/proc/self/task/{os.getpid()}/children")
    while left := children.read_text(encoding="ascii").split():
        for pid in map(int, left):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)


def main(words: list[str]) -> int:
    """One of take, run and give; returns the exit status."""
    command, argument = words
    if command == "take":
        return take(argument)
    return run(json.loads(argument)) if command == "run" else give(Path(argument))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
