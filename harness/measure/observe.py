"""What the kernel says of the CPUs, of a process and of the clock: figures since boot or birth, and their differences.

For the runs, which read before and after and make a `Disturbance` of the differences. It judges nothing: the limits
and the verdict are in disturbance.py. What cannot be read (another system, a container that hides it, a kernel
without it) is None.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from harness.measure.kernel_files import ROOT, parse_fields, read_text

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

# The CPUs: /proc/stat


@dataclass(frozen=True, slots=True)
class CpuTimes:
    """What all CPUs together have done since boot, in USER_HZ jiffies (proc_stat(5))."""

    total: int
    busy: int
    steal: int

    def __sub__(self, earlier: CpuTimes) -> CpuTimes:
        return CpuTimes(self.total - earlier.total, self.busy - earlier.busy, self.steal - earlier.steal)


def read_cpu_times(root: Path = ROOT) -> CpuTimes | None:
    """The CPUs' times since boot, of the first line of /proc/stat (proc_stat(5)); None when it cannot be read."""
    lines = (read_text(root / "proc/stat") or "").splitlines()
    words = lines[0].split() if lines else []
    # user nice system idle iowait irq softirq steal; guest times follow, and are in user and nice already
    if len(words) < 9 or words[0] != "cpu" or not all(word.isdecimal() for word in words[1:9]):  # noqa: PLR2004
        return None
    user, nice, system, idle, iowait, irq, softirq, steal = map(int, words[1:9])
    busy = user + nice + system + irq + softirq
    return CpuTimes(total=busy + idle + iowait + steal, busy=busy, steal=steal)


def steal_share(before: CpuTimes | None, after: CpuTimes | None) -> float | None:
    """Share of the CPUs' time between two readings in which the hypervisor ran others; 0 to 1.

    None when a reading is missing or no jiffy (10 ms) passed. A hypervisor that does not tell its guest gives 0.
    """
    if before is None or after is None or (passed := after - before).total <= 0:
        return None
    return max(passed.steal, 0) / passed.total


def busy_others_share(
    before: CpuTimes | None, after: CpuTimes | None, own_run_ns: int | None, jiffies_per_s: int | None = None
) -> float | None:
    """Share of the CPUs' time between two readings in which they ran what is not ours; 0 to 1.

    `own_run_ns` is the CPU time of all our processes together; `jiffies_per_s` is USER_HZ, the system's own when
    left out. None when a reading is missing or no jiffy passed.
    """
    if before is None or after is None or own_run_ns is None or (passed := after - before).total <= 0:
        return None
    own_jiffies = own_run_ns * (jiffies_per_s or os.sysconf("SC_CLK_TCK")) / 1e9
    return max(passed.busy - own_jiffies, 0.0) / passed.total


def _minus(after: int | None, before: int | None) -> int | None:
    return None if after is None or before is None else after - before


# A worker: /proc/PID


WAKE_UP_NS: Final = 2_000
"""What waking up takes of a sleeper's time by itself: seen were 1.0 us a wake-up with nothing else running."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What a process got of the CPU: times in ns, context switches as counts; None for what could not be read."""

    run_ns: int | None
    wait_ns: int | None
    voluntary: int | None
    involuntary: int | None

    def __sub__(self, earlier: Usage) -> Usage:
        return Usage(
            run_ns=_minus(self.run_ns, earlier.run_ns),
            wait_ns=_minus(self.wait_ns, earlier.wait_ns),
            voluntary=_minus(self.voluntary, earlier.voluntary),
            involuntary=_minus(self.involuntary, earlier.involuntary),
        )

    @property
    def switches(self) -> int | None:
        """Context switches of both kinds; None when not known."""
        return None if self.voluntary is None or self.involuntary is None else self.voluntary + self.involuntary

    def cpu_share(self, elapsed_ns: int) -> float | None:
        """Share of `elapsed_ns` in which the process ran; None when not known."""
        return None if self.run_ns is None or elapsed_ns <= 0 else self.run_ns / elapsed_ns

    def wait_share(self, elapsed_ns: int) -> float | None:
        """Share of `elapsed_ns` in which the process was runnable but waited for a CPU; None when not known.

        Every wake-up costs a moment of that by itself, on an idle machine too: `WAKE_UP_NS` for each is taken off, so
        that a consumer which sleeps 20,000 times a second does not look disturbed.
        """
        if self.wait_ns is None or elapsed_ns <= 0:
            return None
        return max(0, self.wait_ns - (self.voluntary or 0) * WAKE_UP_NS) / elapsed_ns


def read_usage(pid: int, root: Path = ROOT) -> Usage | None:
    """What process `pid` has got of the CPU since it began; None when there is no such process to be read.

    Both files tell of the process's main thread only: right for workers, which have no other. Times are those of
    schedstat (Documentation/scheduler/sched-stats.rst), brought up to date at the scheduler's ticks; switches those
    of status (proc_pid_status(5)).
    """
    status = read_text(root / f"proc/{pid}/status")
    schedstat = (read_text(root / f"proc/{pid}/schedstat") or "").split()
    if status is None and not schedstat:
        return None
    run_ns = wait_ns = None
    # run time, waiting time, slices; three zeros mean no accounting (proc_pid_schedstat in the kernel's fs/proc/base.c)
    if len(schedstat) == 3 and all(word.isdecimal() for word in schedstat) and any(map(int, schedstat)):  # noqa: PLR2004
        run_ns, wait_ns = int(schedstat[0]), int(schedstat[1])
    fields = parse_fields(status or "")
    return Usage(run_ns, wait_ns, fields.get("voluntary_ctxt_switches"), fields.get("nonvoluntary_ctxt_switches"))


def worst_wait_share(usages: Iterable[Usage | None], elapsed_ns: int) -> float | None:
    """The largest share of `elapsed_ns` in which one of the workers was runnable but waited for a CPU.

    None when it is not known of every worker, or there are none: the one that is not known may be the worst.
    """
    shares = [None if usage is None else usage.wait_share(elapsed_ns) for usage in usages]
    known = [share for share in shares if share is not None]
    return max(known) if known and len(known) == len(shares) else None


def read_pss_bytes(pid: int, root: Path = ROOT) -> int | None:
    """Memory of process `pid` in bytes, shared pages divided among their users (PSS, proc_pid_smaps(5)); or None."""
    pss_kib = parse_fields(read_text(root / f"proc/{pid}/smaps_rollup") or "").get("Pss")
    return None if pss_kib is None else pss_kib * 1024


# The clock


def read_clock_source(root: Path = ROOT) -> str | None:
    """What the kernel reads its clock from ("tsc", "kvm-clock", ...), or None; "hpet" needs a system call."""
    text = read_text(root / "sys/devices/system/clocksource/clocksource0/current_clocksource")
    return (text or "").strip() or None
