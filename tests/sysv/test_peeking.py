"""Messages looked at while they stay in their queue."""

from __future__ import annotations

import ctypes
import errno
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from harness.sysv import Limits, Message, Queue, libc, peek, peek_types
from harness.sysv.errors import MachineError, MessageTooLargeError, QueueRemovedError, UsageError
from harness.sysv.peeking import DEFAULT_BYTES

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import OrdinaryUser

MSG_COPY = 0o40000


@pytest.mark.private_ipc
def test_each_index_shows_its_message() -> None:
    """Message 0 is the head, an empty message has its type, and behind the tail there is None."""
    with Queue.private() as queue:
        queue.send(b"first", type=7)
        queue.send(b"", type=2)
        queue.send(b"third", type=2**31 - 1)

        found = [peek(queue.id, index) for index in range(4)]

    assert found == [Message(7, b"first"), Message(2, b""), Message(2**31 - 1, b"third"), None]


@pytest.mark.private_ipc
def test_a_look_changes_nothing() -> None:
    """After looks the queue has the same messages in the same order, and nobody seems to have received."""
    with Queue.private() as queue:
        queue.send(b"a", type=1)
        queue.send(b"b", type=2)
        before = queue.stat()

        peek(queue.id, 1)
        peek_types(queue.id)

        assert queue.stat() == before
        assert [message.payload for message in queue.drain()] == [b"a", b"b"]


@pytest.mark.private_ipc
def test_an_empty_queue_has_nothing_to_see() -> None:
    """An empty queue shows None and no types."""
    with Queue.private() as queue:
        assert peek(queue.id, 0) is None
        assert peek_types(queue.id) == []


@pytest.mark.private_ipc
@pytest.mark.parametrize("max_bytes", [0, 1, 9, 10, 11])
def test_what_is_shown_is_cut_to_max_bytes(max_bytes: int) -> None:
    """A payload is cut to max_bytes and not a byte shorter, and its type is told whatever is left of it."""
    with Queue.private() as queue:
        queue.send(b"0123456789", type=3)

        assert peek(queue.id, 0, max_bytes=max_bytes) == Message(3, b"0123456789"[:max_bytes])


@pytest.mark.private_ipc(message_bytes=100_000, queue_bytes=300_000)
@pytest.mark.parametrize("size_bytes", [DEFAULT_BYTES - 1, DEFAULT_BYTES, DEFAULT_BYTES + 1, 99_999, 100_000])
def test_large_messages_are_seen_too(size_bytes: int) -> None:
    """Whatever msgmax allows is shown, whole or cut, and what is behind it as well."""
    payload = os.urandom(size_bytes)
    with Queue.private() as queue:
        queue.send(payload, type=3)
        queue.send(b"behind", type=4)

        assert peek(queue.id, 0, max_bytes=size_bytes) == Message(3, payload)
        assert peek(queue.id, 0) == Message(3, payload[:DEFAULT_BYTES])
        assert peek(queue.id, 1) == Message(4, b"behind")
        assert peek_types(queue.id) == [3, 4]


@pytest.mark.private_ipc(message_bytes=12_000)
@pytest.mark.parametrize("msgmax", [60, DEFAULT_BYTES + 1])
def test_a_message_over_todays_msgmax_is_told_apart_from_a_removed_queue(msgmax: int) -> None:
    """The kernel copies nothing over msgmax, and the error says that and not that the queue is gone."""
    with Queue.private() as queue:
        queue.send(bytes(msgmax + 1))
        Limits.write(msgmax=msgmax)

        with pytest.raises(MessageTooLargeError, match="larger than msgmax"):
            peek(queue.id, 0)


@pytest.mark.private_ipc
def test_the_types_are_those_of_the_first_messages() -> None:
    """peek_types tells the types from the head on, and not more than asked for."""
    with Queue.private() as queue:
        for type_ in (5, 1, 5, 9):
            queue.send(b"x", type=type_)

        assert peek_types(queue.id) == [5, 1, 5, 9]
        assert peek_types(queue.id, most=3) == [5, 1, 5]
        assert peek_types(queue.id, most=0) == []


@pytest.mark.private_ipc
def test_a_type_wider_than_an_int_is_read_whole() -> None:
    """A type that only a C program can send, a long over 2**31-1, is shown as it is."""
    with Queue.private() as queue:
        message = ctypes.create_string_buffer(8)
        ctypes.c_long.from_buffer(message).value = 2**40 + 1
        assert libc.call("msgsnd", queue.id, message, ctypes.c_size_t(0), 0)[0] == 0

        assert peek_types(queue.id) == [2**40 + 1]


@pytest.mark.private_ipc
def test_a_removed_queue_is_told() -> None:
    """A look at a queue that is gone raises QueueRemovedError."""
    queue = Queue.private()
    queue.remove()

    with pytest.raises(QueueRemovedError, match=f"queue id {queue.id} is gone"):
        peek(queue.id, 0)
    with pytest.raises(QueueRemovedError):
        peek_types(queue.id)


@pytest.mark.private_ipc
@pytest.mark.skipif(os.geteuid() != 0, reason="it takes two users, so root, to meet another user's queue")
@pytest.mark.parametrize(("mode", "words"), [(0o602, "QueuePermissionError 13"), (0o604, "b'ours'")])
def test_it_takes_read_permission_to_look(mode: int, words: str, as_user: OrdinaryUser) -> None:
    """Who may not read a queue may not look into it, and who may only read may."""
    with Queue.create(0x3034, mode=mode) as queue:
        queue.send(b"ours")

        done = as_user.python(
            "import sys\n"
            "from harness.sysv import peek\n"
            "from harness.sysv.errors import QueueError\n"
            "try: print(peek(int(sys.argv[1]), 0).payload)\n"
            "except QueueError as error: print(type(error).__name__, error.errno)\n",
            str(queue.id),
        )

    assert done.stdout.strip() == words, done.stderr


@pytest.mark.private_ipc
def test_a_kernel_without_the_flag_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where msgrcv answers ENOSYS to MSG_COPY alone, the error names the kernel's option and a way out."""
    real = libc.call

    def without_copy(name: str, *arguments: Any) -> tuple[int, int]:
        refused = name == "msgrcv" and arguments[-1] & MSG_COPY
        return (-1, errno.ENOSYS) if refused else real(name, *arguments)

    monkeypatch.setattr(libc, "call", without_copy)
    with Queue.private() as queue, pytest.raises(MachineError, match="CONFIG_CHECKPOINT_RESTORE") as caught:
        peek(queue.id, 0)

    assert "vagrant up" in caught.value.hint


def test_under_a_filter_a_look_says_what_is_missing(no_msgget: tuple[str, ...], repository: Path) -> None:
    """Where there are no message queues at all, that is what is told, not that they cannot be looked at."""
    code = "from harness.sysv import peek; peek(0, 0)"

    done = subprocess.run(
        [*no_msgget, sys.executable, "-c", code], cwd=repository, capture_output=True, text=True, check=False
    )

    assert "NoMessageQueuesError" in done.stderr
    assert "a seccomp filter refuses them" in done.stderr


@pytest.mark.private_ipc
@pytest.mark.parametrize("wrong", [-1, 2**31, True, "1"])
def test_numbers_that_cannot_be_are_refused(wrong: Any) -> None:
    """Ids, indices and sizes are ints from 0 to 2**31-1; a C int would be made of anything else in silence."""
    with Queue.private() as queue:
        for call in (
            lambda: peek(wrong, 0),
            lambda: peek(queue.id, wrong),
            lambda: peek(queue.id, 0, max_bytes=wrong),
            lambda: peek_types(wrong),
            lambda: peek_types(queue.id, most=wrong),
        ):
            with pytest.raises(UsageError):
                call()
