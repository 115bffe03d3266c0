"""HdrHistogram's own formats: what is written is read back by the package with the same counts and percentiles."""

from __future__ import annotations

import random
import sys
from typing import TYPE_CHECKING, Any

import pytest
from hdrh.histogram import HdrHistogram
from hdrh.log import HistogramLogReader

from harness.measure.histogram import BUCKETS, HIGHEST_VALUE, Histogram, lowest_in
from harness.results.hdr import Interval, hgrm, histogram_in, hlog, require
from harness.sysv.errors import MachineError

if TYPE_CHECKING:
    from pathlib import Path

START_S = 1_700_000_000.25
PERCENTILES = (50, 90, 99, 99.9, 99.99)


def filled(seed: int, count: int = 10_000) -> Histogram:
    """So many values that each percentile that is compared has a whole rank."""
    histogram, values = Histogram(), random.Random(seed)
    for _ in range(count):
        histogram.record(int(values.lognormvariate(10, 2)))
    return histogram


def read_back(text: str, folder: Path) -> list[HdrHistogram]:
    """What the package's own reader makes of an interval log."""
    path = folder / "run.hlog"
    path.write_text(text, encoding="utf-8")
    reader = HistogramLogReader(str(path), HdrHistogram(1, HIGHEST_VALUE, 2))
    found = []
    while (histogram := reader.get_next_interval_histogram()) is not None:
        found.append(histogram)
    reader.close()
    return found


def rows_of(text: str) -> list[list[float]]:
    """The lines of a .hgrm with numbers."""
    lines = text.splitlines()[2:]
    return [[float(cell) for cell in line.split()] for line in lines if not line.startswith("#")]


def test_the_buckets_are_the_same(tmp_path: Path) -> None:
    """A value in every one of our buckets comes back with the same edges, so nothing is rounded a second time."""
    histogram = Histogram([1] * BUCKETS)

    (found,) = read_back(hlog([Interval(START_S, 1.0, histogram, "latency_ns")]), tmp_path)

    assert [
        (found.get_lowest_equivalent_value(low), found.get_highest_equivalent_value(low), found.get_count_at_value(low))
        for low in map(lowest_in, range(BUCKETS))
    ] == list(histogram.buckets())
    assert found.get_total_count() == BUCKETS


@pytest.mark.parametrize("seed", range(5))
def test_percentiles_are_the_same(seed: int, tmp_path: Path) -> None:
    """What the package's reader says of a percentile is what the result says."""
    histogram = filled(seed)

    (found,) = read_back(hlog([Interval(START_S, 1.0, histogram, "latency_ns")]), tmp_path)

    assert [found.get_value_at_percentile(percent) for percent in PERCENTILES] == [
        histogram.percentile(percent) for percent in PERCENTILES
    ]
    assert (found.get_min_value(), found.get_max_value()) == (histogram.min, histogram.max)
    assert found.get_mean_value() == pytest.approx(histogram.mean, rel=1 / 128)


def test_each_run_is_an_interval_with_its_times(tmp_path: Path) -> None:
    """The log has a line a run, with the times at which its window began and ended."""
    runs = [filled(seed, 100 * (seed + 1)) for seed in range(3)]
    intervals = [Interval(START_S + 10 * number, 2.5, histogram, "latency_ns") for number, histogram in enumerate(runs)]

    found = read_back(hlog(intervals), tmp_path)

    assert [histogram.get_total_count() for histogram in found] == [100, 200, 300]
    for number, histogram in enumerate(found):
        assert histogram.get_start_time_stamp() == pytest.approx((START_S + 10 * number) * 1000)
        assert histogram.get_end_time_stamp() == pytest.approx((START_S + 10 * number + 2.5) * 1000)


def test_what_must_not_be_added_up_is_tagged(tmp_path: Path) -> None:
    """A tag goes before its interval, and an interval without one has none."""
    intervals = [Interval(START_S, 1.0, filled(1), "latency_ns", tag) for tag in ("100000", "", "200000")]

    assert [histogram.get_tag() for histogram in read_back(hlog(intervals), tmp_path)] == ["100000", None, "200000"]


def test_the_log_says_what_it_is() -> None:
    """Version, start and what was measured stand at its head; each interval's greatest value is in ms."""
    histogram = Histogram()
    histogram.record(2_000_000)

    lines = hlog([Interval(START_S, 1.5, histogram, "service_ns")]).splitlines()

    assert "service_ns" in lines[0]
    assert lines[1] == "#[Histogram log format version 1.2]"
    assert lines[2] == "#[StartTime: 1700000000.250 (seconds since epoch), 2023-11-14T22:13:20.250000+00:00]"
    assert lines[4].startswith('"StartTimestamp",')
    start, length, most, _ = lines[5].split(",")
    assert (float(start), float(length)) == (0.0, 1.5)
    assert float(most) == pytest.approx((histogram.max or 0) / 1e6)


def test_a_run_that_recorded_nothing_is_an_empty_interval(tmp_path: Path) -> None:
    """No value is no error: the interval is there and empty, and the percentile file has no line."""
    (found,) = read_back(hlog([Interval(START_S, 1.0, Histogram(), "latency_ns")]), tmp_path)

    assert found.get_total_count() == 0
    assert rows_of(hgrm(Histogram())) == []


def test_a_log_of_no_runs_has_a_head_only(tmp_path: Path) -> None:
    """A run that was cut before its window leaves a log that can be read and holds nothing."""
    assert read_back(hlog([]), tmp_path) == []


def test_the_percentile_file_is_in_microseconds() -> None:
    """Each line has value, share, count up to there; values and counts rise, and they agree with the histogram's."""
    histogram = filled(7)

    text = hgrm(histogram)

    rows = rows_of(text)
    assert text.splitlines()[0].split() == ["Value", "Percentile", "TotalCount", "1/(1-Percentile)"]
    for value_us, share, count, *inverse in rows:
        assert histogram.count_at_or_below(round(value_us * 1000)) == count
        assert count >= share * histogram.total - 0.5
        assert inverse == ([] if share == 1 else [pytest.approx(1 / (1 - share), rel=0.01)])
    assert rows == sorted(rows, key=lambda row: row[:3])
    assert rows[-1][0] == pytest.approx((histogram.max or 0) / 1000)
    assert rows[-1][2] == histogram.total


def test_the_percentile_file_ends_with_mean_deviation_and_maximum() -> None:
    """The three closing lines are in microseconds too, the standard deviation among them."""
    histogram = Histogram()
    for value in (100_000, 300_000):
        histogram.record(value, 50)

    closing = hgrm(histogram).splitlines()[-3:]

    numbers = [float(part.split("=")[1].strip(" ]")) for line in closing[:2] for part in line.split(",")]
    assert numbers == pytest.approx([200, 100, 301, 100], rel=1 / 128)
    assert closing[2].startswith("#[Buckets = ")


def test_the_histogram_of_a_result_is_found() -> None:
    """A result's histogram names what it is of, which is not part of it."""
    histogram = filled(3, 50)

    assert histogram_in({"histogram": {**histogram.to_json(), "of": "latency_ns"}}) == histogram


@pytest.mark.parametrize(
    "use", [require, lambda: hlog([Interval(0.0, 1.0, Histogram(), "x")]), lambda: hgrm(Histogram())]
)
def test_without_the_package_it_says_what_to_install(use: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where hdrhistogram is not installed, one line says so and the hint has the command."""
    monkeypatch.setitem(sys.modules, "hdrh", None)

    with pytest.raises(MachineError, match="need the package hdrhistogram") as caught:
        use()

    assert "pip install hdrhistogram" in caught.value.hint
