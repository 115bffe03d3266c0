"""`harness claims`: what is tried on this kernel, and the rules that make verdicts of evidence."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from harness.experiments import claims_tried
from harness.experiments.claims import ClaimsPlan, judged, run_claims
from harness.experiments.claims_judged import (
    CLAIMS,
    CONDITIONS,
    OUTDATED,
    TRUE,
    VERDICTS,
    WRONG,
    judge_message_size,
    judge_order,
    judge_queue_size,
    judge_rate,
    judge_selection,
)
from harness.experiments.inside import Bench
from harness.sysv import Limits, Queue
from harness.sysv.errors import PlanError

GIB = 2**30
QUICK = ClaimsPlan(
    rounds=1,
    duration_s=0.03,
    warmup_s=0.0,
    message_bytes=(65_535, 65_536),
    burst_messages=500,
    paced_messages=20,
)


@pytest.mark.parametrize(
    "wrong", [{"rounds": 0}, {"burst_messages": 0}, {"paced_messages": 0}, {"duration_s": 0.0}, {"warmup_s": -1.0}]
)
def test_what_cannot_be_meant_is_refused(wrong: dict[str, Any]) -> None:
    """A plan without rounds, messages or time cannot be made."""
    with pytest.raises(PlanError):
        ClaimsPlan(**wrong)


def test_every_engine_runs_in_every_round_and_none_always_first() -> None:
    """In each round each engine runs at each size, and who begins turns."""
    made = list(ClaimsPlan(rounds=2).runs(("native", "python"), message_bytes=8192, queue_bytes=16384))

    rates = [(plan.size[0], plan.engine) for claim, plan in made if claim == "rate"]
    assert rates == [
        *((32, "native"), (32, "python"), (8192, "native"), (8192, "python")),
        *((32, "python"), (32, "native"), (8192, "python"), (8192, "native")),
    ]
    assert {plan.queue_bytes for claim, plan in made if claim == "rate"} == {16384}
    assert [len(plan.types) for claim, plan in made if claim == "order"] == [3] * 4


def test_a_small_limit_makes_small_messages() -> None:
    """Where msgmax or msgmnb is below 8 KiB, the larger messages are as large as they can be."""
    made = ClaimsPlan(rounds=1).runs(("python",), message_bytes=4096, queue_bytes=16384)

    assert {plan.size[0] for _, plan in made} == {32, 4096}


# --- the rules, on made-up evidence ----------------------------------------------------------------------------------


def rate(small: float, large: float, **changes: Any) -> dict[str, Any]:
    sizes = [
        {"size": size, "engines": {"native": {"median": best}, "python": {"median": best / 2}}}
        for size, best in ((32, small), (8192, large))
    ]
    machine = {"cores": 4, "memory_bytes": 4 * GIB, "queue_bytes": 16384, "verdicts": {"clean": 3, "disturbed": 1}}
    return {**machine, "sizes": sizes, **changes}


@pytest.mark.parametrize(
    ("evidence", "verdict", "words"),
    [
        (rate(1.5e6, 6e5), TRUE, "1.50 M/s of 32 B (native)"),
        (rate(1.5e6, 5e5), CONDITIONS, "depends on the size"),
        (rate(4e5, 1e5), WRONG, "4 cores, a queue of 16 KiB"),
        (rate(4e5, 1e5, cores=2), None, "less than the claim's 4 cores"),
        (rate(4e5, 1e5, memory_bytes=2 * GIB), None, "less than the claim's"),
        (rate(4e5, 1e5, memory_bytes=None), None, "less than the claim's"),
        (rate(4e5, 1e5, verdicts={"disturbed": 4}), None, "other work all the time"),
    ],
)
def test_the_rule_of_the_rate(evidence: dict[str, Any], verdict: str | None, words: str) -> None:
    """True at every size, with conditions at some, wrong at none; undecided where the machine is no fair one."""
    judgement = judge_rate(evidence)

    assert judgement.verdict == verdict
    assert words in judgement.finding


def selection(*wrong: str, **changes: Any) -> dict[str, Any]:
    ways = ("exact", "first", "lowest", "except", "copy")
    return {way: [{"expected": [1, 1], "got": [1, 0] if way in wrong else [1, 1]}] for way in ways} | changes


@pytest.mark.parametrize(
    ("evidence", "verdict", "words"),
    [
        (selection(), TRUE, "MSG_EXCEPT as documented, MSG_COPY as documented"),
        (selection("lowest"), CONDITIONS, "otherwise: <0 lowest"),
        (selection("exact", "first", "lowest"), WRONG, "none was as stated"),
        (selection(copy=None), TRUE, "MSG_COPY not here"),
        (selection("except"), TRUE, "MSG_EXCEPT not as documented"),
    ],
)
def test_the_rule_of_selection(evidence: dict[str, Any], verdict: str, words: str) -> None:
    """The three portable ways decide; Linux's own two are told, and decide nothing."""
    judgement = judge_selection(evidence)

    assert judgement.verdict == verdict
    assert words in judgement.finding


def message_size(arrived: dict[int, bool | None], **changes: Any) -> dict[str, Any]:
    tried = [{"bytes": size, "arrived": answer, "why": ""} for size, answer in arrived.items()]
    found = {"msgmax": 8192, "over_msgmax_refused": True, "settable": True, "largest_msgmax": 2**31 - 1}
    return {**found, "tried": tried, **changes}


BOUND = {"settable": False, "largest_msgmax": None}


@pytest.mark.parametrize(
    ("evidence", "verdict", "words"),
    [
        (message_size({65_535: True, 64 * 2**20: True}), WRONG, "64 MiB was sent and received"),
        (message_size({65_535: True, 2**20: True}, msgmax=65_535), OUTDATED, "msgmax is 65,535 here"),
        (message_size({65_535: True, 65_536: False, 2**20: False}), TRUE, "one more was refused"),
        (message_size({65_535: None, 65_536: None}, **BOUND), CONDITIONS, "cannot be set from here"),
        (message_size({65_535: None, 65_536: None}, **BOUND, over_msgmax_refused=False), None, "nothing larger"),
        (message_size({65_535: True, 65_536: None}), None, "nothing larger could be tried"),
    ],
)
def test_the_rule_of_the_message_size(evidence: dict[str, Any], verdict: str | None, words: str) -> None:
    """What arrived decides; what was only not tried decides nothing."""
    judgement = judge_message_size(evidence)

    assert judgement.verdict == verdict
    assert words in judgement.finding


def queue_size(**changes: Any) -> dict[str, Any]:
    return {
        "memory_bytes": 24 * GIB,
        "msgmnb": 16384,
        "settable": True,
        "largest_msgmnb": 2**31 - 1,
        "new_bytes": 2**31 - 1,
        "existing_keeps": True,
        "text": {"fitted": 10, "expected": 10},
        "count": {"fitted": 100, "expected": 100},
        "together_bytes": 13 * GIB,
        "msgmni": 32000,
        "largest_msgmni": 32768,
        **changes,
    }


@pytest.mark.parametrize(
    ("evidence", "verdict", "words"),
    [
        (queue_size(), WRONG, "limits of 54% of the memory in sum were granted"),
        (queue_size(msgmnb=12 * GIB), OUTDATED, "were granted"),
        (queue_size(together_bytes=12 * GIB), TRUE, "the kernel stopped at limits of 50%"),
        (queue_size(together_bytes=12 * GIB, new_bytes=16384), CONDITIONS, "the kernel stopped"),
        (queue_size(memory_bytes=None), None, "not known"),
        (queue_size(together_bytes=None), None, "cannot be set"),
        (queue_size(existing_keeps=False), WRONG, "an old queue's limit changes too"),
        (queue_size(text={"fitted": 9, "expected": 10}), WRONG, "bytes of text and more"),
    ],
)
def test_the_rule_of_the_queue_size(evidence: dict[str, Any], verdict: str | None, words: str) -> None:
    """Where the kernel stops granting limits decides, and whether msgmnb moves them."""
    judgement = judge_queue_size(evidence)

    assert judgement.verdict == verdict
    assert words in judgement.finding


def order(**changes: Any) -> dict[str, Any]:
    return {
        "runs": [{"received": 1000, "out_of_order": 0}, {"received": 234, "out_of_order": 0}],
        "bursts": {"messages": 20_000, "inversions": 0},
        "paced": {"messages": 300, "inversions": 0},
        "blocked": {"rounds": 20, "in_order": 20},
        "overtaking": {"overtaken": False},
        **changes,
    }


@pytest.mark.parametrize(
    ("evidence", "verdict", "words"),
    [
        (order(), TRUE, "1,234 messages in order at dequeue"),
        (order(bursts={"messages": 20_000, "inversions": 865}), CONDITIONS, "865 in 20,000 in bursts"),
        (order(paced={"messages": 300, "inversions": 1}), CONDITIONS, "1 in 300 paced"),
        (order(blocked={"rounds": 20, "in_order": 3}), CONDITIONS, "out of order in 17 of 20 rounds"),
        (order(overtaking={"overtaken": True}), CONDITIONS, "a small message overtook"),
        (order(runs=[{"received": 10, "out_of_order": 2}]), WRONG, "2 of 10 messages"),
        (order(runs=[]), None, "no run"),
    ],
)
def test_the_rule_of_order(evidence: dict[str, Any], verdict: str | None, words: str) -> None:
    """Out of order at dequeue is wrong; any other order that breaks is a condition."""
    judgement = judge_order(evidence)

    assert judgement.verdict == verdict
    assert words in judgement.finding


def test_what_was_not_tried_is_undecided() -> None:
    """Without rows no claim has evidence, and none has a verdict."""
    entries = judged([], {"cores_allowed": 4, "memory_bytes": 4 * GIB})

    assert [entry["claim"] for entry in entries] == [claim.key for claim in CLAIMS]
    assert {(entry["verdict"], entry["evidence"], entry["finding"]) for entry in entries} == {
        (None, None, "it was not tried")
    }


# --- on the real kernel ----------------------------------------------------------------------------------------------


@pytest.fixture
def bench() -> Bench:
    """A bench whose words go nowhere."""
    return Bench(lambda *_event, **_what: None)


@pytest.mark.private_ipc
def test_selection_is_tried(bench: Bench) -> None:
    """Every way to ask is tried against messages of several types, and this kernel does as msgop(2) says."""
    found = claims_tried.try_selection(bench)

    assert {"exact", "first", "lowest", "except", "copy"} == set(found)
    assert [trial["got"] for trial in found["lowest"][:-1]] == [[1, 2]] * 3
    assert found["exact"][-1]["got"] is None
    assert found["lowest"][-1]["got"] == [[1, 2], [1, 5], [2, 1], [2, 3], [3, 0], [3, 4]]
    assert judge_selection(found).verdict == TRUE


@pytest.mark.private_ipc
def test_large_messages_are_tried() -> None:
    """Over msgmax is refused, larger ones arrive once it is raised, and the limits are put back."""
    before = Limits.read()

    found = claims_tried.try_message_size((65_535, 65_536, 2**20), before)

    assert (found["msgmax"], found["over_msgmax_refused"], found["settable"]) == (before.msgmax, True, True)
    assert found["largest_msgmax"] == 2**31 - 1
    assert [(trial["bytes"], trial["arrived"]) for trial in found["tried"]] == [
        (65_535, True),
        (65_536, True),
        (2**20, True),
    ]
    assert Limits.read() == before


@pytest.mark.private_ipc
def test_without_memory_or_permission_a_size_is_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    """A message that the machine has no memory for, or that no limit here allows, has no answer but a reason."""
    monkeypatch.setattr(claims_tried, "_takes", lambda name, value: False)

    found = claims_tried.try_message_size((2**20, 2**50), Limits.read())

    assert [(trial["arrived"], trial["why"]) for trial in found["tried"]] == [
        (None, "msgmax cannot be set so high"),
        (None, "not enough memory is available"),
    ]
    assert (found["settable"], found["largest_msgmax"]) == (False, None)


@pytest.mark.private_ipc
def test_the_room_in_a_queue_is_tried() -> None:
    """What counts, who keeps which limit, and how far limits go; nothing is left, and the limits are put back."""
    before = Limits.read()

    found = claims_tried.try_queue_size(before)

    assert (found["msgmnb"], found["new_bytes"], found["existing_keeps"]) == (before.msgmnb, 2**31 - 1, True)
    assert found["text"] == {"limit": 1000, "message_bytes": 100, "fitted": 10, "expected": 10}
    assert found["count"] == {"limit": 100, "message_bytes": 0, "fitted": 100, "expected": 100}
    assert found["largest_msgmni"] == 32_768
    assert found["together_bytes"] > found["memory_bytes"] / 2
    assert Limits.read() == before
    with Queue.private() as queue:
        assert queue.stat().queue_bytes == before.msgmnb


@pytest.mark.private_ipc
def test_limits_that_are_refused_are_counted_until_then(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a queue is refused, the sum until then counts; where too many would be needed, nothing is said."""
    Limits.write(msgmni=2)
    limit = Limits.read().msgmnb
    assert claims_tried._granted(10 * limit) == 2 * limit

    monkeypatch.setattr(claims_tried, "MOST_QUEUES", 1)
    assert claims_tried._granted(10 * limit) is None


@pytest.mark.private_ipc
def test_order_is_tried(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two workers write each message once; blocked senders all get in; the small message overtakes."""
    monkeypatch.setattr(claims_tried, "BLOCKED_ROUNDS", 2)

    found = claims_tried.try_order(ClaimsPlan(burst_messages=2000, paced_messages=20), bench)

    assert (found["bursts"]["messages"], found["paced"]["messages"]) == (2000, 20)
    assert 0 <= found["bursts"]["inversions"] < 2000
    assert [sorted(blocked) for blocked in found["blocked"]["orders"]] == [[0, 1, 2, 3]] * 2
    assert found["overtaking"] == {"order_bytes": [900, 50, 500], "overtaken": True}


def test_inversions_are_counted() -> None:
    """A number below the one before it in the workers' file is one inversion."""
    assert claims_tried.inversions([0, 1, 3, 2, 4, 1, 5]) == 2
    assert claims_tried.inversions([7]) == 0


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    """A quick look at all five claims with the Python engine alone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("harness.experiments.claims._engines", lambda: ("python",))
        return run_claims(QUICK)


def test_every_claim_gets_evidence_and_a_verdict(document: dict[str, Any]) -> None:
    """Each claim stands there with what it rests on; what the kernel decides is as known, the rate is open."""
    verdicts = {claim["claim"]: claim["verdict"] for claim in document["claims"]}

    assert document["complete"] is True
    assert all(claim["evidence"] and claim["finding"] and claim["rule"] for claim in document["claims"])
    assert verdicts.pop("rate") in {*VERDICTS, None}
    assert verdicts == {"selection": TRUE, "message-size": WRONG, "queue-size": WRONG, "order": CONDITIONS}
    assert json.loads(json.dumps(document)) == document


def test_the_runs_are_on_queues_of_the_size_set_here(document: dict[str, Any]) -> None:
    """Rates come from queues of msgmnb as it stands; the order is looked at in runs of three types."""
    runs = [(row["claim"], row["run"]) for row in document["rows"] if "run" in row]
    rates, orders = ([run for claim, run in runs if claim == wanted] for wanted in ("rate", "order"))
    evidence = {claim["claim"]: claim["evidence"] for claim in document["claims"]}

    assert {run["queue_bytes"] for run in rates} == {evidence["queue-size"]["msgmnb"]}
    assert [(run["types"], run["select"]) for run in orders] == [(3, "any"), (3, "exact")]
    assert all(run["received"] > 0 and run["out_of_order"] == 0 for run in orders)
    assert evidence["rate"]["cores"] == document["environment"]["cores_allowed"]


@pytest.mark.parametrize("after", [2, 5])
def test_an_interruption_leaves_the_rest_undecided(after: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Interrupted among the trials or the runs, claims that were tried keep their verdicts, others have none."""
    monkeypatch.setattr("harness.experiments.claims._engines", lambda: ("python",))
    seen = 0

    def progress(done: int, of: int, doing: str) -> None:
        nonlocal seen
        seen = done

    plan = replace(QUICK, burst_messages=100_000)  # so that the trials last longer than it takes to interrupt them
    result = run_claims(plan, progress, interrupted=lambda: "SIGINT" if seen >= after else None)

    verdicts = {claim["claim"]: claim["verdict"] for claim in result["claims"]}
    assert result["complete"] is False
    assert result["cut"]["sentence"] == "interrupted by SIGINT"
    assert verdicts["selection"] == TRUE
    assert verdicts["order"] is None
