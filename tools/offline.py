"""`make offline`: fill vendor/ with all that the VM installs, so that `vagrant up` needs no network in the guest.

    python tools/offline.py [FOLDER]

The guest's Python is Debian 12's 3.11, on amd64 or arm64, whatever this host is. It has a compiler: what has no wheel
for it comes as source.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
GUEST_PYTHON = "3.11"
ARCHITECTURES = ("x86_64", "aarch64")
GLIBCS = ("manylinux2014", "manylinux_2_17", "manylinux_2_24", "manylinux_2_28", "manylinux_2_34")
"""The names of wheels that Debian 12's glibc, 2.36, can run."""

FROM_SOURCE = ("sysv_ipc",)
"""Taken as source, since not every version has wheels; its build needs setuptools, and older pip asks for wheel."""


def requirements() -> list[str]:
    """What pyproject.toml asks for, to run and to build, without the conditions: the guest is what counts."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    asked = [*project["project"]["dependencies"], *project["build-system"]["requires"], "wheel"]
    return [requirement.partition(";")[0].strip() for requirement in asked]


def name_of(requirement: str) -> str:
    """The project's name in a requirement such as `pytest>=8`."""
    return re.split(r"[^\w.-]", requirement, maxsplit=1)[0]


def download(folder: Path, *arguments: str) -> None:
    """Let pip fetch into `folder`; raises CalledProcessError, when pip has said why."""
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "--dest", str(folder), *arguments], check=True)


def fill(folder: Path) -> None:
    """Fetch everything for both architectures; raises CalledProcessError."""
    wheels = [requirement for requirement in requirements() if name_of(requirement) not in FROM_SOURCE]
    sources = [requirement for requirement in requirements() if name_of(requirement) in FROM_SOURCE]
    for architecture in ARCHITECTURES:
        platforms = [word for glibc in GLIBCS for word in ("--platform", f"{glibc}_{architecture}")]
        guest = ["--only-binary=:all:", "--implementation=cp", f"--python-version={GUEST_PYTHON}", *platforms]
        download(folder, *guest, *wheels)
    download(folder, "--no-deps", "--no-binary=:all:", *sources)


def main(argv: list[str]) -> int:
    """Fill the folder that is named, or vendor/; returns the exit status."""
    if len(argv) > 1:
        sys.stderr.write("usage: python tools/offline.py [FOLDER]\n")
        return 2
    folder = Path(argv[0]) if argv else ROOT / "vendor"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        fill(folder)
    except OSError as error:
        sys.stderr.write(f"{folder} was not filled: {error.strerror or error}\n")
        return 1
    except subprocess.CalledProcessError:
        sys.stderr.write(f"{folder} is not complete: pip said why; run it again with the internet at hand\n")
        return 1
    sys.stdout.write(f"{folder}: {len(list(folder.iterdir()))} files; `vagrant up` installs from there\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
