"""One worker, and its receive loop done right: it gets past a message that is too large, and it knows when to stop.

    send ---msgsnd---> queue 0x505 ---msgrcv---> worker ---> standard output: [Worker 0] and the bytes
                                                        '--> standard error: what it has to say itself

Run `python solution.py work` in one terminal, and `echo hello | python solution.py send` in another.
"""

from __future__ import annotations

import argparse
import errno
import os
import sys

import sysv_ipc

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
        # The buffer below sys.stdout takes bytes; print would need text, and add a newline.
        sys.stdout.buffer.write(f"[Worker {self.number}] ".encode() + payload)
        sys.stdout.buffer.flush()

    def receive(self) -> tuple[bytes, int]:
        """Sleep until there is a message, and take it, whatever its size: its bytes and its type.

        One that is larger than the buffer is counted in `large`, and `say` tells of it, one line a message. Raises
        ExistentialError when the queue has been removed.
        """
        queue, size_bytes = self.queue, self.buffer_bytes
        while True:
            try:
                payload, kind = queue.receive()
                break
            except OSError as error:
                if error.errno != errno.E2BIG:
                    raise
            # It is at the head still, and would be there for ever. How large it is the kernel does not say; it lets
            # nobody send more than msgmax, so this ends. Not IPC_CREAT: the queue may have been removed meanwhile.
            size_bytes *= 2
            queue = sysv_ipc.MessageQueue(self.queue.key, max_message_size=size_bytes)
        if len(payload) > self.buffer_bytes:
            self.large += 1
            self.say(f"a message of {len(payload)} bytes, the buffer has {self.buffer_bytes}")
        return payload, kind

    def deliver(self, payload: bytes, kind: int) -> bool:
        """Show a message that was taken off the queue; returns False when nobody reads the output any more.

        Then the message is put back, with its type, as the last; without waiting, so if the queue has no room for it,
        or is gone, `say` that it is lost.
        """
        try:
            self.show(payload)
        except BrokenPipeError:
            try:
                # Opened anew, as the message may be larger than what self.queue can send.
                queue = sysv_ipc.MessageQueue(self.queue.key, max_message_size=LARGEST_BYTES)
                queue.send(payload, block=False, type=kind)
            except sysv_ipc.Error:
                self.say(f"lost a message of {len(payload)} bytes")
            return False
        return True

    def work(self) -> int:
        """Deliver one message after the other; `say` in one line why it ends, and return QUEUE_REMOVED or OUTPUT_GONE.

        The queue can go while we sleep in msgrcv (EIDRM), and while we do not (EINVAL next time).
        """
        while True:
            try:
                payload, kind = self.receive()
            except sysv_ipc.ExistentialError:
                self.say("the queue was removed")
                return QUEUE_REMOVED
            if not self.deliver(payload, kind):
                self.say("nobody reads my output")
                return OUTPUT_GONE


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
