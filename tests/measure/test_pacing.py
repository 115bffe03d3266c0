"""Every message is due when exact arithmetic says so, however long the run and however many producers share it."""

from __future__ import annotations

from fractions import Fraction
from math import ceil

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from harness.measure.pacing import NS_PER_S, Schedule

HORIZON = 10**10
"""Messages over which there must be no drift: at a million a second, close to three hours."""
EXACT_NS = 2**53
"""Times up to here, 104 days, are whole ns in a double."""

rates = st.fractions(min_value=Fraction(1, 1000), max_value=10_000_000, max_denominator=1_000_000)
crews = st.integers(1, 256)


@st.composite
def schedules(draw: st.DrawFn) -> Schedule:
    producers = draw(crews)
    return Schedule(draw(rates), producers, draw(st.integers(0, producers - 1)))


def exact_ns(schedule: Schedule, k: int) -> Fraction:
    """When message k is due, in ns after t0, by arithmetic that rounds nothing."""
    return (k * schedule.producers + schedule.producer) / schedule.rate * NS_PER_S


def whole_crew(rate: Fraction, producers: int) -> list[Schedule]:
    return [Schedule(rate, producers, producer) for producer in range(producers)]


class TestOffset:
    @given(schedules(), st.integers(-HORIZON, HORIZON))
    @example(Schedule(Fraction(300_000), 1, 0), HORIZON)
    @example(Schedule(Fraction(999_983), 7, 6), HORIZON)
    def test_does_not_drift(self, schedule: Schedule, k: int) -> None:
        """Ten thousand million messages on, a due time is exact to 1 ns and the rounding of two doubles."""
        exact = exact_ns(schedule, k)

        error_ns = abs(schedule.offset_ns(k) - exact)

        # the period's rounding and the product's, each half a unit in the last of a double's 53 bits
        assert error_ns < 1 + abs(exact) / 2**51

    @given(schedules(), st.integers(0, HORIZON))
    def test_is_exact_to_a_few_ns_in_any_run(self, schedule: Schedule, k: int) -> None:
        """Within 104 days no due time is off by 5 ns."""
        exact = exact_ns(schedule, k)
        if exact > EXACT_NS:
            k = int(k * EXACT_NS / exact)

        assert abs(schedule.offset_ns(k) - exact_ns(schedule, k)) < 5

    @given(schedules(), st.integers(-HORIZON, HORIZON))
    def test_never_goes_back(self, schedule: Schedule, k: int) -> None:
        """A producer's next message is never due before its last."""
        assert schedule.offset_ns(k) <= schedule.offset_ns(k + 1)

    def test_is_before_t0_in_the_warm_up(self) -> None:
        """Message 0 of producer 0 is due at t0, and those of the warm-up a period apart before it."""
        schedule = Schedule(Fraction(1000), 2, 0)

        assert [schedule.offset_ns(k) for k in (-2, -1, 0, 1)] == [-4_000_000, -2_000_000, 0, 2_000_000]

    @given(rates, crews, st.integers(-1000, HORIZON))
    def test_interleaves_the_producers(self, rate: Fraction, producers: int, k: int) -> None:
        """The crew's producers take turns: together they send as one producer of the whole rate would."""
        alone = Schedule(rate, 1, 0)

        crew = [schedule.offset_ns(k) for schedule in whole_crew(rate, producers)]

        assert crew == [alone.offset_ns(k * producers + turn) for turn in range(producers)]


class TestDue:
    @given(schedules(), st.integers(0, EXACT_NS))
    def test_counts_the_messages_before_the_end(self, schedule: Schedule, duration_ns: int) -> None:
        """The last of those due falls within the window, and the one after it does not."""
        due = schedule.due(duration_ns)

        assert due == 0 or exact_ns(schedule, due - 1) < duration_ns
        assert exact_ns(schedule, due) >= duration_ns

    @given(rates, crews, st.integers(0, EXACT_NS))
    def test_sums_to_the_crew_s(self, rate: Fraction, producers: int, duration_ns: int) -> None:
        """What the producers have due together is what the whole rate has in that time."""
        together = sum(schedule.due(duration_ns) for schedule in whole_crew(rate, producers))

        assert together == ceil(rate * duration_ns / NS_PER_S)
        assert together == Schedule(rate, 1, 0).due(duration_ns)

    @pytest.mark.parametrize(("duration_ns", "due"), [(0, 0), (1, 1), (NS_PER_S, 300_000), (NS_PER_S + 1, 300_001)])
    def test_leaves_out_the_window_s_end(self, duration_ns: int, due: int) -> None:
        """A window has its beginning and not its end: a message due then is not due in it."""
        assert Schedule(Fraction(300_000), 1, 0).due(duration_ns) == due


class TestShare:
    @given(crews, st.integers(0, HORIZON))
    def test_sums_to_the_count(self, producers: int, count: int) -> None:
        """Shares of a count add up to it, differ by one at most, and the first producers have the larger ones."""
        shares = [schedule.share(count) for schedule in whole_crew(Fraction(1), producers)]

        assert sum(shares) == count
        assert max(shares) - min(shares) <= 1
        assert shares == sorted(shares, reverse=True)

    @given(schedules(), st.integers(0, HORIZON))
    def test_is_of_the_messages_due_first(self, schedule: Schedule, count: int) -> None:
        """A producer's share are those of its messages that stand among the crew's first `count`."""
        share = schedule.share(count)

        places = [k * schedule.producers + schedule.producer for k in (share - 1, share)]

        assert share == 0 or places[0] < count
        assert places[1] >= count


class TestWarmup:
    @given(schedules(), st.integers(0, 3600 * NS_PER_S))
    def test_fills_its_time_and_no_more(self, schedule: Schedule, warmup_ns: int) -> None:
        """The first message of the warm-up is not due before it begins, and one more would not have fitted."""
        count = schedule.warmup(warmup_ns)
        own_period_ns = schedule.producers / schedule.rate * NS_PER_S

        assert count * own_period_ns <= warmup_ns < (count + 1) * own_period_ns
        assert exact_ns(schedule, -count) >= -warmup_ns
