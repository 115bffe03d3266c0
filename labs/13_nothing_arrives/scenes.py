"""Ten ways in which nothing arrives, put on with real processes, sockets and queues; and one in which all is well.

    client --datagram--> proxy --msgsnd--> queue --msgrcv--> worker 0, worker 1 --print--> a reader

By hand: `python scenes.py --stage 7` puts cause 7 on, prints the evidence, and waits for Enter or Ctrl-C, so that you
can look around with your own tools. Whatever it started and made is gone afterwards.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import json
import os
import random
import select
import signal
import socket
import struct
import sys
import time
import traceback
from typing import TYPE_CHECKING, Self

import sysv_ipc
from evidence import Client, Evidence, collect, network_of, process, sockets_at

from harness.labkit.ground import CannotStageError, drop_privileges
from harness.sysv import asleep_in, libc, queues

if TYPE_CHECKING:
    from collections.abc import Callable

PORT = 9999
KEY = 0o3000111  # 0xc0049, the original's key
LARGEST = 8192  # bytes of one message
TEXT = b"hello\n"

LIMIT_S = 8.0
"""How long each step of a scene may take to come about, in seconds."""

_NOBODY = 65534
_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000  # include/uapi/linux/sched.h
_PR_SET_PTRACER, _ANY = 0x59616D61, 2**64 - 1  # include/uapi/linux/prctl.h
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 1  # netdevice(7)


class Program:
    """One run of the proxy and its workers; what the workers print goes into a pipe that the scene reads."""

    def __init__(self, pid: int, workers: list[int], port: int, key: int, output: int) -> None:
        self.pid, self.workers, self.port, self.key = pid, workers, port, key
        self._output = output
        self._said = b""
        # A number may belong to somebody else by the time of the end; a descriptor of the process may not.
        self._handles = [os.pidfd_open(worker) for worker in workers]
        self._ended = False

    @property
    def said(self) -> bytes:
        """What the workers have printed so far."""
        while self._output >= 0 and select.select([self._output], [], [], 0)[0]:
            data = os.read(self._output, 65536)
            if not data:
                break
            self._said += data
        return self._said

    def stop_reading(self) -> None:
        """Close the reading end of the workers' output, as when `... | head` has ended, or a terminal is gone."""
        os.close(self._output)
        self._output = -1

    def kill_worker(self, number: int) -> None:
        """Kill one worker; its parent does not look after it, so it stays a zombie."""
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._handles[number], signal.SIGKILL)
        _wait_until(lambda: not process(self.workers[number]).alive, "a killed worker to end")

    def kill_proxy(self) -> None:
        """Kill the proxy alone: its workers go on as orphans."""
        if not self._ended:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
            self._ended = True

    def at_rest(self) -> bool:
        """Whether nothing of it is under way: each worker that lives waits for a message, the proxy sleeps."""
        proxy = process(self.pid)
        if not self._ended and not proxy.alive:
            raise RuntimeError(f"the proxy, pid {self.pid}, has ended by itself, or somebody killed it")
        living = [worker for worker in self.workers if process(worker).alive]
        waiting = all((asleep := asleep_in(worker)) and asleep.call == "msgrcv" for worker in living)
        return waiting and (self._ended or proxy.state == "S")

    def end(self) -> None:
        """End all of it."""
        self.kill_proxy()  # first, so that it puts no more on the queue
        for number, handle in enumerate(self._handles):
            self.kill_worker(number)
            os.close(handle)
        if self._output >= 0:
            self.stop_reading()


class Scene:
    """What a cause is made of. `foreign_queue(key, mode)` makes a queue of another user's, or raises CannotStageError.

    Everything that was made through it is gone when its `with` block ends.
    """

    def __init__(
        self, *, port: int = PORT, key: int = KEY, foreign_queue: Callable[[int, int], object] | None = None
    ) -> None:
        self.port, self.key = port, key
        self._foreign_queue = foreign_queue or _foreign_queue
        self._programs: list[Program] = []
        self._listeners: list[int] = []
        self._keys: list[int] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for program in self._programs:
            program.end()
        for pid in self._listeners:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        for key in self._keys:
            # Not ours to remove where another user's queue was made without root; its namespace ends it.
            with contextlib.suppress(sysv_ipc.ExistentialError, sysv_ipc.PermissionsError):
                sysv_ipc.MessageQueue(key, 0, 0).remove()

    def make_queue(self, *, mode: int = 0o600, limit_bytes: int | None = None) -> None:
        """Make the queue before the program does: with this mode, and no room for more than so many bytes."""
        queue = sysv_ipc.MessageQueue(self.key, sysv_ipc.IPC_CREX, mode)
        self._keys.append(self.key)
        if limit_bytes is not None:
            queue.max_size = limit_bytes

    def make_foreign_queue(self, *, mode: int) -> None:
        """Make the queue as another user would have left it behind."""
        self._foreign_queue(self.key, mode)
        self._keys.append(self.key)

    def start(self, *, bind: str = "127.0.0.1", key: int | None = None) -> Program:
        """Start a proxy and two workers, on the scene's port, and wait until both workers wait for a message."""
        key = self.key if key is None else key
        if key not in self._keys:
            sysv_ipc.MessageQueue(key, sysv_ipc.IPC_CREX, 0o600)
            self._keys.append(key)
        reading, writing = os.pipe()
        pid, workers = _fork(lambda ready: _proxy(bind, self.port, key, writing, ready))
        os.close(writing)
        program = Program(pid, workers, self.port, key, reading)
        self._programs.append(program)
        _wait_until(program.at_rest, "the workers to wait for a message")
        return program

    def listen(self, address: str) -> int:
        """Start a process that has the port at this address, and never reads from it; returns its pid."""
        pid, _ = _fork(lambda ready: _listener(address, self.port, ready))
        self._listeners.append(pid)
        return pid

    def send(
        self,
        text: bytes = TEXT,
        *,
        to: str = "127.0.0.1",
        protocol: str = "udp",
        elsewhere: bool = False,
        until: Callable[[], object] = bool,
    ) -> Client:
        """Do what `nc -u` does: send, and wait for the reply; or, where none will come, `until` something is so.

        `elsewhere`: from a network namespace of its own, as from another container.
        """
        if not elsewhere:
            return _client(text, to, self.port, protocol, until)
        pid, (found,) = _fork(lambda ready: _elsewhere(text, to, self.port, ready))
        os.waitpid(pid, 0)
        if "cannot" in found:
            raise CannotStageError(found["cannot"])
        return Client(**found)

    def unread(self) -> bool:
        """Whether a socket at the port has something that its process did not read."""
        return any(one.unread_bytes for one in sockets_at(self.port))

    def evidence(self, program: Program, client: Client) -> Evidence:
        """Wait until nothing is under way, and look."""
        _wait_until(lambda: all(one.at_rest() for one in self._programs), "the scene to come to rest")
        return collect(port=self.port, key=self.key, proxy=program.pid, workers=program.workers, client=client)


# --- the causes ------------------------------------------------------------------------------------------------------


def all_is_well(scene: Scene) -> Evidence:
    """0: the client gets OK, and a worker prints the message."""
    program = scene.start()
    client = scene.send()
    _wait_until(lambda: TEXT in program.said, "a worker to print the message")
    return scene.evidence(program, client)


def netcat_without_u(scene: Scene) -> Evidence:
    """1: `nc 127.0.0.1 9999` speaks TCP."""
    program = scene.start()
    return scene.evidence(program, scene.send(protocol="tcp"))


def localhost_is_ipv6(scene: Scene) -> Evidence:
    """2: `nc -u localhost 9999` where localhost means ::1 first."""
    program = scene.start()
    return scene.evidence(program, scene.send(to="::1"))


def forgotten_listener(scene: Scene) -> Evidence:
    """3: somebody has 127.0.0.1 at the same port, and ours is bound to 0.0.0.0."""
    scene.listen("127.0.0.1")
    program = scene.start(bind="0.0.0.0")
    return scene.evidence(program, scene.send(until=scene.unread))


def foreign_queue(scene: Scene) -> Evidence:
    """4: another user left a queue with this key and mode 0644."""
    scene.make_foreign_queue(mode=0o644)
    program = scene.start()
    return scene.evidence(program, scene.send())


def workers_dead(scene: Scene) -> Evidence:
    """5: both workers were killed."""
    program = scene.start()
    program.kill_worker(0)
    program.kill_worker(1)
    return scene.evidence(program, scene.send())


def orphan_workers(scene: Scene) -> Evidence:
    """6: the proxy of an earlier run was killed, and its workers live on."""
    earlier = scene.start()
    earlier.kill_proxy()
    program = scene.start()
    client = scene.send()
    _wait_until(lambda: TEXT in earlier.said, "an orphan to take the message")
    return scene.evidence(program, client)


def queue_too_small(scene: Scene) -> Evidence:
    """7: the message has more bytes than the queue may hold."""
    scene.make_queue(limit_bytes=100)
    program = scene.start()
    client = scene.send(b"x" * 200, until=lambda: process(program.pid).asleep_in == "msgsnd")
    return scene.evidence(program, client)


def output_gone(scene: Scene) -> Evidence:
    """8: whoever read the workers' output is gone, and the first worker has met its first message."""
    program = scene.start()
    program.stop_reading()
    client = scene.send()
    _wait_until(lambda: not all(process(worker).alive for worker in program.workers), "a worker to die")
    return scene.evidence(program, client)


def client_elsewhere(scene: Scene) -> Evidence:
    """9: the client is in another network namespace, such as a container's."""
    program = scene.start()
    return scene.evidence(program, scene.send(elsewhere=True))


def later_listener(scene: Scene) -> Evidence:
    """10: a second run with another key, bound later to the same address; SO_REUSEADDR lets it."""
    program = scene.start()
    later = scene.start(key=scene.key + 1)
    client = scene.send()
    _wait_until(lambda: TEXT in later.said, "the later program to print the message")
    return scene.evidence(program, client)


CAUSES = [
    all_is_well,
    netcat_without_u,
    localhost_is_ipv6,
    forgotten_listener,
    foreign_queue,
    workers_dead,
    orphan_workers,
    queue_too_small,
    output_gone,
    client_elsewhere,
    later_listener,
]
"""By number, as the README counts them."""


# --- the processes ---------------------------------------------------------------------------------------------------


def _proxy(bind: str, port: int, key: int, output: int, ready: int) -> None:
    """Datagram in, message out, OK or ER back; the two workers are its children."""
    os.dup2(output, 1)
    _close_all_but(ready)
    queue = sysv_ipc.MessageQueue(key, 0, 0, max_message_size=LARGEST)
    front = _bound(bind, port)
    workers = [_start_worker(number, queue, front) for number in range(2)]
    _report(ready, workers)
    while True:
        data, client = front.recvfrom(LARGEST)
        try:
            queue.send(data)
        except (sysv_ipc.Error, OSError):
            front.sendto(b"ER\n", client)
        else:
            front.sendto(b"OK\n", client)


def _start_worker(number: int, queue: sysv_ipc.MessageQueue, front: socket.socket) -> int:
    pid = os.fork()
    if pid:
        return pid
    try:
        front.close()
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # as in most programs: writing to nobody is the end
        _show_to_all()
        while True:
            data, _ = queue.receive()
            os.write(1, b"[Worker %d] %s" % (number, data))
    finally:
        os._exit(1)


def _listener(address: str, port: int, ready: int) -> None:
    _close_all_but(ready)
    with _bound(address, port):
        _report(ready, [])
        signal.pause()


def _client(text: bytes, to: str, port: int, protocol: str, until: Callable[[], object]) -> Client:
    family = socket.AF_INET6 if ":" in to else socket.AF_INET
    kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
    reply = error = ""
    with socket.socket(family, kind) as client:
        client.settimeout(0.005)
        deadline_s = time.monotonic() + LIMIT_S
        try:
            client.connect((to, port))
            client.send(text)
            while not reply and not until():
                with contextlib.suppress(TimeoutError):
                    reply = client.recv(LARGEST).decode().strip()
                if time.monotonic() > deadline_s:
                    break
        except ConnectionRefusedError:
            error = "connection refused"
        except OSError as problem:
            raise CannotStageError(f"no way to {to} on this machine: {problem.strerror or problem}") from problem
    return Client(protocol=protocol, target=to, network=network_of(), reply=reply, error=error)


def _elsewhere(text: bytes, to: str, port: int, ready: int) -> None:
    """The client, in a network with nothing but a loopback."""
    if libc.call("unshare", _CLONE_NEWNET)[0] and libc.call("unshare", _CLONE_NEWUSER | _CLONE_NEWNET)[0]:
        _report(ready, [{"cannot": "this machine lets nobody but root make a network namespace"}])
        return
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as some:
        flags = struct.unpack("16sH14x", fcntl.ioctl(some, _SIOCGIFFLAGS, struct.pack("16sH14x", b"lo", 0)))[1]
        fcntl.ioctl(some, _SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", flags | _IFF_UP))
    _report(ready, [vars(_client(text, to, port, "udp", bool))])


def _bound(address: str, port: int) -> socket.socket:
    made = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the original does: two may have the same port
    made.bind((address, port))
    return made


def _fork(work: Callable[[int], None]) -> tuple[int, list]:
    """Run `work` in a child, and wait until it reports; returns its pid and what it reported."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the scene, which ends us
            drop_privileges()  # the programs run as an ordinary user's, also where root looks on
            _show_to_all()
            work(writing)
        except OSError as problem:
            try:
                _report(writing, [f"{problem.strerror or problem}"], failed=True)
            except OSError:
                traceback.print_exc()  # it stood, said so, and fell over later
        finally:
            os._exit(0)
    os.close(writing)
    with open(reading, "rb") as pipe:  # noqa: PTH123 - a descriptor
        answer = json.loads(pipe.readline() or b'{"failed": true, "found": ["it died"]}')
    if answer["failed"]:
        os.waitpid(pid, 0)
        raise CannotStageError(f"a process of the scene could not start: {answer['found'][0]}")
    return pid, answer["found"]


def _report(ready: int, found: list, *, failed: bool = False) -> None:
    os.write(ready, json.dumps({"failed": failed, "found": found}).encode() + b"\n")
    os.close(ready)


def _close_all_but(kept: int) -> None:
    """Close what was inherited: a pipe of an earlier program, held here, would never be without a reader."""
    os.closerange(3, kept)
    os.closerange(kept + 1, 1024)


def _show_to_all() -> None:
    """Let processes that are not our parents see what we sleep in, also under Yama, as on Ubuntu."""
    libc.call("prctl", _PR_SET_PTRACER, _ANY, 0, 0, 0)


def _wait_until(condition: Callable[[], object], what: str) -> None:
    deadline_s = time.monotonic() + LIMIT_S
    while not condition():
        if time.monotonic() > deadline_s:
            raise TimeoutError(f"waited {LIMIT_S:g} s for {what}")
        time.sleep(0.002)


def _foreign_queue(key: int, mode: int) -> None:
    if os.geteuid() != 0:
        raise CannotStageError("only root can make a queue that belongs to another user")
    pid = os.fork()
    if pid == 0:
        try:
            os.setresuid(_NOBODY, _NOBODY, _NOBODY)
            sysv_ipc.MessageQueue(key, sysv_ipc.IPC_CREX, mode)
        finally:
            os._exit(0)
    os.waitpid(pid, 0)


# --- by hand ---------------------------------------------------------------------------------------------------------


def main(argv: list[str] | None = None, diagnose: Callable[[Evidence], object] | None = None) -> int:
    """Put one cause on, print the evidence (and the diagnosis), and wait; returns the exit status."""
    parser = argparse.ArgumentParser(description="Put one cause on, print the evidence, and wait for Enter or Ctrl-C.")
    choices = [str(number) for number in range(len(CAUSES))]
    parser.add_argument("--stage", choices=[*choices, "random"], default="random", help="the cause; 0: all is well")
    parser.add_argument("--port", type=int, default=PORT)
    parser.add_argument("--key", type=lambda text: int(text, 0), default=KEY)
    options = parser.parse_args(argv)
    stage = random.choice(CAUSES) if options.stage == "random" else CAUSES[int(options.stage)]
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        _must_be_free(options.port, options.key)
        with contextlib.suppress(KeyboardInterrupt), Scene(port=options.port, key=options.key) as scene:
            evidence = stage(scene)
            print(evidence, flush=True)
            if diagnose is not None:
                print(f"\nyour diagnosis: {diagnose(evidence)}", flush=True)
            print("\nLook around in another terminal; Enter or Ctrl-C here ends the scene.", flush=True)
            sys.stdin.readline()
    except CannotStageError as problem:
        print(f"cannot put this on: {problem}", file=sys.stderr)
        return 3
    return 0


def _must_be_free(port: int, key: int) -> None:
    if taken := sockets_at(port):
        raise CannotStageError(f"UDP port {port} is taken, by pid {taken[0].pid}; try --port")
    if any(queue.key in (key, key + 1) for queue in queues()):
        raise CannotStageError(f"there is a queue with key 0x{key:08x} or the next one already; try --key")


if __name__ == "__main__":
    sys.exit(main())
