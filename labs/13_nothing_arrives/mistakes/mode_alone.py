"""A queue that others may read and not write is taken for somebody else's, without asking whose it is.

fails: test_a_queue_that_is_fine
teaches: for the owner the first octal digit of the mode counts
"""

from __future__ import annotations

import sys
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from evidence import Evidence  # the file beside this one


class Cause(Enum):
    """Why nothing arrives, with the words for a person."""

    ALL_IS_WELL = "all is well: look again"
    NETCAT_WITHOUT_U = "the client speaks TCP: nc without -u"
    LOCALHOST_IS_IPV6 = "the client sends to ::1, and nobody there has the port"
    FORGOTTEN_LISTENER = "another process has the port at the very address that the client sends to"
    FOREIGN_QUEUE = "the queue belongs to another user, and its mode does not let the proxy write"
    WORKERS_DEAD = "no worker is alive"
    ORPHAN_WORKERS = "workers of an earlier run take messages too"
    QUEUE_TOO_SMALL = "the message is larger than the whole queue may be"
    OUTPUT_GONE = "nobody reads the workers' output, and each dies of its first message"
    CLIENT_ELSEWHERE = "the client is in another network namespace"
    LATER_LISTENER = "another process bound the same address later, and gets the datagrams"


def client_side(evidence: Evidence) -> Cause | None:
    """NETCAT_WITHOUT_U, CLIENT_ELSEWHERE, LOCALHOST_IS_IPV6, or None: what the client sends can reach this machine."""
    client = evidence.client
    if client.protocol != "udp":
        return Cause.NETCAT_WITHOUT_U
    if client.network != evidence.network:
        return Cause.CLIENT_ELSEWHERE
    if client.family not in [socket.family for socket in evidence.sockets]:
        return Cause.LOCALHOST_IS_IPV6
    return None


def socket_side(evidence: Evidence) -> Cause | None:
    """FORGOTTEN_LISTENER, LATER_LISTENER, or None: of all sockets at the port, the proxy's gets the datagram.

    The kernel gives a datagram to the socket that is bound to exactly its address; if there is none, to one bound to
    every address; and of several with the same address, to the one that was bound last. `evidence.sockets` has those
    of one address in this order, the last bound first.
    """
    ours = next(socket for socket in evidence.sockets if socket.pid == evidence.proxy.pid)
    exact = [socket for socket in evidence.sockets if socket.address == evidence.client.target]
    if exact and ours not in exact:
        return Cause.FORGOTTEN_LISTENER
    same_address = [socket for socket in evidence.sockets if socket.address == ours.address]
    if same_address[0] != ours:
        return Cause.LATER_LISTENER
    return None


def queue_side(evidence: Evidence) -> Cause | None:
    """FOREIGN_QUEUE, QUEUE_TOO_SMALL, or None: the proxy can put its message on the queue, sooner or later."""
    queue, proxy = evidence.queue, evidence.proxy
    others_may_write = queue.mode & 0o002
    if queue.mode & 0o044 and not others_may_write:
        return Cause.FOREIGN_QUEUE
    if proxy.asleep_in == "msgsnd" and proxy.size_bytes > queue.limit_bytes:
        return Cause.QUEUE_TOO_SMALL
    return None


def worker_side(evidence: Evidence) -> Cause | None:
    """OUTPUT_GONE, WORKERS_DEAD, ORPHAN_WORKERS, or None: the program's own workers take messages and are heard."""
    # First of the three: it is what the workers die of, so it explains dead ones, and not the other way round.
    if not evidence.output_has_reader:
        return Cause.OUTPUT_GONE
    if not any(worker.alive for worker in evidence.workers):
        return Cause.WORKERS_DEAD
    # An orphan's parent is whoever adopts orphans here: often 1, but not always. It is not the proxy, that is certain.
    if any(receiver.parent != evidence.proxy.pid for receiver in evidence.receivers):
        return Cause.ORPHAN_WORKERS
    return None


def diagnose(evidence: Evidence) -> Cause:
    """What the first side says that finds a cause, in the order in which a message travels; else ALL_IS_WELL."""
    for side in (client_side, socket_side, queue_side, worker_side):
        cause = side(evidence)
        if cause is not None:
            return cause
    return Cause.ALL_IS_WELL


def main(argv: list[str] | None = None) -> int:
    """Put a cause on, print the evidence and the diagnosis, and wait for Enter; returns the exit status."""
    import scenes  # noqa: PLC0415 - the file beside this one; only the program needs it

    return scenes.main(argv, lambda evidence: diagnose(evidence).value)


if __name__ == "__main__":
    sys.exit(main())
