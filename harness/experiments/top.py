"""What is going on in the queues of this IPC namespace, from outside: for `harness top`.

A look is one moment; rates come from two of them. Everything is read (/proc, msgctl); `contents` alone touches a queue,
as it looks at its first messages one by one under the queue's lock.
"""

from __future__ import annotations

import pwd
import time
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.sysv import all_sleepers, peek_types, queues
from harness.sysv.errors import HarnessError

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.sysv import QueueStat, Sleeper

SCHEMA = "harness.top/1"
MOST_PEEKED = 256
"""How many messages `contents` looks at: each costs a walk to it under the queue's lock."""


@dataclass(frozen=True, slots=True)
class Process:
    """A process by `pid` and `name`; the name is empty when it has ended, or is in another pid namespace (pid 0)."""

    pid: int
    name: str


@dataclass(frozen=True, slots=True)
class Row:
    """One queue at one moment. Rates are the net change since the look before, per second; None at the first."""

    queue: QueueStat
    owner: str
    last_sender: Process | None
    last_receiver: Process | None
    sending: tuple[Process, ...]
    receiving: tuple[Process, ...]
    messages_per_s: float | None = None
    bytes_per_s: float | None = None

    @property
    def full_share(self) -> float:
        """How full it is, 0 to 1: by bytes or by messages, which the same number limits, whichever is more."""
        limit = self.queue.queue_bytes
        return max(self.queue.used_bytes, self.queue.messages) / limit if limit else 1.0


@dataclass(frozen=True, slots=True)
class Look:
    """All queues at one moment; `at_s` is the clock's."""

    at_s: float
    rows: tuple[Row, ...]

    def to_json(self) -> dict[str, Any]:
        """As JSON: what `harness top --json` writes."""
        return {"schema": SCHEMA, "queues": [_row_to_json(row) for row in self.rows]}


@dataclass(frozen=True, slots=True)
class Contents:
    """The types of a queue's first messages and how many of each; `why_not` when they cannot be looked at."""

    types: dict[int, int]
    looked_at: int
    why_not: str = ""


def look(
    before: Look | None = None, *, clock: Callable[[], float] = time.monotonic, proc: Path = Path("/proc")
) -> Look:
    """Look at all queues; with the look `before`, rates too. Raises NoMessageQueuesError, MachineError."""
    at_s = clock()
    asleep = all_sleepers(proc)
    earlier = {row.queue.id: row.queue for row in before.rows} if before else {}
    elapsed_s = at_s - before.at_s if before else 0.0
    return Look(at_s, tuple(_row(queue, asleep, earlier.get(queue.id), elapsed_s, proc) for queue in queues()))


def contents(queue_id: int) -> Contents:
    """What types wait in a queue, of its first 256 messages; never raises."""
    try:
        types = peek_types(queue_id, most=MOST_PEEKED)
    except HarnessError as error:
        return Contents({}, 0, str(error))
    return Contents(dict(sorted(Counter(types).items())), len(types))


def _row(queue: QueueStat, asleep: list[Sleeper], earlier: QueueStat | None, elapsed_s: float, proc: Path) -> Row:
    here = [sleeper for sleeper in asleep if sleeper.queue_id == queue.id]
    rated = earlier is not None and elapsed_s > 0
    return Row(
        queue=queue,
        owner=_user(queue.uid),
        last_sender=_process(queue.last_send_pid, proc) if queue.last_send_time else None,
        last_receiver=_process(queue.last_receive_pid, proc) if queue.last_receive_time else None,
        sending=tuple(_process(sleeper.pid, proc) for sleeper in here if sleeper.call == "msgsnd"),
        receiving=tuple(_process(sleeper.pid, proc) for sleeper in here if sleeper.call == "msgrcv"),
        messages_per_s=(queue.messages - earlier.messages) / elapsed_s if earlier and rated else None,
        bytes_per_s=(queue.used_bytes - earlier.used_bytes) / elapsed_s if earlier and rated else None,
    )


def _process(pid: int, proc: Path) -> Process:
    try:
        return Process(pid, (proc / str(pid) / "comm").read_text(encoding="utf-8", errors="replace").strip())
    except OSError:
        return Process(pid, "")


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _row_to_json(row: Row) -> dict[str, Any]:
    return {
        **asdict(row.queue),
        "key_hex": f"0x{row.queue.key:08x}",
        "owner": row.owner,
        "full_share": row.full_share,
        "last_sender": asdict(row.last_sender) if row.last_sender else None,
        "last_receiver": asdict(row.last_receiver) if row.last_receiver else None,
        "sending": [asdict(process) for process in row.sending],
        "receiving": [asdict(process) for process in row.receiving],
        "messages_per_s": row.messages_per_s,
        "bytes_per_s": row.bytes_per_s,
    }
