"""The Vagrantfile: what it asks Vagrant for, and what its synced folder carries over."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def asked(tool: Callable[[str], str], repository: Path) -> Callable[..., list[list[Any]]]:
    """What the Vagrantfile calls, under these environment variables: name, arguments, options."""
    ruby = tool("ruby")

    def read(**variables: str) -> list[list[Any]]:
        done = subprocess.run(
            [ruby, str(repository / "tests/vm/read_vagrantfile.rb"), str(repository / "Vagrantfile")],
            env={"PATH": os.environ["PATH"], **variables},
            capture_output=True,
            text=True,
            check=True,
        )
        return json.loads(done.stdout)  # type: ignore[no-any-return]

    return read


def values(calls: list[list[Any]], name: str) -> list[Any]:
    """The first argument of each call of that name."""
    return [arguments[0] for called, arguments, _ in calls if called == name]


def test_it_is_ruby(tool: Callable[[str], str], repository: Path) -> None:
    """`ruby -c` finds no mistake in it."""
    done = subprocess.run(
        [tool("ruby"), "-wc", str(repository / "Vagrantfile")], capture_output=True, text=True, check=False
    )

    assert (done.stdout, done.stderr) == ("Syntax OK\n", "")


@pytest.mark.skipif(shutil.which("vagrant") is None, reason="there is no vagrant to validate it with")
def test_vagrant_finds_it_valid(repository: Path, tmp_path: Path) -> None:
    """`vagrant validate` accepts it, with the providers that are installed."""
    home = {
        "HOME": str(tmp_path),
        "VAGRANT_HOME": str(tmp_path / "home"),
        "VAGRANT_DOTFILE_PATH": str(tmp_path / "dot"),
    }

    done = subprocess.run(
        ["vagrant", "validate", "--ignore-provider"],
        cwd=repository,
        env=os.environ | home | {"VAGRANT_CHECKPOINT_DISABLE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr


def test_debian_s_own_vagrant_is_new_enough(asked: Callable[..., list[list[Any]]]) -> None:
    """Vagrant 2.3.4, which Debian 12 has, may read it."""
    assert values(asked(), "lets_2_3_4_pass") == [True]


def test_a_machine_of_four_processors_and_four_gib(asked: Callable[..., list[list[Any]]]) -> None:
    """VirtualBox, libvirt and Parallels get 4 CPUs and 4096 MiB, or what the environment says."""
    usual = asked()
    small = asked(HARNESS_VM_CPUS="2", HARNESS_VM_MEMORY_MIB="1024")

    assert set(values(usual, "provider")) == {"virtualbox", "libvirt", "parallels"}
    assert (values(usual, "cpus="), values(usual, "memory=")) == ([4] * 3, [4096] * 3)
    assert (values(small, "cpus="), values(small, "memory=")) == ([2] * 3, [1024] * 3)


def test_a_figure_that_is_none_is_told(tool: Callable[[str], str], repository: Path) -> None:
    """A number of CPUs that is no number ends with one line that names the variable."""
    done = subprocess.run(
        [tool("ruby"), str(repository / "tests/vm/read_vagrantfile.rb"), str(repository / "Vagrantfile")],
        env={"PATH": os.environ["PATH"], "HARNESS_VM_CPUS": "many"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 1
    assert done.stderr == 'HARNESS_VM_CPUS is "many": it takes a whole number, such as 4\n'


def test_the_machine_has_a_name(asked: Callable[..., list[list[Any]]]) -> None:
    """Machine and host are named msgq; in libvirt's list of all domains the checkout is told apart by its path."""
    calls = asked()

    assert values(calls, "define") == values(calls, "hostname=") == ["msgq"]
    assert len(values(calls, "default_prefix=")) == 1
    assert values(calls, "default_prefix=")[0].startswith("harness-")


def test_another_box_may_be_chosen(asked: Callable[..., list[list[Any]]]) -> None:
    """HARNESS_VM_BOX names another box; by itself no newer version of a box is looked for."""
    calls = asked(HARNESS_VM_BOX="somebody/debian-13")

    assert values(calls, "box=") == ["somebody/debian-13"]
    assert values(calls, "box_check_update=") == [False]


def test_each_provisioner_is_there_once(asked: Callable[..., list[list[Any]]], repository: Path) -> None:
    """Every script in provision/ is run, packages before the project, and only the project's as the ordinary user."""
    provisioners = {
        arguments[0]: options
        for called, arguments, options in asked(https_proxy="http://proxy:1")
        if called == "provision"
    }

    scripts = [options["path"] for options in provisioners.values()]
    assert sorted(scripts) == sorted(f"provision/{path.name}" for path in (repository / "provision").glob("*.sh"))
    assert list(provisioners).index("packages") < list(provisioners).index("project")
    assert [name for name, options in provisioners.items() if options.get("privileged") is False] == ["project"]
    needs_network = {name for name, options in provisioners.items() if options.get("env")}
    assert needs_network == {"packages", "project"}
    assert provisioners["packages"]["env"] == {"https_proxy": "http://proxy:1"}


def test_what_is_carried_over(
    asked: Callable[..., list[list[Any]]], tool: Callable[[str], str], tmp_path: Path
) -> None:
    """A learner's lab.py goes into the guest; no build, no venv, no git. What the guest built or wrote itself stays."""
    host, in_guest = tmp_path / "host", tmp_path / "guest"
    on_host = {
        "labs/01_a/lab.py": "mine",
        "labs/01_a/starter.py": "todo",
        "vendor/one.whl": "wheel",
        ".git/HEAD": "ref",
        ".venv/bin/python": "of the host",
        "build/lib/x.py": "of the host",
        "harness/engines/_native.cpython-311-darwin.so": "of the host",
        "harness/engines/_native.c": "of the host",
        "harness/__pycache__/x.pyc": "of the host",
        "msgq_harness.egg-info/PKG-INFO": "of the host",
    }
    before = {
        "labs/01_a/lab.py": "older",
        "labs/02_b/lab.py": "written in the guest",
        "labs/02_b/lab.py.1": "kept by a reset in the guest",
        "labs/03_gone/starter.py": "removed on the host since",
        "harness/engines/_native.cpython-311-linux.so": "of the guest",
        "msgq_harness.egg-info/PKG-INFO": "of the guest",
    }
    for folder, files in ((host, on_host), (in_guest, before)):
        for name, text in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text)
    [options] = [options for called, _, options in asked() if called == "synced_folder"]
    excludes = [f"--exclude={pattern}" for pattern in options["rsync__exclude"]]

    subprocess.run([tool("rsync"), *options["rsync__args"], *excludes, f"{host}/", f"{in_guest}/"], check=True)

    found = {str(path.relative_to(in_guest)): path.read_text() for path in in_guest.rglob("*") if path.is_file()}
    assert found == {
        "labs/01_a/lab.py": "mine",
        "labs/01_a/starter.py": "todo",
        "vendor/one.whl": "wheel",
        "labs/02_b/lab.py": "written in the guest",
        "labs/02_b/lab.py.1": "kept by a reset in the guest",
        "harness/engines/_native.cpython-311-linux.so": "of the guest",
        "msgq_harness.egg-info/PKG-INFO": "of the guest",
    }
    assert {str(path.relative_to(host)): path.read_text() for path in host.rglob("*") if path.is_file()} == on_host
