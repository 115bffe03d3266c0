"""One worker, and its receive loop done right: it gets past a message that is too large, and it knows when to stop.

    send ---msgsnd---> queue 0x505 ---msgrcv---> worker ---> standard output: [Worker 0] and the bytes
                                                        '--> standard error: what it has to say itself

Run `python lab.py work` in one terminal, and `echo hello | python lab.py send` in another.
"""

from __future__ import annotations

import argparse
import errno
import os
import sys

import sysv_ipc

from harness.labkit import todo

KEY = 0x505
BUFFER_BYTES = 8192  # the kernel's own msgmax; sysv_ipc's default is 2048
LARGEST_BYTES = 2**20  # what `send` takes; the kernel refuses more than msgmax
QUEUE_REMOVED, OUTPUT_GONE = 3, 4  # exit statuses, so that whoever started the worker knows what to do next


def open_queue(key: int, mode: int, buffer_bytes: int) -> sysv_ipc.MessageQueue:
    """Open the queue with this key, or create it; each receive has a buffer of `buffer_bytes`."""
    return sysv_ipc.MessageQueue(key, sysv_ipc.IPC_CREAT, mode, max_message_size=buffer_bytes)


class Worker:
    """Takes messages off the queue and shows them, until there is no more sense in it.

    `buffer_bytes` is the size of the buffer that `queue` was opened with, for a queue object does not tell.
    """

    def __init__(self, queue: sysv_ipc.MessageQueue, number: int, buffer_bytes: int) -> None:
        self.queue = queue
        self.number = number
        self.buffer_bytes = buffer_bytes
        self.large = 0  # how many messages were larger than the buffer

    def say(self, words: str) -> None:
        """One line of our own, on standard error: standard output is for the messages."""
        print(f"[Worker {self.number}] {words}", file=sys.stderr)

    def show(self, payload: bytes) -> None:
        """Write `[Worker 0] `, with our number, and the payload, byte for byte and at once, to standard output."""
        todo("5.1 bytes to sys.stdout.buffer, and not left in it")

    def receive(self) -> tuple[bytes, int]:
        """Sleep until there is a message, and take it, whatever its size: its bytes and its type.

        One that is larger than the buffer is counted in `large`, and `say` tells of it, one line a message. Raises
        ExistentialError when the queue has been removed.
        """
        todo("5.2 receive; when the message does not fit, open the queue again with more room")

    def deliver(self, payload: bytes, kind: int) -> bool:
        """Show a message that was taken off the queue; returns False when nobody reads the output any more.

        Then the message is put back, with its type, as the last; without waiting, so if the queue has no room for it,
        or is gone, `say` that it is lost.
        """
        todo("5.3 show the message, and put it back when the reader is gone")

    def work(self) -> int:
        """Deliver one message after the other; `say` in one line why it ends, and return QUEUE_REMOVED or OUTPUT_GONE.

        The queue can go while we sleep in msgrcv (EIDRM), and while we do not (EINVAL next time).
        """
        todo("5.4 the loop, and its two ends")


def forget_output() -> None:
    """Let Python's own flush at its exit go nowhere, where it fails otherwise (as Python's documentation has it)."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def main(argv: list[str] | None = None) -> int:
    """Be the worker, or send all of standard input as one message; returns the exit status."""
    parser = argparse.ArgumentParser(description="One worker on one queue.")
    parser.add_argument("side", choices=["send", "work"])
    parser.add_argument("--number", type=int, default=0)
    parser.add_argument("--buffer", type=int, default=BUFFER_BYTES, help="bytes that one receive has room for")
    parser.add_argument("--key", type=lambda text: int(text, 0), default=KEY)
    parser.add_argument("--mode", type=lambda text: int(text, 8), default=0o600)
    options = parser.parse_args(argv)
    if options.side == "send":
        open_queue(options.key, options.mode, LARGEST_BYTES).send(sys.stdin.buffer.read())
        return 0
    status = Worker(open_queue(options.key, options.mode, options.buffer), options.number, options.buffer).work()
    if status == OUTPUT_GONE:
        forget_output()
    return status


if __name__ == "__main__":
    sys.exit(main())
