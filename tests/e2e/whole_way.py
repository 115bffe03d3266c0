"""The whole way, with a real virtual machine: up, provision again, check labs, put load on a queue, halt, up, destroy.

`make vm-test` runs it; its name keeps it out of `make test`. The tests are steps of one way, and stand in its order.
"""

from __future__ import annotations

import os
import re
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
LONG_S = 1800.0  # an emulated guest takes its time
# Most labs' checks wait 2 s for a program to start and end, which an emulator does not always manage.
LABS = "labs/08_sizes" if "RIG_STATE" in os.environ else "labs/"


def vagrant(*arguments: str) -> subprocess.CompletedProcess[str]:
    """`vagrant ...` in the project's folder, to its end."""
    return subprocess.run(
        ["vagrant", *arguments], cwd=ROOT, capture_output=True, text=True, check=False, timeout=LONG_S
    )


def in_guest(command: str) -> str:
    """What a command in the guest wrote, which has to succeed."""
    done = vagrant("ssh", "-c", command)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.replace("\r\n", "\n")


def state() -> str:
    """The machine's state, as Vagrant names it for programs."""
    rows = [line.split(",") for line in vagrant("status", "--machine-readable").stdout.splitlines()]
    return next(row[3] for row in rows if row[2] == "state")


@pytest.fixture(scope="module", autouse=True)
def up() -> Iterator[None]:
    """A machine that was not there before, and is not there afterwards."""
    assert state() == "not_created", "this checkout has a machine: vagrant destroy it first, if nobody needs it"
    begun_s = time.monotonic()
    try:
        done = vagrant("up")
        assert done.returncode == 0, done.stdout + done.stderr
        print(f"vagrant up: {time.monotonic() - begun_s:.0f} s")  # noqa: T201 - for the report, with pytest -s
        yield
    finally:
        vagrant("destroy", "-f")


def test_provisioning_again_changes_nothing() -> None:
    """A second `vagrant provision` succeeds, installs no package, and leaves the project as it is."""
    done = vagrant("provision")

    assert done.returncode == 0, done.stdout + done.stderr
    assert "packages: all are there" in done.stdout
    assert "project: nothing changed" in done.stdout


def test_every_shell_finds_the_commands() -> None:
    """harness, pytest and python are the venv's: in a login shell, and where ssh runs a command without any."""
    look = "command -v harness pytest python; hostname"
    expected = r"(/\S+/venv/bin/(harness|pytest|python)\n){3}msgq\n"

    bare = vagrant("ssh", "--", "-T", look).stdout.replace("\r\n", "\n")

    assert re.fullmatch(expected, in_guest(look))
    assert re.fullmatch(expected, bare)


def test_the_native_engine_is_there() -> None:
    """`harness doctor` in the guest has no complaint that makes it fail."""
    in_guest("harness doctor")
    in_guest("cd /vagrant && python -c 'import harness.engines._native'")


def test_labs_are_checked() -> None:
    """The labs' checks pass in the guest, on the exemplar solutions."""
    told = in_guest(f"cd /vagrant && pytest --solutions {LABS}")

    assert re.search(r"=+ \d+ passed", told), told


def test_load() -> None:
    """The main job runs, with nothing lost; whether an emulated machine holds the rate is not asked."""
    told = in_guest("harness load --rate 500k --duration 3s --fail-if 'lost>0'")

    assert "native" in told


# --- from a host without message queues: what harness/remote does belongs here, before the machine is halted ---------


def limits() -> str:
    return in_guest("cd /proc/sys/kernel && cat msgmax msgmnb msgmni")


def test_limits_outlive_a_restart() -> None:
    """The limits of provision/limits.sh hold, and still do after `vagrant halt` and `vagrant up`."""
    asked = re.findall(r"^kernel\.\w+ = (\d+)$", (ROOT / "provision" / "limits.sh").read_text(), re.MULTILINE)
    before = limits()

    assert vagrant("halt").returncode == 0
    assert vagrant("up").returncode == 0

    assert before.split() == asked
    assert limits().split() == asked


def test_nothing_is_left() -> None:
    """`vagrant destroy` takes the machine away."""
    assert vagrant("destroy", "-f").returncode == 0
    assert state() == "not_created"
