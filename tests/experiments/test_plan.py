"""The plan of a load run: what it refuses, and what it promises to whoever carries it out."""

from __future__ import annotations

import json
import pickle
from collections import Counter
from dataclasses import FrozenInstanceError
from fractions import Fraction
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.engines.layout import HEADER_BYTES
from harness.engines.protocol import TABLE_SIZE, Loop
from harness.experiments.plan import (
    CATCH_UP_NS,
    DEFAULT_QUEUE_BYTES,
    LARGEST_QUEUE,
    LoadPlan,
    Select,
    new_run_id,
    rate_to_json,
)
from harness.measure.quantities import Ramp, TypeShare
from harness.sysv import Limits, Selector
from harness.sysv.errors import PlanError

HOST = Limits(msgmax=8192, msgmnb=16384, msgmni=32000)
TWO = (TypeShare(1), TypeShare(2))

REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "no end": ({"duration_s": None}, "either a duration or a count"),
    "two ends": ({"count": 5}, "either a duration or a count"),
    "no time": ({"duration_s": 0.0}, "cannot last 0 s"),
    "time backwards": ({"duration_s": -1.0}, "cannot last -1 s"),
    "count below producers": ({"duration_s": None, "count": 1, "producers": 2}, "too few for 2 producers"),
    "warm-up backwards": ({"warmup_s": -1.0}, "cannot be negative"),
    "drain backwards": ({"drain_s": -0.1}, "cannot be negative"),
    "no repeat": ({"repeat": 0}, "0 repeats"),
    "many repeats": ({"repeat": 1001}, "1001 repeats"),
    "closed at a rate": ({"closed": True}, "no rate of its own"),
    "outstanding in an open loop": ({"outstanding": 2}, "without --closed"),
    "nothing outstanding": ({"closed": True, "rate": "max", "outstanding": 0}, "at least one message"),
    "no room for the header": ({"size": (HEADER_BYTES - 1, 64)}, "are too small"),
    "sizes upside down": ({"size": (128, 64)}, "upside down"),
    "over INT_MAX": ({"size": (32, LARGEST_QUEUE + 1)}, "more than any message"),
    "no types": ({"types": ()}, "0 message types"),
    "many types": ({"types": tuple(TypeShare(number) for number in range(1, 1026))}, "1025 message types"),
    "a rare type": ({"types": (TypeShare(1), TypeShare(2, TABLE_SIZE))}, "type 1 would get less than one"),
    "unknown selector": ({"select": "some"}, "unknown selector"),
    "unknown when-full": ({"when_full": "drop"}, "unknown --when-full"),
    "unknown engine": ({"engine": "turbo"}, "unknown engine"),
    "no producers": ({"producers": 0}, "0 producers"),
    "many producers": ({"producers": 257}, "257 producers"),
    "consumers below 0": ({"consumers": -1}, "-1 consumers"),
    "many consumers": ({"consumers": 257}, "257 consumers"),
    "no queue": ({"queues": 0}, "0 queues"),
    "many queues": ({"queues": 257}, "257 queues"),
    "nobody receives": ({"consumers": 0}, "nobody takes"),
    "closed without consumers": ({"consumers": 0, "key": 1, "closed": True, "rate": "max"}, "of its own"),
    "queue without a reader": ({"queues": 2, "producers": 2}, "cannot read 2 queues"),
    "queue without a writer": ({"queues": 2, "consumers": 2}, "cannot fill 2 queues"),
    "type without a taker": ({"select": "exact", "types": TWO}, "nobody would take type 2"),
    "type without a taker on one of two queues": (
        {"select": "exact", "types": TWO, "queues": 2, "producers": 2, "consumers": 3},
        "nobody would take type 2",
    ),
    "a type twice": ({"types": (TypeShare(1), TypeShare(1, 2))}, "comes twice"),
    "nobody takes the only type": ({"select": "except", "consumers": 2}, "nobody would take type 1"),
    "nobody takes what one leaves": ({"select": "except", "types": TWO}, "1 queue(s) need 2 consumers"),
    "nobody takes what one leaves on one of two queues": (
        {"select": "except", "types": TWO, "queues": 2, "producers": 2, "consumers": 3},
        "2 queue(s) need 4 consumers",
    ),
    "too many shared streams": ({"producers": 256, "consumers": 2, "types": (*TWO, TypeShare(3))}, "need 768 MiB"),
    "key and queues": ({"key": 1, "queues": 2, "producers": 2, "consumers": 2}, "names one queue"),
    "key and queue bytes": ({"key": 1, "queue_bytes": 4096}, "keeps the limit"),
    "force without key": ({"force": True}, "--force without --key"),
    "no queue bytes": ({"queue_bytes": 0}, "cannot be made"),
    "queue over INT_MAX": ({"queue_bytes": LARGEST_QUEUE + 1}, "cannot be made"),
    "never fits": ({"size": (32, DEFAULT_QUEUE_BYTES + 1)}, "never fits a queue of 16 MiB"),
    "never fits a given queue": ({"size": (32, 4097), "queue_bytes": 4096}, "never fits a queue of 4 KiB"),
    "over msgmax": ({"visible": True, "size": (32, 8193)}, "over this host's msgmax of 8192"),
    "over msgmax with a key": ({"key": 1, "size": (32, 8193)}, "over this host's msgmax of 8192"),
    "over msgmnb": ({"visible": True, "queue_bytes": 16385}, "over this host's msgmnb of 16384"),
}


def plan(**given: Any) -> LoadPlan:
    return LoadPlan(**{"host": HOST, **given})


@pytest.mark.parametrize("name", REFUSED)
def test_a_plan_that_contradicts_itself_cannot_be_made(name: str) -> None:
    """Each contradiction is refused at construction, in one line that names it."""
    arguments, words = REFUSED[name]

    with pytest.raises(PlanError) as caught:
        plan(**arguments)

    assert words in str(caught.value)
    assert "\n" not in f"{caught.value}{caught.value.hint}"


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"size": (HEADER_BYTES, DEFAULT_QUEUE_BYTES)},
        {"visible": True, "size": (32, 8192), "queue_bytes": 16384},
        {"size": (32, LARGEST_QUEUE), "queue_bytes": LARGEST_QUEUE},
        {"producers": 256, "consumers": 256, "queues": 256},
        {"select": "exact", "types": TWO, "consumers": 2},
        {"select": "except", "types": TWO, "consumers": 2},
        {"select": "except", "types": TWO, "consumers": 4, "queues": 2, "producers": 2},
        {"select": "except", "consumers": 0, "key": 0xC0049},
        {"consumers": 0, "key": 0xC0049},
        {"duration_s": None, "count": 2, "producers": 2},
        {"repeat": 1000},
        {"types": (TypeShare(1), TypeShare(2, TABLE_SIZE - 1))},
    ],
    ids=str,
)
def test_what_lies_just_inside_the_limits_is_a_plan(arguments: dict[str, Any]) -> None:
    """The largest, the smallest and the rarest that is possible is not refused."""
    assert json.dumps(plan(**arguments).to_json())


def test_a_plan_cannot_be_changed() -> None:
    """A plan is frozen: what was valid stays valid."""
    with pytest.raises(FrozenInstanceError):
        plan().producers = 0  # type: ignore[misc]


def test_a_plan_survives_the_way_to_the_leader() -> None:
    """Pickled and read again, as for the leader, it is the same plan."""
    made = plan(types=TWO, rate=Ramp(Fraction(1000), Fraction(2000), 3), seed=5)

    assert pickle.loads(pickle.dumps(made)) == made


@given(
    weights=st.lists(st.integers(1, 100), min_size=1, max_size=8),
    sizes=st.tuples(st.integers(32, 8000), st.integers(0, 8000)),
    seed=st.integers(0, 2**32),
)
def test_the_tables_deal_out_exact_shares(weights: list[int], sizes: tuple[int, int], seed: int) -> None:
    """Over one round of the table each type gets its share to within one message, and sizes cover the whole range."""
    low, high = sizes[0], sizes[0] + sizes[1]
    made = plan(
        types=tuple(TypeShare(number + 1, weight) for number, weight in enumerate(weights)), size=(low, high), seed=seed
    )

    task = made.producer_task(0, run_id=1, spin=False)

    dealt = Counter(task.type_table)
    assert len(task.type_table) == len(task.size_table) == TABLE_SIZE
    for index, weight in enumerate(weights):
        assert abs(dealt[index] - Fraction(weight * TABLE_SIZE, sum(weights))) <= 1
    assert min(task.size_table) == low
    assert max(task.size_table) == high
    assert sum(task.size_table) / TABLE_SIZE == pytest.approx((low + high) / 2, abs=1)


def test_the_seed_decides_the_order_and_nothing_else() -> None:
    """The same seed deals the same order, another one another order of the same messages."""
    first, again, other = (
        plan(types=TWO, size=(32, 64), seed=seed).producer_task(0, run_id=1, spin=False) for seed in (1, 1, 2)
    )

    assert first == again
    assert first.type_table != other.type_table
    assert Counter(first.type_table) == Counter(other.type_table)


@given(
    rate=st.integers(1, 10**6),
    producers=st.integers(1, 64),
    duration_ms=st.integers(1, 100_000),
)
def test_what_is_due_is_the_rate_times_the_window(rate: int, producers: int, duration_ms: int) -> None:
    """The producers' shares sum to what the rate makes due in the window, and no two differ by more than one."""
    made = plan(rate=Fraction(rate), duration_s=duration_ms / 1000, producers=producers)

    shares = [made.due_of(producer) for producer in range(producers)]

    assert made.due == sum(shares)
    assert abs(sum(shares) - rate * duration_ms / 1000) <= 1
    assert max(shares) - min(shares) <= 1


@given(count=st.integers(64, 10**9), producers=st.integers(1, 64), paced=st.booleans())
def test_a_count_is_dealt_out_whole(count: int, producers: int, paced: bool) -> None:
    """A count is shared among the producers without a rest, at a rate as at none."""
    made = plan(rate=Fraction(1000) if paced else "max", duration_s=None, count=count, producers=producers)

    assert sum(made.due_of(producer) for producer in range(producers)) == made.due == count


@given(
    types=st.integers(2, 6), queues=st.integers(1, 4), more=st.integers(0, 9), select=st.sampled_from(get_args(Select))
)
def test_each_type_on_each_queue_is_taken(types: int, queues: int, more: int, select: Select) -> None:
    """Whatever the numbers, on every queue somebody takes every type, and rings are there where two may take one."""
    least = {"any": 1, "at-most": 1, "exact": types, "except": 2}[select]
    made = plan(
        types=tuple(TypeShare(number + 1) for number in range(types)),
        queues=queues,
        producers=queues,
        consumers=least * queues + more,
        select=select,
    )

    readers = [
        sum(made.selector_of(reader).takes(share.type) for reader in range(queue, made.consumers, queues))
        for queue in range(queues)
        for share in made.types
    ]

    assert min(readers) >= 1
    assert made.shape.ringed == (max(readers) > 1)


@pytest.mark.parametrize(
    ("select", "types", "queues", "consumers", "ringed"),
    [
        ("any", 2, 1, 1, False),
        ("any", 1, 1, 2, True),
        ("exact", 2, 1, 2, False),
        ("exact", 2, 1, 3, True),
        ("except", 2, 1, 2, False),
        ("except", 2, 2, 4, False),
        ("except", 2, 2, 5, True),
        ("except", 3, 1, 2, True),
    ],
)
def test_streams_are_shared_where_two_consumers_may_take_one(
    select: Select, types: int, queues: int, consumers: int, ringed: bool
) -> None:
    """Two consumers that each leave out the other's type share no stream; one more, or a third type, makes them."""
    shares = tuple(TypeShare(number + 1) for number in range(types))

    made = plan(types=shares, queues=queues, producers=queues, consumers=consumers, select=select)

    assert made.shape.ringed is ringed


@pytest.mark.parametrize(
    ("select", "selectors"),
    [
        ("any", [Selector.any()] * 3),
        ("at-most", [Selector.at_most(2)] * 3),
        ("exact", [Selector.exactly(1), Selector.exactly(2), Selector.exactly(1)]),
        ("except", [Selector.anything_but(1), Selector.anything_but(2), Selector.anything_but(1)]),
    ],
)
def test_a_consumer_is_told_what_to_take(select: Select, selectors: list[Selector]) -> None:
    """The consumers' tasks hold the selectors, with the flag that turns one round."""
    made = plan(types=TWO, consumers=3, select=select)

    tasks = [made.consumer_task(consumer, run_id=1, max_bytes=32) for consumer in range(3)]

    assert [made.selector_of(consumer) for consumer in range(3)] == selectors
    assert [(task.msgtyp, task.flags) for task in tasks] == [(item.msgtyp, item.flags) for item in selectors]


def test_a_ramp_is_one_plan_a_step() -> None:
    """A ramp's steps are plans of one rate each, from the first to the last."""
    steps = plan(rate=Ramp(Fraction(1000), Fraction(3000), 3)).steps

    assert [step.rate for step in steps] == [1000, 2000, 3000]
    assert plan().steps == (plan(),)


def test_the_loop_follows_from_rate_and_closed() -> None:
    """At a rate the loop is open, at none unpaced, and closed where that is asked for."""
    assert plan().loop is Loop.OPEN
    assert plan(rate="max").loop is Loop.UNPACED
    assert plan(rate="max", closed=True).loop is Loop.CLOSED


def test_the_queue_is_as_large_as_its_place_allows() -> None:
    """16 MiB in a private namespace, the host's msgmnb with --visible, what was asked for where it was."""
    assert plan().effective_queue_bytes == DEFAULT_QUEUE_BYTES
    assert plan(visible=True).effective_queue_bytes == 16384
    assert plan(queue_bytes=4096).effective_queue_bytes == 4096
    assert plan(visible=True, queue_bytes=4096).effective_queue_bytes == 4096


def test_the_window_is_known_where_a_rate_or_a_duration_says_it() -> None:
    """A duration is the window, a count at a rate makes one, and a count without a rate leaves it open."""
    assert plan(duration_s=1.5).window_ns == 1_500_000_000
    assert plan(duration_s=None, count=500, rate=Fraction(1000)).window_ns == 500_000_000
    assert plan(duration_s=None, count=500, rate="max").window_ns is None
    assert plan(duration_s=2.0, warmup_s=1.0, repeat=3).announced_s == 9.0
    assert CATCH_UP_NS < 10**9


def test_the_plan_in_a_result_can_be_read_by_any_program() -> None:
    """The JSON holds the rate as a number or words, the key in hexadecimal, and the bytes of a queue of ours."""
    ramp = Ramp(Fraction(1000), Fraction(3000), 3)

    assert plan().to_json()["rate"] == 500_000.0
    assert plan(rate="max").to_json()["rate"] == "max"
    assert rate_to_json(ramp) == "1.00 k/s to 3.00 k/s in 3 steps"
    assert plan(key=0xC0049).to_json()["key"] == "0x000c0049"
    assert plan(key=0xC0049).to_json()["queue_bytes"] is None
    assert plan().to_json()["queue_bytes"] == DEFAULT_QUEUE_BYTES
    assert json.loads(json.dumps(plan(rate=ramp, types=TWO).to_json()))["types"] == [
        {"type": 1, "weight": 1},
        {"type": 2, "weight": 1},
    ]


def test_run_ids_differ_and_are_never_0() -> None:
    """A run's id tells its messages from another run's, and is not what fresh memory holds."""
    ids = {new_run_id() for _ in range(100)}

    assert len(ids) > 90
    assert 0 not in ids
    assert all(id_ < 2**31 for id_ in ids)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"rate": "max", "closed": True, "outstanding": 8},
        {"rate": Fraction("0.1"), "duration_s": None, "count": 7},
        {"rate": Fraction("33333.3")},
        {"types": (TypeShare(1, 70), TypeShare(7, 30)), "select": "exact", "consumers": 2, "size": (64, 128)},
        {"key": 0xC0049, "consumers": 0, "force": True},
        {"pin": True, "when_full": "refuse", "queue_bytes": 4096, "seed": 3, "label": "x", "repeat": 5},
    ],
    ids=str,
)
def test_a_plan_comes_back_from_its_json(changes: dict[str, Any]) -> None:
    """What a result says was asked for makes the same plan again, down to the exact rate."""
    plan = LoadPlan(**changes)

    again = LoadPlan.from_json(json.loads(json.dumps(plan.to_json())))

    assert again.to_json() == plan.to_json()
    assert again.rate == plan.rate


def test_a_plan_of_an_older_harness_has_the_defaults() -> None:
    """An option that a result does not know was not asked for."""
    plain = LoadPlan(pin=True).to_json()
    del plain["pin"]

    assert LoadPlan.from_json(plain).pin is False


def test_a_ramp_does_not_come_back() -> None:
    """Of a ramp a result has rounded words only, so that is refused and not guessed."""
    plain = LoadPlan(rate=Ramp(Fraction(1000), Fraction(3000), 3)).to_json()

    with pytest.raises(PlanError, match=r"1\.00 k/s to 3\.00 k/s in 3 steps cannot be made again"):
        LoadPlan.from_json(plain)
