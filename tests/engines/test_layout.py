"""The board: its parts never overlap, its size is that of its shape, and its words are stored whole."""

from __future__ import annotations

import multiprocessing
import os
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.engines.layout import (
    HEADER,
    HEADER_BYTES,
    LINE,
    WORD,
    Board,
    ConsumerWord,
    Control,
    ProducerWord,
    QueueWord,
    Shape,
    new_memory,
)
from harness.measure.histogram import BUCKETS
from harness.measure.ledger import RING_SIZE, generation_of

if TYPE_CHECKING:
    from collections.abc import Iterator

shapes = st.builds(
    Shape,
    producers=st.integers(1, 4),
    consumers=st.integers(0, 4),
    queues=st.integers(1, 3),
    types=st.integers(1, 20),
    ringed=st.just(value=False),
)


def board_of(shape: Shape) -> Board:
    descriptor = new_memory(shape)
    try:
        return Board(descriptor, shape)
    finally:
        os.close(descriptor)


def word_views(board: Board) -> Iterator[memoryview]:
    yield board.control
    yield from board.queues
    for producer in board.producers:
        yield from (producer.words, producer.next_number, producer.pacing)
    for consumer in board.consumers:
        yield from (consumer.words, consumer.expected, consumer.received, consumer.missed)
        yield from (*consumer.latency, consumer.service)


class TestMessage:
    def test_has_a_header_of_32_bytes(self) -> None:
        """Tag, number, intended and started: four words of 64 bits without padding."""
        assert HEADER_BYTES == HEADER.size == 32
        assert HEADER.unpack(HEADER.pack(1, 2, 3, 2**64 - 1)) == (1, 2, 3, 2**64 - 1)


class TestShape:
    @given(shapes)
    def test_has_room_for_the_named_words(self, shape: Shape) -> None:
        """The words before a worker's arrays hold every word that has a name."""
        assert len(Control) <= 2 * LINE
        assert len(QueueWord) <= LINE
        assert max(len(ProducerWord), len(ConsumerWord)) <= 2 * LINE
        assert shape.size % WORD == 0

    @given(shapes)
    def test_starts_what_a_process_writes_on_a_cache_line(self, shape: Shape) -> None:
        """No two processes write to the same 64 bytes."""
        starts = [shape.queues_at, shape.producers_at, shape.consumers_at]

        assert all(start % LINE == 0 for start in [*starts, shape.producer_words, shape.consumer_words])

    def test_does_not_know_how_long_a_run_takes(self) -> None:
        """The size is of workers, queues, types and rings; there is no time or count that it could depend on."""
        shape = Shape(producers=2, consumers=2, queues=1, types=3, ringed=True)

        assert set(Shape.__slots__) == {"producers", "consumers", "queues", "types", "ringed"}
        assert shape.size == shape.rings_at + 6 * RING_SIZE
        assert shape.size < 8 * 2**20

    def test_counts_its_streams_by_producer_and_type(self) -> None:
        """Each producer and type has a stream of its own, and together they are all there are."""
        shape = Shape(producers=3, consumers=1, queues=1, types=4, ringed=False)

        streams = [shape.stream(producer, kind) for producer in range(3) for kind in range(4)]

        assert streams == list(range(shape.streams))


class TestBoard:
    @settings(max_examples=25, deadline=None)
    @given(shapes)
    def test_has_no_two_parts_that_overlap(self, shape: Shape) -> None:
        """When each part is filled with a number of its own, each still holds that number at the end."""
        with board_of(shape) as board:
            views = list(word_views(board))
            for mark, view in enumerate(views, start=1):
                for index in range(len(view)):
                    view[index] = mark

            assert all(set(view) == {mark} for mark, view in enumerate(views, start=1))
            assert sum(map(len, views)) * WORD <= shape.rings_at
            views.clear()

    def test_has_rings_behind_the_words(self) -> None:
        """Each stream has a ring of its own, behind all words and up to the end."""
        shape = Shape(producers=2, consumers=2, queues=1, types=1, ringed=True)
        with board_of(shape) as board:
            board.consumers[-1].service[BUCKETS - 1] = 2**64 - 1

            for mark, ring in enumerate(board.rings, start=1):
                ring[0] = ring[RING_SIZE - 1] = mark

            assert [(ring[0], ring[1], ring[RING_SIZE - 1]) for ring in board.rings] == [(1, 0, 1), (2, 0, 2)]
            assert board.consumers[-1].service[BUCKETS - 1] == 2**64 - 1
            assert board.memory[shape.size - 1] == 2

    def test_is_seen_by_every_process(self) -> None:
        """What a child counts its parent reads, also after the child has gone."""
        shape = Shape(producers=1, consumers=2, queues=1, types=1, ringed=False)
        with board_of(shape) as board:

            def count() -> None:
                board.consumers[1].expected[0] = 7
                os._exit(0)

            child = multiprocessing.get_context("fork").Process(target=count)
            child.start()
            child.join()

            assert child.exitcode == 0
            assert board.received == board.received_of(0) == 7

    def test_counts_what_came(self) -> None:
        """Where one consumer reads a stream, all below the expected number came but what it missed, and duplicates."""
        shape = Shape(producers=1, consumers=1, queues=1, types=2, ringed=False)
        with board_of(shape) as board:
            board.producers[0].next_number[1] = 50
            board.consumers[0].expected[1] = 40
            board.consumers[0].missed[1] = 3
            board.consumers[0].duplicated = 2

            assert (board.received_of(0), board.received_of(1), board.received) == (0, 37, 39)
            assert board.unreceived(0) == 13

    def test_counts_what_came_to_several(self) -> None:
        """Where several consumers read a stream, each counts what came to it."""
        shape = Shape(producers=1, consumers=2, queues=1, types=1, ringed=True)
        with board_of(shape) as board:
            board.producers[0].next_number[0] = 50
            for consumer, count in zip(board.consumers, (30, 15), strict=True):
                consumer.received[0] = count
                consumer.expected[0] = 47

            assert (board.received_of(0), board.received, board.unreceived(0)) == (45, 45, 5)

    def test_stores_words_whole(self) -> None:
        """A reader never sees part of a store: only what was there before, or what is there now."""
        shape = Shape(producers=1, consumers=1, queues=1, types=1, ringed=False)
        low, high, last = 0, 2**64 - 1, 2**63
        with board_of(shape) as board:

            def write() -> None:
                words = board.consumers[0].words
                while not board.control[Control.STOP]:
                    words[ConsumerWord.LAST_RECEIVE_NS] = high
                    words[ConsumerWord.LAST_RECEIVE_NS] = low
                words[ConsumerWord.LAST_RECEIVE_NS] = last
                os._exit(0)

            child = multiprocessing.get_context("fork").Process(target=write)
            child.start()
            words = board.consumers[0].words
            seen = {words[ConsumerWord.LAST_RECEIVE_NS] for _ in range(300_000)}
            board.control[Control.STOP] = 1
            child.join()

            assert seen <= {low, high}
            assert words[ConsumerWord.LAST_RECEIVE_NS] == last

    def test_reads_its_histograms_together(self) -> None:
        """Latencies add up over consumers, of one type or all; service and pacing likewise."""
        shape = Shape(producers=2, consumers=2, queues=1, types=2, ringed=False)
        with board_of(shape) as board:
            for consumer in board.consumers:
                consumer.latency[0][3] = 1
                consumer.latency[1][4] = 10
                consumer.service[5] = 100
            board.producers[0].pacing[6] = board.producers[1].pacing[6] = 1000

            assert list(board.latency(0).buckets()) == [(3, 3, 2)]
            assert list(board.latency(1).buckets()) == [(4, 4, 20)]
            assert list(board.latency().buckets()) == [(3, 3, 2), (4, 4, 20)]
            assert list(board.service().buckets()) == [(5, 5, 200)]
            assert list(board.pacing().buckets()) == [(6, 6, 2000)]

    def test_finds_what_is_missing_of_a_stream(self) -> None:
        """Missing is what was passed over and what lies behind the last one, whoever of the consumers reads it."""
        shape = Shape(producers=2, consumers=2, queues=1, types=2, ringed=False)
        stream = shape.stream(1, 1)
        with board_of(shape) as board:
            board.producers[1].next_number[1] = 100
            board.consumers[1].expected[stream] = 90
            board.consumers[1].missed[stream] = 3

            assert [board.missing(index) for index in range(4)] == [0, 0, 0, 13]
            assert board.seen_unsent(stream) == 0

    def test_finds_what_arrived_uncounted(self) -> None:
        """A number above what the producer counted was sent: it is seen unsent, and not missing."""
        shape = Shape(producers=1, consumers=1, queues=1, types=1, ringed=False)
        with board_of(shape) as board:
            board.producers[0].next_number[0] = 5
            board.consumers[0].expected[0] = 6

            assert (board.seen_unsent(0), board.missing(0)) == (1, 0)

    @pytest.mark.parametrize("late", [0, 2, 5])
    def test_adds_up_what_ringed_consumers_passed_over(self, late: int) -> None:
        """A consumer's late arrivals take back what another one passed over, also where its own word is below 0."""
        shape = Shape(producers=1, consumers=2, queues=1, types=1, ringed=True)
        with board_of(shape) as board:
            board.producers[0].next_number[0] = RING_SIZE
            board.rings[0][:] = bytes([generation_of(0)]) * RING_SIZE
            board.consumers[0].missed[0] = 3
            board.consumers[1].missed[0] = (0 - late) % 2**64

            assert board.missing(0) == 3 - late
