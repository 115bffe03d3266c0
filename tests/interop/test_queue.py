"""One kernel queue under PHP and Python: its key, mode, types and state, who waits on it, and its end."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
from typing import TYPE_CHECKING

import pytest

from harness.sysv import Message, Queue, Selector, queues
from harness.sysv.errors import NoMessageError, QueueRemovedError

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import OrdinaryUser
    from tests.interop.conftest import Php

pytestmark = pytest.mark.private_ipc

KEY = 0o3000111
PATIENCE_S = 10.0
forking = multiprocessing.get_context("fork")


# --- keys and modes --------------------------------------------------------------------------------------------------


def test_phps_leading_0_is_octal(php: Php, tmp_path: Path) -> None:
    """What PHP writes as 03000111 or 0o3000111 is 786505, and ipcs shows it as 0x000c0049."""
    told = php.run("keys.php", key=KEY, path=str(tmp_path), project="M")

    assert (told["leading_0"], told["leading_0o"]) == (786505, 0xC0049)
    assert told["leading_0"] == KEY


def test_ftok_is_made_of_project_device_and_inode(php: Php, tmp_path: Path) -> None:
    """PHP's ftok has the project in its high byte, then 8 bits of the device and 16 of the inode."""
    status = tmp_path.stat()

    told = php.run("keys.php", key=KEY, path=str(tmp_path), project="M")

    assert told["ftok"] == ord("M") << 24 | (status.st_dev & 0xFF) << 16 | status.st_ino & 0xFFFF


@pytest.mark.parametrize("key", [1, KEY, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF])
def test_php_finds_pythons_queue(key: int, php: Php, tmp_path: Path) -> None:
    """A queue that Python made exists for PHP under the same key, for every key that ipcs can print."""
    before = php.run("keys.php", key=key, path=str(tmp_path), project="M")
    with Queue.create(key):
        after = php.run("keys.php", key=key, path=str(tmp_path), project="M")

    assert (before["exists"], after["exists"]) == (False, True)


@pytest.mark.parametrize(("php_key", "key"), [(KEY, KEY), (-2, 0xFFFFFFFE), (0xFFFFFFFE, 0xFFFFFFFE)])
def test_python_finds_phps_queue(php_key: int, key: int, php: Php) -> None:
    """A queue that PHP made is opened by the key that ipcs prints, which is never negative."""
    php.run("create.php", key=php_key)

    queue = Queue.open(key)

    assert (queue.key, queue.owned) == (key, False)


def test_phps_key_0_is_a_private_queue_without_permissions(php: Php) -> None:
    """PHP asked for key 0 makes a new queue with mode 0 each time, whatever mode was asked for."""
    php.run("create.php", key=0, mode=0o666)
    php.run("create.php", key=0, mode=0o666)

    assert [(queue.key, queue.mode) for queue in queues()] == [(0, 0), (0, 0)]


@pytest.mark.parametrize(("asked", "mode"), [({}, 0o666), ({"mode": 0o600}, 0o600), ({"mode": 0o640}, 0o640)])
def test_python_sees_the_mode_that_php_gave(asked: dict[str, int], mode: int, php: Php) -> None:
    """PHP's queues have the mode that it asked for, by default 0666; no umask applies."""
    php.run("create.php", key=KEY, **asked)

    assert Queue.open(KEY).stat().mode == mode


def test_php_opens_what_it_may_not_send_to(php: Php, as_user: OrdinaryUser) -> None:
    """Another user's queue of mode 0444 opens in PHP, and only msg_send fails, with EACCES."""
    with Queue.create(KEY, mode=0o444) as queue:
        asked = {"type": 1, "serialize": False, "blocking": False}
        done = as_user.run(*php.command("send.php", key=KEY, case="str_hello", **asked))

        assert (done.returncode, done.stderr) == (0, "")
        told = json.loads(done.stdout)
        assert (told["returned"], told["error"]) == (False, errno.EACCES)
        assert queue.stat().messages == 0


# --- types -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "flags", "taken"),
    [(0, [], 3), (2, [], 2), (-2, [], 1), (3, ["MSG_EXCEPT"], 1)],
    ids=["any", "exactly", "at-most", "except"],
)
def test_php_selects_among_pythons_types(asked: int, flags: list[str], taken: int, php: Php) -> None:
    """PHP's desired type means to Python's messages: 0 the first, 2 exactly, -2 the lowest; MSG_EXCEPT any other."""
    with Queue.create(KEY) as queue:
        for message_type in (3, 1, 2):
            queue.send(b"x", type=message_type, timeout=0)

        told = php.receive(KEY, type=asked, flags=["MSG_IPC_NOWAIT", *flags])

        assert (told["returned"], told["type"]) == (True, taken)


@pytest.mark.parametrize(
    ("selector", "taken"),
    [(Selector.any(), 3), (Selector.exactly(2), 2), (Selector.at_most(2), 1), (Selector.anything_but(3), 1)],
    ids=["any", "exactly", "at-most", "except"],
)
def test_python_selects_among_phps_types(selector: Selector, taken: int, php: Php) -> None:
    """Python's selectors take of PHP's messages the first, one of a type, one of the lowest, or the first other one."""
    with Queue.create(KEY) as queue:
        for message_type in (3, 1, 2):
            php.send(KEY, "str_hello", type=message_type)

        message = queue.receive(selector, timeout=0)

        assert message == Message(taken, b"hello")


@pytest.mark.parametrize("message_type", [2**31 - 1, 2**31, 2**63 - 1])
def test_python_receives_phps_large_types(message_type: int, php: Php) -> None:
    """PHP sends types up to 2**63-1, and Selector.any takes them, though Python cannot send those over 2**31-1."""
    with Queue.create(KEY) as queue:
        php.send(KEY, "str_hello", type=message_type)

        assert queue.peek() == Message(message_type, b"hello")
        assert queue.receive(timeout=0) == Message(message_type, b"hello")


@pytest.mark.parametrize("message_type", [0, -1])
def test_php_cannot_send_types_below_1(message_type: int, php: Php) -> None:
    """A type of 0 or less is EINVAL, and nothing is sent."""
    with Queue.create(KEY) as queue:
        told = php.send(KEY, "str_hello", type=message_type)

        assert (told["returned"], told["error"]) == (False, errno.EINVAL)
        assert queue.stat().messages == 0


# --- without waiting -------------------------------------------------------------------------------------------------


def test_php_told_not_to_wait_finds_no_message_of_its_type(php: Php) -> None:
    """With MSG_IPC_NOWAIT, where Python sent another type only, PHP gets false and MSG_ENOMSG, and that one stays."""
    with Queue.create(KEY) as queue:
        queue.send(b"other", type=1, timeout=0)

        told = php.receive(KEY, type=2)

        assert (told["returned"], told["type"], told["value"], told["error"]) == (False, 0, "false", errno.ENOMSG)
        assert told["warning"] == ""
        assert queue.stat().messages == 1


def test_python_told_not_to_wait_finds_no_message_of_its_type(php: Php) -> None:
    """With timeout 0, where PHP sent another type only, Python gets NoMessageError with the same number as PHP."""
    with Queue.create(KEY) as queue:
        php.send(KEY, "str_hello", type=1)

        with pytest.raises(NoMessageError) as caught:
            queue.receive(Selector.exactly(2), timeout=0)

        assert caught.value.errno == errno.ENOMSG
        assert queue.stat().messages == 1


def test_php_told_not_to_wait_finds_the_queue_full(php: Php) -> None:
    """msg_send without blocking to a queue that Python filled is false with EAGAIN, and nothing is added."""
    with Queue.create(KEY) as queue:
        queue.resize(4)
        queue.send(b"full", timeout=0)

        told = php.send(KEY, "str_hello")

        assert (told["returned"], told["error"]) == (False, errno.EAGAIN)
        assert list(queue.drain()) == [Message(1, b"full")]


def test_php_leaves_a_message_that_is_larger_than_its_buffer(php: Php) -> None:
    """Python's message over PHP's max_message_size is E2BIG and stays at the head."""
    with Queue.create(KEY) as queue:
        queue.send(b"12345", timeout=0)

        told = php.receive(KEY, max_bytes=4)

        assert (told["returned"], told["error"]) == (False, errno.E2BIG)
        assert list(queue.drain()) == [Message(1, b"12345")]


def test_php_cuts_a_message_with_noerror(php: Php) -> None:
    """With MSG_NOERROR PHP gets the beginning of Python's message, without a word, and the rest is lost."""
    with Queue.create(KEY) as queue:
        queue.send(b"12345", timeout=0)

        told = php.receive(KEY, max_bytes=4, flags=["MSG_IPC_NOWAIT", "MSG_NOERROR"])

        assert (told["returned"], told["error"], told["warning"]) == (True, 0, "")
        assert bytes.fromhex(told["text_hex"]) == b"1234"
        assert queue.stat().messages == 0


# --- waiting ---------------------------------------------------------------------------------------------------------


def test_a_waiting_php_gets_what_python_sends(php: Php) -> None:
    """A PHP asleep in msg_receive is handed the message of its type that Python sends."""
    asked = {"type": 2, "max_bytes": 8192, "unserialize": False, "flags": []}
    with Queue.create(KEY) as queue, php.started("receive.php", key=KEY, **asked) as process:
        php.wait_until_asleep(process.pid)
        queue.send(b"other", type=1, timeout=0)
        queue.send(b"late", type=2, timeout=0)

        told = php.answer(process)

        assert (told["type"], bytes.fromhex(told["text_hex"])) == (2, b"late")
        assert list(queue.drain()) == [Message(1, b"other")]


def test_a_waiting_python_gets_what_php_sends(php: Php) -> None:
    """A Python asleep in receive is handed the message of its type that PHP sends."""
    with Queue.create(KEY) as queue:

        def receive() -> None:
            assert queue.receive(Selector.exactly(2)) == Message(2, b"hello")

        child = forking.Process(target=receive)
        child.start()
        php.wait_until_asleep(child.pid)
        php.send(KEY, "str_0", type=1)
        php.send(KEY, "str_hello", type=2)
        child.join(PATIENCE_S)

        assert child.exitcode == 0
        assert list(queue.drain()) == [Message(1, b"0")]


def test_a_php_that_waits_for_room_goes_on_when_python_receives(php: Php) -> None:
    """A PHP asleep in msg_send on a full queue sends when Python has made room."""
    asked = {"type": 2, "case": "str_hello", "serialize": False, "blocking": True}
    with Queue.create(KEY) as queue:
        queue.resize(5)
        queue.send(b"full", timeout=0)
        with php.started("send.php", key=KEY, **asked) as process:
            php.wait_until_asleep(process.pid)
            first = queue.receive(timeout=0)

            told = php.answer(process)

        assert told["returned"] is True
        assert [first, *queue.drain()] == [Message(1, b"full"), Message(2, b"hello")]


# --- state and end ---------------------------------------------------------------------------------------------------


def test_php_and_python_see_the_same_state(php: Php) -> None:
    """Each field of msg_stat_queue is the field of stat() that its manual names, after each side did its part."""
    with Queue.create(KEY, mode=0o640) as queue:
        queue.resize(9999)
        queue.send(b"one", timeout=0)
        queue.send(b"three", timeout=0)
        receiver = php.receive(KEY)

        told = php.run("stat.php", key=KEY)

        stat = queue.stat()
        assert {name: told[name] for name in told.keys() - {"pid"}} == {
            "msg_perm.uid": stat.uid,
            "msg_perm.gid": stat.gid,
            "msg_perm.mode": stat.mode,
            "msg_stime": stat.last_send_time,
            "msg_rtime": stat.last_receive_time,
            "msg_ctime": stat.last_change_time,
            "msg_qnum": stat.messages,
            "msg_qbytes": stat.queue_bytes,
            "msg_lspid": stat.last_send_pid,
            "msg_lrpid": stat.last_receive_pid,
        }
        assert (stat.mode, stat.messages, stat.used_bytes, stat.queue_bytes) == (0o640, 1, 5, 9999)
        assert (stat.last_send_pid, stat.last_receive_pid) == (os.getpid(), receiver["pid"])


def test_python_sees_what_php_changed(php: Php) -> None:
    """The size and the mode that msg_set_queue sets are those of stat() from then on."""
    with Queue.create(KEY) as queue:
        told = php.run("change.php", key=KEY, queue_bytes=4096, mode=0o620)

        stat = queue.stat()
        assert told["returned"] is True
        assert (stat.queue_bytes, stat.mode) == (4096, 0o620)


def test_phps_removal_wakes_a_waiting_python(php: Php) -> None:
    """A Python asleep in receive wakes with QueueRemovedError when PHP removes the queue."""
    queue = Queue.create(KEY)

    def receive() -> None:
        with pytest.raises(QueueRemovedError):
            queue.receive()

    child = forking.Process(target=receive)
    child.start()
    php.wait_until_asleep(child.pid)
    told = php.run("remove.php", key=KEY)
    child.join(PATIENCE_S)

    assert told["returned"] is True
    assert child.exitcode == 0


def test_phps_removal_is_told_to_a_later_receive(php: Php) -> None:
    """A Python that receives after PHP removed the queue gets QueueRemovedError, and no queue is left."""
    queue = Queue.create(KEY)
    queue.send(b"lost", timeout=0)
    php.run("remove.php", key=KEY)

    with pytest.raises(QueueRemovedError):
        queue.receive(timeout=0)

    assert queues() == []


def test_pythons_removal_wakes_a_waiting_php(php: Php) -> None:
    """A PHP asleep in msg_receive wakes with false and EIDRM when Python removes the queue."""
    asked = {"type": 0, "max_bytes": 8192, "unserialize": False, "flags": []}
    queue = Queue.create(KEY)
    with php.started("receive.php", key=KEY, **asked) as process:
        php.wait_until_asleep(process.pid)
        queue.remove()

        told = php.answer(process)

    assert (told["returned"], told["value"], told["error"]) == (False, "false", errno.EIDRM)
