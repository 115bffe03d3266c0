"""Did a CPU limit stop us? The throttling of our cgroup and of those above it, in either version of cgroups.

For the runs, which read before and after; disturbance.py judges the difference. The files:

    v2   cpu.stat: nr_throttled, throttled_usec      (Documentation/admin-guide/cgroup-v2.rst)
    v1   cpu.stat: nr_throttled, throttled_time, ns  (Documentation/scheduler/sched-bwc.rst)

The controller is in one version at a time: in v1 where /proc/self/cgroup has a line with "cpu", else in v2
(cgroups(7)). A limit on any group above stops us too, so each that can be seen is read. The root of a hierarchy
cannot have a limit: where it has no figures, that is 0 and not unknown.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Final

from harness.measure.kernel_files import ROOT, parse_fields, read_text

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_USUAL_MOUNT_POINTS: Final = {
    "cgroup": ("/sys/fs/cgroup/cpu", "/sys/fs/cgroup/cpu,cpuacct"),
    "cgroup2": ("/sys/fs/cgroup",),
}
"""Where the hierarchies are when /proc/self/mountinfo cannot be read, by the file system's type."""


@dataclass(frozen=True, slots=True)
class Throttling:
    """How often, and for how long in ns, the CPU limit of our cgroup or of one above it stopped its processes."""

    times: int
    throttled_ns: int

    def __sub__(self, earlier: Throttling) -> Throttling:
        return Throttling(self.times - earlier.times, self.throttled_ns - earlier.throttled_ns)


def read_throttling(root: Path = ROOT) -> Throttling | None:
    """Throttling since our cgroup was made, it and those above it added up; None when our group is not to be seen.

    A group without the CPU controller has no nr_throttled, and cannot throttle.
    """
    found = _own_group(root)
    if found is None:
        return None
    filesystem, group = found
    # ".." leads out of the cgroup namespace, to a group that is not to be seen from here
    if ".." in group.parts:
        return None
    for top, at_top in _mounts(root, filesystem):
        if not group.is_relative_to(at_top):
            continue  # a mount of another part of the hierarchy
        own = top / group.relative_to(at_top)
        if (own / "cpu.stat").is_file() or (own.is_dir() and group == PurePosixPath("/")):
            return _added_up(own, top)
    return None


def _own_group(root: Path) -> tuple[str, PurePosixPath] | None:
    """In which version of cgroups our CPU controller is, as the file system's type, and which group there is ours."""
    found = None
    for line in (read_text(root / "proc/self/cgroup") or "").splitlines():
        hierarchy, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if "cpu" in controllers.split(","):
            return "cgroup", PurePosixPath(path)
        if hierarchy == "0":
            found = "cgroup2", PurePosixPath(path)
    return found


def _mounts(root: Path, filesystem: str) -> Iterator[tuple[Path, PurePosixPath]]:
    """Where the hierarchy is mounted, each with the group that is at its top: in a container that may be our own."""
    mountinfo = read_text(root / "proc/self/mountinfo")
    if mountinfo is None:
        for usual in _USUAL_MOUNT_POINTS[filesystem]:
            if (root / usual.lstrip("/") / "cpu.stat").is_file():
                yield root / usual.lstrip("/"), PurePosixPath("/")
        return
    for line in mountinfo.splitlines():
        # id, parent, device, top, mount point, options and tags - type, source, options of the hierarchy
        before, _, after = line.partition(" - ")
        mount, hierarchy = before.split(), after.split()
        if len(mount) < 5 or len(hierarchy) < 3 or hierarchy[0] != filesystem:  # noqa: PLR2004  proc_pid_mountinfo(5)
            continue
        if filesystem == "cgroup2" or "cpu" in hierarchy[2].split(","):
            yield root / _unescaped(mount[4]).lstrip("/"), PurePosixPath(_unescaped(mount[3]))


def _unescaped(path: str) -> str:
    """Undo mountinfo's octal escapes of space, tab, newline and backslash."""
    return re.sub(r"\\([0-7]{3})", lambda escape: chr(int(escape[1], 8)), path)


def _added_up(own: Path, top: Path) -> Throttling:
    times = throttled_ns = 0
    for directory in (own, *own.parents):
        fields = parse_fields(read_text(directory / "cpu.stat") or "")
        times += fields.get("nr_throttled", 0)
        throttled_ns += fields.get("throttled_time", 0) + fields.get("throttled_usec", 0) * 1000
        if directory == top:
            break
    return Throttling(times, throttled_ns)
