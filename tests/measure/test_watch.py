"""Two readings of the machine and of some processes, and the disturbance between them."""

from __future__ import annotations

import os

from harness.measure.observe import CpuTimes, Usage
from harness.measure.watch import MachineReading, disturbance_between, read_machine, used_between


def reading(ns: int, cpu: CpuTimes | None, **usage: Usage | None) -> MachineReading[str]:
    return MachineReading(ns=ns, cpu=cpu, throttling=None, usage=usage)


def test_this_process_is_read() -> None:
    """A living process has a usage under its name, and one that is not there has none."""
    found = read_machine({"me": os.getpid(), "nobody": 2**22 + 1})

    assert found.usage["me"] is not None
    assert found.usage["nobody"] is None


def test_what_was_used_is_the_difference() -> None:
    """The usage between two readings is later minus earlier, and None for who is missing in one."""
    before = reading(0, None, a=Usage(10, 1, 5, 0), b=Usage(1, 1, 1, 1))
    after = reading(1000, None, a=Usage(110, 3, 7, 1))

    assert used_between(before, after) == {"a": Usage(100, 2, 2, 1), "b": None}


def test_steal_and_waiting_are_shares_of_the_time_between() -> None:
    """Of 100 jiffies 2 were stolen; the worst process waited for a tenth of the time."""
    before = reading(0, CpuTimes(total=1000, busy=500, steal=0), a=Usage(0, 0, 0, 0), b=Usage(0, 0, 0, 0))
    after = reading(1_000_000, CpuTimes(total=1100, busy=550, steal=2), a=Usage(1, 0, 0, 0), b=Usage(1, 100_000, 0, 0))

    found = disturbance_between(before, after, workers=2, cpus=2, jitter=None)

    assert (found.steal_share, found.runnable_wait_share, found.throttled_ns) == (0.02, 0.1, None)
    assert found.verdict == "disturbed"


def test_what_could_not_be_read_is_none() -> None:
    """Without /proc/stat in one reading there is no share of steal, and none of others."""
    found = disturbance_between(reading(0, None), reading(10, CpuTimes(1, 1, 0)), workers=1, cpus=1, jitter=None)

    assert (found.steal_share, found.busy_others_share) == (None, None)
