"""Two receivers take turns: a sender puts `abcd` on a queue, and whoever has waited longest gets it.

    receiver A ---msgrcv---\
                            queue 12340 <---msgsnd--- sender
    receiver B ---msgrcv---/

Run `python lab.py receive` in two terminals and `python lab.py send` in a third, several times.
"""

from __future__ import annotations

import argparse
import sys

import sysv_ipc

from harness.labkit import todo

KEY = 12340  # 0x3034, the key of the original demo
TYPE = 8
TEXT = b"abcd"


def open_queue(key: int, mode: int) -> sysv_ipc.MessageQueue:
    """Open the queue with this key, or create it; it takes messages of up to 4 bytes, as the original does."""
    return sysv_ipc.MessageQueue(key, sysv_ipc.IPC_CREAT, mode, max_message_size=len(TEXT))


def send_one(queue: sysv_ipc.MessageQueue) -> None:
    """Put TEXT on the queue once, with type TYPE."""
    todo("4.1 put TEXT on the queue, with type TYPE")


def receive_two(queue: sysv_ipc.MessageQueue) -> None:
    """Take two messages of any type; print `msgtype 8 data abcd` for each, at the moment it comes."""
    todo("4.2 receive two messages, and print a line for each as it comes")


def predict(events: list[str]) -> str:
    """Who gets the messages, as one letter a message, when these things happen one after the other.

    "A waits"     receiver A calls msgrcv (any type), and sleeps if there is nothing for it
    "send"        a message is sent
    "A stops"     receiver A, asleep in msgrcv, is stopped (Ctrl-Z, SIGSTOP) and goes on (fg, SIGCONT)

    A receiver that got a message does nothing until it "waits" again. For example, `predict(["A waits", "B waits",
    "send", "send"])` is "AB". A message that nobody takes is not in the answer.
    """
    todo("4.3 keep the list of those who wait as the kernel keeps it")


def main(argv: list[str] | None = None) -> int:
    """Run one side of the demo; returns the exit status."""
    parser = argparse.ArgumentParser(description="Two receivers take turns.")
    parser.add_argument("side", choices=["send", "receive"])
    parser.add_argument("--key", type=lambda text: int(text, 0), default=KEY)
    parser.add_argument("--mode", type=lambda text: int(text, 8), default=0o600)
    options = parser.parse_args(argv)
    queue = open_queue(options.key, options.mode)
    if options.side == "send":
        send_one(queue)
    else:
        receive_two(queue)
    return 0


if __name__ == "__main__":
    sys.exit(main())
