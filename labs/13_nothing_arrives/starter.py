"""It binds, and then nothing arrives: from what can be seen, say which of ten causes it is.

    client --datagram--> socket of the proxy --msgsnd--> queue --msgrcv--> workers --print--> whoever reads it
    13.1                 13.2                            13.3              13.4

Each side has its own function; `diagnose` asks them in the order in which a message travels. What they are given is an
`Evidence`, collected beforehand: its fields are at the top of evidence.py. Try `python lab.py --stage 7`.
"""

from __future__ import annotations

import sys
from enum import Enum
from typing import TYPE_CHECKING

from harness.labkit import todo

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
    todo("13.1 tell the three causes on the client's side, or None")


def socket_side(evidence: Evidence) -> Cause | None:
    """FORGOTTEN_LISTENER, LATER_LISTENER, or None: of all sockets at the port, the proxy's gets the datagram.

    The kernel gives a datagram to the socket that is bound to exactly its address; if there is none, to one bound to
    every address; and of several with the same address, to the one that was bound last. `evidence.sockets` has those
    of one address in this order, the last bound first.
    """
    todo("13.2 tell the two causes among the sockets, or None")


def queue_side(evidence: Evidence) -> Cause | None:
    """FOREIGN_QUEUE, QUEUE_TOO_SMALL, or None: the proxy can put its message on the queue, sooner or later."""
    todo("13.3 tell the two causes of the queue, or None")


def worker_side(evidence: Evidence) -> Cause | None:
    """OUTPUT_GONE, WORKERS_DEAD, ORPHAN_WORKERS, or None: the program's own workers take messages and are heard."""
    todo("13.4 tell the three causes among the workers, or None")


def diagnose(evidence: Evidence) -> Cause:
    """What the first side says that finds a cause, in the order in which a message travels; else ALL_IS_WELL."""
    todo("13.5 ask the four sides, and say what the first one finds")


def main(argv: list[str] | None = None) -> int:
    """Put a cause on, print the evidence and the diagnosis, and wait for Enter; returns the exit status."""
    import scenes  # noqa: PLC0415 - the file beside this one; only the program needs it

    return scenes.main(argv, lambda evidence: diagnose(evidence).value)


if __name__ == "__main__":
    sys.exit(main())
