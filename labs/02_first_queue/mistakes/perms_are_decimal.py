"""rows reads the permissions as a decimal number.

fails: test_rows_show_what_ipcs_shows, test_columns_are_told_apart_by_blanks, test_the_program_lists_the_queues
teaches: perms as octal digits
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import sysv_ipc

if TYPE_CHECKING:
    import os

KEY = 0o3000111  # the original's 03000111: a number that begins with 0 is octal in PHP, as in C
LARGEST_KEY = 0xFFFFFFFF
LISTING = Path("/proc/sysvipc/msg")


def msgget(key: int, flags: int, mode: int = 0) -> sysv_ipc.MessageQueue:
    """The system call. `mode` are a new queue's permissions; of a queue that is there 0 asks for none in advance."""
    return sysv_ipc.MessageQueue(key, flags, mode, max_message_size=8192)


# --- four ways to a queue --------------------------------------------------------------------------------------------


def open_existing(key: int) -> sysv_ipc.MessageQueue:
    """The queue that has this key; raises sysv_ipc.ExistentialError if there is none."""
    return msgget(key, 0)


def open_or_create(key: int, mode: int) -> sysv_ipc.MessageQueue:
    """The queue that has this key, made now if there is none; one that is there keeps its own mode."""
    return msgget(key, sysv_ipc.IPC_CREAT, mode)


def create_new(key: int, mode: int) -> sysv_ipc.MessageQueue:
    """A new queue with this key; raises sysv_ipc.ExistentialError if there is one already."""
    return msgget(key, sysv_ipc.IPC_CREAT | sysv_ipc.IPC_EXCL, mode)


def create_private(mode: int) -> sysv_ipc.MessageQueue:
    """A new queue without a key, at each call: nobody can find it by name."""
    return msgget(sysv_ipc.IPC_PRIVATE, sysv_ipc.IPC_CREAT, mode)


# --- put, take, remove -----------------------------------------------------------------------------------------------


def put(queue: sysv_ipc.MessageQueue, text: str) -> None:
    """Put the text on the queue, as UTF-8, with type 1."""
    queue.send(text.encode())


def take(queue: sysv_ipc.MessageQueue) -> str | None:
    """Take the oldest message off the queue, without waiting; None if the queue is empty.

    Raises sysv_ipc.ExistentialError if there is no such queue any more.
    """
    try:
        data, _ = queue.receive(block=False)
    except sysv_ipc.BusyError:
        return None
    return data.decode()


def remove(key: int) -> bool:
    """Remove the queue that has this key, with all that is in it; returns whether there was one."""
    try:
        msgget(key, 0).remove()
    except sysv_ipc.ExistentialError:
        return False
    return True


# --- keys ------------------------------------------------------------------------------------------------------------


def key_from(text: str) -> int:
    """The key that a PHP or C program means by this literal: 0x... is hex, 0... (and 0o...) octal, else decimal.

    Raises ValueError for what is no number; and for what names no queue: 0 (IPC_PRIVATE), or not within 32 bits.
    """
    is_old_octal = text.startswith("0") and text.isdigit()
    key = int(text, 8 if is_old_octal else 0)
    if not 1 <= key <= LARGEST_KEY:
        raise ValueError(f"{text} names no queue")
    return key


def as_ipcs(key: int) -> str:
    """A key as ipcs prints it: 0x and eight digits. The kernel's key is a signed number, so `key` may be negative."""
    return f"0x{key & LARGEST_KEY:08x}"


def ftok(status: os.stat_result, project: int) -> int:
    """The key that the C library's ftok makes out of a file's status and a number; 0 to 0xffffffff.

    The upper 8 bits are the low 8 of the project, the next 8 the low 8 of st_dev, the last 16 the low 16 of st_ino.
    """
    return (project & 0xFF) << 24 | (status.st_dev & 0xFF) << 16 | (status.st_ino & 0xFFFF)


# --- what is there ---------------------------------------------------------------------------------------------------


class Row(NamedTuple):
    """One queue: its key (0 to 0xffffffff), its id, its permissions, the bytes of text and the messages in it."""

    key: int
    id: int
    mode: int
    used_bytes: int
    messages: int


def rows(listing: str) -> list[Row]:
    """The queues in the text of /proc/sysvipc/msg, in its order.

    Its first line names the columns: key msqid perms cbytes qnum, and more. The key is signed there, perms are octal.
    """
    found = []
    for line in listing.splitlines()[1:]:
        key, msqid, perms, cbytes, qnum, *_ = line.split()
        found.append(Row(int(key) & LARGEST_KEY, int(msqid), int(perms), int(cbytes), int(qnum)))
    return found


def main(argv: list[str] | None = None) -> int:
    """Do one thing with one queue; returns the exit status."""
    parser = argparse.ArgumentParser(description="One queue, one call at a time.")
    parser.add_argument("what", choices=["create", "send", "receive", "remove", "list", "key"])
    parser.add_argument("text", nargs="?", default="hello", help="for send, and for key")
    parser.add_argument("--key", type=lambda text: int(text, 0), default=KEY)
    parser.add_argument("--mode", type=lambda text: int(text, 8), default=0o600)
    options = parser.parse_args(argv)
    try:
        if options.what == "create":
            print(f"id {create_new(options.key, options.mode).id}")
        elif options.what == "send":
            put(open_or_create(options.key, options.mode), options.text)
        elif options.what == "receive":
            print(take(open_existing(options.key)))
        elif options.what == "remove":
            print("removed" if remove(options.key) else "there is none")
        elif options.what == "list":
            for row in rows(LISTING.read_text()):
                print(f"0x{row.key:08x} id {row.id} {row.mode:o} {row.used_bytes} bytes {row.messages} messages")
        else:
            key = key_from(options.text)
            print(key, as_ipcs(key))
    except sysv_ipc.ExistentialError as error:
        print(error, file=sys.stderr)
        return 1
    except ValueError as error:
        parser.error(str(error))
    return 0


if __name__ == "__main__":
    sys.exit(main())
