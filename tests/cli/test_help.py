"""The help: every command has one, with an example that works as it is printed, and every option is told."""

from __future__ import annotations

import re
import shlex
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from harness import __version__
from harness.cli.app import main

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

COMMANDS = ["load", "block", "ceiling", "claims", "compare", "diff", "doctor", "flipflop", "select", "top", "lab"]
LAB_COMMANDS = [f"lab {name}" for name in ("check", "watch", "hint", "diff", "reset", "run")]


def words_of_help(capsys: pytest.CaptureFixture[str], *command: str) -> str:
    assert main([*command, "--help"]) == 0
    return capsys.readouterr().out


def example(text: str) -> list[str]:
    """The arguments of the help's example; its line may be wrapped."""
    found = re.search(r"Example: harness (.*?)\n\n", text, re.DOTALL)
    assert found, text
    return shlex.split(" ".join(found[1].split()))


def test_the_help_names_every_command_and_the_exit_statuses(capsys: pytest.CaptureFixture[str]) -> None:
    """`harness --help` lists the commands, and says what each exit status means."""
    text = words_of_help(capsys)

    assert all(re.search(rf"^  {command} +\w", text, re.MULTILINE) for command in COMMANDS)
    assert "130/143/129" in text


def test_the_help_of_lab_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    """`harness lab --help` lists its commands, each with a whole sentence, and says that a number checks a lab."""
    text = words_of_help(capsys, "lab")

    assert all(re.search(rf"^  {command.split()[1]} +\w.*\.$", text, re.MULTILINE) for command in LAB_COMMANDS)
    assert "..." not in text.partition("Commands:")[2]
    assert "`harness lab 04` is short for it" in text


@pytest.mark.parametrize("command", [*COMMANDS, *LAB_COMMANDS])
def test_every_option_is_told(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Each option of a command has words, and no line of the help is longer than 80 columns."""
    text = words_of_help(capsys, *command.split())

    options = re.findall(r"^  (?:-\w, )?(--[\w-]+)(.*(?:\n {10,}.*)*)", text, re.MULTILINE)
    assert "--help" in dict(options)
    for option, words in options:
        assert len(re.findall(r"[a-z]{2,}", words)) >= 2, option
    assert max(len(line) for line in text.splitlines()) <= 80
    assert example(text)[0] == command.split(maxsplit=1)[0]


# Those of claims and lab are run in files of their own.
@pytest.mark.parametrize("command", ["load", "block", "ceiling", "compare", "doctor", "flipflop", "select", "top"])
def test_the_example_works_as_it_is_printed(
    command: str, capsys: pytest.CaptureFixture[str], harness: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    """What the help shows as an example can be typed: it runs, and says something."""
    arguments = example(words_of_help(capsys, command))
    assert arguments[0] == command

    done = harness(*arguments)

    # 1 is right where this machine is too busy to hold what the example asks for.
    assert done.returncode in (0, 1), done.stderr
    assert done.stderr == ""
    assert done.stdout.strip()


def test_the_example_of_diff_works_as_it_is_printed(
    capsys: pytest.CaptureFixture[str],
    harness: Callable[..., subprocess.CompletedProcess[str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With the two results that it names, the example of `harness diff` runs and says what became of them."""
    monkeypatch.chdir(tmp_path)
    arguments = example(words_of_help(capsys, "diff"))
    names = [word for word in arguments if word.endswith(".json")]
    short = ("--rate", "5k", "--duration", "100ms", "--warmup", "0s", "--quiet")
    assert len(names) == 2
    for name in names:
        assert harness("load", *short, "--json", name).returncode == 0

    done = harness(*arguments)

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"before {names[0]}: 1 run")


def test_without_a_command_the_help_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    """`harness` alone shows its help, and ends with 2, as nothing was done."""
    assert main([]) == 2

    output = capsys.readouterr()
    assert output.out.startswith("Usage: harness")
    assert output.err == ""


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """`harness --version` is one line."""
    assert main(["--version"]) == 0

    assert capsys.readouterr().out == f"harness {__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["launch"], "harness: No such command 'launch'.  (see harness --help)"),
        (["load", "--speed"], "No such option: --speed"),
        (["load", "--speed"], "(see harness load --help)"),
        (["load", "udp://127.0.0.1:9999", "more"], "unexpected extra argument"),
        (["load", "more"], "'more' is not a UDP target; write udp://127.0.0.1:9999"),
        (["load", "--label"], "requires an argument"),
        (["lab", "hnit"], "No such command 'hnit'. Did you mean 'hint'?  (see harness lab --help)"),
        (["lab", "hint"], "(see harness lab hint --help)"),
        (["lab", "04", "--fast"], "No such option: --fast  (see harness lab check --help)"),
    ],
)
def test_a_wrong_command_line_is_one_line(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A command or option that there is not ends with 2 and one line that leads to the right help."""
    assert main(arguments) == 2

    said = capsys.readouterr().err
    assert words in said
    assert said.count("\n") == 1


def test_ctrl_c_during_the_imports_ends_it_without_a_traceback() -> None:
    """SIGINT before a run has begun kills the command like any program: no traceback, and the shell's status 130."""
    code = (
        "import os, signal, sys\n"
        "import harness.cli.start as start\n"
        "class Trap:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'harness.cli.app': os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Trap())\n"
        "start.main()"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=30)

    assert done.returncode == -signal.SIGINT
    assert done.stderr == ""
