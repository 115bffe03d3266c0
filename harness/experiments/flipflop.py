"""`harness flipflop`: who gets the next message. The result is the `harness.flipflop/1` document.

A receiver that finds nothing goes to the tail of the queue's list of sleeping receivers, and a send hands its message
to the first in that list which wants it (pipelined_send, ipc/msg.c); a message that nobody waits for lies in the queue
until somebody asks. Either way the next message goes to whoever has asked longest ago, so receivers that do nothing
else take turns, and those that work between two receives do not.

Each receiver is a process: it notes the time, asks for a message of any type, notes the time again, works (sleeps) and
comes back. From the noted times follow three things: who should have got each message, where the turn of strict
alternation was broken, and why. The times are noted beside the calls and not in the kernel: two receivers that ask
within the same microseconds can come there in the other order.
"""

from __future__ import annotations

import os
import string
import time
from collections import Counter
from dataclasses import asdict, dataclass
from functools import partial
from math import inf
from mmap import mmap
from typing import TYPE_CHECKING, Any

from harness.experiments.chamber import Needs, carry_out, head, nobody
from harness.measure.statistics import spread
from harness.sysv import Queue, asleep_in
from harness.sysv.errors import PlanError, QueueRemovedError, RunError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from harness.experiments.chamber import Outcome, Progress
    from harness.experiments.inside import Bench

SCHEMA = "harness.flipflop/1"
NAMES = string.ascii_uppercase
"""What the receivers are called, and so how many there can be: each is one letter of the strip."""
FEWEST_RECEIVERS = 2
MOST_MESSAGES = 100_000
MOST_ROUNDS = 1000
MESSAGE_TYPE = 8
NUMBER_BYTES = 4
"""The original's type and size: where it sent `abcd`, the message's number stands."""

LEAD_NS = 20_000_000
"""The sender's first message is due so long after all receivers have been seen asleep."""
POLL_S = 0.005
START_S = 0.3
STALL_S = 20.0
"""A round in which nothing happens for so long, beyond the times that were asked for, has failed."""

REASONS = ("queued", "at-work", "not-back", "blocked-later", "unseen")
"""Why a turn was broken, in the words of docs/results.md."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FlipflopPlan:
    """Who receives, and how messages come. Raises PlanError for what cannot be carried out.

    `work_ns` is how long each receiver works on a message: one number for all, or one each. Messages come every
    `every_ns`, or back to back for 0. The first `backlog` of the `count` messages are queued before anybody asks.
    """

    receivers: int = 2
    work_ns: tuple[int, ...] = (0,)
    every_ns: int = 20_000_000
    count: int = 60
    backlog: int = 0
    rounds: int = 3

    def __post_init__(self) -> None:
        if not FEWEST_RECEIVERS <= self.receivers <= len(NAMES):
            raise PlanError(
                f"{self.receivers} receivers",
                why=f"{FEWEST_RECEIVERS} to {len(NAMES)} are possible, a letter each",
                hint="write --receivers 3",
            )
        if len(self.work_ns) not in (1, self.receivers):
            raise PlanError(
                f"{len(self.work_ns)} work times for {self.receivers} receivers",
                why="there is one for all, or one each",
                hint="write --work 5ms, or as many times as receivers with commas",
            )
        if min(self.work_ns) < 0 or self.every_ns < 0:
            raise PlanError("a time below 0", hint="write --work 0 for none, --every 0 for back to back")
        if not 1 <= self.count <= MOST_MESSAGES:
            raise PlanError(f"{self.count} messages", why=f"1 to {MOST_MESSAGES:,} are possible")
        if not 0 <= self.backlog <= self.count:
            raise PlanError(
                f"a backlog of {self.backlog} of {self.count} messages", hint="write a --backlog of at most --count"
            )
        if not 1 <= self.rounds <= MOST_ROUNDS:
            raise PlanError(f"{self.rounds} rounds", why=f"1 to {MOST_ROUNDS:,} are possible")

    @property
    def names(self) -> str:
        """The receivers' letters."""
        return NAMES[: self.receivers]

    @property
    def works_ns(self) -> tuple[int, ...]:
        """The work time of each receiver."""
        return self.work_ns * self.receivers if len(self.work_ns) == 1 else self.work_ns

    @property
    def rows(self) -> int:
        """How many rows are measured: one a message, one at the end of each round."""
        return self.rounds * (self.count + 1)

    @property
    def announced_s(self) -> float:
        """How long it takes, about, in seconds: until all is sent, or until all is worked on if that is longer."""
        sending_ns = (self.count - self.backlog) * self.every_ns
        busy = [work for work in self.works_ns if work]
        # A receiver without work takes what the others leave, so that nothing waits for them.
        working_ns = self.count / sum(1 / work for work in busy) if len(busy) == self.receivers else 0.0
        return 0.5 + self.rounds * (START_S + (max(sending_ns, working_ns) + max(self.work_ns)) / 1e9)

    def to_json(self) -> dict[str, Any]:
        """The plan as it stands in the result."""
        return {**asdict(self), "work_ns": list(self.works_ns)}


def run_flipflop(
    plan: FlipflopPlan,
    progress: Progress = nobody,
    *,
    interrupted: Callable[[], str | None] = lambda: None,
    argv: Sequence[str] = (),
) -> dict[str, Any]:
    """Carry it out; returns the `harness.flipflop/1` document (docs/results.md). Raises HarnessError as `carry_out`."""
    outcome = carry_out(
        measure,
        plan,
        needs=Needs(
            queue_bytes=max(NUMBER_BYTES * plan.count, 16384),
            # Paced, the sender and one receiver run at a time; the others sleep.
            workers=2 if plan.every_ns else plan.receivers + 1,
        ),
        rows=plan.rows,
        announced_s=plan.announced_s,
        progress=progress,
        interrupted=interrupted,
    )
    return {
        **head(SCHEMA, outcome, plan=plan.to_json(), argv=argv, engine=None),
        **figures(plan, outcome),
        "rows": outcome.rows,
    }


# --- in the chamber --------------------------------------------------------------------------------------------------


class Board:
    """What the processes of one round note, in shared memory: words of 64 bits, each with one writer.

    Of each message when its send began, when its receiver had asked and when it came back with it (CLOCK_MONOTONIC,
    ns), and last of all which receiver that was, counted from 1; of each receiver when it asked last. 0 is not yet.
    """

    def __init__(self, count: int, receivers: int) -> None:
        words = memoryview(mmap(-1, 8 * (4 * count + receivers))).cast("Q")
        self.sent, self.asked, self.received, self.receiver = (
            words[place * count : (place + 1) * count] for place in range(4)
        )
        self.asking = words[4 * count :]


def measure(plan: FlipflopPlan, bench: Bench) -> Iterator[dict[str, Any]]:
    """The work: one row a message, one at the end of each round."""
    for number in range(plan.rounds):
        with Queue.private(max_bytes=NUMBER_BYTES) as queue:
            yield from _Round(plan, bench, queue, number).rows()


class _Round:
    """One round, with fresh processes; its times are ns since its beginning."""

    def __init__(self, plan: FlipflopPlan, bench: Bench, queue: Queue, number: int) -> None:
        self._plan, self._bench, self._queue, self._number = plan, bench, queue, number
        self._board = Board(plan.count, plan.receivers)
        self._begin_ns = self._t0_ns = time.monotonic_ns()
        self._told = 0
        self._receivers: list[int] = []

    def rows(self) -> Iterator[dict[str, Any]]:
        """From the first process to the last message."""
        plan, bench, board = self._plan, self._bench, self._board
        bench.doing(f"round {self._number + 1} of {plan.rounds}: receivers start")
        for number in range(plan.backlog):
            _send_one(self._queue, board, number)
        for place, work_ns in enumerate(plan.works_ns):
            self._receivers.append(bench.start(partial(_receive, self._queue, board, place, work_ns)))
        yield from self._until(self._all_asleep, "the receivers to fall asleep")
        bench.doing(f"round {self._number + 1} of {plan.rounds}: messages are sent")
        self._t0_ns = time.monotonic_ns() + LEAD_NS
        sender = bench.start(partial(_send, self._queue, board, plan, self._t0_ns))
        yield from self._until(lambda: self._told == plan.count, "all messages to be received")
        bench.wait(sender, STALL_S)
        yield {"part": "end", "round": self._number, "asking_ns": [self._since(word) for word in board.asking]}
        for pid in self._receivers:
            bench.end(pid)

    def _until(self, done: Callable[[], bool], what: str) -> Iterator[dict[str, Any]]:
        """A row for each message as it is received, until it is done; RunError when nothing happens any more."""
        plan = self._plan
        patience_s = STALL_S + (max(plan.work_ns) + plan.every_ns) / 1e9
        deadline_s = time.monotonic() + patience_s
        while True:
            told = self._told
            yield from self._news()
            if done():
                return
            if self._told > told:
                deadline_s = time.monotonic() + patience_s
            if time.monotonic() > deadline_s:
                raise RunError(f"waited {patience_s:.0f} s for {what}", hint="is the machine overloaded?")
            for place, pid in enumerate(self._receivers):
                self._check_alive(pid, f"receiver {NAMES[place]}")
            time.sleep(POLL_S)

    def _news(self) -> Iterator[dict[str, Any]]:
        """Rows of the messages received since, in the order they were sent."""
        board, plan = self._board, self._plan
        while self._told < plan.count and board.receiver[self._told]:
            number = self._told
            self._told += 1
            queued_before = number < plan.backlog
            due_ns = board.sent[number] if queued_before else self._t0_ns + (number - plan.backlog) * plan.every_ns
            yield {
                "part": "message",
                "round": self._number,
                "number": number,
                "receiver": NAMES[board.receiver[number] - 1],
                "due_ns": self._since(due_ns),
                "sent_ns": self._since(board.sent[number]),
                "asked_ns": self._since(board.asked[number]),
                "received_ns": self._since(board.received[number]),
            }

    def _since(self, ns: int) -> int:
        return ns - self._begin_ns

    def _all_asleep(self) -> bool:
        """Whether every receiver waits in msgrcv: then all have their place in the kernel's list."""
        return all(asleep_in(pid) is not None for pid in self._receivers)

    def _check_alive(self, pid: int, who: str) -> None:
        if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
            status = self._bench.wait(pid, STALL_S)  # raises for one that was killed
            raise RunError(f"{who} ended by itself with status {status}", hint="this is a defect: please report it")


def _receive(queue: Queue, board: Board, place: int, work_ns: int) -> int:
    """A receiver's life: until the queue is removed."""
    clock, receive = time.monotonic_ns, queue.receive
    try:
        while True:
            board.asking[place] = asked = clock()
            message = receive()
            received = clock()
            number = int.from_bytes(message.payload, "little")
            board.asked[number], board.received[number] = asked, received
            board.receiver[number] = place + 1
            if work_ns:
                time.sleep(work_ns / 1e9)
    except QueueRemovedError:
        return 0


def _send(queue: Queue, board: Board, plan: FlipflopPlan, t0_ns: int) -> int:
    """The sender's life: every message when it is due; the queue has room for all, so that it never waits for that."""
    for number in range(plan.backlog, plan.count):
        due_ns = t0_ns + (number - plan.backlog) * plan.every_ns
        while (left_ns := due_ns - time.monotonic_ns()) > 0:
            time.sleep(left_ns / 1e9)
        _send_one(queue, board, number)
    return 0


def _send_one(queue: Queue, board: Board, number: int) -> None:
    board.sent[number] = time.monotonic_ns()
    queue.send(number.to_bytes(NUMBER_BYTES, "little"), type=MESSAGE_TYPE)


# --- from rows to figures --------------------------------------------------------------------------------------------


def figures(plan: FlipflopPlan, outcome: Outcome) -> dict[str, Any]:
    """What the rows say: each round's winners, and over the rounds the spread of what can be said in a number."""
    messages: dict[int, list[dict[str, Any]]] = {}
    asking_ns: dict[int, list[int]] = {}
    waits: dict[str, list[int]] = {name: [] for name in plan.names}
    for row in outcome.rows:
        if row["part"] == "end":
            asking_ns[row["round"]] = row["asking_ns"]
        else:
            messages.setdefault(row["round"], []).append(row)
            waits[row["receiver"]].append(row["received_ns"] - row["asked_ns"])
    runs = [figures_of_run(plan, rows, asking_ns.get(number)) for number, rows in messages.items()]
    whole = [run for run in runs if run["complete"]] or runs
    return {
        "receivers": [
            {
                "receiver": name,
                "work_ns": work_ns,
                "share": _spread([run["shares"][name] for run in whole]),
                "waited_ns": _spread(waits[name]),
            }
            for name, work_ns in zip(plan.names, plan.works_ns, strict=True)
        ],
        "broken": _spread([run["broken"] for run in whole]),
        "predicted": _spread([run["predicted"] for run in whole if run["predicted"] is not None]),
        "runs": runs,
    }


def _spread(values: Sequence[float]) -> dict[str, float] | None:
    return spread(values).to_json() if values else None


def figures_of_run(
    plan: FlipflopPlan, messages: Sequence[dict[str, Any]], asking_ns: Sequence[int] | None
) -> dict[str, Any]:
    """One round: its winners, their shares, the broken turns and why, and how many winners the noted times foretell.

    `messages` are its rows in the order of their numbers; `asking_ns` is when each receiver asked last, None for a
    round that was cut. Then nothing is foretold: who waited at the cut, and since when, was not noted.
    """
    asks = _Asks(plan, messages, asking_ns)
    turns = sorted(plan.names, key=asks.pending)  # of strict alternation: by the first blocking
    breaks, surprises = [], []
    worked_until: dict[str, float] = {}
    previous = turns[-1]
    for row in messages:
        winner = row["receiver"]
        turn = turns[(turns.index(previous) + 1) % len(turns)]
        if turn != winner:
            reason, by_ns = _why(asks, row, turn, worked_until.get(turn, -inf))
            breaks.append(
                {"number": row["number"], "winner": winner, "turn": turn, "reason": reason, "by_ns": _known(by_ns)}
            )
        longest = min(plan.names, key=asks.pending)
        if longest != winner:
            by_ns = asks.pending(winner) - asks.pending(longest)
            surprises.append({"number": row["number"], "winner": winner, "predicted": longest, "by_ns": _known(by_ns)})
        worked_until[winner] = row["received_ns"] + plan.works_ns[plan.names.index(winner)]
        previous = winner
        asks.serve(winner)
    counted = Counter(row["receiver"] for row in messages)
    reasons = Counter(entry["reason"] for entry in breaks)
    complete = asking_ns is not None
    return {
        "round": messages[0]["round"],
        "complete": complete,
        "order": "".join(turns),
        "winners": "".join(row["receiver"] for row in messages),
        "shares": {name: counted[name] / len(messages) for name in plan.names},
        "broken": len(breaks) / len(messages),
        "reasons": {reason: reasons[reason] for reason in REASONS},
        "breaks": breaks,
        "predicted": 1 - len(surprises) / len(messages) if complete else None,
        "surprises": surprises if complete else [],
        "late_ns": _spread([row["sent_ns"] - row["due_ns"] for row in messages if row["number"] >= plan.backlog]),
    }


class _Asks:
    """When each receiver asked, one ask after the other; one that has not asked again has an ask that never comes."""

    def __init__(self, plan: FlipflopPlan, messages: Sequence[dict[str, Any]], asking_ns: Sequence[int] | None) -> None:
        self._asks: dict[str, list[float]] = {name: [] for name in plan.names}
        for row in messages:
            self._asks[row["receiver"]].append(row["asked_ns"])
        for name, last_ns in zip(plan.names, asking_ns or (), strict=False):
            if not self._asks[name] or last_ns > self._asks[name][-1]:
                self._asks[name].append(last_ns)
        self._served = dict.fromkeys(plan.names, 0)

    def pending(self, name: str) -> float:
        """When the receiver asked for, or will ask for, what it gets next."""
        asks, served = self._asks[name], self._served[name]
        return asks[served] if served < len(asks) else inf

    def earliest(self) -> float:
        """When the first of them all did."""
        return min(self.pending(name) for name in self._asks)

    def serve(self, name: str) -> None:
        """The receiver's pending ask was answered."""
        self._served[name] += 1


def _why(asks: _Asks, row: dict[str, Any], turn: str, worked_until_ns: float) -> tuple[str, float]:
    """Why the message did not go to whose turn it was: a reason, and by how much it missed its turn, in ns."""
    sent_ns, asked_ns, missed_ns = row["sent_ns"], asks.pending(row["receiver"]), asks.pending(turn)
    if missed_ns < asked_ns:  # by the noted times it was there first
        return "unseen", asked_ns - missed_ns
    if asks.earliest() > sent_ns:  # nobody waited: it went to whoever asked first
        return "queued", asked_ns - sent_ns
    if missed_ns > sent_ns:
        return ("at-work" if worked_until_ns > sent_ns else "not-back"), missed_ns - sent_ns
    return "blocked-later", missed_ns - asked_ns


def _known(by_ns: float) -> int | None:
    """None for what never came while it was looked at."""
    return None if by_ns == inf else int(by_ns)
