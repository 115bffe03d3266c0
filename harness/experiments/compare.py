"""`harness compare`: the same workload over what one could use instead. The result is the `harness.compare/1` document.

In each round every transport has one turn: two fresh processes, one unpaced part and one paced (workload.py), in an
order that turns from round to round. Each figure is held against that of the System V queue in the same round, so that
what disturbs a round disturbs both. All are driven by one and the same Python loop but "sysv-c", which is the native
engine's loop in C: what Python costs, not another transport.

Before the rounds the run tries how many messages each holds while nobody receives, and what each can do
(properties.py, trials.py). What is not here is told with the reason, never left out silently.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from harness.engines import choice
from harness.engines.layout import HEADER_BYTES, Board, ConsumerWord, Control, ProducerWord, State, new_memory
from harness.experiments import trials, worker
from harness.experiments.chamber import Needs, Outcome, carry_out, head, nobody
from harness.experiments.plan import LoadPlan, new_run_id
from harness.experiments.properties import contradictions, table
from harness.experiments.transports import TRANSPORTS, Place, RedisList, RedisServer, open_transport
from harness.experiments.workload import LIMIT_S, MOST_UNPACED_BYTES, Load, held_by, run_turn
from harness.measure.pacing import NS_PER_S, Schedule
from harness.measure.statistics import ratio_spread, spread
from harness.sysv import Queue
from harness.sysv.errors import MachineError, PlanError, RunError, WorkerKilledError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from harness.experiments.chamber import Progress
    from harness.experiments.inside import Bench

SCHEMA = "harness.compare/1"
BASE, IN_C = "sysv", "sysv-c"
"""What all are held against, and the same queue in C."""
REDIS = RedisList.name
"""It needs a server, and that a folder."""
IN_C_TITLE = "System V queue (C, native engine)"
NAMES = (BASE, IN_C, *(name for name in TRANSPORTS if name != BASE))
"""What `--transports` takes, in the order of the report."""
FEWEST_ROUNDS = 3
LARGEST_BYTES = 1 << 20
MOST_PACED = 1_000_000
SHORTEST_S = 0.001
MOST_RATE = 1_000_000
QUEUE_BYTES = 16384
"""The kernel's own msgmnb, which hardly anybody raises."""
TURN_S = 0.08
"""What a turn takes besides its two parts, about; and as much again for the trials, once."""
START_S = 0.02
"""From the start of the C workers to their t0."""
TRIAL_LIMIT_S = 30.0
FIGURES = ("rate", "p50_ns", "p99_ns")
"""The figures of a turn that are spread over the rounds and held against the System V queue's."""
NOTHING_KNOWN: Mapping[str, Any] = {"refused": None, "room": None, "held": None, "tried": {}}
"""What a row about a transport tells, before anything was found."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparePlan:
    """What to compare. Raises PlanError for what cannot be carried out.

    `transports` are names of `NAMES`; None: all that are here. The System V queue is always among them. `duration_s`
    is an unpaced part's length, `paced_s` a paced one's at `rate` messages/s. Without `measuring` only the properties
    are tried.
    """

    transports: tuple[str, ...] | None = None
    size_bytes: int = 32
    rounds: int = 5
    duration_s: float = 0.15
    rate: Fraction = field(default_factory=lambda: Fraction(2000))
    paced_s: float = 0.2
    measuring: bool = True

    def __post_init__(self) -> None:
        for name in self.transports or ():
            if name not in NAMES:
                raise PlanError(f"there is no transport {name!r}", hint=f"write some of {','.join(NAMES)}")
        if self.rounds < FEWEST_ROUNDS:
            raise PlanError(
                f"{self.rounds} rounds say nothing about the spread", hint=f"write --rounds {FEWEST_ROUNDS}"
            )
        if not HEADER_BYTES <= self.size_bytes <= LARGEST_BYTES:
            raise PlanError(
                f"messages of {self.size_bytes} bytes",
                why=f"from {HEADER_BYTES} B, which the C loop's header takes, to 1 MiB are possible",
                hint="write --size 32B",
            )
        if min(self.duration_s, self.paced_s) < SHORTEST_S:
            raise PlanError("a part that short measures nothing", hint="write --duration 150ms --paced 200ms")
        if not 0 < self.rate <= MOST_RATE:
            raise PlanError(
                f"a rate of {float(self.rate):g} messages/s", why="1 to 1M are possible", hint="write --rate 2k"
            )
        if not 1 <= self.paced <= MOST_PACED:
            raise PlanError(
                f"the paced part would have {self.paced} messages",
                why=f"1 to {MOST_PACED} are possible",
                hint="change --rate or --paced",
            )

    @property
    def names(self) -> tuple[str, ...]:
        """The transports that are asked for, the System V queue first."""
        asked = NAMES if self.transports is None else (BASE, *self.transports)
        return tuple(dict.fromkeys(asked))

    @property
    def paced(self) -> int:
        """Messages of a paced part."""
        return round(self.rate * Fraction(self.paced_s))

    @property
    def queue_bytes(self) -> int:
        """What the System V queue has to hold: the kernel's default, or a few messages."""
        return max(QUEUE_BYTES, 2 * self.size_bytes)

    def rows_of(self, names: Sequence[str]) -> int:
        """How many rows are measured of these transports."""
        return len(names) * (1 + (self.rounds if self.measuring else 0))

    @property
    def announced_s(self) -> float:
        """How long it takes, about, in seconds."""
        turns = self.rounds * (self.duration_s + self.paced_s + TURN_S) if self.measuring else 0.0
        return 1.0 + len(self.names) * (turns + TURN_S)

    def to_json(self) -> dict[str, Any]:
        """The plan as it stands in the result."""
        return {**asdict(self), "transports": list(self.names), "rate": float(self.rate), "paced": self.paced}


def run_compare(
    plan: ComparePlan,
    progress: Progress = nobody,
    *,
    interrupted: Callable[[], str | None] = lambda: None,
    argv: Sequence[str] = (),
) -> dict[str, Any]:
    """Carry it out; returns the `harness.compare/1` document (docs/results.md).

    Raises MachineError when a transport that was asked for by name is not here, else HarnessError as `carry_out`.
    """
    missing = {name: why for name in plan.names if (why := unavailable(name))}
    for name, why in missing.items():
        _insist(plan, name, why)
    names = tuple(name for name in plan.names if name not in missing)
    try:
        outcome = carry_out(
            measure,
            (plan, names),
            needs=Needs(
                queue_bytes=plan.queue_bytes,
                message_bytes=max(plan.size_bytes, 8192),
                memory_bytes=2 * min(MOST_UNPACED_BYTES, int(plan.duration_s * MOST_RATE) * plan.size_bytes),
                workers=max(tasks_of(name) for name in names),
                folder=REDIS in names,
            ),
            rows=plan.rows_of(names),
            announced_s=plan.announced_s,
            progress=progress,
            interrupted=interrupted,
        )
    except MachineError as error:
        if plan.measuring:
            raise
        # The table stands in the documentation; that nothing could be tried is no reason to withhold it.
        outcome = Outcome(started_at=datetime.now(UTC).isoformat(timespec="seconds"))
        outcome.warnings.append(f"nothing could be tried here: {error}")
    return {
        **head(SCHEMA, outcome, plan=plan.to_json(), argv=argv, engine=None),
        **figures(plan, outcome, missing),
        "rows": outcome.rows,
    }


def unavailable(name: str) -> str | None:
    """Why a transport is not here and what to do, in a line; None when it is."""
    if name == IN_C:
        problem = choice.native_problem()
        return f"{problem}: {choice.BUILD_HINT}" if problem else None
    return TRANSPORTS[name].available()


def tasks_of(name: str) -> int:
    """How many processes or threads are at work at a time."""
    return 2 if name == IN_C else TRANSPORTS[name].tasks


def title_of(name: str) -> str:
    """What it is, in words."""
    return IN_C_TITLE if name == IN_C else TRANSPORTS[name].title


# --- in the chamber --------------------------------------------------------------------------------------------------


def measure(order: tuple[ComparePlan, tuple[str, ...]], bench: Bench) -> Iterator[dict[str, Any]]:
    """The work: a row for what each transport is like, then one for each turn, in rounds."""
    plan, names = order
    with Queue.private() as queue:
        place = Place(size_bytes=plan.size_bytes, queue_bytes=queue.stat().queue_bytes)
    if REDIS not in names:
        yield from _all(plan, names, place, bench)
        return
    assert bench.folder is not None  # asked for in Needs
    bench.doing("starting redis-server")
    try:
        server = RedisServer(bench, bench.folder)
    except MachineError as error:
        _insist(plan, REDIS, str(error))
        yield {"part": "about", "name": REDIS, **NOTHING_KNOWN, "refused": str(error)}
        yield from _all(plan, [name for name in names if name != REDIS], place, bench)
        return
    try:
        yield from _all(plan, names, replace(place, redis_socket=server.socket), bench)
    finally:
        server.close()


def _all(plan: ComparePlan, names: Sequence[str], place: Place, bench: Bench) -> Iterator[dict[str, Any]]:
    """All rows of the transports that can be opened here."""
    here = []
    for name in names:
        bench.doing(f"what it holds and can do: {title_of(name)}")
        row = {"part": "about", "name": name, **_about(plan, place, bench, name)}
        if row["refused"] is not None:
            _insist(plan, name, row["refused"])
        yield row
        if row["refused"] is None:
            here.append(name)
    if not plan.measuring:
        return
    if BASE not in here:
        raise RunError("the System V queue cannot be measured", why="and all others are held against it")
    load = Load(
        size_bytes=plan.size_bytes,
        unpaced_s=plan.duration_s,
        paced=plan.paced,
        period_ns=Schedule(plan.rate, 1, 0).period_ns,
        spin=len(os.sched_getaffinity(0)) > 1,
    )
    for number in range(plan.rounds):
        first = number % len(here)
        for name in here[first:] + here[:first]:
            bench.doing(f"round {number + 1}: {title_of(name)}")
            yield {"part": "turn", "name": name, "round": number, **_turn(load, place, bench, name)}


def _insist(plan: ComparePlan, name: str, why: str) -> None:
    """Raise MachineError if what is not here was asked for by name."""
    if plan.transports is not None:
        raise MachineError(f"{name} is not here", why=why, hint="leave it out of --transports")


def _about(plan: ComparePlan, place: Place, bench: Bench, name: str) -> dict[str, Any]:
    """What one transport is like here: how much it holds, and what it can do."""
    row = dict(NOTHING_KNOWN)
    if name == IN_C:  # the same queue
        return row
    try:
        transport = open_transport(name, place)
        row["room"] = transport.room
        try:
            if plan.measuring:
                row["held"] = held_by(bench, transport, plan.size_bytes)
        finally:
            transport.close()
    except (MachineError, RunError, OSError) as error:
        return {**row, "refused": str(error)}
    row["tried"], problem = _tried(place, bench, name)
    if problem:
        bench.warn(f"{title_of(name)}: its properties could not be tried: {problem}")
    return row


def _tried(place: Place, bench: Bench, name: str) -> tuple[dict[str, bool | None], str]:
    """What was found of its properties, in a process of its own, which threads and hangs do not leave."""
    reading, writing = os.pipe()
    pid = bench.start(lambda: os.write(writing, json.dumps(trials.try_out(name, place)).encode()) and 0)
    os.close(writing)
    try:
        status = bench.wait(pid, TRIAL_LIMIT_S)
        said = os.read(reading, 65536)
    except WorkerKilledError as error:
        return {}, str(error)
    finally:
        os.close(reading)
    return (json.loads(said), "") if status == 0 else ({}, "its process failed")


def _turn(load: Load, place: Place, bench: Bench, name: str) -> dict[str, Any]:
    if name == IN_C:
        return _turn_in_c(load, bench)
    transport = open_transport(name, place)
    try:
        return run_turn(bench, transport, load)
    finally:
        transport.close()


def _turn_in_c(load: Load, bench: Bench) -> dict[str, Any]:
    """The same two parts by the native engine: with its own header, stamps, checks and histograms, in C."""
    size = (load.size_bytes, load.size_bytes)
    unpaced = LoadPlan(rate="max", duration_s=load.unpaced_s, warmup_s=START_S, size=size, engine="native")
    paced = LoadPlan(
        rate=Fraction(NS_PER_S) / Fraction(load.period_ns),
        duration_s=load.paced * load.period_ns / NS_PER_S,
        warmup_s=START_S,
        size=size,
        engine="native",
    )
    first, second = _run_in_c(unpaced, load, bench), _run_in_c(paced, load, bench)
    return {
        "rate": first["rate"],
        **{word: first[word] + second[word] for word in ("sent", "received", "wrong")},
        **{word: second[word] for word in ("p50_ns", "p99_ns", "max_ns")},
    }


def _run_in_c(plan: LoadPlan, load: Load, bench: Bench) -> dict[str, Any]:
    """One part: a producer and a consumer of the engine on a queue of their own, driven as a load run drives them."""
    engine, run_id = choice.load(plan.engine), new_run_id()
    descriptor = new_memory(plan.shape)
    with Board(descriptor, plan.shape) as board, Queue.private(max_bytes=load.size_bytes) as queue:
        os.close(descriptor)

        def consume() -> int:
            task = plan.consumer_task(0, run_id=run_id, max_bytes=load.size_bytes)
            return worker.consume(engine.receiver(task, queue, board), board, 0) is not State.DONE

        def produce() -> int:
            sender = engine.sender(plan.producer_task(0, run_id=run_id, spin=load.spin), queue, board)
            return worker.produce(sender, board, 0, loop=plan.loop, due=plan.due) is not State.DONE

        consumer, producer = bench.start(consume), bench.start(produce)
        control, now = board.control, time.monotonic_ns()
        control[Control.WARM_NS] = now
        control[Control.T0_NS] = t0 = now + int(START_S * NS_PER_S)
        control[Control.END_NS] = end = t0 + int((plan.duration_s or 0) * NS_PER_S)
        control[Control.GIVE_UP_NS] = end + int(LIMIT_S * NS_PER_S)
        control[Control.GO] = 1
        failed = bench.wait(producer, LIMIT_S + load.planned_s)
        deadline_s = time.monotonic() + LIMIT_S
        while board.received < board.sent and time.monotonic() < deadline_s:
            time.sleep(worker.START_POLL_S)
        control[Control.STOP] = 2
        queue.remove()  # which ends the consumer
        failed = bench.wait(consumer, LIMIT_S) or failed
        if failed:
            raise RunError(f"{IN_C_TITLE} failed", why="a process of it ended early")
        words, latency = board.consumers[0].words, board.latency().summary()
        took_ns = words[ConsumerWord.LAST_RECEIVE_NS] - board.producers[0].words[ProducerWord.FIRST_SEND_NS]
        return {
            "rate": board.service().total * NS_PER_S / max(1, took_ns),
            "sent": board.sent,
            "received": board.received,
            "wrong": words[ConsumerWord.OUT_OF_ORDER] + words[ConsumerWord.DUPLICATED],
            "p50_ns": latency["p50"],
            "p99_ns": latency["p99"],
            "max_ns": latency["max"],
        }


# --- from rows to figures --------------------------------------------------------------------------------------------


def figures(plan: ComparePlan, outcome: Outcome, missing: Mapping[str, str]) -> dict[str, Any]:
    """What the rows say: spreads over the whole rounds, ratios within a round, properties, and what is not here."""
    about = {row["name"]: row for row in outcome.rows if row["part"] == "about"}
    turns = [row for row in outcome.rows if row["part"] == "turn"]
    refused = {name: row["refused"] for name, row in about.items() if row["refused"] is not None}
    measured = [name for name in plan.names if any(row["name"] == name for row in turns)]
    rounds = whole_rounds(turns, [name for name in about if name not in refused])
    found = {name: row["tried"] for name, row in about.items() if name not in refused}
    outcome.warnings += contradictions(found)
    return {
        "rounds": len(rounds),
        "transports": [_figures_of(name, about[name], rounds) for name in measured if rounds],
        "missing": [{"name": name, "why": why} for name, why in {**missing, **refused}.items()],
        "wrong": wrong_in(turns),
        "properties": table(found),
    }


def whole_rounds(turns: Iterable[dict[str, Any]], names: Sequence[str]) -> list[dict[str, dict[str, Any]]]:
    """The rounds in which every transport had its turn: for each its row, by name."""
    rounds: dict[int, dict[str, dict[str, Any]]] = {}
    for row in turns:
        rounds.setdefault(row["round"], {})[row["name"]] = row
    return [rows for _, rows in sorted(rounds.items()) if set(rows) >= set(names)]


def _figures_of(name: str, about: dict[str, Any], rounds: Sequence[dict[str, dict[str, Any]]]) -> dict[str, Any]:
    ours, base = [rows[name] for rows in rounds], [rows[BASE] for rows in rounds]
    return {
        "name": name,
        "title": title_of(name),
        "loop": "C" if name == IN_C else "Python",
        "tasks": tasks_of(name),
        "room": about["room"],
        "held": about["held"],
        **{figure: spread(row[figure] for row in ours).to_json() for figure in FIGURES},
        "to_sysv": {
            figure: ratio_spread([row[figure] for row in ours], [row[figure] for row in base]).to_json()
            for figure in FIGURES
        },
    }


def wrong_in(turns: Iterable[dict[str, Any]]) -> list[str]:
    """Sentences about messages that were lost, doubled or out of order."""
    return [
        f"{row['name']}, round {row['round'] + 1}: sent {row['sent']}, received {row['received']}, {row['wrong']}"
        " of them not the next"
        for row in turns
        if row["sent"] != row["received"] or row["wrong"]
    ]
