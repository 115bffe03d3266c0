"""The front sends first and writes the journal afterwards.

fails: test_the_message_is_committed_before_it_is_sent, test_no_journal_no_promise
sometimes: test_a_message_that_cannot_be_applied_comes_back_at_each_recovery
teaches: between msgsnd and the commit the message is in the queue alone
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import sqlite3
import struct
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import sysv_ipc

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

KEY = 0xF0F
MOST_BYTES = 4096
NUMBER = struct.Struct("!Q")
OK, ER = b"OK\n", b"ER\n"
SCHEMA = """
CREATE TABLE IF NOT EXISTS message (
    id INTEGER PRIMARY KEY AUTOINCREMENT, payload BLOB NOT NULL, done INTEGER NOT NULL DEFAULT 0);
CREATE TABLE IF NOT EXISTS account (name TEXT PRIMARY KEY, coins INTEGER NOT NULL);
"""


# --- the loss --------------------------------------------------------------------------------------------------------


def kill_one_in_hand(queue: sysv_ipc.MessageQueue) -> int:
    """Fork a worker that takes one message and then waits; kill -9 it once it has the message in hand, and reap it.

    If the queue is empty, the worker sleeps until there is a message. Returns the worker's exit status, minus the
    signal if one killed it.
    """
    in_hand, tell = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            queue.receive()
            os.write(tell, b"!")
            signal.pause()
        finally:
            os._exit(1)
    os.close(tell)  # so that the read below ends, too, if the worker dies before it tells
    os.read(in_hand, 1)
    os.close(in_hand)
    os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status)


# --- the journal -----------------------------------------------------------------------------------------------------


def open_journal(file: str) -> sqlite3.Connection:
    """Open the journal, or create it. What is committed is on the disk, as far as the disk itself tells the truth."""
    db = sqlite3.connect(file, isolation_level=None)  # None: a transaction begins and ends where we say
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = FULL")
    db.executescript(SCHEMA)
    return db


@contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[None]:
    """All that is executed inside the `with` comes about, or nothing does; one process at a time."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        db.rollback()
        raise
    db.commit()


def pack(number: int, payload: bytes) -> bytes:
    """A message for the queue: its number in the journal, and the payload."""
    return NUMBER.pack(number) + payload


def unpack(message: bytes) -> tuple[int, bytes]:
    """The number and the payload of a message."""
    return NUMBER.unpack_from(message)[0], message[NUMBER.size :]


# --- the front -------------------------------------------------------------------------------------------------------


def accept(db: sqlite3.Connection, queue: sysv_ipc.MessageQueue, payload: bytes) -> bytes:
    """Write the payload into the journal, commit, and only then put it on the queue; returns the answer, OK or ER.

    OK is a promise: it is in the journal, and will be applied. ER means that nothing will happen: the payload is longer
    than MOST_BYTES; the journal cannot be written (sqlite3.Error); or the queue is full, and then what was journaled
    is deleted again. Never waits for room.
    """
    if len(payload) > MOST_BYTES:
        return ER
    number = db.execute("SELECT coalesce(max(seq), 0) + 1 FROM sqlite_sequence").fetchone()[0]
    try:
        queue.send(pack(number, payload), block=False)
    except sysv_ipc.BusyError:
        return ER
    try:
        with transaction(db):
            db.execute("INSERT INTO message (id, payload) VALUES (?, ?)", [number, payload])
    except sqlite3.Error:
        return ER
    return OK


def recover(db: sqlite3.Connection, queue: sysv_ipc.MessageQueue) -> int:
    """Send again, oldest first, what is in the journal and not done, waiting for room; returns how many.

    Some of them may be in the queue still, and so be sent twice: `apply_once` sees to that.
    """
    not_done = db.execute("SELECT id, payload FROM message WHERE NOT done ORDER BY id").fetchall()
    for number, payload in not_done:
        queue.send(pack(number, payload))
    return len(not_done)


def serve(db: sqlite3.Connection, queue: sysv_ipc.MessageQueue, sock: socket.socket) -> None:
    """Answer each datagram, for ever."""
    while True:
        datagram, sender = sock.recvfrom(MOST_BYTES + 1)  # one more, or a longer one would be cut in silence
        sock.sendto(accept(db, queue, datagram), sender)


# --- the worker ------------------------------------------------------------------------------------------------------


def apply_once(db: sqlite3.Connection, message: bytes, effect: Callable[[sqlite3.Connection, bytes], None]) -> bool:
    """Have the effect of a message and mark it done, as one transaction; returns False if it was done already.

    `effect(db, payload)` writes to the same database. If it raises, nothing of it stays, the message is not done, and
    the exception goes up. Also False, without effect: a number that is not in the journal.
    """
    number, payload = unpack(message)
    with transaction(db):
        marked = db.execute("UPDATE message SET done = 1 WHERE id = ? AND NOT done", [number])
        if marked.rowcount == 0:
            return False
        effect(db, payload)
    return True


def pay(db: sqlite3.Connection, payload: bytes) -> None:
    """Pay in: `alice 5` gives alice five coins more. Raises ValueError for anything else. Twice would be twice."""
    name, coins = payload.decode().split()
    db.execute(
        "INSERT INTO account VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET coins = coins + excluded.coins",
        [name, int(coins)],
    )


def work(db: sqlite3.Connection, queue: sysv_ipc.MessageQueue, pause_s: float) -> None:
    """Take messages and apply them, for ever; `pause_s` seconds pass between taking and applying."""
    while True:
        message, _ = queue.receive()
        number, payload = unpack(message)
        print(f"in hand: {number} {payload!r}", flush=True)
        time.sleep(pause_s)
        try:
            applied = apply_once(db, message, pay)
        except ValueError as error:
            print(f"cannot apply {number}: {error}", flush=True)
        else:
            print(f"{'applied' if applied else 'already done'}: {number}", flush=True)


def main(argv: list[str] | None = None) -> int:
    """Run one side; returns the exit status."""
    parser = argparse.ArgumentParser(description="Payments over a queue, kept safe by a journal.")
    parser.add_argument("side", choices=["lose", "front", "work", "show"])
    parser.add_argument("--bind", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=9999)
    parser.add_argument("--key", type=lambda text: int(text, 0), default=KEY)
    parser.add_argument("--mode", type=lambda text: int(text, 8), default=0o600)
    parser.add_argument("--journal", default="journal.db", metavar="FILE")
    parser.add_argument("--pause", type=float, default=0, metavar="SECONDS", help="between taking and applying")
    options = parser.parse_args(argv)
    if options.side == "show":
        db = open_journal(options.journal)
        print("coins:", dict(db.execute("SELECT name, coins FROM account ORDER BY name")))
        print("not done:", [number for (number,) in db.execute("SELECT id FROM message WHERE NOT done ORDER BY id")])
        return 0
    size = NUMBER.size + MOST_BYTES
    queue = sysv_ipc.MessageQueue(options.key, sysv_ipc.IPC_CREAT, options.mode, max_message_size=size)
    if options.side == "lose":
        for word in ["one", "two", "three"]:
            queue.send(word.encode())
        print(f"three were sent, and the worker ended with {kill_one_in_hand(queue)}")
        print("left:", [queue.receive()[0].decode() for _ in range(queue.current_messages)])
        queue.remove()
    elif options.side == "front":
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind((options.bind, options.port))
            db = open_journal(options.journal)
            print(f"sent again: {recover(db, queue)}", flush=True)
            serve(db, queue, sock)
    else:
        work(open_journal(options.journal), queue, options.pause)
    return 0


if __name__ == "__main__":
    sys.exit(main())
