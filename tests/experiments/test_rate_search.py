"""The search for the highest rate that is held, driven with made-up outcomes: no run, no clock."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.experiments.rate_search import (
    HIGHEST_RATE,
    LOWEST_RATE,
    MOST_REPEATS,
    NARROW_SHARE,
    Ask,
    Bracket,
    Outcome,
    Rules,
    Verdict,
    bracket,
    next_probe,
)

RULES = Rules(first_rate=Fraction(20_000))
UNHURRIED = Rules(first_rate=Fraction(20_000), limit_s=1e9)
OVERHEAD_S = 0.5
MOST_PROBES = 2000
Answer = Callable[[Ask], tuple[bool, bool]]


def up_to(capacity: float) -> Answer:
    """A quiet machine that holds every rate up to one."""
    return lambda ask: (ask.rate <= capacity, False)


def search(answer: Answer, rules: Rules = RULES, overhead_s: float = OVERHEAD_S) -> tuple[list[Ask], Verdict]:
    """The whole search with an answer, held and disturbed, to each probe."""
    asked: list[Ask] = []
    history: list[Outcome] = []
    while isinstance(step := next_probe(history, rules), Ask):
        asked.append(step)
        assert len(asked) < MOST_PROBES, "the search does not end"
        held, disturbed = answer(step)
        history.append(Outcome(held, disturbed, step.length_s + overhead_s))
    return asked, step


def answers(*given: bool, disturbed: bool = False) -> Answer:
    """These answers, one after the other, then always no."""
    rest: Iterator[bool] = iter(given)
    return lambda _: (next(rest, False), disturbed)


@given(capacity=st.floats(100, 10**7))
def test_the_bracket_holds_the_rate_that_is_looked_for(capacity: float) -> None:
    """Whatever a machine holds, the bracket is around it, 5 % wide, confirmed, and found within the limit."""
    asked, verdict = search(up_to(capacity))

    held, not_held = verdict.bracket.held, verdict.bracket.not_held
    assert held is not None
    assert not_held is not None
    assert held <= capacity < not_held
    assert verdict.bracket.narrow
    assert 1 - held / not_held <= NARROW_SHARE
    assert verdict.end == "confirmed"
    assert sum(ask.length_s + OVERHEAD_S for ask in asked) <= RULES.limit_s


def test_it_ramps_judges_and_confirms() -> None:
    """Probes of 1 s, each 1.5 times the last, until one is not held; then of 3 s; then one of 10 s."""
    asked, verdict = search(up_to(100_000))

    assert verdict.bracket.held is not None
    ramp = [ask for ask in asked if ask.stage == "ramp"]
    assert [float(ask.rate) for ask in ramp] == [20_000, 30_000, 45_000, 67_500, 101_000]
    assert {ask.length_s for ask in ramp} == {1.0}
    assert asked[: len(ramp)] == ramp
    assert {ask.length_s for ask in asked[len(ramp) : -1]} == {3.0}
    assert asked[-1] == Ask("confirm", verdict.bracket.held, 10.0)


def test_it_goes_down_where_the_first_rate_is_not_held() -> None:
    """Down by quarters to a rate that is held, then up again by 1.5 to below the last that was not."""
    asked, _ = search(up_to(900))

    ramp = [float(ask.rate) for ask in asked if ask.stage == "ramp"]
    assert ramp == [20_000, 5_000, 1_250, 312, 468, 702, 1050]


def test_where_nothing_is_held_it_says_so() -> None:
    """It does not go below ten a second, and the bracket has an upper edge only."""
    asked, verdict = search(up_to(0))

    assert min(ask.rate for ask in asked) >= LOWEST_RATE
    assert verdict.end == "nothing-held"
    assert verdict.bracket == Bracket(None, asked[-1].rate)
    assert not verdict.bracket.narrow


def test_where_everything_is_held_it_ends_too() -> None:
    """At the highest rate there is the ramp ends; the bracket has a lower edge only, and is not called narrow."""
    _, verdict = search(up_to(10**12), UNHURRIED)

    assert verdict.bracket.held is not None
    assert HIGHEST_RATE / 2 < verdict.bracket.held <= HIGHEST_RATE
    assert verdict.bracket.not_held is None
    assert verdict.bracket.width_share is None
    assert (verdict.end, verdict.bracket.narrow) == ("confirmed", False)


@pytest.mark.parametrize(
    ("votes", "held"),
    [
        ([True, True], True),
        ([True, False, True], True),
        ([False, True, True], True),
        ([False, False], False),
        ([False, True, False], False),
        ([True, False, False], False),
    ],
)
def test_two_of_three_decide(votes: list[bool], held: bool) -> None:
    """A rate is judged by the majority of three probes, and the third is left out where it cannot matter."""
    history = [Outcome(True, False, 1.5), Outcome(False, False, 1.5)]  # the ramp: 20 k/s held, 30 k/s not
    middle = next_probe(history, RULES)
    assert isinstance(middle, Ask)

    for vote in votes:
        assert next_probe(history, RULES) == middle
        history.append(Outcome(vote, False, 3.5))

    assert next_probe(history, RULES) != middle
    found = bracket(history, RULES)
    assert (found.held if held else found.not_held) == middle.rate


def test_a_disturbed_probe_that_was_not_held_is_repeated_twice_at_most() -> None:
    """The repetition says what it is; after two the answer is believed."""
    asked, _ = search(lambda ask: (ask.rate <= 20_000, ask.rate > 20_000))

    at_30k = [ask for ask in asked if ask.rate == 30_000]
    assert at_30k == [
        Ask("ramp", Fraction(30_000), 1.0),
        Ask("ramp", Fraction(30_000), 1.0, again=True),
        Ask("ramp", Fraction(30_000), 1.0, again=True),
    ]


def test_the_repeats_of_a_rate_are_counted_over_all_its_probes() -> None:
    """A rate that is judged by three probes is repeated twice in all, not twice for each."""
    asked, _ = search(lambda ask: (ask.rate <= 20_000, ask.rate > 20_000), UNHURRIED)

    for rate in {ask.rate for ask in asked}:
        assert sum(ask.again for ask in asked if ask.rate == rate) <= MOST_REPEATS


def test_a_repetition_that_is_held_counts() -> None:
    """What was not held while the machine was disturbed, and is held the next time, was held."""
    history = [Outcome(False, True, 1.5), Outcome(True, False, 1.5)]

    assert bracket(history, RULES) == Bracket(Fraction(20_000), None)
    assert next_probe(history, RULES) == Ask("ramp", Fraction(30_000), 1.0)


def test_a_disturbed_probe_that_was_held_is_believed() -> None:
    """A quieter machine would have held it too."""
    asked, verdict = search(lambda ask: (ask.rate <= 100_000, ask.rate <= 100_000))

    assert not any(ask.again for ask in asked)
    assert verdict.end == "confirmed"


def test_what_is_not_confirmed_goes_down_by_3_percent() -> None:
    """Each confirmation that fails is the new upper edge, and the next rate is 3 % lower."""
    asked, verdict = search(lambda ask: (ask.rate <= (100_000 if ask.stage != "confirm" else 93_000), False), UNHURRIED)

    confirmed = [ask.rate for ask in asked if ask.stage == "confirm"]
    assert len(confirmed) > 1
    assert all(below / above == pytest.approx(0.97, abs=0.005) for above, below in pairwise(confirmed))
    assert verdict.bracket == Bracket(confirmed[-1], confirmed[-2])
    assert verdict.end == "confirmed"


def test_a_lower_edge_that_only_the_ramp_held_is_judged() -> None:
    """Where longer probes do not hold what one of 1 s did, the bracket moves below it."""
    asked, verdict = search(lambda ask: (ask.rate <= (100_000 if ask.stage == "ramp" else 60_000), False))

    assert verdict.bracket.held is not None
    assert verdict.bracket.held <= 60_000
    judged = {ask.rate for ask in asked if ask.stage == "judge"}
    assert {verdict.bracket.held, verdict.bracket.not_held} <= judged


def test_an_upper_edge_that_only_the_ramp_missed_is_judged() -> None:
    """Where longer probes hold what one of 1 s did not, the ramp goes on above it."""
    missed = Fraction(45_000)
    asked, verdict = search(
        lambda ask: (ask.rate <= 200_000 and not (ask.stage == "ramp" and ask.rate == missed), False)
    )

    assert verdict.bracket.held is not None
    assert verdict.bracket.held > 150_000
    assert missed in {ask.rate for ask in asked if ask.stage == "judge"}


@given(
    given_answers=st.lists(st.tuples(st.booleans(), st.booleans()), max_size=60),
    overhead_s=st.floats(0, 5),
    limit_s=st.floats(1, 120),
)
def test_the_limit_is_kept_whatever_happens(
    given_answers: list[tuple[bool, bool]], overhead_s: float, limit_s: float
) -> None:
    """With any answers the search ends within its limit, as long as probes take what they have taken before."""
    rest = iter(given_answers)
    rules = Rules(first_rate=Fraction(20_000), limit_s=limit_s)

    asked, verdict = search(lambda _: next(rest, (True, False)), rules, overhead_s)

    assert sum(ask.length_s + overhead_s for ask in asked) <= limit_s + 1e-6
    low, high = verdict.bracket.held, verdict.bracket.not_held
    assert low is None or high is None or low < high


def test_where_time_is_short_a_wide_bracket_is_confirmed() -> None:
    """The confirmation has its time set aside: the bracket stays wide, and what is held was held for 10 s."""
    rules = Rules(first_rate=Fraction(20_000), limit_s=25.0)

    asked, verdict = search(up_to(100_000), rules)

    assert asked[-1].stage == "confirm"
    assert verdict.end == "confirmed"
    assert not verdict.bracket.narrow
    assert sum(ask.length_s + OVERHEAD_S for ask in asked) <= 25


def test_where_there_is_no_time_at_all_nothing_is_asked() -> None:
    """A limit below the shortest search ends it at once, by that name."""
    asked, verdict = search(up_to(100_000), Rules(first_rate=Fraction(20_000), limit_s=5.0))

    assert asked == []
    assert verdict == Verdict(Bracket(None, None), "limit")


def test_what_is_not_confirmed_within_the_limit_is_told_so() -> None:
    """When the last confirmation fails and no other fits, the lower edge is what was held before, unconfirmed."""
    rules = Rules(first_rate=Fraction(20_000), limit_s=60.0)

    _, verdict = search(lambda ask: (ask.rate <= 100_000 and ask.stage != "confirm", False), rules)

    assert verdict.end == "limit"
    assert verdict.bracket.held is not None
    assert verdict.bracket.not_held is not None


def test_a_repetition_that_would_not_fit_is_not_waited_for() -> None:
    """A disturbed confirmation that was not held, and cannot be repeated within the limit, is believed."""
    rules = Rules(first_rate=Fraction(20_000), limit_s=25.0)

    asked, verdict = search(lambda ask: (ask.rate <= 100_000 and ask.stage != "confirm", ask.stage == "confirm"), rules)

    assert [ask.stage for ask in asked].count("confirm") == 1
    assert verdict.end == "limit"
    assert verdict.bracket.not_held == asked[-1].rate
    assert verdict.bracket.held is not None
    assert verdict.bracket.held < asked[-1].rate


def test_rates_have_three_digits() -> None:
    """Every rate that is probed can be said and typed."""
    asked, _ = search(up_to(777_777))

    assert all(float(f"{float(ask.rate):.3g}") == float(ask.rate) for ask in asked)


def test_the_same_history_has_the_same_next_probe() -> None:
    """Nothing is remembered between two calls."""
    history = [Outcome(True, False, 1.5)] * 3

    assert next_probe(history, RULES) == next_probe(list(history), RULES)
    assert next_probe([], RULES) == Ask("ramp", Fraction(20_000), 1.0)
