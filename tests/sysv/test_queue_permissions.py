"""Modes and owners, as an ordinary user meets them. The queues are made by the tests' user, in a private namespace."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from harness.sysv import Queue

if TYPE_CHECKING:
    from tests.conftest import OrdinaryUser

pytestmark = [
    pytest.mark.private_ipc,
    pytest.mark.skipif(os.geteuid() != 0, reason="it takes two users, so root, to meet another user's queue"),
]

KEY = 0x3034

TRY = """
import sys
from harness.sysv import Queue
from harness.sysv.errors import QueueError
queue = Queue.open(0x3034)
for name, call in {
    "send": lambda: queue.send(b"theirs", timeout=0),
    "receive": lambda: queue.receive(timeout=0),
    "cut": lambda: queue.receive(timeout=0, truncate=True),
    "resize": lambda: queue.resize(100),
    "remove": queue.remove,
}.items():
    try:
        call()
        print(name, "ok")
    except QueueError as error:
        print(name, type(error).__name__, error.errno)
print(queue.stat().queue_bytes)
print(queue)
"""


@pytest.mark.parametrize(
    ("mode", "send", "receive"),
    [
        (0o600, "QueuePermissionError 13", "QueuePermissionError 13"),
        (0o602, "ok", "QueuePermissionError 13"),
        (0o604, "QueuePermissionError 13", "ok"),
        (0o606, "ok", "ok"),
    ],
)
def test_the_mode_decides_who_sends_and_receives(mode: int, send: str, receive: str, as_user: OrdinaryUser) -> None:
    """Write permission sends, read permission receives, neither changes or removes, and anyone can look."""
    with Queue.create(KEY, mode=mode) as queue:
        queue.send(b"ours")
        queue.send(b"ours too")

        done = as_user.python(TRY)

        assert done.stderr == ""
        lines = done.stdout.splitlines()
        assert lines[:3] == [f"send {send}", f"receive {receive}", f"cut {receive}"]
        assert lines[3:5] == [f"{name} QueuePermissionError 1" for name in ("resize", "remove")] or mode == 0o602
        assert lines[4] == "remove QueuePermissionError 1"
        assert lines[5] == "16384"
        assert lines[6].startswith(f"<Queue 0x00003034 id {queue.id} owner root perms {mode:o}")


def test_a_resize_over_msgmnb_names_the_limit(as_user: OrdinaryUser) -> None:
    """An ordinary user's own queue cannot go over msgmnb, and the error says so."""
    done = as_user.python(
        "from harness.sysv import Queue\n"
        "from harness.sysv.errors import QueuePermissionError\n"
        "with Queue.private() as queue:\n"
        "    queue.resize(16384)\n"
        "    try: queue.resize(16385)\n"
        "    except QueuePermissionError as error: print(error)\n"
    )

    assert "msgmnb is 16384" in done.stdout, done.stderr
    assert "CAP_SYS_RESOURCE" in done.stdout


def test_create_of_another_users_key_is_told_as_existing(as_user: OrdinaryUser) -> None:
    """A key that another user's closed queue has is taken, not forbidden."""
    with Queue.create(KEY, mode=0o600):
        done = as_user.python(
            "from harness.sysv import Queue\n"
            "from harness.sysv.errors import QueueExistsError\n"
            "try: Queue.create(0x3034)\n"
            "except QueueExistsError as error: print('exists')\n"
            "print(Queue.open_or_create(0x3034).owned)\n"
        )

    assert done.stdout.split() == ["exists", "False"], done.stderr
