"""What a load through a proxy counts: shared memory between the sending process and the one that follows it.

Of fixed size, so that memory stays flat, and still there to be read if the sending process is killed. 64-bit words,
each with one writer: the sending process, but for STOP.
"""

from __future__ import annotations

import mmap
import os
from enum import IntEnum, auto

from harness.measure.histogram import BUCKETS, Histogram

WORD_BYTES = 8
STOP_SENDING, END_NOW = 1, 2
"""Of the word STOP: send nothing more; do not wait for replies either."""
REPLY_BYTES = 64
"""What is read of a reply; OK and ER have three bytes."""


class Word(IntEnum):
    """The words at the beginning. Counts are of requests, warm-up included."""

    STOP = 0
    """Written by the follower: 0, STOP_SENDING or END_NOW."""
    PHASE = auto()
    """A value of Phase."""
    T0_NS = auto()
    """When the window begins, CLOCK_MONOTONIC; 0 until it is known."""
    SENT = auto()
    UNSENDABLE = auto()
    """Refused by our own kernel at the send: these were due, and are not among SENT."""
    ERRNO = auto()
    """Why, of the last of them."""
    HELD_BACK = auto()
    """Sends that had to wait for a free socket."""
    OK = auto()
    OK_IN_WINDOW = auto()
    """OK that came within the window."""
    ER = auto()
    OTHER = auto()
    """Replies that are neither."""
    MISSING = auto()
    """No reply within the reply timeout."""
    LATE = auto()
    """Of these, replies that came after all."""
    UNREACHABLE = auto()
    """The target's host said that nobody listens there (ICMP)."""
    SURPLUS = auto()
    """Replies that nothing was asked for."""
    IN_FLIGHT = auto()
    """Requests whose reply was still awaited at the end; set then."""
    REPLY_DROPS = auto()
    """Replies that one of our own sockets had no room for."""
    DROPS_UNREAD = auto()
    """Sockets of our own whose kernel did not tell of that."""
    PORTS_GIVEN_UP = auto()
    """Source ports whose late reply is no longer listened for."""
    SOCKETS_LOST = auto()
    """Sockets that could not be replaced after a missing reply."""
    OTHER_BYTES = auto()
    """Length of the first reply that is neither, plus 1; 0 without one. Its beginning is in EXAMPLE."""
    EXAMPLE = auto()
    """Here and in the next words: REPLY_BYTES of it."""


class Phase(IntEnum):
    """How far the sending process is."""

    STARTING = 0
    SENDING = 1
    DRAINING = 2
    DONE = 3


HISTOGRAMS = ("latency", "service", "refusal", "pacing")
PORTS = 65_536
_HEAD = Word.EXAMPLE + REPLY_BYTES // WORD_BYTES
_PORTS_AT = WORD_BYTES * (_HEAD + len(HISTOGRAMS) * BUCKETS)
SIZE_BYTES = _PORTS_AT + PORTS


class UdpBoard:
    """The memory behind a descriptor (`new_memory`), mapped. `words`, the four histograms and `spent` are views of it.

    `spent[port]` is 1 for a source port that is not used any more, since a late reply may still come to it.
    """

    def __init__(self, memory: int) -> None:
        self._map = mmap.mmap(memory, SIZE_BYTES)
        self._bytes = memoryview(self._map)
        self.spent = self._bytes[_PORTS_AT:]
        self._all = self._bytes.cast("Q")
        self.words = self._all[:_HEAD]
        self.latency, self.service, self.refusal, self.pacing = (
            self._all[_HEAD + place * BUCKETS : _HEAD + (place + 1) * BUCKETS] for place in range(len(HISTOGRAMS))
        )

    def close(self) -> None:
        """Unmap it; copies that `histogram` made stay."""
        histograms = (self.latency, self.service, self.refusal, self.pacing)
        for view in (self.words, *histograms, self.spent, self._all, self._bytes):
            view.release()
        self._map.close()

    def note_other(self, reply: bytes) -> None:
        """Keep the first reply that is neither OK nor ER, for the report."""
        if not self.words[Word.OTHER_BYTES]:
            at = WORD_BYTES * Word.EXAMPLE
            self._bytes[at : at + len(reply)] = reply
            self.words[Word.OTHER_BYTES] = len(reply) + 1

    @property
    def first_other(self) -> bytes | None:
        """The beginning of the first reply that is neither OK nor ER; None when there was none."""
        length = self.words[Word.OTHER_BYTES] - 1
        at = WORD_BYTES * Word.EXAMPLE
        return bytes(self._bytes[at : at + length]) if length >= 0 else None

    def histogram(self, name: str) -> Histogram:
        """A copy of what was recorded so far; `name` is one of HISTOGRAMS."""
        return Histogram(getattr(self, name))


def new_memory() -> int:
    """A memfd of the board's size, zeroed; returns its descriptor, which the caller closes."""
    descriptor = os.memfd_create("harness-udp-board", os.MFD_CLOEXEC)
    os.ftruncate(descriptor, SIZE_BYTES)
    return descriptor
