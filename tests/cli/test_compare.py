"""`harness compare` as a person or a script types it: what comes out where, which status, and that nothing is left."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from harness.cli.app import main
from harness.experiments.transports import TRANSPORTS

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.cli.conftest import Going, Harness

SHORT = ("--rounds", "3", "--duration", "10ms", "--paced", "10ms")
LIMIT_S = 20.0


def test_a_report_and_a_file(harness: Harness, tmp_path: Path) -> None:
    """Plain lines into a pipe, the document into the file, status 0."""
    done = harness("compare", "--transports", "pipe", *SHORT, "--rate", "5k", "--json", str(tmp_path / "result.json"))

    result = json.loads((tmp_path / "result.json").read_text())
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("sysv: ")
    assert "3 of 3 rounds by turns" in done.stdout
    assert result["schema"] == "harness.compare/1"
    assert result["argv"][:2] == ["harness", "compare"]
    assert (result["plan"]["rate"], result["plan"]["paced"]) == (5000.0, 50)
    assert [found["name"] for found in result["transports"]] == ["sysv", "pipe"]


def test_only_the_properties(harness: Harness) -> None:
    """--properties shows the table with what was tried, and measures nothing."""
    done = harness("compare", "--properties", "--transports", "pipe")

    assert (done.returncode, done.stderr) == (0, "")
    assert "pipe: selects no; priority no; boundaries no: a stream*" in done.stdout
    assert "mp.Queue: selects no; priority no; boundaries yes: objects;" in done.stdout
    assert "to sysv" not in done.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--transports", "pigeon"), "no transport 'pigeon'"),
        (("--transports", ""), "no transport ''"),
        (("--rounds", "1"), "1 rounds"),
        (("--size", "8B"), "messages of 8 bytes"),
        (("--rate", "fast"), "--rate: 'fast' is not a rate"),
        (("--duration", "0s"), "--duration"),
        (("--paced", "1us"), "measures nothing"),
        (("--json", "nowhere/result.json"), "does not exist"),
    ],
)
def test_bad_input_is_one_line(arguments: tuple[str, ...], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    """What cannot be meant ends with 2, one line and perhaps a hint, before anything runs."""
    assert main(["compare", *arguments]) == 2

    said = capsys.readouterr()
    assert said.out == ""
    assert words in said.err.splitlines()[0]
    assert len(said.err.splitlines()) <= 2


def test_what_is_asked_for_and_not_here_is_status_3(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a redis-server, or its package, asking for redis by name is one line, a hint, and status 3."""
    monkeypatch.setenv("PATH", "/nowhere")

    assert main(["compare", "--transports", "redis"]) == 3

    first, hint = capsys.readouterr().err.splitlines()
    assert first.startswith("harness: redis is not here: ")
    assert hint == "  hint: leave it out of --transports"


# --- a server of the run's own, and its end --------------------------------------------------------------------------

PROBLEM = TRANSPORTS["redis"].available()


@pytest.fixture
def with_redis(begin: Callable[..., Going], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Going, int]:
    """A long comparison that has begun to measure, with its temporary files in `tmp_path`, and its server's pid.

    Without a server the test is skipped, or fails when HARNESS_REQUIRE_REDIS is 1.
    """
    if PROBLEM is not None:
        if os.environ.get("HARNESS_REQUIRE_REDIS") == "1":
            pytest.fail(f"Redis is required, but {PROBLEM}")
        pytest.skip(PROBLEM)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    going = begin("compare", "--transports", "redis", "--rounds", "1000")
    deadline_s = time.monotonic() + LIMIT_S
    # Before the first round there are ten processes with the chamber and its guardian. The server is not among the
    # members, as it overwrites the marker with its title.
    seen: set[int] = set()
    while len(seen) <= 10 or not (servers := servers_in(tmp_path)):
        seen.update(going.members())
        assert going.process.poll() is None, going.process.communicate()
        assert time.monotonic() < deadline_s
        time.sleep(0.01)
    return going, servers[0]


def servers_in(folder: Path) -> list[int]:
    """The living processes that work in the folder, or below it: the server alone does."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # a zombie's link leads nowhere
            if (process / "cwd").readlink().is_relative_to(folder):
                found.append(int(process.name))
    return found


def nothing_in(folder: Path) -> bool:
    """Whether the folder is empty within the limit, and no server works in what it was."""
    deadline_s = time.monotonic() + LIMIT_S
    while (left := any(folder.iterdir()) or servers_in(folder)) and time.monotonic() < deadline_s:
        time.sleep(0.01)
    return not left


def test_the_server_listens_on_a_socket_of_its_own_only(with_redis: tuple[Going, int], tmp_path: Path) -> None:
    """The run's redis-server has its files in a folder that nobody else may enter, and listens on no port."""
    going, server = with_redis
    [folder] = tmp_path.iterdir()
    sockets = {str(path.readlink()) for path in Path(f"/proc/{server}/fd").iterdir() if path.is_symlink()}
    tcp = Path("/proc/net/tcp").read_text().splitlines()[1:] + Path("/proc/net/tcp6").read_text().splitlines()[1:]

    assert folder.stat().st_mode & 0o777 == 0o700
    assert sorted(path.name for path in folder.iterdir()) == ["redis.log", "redis.sock"]
    assert not {f"socket:[{line.split()[9]}]" for line in tcp} & sockets
    going.process.send_signal(signal.SIGINT)
    going.end()


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=str)
def test_a_signal_ends_the_server_too(
    number: signal.Signals, status: int, with_redis: tuple[Going, int], tmp_path: Path
) -> None:
    """After Ctrl-C no server, no other process, no socket and no folder is left; what there is, is shown."""
    going, _ = with_redis

    going.process.send_signal(number)

    ended, out, err = going.end()
    assert (ended, err) == (status, "")
    assert f"INCOMPLETE: interrupted by {number.name}" in out
    assert nothing_in(tmp_path)


def test_sigkill_leaves_no_server(with_redis: tuple[Going, int], tmp_path: Path) -> None:
    """When the command itself is killed, the server goes with the chamber, and its folder with both."""
    going, _ = with_redis

    going.process.kill()

    assert going.end()[0] == -signal.SIGKILL
    assert nothing_in(tmp_path)


def test_a_server_that_dies_is_told(with_redis: tuple[Going, int], tmp_path: Path) -> None:
    """When the server dies in the middle, the comparison has failed: it says so, status 1, and nothing is left."""
    going, server = with_redis

    os.kill(server, signal.SIGKILL)

    status, out, err = going.end()
    assert status == 1
    assert "Redis list, RPUSH and BLPOP failed" in out + err
    assert nothing_in(tmp_path)
