"""What `harness claims` tries in the chamber: small experiments on its own queues, each giving one claim's evidence.

The namespace is the chamber's own, so its limits can be raised, and are put back after each trial. Rates and the order
in long runs are not tried here but by load runs (claims.py).
"""

from __future__ import annotations

import errno
import fcntl
import os
import random
import time
from array import array
from contextlib import contextmanager
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from harness.measure.kernel_files import ROOT, parse_fields, read_text
from harness.sysv import Limits, Queue, Selector
from harness.sysv.errors import (
    MachineError,
    MessageTooLargeError,
    NoMessageError,
    QueueFullError,
    QueueLimitError,
    QueueRemovedError,
    RunError,
)
from harness.sysv.limits import SYSCTL_FOLDER

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from harness.experiments.claims import ClaimsPlan
    from harness.experiments.inside import Bench

LARGEST_LIMIT = 2**31 - 1
"""INT_MAX, where msgmax and msgmnb end (ipc/ipc_sysctl.c)."""
LARGEST_QUEUES = 32_768
"""IPCMNI, where msgmni ends (include/linux/ipc_namespace.h)."""

TYPES = (3, 2, 1, 2, 3, 1)
ABSENT = 9
"""The types of the six messages that are selected from, in their order, and one that is not there."""

COPIES = 5
"""A message is there so often at a time: as sent, in sysv_ipc's two buffers, in the kernel, as received."""

MOST_QUEUES = 512
"""Enough for 2 TiB of memory, of which half are 512 queues of 2 GiB."""
TEXT_BYTES, TEXT_LIMIT = 100, 1000
COUNT_LIMIT = 100

NUMBER_BYTES = 4
PACE_S = 0.001
WORKERS = 2
SENDERS = 4
BLOCKED_ROUNDS = 20
ROOM, IN_IT, LARGE, SMALL = 1000, 900, 500, 50
"""Bytes: a queue, the message in it, one that does not fit beside it, one that does."""

POLL_S = 0.001
LIMIT_S = 20.0


def measure(plan: ClaimsPlan, bench: Bench) -> Iterator[dict[str, Any]]:
    """The work: one row a claim, with its evidence."""
    limits = Limits.read()
    bench.doing("selection by message type")
    yield {"claim": "selection", "evidence": try_selection(bench)}
    bench.doing("the largest message")
    yield {"claim": "message-size", "evidence": try_message_size(plan.message_bytes, limits)}
    bench.doing("the room in a queue")
    yield {"claim": "queue-size", "evidence": try_queue_size(limits)}
    bench.doing("order")
    yield {"claim": "order", "evidence": try_order(plan, bench)}


@contextmanager
def _limits_put_back(before: Limits) -> Iterator[None]:
    try:
        yield
    finally:
        Limits.write(msgmax=before.msgmax, msgmnb=before.msgmnb, msgmni=before.msgmni)


def _takes(name: str, value: int) -> bool:
    """Whether the kernel takes this number for a limit of our namespace; if it does, it is set."""
    try:
        (SYSCTL_FOLDER / name).write_text(str(value), encoding="ascii")
    except OSError as error:
        if error.errno in (errno.EINVAL, errno.EACCES, errno.EPERM, errno.EROFS):
            return False
        raise
    return True


def _largest(name: str, now: int) -> int | None:
    """The largest number that the kernel takes for a limit, to a factor of 2; it is set. None for none above `now`."""
    if _ends_at(name, LARGEST_LIMIT):
        return LARGEST_LIMIT
    powers = (2**power for power in range(30, 0, -1))
    return next((value for value in powers if value > now and _takes(name, value)), None)


def _ends_at(name: str, value: int) -> bool:
    """Whether the kernel takes this number, and not one more."""
    return not _takes(name, value + 1) and _takes(name, value)


def _wait_until(true: Callable[[], bool], what: str) -> None:
    deadline_s = time.monotonic() + LIMIT_S
    while not true():
        if time.monotonic() > deadline_s:
            raise RunError(f"waited {LIMIT_S:.0f} s for {what}", hint="is the machine overloaded?")
        time.sleep(POLL_S)


# --- selection by type -----------------------------------------------------------------------------------------------


def try_selection(bench: Bench) -> dict[str, Any]:
    """Each way to ask of the same six messages: [type, number] of what should come and of what came, None for nothing.

    `lowest` with all three types is repeated until nothing is left, as a receiver of a priority queue would.
    """
    found: dict[str, Any] = {
        "exact": [_ask(Selector.exactly(number), expected) for number, expected in ((2, 1), (1, 2), (ABSENT, None))],
        "first": [_ask(Selector.any(), 0)],
        "lowest": [_ask(Selector.at_most(number), 2) for number in (1, 2, ABSENT)],
        "except": [_ask(Selector.anything_but(number), expected) for number, expected in ((3, 1), (2, 0))],
    }
    with _six() as queue:
        got = [list(_numbered(message.type, message.payload)) for message in queue.drain(Selector.at_most(3))]
    found["lowest"].append(
        {"asked": "at most 3, until nothing is left", "expected": _expected(2, 5, 1, 3, 0, 4), "got": got}
    )
    try:
        with _six() as queue:
            copy = queue.peek(3)
            left = queue.stat().messages
        found["copy"] = [
            {
                "asked": "a copy of the fourth",
                "expected": [TYPES[3], 3, len(TYPES)],
                "got": [*_numbered(copy.type, copy.payload), left] if copy else None,
            }
        ]
    except MachineError as error:  # a kernel that was built without it
        bench.warn(str(error))
        found["copy"] = None
    return found


@contextmanager
def _six() -> Iterator[Queue]:
    with Queue.private() as queue:
        for number, message_type in enumerate(TYPES):
            queue.send(bytes([number]), type=message_type)
        yield queue


def _ask(selector: Selector, expected: int | None) -> dict[str, Any]:
    with _six() as queue:
        try:
            message = queue.receive(selector, timeout=0)
        except NoMessageError:
            got = None
        else:
            got = _numbered(message.type, message.payload)
    return {
        "asked": str(selector),
        "expected": None if expected is None else _expected(expected)[0],
        "got": got,
    }


def _numbered(message_type: int, payload: bytes) -> list[int]:
    return [message_type, payload[0]]


def _expected(*numbers: int) -> list[list[int]]:
    return [[TYPES[number], number] for number in numbers]


# --- how large a message can be --------------------------------------------------------------------------------------


def try_message_size(sizes: Iterable[int], limits: Limits) -> dict[str, Any]:
    """What msgmax is and can be, whether it holds, and which sizes arrive whole once it is raised."""
    with _limits_put_back(limits):
        refused = _is_refused(limits.msgmax + 1)
        settable = _takes("msgmax", limits.msgmax) and _takes("msgmnb", limits.msgmnb)
        return {
            "msgmax": limits.msgmax,
            "over_msgmax_refused": refused,
            "settable": settable,
            "tried": [_send_whole(size, settable=settable) for size in sizes],
            "largest_msgmax": _largest("msgmax", limits.msgmax) if settable else None,
        }


def _is_refused(size_bytes: int) -> bool:
    with Queue.private(max_bytes=size_bytes) as queue:
        try:
            queue.send(bytes(size_bytes), timeout=0)
        except MessageTooLargeError:
            return True
        except QueueFullError:  # within msgmax, then
            return False
        return False


def _send_whole(size_bytes: int, *, settable: bool) -> dict[str, Any]:
    """Whether a message of random bytes comes out as it went in; None and why where that cannot be tried."""

    def ended(arrived: bool | None, why: str) -> dict[str, Any]:
        return {"bytes": size_bytes, "arrived": arrived, "why": why}

    available = parse_fields(read_text(ROOT / "proc/meminfo") or "").get("MemAvailable")
    if available is not None and available * 1024 < 2 * COPIES * size_bytes:
        return ended(None, "not enough memory is available")
    now = Limits.read()
    for name, limit in (("msgmax", now.msgmax), ("msgmnb", now.msgmnb)):
        if size_bytes > limit and not (settable and _takes(name, size_bytes)):
            # Where it can be set, and not so high, the kernel has refused the message; else nobody has.
            return ended(False if settable else None, f"{name} cannot be set so high")
    payload = random.Random(size_bytes).randbytes(size_bytes)  # noqa: S311  no secret
    with Queue.private(max_bytes=size_bytes) as queue:
        try:
            queue.send(payload, timeout=0)
        except MessageTooLargeError as error:
            return ended(False, error.why or error.seen)
        except QueueLimitError as error:  # no memory after all
            return ended(None, error.why or error.seen)
        return ended(queue.receive(timeout=0).payload == payload, "")


# --- how much a queue holds ------------------------------------------------------------------------------------------


def try_queue_size(limits: Limits) -> dict[str, Any]:
    """What msgmnb is and can be, whom a change meets, what counts, and whether limits in sum pass half of memory."""
    memory_kib = parse_fields(read_text(ROOT / "proc/meminfo") or "").get("MemTotal")
    memory = None if memory_kib is None else memory_kib * 1024
    with _limits_put_back(limits), Queue.private() as old:
        before = old.stat().queue_bytes
        settable = _takes("msgmnb", limits.msgmnb)
        largest = _largest("msgmnb", limits.msgmnb) if settable else None
        with Queue.private() as new:
            new_bytes = new.stat().queue_bytes
        return {
            "memory_bytes": memory,
            "msgmnb": limits.msgmnb,
            "settable": settable,
            "largest_msgmnb": largest,
            "new_bytes": new_bytes,
            "existing_keeps": old.stat().queue_bytes == before,
            "text": _fill(TEXT_LIMIT, TEXT_BYTES, TEXT_LIMIT // TEXT_BYTES),
            "count": _fill(COUNT_LIMIT, 0, COUNT_LIMIT),
            "together_bytes": None if largest is None or memory is None else _granted(memory // 2),
            "msgmni": limits.msgmni,
            "largest_msgmni": LARGEST_QUEUES if _ends_at("msgmni", LARGEST_QUEUES) else None,
        }


def _fill(limit: int, message_bytes: int, expected: int) -> dict[str, int]:
    """How many messages of this size fit a queue of this limit, and how many would if only text counted."""
    fitted = 0
    with Queue.private() as queue:
        queue.resize(limit)
        try:
            while fitted <= 2 * expected:
                queue.send(bytes(message_bytes), timeout=0)
                fitted += 1
        except QueueFullError:
            pass
    return {"limit": limit, "message_bytes": message_bytes, "fitted": fitted, "expected": expected}


def _granted(beyond_bytes: int) -> int | None:
    """The limits of empty queues in sum: one after the other is made until they pass so much, or one is refused.

    None where too many would be needed.
    """
    queues: list[Queue] = []
    together = 0
    try:
        while together <= beyond_bytes:
            if len(queues) == MOST_QUEUES:
                return None
            queues.append(Queue.private())
            together += queues[-1].stat().queue_bytes
    except QueueLimitError:
        pass
    finally:
        for queue in queues:
            queue.remove()
    return together


# --- order -----------------------------------------------------------------------------------------------------------


def try_order(plan: ClaimsPlan, bench: Bench) -> dict[str, Any]:
    """Other orders than that of dequeuing: two workers' output, blocked senders, a small message and a large one."""
    blocked = [_blocked_order(bench) for _ in range(BLOCKED_ROUNDS)]
    return {
        "bursts": _two_workers(bench, plan.burst_messages, pause_s=0.0),
        "paced": _two_workers(bench, plan.paced_messages, pause_s=PACE_S),
        "blocked": {
            "senders": SENDERS,
            "rounds": BLOCKED_ROUNDS,
            "in_order": sum(order == sorted(order) for order in blocked),
            "orders": blocked,
        },
        "overtaking": _overtaking(bench),
    }


def _two_workers(bench: Bench, count: int, *, pause_s: float) -> dict[str, Any]:
    """Numbered messages to two workers that write them to one file: how often one there is below the one before it."""
    log = os.memfd_create("harness-claims")
    fcntl.fcntl(log, fcntl.F_SETFL, os.O_APPEND)  # a place of its own for each write: a memfd's offset has no lock
    with Queue.private(max_bytes=NUMBER_BYTES) as queue:
        workers = [bench.start(partial(_copy, queue, log)) for _ in range(WORKERS)]
        for pid in workers:
            bench.until_asleep(pid)
        for number in range(count):
            queue.send(number.to_bytes(NUMBER_BYTES, "little"))
            if pause_s:
                time.sleep(pause_s)
        _wait_until(lambda: os.fstat(log).st_size == NUMBER_BYTES * count, "the workers to write what was sent")
    for pid in workers:
        bench.wait(pid, LIMIT_S)
    numbers = array("I", os.pread(log, NUMBER_BYTES * count, 0))
    os.close(log)
    return {"messages": count, "inversions": inversions(numbers)}


def inversions(numbers: Iterable[int]) -> int:
    """How many numbers are below the one before them."""
    return sum(after < before for before, after in pairwise(numbers))


def _copy(queue: Queue, log: int) -> int:
    """A worker's life, until the queue is removed."""
    try:
        while True:
            os.write(log, queue.receive().payload)
    except QueueRemovedError:
        return 0


def _blocked_order(bench: Bench) -> list[int]:
    """The order in which messages of senders arrive that blocked one after the other, 0, 1, 2, on a full queue."""
    filler = bytes([SENDERS])
    with Queue.private(max_bytes=1) as queue:
        queue.resize(SENDERS)
        for _ in range(SENDERS):
            queue.send(filler)
        senders = []
        for number in range(SENDERS):
            senders.append(bench.start(partial(queue.send, bytes([number]))))
            bench.until_asleep(senders[-1])
        arrived = [queue.receive(timeout=LIMIT_S).payload for _ in range(2 * SENDERS)]
    for pid in senders:
        bench.wait(pid, LIMIT_S)
    return [payload[0] for payload in arrived if payload != filler]


def _overtaking(bench: Bench) -> dict[str, Any]:
    """Whether a message that fits is let in before a larger one that has waited for room already."""
    with Queue.private(max_bytes=ROOM) as queue:
        queue.resize(ROOM)
        queue.send(bytes(IN_IT))
        sender = bench.start(partial(queue.send, bytes(LARGE)))
        bench.until_asleep(sender)
        try:
            queue.send(bytes(SMALL), timeout=0)
            sent = 3
        except QueueFullError:
            sent = 2
        order = [len(queue.receive(timeout=LIMIT_S).payload) for _ in range(sent)]
    bench.wait(sender, LIMIT_S)
    return {"order_bytes": order, "overtaken": order == [IN_IT, SMALL, LARGE]}
