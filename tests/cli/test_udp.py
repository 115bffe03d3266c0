"""`harness load udp://HOST:PORT` as a person or a script types it: what comes out where, and with which status."""

from __future__ import annotations

import contextlib
import csv
import fcntl
import io
import json
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.cli.app import main
from harness.cli.udp import TAKEN

LIMIT_S = 20.0
Harness = Callable[..., subprocess.CompletedProcess[str]]
SHORT = ("--rate", "200", "--duration", "0.2s", "--warmup", "0s", "--reply-timeout", "10s")


@pytest.fixture
def target(udp_server: Callable[..., Any]) -> str:
    """Where all is answered OK."""
    found: str = udp_server(lambda _: [(0.0, b"OK\n")]).target
    return found


@pytest.fixture
def refusing(udp_server: Callable[..., Any]) -> str:
    """Where all is answered ER."""
    found: str = udp_server(lambda _: [(0.0, b"ER\n")]).target
    return found


@pytest.fixture
def silent(udp_server: Callable[..., Any]) -> str:
    """Where nothing is answered."""
    found: str = udp_server(lambda _: []).target
    return found


def test_without_a_terminal_it_is_plain_lines(target: str, harness: Harness) -> None:
    """Into a pipe go lines of text without escape sequences: what is asked, progress, and the report."""
    done = harness("load", target, *SHORT)

    assert done.returncode == 0
    assert done.stderr == ""
    assert "\x1b" not in done.stdout
    assert done.stdout.startswith(f"{target} at 200 /s for 0.2 s, datagrams of 32 B, 64 sockets, one request on each\n")
    for name in ("asked", "held", "latency", "service", "pacing error", "ledger", "loss", "sender", "machine", "next"):
        assert f"\n{name}: " in done.stdout


def test_json_on_standard_output_is_nothing_but_json(target: str, harness: Harness) -> None:
    """With --json - standard output is one JSON document, and what people read goes to standard error."""
    done = harness("load", target, *SHORT, "--json", "-", "--label", "nightly é", "--seed", "11")

    result = json.loads(done.stdout)
    assert done.returncode == 0
    assert result["schema"] == "harness.udp/1"
    assert (result["label"], result["plan"]["seed"], result["plan"]["target"]) == ("nightly é", 11, target)
    assert result["argv"][:3] == ["harness", "load", target]
    assert "held: " in done.stderr


def test_csv_is_the_series(target: str, harness: Harness, tmp_path: Path) -> None:
    """--csv has a heading and a row for each of the result's series."""
    done = harness("load", target, *SHORT, "--csv", "-", "--json", str(tmp_path / "result.json"), "--quiet")

    rows = list(csv.reader(io.StringIO(done.stdout)))
    series = json.loads((tmp_path / "result.json").read_text())["series"]
    assert done.returncode == 0
    assert rows[0] == series["columns"]
    assert [[float(cell) for cell in row] for row in rows[1:]] == series["rows"]


def test_quiet_prints_nothing(target: str, harness: Harness, tmp_path: Path) -> None:
    """--quiet leaves the file and the exit status."""
    done = harness("load", target, *SHORT, "--quiet", "--json", str(tmp_path / "result.json"))

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert json.loads((tmp_path / "result.json").read_text())["complete"] is True


@pytest.mark.parametrize(
    ("more", "status"),
    [
        ((), 0),
        (("--fail-if", "er<1"), 0),
        (("--fail-if", "er>0"), 1),
        (("--fail-if", "missing>0"), 0),
        (("--fail-if", "p99>1s"), 1),
        (("--strict",), 1),
    ],
    ids=lambda given: " ".join(given) if isinstance(given, tuple) else str(given),
)
def test_refusals_are_a_finding(more: tuple[str, ...], status: int, refusing: str, harness: Harness) -> None:
    """That a proxy refuses is no error of the run, unless a threshold says so, or could not be checked, or --strict."""
    done = harness("load", refusing, *SHORT, *more)

    assert done.returncode == status, done.stdout
    assert "NOT SUSTAINED" in done.stdout


def test_a_port_where_nobody_listens_is_1_and_says_so(harness: Harness) -> None:
    """Within seconds it ends, says that nobody listens, and what to do."""
    done = harness("load", "udp://127.0.0.1:9", "--rate", "100", "--duration", "1h")

    assert done.returncode == 1
    assert "INCOMPLETE: nobody listens on udp://127.0.0.1:9: Connection refused" in done.stdout
    assert "next: Start the proxy first" in done.stdout


def test_a_dry_run_shows_the_plan_and_sends_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """--dry-run prints the validated plan as JSON, and does not even look the name up."""
    target = "udp://no-such-host.invalid:9999"

    assert main(["load", target, "--allow-remote", "--rate", "20k", "--sockets", "8", "--dry-run"]) == 0

    plan = json.loads(capsys.readouterr().out)
    assert (plan["target"], plan["rate"], plan["sockets"], plan["reply_timeout_s"]) == (target, 20_000, 8, 1.0)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("", {"rate": 10_000, "duration_s": 10, "sockets": 64, "reply_timeout_s": 1, "pipelined": False}),
        ("--rate 20k --count 1M", {"rate": 20_000, "count": 1_000_000, "duration_s": None}),
        ("--pipelined", {"pipelined": True, "sockets": 4, "reply_timeout_s": None}),
        ("--pipelined --sockets 9", {"pipelined": True, "sockets": 9}),
        ("--reply-timeout 200ms --warmup 0s --drain 2s", {"reply_timeout_s": 0.2, "warmup_s": 0, "drain_s": 2}),
        ("--size 64..1024 --seed 3 --repeat 5", {"size": {"smallest": 64, "largest": 1024}, "seed": 3, "repeat": 5}),
    ],
)
def test_options_become_the_plan(arguments: str, expected: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    """Each option, and each default, stands in the plan as it was meant."""
    assert main(["load", "udp://127.0.0.1:9999", *arguments.split(), "--dry-run"]) == 0

    plan = json.loads(capsys.readouterr().out)
    assert {name: plan[name] for name in expected} == expected


@pytest.mark.parametrize(
    ("arguments", "words", "hint"),
    [
        ("udp://127.0.0.1", "names no port", ""),
        ("udp://127.0.0.1:0", "'0' is not a port", ""),
        ("udp://127.0.0.1:70000", "'70000' is not a port", ""),
        ("tcp://127.0.0.1:9999", "is not a UDP target", ""),
        ("udp://192.0.2.1:9999", "not this machine's loopback", "--allow-remote"),
        ("udp://0.0.0.0:9999", "where a server listens", "write udp://127.0.0.1:9999"),
        ("udp://127.0.0.1:9999 --engine auto", "--engine is about queues", "leave out --engine"),
        ("udp://127.0.0.1:9999 --consumers 1", "--consumers is about queues", "leave out --consumers"),
        ("udp://127.0.0.1:9999 --closed", "--closed is about queues", "leave out --closed"),
        ("udp://127.0.0.1:9999 --rate max", "--rate max does not go with", "--rate 20k"),
        ("udp://127.0.0.1:9999 --rate 1k..2k", "--rate 1k..2k does not go with", "--rate 20k"),
        ("udp://127.0.0.1:9999 --count 5 --duration 1s", "contradict each other", "one of them"),
        ("udp://127.0.0.1:9999 --pipelined --reply-timeout 1s", "contradict each other", "one of them"),
        ("udp://127.0.0.1:9999 --sockets 0", "0 sockets", "--sockets 64"),
        ("udp://127.0.0.1:9999 --fail-if lost>0", "'lost' is none of the figures", "unsent>0"),
        ("udp://no-such-host.invalid:9 --allow-remote", "cannot send to", "look at the host"),
        ("--sockets 5", "--sockets goes with a target only", "udp://127.0.0.1:9999 --sockets"),
        ("--pipelined", "--pipelined goes with a target only", "udp://127.0.0.1:9999"),
        ("--allow-remote", "--allow-remote goes with a target only", "udp://127.0.0.1:9999"),
        ("--reply-timeout 1s", "--reply-timeout goes with a target only", "udp://127.0.0.1:9999"),
        ("--fail-if er>0", "'er' is none of the figures", "unsent>0"),
    ],
)
def test_what_cannot_be_meant_is_one_line_and_a_hint(
    arguments: str, words: str, hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A wrong target, and options that do not go with it or without it, end with 2, one line, and the way out."""
    assert main(["load", *arguments.split()]) == 2

    said = capsys.readouterr().err.splitlines()
    assert words in said[0]
    assert [hint in line for line in said[1:]] == [True] * bool(hint)


def test_every_option_is_about_queues_or_understood(capsys: pytest.CaptureFixture[str]) -> None:
    """The names of the options that a target takes are names of options."""
    assert main(["load", "--help"]) == 0

    text = capsys.readouterr().out
    spelled = {name.replace("_", "-").removesuffix("-file") for name in TAKEN - {"target"}}
    assert all(f"--{name}" in text for name in spelled)


# --- signals ---------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def running(*arguments: str, **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    """`harness load` in a session of its own; killed at the limit, and at the end if it is still there."""
    command = [sys.executable, "-m", "harness", "load", *arguments]
    with subprocess.Popen(command, start_new_session=True, **options) as process:
        limit = threading.Timer(LIMIT_S, process.kill)
        limit.start()
        try:
            yield process
        finally:
            limit.cancel()
            process.kill()


def senders_of(pid: int) -> list[int]:
    """The sending processes that a coordinator has started."""
    with contextlib.suppress(OSError):
        children = map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
        return [child for child in children if b"udp_sender" in Path(f"/proc/{child}/cmdline").read_bytes()]
    return []


def wait_until(true: Callable[[], Any], what: str) -> Any:
    deadline_s = time.monotonic() + LIMIT_S
    while not (answer := true()):
        assert time.monotonic() < deadline_s, f"not within {LIMIT_S:g} s: {what}"
        time.sleep(0.005)
    return answer


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_shows_and_saves_what_it_has(number: int, target: str, tmp_path: Path) -> None:
    """After a signal the partial result is shown, marked incomplete, and saved, and the status is the shell's."""
    file = tmp_path / "result.json"
    with running(target, "--rate", "200", "--duration", "1h", "--json", str(file), stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if b"  OK " in line and b"load" in line:
                process.send_signal(number)
                break
        said = process.stdout.read().decode()
        status = process.wait(LIMIT_S)

    result = json.loads(file.read_text())
    assert status == 128 + number
    assert f"INCOMPLETE: interrupted by {signal.Signals(number).name}" in said
    assert (result["complete"], result["cut"]["cause"]) == (False, "interrupted")
    assert result["ok"] > 0
    assert result["balanced"] is True


def test_ctrl_c_does_not_wait_for_replies_that_may_take_an_hour(silent: str) -> None:
    """Requests that are still awaited soon after a signal are told as that, and hold nobody."""
    options = ("--rate", "200", "--duration", "1h", "--warmup", "0s", "--sockets", "5", "--reply-timeout", "1h")
    with running(silent, *options, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if b"  load  " in line and b"behind 0 " not in line:
                process.send_signal(signal.SIGINT)
                break
        said = process.stdout.read().decode()

        assert process.wait(LIMIT_S) == 130
    assert "missing 0 + awaited at the end 5" in said


def test_killed_it_leaves_no_sender(target: str) -> None:
    """SIGKILL to the command takes its sending process with it."""
    with running(target, "--rate", "200", "--duration", "1h", "--quiet") as process:
        [sender] = wait_until(lambda: senders_of(process.pid), "the sending process")
        wait_until(lambda: len(list(Path(f"/proc/{sender}/fd").iterdir())) > 60, "its sockets")
        process.kill()

        wait_until(lambda: not Path(f"/proc/{sender}").exists(), "its end")


def test_on_a_terminal_there_is_a_live_view(target: str) -> None:
    """A terminal shows progress, rates and replies while it runs, and the report in the end."""
    terminal, side = pty.openpty()
    fcntl.ioctl(side, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
    env = {**os.environ, "TERM": "xterm", "COLUMNS": "", "LINES": ""}
    said = ""
    options = ("--rate", "200", "--duration", "1.2s", "--warmup", "0s", "--reply-timeout", "10s")
    with running(target, *options, stdin=side, stdout=side, stderr=side, env=env) as process:
        os.close(side)
        deadline_s = time.monotonic() + LIMIT_S
        while time.monotonic() < deadline_s:
            if not select.select([terminal], [], [], 0.1)[0]:
                continue
            try:
                said += os.read(terminal, 65536).decode(errors="replace")
            except OSError:  # EIO: it has ended
                break
        status = process.wait(LIMIT_S)
        os.close(terminal)

    assert status == 0
    for words in ("progress", "for a reply", "missing 0", "ledger", "sent", "\x1b["):
        assert words in said
