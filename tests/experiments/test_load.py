"""`run_load` on the real kernel: every way to load a queue, with both engines; the ledger balances and figures agree.

No assertion is about speed: a machine that is busy must not fail a test. What is asserted holds on any machine.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import threading
from dataclasses import replace
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import pytest

from harness.engines.choice import native_problem
from harness.experiments.load import run_load
from harness.experiments.plan import LoadPlan
from harness.measure.histogram import Histogram
from harness.measure.quantities import Ramp, TypeShare
from harness.results.schema import load_schema
from harness.results.thresholds import parse_threshold
from harness.sysv import Queue
from harness.sysv.errors import NoSuchQueueError, PlanError, QueueError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness.experiments.crew import Started
    from harness.experiments.follow import Snapshot

ENGINES = [
    pytest.param("native", marks=pytest.mark.skipif(native_problem() is not None, reason=f"{native_problem()}")),
    "python",
]
KEY = 0xC0049
THREE = (TypeShare(1, 70), TypeShare(2, 20), TypeShare(3, 10))
SHORT = LoadPlan(rate=Fraction(5000), duration_s=0.2, warmup_s=0.05, drain_s=1.0)
FREE = replace(SHORT, rate="max")

MODES: dict[str, LoadPlan] = {
    "open": SHORT,
    "unpaced": replace(FREE, queue_bytes=64 * 1024),
    "closed, 1 outstanding": replace(FREE, closed=True),
    "closed, 8 outstanding, 2 producers": replace(FREE, closed=True, outstanding=8, producers=2),
    "a count at a rate": replace(SHORT, duration_s=None, count=777, warmup_s=0.0),
    "a count at no rate": replace(FREE, duration_s=None, count=7777, producers=2, warmup_s=0.0),
    "closed, a count": replace(FREE, closed=True, outstanding=4, duration_s=None, count=777, warmup_s=0.0),
    "refuse": replace(SHORT, rate=Fraction(20_000), when_full="refuse", queue_bytes=64, drain_s=0.3),
    "block on a small queue": replace(SHORT, queue_bytes=256),
    "any, 3 types, 3 consumers": replace(SHORT, types=THREE, consumers=3),
    "exact, 3 types, 3 consumers": replace(SHORT, types=THREE, consumers=3, select="exact"),
    "exact, 2 queues, 7 consumers": replace(SHORT, types=THREE, consumers=7, select="exact", queues=2, producers=3),
    "except, 2 types, 2 consumers": replace(SHORT, types=THREE[:2], consumers=2, select="except"),
    "except, 3 types, 3 consumers": replace(SHORT, types=THREE, consumers=3, select="except"),
    "except, 2 queues, 5 consumers": replace(SHORT, types=THREE, consumers=5, select="except", queues=2, producers=2),
    "at most, 3 types, 2 consumers": replace(SHORT, types=THREE, consumers=2, select="at-most"),
    "3 queues, pinned": replace(SHORT, queues=3, producers=3, consumers=3, pin=True),
    "sizes 64 to 4096": replace(SHORT, size=(64, 4096)),
    "oversubscribed, 8 and 8": replace(FREE, producers=8, consumers=8, duration_s=0.2, queue_bytes=16 * 1024),
}


class Watcher:
    """An observer that remembers."""

    interval_s = 0.05

    def __init__(self) -> None:
        self.runs: list[tuple[int, int]] = []
        self.snapshots: list[Snapshot] = []

    def started(self, plan: LoadPlan, engine: str, started: Started, number: int, of: int) -> None:
        self.runs.append((number, of))

    def sample(self, snapshot: Snapshot) -> None:
        self.snapshots.append(snapshot)


def run(plan: LoadPlan, **more: Any) -> dict[str, Any]:
    return run_load(plan, Watcher(), **more)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("mode", MODES)
def test_every_mode_loses_nothing_and_adds_up(mode: str, engine: str) -> None:
    """In every mode the run is complete, nothing is lost, doubled or out of order, and the figures agree."""
    plan = replace(MODES[mode], engine=engine)

    result = run(plan)

    assert result["complete"] is True, result["cut"]
    assert result["engine"] == engine
    assert (result["lost"], result["duplicated"], result["out_of_order"], result["undecided"]) == (0, 0, 0, 0)
    assert (result["unknown"], result["held_by_killed"], result["foreign"], result["left_in_queue"]) == (0, 0, 0, 0)
    assert result["balanced"] is True
    assert result["attempted"] == result["sent"] + result["refused"]
    assert result["sent"] == result["received"] == result["received_once"] > 0
    assert not [warning for warning in result["warnings"] if "defect" in warning]
    check_time(plan, result)
    check_workers(plan, result)
    check_types(plan, result)
    check_json(result)


def check_time(plan: LoadPlan, result: dict[str, Any]) -> None:
    """The series, the histogram and the percentiles tell of the same messages."""
    assert plan.duration_s is None or result["elapsed_s"] == pytest.approx(plan.duration_s)
    rows = result["series"]["rows"]
    assert sum(row[1] for row in rows) <= result["sent"]
    assert sum(row[2] for row in rows) <= result["received"]
    figures = result["latency_ns"] if plan.loop.value != "unpaced" else result["service_ns"]
    assert 0 < figures["p50"] <= figures["p90"] <= figures["p99"] <= figures["p99_9"] <= figures["max"]
    assert figures["mean"] <= figures["max"]
    histogram = Histogram.from_json({key: value for key, value in result["histogram"].items() if key != "of"})
    assert 0 < histogram.total <= result["received"]
    assert histogram.summary()["p99"] == figures["p99"]
    assert (result["latency_ns"]["p50"] is None) == (plan.loop.value == "unpaced")
    assert (result["pacing_error_ns"]["p50"] is None) == (plan.loop.value != "open")
    assert result["achieved_rate"] > 0
    if plan.fixed_rate is not None:
        assert result["due"] == plan.due
        assert result["offered_rate"] == pytest.approx(plan.due / result["elapsed_s"])
        assert result["unsent"] == 0 or result["latency_is_lower_bound"]
        assert result["sustained"] in (True, False)
    else:
        assert result["sustained"] is None
    if plan.count is not None and plan.warmup_s == 0:
        assert result["sent"] == histogram.total == plan.count


def check_workers(plan: LoadPlan, result: dict[str, Any]) -> None:
    """The workers' counts sum to the run's, each is listed, and each came to its own end."""
    rows = {role: [row for row in result["by_worker"] if row["role"] == role] for role in ("producer", "consumer")}
    assert sum(row["messages"] for row in rows["producer"]) == result["sent"]
    assert sum(row["messages"] for row in rows["consumer"]) == result["received"]
    assert sum(row["refused"] for row in rows["producer"]) == result["refused"]
    assert len(rows["producer"]) == plan.producers
    assert len(rows["consumer"]) == plan.consumers
    assert {row["ended"] for row in result["by_worker"]} == {"done"}
    assert {row["queue"] for row in result["by_worker"]} == set(range(plan.queues))


def check_types(plan: LoadPlan, result: dict[str, Any]) -> None:
    """What was sent of each type was received of it, and no type was forgotten."""
    rows = result["by_type"]
    assert [row["type"] for row in rows] == [share.type for share in plan.types]
    assert sum(row["sent"] for row in rows) == result["sent"]
    assert [row["sent"] for row in rows] == [row["received"] for row in rows]
    assert all(row["sent"] > 0 for row in rows)


def check_json(result: dict[str, Any]) -> None:
    """The result is JSON as it is, without NaN, and as the schema says."""
    validator = pytest.importorskip("jsonschema").Draft202012Validator(load_schema())
    again = json.loads(json.dumps(result, allow_nan=False))
    validator.validate(again)
    assert again == result


def test_a_full_queue_refuses_where_that_is_asked_for() -> None:
    """Two messages' room at far more than it takes: some are refused, counted, and the rate is not called sustained."""
    result = run(replace(MODES["refuse"], rate=Fraction(200_000), consumers=1))

    assert result["refused"] > 0
    assert result["sustained"] is False
    assert result["attempted"] == result["sent"] + result["refused"]
    assert result["blocked_s"] == 0


def test_a_rate_out_of_reach_is_not_sustained() -> None:
    """At a rate that no machine holds, what was due and never sent is counted, and the latency is a lower bound."""
    result = run(replace(SHORT, rate=Fraction(10**9)))

    assert result["complete"] is True
    assert result["sustained"] is False
    assert result["unsent"] > 0
    assert result["latency_is_lower_bound"] is True
    assert any("lower bounds" in warning for warning in result["warnings"])
    assert result["lost"] == 0


def test_repeats_are_told_one_by_one() -> None:
    """Each repeat is a run of its own; the headline is their median, counts that must be 0 are their worst."""
    watcher = Watcher()

    result = run_load(replace(SHORT, repeat=3), watcher)

    assert watcher.runs == [(1, 3), (2, 3), (3, 3)]
    assert len(result["runs"]) == 3
    assert result["achieved_rate"] == sorted(run["achieved_rate"] for run in result["runs"])[1]
    assert result["latency_ns"]["p99"] == sorted(run["latency_ns"]["p99"] for run in result["runs"])[1]
    assert result["lost"] == max(run["lost"] for run in result["runs"]) == 0
    histogram = Histogram.from_json({key: value for key, value in result["histogram"].items() if key != "of"})
    assert histogram.total > result["received"]
    check_json(result)


def test_a_ramp_has_a_step_for_each_rate() -> None:
    """Each step of a ramp is told with its rate, in order; the headline is one of them."""
    watcher = Watcher()

    result = run_load(replace(SHORT, rate=Ramp(Fraction(1000), Fraction(3000), 3)), watcher)

    assert [step["rate"] for step in result["steps"]] == [1000.0, 2000.0, 3000.0]
    assert watcher.runs == [(1, 3), (2, 3), (3, 3)]
    assert result["achieved_rate"] in [step["achieved_rate"] for step in result["steps"]]
    assert result["complete"] is True
    assert result["lost"] == 0
    check_json(result)


def test_a_ramp_downwards_finds_the_rate_that_was_held() -> None:
    """A ramp that begins beyond reach has the fastest step that was held as its headline, not the first."""
    result = run(replace(SHORT, rate=Ramp(Fraction(10**9), Fraction(100), 2)))

    assert result["steps"][0]["sustained"] is False
    assert result["offered_rate"] == pytest.approx(100)


def test_who_watches_sees_the_run_go_on() -> None:
    """An observer is told of the start and then sees counts that never go back, within the run's phases."""
    watcher = Watcher()

    run_load(replace(SHORT, duration_s=0.4), watcher)

    sent = [snapshot.sent for snapshot in watcher.snapshots]
    assert watcher.runs == [(1, 1)]
    assert sent == sorted(sent)
    assert sent[-1] > 0
    assert {snapshot.phase for snapshot in watcher.snapshots} <= {"warm-up", "load", "drain"}
    assert all(snapshot.asked_rate == 5000.0 for snapshot in watcher.snapshots)


def test_an_interruption_is_a_cut_and_no_exception() -> None:
    """Asked to end, a run ends early, with what it has, marked incomplete."""
    result = run(replace(SHORT, duration_s=60.0), interrupted=lambda: "SIGTERM")

    assert result["complete"] is False
    assert result["cut"] == {"cause": "interrupted", "sentence": "interrupted by SIGTERM"}
    assert result["lost"] == 0
    check_json(result)


def test_thresholds_are_checked_against_the_result() -> None:
    """A threshold that holds passes, one that does not fails, and both are told."""
    result = run(SHORT, thresholds=[parse_threshold("lost>0"), parse_threshold("p99>=0")])

    assert [entry["failed"] for entry in result["thresholds"]] == [False, True]


# --- somebody else's queue ---------------------------------------------------------------------------------------


@contextlib.contextmanager
def taking(queue: Queue) -> Iterator[None]:
    """A process that takes messages off the queue all the while."""

    def take() -> None:
        with contextlib.suppress(QueueError):
            while True:
                queue.receive()

    taker = multiprocessing.get_context("fork").Process(target=take)
    taker.start()
    try:
        yield
    finally:
        taker.kill()
        taker.join()


@pytest.mark.private_ipc
@pytest.mark.parametrize("engine", ENGINES)
def test_stolen_messages_are_reported_as_lost(engine: str) -> None:
    """Where another process takes some of a run's messages off the queue, each of them is counted as lost."""
    with Queue.create(KEY) as queue, taking(queue):
        result = run(replace(SHORT, engine=engine, key=KEY, force=True, drain_s=0.2))

    assert result["complete"] is True
    assert result["lost"] > 0
    assert result["lost"] == result["sent"] - result["received"]
    assert result["sustained"] is False
    assert "messages went wrong" in result["advice"]


@pytest.mark.private_ipc
@pytest.mark.parametrize("engine", ENGINES)
def test_messages_of_others_are_told_apart(engine: str) -> None:
    """What lay on the queue before, of another program, is counted as foreign and as nothing else."""
    with Queue.create(KEY) as queue:
        for number in range(5):
            queue.send(b"not of this run" * number)

        result = run(replace(SHORT, engine=engine, key=KEY, force=True))

        assert queue.stat().messages == 0
    assert result["foreign"] == 5
    assert result["lost"] == 0
    assert result["received"] == result["sent"]
    assert any("not this run's" in warning for warning in result["warnings"])


@pytest.mark.private_ipc
@pytest.mark.parametrize("engine", ENGINES)
def test_somebody_elses_consumers_can_be_loaded(engine: str) -> None:
    """Without consumers of its own a run tells what it sent, and of receipts that nothing is known."""
    with Queue.create(KEY) as queue, taking(queue):
        result = run(replace(SHORT, engine=engine, key=KEY, consumers=0))

        assert queue.stat().messages == result["left_in_queue"]
    assert result["complete"] is True
    assert result["sent"] > 0
    assert (result["received"], result["lost"], result["balanced"]) == (None, None, None)
    assert result["latency_ns"]["p99"] is None
    check_json(result)


@pytest.mark.private_ipc
def test_a_queue_that_is_not_there_or_not_free_is_refused() -> None:
    """A key without a queue, a queue with messages, and one on which somebody sleeps are refused with what to do."""
    with pytest.raises(NoSuchQueueError):
        run(replace(SHORT, key=KEY))

    with Queue.create(KEY) as queue:
        queue.send(b"waiting")
        with pytest.raises(PlanError, match="holds 1 messages"):
            run(replace(SHORT, key=KEY))
        assert queue.stat().messages == 1


@pytest.mark.private_ipc(message_bytes=8192, queue_bytes=16384)
def test_a_message_larger_than_that_queue_is_refused() -> None:
    """A size that the queue of --key can never hold is refused, and the queue stays as it was."""
    with Queue.create(KEY) as queue:
        queue.resize(1024)

        with pytest.raises(PlanError, match="never fits that queue of 1024 bytes"):
            run(replace(SHORT, key=KEY, size=(32, 2048)))

        assert queue.stat().queue_bytes == 1024


def test_a_run_beside_other_threads_does_not_mind_them() -> None:
    """A caller with threads, as a notebook is, gets its private namespace: the leader is a program of its own."""
    end = threading.Event()
    thread = threading.Thread(target=end.wait)
    thread.start()

    result = run(SHORT)

    end.set()
    thread.join()
    assert result["complete"] is True
