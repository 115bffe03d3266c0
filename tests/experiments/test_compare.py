"""`harness compare`: the same workload over every transport that is here, what each holds, and what each can do."""

from __future__ import annotations

import itertools
import json
import signal
import subprocess
import sys
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import pytest

from harness.engines.choice import native_problem
from harness.experiments import workload
from harness.experiments.chamber import Outcome
from harness.experiments.compare import NAMES, ComparePlan, figures, run_compare, tasks_of, whole_rounds, wrong_in
from harness.experiments.properties import ASKED, PROPERTIES, contradictions, table
from harness.experiments.transports import TRANSPORTS, kernel
from harness.experiments.transports.protocol import Extra
from harness.experiments.workload import STAMP, Word
from harness.sysv.errors import MachineError, PlanError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness.experiments.transports import Receive

TINY: dict[str, Any] = {"rounds": 3, "duration_s": 0.01, "paced_s": 0.01}


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"transports": ("pigeon",)}, "no transport 'pigeon'"),
        ({"rounds": 2}, "2 rounds"),
        ({"size_bytes": 31}, "messages of 31 bytes"),
        ({"size_bytes": 2**20 + 1}, "1 MiB"),
        ({"duration_s": 0.0}, "measures nothing"),
        ({"paced_s": 0.0001}, "measures nothing"),
        ({"rate": 0}, "a rate of 0"),
        ({"rate": 1_000_001}, "a rate of"),
        ({"rate": 1, "paced_s": 0.1}, "0 messages"),
        ({"rate": 1_000_000, "paced_s": 60}, "60000000 messages"),
    ],
)
def test_what_cannot_be_meant_is_refused(wrong: dict[str, Any], words: str) -> None:
    """A plan that cannot be carried out cannot be made, and says why."""
    with pytest.raises(PlanError, match=words):
        ComparePlan(**wrong)


def test_the_base_is_always_among_them() -> None:
    """The System V queue comes first, once, whether it is asked for or not; nothing asked for is everything."""
    assert ComparePlan(transports=("pipe",)).names == ("sysv", "pipe")
    assert ComparePlan(transports=("pipe", "sysv", "pipe")).names == ("sysv", "pipe")
    assert ComparePlan().names == NAMES


def test_the_time_announced_counts_every_turn() -> None:
    """Twice the rounds take about twice as long, and without measuring it is over at once."""
    few, many = ComparePlan(rounds=5).announced_s, ComparePlan(rounds=10).announced_s

    assert 20 < few < 35
    assert many > 1.8 * few
    assert ComparePlan(measuring=False).announced_s < 3


# --- on the real kernel ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def everything() -> dict[str, Any]:
    """A short comparison of all that is here."""
    return run_compare(ComparePlan(**TINY))


def test_all_that_is_here_is_measured_and_the_rest_is_told(everything: dict[str, Any]) -> None:
    """Each name is measured in every round, or stands among the missing with a reason; none in both or neither."""
    measured = [found["name"] for found in everything["transports"]]
    missing = {found["name"]: found["why"] for found in everything["missing"]}

    assert sorted([*measured, *missing]) == sorted(NAMES)
    assert all(missing.values())
    assert ("sysv-c" in missing) == bool(native_problem())
    assert everything["complete"] is True
    assert everything["rounds"] == 3
    assert json.loads(json.dumps(everything)) == everything


def test_every_message_arrives_in_order(everything: dict[str, Any]) -> None:
    """In each turn as many messages are received as were sent, each the next one."""
    turns = [row for row in everything["rows"] if row["part"] == "turn"]

    assert everything["wrong"] == []
    assert all(row["sent"] == row["received"] > 20 and row["wrong"] == 0 for row in turns), turns
    assert all(0 < row["p50_ns"] <= row["p99_ns"] <= row["max_ns"] for row in turns)


def test_each_is_held_against_the_base_in_its_round(everything: dict[str, Any]) -> None:
    """A ratio is the median of ratios within rounds: to itself the System V queue is exactly 1."""
    base, pipe = (next(found for found in everything["transports"] if found["name"] == n) for n in ("sysv", "pipe"))
    rates = {(row["name"], row["round"]): row["rate"] for row in everything["rows"] if row["part"] == "turn"}

    assert (base["to_sysv"]["rate"]["min"], base["to_sysv"]["p50_ns"]["max"]) == (1, 1)
    within = sorted(rates["pipe", number] / rates["sysv", number] for number in range(3))
    assert pipe["to_sysv"]["rate"]["median"] == pytest.approx(within[1])


def test_no_transport_always_follows_the_same_one(everything: dict[str, Any]) -> None:
    """The order turns from round to round."""
    turns = [row for row in everything["rows"] if row["part"] == "turn"]
    first = [next(row["name"] for row in turns if row["round"] == number) for number in range(3)]

    assert len(set(first)) == 3


def test_what_each_holds_is_tried(everything: dict[str, Any]) -> None:
    """A System V queue of 16 KiB holds 512 messages of 32 bytes, and a Queue of multiprocessing more than is tried."""
    held = {found["name"]: found["held"] for found in everything["transports"]}

    assert held["sysv"] == 512
    assert 1 < held["datagram"] < 5000
    assert 1000 < held["pipe"] < 65536 / 32
    assert held["mp.Queue"] is None
    if "mq" in held:
        [row] = [row for row in everything["rows"] if row["part"] == "about" and row["name"] == "mq"]
        assert row["room"] == f"{held['mq']} messages (mq_maxmsg)"


def test_the_trials_find_what_the_table_says(everything: dict[str, Any]) -> None:
    """What was tried on this machine is as the documentation says, and something was tried of each that is here."""
    here = {found["name"] for found in everything["transports"]} - {"sysv-c"}
    tried = {
        row["name"]: {asked: row[asked]["tried"] for asked in ASKED if row[asked]["tried"] is not None}
        for row in everything["properties"]
    }

    assert everything["warnings"] == []
    assert {name for name, answers in tried.items() if "boundaries" in answers} == here
    assert tried["sysv"] == dict.fromkeys(("select", "priority", "boundaries", "peek", "outlives"), True)
    assert tried["pipe"] == {"boundaries": False, "poll": True}


def test_an_extra_that_is_not_installed_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Among all it is told with what to install, and the others are tried; asked for by name, it is an error."""
    monkeypatch.setattr(kernel, "POSIX_IPC", Extra.load("posix_ipc_that_nobody_has"))

    result = run_compare(ComparePlan(measuring=False))

    missing = {found["name"]: found["why"] for found in result["missing"]}
    assert missing["mq"].endswith("is not installed: pip install 'msgq-harness[compare]'")
    assert "mq" not in {row["name"] for row in result["rows"]}
    assert (result["transports"], result["rounds"]) == ([], 0)
    with pytest.raises(MachineError, match="mq is not here: the package"):
        run_compare(ComparePlan(transports=("mq",), **TINY))


def test_an_extra_that_cannot_be_loaded_is_told(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package that is there but broken is not called uninstalled."""
    (tmp_path / "broken_extra.py").write_text("raise ImportError('no libzmq')\n")
    monkeypatch.syspath_prepend(str(tmp_path))

    assert Extra.load("broken_extra").problem == "the package broken_extra cannot be loaded: no libzmq"


def test_a_message_that_a_transport_refuses_is_told() -> None:
    """A datagram over SO_SNDBUF is refused by the kernel: named, that is an error; it is found before the rounds."""
    with pytest.raises(MachineError, match=r"datagram is not here: it takes no message of 1048576 bytes.*too long"):
        run_compare(ComparePlan(transports=("datagram",), size_bytes=2**20, **TINY))


def test_a_message_larger_than_what_a_transport_holds_gets_through() -> None:
    """A pipe holds less than one message of 128 KiB, which is held 0, and carries it all the same."""
    result = run_compare(ComparePlan(transports=("pipe",), size_bytes=2**17, rate=Fraction(200), **TINY))

    [_, pipe] = result["transports"]
    assert (pipe["held"], result["wrong"]) == (0, [])


def test_where_nothing_can_be_tried_the_table_is_still_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a chamber, --properties shows what the documentation says, and tells why nothing was tried."""

    def refuse(*_: Any, **__: Any) -> None:
        raise MachineError("no private IPC namespace")

    monkeypatch.setattr("harness.experiments.compare.carry_out", refuse)

    result = run_compare(ComparePlan(measuring=False))

    assert [row["name"] for row in result["properties"]] == list(TRANSPORTS)
    assert result["warnings"] == ["nothing could be tried here: no private IPC namespace"]
    with pytest.raises(MachineError, match="namespace"):
        run_compare(ComparePlan(**TINY))


def test_an_interruption_keeps_whole_rounds() -> None:
    """Interrupted, it tells of the rounds that every transport finished."""
    rows = 0

    def progress(done: int, of: int, doing: str) -> None:
        nonlocal rows
        rows = done

    plan = ComparePlan(transports=("pipe",), **{**TINY, "rounds": 500})
    result = run_compare(plan, progress, interrupted=lambda: "SIGINT" if rows > 5 else None)

    assert result["complete"] is False
    assert 1 <= result["rounds"] < 500
    assert all(found["rate"]["n"] == result["rounds"] for found in result["transports"])


@pytest.mark.skipif(kernel.POSIX_IPC.problem is not None, reason=str(kernel.POSIX_IPC.problem))
def test_posix_queues_go_with_their_ipc_namespace() -> None:
    """A POSIX queue whose maker is killed in a private IPC namespace is in that namespace alone, and gone with it."""
    code = (
        "import os, signal, sys, posix_ipc\n"
        "from harness.sysv import enter_private\n"
        "enter_private()\n"
        "posix_ipc.MessageQueue(sys.argv[1], posix_ipc.O_CREX)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    name = "/harness-test-namespace"

    done = subprocess.run([sys.executable, "-c", code, name], check=False, timeout=20)

    assert done.returncode == -signal.SIGKILL
    with pytest.raises(kernel.POSIX_IPC.module.ExistentialError):
        kernel.POSIX_IPC.module.MessageQueue(name)


# --- the loop, and the figures, of made-up messages and rows ---------------------------------------------------------


def receiver_of(*messages: tuple[int, int]) -> Receive:
    texts: Iterator[bytes] = itertools.chain(STAMP.pack(*message) for message in messages)
    return lambda: next(texts)


@pytest.mark.parametrize(
    ("numbers", "received", "wrong"),
    [
        ((0, 1, 2), 3, 0),
        ((0, 2), 2, 1),  # one is lost
        ((0, 1, 1, 2), 4, 1),  # one is doubled
        ((1, 0, 2), 3, 3),  # two have changed places
        ((), 0, 0),
    ],
)
@pytest.mark.parametrize("part", ["unpaced", "paced"])
def test_the_receiver_checks_every_number(part: str, numbers: tuple[int, ...], received: int, wrong: int) -> None:
    """Whatever is not the next number is counted, and the last message tells how many were sent."""
    receive = receiver_of(*((number, 5) for number in numbers), (3, 0))

    # More may come than there are places for latencies.
    found = workload._receive_unpaced(receive)[:3] if part == "unpaced" else workload._receive_paced(receive, [0] * 2)

    assert found == (3, received, wrong)


@pytest.mark.parametrize(("most", "held"), [(1000, 30), (20, 20)])
def test_a_sender_that_gets_on_is_not_held_back(monkeypatch: pytest.MonkeyPatch, most: int, held: int) -> None:
    """How much fits is only known when the sender has stood still a while, or has sent as many as are tried."""
    shared = workload.Shared()
    looks = iter(range(1000))

    def meanwhile(_: float) -> None:
        # At first it has not even begun; in the middle it has no CPU for a while.
        if 5 < (look := next(looks)) < 15 or look > 25:
            shared.words[Word.BEGUN] = 1
            shared.words[Word.HELD] = min(30, shared.words[Word.HELD] + 1)

    monkeypatch.setattr("harness.experiments.workload.time.sleep", meanwhile)

    workload._wait_until_still(shared, most, lambda: shared.words[Word.HELD] == 30)

    assert shared.words[Word.HELD] == held


def turn(name: str, number: int, *, rate: float = 100.0, **changes: Any) -> dict[str, Any]:
    row: dict[str, Any] = {
        "part": "turn",
        "name": name,
        "round": number,
        "rate": rate,
        "sent": 9,
        "received": 9,
        "wrong": 0,
    }
    return {**row, "p50_ns": 10, "p99_ns": 20, "max_ns": 30, **changes}


def about(name: str, **changes: Any) -> dict[str, Any]:
    row: dict[str, Any] = {"part": "about", "name": name, "refused": None, "room": "some", "held": 7, "tried": {}}
    return {**row, **changes}


@pytest.mark.parametrize("wrong", [{"received": 8}, {"received": 10}, {"wrong": 1}])
def test_what_is_lost_doubled_or_out_of_order_is_a_sentence(wrong: dict[str, int]) -> None:
    """Each turn that went wrong is told; one that went well is not."""
    [sentence] = wrong_in([turn("pipe", 0), turn("pipe", 1, **wrong)])

    assert sentence.startswith("pipe, round 2: sent 9")


def test_a_round_that_was_cut_does_not_count() -> None:
    """Only rounds in which each had its turn are compared."""
    turns = [turn("sysv", 0), turn("pipe", 0), turn("sysv", 1)]

    assert [sorted(rows) for rows in whole_rounds(turns, ["sysv", "pipe"])] == [["pipe", "sysv"]]


def test_figures_are_medians_over_rounds() -> None:
    """Ratios are taken within a round: 1/2, 3/1 and 4/2 have the median 2, and that of the medians is 3/2."""
    rates = [(2.0, 1.0), (1.0, 3.0), (2.0, 4.0)]
    turns = [
        turn(name, number, rate=rate)
        for number, pair in enumerate(rates)
        for name, rate in zip(("sysv", "pipe"), pair, strict=True)
    ]
    plan = ComparePlan(transports=("pipe", "redis"))
    rows = [about("sysv"), about("pipe"), about("redis", refused="it did not answer"), *turns]

    found = figures(plan, Outcome("now", rows=rows), {})

    [_, pipe] = found["transports"]
    assert pipe["rate"]["median"] == 3.0
    assert (pipe["to_sysv"]["rate"]["median"], pipe["to_sysv"]["rate"]["max"]) == (2.0, 3.0)
    assert (pipe["held"], pipe["loop"], pipe["tasks"]) == (7, "Python", 2)
    assert found["missing"] == [{"name": "redis", "why": "it did not answer"}]


def test_before_the_first_whole_round_there_are_no_figures() -> None:
    """Interrupted early, nothing is made up."""
    rows = [about("sysv"), about("pipe"), turn("sysv", 0)]

    found = figures(ComparePlan(transports=("pipe",)), Outcome("now", rows=rows), {})

    assert (found["rounds"], found["transports"]) == (0, [])


def test_a_trial_that_finds_something_else_is_a_warning() -> None:
    """Where this machine does not do what the table says, that is said, with the table's source."""
    found: dict[str, dict[str, bool | None]] = {"sysv": {"peek": False, "select": True, "poll": None}}

    [sentence] = contradictions(found)

    assert sentence == "sysv, peek: the table says 'MSG_COPY' (msgop(2)), and here it was not so"


def test_the_table_is_complete() -> None:
    """Every transport has every property, each with its source, and what was tried stands beside it."""
    rows = table({"pipe": {"boundaries": False}})

    assert [row["name"] for row in rows] == list(TRANSPORTS) == list(PROPERTIES)
    assert all(set(row) == {"name", *ASKED} for row in rows)
    assert all(row[asked]["says"] and row[asked]["source"] for row in rows for asked in ASKED)
    [pipe] = [row for row in rows if row["name"] == "pipe"]
    assert (pipe["boundaries"]["tried"], pipe["boundaries"]["holds"], pipe["peek"]["tried"]) == (False, False, None)


@pytest.mark.parametrize(("name", "tasks"), [("sysv", 2), ("sysv-c", 2), ("mp.Queue", 3), ("zeromq", 4), ("redis", 3)])
def test_what_else_is_at_work_is_counted(name: str, tasks: int) -> None:
    """A feeder thread, ZeroMQ's own threads and a server count beside sender and receiver."""
    assert tasks_of(name) == tasks
