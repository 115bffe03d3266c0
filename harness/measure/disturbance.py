"""Was the machine quiet while we measured? Reads what the kernel says about it, and argues with the figures.

For the runs, which read before and after and keep a `Disturbance` in the result, and for the displays, which show
its verdict, its reasons and the next thing to try. It changes nothing on the machine.

Each reader takes `root`, the directory that stands for "/", and returns None for what cannot be read there (another
system, a container that hides it, a kernel without it). None is kept as null, and then nothing is called clean. The
limits are those of MEASURING:

    steal                    over 0.5 % of the CPUs' time: the hypervisor ran others
    runnable but waiting     over 1 % of the time, for a worker, while there are no more workers than CPUs
    throttled                at all: the cgroup's CPU limit stopped us

The verdict, the first that holds of:

    disturbed        a source is over its limit; waiting does not count while there are more workers than CPUs
    oversubscribed   more workers than CPUs: some always wait, whatever the rest of the machine does
    unknown          a source could not be read
    clean            all were read, and none is over its limit

So a disturbance that was seen outranks what the plan itself asks for, and both outrank what was not seen.
"""

from __future__ import annotations

import os
import time
from dataclasses import asdict, dataclass
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

STEAL_LIMIT: Final = 0.005
"""Share of the CPUs' time above which steal disturbs."""

WAIT_LIMIT: Final = 0.01
"""Share of its time above which a worker that is runnable but waits is disturbed."""

LONG_GAP_NS: Final = 10_000
"""A gap between two readings of the clock above this is time lost: the loop itself takes some 100 ns."""

Verdict: TypeAlias = Literal["clean", "disturbed", "oversubscribed", "unknown"]

_ROOT: Final = Path("/")


def _text(path: Path) -> str | None:
    """The file's text, or None: a missing file, a process that has ended and a refusal all mean "not to be read"."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None


def _fields(text: str) -> dict[str, int]:
    """The lines "name: 12 kB", "name:<tab>12" and "name 12" as numbers; other lines are left out."""
    fields = {}
    for line in text.splitlines():
        words = line.replace(":", " ", 1).split()
        if len(words) > 1 and words[1].isdecimal():
            fields[words[0]] = int(words[1])
    return fields


def _minus(after: int | None, before: int | None) -> int | None:
    return None if after is None or before is None else after - before


# The CPUs: /proc/stat


@dataclass(frozen=True, slots=True)
class CpuTimes:
    """What all CPUs together have done since boot, in USER_HZ jiffies (proc_stat(5))."""

    total: int
    busy: int
    steal: int

    def __sub__(self, earlier: CpuTimes) -> CpuTimes:
        return CpuTimes(self.total - earlier.total, self.busy - earlier.busy, self.steal - earlier.steal)


def read_cpu_times(root: Path = _ROOT) -> CpuTimes | None:
    """The CPUs' times since boot, of the first line of /proc/stat (proc_stat(5)); None when it cannot be read."""
    lines = (_text(root / "proc/stat") or "").splitlines()
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


# A worker: /proc/PID


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

    def wait_share(self, elapsed_ns: int) -> float | None:
        """Share of `elapsed_ns` in which the process was runnable but waited for a CPU; None when not known."""
        return None if self.wait_ns is None or elapsed_ns <= 0 else self.wait_ns / elapsed_ns


def read_usage(pid: int, root: Path = _ROOT) -> Usage | None:
    """What process `pid` has got of the CPU since it began; None when there is no such process to be read.

    Both files tell of the process's main thread only: right for workers, which have no other. Times are those of
    schedstat (Documentation/scheduler/sched-stats.rst), brought up to date at the scheduler's ticks; switches those
    of status (proc_pid_status(5)).
    """
    status = _text(root / f"proc/{pid}/status")
    schedstat = (_text(root / f"proc/{pid}/schedstat") or "").split()
    if status is None and not schedstat:
        return None
    run_ns = wait_ns = None
    # run time, waiting time, slices; three zeros mean no accounting (proc_pid_schedstat in the kernel's fs/proc/base.c)
    if len(schedstat) == 3 and all(word.isdecimal() for word in schedstat) and any(map(int, schedstat)):  # noqa: PLR2004
        run_ns, wait_ns = int(schedstat[0]), int(schedstat[1])
    fields = _fields(status or "")
    return Usage(run_ns, wait_ns, fields.get("voluntary_ctxt_switches"), fields.get("nonvoluntary_ctxt_switches"))


def worst_wait_share(usages: Iterable[Usage | None], elapsed_ns: int) -> float | None:
    """The largest share of `elapsed_ns` in which one of the workers was runnable but waited for a CPU.

    None when it is not known of every worker, or there are none: the one that is not known may be the worst.
    """
    shares = [None if usage is None else usage.wait_share(elapsed_ns) for usage in usages]
    known = [share for share in shares if share is not None]
    return max(known) if known and len(known) == len(shares) else None


def read_pss_bytes(pid: int, root: Path = _ROOT) -> int | None:
    """Memory of process `pid` in bytes, shared pages divided among their users (PSS, proc_pid_smaps(5)); or None."""
    pss_kib = _fields(_text(root / f"proc/{pid}/smaps_rollup") or "").get("Pss")
    return None if pss_kib is None else pss_kib * 1024


# The cgroup, the clock


@dataclass(frozen=True, slots=True)
class Throttling:
    """How often, and for how long in ns, the CPU limit of our cgroup or of one above it stopped its processes."""

    times: int
    throttled_ns: int

    def __sub__(self, earlier: Throttling) -> Throttling:
        return Throttling(self.times - earlier.times, self.throttled_ns - earlier.throttled_ns)


def read_throttling(root: Path = _ROOT) -> Throttling | None:
    """Throttling since our cgroup was made, it and those above it added up; None without cgroup v2's cpu.stat.

    A limit on any group above stops us too, so each that can be seen is read. A group without the CPU controller has
    no nr_throttled, and cannot throttle (Documentation/admin-guide/cgroup-v2.rst). Where v1 has the controller: None.
    """
    own = None
    for line in (_text(root / "proc/self/cgroup") or "").splitlines():
        hierarchy, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if "cpu" in controllers.split(","):
            return None
        if hierarchy == "0":
            own = path
    # ".." leads out of the cgroup namespace, to a group that is not to be seen from here
    if own is None or ".." in own.split("/"):
        return None
    top = root / "sys/fs/cgroup"
    group = top / own.strip("/")
    if _text(group / "cpu.stat") is None:
        return None
    times = throttled_us = 0
    for directory in (group, *group.parents):
        fields = _fields(_text(directory / "cpu.stat") or "")
        times += fields.get("nr_throttled", 0)
        throttled_us += fields.get("throttled_usec", 0)
        if directory == top:
            break
    return Throttling(times, throttled_us * 1000)


def read_clock_source(root: Path = _ROOT) -> str | None:
    """What the kernel reads its clock from ("tsc", "kvm-clock", ...), or None; "hpet" needs a system call."""
    text = _text(root / "sys/devices/system/clocksource/clocksource0/current_clocksource")
    return (text or "").strip() or None


# The jitter baseline


@dataclass(frozen=True, slots=True)
class Jitter:
    """Gaps between readings of the clock in a loop that does nothing else, and the share of time in long gaps."""

    duration_ns: int
    gaps: int
    median_ns: int
    p99_ns: int
    max_ns: int
    lost_share: float


def jitter_baseline(duration_ns: int = 50_000_000, clock: Callable[[], int] = time.monotonic_ns) -> Jitter:
    """Read `clock` (ns) in a loop for `duration_ns`: what the machine does to a process that only wants to run.

    Taken before a run, on a CPU that the run will use. Gaps over LONG_GAP_NS count as lost. Raises ValueError when
    `duration_ns` is not above 0.
    """
    if duration_ns <= 0:
        raise ValueError(f"a jitter baseline takes time, not {duration_ns} ns")
    # counted, not listed: gaps repeat, and a list of them would grow and make gaps of its own
    counts: dict[int, int] = {}
    start = before = clock()
    end = start + duration_ns
    while before < end:
        now = clock()
        counts[now - before] = counts.get(now - before, 0) + 1
        before = now
    gaps = sum(counts.values())
    lost_ns = sum(gap * count for gap, count in counts.items() if gap > LONG_GAP_NS)
    return Jitter(
        duration_ns=before - start,
        gaps=gaps,
        median_ns=_ranked(counts, ceil(gaps / 2)),
        p99_ns=_ranked(counts, ceil(gaps * 99 / 100)),
        max_ns=max(counts),
        lost_share=lost_ns / (before - start),
    )


def _ranked(counts: dict[int, int], rank: int) -> int:
    """The value of this rank, counted from 1, among values that come `counts` times."""
    for value, count in sorted(counts.items()):
        rank -= count
        if rank <= 0:
            return value
    raise AssertionError("a rank is at most the number of values")


# The verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Disturbance:
    """What was seen of the machine during a run; None for what could not be read.

    `steal_share`, `runnable_wait_share` (of the worst worker) and `busy_others_share` are shares from 0 to 1;
    `throttled_ns` is during the run; `jitter` is from before it, has no limit, but keeps the verdict from being clean
    when it is None, as any missing source does. `busy_others_share` decides nothing and only tells where to look.
    """

    steal_share: float | None
    runnable_wait_share: float | None
    throttled_ns: int | None
    jitter: Jitter | None
    workers: int
    cpus: int
    busy_others_share: float | None = None

    @property
    def verdict(self) -> Verdict:
        """One word; the module's docstring says which comes first."""
        if self._disturbances():
            return "disturbed"
        if self._oversubscribed:
            return "oversubscribed"
        return "unknown" if self._unknown() else "clean"

    @property
    def reasons(self) -> list[str]:
        """A sentence for each thing that keeps the run from being clean, with its figure and its limit."""
        oversubscription = f"{self.workers} workers share {self.cpus} CPUs, so that some always wait."
        unknown = [f"{source} could not be read." for source in self._unknown()]
        return [*self._disturbances().values(), *([oversubscription] if self._oversubscribed else []), *unknown]

    @property
    def next_step(self) -> str:
        """A sentence: the next thing to try."""
        if self.verdict == "unknown":
            return "Repeat the run and compare medians, or run where the kernel shows what is missing, as in the VM."
        if self.verdict == "oversubscribed":
            return f"Use at most {self.cpus} workers here, or a machine with {self.workers} CPUs."
        for source in self._disturbances():
            return self._remedy(source)
        return "Nothing: the machine was quiet."

    def to_json(self) -> dict[str, Any]:
        """The verdict with its reasons and next step, and all that they rest on."""
        return {"verdict": self.verdict, "reasons": self.reasons, "next_step": self.next_step, **asdict(self)}

    @property
    def _oversubscribed(self) -> bool:
        return self.workers > self.cpus

    def _disturbances(self) -> dict[str, str]:
        """Each source that is over its limit, with its sentence; what is surest to remedy comes first."""
        seen = {}
        if self.throttled_ns:
            seen["throttled"] = f"The cgroup's CPU limit stopped us for {self.throttled_ns / 1e6:.3g} ms (limit: 0 ms)."
        if self.steal_share is not None and self.steal_share > STEAL_LIMIT:
            seen["steal"] = (
                f"The hypervisor took {self.steal_share:.2%} of the CPUs' time for others (limit: {STEAL_LIMIT:.1%})."
            )
        waited = self.runnable_wait_share
        if waited is not None and waited > WAIT_LIMIT and not self._oversubscribed:
            seen["waiting"] = f"A worker was runnable but waited {waited:.2%} of the time (limit: {WAIT_LIMIT:.1%})."
        return seen

    def _unknown(self) -> list[str]:
        """The sources that could not be read, as sentences begin with them."""
        sources = {
            "Throttling by the cgroup": self.throttled_ns,
            "Steal": self.steal_share,
            "How long workers waited for a CPU": self.runnable_wait_share,
            "The jitter baseline": self.jitter,
        }
        return [source for source, figure in sources.items() if figure is None]

    def _remedy(self, source: str) -> str:
        if source == "throttled":
            return "Raise or remove the cgroup's CPU limit (cpu.max), or ask for a lower rate, and run again."
        if source == "steal":
            return "Stop the host's other virtual machines, or run when they are idle, and run again."
        if self.busy_others_share is None:
            return "Stop what else runs on this machine, or use fewer workers, and run again."
        return (
            f"Stop what else runs on this machine (it took {self.busy_others_share:.0%} of the CPUs), "
            "or use fewer workers, and run again."
        )
