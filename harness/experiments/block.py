"""`harness block`: what a full queue does to those who send to it. The result is the `harness.block/1` document.

Six parts, each measured once a round (a stall in the first three, as it takes long):

    wake         how fast a sender that sleeps in msgsnd is back, on the same CPU and across CPUs
    fairness     how the room is shared among senders that all wait for it
    starvation   how long a large message waits while small ones keep going
    overload     refusing (IPC_NOWAIT) against blocking, when twice as much comes as the consumer takes
    never-fits   a message over the queue's own limit: told at once, where the kernel would wait for ever
    stall        a consumer that takes nothing for a while: latency from the intended send time, and the backlog's end

What happens in the chamber is in block_work.py and, for the two parts with a schedule, in block_flow.py; what the rows
say is in block_figures.py.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

from harness.engines import choice
from harness.experiments import block_work as work
from harness.experiments.block_figures import figures
from harness.experiments.block_flow import NUMBER_BYTES
from harness.experiments.chamber import Needs, carry_out, head, nobody
from harness.experiments.plan import LARGEST_QUEUE
from harness.experiments.select import MESSAGE_OVERHEAD_BYTES
from harness.measure.quantities import format_size
from harness.sysv.errors import PlanError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from harness.experiments.chamber import Progress

SCHEMA = "harness.block/1"
Part = Literal["wake", "fairness", "starvation", "overload", "never-fits", "stall"]
PARTS: tuple[Part, ...] = get_args(Part)
WhenFull = Literal["block", "refuse", "both"]
FEWEST_ROUNDS = 3
MOST_SENDERS = 256
LONGEST_STALL_S = 60.0
MOST_HELD = 1_000_000
"""Each part fills its queue anew: with more messages than these that takes longer than what is measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockPlan:
    """What to measure. Raises PlanError for what cannot be carried out.

    `senders` compete in `fairness` and `starvation`. `sizes` are the bytes of a small and of a large message; the large
    one is for `starvation`. `queue_bytes` is each queue's limit. `when_full` says which ways `overload` tries.
    """

    parts: tuple[Part, ...] = PARTS
    senders: int = 4
    sizes: tuple[int, int] = (64, 8192)
    queue_bytes: int = 16384
    stall_s: float = 1.0
    when_full: WhenFull = "both"
    rounds: int = 5
    engine: str = "auto"

    def __post_init__(self) -> None:
        self._check_choices()
        self._check_sizes()
        if self.rounds < FEWEST_ROUNDS:
            raise PlanError(
                f"{self.rounds} rounds say nothing about the spread", hint=f"write --rounds {FEWEST_ROUNDS} or more"
            )
        if not 2 <= self.senders <= MOST_SENDERS:  # noqa: PLR2004  one alone has no rival
            raise PlanError(f"{self.senders} senders", why=f"2 to {MOST_SENDERS} can compete", hint="write --senders 4")
        if not 0 < self.stall_s <= LONGEST_STALL_S:
            raise PlanError(
                f"a stall of {self.stall_s:g} s", why=f"at most {LONGEST_STALL_S:g} s are kept", hint="write --stall 1s"
            )

    def _check_choices(self) -> None:
        for part in self.parts:
            if part not in PARTS:
                raise PlanError(f"unknown part {part!r}", hint=f"write some of {','.join(PARTS)}")
        if not self.parts or len(set(self.parts)) < len(self.parts):
            raise PlanError("each part can be measured once", hint=f"write some of {','.join(PARTS)}")
        if self.when_full not in get_args(WhenFull):
            raise PlanError(f"unknown --when-full {self.when_full!r}", hint="write block, refuse or both")
        if self.engine not in choice.NAMES:
            raise PlanError(f"unknown engine {self.engine!r}", hint=f"write one of {', '.join(choice.NAMES)}")

    def _check_sizes(self) -> None:
        if self.small_bytes < NUMBER_BYTES:
            raise PlanError(
                f"{self.small_bytes} bytes are too small",
                why=f"a message carries its number in {NUMBER_BYTES} bytes",
                hint="write --sizes 64B,8KiB",
            )
        if not self.small_bytes < self.large_bytes:
            raise PlanError("the large message is not larger than the small one", hint="write --sizes 64B,8KiB")
        if self.large_bytes > self.queue_bytes:
            raise PlanError(
                f"a message of {format_size(self.large_bytes)} never fits a queue of {format_size(self.queue_bytes)}",
                hint="raise --queue-bytes, or lower the second of --sizes",
            )
        if self.holds > MOST_HELD:
            raise PlanError(
                f"{self.holds:,} messages of {format_size(self.small_bytes)} make a queue of"
                f" {format_size(self.queue_bytes)} full",
                why=f"at most {MOST_HELD:,} are filled in",
                hint="lower --queue-bytes, or raise the first of --sizes",
            )
        if self.queue_bytes >= LARGEST_QUEUE:
            raise PlanError(
                f"a queue of {format_size(self.queue_bytes)}",
                why=f"msgmax ends at {LARGEST_QUEUE:,} bytes (INT_MAX), and a message over the queue's limit is sent",
                hint="lower --queue-bytes",
            )

    @property
    def small_bytes(self) -> int:
        """The text of a small message."""
        return self.sizes[0]

    @property
    def large_bytes(self) -> int:
        """The text of a large message."""
        return self.sizes[1]

    @property
    def holds(self) -> int:
        """How many small messages make a queue full."""
        return self.queue_bytes // self.small_bytes

    @property
    def starvation_limit_s(self) -> float:
        """How long a large message may wait: three times what it takes alone, and at least 0.4 s."""
        return max(work.STARVATION_LIMIT_S, 3 * self._alone_s)

    @property
    def _alone_s(self) -> float:
        return math.ceil(self.large_bytes / self.small_bytes) * work.STEADY_TAKE_S

    @property
    def before_s(self) -> float:
        """How long a flow goes on before its stall: long enough to know its latency without."""
        return min(1.0, max(0.2, self.stall_s))

    @property
    def after_s(self) -> float:
        """How long a flow goes on after its stall: long enough to see the backlog go."""
        return max(self.before_s, self.stall_s / 2)

    @property
    def memory_bytes(self) -> int:
        """What a full queue takes of the kernel's memory, and the message that does not fit, about."""
        return self.holds * (MESSAGE_OVERHEAD_BYTES + (1 << (self.small_bytes - 1).bit_length())) + 2 * self.queue_bytes

    @property
    def ways(self) -> int:
        """How many ways to meet a full queue are tried."""
        return 2 if self.when_full == "both" else 1

    def _rows_and_s(self, part: Part) -> tuple[int, float]:
        """How many rows a part has in a round, and about how long they take, in s."""
        deep_s = self.holds * 2e-6
        match part:
            case "wake":
                return 2, 2 * (work.WAKES * 5e-4 + deep_s)
            case "fairness":
                a_window_s = work.WINDOW_S + 2 * deep_s + self.senders * 2e-3
                return work.FAIRNESS_WINDOWS, work.FAIRNESS_WINDOWS * a_window_s
            case "starvation":
                return 3, self._alone_s + 1.5 * self.starvation_limit_s + 3 * deep_s + 2 * self.senders * 2e-3
            case "overload":
                return self.ways, self.ways * (work.OVERLOAD_S + work.START_S + 4 * deep_s + 0.1)
            case "never-fits":
                return 1, work.WATCHED_S + (work.FEWEST_DETECTIONS + 2) * self.queue_bytes * 4e-9 + 0.05
            case "stall":
                return 1, self.before_s + self.stall_s + self.after_s + 0.3

    def _times(self, part: Part) -> int:
        """In how many rounds a part is measured."""
        return min(self.rounds, work.STALL_ROUNDS) if part == "stall" else self.rounds

    @property
    def rows(self) -> int:
        """How many rows are measured, at most."""
        return sum(self._times(part) * self._rows_and_s(part)[0] for part in self.parts)

    @property
    def announced_s(self) -> float:
        """How long it takes, about, in seconds."""
        return 1.0 + sum(self._times(part) * self._rows_and_s(part)[1] for part in self.parts)

    def to_json(self) -> dict[str, Any]:
        """The plan as it stands in the result."""
        return {**asdict(self), "parts": list(self.parts), "sizes": list(self.sizes)}


def run_block(
    plan: BlockPlan,
    progress: Progress = nobody,
    *,
    interrupted: Callable[[], str | None] = lambda: None,
    argv: Sequence[str] = (),
) -> dict[str, Any]:
    """Carry it out; returns the `harness.block/1` document (docs/results.md). Raises HarnessError as `carry_out`."""
    engine = choice.resolve(plan.engine)
    competing = plan.senders if {"fairness", "starvation"} & set(plan.parts) else 1
    outcome = carry_out(
        work.measure,
        (plan, engine),
        needs=Needs(
            queue_bytes=plan.queue_bytes,
            message_bytes=max(plan.queue_bytes + 1, 8192),
            memory_bytes=plan.memory_bytes,
            workers=competing + 1,
        ),
        rows=plan.rows,
        announced_s=plan.announced_s,
        progress=progress,
        interrupted=interrupted,
    )
    return {
        **head(SCHEMA, outcome, plan=plan.to_json(), argv=argv, engine=engine),
        "starvation_limit_s": plan.starvation_limit_s,
        "steady_rest_ns": round(work.STEADY_GAP_S * 1e9),
        **figures(outcome.rows),
        "rows": outcome.rows,
    }
