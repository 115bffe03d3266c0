"""It takes the name away in close, where a killed process does not come.

fails: test_the_name_is_gone_at_once
teaches: a process that is killed does not come to its close()
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import mechanisms

if TYPE_CHECKING:
    from collections.abc import Sequence

BASE = "sysv"  # what the others are compared with

BOUNDARIES = "one receive gives what one send gave, without a framing of yours"
PRIORITY = "the receiver can get the most urgent message first"
SELECTION = "the receiver can ask for one kind of message, and leave the others"
SURVIVES = "what was sent is still there when all processes have ended"
POLLABLE = "select can wait for it, together with sockets"
ANY_SIZE = "a message of 1 MiB goes through, and nobody raised a limit"
COUNTED = "a number of messages fills it, the same for short ones as for long ones"
PROPERTIES = (BOUNDARIES, PRIORITY, SELECTION, SURVIVES, POLLABLE, ANY_SIZE, COUNTED)


class PosixQueue:
    """A POSIX message queue that nobody else can meet: its name is taken away as soon as it is made.

    `descriptor` is what mq_open gave, `max_bytes` the limit of one message.
    """

    def __init__(self, name: str | None = None, *, max_messages: int = 10, max_bytes: int = 8192) -> None:
        """Make the queue, with mode 0600; `name` begins with "/", and is one of its own if there is none.

        Raises FileExistsError if there is such a queue, and OSError EINVAL if a limit is over the machine's.
        """
        name = name or f"/lab17-{os.getpid()}"
        self.max_bytes = max_bytes
        flags = os.O_CREAT | os.O_EXCL | os.O_RDWR
        self.descriptor = mechanisms.mq_open(name, flags, 0o600, max_messages=max_messages, max_bytes=max_bytes)
        self.name = name

    def send(self, payload: bytes, priority: int = 0) -> None:
        """Send one message, a higher priority overtakes; waits while the queue is full.

        Raises ValueError for one of more than max_bytes, as sysv_ipc does: it could never be sent.
        """
        if len(payload) > self.max_bytes:
            raise ValueError(f"the message has {len(payload)} bytes, and the queue takes {self.max_bytes}")
        mechanisms.mq_send(self.descriptor, payload, priority)

    def receive(self) -> bytes:
        """Wait for a message: the one with the highest priority, and of those the oldest."""
        payload, _ = mechanisms.mq_receive(self.descriptor, self.max_bytes)
        return payload

    def close(self) -> None:
        """Let go of the queue; it is gone when all processes that have it did so, or have ended."""
        mechanisms.mq_unlink(self.name)
        os.close(self.descriptor)


TRANSPORTS = {
    "sysv": mechanisms.SysV,
    "posix": PosixQueue,
    "pipe": mechanisms.Pipe,
    "datagram": mechanisms.Datagram,
    "multiprocessing": mechanisms.Multiprocessing,
}


def properties() -> dict[str, set[str]]:
    """For each name of TRANSPORTS which of PROPERTIES it has.

    It is about the mechanism as Linux (or the library) has it: for "pipe" the bare pipe, for "posix" any POSIX queue.
    """
    return {
        "sysv": {BOUNDARIES, PRIORITY, SELECTION, SURVIVES},
        "posix": {BOUNDARIES, PRIORITY, SURVIVES, POLLABLE, COUNTED},
        "pipe": {POLLABLE, ANY_SIZE},
        "datagram": {BOUNDARIES, POLLABLE},
        "multiprocessing": {BOUNDARIES, POLLABLE, ANY_SIZE},
    }


def choose(needs: set[str]) -> list[str]:
    """The names of those that have all of these properties, in the order of `properties()`."""
    return [name for name, has in properties().items() if needs <= has]


@dataclass(frozen=True)
class Summary:
    """What the rounds say of one transport; `low` and `high` are the quartiles of `ratio`."""

    median_us: float
    ratio: float  # its time to that of BASE in the same round: the median of the rounds' ratios
    low: float
    high: float


def compare(rounds: Sequence[dict[str, float]]) -> dict[str, Summary]:
    """Sum up at least two rounds, each {name: microseconds a message}; quartiles as `inclusive` has them."""
    summaries = {}
    for name in rounds[0]:
        # Within a round, as the machine was about the same for both then. Medians of different rounds are not a pair.
        ratios = [times[name] / times[BASE] for times in rounds]
        low, middle, high = statistics.quantiles(ratios, n=4, method="inclusive")
        summaries[name] = Summary(statistics.median(times[name] for times in rounds), middle, low, high)
    return summaries


def main(argv: list[str] | None = None) -> int:
    """Print the table, or measure and print what came out; returns the exit status."""
    parser = argparse.ArgumentParser(description="The same messages over five transports.")
    parser.add_argument("what", choices=["table", "compare"])
    parser.add_argument("--rounds", type=int, default=9, help="two at least")
    parser.add_argument("--messages", type=int, default=1000)
    parser.add_argument("--size", type=int, default=100, metavar="BYTES", help="of a message, up to 8192")
    options = parser.parse_args(argv)
    if not 0 <= options.size <= mechanisms.LARGEST_BYTES:
        parser.error(f"--size {options.size}: from 0 to {mechanisms.LARGEST_BYTES}")
    if options.rounds < 2 or options.messages < 1:
        parser.error("two rounds and one message at least: of one round there are no quartiles")
    if options.what == "table":
        for words in PROPERTIES:
            print(f"{words}: {', '.join(name for name, has in properties().items() if words in has)}")
        return 0
    rounds = mechanisms.measure(TRANSPORTS, rounds=options.rounds, messages=options.messages, size_bytes=options.size)
    print(f"{options.rounds} rounds of {options.messages} messages of {options.size} bytes")
    for name, summary in compare(rounds).items():
        spread = f"{summary.ratio:.2f} ({summary.low:.2f} to {summary.high:.2f})"
        print(f"{name:<16} {summary.median_us:7.2f} us a message, to {BASE} as {spread}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
