"""`harness block`: what a full queue does to senders, on the real kernel; and its figures, of made-up times."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest

from harness.engines.choice import native_problem
from harness.experiments import BlockPlan, run_block
from harness.experiments import block_work as work
from harness.experiments.block_figures import figures, jain
from harness.experiments.block_flow import Seen, deepest, overload_figures, series, stall_figures
from harness.sysv.errors import PlanError

MS = 1_000_000


def measured(**plan: Any) -> dict[str, Any]:
    result = run_block(BlockPlan(rounds=3, **plan))
    assert result["complete"] is True
    assert result["wrong"] == []
    assert json.loads(json.dumps(result)) == result
    return result


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"parts": ()}, "each part"),
        ({"parts": ("wake", "wake")}, "each part"),
        ({"parts": ("nap",)}, "unknown part 'nap'"),
        ({"senders": 1}, "1 senders"),
        ({"senders": 257}, "257 senders"),
        ({"sizes": (7, 64)}, "7 bytes are too small"),
        ({"sizes": (64, 64)}, "not larger"),
        ({"sizes": (64, 16385)}, "never fits"),
        ({"sizes": (8, 16), "queue_bytes": 2**24}, "2,097,152 messages"),
        ({"sizes": (8192, 16384), "queue_bytes": 2**31 - 1}, "INT_MAX"),
        ({"stall_s": 0.0}, "a stall of 0 s"),
        ({"stall_s": 61.0}, "a stall of 61 s"),
        ({"when_full": "drop"}, "--when-full 'drop'"),
        ({"rounds": 2}, "2 rounds"),
        ({"engine": "steam"}, "unknown engine"),
    ],
)
def test_what_cannot_be_meant_is_refused(wrong: dict[str, Any], words: str) -> None:
    """A plan that cannot be carried out cannot be made, and says why."""
    with pytest.raises(PlanError, match=words):
        BlockPlan(**wrong)


def test_rows_and_time_are_announced_for_what_is_measured() -> None:
    """More parts and a longer stall take longer; a stall is not made in more than three rounds."""
    stall = BlockPlan(parts=("stall",), rounds=9)

    assert stall.rows == 3
    assert BlockPlan(parts=("stall",), stall_s=10.0).announced_s > stall.announced_s + 25
    assert BlockPlan().announced_s > stall.announced_s
    assert BlockPlan(parts=("overload",), when_full="block", rounds=4).rows == 4


# --- on the real kernel ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ["native", "python"])
def test_a_sleeping_sender_wakes(engine: str) -> None:
    """Each wake-up took time, on one CPU and, where there are two, across them; the floor is below every median."""
    if engine == "native" and (problem := native_problem()):
        pytest.skip(f"no native probes: {problem}")
    result = measured(parts=("wake",), engine=engine)

    places = {place["place"]: place for place in result["wake"]["places"]}
    two = len(os.sched_getaffinity(0)) > 1
    assert list(places) == ["same CPU", "across CPUs"][: 1 + two]
    assert (result["warnings"] == []) == (result["wake"]["across_to_same"] is not None) == two
    for place in places.values():
        assert 0 < place["median_ns"]["min"] <= place["median_ns"]["median"] <= place["p99_ns"]["max"]
        assert place["median_ns"]["n"] == 3
    assert result["engine"] == engine


def test_every_sender_has_a_share() -> None:
    """The shares of all senders make one; each window has its index, and the spread is that of all windows."""
    result = measured(parts=("fairness",), senders=3)

    fairness = result["fairness"]
    assert len(fairness["windows"]) == fairness["jain"]["n"] == 3 * work.FAIRNESS_WINDOWS
    for window in fairness["windows"]:
        assert len(window["shares"]) == 3
        assert sum(window["shares"]) == pytest.approx(1)
        assert 1 / 3 <= window["jain"] <= 1
    # In one window a sender may get next to nothing.
    assert all(sum(shares) > 0 for shares in zip(*(window["shares"] for window in fairness["windows"]), strict=True))


def test_a_large_message_is_overtaken() -> None:
    """Alone it gets in and nobody passes it; beside small senders hundreds do, and it is in later, if at all."""
    cases = {case["case"]: case for case in measured(parts=("starvation",), senders=2)["starvation"]}

    assert list(cases) == ["alone", "steady", "hurried"]
    assert cases["alone"]["got_in"] == 3
    assert cases["alone"]["overtaken_by"]["max"] == 0
    # Where it did get in, the small ones were kept off their CPU for as long as it takes alone; not in every round.
    assert cases["steady"]["overtaken_by"]["max"] > 100
    assert all(case["rounds"] == 3 for case in cases.values())
    assert all((case["waited_ns"] is None) == (case["got_in"] == 0) for case in cases.values())


def test_an_overload_is_refused_or_held_back() -> None:
    """Refusing loses half at once and keeps to the schedule; blocking sends what is taken, and falls behind."""
    ways = {way["when_full"]: way for way in measured(parts=("overload",))["overload"]}

    refuse, block = ways["refuse"], ways["block"]
    assert 0.3 < refuse["refused_share"]["median"] < 0.7
    assert refuse["refused_system_call_ns"]["min"] > 0
    assert (refuse["sleep_ns"], refuse["asleep_share"]["max"]) == (None, 0)
    assert block["refused_share"]["max"] == 0
    assert 0.3 < block["unsent_share"]["median"] < 0.7
    assert block["behind_ns"]["median"] > 50 * MS
    assert block["sleep_ns"]["min"] > 0
    assert block["refused_call_ns"] is block["refused_system_call_ns"] is None
    assert refuse["lost"] == block["lost"] == 0


def test_one_way_alone_can_be_asked_for() -> None:
    """--when-full block measures blocking and nothing else."""
    result = measured(parts=("overload",), when_full="block")

    assert [way["when_full"] for way in result["overload"]] == ["block"]
    assert result["wake"] is result["fairness"] is result["starvation"] is result["never_fits"] is result["stall"]


def test_what_never_fits_is_told_and_not_waited_for() -> None:
    """Our send raises at once; the kernel's own sleeps on an empty queue, and is seen asleep."""
    result = measured(parts=("never-fits",), queue_bytes=10_000)

    found = result["never_fits"]
    assert found["size_bytes"] == 10_001
    assert found["errors"] == {"MessageTooLargeError": 3}
    assert found["errno"] == "EINVAL"
    assert (found["kernel_waits"], found["most_messages"]) == (3, 0)
    assert found["watched_ns"]["min"] >= work.WATCHED_S * 1e9


def test_a_stall_is_seen_from_the_intended_time() -> None:
    """From its due time a message waits as long as the stall, from its send only those that had filled the queue."""
    result = measured(parts=("stall",), stall_s=0.3, sizes=(64, 8192))

    stall = result["stall"]
    assert stall["stalled_ns"]["min"] >= 300 * MS
    assert stall["intended_ns"]["max"]["min"] >= 290 * MS
    assert stall["late_by_intended"]["min"] > 2000
    assert stall["late_by_sent"]["min"] >= 200
    assert stall["late_by_sent"]["median"] < stall["late_by_intended"]["median"]
    assert (stall["lost"], stall["unsent"], stall["received_again"]) == (0, 0, 0)
    assert 256 <= stall["deepest"]["max"] <= 258
    assert stall["gone_ns"]["max"] > 0
    assert stall["series"]["columns"] == ["t_s", "intended_ns", "sent_ns", "depth"]
    assert max(row[1] for row in stall["series"]["rows"]) >= 290 * MS


def test_a_deep_queue_takes_the_whole_stall() -> None:
    """Where the queue has room for all that becomes due, both clocks see the same messages wait."""
    stall = measured(parts=("stall",), stall_s=0.1, queue_bytes=2**20)["stall"]

    assert 900 < stall["deepest"]["max"] < 2**20 // 64
    assert stall["late_by_sent"]["min"] > 700


def test_an_interruption_keeps_what_was_measured() -> None:
    """Interrupted, it shows the parts that it has rows of, and says that it is incomplete."""
    seen = 0

    def progress(done: int, of: int, doing: str) -> None:
        nonlocal seen
        seen = done

    result = run_block(
        BlockPlan(parts=("never-fits", "stall")), progress, interrupted=lambda: "SIGINT" if seen else None
    )

    assert result["complete"] is False
    assert result["cut"]["sentence"] == "interrupted by SIGINT"
    assert result["never_fits"]["rounds"] >= 1
    assert result["stall"] is None


# --- the figures, of made-up rows and times --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shares", "index"), [([5, 5, 5, 5], 1.0), ([9, 0, 0, 0], 0.25), ([1, 1, 0, 0], 0.5), ([3, 1], 0.8)]
)
def test_the_index_of_fairness(shares: list[int], index: float) -> None:
    """1 where all get the same, 1/n where one gets all, k/n where k of n share equally."""
    assert jain(shares) == pytest.approx(index)


def test_nothing_to_share_has_no_index() -> None:
    """Where nobody got anything the index would be 0/0."""
    with pytest.raises(ValueError, match="nobody"):
        jain([0, 0])


def seen(count: int, **columns: Any) -> Seen:
    """`count` messages, one each ms from 1000 ms on, each sent when due and received 0.1 ms later unless told."""
    due = [(1000 + k) * MS for k in range(count)]
    made: dict[str, Any] = {
        "due": due,
        "started": due,
        "refused": [0] * count,
        "slept": [0] * count,
        "accepted": due,
        "received": [at + MS // 10 for at in due],
    }
    return Seen(**made | columns)


def test_what_was_accepted_and_never_received_is_lost() -> None:
    """A refused message is not lost, nor one that was not sent; a message that the queue took and kept is."""
    found = overload_figures(
        seen(
            4,
            started=[1000 * MS, 1001 * MS, 1002 * MS, 0],
            refused=[0, 1001 * MS + 900, 0, 0],
            accepted=[1000 * MS + 400, 0, 1002 * MS + 400, 0],
            received=[1000 * MS + 500, 0, 0, 0],
            again=2,
        )
    )

    assert (found["due"], found["sent"], found["refused"], found["unsent"], found["lost"]) == (4, 2, 1, 1, 1)
    assert found["received_again"] == 2
    assert found["refused_call_ns"] == pytest.approx(900, rel=0.01)
    assert found["sleep_ns"] is None
    assert found["behind_ns"] == 0


def test_a_sleep_lasts_until_the_send_is_through() -> None:
    """A blocked send's time asleep is counted and summed; the last send's lateness is how far behind it all is."""
    found = overload_figures(
        seen(
            2,
            started=[1000 * MS, 1007 * MS],
            slept=[1000 * MS, 1007 * MS],
            accepted=[1007 * MS, 1010 * MS],
            received=[1011 * MS, 1012 * MS],
        )
    )

    assert (found["slept"], found["asleep_ns"]) == (2, 10 * MS)
    assert found["behind_ns"] == 6 * MS
    assert found["latency_ns"]["max"] == pytest.approx(11 * MS, rel=0.01)


def stalled() -> Seen:
    """100 messages; the consumer takes nothing from 1050 to 1080 ms, then one each 0.2 ms; two find room meanwhile."""
    flow = seen(100)
    started, accepted, received = list(flow.started), list(flow.accepted), list(flow.received)
    for k in range(50, 100):
        received[k] = max(received[k], 1080 * MS + (k - 49) * MS // 5)
        if k > 52:  # the third waits for the first to be taken, and those behind it for their turns
            started[k] = max(started[k], received[k - 3])
        if k > 51:
            accepted[k] = max(accepted[k], received[k - 2])
    return seen(100, started=started, accepted=accepted, received=received, stalled=(1050 * MS, 1080 * MS))


def test_a_stall_by_two_clocks() -> None:
    """From the due time all messages of the stall are late, from the send three; and the backlog has an end."""
    found = stall_figures(stalled(), late_ns=5 * MS, slice_ns=10 * MS)

    assert found["stalled_ns"] == 30 * MS
    assert found["late_by_sent"] == 3
    assert found["late_by_intended"] == 32
    # Message k comes at 1080 + (k - 49)/5 ms, and is due at 1000 + k: the two meet behind k = 87.
    assert found["gone_ns"] == pytest.approx(8 * MS, abs=MS)
    assert found["catch_up_rate"] == pytest.approx(5000, rel=0.05)
    assert (found["lost"], found["deepest"]) == (0, 2)
    assert [row[0] for row in found["series"]["rows"]] == pytest.approx([n / 100 for n in range(10)])
    assert found["series"]["rows"][5][1:] == [pytest.approx(30.2 * MS, rel=0.01)] * 2 + [2]
    assert found["series"]["rows"][7][2] < found["series"]["rows"][7][1]


def test_a_backlog_that_does_not_go_has_no_end() -> None:
    """Where latency never comes back to what it was, there is no time at which the backlog was gone."""
    late = seen(10, received=[(1000 + k) * MS + (MS if k < 5 else 50 * MS) for k in range(10)])
    found = stall_figures(
        seen(10, received=late.received, stalled=(1004 * MS + MS, 1050 * MS)), late_ns=5 * MS, slice_ns=MS
    )

    assert found["gone_ns"] is None
    assert found["catch_up_rate"] is None


def test_the_picture_leaves_out_slices_without_messages() -> None:
    """A slice of the due times in which nothing was received has no row, and no 0."""
    rows = series(seen(3, received=[1000 * MS + 7, 0, 1002 * MS + 9]), MS)["rows"]

    assert rows == [[0.0, 7, 7, 1], [0.002, 9, 9, 1]]


def test_the_deepest_queue() -> None:
    """The most that had been sent and not yet received at a time."""
    assert deepest(seen(3, received=[1005 * MS, 1006 * MS, 1007 * MS])) == 3
    assert deepest(seen(3)) == 1
    assert deepest(seen(2, accepted=[0, 0], received=[0, 0])) == 0


def test_lost_messages_are_called_wrong() -> None:
    """A flow that lost messages, or got one twice, makes a sentence; the other parts have nothing to lose."""
    stall = stall_figures(stalled(), late_ns=MS, slice_ns=10 * MS)
    rows = [{"part": "stall", "round": 1, **stall, "lost": 2, "received_again": 1}]

    assert figures(rows)["wrong"] == ["stall, round 2: 2 messages lost, 1 received twice"]
    assert figures([])["wrong"] == []
    assert figures([])["stall"] is None


def test_places_are_compared_within_a_round() -> None:
    """A round that was cut before both places were measured has no ratio; without any there is none."""
    row = {"part": "wake", "wakes": 200, "floor_ns": 900.0, "p99_ns": 50_000}
    rows = [
        {**row, "round": 0, "place": "same CPU", "median_ns": 5_000},
        {**row, "round": 0, "place": "across CPUs", "median_ns": 15_000},
        {**row, "round": 1, "place": "across CPUs", "median_ns": 90_000},
    ]

    whole, cut = figures(rows)["wake"], figures(rows[2:])["wake"]

    assert (whole["across_to_same"]["median"], whole["across_to_same"]["n"]) == (3.0, 1)
    assert cut["across_to_same"] is None
    assert [place["place"] for place in cut["places"]] == ["across CPUs"]
