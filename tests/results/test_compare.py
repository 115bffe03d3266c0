"""harness.results.compare: identical code is no difference, a real one is found, and like is compared with like."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from harness.results.compare import check_comparable, compare
from harness.results.kinds import KINDS
from harness.results.loading import Result
from harness.results.schema import diff_schema
from harness.sysv.errors import UsageError

Make = Callable[..., dict[str, Any]]
MACHINE = [
    "machine", "cpu_model", "cores_online", "cores_allowed", "hypervisor", "container", "kernel_release",
    "clock_source", "versions.python",
]  # fmt: skip
STEADY = [100.0, 101.0, 99.0, 100.5, 99.5]


def held_against(before: dict[str, Any], after: dict[str, Any], **how: Any) -> dict[str, Any]:
    """The comparison of two documents, which is what its schema says."""
    comparison = compare(Result("A.json", before), Result("B.json", after), **how)
    Draft202012Validator(diff_schema()).validate(json.loads(json.dumps(comparison, allow_nan=False)))
    return comparison


def figure(comparison: dict[str, Any], name: str) -> dict[str, Any]:
    (found,) = [entry for entry in comparison["figures"] if entry["name"] == name]
    return dict(found)


def times(value: float) -> list[float]:
    return [value * one for one in STEADY]


def rates(make: Make, run: Make, values: list[float]) -> dict[str, Any]:
    """A document with no other figure than the rate."""
    none = {"latency_ns": dict.fromkeys(run(1)["latency_ns"]), "service_ns": dict.fromkeys(run(1)["service_ns"])}
    return make([run(rate, **none, per_message={"cpu_ns": None}, memory_bytes=None) for rate in values])


def bimodal(dice: random.Random, runs: int) -> list[float]:
    """Rates as identical C loops had them: 27 % of the runs in a slow mode (measuring.md), each mode with its noise."""
    return [(1.09e6 if dice.random() < 0.27 else 1.65e6) * dice.gauss(1, 0.03) for _ in range(runs)]


# --- what is told from what ------------------------------------------------------------------------------------------


def test_identical_code_is_no_difference_in_95_of_100_tries(load_document: Make, run: Make) -> None:
    """Five runs a side of one bimodal distribution compare as "no difference" at least 95 times of 100."""
    dice = random.Random(20)
    verdicts = [
        held_against(*(rates(load_document, run, bimodal(dice, 5)) for _ in range(2)))["verdict"] for _ in range(100)
    ]

    assert verdicts.count("no difference") >= 95


def test_half_the_rate_is_found_among_the_noise(load_document: Make, run: Make) -> None:
    """Twice as slow code is a regression in most tries with five runs a side, and in nearly all with nine."""
    dice = random.Random(21)
    found = {}
    for runs in (5, 9):
        sides = [(bimodal(dice, runs), [rate / 2 for rate in bimodal(dice, runs)]) for _ in range(50)]
        found[runs] = sum(
            held_against(*(rates(load_document, run, side) for side in both))["failed"] == ["rate"] for both in sides
        )

    assert found[5] > 40
    assert found[9] > 47


@pytest.mark.parametrize(
    ("factor", "verdict", "failed"),
    [(0.5, "worse", True), (0.92, "worse", False), (0.98, "no difference", False), (1.0, "no difference", False),
     (1.02, "no difference", False), (1.5, "better", False)],
)  # fmt: skip
def test_a_rate_is_better_when_it_is_higher(factor: float, verdict: str, failed: bool, load_document: Make) -> None:
    """A rate that fell is worse, and fails beyond the tolerance; what is below the floor is no difference."""
    comparison = held_against(load_document(times(1)), load_document(times(factor)), tolerance=0.1)

    found = figure(comparison, "rate")
    assert (found["verdict"], found["failed"]) == (verdict, failed)
    assert found["change"] == pytest.approx(factor - 1)
    assert found["interval"]["low"] <= found["change"] <= found["interval"]["high"]
    assert comparison["failed"] == (["rate"] if failed else [])
    assert comparison["verdict"] == verdict


@pytest.mark.parametrize(
    ("factor", "verdict", "failed"), [(2.0, "worse", True), (1.08, "worse", False), (0.5, "better", False)]
)
def test_a_latency_is_better_when_it_is_lower(
    factor: float, verdict: str, failed: bool, load_document: Make, run: Make
) -> None:
    """A latency that grew is worse, and one that fell is better."""
    before = load_document([run(100.0, latency_ns=run(1)["latency_ns"] | {"p99": 50_000}) for _ in range(5)])
    after = load_document([run(100.0, latency_ns=run(1)["latency_ns"] | {"p99": 50_000 * factor}) for _ in range(5)])

    found = figure(held_against(before, after, tolerance=0.1), "latency.p99")

    assert (found["verdict"], found["failed"]) == (verdict, failed)


def test_a_noisy_loss_within_its_interval_is_no_difference(load_document: Make) -> None:
    """A median that fell by a fifth is no difference where runs of one side differ by more."""
    before, after = [100.0, 60.0, 110.0, 70.0, 100.0], [80.0, 110.0, 60.0, 100.0, 70.0]

    found = figure(held_against(load_document(before), load_document(after)), "rate")

    assert found["change"] == pytest.approx(-0.2)
    assert (found["verdict"], found["failed"]) == ("no difference", False)


def test_a_tolerance_below_the_floor_says_so(load_document: Make) -> None:
    """Who asks for a tolerance that noise does not allow is told."""
    document = load_document(times(1))

    assert any("below 5%" in warning for warning in held_against(document, document, tolerance=0.01)["warnings"])
    assert held_against(document, document)["warnings"] == []


def test_the_same_results_compare_the_same_way(load_document: Make) -> None:
    """A comparison has nothing of chance in it, and changes neither document."""
    dice = random.Random(4)
    before, after = load_document(bimodal(dice, 7)), load_document(bimodal(dice, 7))
    kept = copy.deepcopy((before, after))

    assert held_against(before, after) == held_against(before, after)
    assert (before, after) == kept


# --- few runs --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("left", "right"), [(1, 1), (4, 5), (5, 4), (1, 100)])
def test_few_runs_are_not_judged(left: int, right: int, load_document: Make) -> None:
    """With fewer than five runs on a side it is "not enough runs", without an interval, and nothing fails."""
    comparison = held_against(load_document([100.0] * left), load_document([10.0] * right), tolerance=0.4)

    found = figure(comparison, "rate")
    assert (found["verdict"], found["interval"], found["failed"]) == ("not enough runs", None, False)
    assert found["change"] == pytest.approx(-0.9)
    assert comparison["verdict"] == "not enough runs"
    assert comparison["failed"] == []


@pytest.mark.parametrize(
    ("tolerance", "after", "failed"), [(0.4, 50.0, []), (0.41, 50.0, ["rate"]), (0.6, 50.0, []), (0.41, 200.0, [])]
)
def test_a_large_tolerance_is_held_against_single_runs(
    tolerance: float, after: float, failed: list[str], load_document: Make
) -> None:
    """Over 40 %, a loss beyond the tolerance fails even a single run; the verdict stays."""
    comparison = held_against(load_document([100.0]), load_document([after]), tolerance=tolerance)

    assert comparison["failed"] == failed
    assert figure(comparison, "rate")["verdict"] == "not enough runs"


@pytest.mark.parametrize(
    ("before", "after", "verdict", "failed"),
    [(0, 0, "no difference", False), (0, 1, "worse", True), (3, 0, "better", False), (3, 3, "no difference", True),
     (3, 1, "better", True)],
)  # fmt: skip
@pytest.mark.parametrize("name", ["lost", "duplicated", "out_of_order"])
def test_what_must_be_zero_fails_with_one_run(
    name: str, before: int, after: int, verdict: str, failed: bool, *, load_document: Make, run: Make
) -> None:
    """One message lost, doubled or out of order in one run of the second result fails, whatever the first had."""
    sides = [load_document([run(100.0), run(100.0, **{name: count})]) for count in (before, after)]

    comparison = held_against(*sides)

    found = figure(comparison, name)
    assert (found["verdict"], found["failed"], found["change"]) == (verdict, failed, None)
    assert comparison["failed"] == ([name] if failed else [])


def test_the_worst_run_counts_where_there_must_be_none(load_document: Make, run: Make) -> None:
    """A loss in one run of five is not averaged away."""
    after = load_document([*times(1)[:4], run(100.0, lost=7)])

    found = figure(held_against(load_document(times(1)), after), "lost")

    assert found["after"]["value"] == 7
    assert found["failed"]


# --- what a run does not have ----------------------------------------------------------------------------------------


def test_a_figure_that_neither_has_is_left_out(load_document: Make, run: Make) -> None:
    """Without a rate there is no latency, so no line of it."""
    none = dict.fromkeys(run(1)["latency_ns"])
    document = load_document([run(100.0, latency_ns=none) for _ in range(5)])

    names = [entry["name"] for entry in held_against(document, document)["figures"]]

    assert "rate" in names
    assert not [name for name in names if name.startswith("latency")]


def test_a_figure_that_one_side_has_is_not_judged(load_document: Make, run: Make) -> None:
    """What only one side could read stands there with the value that is known, and "not enough runs"."""
    unread = load_document([run(100.0, memory_bytes=None) for _ in range(5)])

    for sides in ((unread, load_document(times(1))), (load_document(times(1)), unread)):
        found = figure(held_against(*sides, tolerance=0.9), "memory")
        assert (found["verdict"], found["change"], found["failed"]) == ("not enough runs", None, False)
        assert sorted(len(found[side]["values"]) for side in ("before", "after")) == [0, 5]


def test_a_value_of_zero_has_no_ratio(load_document: Make, run: Make) -> None:
    """A run with 0 in a figure does not count for it, so that nothing is divided by it."""
    before = load_document([run(100.0, per_message={"cpu_ns": cpu}) for cpu in (0, 0.0, 5, 5, 5)])

    found = figure(held_against(before, before), "cpu")

    assert found["before"]["values"] == [5, 5, 5]
    assert found["verdict"] == "not enough runs"


def test_a_run_that_was_cut_short_does_not_count(load_document: Make, run: Make) -> None:
    """Of an interrupted result the whole runs are compared, and it is said."""
    before = load_document([*times(1), run(1.0, complete=False)], complete=False)

    comparison = held_against(before, load_document(times(1)))

    assert comparison["before"]["runs"] == 5
    assert figure(comparison, "rate")["change"] == 0
    assert any("A.json was cut short" in warning for warning in comparison["warnings"])


def test_a_result_without_a_whole_run_is_refused(load_document: Make, run: Make) -> None:
    """There is nothing to compare in a run that never came to its end."""
    cut = load_document([run(1.0, complete=False)], complete=False)

    with pytest.raises(UsageError, match=r"B\.json has no whole run"):
        held_against(load_document(times(1)), cut)


# --- rounds, ramps, other kinds --------------------------------------------------------------------------------------


def test_rounds_are_compared_within_each(load_document: Make) -> None:
    """Where the machine changed from round to round, the ratio within each round still tells a loss of a fifth."""
    drifting = [100.0, 50.0, 200.0, 70.0, 140.0]
    before, after = load_document(drifting), load_document([0.8 * rate for rate in drifting])

    apart, paired = (figure(held_against(before, after, paired=paired), "rate") for paired in (False, True))

    assert apart["verdict"] == "no difference"
    assert (paired["verdict"], paired["failed"]) == ("worse", True)
    assert paired["change"] == pytest.approx(-0.2)


def test_a_round_that_lacks_a_figure_is_left_out_on_both_sides(load_document: Make, run: Make) -> None:
    """A figure that one side of a round does not have takes its partner out, so that no other round's stands in."""
    before = load_document([run(rate) for rate in (1.0, 2.0, 4.0, 8.0, 16.0, 32.0)])
    after = load_document([run(rate) for rate in (None, 2.0, 4.0, 8.0, 16.0, 32.0)])

    found = figure(held_against(before, after, paired=True), "rate")

    assert found["before"]["values"] == found["after"]["values"] == [2.0, 4.0, 8.0, 16.0, 32.0]
    assert found["change"] == 0


def test_a_ramp_is_compared_step_by_step(load_document: Make, run: Make) -> None:
    """Each step's figures stand by themselves, with the rate that was asked for before the name."""

    def ramp(factor: float) -> dict[str, Any]:
        steps = [
            {"rate": 1000.0, "runs": [run(rate) for rate in times(1)]},
            {"rate": 2000.0, "runs": [run(rate) for rate in times(factor)]},
        ]
        return load_document(times(1), steps=steps)

    comparison = held_against(ramp(1), ramp(0.5))

    assert comparison["failed"] == ["2.00 k/s rate"]
    assert figure(comparison, "1.00 k/s rate")["verdict"] == "no difference"


def ceiling(ratio: float, rounds: int = 5) -> dict[str, Any]:
    plain = [100.0, 50.0, 200.0, 70.0, 140.0][:rounds]
    rates = {"python": {"all": [ratio * rate for rate in plain]}, "plain": {"all": plain}}
    return {
        "schema": "harness.ceiling/1",
        "started_at": "2026-01-01T00:00:00+00:00",
        "plan": {"rounds": rounds, "sizes": [32]},
        "complete": True,
        "sizes": [{"size": 32, "rounds": rounds, "rates": rates, "ratios": [{"of": "python", "to": "plain"}]}],
        "verdicts": {"clean": 2 * rounds},
    }


def test_ceilings_are_compared_by_their_ratios(load_document: Make) -> None:
    """Of two ceilings each ratio is a figure, with its rounds as runs."""
    environment = load_document([1.0])["environment"]
    before, after = (ceiling(ratio) | {"environment": environment} for ratio in (0.8, 0.6))

    comparison = held_against(before, after)

    (found,) = comparison["figures"]
    assert (found["name"], found["unit"], found["failed"]) == ("python/plain 32 B", "ratio", True)
    assert found["change"] == pytest.approx(-0.25)


@pytest.mark.parametrize("schema", ["harness.load/2", "harness.diff/1", "something else"])
def test_an_unknown_kind_is_refused(schema: str, load_document: Make) -> None:
    """A document that no table knows is refused, and those that are known are named."""
    with pytest.raises(UsageError, match="cannot be compared") as refused:
        held_against(load_document(times(1)), load_document(times(1), schema=schema))

    assert all(kind in refused.value.hint for kind in KINDS)


def test_two_kinds_are_refused(load_document: Make) -> None:
    """A load is not compared with a ceiling, not even when forced."""
    with pytest.raises(UsageError, match=r"A\.json is harness\.load/1 and B\.json is harness\.ceiling/1"):
        held_against(load_document(times(1)), ceiling(0.8), force=True)


# --- like with like --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", MACHINE)
def test_another_machine_is_refused_unless_forced(key: str, load_document: Make) -> None:
    """Each fact of a machine counts: another one is refused by name, and a warning when forced."""
    other = load_document(times(1))
    place = other["environment"]
    *path, last = key.split(".")
    for part in path:
        place = place[part]
    place[last] = "other"

    with pytest.raises(UsageError, match=f"different machines: {key} .* and other"):
        held_against(load_document(times(1)), other)
    (warning,) = held_against(load_document(times(1)), other, force=True)["warnings"]
    assert f"different machines: {key}" in warning


@pytest.mark.parametrize(
    "changes",
    [{"plan": {"rate": 1000.0}}, {"plan": {"size": {"smallest": 32, "largest": 64}}}, {"plan": {"new": True}},
     {"engine": "python"}],
    ids=str,
)  # fmt: skip
def test_another_plan_is_refused_unless_forced(changes: dict[str, Any], load_document: Make) -> None:
    """What was asked for has to be the same, down to what an older harness did not know and the engine that ran."""
    other = load_document(times(1), **changes)

    with pytest.raises(UsageError, match="different plans"):
        held_against(load_document(times(1)), other)
    assert "different plans" in held_against(load_document(times(1)), other, force=True)["warnings"][0]


@pytest.mark.parametrize(
    "changes",
    [{"plan": {"label": "x"}}, {"plan": {"repeat": 9}}, {"plan": {"seed": 9}}, {"plan": {"engine": "native"}},
     {"plan": {"new": False}}, {"plan": {"new": None}}, {"environment": {"git": None}},
     {"environment": {"versions": {"python": "CPython 3.11.7", "harness": "0.2.0"}}}],
    ids=str,
)  # fmt: skip
def test_what_may_differ_may_differ(changes: dict[str, Any], load_document: Make) -> None:
    """Names, numbers of runs, seeds and the code itself are no reason to refuse."""
    assert held_against(load_document(times(1)), load_document(times(1), **changes))["warnings"] == []


def test_a_refusal_is_one_line_however_much_differs(load_document: Make) -> None:
    """Three differences are named and the rest is counted."""
    other = load_document(times(1), plan={f"option_{number}": number for number in range(1, 10)})

    with pytest.raises(UsageError, match="and 6 more") as refused:
        held_against(load_document(times(1)), other)

    assert "option_3" in str(refused.value)
    assert "option_4" not in str(refused.value)


def test_a_machine_that_was_busier_is_told(load_document: Make, run: Make) -> None:
    """Disturbed runs, and others that took far more of the CPUs from one side, are in the notes."""
    busy = {"verdict": "disturbed", "busy_others_share": 0.5}
    after = load_document([run(rate, disturbance=busy) for rate in times(1)])

    warnings = held_against(load_document(times(1)), after)["warnings"]

    assert warnings[0] == "B.json: 5 of 5 runs were disturbed"
    assert "1% of the CPUs' time from A.json and 50% from B.json" in warnings[1]


# --- damaged documents -----------------------------------------------------------------------------------------------


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where each value in a document stands."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield (*path, key)
        yield from places(inner, (*path, key))


def damaged(document: dict[str, Any], path: tuple[Any, ...], value: Any = ...) -> dict[str, Any]:
    """A copy with one value replaced, or (without one) taken out."""
    again = copy.deepcopy(document)
    place: Any = again
    for key in path[:-1]:
        place = place[key]
    if value is ...:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return again


@pytest.mark.parametrize("value", [..., None, "text", -1, [], {}, True, 10**400], ids=lambda value: repr(value)[:9])
@pytest.mark.parametrize("kind", ["load", "ceiling"])
def test_a_damaged_document_is_refused_or_compared(kind: str, value: Any, load_document: Make) -> None:
    """Whatever is missing or wrong in a document, it is a UsageError with its name, or it did not matter."""
    whole = load_document([100.0, 100.0])
    if kind == "ceiling":
        whole = ceiling(0.8, 2) | {"environment": whole["environment"]}

    said = []
    for path in places(whole):
        if path == ("schema",):
            continue  # without it, it is no result (test_loading.py), and with another it is another kind
        try:
            held_against(whole, damaged(whole, path, value), force=True)
        except UsageError as error:
            said.append(str(error))

    assert len(said) > 5
    assert all("B.json" in line and "\n" not in line for line in said)


@pytest.mark.parametrize("key", ["runs", "plan", "engine", "environment", "complete", "steps"])
def test_a_missing_key_is_named(key: str, load_document: Make) -> None:
    """The refusal says which key is not there, also before a run."""
    document = load_document(times(1))
    del document[key]

    with pytest.raises(UsageError, match=rf"B\.json is damaged: there is no '{key}'"):
        held_against(load_document(times(1)), document)
    with pytest.raises(UsageError, match=f"no '{key}'"):
        check_comparable(Result("A.json", document))
