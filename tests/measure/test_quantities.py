"""What people write as quantities: read exactly, refused helpfully, and written back."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.measure.quantities import (
    MOST_KEY,
    MOST_TYPE,
    MOST_WHOLE,
    Ramp,
    TypeShare,
    format_count,
    format_duration_ns,
    format_key,
    format_rate,
    format_size,
    parse_count,
    parse_duration_ns,
    parse_duration_s,
    parse_key,
    parse_rate,
    parse_rate_spec,
    parse_rates,
    parse_share,
    parse_size,
    parse_size_range,
    parse_types,
)

if TYPE_CHECKING:
    from collections.abc import Callable

PARSERS: list[Callable[[str], object]] = [
    parse_count,
    parse_duration_ns,
    parse_duration_s,
    parse_key,
    parse_rate,
    parse_rate_spec,
    parse_rates,
    parse_share,
    parse_size,
    parse_size_range,
    parse_types,
]


class TestEveryParser:
    @pytest.mark.parametrize(
        "text",
        [
            "",
            " ",
            "x",
            "-1",
            "nan",
            "inf",
            "1e999",
            "1_",
            "_1",
            "1,,00",
            "1..",
            "..1",
            "1\n2",
            "\N{ARABIC-INDIC DIGIT ONE}",
        ],
    )
    def test_refuses_nonsense(self, text: str) -> None:
        """A text that is no quantity at all is, to each parser, a ValueError of one line that says what to write."""
        for parse in PARSERS:
            with pytest.raises(ValueError, match="; write ") as refusal:
                parse(text)

            assert "\n" not in str(refusal.value)

    @settings(deadline=None)
    @given(text=st.text() | st.from_regex(r"[0-9.,_:/ekMKiBsmh+-]{1,12}", fullmatch=True))
    def test_raises_only_one_line_value_errors(self, text: str) -> None:
        """Whatever is written, a parser answers or raises a ValueError of one short line."""
        for parse in PARSERS:
            try:
                parse(text)
            except ValueError as refusal:
                assert "\n" not in str(refusal)  # noqa: PT017  that it raises is not required
                assert len(str(refusal)) < 1000  # noqa: PT017

    def test_quotes_long_text_shortened(self) -> None:
        """A text longer than any quantity is refused, and quoted only at its beginning."""
        with pytest.raises(ValueError, match=r"^'1{64}\.\.\.' is not a count; write"):
            parse_count("1" * 10_000)


class TestRates:
    @pytest.mark.parametrize(
        ("text", "rate"),
        [
            ("500k", 500_000),
            ("500K", 500_000),
            ("1M", 1_000_000),
            ("1G", 1_000_000_000),
            ("2.5e5", 250_000),
            ("1_000", 1000),
            ("1,000,000", 1_000_000),
            ("7", 7),
            ("0.1", Fraction(1, 10)),
            ("500k/s", 500_000),
            (" 500 k/s ", 500_000),
            ("3/s", 3),
        ],
    )
    def test_are_read_exactly(self, text: str, rate: Fraction) -> None:
        """A rate is the exact number of messages a second that was written."""
        assert parse_rate(text) == rate

    @pytest.mark.parametrize(
        ("text", "why"),
        [
            ("0", "above 0"),
            ("-5", "below 0"),
            ("1.1G", "the most is 1G"),
            ("5m", "unknown unit 'm'"),
            ("5 per second", "unknown unit"),
        ],
    )
    def test_are_refused_with_the_reason(self, text: str, why: str) -> None:
        """A rate that cannot be is refused with the reason and with what a rate looks like."""
        with pytest.raises(ValueError, match=rf"is not a rate \(.*{why}.*\); write messages a second, as 500k"):
            parse_rate(text)

    @settings(deadline=None)
    @given(rate=st.fractions(min_value=Fraction(1, 1000), max_value=10**9))
    def test_are_read_back_to_three_digits(self, rate: Fraction) -> None:
        """A formatted rate reads back within half a unit of its third digit."""
        assert abs(parse_rate(format_rate(rate)) / rate - 1) <= Fraction(51, 10_000)

    @settings(deadline=None)
    @given(rate=st.floats(min_value=0.1, max_value=999e9))
    def test_fit_a_column(self, rate: float) -> None:
        """A formatted rate takes at most 8 characters."""
        assert len(format_rate(rate)) <= 8

    @pytest.mark.parametrize(
        ("rate", "text"),
        [
            (500_000, "500 k/s"),
            (1_240_000, "1.24 M/s"),
            (12, "12.0 /s"),
            (0, "0 /s"),
            (0.25, "0.25 /s"),
            (999_499, "999 k/s"),
            (999_500, "1.00 M/s"),
            (Fraction(19_999, 2), "10.0 k/s"),
            (-1500, "-1.50 k/s"),
        ],
    )
    def test_are_written_with_three_digits(self, rate: float | Fraction, text: str) -> None:
        """A rate is written with three significant digits in the unit that needs no fourth."""
        assert format_rate(rate) == text


class TestRamps:
    def test_have_ten_steps_unless_told(self) -> None:
        """A ramp without a number of steps has ten, evenly spaced from the first rate to the last."""
        ramp = parse_rates("100k..1M")

        assert ramp == Ramp(Fraction(100_000), Fraction(1_000_000), 10)
        assert ramp.rates() == tuple(Fraction(rate) for rate in range(100_000, 1_000_001, 100_000))

    @pytest.mark.parametrize("text", ["100k..1M/5", "100k/s..1M/s/5", "100k .. 1M / 5"])
    def test_have_the_steps_that_were_written(self, text: str) -> None:
        """The number after the last slash is the number of steps, also behind a unit with a slash of its own."""
        assert [int(rate) for rate in parse_rates(text).rates()] == [100_000, 325_000, 550_000, 775_000, 1_000_000]

    def test_may_end_in_a_unit(self) -> None:
        """A slash that belongs to the unit starts no number of steps."""
        assert parse_rates("1/s..2/s") == Ramp(Fraction(1), Fraction(2))

    @settings(deadline=None)
    @given(
        first=st.fractions(min_value=Fraction(1, 100), max_value=10**9),
        last=st.fractions(min_value=Fraction(1, 100), max_value=10**9),
        steps=st.integers(2, 50),
    )
    def test_are_evenly_spaced_and_inclusive(self, first: Fraction, last: Fraction, steps: int) -> None:
        """A ramp, up or down, begins and ends where it says, and its steps are equal."""
        if first == last:
            last /= 2

        rates = Ramp(first, last, steps).rates()

        assert (rates[0], rates[-1], len(rates)) == (first, last, steps)
        assert len({after - before for before, after in pairwise(rates)}) == 1

    @pytest.mark.parametrize(
        "text", ["1k..1k", "1k..2k/1", "1k..2k/1001", "1k..2k/0", "0..1k", "1k..2G", "1k", "1..2..3"]
    )
    def test_are_refused(self, text: str) -> None:
        """A ramp that goes nowhere, has too few or too many steps, or a wrong rate, is refused."""
        with pytest.raises(ValueError, match="; write "):
            parse_rates(text)


class TestRateSpecs:
    def test_are_max_a_ramp_or_a_rate(self) -> None:
        """A rate option says "max", a ramp, or a rate."""
        assert parse_rate_spec("max") == "max"
        assert parse_rate_spec("1k..2k/3") == Ramp(Fraction(1000), Fraction(2000), 3)
        assert parse_rate_spec("500k") == Fraction(500_000)


class TestDurations:
    @pytest.mark.parametrize(
        ("text", "duration_s"),
        [
            ("10s", 10),
            ("500ms", 0.5),
            ("1.5m", 90),
            ("2min", 120),
            ("2h", 7200),
            ("10", 10),
            ("0", 0),
            ("200us", 0.0002),
        ],
    )
    def test_are_read_as_seconds(self, text: str, duration_s: float) -> None:
        """A duration without a unit is seconds; m is minutes."""
        assert parse_duration_s(text) == duration_s

    @pytest.mark.parametrize(
        ("text", "duration_ns"),
        [
            ("812ns", 812),
            ("200us", 200_000),
            ("1.24 \N{MICRO SIGN}s", 1240),
            ("1\N{GREEK SMALL LETTER MU}s", 1000),
            ("3.5ms", 3_500_000),
            ("1s", 10**9),
            ("0ns", 0),
        ],
    )
    def test_are_read_as_nanoseconds(self, text: str, duration_ns: int) -> None:
        """A latency is whole nanoseconds, whatever its unit."""
        assert parse_duration_ns(text) == duration_ns

    @pytest.mark.parametrize(
        ("text", "why"), [("200", "unit is missing"), ("1.5ns", "whole nano"), ("1h", "unknown unit")]
    )
    def test_of_latencies_are_refused(self, text: str, why: str) -> None:
        """A latency needs a unit, and no part of a nanosecond."""
        with pytest.raises(ValueError, match=rf"is not a latency \(.*{why}.*\); write"):
            parse_duration_ns(text)

    @pytest.mark.parametrize("parse", [parse_duration_s, parse_duration_ns])
    def test_may_have_to_be_positive(self, parse: Callable[..., float]) -> None:
        """Zero is refused only where the duration must be positive."""
        assert parse("0s") == 0

        with pytest.raises(ValueError, match="must be above 0"):
            parse("0s", positive=True)
        assert parse("1s", positive=True) > 0

    @pytest.mark.parametrize("parse", [parse_duration_s, parse_duration_ns])
    def test_are_at_most_a_year(self, parse: Callable[[str], float]) -> None:
        """A duration that would not fit 64 bits of nanoseconds is refused."""
        with pytest.raises(ValueError, match="366 days"):
            parse("1e11s")

    @pytest.mark.parametrize(
        ("duration_ns", "text"),
        [
            (812, "812 ns"),
            (0, "0 ns"),
            (1240, "1.24 \N{MICRO SIGN}s"),
            (999.6, "1.00 \N{MICRO SIGN}s"),
            (3_500_000, "3.50 ms"),
            (1_020_000_000, "1.02 s"),
            (99_960_000, "100 ms"),
            (3_600 * 10**9, "3600 s"),
            (-1240, "-1.24 \N{MICRO SIGN}s"),
        ],
    )
    def test_are_written_with_three_digits(self, duration_ns: float, text: str) -> None:
        """A duration is written with three significant digits."""
        assert format_duration_ns(duration_ns) == text

    @settings(deadline=None)
    @given(duration_ns=st.integers(0, 2**42))
    def test_are_read_back_to_three_digits(self, duration_ns: int) -> None:
        """A formatted latency reads back within half a unit of its third digit."""
        assert abs(parse_duration_ns(format_duration_ns(duration_ns)) - duration_ns) <= 0.0051 * duration_ns


class TestSizes:
    @pytest.mark.parametrize(
        ("text", "size_bytes"),
        [
            ("32", 32),
            ("32B", 32),
            ("8KiB", 8192),
            ("1MiB", 2**20),
            ("8kB", 8000),
            ("1.5KiB", 1536),
            ("10,000 B", 10_000),
        ],
    )
    def test_are_read_as_bytes(self, text: str, size_bytes: int) -> None:
        """A size is bytes; KiB is 1024 of them and kB is 1000."""
        assert parse_size(text) == size_bytes

    @pytest.mark.parametrize(
        ("text", "why"),
        [
            ("8K", "1000 or of 1024"),
            ("8 k", "1000 or of 1024"),
            ("0.3B", "whole"),
            ("0", "above 0"),
            ("9e18kB", "2.{2}63"),
        ],
    )
    def test_are_refused(self, text: str, why: str) -> None:
        """A size that is ambiguous, broken, empty or beyond 64 bits is refused."""
        with pytest.raises(ValueError, match=rf"is not a size \(.*{why}.*\); write bytes, as 32, 8KiB"):
            parse_size(text)

    def test_come_in_ranges(self) -> None:
        """Two sizes are a range, one is a range of itself, and a range does not go down."""
        assert parse_size_range("64..1KiB") == (64, 1024)
        assert parse_size_range("64") == (64, 64)

        with pytest.raises(ValueError, match="goes down"):
            parse_size_range("65..64")

    @pytest.mark.parametrize(
        ("size_bytes", "text"), [(8192, "8 KiB"), (10_000, "10,000 B"), (2**31, "2 GiB"), (0, "0 B")]
    )
    def test_are_written_exactly(self, size_bytes: int, text: str) -> None:
        """A size takes the largest unit that divides it."""
        assert format_size(size_bytes) == text

    @settings(deadline=None)
    @given(size_bytes=st.integers(1, MOST_WHOLE))
    def test_are_read_back_exactly(self, size_bytes: int) -> None:
        """A formatted size reads back as the same size."""
        assert parse_size(format_size(size_bytes)) == size_bytes


class TestCounts:
    @pytest.mark.parametrize(
        ("text", "count"),
        [("5M", 5_000_000), ("1.5k", 1500), ("1000", 1000), ("1e3", 1000), (f"{MOST_WHOLE}", MOST_WHOLE)],
    )
    def test_are_whole_numbers(self, text: str, count: int) -> None:
        """A count may have a multiple, as long as it is whole."""
        assert parse_count(text) == count

    @pytest.mark.parametrize("text", ["0", "1.5", "1.0005k", "5MB", f"{MOST_WHOLE + 1}"])
    def test_are_refused(self, text: str) -> None:
        """A count of nothing, or of parts, is refused."""
        with pytest.raises(ValueError, match="is not a count"):
            parse_count(text)

    def test_are_written_in_groups_of_three(self) -> None:
        """A count is written so that its size is seen."""
        assert format_count(5_000_000) == "5,000,000"

    @settings(deadline=None)
    @given(count=st.integers(1, MOST_WHOLE))
    def test_are_read_back_exactly(self, count: int) -> None:
        """A formatted count reads back as the same count."""
        assert parse_count(format_count(count)) == count


class TestShares:
    @pytest.mark.parametrize(
        ("text", "share"),
        [("10%", Fraction(1, 10)), ("2.5 %", Fraction(1, 40)), ("0%", Fraction(0)), ("1,000%", Fraction(10))],
    )
    def test_are_read_exactly(self, text: str, share: Fraction) -> None:
        """A percentage is a share of 1, and may be over it."""
        assert parse_share(text) == share

    @pytest.mark.parametrize(
        ("text", "why"),
        [("10", "a unit is missing"), ("0.1", "a unit is missing"), ("-1%", "below 0"), ("%", "not a share"),
         ("10%%", "unknown unit"), ("10 percent", "unknown unit")],
    )  # fmt: skip
    def test_are_refused(self, text: str, why: str) -> None:
        """Without its sign it is refused, as it could be ten percent or ten times."""
        with pytest.raises(ValueError, match=why):
            parse_share(text)


class TestTypes:
    @pytest.mark.parametrize(
        ("text", "shares"),
        [
            ("1", [(1, 1)]),
            ("1,2,3", [(1, 1), (2, 1), (3, 1)]),
            ("1:70,2:20,3:10", [(1, 70), (2, 20), (3, 10)]),
            (" 3 : 2 , 1", [(3, 2), (1, 1)]),
            (f"{MOST_TYPE}", [(MOST_TYPE, 1)]),
        ],
    )
    def test_have_weights(self, text: str, shares: list[tuple[int, int]]) -> None:
        """Types come in the order they were written in, each with its weight, which is 1 unless told."""
        assert parse_types(text) == tuple(TypeShare(kind, weight) for kind, weight in shares)

    @pytest.mark.parametrize("text", ["0", "-1", f"{MOST_TYPE + 1}", "1,1", "1:0", "1:-2", "1:2.5", "1,", "1:2:3", "a"])
    def test_are_refused(self, text: str) -> None:
        """A type out of range or written twice, or a weight that is no whole number above 0, is refused."""
        with pytest.raises(ValueError, match="; write "):
            parse_types(text)

    @settings(deadline=None)
    @given(weights=st.dictionaries(st.integers(1, MOST_TYPE), st.integers(1, 1000), min_size=1, max_size=8))
    def test_are_read_as_written(self, weights: dict[int, int]) -> None:
        """Whatever distinct types and weights are written, those are read."""
        text = ",".join(f"{kind}:{weight}" for kind, weight in weights.items())

        assert {share.type: share.weight for share in parse_types(text)} == weights


class TestKeys:
    @pytest.mark.parametrize("text", ["0xC0049", "0Xc0049", "786505", "0o3000111"])
    def test_are_one_number_in_three_notations(self, text: str) -> None:
        """Hexadecimal, decimal and octal name the same queue."""
        assert parse_key(text) == 0xC0049

    def test_with_a_leading_zero_are_refused(self) -> None:
        """A number with a leading zero is refused, as it means one queue to PHP and another to ipcs."""
        with pytest.raises(ValueError, match=r"octal or hexadecimal\?"):
            parse_key("03000111")

    @pytest.mark.parametrize("text", ["0", "0x0", "0x100000000", "0b1", "1_0", "0x", "1.0"])
    def test_are_refused(self, text: str) -> None:
        """IPC_PRIVATE, more than 32 bits, and other notations are refused."""
        with pytest.raises(ValueError, match=r"is not a key.*; write hexadecimal 0xC0049"):
            parse_key(text)

    @settings(deadline=None)
    @given(key=st.integers(1, MOST_KEY))
    def test_are_read_back_exactly(self, key: int) -> None:
        """A key as ipcs shows it, with eight hexadecimal digits, reads back as the same key."""
        text = format_key(key)

        assert len(text) == 10
        assert parse_key(text) == key

    def test_are_written_without_sign(self) -> None:
        """A key that the kernel's signed key_t makes negative is written as its 32 bits."""
        assert format_key(-1) == "0xffffffff"
