"""What the kernel's files say is read as its man pages say; what they do not say is unknown."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from harness.measure.observe import (
    CpuTimes,
    Usage,
    busy_others_share,
    read_clock_source,
    read_cpu_times,
    read_pss_bytes,
    read_usage,
    steal_share,
    worst_wait_share,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


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

    def test_does_not_hold_wake_ups_against_the_machine(self) -> None:
        """Two microseconds of waiting for each voluntary switch are what a wake-up takes; only the rest counts."""
        sleepy, starved = Usage(0, 50_000, 25, 0), Usage(0, 50_000, 5, 0)

        assert sleepy.wait_share(100_000) == 0
        assert starved.wait_share(100_000) == pytest.approx(0.4)

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


class TestClockSource:
    def test_is_named(self, tmp_path: Path, write: Callable[[str, str], None]) -> None:
        """The clock source is the kernel's name for it; without the file it is None."""
        assert read_clock_source(tmp_path) is None

        write("sys/devices/system/clocksource/clocksource0/current_clocksource", "kvm-clock\n")

        assert read_clock_source(tmp_path) == "kvm-clock"
