"""A flow of `harness block`: messages due at fixed times, one producer, and a consumer that is too slow or stops.

    flow = Flow(count=..., rate=..., begin_ns=...)        shared memory: five times for each message, one writer each
    produce(queue, flow, ...)     in a forked process     when a send began, was refused, fell asleep, was through
    consume(queue, flow, ...)     in another              when a message was received
    flow.seen()                   afterwards              the same as lists, for the pure functions below

Some 10,000 messages a second, so Python will do, and every single message can be kept: the picture over time needs more
than a distribution. The latency is counted from the time at which a message was due, and beside it from the time at
which its send began: the difference is what a load generator that waits for its queue does not see.
"""

from __future__ import annotations

import mmap
import struct
import time
from bisect import bisect_right
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from harness.measure.histogram import Histogram
from harness.measure.pacing import NS_PER_S
from harness.sysv.binding import sysv_ipc

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from harness.sysv import Queue

MEASURED, FILLER, LAST = 1, 2, 3
"""Message types of a flow: numbered ones, those that only fill the queue, and the one after which nothing comes."""
NUMBER_BYTES = 8
"""Each numbered message begins with its number."""
WORD_BYTES = 8


class Flow:
    """`count` messages, message k due at `begin_ns + k / rate`; what happens to each stands in shared memory.

    A time is CLOCK_MONOTONIC in ns, and 0 where it did not happen. Each word has one writer.
    """

    def __init__(self, *, count: int, rate: float, begin_ns: int) -> None:
        self.count = count
        self.period_ns = NS_PER_S / rate
        self.begin_ns = begin_ns
        self.started, self.refused, self.slept, self.accepted, self.received = (shared_words(count) for _ in range(5))
        self.again, self.in_time = shared_words(1), shared_words(1)
        """How many messages were received a second time; how many of any type came before the consumer's `until_ns`."""
        self.stalled = shared_words(2)
        """From when to when the consumer took nothing."""

    def due_ns(self, k: int) -> int:
        """When message k is due."""
        return self.begin_ns + int(k * self.period_ns)

    def seen(self) -> Seen:
        """What has become of the messages by now."""
        return Seen(
            due=[self.due_ns(k) for k in range(self.count)],
            **{name: list(getattr(self, name)) for name in ("started", "refused", "slept", "accepted", "received")},
            again=self.again[0],
            in_time=self.in_time[0],
            stalled=(self.stalled[0], self.stalled[1]),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What became of each message of a flow, in their order; times in ns, 0 where something did not happen."""

    due: list[int]
    started: list[int]
    refused: list[int]
    slept: list[int]
    accepted: list[int]
    received: list[int]
    again: int = 0
    in_time: int = 0
    stalled: tuple[int, int] = (0, 0)

    @property
    def lost(self) -> int:
        """Messages that the queue accepted and nobody received."""
        return sum(not received for accepted, received in zip(self.accepted, self.received, strict=True) if accepted)


def shared_words(count: int) -> memoryview[int]:
    """So many 64-bit words of 0 in memory that a forked process shares."""
    return memoryview(mmap.mmap(-1, count * WORD_BYTES)).cast("q")


def packer(size_bytes: int) -> Callable[[int], bytes]:
    """Makes a message's text of `size_bytes`, at least 8, from its number."""
    return struct.Struct(f"=q{size_bytes - NUMBER_BYTES}x").pack


def produce(queue: Queue, flow: Flow, *, size_bytes: int, refuse: bool, until_ns: int) -> None:
    """Send each message when it is due, or as soon after that as the queue lets; nothing is begun after `until_ns`.

    A full queue either refuses a message, which is then gone, or puts us to sleep. In the end comes one of type LAST.
    """
    send, clock, pack = queue.raw.send, time.monotonic_ns, packer(size_bytes)
    started, refused, slept, accepted = flow.started, flow.refused, flow.slept, flow.accepted
    for k in range(flow.count):
        due = flow.due_ns(k)
        if (now := clock()) < due:
            time.sleep((due - now) / NS_PER_S)
            now = clock()
        if now >= until_ns:
            break
        started[k] = now
        try:
            send(text := pack(k), False, MEASURED)
        except sysv_ipc.BusyError:
            if refuse:
                refused[k] = clock()
                continue
            slept[k] = clock()
            send(text, True, MEASURED)
        accepted[k] = clock()
    queue.send(b"", type=LAST)


def consume(
    queue: Queue,
    flow: Flow,
    *,
    period_ns: float = 0.0,
    until_ns: int = 0,
    stall_at_ns: int | None = None,
    stall_s: float = 0.0,
) -> None:
    """Receive until the message of type LAST: one each `period_ns` until `until_ns`, then as fast as they come.

    From `stall_at_ns` on it takes nothing for `stall_s`.
    """
    receive, clock, unpack = queue.raw.receive, time.monotonic_ns, struct.Struct("=q").unpack_from
    received, taken = flow.received, 0
    while True:
        due = min(flow.begin_ns + int(taken * period_ns), until_ns)
        if (now := clock()) < due:
            time.sleep((due - now) / NS_PER_S)
        text, message_type = receive(True, 0)
        now = clock()
        if message_type == LAST:
            return
        taken += 1
        if now < until_ns:
            flow.in_time[0] = taken
        if message_type == MEASURED:
            (k,) = unpack(text)
            flow.again[0] += received[k] != 0
            received[k] = now
        if stall_at_ns is not None and now >= stall_at_ns:
            stall_at_ns = None
            time.sleep(stall_s)
            flow.stalled[0], flow.stalled[1] = now, clock()


# --- from times to figures -------------------------------------------------------------------------------------------


def percentiles(values: Iterable[int]) -> dict[str, int | float | None]:
    """The distribution of `values` (ns), as Histogram.summary has it."""
    histogram = Histogram()
    for value in values:
        histogram.record(value)
    return histogram.summary()


def overload_figures(seen: Seen) -> dict[str, Any]:
    """What a full queue did to a flow: how many it refused or held back, what that took, and how late all became."""
    begun = [(due, started) for due, started in zip(seen.due, seen.started, strict=True) if started]
    refusals = [back - begin for begin, back in zip(seen.started, seen.refused, strict=True) if back]
    sleeps = [through - begin for begin, through in zip(seen.slept, seen.accepted, strict=True) if begin and through]
    return {
        "due": len(seen.due),
        "sent": sum(map(bool, seen.accepted)),
        "refused": len(refusals),
        "unsent": len(seen.due) - len(begun),
        "refused_call_ns": percentiles(refusals)["p50"],
        "slept": len(sleeps),
        "asleep_ns": sum(sleeps),
        "sleep_ns": percentiles(sleeps)["p50"],
        "behind_ns": begun[-1][1] - begun[-1][0] if begun else None,
        "latency_ns": percentiles(
            received - due for due, received in zip(seen.due, seen.received, strict=True) if received
        ),
        "lost": seen.lost,
        "received_again": seen.again,
    }


def stall_figures(seen: Seen, *, late_ns: int, slice_ns: int) -> dict[str, Any]:
    """What a stall of the consumer did: latencies by two clocks, the backlog's end, and the picture over time.

    `late_ns`: messages that took longer count as late. `slice_ns`: the picture has one row for each such time.
    """
    from_due = [(due, got, got - due) for due, got in zip(seen.due, seen.received, strict=True) if got]
    from_start = [got - begin for begin, got in zip(seen.started, seen.received, strict=True) if got]
    stall_begin, stall_end = seen.stalled
    before = percentiles(latency for _, got, latency in from_due if got <= stall_begin)["p99"]
    gone = next(
        (got for _, got, latency in from_due if got > stall_end and before is not None and latency <= before), None
    )
    caught_up = sum(stall_end < got <= gone for _, got, _ in from_due) if gone is not None else 0
    return {
        "due": len(seen.due),
        "sent": sum(map(bool, seen.accepted)),
        "lost": seen.lost,
        "received_again": seen.again,
        "stalled_ns": stall_end - stall_begin,
        "before_p99_ns": before,
        "intended_ns": percentiles(latency for _, _, latency in from_due),
        "sent_ns": percentiles(from_start),
        "late_by_intended": sum(latency > late_ns for _, _, latency in from_due),
        "late_by_sent": sum(latency > late_ns for latency in from_start),
        "gone_ns": gone - stall_end if gone is not None else None,
        "catch_up_rate": caught_up * NS_PER_S / (gone - stall_end) if gone is not None else None,
        "deepest": deepest(seen),
        "series": series(seen, slice_ns),
    }


def deepest(seen: Seen) -> int:
    """The most messages that were in the queue at a time; times are noted after each call, so about one is doubtful."""
    changes = [(time_ns, 1) for time_ns in seen.accepted if time_ns]
    changes += [(time_ns, -1) for time_ns in seen.received if time_ns]
    return max(accumulate(change for _, change in sorted(changes)), default=0)


def series(seen: Seen, slice_ns: int) -> dict[str, Any]:
    """For each slice of the due times: the longest latency of its messages by both clocks, and the depth at its end."""
    accepted = sorted(filter(None, seen.accepted))
    received = sorted(filter(None, seen.received))
    begin = seen.due[0]
    slices: dict[int, tuple[int, int]] = {}
    for due, started, got in zip(seen.due, seen.started, seen.received, strict=True):
        if got:
            place = (due - begin) // slice_ns
            by_due, by_start = slices.get(place, (0, 0))
            slices[place] = max(by_due, got - due), max(by_start, got - started)
    rows: list[Sequence[float]] = []
    for place, (by_due, by_start) in sorted(slices.items()):
        end = begin + (place + 1) * slice_ns
        depth = bisect_right(accepted, end) - bisect_right(received, end)
        rows.append([place * slice_ns / NS_PER_S, by_due, by_start, max(0, depth)])
    return {"width_s": slice_ns / NS_PER_S, "columns": ["t_s", "intended_ns", "sent_ns", "depth"], "rows": rows}
