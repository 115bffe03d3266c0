"""`harness load --hlog` and `--hgrm`: a run's distribution in HdrHistogram's files, and which run is which interval."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import pytest
from hdrh.histogram import HdrHistogram
from hdrh.log import HistogramLogReader

from harness.cli.app import main
from harness.cli.intervals import Intervals
from harness.experiments.crew import Started
from harness.experiments.follow import Run
from harness.experiments.plan import LoadPlan
from harness.measure.histogram import HIGHEST_VALUE, Histogram
from harness.measure.quantities import Ramp

if TYPE_CHECKING:
    from pathlib import Path

Harness = Callable[..., subprocess.CompletedProcess[str]]
SHORT = ("load", "--rate", "5k", "--duration", "0.2s", "--warmup", "0s", "--quiet")


def read(path: Path) -> list[HdrHistogram]:
    reader = HistogramLogReader(str(path), HdrHistogram(1, HIGHEST_VALUE, 2))
    found = []
    while (histogram := reader.get_next_interval_histogram()) is not None:
        found.append(histogram)
    reader.close()
    return found


def figures(value: int, of: str = "latency_ns") -> dict[str, Any]:
    histogram = Histogram()
    histogram.record(value)
    return {"histogram": {**histogram.to_json(), "of": of}}


def ended(plan: LoadPlan, *, t0_s: float) -> Run:
    """A run of one second, as it is when it has ended."""
    started = Started(leader=1, namespace="user", look="", queues=[], workers=[], warnings=[])
    return Run(plan, "python", started, t0_ns=int(t0_s * 1e9), stopped_ns=int((t0_s + 1) * 1e9))


def test_each_run_is_an_interval_of_the_log(harness: Harness, tmp_path: Path) -> None:
    """Two repeats are two intervals, one after the other, and together they hold what the result's histogram holds."""
    log, percentiles, result = (tmp_path / name for name in ("run.hlog", "run.hgrm", "run.json"))

    done = harness(*SHORT, "--repeat", "2", "--hlog", str(log), "--hgrm", str(percentiles), "--json", str(result))

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    first, second = read(log)
    whole = json.loads(result.read_text())["histogram"]
    assert first.get_total_count() + second.get_total_count() == sum(count for _, count in whole["counts"])
    assert first.get_end_time_stamp() <= second.get_start_time_stamp()
    assert first.get_end_time_stamp() - first.get_start_time_stamp() == pytest.approx(200, abs=1)
    assert percentiles.read_text().split("\n")[0].split()[0] == "Value"


def test_the_files_of_a_run_without_latency_hold_service_times(harness: Harness, tmp_path: Path) -> None:
    """With --rate max there is no latency: service time takes its place, and the log says so."""
    log = tmp_path / "run.hlog"

    done = harness(*SHORT, "--rate", "max", "--hlog", str(log))

    assert done.returncode == 0
    assert log.read_text().startswith("#[service_ns of harness load")
    assert read(log)[0].get_total_count() > 0


def test_without_the_package_nothing_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where hdrhistogram is missing that is told before the run, with the status of a machine that cannot."""
    monkeypatch.setitem(sys.modules, "hdrh", None)

    status = main(["load", "--duration", "0.1s", "--hgrm", str(tmp_path / "run.hgrm")])

    told = capsys.readouterr()
    assert (status, told.out) == (3, "")
    assert told.err.splitlines() == [
        "harness: --hlog and --hgrm need the package hdrhistogram: it is not installed",
        "  hint: pip install hdrhistogram, or install this project with its extra: msgq-harness[hdr]",
    ]
    assert list(tmp_path.iterdir()) == []


def test_two_results_in_one_file_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No two of the files may be the same one, standard output included."""
    path = str(tmp_path / "result")

    assert main(["load", "--hlog", path, "--hgrm", path]) == 2
    assert main(["load", "--hlog", "-", "--json", "-"]) == 2
    assert capsys.readouterr().err.count("two results go to the same file") == 2


def test_an_interval_begins_when_its_window_began() -> None:
    """A run's start, on the clock that knows no date, becomes the date that it had."""
    plan = LoadPlan(rate=Fraction(1000))
    intervals = Intervals(plan, clock=lambda: 1_700_000_100.0, monotonic_ns=lambda: int(60e9))

    intervals(ended(plan, t0_s=50.0), figures(5, "service_ns"))

    (seen,) = intervals.seen
    assert (seen.start_s, seen.length_s, seen.of, seen.tag) == (1_700_000_090.0, 1.0, "service_ns", "")


def test_a_ramps_steps_are_tagged_with_their_rates() -> None:
    """What was measured at different rates is told apart by tags, so that nobody adds it up."""
    plan = LoadPlan(rate=Ramp(Fraction(1000), Fraction(2000), 2))
    intervals = Intervals(plan)

    for step in plan.steps:
        intervals(ended(step, t0_s=1.0), figures(5))

    assert [interval.tag for interval in intervals.seen] == ["1000", "2000"]


def test_a_run_that_never_came_to_its_window_is_no_interval() -> None:
    """Cut during its start, a run has no time to tell and nothing recorded."""
    plan = LoadPlan()
    intervals = Intervals(plan)

    intervals(ended(plan, t0_s=0.0), figures(5))

    assert intervals.seen == []
