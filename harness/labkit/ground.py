"""What a check stands on, inside its forked child: made before the check, looked over after it.

- A private IPC namespace: an empty list of queues, the host's limits, and nobody else's queues in reach. Where it is
  refused, or --shared-queues asks for it, the host's namespace, one check at a time (a file lock).
- Under `own_network` a network namespace with nothing but a loopback.
- No privileges: even root must meet EACCES as a learner's user would. Two stay, which count for no queue:
  CAP_DAC_READ_SEARCH, so that this code can be read wherever it is, and CAP_SETFCAP, without which root may not map
  itself into a user namespace, as any ordinary user may.
- A bystander: somebody else's queue with a message in it, which no lab may touch.
- A steward, if the check asks for `foreign_queue`: a process that still may become another user.

Used by plugin.py. What it finds afterwards it tells as a Teach.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import json
import os
import signal
import socket
import struct
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.labkit.apart import end_with_parent
from harness.labkit.failures import CannotStageError
from harness.labkit.teach import Teach
from harness.sysv import Queue, QueueStat, enter_private, libc, queues, remove_queue
from harness.sysv.errors import HarnessError, NamespaceError, QueueRemovedError

if TYPE_CHECKING:
    from collections.abc import Iterator

BYSTANDER_KEY = 0x62797374
"""The key of the queue that is somebody else's: "byst"."""

NOBODY = 65534

_CLONE_NEWNET = 0x40000000  # include/uapi/linux/sched.h
_CAP_DAC_READ_SEARCH = 2  # include/uapi/linux/capability.h
_CAP_SETFCAP = 31
_CAP_VERSION_3 = 0x20080522
_MOST_CAPABILITIES = 64
_PR_CAPBSET_DROP = 24
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 1  # netdevice(7)


@dataclass
class Ground:
    """Where a check runs: `private` or in the host's namespace, and with a `steward` if it asked for one."""

    private: bool
    steward: socket.socket | None = None
    before: set[int] = field(default_factory=set)

    def left_behind(self) -> Teach | None:
        """What the check's code left or took that it must not, told; queues that it left are removed."""
        told = self._bystander_missing() if self.private else None
        mine = [queue for queue in queues() if queue.id not in self.before and queue.cuid == os.geteuid()]
        for queue in mine:
            with contextlib.suppress(QueueRemovedError):
                remove_queue(queue.id)
        if told is None and mine:
            told = _queues_left(mine)
        return told

    def _bystander_missing(self) -> Teach | None:
        with contextlib.suppress(HarnessError):
            if Queue.open(BYSTANDER_KEY).stat().messages == 1:
                return None
        return Teach(
            saw=f"the queue 0x{BYSTANDER_KEY:08x} had one message before the check, and is not as it was now",
            because="that queue belongs to somebody else, and what is in it or removed from it is lost for them",
            try_="touch only queues whose key or id is yours",
            see="labs/12_hygiene/README.md",
        )


def _queues_left(mine: list[QueueStat]) -> Teach:
    names = ", ".join(f"0x{queue.key:08x} (id {queue.id}, {queue.messages} messages)" for queue in mine)
    return Teach(
        saw=f"when the check ended, your code had left {len(mine)} queue{'s' * (len(mine) > 1)} behind: {names}",
        because="a queue lives in the kernel until somebody removes it, or the machine restarts",
        try_="remove what you create, also on the way out of an error: try ... finally: queue.remove()",
        see="ipcs -q lists them; ipcrm -q ID removes one",
    )


def take(*, shared: bool, network: bool, foreign: bool) -> Ground:
    """Make the ground in this process, which must have one thread; raises CannotStageError, NamespaceError.

    `shared`: on this machine's own queues; the caller holds `one_at_a_time`.
    """
    ground = Ground(private=not shared and _enter_namespace())
    if network:
        _enter_network()
    if foreign:
        ground.steward = _start_steward()
    drop_privileges()
    if ground.private:
        # Not removed by us: the namespace goes, and it with it.
        Queue.create(BYSTANDER_KEY).send(b"somebody else's", timeout=0)
    ground.before = {queue.id for queue in queues()}
    return ground


def _enter_namespace() -> bool:
    """Whether this process is in a private namespace now; raises NamespaceError when refused.

    A refusal of the limits alone is none: then the namespace is there, at the kernel's own limits.
    """
    home = Path("/proc/self/ns/ipc")
    before = home.readlink()
    try:
        enter_private()
    except NamespaceError:
        if home.readlink() == before:
            raise
    return True


@contextlib.contextmanager
def one_at_a_time() -> Iterator[None]:
    """Wait until no other check of this user stands on the host's namespace: labs have fixed keys."""
    path = Path(tempfile.gettempdir(), f"harness-labs-{os.getuid()}.lock")
    with path.open("a", encoding="ascii") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def drop_privileges() -> None:
    """Give up all capabilities, also those that programs started later would get as root; needs CAP_SETPCAP or none.

    Sources: capabilities(7), capset(2).
    """
    keep = 1 << _CAP_DAC_READ_SEARCH | 1 << _CAP_SETFCAP
    for number in range(_MOST_CAPABILITIES):
        if not keep >> number & 1:
            libc.call("prctl", _PR_CAPBSET_DROP, number, 0, 0, 0)
    header = (ctypes.c_uint32 * 2)(_CAP_VERSION_3, 0)
    before = (ctypes.c_uint32 * 6)()
    libc.call("capget", ctypes.byref(header), ctypes.byref(before))
    mine = keep & before[1]  # what is permitted already
    after = (ctypes.c_uint32 * 6)(mine, mine, 0, 0, 0, 0)
    libc.call("capset", ctypes.byref(header), ctypes.byref(after))


def _enter_network() -> None:
    result, number = libc.call("unshare", _CLONE_NEWNET)
    if result == -1:
        raise CannotStageError(f"no network of its own for this check: {errno.errorcode.get(number, number)}")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as some:
        request = struct.pack("16sH14x", b"lo", 0)
        flags = struct.unpack("16sH14x", fcntl.ioctl(some, _SIOCGIFFLAGS, request))[1]
        fcntl.ioctl(some, _SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", flags | _IFF_UP))


# --- the steward -------------------------------------------------------------------------------------------------


def ask_steward(steward: socket.socket, order: dict[str, Any]) -> dict[str, Any]:
    """Send an order, and wait for the answer; raises CannotStageError if it could not be done."""
    steward.sendall(json.dumps(order).encode() + b"\n")
    answer: dict[str, Any] = json.loads(steward.recv(65536) or b'{"error": "the steward is gone"}')
    if "error" in answer:
        raise CannotStageError(answer["error"])
    return answer


def _start_steward() -> socket.socket:
    """Fork a process that becomes another user and makes queues as that user; it ends when its caller does."""
    ours, its = socket.socketpair()
    caller, caller_uid = os.getpid(), os.geteuid()
    if os.fork() == 0:
        try:
            ours.close()
            # Not the check's group: whoever signals that group does not mean this process.
            os.setpgid(0, 0)
            _become_nobody()
            # After the change of user, which clears it.
            end_with_parent(caller)
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            _serve(its, caller_uid)
        finally:
            os._exit(0)
    its.close()
    return ours


def _become_nobody() -> None:
    with contextlib.suppress(OSError):
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)


def _serve(its: socket.socket, caller_uid: int) -> None:
    for line in its.makefile("r", encoding="utf-8"):
        order = json.loads(line)
        if os.geteuid() == caller_uid:
            answer: dict[str, Any] = {"error": "only root can make a queue that belongs to another user"}
        else:
            try:
                queue = Queue.create(order["key"], mode=order["mode"])
                for text in order["payloads"]:
                    queue.send(bytes.fromhex(text), timeout=0)
                answer = {"id": queue.id}
            except HarnessError as error:
                answer = {"error": str(error)}
        its.sendall(json.dumps(answer).encode() + b"\n")
