"""The buckets lie where the engines count, and what is read of them bounds the truth from above, closely."""

from __future__ import annotations

import json
import time
from array import array
from fractions import Fraction
from itertools import pairwise
from math import ceil
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.measure.histogram import (
    BUCKETS,
    HIGHEST_VALUE,
    SUB_BUCKET_BITS,
    Histogram,
    bucket_of,
    highest_in,
    lowest_in,
)

# spread over the powers of two, as latencies are; plain integers would nearly all be large
values = st.integers(0, 41).flatmap(lambda bits: st.integers(0, 2 << bits)).map(lambda value: min(value, HIGHEST_VALUE))
samples = st.lists(values, max_size=60)


def filled(sample: list[int]) -> Histogram:
    histogram = Histogram()
    for value in sample:
        histogram.record(value)
    return histogram


class TestLayout:
    def test_is_what_the_engines_repeat(self) -> None:
        """The constants and a few indices are those that the compiled engine has, too."""
        assert (SUB_BUCKET_BITS, BUCKETS, HIGHEST_VALUE) == (7, 4608, 2**42 - 1)
        assert [bucket_of(value) for value in (0, 255, 256, 257, 258, 511, 512, 2**42 - 1)] == [
            *(0, 255, 256, 256, 257, 383, 384, 4607),
        ]

    def test_leaves_no_gap(self) -> None:
        """Each bucket begins right above the one below it, from 0 to the highest value."""
        edges = [(lowest_in(index), highest_in(index)) for index in range(BUCKETS)]

        assert edges[0][0] == 0
        assert edges[-1][1] == HIGHEST_VALUE
        assert all(below[1] + 1 == above[0] for below, above in pairwise(edges))

    @settings(deadline=None)
    @given(value=values)
    def test_puts_a_value_between_its_bucket_s_edges(self, value: int) -> None:
        """A value lies in its bucket, whose width is 1 below 256 and at most 1/128 of the value above."""
        index = bucket_of(value)

        assert lowest_in(index) <= value <= highest_in(index)
        assert highest_in(index) - lowest_in(index) <= (value / 128 if value >= 256 else 0)

    def test_clamps(self) -> None:
        """Values outside the layout count as the nearest inside."""
        assert bucket_of(-1) == 0
        assert bucket_of(2**42) == bucket_of(2**63) == BUCKETS - 1

    @pytest.mark.parametrize("index", [-1, BUCKETS])
    def test_has_no_bucket_outside(self, index: int) -> None:
        """An index that no bucket has is refused."""
        for edge in (lowest_in, highest_in):
            with pytest.raises(ValueError, match="no bucket"):
                edge(index)


class TestReading:
    @settings(deadline=None)
    @given(sample=samples.filter(bool), percent=st.integers(0, 10_000).map(lambda hundredths: hundredths / 100))
    def test_percentiles_bound_the_exact_ones(self, sample: list[int], percent: float) -> None:
        """A percentile is at least the exact one, and at most 1/128 above it."""
        rank = max(1, ceil(Fraction(str(percent)) * len(sample) / 100))
        exact = sorted(sample)[rank - 1]

        reported = filled(sample).percentile(percent)

        assert reported is not None
        assert exact <= reported <= exact + exact / 128

    def test_percentiles_take_the_rank_that_was_written(self) -> None:
        """The 99.9th percentile of 1000 values is the 999th, although 99.9 / 100 * 1000 exceeds 999 in binary."""
        histogram = Histogram()
        histogram.record(10, 999)
        histogram.record(20)

        assert 99.9 / 100 * 1000 != 999
        assert histogram.percentile(99.9) == 10
        assert histogram.percentile(99.91) == 20

    @pytest.mark.parametrize("percent", [-0.1, 100.1, float("nan")])
    def test_percentiles_are_of_a_hundred(self, percent: float) -> None:
        """A percentile outside 0 to 100 is refused, also of an empty histogram."""
        with pytest.raises(ValueError, match="0 to 100"):
            Histogram().percentile(percent)

    @settings(deadline=None)
    @given(sample=samples.filter(bool))
    def test_extremes_and_mean_bound_the_exact_ones(self, sample: list[int]) -> None:
        """min is at most, and max at least, the exact one; the mean is within half a bucket."""
        histogram = filled(sample)
        mean = sum(sample) / len(sample)

        assert histogram.min is not None
        assert histogram.max is not None
        assert histogram.mean is not None
        assert min(sample) * 127 / 128 <= histogram.min <= min(sample)
        assert max(sample) <= histogram.max <= max(sample) * 129 / 128
        assert histogram.mean == pytest.approx(mean, rel=1 / 256)
        assert histogram.total == len(sample)

    @settings(deadline=None)
    @given(sample=samples, limit=st.integers(-1, 2**43))
    def test_counts_at_or_below_are_never_too_many(self, sample: list[int], limit: int) -> None:
        """Of the values at or below a limit all are counted but those in the bucket that the limit cuts through."""
        counted = filled(sample).count_at_or_below(limit)

        assert (
            sum(value <= limit - limit / 128 for value in sample) <= counted <= sum(value <= limit for value in sample)
        )

    def test_counts_leave_out_the_bucket_that_is_cut(self) -> None:
        """A limit between two values of one bucket counts neither; at the bucket's upper edge both count."""
        histogram = filled([300, 301])

        assert histogram.count_at_or_below(299) == 0
        assert histogram.count_at_or_below(300) == 0
        assert histogram.count_at_or_below(301) == 2

    @settings(deadline=None)
    @given(sample=samples.filter(bool), percent=st.integers(0, 100))
    def test_counts_agree_with_percentiles(self, sample: list[int], percent: int) -> None:
        """At or below a percentile lie at least as many values as it says."""
        histogram = filled(sample)
        at_most = histogram.percentile(percent)

        assert at_most is not None
        assert histogram.count_at_or_below(at_most) >= percent / 100 * len(sample)

    def test_summary_names_the_percentiles(self) -> None:
        """The summary has the percentiles, the maximum and the mean, in ns."""
        histogram = filled(list(range(1, 101)))

        assert histogram.summary() == {
            "p50": 50,
            "p90": 90,
            "p99": 99,
            "p99_9": 100,
            "p99_99": 100,
            "max": 100,
            "mean": 50.5,
        }

    def test_of_nothing_is_none(self) -> None:
        """An empty histogram reports None everywhere, never 0, and a total of 0."""
        histogram = Histogram()

        assert list(histogram.summary().values()) == [None] * 7
        assert (histogram.min, histogram.max, histogram.mean, histogram.percentile(50)) == (None, None, None, None)
        assert (histogram.total, histogram.count_at_or_below(2**42), list(histogram.buckets())) == (0, 0, [])

    def test_buckets_are_those_with_counts(self) -> None:
        """The buckets that are listed are those with counts, with their edges, from below."""
        assert list(filled([300, 5, 301, 5]).buckets()) == [(5, 5, 2), (300, 301, 2)]


class TestFilling:
    @settings(deadline=None)
    @given(first=samples, second=samples)
    def test_merging_equals_recording_all(self, first: list[int], second: list[int]) -> None:
        """Two merged histograms are the one that would have recorded everything; the merged-in one is unchanged."""
        histogram, other = filled(first), filled(second)

        histogram.merge(other)

        assert histogram == filled(first + second)
        assert other == filled(second)

    def test_records_many_at_once(self) -> None:
        """A value that is recorded with a count counts that often; a negative count is refused."""
        histogram = Histogram()

        histogram.record(7, 3)

        assert histogram == filled([7, 7, 7])
        with pytest.raises(ValueError, match="-1 times"):
            histogram.record(7, -1)

    def test_copies_shared_counts(self) -> None:
        """A histogram of a memoryview keeps the counts of that moment, whatever is counted there afterwards."""
        shared = array("Q", [0]) * BUCKETS
        shared[9] = 1

        histogram = Histogram(memoryview(shared))
        shared[9] = 2

        assert histogram == filled([9])

    @pytest.mark.parametrize("counts", [[], [0] * (BUCKETS - 1), [0] * (BUCKETS + 1), [-1] + [0] * (BUCKETS - 1)])
    def test_refuses_other_layouts(self, counts: list[int]) -> None:
        """Counts of another number, or below 0, are refused."""
        with pytest.raises(ValueError, match="a histogram"):
            Histogram(counts)

    def test_cannot_be_a_key(self) -> None:
        """A histogram changes, so it is not hashable."""
        with pytest.raises(TypeError, match="unhashable"):
            hash(Histogram())

    def test_is_unlike_other_things(self) -> None:
        """A histogram is not equal to its list of counts, and says what it holds."""
        assert Histogram() != [0] * BUCKETS
        assert repr(filled([3, 5])) == "<Histogram of 2 values, 3 to 5 ns>"

    def test_is_read_in_under_a_millisecond(self) -> None:
        """A copy of shared counts over 10 powers of two and its summary take under 1 ms, at their fastest."""
        shared = memoryview(array("Q", [0] * 1500 + [1000] * 1280 + [0] * 1828))
        least_s = float("inf")

        for _ in range(50):
            start_s = time.perf_counter()
            Histogram(shared).summary()
            least_s = min(least_s, time.perf_counter() - start_s)

        assert least_s < 0.001


class TestJson:
    @settings(deadline=None)
    @given(sample=samples)
    def test_round_trip(self, sample: list[int]) -> None:
        """What was written as JSON text reads back as the same histogram."""
        histogram = filled(sample)

        assert Histogram.from_json(json.loads(json.dumps(histogram.to_json()))) == histogram

    def test_is_sparse_and_says_its_layout(self) -> None:
        """The JSON names unit and layout, and lists only buckets with counts."""
        assert filled([300, 5]).to_json() == {
            "unit": "ns",
            "encoding": "log-linear",
            "sub_bucket_bits": 7,
            "counts": [[5, 1], [278, 1]],
        }

    @pytest.mark.parametrize(
        "change",
        [
            {"unit": "us"},
            {"encoding": "hdr"},
            {"sub_bucket_bits": 8},
            {"counts": None},
            {"counts": [5]},
            {"counts": [[5]]},
            {"counts": [[5, 1, 1]]},
            {"counts": [[5, 1.5]]},
            {"counts": [["5", 1]]},
            {"counts": [[5, True]]},
            {"counts": [[True, 5]]},
            {"counts": [[5, 0]]},
            {"counts": [[5, -1]]},
            {"counts": [[-1, 1]]},
            {"counts": [[BUCKETS, 1]]},
            {"counts": [[5, 1], [5, 1]]},
            {"counts": [[6, 1], [5, 1]]},
        ],
    )
    def test_that_is_wrong_is_refused(self, change: dict[str, Any]) -> None:
        """Another layout, or counts that no histogram writes, are refused."""
        with pytest.raises(ValueError, match="a histogram"):
            Histogram.from_json({**filled([5]).to_json(), **change})

    @pytest.mark.parametrize("data", [None, [], "histogram", {}])
    def test_of_something_else_is_refused(self, data: object) -> None:
        """What is no histogram's object is refused."""
        with pytest.raises(ValueError, match="a histogram"):
            Histogram.from_json(data)
