"""harness.results.thresholds: the grammar of --fail-if, and its judgement of a result."""

from __future__ import annotations

import json
import operator
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.results.thresholds import parse_threshold
from harness.sysv.errors import UsageError

PERCENTILES = ("p50", "p90", "p99", "p99_9", "p99_99", "max", "mean")
COUNTS = ("lost", "duplicated", "out_of_order", "refused", "unsent", "undecided", "foreign")
GROUPS = {"": "latency_ns", "latency.": "latency_ns", "service.": "service_ns", "pacing.": "pacing_error_ns"}
OPERATORS = {
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
    "==": operator.eq,
    "!=": operator.ne,
}
UNITS_NS = {"ns": 1, "us": 10**3, "µs": 10**3, "ms": 10**6, "s": 10**9}


def result(**changes: Any) -> dict[str, Any]:
    """A good result as harness.load/1 has it: each percentile of each group is its own number."""
    groups = dict.fromkeys(GROUPS.values())
    times = {
        group: {name: 1000 * (100 * number + place) for place, name in enumerate(PERCENTILES, start=1)}
        for number, group in enumerate(groups, start=1)
    }
    return {**times, **dict.fromkeys(COUNTS, 0), "achieved_rate": 500_000.0, **changes}


blanks = st.text(" \t", max_size=2)


@given(
    group=st.sampled_from(sorted(GROUPS)),
    percentile=st.sampled_from(PERCENTILES),
    with_dot=st.booleans(),
    sign=st.sampled_from(sorted(OPERATORS)),
    number=st.integers(0, 10**6),
    unit=st.sampled_from(sorted(UNITS_NS)),
    space=blanks,
)
def test_every_time_threshold_of_the_grammar_compares_its_own_figure(
    *, group: str, percentile: str, with_dot: bool, sign: str, number: int, unit: str, space: str
) -> None:
    """Each percentile of each group, with each operator and unit, is compared in nanoseconds with its own figure."""
    written = percentile.replace("_", ".") if with_dot else percentile
    measured = result()

    threshold = parse_threshold(f"{space}{group}{written}{space}{sign}{space}{number}{unit}{space}")
    outcome = threshold.check(measured)

    expected_value = measured[GROUPS[group]][percentile]
    assert threshold.limit == number * UNITS_NS[unit]
    assert outcome.value == expected_value
    assert outcome.failed is OPERATORS[sign](expected_value, number * UNITS_NS[unit])


@given(
    name=st.sampled_from(COUNTS),
    sign=st.sampled_from(sorted(OPERATORS)),
    number=st.integers(0, 5000),
    unit=st.sampled_from(["", "k", "M"]),
    value=st.integers(0, 10**10),
)
def test_every_count_threshold_of_the_grammar_compares_its_own_figure(
    name: str, sign: str, number: int, unit: str, value: int
) -> None:
    """Each count is compared with a plain number, k and M being thousands and millions."""
    limit = number * {"": 1, "k": 1000, "M": 10**6}[unit]
    text = f"{name}{sign}{number}{unit}" if number else f"{name}{sign}0"

    outcome = parse_threshold(text).check(result(**{name: value}))

    assert outcome.value == value
    assert outcome.failed is OPERATORS[sign](value, limit)


@given(text=st.text(max_size=30))
def test_any_text_is_a_threshold_or_a_usage_error(text: str) -> None:
    """Whatever stands behind --fail-if is either read or refused with a UsageError, and a result can be checked."""
    outcome = None
    hint = ""

    try:
        outcome = parse_threshold(text).check(result())
    except UsageError as error:
        hint = error.hint

    assert outcome is not None or hint


@given(sign=st.sampled_from(sorted(OPERATORS)), value=st.integers(0, 10**9), limit=st.integers(1, 10**9))
def test_text_of_a_threshold_parses_to_the_same_threshold(sign: str, value: int, limit: int) -> None:
    """The text that a threshold keeps, as stored in a result, is read back as the same threshold."""
    threshold = parse_threshold(f" service.p99.9  {sign} {limit}ns ")

    assert str(threshold) == f"service.p99.9{sign}{limit}ns"
    assert parse_threshold(str(threshold)) == threshold


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        ("rate<490k/s", 490_000),
        ("rate<0.5M", 500_000),
        ("rate < 2.5e5", 250_000),
        ("rate==0", 0),
        ("p99>0", 0),
        ("p99>1.5us", 1500),
        ("lost>0", 0),
        ("unsent > 1_000", 1000),
    ],
)
def test_limits_are_read_exactly(text: str, limit: int) -> None:
    """Rates, durations and counts are read to the last digit, and 0 needs no unit."""
    assert parse_threshold(text).limit == Fraction(limit)


@pytest.mark.parametrize(
    ("text", "offending"),
    [
        ("", "no comparison"),
        ("p99", "no comparison"),
        (">200us", "nothing before the comparison"),
        ("p98>200us", "'p98'"),
        ("services.p99>200us", "'services.p99'"),
        ("service.lost>0", "'service.lost'"),
        ("service.>1us", "'service.'"),
        ("P99>200us", "'P99'"),
        ("p99>", "no limit"),
        ("p99=200us", "'='"),
        ("p99=>200us", "'=>'"),
        ("p99>200", "unit"),
        ("p99>200k", "'k'"),
        ("p99>-1us", "'-1us'"),
        ("lost>5us", "'us'"),
        ("lost>0.5", "'0.5'"),
        ("rate<100ms", "'ms'"),
        ("p99>1us>2us", "'1us>2us'"),
    ],
)
def test_what_cannot_be_read_is_refused_with_the_offending_part(text: str, offending: str) -> None:
    """A threshold that cannot be read makes a UsageError that quotes it, names the wrong part and gives an example."""
    with pytest.raises(UsageError) as caught:
        parse_threshold(text)

    assert repr(text) in caught.value.seen
    assert offending in caught.value.why
    assert "\n" not in str(caught.value)


def test_example_in_the_hint_works() -> None:
    """Each example that an error gives is a threshold itself."""
    with pytest.raises(UsageError) as caught:
        parse_threshold("nonsense")

    examples = caught.value.hint.split("'")[1::2]

    assert len(examples) == 3
    for example in examples:
        parse_threshold(example)


def test_outcome_says_what_was_seen_and_what_was_the_limit() -> None:
    """The sentence of an outcome gives the threshold, the verdict, the figure and the limit."""
    measured = result(latency_ns={"p99": 312_000})

    failed = parse_threshold("p99>200us").check(measured)
    passed = parse_threshold("p99>1ms").check(measured)

    assert failed.sentence == "p99>200us failed: p99 is 312 µs, which is > 200 µs"
    assert passed.sentence == "p99>1ms passed: p99 is 312 µs, which is not > 1.00 ms"
    assert (failed.failed, passed.failed) == (True, False)


def test_difference_that_rounding_hides_is_shown_in_full() -> None:
    """Where figure and limit would read the same, the sentence shows them to the last digit."""
    outcome = parse_threshold("p99>200us").check(result(latency_ns={"p99": 200_001}))

    assert outcome.failed
    assert outcome.sentence == "p99>200us failed: p99 is 200,001 ns, which is > 200,000 ns"


def test_latency_of_a_run_with_unsent_messages_is_called_a_lower_bound() -> None:
    """With due messages unsent, the sentence says that the latency is a lower bound; that of service is none."""
    measured = result(unsent=1200)

    latency = parse_threshold("p99>1s").check(measured)
    service = parse_threshold("service.p99>1s").check(measured)

    assert "(a lower bound: 1,200 due messages were not sent)" in latency.sentence
    assert "lower bound" not in service.sentence


@pytest.mark.parametrize("latency_ns", [None, dict.fromkeys(PERCENTILES), {}, {"p99": float("nan")}, {"p99": True}])
def test_figure_that_the_run_has_not_fails_its_threshold(latency_ns: Any) -> None:
    """A figure that is null or missing fails, for either direction, and the sentence says that it was not checked."""
    measured = result(latency_ns=latency_ns)

    for text in ("p99>200us", "p99<200us"):
        outcome = parse_threshold(text).check(measured)
        assert outcome.failed
        assert outcome.value is None
        assert "could not be checked" in outcome.sentence
        assert "use service.p99" in outcome.sentence


def test_run_that_received_nothing_is_not_sent_to_a_figure_that_is_missing_too() -> None:
    """Where service times are missing as well, the sentence does not recommend them."""
    outcome = parse_threshold("p99>200us").check(result(latency_ns=None, service_ns=None))

    assert outcome.failed
    assert "service" not in outcome.sentence


def test_outcome_goes_into_json() -> None:
    """The JSON form of an outcome has the threshold, the value, whether it failed, and the sentence."""
    outcome = parse_threshold("rate<600k").check(result())

    stored = json.loads(json.dumps(outcome.to_json()))

    assert stored == {
        "threshold": "rate<600k",
        "value": 500_000.0,
        "failed": True,
        "sentence": "rate<600k failed: rate is 500 k/s, which is < 600 k/s",
    }
