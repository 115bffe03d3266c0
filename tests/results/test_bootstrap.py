"""harness.results.bootstrap: intervals are the same each time, hold what they should, and shrink with more runs."""

from __future__ import annotations

import random
from statistics import median

from harness.results.bootstrap import paired_ratio_interval, ratio_interval

DICE = random.Random(7)
BEFORE = [DICE.gauss(100, 5) for _ in range(40)]
AFTER = [DICE.gauss(120, 5) for _ in range(40)]


def test_the_same_runs_give_the_same_interval() -> None:
    """The draws are seeded: nothing depends on when or how often it is asked."""
    first = ratio_interval(BEFORE, AFTER, 0.99)
    random.random()

    assert ratio_interval(BEFORE, AFTER, 0.99) == first


def test_values_that_do_not_vary_have_an_interval_of_one_point() -> None:
    """Where every run gave the same, the ratio is known."""
    assert ratio_interval([4.0] * 5, [5.0] * 5, 0.99) == (1.25, 1.25)
    assert paired_ratio_interval([1.25] * 5, 0.99) == (1.25, 1.25)


def test_an_interval_lies_around_the_ratio_of_the_medians() -> None:
    """It holds the ratio that was seen, and with more confidence it is wider."""
    low, high = ratio_interval(BEFORE, AFTER, 0.99)
    narrow_low, narrow_high = ratio_interval(BEFORE, AFTER, 0.5)

    assert low < narrow_low < median(AFTER) / median(BEFORE) < narrow_high < high


def test_more_runs_make_it_narrower() -> None:
    """Forty runs tell more than five of them."""
    few = ratio_interval(BEFORE[:5], AFTER[:5], 0.99)
    many = ratio_interval(BEFORE, AFTER, 0.99)

    assert many[1] - many[0] < few[1] - few[0]


def test_it_holds_the_truth_about_as_often_as_it_says() -> None:
    """Of 200 pairs of 20 runs each around 100 and 120, a 95 % interval holds 1.2 in more than 180."""
    dice = random.Random(3)
    held = 0
    for _ in range(200):
        sides = [[dice.gauss(middle, 5) for _ in range(20)] for middle in (100, 120)]
        low, high = ratio_interval(sides[0], sides[1], 0.95, resamples=200)
        held += low <= 1.2 <= high

    assert held > 180
