"""What a hanging check was waiting for: which of its processes sleeps in which queue call, and what that queue holds.

Used by plugin.py just before it kills a check that took too long. The check's processes may be in a namespace of their
own, so a short-lived fork joins it (setns(2)) to look: this process has threads, and must not move.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from typing import TYPE_CHECKING, TypeVar

from harness.labkit.apart import family_of
from harness.sysv import asleep_in, libc, peek_types, queues
from harness.sysv.errors import HarnessError

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.sysv import Sleeper

T = TypeVar("T")

_LONGEST_ANSWER_BYTES = 65536


def waiting_words(pid: int) -> list[str]:
    """A sentence for each process of the check's family that sleeps in msgsnd or msgrcv; empty where none does."""
    calls = [(member, call) for member in family_of(pid) if (call := asleep_in(member))]
    if not calls:
        return []
    held = inside_namespace_of(pid, _queues_held) or {}
    return [
        f"{'your code' if member == pid else f'process {member}'} {_sleep_words(call, held.get(str(call.queue_id)))}"
        for member, call in calls
    ]


def inside_namespace_of(pid: int, look: Callable[[], T]) -> T | None:
    """What `look` returns (as JSON has it) in the IPC namespace of a process; None where that cannot be joined."""
    reading, writing = os.pipe()
    helper = os.fork()
    if helper == 0:
        try:
            if _join(pid):
                os.write(writing, json.dumps(look()).encode()[:_LONGEST_ANSWER_BYTES])
        finally:
            os._exit(0)
    os.close(writing)
    with open(reading, "rb") as answer:  # noqa: PTH123 - a descriptor
        text = answer.read()
    os.waitpid(helper, 0)
    try:
        found: T = json.loads(text)
    except ValueError:
        return None
    return found


def _join(pid: int) -> bool:
    for kind in ("user", "ipc"):
        name = f"/proc/{pid}/ns/{kind}"
        if os.readlink(name) == os.readlink(f"/proc/self/ns/{kind}"):  # noqa: PTH115 - the text is compared
            continue
        descriptor = os.open(name, os.O_RDONLY)
        if libc.call("setns", descriptor, 0)[0] == -1:
            return False
        os.close(descriptor)
    return True


def _queues_held() -> dict[str, dict[str, object]]:
    return {
        str(queue.id): {
            "name": f"0x{queue.key:08x}" if queue.key else f"id {queue.id}",
            "messages": queue.messages,
            "used": queue.used_bytes,
            "limit": queue.queue_bytes,
            "types": _types(queue.id),
        }
        for queue in queues()
    }


def _types(queue_id: int) -> list[int] | None:
    try:
        return peek_types(queue_id)
    except HarnessError:
        return None


def _sleep_words(call: Sleeper, held: dict[str, object] | None) -> str:
    name = f"queue {held['name']}" if held else f"queue id {call.queue_id}"
    if call.call == "msgsnd":
        room = f", which holds {held['messages']} messages, {held['used']} of {held['limit']} bytes" if held else ""
        return f"sleeps in msgsnd of {call.size_bytes} bytes to {name}{room}"
    return f"sleeps in msgrcv for {selector_words(call)} on {name}{_content_words(held, call)}"


def selector_words(call: Sleeper) -> str:
    """What msgrcv's third argument asks for, and its flag MSG_EXCEPT."""
    msgtyp = call.msgtyp or 0
    if msgtyp == 0:
        return "any type"
    if msgtyp < 0:
        return f"a type up to {-msgtyp}"
    return f"any type but {msgtyp}" if call.flags else f"type {msgtyp}"


def _content_words(held: dict[str, object] | None, call: Sleeper) -> str:
    if not held:
        return ""
    types, msgtyp = held["types"], call.msgtyp or 0
    if not held["messages"]:
        return ", which is empty"
    words = f", which holds {held['messages']} message{'s' * (held['messages'] != 1)}"
    if isinstance(types, list) and msgtyp:
        wanted = [kind for kind in types if (kind != msgtyp if call.flags else kind == msgtyp)]
        words += ", none of it" if msgtyp > 0 and not wanted else ""
        words += ": " + ", ".join(f"{n} of type {kind}" for kind, n in sorted(Counter(types).items())[:4])
    return words
