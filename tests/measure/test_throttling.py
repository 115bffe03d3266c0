"""Throttling is that of our group and all above it, in either version of cgroups, wherever they are mounted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from harness.measure.throttling import Throttling, read_throttling

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

# as systemd with both versions mounts them; the hierarchy of cpuset must not be taken for that of cpu
BOTH_VERSIONS = """\
22 27 0:21 / /proc rw,relatime - proc proc rw
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
33 31 0:31 / /sys/fs/cgroup/cpuset rw,relatime - cgroup cgroup rw,cpuset
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
"""
VERSION_2 = "31 23 0:28 / /sys/fs/cgroup rw,relatime shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"


def test_is_of_the_group_and_those_above(tmp_path: Path, write: Callable[[str, str], None]) -> None:
    """A limit on any group above stops us too, so all are added up; a group without the controller adds nothing."""
    write("proc/self/cgroup", "0::/outer/inner/leaf\n")
    write("sys/fs/cgroup/cpu.stat", "usage_usec 9\n")
    write("sys/fs/cgroup/outer/cpu.stat", "usage_usec 9\nnr_periods 9\nnr_throttled 2\nthrottled_usec 500\n")
    write("sys/fs/cgroup/outer/inner/cpu.stat", "usage_usec 9\nnr_periods 9\nnr_throttled 1\nthrottled_usec 30\n")
    write("sys/fs/cgroup/outer/inner/leaf/cpu.stat", "usage_usec 9\n")
    write("sys/fs/cpu.stat", "nr_throttled 1000\nthrottled_usec 1000\n")

    assert read_throttling(tmp_path) == Throttling(times=3, throttled_ns=530_000)


def test_of_a_container_s_root_is_read(tmp_path: Path, write: Callable[[str, str], None]) -> None:
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
        "0::\n",
        "1:name=systemd:/\n",
        "0::/../other\n",
        "0::/gone\n",
    ],
)
def test_out_of_sight_is_none(cgroup: str | None, tmp_path: Path, write: Callable[[str, str], None]) -> None:
    """Without a cgroup, or with a group that is mounted nowhere we can see, throttling is unknown."""
    write("sys/fs/cgroup/cpu.stat", "nr_throttled 0\nthrottled_usec 0\n")
    write("sys/fs/other/cpu.stat", "nr_throttled 0\nthrottled_usec 0\n")
    if cgroup is not None:
        write("proc/self/cgroup", cgroup)

    assert read_throttling(tmp_path) is None


def test_differences_are_of_both() -> None:
    """Throttling between two readings is the difference of both fields."""
    assert Throttling(5, 700) - Throttling(2, 300) == Throttling(3, 400)


def test_of_version_1_is_read_in_nanoseconds(tmp_path: Path, write: Callable[[str, str], None]) -> None:
    """Where version 1 has the controller its files count, which tell throttled_time in ns, and version 2's do not."""
    write("proc/self/cgroup", "4:memory:/elsewhere\n3:cpu,cpuacct:/outer/leaf\n1:cpuset:/\n0::/other\n")
    write("proc/self/mountinfo", BOTH_VERSIONS)
    write("sys/fs/cgroup/cpu,cpuacct/cpu.stat", "nr_periods 0\nnr_throttled 0\nthrottled_time 0\n")
    write("sys/fs/cgroup/cpu,cpuacct/outer/cpu.stat", "nr_periods 9\nnr_throttled 2\nthrottled_time 500\n")
    write("sys/fs/cgroup/cpu,cpuacct/outer/leaf/cpu.stat", "nr_periods 9\nnr_throttled 1\nthrottled_time 30\n")
    write("sys/fs/cgroup/unified/other/cpu.stat", "nr_throttled 1000\nthrottled_usec 1000\n")
    write("sys/fs/cgroup/cpuset/outer/leaf/cpu.stat", "nr_throttled 1000\nthrottled_time 1000\n")

    assert read_throttling(tmp_path) == Throttling(times=3, throttled_ns=530)


@pytest.mark.parametrize("directory", ["cpu", "cpu,cpuacct"])
def test_of_version_1_is_found_without_mountinfo(
    directory: str, tmp_path: Path, write: Callable[[str, str], None]
) -> None:
    """Where the mounts cannot be read, the usual places of version 1 are tried."""
    write("proc/self/cgroup", "3:cpu,cpuacct:/leaf\n0::/\n")
    write(f"sys/fs/cgroup/{directory}/cpu.stat", "nr_throttled 0\nthrottled_time 0\n")
    write(f"sys/fs/cgroup/{directory}/leaf/cpu.stat", "nr_throttled 4\nthrottled_time 70\n")

    assert read_throttling(tmp_path) == Throttling(times=4, throttled_ns=70)


def test_of_version_2_beside_version_1_is_read(tmp_path: Path, write: Callable[[str, str], None]) -> None:
    """Version 2 is read where it is mounted when version 1 is there too, but without the CPU controller."""
    write("proc/self/cgroup", "1:name=systemd:/\n0::/leaf\n")
    write("proc/self/mountinfo", BOTH_VERSIONS)
    write("sys/fs/cgroup/unified/leaf/cpu.stat", "nr_throttled 3\nthrottled_usec 2\n")

    assert read_throttling(tmp_path) == Throttling(times=3, throttled_ns=2000)


@pytest.mark.parametrize(
    ("cgroup", "mountinfo", "directory"),
    [("0::/\n", VERSION_2, "sys/fs/cgroup"), ("3:cpu,cpuacct:/\n", BOTH_VERSIONS, "sys/fs/cgroup/cpu,cpuacct")],
)
def test_of_the_root_is_zero(
    cgroup: str, mountinfo: str, directory: str, tmp_path: Path, write: Callable[[str, str], None]
) -> None:
    """The root of a hierarchy has no limit: it was never throttled, with or without a cpu.stat that says so."""
    write("proc/self/cgroup", cgroup)
    write("proc/self/mountinfo", mountinfo)
    (tmp_path / directory).mkdir(parents=True)
    without_file = read_throttling(tmp_path)

    write(f"{directory}/cpu.stat", "usage_usec 9\n")

    assert read_throttling(tmp_path) == without_file == Throttling(times=0, throttled_ns=0)


@pytest.mark.parametrize("cgroup", ["0::/leaf\n", "3:cpu:/leaf\n"])
def test_of_a_group_without_figures_is_none(cgroup: str, tmp_path: Path, write: Callable[[str, str], None]) -> None:
    """A group that is not the root, and whose cpu.stat is hidden, may have a limit: unknown, not 0."""
    write("proc/self/cgroup", cgroup)
    write("proc/self/mountinfo", BOTH_VERSIONS)
    (tmp_path / "sys/fs/cgroup/unified/leaf").mkdir(parents=True)
    (tmp_path / "sys/fs/cgroup/cpu,cpuacct/leaf").mkdir(parents=True)

    assert read_throttling(tmp_path) is None


def test_of_a_container_is_read_at_its_mount(tmp_path: Path, write: Callable[[str, str], None]) -> None:
    """A container sees its own group at the mount's top, at a mount point with a space; other parts do not count."""
    write("proc/self/cgroup", "3:cpu:/docker/abc/leaf\n")
    write(
        "proc/self/mountinfo",
        "1 0 0:1 /docker/xyz /elsewhere rw - cgroup cgroup rw,cpu\n"
        "2 0 0:1 /docker/abc /sys/my\\040cpu rw - cgroup cgroup rw,cpu\n",
    )
    write("elsewhere/leaf/cpu.stat", "nr_throttled 1000\nthrottled_time 1000\n")
    write("sys/my cpu/cpu.stat", "nr_throttled 1\nthrottled_time 10\n")
    write("sys/my cpu/leaf/cpu.stat", "nr_throttled 2\nthrottled_time 5\n")

    assert read_throttling(tmp_path) == Throttling(times=3, throttled_ns=15)
