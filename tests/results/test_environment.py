"""harness.results.environment, on this machine and on trees of files that stand for others."""

from __future__ import annotations

import getpass
import json
import os
import platform
import socket
import subprocess
from pathlib import Path

import pytest

import harness
from harness.results import environment
from harness.results.environment import describe


def machine(root: Path, files: dict[str, str]) -> Path:
    """A directory that looks like another machine's root."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def git(checkout: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
    done = subprocess.run(["git", *identity, *arguments], cwd=checkout, check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A git checkout with one commit, taken for the harness's own."""
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    (tmp_path / "harness").mkdir()
    (tmp_path / "harness/__init__.py").write_text("1")
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "-m", "first")
    monkeypatch.setattr(harness, "__file__", str(tmp_path / "harness/__init__.py"))
    return tmp_path


def test_this_machine_is_described_as_the_kernel_does() -> None:
    """On this machine the facts are those that the kernel and Python give."""
    facts = describe()

    assert facts["kernel_release"] == os.uname().release
    assert facts["kernel_version"] == os.uname().version
    assert facts["machine"] == os.uname().machine
    assert facts["cores_allowed"] == len(os.sched_getaffinity(0))
    assert facts["cores_online"] >= facts["cores_allowed"]
    assert facts["memory_bytes"] > 2**20
    assert facts["limits"]["msgmnb"] == int(Path("/proc/sys/kernel/msgmnb").read_text())
    assert facts["versions"]["python"] == f"{platform.python_implementation()} {platform.python_version()}"
    assert facts["versions"]["harness"] == harness.__version__
    assert facts["versions"]["rich"]


def test_description_goes_through_json_unchanged() -> None:
    """The description is plain JSON."""
    facts = describe()

    assert json.loads(json.dumps(facts, allow_nan=False)) == facts


def test_description_names_no_host_user_or_path() -> None:
    """Nothing in a shared result names the machine, its user, or a place in its file system."""
    facts = describe()
    facts.pop("kernel_version")  # free text of the kernel's builder
    text = json.dumps(facts)

    assert socket.gethostname() not in text
    assert str(Path(harness.__file__).parent) not in text
    assert str(Path.home()) not in text
    assert getpass.getuser() not in text.split('"')


def test_processor_memory_and_clock_are_read_from_proc_and_sys(tmp_path: Path) -> None:
    """Processor, memory, clock source and limits come from proc and sys, in bytes and whole numbers."""
    root = machine(
        tmp_path,
        {
            "proc/cpuinfo": "processor\t: 0\nmodel name\t: Slow: 1 GHz\nflags\t\t: fpu hypervisor\n\n"
            "processor\t: 1\nmodel name\t: Other\nflags\t\t: fpu\n",
            "proc/meminfo": "MemTotal:        2048 kB\nMemFree:         1 kB\n",
            "sys/devices/system/clocksource/clocksource0/current_clocksource": "hpet\n",
            "proc/sys/kernel/msgmax": "8192\n",
            "proc/sys/kernel/msgmnb": "16384\n",
            "proc/sys/kernel/msgmni": "32000\n",
        },
    )

    facts = describe(root)

    assert facts["cpu_model"] == "Slow: 1 GHz"
    assert facts["hypervisor"] is True
    assert facts["memory_bytes"] == 2048 * 1024
    assert facts["clock_source"] == "hpet"
    assert facts["limits"] == {"msgmax": 8192, "msgmnb": 16384, "msgmni": 32000}
    assert facts["container"] is None


def test_what_cannot_be_read_is_null(tmp_path: Path) -> None:
    """On a system without proc and sys the description still comes, with nulls."""
    facts = describe(tmp_path)

    unread = ("cpu_model", "memory_bytes", "clock_source", "hypervisor", "container")
    assert {name: facts[name] for name in unread} == dict.fromkeys(unread)
    assert facts["limits"] == {"msgmax": None, "msgmnb": None, "msgmni": None}


def test_bare_metal_is_told_from_a_processor_without_such_a_flag(tmp_path: Path) -> None:
    """Without the hypervisor flag among the flags it is False; where a processor has no flags it is unknown."""
    x86 = machine(tmp_path / "x86", {"proc/cpuinfo": "flags : fpu tsc\n"})
    arm = machine(tmp_path / "arm", {"proc/cpuinfo": "Features : fp asimd\nModel : Board 4\n"})

    assert describe(x86)["hypervisor"] is False
    assert describe(arm)["hypervisor"] is None
    assert describe(arm)["cpu_model"] == "Board 4"


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({".dockerenv": ""}, "docker"),
        ({"run/.containerenv": ""}, "podman"),
        ({"run/systemd/container": "systemd-nspawn\n"}, "systemd-nspawn"),
        ({"proc/1/cgroup": "0::/kubepods/besteffort/pod1\n"}, "kubepods"),
        ({"proc/1/cgroup": "0::/init.scope\n"}, None),
    ],
)
def test_container_is_known_by_its_traces(tmp_path: Path, files: dict[str, str], expected: str | None) -> None:
    """A container is named by what its runtime left, and none where nothing was left."""
    assert describe(machine(tmp_path, files))["container"] == expected


def test_checkout_is_named_by_its_revision(checkout: Path) -> None:
    """A checkout gives its revision, and a file that lies beside the package does not make it dirty."""
    (checkout / "result.json").touch()

    assert describe()["git"] == {"revision": git(checkout, "rev-parse", "HEAD"), "dirty": False}


@pytest.mark.parametrize("name", ["harness/__init__.py", "harness/new.py"])
def test_changed_or_new_file_in_the_package_makes_the_checkout_dirty(checkout: Path, name: str) -> None:
    """A file of the package that differs from the revision, or is not in it, makes the checkout dirty."""
    (checkout / name).write_text("2")

    assert describe()["git"] == {"revision": git(checkout, "rev-parse", "HEAD"), "dirty": True}


def test_git_variables_of_a_hook_do_not_lead_elsewhere(
    checkout: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The revision is that of the harness also where GIT_DIR, as in a hook, names another repository."""
    revision = git(checkout, "rev-parse", "HEAD")
    monkeypatch.setenv("GIT_DIR", str(tmp_path_factory.mktemp("other")))

    assert describe()["git"] == {"revision": revision, "dirty": False}


def test_install_inside_another_repository_has_no_revision(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A harness that lies within somebody's checkout, as in a virtual environment there, does not report theirs."""
    installed = checkout / "venv/harness"
    installed.mkdir(parents=True)
    monkeypatch.setattr(harness, "__file__", str(installed / "__init__.py"))

    assert describe()["git"] is None


def test_missing_git_is_null(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without git on the PATH the revision is null."""
    monkeypatch.setenv("PATH", str(checkout / "nowhere"))

    assert describe()["git"] is None


def test_git_that_hangs_is_given_up(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A git that does not answer is given up after a while, and the revision is null."""
    slow = checkout / "bin/git"
    slow.parent.mkdir()
    slow.write_text("#!/bin/sh\nexec sleep 60\n")
    slow.chmod(0o755)
    monkeypatch.setenv("PATH", f"{slow.parent}:{os.environ['PATH']}")
    monkeypatch.setattr(environment, "_GIT_TIMEOUT_S", 0.05)

    assert describe()["git"] is None


def test_package_that_is_not_installed_has_no_version(monkeypatch: pytest.MonkeyPatch) -> None:
    """A package that is not there has null as its version."""
    monkeypatch.setattr(environment, "_PACKAGES", ("no-such-package-of-ours",))

    assert describe()["versions"]["no-such-package-of-ours"] is None
