"""What lab 18 gives you, finished: the journal of lab 15, the stop of lab 10, the fork of lab 11, and the plumbing.

Nothing here is left to do; lab.py imports it. Read it when you want to know what a call of yours does.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import os
import signal
import socket
import sqlite3
import traceback
from typing import TYPE_CHECKING

import sysv_ipc

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

KEY = 0x1212
BURST = 64  # so many datagrams are answered before the loop looks at anything else
TICK_S, QUICK_TICK_S = 1.0, 0.02  # how often a worker's msgrcv is interrupted; and once it was asked to stop
PR_SET_PDEATHSIG = 1  # prctl(2)
KERNEL_SAYS_NO = (sysv_ipc.Error, OSError)  # sysv_ipc raises an OSError for errnos that it has no class for


# --- the queue -------------------------------------------------------------------------------------------------------


def left_in(queue: sysv_ipc.MessageQueue) -> int:
    """How many messages are in the queue; 0 if somebody has removed it."""
    try:
        return queue.current_messages
    except KERNEL_SAYS_NO:
        return 0


# --- the journal (lab 15) --------------------------------------------------------------------------------------------


class Journal:
    """What was promised, on the disk. Opened when it is first used; closed before a fork, as SQLite demands."""

    def __init__(self, file: str) -> None:
        self.file = file
        self._db: sqlite3.Connection | None = None

    def execute(self, sql: str, *values: object) -> sqlite3.Cursor:
        """Execute one statement, and commit it; raises sqlite3.Error."""
        if self._db is None:
            self._db = sqlite3.connect(self.file, isolation_level=None)  # each statement is its own transaction
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = FULL")
            columns = "id INTEGER PRIMARY KEY AUTOINCREMENT, payload BLOB NOT NULL, done INTEGER NOT NULL DEFAULT 0"
            self._db.execute(f"CREATE TABLE IF NOT EXISTS message ({columns})")
        return self._db.execute(sql, values)

    def close(self) -> None:
        """Close it; the next use opens it again."""
        if self._db is not None:
            self._db.close()
        self._db = None

    def write(self, payload: bytes) -> int:
        """Write it down; returns its number."""
        return self.execute("INSERT INTO message (payload) VALUES (?)", payload).lastrowid or 0

    def withdraw(self, number: int) -> None:
        """Take it back: it was not promised after all."""
        self.execute("DELETE FROM message WHERE id = ?", number)

    def mark_done(self, number: int) -> None:
        """It has had its effect."""
        self.execute("UPDATE message SET done = 1 WHERE id = ?", number)

    def payload(self, number: int) -> bytes | None:
        """The payload, if it is not done; None if it is, or was never written."""
        row = self.execute("SELECT payload FROM message WHERE id = ? AND NOT done", number).fetchone()
        return row[0] if row else None

    def not_done(self) -> list[int]:
        """The numbers of all that are not done, oldest first."""
        return [number for (number,) in self.execute("SELECT id FROM message WHERE NOT done ORDER BY id")]


# --- a worker's signals, and its birth (labs 10 and 11) --------------------------------------------------------------


class Stop:
    """`asked` becomes True at SIGTERM. Nothing is raised, and no sleeping msgrcv is missed."""

    def __init__(self) -> None:
        self.asked = False
        signal.signal(signal.SIGALRM, lambda *_: None)
        signal.signal(signal.SIGTERM, self._ask)
        signal.setitimer(signal.ITIMER_REAL, TICK_S, TICK_S)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})  # see fork_worker

    def _ask(self, *_: object) -> None:
        self.asked = True
        signal.setitimer(signal.ITIMER_REAL, QUICK_TICK_S, QUICK_TICK_S)


def fork_worker(task: Callable[[], None]) -> int:
    """Fork a child that does `task` and never comes back; returns its pid. It dies with us."""
    parent = os.getpid()
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})  # the child's waits until its Stop is there
    pid = os.fork()
    if pid != 0:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
        return pid
    status = 1
    try:
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL))
        if os.getppid() != parent:  # it died before prctl; not `== 1`: the new parent can be any subreaper
            os._exit(1)
        signal.set_wakeup_fd(-1)  # its signals are its own business from here
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all: it is the parent that ends its crew
        task()
        status = 0
    except BaseException:  # noqa: BLE001 - os._exit prints nothing
        traceback.print_exc()
    finally:
        os._exit(status)


# --- the parent's signals, and its sockets ---------------------------------------------------------------------------


class Signals:
    """From its making SIGTERM, SIGINT and SIGCHLD do nothing but make it readable."""

    def __init__(self) -> None:
        self._reading, writing = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
            signal.signal(number, lambda *_: None)  # Python writes the number into the pipe, and no more
        signal.set_wakeup_fd(writing, warn_on_full_buffer=False)

    def fileno(self) -> int:
        """For select."""
        return self._reading

    def take(self) -> set[int]:
        """The signals that came since the last time."""
        return set(os.read(self._reading, 4096))


def datagrams(sock: socket.socket, most_bytes: int) -> Iterator[tuple[bytes, tuple[str, int]]]:
    """What waits in the socket, BURST of it at most, as (payload, sender), cut to most_bytes + 1."""
    for _ in range(BURST):
        try:
            yield sock.recvfrom(most_bytes + 1)
        except BlockingIOError:
            return


def reply(sock: socket.socket, answer: bytes, sender: tuple[str, int]) -> None:
    """Answer, without waiting: an answer that finds no way is lost, as any datagram may be."""
    with contextlib.suppress(OSError):
        sock.sendto(answer, sender)


def bound(address: str, port: int) -> socket.socket:
    """A UDP socket that does not wait, bound; raises OSError."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setblocking(False)
    sock.bind((address, port))
    return sock


# --- the command line ------------------------------------------------------------------------------------------------


def options_from(argv: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="A UDP proxy and its workers that you could leave alone overnight.")
    parser.add_argument("--bind", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=9999)
    parser.add_argument("--metrics-port", type=int, default=9998)
    parser.add_argument("--key", type=lambda text: int(text, 0), default=KEY)
    parser.add_argument("--mode", type=lambda text: int(text, 8), default=0o600)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--depth", type=int, default=100, help="so many messages may be in the queue")
    parser.add_argument("--drain", type=float, default=10, metavar="SECONDS", help="for what is queued, at the end")
    parser.add_argument("--most-deaths", type=int, default=10, help="so many a minute are a crash loop")
    parser.add_argument("--work", type=float, default=0, metavar="SECONDS", help="what a message costs a worker")
    parser.add_argument("--journal", metavar="FILE", help="at least once, instead of at most once")
    return parser.parse_args(argv)
