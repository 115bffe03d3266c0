"""`harness select`: what selecting by message type costs. The result is the `harness.select/1` document.

The kernel keeps a queue as two lists, and walks them under the queue's lock (ipc/msg.c):

    msgrcv   walks the messages until one fits what was asked for (find_msg)
    msgsnd   walks the sleeping receivers until one wants the message (pipelined_send)

Three parts: `receive` times one msgrcv against the depth of the queue, for nine ways to ask; `send` times one msgsnd
against the number of receivers asleep on other types; `bystander` shows how far a process that asks over and over for
a type that is not there slows an unrelated pair on the same queue. Each part is measured in rounds, everything once a
round, so that what disturbs a round disturbs all that it is compared with.
"""

from __future__ import annotations

import os
import time
from array import array
from dataclasses import asdict, dataclass
from functools import partial
from statistics import median
from typing import TYPE_CHECKING, Any

from harness.engines import choice, probes
from harness.engines.probes import MSG_COPY, MSG_EXCEPT
from harness.experiments.chamber import Needs, carry_out, head, nobody
from harness.experiments.plan import LARGEST_QUEUE
from harness.measure.fit import fit_steps
from harness.measure.quantities import format_count, format_size
from harness.measure.statistics import ratio_spread, spread
from harness.sysv import Queue, asleep_in
from harness.sysv.errors import MachineError, PlanError, RunError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from harness.engines.probes import Probes
    from harness.experiments.chamber import Outcome, Progress
    from harness.experiments.inside import Bench

SCHEMA = "harness.select/1"
LOWEST, FILLER, WANTED, ABSENT = 1, 2, 3, 9
PING, PONG = 4, 5
"""The types on the queue: what it is filled with, what is looked for, what is never there, and the bystanders' two."""

CASES = {
    "any": "any type: the head",
    "head": "exactly a type that is at the head",
    "middle": "exactly a type that is in the middle",
    "tail": "exactly a type that is at the tail",
    "lowest": "at most a type, no type 1 in the queue",
    "lowest-1": "at most a type, a type 1 at the head",
    "except": "anything but the type of all but the last",
    "miss": "a type that is not there",
    "peek": "a copy of the last message (MSG_COPY)",
}
"""The nine ways to ask, and in words what each is."""
WALKS = ("middle", "tail", "lowest", "except", "miss", "peek")
"""Those that walk, and so have a cost for each message that they pass."""

MOST_CALLS, LEAST_CALLS = 2000, 5
CALL_BUDGET_NS = 10_000_000
"""So long is one way to ask measured at one depth in one round, within the two limits above."""
TRIAL_CALLS = 5
TURN_NS = 1_500
"""What a rotation takes at most, for the time that is announced."""
SLEEPER_FIRST_TYPE = 1000
ASLEEP_LIMIT_S = 20.0
POLL_S = 0.001
MESSAGE_OVERHEAD_BYTES = 64
"""What a message takes in the kernel besides its text: struct msg_msg has 48 bytes, and slabs come in powers of 2."""
FEWEST_ROUNDS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class SelectPlan:
    """What to measure. Raises PlanError for what cannot be carried out.

    `depths` are messages in the queue, `size_bytes` the text of each; `sleepers` are numbers of sleeping receivers
    (empty: that part is left out); `bystander_depth` messages lie in the queue that the poller walks (0: left out).
    """

    depths: tuple[int, ...] = (10, 30, 100, 300, 1_000, 3_000, 10_000, 30_000, 100_000)
    size_bytes: int = 32
    rounds: int = 5
    sleepers: tuple[int, ...] = (0, 100, 400, 1_000, 2_000, 4_000)
    bystander_depth: int = 10_000
    bystander_s: float = 0.3
    engine: str = "auto"

    def __post_init__(self) -> None:
        if not self.depths:
            raise PlanError("no depth to measure at", hint="write --depths 10,1k,100k")
        for depth in self.depths:
            if depth < 2:  # noqa: PLR2004  one to pass, one to find
                raise PlanError(f"a depth of {depth} has nothing to walk", hint="write depths of 2 and more")
        if self.rounds < FEWEST_ROUNDS:
            raise PlanError(
                f"{self.rounds} rounds say nothing about the spread", hint=f"write --rounds {FEWEST_ROUNDS}"
            )
        if self.size_bytes < 1 or self.bystander_depth < 0 or min(self.sleepers, default=0) < 0:
            raise PlanError("a number below what can be", hint="write sizes from 1 B, depths and sleepers from 0")
        if self.queue_bytes > LARGEST_QUEUE:
            raise PlanError(
                f"{format_count(self.most_messages)} messages of {format_size(self.size_bytes)} need a queue of"
                f" {self.queue_bytes:,} bytes",
                why=f"msgmnb ends at {LARGEST_QUEUE:,} bytes (INT_MAX)",
                hint="lower --depths or --size",
            )
        if self.engine not in choice.NAMES:
            raise PlanError(f"unknown engine {self.engine!r}", hint=f"write one of {', '.join(choice.NAMES)}")

    @property
    def most_messages(self) -> int:
        """The most that are in a queue at a time."""
        return max(*self.depths, self.bystander_depth) + 2

    @property
    def queue_bytes(self) -> int:
        """The byte limit that the deepest queue needs."""
        return self.most_messages * self.size_bytes

    @property
    def memory_bytes(self) -> int:
        """What the deepest queue takes of the kernel's memory, about."""
        return self.most_messages * (MESSAGE_OVERHEAD_BYTES + (1 << (self.size_bytes - 1).bit_length()))

    @property
    def rows(self) -> int:
        """How many rows are measured."""
        parts = len(self.depths) * len(CASES) + len(self.sleepers) + (1 if self.bystander_depth else 0)
        return self.rounds * parts

    @property
    def announced_s(self) -> float:
        """How long it takes, about, in seconds."""
        cells = len(CASES) * CALL_BUDGET_NS / 1e9
        # Filled twice, and turned by half for each call of `middle`; each deep walk takes longer than its budget.
        a_round = sum(cells + (2 + LEAST_CALLS) * depth * TURN_NS / 1e9 + depth * 2e-5 for depth in self.depths)
        bystander_s = 2 * self.bystander_s if self.bystander_depth else 0.0
        return 1.0 + self.rounds * (a_round + bystander_s + max(self.sleepers, default=0) * 1e-4)

    def to_json(self) -> dict[str, Any]:
        """The plan as it stands in the result."""
        return {**asdict(self), "depths": list(self.depths), "sleepers": list(self.sleepers)}


def run_select(
    plan: SelectPlan,
    progress: Progress = nobody,
    *,
    interrupted: Callable[[], str | None] = lambda: None,
    argv: Sequence[str] = (),
) -> dict[str, Any]:
    """Carry it out; returns the `harness.select/1` document (docs/results.md). Raises HarnessError as `carry_out`."""
    engine = choice.resolve(plan.engine)
    outcome = carry_out(
        measure,
        (plan, engine),
        needs=Needs(
            queue_bytes=plan.queue_bytes,
            message_bytes=max(plan.size_bytes, 8192),
            memory_bytes=plan.memory_bytes,
            workers=3 if plan.bystander_depth else 1,  # the pair and the poller, at a time
        ),
        rows=plan.rows,
        announced_s=plan.announced_s,
        progress=progress,
        interrupted=interrupted,
    )
    return {
        **head(SCHEMA, outcome, plan=plan.to_json(), argv=argv, engine=engine),
        **figures(plan, outcome),
        "rows": outcome.rows,
    }


# --- in the chamber --------------------------------------------------------------------------------------------------


def measure(order: tuple[SelectPlan, str], bench: Bench) -> Iterator[dict[str, Any]]:
    """The work: one row for each thing measured, in rounds."""
    plan, engine = order
    calls = probes.load(engine)
    yield _overhead(calls)
    for number in range(plan.rounds):
        for depth in plan.depths:
            yield from _receives(plan, calls, bench, number, depth)
        if plan.bystander_depth:
            yield _bystander(plan, calls, bench, number)
        if plan.sleepers:
            yield from _sends(plan, calls, bench, number)


def _overhead(calls: Probes) -> dict[str, Any]:
    with Queue.private() as queue:
        times = array("q", bytes(8 * MOST_CALLS))
        return {"part": "overhead", "ns": probes.overhead_ns(calls, queue.id, times)}


def _receives(plan: SelectPlan, calls: Probes, bench: Bench, number: int, depth: int) -> Iterator[dict[str, Any]]:
    """One round of the nine ways to ask, at one depth."""

    def cell(queue: Queue, case: str, **asked: Any) -> dict[str, Any]:
        bench.doing(f"round {number + 1}, depth {format_count(depth)}: {CASES[case]}")
        row: dict[str, Any] = {"part": "receive", "round": number, "depth": depth, "case": case, "ns": None}
        try:
            row["ns"], row["calls"] = _timed(calls, queue, plan.size_bytes, **asked)
        except MachineError as error:
            row["calls"] = 0
            if not number:
                bench.warn(f"{CASES[case]}: {error}")
        return row

    with Queue.private(max_bytes=plan.size_bytes) as queue:
        calls.fill(queue.id, FILLER, plan.size_bytes, depth)
        yield cell(queue, "any", msgtyp=0)
        yield cell(queue, "head", msgtyp=FILLER)
        yield cell(queue, "lowest", msgtyp=-ABSENT)
        yield cell(queue, "miss", msgtyp=ABSENT)
        yield cell(queue, "peek", msgtyp=depth - 1, flags=MSG_COPY, back=False)
        queue.receive(timeout=0)
        calls.fill(queue.id, WANTED, plan.size_bytes, 1)
        yield cell(queue, "tail", msgtyp=WANTED)
        yield cell(queue, "except", msgtyp=FILLER, flags=MSG_EXCEPT)
        behind = (depth - 1) // 2
        calls.rotate(queue.id, plan.size_bytes, behind)
        yield cell(queue, "middle", msgtyp=WANTED, turns=behind)
    with Queue.private(max_bytes=plan.size_bytes) as queue:
        calls.fill(queue.id, LOWEST, plan.size_bytes, depth)
        yield cell(queue, "lowest-1", msgtyp=-ABSENT)


def _timed(calls: Probes, queue: Queue, room_bytes: int, **asked: Any) -> tuple[float, int]:
    """The median of as many calls as fit the budget, after a few that tell how many those are."""
    begin = time.monotonic_ns()
    calls.time_receives(queue.id, room_bytes=room_bytes, times=(trial := array("q", bytes(8 * TRIAL_CALLS))), **asked)
    each_ns = (time.monotonic_ns() - begin) / TRIAL_CALLS
    count = int(min(MOST_CALLS, max(LEAST_CALLS, CALL_BUDGET_NS / each_ns)))
    if count <= TRIAL_CALLS:  # dear calls need no warming up, and there is no time for more
        return float(median(trial)), TRIAL_CALLS
    calls.time_receives(queue.id, room_bytes=room_bytes, times=(times := array("q", bytes(8 * count))), **asked)
    return float(median(times)), count


def _sends(plan: SelectPlan, calls: Probes, bench: Bench, number: int) -> Iterator[dict[str, Any]]:
    """One round of sends past more and more sleeping receivers."""
    queue = Queue.private(max_bytes=plan.size_bytes)
    most = min(max(plan.sleepers), calls.most_sleepers)
    asleep = calls.sleepers(queue.id, first_type=SLEEPER_FIRST_TYPE, most=most)
    there = 0
    try:
        for wanted in sorted(plan.sleepers):
            bench.doing(f"round {number + 1}, a send past {format_count(wanted)} sleeping receivers")
            before, there = there, asleep.add(wanted - there)
            if there < wanted and not number:
                bench.warn(
                    f"{wanted} sleeping receivers were asked for, and {there} could be had ({calls.name} engine)"
                )
            if there == before and wanted > there:
                continue
            _wait_until_asleep(there)
            times = array("q", bytes(8 * (MOST_CALLS // 4)))
            calls.time_sends(queue.id, message_type=WANTED, size_bytes=plan.size_bytes, times=times)
            yield {"part": "send", "round": number, "sleepers": there, "ns": float(median(times)), "calls": len(times)}
    finally:
        queue.remove()
        asleep.join()


def _wait_until_asleep(count: int) -> None:
    """Until so many threads of this process sleep in msgrcv."""
    deadline_s = time.monotonic() + ASLEEP_LIMIT_S
    while sum(asleep_in(int(thread)) is not None for thread in os.listdir("/proc/self/task")) < count:  # noqa: PTH208
        if time.monotonic() > deadline_s:
            raise RunError(
                f"{count} threads were started, and did not all fall asleep", hint="is the machine overloaded?"
            )
        time.sleep(POLL_S)


def _bystander(plan: SelectPlan, calls: Probes, bench: Bench, number: int) -> dict[str, Any]:
    """One round: a pair plays ping-pong on a queue, alone and beside a poller; who goes first turns."""
    row: dict[str, Any] = {"part": "bystander", "round": number}
    for polled in (bool(number % 2), not number % 2):
        bench.doing(
            f"round {number + 1}, a pair {'beside a process that polls for a missing type' if polled else 'alone'}"
        )
        row["polled" if polled else "alone"] = _ping_pong(plan, calls, bench, polled=polled)
    return row


def _ping_pong(plan: SelectPlan, calls: Probes, bench: Bench, *, polled: bool) -> float:
    """Round trips a second of a pair, with a poller beside it or not."""
    with Queue.private(max_bytes=plan.size_bytes) as queue:
        calls.fill(queue.id, FILLER, plan.size_bytes, plan.bystander_depth)
        play = partial(calls.exchange, queue.id, size_bytes=plan.size_bytes)

        def answer() -> None:
            play(sends=PONG, takes=PING, begins=False)

        def ask_in_vain() -> None:
            calls.poll(queue.id, msgtyp=ABSENT, room_bytes=plan.size_bytes)

        others = [bench.start(answer), *([bench.start(ask_in_vain)] if polled else [])]
        bench.until_asleep(others[0])
        begin = time.monotonic_ns()
        trips = play(sends=PING, takes=PONG, begins=True, until_ns=begin + int(plan.bystander_s * 1e9))
        rate = trips * 1e9 / (time.monotonic_ns() - begin)
    for pid in others:  # the queue is gone, which ends them
        bench.wait(pid, ASLEEP_LIMIT_S)
    return rate


# --- from rows to figures --------------------------------------------------------------------------------------------


def figures(plan: SelectPlan, outcome: Outcome) -> dict[str, Any]:
    """What the rows say: spreads over the rounds, fits, ratios."""
    overhead = next((row["ns"] for row in outcome.rows if row["part"] == "overhead"), None)
    receives = [row for row in outcome.rows if row["part"] == "receive" and row["ns"] is not None]
    sends = [row for row in outcome.rows if row["part"] == "send"]
    pairs = [row for row in outcome.rows if row["part"] == "bystander"]
    return {
        "overhead_ns": overhead,
        "receive": [
            {"case": case, "asked": asked, "points": _points(rows, "depth"), "fit": _fit(case, rows)}
            for case, asked in CASES.items()
            if (rows := [row for row in receives if row["case"] == case])
        ],
        "send": {"points": _points(sends, "sleepers"), "fit": _fit("send", sends)} if sends else None,
        "bystander": {
            "depth": plan.bystander_depth,
            "alone_rate": spread(row["alone"] for row in pairs).to_json(),
            "polled_rate": spread(row["polled"] for row in pairs).to_json(),
            "slowed": ratio_spread([row["alone"] for row in pairs], [row["polled"] for row in pairs]).to_json(),
        }
        if pairs
        else None,
    }


def _points(rows: Iterable[dict[str, Any]], of: str) -> list[dict[str, Any]]:
    """For each number the spread over the rounds."""
    found: dict[int, list[float]] = {}
    for row in rows:
        found.setdefault(row[of], []).append(row["ns"])
    return [{of: number, **spread(values).to_json()} for number, values in sorted(found.items())]


def _fit(case: str, rows: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """The cost of each message or sleeper passed; None for what does not walk."""
    if case not in (*WALKS, "send"):
        return None
    rounds: dict[int, dict[int, float]] = {}
    for row in rows:
        rounds.setdefault(row["round"], {})[passed(case, row)] = row["ns"]
    whole = [times for times in rounds.values() if len(times) == max(map(len, rounds.values()))]
    found = fit_steps(whole)
    return found.to_json() if found else None


def passed(case: str, row: dict[str, Any]) -> int:
    """How many messages (or sleepers) a call walks past before the one it takes, or all."""
    if case == "send":
        return int(row["sleepers"])
    depth = int(row["depth"])
    return {"middle": (depth - 1) - (depth - 1) // 2, "lowest": depth, "miss": depth}.get(case, depth - 1)
