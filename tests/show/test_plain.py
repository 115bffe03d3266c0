"""harness.show.plain and .series: a run as lines of text, and its series as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from harness.measure.histogram import Histogram
from harness.show.plain import progress_line, report_lines
from harness.show.series import series_csv
from harness.show.words import NONE

if TYPE_CHECKING:
    from harness.experiments.follow import Snapshot

NO_TIMES: dict[str, None] = dict.fromkeys(("p50", "p90", "p99", "p99_9", "p99_99", "max", "mean"))
Make = Callable[..., Any]


def line(result: dict[str, Any], name: str) -> str:
    """The lines of the report that begin with a name, as one text."""
    return "\n".join(found for found in report_lines(result) if found.startswith(f"{name}: "))


def test_a_progress_line_tells_the_moment(snapshot_with: Callable[..., Snapshot]) -> None:
    """One line has the time, the phase, both rates, the depth and the latency so far; it fits a terminal nearly."""
    told = progress_line(snapshot_with())

    assert "\n" not in told
    for words in ("4.0/11 s", "load", "sent  500 k/s", "received  499 k/s", "depth   1,000", "p50       -"):
        assert words in told


def test_a_progress_line_shows_latency_where_there_is_some(snapshot_with: Callable[..., Snapshot]) -> None:
    """Recorded latencies show as percentiles."""
    latency = Histogram()
    latency.record(1_000_000)

    assert "p99 1.00 ms" in progress_line(snapshot_with(latency=latency))


def test_a_progress_line_without_a_known_end_has_none(snapshot_with: Callable[..., Snapshot]) -> None:
    """A count at no rate has no time to go by."""
    assert "4.0 s" in progress_line(snapshot_with(total_s=None))


def test_the_report_has_every_fact_on_a_line_of_its_own(result_with: Make) -> None:
    """What was asked, held, measured, counted and paid stands each on a line with its name."""
    result = result_with()

    assert line(result, "asked") == "asked: 500 k/s for 10 s, messages of 32 B, type 1"
    assert "native engine, 1 producer, 1 queue of 16 MiB, 1 consumer" in line(result, "by")
    assert line(result, "held") == "held: 500 k/s (sustained, clean)"
    assert "p99 50.0 µs" in line(result, "latency")
    assert "p99.99 400 µs" in line(result, "service")
    assert "max 1.50 ms" in line(result, "pacing error")
    assert "sent 5,500,000" in line(result, "ledger")
    assert "1,834 ns of CPU" in line(result, "cost")
    assert "clean" in line(result, "machine")
    assert not any("\n" in text for text in report_lines(result))


def test_what_is_not_known_is_left_out_or_a_dash(result_with: Make) -> None:
    """Figures that a run does not have are no zeroes: percentiles are left out, others a dash."""
    result = result_with(
        latency_ns=NO_TIMES,
        pacing_error_ns=NO_TIMES,
        achieved_rate=None,
        memory_bytes=None,
        per_message={"cpu_ns": None, "switches": None},
        disturbance={
            "verdict": "unknown", "steal_share": None, "runnable_wait_share": None, "throttled_ns": None, "jitter": None
        },
        sustained=None,
    )  # fmt: skip

    assert line(result, "latency") == line(result, "pacing error") == ""
    assert line(result, "held").startswith(f"held: {NONE} (done")
    assert f"{NONE} of CPU" in line(result, "cost")
    assert "None" not in "\n".join(report_lines(result))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"sustained": False}, "NOT SUSTAINED"),
        ({"complete": False, "cut": {"cause": "interrupted", "sentence": "by SIGINT"}}, "INCOMPLETE: by SIGINT"),
        ({"complete": False}, "INCOMPLETE"),
        ({"sustained": None}, "(done, clean)"),
    ],
)  # fmt: skip
def test_the_verdict_is_plain(changes: dict[str, Any], words: str, result_with: Make) -> None:
    """Held, not held, or cut short, and by what: in words on the line of the rate."""
    assert words in line(result_with(**changes), "held")


def test_loss_and_foreign_messages_are_told(result_with: Make) -> None:
    """What must be 0 and is not stands in the ledger's lines."""
    told = line(result_with(lost=7, duplicated=3, out_of_order=2, foreign=5, undecided=4), "ledger")

    for words in ("lost 7", "duplicated 3", "out of order 2", "foreign 5", "undecided 4"):
        assert words in told


def test_of_somebody_elses_receivers_nothing_is_claimed(result_with: Make) -> None:
    """Without consumers of the run's own the ledger says that nothing is known of them, and no receipts."""
    result = result_with(
        plan={"consumers": 0, "key": "0x000c0049", "queue_bytes": None}, received=None, left_in_queue=12, lost=None
    )

    assert "left in queue 12; the receivers are not ours" in line(result, "ledger")
    assert "lost" not in line(result, "ledger")
    assert "queue 0x000c0049, somebody else's consumers" in line(result, "by")


@pytest.mark.parametrize(
    ("plan", "words"),
    [
        ({"loop": "closed", "rate": "max", "outstanding": 8}, "closed loop, 8 outstanding"),
        ({"loop": "unpaced", "rate": "max"}, "as fast as the queue lets"),
        ({"rate": "100 k/s to 1.00 M/s in 10 steps"}, "100 k/s to 1.00 M/s in 10 steps"),
        ({"duration_s": None, "count": 5_000_000}, "5,000,000 messages"),
        ({"size": {"smallest": 64, "largest": 1024}}, "64 B to 1 KiB"),
        ({"types": [{"type": 1, "weight": 1}, {"type": 2, "weight": 1}]}, "2 types"),
    ],
)
def test_what_was_asked_is_told_in_words(plan: dict[str, Any], words: str, result_with: Make) -> None:
    """Each way to load a queue has its words."""
    assert words in line(result_with(plan=plan), "asked")


def test_steps_thresholds_warnings_and_the_next_step_are_told(result_with: Make) -> None:
    """A ramp's steps, each threshold's sentence, each warning and the advice have lines of their own."""
    step = result_with() | {"rate": 100_000.0}
    result = result_with(
        steps=[step, step],
        thresholds=[{"failed": True, "sentence": "p99>1us failed"}, {"failed": False, "sentence": "lost>0 passed"}],
        warnings=["look out"],
        advice="Try --repeat 5.",
    )

    told = "\n".join(report_lines(result))

    assert told.count("step 100 k/s: held 500 k/s, sustained, p99 50.0 µs") == 2
    for words in ("p99>1us failed", "lost>0 passed", "warning: look out", "next: Try --repeat 5."):
        assert words in told


def test_the_series_as_csv_leaves_unknown_cells_empty(result_with: Make) -> None:
    """A heading, a line a row, and nothing where there is no value."""
    rows = [[0.1, 10, 9, 0, None, 1], [0.2, 10, 11, 0, 3, 0]]

    text = series_csv(
        result_with(series={"columns": ["t_s", "sent", "received", "refused", "behind", "depth"], "rows": rows})
    )

    assert list(csv.reader(io.StringIO(text)))[1:] == [
        ["0.1", "10", "9", "0", "", "1"],
        ["0.2", "10", "11", "0", "3", "0"],
    ]
    assert text.startswith("t_s,sent,received,refused,behind,depth\n")
    assert text.endswith("\n")
