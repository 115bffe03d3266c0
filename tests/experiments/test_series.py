"""The series of a run: regular rows, at most 1,200 of them, that lose no message however long the run takes."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from harness.experiments.series import COLUMNS, FIRST_WIDTH_S, MOST_ROWS, Sample, Series


def sample(t_s: float, sent: int = 0, *, depth: int = 0) -> Sample:
    return Sample(t_s, sent, sent, 0, 0, depth)


def filled(rows: int) -> Series:
    """A series that was offered a sample every tenth of a second, each with ten more messages."""
    series = Series()
    for number in range(rows):
        if series.due(number * FIRST_WIDTH_S):
            series.add(sample(number * FIRST_WIDTH_S, number * 10))
    return series


def test_a_row_holds_what_happened_since_the_one_before() -> None:
    """Counts become differences; behind and depth are states at the row's end."""
    series = Series()
    series.add(Sample(0.0, 10, 5, 1, 4, 5))
    series.add(Sample(0.1, 30, 20, 1, None, 10))

    assert series.to_json() == {"width_s": 0.1, "columns": list(COLUMNS), "rows": [[0.1, 20, 15, 0, None, 10]]}


def test_without_two_samples_there_are_no_rows() -> None:
    """One sample is where the counting starts, and no row."""
    series = Series()
    assert series.to_json()["rows"] == []

    series.add(sample(0.0))

    assert series.to_json()["rows"] == []


def test_a_sample_is_due_once_a_width() -> None:
    """The first is due at once, the next a width later."""
    series = Series()
    assert series.due(-1.0)

    series.add(sample(-1.0))

    assert not series.due(-0.95)
    assert series.due(-0.9)


@given(rows=st.integers(2, 12_000))
def test_the_rows_stay_few_and_keep_every_message(rows: int) -> None:
    """However long the run, there are at most 1,200 rows, of the same width, and their sum is all that was counted."""
    series = filled(rows)

    json = series.to_json()
    last = series.samples[-1]
    assert 1 <= len(json["rows"]) <= MOST_ROWS
    assert sum(row[1] for row in json["rows"]) == last.sent
    assert (rows - 1) * FIRST_WIDTH_S - last.t_s < series.width_s
    times = [0.0, *(row[0] for row in json["rows"])]
    widths = [after - before for before, after in itertools.pairwise(times)]
    assert max(widths) < series.width_s * 1.01
    assert min(widths) > series.width_s * 0.99


def test_the_width_doubles_when_the_rows_are_full() -> None:
    """A row more than fits makes half as many, of twice the width."""
    assert filled(MOST_ROWS + 1).width_s == FIRST_WIDTH_S
    assert filled(MOST_ROWS + 3).width_s == 2 * FIRST_WIDTH_S


def test_the_window_leaves_out_warm_up_and_drain() -> None:
    """Only samples from 0 to the window's end are in the window."""
    series = Series()
    for t_s in (-0.5, 0.0, 0.5, 1.0, 1.5):
        series.add(sample(t_s))

    assert [found.t_s for found in series.window(1.0)] == [0.0, 0.5, 1.0]
