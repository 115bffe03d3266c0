"""Where a result was measured: the facts about kernel, processor and software that a figure cannot be read without.

`describe()` goes into every result's JSON and into `harness doctor`. It only reads, and nothing it meets makes it
raise: a fact that cannot be had is null. It does not judge; doctor does.

Results are shared, so there is no host name, user name or path in it, and nothing else that names a person or place.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

import harness

_GIT_TIMEOUT_S = 5.0
_PACKAGE = "harness"
_PACKAGES = ("sysv_ipc", "rich", "typer")
_LIMITS = ("msgmax", "msgmnb", "msgmni")
# Files that container runtimes put in place: Docker's by its own hand, Podman's per podman-run(1).
_CONTAINER_FILES = {".dockerenv": "docker", "run/.containerenv": "podman"}
_CONTAINER_CGROUPS = ("kubepods", "docker", "lxc", "libpod")


def describe(root: Path = Path("/")) -> dict[str, Any]:
    """The machine and the software, ready for JSON; sizes in bytes, what cannot be read is None.

    `limits` are those of the caller's IPC namespace. `root` is the directory that holds proc and sys; what comes from
    system calls (the kernel's release, the cores) is that of the running system whatever `root` is.
    """
    kernel = platform.uname()
    cpu = _cpu_facts(_read(root / "proc/cpuinfo"))
    return {
        "kernel_release": kernel.release or None,
        "kernel_version": kernel.version or None,
        "machine": kernel.machine or None,
        "cores_online": _cores_online(),
        "cores_allowed": _cores_allowed(),
        "cpu_model": cpu.get("model name") or cpu.get("Model"),
        "memory_bytes": _memory_bytes(_read(root / "proc/meminfo")),
        "clock_source": _read(root / "sys/devices/system/clocksource/clocksource0/current_clocksource"),
        "limits": {name: _whole_number(_read(root / "proc/sys/kernel" / name)) for name in _LIMITS},
        "versions": _versions(),
        "git": _git(Path(harness.__file__).parent.parent),
        # x86 says so in its flags; elsewhere there is no such flag, and None is the honest answer.
        "hypervisor": "hypervisor" in cpu["flags"].split() if "flags" in cpu else None,
        "container": _container(root),
    }


def _read(path: Path) -> str | None:
    """A file's text without the blanks around it; None if it cannot be read or says nothing."""
    try:
        return path.read_text(errors="replace").strip() or None
    except OSError:
        return None


def _whole_number(text: str | None) -> int | None:
    return int(text) if text is not None and text.isdecimal() else None


def _cpu_facts(cpuinfo: str | None) -> dict[str, str]:
    """The first value of each field of /proc/cpuinfo: the cores of one machine do not differ in what is asked here."""
    facts: dict[str, str] = {}
    for line in (cpuinfo or "").splitlines():
        field, colon, value = line.partition(":")
        if colon:
            facts.setdefault(field.strip(), value.strip())
    return facts


def _memory_bytes(meminfo: str | None) -> int | None:
    """MemTotal of /proc/meminfo, whose "kB" are 1024 bytes (proc_meminfo(5))."""
    for line in (meminfo or "").splitlines():
        field, _, value = line.partition(":")
        if field == "MemTotal" and value.split():
            kibibytes = _whole_number(value.split()[0])
            return None if kibibytes is None else kibibytes * 1024
    return None


def _cores_online() -> int | None:
    """From sysconf, as os.cpu_count obeys PYTHON_CPU_COUNT from Python 3.13 on."""
    try:
        return os.sysconf("SC_NPROCESSORS_ONLN")
    except (AttributeError, OSError, ValueError):
        return os.cpu_count()


def _cores_allowed() -> int | None:
    """How many cores the scheduler may put this process on; None where the system does not say (macOS, Windows)."""
    try:
        return len(os.sched_getaffinity(0))
    except (AttributeError, OSError):
        return None


def _versions() -> dict[str, str | None]:
    """Python's implementation and version, ours, and those of the packages that take part in a run."""
    return {
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "harness": harness.__version__,
        **{name: _package_version(name) for name in _PACKAGES},
    }


def _package_version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _git(checkout: Path) -> dict[str, Any] | None:
    """The revision that is checked out and whether the package's files differ from it; None if this is no checkout.

    A new file in the package, not yet added, counts as a difference: it may be what was measured. Notes and results
    beside the package do not.
    Without the look at .git, a harness that was installed inside somebody's project would report their revision.
    """
    if not (checkout / ".git").exists():
        return None
    revision = _run_git(checkout, "rev-parse", "--verify", "HEAD")
    changes = _run_git(checkout, "status", "--porcelain", "--untracked-files=normal", "--", _PACKAGE)
    if revision is None or changes is None:
        return None
    return {"revision": revision, "dirty": bool(changes)}


def _run_git(checkout: Path, *arguments: str) -> str | None:
    """What git answers; None if it is not installed, refuses (another owner's checkout), or takes too long."""
    # In a hook, git sets GIT_DIR and its like, which would point at another repository than the one asked about.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    environment["GIT_OPTIONAL_LOCKS"] = "0"  # git(1): `status` would otherwise write to the index
    try:
        answer = subprocess.run(
            ["git", "-C", str(checkout), *arguments],
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_GIT_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip() if answer.returncode == 0 else None


def _container(root: Path) -> str | None:
    """The kind of container this runs in, as far as its traces tell; None if there are none.

    A hint: a runtime that leaves no trace is not seen.
    """
    for name, kind in _CONTAINER_FILES.items():
        if (root / name).exists():
            return kind
    named = _read(root / "run/systemd/container")  # systemd's "Container Interface": the manager's name
    if named is not None:
        return named
    cgroups = _read(root / "proc/1/cgroup") or ""
    return next((kind for kind in _CONTAINER_CGROUPS if kind in cgroups), None)
