"""It removes the queue at the end, also one that was there before it came.

fails: test_it_ends_its_children_and_removes_what_it_made
teaches: a queue that was there belongs to somebody else
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import sys
import traceback
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import sysv_ipc

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import BinaryIO

TYPE = 1
LARGEST_BYTES = 8192  # of a message: the proxy's limit, and the workers' buffer
ENDINGS = {signal.SIGINT, signal.SIGTERM}


@dataclass(frozen=True)
class Settings:
    """What the command line said."""

    bind: str
    port: int
    key: int
    mode: int
    workers: int


# --- the queue and the front, as labs 02 and 06 made them ------------------------------------------------------------


def open_queue(key: int, mode: int) -> tuple[sysv_ipc.MessageQueue, bool]:
    """The queue with this key, and whether it was created by this call."""
    try:
        return sysv_ipc.MessageQueue(key, sysv_ipc.IPC_CREX, mode, max_message_size=LARGEST_BYTES), True
    except sysv_ipc.ExistentialError:
        return sysv_ipc.MessageQueue(key, max_message_size=LARGEST_BYTES), False


def listen(host: str, port: int, *, share: bool = False) -> socket.socket:
    """A bound UDP socket; with `share` as the original's, which others may bind as well: the last one gets it all."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        if share:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, port))
    except OSError:
        sock.close()
        raise
    return sock


def serve(sock: socket.socket, queue: sysv_ipc.MessageQueue, *, cut: bool = False) -> None:
    """The proxy: each datagram becomes a message, and its sender is told OK or ER; never returns.

    A datagram of more than LARGEST_BYTES gets ER; with `cut`, as in the original, its beginning is queued instead.
    """
    while True:
        payload, _, flags, sender = sock.recvmsg(LARGEST_BYTES)
        reply = b"ER\n"
        if cut or not flags & socket.MSG_TRUNC:
            try:
                queue.send(payload, type=TYPE)
                reply = b"OK\n"
            except (OSError, sysv_ipc.Error) as error:
                print(f"not queued, {len(payload)} bytes: {error}", file=sys.stderr)
        sock.sendto(reply, sender)


# --- processes -------------------------------------------------------------------------------------------------------


def start(work: Callable[[], None]) -> int:
    """Fork a child that does `work` and never comes back; returns its process id.

    Its exit status is 0 when `work` returns, and 1 after a traceback. SIGINT and SIGTERM simply end it.
    """
    pid = os.fork()
    if pid != 0:
        return pid
    status = 1
    try:
        for number in ENDINGS:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDINGS)  # a child inherits what its parent has blocked
        work()
        status = 0
    except BaseException:  # noqa: BLE001 - os._exit prints nothing
        traceback.print_exc()
    finally:
        os._exit(status)  # and not sys.exit, which would go through the parent's code


def consume(number: int, queue: sysv_ipc.MessageQueue, out: BinaryIO) -> None:
    """Worker `number`: write `[Worker NUMBER] ` and the payload, as it came, for each message, at the moment it comes.

    Each message is one write(2), so that two workers do not write into each other's. Returns when the queue is removed.
    """
    while True:
        try:
            payload, _ = queue.receive()
        except sysv_ipc.ExistentialError:
            return
        out.write(b"[Worker %d] " % number + payload)
        out.flush()


def start_workers(count: int, queue: sysv_ipc.MessageQueue, out: BinaryIO) -> list[int]:
    """Start workers 0 to count - 1; writes `create worker NUMBER.pid = PID` for each; returns the process ids."""
    pids = []
    for number in range(count):
        pids.append(start(partial(consume, number, queue, out)))
        out.write(b"create worker %d.pid = %d\n" % (number, pids[-1]))
        out.flush()  # what is in the buffer at the next fork is in the child's too, and would be written twice
    return pids


def end(pids: Iterable[int]) -> None:
    """End these children and wait for them; those that have ended already are only waited for."""
    for pid in pids:
        os.kill(pid, signal.SIGTERM)  # until waitpid its number is not given away, dead or alive
        os.waitpid(pid, 0)


# --- the two ways to run it ------------------------------------------------------------------------------------------


def run_as_original(settings: Settings, out: BinaryIO) -> None:
    """The article's program: queue, workers, then the port; this process becomes the proxy. Ctrl-C ends all at once.

    The queue stays. Long datagrams are cut, and the port is shared.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    queue, _ = open_queue(settings.key, settings.mode)
    start_workers(settings.workers, queue, out)
    sock = listen(settings.bind, settings.port, share=True)
    out.write(b"stream_socket_server bind=udp://%s:%d\n" % (settings.bind.encode(), settings.port))
    out.flush()
    serve(sock, queue, cut=True)


def run(settings: Settings, out: BinaryIO) -> None:
    """Bind first, then queue, workers and proxy; wait for SIGINT or SIGTERM; end the children, and clean up.

    The start-up lines are the original's. The queue is removed if it was created here, and stays if it was there.
    """
    sock = listen(settings.bind, settings.port)
    # Blocked before the first fork, and then waited for: no handler runs, and no signal is missed.
    signal.pthread_sigmask(signal.SIG_BLOCK, ENDINGS)
    queue, created = open_queue(settings.key, settings.mode)
    pids = start_workers(settings.workers, queue, out)
    pids.append(start(partial(serve, sock, queue)))
    host, port = sock.getsockname()
    out.write(b"stream_socket_server bind=udp://%s:%d\n" % (host.encode(), port))
    out.flush()
    signal.sigwait(ENDINGS)
    end(pids)
    queue.remove()


def main(argv: list[str] | None = None) -> int:
    """Run the system until it is ended; returns the exit status."""
    parser = argparse.ArgumentParser(description="A UDP proxy, a queue, and workers.")
    parser.add_argument("--as-original", action="store_true", help="0.0.0.0, mode 0666, and the article's faults")
    parser.add_argument("--bind", metavar="HOST", help="127.0.0.1, or as the original 0.0.0.0")
    parser.add_argument("--port", type=int, default=9999)
    parser.add_argument("--key", type=lambda text: int(text, 0), default=0o3000111)  # 0xc0049
    parser.add_argument("--mode", type=lambda text: int(text, 8), help="0600, or as the original 0666")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args(argv)
    original = options.as_original
    settings = Settings(
        bind=options.bind or ("0.0.0.0" if original else "127.0.0.1"),
        port=options.port,
        key=options.key,
        mode=options.mode if options.mode is not None else (0o666 if original else 0o600),
        workers=options.workers,
    )
    try:
        (run_as_original if original else run)(settings, sys.stdout.buffer)
    except (OSError, sysv_ipc.Error) as error:
        print(f"cannot run on {settings.bind}:{settings.port}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
