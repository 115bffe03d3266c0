"""The bare msgget's errno numbers, on the real kernel."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from sysv_ipc import IPC_CREAT, IPC_EXCL

from harness.sysv import Limits, Queue, msgget_errno, queues
from harness.sysv.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import OrdinaryUser

KEY = 0x3034


@pytest.mark.private_ipc
def test_asking_creates_nothing() -> None:
    """Without IPC_CREAT a key that no queue has answers ENOENT, and no queue is there afterwards."""
    assert msgget_errno(KEY, 0, 0) == errno.ENOENT
    assert queues() == []


@pytest.mark.private_ipc
@pytest.mark.parametrize("key", [1, KEY, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF])
def test_with_the_flag_it_creates(key: int) -> None:
    """With IPC_CREAT the queue is made with this key and mode, and found by the next call."""
    assert msgget_errno(key, IPC_CREAT | IPC_EXCL, 0o640) == 0
    assert [(queue.key, queue.mode) for queue in queues()] == [(key, 0o640)]
    assert msgget_errno(key, 0, 0) == 0
    assert msgget_errno(key, IPC_CREAT, 0o640) == 0
    assert len(queues()) == 1


@pytest.mark.private_ipc
def test_each_private_one_is_new() -> None:
    """Key 0 makes a queue at each call."""
    assert [msgget_errno(0, 0, 0o600) for _ in range(2)] == [0, 0]
    assert [queue.key for queue in queues()] == [0, 0]


@pytest.mark.private_ipc
def test_a_key_that_is_taken_answers_eexist() -> None:
    """With IPC_EXCL too, a queue that is there is an error."""
    with Queue.create(KEY):
        assert msgget_errno(KEY, IPC_CREAT | IPC_EXCL, 0o600) == errno.EEXIST


@pytest.mark.private_ipc
def test_one_queue_too_many_answers_enospc() -> None:
    """At msgmni queues the next one is refused with a number that sysv_ipc keeps to itself."""
    Limits.write(msgmni=1)
    with Queue.create(KEY):
        assert msgget_errno(KEY + 1, IPC_CREAT, 0o600) == errno.ENOSPC


@pytest.mark.private_ipc
@pytest.mark.skipif(os.geteuid() != 0, reason="it takes two users, so root, to meet another user's queue")
def test_the_mode_is_what_is_asked_for(as_user: OrdinaryUser) -> None:
    """Of another user's queue, permission that its mode does not give answers EACCES, and none asked for is given."""
    with Queue.create(KEY, mode=0o604):
        done = as_user.python(
            "from harness.sysv import msgget_errno\n"
            f"print(*(msgget_errno({KEY}, 0, mode) for mode in (0o600, 0o200, 0o400, 0)))\n"
        )

    assert done.stdout.split() == [str(errno.EACCES), str(errno.EACCES), "0", "0"], done.stderr


def test_under_a_filter_it_answers_enosys(no_msgget: tuple[str, ...], repository: Path) -> None:
    """Where msgget is refused as if it did not exist, the number is told and nothing is raised."""
    code = f"from harness.sysv import msgget_errno; print(msgget_errno({KEY}, 0, 0))"

    done = subprocess.run(
        [*no_msgget, sys.executable, "-c", code], cwd=repository, capture_output=True, text=True, check=True
    )

    assert done.stdout.strip() == str(errno.ENOSYS)


@pytest.mark.private_ipc
@pytest.mark.parametrize("wrong", [-1, 2**32, None, True, "1"])
def test_what_cannot_be_is_refused(wrong: Any) -> None:
    """A wrong key, flag or mode is a UsageError, and nothing was called."""
    for arguments in ((wrong, IPC_CREAT, 0o600), (KEY, wrong, 0o600), (KEY, IPC_CREAT, wrong)):
        with pytest.raises(UsageError):
            msgget_errno(*arguments)

    assert queues() == []
