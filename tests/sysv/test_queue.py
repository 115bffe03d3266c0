"""One queue: made, found, filled, emptied, looked at, removed; on the real kernel, in a private namespace."""

from __future__ import annotations

import errno
import multiprocessing
import os
import time
from typing import TYPE_CHECKING

import pytest
import sysv_ipc

from harness.sysv import Limits, Message, Queue, Selector, queues
from harness.sysv.errors import (
    MessageTooLargeError,
    NoMessageError,
    NoSuchQueueError,
    PayloadError,
    PoisonMessageError,
    QueueExistsError,
    QueueFullError,
    QueueLimitError,
    QueueRemovedError,
    UsageError,
)

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.private_ipc

KEY = 0x3034
forking = multiprocessing.get_context("fork")


# --- make and find ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", [1, KEY, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF])
def test_a_queue_is_found_by_its_key(key: int) -> None:
    """open finds what create made, for every key that ipcs can print."""
    with Queue.create(key) as made:
        found = Queue.open(key)

        assert (found.id, found.key) == (made.id, key)
        assert queues()[0].key == key


def test_create_refuses_a_key_that_is_taken() -> None:
    """create never takes over an existing queue."""
    with Queue.create(KEY), pytest.raises(QueueExistsError, match="0x00003034") as caught:
        Queue.create(KEY)

    assert caught.value.errno == errno.EEXIST


def test_open_makes_nothing() -> None:
    """open of a key that no queue has is an error, and no queue is there afterwards."""
    with pytest.raises(NoSuchQueueError, match="0x00003034"):
        Queue.open(KEY)

    assert queues() == []


def test_open_or_create_tells_which_it_was() -> None:
    """The first makes the queue and owns it; the second finds it and does not."""
    with Queue.open_or_create(KEY) as first:
        second = Queue.open_or_create(KEY)

        assert (first.owned, second.owned) == (True, False)
        assert second.id == first.id


def test_private_queues_have_key_0_and_are_two() -> None:
    """Each private queue is a new one, with the key 0 that nobody can open."""
    with Queue.private() as first, Queue.private() as second:
        assert (first.key, second.key) == (0, 0)
        assert first.id != second.id
        assert [queue.key for queue in queues()] == [0, 0]


@pytest.mark.parametrize("mode", [0o600, 0o666, 0o640, 0])
def test_the_mode_is_the_one_asked_for(mode: int) -> None:
    """A new queue has the mode that was asked for; the umask has no say."""
    with Queue.create(KEY, mode=mode) as queue:
        assert queue.stat().mode == mode


def test_wrong_modes_and_sizes_make_no_queue() -> None:
    """A wrong mode, key or buffer size is refused before anything is made."""
    with pytest.raises(UsageError):
        Queue.create(KEY, mode=0o1777)
    with pytest.raises(UsageError):
        Queue.private(max_bytes=-1)
    with pytest.raises(UsageError):
        Queue.create(0)

    assert queues() == []


def test_one_queue_more_than_msgmni_is_refused() -> None:
    """At msgmni the next queue is a QueueLimitError, not an OSError without a number."""
    Limits.write(msgmni=1)

    with Queue.private(), pytest.raises(QueueLimitError, match="msgmni") as caught:
        Queue.private()

    assert caught.value.errno == errno.ENOSPC


@pytest.mark.parametrize(("msgmax", "expected"), [(5000, 5000), (2**22, 2**20)])
def test_the_buffer_is_msgmax_up_to_a_mebibyte(msgmax: int, expected: int) -> None:
    """Without max_bytes a queue receives what msgmax allows, but at most 1 MiB."""
    Limits.write(msgmax=msgmax)

    with Queue.private() as queue:
        assert queue.max_bytes == expected


# --- order and selection ---------------------------------------------------------------------------------------------


def test_messages_come_in_the_order_they_were_sent() -> None:
    """Without selection the queue is first in, first out, across types."""
    sent = [Message(type_, b"%d" % number) for number, type_ in enumerate([3, 1, 2, 3, 1])]

    with Queue.private() as queue:
        for message in sent:
            queue.send(message.payload, type=message.type)

        assert list(queue.drain()) == sent


@pytest.mark.parametrize("payload", [b"", b"\0", bytes(range(256)), bytearray(b"ab"), memoryview(b"a-b-")[::2]])
def test_bytes_arrive_as_they_were_sent(payload: bytes | bytearray | memoryview) -> None:
    """Empty messages, NUL bytes and every bytes-like type arrive byte for byte."""
    with Queue.private() as queue:
        queue.send(payload, type=2**31 - 1)

        assert queue.receive() == Message(2**31 - 1, bytes(payload))


def test_exactly_takes_the_first_of_its_type() -> None:
    """A selector for one type passes over the others and keeps the order within the type."""
    with Queue.private() as queue:
        for type_, payload in [(1, b"a"), (2, b"b"), (1, b"c"), (2, b"d")]:
            queue.send(payload, type=type_)

        assert [message.payload for message in queue.drain(Selector.exactly(2))] == [b"b", b"d"]
        assert [message.payload for message in queue.drain()] == [b"a", b"c"]


def test_at_most_takes_the_lowest_type_first() -> None:
    """A selector with a ceiling takes the lowest type present, in order within it, and nothing above."""
    with Queue.private() as queue:
        for type_, payload in [(9, b"z"), (5, b"e"), (3, b"c"), (4, b"d"), (3, b"C")]:
            queue.send(payload, type=type_)

        assert [message.payload for message in queue.drain(Selector.at_most(5))] == [b"c", b"C", b"d", b"e"]
        assert queue.stat().messages == 1


def test_anything_but_passes_over_one_type() -> None:
    """A selector for anything but a type takes the others in order, whatever they are, and leaves that type."""
    with Queue.private() as queue:
        for type_, payload in [(2, b"a"), (1, b"b"), (2, b"c"), (2**31 - 1, b""), (1, b"d")]:
            queue.send(payload, type=type_)

        taken = list(queue.drain(Selector.anything_but(2)))

        assert taken == [Message(1, b"b"), Message(2**31 - 1, b""), Message(1, b"d")]
        assert [message.payload for message in queue.drain()] == [b"a", b"c"]


@pytest.mark.parametrize(
    ("selector", "words"), [(Selector.exactly(2), "type 2"), (Selector.anything_but(1), "any type but 1")]
)
def test_nothing_that_the_selector_takes_is_no_message(selector: Selector, words: str) -> None:
    """A queue with other types only is empty for this receiver."""
    with Queue.private() as queue:
        queue.send(b"x", type=1)

        with pytest.raises(NoMessageError, match=words) as caught:
            queue.receive(selector, timeout=0)

        assert caught.value.errno == errno.ENOMSG


# --- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wrong", ["text", 5, None, [1], 1.5, object()])
def test_what_is_not_bytes_like_is_refused_also_after_a_good_send(wrong: object) -> None:
    """A wrong payload is a PayloadError, whatever was sent before; sysv_ipc would crash or send UTF-8."""
    with Queue.private() as queue:
        queue.send(b"good")

        with pytest.raises(PayloadError, match=type(wrong).__name__):
            queue.send(wrong)  # type: ignore[arg-type]

        assert queue.stat().messages == 1


@pytest.mark.parametrize("wrong", [0, -1, 2**31, True, "1", 1.0])
def test_a_wrong_type_is_refused(wrong: object) -> None:
    """Types outside 1..2**31-1, and bools, send nothing."""
    with Queue.private() as queue:
        with pytest.raises(PayloadError):
            queue.send(b"x", type=wrong)  # type: ignore[arg-type]

        assert queue.stat().messages == 0


@pytest.mark.parametrize("make", [Queue.private, lambda: Queue.create(KEY)])
def test_more_than_msgmax_is_refused(make: Callable[[], Queue]) -> None:
    """One byte over msgmax is a MessageTooLargeError that names msgmax, and the queue is not taken for removed."""
    with make() as queue, pytest.raises(MessageTooLargeError, match="msgmax is 8192"):
        queue.send(bytes(8193))


@pytest.mark.private_ipc(message_bytes=2**21)
def test_more_than_the_buffer_can_be_sent_to_a_queue_with_a_key() -> None:
    """max_bytes bounds what is received, not what is sent, where the queue has a key."""
    with Queue.create(KEY, max_bytes=4) as queue:
        queue.send(bytes(2**21))

        assert queue.stat().used_bytes == 2**21


def test_more_than_the_buffer_of_a_private_queue_is_refused() -> None:
    """A private queue's buffer bounds what is sent too, and the hint says how to make a larger one."""
    with Queue.private(max_bytes=4) as queue, pytest.raises(MessageTooLargeError) as caught:
        queue.send(b"12345")

    assert "max_bytes=5" in caught.value.hint


@pytest.mark.parametrize(("queue_bytes", "size_bytes"), [(100, 101), (1, 2)])
@pytest.mark.parametrize("timeout", [None, 0, 5])
def test_what_the_queue_can_never_hold_is_refused_at_once(
    queue_bytes: int, size_bytes: int, timeout: float | None
) -> None:
    """A message over queue_bytes, though within msgmax, is refused: the kernel would wait for ever."""
    with Queue.private() as queue:
        queue.resize(queue_bytes)
        began_s = time.monotonic()

        with pytest.raises(MessageTooLargeError, match=f"at most {queue_bytes} bytes"):
            queue.send(bytes(size_bytes), timeout=timeout)

        assert time.monotonic() - began_s < 2


# --- full, poison, removed -------------------------------------------------------------------------------------------


def test_a_queue_is_full_by_bytes() -> None:
    """With 16384 bytes, 16 messages of 1000 fit, the 17th does not."""
    with Queue.private() as queue:
        for _ in range(16):
            queue.send(bytes(1000), timeout=0)

        with pytest.raises(QueueFullError, match="1000 bytes") as caught:
            queue.send(bytes(1000), timeout=0)

        assert caught.value.errno == errno.EAGAIN


def test_a_queue_is_full_by_count() -> None:
    """Empty messages fill a queue too: as many as it may hold bytes."""
    with Queue.private() as queue:
        queue.resize(10)
        for _ in range(10):
            queue.send(b"", timeout=0)

        with pytest.raises(QueueFullError):
            queue.send(b"", timeout=0)

        assert (queue.stat().messages, queue.stat().used_bytes) == (10, 0)


def test_a_message_over_the_buffer_stays_and_blocks_what_is_behind_it() -> None:
    """E2BIG is a PoisonMessageError each time, and a receiver with a larger buffer clears the way."""
    with Queue.create(KEY) as queue:
        queue.send(b"12345")
        queue.send(b"abc")
        small = Queue.open(KEY, max_bytes=4)

        for _ in range(2):
            with pytest.raises(PoisonMessageError, match="larger than its 4 bytes") as caught:
                small.receive(timeout=0)

        assert caught.value.errno == errno.E2BIG
        assert "max_bytes" in caught.value.hint
        assert queue.receive().payload == b"12345"
        assert small.receive().payload == b"abc"


def test_truncate_takes_what_fits_of_a_message_over_the_buffer() -> None:
    """With truncate a message over max_bytes is cut to them and its rest is lost; one that fits comes whole."""
    with Queue.create(KEY) as queue:
        for payload in (b"12345", b"abcd", b""):
            queue.send(payload, type=7)
        small = Queue.open(KEY, max_bytes=4)

        taken = [small.receive(timeout=0, truncate=True) for _ in range(3)]

        assert taken == [Message(7, b"1234"), Message(7, b"abcd"), Message(7, b"")]
        assert queue.stat().messages == 0


def test_truncate_goes_with_every_selector() -> None:
    """A cutting receive selects as any other, and tells by the type of what it cut what that was."""
    with Queue.create(KEY) as queue:
        for type_ in (3, 1, 2, 2):
            queue.send(b"12345", type=type_)
        small = Queue.open(KEY, max_bytes=0)
        selectors = [Selector.anything_but(3), Selector.exactly(2), Selector.at_most(2), Selector.any()]

        taken = [small.receive(selector, timeout=0, truncate=True) for selector in selectors]

        assert taken == [Message(1, b""), Message(2, b""), Message(2, b""), Message(3, b"")]


def test_without_truncate_a_selector_with_flags_meets_the_poison_too() -> None:
    """MSG_EXCEPT alone cuts nothing: what is over the buffer stays, as for other selectors."""
    with Queue.create(KEY) as queue:
        queue.send(b"12345")
        small = Queue.open(KEY, max_bytes=4)

        with pytest.raises(PoisonMessageError, match="any type but 2") as caught:
            small.receive(Selector.anything_but(2), timeout=0)

        assert "truncate=True" in caught.value.hint
        assert queue.receive(timeout=0).payload == b"12345"


def test_raw_for_gives_another_buffer_on_the_same_queue() -> None:
    """raw_for opens the same queue with another buffer size."""
    with Queue.create(KEY, max_bytes=4) as queue:
        queue.send(b"12345")

        raw = queue.raw_for(5)

        assert raw.id == queue.id
        assert raw.receive(False) == (b"12345", 1)


def test_raw_for_does_not_mistake_a_later_queue_for_this_one() -> None:
    """If another queue has the key by now, this one is gone."""
    first = Queue.create(KEY)
    first.remove()

    with Queue.create(KEY), pytest.raises(QueueRemovedError):
        first.raw_for(5)
    with pytest.raises(QueueRemovedError):
        first.raw_for(5)


def test_every_call_on_a_removed_queue_says_that_it_is_gone() -> None:
    """After removal send, receive, peek, stat, resize and remove are all QueueRemovedError."""
    queue = Queue.private()
    queue.remove()

    for call in (
        lambda: queue.send(b"x"),
        lambda: queue.send(b"x", timeout=0),
        queue.receive,
        lambda: queue.receive(timeout=0),
        lambda: queue.receive(truncate=True),
        lambda: queue.receive(Selector.anything_but(1), timeout=0),
        queue.peek,
        lambda: list(queue.drain()),
        queue.stat,
        lambda: queue.resize(100),
        queue.remove,
    ):
        with pytest.raises(QueueRemovedError, match="is gone"):
            call()


# --- looked at -------------------------------------------------------------------------------------------------------


def test_peek_shows_a_message_and_leaves_it() -> None:
    """peek shows the head, or the message at an index, whole or cut; None behind the tail; and nothing changes."""
    with Queue.private(max_bytes=4096) as queue:
        queue.send(b"first", type=7)
        queue.send(b"second", type=2)
        before = queue.stat()

        assert (queue.peek(), queue.peek(1), queue.peek(2)) == (Message(7, b"first"), Message(2, b"second"), None)
        assert queue.peek(1, max_bytes=3) == Message(2, b"sec")
        assert queue.stat() == before
        with pytest.raises(UsageError):
            queue.peek(-1)


def test_stat_tells_what_is_in_the_queue_and_who_touched_it() -> None:
    """stat counts messages and bytes, and names the owner, the last processes and the times."""
    now_s = int(time.time())

    with Queue.create(KEY) as queue:
        queue.send(b"abcd")
        queue.send(b"ef")
        queue.receive()
        stat = queue.stat()

        assert (stat.key, stat.id) == (KEY, queue.id)
        assert (stat.messages, stat.used_bytes, stat.queue_bytes) == (1, 2, 16384)
        assert (stat.uid, stat.gid, stat.cuid, stat.cgid) == (os.getuid(), os.getgid(), os.getuid(), os.getgid())
        assert (stat.last_send_pid, stat.last_receive_pid) == (os.getpid(), os.getpid())
        assert all(
            now_s - 1 <= moment <= now_s + 20
            for moment in (stat.last_send_time, stat.last_receive_time, stat.last_change_time)
        )


def test_stat_agrees_with_sysv_ipc() -> None:
    """Every field that sysv_ipc reads too has the same value."""
    with Queue.private(mode=0o640) as queue:
        queue.send(b"abc")
        stat, raw = queue.stat(), queue.raw

        assert (stat.mode, stat.uid, stat.gid, stat.cuid, stat.cgid) == (raw.mode, raw.uid, raw.gid, raw.cuid, raw.cgid)
        assert (stat.messages, stat.queue_bytes) == (raw.current_messages, raw.max_size)
        assert (stat.last_send_time, stat.last_receive_time) == (raw.last_send_time, 0)
        assert stat.last_change_time == raw.last_change_time


def test_stat_of_a_fresh_queue_has_zeros() -> None:
    """Nobody has sent or received yet."""
    with Queue.private() as queue:
        stat = queue.stat()

        assert (stat.last_send_pid, stat.last_receive_pid, stat.last_send_time, stat.last_receive_time) == (0, 0, 0, 0)


def test_the_repr_reads_like_a_line_of_ipcs() -> None:
    """Key, id, owner, perms, used bytes and messages, as ipcs -q shows them."""
    with Queue.create(KEY, mode=0o640) as queue:
        queue.send(b"abcd")

        words = repr(queue)

        assert words.startswith(f"<Queue 0x00003034 id {queue.id} owner ")
        assert words.endswith(" perms 640 used-bytes 4 messages 1>")


def test_the_repr_of_a_removed_queue_says_so() -> None:
    """repr never raises, least of all in an error's traceback."""
    queue = Queue.create(KEY)
    queue.remove()

    assert repr(queue) == f"<Queue 0x00003034 id {queue.id} removed>"


@pytest.mark.private_ipc(queue_bytes=100_000)
def test_a_queue_can_be_resized_within_msgmnb() -> None:
    """resize changes how much fits, down and up."""
    with Queue.private() as queue:
        queue.resize(5)
        queue.send(b"12345", timeout=0)
        with pytest.raises(QueueFullError):
            queue.send(b"6", timeout=0)

        queue.resize(100_000)

        queue.send(b"6", timeout=0)
        assert queue.stat().queue_bytes == 100_000
        assert [message.payload for message in queue.drain()] == [b"12345", b"6"]


# --- removed at the end ----------------------------------------------------------------------------------------------


def test_who_created_a_queue_removes_it_at_the_end() -> None:
    """Leaving the with block removes the queue, also when an exception leaves it."""
    with pytest.raises(KeyError), Queue.create(KEY):
        raise KeyError

    assert queues() == []


def test_who_opened_a_queue_leaves_it() -> None:
    """Leaving the with block of an opened queue leaves the queue."""
    with Queue.create(KEY) as made:
        with Queue.open(KEY) as opened:
            assert not opened.owned

        assert made.stat().id == opened.id


def test_a_queue_that_somebody_removed_already_is_no_error_at_the_end() -> None:
    """The with block of the creator tolerates that the queue is gone."""
    with Queue.create(KEY) as queue:
        Queue.open(KEY).remove()

    assert queues() == []
    assert queue.owned


def test_a_fork_does_not_remove_the_queue() -> None:
    """A child that leaves its copy of the with block leaves the queue to its parent."""

    def leave() -> None:
        with queue:
            assert not queue.owned

    with Queue.private() as queue:
        child = forking.Process(target=leave)
        child.start()
        child.join(10)

        assert child.exitcode == 0
        assert queue.owned
        assert queue.stat().messages == 0


def test_raw_is_the_sysv_ipc_object() -> None:
    """Hot loops get the object that makes the system calls."""
    with Queue.private(max_bytes=64) as queue:
        queue.raw.send(b"x", True, 3)

        assert isinstance(queue.raw, sysv_ipc.MessageQueue)
        assert queue.receive() == Message(3, b"x")
