"""A run's distribution in HdrHistogram's own formats: `--hlog` (its interval log, 1.2) and `--hgrm` (what it plots).

The package hdrhistogram, an extra, is needed for these alone. It packs the counts; the lines around them are written
here, as of its own writers (0.10) one fails (the log's start time) and one forgets to scale (the standard deviation).

With two significant digits and values from 1 ns on, its buckets are the very ones of `measure.histogram`: one for each
value below 256 ns, 128 in each power of two above. So nothing is rounded a second time, and a percentile of the same
rank is the same number. (The rank differs: it takes the nearest to p / 100 * total, we the next above.)
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from harness.measure.histogram import HIGHEST_VALUE, Histogram
from harness.sysv.errors import MachineError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

SIGNIFICANT_DIGITS: Final = 2
TICKS_PER_HALF_DISTANCE: Final = 5
"""Lines of a .hgrm between one percentile and the one half as far from 100 %: HdrHistogram's own default."""
NS_PER_US: Final = 1000
NS_PER_MS: Final = 1_000_000
"""An interval log gives each interval's greatest value in ms, its counts in the unit they were recorded in: ns."""


@dataclass(frozen=True, slots=True)
class Interval:
    """One run: when its window began (s since the epoch), how long that was (s), its `histogram`, of what it is.

    `tag` tells apart what must not be added up, as the steps of a ramp; it has no comma, space or line end.
    """

    start_s: float
    length_s: float
    histogram: Histogram
    of: str
    tag: str = ""


def require() -> None:
    """Raise MachineError, with what to install, unless the package is here."""
    _package()


def histogram_in(figures: dict[str, Any]) -> Histogram:
    """The histogram of a result, or of one run's figures."""
    return Histogram.from_json({key: value for key, value in figures["histogram"].items() if key != "of"})


def hlog(intervals: Sequence[Interval]) -> str:
    """The interval log of some runs, in the order in which they began; raises MachineError without the package."""
    began_s = min((interval.start_s for interval in intervals), default=0.0)
    lines = [
        f"#[{', '.join(sorted({interval.of for interval in intervals}))} of harness load, in ns; a line is a run]",
        "#[Histogram log format version 1.2]",
        f"#[StartTime: {began_s:.3f} (seconds since epoch), {datetime.fromtimestamp(began_s, UTC).isoformat()}]",
        f"#[BaseTime: {began_s:.3f} (seconds since epoch)]",
        '"StartTimestamp","Interval_Length","Interval_Max","Interval_Compressed_Histogram"',
    ]
    for interval in intervals:
        tag = f"Tag={interval.tag}," if interval.tag else ""
        packed = _converted(interval.histogram).encode().decode("ascii")
        most_ms = (interval.histogram.max or 0) / NS_PER_MS
        lines.append(f"{tag}{interval.start_s - began_s:.3f},{interval.length_s:.3f},{most_ms:.6f},{packed}")
    return "\n".join(lines) + "\n"


def hgrm(histogram: Histogram) -> str:
    """The percentiles in us, as HdrHistogram's plotter reads them; raises MachineError without the package."""
    converted = _converted(histogram)
    lines = [f"{'Value':>12} {'Percentile':>14} {'TotalCount':>10} {'1/(1-Percentile)':>14}", ""]
    lines += _percentile_lines(converted)
    mean_us, deviation_us = converted.get_mean_value() / NS_PER_US, converted.get_stddev() / NS_PER_US
    lines += [
        f"#[Mean    = {mean_us:12.3f}, StdDeviation   = {deviation_us:12.3f}]",
        f"#[Max     = {(histogram.max or 0) / NS_PER_US:12.3f}, Total count    = {histogram.total:12d}]",
        f"#[Buckets = {converted.bucket_count:12d}, SubBuckets     = {converted.sub_bucket_count:12d}]",
    ]
    return "\n".join(lines) + "\n"


def _percentile_lines(converted: Any) -> Iterator[str]:
    for step in converted.get_percentile_iterator(TICKS_PER_HALF_DISTANCE):
        value_us, percentile = step.value_iterated_to / NS_PER_US, step.percentile_level_iterated_to / 100
        line = f"{value_us:12.3f} {percentile:2.12f} {step.total_count_to_this_value:10d}"
        yield line if percentile == 1 else f"{line} {1 / (1 - percentile):14.2f}"


def _converted(histogram: Histogram) -> Any:
    """The package's own histogram with the same counts in the same buckets."""
    converted = _package().HdrHistogram(1, HIGHEST_VALUE, SIGNIFICANT_DIGITS)
    for _, highest, count in histogram.buckets():
        converted.record_value(highest, count)
    return converted


def _package() -> Any:
    try:
        from hdrh import histogram  # noqa: PLC0415  an extra, needed for these two formats alone
    except ImportError as error:
        raise MachineError(
            "--hlog and --hgrm need the package hdrhistogram",
            why="it is not installed",
            hint="pip install hdrhistogram, or install this project with its extra: msgq-harness[hdr]",
        ) from error
    return histogram
