"""Joins the board to the sequence checks of `measure.ledger`: which check a run needs, on which memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.measure.ledger import GapCheck, RingCheck, SequenceCheck

if TYPE_CHECKING:
    from harness.engines.layout import Board


def sequence_check(board: Board, consumer: int) -> SequenceCheck:
    """The check for one consumer: of gaps where it reads its streams alone, of rings where it shares them."""
    part = board.consumers[consumer]
    if board.shape.ringed:
        return RingCheck(part.expected, part.missed, part, board.rings)
    return GapCheck(part.expected, part.missed, part)
