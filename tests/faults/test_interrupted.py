"""Signals and terminals: an interrupted run shows and saves what it measured, and ends with the shell's status."""

from __future__ import annotations

import fcntl
import os
import signal
import struct
import subprocess
import termios
from typing import TYPE_CHECKING, Any

import pytest

from harness.experiments.follow import HURRIED_DRAIN_S

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.faults.conftest import Load

LONG = ("--rate", "5k", "--duration", "60s", "--warmup", "0.1s", "--drain", "0.2s")
CTRL_C = b"\x03"
STUCK = ("--rate", "5k", "--duration", "60s", "--warmup", "0.1s", "--drain", "60s")

pytestmark = pytest.mark.private_ipc


@pytest.mark.parametrize(
    ("number", "status"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)],
    ids=str,
)
def test_a_signal_ends_the_run(
    number: signal.Signals,
    status: int,
    start: Callable[..., Load],
    result_of: Callable[[], dict[str, Any]],
    tmp_path: Path,
) -> None:
    """SIGINT, SIGTERM and SIGHUP end a run with 130, 143 and 129; what it measured is shown and saved as incomplete."""
    load = start(*LONG, "--json", str(tmp_path / "result.json"), "--csv", str(tmp_path / "series.csv"))
    load.wait_until_loaded()

    load.process.send_signal(number)

    assert load.end() == status
    result = result_of()
    assert result["complete"] is False
    assert result["cut"] == {"cause": "interrupted", "sentence": f"interrupted by {number.name}"}
    assert result["sent"] == result["received"] > 0
    assert f"INCOMPLETE: interrupted by {number.name}" in load.said
    assert (tmp_path / "series.csv").read_text().startswith("t_s,sent,received")
    load.wait_until_nothing_is_left()


def test_ctrl_c_on_a_terminal_ends_the_run(
    start: Callable[..., Load], result_of: Callable[[], dict[str, Any]], tmp_path: Path
) -> None:
    """Ctrl-C reaches the whole foreground group of the terminal; the crew drains, and the result is shown and saved."""
    load = start(*LONG, "--json", str(tmp_path / "result.json"), on_terminal=True)
    load.wait_until_loaded()

    load.press(CTRL_C)

    assert load.end() == 130
    result = result_of()
    assert result["complete"] is False
    assert result["sent"] == result["received"] > 0
    assert result["lost"] == 0
    assert "INCOMPLETE" in load.said
    assert "Traceback" not in load.said
    load.wait_until_nothing_is_left()


def test_a_second_ctrl_c_ends_the_drain(
    start: Callable[..., Load], result_of: Callable[[], dict[str, Any]], tmp_path: Path
) -> None:
    """Where the rest cannot be drained, Ctrl-C again does not wait for it; the result is still shown and saved."""
    load = start(*STUCK, "--json", str(tmp_path / "result.json"), on_terminal=True)
    load.wait_until_loaded()
    os.kill(load.crew()[2], signal.SIGSTOP)  # a consumer that takes nothing any more: the drain would wait

    load.press(CTRL_C)
    load.wait_for("drain, ")
    load.press(CTRL_C)

    assert load.end() == 130
    result = result_of()
    drained_s = result["series"]["rows"][-1][0] - result["elapsed_s"]
    assert drained_s < HURRIED_DRAIN_S - 0.2  # as long as it would have been without the second
    assert result["complete"] is False
    assert "INCOMPLETE" in load.said
    load.wait_until_nothing_is_left()


def test_an_interrupted_repeat_keeps_the_runs_that_were_done(
    start: Callable[..., Load], result_of: Callable[[], dict[str, Any]], tmp_path: Path
) -> None:
    """Interrupted in its second run, a repeated run saves both, the first complete and the second not."""
    load = start(
        *("--rate", "5k", "--duration", "0.3s", "--warmup", "0s", "--repeat", "500"),
        *("--json", str(tmp_path / "result.json")),
    )
    load.wait_for("run 2 of 500")

    load.process.send_signal(signal.SIGINT)

    assert load.end() == 130
    result = result_of()
    assert result["complete"] is False
    assert result["runs"][0]["complete"] is True
    assert result["runs"][-1]["complete"] is False
    assert len(result["runs"]) < 500


def test_a_closed_terminal_still_saves(
    start: Callable[..., Load], result_of: Callable[[], dict[str, Any]], tmp_path: Path
) -> None:
    """When its window is closed, a run ends with 129, and what was measured is saved."""
    load = start(*LONG, "--json", str(tmp_path / "result.json"), on_terminal=True)
    load.wait_until_loaded()

    load.hang_up()

    assert load.end() == 129
    result = result_of()
    assert result["complete"] is False
    assert result["cut"]["sentence"] == "interrupted by SIGHUP"
    assert result["sent"] > 0
    load.wait_until_nothing_is_left()


def test_a_run_under_nohup_outlives_its_terminal(
    start: Callable[..., Load], result_of: Callable[[], dict[str, Any]], tmp_path: Path
) -> None:
    """What `nohup` started goes on when the window is closed, and ends as if nothing had been."""
    load = start(
        *("--rate", "5k", "--duration", "1.5s", "--warmup", "0s", "--json", str(tmp_path / "result.json")),
        prefix=("env", "--ignore-signal=HUP"),
        on_terminal=True,
    )
    load.crew()

    load.hang_up()

    assert load.end() == 0
    assert result_of()["complete"] is True


def test_a_resized_terminal_goes_on(
    start: Callable[..., Load], result_of: Callable[[], dict[str, Any]], tmp_path: Path
) -> None:
    """A terminal that gets narrower and lower under a run does not end it."""
    load = start(
        *("--rate", "5k", "--duration", "1.2s", "--warmup", "0.1s", "--json", str(tmp_path / "result.json")),
        on_terminal=True,
    )
    load.wait_until_loaded()

    assert load.terminal is not None
    for rows, columns in ((40, 200), (5, 20), (1, 1), (24, 80)):
        fcntl.ioctl(load.terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    assert load.end() == 0
    assert result_of()["complete"] is True
    assert "Traceback" not in load.said


@pytest.mark.parametrize("rows_columns", [(24, 80), (0, 0), (3, 10)], ids=str)
def test_a_terminal_of_any_size_shows_a_report(rows_columns: tuple[int, int], start: Callable[..., Load]) -> None:
    """On a terminal of 80 columns no line is longer; one that has no size, or a tiny one, is no reason to fail."""
    load = start("--rate", "5k", "--duration", "0.3s", "--warmup", "0.1s", on_terminal=True)
    assert load.terminal is not None
    fcntl.ioctl(load.terminal, termios.TIOCSWINSZ, struct.pack("HHHH", *rows_columns, 0, 0))

    assert load.end() == 0
    assert "Traceback" not in load.said


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_at_the_very_start_is_no_traceback(number: signal.Signals, start: Callable[..., Load]) -> None:
    """A signal that comes while the crew is made ends the run as any other, and leaves nothing."""
    load = start(*LONG)
    load.crew(0)

    load.process.send_signal(number)

    assert load.end() == 128 + number
    assert "Traceback" not in load.said
    load.wait_until_nothing_is_left()


def test_a_worker_does_not_hear_the_terminal(start: Callable[..., Load]) -> None:
    """The crew is no part of the terminal's session: Ctrl-C and a closed window reach only the coordinator."""
    load = start(*LONG, on_terminal=True)

    sessions = {os.getsid(pid) for pid in load.crew()}

    assert os.getsid(load.process.pid) not in sessions
    load.process.send_signal(signal.SIGTERM)
    assert load.end() == 143


def test_stopped_and_continued_it_goes_on(
    start: Callable[..., Load], result_of: Callable[[], dict[str, Any]], tmp_path: Path
) -> None:
    """A coordinator that is stopped (Ctrl-Z) and continued ends its run as planned."""
    load = start("--rate", "5k", "--duration", "1.2s", "--warmup", "0.1s", "--json", str(tmp_path / "result.json"))
    load.crew()

    load.process.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, load.process.pid, os.WSTOPPED)
    load.process.send_signal(signal.SIGCONT)

    assert load.end() == 0
    assert result_of()["lost"] == 0


def test_a_reader_that_goes_away_does_not_end_the_run(
    start: Callable[..., Load], result_of: Callable[[], dict[str, Any]], tmp_path: Path
) -> None:
    """`harness load | head -1`: the run goes on to its end, and its result is saved."""
    load = start(
        *("--rate", "5k", "--duration", "1s", "--warmup", "0.1s", "--json", str(tmp_path / "result.json")),
        stderr=subprocess.DEVNULL,
    )
    load.wait_for("\n")
    assert load.process.stdout is not None
    load._unread.clear()
    load.process.stdout.close()

    assert load.end() == 0
    assert result_of()["complete"] is True
