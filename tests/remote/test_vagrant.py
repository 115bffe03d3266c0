"""What Vagrant says of the VM, and which line and next command that becomes."""

from __future__ import annotations

import json
import platform
from typing import TYPE_CHECKING

import pytest

from harness.remote.vagrant import connect, find_vagrantfile, trouble
from harness.sysv.errors import NoVirtualMachineError, UsageError, VirtualMachineError

if TYPE_CHECKING:
    from pathlib import Path

    from tests.remote.conftest import StandIn


@pytest.fixture
def here(vm: StandIn, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The project, where Vagrant is the stand-in; this process stands in it."""
    monkeypatch.setenv("PATH", vm.env["PATH"])
    monkeypatch.delenv("VAGRANT_DOTFILE_PATH", raising=False)
    monkeypatch.chdir(vm.project)
    return vm.project


def test_a_running_machine_is_asked_for_once(vm: StandIn, here: Path) -> None:
    """Where the VM runs, one question to Vagrant gives its name and the way in."""
    machine = connect(here)

    assert machine.name == "msgq"
    assert "Port 2222" in machine.options
    assert 'IdentityFile "/a folder/private_key"' in machine.options
    assert vm.calls() == [f"{here} ssh-config"]


@pytest.mark.parametrize(
    ("state", "seen", "command"),
    [
        ("not_created", "not created", "vagrant up"),
        ("poweroff", "halted (poweroff)", "vagrant up"),
        ("shutoff", "halted (shutoff)", "vagrant up"),
        ("aborted", "halted (aborted)", "vagrant up"),
        ("saved", "suspended (saved)", "vagrant resume"),
        ("paused", "suspended (paused)", "vagrant resume"),
        ("gurumeditation", "in the state 'gurumeditation'", "vagrant status"),
    ],
)
def test_each_state_has_its_line_and_its_command(vm: StandIn, here: Path, state: str, seen: str, command: str) -> None:
    """Whatever keeps a VM from running is said in one line, with the command that comes next."""
    vm.is_(state)

    with pytest.raises(VirtualMachineError) as caught:
        connect(here)

    assert seen in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.hint == command
    assert caught.value.exit_status == 3
    assert isinstance(caught.value, NoVirtualMachineError) == (state == "not_created")


def test_the_command_says_where_to_type_it(vm: StandIn, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For somebody who stands elsewhere, the next command names the folder."""
    vm.is_("poweroff")
    monkeypatch.chdir("/")

    assert trouble(here).hint == f"vagrant up  (in {here})"


def test_a_running_machine_without_ssh(vm: StandIn, here: Path) -> None:
    """A VM that runs and does not let SSH in is told apart from one that is halted."""
    vm.is_("unreachable")

    error = trouble(here)

    assert "SSH does not get in" in str(error)
    assert error.hint == "vagrant reload"


def test_what_vagrant_complains_about_is_passed_on(vm: StandIn, here: Path) -> None:
    """A Vagrantfile that Vagrant cannot read is told in Vagrant's words, commas included."""
    vm.is_("broken")

    with pytest.raises(VirtualMachineError) as caught:
        connect(here)

    assert str(caught.value).endswith("There is a syntax error, look:")


def test_without_vagrant(here: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where Vagrant is not installed, that is what is said."""
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(NoVirtualMachineError, match="Vagrant is not installed") as caught:
        connect(here)

    assert "vagrant up" in caught.value.hint


@pytest.mark.parametrize("state", ["poweroff", "unreachable"])
def test_a_box_for_another_architecture(vm: StandIn, here: Path, state: str) -> None:
    """Where a VM does not start or answer, and its box is for another processor, that is the reason that is given."""
    other = "arm64" if platform.machine() == "x86_64" else "amd64"
    kept = here / ".vagrant" / "machines" / "msgq" / "virtualbox"
    kept.mkdir(parents=True)
    (kept / "box_meta").write_text(json.dumps({"name": "debian/bookworm64", "architecture": other}))
    vm.is_(state)

    error = trouble(here)

    assert f"debian/bookworm64 is for {other}" in str(error)
    assert error.hint.startswith("vagrant destroy -f")


def test_two_machines_are_refused(vm: StandIn, here: Path) -> None:
    """A Vagrantfile with two machines leaves open which is meant, and nothing is guessed."""
    program = vm.folder / "bin" / "vagrant"
    program.write_text("#!/bin/sh\nprintf 'Host one\\n  Port 1\\n\\nHost two\\n  Port 2\\n'\n")

    with pytest.raises(UsageError, match="2 machines"):
        connect(here)


def test_the_vagrantfile_of_this_checkout(vm: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two checkouts each finds its own Vagrantfile, and Vagrant is asked there, whatever VAGRANT_CWD says."""
    other = tmp_path / "other" / "labs"
    other.mkdir(parents=True)
    (other.parent / "Vagrantfile").touch()
    monkeypatch.setenv("PATH", vm.env["PATH"])
    monkeypatch.setenv("VAGRANT_CWD", "/")

    (tmp_path / "Vagrantfile").touch()  # somebody else's

    folders = [find_vagrantfile(vm.project), find_vagrantfile(other), find_vagrantfile(tmp_path)]
    connect(other.parent)

    assert folders == [vm.project, other.parent, None]
    assert vm.calls() == [f"{other.parent} ssh-config"]
