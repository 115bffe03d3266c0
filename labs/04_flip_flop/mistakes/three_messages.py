"""The receiver takes three messages.

fails: test_the_receiver_ends_after_two_messages
teaches: what a receiver takes is gone for all others
"""

from __future__ import annotations

import argparse
import sys
from collections import deque

import sysv_ipc

KEY = 12340  # 0x3034, the key of the original demo
TYPE = 8
TEXT = b"abcd"


def open_queue(key: int, mode: int) -> sysv_ipc.MessageQueue:
    """Open the queue with this key, or create it; it takes messages of up to 4 bytes, as the original does."""
    return sysv_ipc.MessageQueue(key, sysv_ipc.IPC_CREAT, mode, max_message_size=len(TEXT))


def send_one(queue: sysv_ipc.MessageQueue) -> None:
    """Put TEXT on the queue once, with type TYPE."""
    queue.send(TEXT, type=TYPE)


def receive_two(queue: sysv_ipc.MessageQueue) -> None:
    """Take two messages of any type; print `msgtype 8 data abcd` for each, at the moment it comes."""
    for _ in range(3):
        data, message_type = queue.receive()
        print(f"msgtype {message_type} data {data.decode()}", flush=True)


def predict(events: list[str]) -> str:
    """Who gets the messages, as one letter a message, when these things happen one after the other.

    "A waits"     receiver A calls msgrcv (any type), and sleeps if there is nothing for it
    "send"        a message is sent
    "A stops"     receiver A, asleep in msgrcv, is stopped (Ctrl-Z, SIGSTOP) and goes on (fg, SIGCONT)

    A receiver that got a message does nothing until it "waits" again. For example, `predict(["A waits", "B waits",
    "send", "send"])` is "AB". A message that nobody takes is not in the answer.
    """
    waiting: deque[str] = deque()  # the kernel's list of sleeping receivers, longest first
    queued = 0
    winners = ""
    for event in events:
        who, _, what = event.partition(" ")
        if event == "send":
            if waiting:
                winners += waiting.popleft()
            else:
                queued += 1
        elif what == "waits":
            if queued:
                queued -= 1
                winners += who
            else:
                waiting.append(who)
        elif what == "stops":
            # Its msgrcv is interrupted and begins again, at the end of the list.
            waiting.remove(who)
            waiting.append(who)
    return winners


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
