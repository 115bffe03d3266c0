"""Does every message arrive, once, in order? The slow half of the check, and the ledger at the end.

The engines compare each message's number with the one they expect, and do nothing more while it is right.
What is not right comes here, whichever engine found it, so that loss, duplication and disorder have one
definition:

    a stream      is (producer, queue, message type), numbered densely from 0; a refused send uses no number
    duplicated    a number that was seen before
    missed        a number that was skipped, and has not come since
    out of order  a number below the highest that this consumer saw in the stream, and no duplicate
    undecided     it came too late for the check to remember; it is then neither lost nor duplicated

Where one consumer reads a stream, the last number says it all (`GapCheck`). Where several do, none of them sees
every number, so they share a ring of one-byte generations per stream (`RingCheck`).

Knows nothing of queues: everything works on numbers and on writable buffers that somebody else owns.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

RING_BITS = 20
RING_SIZE = 1 << RING_BITS
"""Numbers that a ring remembers: at a million messages a second, a second's worth."""
RING_MASK = RING_SIZE - 1
GENERATIONS = 256
REMEMBERED_GAPS = 1024
"""Gaps a stream's check remembers; what comes out of an older one is `undecided`."""


class Tally(Protocol):
    """Where a check counts: attributes that are stored in shared memory by whoever provides them."""

    duplicated: int
    out_of_order: int
    undecided: int


class Cells(Protocol):
    """Numbers that can be read and stored by index, as a memoryview or a list offers them."""

    def __getitem__(self, index: int, /) -> int: ...

    def __setitem__(self, index: int, value: int, /) -> None: ...


class SequenceCheck(Protocol):
    """What both checks offer to an engine."""

    def see(self, stream: int, number: int) -> None:
        """Take note of a message whose number was not simply the next one."""


class GapCheck:
    """One consumer reads each stream: what is below the expected number is late if it was skipped, else doubled.

    It remembers `remembered_gaps` gaps a stream, the newest, so that its memory does not grow with the losses. Of the
    older ones it keeps how many numbers they lack: while they lack any, a number from there is `undecided`.
    """

    def __init__(
        self,
        expected: Cells,
        missed: Cells,
        tally: Tally,
        *,
        remembered_gaps: int = REMEMBERED_GAPS,
    ) -> None:
        self._expected = expected
        self._missed = missed
        self._tally = tally
        self._remembered_gaps = remembered_gaps
        self._gaps: dict[int, list[tuple[int, int]]] = {}  # per stream, ascending, half open
        self._forgotten_below: dict[int, int] = {}
        self._forgotten_numbers: dict[int, int] = {}

    def see(self, stream: int, number: int) -> None:
        """Record a jump ahead as a gap; settle a number from the past."""
        expected = self._expected[stream]
        if number >= expected:
            if number > expected:
                self._skip(stream, expected, number)
            self._expected[stream] = number + 1
        elif self._fill(stream, number):
            self._missed[stream] -= 1
            self._tally.out_of_order += 1
        elif number < self._forgotten_below.get(stream, 0) and self._forgotten_numbers[stream]:
            self._tally.undecided += 1  # taken as late: what may have arrived is not called lost
            self._missed[stream] -= 1
            self._forgotten_numbers[stream] -= 1
        else:
            self._tally.duplicated += 1

    def _skip(self, stream: int, first: int, behind: int) -> None:
        gaps = self._gaps.setdefault(stream, [])
        gaps.append((first, behind))
        self._missed[stream] += behind - first
        self._forget_oldest(stream, gaps)

    def _fill(self, stream: int, number: int) -> bool:
        """Take `number` out of the gap that holds it; False when none does."""
        gaps = self._gaps.get(stream, [])
        index = bisect_right(gaps, number, key=lambda gap: gap[0]) - 1
        if index < 0 or number >= gaps[index][1]:
            return False
        first, behind = gaps[index]
        gaps[index : index + 1] = [gap for gap in ((first, number), (number + 1, behind)) if gap[0] < gap[1]]
        self._forget_oldest(stream, gaps)  # out of the middle it makes two of one
        return True

    def _forget_oldest(self, stream: int, gaps: list[tuple[int, int]]) -> None:
        if len(gaps) > self._remembered_gaps:
            first, behind = gaps.pop(0)
            self._forgotten_below[stream] = behind
            self._forgotten_numbers[stream] = self._forgotten_numbers.get(stream, 0) + behind - first


class RingCheck:
    """Several consumers share a stream: a ring holds, for each number modulo its size, the generation last seen.

    A cell holds `(number >> 20) + 1` modulo 256, so that fresh memory (0) means "nothing yet" and no page is
    touched before it is needed. A consumer that was held up while the others went round the whole ring finds a
    newer generation in its cell: that message is `undecided`. It was counted as missed by whoever went past it,
    so its arrival takes that back.
    """

    def __init__(
        self,
        expected: Cells,
        missed: Cells,
        tally: Tally,
        rings: Sequence[Cells],
    ) -> None:
        self._expected = expected
        self._missed = missed
        self._tally = tally
        self._rings = rings

    def see(self, stream: int, number: int) -> None:
        """Compare the generation in the number's cell with the number's own."""
        ring, cell = self._rings[stream], number & RING_MASK
        generation = generation_of(number)
        ahead = (generation - ring[cell]) % GENERATIONS
        if ahead == 0:
            self._tally.duplicated += 1
            return
        if ahead > GENERATIONS // 2:
            self._tally.undecided += 1
            # Two's complement in an unsigned word: summed over the consumers it comes out right.
            self._missed[stream] = (self._missed[stream] - 1) % (1 << 64)
            return
        self._missed[stream] = (self._missed[stream] + ahead - 1) % (1 << 64)
        ring[cell] = generation
        if number < self._expected[stream]:
            self._tally.out_of_order += 1
        else:
            self._expected[stream] = number + 1


def generation_of(number: int) -> int:
    """The byte that a ring's cell holds once `number` was seen."""
    return ((number >> RING_BITS) + 1) % GENERATIONS


def sweep(ring: bytes | bytearray | memoryview, sent: int) -> int:
    """How many of the numbers below `sent` never reached the ring, as far as its last round tells.

    Earlier rounds were settled when later numbers passed over them (`RingCheck`).
    """
    boundary = sent & RING_MASK
    newest = generation_of(sent)
    return _behind(bytes(ring[:boundary]), newest) + _behind(bytes(ring[boundary:]), (newest - 1) % GENERATIONS)


def _behind(cells: bytes, wanted: int) -> int:
    if cells.count(wanted) == len(cells):  # C speed for the usual case
        return 0
    total = 0
    for generation in set(cells):
        distance = (wanted - generation) % GENERATIONS
        # A cell ahead of what the producer counted: it was killed between the call and its counter.
        total += distance * cells.count(generation) if distance <= GENERATIONS // 2 else 0
    return total


@dataclass(frozen=True, slots=True)
class Ledger:
    """Where every message of a run went; all are counts of messages, warm-up included.

    `attempted = sent + refused + unknown` and
    `sent = received_once + undecided + left_in_queue + lost + held_by_killed`. A worker killed between a system
    call and its counter leaves one message that nobody can place: that is `unknown` (a producer's) or
    `held_by_killed` (a consumer's), never `lost`.
    """

    sent: int
    refused: int
    unknown: int
    received: int
    duplicated: int
    out_of_order: int
    undecided: int
    missing: int
    left_in_queue: int
    held_by_killed: int
    lost: int
    foreign: int

    @property
    def attempted(self) -> int:
        """Sends that were tried."""
        return self.sent + self.refused + self.unknown

    @property
    def received_once(self) -> int:
        """Messages that arrived, each counted once, and that the check could place."""
        return self.received - self.duplicated - self.undecided

    @property
    def balanced(self) -> bool:
        """Whether the receivers' own count and the gaps in the numbers, two independent things, give what was sent."""
        return self.sent == self.received_once + self.undecided + self.missing


def settle(
    *,
    sent: int,
    refused: int,
    received: int,
    duplicated: int,
    out_of_order: int,
    undecided: int,
    missing: int,
    in_queue: int,
    foreign: int,
    killed_producers: int,
    killed_consumers: int,
    seen_unsent: int,
    in_bursts: int = 0,
) -> Ledger:
    """Close the books of a run.

    `sent` is what the producers counted; `seen_unsent` are messages that arrived although their (killed) producer had
    not counted them yet: they were sent, by proof. `missing` are numbers that were sent and never came (gaps, and
    what is behind the last one); they are first looked for in the queue (`in_queue` messages), then in the hands of
    killed consumers (one each, and `in_bursts` more where they took several in one go), and only the rest is lost.

    Below 0, `missing` proves that as many of the undecided were duplicates: an undecided number was taken off the
    missing as if it had been late. And a consumer killed between its two counts has counted a message as received
    that the check has not seen: that one is not missing.
    """
    doubled = min(undecided, max(0, -missing))
    duplicated, undecided, missing = duplicated + doubled, undecided - doubled, missing + doubled
    surplus = received - duplicated + missing - (sent + seen_unsent)
    missing -= max(0, min(surplus, killed_consumers, missing))
    left_in_queue = min(in_queue, missing)
    held_by_killed = min(missing - left_in_queue, killed_consumers + in_bursts)
    return Ledger(
        sent=sent + seen_unsent,
        refused=refused,
        unknown=max(0, killed_producers - seen_unsent),
        received=received,
        duplicated=duplicated,
        out_of_order=out_of_order,
        undecided=undecided,
        missing=missing,
        left_in_queue=left_in_queue,
        held_by_killed=held_by_killed,
        lost=missing - left_in_queue - held_by_killed,
        foreign=foreign,
    )
