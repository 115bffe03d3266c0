"""The properties of `harness compare`, tried on the real thing: a few messages from a process to itself.

Of each mechanism the bare calls are tried, without what a transport of ours adds (a pipe's lengths). What a mechanism
has no call for is not tried, and stays None: so whether it outlives its processes, where it has no name to come back
by.
"""

from __future__ import annotations

import os
import secrets
import select
import socket
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.experiments.processes import fork_worker
from harness.experiments.transports.forked import CONTEXT
from harness.experiments.transports.kernel import POSIX_IPC
from harness.experiments.transports.remote import REDIS, ZMQ
from harness.sysv import Queue, Selector
from harness.sysv.errors import MachineError, NoMessageError, NoSuchQueueError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from harness.experiments.transports import Place

LIMIT_S = 2.0
"""What was sent is there at once; a thread that hands it on may need a moment."""
SHORT, LONG = b"first", b"the second"


@dataclass(slots=True, kw_only=True)
class Ends:
    """Both ends of one mechanism; None where it has no such call."""

    send: Callable[[bytes], object]
    receive: Callable[[], bytes]
    """Takes what is next, with room for much more than a message."""
    ready: Callable[[float], bool] | None = None
    """Wait for a message, so many s at most, as one can wait for sockets at the same time."""
    peek: Callable[[], bytes] | None = None
    send_urgent: Callable[[bytes], object] | None = None
    receive_urgent: Callable[[], bytes] | None = None
    """If that takes another call than `receive`."""
    send_other: Callable[[bytes], object] | None = None
    """Send a message of another kind,"""
    receive_other: Callable[[], bytes] | None = None
    """and ask for that kind."""


def try_out(name: str, place: Place) -> dict[str, bool | None]:
    """What was found of each property. Each gets ends of its own, so that nothing of one trial lies before the next."""
    make = ENDS.get(name)
    if make is None:
        return {}
    found = {asked: trial(make(place)) for asked, trial in TRIALS.items()}
    outlives = OUTLIVES.get(name)
    return {**found, "outlives": outlives(place) if outlives else None}


def _boundaries(ends: Ends) -> bool:
    ends.send(SHORT)
    ends.send(LONG)
    return ends.receive() == SHORT


def _poll(ends: Ends) -> bool | None:
    if ends.ready is None:
        return None
    before = ends.ready(0)
    ends.send(SHORT)
    return not before and ends.ready(LIMIT_S)


def _peek(ends: Ends) -> bool | None:
    if ends.peek is None:
        return None
    ends.send(SHORT)
    return ends.peek() == SHORT and ends.receive() == SHORT


def _priority(ends: Ends) -> bool | None:
    if ends.send_urgent is None:
        return None
    ends.send(SHORT)
    ends.send_urgent(LONG)
    return (ends.receive_urgent or ends.receive)() == LONG


def _select(ends: Ends) -> bool | None:
    if ends.send_other is None or ends.receive_other is None:
        return None
    ends.send(SHORT)
    ends.send_other(LONG)
    return ends.receive_other() == LONG and ends.receive() == SHORT


TRIALS: Mapping[str, Callable[[Ends], bool | None]] = {
    "select": _select,
    "priority": _priority,
    "boundaries": _boundaries,
    "peek": _peek,
    "poll": _poll,
}


# --- the mechanisms, bare --------------------------------------------------------------------------------------------


def _readable(descriptor: int) -> Callable[[float], bool]:
    return lambda wait_s: bool(select.select([descriptor], [], [], wait_s)[0])


def _sysv(place: Place) -> Ends:  # noqa: ARG001  each has the same call
    queue = Queue.private()

    def peek() -> bytes:
        with suppress(MachineError):  # a kernel without MSG_COPY: not so, then
            copy = queue.peek()
            return copy.payload if copy else b""
        return b""

    return Ends(
        send=lambda payload: queue.send(payload, type=2),
        receive=lambda: queue.receive(timeout=LIMIT_S).payload,
        peek=peek,
        send_urgent=lambda payload: queue.send(payload, type=1),
        receive_urgent=lambda: queue.receive(Selector.at_most(2), timeout=LIMIT_S).payload,
        send_other=lambda payload: queue.send(payload, type=3),
        receive_other=lambda: queue.receive(Selector.exactly(3), timeout=LIMIT_S).payload,
    )


def _mq(place: Place) -> Ends:  # noqa: ARG001
    posix_ipc = POSIX_IPC.module
    queue = posix_ipc.MessageQueue(f"/harness-{secrets.token_hex(8)}", posix_ipc.O_CREX, max_messages=4)
    queue.unlink()
    return Ends(
        send=queue.send,
        receive=lambda: queue.receive(LIMIT_S)[0],
        ready=_readable(queue.mqd),
        send_urgent=lambda payload: queue.send(payload, None, 1),
    )


def _pipe(place: Place) -> Ends:  # noqa: ARG001
    reading, writing = os.pipe()
    return Ends(
        send=lambda payload: os.write(writing, payload),
        receive=lambda: os.read(reading, 4096),
        ready=_readable(reading),
    )


def _unix_pair(kind: socket.SocketKind) -> Ends:
    sending, receiving = socket.socketpair(socket.AF_UNIX, kind)
    return Ends(
        send=sending.send,
        receive=lambda: receiving.recv(4096),
        ready=_readable(receiving.fileno()),
        peek=lambda: receiving.recv(4096, socket.MSG_PEEK),
    )


def _forked_queue(place: Place) -> Ends:  # noqa: ARG001
    queue = CONTEXT.Queue()
    return Ends(send=queue.put, receive=lambda: bytes(queue.get(timeout=LIMIT_S)))


def _forked_simple_queue(place: Place) -> Ends:  # noqa: ARG001
    queue = CONTEXT.SimpleQueue()
    return Ends(send=queue.put, receive=queue.get)


def _forked_pipe(place: Place) -> Ends:  # noqa: ARG001
    receiving, sending = CONTEXT.Pipe(duplex=False)
    return Ends(send=sending.send_bytes, receive=receiving.recv_bytes, ready=_readable(receiving.fileno()))


def _zeromq(place: Place) -> Ends:  # noqa: ARG001
    zmq = ZMQ.module
    context, address = zmq.Context(), f"ipc://@harness-{secrets.token_hex(8)}"
    receiving, sending = context.socket(zmq.PULL), context.socket(zmq.PUSH)
    receiving.bind(address)
    sending.connect(address)

    def ready(wait_s: float) -> bool:
        beside, poller = socket.socketpair(), zmq.Poller()
        for waited_for in (receiving, beside[0]):
            poller.register(waited_for, zmq.POLLIN)
        return receiving in dict(poller.poll(int(wait_s * 1000)))

    return Ends(send=sending.send, receive=receiving.recv, ready=ready)


def _redis_client(place: Place) -> Any:
    return REDIS.module.Redis(unix_socket_path=place.redis_socket, socket_timeout=LIMIT_S)


def _redis(place: Place) -> Ends:
    client = _redis_client(place)
    ordinary, urgent = (f"harness-{secrets.token_hex(8)}" for _ in range(2))
    return Ends(
        send=lambda payload: client.rpush(ordinary, payload),
        receive=lambda: client.blpop([ordinary], 1)[1],
        peek=lambda: client.lrange(ordinary, 0, 0)[0],
        send_urgent=lambda payload: client.rpush(urgent, payload),
        receive_urgent=lambda: client.blpop([urgent, ordinary], 1)[1],
        send_other=lambda payload: client.rpush(urgent, payload),
        receive_other=lambda: client.blpop([urgent], 1)[1],
    )


ENDS: Mapping[str, Callable[[Place], Ends]] = {
    "sysv": _sysv,
    "mq": _mq,
    "pipe": _pipe,
    "datagram": lambda _: _unix_pair(socket.SOCK_DGRAM),
    "seqpacket": lambda _: _unix_pair(socket.SOCK_SEQPACKET),
    "mp.Queue": _forked_queue,
    "mp.SimpleQueue": _forked_simple_queue,
    "mp.Pipe": _forked_pipe,
    "zeromq": _zeromq,
    "redis": _redis,
}


# --- what is left by a process that sent and ended -------------------------------------------------------------------


def _left_by(work: Callable[[], object]) -> None:
    """Let a process of its own do the work, and wait until it has ended, and all that it had open with it."""

    def do() -> None:
        work()

    os.waitpid(fork_worker(do), 0)


def _sysv_outlives(place: Place) -> bool:  # noqa: ARG001
    key = 1 + secrets.randbits(30)  # in the chamber's namespace, so it is nobody else's
    _left_by(lambda: Queue.create(key).send(SHORT))
    with suppress(NoSuchQueueError, NoMessageError):
        return Queue.open(key).receive(timeout=0).payload == SHORT
    return False


def _mq_outlives(place: Place) -> bool:  # noqa: ARG001
    posix_ipc, name = POSIX_IPC.module, f"/harness-{secrets.token_hex(8)}"
    _left_by(lambda: posix_ipc.MessageQueue(name, posix_ipc.O_CREX, max_messages=4).send(SHORT))
    with suppress(posix_ipc.ExistentialError, posix_ipc.BusyError):
        queue = posix_ipc.MessageQueue(name)
        queue.unlink()
        return bool(queue.receive(0)[0] == SHORT)
    return False


def _redis_outlives(place: Place) -> bool:
    key = f"harness-{secrets.token_hex(8)}"
    _left_by(lambda: _redis_client(place).rpush(key, SHORT))
    return bool(_redis_client(place).lpop(key) == SHORT)


OUTLIVES: Mapping[str, Callable[[Place], bool]] = {
    "sysv": _sysv_outlives,
    "mq": _mq_outlives,
    "redis": _redis_outlives,
}
