"""The first queue: four calls, and the key by which two programs find the same queue.

    send ---msgsnd---> queue 0x000c0049 ---msgrcv---> receive, a second later or tomorrow
                msgget finds it or makes it
                msgctl removes it, and nothing else does

Run `python lab.py send hello`, look at `ipcs -q`, then `receive`, then `remove`. Each has ended before the next
begins.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import sysv_ipc

from harness.labkit import todo

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
    todo("2.1 msgget that asks only for what is there")


def open_or_create(key: int, mode: int) -> sysv_ipc.MessageQueue:
    """The queue that has this key, made now if there is none; one that is there keeps its own mode."""
    todo("2.1 msgget that makes the queue where it is missing")


def create_new(key: int, mode: int) -> sysv_ipc.MessageQueue:
    """A new queue with this key; raises sysv_ipc.ExistentialError if there is one already."""
    todo("2.1 msgget that refuses a queue which is there already")


def create_private(mode: int) -> sysv_ipc.MessageQueue:
    """A new queue without a key, at each call: nobody can find it by name."""
    todo("2.1 msgget of a queue that has no key")


# --- put, take, remove -----------------------------------------------------------------------------------------------


def put(queue: sysv_ipc.MessageQueue, text: str) -> None:
    """Put the text on the queue, as UTF-8, with type 1."""
    todo("2.2 send the text")


def take(queue: sysv_ipc.MessageQueue) -> str | None:
    """Take the oldest message off the queue, without waiting; None if the queue is empty.

    Raises sysv_ipc.ExistentialError if there is no such queue any more.
    """
    todo("2.2 receive without waiting, and give the text, or None")


def remove(key: int) -> bool:
    """Remove the queue that has this key, with all that is in it; returns whether there was one."""
    todo("2.2 find the queue, and remove it")


# --- keys ------------------------------------------------------------------------------------------------------------


def key_from(text: str) -> int:
    """The key that a PHP or C program means by this literal: 0x... is hex, 0... (and 0o...) octal, else decimal.

    Raises ValueError for what is no number; and for what names no queue: 0 (IPC_PRIVATE), or not within 32 bits.
    """
    todo("2.3 read the number as PHP and C do, and refuse what names no queue")


def as_ipcs(key: int) -> str:
    """A key as ipcs prints it: 0x and eight digits. The kernel's key is a signed number, so `key` may be negative."""
    todo("2.3 write the key as ipcs prints it")


def ftok(status: os.stat_result, project: int) -> int:
    """The key that the C library's ftok makes out of a file's status and a number; 0 to 0xffffffff.

    The upper 8 bits are the low 8 of the project, the next 8 the low 8 of st_dev, the last 16 the low 16 of st_ino.
    """
    todo("2.4 put the three parts together")


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
    todo("2.5 make a Row of each line but the first")


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
