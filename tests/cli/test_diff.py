"""`harness diff` and `harness load --baseline` as a person or a script types them: statuses, files, refusals."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from harness.cli.app import main

if TYPE_CHECKING:
    from pathlib import Path

Harness = Callable[..., subprocess.CompletedProcess[str]]
SHORT = ("load", "--rate", "5k", "--duration", "100ms", "--warmup", "0s", "--drain", "200ms")


@pytest.fixture(scope="module")
def measured() -> dict[str, Any]:
    """A real result of five runs, with steady rates whatever the machine did, and what so short runs may not have."""
    command = [sys.executable, "-m", "harness", *SHORT, "--repeat", "5", "--quiet", "--json", "-"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    document: dict[str, Any] = json.loads(done.stdout)
    for number, one in enumerate(document["runs"]):
        one["achieved_rate"] = 5000.0 + number
        one |= {"per_message": {"cpu_ns": 1800.0, "switches": 0.1}, "memory_bytes": 50 * 2**20}
    return document


@pytest.fixture
def files(measured: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Writes A.json, and B.json with each run's rate times `factor`, and goes to their folder."""
    monkeypatch.chdir(tmp_path)

    def write(*, factor: float = 1.0, runs: int = 5, lost: int = 0, **changes: Any) -> None:
        (tmp_path / "A.json").write_text(json.dumps({**measured, "runs": measured["runs"][:runs]}))
        slower = [
            {**run, "achieved_rate": run["achieved_rate"] * factor, "lost": lost} for run in measured["runs"][:runs]
        ]
        (tmp_path / "B.json").write_text(json.dumps({**measured, "runs": slower, **changes}))

    return write


def test_a_result_against_itself_is_no_difference(files: Callable[..., None], harness: Harness) -> None:
    """The real program, without a terminal: plain lines, no difference, status 0."""
    files()

    done = harness("diff", "A.json", "A.json")

    assert (done.returncode, done.stderr) == (0, "")
    assert "\x1b" not in done.stdout
    assert "\nrate: " in done.stdout
    assert "\nlatency.p99: " in done.stdout
    assert done.stdout.endswith("no difference; nothing beyond the tolerance of 10%\n")


@pytest.mark.parametrize(
    ("changes", "options", "status"),
    [
        ({}, "", 0),
        ({"factor": 0.5}, "", 1),
        ({"factor": 0.5}, "--tolerance 60%", 0),
        ({"factor": 0.8}, "--tolerance 15%", 1),
        ({"factor": 2.0}, "", 0),
        ({"factor": 0.5, "runs": 4}, "", 0),
        ({"factor": 0.5, "runs": 1}, "--tolerance 40%", 0),
        ({"factor": 0.5, "runs": 1}, "--tolerance 45%", 1),
        ({"lost": 1, "runs": 1}, "", 1),
    ],
    ids=str,
)
def test_the_status_tells_a_regression(
    changes: dict[str, Any],
    options: str,
    status: int,
    files: Callable[..., None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """1 for a loss beyond the tolerance that five runs a side show; 0 else."""
    files(**changes)

    assert main(["diff", "A.json", "B.json", *options.split()]) == status

    said = capsys.readouterr()
    assert said.err == ""
    assert ("not enough runs" in said.out) == ("runs" in changes)


def test_the_comparison_is_written_as_json(files: Callable[..., None], harness: Harness, tmp_path: Path) -> None:
    """--json - gives one document on standard output, with people told on the other stream; --json FILE a file."""
    files(factor=0.5)

    done = harness("diff", "A.json", "B.json", "--json", "-")
    again = harness("diff", "A.json", "B.json", "--json", "diff.json")

    found = json.loads(done.stdout)
    assert (done.returncode, again.returncode) == (1, 1)
    assert (found["schema"], found["failed"]) == ("harness.diff/1", ["rate"])
    assert found["argv"] == ["harness", "diff", "A.json", "B.json", "--json", "-"]
    assert "beyond the tolerance of 10%: rate" in done.stderr
    assert json.loads((tmp_path / "diff.json").read_text())["figures"] == found["figures"]


def test_on_a_terminal_it_is_a_table(files: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal gets the table, with its heading and no line over 80 columns."""
    files()
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "xterm")
    primary, secondary = pty.openpty()
    subprocess.run(
        [sys.executable, "-m", "harness", "diff", "A.json", "B.json"], stdout=secondary, check=True, timeout=30
    )
    os.close(secondary)
    text = b""
    try:
        while chunk := os.read(primary, 65536):
            text += chunk
    except OSError:  # EIO: all was read
        pass
    os.close(primary)

    assert b"99.5% interval" in text
    assert b"before" in text


BAD = {
    "nowhere": (["A.json", "nowhere.json"], "cannot read 'nowhere.json': No such file"),
    "cut short": (["A.json", "cut.json"], "cut.json is not whole JSON"),
    "another kind": (["A.json", "top.json"], "'harness.top/1', which cannot be compared"),
    "damaged": (["A.json", "damaged.json"], "damaged.json is damaged: there is no 'runs'"),
    "another plan": (["A.json", "plan.json"], "different plans: rate 5000.0 and 1.0"),
    "tolerance": (["A.json", "B.json", "--tolerance", "10"], "--tolerance: '10' is not a share (a unit is missing)"),
    "tolerance below 0": (["A.json", "B.json", "--tolerance=-1%"], "it is below 0"),
    "one result": (["A.json"], "Missing argument 'B.json'"),
    "json nowhere": (["A.json", "B.json", "--json", "nowhere/diff.json"], "does not exist"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_compared_is_refused_in_one_line(
    name: str,
    files: Callable[..., None],
    measured: dict[str, Any],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Status 2, one line of what is wrong, at most a hint, and nothing on standard output."""
    files()
    (tmp_path / "cut.json").write_text(json.dumps(measured)[:-100])
    (tmp_path / "top.json").write_text('{"schema": "harness.top/1", "queues": []}')
    (tmp_path / "damaged.json").write_text(json.dumps({key: measured[key] for key in measured if key != "runs"}))
    (tmp_path / "plan.json").write_text(json.dumps(measured | {"plan": measured["plan"] | {"rate": 1.0}}))
    arguments, words = BAD[name]

    assert main(["diff", *arguments]) == 2

    said = capsys.readouterr()
    lines = said.err.splitlines()
    assert lines[0].startswith("harness: ")
    assert words in lines[0]
    assert len(lines) == 1 or (len(lines) == 2 and lines[1].startswith("  hint: "))
    assert said.out == ""


def test_force_compares_and_says_what_differs(
    files: Callable[..., None], measured: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With --force another plan on another machine is compared, and both differences are notes."""
    files(environment=measured["environment"] | {"cpu_model": "Another"}, plan=measured["plan"] | {"rate": 1.0})

    assert main(["diff", "A.json", "B.json"]) == 2
    assert main(["diff", "A.json", "B.json", "--force"]) == 0

    notes = [line for line in capsys.readouterr().out.splitlines() if line.startswith("note: ")]
    assert "different machines: cpu_model" in notes[0]
    assert "different plans: rate 5000.0 and 1.0" in notes[1]


# --- harness load --baseline --------------------------------------------------------------------------------------


def test_a_baseline_of_the_same_plan_is_its_stored_runs(
    files: Callable[..., None], harness: Harness, tmp_path: Path
) -> None:
    """--baseline runs five times, puts one comparison into the result, and shows it after the report."""
    files()

    done = harness(*SHORT, "--baseline", "A.json", "--tolerance", "100000%", "--json", "now.json")

    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads((tmp_path / "now.json").read_text())
    (comparison,) = found["baseline"]
    assert len(found["runs"]) == 5
    assert (comparison["before"]["title"], comparison["after"]["title"]) == ("A.json", "this run")
    assert comparison["paired"] is False
    assert "\nbefore A.json: 5 runs" in done.stdout
    assert harness("diff", "A.json", "now.json", "--tolerance", "100000%").returncode == 0


def test_a_loss_against_the_baseline_ends_with_1(
    files: Callable[..., None], measured: dict[str, Any], tmp_path: Path, harness: Harness
) -> None:
    """A baseline that was a thousand times faster makes the run a regression, also with --quiet."""
    files()
    faster = [run | {"achieved_rate": 1e3 * run["achieved_rate"]} for run in measured["runs"]]
    (tmp_path / "A.json").write_text(json.dumps({**measured, "runs": faster}))

    done = harness(*SHORT, "--baseline", "A.json", "--quiet")

    assert (done.returncode, done.stdout, done.stderr) == (1, "", "")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--baseline", "nowhere.json"], "cannot read 'nowhere.json'"),
        (["--baseline", "other.json"], "A.json"),
        (["--baseline", "ceiling.json"], "'harness.ceiling/1'"),
        (["--tolerance", "10%"], "--tolerance without --baseline"),
        (["--baseline", "A.json", "--tolerance", "much"], "'much' is not a share"),
        (["--baseline", "A.json", "--rate", "1k..2k"], "a ramp cannot be run by turns"),
    ],
    ids=lambda given: " ".join(given) if isinstance(given, list) else "",
)
def test_a_baseline_that_cannot_be_meant_is_refused_before_the_run(
    arguments: list[str],
    words: str,
    files: Callable[..., None],
    measured: dict[str, Any],
    *,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Status 2 and one line before anything runs, though the run would take an hour."""
    files()
    elsewhere = measured["environment"] | {"cpu_model": "Another"}
    (tmp_path / "other.json").write_text(json.dumps(measured | {"environment": elsewhere}))
    (tmp_path / "ceiling.json").write_text('{"schema": "harness.ceiling/1"}')
    words = words.replace("A.json", "other.json and this run were measured on different machines")

    status = main(["load", "--rate", "5k", "--duration", "1h", *arguments])

    said = capsys.readouterr()
    assert status == 2
    assert words in said.err.splitlines()[0]
    assert said.out == ""


def test_a_dry_run_with_a_baseline_shows_how_often_it_would_run(capsys: pytest.CaptureFixture[str]) -> None:
    """With --baseline the default is five runs, and --repeat says otherwise."""
    repeats = []
    for more in ([], ["--baseline", "A.json"], ["--baseline", "A.json", "--repeat", "7"]):
        assert main(["load", *more, "--dry-run"]) == 0
        repeats.append(json.loads(capsys.readouterr().out)["repeat"])

    assert repeats == [1, 5, 7]
