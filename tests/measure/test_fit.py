"""The fit of times to steps: it finds the slopes that made them, the bend between, and says how sure it is."""

from __future__ import annotations

import random

import pytest

from harness.measure.fit import fit_steps

DEPTHS = [10, 30, 100, 300, 1_000, 3_000, 10_000, 30_000, 100_000]


def times(near: float, far: float | None = None, bend: int = 10_000, base: float = 500.0) -> dict[int, float]:
    """Times as a queue's walk would take them."""
    if far is None:
        return {depth: base + near * depth for depth in DEPTHS}
    return {depth: base + near * min(depth, bend) + far * max(0, depth - bend) for depth in DEPTHS}


def noisy(exact: dict[int, float], seed: int) -> dict[int, float]:
    """With up to 3 % of noise."""
    chance = random.Random(seed)
    return {depth: value * chance.uniform(0.97, 1.03) for depth, value in exact.items()}


def test_one_line_is_found_as_it_was_made() -> None:
    """Times of a single slope give that slope and base, and no bend."""
    fit = fit_steps([times(3.0)])

    assert fit is not None
    assert (fit.bend, fit.far) == (None, None)
    assert [fit.near.per_step, fit.near.base] == pytest.approx([3.0, 500.0])


@pytest.mark.parametrize("bend", [300, 1_000, 10_000, 30_000])
def test_the_bend_is_found_where_a_cache_ends(bend: int) -> None:
    """Times whose steps become dearer at a depth give both slopes, and that depth, also just before the deepest."""
    fit = fit_steps([times(3.0, 50.0, bend)])

    assert fit is not None
    assert fit.far is not None
    assert fit.bend == bend
    assert [fit.near.per_step, fit.far.per_step] == pytest.approx([3.0, 50.0])


def test_steps_that_become_cheaper_are_no_bend() -> None:
    """A second line that is flatter is no cache that ends: one line has to do."""
    fit = fit_steps([times(50.0, 3.0)])

    assert fit is not None
    assert fit.bend is None


def test_the_interval_holds_the_true_slope_and_is_narrow() -> None:
    """Over noisy rounds the interval of each slope is around the true one, within a few percent."""
    fit = fit_steps([noisy(times(3.0, 50.0), seed) for seed in range(5)])

    assert fit is not None
    assert fit.far is not None
    for line, true in ((fit.near, 3.0), (fit.far, 50.0)):
        assert line.low is not None
        assert line.high is not None
        assert 0.9 * true < line.low <= line.per_step <= line.high < 1.1 * true


def test_noise_alone_is_no_bend() -> None:
    """A hundred single lines with noise get a bend in fewer than ten cases."""
    fits = [fit_steps([noisy(times(3.0), 100 * one + each) for each in range(5)]) for one in range(100)]

    assert sum(fit is not None and fit.bend is not None for fit in fits) < 10


def test_one_round_has_no_interval() -> None:
    """What was measured once has no spread, and none is made up."""
    fit = fit_steps([times(3.0)])

    assert fit is not None
    assert (fit.near.low, fit.near.high) == (None, None)


def test_two_depths_are_not_fitted() -> None:
    """Through two points goes every line."""
    assert fit_steps([{10: 1.0, 20: 2.0}]) is None


@pytest.mark.parametrize("rounds", [[], [{1: 1.0, 2: 0.0, 3: 1.0}]])
def test_what_cannot_be_fitted_is_refused(rounds: list[dict[int, float]]) -> None:
    """No round, or a time that is not above 0, is a ValueError."""
    with pytest.raises(ValueError, match=r"no rounds|above 0"):
        fit_steps(rounds)
