"""`harness load` as a person or a script types it: what comes out where, and with which status."""

from __future__ import annotations

import csv
import io
import json
import subprocess
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from harness.cli.app import main
from harness.cli.load import default_consumers

if TYPE_CHECKING:
    from pathlib import Path

Harness = Callable[..., subprocess.CompletedProcess[str]]
SHORT = ("load", "--rate", "5k", "--duration", "0.2s", "--warmup", "0s")


def test_without_a_terminal_it_is_plain_lines(harness: Harness) -> None:
    """Into a pipe go lines of text without escape sequences: how to look at the queue, progress, and the report."""
    done = harness(*SHORT)

    assert done.returncode == 0
    assert done.stderr == ""
    assert "\x1b" not in done.stdout
    assert "look at its queue: nsenter --target" in done.stdout
    for name in (
        "asked",
        "by",
        "held",
        "latency",
        "service",
        "pacing error",
        "ledger",
        "queue",
        "cost",
        "machine",
        "next",
    ):
        assert f"\n{name}: " in done.stdout


def test_a_dry_run_shows_the_plan_and_runs_nothing(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """--dry-run prints the validated plan as JSON, and neither runs nor writes."""
    arguments = ["--types", "1:70,2:30", "--size", "64..128", "--duration", "1h", "--seed", "7", "--label", "x y"]

    status = main(["load", "--rate", "250k", *arguments, "--json", str(tmp_path / "result.json"), "--dry-run"])

    plan = json.loads(capsys.readouterr().out)
    assert status == 0
    assert (plan["rate"], plan["duration_s"], plan["seed"], plan["label"]) == (250_000, 3600, 7, "x y")
    assert plan["types"] == [{"type": 1, "weight": 70}, {"type": 2, "weight": 30}]
    assert plan["size"] == {"smallest": 64, "largest": 128}
    assert list(tmp_path.iterdir()) == []


def test_json_on_standard_output_is_nothing_but_json(harness: Harness) -> None:
    """With --json - standard output is one JSON document, and what people read goes to standard error."""
    done = harness(*SHORT, "--json", "-", "--label", "nightly é", "--seed", "11")

    result = json.loads(done.stdout)
    assert done.returncode == 0
    assert result["schema"] == "harness.load/1"
    assert result["label"] == "nightly é"
    assert result["plan"]["seed"] == 11
    assert result["argv"] == ["harness", *SHORT, "--json", "-", "--label", "nightly é", "--seed", "11"]
    assert "held: " in done.stderr


def test_csv_is_the_series(harness: Harness, tmp_path: Path) -> None:
    """--csv has a heading and a row for each of the result's series."""
    done = harness(*SHORT, "--csv", "-", "--json", str(tmp_path / "result.json"), "--quiet")

    rows = list(csv.reader(io.StringIO(done.stdout)))
    series = json.loads((tmp_path / "result.json").read_text())["series"]
    assert done.returncode == 0
    assert rows[0] == series["columns"]
    assert [[float(cell) for cell in row] for row in rows[1:]] == series["rows"]


def test_quiet_prints_nothing(harness: Harness, tmp_path: Path) -> None:
    """--quiet leaves the file and the exit status."""
    done = harness(*SHORT, "--quiet", "--json", str(tmp_path / "result.json"))

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert json.loads((tmp_path / "result.json").read_text())["complete"] is True


@pytest.mark.parametrize(
    ("more", "status"),
    [
        (("--fail-if", "lost>0"), 0),
        (("--fail-if", "p99>=0"), 1),
        (("--fail-if", "lost>0", "--fail-if", "rate<1M"), 1),
        (("--rate", "1G", "--strict"), 1),
        (("--rate", "1G"), 0),
        (("--rate", "max", "--strict"), 1),
        (("--rate", "max", "--fail-if", "p99>1s"), 1),
    ],
    ids=lambda given: " ".join(given) if isinstance(given, tuple) else str(given),
)
def test_the_status_tells_what_the_run_deserves(more: tuple[str, ...], status: int, harness: Harness) -> None:
    """A threshold that failed, or could not be checked, and under --strict a rate that was not held, end with 1."""
    done = harness(*SHORT, *more)

    assert done.returncode == status, done.stdout
    checks = [line for line in done.stdout.splitlines() if line.startswith("check: ")]
    assert len(checks) == more.count("--fail-if")
    assert any(" failed: " in line for line in checks) == (status == 1 and "--fail-if" in more)


@pytest.mark.private_ipc
def test_visible_shows_the_queue_where_ipcs_looks(harness: Harness) -> None:
    """With --visible the queue is in this namespace, said to be seen with ipcs -q."""
    done = harness(*SHORT, "--visible")

    assert done.returncode == 0
    assert "look at its queue: ipcs -q" in done.stdout


@pytest.mark.parametrize(
    ("cpus", "queues", "types", "select", "consumers"),
    [
        (1, 1, 1, "any", 1),
        (3, 1, 1, "any", 1),
        (4, 1, 1, "any", 2),
        (64, 1, 5, "at-most", 2),
        (2, 3, 1, "any", 3),
        (2, 2, 3, "exact", 6),
        (2, 1, 3, "except", 2),
        (2, 2, 2, "except", 4),
    ],
)
def test_consumers_are_chosen_for_the_machine(cpus: int, queues: int, types: int, select: str, consumers: int) -> None:
    """One consumer on few CPUs, two on more, and always as many as queues and types need."""
    assert default_consumers(cpus, queues, types, select) == consumers


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("", {"rate": 500_000.0, "duration_s": 10.0, "loop": "open", "producers": 1}),
        ("--rate max", {"rate": "max", "loop": "unpaced"}),
        ("--closed --outstanding 8", {"loop": "closed", "outstanding": 8, "rate": "max"}),
        ("--rate 100k..1M", {"rate": "100 k/s to 1.00 M/s in 10 steps", "duration_s": 3.0}),
        ("--count 5M", {"count": 5_000_000, "duration_s": None}),
        ("--queues 3", {"queues": 3, "producers": 3, "consumers": 3}),
        ("--types 1,2 --select exact", {"consumers": 2}),
        ("--types 1,2,3 --select except", {"select": "except", "consumers": 2}),
        ("--queue-bytes 1MiB", {"queue_bytes": 2**20}),
        ("--key 0xC0049 --consumers 0", {"key": "0x000c0049", "consumers": 0, "queue_bytes": None}),
        ("--when-full refuse --pin", {"when_full": "refuse", "pin": True}),
        ("--engine python", {"engine": "python"}),
    ],
)
def test_options_become_the_plan(arguments: str, expected: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    """Each option, and each default, stands in the plan as it was meant."""
    assert main(["load", *arguments.split(), "--dry-run"]) == 0

    plan = json.loads(capsys.readouterr().out)
    assert {name: plan[name] for name in expected} == expected
