"""What can be seen of a proxy, its queue and its workers while nothing arrives: collected here, judged in lab.py.

Nothing here changes anything, and nothing needs root for one's own processes. Where each fact comes from:

    sockets     /proc/PID/net/udp and udp6, matched to processes by the inode behind /proc/PID/fd
    queue       msgctl(IPC_STAT), as `ipcs -q -i ID` shows it
    processes   /proc/PID/stat, status, and syscall (what it sleeps in)
    output      whether the pipe behind the proxy's standard output has a reader: poll says POLLERR if not
    client      what the client itself noticed
"""

from __future__ import annotations

import os
import select
import socket
import stat
import struct
from dataclasses import dataclass
from pathlib import Path

from harness.sysv import asleep_in, queues, sleepers

PROC = Path("/proc")


@dataclass(frozen=True)
class Client:
    """What the client did and met. `network` names its network namespace; `reply` is "" when none came."""

    protocol: str  # "udp" or "tcp"
    target: str  # the address it sent to, such as "127.0.0.1" or "::1"
    network: str  # such as "net:[4026531840]"
    reply: str = ""  # "OK", "ER"
    error: str = ""  # "connection refused": nobody has that port there

    @property
    def family(self) -> str:
        """Whether the target is an "IPv4" or an "IPv6" address."""
        return "IPv6" if ":" in self.target else "IPv4"


@dataclass(frozen=True)
class Socket:
    """A UDP socket that is bound to the port, and the process that holds it (0: not ours to see)."""

    address: str  # "0.0.0.0" and "::" stand for every address of their family
    family: str  # "IPv4" or "IPv6"
    pid: int
    unread_bytes: int  # received by the kernel, not yet read by the process, with its overhead
    dropped: int  # datagrams that found no room
    inode: int


@dataclass(frozen=True)
class Queue:
    """The queue that the proxy uses."""

    key: int
    id: int
    mode: int
    uid: int  # whose it is
    messages: int
    used_bytes: int
    limit_bytes: int  # msg_qbytes: how many bytes it may hold
    last_sender: int  # pid; 0: nobody yet
    last_receiver: int


@dataclass(frozen=True)
class Process:
    """A process; `state` as ps has it: "S" asleep, "R" running, "Z" a zombie; "gone" if there is none any more."""

    pid: int
    parent: int
    uid: int
    state: str
    asleep_in: str  # "msgsnd", "msgrcv", or "" for anything else
    size_bytes: int  # in msgsnd: of the message that it wants to put; in msgrcv: of its buffer; else 0

    @property
    def alive(self) -> bool:
        """Whether it still does anything: a zombie has ended and waits for its parent to look."""
        return self.state not in ("Z", "gone")


@dataclass(frozen=True)
class Evidence:
    """All that was seen, at one moment after the client's last datagram."""

    port: int
    client: Client
    network: str  # the proxy's network namespace
    sockets: tuple[Socket, ...]  # in the kernel's order: of one address, whoever bound last stands first
    queue: Queue
    proxy: Process
    workers: tuple[Process, ...]  # those that the program printed when it started, dead ones too
    receivers: tuple[Process, ...]  # everybody who sleeps in msgrcv on this queue, whoever started them
    output_has_reader: bool  # whether anybody still reads what the program prints

    def __str__(self) -> str:
        client, queue = self.client, self.queue
        lines = [
            f"client      {client.protocol} to {client.target} port {self.port}, in {client.network}",
            f"  met       {client.reply or client.error or 'no reply'}",
            f"network     {self.network}, the proxy's",
            *(
                f"socket      {one.address} ({one.family}), pid {one.pid}, {one.unread_bytes} bytes unread, "
                f"{one.dropped} dropped" + ("   <- the proxy" if one.pid == self.proxy.pid else "")
                for one in self.sockets
            ),
            f"queue       key 0x{queue.key:08x}, mode {queue.mode:04o}, uid {queue.uid}",
            f"  holds     {queue.messages} messages, {queue.used_bytes} of {queue.limit_bytes} bytes",
            f"  last      sender pid {queue.last_sender}, receiver pid {queue.last_receiver}",
            f"proxy       {_words(self.proxy)}",
            *(f"worker      {_words(worker)}" for worker in self.workers),
            *(f"receiver    {_words(receiver)}" for receiver in self.receivers),
            f"output      {'somebody reads it' if self.output_has_reader else 'nobody reads it any more'}",
        ]
        return "\n".join(lines)


def collect(*, port: int, key: int, proxy: int, workers: list[int], client: Client) -> Evidence:
    """Look at the program whose proxy and workers have these pids. Raises LookupError if the queue is not there."""
    found = next((queue for queue in queues() if queue.key == key), None)
    if found is None:
        raise LookupError(f"there is no queue with key 0x{key:08x}")
    return Evidence(
        port=port,
        client=client,
        network=network_of(proxy),
        sockets=sockets_at(port, proxy),
        queue=Queue(
            key=found.key,
            id=found.id,
            mode=found.mode,
            uid=found.uid,
            messages=found.messages,
            used_bytes=found.used_bytes,
            limit_bytes=found.queue_bytes,
            last_sender=found.last_send_pid,
            last_receiver=found.last_receive_pid,
        ),
        proxy=process(proxy),
        workers=tuple(process(pid) for pid in workers),
        receivers=tuple(process(one.pid) for one in sleepers(found.id) if one.call == "msgrcv"),
        output_has_reader=output_has_reader(proxy),
    )


def network_of(pid: int | str = "self") -> str:
    """The name of a process's network namespace: two processes with the same name see the same ports."""
    return str((PROC / str(pid) / "ns/net").readlink())


def sockets_at(port: int, pid: int | str = "self") -> tuple[Socket, ...]:
    """The UDP sockets bound to the port in the network of that process, in the kernel's order."""
    rows = [
        (family, line.split())
        for family, name in (("IPv4", "udp"), ("IPv6", "udp6"))
        if (table := PROC / str(pid) / "net" / name).exists()
        for line in table.read_text(encoding="ascii").splitlines()[1:]
    ]
    rows = [(family, row) for family, row in rows if int(row[1].rpartition(":")[2], 16) == port]
    holders = _holders({int(row[9]) for _, row in rows})
    return tuple(
        Socket(
            address=_address(row[1].partition(":")[0]),
            family=family,
            pid=holders.get(int(row[9]), 0),
            unread_bytes=int(row[4].partition(":")[2], 16),
            dropped=int(row[12]),
            inode=int(row[9]),
        )
        for family, row in rows
    )


def process(pid: int) -> Process:
    """What a process is doing."""
    try:
        # The name in brackets may hold blanks and brackets itself: what follows the last one counts.
        state, parent = (PROC / str(pid) / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()[:2]
        status = (PROC / str(pid) / "status").read_text(encoding="utf-8")
    except OSError:
        return Process(pid=pid, parent=0, uid=0, state="gone", asleep_in="", size_bytes=0)
    uid = next(int(line.split()[2]) for line in status.splitlines() if line.startswith("Uid:"))  # in effect
    asleep = asleep_in(pid)
    return Process(
        pid=pid,
        parent=int(parent),
        uid=uid,
        state=state,
        asleep_in=asleep.call if asleep else "",
        size_bytes=asleep.size_bytes if asleep else 0,
    )


def output_has_reader(pid: int) -> bool:
    """Whether a process's standard output leads to somebody: a terminal or file, or a pipe that has a reader."""
    output = PROC / str(pid) / "fd/1"
    if not stat.S_ISFIFO(output.stat().st_mode):
        return True
    writing = os.open(output, os.O_WRONLY | os.O_NONBLOCK)
    try:
        asked = select.poll()
        asked.register(writing, 0)
        return not any(events & select.POLLERR for _, events in asked.poll(0))  # poll(2): the read end is closed
    finally:
        os.close(writing)


def _words(one: Process) -> str:
    if not one.alive:
        return f"pid {one.pid}, " + ("dead: a zombie" if one.state == "Z" else "gone")
    doing = f"asleep in {one.asleep_in} ({one.size_bytes} bytes)" if one.asleep_in else f"state {one.state}"
    return f"pid {one.pid}, child of {one.parent}, uid {one.uid}, {doing}"


def _holders(inodes: set[int]) -> dict[int, int]:
    """Which process holds each of these sockets, as far as we may look."""
    names = {f"socket:[{inode}]": inode for inode in inodes}
    found: dict[int, int] = {}
    for entry in PROC.iterdir():
        if not entry.name.isdigit() or len(found) == len(names):
            continue
        try:
            for descriptor in (entry / "fd").iterdir():
                inode = names.get(str(descriptor.readlink()))
                if inode is not None:
                    found[inode] = int(entry.name)
        except OSError:
            continue  # it ended, or is not ours to read
    return found


def _address(digits: str) -> str:
    """The kernel prints an address as 32-bit words in the machine's own byte order."""
    words = [int(digits[at : at + 8], 16) for at in range(0, len(digits), 8)]
    packed = struct.pack(f"={len(words)}I", *words)
    return socket.inet_ntop(socket.AF_INET6 if len(words) > 1 else socket.AF_INET, packed)
