"""Backpressure: what a front does with a message when the queue has no room for it.

    clients ---> front: offer ---msgsnd---> queue 0x909 ---msgrcv---> worker
                   |                          |
                   +-- waits (block)          +-- loses an older message (shed)
                   +-- says no (refuse)

Run `python lab.py refuse`, `block` or `shed` to offer messages, and `python lab.py take` to take them.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import sysv_ipc

from harness.labkit import todo

if TYPE_CHECKING:
    from collections.abc import Callable

KEY = 0x909
LARGEST_BYTES = 8192  # the kernel's own msgmax, and this program's buffer
FIRST_PAUSE_S = 50e-6
LONGEST_PAUSE_S = 5e-3
OLDEST = 0  # for msgrcv: the message that was sent first, whatever its type


def open_queue(key: int, mode: int) -> sysv_ipc.MessageQueue:
    """Open the queue with this key, or create it."""
    return sysv_ipc.MessageQueue(key, sysv_ipc.IPC_CREAT, mode, max_message_size=LARGEST_BYTES)


def try_send(queue: sysv_ipc.MessageQueue, payload: bytes, kind: int) -> bool:
    """Send without waiting (IPC_NOWAIT); returns whether there was room."""
    try:
        queue.send(payload, block=False, type=kind)
    except sysv_ipc.BusyError:
        return False
    return True


def has_room(size_bytes: int, *, used_bytes: int, messages: int, max_bytes: int) -> bool:
    """Whether the kernel lets a message of `size_bytes` into a queue that holds `messages` of `used_bytes` in all.

    `max_bytes` is the queue's limit, its max_size (msg_qbytes). It bounds the bytes, and the number of messages too.
    """
    todo("9.1 the bytes, and the number of messages")


@dataclass
class Counts:
    """What became of the messages that were offered to one policy, in messages."""

    offered: int = 0
    accepted: int = 0  # put on the queue
    refused: int = 0  # turned away at once
    timed_out: int = 0  # turned away after a wait
    shed: int = 0  # accepted once, and taken off the queue again to make room

    def unexplained(self, delivered: int, left: int) -> tuple[int, int]:
        """How many messages are not explained: of those offered, and of those accepted; (0, 0) when the books balance.

        `delivered` messages were received by workers, `left` are in the queue still. Every message that was offered
        was accepted or turned away; every one that was accepted was delivered, or shed, or is left.
        """
        todo("9.5 two differences that are 0 when each message is explained")


class Policy:
    """Offers messages to a queue and counts them. What happens when there is no room is each subclass's own."""

    def __init__(self, queue: sysv_ipc.MessageQueue) -> None:
        self.queue = queue
        self.counts = Counts()

    def offer(self, payload: bytes, kind: int = 1) -> bool:
        """Put the message on the queue, as type `kind`, if the policy finds a way; returns whether it is there.

        A message that would not fit into the empty queue either is refused before anything is tried. Counts offered
        and accepted, and this refusal; what `when_full` turns away, it counts itself.
        """
        todo("9.2 refuse what can never fit, try to send, ask when_full; count")

    def when_full(self, payload: bytes, kind: int) -> bool:
        """The queue had no room a moment ago: what now? Returns whether the message is on the queue after all."""
        raise NotImplementedError


class Refuse(Policy):
    """Turns the message away at once: the client hears it now, and may come back."""

    def when_full(self, payload: bytes, kind: int) -> bool:
        """Count it as refused."""
        todo("9.2 count it, and say no")


class Block(Policy):
    """Waits for room, for at most `wait_s` seconds a message.

    msgsnd knows no timeout, so this tries again and again. Between two tries the kernel knows nothing of the caller:
    it keeps no place among the senders that wait, and whoever comes at the right moment is first.

    `clock` answers in seconds and never goes back; `sleep` takes seconds.
    """

    def __init__(
        self,
        queue: sysv_ipc.MessageQueue,
        wait_s: float,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        super().__init__(queue)
        self.wait_s = wait_s
        self.clock = clock
        self.sleep = sleep

    def when_full(self, payload: bytes, kind: int) -> bool:
        """Pause and try again, until it is sent or the time is up; then count it as timed out.

        The first pause is FIRST_PAUSE_S, each later one twice as long as the one before, up to LONGEST_PAUSE_S. The
        last pause is cut so that the last try comes when the time is up.
        """
        todo("9.3 pause and try again until the deadline")


class Shed(Policy):
    """Makes room by taking messages off the queue: what is new is worth more than what is old, or more urgent.

    `victims` are the types that may be given up, the least urgent first; the lower a type, the more urgent it is. The
    default gives up the oldest message, whatever its type.
    """

    def __init__(self, queue: sysv_ipc.MessageQueue, victims: tuple[int, ...] = (OLDEST,)) -> None:
        super().__init__(queue)
        self.victims = victims

    def when_full(self, payload: bytes, kind: int) -> bool:
        """Give up one message after the other until this one fits, counting them as shed.

        When there is nothing more to give up, and still no room, count this one as refused.
        """
        todo("9.4 give up one and try to send, again and again")

    def give_up_one(self, kind: int) -> bool:
        """Take one message off the queue for the sake of one of type `kind`, and count it; False if there is none.

        Of the first type in `victims` that has any it is the oldest. A type more urgent than `kind` is never touched.
        """
        todo("9.4 take the oldest of the first victim that there is")


def main(argv: list[str] | None = None) -> int:
    """Offer numbered messages by one of the policies, or take all that are there; returns the exit status."""
    parser = argparse.ArgumentParser(description="What does a front do when the queue is full?")
    parser.add_argument("side", choices=["refuse", "block", "shed", "take"])
    parser.add_argument("--key", type=lambda text: int(text, 0), default=KEY)
    parser.add_argument("--mode", type=lambda text: int(text, 8), default=0o600)
    parser.add_argument("--messages", type=int, default=20)
    parser.add_argument("--size", type=int, default=1000, help="bytes of each message")
    parser.add_argument("--wait", type=float, default=0.05, help="seconds that block waits for each message")
    options = parser.parse_args(argv)
    queue = open_queue(options.key, options.mode)
    if options.side == "take":
        taken = [queue.receive()[0].decode().strip() for _ in range(queue.current_messages)]
        print(f"took {len(taken)}: {' '.join(taken)}")
        return 0
    policy = {"refuse": Refuse(queue), "block": Block(queue, options.wait), "shed": Shed(queue)}[options.side]
    for number in range(options.messages):
        policy.offer(f"{number:<{options.size}}"[: options.size].encode())
    print(f"{policy.counts}, left in the queue: {queue.current_messages}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
