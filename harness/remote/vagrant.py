"""Vagrant's machine of this checkout: where its Vagrantfile is, what state it is in, how SSH gets in.

Vagrant knows its machines by the folder of the Vagrantfile, so two checkouts, two users and a machine with another name
are told apart by asking it there. Formats: `vagrant ssh-config` writes ssh_config(5); `vagrant status
--machine-readable` writes lines `time,machine,kind,data...`, in which a comma is written %!(VAGRANT_COMMA).
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from harness.sysv.errors import NoVirtualMachineError, UsageError, VirtualMachineError

_PATIENCE_S = 60.0
_HALTED = {"poweroff", "shutoff", "off", "stopped", "not_running", "aborted", "shutdown", "crashed"}
_SUSPENDED = {"saved", "paused", "suspended", "pmsuspended", "aborted-saved"}
_PROCESSORS = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine that Vagrant says runs: its `name`, the Vagrantfile's `folder`, `options` of ssh_config(5)."""

    folder: Path
    name: str
    options: tuple[str, ...]


def find_vagrantfile(*starts: Path) -> Path | None:
    """The folder of the first Vagrantfile in one of `starts` or above it that has labs beside it, as ours has."""
    for start in starts:
        for folder in (start, *start.parents):
            if (folder / "Vagrantfile").is_file() and (folder / "labs").is_dir():
                return folder
    return None


def connect(folder: Path) -> Machine:
    """The machine of the Vagrantfile in `folder`; raises VirtualMachineError, which says what to do."""
    done = _vagrant(folder, "ssh-config")
    if done.returncode != 0:
        raise trouble(folder)
    blocks: list[tuple[str, list[str]]] = []
    for line in map(str.strip, done.stdout.splitlines()):
        key, _, value = line.partition(" ")
        if key == "Host":
            blocks.append((value.strip(), []))
        elif value and blocks:
            blocks[-1][1].append(line)
    if len(blocks) != 1:
        raise UsageError(
            f"the Vagrantfile in {folder} has {len(blocks)} machines", hint="leave one in it, the one with the project"
        )
    ((name, options),) = blocks
    return Machine(folder, name, tuple(options))


def trouble(folder: Path) -> VirtualMachineError:
    """Why the machine of `folder` cannot be reached, as an error to raise; raises one itself without Vagrant."""
    name, state = _state(folder)
    if state == "not_created":
        return NoVirtualMachineError("the VM is not created yet", hint=f"vagrant up{_in(folder)}")
    if state in _SUSPENDED:
        return VirtualMachineError(f"the VM is suspended ({state})", hint=f"vagrant resume{_in(folder)}")
    other = _other_architecture(folder, name)
    if other:
        return VirtualMachineError(
            f"the VM's box is for another architecture: {other}", hint=f"vagrant destroy -f; vagrant up{_in(folder)}"
        )
    if state in _HALTED:
        return VirtualMachineError(f"the VM is halted ({state})", hint=f"vagrant up{_in(folder)}")
    if state == "running":
        return VirtualMachineError("the VM runs, but SSH does not get in", hint=f"vagrant reload{_in(folder)}")
    return VirtualMachineError(f"the VM is in the state {state!r}", hint=f"vagrant status{_in(folder)}")


def _state(folder: Path) -> tuple[str, str]:
    """The machine's name and its state in Vagrant's word; raises VirtualMachineError where it tells none."""
    done = _vagrant(folder, "status", "--machine-readable")
    rows = [line.split(",") for line in done.stdout.splitlines()]
    for row in rows:
        if row[2:3] == ["state"] and len(row) > 3:  # noqa: PLR2004  time, machine, kind, data
            return row[1], row[3]
    said = next((",".join(row[4:]) for row in rows if row[2:3] == ["error-exit"]), "") or done.stderr
    lines = said.replace("%!(VAGRANT_COMMA)", ",").replace("\\n", "\n").split("\n")
    words = next((line.strip() for line in lines if line.strip()), f"exit status {done.returncode}")
    raise VirtualMachineError("Vagrant does not tell the VM's state", why=words, hint=f"vagrant status{_in(folder)}")


def _other_architecture(folder: Path, name: str) -> str:
    """In words, where the box says that it is for another processor; Vagrant 2.4 writes that down, 2.3 does not."""
    kept = folder / os.environ.get("VAGRANT_DOTFILE_PATH", ".vagrant")
    here = _PROCESSORS.get(platform.machine().lower())
    for meta in sorted((kept / "machines" / name).glob("*/box_meta")):
        try:
            box = json.loads(meta.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        made_for = _PROCESSORS.get(str(box.get("architecture")).lower())
        if here and made_for and made_for != here:
            return f"{box.get('name')} is for {made_for}, this machine is {here}"
    return ""


def _vagrant(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    program = shutil.which("vagrant")
    if program is None:
        raise NoVirtualMachineError(
            "Vagrant is not installed", why="there is no vagrant on PATH", hint="install Vagrant, then: vagrant up"
        )
    # VAGRANT_CWD would lead to another checkout's machine.
    env = {name: value for name, value in os.environ.items() if name != "VAGRANT_CWD"}
    try:
        return subprocess.run(
            [program, *words],
            cwd=folder,
            env=env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_PATIENCE_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise VirtualMachineError(
            f"vagrant {words[0]} did not end well", why=str(error), hint=f"vagrant {words[0]}{_in(folder)}"
        ) from error


def _in(folder: Path) -> str:
    """Where to type the command, unless that is here."""
    return "" if folder == Path.cwd() else f"  (in {folder})"
