"""Who stays here, and who goes into the VM."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from harness.remote import choice
from harness.sysv.errors import NoVirtualMachineError, UsageError, VirtualMachineError
from harness.sysv.support import Observations, judge

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.remote.conftest import StandIn

LINUX = Observations(platform="linux")
WSL1 = Observations(platform="linux", kernel="4.4.0-19041-Microsoft", refused={"msgget": 38})
WITHOUT_BINDING = Observations(platform="linux", has_binding=False)
MACOS = Observations(platform="darwin")
WINDOWS = Observations(platform="win32")


@pytest.fixture
def on(vm: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Observations], None]:
    """Makes this process think that it runs on such a machine, on which Vagrant is the stand-in."""
    monkeypatch.setenv("PATH", vm.env["PATH"])
    monkeypatch.delenv(choice.VARIABLE, raising=False)
    monkeypatch.setattr(choice, "BESIDE", tmp_path / "nothing")  # this checkout may have a VM

    def be(seen: Observations) -> None:
        monkeypatch.setattr(choice, "diagnose", lambda: judge(seen))
        monkeypatch.setattr(choice, "sys", SimpleNamespace(platform=seen.platform))  # the rest still runs on Linux

    return be


@pytest.mark.parametrize("seen", [LINUX, WITHOUT_BINDING])
def test_linux_with_queues_stays(vm: StandIn, on: Callable[[Observations], None], seen: Observations) -> None:
    """A Linux machine whose kernel has queues is never redirected by itself, and Vagrant is not even asked."""
    on(seen)

    assert choice.choose(vm.project, asked=False) is None
    assert vm.calls() == []


@pytest.mark.parametrize("seen", [WSL1, MACOS, WINDOWS])
def test_a_machine_without_queues_goes(vm: StandIn, on: Callable[[Observations], None], seen: Observations) -> None:
    """Where the studied queues are not, the VM is entered by itself, and it is said why."""
    on(seen)

    machine, why = choice.choose(vm.project / "labs", asked=False) or pytest.fail("it stayed")

    assert machine.folder == vm.project
    assert why == f"no message queues here ({judge(seen).cause})"


@pytest.mark.parametrize("seen", [LINUX, WSL1, MACOS])
def test_who_asks_gets_it(vm: StandIn, on: Callable[[Observations], None], seen: Observations) -> None:
    """With --vm any machine goes into the VM."""
    on(seen)

    assert choice.choose(vm.project, asked=True) is not None


@pytest.mark.parametrize(("seen", "stays"), [(WSL1, True), (MACOS, False), (WINDOWS, False)])
def test_no_vm_yet(vm: StandIn, on: Callable[[Observations], None], seen: Observations, stays: bool) -> None:
    """Linux without a VM stays, with the words that it has; another system is told how to get one."""
    on(seen)
    vm.is_("not_created")

    if stays:
        assert choice.choose(vm.project, asked=False) is None
    else:
        with pytest.raises(NoVirtualMachineError):
            choice.choose(vm.project, asked=False)


def test_a_halted_vm_is_told_on_linux_too(vm: StandIn, on: Callable[[Observations], None]) -> None:
    """Where a VM is known, and only halted, the next command is worth more than a run in which nothing can run."""
    on(WSL1)
    vm.is_("poweroff")

    with pytest.raises(VirtualMachineError, match="halted"):
        choice.choose(vm.project, asked=False)


@pytest.mark.parametrize("seen", [WSL1, MACOS])
def test_without_a_vagrantfile(
    vm: StandIn, on: Callable[[Observations], None], tmp_path: Path, seen: Observations
) -> None:
    """Labs without a Vagrantfile stay here; --vm says what is missing."""
    on(seen)

    assert choice.choose(tmp_path, asked=False) is None
    with pytest.raises(UsageError, match="no Vagrantfile"):
        choice.choose(tmp_path, asked=True)


@pytest.mark.parametrize(("setting", "asked"), [("never", False), ("inside", False), ("inside", True)])
def test_the_setting(
    vm: StandIn, on: Callable[[Observations], None], monkeypatch: pytest.MonkeyPatch, setting: str, asked: bool
) -> None:
    """HARNESS_VM=never keeps a machine where it is; in the VM nobody goes any further, not even when asked."""
    on(WSL1)
    monkeypatch.setenv(choice.VARIABLE, setting)

    assert choice.choose(vm.project, asked=asked) is None
    assert vm.calls() == []


def test_who_asks_overrules_the_setting(
    vm: StandIn, on: Callable[[Observations], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With --vm, HARNESS_VM=never holds no longer."""
    on(LINUX)
    monkeypatch.setenv(choice.VARIABLE, choice.NEVER)

    assert choice.choose(vm.project, asked=True) is not None
