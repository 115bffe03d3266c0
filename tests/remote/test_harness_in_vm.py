"""`harness --vm COMMAND`, and commands that go into the VM by themselves."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from harness.cli.vm import READ, WITHOUT_FILES, WRITTEN, NamedFile, named_files

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.remote.conftest import Done, StandIn

LOAD = ("load", "--rate", "1k", "--duration", "100ms", "--warmup", "0s", "--drain", "100ms")


def test_files_are_brought_to_where_they_were_asked_for(vm: StandIn, host: Callable[..., Done]) -> None:
    """A run in the VM writes its results where the options say: here."""
    (vm.project / "results").mkdir()

    done = host("-m", "harness", "--vm", *LOAD, "--json", "out.json", "--csv=results/out.csv")

    assert done.status == 0
    assert done.err == "harness: --vm: in the VM msgq\n"
    assert "ledger: duplicated 0" in done.out
    assert json.loads((vm.project / "out.json").read_text())["schema"] == "harness.load/1"
    assert (vm.project / "results" / "out.csv").read_text().startswith("t_s,sent,")
    assert vm.left() == []


def test_standard_output_is_the_result_alone(host: Callable[..., Done]) -> None:
    """With --json - a pipe gets the document and nothing else."""
    done = host("-m", "harness", "--vm", *LOAD, "--json", "-")

    assert json.loads(done.out)["complete"] is True


def test_an_earlier_result_goes_along(vm: StandIn, host: Callable[..., Done]) -> None:
    """What --baseline names is read from here."""
    host("-m", "harness", "--vm", *LOAD, "--json", "before.json")

    done = host("-m", "harness", "--vm", *LOAD, "--repeat", "1", "--baseline", "before.json", "--json", "after.json")

    assert "harness: " in done.err
    assert json.loads((vm.project / "after.json").read_text())["baseline"]


def test_by_itself_on_another_system(vm: StandIn, host: Callable[..., Done], macos: dict[str, str]) -> None:
    """On macOS a command that needs queues goes into the VM and says so in one line."""
    done = host("-m", "harness", "top", "--once", **macos)

    assert done.status == 0
    assert done.err == "harness: no message queues here (macos): in the VM msgq\n"


@pytest.mark.parametrize(
    "words", [["--help"], ["load", "--help"], ["lab", "hint", "1.1"], ["diff", "a", "b"], ["--version"]]
)
def test_what_needs_no_queue_stays(
    vm: StandIn, host: Callable[..., Done], lab: Path, macos: dict[str, str], words: list[str]
) -> None:
    """Help, hints and comparisons ask nobody, wherever they are."""
    host("-m", "harness", *words, **macos)

    assert vm.calls() == []


def test_linux_with_queues_stays(vm: StandIn, host: Callable[..., Done]) -> None:
    """Without --vm a machine with queues uses its own."""
    assert host("-m", "harness", "top", "--once").status == 0
    assert vm.calls() == []


def test_a_lab_is_checked_in_the_vm(vm: StandIn, host: Callable[..., Done], lab: Path) -> None:
    """`harness --vm lab 01` checks lab.py as it is here, makes it here if missing, and carries the status over."""
    first = host("-m", "harness", "--vm", "lab", "01")
    (lab / "lab.py").write_text((lab / "solution.py").read_text())
    second = host("-m", "harness", "--vm", "lab", "01")

    assert (first.status, second.status) == (1, 0)
    assert "it is yours" in first.err
    assert "2 passed" in second.out


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ("not_created", "harness: the VM is not created yet\n  hint: vagrant up\n"),
        ("saved", "harness: the VM is suspended (saved)\n  hint: vagrant resume\n"),
    ],
)
def test_an_obstacle(vm: StandIn, host: Callable[..., Done], state: str, words: str) -> None:
    """What is in the way is one line and the next command, with status 3."""
    vm.is_(state)

    done = host("-m", "harness", "--vm", *LOAD)

    assert (done.status, done.err) == (3, words)


def test_usage_errors_of_the_command(host: Callable[..., Done]) -> None:
    """What the command in the VM refuses has its words and its status here."""
    done = host("-m", "harness", "--vm", "load", "--rate", "fast")

    assert done.status == 2
    assert "--rate" in done.err


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (["--vm", *LOAD, "--json", "nowhere/out.json"], 2),
        (["--vm", *LOAD, "--json", "x", "--csv", "./x"], 2),
        (["--vm", *LOAD, "--baseline", "missing.json"], 2),
        (["--vm", "diff", "a", "b"], 2),
    ],
)
def test_what_is_refused_before_the_vm_is_entered(
    vm: StandIn, host: Callable[..., Done], words: list[str], status: int
) -> None:
    """A place that cannot be written, an input that is not there, and a command that needs no queue."""
    assert host("-m", "harness", *words).status == status
    assert vm.ssh_pids() == []


def test_named_files() -> None:
    """Files are found behind options in both spellings; standard output and flags of the same name are none."""
    words = ["load", "--json", "a/b.json", "--csv=c.csv", "--hlog", "-", "--baseline", "old.json"]

    assert named_files(words) == [
        NamedFile(2, "", "--json", "a/b.json"),
        NamedFile(3, "--csv=", "--csv", "c.csv"),
        NamedFile(7, "", "--baseline", "old.json"),
    ]
    assert named_files(["top", "--json"]) == []


def test_every_file_option_is_known() -> None:
    """No command has an option with a file behind it that the way into the VM does not know."""
    import typer  # noqa: PLC0415

    from harness.cli.app import app  # noqa: PLC0415

    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    found = {
        max(option.opts, key=len)
        for name, command in commands.items()
        if name not in WITHOUT_FILES
        for option in command.params
        if option.metavar in ("FILE", "A.json") and option.opts[0].startswith("-")
    }

    assert found == WRITTEN | READ
