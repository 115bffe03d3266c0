"""What the kernel's files say is read as its man pages say; what they do not say is unknown; the verdict follows."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from itertools import chain, count, repeat
from typing import TYPE_CHECKING

import pytest

from harness.measure.disturbance import (
    CpuTimes,
    Disturbance,
    Jitter,
    Throttling,
    Usage,
    busy_others_share,
    jitter_baseline,
    read_clock_source,
    read_cpu_times,
    read_pss_bytes,
    read_throttling,
    read_usage,
    steal_share,
    worst_wait_share,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

QUIET = Disturbance(
    steal_share=0.0,
    runnable_wait_share=0.0,
    throttled_ns=0,
    jitter=Jitter(duration_ns=50_000_000, gaps=500_000, median_ns=90, p99_ns=150, max_ns=9_000, lost_share=0.0),
    workers=2,
    cpus=2,
)


@pytest.fixture(name="write")
def fixture_write(tmp_path: Path) -> Callable[[str, str], None]:
    def write(path: str, text: str) -> None:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)

    return write


class TestCpuTimes:
    def test_are_read_without_guests(self, tmp_path: Path, write: Callable[[str, str], None]) -> None:
        """The total is of the first eight times: a guest's are in user and nice already."""
        write("proc/stat", "cpu  100 20 30 400 50 6 7 8 90 10\ncpu0 1 1 1 1 1 1 1 1 1 1\n")

        assert read_cpu_times(tmp_path) == CpuTimes(total=621, busy=163, steal=8)

    @pytest.mark.parametrize("text", [None, "", "intr 1 2 3 4 5 6 7 8 9\n", "cpu 1 2 3\n", "cpu a b c d e f g h\n"])
    def test_that_cannot_be_read_are_none(
        self, text: str | None, tmp_path: Path, write: Callable[[str, str], None]
    ) -> None:
        """A missing or strange /proc/stat is None."""
        if text is not None:
            write("proc/stat", text)

        assert read_cpu_times(tmp_path) is None

    def test_give_steal_of_all_time(self) -> None:
        """Steal is its share of all jiffies between two readings."""
        before, after = CpuTimes(total=1000, busy=500, steal=10), CpuTimes(total=1200, busy=600, steal=12)

        assert steal_share(before, after) == 0.01

    def test_give_no_steal_without_two_readings(self) -> None:
        """Without both readings, or with no time between them, steal is None; and it is never negative."""
        reading = CpuTimes(total=1000, busy=500, steal=10)

        assert steal_share(None, reading) is None
        assert steal_share(reading, None) is None
        assert steal_share(reading, reading) is None
        assert steal_share(reading, CpuTimes(total=1100, busy=500, steal=9)) == 0

    def test_give_what_others_took(self) -> None:
        """What others took is the busy time that is not ours; it is never negative, and None when ours is unknown."""
        before, after = CpuTimes(total=0, busy=0, steal=0), CpuTimes(total=200, busy=150, steal=0)

        assert busy_others_share(before, after, own_run_ns=10**9, jiffies_per_s=100) == 0.25
        assert busy_others_share(before, after, own_run_ns=2 * 10**9, jiffies_per_s=100) == 0
        assert busy_others_share(before, after, own_run_ns=None) is None
        assert busy_others_share(before, before, own_run_ns=0) is None
        assert busy_others_share(before, after, own_run_ns=0) == 0.75


class TestUsage:
    def test_is_of_schedstat_and_status(self, tmp_path: Path, write: Callable[[str, str], None]) -> None:
        """Times come from schedstat, context switches from status."""
        write("proc/7/schedstat", "5000 300 12\n")
        write("proc/7/status", "Name:\tpython\nvoluntary_ctxt_switches:\t40\nnonvoluntary_ctxt_switches:\t2\n")

        assert read_usage(7, tmp_path) == Usage(run_ns=5000, wait_ns=300, voluntary=40, involuntary=2)

    @pytest.mark.parametrize("schedstat", ["0 0 0\n", "", "1 2\n", "a b c\n"])
    def test_without_accounting_is_unknown(
        self, schedstat: str, tmp_path: Path, write: Callable[[str, str], None]
    ) -> None:
        """A kernel that accounts nothing answers three zeros: the times are unknown, not 0."""
        write("proc/7/schedstat", schedstat)
        write("proc/7/status", "Name:\tpython\n")

        assert read_usage(7, tmp_path) == Usage(run_ns=None, wait_ns=None, voluntary=None, involuntary=None)

    def test_of_a_young_process_is_known(self, tmp_path: Path, write: Callable[[str, str], None]) -> None:
        """A process that has not yet met a tick has no times, but a slice: that is known."""
        write("proc/7/schedstat", "0 0 1\n")

        assert read_usage(7, tmp_path) == Usage(run_ns=0, wait_ns=0, voluntary=None, involuntary=None)

    def test_of_no_process_is_none(self, tmp_path: Path) -> None:
        """A process that has ended has no usage."""
        assert read_usage(7, tmp_path) is None

    def test_differences_keep_what_is_unknown(self) -> None:
        """A difference is of each field, and unknown where one of the readings is."""
        after, before = Usage(50, 40, None, 3), Usage(20, 30, 1, None)

        assert after - before == Usage(30, 10, None, None)

    def test_worst_wait_is_of_the_worker_that_waited_most(self) -> None:
        """The worst worker counts; when one is unknown, so is the worst."""
        workers = [Usage(90, wait_ns, 0, 0) for wait_ns in (1, 5, 2)]

        assert worst_wait_share(workers, elapsed_ns=100) == 0.05
        assert worst_wait_share([*workers, None], elapsed_ns=100) is None
        assert worst_wait_share([*workers, Usage(90, None, 0, 0)], elapsed_ns=100) is None
        assert worst_wait_share([], elapsed_ns=100) is None
        assert worst_wait_share(workers, elapsed_ns=0) is None

    def test_of_this_process_is_there(self) -> None:
        """This very process has a memory size, and context switches that do not go back."""
        before = read_usage(os.getpid())
        after = read_usage(os.getpid())

        assert before is not None
        assert after is not None
        assert (after - before).voluntary is not None
        assert (after.voluntary or 0) >= (before.voluntary or 0)
        assert (read_pss_bytes(os.getpid()) or 0) > 2**20
        assert read_cpu_times() is not None


class TestMemory:
    def test_is_pss_in_bytes(self, tmp_path: Path, write: Callable[[str, str], None]) -> None:
        """The memory is PSS, not RSS nor a part of PSS, in bytes."""
        write(
            "proc/7/smaps_rollup",
            "00400000-7ffd [rollup]\nRss:     1704 kB\nPss:      480 kB\nPss_Dirty:  116 kB\n",
        )

        assert read_pss_bytes(7, tmp_path) == 480 * 1024
        assert read_pss_bytes(8, tmp_path) is None


class TestThrottling:
    def test_is_of_the_group_and_those_above(self, tmp_path: Path, write: Callable[[str, str], None]) -> None:
        """A limit on any group above stops us too, so all are added up; a group without the controller adds nothing."""
        write("proc/self/cgroup", "0::/outer/inner/leaf\n")
        write("sys/fs/cgroup/cpu.stat", "usage_usec 9\n")
        write("sys/fs/cgroup/outer/cpu.stat", "usage_usec 9\nnr_periods 9\nnr_throttled 2\nthrottled_usec 500\n")
        write("sys/fs/cgroup/outer/inner/cpu.stat", "usage_usec 9\nnr_periods 9\nnr_throttled 1\nthrottled_usec 30\n")
        write("sys/fs/cgroup/outer/inner/leaf/cpu.stat", "usage_usec 9\n")
        write("sys/fs/cpu.stat", "nr_throttled 1000\nthrottled_usec 1000\n")

        assert read_throttling(tmp_path) == Throttling(times=3, throttled_ns=530_000)

    def test_of_a_container_s_root_is_read(self, tmp_path: Path, write: Callable[[str, str], None]) -> None:
        """In a cgroup namespace our own group is the root, and has a limit all the same."""
        write("proc/self/cgroup", "0::/\n")
        write("sys/fs/cgroup/cpu.stat", "nr_throttled 2\nthrottled_usec 5\n")

        assert read_throttling(tmp_path) == Throttling(times=2, throttled_ns=5000)

    @pytest.mark.parametrize(
        "cgroup",
        [
            None,
            "",
            "3:cpu,cpuacct:/\n0::/\n",
            "1:name=systemd:/\n",
            "0::/../other\n",
            "0::/gone\n",
        ],
    )
    def test_without_version_2_is_none(
        self, cgroup: str | None, tmp_path: Path, write: Callable[[str, str], None]
    ) -> None:
        """Without a cgroup, with the controller in version 1, or with a group out of sight, throttling is unknown."""
        write("sys/fs/cgroup/cpu.stat", "nr_throttled 0\nthrottled_usec 0\n")
        write("sys/fs/other/cpu.stat", "nr_throttled 0\nthrottled_usec 0\n")
        if cgroup is not None:
            write("proc/self/cgroup", cgroup)

        assert read_throttling(tmp_path) is None

    def test_differences_are_of_both(self) -> None:
        """Throttling between two readings is the difference of both fields."""
        assert Throttling(5, 700) - Throttling(2, 300) == Throttling(3, 400)


class TestClockSource:
    def test_is_named(self, tmp_path: Path, write: Callable[[str, str], None]) -> None:
        """The clock source is the kernel's name for it; without the file it is None."""
        assert read_clock_source(tmp_path) is None

        write("sys/devices/system/clocksource/clocksource0/current_clocksource", "kvm-clock\n")

        assert read_clock_source(tmp_path) == "kvm-clock"


def clock_of(gaps: Iterable[int]) -> Callable[[], int]:
    """A clock that starts at 1000 ns and goes on by one of `gaps` at each reading."""
    now = 1000
    steps = chain([0], gaps)

    def clock() -> int:
        nonlocal now
        now += next(steps)
        return now

    return clock


class TestJitterBaseline:
    def test_of_a_steady_clock_loses_nothing(self) -> None:
        """A clock whose readings are 100 ns apart has that gap throughout, and no time is lost."""
        assert jitter_baseline(10_000, clock_of(repeat(100))) == Jitter(
            duration_ns=10_000, gaps=100, median_ns=100, p99_ns=100, max_ns=100, lost_share=0.0
        )

    def test_counts_long_gaps_as_lost(self) -> None:
        """Time in gaps above 10 us is lost; a gap of 10 us is not."""
        found = jitter_baseline(80_000, clock_of([10_000, 10_001, 29_999, 30_000]))

        assert (found.duration_ns, found.gaps) == (80_000, 4)
        assert found.lost_share == 70_000 / 80_000
        assert (found.median_ns, found.max_ns) == (10_001, 30_000)

    def test_has_the_99th_percentile(self) -> None:
        """Of 200 gaps the 198th in order is the 99th percentile."""
        found = jitter_baseline(sum(range(1, 201)), clock_of(count(1)))

        assert (found.gaps, found.median_ns, found.p99_ns, found.max_ns) == (200, 100, 198, 200)

    def test_reads_the_system_s_clock(self) -> None:
        """On the system's own clock it takes at least the time that was asked for."""
        found = jitter_baseline(1_000_000)

        assert found.duration_ns >= 1_000_000
        assert 0 <= found.median_ns <= found.p99_ns <= found.max_ns <= found.duration_ns

    @pytest.mark.parametrize("duration_ns", [0, -1])
    def test_takes_time(self, duration_ns: int) -> None:
        """A baseline of no time is refused."""
        with pytest.raises(ValueError, match="takes time"):
            jitter_baseline(duration_ns)


class TestVerdict:
    def test_of_a_quiet_machine_is_clean(self) -> None:
        """A machine whose sources were all read and are within their limits was quiet, and nothing needs a reason."""
        assert (QUIET.verdict, QUIET.reasons) == ("clean", [])
        assert QUIET.next_step.startswith("Nothing")

    def test_at_the_limits_is_clean(self) -> None:
        """Only what is over a limit disturbs."""
        assert replace(QUIET, steal_share=0.005, runnable_wait_share=0.01).verdict == "clean"

    @pytest.mark.parametrize(
        ("seen", "reason", "step"),
        [
            (
                replace(QUIET, steal_share=0.0123),
                "1.23% of the CPUs' time for others (limit: 0.5%)",
                "virtual machines",
            ),
            (
                replace(QUIET, runnable_wait_share=0.034),
                "waited 3.40% of the time (limit: 1.0%)",
                "Stop what else runs",
            ),
            (replace(QUIET, throttled_ns=2_500_000), "stopped us for 2.5 ms (limit: 0 ms)", "cpu.max"),
        ],
    )
    def test_over_a_limit_is_disturbed(self, seen: Disturbance, reason: str, step: str) -> None:
        """What is over its limit disturbs: the reason has figure and limit, and the next step fits it."""
        assert seen.verdict == "disturbed"
        assert len(seen.reasons) == 1
        assert reason in seen.reasons[0]
        assert step in seen.next_step

    def test_names_what_others_took(self) -> None:
        """When workers waited and it is known that others ran, the next step says how much."""
        seen = replace(QUIET, runnable_wait_share=0.2, busy_others_share=0.45)

        assert "(it took 45% of the CPUs)" in seen.next_step

    def test_with_too_many_workers_is_oversubscribed(self) -> None:
        """With more workers than CPUs the waiting is the plan's own, and no disturbance."""
        seen = replace(QUIET, workers=5, runnable_wait_share=0.6)

        assert seen.verdict == "oversubscribed"
        assert seen.reasons == ["5 workers share 2 CPUs, so that some always wait."]
        assert "at most 2 workers" in seen.next_step

    @pytest.mark.parametrize(
        "seen",
        [
            replace(QUIET, steal_share=None),
            replace(QUIET, runnable_wait_share=None),
            replace(QUIET, throttled_ns=None),
            replace(QUIET, jitter=None),
        ],
    )
    def test_with_a_missing_source_is_unknown(self, seen: Disturbance) -> None:
        """When any one source could not be read nothing is called clean, and the reason names it."""
        assert seen.verdict == "unknown"
        assert len(seen.reasons) == 1
        assert seen.reasons[0].endswith("could not be read.")
        assert "compare medians" in seen.next_step

    def test_disturbed_outranks_oversubscribed_outranks_unknown(self) -> None:
        """What was seen outranks what the plan asks for, and both what was not seen; the reasons have all of it."""
        missing = replace(QUIET, throttled_ns=None)
        crowded = replace(missing, workers=3)
        stolen = replace(crowded, steal_share=0.5)

        assert [seen.verdict for seen in (missing, crowded, stolen)] == ["unknown", "oversubscribed", "disturbed"]
        assert [len(seen.reasons) for seen in (missing, crowded, stolen)] == [1, 2, 3]

    def test_goes_into_json(self) -> None:
        """The JSON has the verdict, its reasons and the figures, with null for what is unknown."""
        data = json.loads(json.dumps(replace(QUIET, throttled_ns=None).to_json()))

        assert data["verdict"] == "unknown"
        assert data["reasons"] == ["Throttling by the cgroup could not be read."]
        assert data["throttled_ns"] is None
        assert data["jitter"]["max_ns"] == 9_000
        assert (data["workers"], data["cpus"]) == (2, 2)
