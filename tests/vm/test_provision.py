"""The provisioners: well-formed, done twice as good as once, and with a line of advice where the network fails."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from harness.sysv import Limits

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.vm.conftest import Guest

ROOT = Path(__file__).parents[2]
PROVISIONERS = sorted(path.name for path in (ROOT / "provision").glob("*.sh"))
SCRIPTS = sorted(
    str(path.relative_to(ROOT))
    for folder in ("provision", "tests/e2e", ".ci")
    for path in (ROOT / folder).rglob("*")
    if path.is_file() and re.match(rb"#!.*\bbash\b", path.read_bytes())
)


def test_the_scripts_are_found() -> None:
    """The tests here look at the provisioners and at what runs the real thing."""
    assert {"packages.sh", "limits.sh", "project.sh", "path.sh", "welcome.sh"} <= set(PROVISIONERS)
    assert {"provision/limits.sh", "tests/e2e/run", ".ci/run"} <= set(SCRIPTS)


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_script_stops_at_its_first_error(script: str) -> None:
    """Each script can be executed, is bash that parses, and stops where a command fails or a name is not set."""
    path = ROOT / script

    parsed = subprocess.run(["bash", "-n", str(path)], capture_output=True, text=True, check=False)

    assert parsed.stderr == ""
    assert path.stat().st_mode & 0o111 == 0o111
    assert "\nset -euo pipefail\n" in path.read_text()


def test_shellcheck_finds_nothing(tool: Callable[[str], str]) -> None:
    """shellcheck has nothing to say about any script."""
    found = subprocess.run([tool("shellcheck"), *SCRIPTS], cwd=ROOT, capture_output=True, text=True, check=False)

    assert found.stdout + found.stderr == ""


@pytest.mark.parametrize("script", ["limits.sh", "path.sh", "welcome.sh"])
def test_a_second_time_changes_nothing(guest: Guest, script: str) -> None:
    """A provisioner that writes files leaves the same files when it is run again."""
    guest.variables["GUEST_HOME"] = "/guest"

    def files_after_a_run() -> dict[Path, str]:
        done = guest.provision(script)
        assert (done.returncode, done.stderr) == (0, "")
        return {path: path.read_text() for path in guest.etc.rglob("*") if path.is_file()}

    first = files_after_a_run()

    assert first
    assert files_after_a_run() == first


# --- limits.sh ---------------------------------------------------------------------------------------------------


def limits_written(guest: Guest) -> dict[str, int]:
    guest.provision("limits.sh")
    text = (guest.etc / "sysctl.d" / "60-msgq.conf").read_text()
    return {name: int(value) for name, value in re.findall(r"^kernel\.(\w+) = (\d+)$", text, re.MULTILINE)}


def test_each_limit_has_its_reason(guest: Guest) -> None:
    """The file sets msgmax, msgmnb and msgmni, each below a comment that says why, and holds nothing else."""
    guest.provision("limits.sh")

    text = (guest.etc / "sysctl.d" / "60-msgq.conf").read_text()

    assert re.fullmatch(r"((# .+\n)+kernel\.msg\w+ = \d+\n){3}", text)
    assert set(limits_written(guest)) == {"msgmax", "msgmnb", "msgmni"}


@pytest.mark.private_ipc
def test_the_kernel_takes_the_limits(guest: Guest) -> None:
    """The kernel takes all three numbers, and at least one is not its default, so that one sees them applied."""
    default = Limits.read()
    wanted = Limits(**limits_written(guest))

    assert Limits.write(msgmax=wanted.msgmax, msgmnb=wanted.msgmnb, msgmni=wanted.msgmni) == wanted
    assert wanted != Limits(msgmax=8192, msgmnb=16384, msgmni=32000)
    assert wanted.msgmax <= wanted.msgmnb
    assert default.msgmax > 0


# --- path.sh -----------------------------------------------------------------------------------------------------


def test_path_keeps_what_else_is_in_the_environment(guest: Guest) -> None:
    """/etc/environment gets one PATH with the venv in front; its other lines stay."""
    guest.variables["GUEST_HOME"] = "/guest"
    (guest.etc / "environment").write_text('LANG="C.UTF-8"\nPATH="/bin"\nEDITOR=nano')

    guest.provision("path.sh")

    lines = (guest.etc / "environment").read_text().splitlines()
    assert lines[:2] == ['LANG="C.UTF-8"', "EDITOR=nano"]
    assert len(lines) == 3
    assert lines[2].startswith('PATH="/guest/venv/bin:')
    assert lines[2].endswith(':/bin"')


@pytest.mark.parametrize("shell", ["bash", "sh"])
def test_a_login_shell_finds_the_venv_once(guest: Guest, shell: str) -> None:
    """What a login shell reads puts the venv in front of its PATH, and not again in a shell within it."""
    guest.variables["GUEST_HOME"] = "/guest"
    guest.provision("path.sh")
    profile = guest.etc / "profile.d" / "msgq.sh"

    told = subprocess.run(
        [shell, "-c", f'. "{profile}"; . "{profile}"; echo "$PATH"'],
        env={"PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )

    assert told.stdout == "/guest/venv/bin:/usr/bin:/bin\n"


# --- welcome.sh --------------------------------------------------------------------------------------------------


def test_the_welcome_names_the_first_lab(guest: Guest) -> None:
    """The welcome text has the command for the first lab, which is there."""
    guest.provision("welcome.sh")

    first = min(path.name for path in (ROOT / "labs").glob("[0-9][0-9]_*"))
    assert f"pytest labs/{first} " in (guest.etc / "motd").read_text()


# --- packages.sh -------------------------------------------------------------------------------------------------


def test_packages_that_are_there_need_no_network(guest: Guest) -> None:
    """Where every package is installed, apt-get is not called."""
    guest.stand_in("dpkg-query", "echo installed")
    guest.stand_in("apt-get")

    done = guest.provision("packages.sh")

    assert (done.returncode, done.stdout) == (0, "packages: all are there\n")
    assert guest.calls
    assert not [call for call in guest.calls if call.startswith("apt-get")]


def test_only_what_is_missing_is_installed(guest: Guest) -> None:
    """A package that dpkg does not know, or that was removed and left its settings, is installed; no other."""
    guest.stand_in("dpkg-query", 'case "$*" in *gcc) exit 1 ;; *rsync) echo config-files ;; *) echo installed ;; esac')
    guest.stand_in("apt-get")

    done = guest.provision("packages.sh")

    asked = [call for call in guest.calls if call.startswith("apt-get")]
    assert done.returncode == 0
    assert asked == ["apt-get update -qq", "apt-get install -y -qq --no-install-recommends gcc rsync"]


def test_packages_that_cannot_be_fetched_are_told(guest: Guest) -> None:
    """Where apt-get fails, so does the provisioner, with a line that says where to read on."""
    guest.stand_in("dpkg-query", "exit 1")
    guest.stand_in("apt-get", "exit 100")

    done = guest.provision("packages.sh")

    assert done.returncode == 1
    assert "docs/vm.md" in done.stderr


# --- project.sh --------------------------------------------------------------------------------------------------


@pytest.fixture
def small_project(guest: Guest) -> Path:
    """A project in the guest, and a python3 whose venv notes what it is asked."""
    project = guest.root / "project"
    for name in ("pyproject.toml", "setup.py", "harness/engines/_native.pyx", "provision/project.sh"):
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text(f"# {name}\n")
    guest.variables |= {"PROJECT": str(project), "VENV": str(guest.root / "venv")}
    guest.stand_in("python", f'[ ! -e "{guest.root}/broken" ]')
    guest.stand_in("python3", f'mkdir -p "{guest.root}/venv/bin"; cp "{guest.root}/bin/python" "{guest.root}/venv/bin"')
    return project


def pip_calls(guest: Guest) -> list[str]:
    return [call for call in guest.calls if "-m pip install" in call]


def test_the_project_comes_from_vendor_where_that_is_filled(guest: Guest, small_project: Path) -> None:
    """With wheels in vendor/, pip may use nothing else; without, it asks the index."""
    guest.provision("project.sh")
    (guest.root / "venv" / "built-from").unlink()
    (small_project / "vendor").mkdir()
    (small_project / "vendor" / "one.whl").touch()

    done = guest.provision("project.sh")

    from_index, from_vendor = pip_calls(guest)
    assert done.returncode == 0
    assert "--no-index" not in from_index
    assert f"--no-index --find-links {small_project}/vendor --editable ." in from_vendor


def test_the_project_is_installed_again_only_when_it_changed(guest: Guest, small_project: Path) -> None:
    """A second run does nothing; after a change of the engine's source it installs again, into the same venv."""
    first, second = guest.provision("project.sh"), guest.provision("project.sh")
    assert (first.returncode, second.stdout) == (0, "project: nothing changed\n")
    assert len(pip_calls(guest)) == 1

    (small_project / "harness" / "engines" / "_native.pyx").write_text("# another\n")
    guest.provision("project.sh")

    assert len(pip_calls(guest)) == 2
    assert len([call for call in guest.calls if "-m venv" in call]) == 1


def test_an_installation_that_fails_is_not_taken_for_one(guest: Guest, small_project: Path) -> None:
    """Where pip fails, so does the provisioner, with advice; the next run tries again, even with the old sources."""
    source = small_project / "setup.py"
    was = source.read_text()
    guest.provision("project.sh")
    source.write_text("# another\n")
    (guest.root / "broken").touch()
    failed = guest.provision("project.sh")
    (guest.root / "broken").unlink()
    source.write_text(was)

    again = guest.provision("project.sh")

    assert failed.returncode == 1
    assert "docs/vm.md" in failed.stderr
    assert again.returncode == 0
    assert len(pip_calls(guest)) == 3


def test_an_installation_without_its_engine_is_told(guest: Guest, small_project: Path) -> None:
    """Where the native engine was not built, which pip does not mind, the provisioner fails."""
    guest.stand_in("python", 'case "$*" in *_native*) exit 1 ;; esac')

    done = guest.provision("project.sh")

    assert done.returncode == 1
    assert not (guest.root / "venv" / "built-from").exists()
