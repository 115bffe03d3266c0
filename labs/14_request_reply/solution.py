"""Request and reply over one queue: the message type is the address.

    client 4711  ---type 1--->   queue 0xe14    ---type 1--->  server
    client 4711  <--type 4711--  (both ways)    <--type 4711-- server

A request has type 1, and names in its first bytes the type under which its sender waits: its own process id. Run
`python lab.py serve` in one terminal, `python lab.py ask hello` in others, and `python lab.py stop` at the end.
"""

from __future__ import annotations

import argparse
import os
import struct
import sys
import time
from typing import TYPE_CHECKING

import sysv_ipc

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

KEY = 0xE14
REQUEST = 1  # the type of every request; no client has it as its own: process 1 is init
REQUEST_HEADER = struct.Struct("=iI")  # the type for the reply, and the request's number; the body follows
REPLY_HEADER = struct.Struct("=I")  # the number of the request that this answers; the body follows
PAUSE_S = 0.001


def open_queue(key: int, mode: int) -> sysv_ipc.MessageQueue:
    """Open the queue with this key, or create it."""
    return sysv_ipc.MessageQueue(key, sysv_ipc.IPC_CREAT, mode, max_message_size=8192)


def receive_until(queue: sysv_ipc.MessageQueue, message_type: int, deadline_s: float) -> bytes | None:
    """The next message of this type, or None when none came until `deadline_s` (of time.monotonic).

    msgrcv has no timeout, so this asks again and again. The last time is after the deadline, so that a pause cannot
    hide what came in it.
    """
    while True:
        late = time.monotonic() >= deadline_s
        try:
            return queue.receive(block=False, type=message_type)[0]
        except sysv_ipc.BusyError:
            if late:
                return None
        time.sleep(PAUSE_S)


# --- the server ------------------------------------------------------------------------------------------------------


def serve_one(queue: sysv_ipc.MessageQueue, answer: Callable[[bytes], bytes]) -> bool:
    """Wait for one request, and send `answer` of its body to the type that it names, with its number.

    Returns whether it was answered. One that is shorter than its header, or that names a type up to REQUEST, is
    dropped: the one cannot be read, and a reply of type 1 would come back to the server as a request.
    """
    payload, _ = queue.receive(type=REQUEST)
    if len(payload) < REQUEST_HEADER.size:
        return False
    reply_type, number = REQUEST_HEADER.unpack_from(payload)
    if reply_type <= REQUEST:
        return False
    queue.send(REPLY_HEADER.pack(number) + answer(payload[REQUEST_HEADER.size :]), type=reply_type)
    return True


# --- a client --------------------------------------------------------------------------------------------------------


def sweep(queue: sysv_ipc.MessageQueue, my_type: int) -> int:
    """Take away the replies that wait for `my_type` before anything was asked, and say how many there were.

    They are of an earlier process that had this number and went away without its replies.
    """
    swept = 0
    while True:
        try:
            queue.receive(block=False, type=my_type)
        except sysv_ipc.BusyError:
            return swept
        swept += 1


def ask(queue: sysv_ipc.MessageQueue, my_type: int, number: int, body: bytes, wait_s: float) -> bytes | None:
    """Send one request, and return the body of its reply, or None when that did not come within `wait_s` seconds.

    A reply that has another number belongs to a request that this client has given up; it is dropped, and the wait
    goes on.
    """
    queue.send(REQUEST_HEADER.pack(my_type, number) + body, type=REQUEST)
    deadline_s = time.monotonic() + wait_s
    while (payload := receive_until(queue, my_type, deadline_s)) is not None:
        (answered,) = REPLY_HEADER.unpack_from(payload)
        if answered == number:
            return payload[REPLY_HEADER.size :]
    return None


# --- many requests at once -------------------------------------------------------------------------------------------


def safe_window(max_bytes: int, request_bytes: int, reply_bytes: int, clients: int) -> int:
    """How many requests each of `clients` may have under way, so that nobody ever sleeps in msgsnd.

    `max_bytes` is the queue's limit (msg_qbytes), the others the largest request and reply with their headers. A
    request under way is in the queue as a request, or in the server's hands, or in the queue as a reply: it needs room
    for the larger of the two. 0 means that not even one each is safe.
    """
    return max_bytes // (clients * max(request_bytes, reply_bytes))


def ask_many(queue: sysv_ipc.MessageQueue, my_type: int, bodies: Sequence[bytes], window: int) -> list[bytes]:
    """Ask for all bodies, numbered from 0, with at most `window` of them under way; the replies in the same order.

    The next request is sent when there is room in the window, not when all of the last ones are answered. Replies may
    come in any order.
    """
    replies: dict[int, bytes] = {}

    def take_one() -> None:
        payload, _ = queue.receive(type=my_type)
        (number,) = REPLY_HEADER.unpack_from(payload)
        replies[number] = payload[REPLY_HEADER.size :]

    for number, body in enumerate(bodies):
        if number - len(replies) == window:
            take_one()
        queue.send(REQUEST_HEADER.pack(my_type, number) + body, type=REQUEST)
    while len(replies) < len(bodies):
        take_one()
    return [replies[number] for number in range(len(bodies))]


def main(argv: list[str] | None = None) -> int:
    """Serve until the queue is removed, ask once, or remove the queue; returns the exit status."""
    parser = argparse.ArgumentParser(description="Request and reply over one queue.")
    parser.add_argument("side", choices=["serve", "ask", "stop"])
    parser.add_argument("text", nargs="?", default="hello")
    parser.add_argument("--key", type=lambda text: int(text, 0), default=KEY)
    parser.add_argument("--mode", type=lambda text: int(text, 8), default=0o600)
    parser.add_argument("--wait", type=float, default=5, metavar="SECONDS", help="how long ask waits for its reply")
    options = parser.parse_args(argv)
    queue = open_queue(options.key, options.mode)
    if options.side == "stop":
        queue.remove()
        return 0
    if options.side == "serve":
        try:
            while True:
                serve_one(queue, bytes.upper)
        except sysv_ipc.ExistentialError:
            return 0  # somebody has removed the queue: that is how a server is stopped here
    my_type = os.getpid()
    sweep(queue, my_type)
    reply = ask(queue, my_type, 0, options.text.encode(), options.wait)
    print("no reply" if reply is None else reply.decode())
    return 1 if reply is None else 0


if __name__ == "__main__":
    sys.exit(main())
