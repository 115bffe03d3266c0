"""Medians, spreads and slopes: right on what can be checked by hand, and unmoved by a few wild values."""

from __future__ import annotations

import statistics as standard
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.measure.statistics import Spread, median, quartiles, ratio_spread, spread, theil_sen

finite = st.floats(min_value=-1e12, max_value=1e12)
series = st.lists(finite, min_size=1, max_size=40)


class TestQuartiles:
    def test_interpolate_between_neighbours(self) -> None:
        """The quartiles of four values lie a quarter of the way between neighbours, as numpy has them."""
        assert quartiles([4, 1, 3, 2]) == (1.75, 2.5, 3.25)

    def test_of_one_value_are_it(self) -> None:
        """One value is its own quartiles."""
        assert quartiles([7.0]) == (7.0, 7.0, 7.0)

    @settings(deadline=None)
    @given(values=st.lists(finite, min_size=2, max_size=40))
    def test_are_the_standard_library_s(self, values: list[float]) -> None:
        """The quartiles are those of the standard library's inclusive method."""
        assert quartiles(values) == pytest.approx(standard.quantiles(values, method="inclusive"), abs=1e-3)

    @settings(deadline=None)
    @given(values=series)
    def test_median_is_the_standard_library_s(self, values: list[float]) -> None:
        """The median is that of the standard library."""
        assert median(values) == pytest.approx(standard.median(values), abs=1e-3)

    @pytest.mark.parametrize("values", [[], [1.0, float("nan")], [float("inf")]])
    def test_of_nothing_are_refused(self, values: list[float]) -> None:
        """No values, and values that are not finite, have no quartiles."""
        for describe in (median, quartiles, spread):
            with pytest.raises(ValueError, match=r"described?"):
                describe(values)


class TestSpread:
    def test_has_all_six(self) -> None:
        """A spread has median, quartiles, extremes and the number of values, and writes them to JSON."""
        found = spread([30, 10, 20])

        assert found == Spread(median=20, low=15, high=25, min=10, max=30, n=3)
        assert found.to_json() == {"median": 20, "low": 15, "high": 25, "min": 10, "max": 30, "n": 3}

    @settings(deadline=None)
    @given(values=series)
    def test_is_in_order(self, values: list[float]) -> None:
        """From least to greatest a spread rises, without rounding errors."""
        found = spread(values)

        assert found.min <= found.low <= found.median <= found.high <= found.max
        assert found.n == len(values)

    @settings(deadline=None)
    @given(values=st.lists(finite, min_size=3, max_size=40))
    def test_median_is_not_carried_away(self, values: list[float]) -> None:
        """One wild value among at least three leaves the median within the others' range."""
        assert min(values) <= median([*values, 1e300]) <= max(values)


class TestRatios:
    def test_are_of_rounds(self) -> None:
        """Ratios are taken within each round, so that a slow round that hit both does not show."""
        assert ratio_spread([2, 20, 200], [1, 10, 100]) == Spread(2, 2, 2, 2, 2, 3)

    @settings(deadline=None)
    @given(rounds=st.lists(st.tuples(st.floats(0.01, 100), st.floats(0.01, 100)), min_size=1, max_size=20))
    def test_do_not_see_what_slows_a_round(self, rounds: list[tuple[float, float]]) -> None:
        """Rounds of a pair that is 2 to 1 spread around 2, however fast each round was."""
        a = [2 * fast * slow for fast, slow in rounds]
        b = [fast * slow for fast, slow in rounds]

        assert ratio_spread(a, b).median == pytest.approx(2)

    @pytest.mark.parametrize(
        ("a", "b"), [([1.0], [1.0, 2.0]), ([], []), ([1.0], [0.0]), ([1.0], [-1.0]), ([1.0], [float("nan")])]
    )
    def test_are_refused(self, a: list[float], b: list[float]) -> None:
        """Rounds that do not pair, and divisors that are not above 0, are refused."""
        with pytest.raises(ValueError, match=r"pairs|describe|above 0"):
            ratio_spread(a, b)


class TestTheilSen:
    @settings(deadline=None)
    @given(
        slope=st.integers(-1000, 1000), offset=st.integers(-1000, 1000), xs=st.sets(st.integers(0, 10**6), min_size=2)
    )
    def test_finds_the_slope_of_a_line(self, slope: int, offset: int, xs: set[int]) -> None:
        """Of points on a line the slope is the line's, in whatever order they come."""
        assert theil_sen([(x, slope * x + offset) for x in xs]) == slope

    @settings(deadline=None)
    @given(wild=st.lists(finite, min_size=5, max_size=5))
    def test_is_not_moved_by_wild_points(self, wild: list[float]) -> None:
        """Five wild points at the end of thirty do not move the slope."""
        points: list[tuple[float, float]] = [(x, 3 * x) for x in range(25)]

        assert theil_sen(points + [(25 + number, y) for number, y in enumerate(wild)]) == 3

    @settings(deadline=None)
    @given(points=st.lists(st.tuples(st.integers(0, 50), st.integers(-50, 50)), max_size=12))
    def test_is_the_median_of_all_pairs(self, points: list[tuple[float, float]]) -> None:
        """The slope is the median of the slopes of all pairs that differ in x, or None when there is none."""
        slopes = [(d - b) / (c - a) for (a, b), (c, d) in combinations(points, 2) if a != c]

        assert theil_sen(points) == (pytest.approx(standard.median(slopes)) if slopes else None)

    def test_thins_evenly(self) -> None:
        """Of more points than the limit the first, the last and evenly spaced ones are kept."""
        reads: list[int] = []

        class Points(list[tuple[float, float]]):
            def __getitem__(self, index: int) -> tuple[float, float]:  # type: ignore[override]
                reads.append(index)
                return super().__getitem__(index)

        slope = theil_sen(Points((x, x) for x in range(1001)), limit=5)

        assert slope == 1
        assert reads == [0, 250, 500, 750, 1000]

    def test_needs_two_points(self) -> None:
        """A limit that leaves no pair is refused."""
        with pytest.raises(ValueError, match="at least 2"):
            theil_sen([(0, 0), (1, 1)], limit=1)
