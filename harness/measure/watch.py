"""What the machine and some processes did between two moments, as a Disturbance.

    before = read_machine({"producer": 17, "consumer": 18})
    ...
    disturbance_between(before, read_machine(...), workers=2, cpus=4, jitter=jitter)

For the runs and the experiments. It reads by way of observe.py and throttling.py; disturbance.py
judges.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from harness.measure.disturbance import Disturbance
from harness.measure.observe import (
    CpuTimes,
    Usage,
    busy_others_share,
    read_cpu_times,
    read_usage,
    steal_share,
    worst_wait_share,
)
from harness.measure.throttling import Throttling, read_throttling

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping

    from harness.measure.jitter import Jitter

Name = TypeVar("Name", bound="Hashable")


@dataclass(frozen=True, slots=True)
class MachineReading(Generic[Name]):
    """One moment (`ns`, CLOCK_MONOTONIC); `usage` of the watched processes since their birth, by their names."""

    ns: int
    cpu: CpuTimes | None
    throttling: Throttling | None
    usage: Mapping[Name, Usage | None]


def read_machine(processes: Mapping[Name, int]) -> MachineReading[Name]:
    """Read it now, for these processes (name to process id)."""
    return MachineReading(
        ns=time.monotonic_ns(),
        cpu=read_cpu_times(),
        throttling=read_throttling(),
        usage={name: read_usage(pid) for name, pid in processes.items()},
    )


def used_between(before: MachineReading[Name], after: MachineReading[Name]) -> dict[Name, Usage | None]:
    """What each process of the first reading got of the CPU since; None where one of the two is not known."""
    used: dict[Name, Usage | None] = {}
    for name, earlier in before.usage.items():
        later = after.usage.get(name)
        used[name] = later - earlier if earlier and later else None
    return used


def disturbance_between(
    before: MachineReading[Name], after: MachineReading[Name], *, workers: int, cpus: int, jitter: Jitter | None
) -> Disturbance:
    """What else happened on the machine between two readings, beside `workers` on `cpus`."""
    used = used_between(before, after)
    steal = others = throttled = None
    if before.cpu and after.cpu:
        steal = steal_share(before.cpu, after.cpu)
        run_ns = sum(usage.run_ns or 0 for usage in used.values() if usage)
        others = busy_others_share(before.cpu, after.cpu, run_ns)
    if before.throttling and after.throttling:
        throttled = (after.throttling - before.throttling).throttled_ns
    return Disturbance(
        steal_share=steal,
        runnable_wait_share=worst_wait_share(list(used.values()), after.ns - before.ns),
        throttled_ns=throttled,
        jitter=jitter,
        workers=workers,
        cpus=cpus,
        busy_others_share=others,
    )
