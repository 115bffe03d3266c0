"""The checks of lab 15: `pytest labs/15_crash_safety`.

Whoever is killed here is killed surely in the moment that is meant: a process says that it is there, and then waits.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import time

import pytest
import sysv_ipc

from harness.labkit import Teach, limit, own_network, task
from harness.labkit.stage import wait_until
from harness.sysv import asleep_in

README = "README.md, Do"
KEY = 0xF0F


@pytest.fixture
def queue():
    """A queue of the lab's, removed at the end."""
    made = sysv_ipc.MessageQueue(KEY, sysv_ipc.IPC_CREX, max_message_size=8192)
    yield made
    made.remove()


@pytest.fixture
def journal(tmp_path):
    """Where the check's journal is."""
    return str(tmp_path / "journal.db")


def taken(queue) -> list[bytes]:
    """All messages that are in the queue."""
    return [bytes(queue.receive(block=False)[0]) for _ in range(queue.current_messages)]


def rows(journal) -> list[tuple]:
    """(id, payload, done) of all that is committed in the journal, seen by somebody else."""
    with contextlib.closing(sqlite3.connect(journal)) as db:
        return db.execute("SELECT id, payload, done FROM message ORDER BY id").fetchall()


def in_a_child(work) -> int:
    """Run `work` in a fork; returns its pid."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            work()
            status = 0
        finally:
            os._exit(status)
    return pid


# --- 15.1 ------------------------------------------------------------------------------------------------------------


@task("15.1")
@limit(10)
def test_exactly_the_message_in_hand_is_lost(lab, queue):
    """Three messages are sent, and the worker is killed with the first in hand: exactly that one is gone."""
    for payload in [b"one", b"two", b"three"]:
        queue.send(payload)

    status = lab.kill_one_in_hand(queue)

    left = taken(queue)
    assert (status, left) == (-signal.SIGKILL, [b"two", b"three"]), Teach(
        saw=f"the worker's status is {status}, and of one, two, three the queue still has {left}",
        because="msgrcv takes the message off the queue as it hands it over: the kernel keeps no copy for the case "
        "that its taker dies",
        try_="receive once, tell, wait; the parent then sends SIGKILL, and returns what os.waitstatus_to_exitcode says",
        see=README,
    )


@task("15.1")
@limit(15)
def test_the_worker_is_killed_only_when_it_has_the_message(lab, queue):
    """The kill waits for the message, however late that comes."""
    parent = os.getpid()

    def send_late() -> None:
        deadline_s = time.monotonic() + 2
        children = f"/proc/{parent}/task/{parent}/children"
        while time.monotonic() < deadline_s:
            with open(children, encoding="ascii") as file:  # noqa: PTH123 - once more each turn
                sleepers = [found for pid in file.read().split() if (found := asleep_in(int(pid)))]
            if any(found.call == "msgrcv" for found in sleepers):
                break
            time.sleep(0.002)
        time.sleep(0.5)  # for who takes it that a moment is enough
        queue.send(b"late")

    sender = in_a_child(send_late)
    status = lab.kill_one_in_hand(queue)
    os.waitpid(sender, 0)

    left = taken(queue)
    assert (status, left) == (-signal.SIGKILL, []), Teach(
        saw=f"the queue was empty at first, the worker's status is {status}, and the late message is "
        + ("still in the queue" if left else "gone"),
        because="a worker that is killed before its msgrcv returns has taken nothing: the window opens only then",
        try_="let the child write a byte into a pipe after its receive, and the parent read that byte before it kills",
        see="hints.md, 15.1",
    )


@task("15.1")
@limit(10)
def test_lose_shows_the_loss(stage):
    """`lose` prints what is left, and removes its queue."""
    program = stage.run("lose", "--key", "0x77")
    status = program.wait()

    expected = "three were sent, and the worker ended with -9\nleft: ['two', 'three']\n"
    assert (status, program.output, stage.queue(0x77)) == (0, expected, None), Teach(
        saw=f"`lose` ended with {status}, and wrote {program.output!r}",
        because="one message is the price of one kill: those that are still in the queue outlive the worker",
        try_="let kill_one_in_hand return only when the worker is dead and reaped; leave main as starter.py has it",
        see=README,
    )


# --- 15.2 ------------------------------------------------------------------------------------------------------------


class Watcher:
    """Stands before a real queue, and looks at the journal in the moment of a send, as another process would."""

    def __init__(self, queue, journal):
        self._queue = queue
        self._journal = journal
        self.seen = []

    def send(self, *args, **kwargs):
        self.seen.append(rows(self._journal))
        self._queue.send(*args, **kwargs)

    def __getattr__(self, name):
        return getattr(self._queue, name)


@task("15.2")
def test_the_message_is_committed_before_it_is_sent(lab, queue, journal):
    """In the moment of msgsnd the journal has the message already, for everybody to see."""
    db = lab.open_journal(journal)
    watcher = Watcher(queue, journal)

    lab.accept(db, watcher, b"alice 5")

    assert watcher.seen == [[(1, b"alice 5", 0)]], Teach(
        saw=f"at each msgsnd another process saw in the journal: {watcher.seen}",
        because="between msgsnd and the commit the message is in the queue alone: who dies there has lost it, or has a "
        "worker apply what no journal knows",
        try_="with transaction(db): insert; the send comes after the with has ended",
        see=README,
    )
    taken(queue)


@task("15.2")
def test_ok_means_in_the_journal_and_on_the_queue(lab, queue, journal):
    """Two messages are answered OK; each is in the journal, not done, and on the queue with its number there."""
    db = lab.open_journal(journal)

    answers = [lab.accept(db, queue, payload) for payload in (b"alice 5", b"")]

    sent = [(int.from_bytes(message[:8], "big"), message[8:]) for message in taken(queue)]
    assert (answers, sent) == ([b"OK\n"] * 2, [(1, b"alice 5"), (2, b"")]), Teach(
        saw=f"the answers are {answers}, and the queue has the (number, payload) {sent}",
        because="the number ties the message on the queue to its line in the journal, where it will be marked done",
        try_="number = db.execute('INSERT ...').lastrowid, then queue.send(pack(number, payload), block=False)",
        see="hints.md, 15.2",
    )
    kept = rows(journal)
    assert kept == [(1, b"alice 5", 0), (2, b"", 0)], Teach(
        saw=f"the journal has {kept}",
        because="OK promises that the message will be applied, also if all processes die now; it is not done yet",
        try_="one INSERT for each payload, and leave `done` at its default",
        see=README,
    )


@task("15.2")
@limit(10)
def test_a_full_queue_is_refused_and_leaves_nothing_in_the_journal(lab, queue, journal):
    """With no room the answer is ER, at once, and the journal has nothing of it."""
    queue.max_size = 20
    queue.send(b"x" * 20)
    db = lab.open_journal(journal)

    answer = lab.accept(db, queue, b"alice 5")

    assert (answer, rows(journal)) == (b"ER\n", []), Teach(
        saw=f"the queue was full: the answer is {answer!r}, and the journal has {rows(journal)}",
        because="what stays in the journal is sent at the next recovery: the client, who heard ER, has paid elsewhere "
        "by then",
        try_="on sysv_ipc.BusyError delete the line again, in a transaction, and return ER",
        see=README,
    )
    taken(queue)
    later = lab.accept(db, queue, b"bob 1")
    assert later == b"OK\n", Teach(
        saw=f"with room again the next answer is {later!r}",
        because="a refusal is over when the queue has room again",
        try_="end the transaction in which you delete",
        see=README,
    )
    taken(queue)


@task("15.2")
def test_no_journal_no_promise(lab, queue, journal):
    """If the journal cannot be written, the answer is ER, and nothing is sent."""
    db = lab.open_journal(journal)
    db.execute("PRAGMA query_only = ON")  # as on a full disk, each write raises sqlite3.OperationalError

    answer = lab.accept(db, queue, b"alice 5")

    sent = taken(queue)
    assert (answer, sent) == (b"ER\n", []), Teach(
        saw=f"the journal could not be written: the answer is {answer!r}, and {len(sent)} messages were sent",
        because="a message that is on the queue and not in the journal is one that nobody can recover, or mark done",
        try_="write first; on sqlite3.Error return ER, before anything is sent",
        see=README,
    )


@task("15.2")
@pytest.mark.parametrize(("length", "expected"), [(4096, b"OK\n"), (4097, b"ER\n")])
def test_the_longest_payload_is_accepted_and_no_longer_one(lab, queue, journal, length, expected):
    """MOST_BYTES is the longest payload; one more is ER, and is neither journaled nor sent."""
    db = lab.open_journal(journal)

    answer = lab.accept(db, queue, b"x" * length)

    counts = (len(rows(journal)), len(taken(queue)))
    assert (answer, counts) == (expected, (1, 1) if expected == b"OK\n" else (0, 0)), Teach(
        saw=f"for {length} bytes the answer is {answer!r}; (journaled, sent) is {counts}",
        because="a message that no worker's buffer can take would stay at the head of the queue for ever (E2BIG)",
        try_="compare len(payload) with MOST_BYTES before anything else",
        see="starter.py, the docstring of accept",
    )


# --- 15.3 ------------------------------------------------------------------------------------------------------------


def prepared(lab, journal):
    """A journal with message 7, not done, and a table that keeps the effects of the check."""
    db = lab.open_journal(journal)
    db.execute("CREATE TABLE effect (payload BLOB)")
    db.execute("INSERT INTO message (id, payload) VALUES (7, ?)", [b"alice 5"])
    return db


def write_effect(db, payload) -> None:
    """What the checks do with a payload."""
    db.execute("INSERT INTO effect VALUES (?)", [payload])


def effects(journal) -> list[bytes]:
    """What is committed of the effects."""
    with contextlib.closing(sqlite3.connect(journal)) as db:
        return [payload for (payload,) in db.execute("SELECT payload FROM effect ORDER BY rowid")]


def message_of(number: int, payload: bytes) -> bytes:
    """As it is on the queue."""
    return number.to_bytes(8, "big") + payload


@task("15.3")
def test_a_message_that_comes_twice_is_applied_once(lab, journal):
    """The first time it has its effect and is done; the second time nothing happens."""
    db = prepared(lab, journal)

    returned = [lab.apply_once(db, message_of(7, b"alice 5"), write_effect) for _ in range(2)]

    assert (returned, effects(journal), rows(journal)[0][2]) == ([True, False], [b"alice 5"], 1), Teach(
        saw=f"applied twice, it returned {returned}; the effects are {effects(journal)}, done is {rows(journal)[0][2]}",
        because="at least once means that a message may come again; only who remembers its number knows it again",
        try_="mark it with UPDATE ... WHERE id = ? AND NOT done: rowcount says whether it was you who did",
        see="hints.md, 15.3",
    )


@task("15.3")
def test_a_number_that_nobody_journaled_has_no_effect(lab, journal):
    """A message whose number is not in the journal is left alone."""
    db = prepared(lab, journal)

    returned = lab.apply_once(db, message_of(8, b"mallory 1000"), write_effect)

    assert (returned, effects(journal)) == (False, []), Teach(
        saw=f"for number 8, which is not in the journal, it returned {returned}; the effects are {effects(journal)}",
        because="what is not in the journal cannot be marked, so it would have its effect each time it comes",
        try_="have the effect only if your UPDATE found a line",
        see="starter.py, the docstring of apply_once",
    )


@task("15.3")
@limit(10)
def test_a_kill_between_effect_and_commit_leaves_nothing(lab, journal):
    """kill -9 right after the effect: neither effect nor mark are there, and the next try has both."""
    prepared(lab, journal).close()

    def die_after_the_effect(db, payload):
        write_effect(db, payload)
        os.kill(os.getpid(), signal.SIGKILL)

    def killed_after_the_effect() -> None:
        lab.apply_once(lab.open_journal(journal), message_of(7, b"alice 5"), die_after_the_effect)

    def killed_at_its_commit(first: int) -> None:
        """0: killed as it is about to commit; 1: killed at whatever statement comes after its first commit."""
        commits = []

        def at(sql: str) -> None:
            commit = "COMMIT" in sql.upper()
            if len(commits) == first and (commit or first):
                os.kill(os.getpid(), signal.SIGKILL)
            if commit:
                commits.append(sql)

        db = lab.open_journal(journal)
        db.set_trace_callback(at)
        lab.apply_once(db, message_of(7, b"alice 5"), write_effect)

    for work in (killed_after_the_effect, lambda: killed_at_its_commit(0)):
        os.waitpid(in_a_child(work), 0)
        seen = (effects(journal), rows(journal)[0][2])
        assert seen == ([], 0), Teach(
            saw=f"the worker was killed before it committed; the effects are {seen[0]}, done is {seen[1]}",
            because="between two commits there is a moment at which one is on the disk and the other is not: "
            "who dies there has paid without a mark (and pays again), or marked without paying (and never pays)",
            try_="put both into one `with transaction(db):`",
            see=README,
        )
    os.waitpid(in_a_child(lambda: killed_at_its_commit(1)), 0)
    seen = (effects(journal), rows(journal)[0][2])
    assert seen == ([b"alice 5"], 1), Teach(
        saw=f"the worker was killed after its first commit; the effects are {seen[0]}, done is {seen[1]}",
        because="between two commits there is a moment at which one is on the disk and the other is not",
        try_="put both into one `with transaction(db):`",
        see=README,
    )


@task("15.3")
def test_an_effect_that_raises_leaves_nothing(lab, journal):
    """If the effect raises, the exception goes up, nothing of it stays, and the message is not done."""
    db = prepared(lab, journal)

    def half(db, payload):
        write_effect(db, payload)
        raise ValueError("no")

    try:
        outcome = f"returned {lab.apply_once(db, message_of(7, b'alice 5'), half)}"
    except ValueError:
        outcome = "raised ValueError"

    seen = (outcome, effects(journal), rows(journal)[0][2], db.in_transaction)
    assert seen == ("raised ValueError", [], 0, False), Teach(
        saw=f"the effect raised ValueError: apply_once {outcome}; effects {seen[1]}, done {seen[2]}, "
        f"in a transaction still: {seen[3]}",
        because="half an effect is worse than none: the message can be tried again only if nothing of it is left",
        try_="leave the exception alone; `with transaction(db):` rolls back and lets it go up",
        see="starter.py, transaction",
    )


@task("15.3")
@limit(20)
def test_two_workers_with_the_same_message_have_its_effect_once(lab, journal):
    """A second worker comes with the same message while the first is at work on it: the effect is there once."""
    prepared(lab, journal).close()
    go, let_go = os.pipe()
    begun, tell = os.pipe()

    def also() -> None:
        os.read(go, 1)
        own = lab.open_journal(journal)
        own.set_trace_callback(lambda _: os.write(tell, b"."))
        lab.apply_once(own, message_of(7, b"alice 5"), write_effect)

    def while_another_comes(db, payload):
        os.write(let_go, b".")
        os.read(begun, 1)  # its first statement
        time.sleep(0.1)  # if that one only looked, it goes on to the next, and waits there
        write_effect(db, payload)

    second = in_a_child(also)  # before this process opens the journal: SQLite's connections do not survive a fork
    lab.apply_once(lab.open_journal(journal), message_of(7, b"alice 5"), while_another_comes)
    os.waitpid(second, 0)

    assert effects(journal) == [b"alice 5"], Teach(
        saw=f"two workers had the same message at the same time, and the effects are {effects(journal)}",
        because="what was read before a transaction began may be no longer true inside it",
        try_="ask and mark inside the transaction, best in one statement: UPDATE ... WHERE id = ? AND NOT done",
        see="hints.md, 15.3",
    )


# --- 15.4 ------------------------------------------------------------------------------------------------------------


@task("15.4")
def test_what_is_not_done_is_sent_again_oldest_first(lab, queue, journal):
    """Of five messages two are done: the other three are sent, with their numbers, and counted."""
    db = lab.open_journal(journal)
    for number in range(1, 6):
        db.execute("INSERT INTO message VALUES (?, ?, ?)", [number, f"alice {number}".encode(), number in {1, 4}])

    count = lab.recover(db, queue)

    sent = taken(queue)
    expected = [message_of(number, f"alice {number}".encode()) for number in (2, 3, 5)]
    assert (count, sent) == (3, expected), Teach(
        saw=f"1 and 4 of five were done; recover returned {count}, and sent {sent}",
        because="what is done needs no second try, and a recovery that sends the whole journal grows with all that "
        "ever came",
        try_="SELECT id, payload FROM message WHERE NOT done ORDER BY id, and pack each",
        see="hints.md, 15.4",
    )


@task("15.4")
@limit(15)
def test_the_recovery_waits_for_room(lab, queue, journal):
    """More is not done than the queue can hold: recover waits until the workers have made room, and sends all."""
    db = lab.open_journal(journal)
    for number in range(1, 6):
        db.execute("INSERT INTO message (id, payload) VALUES (?, ?)", [number, b"alice 5"])
    queue.max_size = 40  # room for two messages of 15 bytes
    recoverer = os.getpid()
    reading, writing = os.pipe()

    def drain() -> None:
        deadline_s = time.monotonic() + 2
        while not ((found := asleep_in(recoverer)) and found.call == "msgsnd") and time.monotonic() < deadline_s:
            time.sleep(0.002)
        while message := queue.receive()[0]:
            os.write(writing, bytes([message[7]]))

    drainer = in_a_child(drain)
    try:
        outcome = lab.recover(db, queue)
    except sysv_ipc.BusyError:
        outcome = "BusyError"
    queue.send(b"")
    os.waitpid(drainer, 0)
    os.close(writing)
    sent = list(os.read(reading, 100))

    assert (outcome, sent) == (5, [1, 2, 3, 4, 5]), Teach(
        saw=f"five were not done, two had room at a time: recover gave {outcome}, and the workers got {sent}",
        because="a message that finds no room is skipped, and nobody comes back for it before the next start; "
        "a recovery can afford to wait, as no client waits for it",
        try_="let send block here",
        see="starter.py, the docstring of recover",
    )


def say(stage, port, payload) -> None:
    """One datagram, which must be answered OK."""
    answer = stage.ask(port, payload)
    assert answer == b"OK\n", Teach(
        saw=f"the front answered {answer!r} to {payload!r}",
        because="the answer is what accept returns; None means that the front did not answer within 2 s",
        try_="start `front` by hand, and send it something with nc -u 127.0.0.1 9999",
        see=README,
    )


def accounts(stage, *where) -> str:
    """What `show` prints."""
    program = stage.run("show", *where)
    status = program.wait()
    return program.output if status == 0 else f"show ended with status {status}"


@task("15.4")
@limit(30)
def test_nothing_that_was_promised_is_lost_and_nothing_is_paid_twice(stage):
    """The worker is killed with a message in hand, then the front: after a new start each payment is there once."""
    port = stage.free_port()
    where = ["--journal", "pay.db", "--key", "0x77"]
    front = stage.run("front", "--port", str(port), "--mode", "640", *where)
    front.wait_for("^sent again: 0$")
    worker = stage.run("work", *where)
    say(stage, port, b"alice 1")
    worker.wait_for("^applied: 1$")
    worker.signal(signal.SIGKILL)
    worker.wait()
    held = stage.run("work", "--pause", "60", *where)
    for coins in (2, 4, 8):
        say(stage, port, f"alice {coins}".encode())
    held.wait_for("^in hand: 2 b'alice 2'$")
    for program in (held, front):
        program.signal(signal.SIGKILL)
        program.wait()
    left = stage.queue(0x77)
    before = accounts(stage, *where)

    front = stage.run("front", "--port", str(port), *where)
    front.wait_for("^sent again: 3$")  # 2 was in hand; 3 and 4 are in the queue still, and come twice
    worker = stage.run("work", *where)
    worker.wait_for("^already done: 4$")
    after = accounts(stage, *where)

    assert (left.messages, oct(left.mode), before) == (2, "0o640", "coins: {'alice': 1}\nnot done: [2, 3, 4]\n"), Teach(
        saw=f"after the kills the queue (mode {oct(left.mode)}) had {left.messages} messages; show said {before!r}",
        because="the queue outlives its processes, and has all but the message in hand; the journal has that one too",
        try_="leave main and work as starter.py has them",
        see="starter.py",
    )
    order = [line for line in worker.output.splitlines() if "in hand" not in line]
    expected = ["applied: 3", "applied: 4", "applied: 2", "already done: 3", "already done: 4"]
    assert (order, after) == (expected, "coins: {'alice': 15}\nnot done: []\n"), Teach(
        saw=f"1, 2, 4 and 8 coins were promised, and show says {after!r}; the worker said {order}",
        because="the recovery puts its messages behind those that are left: each comes at least once, and the journal "
        "lets each be applied once; the order is the one thing that is not kept",
        try_="look which number is missing or twice, and follow it from accept to apply_once",
        see="README.md, Look back",
    )
    front.end()
    worker.end()
    sysv_ipc.MessageQueue(0x77).remove()


@task("15.4")
@limit(20)
def test_a_message_that_cannot_be_applied_comes_back_at_each_recovery(stage):
    """A poison message does not stop those behind it, is never done, and is sent again at each start of the front."""
    port = str(stage.free_port())
    worker = stage.run("work")
    fronts = []
    for start in range(2):
        fronts.append(stage.run("front", "--port", port))
        fronts[start].wait_for(f"^sent again: {start}$")
        if start == 0:
            say(stage, int(port), b"nonsense")
            say(stage, int(port), b"bob 3")
            worker.wait_for("^applied: 2$")
        wait_until(lambda start=start: worker.output.count("cannot apply 1") == start + 1, "the poison message")
        fronts[start].signal(signal.SIGKILL)
        fronts[start].wait()

    shown = accounts(stage)
    where = stage.queue(KEY)
    assert (shown, where and oct(where.mode)) == ("coins: {'bob': 3}\nnot done: [1]\n", "0o600"), Teach(
        saw=f"`nonsense` and `bob 3` were sent; show says {shown!r}",
        because="what raises is rolled back and stays open, so each recovery brings it again: at least once has no end "
        "for a message that can never be applied",
        try_="let apply_once raise what the effect raises",
        see="README.md, Look back",
    )
    worker.end()
    sysv_ipc.MessageQueue(KEY).remove()


@task("15.4")
@limit(10)
@own_network
def test_a_payload_that_is_too_long_is_answered_er(stage):
    """The front, on port 9999 unless told otherwise, answers ER to more than 4096 bytes, and does not cut them."""
    front = stage.run("front")
    front.wait_for("^sent again: 0$")

    answers = [stage.ask(9999, b"x" * length) for length in (4096, 4097)]

    assert answers == [b"OK\n", b"ER\n"], Teach(
        saw=f"datagrams of 4096 and 4097 bytes were answered {answers}",
        because="recvfrom cuts a datagram to its buffer in silence; one byte more of buffer shows that it was longer",
        try_="leave serve as starter.py has it",
        see="starter.py",
    )
    front.end()
    sysv_ipc.MessageQueue(KEY).remove()
