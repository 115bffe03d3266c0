"""The plan of a load run: what is asked for, complete and validated. Made by the command line, tests and notebooks.

A plan is checked once, when it is constructed; an invalid one cannot exist, and nobody below checks again. It
knows the limits of the host, because whether a queue can be made so large depends on them.
"""

from __future__ import annotations

import random
import secrets
from array import array
from dataclasses import dataclass, field, fields, replace
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Literal, get_args

from harness.engines import choice
from harness.engines.layout import HEADER_BYTES, Shape
from harness.engines.protocol import TABLE_SIZE, ConsumerTask, Loop, ProducerTask
from harness.measure.ledger import RING_SIZE
from harness.measure.pacing import NS_PER_S, Schedule
from harness.measure.quantities import Ramp, RateSpec, TypeShare, format_key, format_rate, format_size, parse_key
from harness.sysv import Limits, Selector
from harness.sysv.errors import PlanError

if TYPE_CHECKING:
    from collections.abc import Mapping

Select = Literal["any", "exact", "at-most", "except"]
WhenFull = Literal["block", "refuse"]

DEFAULT_QUEUE_BYTES = 16 * 2**20
LARGEST_QUEUE = 2**31 - 1
"""INT_MAX: what msgmnb and msgmax can be set to (Linux, ipc/ipc_sysctl.c)."""
MOST_WORKERS = 256
MOST_TYPES = 1024
MOST_RING_BYTES = 512 * 2**20
MOST_REPEATS = 1000
CATCH_UP_NS = 100_000_000
"""How long after the window's end a producer that is behind may go on: a stall there is not a rate that failed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadPlan:
    """One workload. Raises PlanError at construction when it contradicts itself or cannot be carried out.

    Exactly one of `duration_s` and `count` is set. `queue_bytes` is None for the default: 16 MiB in a private
    namespace, what the host gives with `visible`, and the queue's own limit with `key`.
    """

    rate: RateSpec = Fraction(500_000)
    closed: bool = False
    outstanding: int = 1
    duration_s: float | None = 10.0
    count: int | None = None
    size: tuple[int, int] = (HEADER_BYTES, HEADER_BYTES)
    types: tuple[TypeShare, ...] = (TypeShare(1),)
    select: Select = "any"
    producers: int = 1
    consumers: int = 1
    queues: int = 1
    queue_bytes: int | None = None
    engine: str = "auto"
    warmup_s: float = 1.0
    drain_s: float = 1.0
    repeat: int = 1
    pin: bool = False
    when_full: WhenFull = "block"
    visible: bool = False
    key: int | None = None
    force: bool = False
    seed: int = 0
    label: str = ""
    host: Limits = field(default_factory=Limits.read)

    def __post_init__(self) -> None:
        self._check_time()
        self._check_messages()
        self._check_choices()
        self._check_workers()
        self._check_streams()
        self._check_queue()

    def _check_time(self) -> None:
        if (self.duration_s is None) == (self.count is None):
            raise PlanError("a run needs either a duration or a count", hint="give one of --duration and --count")
        if self.duration_s is not None and not self.duration_s > 0:
            raise PlanError(f"a run cannot last {self.duration_s:g} s", hint="write --duration 10s")
        if self.count is not None and self.count < self.producers:
            raise PlanError(f"{self.count} messages are too few for {self.producers} producers", hint="raise --count")
        if self.warmup_s < 0 or self.drain_s < 0:
            raise PlanError("--warmup and --drain cannot be negative", hint="write 0s for none")
        if not 1 <= self.repeat <= MOST_REPEATS:
            raise PlanError(f"{self.repeat} repeats", why=f"1 to {MOST_REPEATS} are possible", hint="write --repeat 5")
        if self.closed and self.rate != "max":
            raise PlanError(
                "a closed loop has no rate of its own",
                why="it sends when an earlier message has been received",
                hint="leave out --rate, or leave out --closed to send at a rate",
            )
        if not self.closed and self.outstanding != 1:
            raise PlanError("--outstanding without --closed means nothing", hint="add --closed")
        if self.outstanding < 1:
            raise PlanError(f"--outstanding {self.outstanding}", why="at least one message must be under way")

    def _check_messages(self) -> None:
        smallest, largest = self.size
        if smallest < HEADER_BYTES:
            raise PlanError(
                f"{smallest} bytes are too small",
                why=f"each message carries a header of {HEADER_BYTES} bytes",
                hint=f"write --size {HEADER_BYTES}B or more",
            )
        if smallest > largest:
            raise PlanError(f"the size range {smallest}..{largest} is upside down", hint="write the smaller size first")
        if largest > LARGEST_QUEUE:
            raise PlanError(
                f"{format_size(largest)} is more than any message can have",
                why=f"msgmax ends at {LARGEST_QUEUE:,} bytes (INT_MAX)",
                hint="write --size 8KiB",
            )
        if not self.types or len(self.types) > MOST_TYPES:
            raise PlanError(f"{len(self.types)} message types", why=f"1 to {MOST_TYPES} are possible")
        if len({share.type for share in self.types}) < len(self.types):
            raise PlanError("a message type comes twice", hint="give each type once, with its whole weight")
        total = sum(share.weight for share in self.types)
        for share in self.types:
            if share.weight * TABLE_SIZE < total:
                raise PlanError(
                    f"type {share.type} would get less than one in {TABLE_SIZE} messages",
                    why="types are dealt out in rounds of that many",
                    hint="raise its weight",
                )

    def _check_choices(self) -> None:
        if self.select not in get_args(Select):
            raise PlanError(f"unknown selector {self.select!r}", hint=f"write one of {', '.join(get_args(Select))}")
        if self.when_full not in get_args(WhenFull):
            raise PlanError(f"unknown --when-full {self.when_full!r}", hint="write block or refuse")
        if self.engine not in choice.NAMES and self.engine not in ("bare", "plain"):
            raise PlanError(f"unknown engine {self.engine!r}", hint=f"write one of {', '.join(choice.NAMES)}")

    def _check_workers(self) -> None:
        if not 1 <= self.producers <= MOST_WORKERS:
            raise PlanError(f"{self.producers} producers", why=f"1 to {MOST_WORKERS} are possible")
        if not 0 <= self.consumers <= MOST_WORKERS:
            raise PlanError(f"{self.consumers} consumers", why=f"0 to {MOST_WORKERS} are possible")
        if not 1 <= self.queues <= MOST_WORKERS:
            raise PlanError(f"{self.queues} queues", why=f"1 to {MOST_WORKERS} are possible")
        if self.consumers == 0:
            if self.key is None:
                raise PlanError(
                    "without consumers nobody takes the messages off",
                    hint="give --key KEY to load a queue that somebody else's workers read, or --consumers 1",
                )
            if self.closed:
                raise PlanError("a closed loop needs consumers of its own", hint="leave out --closed")
        elif self.consumers < self.queues:
            raise PlanError(
                f"{self.consumers} consumer(s) cannot read {self.queues} queues",
                hint=f"write --consumers {self.queues} or more",
            )
        if self.producers < self.queues:
            raise PlanError(
                f"{self.producers} producer(s) cannot fill {self.queues} queues",
                hint=f"write --producers {self.queues} or more",
            )

    def _check_streams(self) -> None:
        """Every message has a taker, and the check for loss fits in memory."""
        if self.select == "exact" and 0 < self.consumers < (needed := len(self.types) * self.queues):
            untaken = self.types[self.consumers // self.queues].type
            raise PlanError(
                f"nobody would take type {untaken}",
                why=f"with --select exact a consumer takes one type, and {len(self.types)} types"
                f" on {self.queues} queue(s) need {needed} consumers",
                hint=f"write --consumers {needed}",
            )
        if self.select == "except" and self.consumers > 0:
            self._check_except()
        rings = self.shape.streams * RING_SIZE if self.shape.ringed else 0
        if rings > MOST_RING_BYTES:
            raise PlanError(
                f"{self.shape.streams} streams that several consumers share need {format_size(rings)} of memory",
                why=f"the check for loss and duplicates keeps 1 MiB for each, up to {format_size(MOST_RING_BYTES)}",
                hint="use fewer producers or types, or --select exact",
            )

    def _check_except(self) -> None:
        """Every type is taken by somebody who takes anything but another one."""
        if len(self.types) == 1:
            raise PlanError(
                f"nobody would take type {self.types[0].type}",
                why="with --select except a consumer takes anything but one type, and there is no other",
                hint="write --types 1,2 or more, or --select any",
            )
        if self.consumers < (needed := 2 * self.queues):
            raise PlanError(
                f"nobody would take type {self.types[0].type}",
                why="with --select except the first consumer of a queue takes anything but this type, so"
                f" {self.queues} queue(s) need {needed} consumers",
                hint=f"write --consumers {needed}",
            )

    def _check_queue(self) -> None:
        if self.key is not None:
            if self.queues != 1:
                raise PlanError("--key names one queue, --queues asks for more", hint="leave out one of them")
            if self.queue_bytes is not None:
                raise PlanError("the queue of --key keeps the limit it was made with", hint="leave out --queue-bytes")
        elif self.force:
            raise PlanError("--force without --key means nothing", hint="leave out --force")
        if self.queue_bytes is not None and not 0 < self.queue_bytes <= LARGEST_QUEUE:
            raise PlanError(
                f"a queue of {format_size(self.queue_bytes)} cannot be made",
                why=f"msgmnb ends at {LARGEST_QUEUE:,} bytes (INT_MAX)",
                hint="write --queue-bytes 16MiB",
            )
        largest = self.size[1]
        if self.in_host_namespace:
            self._check_host(largest)
        if self.key is None and largest > self.effective_queue_bytes:
            raise PlanError(
                f"a message of {format_size(largest)} never fits a queue of {format_size(self.effective_queue_bytes)}",
                why="it would wait for room for ever, even on an empty queue",
                hint="raise --queue-bytes or lower --size",
            )

    def _check_host(self, largest: int) -> None:
        if largest > self.host.msgmax:
            raise PlanError(
                f"a message of {format_size(largest)} is over this host's msgmax of {self.host.msgmax} bytes",
                why="with --visible and --key the host's limits hold",
                hint=f"lower --size, or: sysctl -w kernel.msgmax={largest}",
            )
        if self.queue_bytes is not None and self.queue_bytes > self.host.msgmnb:
            raise PlanError(
                f"a queue of {format_size(self.queue_bytes)} is over this host's msgmnb of {self.host.msgmnb} bytes",
                why="with --visible the host's limits hold",
                hint=f"lower --queue-bytes, or: sysctl -w kernel.msgmnb={self.queue_bytes}",
            )

    @property
    def in_host_namespace(self) -> bool:
        """Whether the run's queue lives in the host's IPC namespace."""
        return self.visible or self.key is not None

    @property
    def effective_queue_bytes(self) -> int:
        """The byte limit of the queue this run makes."""
        if self.queue_bytes is not None:
            return self.queue_bytes
        return self.host.msgmnb if self.in_host_namespace else DEFAULT_QUEUE_BYTES

    @property
    def loop(self) -> Loop:
        """What a producer waits for before each send."""
        if self.closed:
            return Loop.CLOSED
        return Loop.UNPACED if self.rate == "max" else Loop.OPEN

    @property
    def fixed_rate(self) -> Fraction | None:
        """Messages a second; None for an unpaced or closed loop (and for a ramp, whose steps have one each)."""
        return self.rate if isinstance(self.rate, Fraction) else None

    @property
    def steps(self) -> tuple[LoadPlan, ...]:
        """One plan a rate: a ramp's steps, or this plan alone."""
        if isinstance(self.rate, Ramp):
            return tuple(replace(self, rate=rate) for rate in self.rate.rates())
        return (self,)

    @property
    def window_ns(self) -> int | None:
        """Length of the measured window in ns; None when a count decides and the rate is not known."""
        if self.duration_s is not None:
            return round(self.duration_s * NS_PER_S)
        if self.fixed_rate is not None and self.count is not None:
            return int(self.count * NS_PER_S / self.fixed_rate)
        return None

    @property
    def due(self) -> int | None:
        """Messages due in the window over all producers; None without a rate."""
        if self.fixed_rate is None:
            return self.count
        return sum(self.due_of(producer) for producer in range(self.producers))

    def due_of(self, producer: int) -> int:
        """Messages due in the window for one producer; needs a rate or a count."""
        schedule = Schedule(self.fixed_rate or Fraction(1), self.producers, producer)
        if self.count is not None:
            return schedule.share(self.count)
        return schedule.due(self.window_ns or 0)

    @property
    def announced_s(self) -> float:
        """How long the whole plan takes, in s, as far as it is known beforehand (0 for a count without a rate)."""
        return sum((step.warmup_s + (step.window_ns or 0) / NS_PER_S) * step.repeat for step in self.steps)

    @property
    def shape(self) -> Shape:
        """What the run's shared memory holds."""
        return Shape(
            producers=self.producers,
            consumers=self.consumers,
            queues=self.queues,
            types=len(self.types),
            ringed=self._streams_are_shared,
        )

    @property
    def _streams_are_shared(self) -> bool:
        """Whether some stream is read by more than one consumer."""
        if self.select == "exact":
            return self.consumers > self.queues * len(self.types)
        readers = -(-self.consumers // self.queues)  # of the queue that has most
        if self.select == "except":
            readers -= readers // len(self.types)  # of the type that fewest leave to others
        return readers > 1

    def queue_of(self, worker: int) -> int:
        """Index of the queue that a producer or a consumer uses."""
        return worker % self.queues

    def selector_of(self, consumer: int) -> Selector:
        """What a consumer asks the kernel for. With `exact` and `except` a queue's consumers are dealt out the types.

        With `exact` each takes its own, with `except` anything but its own.
        """
        if self.select == "any":
            return Selector.any()
        if self.select == "at-most":
            return Selector.at_most(max(share.type for share in self.types))
        dealt = self.types[consumer // self.queues % len(self.types)].type
        return Selector.exactly(dealt) if self.select == "exact" else Selector.anything_but(dealt)

    def producer_task(self, producer: int, *, run_id: int, spin: bool) -> ProducerTask:
        """What one producer does."""
        rate = self.fixed_rate
        schedule = Schedule(rate, self.producers, producer) if rate is not None else None
        types, sizes = self._tables()
        return ProducerTask(
            producer=producer,
            producers=self.producers,
            run_id=run_id,
            types=tuple(share.type for share in self.types),
            type_table=types,
            size_table=sizes,
            loop=self.loop,
            period_ns=schedule.period_ns if schedule else 0.0,
            first_k=-schedule.warmup(round(self.warmup_s * NS_PER_S)) if schedule else 0,
            outstanding=self.outstanding,
            refuse=self.when_full == "refuse",
            spin=spin,
        )

    def consumer_task(self, consumer: int, *, run_id: int, max_bytes: int) -> ConsumerTask:
        """What one consumer does."""
        selector = self.selector_of(consumer)
        return ConsumerTask(
            consumer=consumer,
            run_id=run_id,
            msgtyp=selector.msgtyp,
            flags=selector.flags,
            max_bytes=max_bytes,
            types=tuple(share.type for share in self.types),
            paced=self.loop is not Loop.UNPACED,
        )

    def _tables(self) -> tuple[array[int], array[int]]:
        """Which type and which size each message gets: exact shares over the table's length, shuffled by the seed."""
        total = sum(share.weight for share in self.types)
        bounds, reached = [], 0
        for share in self.types:
            reached += share.weight
            bounds.append(round(Fraction(reached * TABLE_SIZE, total)))
        types = array("I", [0] * TABLE_SIZE)
        start = 0
        for index, bound in enumerate(bounds):
            types[start:bound] = array("I", [index] * (bound - start))
            start = bound
        low, high = self.size
        sizes = array("I", [low + (high - low) * i // (TABLE_SIZE - 1) for i in range(TABLE_SIZE)])
        shuffler = random.Random(self.seed)  # noqa: S311  repeatable, not secret
        shuffler.shuffle(types)
        shuffler.shuffle(sizes)
        return types, sizes

    def to_json(self) -> dict[str, Any]:
        """The plan as it stands in a result."""
        plain = {item.name: getattr(self, item.name) for item in fields(self) if item.name != "host"}
        plain["rate"] = rate_to_json(self.rate)
        plain["size"] = {"smallest": self.size[0], "largest": self.size[1]}
        plain["types"] = [{"type": share.type, "weight": share.weight} for share in self.types]
        plain["queue_bytes"] = None if self.key is not None else self.effective_queue_bytes
        plain["key"] = None if self.key is None else format_key(self.key)
        plain["loop"] = self.loop.value
        return plain

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> LoadPlan:
        """The plan that `to_json` gave, on this host; what it does not have (an older result) is the default.

        Raises PlanError as the constructor, or for a ramp, of which a result has words only; KeyError, TypeError or
        ValueError where it is no plan.
        """
        known = {item.name: plain[item.name] for item in fields(cls) if item.name in plain}
        if isinstance(plain["rate"], str) and plain["rate"] != "max":
            raise PlanError(f"the ramp {plain['rate']} cannot be made again from a result", hint="hold one rate")
        if plain["rate"] != "max":
            known["rate"] = Fraction(repr(plain["rate"]))  # the shortest text that is this number, as it was typed
        known["size"] = (plain["size"]["smallest"], plain["size"]["largest"])
        known["types"] = tuple(TypeShare(share["type"], share["weight"]) for share in plain["types"])
        known["key"] = None if plain["key"] is None else parse_key(plain["key"])
        return cls(**known)


def rate_to_json(rate: RateSpec) -> float | str:
    """A number of messages a second, or the text of a rate that is none."""
    if isinstance(rate, Ramp):
        return f"{format_rate(rate.first)} to {format_rate(rate.last)} in {rate.steps} steps"
    return rate if isinstance(rate, str) else float(rate)


def new_run_id() -> int:
    """31 random bits that tell this run's messages from any other's."""
    return secrets.randbits(31) | 1
