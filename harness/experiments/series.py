"""What a run looked like over time: rows of counts, at most 1,200 of them, however long the run takes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

MOST_ROWS = 1200
FIRST_WIDTH_S = 0.1
COLUMNS = ("t_s", "sent", "received", "refused", "behind", "depth")


@dataclass(frozen=True, slots=True)
class Sample:
    """Counts since the processes started, at `t_s` seconds after t0 (negative in the warm-up).

    `behind` is how many messages are due and not sent (None without a rate), `depth` how many lie in the queues.
    """

    t_s: float
    sent: int
    received: int
    refused: int
    behind: int | None
    depth: int


class Timed(Protocol):
    """A sample of anything, taken at `t_s` seconds after t0."""

    @property
    def t_s(self) -> float:
        """When."""
        ...


S = TypeVar("S", bound=Timed)


@dataclass(slots=True)
class Samples(Generic[S]):
    """Samples at a regular width; when the rows are full, every second one goes and the width doubles."""

    width_s: float = FIRST_WIDTH_S
    samples: list[S] = field(default_factory=list)

    def due(self, t_s: float) -> bool:
        """Whether the next row's time has come."""
        return not self.samples or t_s >= self.samples[-1].t_s + self.width_s * 0.999

    def add(self, sample: S) -> None:
        """Append a sample; halves the rows first when they are full."""
        if len(self.samples) > MOST_ROWS:
            # The first sample is where the counting starts; it stays.
            self.samples[1:] = self.samples[2::2]
            self.width_s *= 2
            if not self.due(sample.t_s):
                return
        self.samples.append(sample)

    def finish(self, sample: S) -> None:
        """Append the last sample, whether its time has come or not: a short run has a row too."""
        if len(self.samples) > MOST_ROWS:
            self.samples.pop()
        self.samples.append(sample)

    def window(self, end_s: float) -> list[S]:
        """The samples within [0, end_s]."""
        return [sample for sample in self.samples if 0 <= sample.t_s <= end_s]


@dataclass(slots=True)
class Series(Samples[Sample]):
    """The samples of a load on a queue."""

    def to_json(self) -> dict[str, Any]:
        """Rows of what happened since the row before; `behind` and `depth` are states at the row's end."""
        rows = [
            [
                round(now.t_s, 4),
                now.sent - before.sent,
                now.received - before.received,
                now.refused - before.refused,
                now.behind,
                now.depth,
            ]
            for before, now in zip(self.samples, self.samples[1:], strict=False)
        ]
        return {"width_s": self.width_s, "columns": list(COLUMNS), "rows": rows}
