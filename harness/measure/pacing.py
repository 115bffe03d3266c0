"""When each message of an open loop is due. Used by the plan (how many are due) and by both engines (when).

The arithmetic is one double multiplication, the same in Python and in C, so that both engines send message k
at the same nanosecond. The period is never rounded: at 300k messages/s a period cut to 3,333 ns would send
100 messages a second too many. A double is exact to under 1 ns for runs of up to 104 days (2**53 ns).
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import ceil

NS_PER_S = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Schedule:
    """The due times of one producer out of `producers`, which share `rate` messages/s between them.

    Message k of producer p is due at `(k * producers + p) / rate` seconds after t0; k is negative in the warm-up.
    """

    rate: Fraction
    producers: int
    producer: int

    @property
    def period_ns(self) -> float:
        """Time between two messages of the whole crew, in ns."""
        return float(NS_PER_S / self.rate)

    def offset_ns(self, k: int) -> int:
        """When message k is due, in ns after t0."""
        return int((k * self.producers + self.producer) * self.period_ns)

    def due(self, duration_ns: int) -> int:
        """How many messages of this producer are due in [0, duration_ns)."""
        slots = ceil(Fraction(duration_ns) * self.rate / NS_PER_S)  # of the whole crew
        return max(0, -(-(slots - self.producer) // self.producers))

    def share(self, count: int) -> int:
        """How many of the crew's first `count` messages are this producer's."""
        return max(0, -(-(count - self.producer) // self.producers))

    def warmup(self, warmup_ns: int) -> int:
        """How many messages this producer sends in a warm-up of `warmup_ns` before t0."""
        return int(Fraction(warmup_ns) * self.rate / NS_PER_S / self.producers)
