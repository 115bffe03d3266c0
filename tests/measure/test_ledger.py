"""Loss, duplication and disorder are each counted exactly, as a model that remembers every number has them."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from harness.measure.ledger import (
    GENERATIONS,
    REMEMBERED_GAPS,
    RING_SIZE,
    GapCheck,
    Ledger,
    RingCheck,
    generation_of,
    settle,
    sweep,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

WORD = 1 << 64


@dataclass
class Tally:
    duplicated: int = 0
    out_of_order: int = 0
    undecided: int = 0


@dataclass
class Model:
    """The truth about one stream with one consumer, by remembering every number."""

    seen: set[int] = field(default_factory=set)
    duplicated: int = 0
    late: int = 0

    def see(self, number: int) -> None:
        if number in self.seen:
            self.duplicated += 1
        elif self.seen and number < max(self.seen):
            self.late += 1
        self.seen.add(number)

    @property
    def expected(self) -> int:
        return max(self.seen, default=-1) + 1

    @property
    def missed(self) -> int:
        return self.expected - len(self.seen)


@st.composite
def spoilt_streams(draw: st.DrawFn) -> list[int]:
    """Dense numbers from 0 of which some are lost, some come again later, and some are put elsewhere."""
    count = draw(st.integers(1, 60))
    lost = draw(st.sets(st.integers(0, count - 1)))
    stream = [number for number in range(count) if number not in lost]
    for number in draw(st.lists(st.sampled_from(range(count)), max_size=8)):
        stream.insert(draw(st.integers(0, len(stream))), number)
    for _ in range(draw(st.integers(0, 8)) if stream else 0):
        number = stream.pop(draw(st.integers(0, len(stream) - 1)))
        stream.insert(draw(st.integers(0, len(stream))), number)
    return stream


@dataclass
class Gaps:
    """A GapCheck on memory of its own, with what it counts."""

    streams: int = 1
    remembered_gaps: int = REMEMBERED_GAPS

    def __post_init__(self) -> None:
        self.expected = array("Q", [0] * self.streams)
        self.missed = array("Q", [0] * self.streams)
        self.tally = Tally()
        self.check = GapCheck(self.expected, self.missed, self.tally, remembered_gaps=self.remembered_gaps)


class TestGapCheck:
    def test_counts_nothing_in_order(self) -> None:
        """A stream that comes whole, once and in order has nothing to report."""
        gaps = Gaps()

        for number in range(100):
            gaps.check.see(0, number)

        assert (gaps.expected[0], gaps.missed[0], gaps.tally) == (100, 0, Tally())

    @given(spoilt_streams())
    @example([5, 0, 0, 4, 2, 2, 5])
    def test_counts_as_a_model_that_remembers_everything(self, stream: list[int]) -> None:
        """Whatever is lost, doubled or moved, each number is counted as what it is."""
        gaps, model = Gaps(), Model()

        for number in stream:
            gaps.check.see(0, number)
            model.see(number)

        assert gaps.tally == Tally(duplicated=model.duplicated, out_of_order=model.late)
        assert (gaps.expected[0], gaps.missed[0]) == (model.expected, model.missed)

    @given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 30)), max_size=80))
    def test_keeps_streams_apart(self, arrivals: list[tuple[int, int]]) -> None:
        """Each stream is judged by its own numbers, however the streams are interleaved."""
        gaps, models = Gaps(streams=3), [Model(), Model(), Model()]

        for stream, number in arrivals:
            gaps.check.see(stream, number)
            models[stream].see(number)

        assert gaps.tally.duplicated == sum(model.duplicated for model in models)
        assert gaps.tally.out_of_order == sum(model.late for model in models)
        assert list(gaps.missed) == [model.missed for model in models]

    @given(spoilt_streams(), st.integers(1, 3))
    def test_calls_nothing_lost_or_doubled_that_it_forgot(self, stream: list[int], remembered: int) -> None:
        """With fewer gaps remembered than there are, what it cannot tell is undecided, and the books still balance."""
        gaps, model = Gaps(remembered_gaps=remembered), Model()

        for number in stream:
            gaps.check.see(0, number)
            model.see(number)

        tally = gaps.tally
        assert tally.duplicated + tally.out_of_order + tally.undecided == model.duplicated + model.late
        assert tally.duplicated <= model.duplicated
        assert tally.out_of_order <= model.late
        assert 0 <= gaps.missed[0] <= model.missed
        assert len(stream) - tally.duplicated + gaps.missed[0] == gaps.expected[0]

    def test_knows_a_duplicate_when_the_forgotten_lack_nothing(self) -> None:
        """Once all that was forgotten has come, a number from there can only be a duplicate."""
        gaps = Gaps(remembered_gaps=1)
        for number in (1, 3, 0):
            gaps.check.see(0, number)
        assert gaps.tally == Tally(undecided=1)

        gaps.check.see(0, 0)

        assert gaps.tally == Tally(undecided=1, duplicated=1)
        assert gaps.missed[0] == 1

    def test_remembers_a_bounded_number_of_gaps(self) -> None:
        """Memory stays flat, also when late numbers cut one gap into many."""
        gaps = Gaps()
        behind = 6 * REMEMBERED_GAPS
        gaps.check.see(0, behind)

        for number in range(1, behind, 2):
            gaps.check.see(0, number)

        assert len(gaps.check._gaps[0]) == REMEMBERED_GAPS
        assert gaps.missed[0] == behind // 2
        assert gaps.tally.out_of_order == behind // 2


class Ring:
    """Consumers of one stream, each with a RingCheck on memory of its own and the one ring that they share."""

    def __init__(self, consumers: int) -> None:
        self.ring = bytearray(RING_SIZE)
        self.expected = [array("Q", [0]) for _ in range(consumers)]
        self.missed = [array("Q", [0]) for _ in range(consumers)]
        self.tallies = [Tally() for _ in range(consumers)]
        self.checks = [
            RingCheck(expected, missed, tally, [self.ring])
            for expected, missed, tally in zip(self.expected, self.missed, self.tallies, strict=True)
        ]

    def see(self, consumer: int, number: int) -> None:
        self.checks[consumer].see(0, number)

    @property
    def tally(self) -> Tally:
        return Tally(
            duplicated=sum(tally.duplicated for tally in self.tallies),
            out_of_order=sum(tally.out_of_order for tally in self.tallies),
            undecided=sum(tally.undecided for tally in self.tallies),
        )

    def missing(self, sent: int) -> int:
        passed_over = sum(missed[0] for missed in self.missed) % WORD
        return passed_over - (WORD if passed_over > WORD // 2 else 0) + sweep(self.ring, sent)


class RingModel:
    """The truth about one stream with several consumers, by remembering every number and who saw what."""

    def __init__(self, consumers: int) -> None:
        self.seen: set[int] = set()
        self.newest: dict[int, int] = {}
        self.highest = [-1] * consumers
        self.duplicated = self.late = self.overtaken = self.doubled_behind = 0

    def see(self, consumer: int, number: int) -> None:
        newest = self.newest.get(number % RING_SIZE, -1)
        if number < newest:
            self.overtaken += 1
            self.doubled_behind += number in self.seen
        elif number == newest:
            self.duplicated += 1
        else:
            self.newest[number % RING_SIZE] = number
            self.late += number < self.highest[consumer]
            self.highest[consumer] = max(self.highest[consumer], number)
        self.seen.add(number)


consumers = st.integers(0, 3)
dense_arrivals = st.lists(st.tuples(consumers, st.integers(0, 40)), max_size=80)
cells = st.sampled_from([0, 1, 77, RING_SIZE // 2, RING_SIZE - 2, RING_SIZE - 1])
sparse_numbers = st.builds(lambda lap, cell: lap * RING_SIZE + cell, st.integers(0, 5), cells)
sparse_arrivals = st.lists(st.tuples(consumers, sparse_numbers), max_size=40)


def play(arrivals: Sequence[tuple[int, int]]) -> tuple[Ring, RingModel]:
    ring, model = Ring(4), RingModel(4)
    for consumer, number in arrivals:
        ring.see(consumer, number)
        model.see(consumer, number)
    return ring, model


class TestRingCheck:
    @settings(max_examples=60)
    @given(dense_arrivals | sparse_arrivals, st.integers(0, 3), st.integers(0, 2 * RING_SIZE))
    def test_counts_as_a_model_that_remembers_everything(
        self, arrivals: list[tuple[int, int]], more: int, many_more: int
    ) -> None:
        """Consumers interleaved at random, over several rounds: each number is counted as what it is."""
        sent = max((number for _, number in arrivals), default=-1) + 1 + (many_more if more == 0 else more)

        ring, model = play(arrivals)

        assert ring.tally == Tally(model.duplicated, model.late, model.overtaken)
        # a duplicate from behind cannot be told from a late arrival, and is taken off the missing
        assert ring.missing(sent) == sent - len(model.seen) - model.doubled_behind

    def test_is_content_with_a_stream_dealt_out(self) -> None:
        """Numbers that come once, each consumer's rising, are right, across the end of the ring."""
        ring = Ring(2)
        start = RING_SIZE - 50
        ring.ring[:start] = bytes([generation_of(0)]) * start

        for number in range(start, start + 100):
            ring.see(number % 2, number)

        assert ring.tally == Tally()
        assert ring.missing(start + 100) == 0

    def test_never_calls_lost_what_an_overtaken_consumer_brings(self) -> None:
        """A consumer held up while the others went round the whole ring reports undecided, and nothing is missing."""
        ring = Ring(2)
        held_up = 5
        for cell in (held_up, RING_SIZE - 1):
            ring.ring[:] = bytes([generation_of(0)]) * RING_SIZE
            ring.ring[cell] = 0
            ring.see(0, RING_SIZE + cell)  # passes over what consumer 1 holds in its hands
        passed_over = ring.missing(RING_SIZE)
        ring.ring[:] = bytes([generation_of(RING_SIZE)]) * RING_SIZE

        ring.see(1, held_up)
        ring.see(1, RING_SIZE - 1)

        assert passed_over == 2
        assert ring.tally == Tally(undecided=2)
        assert ring.missing(2 * RING_SIZE) == 0

    @pytest.mark.parametrize("laps", [1, 2, 100, GENERATIONS // 2 - 1])
    def test_counts_what_was_lost_over_many_rounds(self, laps: int) -> None:
        """A number that comes rounds after the last one in its cell tells how many were skipped in between."""
        ring = Ring(1)
        ring.see(0, 3)

        ring.see(0, laps * RING_SIZE + 3)

        assert ring.tally == Tally()
        assert ring.missing(laps * RING_SIZE + 4) == laps * RING_SIZE + 4 - 2

    def test_goes_on_when_the_generations_begin_again(self) -> None:
        """After 256 rounds a cell's byte has been all round; the count goes on without a duplicate or a loss."""
        ring = Ring(1)

        for lap in range(2 * GENERATIONS + 3):
            ring.see(0, lap * RING_SIZE)

        assert ring.tally == Tally()
        assert ring.missed[0][0] == 0
        assert ring.expected[0][0] == (2 * GENERATIONS + 2) * RING_SIZE + 1

    def test_keeps_streams_in_rings_of_their_own(self) -> None:
        """The same number in two streams is no duplicate."""
        tally = Tally()
        rings = [bytearray(RING_SIZE), bytearray(RING_SIZE)]
        check = RingCheck(array("Q", [0, 0]), array("Q", [0, 0]), tally, rings)

        check.see(0, 7)
        check.see(1, 7)
        check.see(1, 7)

        assert tally == Tally(duplicated=1)


class TestSweep:
    @settings(max_examples=40)
    @given(st.integers(0, 3), st.sets(cells), st.integers(0, RING_SIZE - 1))
    def test_counts_what_never_came(self, lap: int, lost: set[int], boundary: int) -> None:
        """In a ring whose last round is whole but for some cells, just those below what was sent are missing."""
        sent = lap * RING_SIZE + boundary
        newest, before = generation_of(sent), (generation_of(sent) - 1) % GENERATIONS
        ring = bytearray(bytes([newest]) * boundary + bytes([before]) * (RING_SIZE - boundary))
        for cell in lost:
            ring[cell] = (ring[cell] - 1) % GENERATIONS if ring[cell] else 0
        sent_in_round = {cell for cell in lost if lap or cell < boundary}

        assert sweep(ring, sent) == len(sent_in_round)

    def test_leaves_alone_what_arrived_uncounted(self) -> None:
        """A message whose killed producer had not counted it stands ahead in its cell, and hides no loss."""
        ring = bytearray(RING_SIZE)
        ring[0] = ring[2] = generation_of(0)

        assert sweep(ring, 2) == 1

    def test_reads_a_view_of_shared_memory(self) -> None:
        """The ring may be a memoryview, as the board has it."""
        assert sweep(memoryview(bytearray(RING_SIZE)), 10) == 10


NOTHING = {
    "sent": 0,
    "refused": 0,
    "received": 0,
    "duplicated": 0,
    "out_of_order": 0,
    "undecided": 0,
    "missing": 0,
    "in_queue": 0,
    "foreign": 0,
    "killed_producers": 0,
    "killed_consumers": 0,
    "seen_unsent": 0,
}


def closed(**counts: int) -> Ledger:
    return settle(**{**NOTHING, **counts})


def fates(ledger: Ledger) -> int:
    return ledger.received_once + ledger.undecided + ledger.left_in_queue + ledger.lost + ledger.held_by_killed


class TestSettle:
    @given(st.fixed_dictionaries(dict.fromkeys(NOTHING, st.integers(0, 50))))
    def test_gives_every_message_one_fate(self, counts: dict[str, int]) -> None:
        """Whatever the counts, the missing are in the queue, held or lost, none twice, and nothing is below 0."""
        ledger = settle(**counts)

        assert ledger.left_in_queue + ledger.held_by_killed + ledger.lost == ledger.missing
        assert min(ledger.left_in_queue, ledger.held_by_killed, ledger.lost, ledger.unknown) >= 0
        assert ledger.attempted == ledger.sent + ledger.refused + ledger.unknown
        assert ledger.balanced == (ledger.sent == fates(ledger))

    @given(spoilt_streams(), st.integers(0, 5), st.integers(0, 20))
    def test_balances_the_books_of_a_gap_check(self, stream: list[int], behind: int, in_queue: int) -> None:
        """What one consumer's check counted balances with what was sent, and the lost are the truly lost."""
        gaps, truth = Gaps(), set(stream)
        for number in stream:
            gaps.check.see(0, number)
        sent = gaps.expected[0] + behind

        ledger = closed(
            sent=sent,
            received=len(stream),
            duplicated=gaps.tally.duplicated,
            undecided=gaps.tally.undecided,
            missing=gaps.missed[0] + behind,
            in_queue=in_queue,
        )

        assert ledger.balanced
        assert ledger.received_once == len(truth)
        assert ledger.left_in_queue + ledger.lost == sent - len(truth)

    @settings(max_examples=40)
    @given(sparse_arrivals)
    def test_balances_the_books_of_a_ring_check(self, arrivals: list[tuple[int, int]]) -> None:
        """What several consumers' checks counted balances too, and never more is called lost than was."""
        ring, model = play(arrivals)
        sent = max((number for _, number in arrivals), default=-1) + 1

        ledger = closed(
            sent=sent,
            received=len(arrivals),
            duplicated=ring.tally.duplicated,
            undecided=ring.tally.undecided,
            missing=ring.missing(sent),
        )

        assert ledger.balanced
        assert 0 <= ledger.lost <= sent - len(model.seen)

    def test_calls_duplicates_what_came_too_often_to_be_late(self) -> None:
        """When more undecided came than were missing, the surplus are proven duplicates, and nothing goes below 0."""
        ring, _ = play([(0, 5), (0, RING_SIZE + 5), (1, 5)])
        ring.ring[:] = bytes([generation_of(RING_SIZE)]) * RING_SIZE
        ring.missed[0][0] = 0
        missing = ring.missing(2 * RING_SIZE)

        ledger = closed(sent=2 * RING_SIZE, received=2 * RING_SIZE + 1, undecided=ring.tally.undecided, missing=missing)

        assert missing == -1
        assert (ledger.duplicated, ledger.undecided, ledger.missing, ledger.lost) == (1, 0, 0, 0)
        assert ledger.balanced

    def test_looks_for_the_missing_in_the_queue_then_in_the_hands_of_the_killed(self) -> None:
        """Of five missing two are in the queue, one was in a killed consumer's hands, and two are lost."""
        ledger = closed(sent=20, received=15, missing=5, in_queue=2, killed_consumers=1)

        assert (ledger.left_in_queue, ledger.held_by_killed, ledger.lost) == (2, 1, 2)
        assert ledger.balanced

    def test_believes_an_arrival_more_than_a_killed_producer(self) -> None:
        """A message that arrived was sent, although its killed producer had not counted it: it is not unknown."""
        arrived = closed(sent=10, received=11, seen_unsent=1, killed_producers=1)
        did_not = closed(sent=10, received=10, killed_producers=1)

        assert (arrived.sent, arrived.unknown, arrived.balanced) == (11, 0, True)
        assert (did_not.sent, did_not.unknown, did_not.attempted) == (10, 1, 11)

    def test_does_not_miss_what_a_killed_consumer_counted_as_received(self) -> None:
        """A consumer killed between its two counts has received its message; without a kill the books stay wrong."""
        killed = closed(sent=10, received=10, missing=1, killed_consumers=1)
        nobody = closed(sent=10, received=10, missing=1)

        assert (killed.missing, killed.held_by_killed, killed.lost, killed.balanced) == (0, 0, 0, True)
        assert (nobody.lost, nobody.balanced) == (1, False)

    def test_passes_on_what_it_does_not_judge(self) -> None:
        """Refused, out of order and foreign messages are as they were counted."""
        ledger = closed(refused=3, out_of_order=4, foreign=5)

        assert (ledger.refused, ledger.out_of_order, ledger.foreign) == (3, 4, 5)
        assert ledger.attempted == 3

    def test_tells_books_that_do_not_balance(self) -> None:
        """A message that was received and never sent leaves the books unbalanced."""
        ledger = closed(sent=5, received=5)

        assert ledger.balanced
        assert not replace(ledger, received=6).balanced
