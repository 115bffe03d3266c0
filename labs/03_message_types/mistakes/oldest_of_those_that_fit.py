"""The model lets a negative selector take the oldest message that fits, not the lowest type.

fails: test_minus_a_type_takes_the_lowest_type, test_the_model_answers_the_quiz_as_the_kernel_does, test_the_quiz_shows_what_the_model_says
teaches: a negative selector takes the LOWEST type that is there
"""

from __future__ import annotations

import argparse
import sys
from collections import deque
from itertools import groupby

import sysv_ipc

KEY = 0x303
ALARM, ORDER, REPORT = 1, 2, 3
KINDS = {"alarm": ALARM, "order": ORDER, "report": REPORT}
NAMES = {kind: name for name, kind in KINDS.items()}
LEAST_URGENT = REPORT
OTHERS = (ORDER, REPORT)  # the kinds that a stream of alarms would starve
ROW = 4


def open_queue(key: int, mode: int) -> sysv_ipc.MessageQueue:
    """Open the queue with this key, or create it."""
    return sysv_ipc.MessageQueue(key, sysv_ipc.IPC_CREAT, mode)


def take(queue: sysv_ipc.MessageQueue, selector: int) -> tuple[bytes, int] | None:
    """Take the message that msgrcv selects for `selector`, without waiting: its bytes and type, or None.

    `selector` is msgrcv's third argument: 0, a type, or minus a type.
    """
    try:
        return queue.receive(block=False, type=selector)
    except sysv_ipc.BusyError:
        return None


def fits(kind: int, selector: int) -> bool:
    """Whether a receive with this selector may take a message of type `kind` at all."""
    if selector > 0:
        return kind == selector
    return selector == 0 or kind <= -selector


def predict(types: list[int], selectors: list[int]) -> list[int | None]:
    """Which message each receive gets: its place among those sent, from 0, or None if there is none for it.

    Messages of these `types` are sent one after the other; then one receive a selector is made, none of which waits.
    A message that was taken is gone. For example, `predict([2, 1, 2], [2, 2, 2])` is `[0, 2, None]`.
    """
    left = list(enumerate(types))
    answers: list[int | None] = []
    for selector in selectors:
        fitting = [message for message in left if fits(message[1], selector)]
        if not fitting:
            answers.append(None)
            continue
        # Of several of the lowest type, min gives the first: the one that was sent first.
        chosen = fitting[0]
        left.remove(chosen)
        answers.append(chosen[0])
    return answers


def take_most_urgent(queue: sysv_ipc.MessageQueue) -> tuple[bytes, int]:
    """Take the first message of the most urgent kind that is there; sleep while there is none up to LEAST_URGENT."""
    return queue.receive(type=-LEAST_URGENT)


class Fair:
    """Takes the most urgent first, but after `row` such messages in a row it gives one turn to the OTHERS."""

    def __init__(self, queue: sysv_ipc.MessageQueue, row: int = ROW) -> None:
        self.queue = queue
        self.row = row
        self.in_a_row = 0  # how many were taken by urgency, of whatever kind, since the others' last turn
        self.turns = deque(OTHERS)  # whose turn it is next

    def next(self) -> tuple[bytes, int]:
        """Take one message, as `take_most_urgent` does, unless it is the others' turn.

        Then ORDER and REPORT take turns. One that has nothing leaves its turn to the other, without waiting for it;
        when none of them has anything, the message is taken by urgency.
        """
        if self.in_a_row == self.row:
            self.in_a_row = 0
            for _ in OTHERS:
                kind = self.turns.popleft()
                self.turns.append(kind)
                # A receive of one type that waits would be deaf to alarms.
                message = take(self.queue, kind)
                if message is not None:
                    return message
        message = take_most_urgent(self.queue)
        self.in_a_row += 1
        return message


def longest_wait(row: int) -> int:
    """How many messages `Fair` takes, at most, until it has taken an order or a report that is first of its kind.

    The message itself counts too: 1 would mean that it is always the next.
    """
    return len(OTHERS) * (row + 1)


def main(argv: list[str] | None = None) -> int:
    """Send messages of one kind, or take messages by one of the rules; returns the exit status."""
    parser = argparse.ArgumentParser(description="The name of a kind sends; strict and fair take.")
    parser.add_argument("what", choices=[*KINDS, "strict", "fair"])
    parser.add_argument("--count", type=int, default=1, help="how many messages")
    parser.add_argument("--key", type=lambda text: int(text, 0), default=KEY)
    parser.add_argument("--mode", type=lambda text: int(text, 8), default=0o600)
    options = parser.parse_args(argv)
    queue = open_queue(options.key, options.mode)
    if options.what in KINDS:
        for _ in range(options.count):
            queue.send(options.what.encode(), type=KINDS[options.what])
        return 0
    fair = Fair(queue)
    taken = [fair.next() if options.what == "fair" else take_most_urgent(queue) for _ in range(options.count)]
    print(", ".join(f"{len(list(group))} {NAMES[kind]}" for kind, group in groupby(kind for _, kind in taken)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
