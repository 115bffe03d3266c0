"""What each way to send messages can and cannot, with its source: the table below the figures of `harness compare`.

Facts of the documentation, word by word short enough for a column. What can be tried cheaply, the run tries
(trials.py), and its answer stands beside it.

Sources: man pages by name and section; else the title of a document, with "; " between several. "Python
multiprocessing" is that module's page in the Python documentation; "ZeroMQ ..." are libzmq's reference pages, and
"Redis ..." those of the Redis documentation about a command or a subject.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

ASKED = {
    "select": "a receiver can ask for one kind of message",
    "priority": "something urgent overtakes what was sent before",
    "boundaries": "one receive gives one message, whole",
    "peek": "a message can be read and left there",
    "poll": "one can wait for it beside sockets",
    "outlives": "what was sent is still there when its processes have ended",
    "hosts": "it reaches another host",
    "limits": "a message, and what may wait",
}
"""The properties, and the question each answers."""


@dataclass(frozen=True, slots=True)
class Fact:
    """One cell: what it `says`, its source, and whether the property `holds`, which a trial is held against."""

    says: str
    source: str
    holds: bool

    def to_json(self, tried: bool | None) -> dict[str, Any]:
        """The cell as it stands in the result; `tried` is what the run found, None where it was not tried."""
        return {"says": self.says, "holds": self.holds, "source": self.source, "tried": tried}


def _no(source: str, says: str = "no") -> Fact:
    return Fact(says, source, holds=False)


def _yes(source: str, says: str = "yes") -> Fact:
    return Fact(says, source, holds=True)


def _unix_socket(limits: Fact) -> dict[str, Fact]:
    return {
        "select": _no("recv(2)"),
        "priority": _no("unix(7)"),
        "boundaries": _yes("unix(7)"),
        "peek": _yes("recv(2)", "MSG_PEEK"),
        "poll": _yes("select(2)"),
        "outlives": _no("unix(7)"),
        "hosts": _no("unix(7)"),
        "limits": limits,
    }


_MULTIPROCESSING = "Python multiprocessing"

PROPERTIES: Mapping[str, Mapping[str, Fact]] = {
    "sysv": {
        "select": _yes("msgop(2)", "by type"),
        "priority": _yes("msgop(2)", "by type"),
        "boundaries": _yes("msgop(2)"),
        "peek": _yes("msgop(2)", "MSG_COPY"),
        "poll": _no("msgget(2)", "no: an id"),
        "outlives": _yes("msgctl(2); ipc_namespaces(7)", "yes, until removed"),
        "hosts": _no("ipc_namespaces(7)"),
        "limits": _yes("msgop(2)", "8 KiB; 16 KiB a queue"),
    },
    "mq": {
        "select": _no("mq_receive(3)"),
        "priority": _yes("mq_overview(7)", "0 to 32767"),
        "boundaries": _yes("mq_receive(3)"),
        "peek": _no("mq_receive(3)"),
        "poll": _yes("mq_overview(7)"),
        "outlives": _yes("mq_overview(7)", "yes, until unlinked"),
        "hosts": _no("ipc_namespaces(7)"),
        "limits": _yes("mq_overview(7)", "8 KiB; 10 messages"),
    },
    "pipe": {
        "select": _no("pipe(7)"),
        "priority": _no("pipe(7)"),
        "boundaries": _no("pipe(7)", "no: a stream"),
        "peek": _yes("tee(2)", "tee"),
        "poll": _yes("select(2)"),
        "outlives": _no("pipe(7)"),
        "hosts": _no("pipe(7)"),
        "limits": _yes("pipe(7)", "none; 64 KiB a pipe"),
    },
    "datagram": _unix_socket(_yes("unix(7); socket(7)", "SO_SNDBUF for all")),
    "seqpacket": _unix_socket(_yes("unix(7); socket(7)", "SO_SNDBUF for all")),
    "mp.Queue": {
        "select": _no(_MULTIPROCESSING),
        "priority": _no(_MULTIPROCESSING),
        "boundaries": _yes(_MULTIPROCESSING, "yes: objects"),
        "peek": _no(_MULTIPROCESSING),
        "poll": _no(_MULTIPROCESSING),
        "outlives": _no(_MULTIPROCESSING),
        "hosts": _no(_MULTIPROCESSING),
        "limits": _yes(_MULTIPROCESSING, "memory, or maxsize"),
    },
    "mp.SimpleQueue": {
        "select": _no(_MULTIPROCESSING),
        "priority": _no(_MULTIPROCESSING),
        "boundaries": _yes(_MULTIPROCESSING, "yes: objects"),
        "peek": _no(_MULTIPROCESSING),
        "poll": _no(_MULTIPROCESSING),
        "outlives": _no("pipe(7)"),
        "hosts": _no(_MULTIPROCESSING),
        "limits": _yes("pipe(7)", "memory; 64 KiB a pipe"),
    },
    "mp.Pipe": {
        "select": _no(_MULTIPROCESSING),
        "priority": _no(_MULTIPROCESSING),
        "boundaries": _yes(_MULTIPROCESSING),
        "peek": _no(_MULTIPROCESSING),
        "poll": _yes(_MULTIPROCESSING),
        "outlives": _no("pipe(7)"),
        "hosts": _no(_MULTIPROCESSING),
        "limits": _yes("pipe(7)", "memory; 64 KiB a pipe"),
    },
    "zeromq": {
        "select": _no("ZeroMQ zmq_socket"),
        "priority": _no("ZeroMQ zmq_socket"),
        "boundaries": _yes("ZeroMQ zmq_send"),
        "peek": _no("ZeroMQ zmq_recv"),
        "poll": _yes("ZeroMQ zmq_poll", "zmq_poll"),
        "outlives": _no("ZeroMQ zmq_setsockopt"),
        "hosts": _yes("ZeroMQ zmq_tcp", "tcp://"),
        "limits": _yes("ZeroMQ zmq_setsockopt", "memory; 1000 a side"),
    },
    "redis": {
        "select": _yes("Redis BLPOP", "by key"),
        "priority": _yes("Redis BLPOP", "key order"),
        "boundaries": _yes("Redis lists"),
        "peek": _yes("Redis LRANGE", "LRANGE"),
        "poll": _no("Redis BLPOP", "no: a request"),
        "outlives": _yes("Redis persistence", "yes; the server, if saved"),
        "hosts": _yes("Redis clients", "TCP"),
        "limits": _yes("Redis lists; Redis strings", "512 MB; 2^32-1 a list"),
    },
}
"""The table, by transport."""


def table(found: Mapping[str, Mapping[str, bool | None]]) -> list[dict[str, Any]]:
    """The table as it stands in the result, with what the trials found."""
    return [
        {"name": name, **{asked: fact.to_json(found.get(name, {}).get(asked)) for asked, fact in facts.items()}}
        for name, facts in PROPERTIES.items()
    ]


def contradictions(found: Mapping[str, Mapping[str, bool | None]]) -> list[str]:
    """Where a trial found something else than the table says, in sentences."""
    return [
        f"{name}, {asked}: the table says {PROPERTIES[name][asked].says!r} ({PROPERTIES[name][asked].source}), and"
        f" here it was {'so' if answer else 'not so'}"
        for name, answers in found.items()
        for asked, answer in answers.items()
        if answer is not None and answer != PROPERTIES[name][asked].holds
    ]
