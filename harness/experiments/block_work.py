"""What `harness block` does in the chamber: its six parts, each of which yields its rows of one round.

The kernel's side of it (ipc/msg.c): a msgsnd that finds no room is put on the queue's list of senders and sleeps. Each
msgrcv makes room, and wakes every sleeping sender whose message would fit now (ss_wakeup); who is woken has no claim to
the room, and looks again whether there is any. Whose message would not fit is moved to the list's tail.
"""

from __future__ import annotations

import ctypes
import math
import os
import time
from array import array
from contextlib import contextmanager
from errno import errorcode
from functools import partial
from statistics import median
from typing import TYPE_CHECKING, Any

from harness.engines import probes
from harness.experiments.block_flow import (
    FILLER,
    MEASURED,
    Flow,
    consume,
    overload_figures,
    percentiles,
    produce,
    shared_words,
    stall_figures,
)
from harness.measure.pacing import NS_PER_S
from harness.sysv import Queue, asleep_in
from harness.sysv.errors import MessageTooLargeError, RunError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from harness.engines.probes import Probes
    from harness.experiments.block import BlockPlan
    from harness.experiments.inside import Bench

    Row = dict[str, Any]

LIMIT_S = 20.0
"""So long do we wait for something that takes milliseconds before we call it a failure."""
POLL_S = 50e-6
PR_SET_TIMERSLACK = 29  # include/uapi/linux/prctl.h

WAKES = 200
REST_S = 100e-6
FLOOR_CALLS = 500

FAIRNESS_WINDOWS = 3
"""So many windows in a round, each with processes of its own: where these land decides a whole window."""
WINDOW_S = 0.1

LARGE = 9
STEADY_GAP_S = 200e-6
STEADY_TAKE_S = 300e-6
"""What one message takes a steady receiver at most, with its sleep: for the limit, and for the time announced."""
STARVATION_LIMIT_S = 0.4
STARVATION_CASES = ("alone", "steady", "hurried")
"""Nobody else sends; small senders and a receiver that works between messages; the same and one that does not."""

CONSUMED_RATE, OFFERED_RATE = 5_000, 10_000
OVERLOAD_S = 0.4
REFUSALS = 1000
START_S = 0.02
"""So long after the fork of a producer is its first message due."""

FEWEST_DETECTIONS, MOST_DETECTIONS = 3, 20
DETECTIONS_NS = 20_000_000
"""No more detections after this time: the kernel copies the message before it looks whether there is room."""
WATCHED_S = 0.05

STALL_ROUNDS = 3
"""A stall takes seconds, and little chance is in it: it is not made in more rounds than these."""
STALL_RATE = 10_000
LATE_NS = 10_000_000
SLICES = 100
CATCH_UP_LIMIT_S = 10.0


def measure(order: tuple[BlockPlan, str], bench: Bench) -> Iterator[Row]:
    """The work: all parts that were asked for, once a round."""
    plan, engine = order
    calls = probes.load(engine)
    # The default lets each sleep end 50 us late (prctl(2)); the processes that we fork inherit it.
    ctypes.CDLL(None).prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0)
    for number in range(plan.rounds):
        for part in plan.parts:
            for row in _WORK[part](plan, calls, bench, number):
                yield {"part": part, "round": number, **row}


@contextmanager
def _queue(plan: BlockPlan, max_bytes: int) -> Iterator[Queue]:
    """A queue with the plan's byte limit, for messages of up to `max_bytes`."""
    with Queue.private(max_bytes=max_bytes) as queue:
        queue.resize(plan.queue_bytes)
        yield queue


def _until(true: Callable[[], object], what: str) -> None:
    """Wait until something is so; raises RunError with `what` after LIMIT_S."""
    deadline_s = time.monotonic() + LIMIT_S
    while not true():
        if time.monotonic() > deadline_s:
            raise RunError(f"not within {LIMIT_S:g} s: {what}", hint="is the machine overloaded?")
        time.sleep(POLL_S)


def _ended(bench: Bench, pid: int, limit_s: float = LIMIT_S) -> None:
    """Wait for a process that ends by itself."""
    if status := bench.wait(pid, limit_s):
        raise RunError("a process of the experiment failed", why=f"exit status {status}")


# --- how fast a sleeping sender wakes ---------------------------------------------------------------------------------


def _wake(plan: BlockPlan, calls: Probes, bench: Bench, number: int) -> Iterator[Row]:
    """From the msgrcv that makes room to the return of the msgsnd that slept, on one CPU and across two."""
    cpus = sorted(os.sched_getaffinity(0))
    places = {"same CPU": (cpus[0], cpus[0])}
    if len(cpus) > 1:
        places["across CPUs"] = (cpus[0], cpus[-1])
    elif not number:
        bench.warn("one CPU is all that we may use, so no wake-up across CPUs was measured")
    floor_ns = _floor_ns(plan, calls)
    for place in sorted(places, reverse=bool(number % 2)):
        bench.doing(f"round {number + 1}, waking a sender, {place}")
        found = percentiles(_wakes(plan, calls, bench, *places[place]))
        yield {"place": place, "median_ns": found["p50"], "p99_ns": found["p99"], "wakes": WAKES, "floor_ns": floor_ns}


def _wakes(plan: BlockPlan, calls: Probes, bench: Bench, taker_cpu: int, sender_cpu: int) -> list[int]:
    times = []
    stamps = shared_words(WAKES)
    with _queue(plan, plan.small_bytes) as queue, _pinned(taker_cpu):
        calls.fill(queue.id, FILLER, plan.small_bytes, plan.holds)
        sender = bench.start(
            lambda: calls.stamp_sends(queue.id, message_type=MEASURED, size_bytes=plan.small_bytes, stamps=stamps),
            cpu=sender_cpu,
        )
        for place in range(WAKES):
            bench.until_asleep(sender)
            taken_ns = calls.take(queue.id, room_bytes=plan.small_bytes)
            time.sleep(REST_S)  # as a receiver does that works, or has nothing to do: the CPU is free
            _until(partial(stamps.__getitem__, place), "a sleeping sender woke when there was room")
            times.append(stamps[place] - taken_ns)
        _ended(bench, sender)
    return times


def _floor_ns(plan: BlockPlan, calls: Probes) -> float:
    """What a receive and a send take together when neither waits: no wake-up can be quicker."""
    times = array("q", bytes(8 * FLOOR_CALLS))
    with _queue(plan, plan.small_bytes) as queue:
        calls.fill(queue.id, FILLER, plan.small_bytes, 1)
        calls.time_receives(queue.id, msgtyp=0, room_bytes=plan.small_bytes, times=times)
        receive_ns = median(times)
        queue.receive(timeout=0)
        calls.time_sends(queue.id, message_type=FILLER, size_bytes=plan.small_bytes, times=times)
    return float(receive_ns + median(times))


@contextmanager
def _pinned(cpu: int) -> Iterator[None]:
    """This process on one CPU, for a while."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {cpu})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


# --- who gets how much ------------------------------------------------------------------------------------------------


def _fairness(plan: BlockPlan, calls: Probes, bench: Bench, number: int) -> Iterator[Row]:
    """Senders that all send as fast as they can, and what came of each within a window; the type tells whose it is."""
    for window in range(FAIRNESS_WINDOWS):
        bench.doing(f"round {number + 1}, {plan.senders} senders into a full queue, {window + 1} of {FAIRNESS_WINDOWS}")
        counts = array("q", bytes(8 * (plan.senders + 1)))
        with _queue(plan, plan.small_bytes) as queue:
            senders = [_flood(plan, calls, bench, queue, message_type) for message_type in range(1, plan.senders + 1)]
            for sender in senders:
                bench.until_asleep(sender)
            # What is in the queue by now was sent while they were started one after the other.
            earlier, limit_ns = array("q", counts), time.monotonic_ns() + int(LIMIT_S * NS_PER_S)
            _tally(plan, calls, queue, earlier, most=queue.stat().messages, until_ns=limit_ns)
            while not any(counts):  # once, unless we got no CPU for a whole window
                begin_ns = time.monotonic_ns()
                _tally(plan, calls, queue, counts, most=1 << 62, until_ns=begin_ns + int(WINDOW_S * NS_PER_S))
                elapsed_ns = time.monotonic_ns() - begin_ns
        for sender in senders:  # the queue is gone, which ends them
            _ended(bench, sender)
        yield {"window": window, "received": list(counts[1:]), "elapsed_ns": elapsed_ns}


def _flood(plan: BlockPlan, calls: Probes, bench: Bench, queue: Queue, message_type: int) -> int:
    return bench.start(lambda: calls.flood(queue.id, message_type=message_type, size_bytes=plan.small_bytes) and None)


def _tally(plan: BlockPlan, calls: Probes, queue: Queue, counts: array[int], *, most: int, until_ns: int) -> None:
    calls.tally(queue.id, room_bytes=plan.small_bytes, most=most, until_ns=until_ns, counts=counts)


# --- the large message that starves -----------------------------------------------------------------------------------


def _starvation(plan: BlockPlan, calls: Probes, bench: Bench, number: int) -> Iterator[Row]:
    """A large message that waits for room, alone or beside small senders; those cases take turns at being first."""
    turn = number % len(STARVATION_CASES)
    for case in STARVATION_CASES[turn:] + STARVATION_CASES[:turn]:
        bench.doing(f"round {number + 1}, a large message waits for room: {case}")
        yield {"case": case, **_large_among_small(plan, calls, bench, case)}


def _large_among_small(plan: BlockPlan, calls: Probes, bench: Bench, case: str) -> Row:
    """How long until the large message is in, and how many small ones came in meanwhile; both exact."""
    stamps = shared_words(1)
    with _queue(plan, plan.large_bytes) as queue:
        if case == "alone":
            small = []
            calls.fill(queue.id, FILLER, plan.small_bytes, plan.holds)
        else:
            small = [_flood(plan, calls, bench, queue, FILLER) for _ in range(plan.senders)]
            for sender in small:
                bench.until_asleep(sender)
        large = bench.start(
            lambda: calls.stamp_sends(queue.id, message_type=LARGE, size_bytes=plan.large_bytes, stamps=stamps)
        )
        bench.until_asleep(large)
        before = queue.stat().messages
        begin_ns = time.monotonic_ns()
        passed, received = _take_until_in(queue, stamps, case, begin_ns + int(plan.starvation_limit_s * NS_PER_S))
        if received or stamps[0]:
            _ended(bench, large)
        else:
            bench.end(large)  # before the others, or it would get in when its rivals are gone
        for sender in small:
            bench.end(sender)
        # What is still in the queue tells how many came before it: the order of coming in is that of going out.
        for message in queue.drain() if not received else ():
            if message.type == LARGE:
                break
            passed += 1
    waited_ns = stamps[0] - begin_ns if stamps[0] else None
    return {"got_in": waited_ns is not None, "waited_ns": waited_ns, "overtaken_by": max(0, passed - before)}


def _take_until_in(queue: Queue, stamps: memoryview[int], case: str, until_ns: int) -> tuple[int, bool]:
    """Receive until the large message is in or the time is up; how many small ones, and whether it came out again."""
    receive, clock, taken = queue.raw.receive, time.monotonic_ns, 0
    while not stamps[0] and clock() < until_ns:
        if receive(True, 0)[1] == LARGE:
            return taken, True
        taken += 1
        if case != "hurried":
            time.sleep(STEADY_GAP_S)
    return taken, False


# --- refuse against block ---------------------------------------------------------------------------------------------


def _overload(plan: BlockPlan, calls: Probes, bench: Bench, number: int) -> Iterator[Row]:
    """The same overload with IPC_NOWAIT and without: twice what the consumer takes."""
    ways = ("refuse", "block") if plan.when_full == "both" else (plan.when_full,)
    for way in ways[:: -1 if number % 2 else 1]:
        bench.doing(f"round {number + 1}, twice what the consumer takes: {way}")
        yield {"when_full": way, **_overloaded(plan, calls, bench, way)}


def _overloaded(plan: BlockPlan, calls: Probes, bench: Bench, way: str) -> Row:
    with _queue(plan, plan.small_bytes) as queue:
        calls.fill(queue.id, FILLER, plan.small_bytes, plan.holds)  # full from the first moment on
        kernel_ns = None
        if way == "refuse":
            times = array("q", bytes(8 * REFUSALS))
            calls.time_refusals(queue.id, message_type=MEASURED, size_bytes=plan.small_bytes, times=times)
            kernel_ns = float(median(times))
        begin_ns = time.monotonic_ns() + int(START_S * NS_PER_S)
        until_ns = begin_ns + int(OVERLOAD_S * NS_PER_S)
        flow = Flow(count=int(OVERLOAD_S * OFFERED_RATE), rate=OFFERED_RATE, begin_ns=begin_ns)
        producer = bench.start(
            lambda: produce(queue, flow, size_bytes=plan.small_bytes, refuse=way == "refuse", until_ns=until_ns)
        )
        consumer = bench.start(lambda: consume(queue, flow, period_ns=NS_PER_S / CONSUMED_RATE, until_ns=until_ns))
        _ended(bench, producer)
        _ended(bench, consumer)
    seen = flow.seen()
    return {
        "offered_rate": OFFERED_RATE,
        "goodput": seen.in_time / OVERLOAD_S,
        "elapsed_s": OVERLOAD_S,
        "refused_system_call_ns": kernel_ns,
        **overload_figures(seen),
    }


# --- the message that never fits --------------------------------------------------------------------------------------


def _never_fits(plan: BlockPlan, calls: Probes, bench: Bench, number: int) -> Iterator[Row]:
    """A message over the queue's byte limit: our send tells at once, the kernel's waits on an empty queue."""
    bench.doing(f"round {number + 1}, a message that can never fit")
    size_bytes = plan.queue_bytes + 1
    payload, times, stamps = bytes(size_bytes), [], shared_words(1)
    with _queue(plan, size_bytes) as queue:
        begin_ns = time.monotonic_ns()
        for done in range(MOST_DETECTIONS):
            before = time.monotonic_ns()
            if done >= FEWEST_DETECTIONS and before - begin_ns > DETECTIONS_NS:
                break
            try:
                queue.send(payload)
            except MessageTooLargeError as error:
                times.append(time.monotonic_ns() - before)
                said = error
        waiting = bench.start(
            lambda: calls.stamp_sends(queue.id, message_type=MEASURED, size_bytes=size_bytes, stamps=stamps)
        )
        asleep_ns = time.monotonic_ns()
        sleeper = bench.until_asleep(waiting)
        time.sleep(WATCHED_S)
        yield {
            "size_bytes": size_bytes,
            "detected_ns": float(median(times)),
            "error": type(said).__name__,
            "errno": errorcode[said.errno],
            "sentence": said.why,
            "hint": said.hint,
            "asleep_in": sleeper.call,
            "still_asleep": asleep_in(waiting) == sleeper,
            "watched_ns": time.monotonic_ns() - asleep_ns,
            "messages": queue.stat().messages,
        }
        bench.end(waiting)


# --- the consumer that stalls -----------------------------------------------------------------------------------------


def _stall(plan: BlockPlan, calls: Probes, bench: Bench, number: int) -> Iterator[Row]:
    """An open loop whose consumer takes nothing for a while: every message's latency by two clocks."""
    del calls  # a flow is paced, and Python is quick enough for that
    if number >= STALL_ROUNDS:
        return
    bench.doing(f"round {number + 1}, the consumer stalls for {plan.stall_s:g} s")
    total_s = plan.before_s + plan.stall_s + plan.after_s
    with _queue(plan, plan.small_bytes) as queue:
        begin_ns = time.monotonic_ns() + int(START_S * NS_PER_S)
        flow = Flow(count=math.ceil(total_s * STALL_RATE), rate=STALL_RATE, begin_ns=begin_ns)
        give_up_ns = begin_ns + int((total_s + CATCH_UP_LIMIT_S) * NS_PER_S)
        producer = bench.start(
            lambda: produce(queue, flow, size_bytes=plan.small_bytes, refuse=False, until_ns=give_up_ns)
        )
        stall_at_ns = begin_ns + int(plan.before_s * NS_PER_S)
        consumer = bench.start(lambda: consume(queue, flow, stall_at_ns=stall_at_ns, stall_s=plan.stall_s))
        _ended(bench, producer, total_s + CATCH_UP_LIMIT_S + LIMIT_S)
        _ended(bench, consumer)
    yield stall_figures(flow.seen(), late_ns=LATE_NS, slice_ns=int(total_s * NS_PER_S / SLICES))


_WORK = {
    "wake": _wake,
    "fairness": _fairness,
    "starvation": _starvation,
    "overload": _overload,
    "never-fits": _never_fits,
    "stall": _stall,
}
