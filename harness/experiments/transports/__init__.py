"""What one could use instead of a System V message queue, each behind one Protocol; for `harness compare`.

    transport = open_transport("pipe", Place(size_bytes=32))     in the parent
    send = transport.sender()                                    in the sending process, after the fork
    receive = transport.receiver()                               in the receiving one

protocol    what a transport is
kernel      the kernel's: System V and POSIX queues, pipes, Unix sockets
forked      multiprocessing's Queue, SimpleQueue and Pipe
remote      those that reach across hosts too: ZeroMQ and Redis, with a server of the run's own
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.experiments.transports.forked import ForkedPipe, ForkedQueue, ForkedSimpleQueue
from harness.experiments.transports.kernel import Datagram, Pipe, PosixQueue, SeqPacket, SysV
from harness.experiments.transports.protocol import Place, Receive, Send, Transport
from harness.experiments.transports.remote import RedisList, RedisServer, ZeroMq

if TYPE_CHECKING:
    from collections.abc import Mapping

TRANSPORTS: Mapping[str, type[Transport]] = {
    kind.name: kind
    for kind in (
        SysV,
        PosixQueue,
        Pipe,
        Datagram,
        SeqPacket,
        ForkedQueue,
        ForkedSimpleQueue,
        ForkedPipe,
        ZeroMq,
        RedisList,
    )
}
"""All that there are, by name, in the order of the report."""


def open_transport(name: str, place: Place) -> Transport:
    """A new one, empty. Raises MachineError or OSError where this machine refuses it."""
    return TRANSPORTS[name](place)


__all__ = [
    "TRANSPORTS",
    "Place",
    "Receive",
    "RedisList",
    "RedisServer",
    "Send",
    "Transport",
    "open_transport",
]
