"""The list of queues, from text and from the kernel."""

from __future__ import annotations

import pytest
import sysv_ipc

from harness.sysv import Queue, QueueStat, queues
from harness.sysv.inventory import parse, read_queue_bytes

HEADER = (
    "       key      msqid perms      cbytes       qnum lspid lrpid   uid   gid  cuid  cgid"
    "      stime      rtime      ctime\n"
)
PLAIN = (
    "     12340          3   600           8          2  4321  4322  1000  1001  1002  1003"
    " 1700000001 1700000002 1700000003\n"
)
WIDE = (
    "-2147483648 2147483647   666  9223372036854775807 12345678901 4194304 4194303"
    " 4294967294 4294967293 4294967292 4294967291 17000000010 17000000020 17000000030\n"
)


def test_no_queues_is_an_empty_list() -> None:
    """The header alone is no queue."""
    assert parse(HEADER, queue_bytes_of=lambda _: 0) == []


def test_every_column_lands_in_its_field() -> None:
    """Each number of a line is found under its name; the mode is octal."""
    found = parse(HEADER + PLAIN, queue_bytes_of={3: 16384}.get)

    assert found == [
        QueueStat(
            key=12340,
            id=3,
            mode=0o600,
            used_bytes=8,
            messages=2,
            last_send_pid=4321,
            last_receive_pid=4322,
            uid=1000,
            gid=1001,
            cuid=1002,
            cgid=1003,
            queue_bytes=16384,
            last_send_time=1700000001,
            last_receive_time=1700000002,
            last_change_time=1700000003,
        )
    ]


def test_numbers_wider_than_their_columns_are_read_whole() -> None:
    """Numbers that overflow their columns are read, and a negative key is shown as ipcs shows it."""
    (found,) = parse(HEADER + WIDE, queue_bytes_of=lambda _: 1)

    assert (found.key, found.id, found.mode) == (0x80000000, 2147483647, 0o666)
    assert (found.used_bytes, found.messages) == (9223372036854775807, 12345678901)
    assert (found.last_send_pid, found.uid, found.cgid) == (4194304, 4294967294, 4294967291)
    assert found.last_change_time == 17000000030


def test_a_queue_removed_meanwhile_is_left_out() -> None:
    """A queue without a byte limit is gone by now."""
    assert parse(HEADER + PLAIN, queue_bytes_of=lambda _: None) == []


@pytest.mark.private_ipc
def test_all_queues_of_the_namespace_are_listed() -> None:
    """Queues with and without a key are listed, with what is in them and their own limits."""
    with Queue.create(0xFEDCBA98) as keyed, Queue.private() as private:
        keyed.send(b"abc")
        private.resize(12345)

        found = {queue.id: queue for queue in queues()}

        assert found[keyed.id].key == 0xFEDCBA98
        assert (found[keyed.id].messages, found[keyed.id].used_bytes) == (1, 3)
        assert found[private.id].key == 0
        assert found[private.id].queue_bytes == 12345


@pytest.mark.private_ipc
def test_the_struct_is_read_at_the_right_place() -> None:
    """The byte limit read by id is the one that sysv_ipc, compiled with the C header, reads."""
    with Queue.private() as queue:
        for queue_bytes in (1, 4321, 16384):
            queue.resize(queue_bytes)

            assert read_queue_bytes(queue.id) == queue_bytes == queue.raw.max_size


@pytest.mark.private_ipc
def test_a_removed_queue_has_no_byte_limit() -> None:
    """The id of a removed queue answers None."""
    queue = sysv_ipc.MessageQueue(sysv_ipc.IPC_PRIVATE, sysv_ipc.IPC_CREX)
    queue.remove()

    assert read_queue_bytes(queue.id) is None
