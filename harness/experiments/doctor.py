"""What this machine can do: each thing that the harness needs, what was found of it, and what to do about it.

Behind `harness doctor`, for whoever sets a machine up or wonders why a run was refused. `examine` looks and creates
nothing that stays; `judge` is a pure function of what was seen; harness/show/doctor.py makes it readable.

A check is a `problem` only if the machine cannot run `harness load` at all; what merely makes it slower, smaller or
harder to read is a `note`.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import shutil
import sysconfig
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from harness.engines.layout import HEADER_BYTES
from harness.measure.quantities import format_count, format_key, format_size
from harness.results.environment import describe
from harness.sysv import NamespaceSupport, QueueStat, Support, diagnose, probe, queues
from harness.sysv.errors import MachineError

if TYPE_CHECKING:
    from collections.abc import Mapping

SCHEMA: Final = "harness.doctor/1"

VISIBLE_KEYS: Final = range(0x4D510000, 0x4D520000)
"""The keys of queues that `--visible` runs make in the host's namespace: "MQ" and sixteen bits.

The same as in leader.py, which cannot be imported where there is no Linux, as this module must be.
"""

_NATIVE = "harness.engines._native"
_TEXTBOOK_BYTES = 8192  # the message of the lessons, and msgmax as Linux has it by default
_SHORT_QUEUE = 16  # messages: below this, what is measured is waiting for room
_WIDE_QUEUE_BYTES = 2**20  # 128 messages of 8 KiB
_SLOW_CLOCKS = frozenset({"hpet", "acpi_pm", "pit", "jiffies", "refined-jiffies"})  # read by I/O or a tick, not vDSO

Status = Literal["ok", "note", "problem"]


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the report: `seen` and `to_do` are sentences, with a newline between items; `to_do` may be empty."""

    name: str
    status: Status
    seen: str
    to_do: str = ""

    def to_json(self) -> dict[str, str]:
        """The check as it stands in the report's JSON."""
        return {"name": self.name, "status": self.status, "seen": self.seen, "to_do": self.to_do}


@dataclass(frozen=True, slots=True)
class DoctorReport:
    """All checks in the order of their weight, and the environment they were made in (as results carry it)."""

    checks: tuple[Check, ...]
    environment: Mapping[str, Any]

    @property
    def exit_status(self) -> int:
        """3 if the machine cannot run `harness load`, else 0."""
        return 3 if any(check.status == "problem" for check in self.checks) else 0

    def to_json(self) -> dict[str, Any]:
        """The report as JSON of schema harness.doctor/1."""
        return {
            "schema": SCHEMA,
            "exit_status": self.exit_status,
            "checks": [check.to_json() for check in self.checks],
            "environment": dict(self.environment),
        }


@dataclass(frozen=True, slots=True)
class NativeEngine:
    """What was found of the compiled engine: whether it is `built` and loads, and what building it would need."""

    built: bool
    load_error: str | None
    has_compiler: bool
    has_headers: bool


@dataclass(frozen=True, slots=True)
class Observations:
    """What was seen of this machine; None stands for what could not be looked at.

    `queues` are all of this IPC namespace; `alive_pids` are those of their last users that are processes now.
    """

    environment: Mapping[str, Any]
    support: Support
    namespace: NamespaceSupport | None
    queues: tuple[QueueStat, ...] | None
    alive_pids: frozenset[int]
    native: NativeEngine
    has_vagrant: bool


def examine() -> DoctorReport:
    """Look at this machine and judge it; raises nothing on a machine that lacks something."""
    seen = observe()
    return DoctorReport(checks=judge(seen), environment=seen.environment)


def observe() -> Observations:
    """Look at this machine; a private namespace is tried in a child process, and nothing is left of it."""
    found = diagnose()
    all_queues = _queues() if found.available else None
    pids = {pid for queue in all_queues or () for pid in (queue.last_send_pid, queue.last_receive_pid)}
    return Observations(
        environment=describe(),
        support=found,
        namespace=probe() if found.available else None,
        queues=all_queues,
        alive_pids=frozenset(pid for pid in pids if _is_alive(pid)),
        native=_native_engine(),
        has_vagrant=shutil.which("vagrant") is not None,
    )


def judge(seen: Observations) -> tuple[Check, ...]:
    """What the observations mean, one check each."""
    return (
        _check_msgget(seen),
        _check_limits(seen),
        _check_namespace(seen),
        _check_cores(seen),
        _check_clock(seen),
        _check_python_engine(seen),
        _check_native_engine(seen.native),
        _check_leftovers(seen),
        _check_vagrant(seen),
        _check_versions(seen),
    )


def _queues() -> tuple[QueueStat, ...] | None:
    try:
        return tuple(queues())
    except MachineError:  # also NoMessageQueuesError
        return None


def _is_alive(pid: int) -> bool:
    """Whether a process has this number now; 0 stands for nobody, or a process outside this PID namespace."""
    if pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # it is there, and somebody else's
        return True
    return True


def _native_engine() -> NativeEngine:
    """Look for the Cython module, and load it: one that was built for another Python is there and does not load."""
    try:
        built = importlib.util.find_spec(_NATIVE) is not None
    except ImportError:
        built = False
    load_error = None
    if built:
        try:
            importlib.import_module(_NATIVE)
        except ImportError as error:
            # Without the module's place: reports are shared.
            load_error = str(error).replace(error.path or "\0", _NATIVE)
    compilers = (*os.environ.get("CC", "").split()[:1], "cc", "gcc", "clang")
    return NativeEngine(
        built=built,
        load_error=load_error,
        has_compiler=any(shutil.which(name) for name in compilers),
        has_headers=(Path(sysconfig.get_path("include")) / "Python.h").is_file(),
    )


def _check_msgget(seen: Observations) -> Check:
    found = seen.support
    return Check("msgget", "ok" if found.available else "problem", found.explanation, found.hint)


def _check_limits(seen: Observations) -> Check:
    """What the host's limits let pass; a problem only where no private namespace can have limits of its own."""
    limits = seen.environment["limits"]
    msgmax, msgmnb, msgmni = limits["msgmax"], limits["msgmnb"], limits["msgmni"]
    if msgmax is None or msgmnb is None or msgmni is None:
        return Check("limits", "note", "/proc/sys/kernel/msgmax, msgmnb and msgmni cannot be read")
    in_use = None if seen.queues is None else len(seen.queues)
    fitting = msgmnb // _TEXTBOOK_BYTES if msgmax >= _TEXTBOOK_BYTES else 0
    lines = [
        f"msgmax {msgmax}: the largest message, {format_size(msgmax)}",
        f"msgmnb {msgmnb}: a new queue holds {format_size(msgmnb)}, that is {_messages(fitting)} of 8 KiB",
        f"msgmni {msgmni}: the most queues" + ("" if in_use is None else f", of which there are {in_use}"),
    ]
    to_do = ""
    if fitting < _SHORT_QUEUE:
        wider = f"kernel.msgmnb={_WIDE_QUEUE_BYTES}"
        wider += f" kernel.msgmax={_TEXTBOOK_BYTES}" if msgmax < _TEXTBOOK_BYTES else ""
        to_do = f"for --visible runs of large messages: sudo sysctl -w {wider}"
    own_limits = seen.namespace is not None and seen.namespace.limits_can_be_raised
    too_small = min(msgmax, msgmnb) < HEADER_BYTES
    no_queue_left = in_use is not None and in_use >= msgmni
    if no_queue_left:
        to_do = "remove queues that nobody uses (ipcs -q, ipcrm -q ID), or: sudo sysctl -w kernel.msgmni=32000"
    if own_limits:
        lines.append("a run in a private namespace raises limits of its own as it needs")
    status: Status = "ok" if fitting and not no_queue_left else "note"
    if (too_small and not own_limits) or (no_queue_left and not _has_namespace(seen)):
        status = "problem"
    return Check("limits", status, "\n".join(lines), to_do)


def _messages(number: int) -> str:
    return "no message" if number == 0 else f"{format_count(number)} message{'' if number == 1 else 's'}"


def _has_namespace(seen: Observations) -> bool:
    return seen.namespace is not None and seen.namespace.available


def _check_namespace(seen: Observations) -> Check:
    name, found = "private namespace", seen.namespace
    if found is None:
        return Check(name, "note", "not tried, as there are no message queues")
    if not found.available:
        return Check(name, "note", f"{found.why}; runs take place in the host's, within its limits", found.hint)
    how = "as root may" if found.kind == "ipc" else "with a user namespace"
    if not found.limits_can_be_raised:
        return Check(name, "note", f"can be had ({how}), but {found.why}", found.hint)
    return Check(name, "ok", f"can be had ({how}), and limits raised in it")


def _check_cores(seen: Observations) -> Check:
    online, allowed = seen.environment["cores_online"], seen.environment["cores_allowed"]
    cores = allowed or online
    if cores is None:
        return Check("cores", "note", "the number of cores is not known")
    what = f"{cores} core{'' if cores == 1 else 's'}"
    if online is not None and online > cores:
        what += f" of the machine's {online}, as this process may use no more"
    if cores >= 2:  # noqa: PLR2004 - one for a producer, one for a consumer
        return Check("cores", "ok", what)
    return Check(
        "cores",
        "note",
        f"{what}: producer and consumer take turns, so that rates are bound by wake-ups, not by the queue",
        "give the virtual machine or container two cores, or take the affinity away (taskset)",
    )


def _check_clock(seen: Observations) -> Check:
    source = seen.environment["clock_source"]
    if source is None:
        return Check("clock source", "note", "the kernel does not say which clock source it uses")
    if source in _SLOW_CLOCKS:
        return Check(
            "clock source",
            "note",
            f"{source} is slow to read: each message's time stamps cost system calls, and show in its latency",
            "dmesg says why the kernel left tsc; if it is trusted, boot with clocksource=tsc tsc=reliable",
        )
    return Check("clock source", "ok", f"{source}, read without a system call" if source == "tsc" else source)


def _check_python_engine(seen: Observations) -> Check:
    version = seen.environment["versions"]["sysv_ipc"]
    if seen.support.cause == "no-sysv-ipc" or version is None:
        # Whether that is a problem has been said under msgget.
        return Check("engine python", "note", "the package sysv_ipc is not installed", "pip install sysv_ipc")
    return Check("engine python", "ok", f"sysv_ipc {version}")


def _check_native_engine(native: NativeEngine) -> Check:
    name = "engine native"
    rebuild = "in the checkout: make clean && make"
    if native.built and native.load_error is None:
        return Check(name, "ok", "built, and loads")
    if native.built:
        return Check(name, "note", f"built, but it does not load: {native.load_error}", rebuild)
    missing = [
        what
        for what, found in (("a C compiler", native.has_compiler), ("Python's headers", native.has_headers))
        if not found
    ]
    if not missing:
        return Check(name, "note", "not built, though a C compiler and Python's headers are here", rebuild)
    return Check(
        name,
        "note",
        f"not built: {' and '.join(missing)} {'are' if 'headers' in missing[-1] else 'is'} missing",
        f"install {' and '.join(missing)} (Debian, Ubuntu: sudo apt install gcc python3-dev), then {rebuild}",
    )


def _check_leftovers(seen: Observations) -> Check:
    name = "leftover queues"
    if seen.queues is None:
        return Check(name, "note", "not looked for, as the kernel's list of queues cannot be read")
    ours = [queue for queue in seen.queues if queue.key in VISIBLE_KEYS]
    if not ours:
        return Check(name, "ok", "none of --visible runs")
    lines, to_remove = [], []
    for queue in ours:
        users = sorted({queue.last_send_pid, queue.last_receive_pid} & seen.alive_pids)
        line = f"id {queue.id}, key {format_key(queue.key)}, {_messages(queue.messages)}"
        if users:
            lines.append(f"{line}; process {' and '.join(map(str, users))} used it and is alive: perhaps a run")
        else:
            lines.append(f"{line}; whoever used it last is gone")
            to_remove.append(f"ipcrm -q {queue.id}")
    return Check(name, "note", "\n".join(lines), "\n".join(to_remove) or "nothing, if a --visible run is going on")


def _check_vagrant(seen: Observations) -> Check:
    if seen.has_vagrant:
        return Check("vagrant", "ok", "installed")
    if seen.support.available:
        return Check("vagrant", "note", "not installed, and not needed here: the queues are this machine's own")
    return Check(
        "vagrant", "note", "not installed", "it brings the virtual machine of the lessons: install it, then vagrant up"
    )


def _check_versions(seen: Observations) -> Check:
    versions = ", ".join(
        version if name == "python" else f"{name} {version or 'missing'}"
        for name, version in seen.environment["versions"].items()
    )
    return Check("versions", "ok", f"{versions}, kernel {seen.environment['kernel_release'] or 'unknown'}")
