"""The checks of lab 18: `pytest labs/18_production_proxy`.

18.1 to 18.5 are checked piece by piece; what a piece needs from another, the check brings itself. 18.6 is the whole
program, with real datagrams, kills and signals. `pytest labs/18_production_proxy -k answered -rP` shows rate and p99.
"""

from __future__ import annotations

import contextlib
import json
import mmap
import os
import re
import select
import signal
import socket
import sqlite3
import threading
import time
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest
import sysv_ipc

from harness.labkit import Teach, limit, task
from harness.labkit.stage import wait_until
from harness.sysv import asleep_in

README = "README.md, Do"
KEY = 0x1212
LATER_S = 10.0  # for processes on a busy machine

RECEIVED, ACCEPTED, REFUSED, AGAIN, DEATHS, DEEPEST = range(6)
TAKEN, HANDLED, FAILED, IN_HAND = range(4)


@pytest.fixture
def queue():
    """A queue of the lab's, removed at the end."""
    made = sysv_ipc.MessageQueue(KEY, sysv_ipc.IPC_CREX, max_message_size=8192)
    yield made
    with contextlib.suppress(sysv_ipc.ExistentialError):
        made.remove()


@pytest.fixture
def journal_file(tmp_path):
    """Where the check's journal is."""
    return str(tmp_path / "journal.db")


def words_for(count: int) -> memoryview:
    """Words as the ledger's, the check's own."""
    return memoryview(bytearray(8 * count)).cast("Q")


def shared_words(count: int) -> memoryview:
    """Words that a fork shares."""
    return memoryview(mmap.mmap(-1, 8 * count)).cast("Q")


def taken(queue) -> list[tuple[int, bytes]]:
    """(number, payload) of all messages that are in the queue."""
    messages = [bytes(queue.receive(block=False)[0]) for _ in range(queue.current_messages)]
    return [(int.from_bytes(message[:8], "big"), message[8:]) for message in messages]


def put(queue, payload: bytes, number: int = 0) -> None:
    """A message as the front sends it."""
    queue.send(number.to_bytes(8, "big") + payload, block=False)


def rows(file: str) -> list[tuple]:
    """(id, payload, done) of all that is committed in the journal, seen by somebody else."""
    with contextlib.closing(sqlite3.connect(file)) as db:
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


def status_of(pid: int, what: str) -> int:
    """Wait for a child's end; returns its exit status, minus the signal that killed it."""
    pidfd = os.pidfd_open(pid)
    try:
        ended = select.select([pidfd], [], [], LATER_S)[0]
    finally:
        os.close(pidfd)
    if not ended:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    assert ended, Teach(
        saw=f"{what} still ran after {LATER_S:g} s",
        because="a signal wakes msgrcv with EINTR; who does not look at `stop.asked` then sleeps again",
        try_="on the bare sysv_ipc.Error go back to the loop's condition",
        see="parts.py, Stop",
    )
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


# --- 18.1 ------------------------------------------------------------------------------------------------------------


@task("18.1")
def test_a_killed_worker_s_counts_survive_it(lab):
    """What a forked worker counted before it was killed stands in the parent's ledger."""
    ledger = lab.Ledger(2)

    def count_and_die() -> None:
        ledger.worker(1)[TAKEN] += 3
        ledger.worker(1)[HANDLED] += 2
        os.kill(os.getpid(), signal.SIGKILL)

    os.waitpid(in_a_child(count_and_die), 0)

    seen = list(ledger.worker(1))
    assert seen == [3, 2, 0, 0], Teach(
        saw=f"a child counted TAKEN 3 and HANDLED 2, and was killed; the parent sees {seen}",
        because="ordinary memory is copied by a fork, so that each process writes into its own; an anonymous shared "
        "mapping stays one and the same, and outlives who wrote there",
        try_='memoryview(mmap.mmap(-1, BYTES)).cast("Q"), made before the fork',
        see="hints.md, 18.1",
    )


@task("18.1")
def test_every_word_has_one_writer(lab):
    """The parent and three workers each write their own words, and no one else's."""
    ledger = lab.Ledger(3)
    everybody = [ledger.parent, *(ledger.worker(number) for number in range(3))]

    sizes = [len(words) for words in everybody]
    for who, words in enumerate(everybody, 1):
        for word in range(len(words)):
            words[word] += 2**40 * who + word

    seen = [list(words) for words in everybody]
    expected = [[2**40 * who + word for word in range(size)] for who, size in enumerate([6, 4, 4, 4], 1)]
    assert (sizes, seen) == ([6, 4, 4, 4], expected), Teach(
        saw=f"parent and workers have {sizes} words; after each wrote its own they hold {seen}",
        because="two writers of one word lose counts: each reads, adds, and writes back what the other has not seen",
        try_="worker n begins behind the parent's words and those of the n workers before it",
        see="starter.py, PARENTS_WORDS and WORKERS_WORDS",
    )


@task("18.1")
def test_the_report_says_what_became_of_each_message(lab):
    """The report adds up the workers' words, and derives what is held and what nobody can explain."""
    ledger = lab.Ledger(2)
    for word, count in enumerate([100, 61, 39, 5, 2, 9]):
        ledger.parent[word] = count
    for number, counts in enumerate([(10, 7, 1, 0), (20, 15, 3, 8)]):
        for word, count in enumerate(counts):
            ledger.worker(number)[word] = count

    report = ledger.report(34)

    expected = {"received": 100, "accepted": 61, "refused": 39, "again": 5, "deaths": 2, "deepest": 9}
    expected |= {"handled": 22, "failed": 4, "held": 4, "left": 34, "unexplained": 2}
    wrong = {name: report.get(name) for name in expected if report.get(name) != expected[name]}
    assert report == expected, Teach(
        saw=f"of 61 accepted and 5 sent again 30 were taken, 22 handled, 4 failed, 34 are left; wrong are {wrong}",
        because="what was sent (accepted + again) has been taken or is left; what was taken is handled, failed or held",
        try_="held = taken - handled - failed; unexplained = accepted + again - taken - left",
        see="starter.py, the docstring of report",
    )


@task("18.1")
@pytest.mark.parametrize(
    ("refused", "unexplained", "deaths", "expected"),
    [
        (4, 0, 0, True),
        (4, 2, 2, True),
        (4, 1, 2, True),
        (4, 3, 2, False),
        (4, 1, 0, False),
        (4, -1, 2, False),
        (3, 0, 0, False),
        (5, 0, 0, False),
    ],
)
def test_the_books_balance_or_not(lab, refused, unexplained, deaths, expected):
    """Received is accepted and refused; and there is no more unexplained than workers have died, nor less than none."""
    report = {"received": 10, "accepted": 6, "refused": refused, "unexplained": unexplained, "deaths": deaths}

    found = lab.balances(report)

    assert found is expected, Teach(
        saw=f"balances({report}) is {found}",
        because="each death can hide one message, taken and not yet counted; a message more than that is a bug, and so "
        "is one that was counted twice",
        try_="received == accepted + refused, and 0 <= unexplained <= deaths",
        see="starter.py, the docstring of balances",
    )


# --- 18.2 ------------------------------------------------------------------------------------------------------------


def front_of(lab, queue, **given):
    """A front with words of its own."""
    return lab.Front(queue, words_for(6), **({"depth": 3, "most_bytes": 100} | given))


@task("18.2")
def test_what_is_accepted_is_sent_and_counted(lab, queue):
    """Two payloads, one empty, are OK, sent with number 0, counted; DEEPEST is the most that were in the queue."""
    front = front_of(lab, queue)

    answers = [front.offer(payload) for payload in (b"one", b"")]
    sent = taken(queue)
    answers.append(front.offer(b"three"))

    assert (answers, sent, taken(queue)) == ([b"OK\n"] * 3, [(0, b"one"), (0, b"")], [(0, b"three")]), Teach(
        saw=f"three payloads were answered {answers}; the queue had {sent} after two of them",
        because="a message is its number (0 without a journal) and the payload as it came; empty is a payload too",
        try_="queue.send(NUMBER.pack(number) + payload, block=False)",
        see="starter.py, the docstring of Front.send",
    )
    counts = list(front.words)
    assert counts == [3, 3, 0, 0, 0, 2], Teach(
        saw=f"[received, accepted, refused, again, deaths, deepest] are {counts}, at most 2 were in the queue",
        because="a count that is wrong by one makes the whole ledger useless: nobody can tell it from a lost message",
        try_="RECEIVED first; ACCEPTED or REFUSED by what `put` returns; DEEPEST = max(DEEPEST, depth) after a send",
        see="starter.py, Front",
    )


@task("18.2")
def test_the_depth_is_a_limit(lab, queue):
    """With a depth of 3, the fourth message is ER, counted, and not in the queue; when one is taken, the next is OK."""
    front = front_of(lab, queue)

    answers = [front.offer(b"m") for _ in range(5)]
    depth = queue.current_messages
    queue.receive(block=False)
    answers.append(front.offer(b"m"))

    seen = (answers, depth, list(front.words))
    taken(queue)
    assert seen == ([b"OK\n"] * 3 + [b"ER\n"] * 2 + [b"OK\n"], 3, [6, 4, 2, 0, 0, 3]), Teach(
        saw=f"with a depth of 3: {answers}; {depth} were in the queue; the parent's words are {seen[2]}",
        because="a limit of N means that the message that would be number N + 1 stays outside; above it more messages "
        "only wait longer, and the client learns nothing",
        try_="admit while left_in(queue) is less than depth",
        see=README,
    )


@task("18.2")
@pytest.mark.parametrize(("length", "expected"), [(100, b"OK\n"), (101, b"ER\n")])
def test_the_longest_payload_is_the_last_that_is_accepted(lab, queue, length, expected):
    """`most_bytes` is the longest payload; one byte more is ER, and counted."""
    front = front_of(lab, queue)

    answer = front.offer(b"x" * length)

    seen = (answer, list(front.words)[:3], len(taken(queue)))
    assert seen == (expected, [1, 1, 0] if expected == b"OK\n" else [1, 0, 1], expected == b"OK\n"), Teach(
        saw=f"{length} bytes, with most_bytes 100: {answer!r}; counts {seen[1]}, {seen[2]} sent",
        because="a message over msgmax is refused by the kernel, and one over a worker's buffer is stuck for ever",
        try_="compare len(payload) with most_bytes before you ask the kernel",
        see="starter.py, the docstring of admits",
    )


@task("18.2")
def test_the_front_never_waits_for_room(lab, queue):
    """The kernel's own limit is reached before the depth: ER at once, counted, and DEEPEST is what was sent."""
    queue.max_size = 40
    front = front_of(lab, queue, depth=1000)

    answers = [front.offer(b"x" * 12) for _ in range(3)]

    seen = (answers, list(front.words))
    taken(queue)
    assert seen == ([b"OK\n", b"OK\n", b"ER\n"], [3, 2, 1, 0, 0, 2]), Teach(
        saw=f"40 bytes of room and messages of 20: {answers}; the parent's words are {seen[1]}",
        because="msgmnb limits the bytes of a queue, whatever number of messages you allow",
        try_="send(..., block=False), and take sysv_ipc.BusyError for a no; count only what was sent",
        see="labs/09_full_queue/README.md",
    )


@task("18.2")
def test_a_removed_queue_is_a_refusal(lab, queue):
    """Somebody removed the queue: ER, counted, and no exception."""
    front = front_of(lab, queue)
    queue.remove()

    try:
        outcome = repr(front.offer(b"one"))
    except (sysv_ipc.Error, OSError) as error:
        outcome = f"{type(error).__name__}: {error}"

    assert (outcome, list(front.words)[:3]) == ("b'ER\\n'", [1, 0, 1]), Teach(
        saw=f"the queue was removed; offer gave {outcome}; received, accepted, refused: {front.words[:3].tolist()}",
        because="msgsnd on a removed queue is EINVAL, which sysv_ipc raises as an OSError, and no sysv_ipc.Error",
        try_="except KERNEL_SAYS_NO",
        see="hints.md, 18.2",
    )


# --- 18.3 ------------------------------------------------------------------------------------------------------------


def stop_after(count: int):
    """A stop, and a handler that keeps what it gets and asks for the stop with the last of so many."""
    stop, seen = SimpleNamespace(asked=False), []

    def handle(payload: bytes) -> None:
        seen.append(payload)
        stop.asked = len(seen) >= count

    return stop, seen, handle


@task("18.3")
def test_a_worker_handles_until_it_is_asked_to_stop(lab, queue):
    """Asked to stop while it handles the second of three, it finishes that one, and leaves the third."""
    for payload in (b"one", b"", b"three"):
        put(queue, payload)
    words = words_for(4)
    stop, seen, handle = stop_after(2)

    lab.work(queue, words, handle, stop)

    left = taken(queue)
    assert (seen, left, list(words)) == ([b"one", b""], [(0, b"three")], [2, 2, 0, 0]), Teach(
        saw=f"it handled {seen}, left {left}, and counted [taken, handled, failed, in hand] {list(words)}",
        because="what a worker has not taken, another one can; what it has taken, it alone can finish",
        try_="while not stop.asked: receive, count, handle message[NUMBER.size:], count",
        see=README,
    )


@task("18.3")
def test_a_message_in_hand_is_counted_as_such(lab, queue):
    """While a message is handled it is TAKEN, not yet HANDLED, and its number is IN_HAND; afterwards none is."""
    put(queue, b"one", 7)
    put(queue, b"two", 9)
    words = words_for(4)
    stop, _, handle = stop_after(2)
    meanwhile = []

    def look(payload: bytes) -> None:
        meanwhile.append(list(words))
        handle(payload)

    lab.work(queue, words, look, stop)

    assert (meanwhile, list(words)) == ([[1, 0, 0, 7], [2, 1, 0, 9]], [2, 2, 0, 0]), Teach(
        saw=f"[taken, handled, failed, in hand] were {meanwhile} during two messages, and {list(words)} after",
        because="what is counted only afterwards is in no book while it is in hand: if the worker is killed, nobody "
        "knows that it had one, nor which",
        try_="IN_HAND and TAKEN right behind receive; the outcome, and IN_HAND = 0, at the end",
        see="starter.py, the docstring of work",
    )


@task("18.3")
def test_a_message_that_cannot_be_handled_is_given_up(lab, queue, capsys):
    """A handler that raises costs its own message only: counted as FAILED, told on standard error."""
    put(queue, b"poison")
    put(queue, b"good")
    words = words_for(4)
    stop, seen, handle = stop_after(1)

    def choosy(payload: bytes) -> None:
        if payload == b"poison":
            raise ValueError("not for me")
        handle(payload)

    lab.work(queue, words, choosy, stop)

    told = capsys.readouterr().err
    assert (seen, list(words)) == ([b"good"], [2, 1, 1, 0]), Teach(
        saw=f"poison, then good: handled were {seen}, [taken, handled, failed, in hand] are {list(words)}",
        because="a worker that dies of a message is started again, and dies of the next such message: a few of them "
        "are a crash loop, which ends the proxy",
        try_="except Exception around handle alone: return FAILED, else HANDLED",
        see="starter.py, the docstring of try_to_handle",
    )
    assert "not for me" in told, Teach(
        saw=f"on standard error stood {told!r}",
        because="what is given up in silence is missed only when it is too late to ask why",
        try_="print the exception, file=sys.stderr",
        see="starter.py, the docstring of try_to_handle",
    )


@task("18.3")
@limit(30)
@pytest.mark.parametrize("moment", ["asleep in msgrcv", "with a message in hand"])
def test_sigterm_ends_a_worker_and_costs_nothing(lab, queue, moment):
    """At SIGTERM a worker that waits ends, and one that has a message in hand finishes it first."""
    words = shared_words(4)
    begun, tell = os.pipe()
    go, let_go = os.pipe()

    def handle(_: bytes) -> None:
        os.write(tell, b".")
        os.read(go, 1)

    pid = in_a_child(lambda: lab.work(queue, words, handle, lab.Stop()))
    if moment == "asleep in msgrcv":
        wait_until(lambda: asleep_in(pid), "the worker to sleep in msgrcv", limit_s=LATER_S)
        os.kill(pid, signal.SIGTERM)
    else:
        put(queue, b"one")
        put(queue, b"two")
        os.read(begun, 1)
        os.kill(pid, signal.SIGTERM)
        os.write(let_go, b".")
    status = status_of(pid, f"a worker that got SIGTERM {moment}")

    handled = int(moment != "asleep in msgrcv")
    seen = (status, list(words), len(taken(queue)))
    assert seen == (0, [handled, handled, 0, 0], handled), Teach(
        saw=f"SIGTERM {moment}: status {status}, [taken, handled, failed, in hand] {seen[1]}, {seen[2]} left",
        because="EINTR is raised as the bare sysv_ipc.Error: it says that a signal came, and that no message was taken",
        try_="on EINTR go back to the loop's condition; look at stop.asked nowhere else",
        see="labs/10_clean_shutdown/README.md",
    )


def naps_of(pid: int) -> int:
    """How often a process has gone to sleep by itself; 0 when it is dead."""
    words = re.search(r"^voluntary_ctxt_switches:\s+(\d+)", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    return int(words[1]) if words else 0


def state_of(pid: int) -> str:
    """The state of a process: R, S, T, Z ..."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


@task("18.3")
@limit(30)
def test_a_signal_that_asks_nothing_changes_nothing(lab, queue):
    """A tick wakes a worker that waits; it goes on waiting, and handles the next message."""
    words = shared_words(4)
    pid = in_a_child(lambda: lab.work(queue, words, lambda _: None, lab.Stop()))
    wait_until(lambda: asleep_in(pid), "the worker to sleep in msgrcv", limit_s=LATER_S)

    naps = naps_of(pid)
    os.kill(pid, signal.SIGALRM)
    wait_until(lambda: naps_of(pid) > naps or state_of(pid) == "Z", "the worker to wake", limit_s=LATER_S)
    put(queue, b"one")
    deadline_s = time.monotonic() + LATER_S / 5
    while not words[HANDLED] and time.monotonic() < deadline_s:
        time.sleep(0.005)
    os.kill(pid, signal.SIGTERM)
    status = status_of(pid, "a worker that got SIGALRM, and then SIGTERM")

    assert (status, list(words)) == (0, [1, 1, 0, 0]), Teach(
        saw=f"SIGALRM, then a message, then SIGTERM: status {status}, [taken, handled, failed, in hand] {list(words)}",
        because="Stop's timer interrupts msgrcv again and again, so that no request is missed: an EINTR alone is none",
        try_="on EINTR continue, and let the loop's condition decide",
        see="parts.py, Stop",
    )


@task("18.3")
def test_a_worker_whose_queue_is_gone_says_so(lab, queue):
    """A removed queue is an error that goes up: the worker does not spin."""
    queue.remove()
    looks = iter(range(1000))
    stop = type("Stop", (), {"asked": property(lambda _: next(looks) > 100)})()

    try:
        lab.work(queue, words_for(4), lambda _: None, stop)
        outcome = "it went on asking"
    except sysv_ipc.ExistentialError:
        outcome = "ExistentialError"

    assert outcome == "ExistentialError", Teach(
        saw=f"the queue was removed while the worker was at work: {outcome}",
        because="ExistentialError is a sysv_ipc.Error too: who takes each of them for EINTR spins on a queue that is "
        "gone, at full speed",
        try_="if type(error) is not sysv_ipc.Error: raise",
        see="hints.md, 18.3",
    )


# --- 18.4 ------------------------------------------------------------------------------------------------------------


def open_files() -> int:
    """How many files this process has open."""
    return len(list(Path("/proc/self/fd").iterdir()))


class Players:
    """Real children that sleep until they are killed, started by a crew whose clock stands still until it is set."""

    def __init__(self, lab, size: int, most_deaths: int = 3) -> None:
        self.started: list[int] = []
        self.now_s = 100.0
        self.crew = lab.Crew(size, self.start, most_deaths=most_deaths, clock=lambda: self.now_s)

    def start(self, number: int) -> int:
        self.started.append(number)
        return in_a_child(signal.pause)

    def kill(self, number: int) -> None:
        """kill -9, and wait until it is dead and not yet collected."""
        pid = self.crew.members[number].pid
        os.kill(pid, signal.SIGKILL)
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)

    def end(self) -> None:
        for member in self.crew.members:
            if member.pid is not None:
                with contextlib.suppress(ProcessLookupError, ChildProcessError):
                    os.kill(member.pid, signal.SIGKILL)
                    os.waitpid(member.pid, 0)


@pytest.fixture
def players(lab):
    """`players(size)` makes them; they are gone at the end."""
    made: list[Players] = []

    def make(size: int, **given) -> Players:
        made.append(Players(lab, size, **given))
        return made[-1]

    yield make
    for some in made:
        some.end()


@task("18.4")
def test_everybody_is_started_once(players):
    """The crew is started, each with its number, and nobody a second time; while all run there is nothing due."""
    some = players(3)

    before_s = some.crew.due_in_s()
    some.crew.start_due()
    some.crew.start_due()

    seen = (some.started, before_s, some.crew.due_in_s())
    assert seen == ([0, 1, 2], 0.0, None), Teach(
        saw=f"start_due, twice: started were {seen[0]}; due_in_s was {before_s} before, and {seen[2]} after",
        because="who runs needs no start, and a loop in which nothing is due can sleep until a signal comes: select "
        "without a time limit",
        try_="start those whose pid is None and whose due_s has come, and keep pid and started_s",
        see="starter.py, Crew",
    )


@task("18.4")
def test_the_dead_are_collected_and_nobody_is_waited_for(players):
    """One of three died: reap names it and leaves no zombie; it is due after the first delay, and no moment before."""
    some = players(3)
    some.crew.start_due()
    first = some.crew.members[1].pid
    alive = some.crew.reap()
    assert (alive, some.crew.members[1].pid) == ([], first), Teach(
        saw=f"all three are alive: reap gave {alive}, and number 1's pid is {some.crew.members[1].pid} now",
        because="waitpid with WNOHANG answers (0, 0) for a child that has not ended; who takes it for dead starts a "
        "second one in its place, and never collects the first",
        try_="go on to the next if os.waitpid(member.pid, os.WNOHANG)[0] == 0",
        see="labs/11_supervisor/README.md",
    )
    some.kill(1)

    dead = some.crew.reap()
    due_s = [some.crew.due_in_s()]
    try:
        os.waitpid(first, os.WNOHANG)
        zombie = True
    except ChildProcessError:
        zombie = False
    for later_s in (0.04, 0.05, 0.06):
        some.now_s = 100 + later_s
        due_s.append(some.crew.due_in_s())
        some.crew.start_due()

    assert (dead, zombie) == ([1], False), Teach(
        saw=f"number 1 was killed: reap gave {dead}; still to be collected: {zombie}",
        because="a dead child stays a zombie until its parent asks for its status; with WNOHANG it asks and does "
        "not wait",
        try_="os.waitpid(member.pid, os.WNOHANG) for each that runs: (0, 0) means that it is alive",
        see="labs/11_supervisor/README.md",
    )
    rounded = [None if value is None else round(value, 3) for value in due_s]
    assert (rounded, some.started) == ([0.05, 0.01, 0.0, None], [0, 1, 2, 1]), Teach(
        saw=f"0, 0.04, 0.05 and 0.06 s after the death it was due in {rounded} s; started were {some.started}",
        because="a worker that dies at once and is started at once would use a whole core for dying",
        try_="due_s = now + delay, and start when clock() >= due_s; due_in_s is min(due_s) - clock(), never below 0",
        see="starter.py, the docstring of Crew.reap",
    )


@task("18.4")
def test_who_ended_well_is_gone_too(lab):
    """A worker that ended by itself with status 0 is collected as any other."""
    crew = lab.Crew(1, lambda _: in_a_child(lambda: None), most_deaths=3)
    crew.start_due()
    pid = crew.members[0].pid
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)

    dead = crew.reap()

    with contextlib.suppress(ChildProcessError):  # it is collected, as it should be
        os.waitpid(pid, 0)
    assert dead == [0], Teach(
        saw=f"a worker ended with status 0, and reap gave {dead}",
        because="waitpid gives a pair: whose status it is (0: nobody's), and that status: 0 if all was well",
        try_="look at the first of the two",
        see="labs/11_supervisor/README.md",
    )


@task("18.4")
def test_delays_double_up_to_a_cap_and_a_good_life_begins_anew(players):
    """Deaths at once put the restart off by 0.05, 0.1, 0.2 ... 5, 5 seconds; after 10 s of life it is 0.05 again."""
    some = players(1, most_deaths=100)
    delays_s = []
    for life_s in [0] * 9 + [9.99, 10, 1]:
        some.now_s += 1000
        some.crew.start_due()
        some.now_s += life_s
        some.kill(0)
        some.crew.reap()
        delays_s.append(round(some.crew.due_in_s(), 3))

    expected = [0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5, 5, 5, 0.05, 0.1]
    assert delays_s == expected, Teach(
        saw=f"nine lives of 0 s, then of 9.99, 10 and 1 s: the delays were {delays_s} s",
        because="what fails at once will most likely fail again: each try costs, so tries become rarer; one that lived "
        "well has failed for a new reason",
        try_="FIRST_S if it lived GOOD_S, else max(FIRST_S, min(2 * delay_s, CAP_S))",
        see="starter.py, the docstring of Crew.reap",
    )


@task("18.4")
def test_deaths_that_come_too_fast_are_a_crash_loop(players):
    """Three deaths of anybody within 60 s are one; two are not, and three within 60.1 s are not."""
    found = {}
    for name, times_s in {
        "two": (0, 1),
        "60 s": (0, 30, 60),
        "60.1 s": (0, 30, 60.1),
        "the last": (0, 50, 90, 109),
    }.items():
        some = players(4)
        some.crew.start_due()
        for number, time_s in enumerate(times_s):
            some.now_s = 100 + time_s
            some.kill(number)
            some.crew.reap()
        found[name] = bool(some.crew.crash_loop())
        some.end()
        for member in some.crew.members:
            member.pid = None

    expected = {"two": False, "60 s": True, "60.1 s": False, "the last": True}
    assert found == expected, Teach(
        saw=f"most_deaths 3: is it a crash loop? {found}; it should be {expected}",
        because="single deaths happen; so many in a minute mean that restarting does not help, and a supervisor that "
        "never gives up hides that from everybody",
        try_="the deque keeps the last most_deaths times: is it full, and are its ends at most WINDOW_S apart?",
        see="labs/11_supervisor/README.md",
    )


@task("18.4")
@limit(20)
def test_all_are_asked_to_end_at_once(lab):
    """All get SIGTERM before anybody is waited for: here the first ends only after the last has got it."""
    asked, tell = os.pipe()
    ready, say_ready = os.pipe()

    def player(number: int) -> int:
        def play() -> None:
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
            os.write(say_ready, b".")
            signal.sigwait({signal.SIGTERM})
            if number == 0:
                os.read(asked, 1)
                os.write(tell, b"clean")
            else:
                os.write(tell, b".")

        return in_a_child(play)

    crew = lab.Crew(2, player, most_deaths=3)
    pids = [player(number) for number in range(2)]
    for number, pid in enumerate(pids):
        crew.members[number].pid = pid
        os.read(ready, 1)

    crew.end(2)

    os.set_blocking(asked, False)
    try:
        said = os.read(asked, 100)
    except BlockingIOError:
        said = b""
    assert said == b"clean", Teach(
        saw="the first waited to hear that the second was asked to end too; it was killed before",
        because="ended one by one, each waits for the slowest before it, and all together have many times the grace",
        try_="a loop that sends SIGTERM to all, then a loop that waits for each until the same deadline",
        see="hints.md, 18.4",
    )


@task("18.4")
@limit(20)
def test_the_polite_and_the_stubborn_are_gone_afterwards(lab):
    """Who ends at SIGTERM may finish, who ignores it is killed after the grace; the dead do no harm."""
    told, tell = os.pipe()
    ready, say_ready = os.pipe()

    def polite() -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        os.write(say_ready, b".")
        signal.sigwait({signal.SIGTERM})
        time.sleep(0.05)
        os.write(tell, b"finished")

    def stubborn() -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        os.write(say_ready, b".")
        while True:
            signal.pause()

    crew = lab.Crew(4, lambda _: 0, most_deaths=3)
    pids = [in_a_child(work) for work in (stubborn, polite, lambda: os.write(say_ready, b"."))]
    for number, pid in enumerate(pids):
        crew.members[number].pid = pid
        os.read(ready, 1)
    os.waitid(os.P_PID, pids[2], os.WEXITED | os.WNOWAIT)
    begun_s = time.monotonic()
    open_before = open_files()

    crew.end(1)

    took_s, open_after = time.monotonic() - begun_s, open_files()
    left = [pid for pid in pids if Path(f"/proc/{pid}").exists()]
    for pid in left:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    os.set_blocking(told, False)
    try:
        said = os.read(told, 100)
    except BlockingIOError:
        said = b""
    seen = (said, len(left), [member.pid for member in crew.members], open_after - open_before)
    assert seen == (b"finished", 0, [None] * 4, 0), Teach(
        saw=f"the polite one wrote {said!r}; {len(left)} are left or zombies; pids {seen[2]}; {seen[3]} more files",
        because="SIGTERM is a request, and SIGKILL the only one that cannot be refused; after either, the parent must "
        "collect the status, or a zombie stays",
        try_="select on os.pidfd_open(pid) until the deadline, then os.kill(pid, SIGKILL), os.waitpid, os.close",
        see="hints.md, 18.4",
    )
    assert 0.9 <= took_s < 5, Teach(
        saw=f"end(1) with one that ignores SIGTERM took {took_s:.1f} s",
        because="the grace is the time that those get who need it: not less, and not much more",
        try_="one deadline for all: time.monotonic() + grace_s",
        see="hints.md, 18.4",
    )


# --- 18.5 ------------------------------------------------------------------------------------------------------------


def journaled(lab, queue, file, **given):
    """A front with a journal, whose `send` is the check's own; what the journal had at each send is in `seen`."""
    front = front_of(lab, queue, journal=lab.Journal(file), **given)
    front.seen, front.room = [], True

    def send(number: int, payload: bytes) -> bool:
        front.seen.append(rows(file))
        if front.room:
            put(queue, payload, number)
        return front.room

    front.send = send
    return front


@task("18.5")
def test_the_journal_has_it_before_the_queue(lab, queue, journal_file):
    """In the moment of the send the payload is committed; it is sent with its number."""
    front = journaled(lab, queue, journal_file)

    answers = [front.put_journaled(front.journal, payload) for payload in (b"one", b"")]

    sent = taken(queue)
    assert (answers, front.seen, sent) == (
        [True, True],
        [[(1, b"one", 0)], [(1, b"one", 0), (2, b"", 0)]],
        [(1, b"one"), (2, b"")],
    ), Teach(
        saw=f"it returned {answers}; at each send the journal had {front.seen}; sent were {sent}",
        because="between msgsnd and the commit a message is in the queue alone: who dies there has lost it",
        try_="number = journal.write(payload); then self.send(number, payload)",
        see="labs/15_crash_safety/README.md",
    )


@task("18.5")
def test_what_cannot_be_sent_is_withdrawn(lab, queue, journal_file):
    """With no room the answer is False, and nothing stays in the journal to be sent at the next start."""
    front = journaled(lab, queue, journal_file)
    front.room = False

    answer = front.put_journaled(front.journal, b"one")

    assert (answer, rows(journal_file)) == (False, []), Teach(
        saw=f"no room: it returned {answer}, and the journal has {rows(journal_file)}",
        because="the client heard ER; what stays in the journal is sent all the same, at the next start",
        try_="journal.withdraw(number) if send says no",
        see="labs/15_crash_safety/README.md",
    )


@task("18.5")
def test_no_journal_no_promise(lab, queue, tmp_path):
    """If the journal cannot be written, the answer is False, and nothing is sent."""
    front = front_of(lab, queue, journal=lab.Journal(str(tmp_path / "no such folder" / "journal.db")))

    try:
        outcome = front.put_journaled(front.journal, b"one")
    except sqlite3.Error as error:
        outcome = f"{type(error).__name__}: {error}"

    sent = taken(queue)
    assert (outcome, sent) == (False, []), Teach(
        saw=f"the journal cannot be opened: it gave {outcome}, and sent {sent}",
        because="a full disk must cost the promises, not the proxy: it answers ER until there is room again",
        try_="except sqlite3.Error: return False",
        see="starter.py, the docstring of put_journaled",
    )


@task("18.5")
def test_what_is_owed_is_sent_as_far_as_there_is_room(lab, queue, journal_file):
    """Of five owed one is done; with a depth of 2 two are sent, and the last two when there is room again."""
    front = journaled(lab, queue, journal_file, depth=2)
    for number in range(1, 6):
        front.journal.write(b"%d" % number)
    front.journal.mark_done(2)
    front.owed.extend([1, 2, 3, 4, 5])

    front.room = False
    front.send_again()
    none_sent = (taken(queue), list(front.owed), front.words[AGAIN])
    front.room = True
    front.send_again()
    sent, owed = taken(queue), list(front.owed)
    front.send_again()
    sent += taken(queue)

    assert none_sent == ([], [1, 2, 3, 4, 5], 0), Teach(
        saw=f"the kernel had no room: sent {none_sent[0]}, owed {none_sent[1]}, counted {none_sent[2]}",
        because="what was promised and finds no room must stay owed, or it waits for the next start",
        try_="look at self.owed[0], and popleft only when it is sent, or done",
        see="starter.py, the docstring of send_again",
    )
    seen = (sent, owed, list(front.owed), front.words[AGAIN])
    assert seen == ([(1, b"1"), (3, b"3"), (4, b"4"), (5, b"5")], [4, 5], [], 4), Teach(
        saw=f"depth 2, number 2 done: sent {sent}, owed {owed} after the first turn, AGAIN is {seen[3]}",
        because="the recovery obeys the same depth as everybody, and what is done needs no second try",
        try_="while there is something owed and left_in(queue) < depth; None from journal.payload means: done",
        see="hints.md, 18.5",
    )


@task("18.5")
def test_without_a_journal_nothing_is_sent_again(lab, queue):
    """Without a journal there is nothing to send again, whatever is owed."""
    front = front_of(lab, queue)
    front.owed.append(1)

    front.send_again()

    assert taken(queue) == [], Teach(
        saw="without a journal something was sent",
        because="the payload is nowhere but in the journal",
        try_="do nothing if self.journal is None",
        see="starter.py, the docstring of send_again",
    )


@task("18.5")
def test_a_number_is_handled_once(lab, journal_file, capsys):
    """Handled and marked; the second time neither; a failed one is marked too; an unknown one is left alone."""
    journal = lab.Journal(journal_file)
    good, bad = journal.write(b"good"), journal.write(b"bad")
    seen = []

    def handle(payload: bytes) -> None:
        seen.append(payload)
        if payload == b"bad":
            raise ValueError("bad")

    what = [(good, b"good"), (good, b"good"), (bad, b"bad"), (bad, b"bad"), (99, b"unknown")]
    outcomes = [lab.handle_once(journal, number, payload, handle) for number, payload in what]

    done = [mark for _, _, mark in rows(journal_file)]
    expected = [HANDLED, HANDLED, FAILED, HANDLED, HANDLED]
    assert (seen, outcomes, done) == ([b"good", b"bad"], expected, [1, 1]), Teach(
        saw=f"good twice, bad twice, one unknown: handled were {seen}, outcomes {outcomes}, done marks {done}",
        because="at least once means that a number may come again; and one that fails for ever must not come for ever",
        try_="journal.payload(number) is None: HANDLED at once; else try_to_handle, mark_done, return its outcome",
        see="starter.py, the docstring of handle_once",
    )


@task("18.5")
@limit(10)
def test_a_kill_while_it_is_handled_leaves_it_not_done(lab, journal_file):
    """kill -9 in the middle of handling: the number is not done, so that it will be sent again."""
    journal = lab.Journal(journal_file)
    number = journal.write(b"one")
    journal.close()

    pid = in_a_child(lambda: lab.handle_once(journal, number, b"one", lambda _: os.kill(os.getpid(), signal.SIGKILL)))
    os.waitpid(pid, 0)

    done = rows(journal_file)[0][2]
    assert done == 0, Teach(
        saw=f"a worker was killed while it handled number {number}; its done mark is {done}",
        because="what is marked before it is handled is lost if its worker dies between the two; marked afterwards, it "
        "may be handled twice: at least once",
        try_="mark_done behind try_to_handle",
        see="labs/15_crash_safety/README.md",
    )


# --- 18.6 ------------------------------------------------------------------------------------------------------------


class Running:
    """The learner's proxy, started as a person would start it, on ports of its own."""

    def __init__(self, stage, *options: str, workers: int = 2) -> None:
        self.port, self.metrics_port = stage.free_port(), stage.free_port()
        ports = ["--port", str(self.port), "--metrics-port", str(self.metrics_port)]
        self._stage = stage
        self.program = stage.run(*ports, "--workers", str(workers), *options)
        self.workers = [
            int(self.program.wait_for(rf"^worker {number} is (\d+)$", limit_s=LATER_S)[1]) for number in range(workers)
        ]
        for pid in self.workers:
            self.program.wait_asleep("msgrcv", pid=pid, limit_s=LATER_S)

    def ask(self, payload: bytes, limit_s: float = LATER_S) -> bytes | None:
        return self._stage.ask(self.port, payload, limit_s=limit_s)

    def report(self) -> dict[str, int]:
        """What it tells about itself."""
        answer = self._stage.ask(self.metrics_port, b"\n", limit_s=LATER_S)
        assert answer is not None, Teach(
            saw=f"no answer from the metrics port within {LATER_S:g} s",
            because="a loop that waits for anything else than its selector answers nobody meanwhile",
            try_="register `metrics` in the selector with `tell`, also while it drains",
            see="starter.py, Proxy",
        )
        return json.loads(answer)

    def wait_for_count(self, name: str, value: int, *, because: str, try_: str) -> None:
        """Wait until the report has this value."""
        deadline_s = time.monotonic() + LATER_S / 2
        while (found := self.report()[name]) != value and time.monotonic() < deadline_s:
            time.sleep(0.01)
        assert found == value, Teach(
            saw=f"after {LATER_S / 2:g} s the report says {name} {found}, and not {value}: {self.report()}",
            because=because,
            try_=try_,
            see="starter.py, Ledger and Proxy",
        )

    def wait_in_hand(self) -> None:
        """Wait until worker 0 sleeps over a message, as /proc tells."""
        pid = self.workers[0]
        wait_until(
            lambda: state_of(pid) == "S" and not asleep_in(pid),
            "worker 0 to take a message, and to be at work on it",
            limit_s=LATER_S,
        )

    def stop_workers(self) -> None:
        """As by `kill -STOP`: they take nothing until they go on."""
        for pid in self.workers:
            os.kill(pid, signal.SIGSTOP)
            wait_until(lambda pid=pid: state_of(pid) == "T", "a worker to stop", limit_s=LATER_S)

    def let_workers_go_on(self) -> None:
        for pid in self.workers:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    def printed(self) -> list[str]:
        """The payloads that workers printed, in order."""
        return re.findall(r"^\[worker \d+\] (.*)$", self.program.output, re.MULTILINE)

    def stop(self, *, status: int = 0, number: int = signal.SIGTERM) -> dict[str, int]:
        """SIGTERM, then as `ended`."""
        self.program.signal(number)
        return self.ended(status)

    def ended(self, status: int = 0) -> dict[str, int]:
        """Its last report; checks that it ended so, left no queue and no worker, and that its books balance."""
        found = self.program.wait(limit_s=2 * LATER_S)
        left = self._stage.queue(KEY)
        alive = [pid for pid in self.workers if Path(f"/proc/{pid}").exists()]
        assert (found, left, alive) == (status, None, []), Teach(
            saw=f"it ended with status {found}; its queue: {left or 'gone'}; workers still there: {alive}; on standard "
            f"error: {self.program.errors[-200:]!r}",
            because="who ends a proxy wants a clean machine: a queue that stays refuses the next start, and a worker "
            "that stays takes its messages",
            try_="leave the loop when it is drained, end the crew, and return: main removes the queue",
            see="starter.py, Proxy.run",
        )
        report = json.loads(self.program.output.splitlines()[-1])
        accounted = report["accepted"] + report["refused"]
        told = report["handled"] + report["failed"] + report["held"] + report["left"] + report["unexplained"]
        assert (report["received"], report["accepted"] + report["again"]) == (accounted, told), Teach(
            saw=f"the books do not balance: {report}",
            because="each message must be in exactly one place",
            try_="look for a way out of a function that forgets to count",
            see="starter.py, the docstring of balances",
        )
        assert 0 <= report["unexplained"] <= report["deaths"], Teach(
            saw=f"unexplained are {report['unexplained']}, after {report['deaths']} deaths: {report}",
            because="each killed worker can hide one message, taken and not yet counted, and no more",
            try_="let bury count each death, and work count each message as soon as it is taken",
            see="starter.py, the docstring of balances",
        )
        return report


@task("18.6")
@limit(60)
def test_it_serves_tells_and_leaves_nothing(stage):
    """Messages are answered and printed, metrics are told, a second proxy is refused, and Ctrl-C leaves nothing."""
    proxy = Running(stage)
    answers = [proxy.ask(payload) for payload in (b"one", b"", b"x" * 8184, b"x" * 8185)]
    proxy.wait_for_count(
        "handled",
        3,
        because="three messages were sent to workers that run; what those count must be seen by the parent",
        try_="is the ledger in memory that a fork shares, and does the worker count the outcome?",
    )
    report = proxy.report()
    mode = stage.queue(KEY).mode
    port = ["--port", str(proxy.port), "--metrics-port", str(stage.free_port())]
    same_port = stage.run(*port, "--key", "0x77")
    same_key = stage.run("--port", str(stage.free_port()), "--metrics-port", str(stage.free_port()))
    statuses = [other.wait(limit_s=LATER_S) for other in (same_port, same_key)]
    lines = [other.errors.count("\n") for other in (same_port, same_key)]
    still = proxy.ask(b"still here")
    begun_s = time.monotonic()
    proxy.stop(number=signal.SIGINT)
    took_s = time.monotonic() - begun_s

    expected = [b"OK\n", b"OK\n", b"OK\n", b"ER\n"]
    assert (answers, still, oct(mode), report["refused"]) == (expected, b"OK\n", "0o600", 1), Teach(
        saw=f"4 payloads, the last over msgmax with its number: {answers}; refused {report['refused']}; after others "
        f"tried to start: {still!r}; mode {oct(mode)}",
        because="each datagram has one answer, at once; what the kernel would refuse is refused before",
        try_="in the loop call key.data() for each that select names; let_in and tell are finished",
        see="starter.py, Proxy",
    )
    assert sorted(proxy.printed()) == sorted(["", "one", "x" * 8184, "still here"]), Teach(
        saw=f"the workers printed {[line[:20] for line in proxy.printed()]}",
        because="what was answered OK must come out of a worker, once",
        try_="follow one message: let_in, offer, put, send, work, handle",
        see="starter.py",
    )
    assert (took_s < 8, proxy.program.errors) == (True, ""), Teach(
        saw=f"with nothing left to do, Ctrl-C took {took_s:.1f} s, of a drain of at most 10; on standard error: "
        f"{proxy.program.errors[-200:]!r}",
        because="a drain ends when there is nothing left, and not when its time is up; and who ends well says nothing",
        try_="drained: the queue is empty and nothing is owed, or the time is up",
        see="starter.py, Proxy.drained",
    )
    seen = (statuses, lines, "cannot bind" in same_port.errors, "exists already" in same_key.errors, stage.queue(0x77))
    assert seen == ([1, 1], [1, 1], True, True, None), Teach(
        saw=f"a second proxy on the same port, and one with the same key: status {statuses}; they said "
        f"{same_port.errors!r} and {same_key.errors!r}; queue 0x77: {stage.queue(0x77)}",
        because="a queue that is there already is somebody's: to open it takes their messages, to remove it loses them",
        try_="leave main as starter.py has it",
        see="labs/12_hygiene/README.md",
    )


@task("18.6")
@limit(60)
def test_a_flood_beyond_the_depth_is_refused_and_counted(stage):
    """With all workers stopped, ten messages are OK and forty ER, all at once; then the ten are handled."""
    proxy = Running(stage, "--depth", "10")
    proxy.stop_workers()

    answers = [proxy.ask(b"m") for _ in range(50)]
    kernel, report = stage.queue(KEY).messages, proxy.report()
    proxy.let_workers_go_on()
    end = proxy.stop()

    seen = (answers, kernel, report["refused"], report["left"], end["deepest"], end["handled"])
    assert seen == ([b"OK\n"] * 10 + [b"ER\n"] * 40, 10, 40, 10, 10, 10), Teach(
        saw=f"depth 10, nobody works: {Counter(answers)}; {kernel} in the queue; the report {report}",
        because="a proxy that waits for room answers nobody; one that takes more than its workers can do only makes "
        "everybody wait longer",
        try_="refuse at the depth, and count it",
        see=README,
    )


class Flood:
    """A client that sends so many datagrams without waiting for the answers, at most `ahead` of them."""

    def __init__(self, port: int, count: int, ahead: int) -> None:
        self.latencies_s: list[float] = []
        self.answers: list[bytes] = []
        self.sent = 0
        begun_s = time.monotonic()
        deadline_s = begun_s + 40
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.connect(("127.0.0.1", port))
            client.settimeout(LATER_S)
            sent_s = []
            with contextlib.suppress(TimeoutError, ConnectionRefusedError):
                while len(self.answers) < count and time.monotonic() < deadline_s:
                    while self.sent < count and self.sent - len(self.answers) < ahead:
                        sent_s.append(time.monotonic())
                        client.send(b"%d" % self.sent)
                        self.sent += 1
                    self.answers.append(client.recv(100))
                    self.latencies_s.append(time.monotonic() - sent_s[len(self.answers) - 1])
        self.took_s = time.monotonic() - begun_s


@task("18.6")
@limit(90)
def test_a_flood_is_answered_and_the_ledger_balances(stage):
    """A flood with kills: every datagram is answered, OK are handled, the depth holds, a kill costs at most one."""
    proxy = Running(stage, "--depth", "5", "--most-deaths", "100")
    deepest, enough = [], threading.Event()

    def watch_and_kill() -> None:
        victims = list(proxy.workers)
        while not enough.wait(0.02):
            found = stage.queue(KEY)
            deepest.append(found.messages if found else 0)
            if victims and len(deepest) > 3:
                os.kill(victims.pop(), signal.SIGKILL)

    watcher = threading.Thread(target=watch_and_kill)
    watcher.start()
    try:
        flood = Flood(proxy.port, 4000, ahead=32)
    finally:
        enough.set()
        watcher.join()
    report = proxy.stop()

    ok, er = flood.answers.count(b"OK\n"), flood.answers.count(b"ER\n")
    latencies_ms = sorted(1000 * latency_s for latency_s in flood.latencies_s) or [0.0]
    print(
        f"{flood.sent} datagrams, {ok} OK, {er} ER, {flood.sent / flood.took_s:.0f} a second, "
        f"p50 {latencies_ms[len(latencies_ms) // 2]:.2f} ms, p99 {latencies_ms[len(latencies_ms) * 99 // 100]:.2f} ms; "
        f"{report}"
    )
    assert (len(flood.answers), report["received"], report["accepted"], report["refused"]) == (4000, 4000, ok, er), (
        Teach(
            saw=f"4000 datagrams: {ok} OK and {er} ER came back; the proxy says {report}",
            because="each datagram that was received has one answer, and is counted once as what it was answered",
            try_="count in offer, and nowhere else",
            see="starter.py, Front.offer",
        )
    )
    assert report["deepest"] <= 5 and max(deepest) <= 5, Teach(  # noqa: PT018 - one limit, seen from two sides
        saw=f"depth 5: the ledger says {report['deepest']}, and from outside {max(deepest)} were seen",
        because="the parent is the only one that sends, so what it sees before a send cannot have grown by the send",
        try_="admit only below the depth, also in send_again",
        see="starter.py, Front.admits",
    )
    lost = report["accepted"] - report["handled"]
    assert 0 <= lost <= report["deaths"] <= 2, Teach(
        saw=f"{report['deaths']} workers were killed, and {lost} messages were accepted and never handled: {report}",
        because="a killed worker takes with it the one message that it has in hand, and nothing else",
        try_="count each death in bury, and let all that is queued be handled before the end",
        see="starter.py, Proxy",
    )


@task("18.6")
@limit(60)
@pytest.mark.parametrize("journal", [False, True])
def test_a_killed_worker_costs_at_most_its_message(stage, journal):
    """kill -9 with a message in hand: it alone is lost; with a journal not even that one."""
    proxy = Running(stage, "--work", "0.2", *(["--journal", "journal.db"] if journal else []), workers=1)
    names = ["one", "two", "three", "four", "five"]
    for name in names:
        proxy.ask(name.encode())
    proxy.wait_in_hand()
    proxy.stop_workers()  # whatever it has in hand at this moment, it is the one that is meant
    victim = names[len(proxy.printed())]
    os.kill(proxy.workers[0], signal.SIGKILL)
    proxy.wait_for_count(
        "deaths",
        1,
        because="SIGCHLD has woken the loop: it is the one place where a death can be noticed",
        try_="call bury in each turn of the loop; it counts what crew.reap gives",
    )
    report = proxy.stop()

    expected = [name for name in names if name != victim] + [victim] * journal
    seen = (proxy.printed(), report["held"], report["again"], report["left"])
    assert seen == (expected, 1, int(journal), 0), Teach(
        saw=f"killed with `{victim}` in hand; printed were {seen[0]}; the report is {report}",
        because="the kernel has handed it over and forgotten it; "
        + ("the journal has not" if journal else "the others were still in the queue")
        + ", and a new worker goes on",
        try_="bury: what the dead had IN_HAND is owed; send_again sends it; drained waits until nothing is owed",
        see="starter.py, Proxy.bury",
    )
    if journal:
        assert [mark for _, _, mark in rows(str(stage.folder / "journal.db"))] == [1] * 5, Teach(
            saw=f"in the journal stands {rows(str(stage.folder / 'journal.db'))}",
            because="what is not marked as done comes again at the next start",
            try_="mark_done in handle_once",
            see="starter.py, the docstring of handle_once",
        )


@task("18.6")
@limit(60)
def test_sigterm_drains_what_is_queued(stage):
    """SIGTERM with ten messages queued: none is let in any more, all ten are handled, metrics go on; status 0."""
    proxy = Running(stage)
    proxy.stop_workers()
    answers = [proxy.ask(b"%d" % number) for number in range(10)]
    proxy.program.signal(signal.SIGTERM)
    deadline_s = time.monotonic() + LATER_S
    while (late := proxy.ask(b"late", 1)) and time.monotonic() < deadline_s:
        time.sleep(0.01)
    proxy.program.signal(signal.SIGTERM)  # a second one changes nothing
    meanwhile = stage.ask(proxy.metrics_port, b"\n", limit_s=4)
    proxy.let_workers_go_on()
    report = proxy.ended()

    assert late is None, Teach(
        saw=f"{LATER_S:g} s after SIGTERM a datagram was still answered {late!r}",
        because="who drains must not let in more, or it never ends",
        try_="unregister and close the socket in heed",
        see="starter.py, Proxy.heed",
    )
    seen = (answers, sum(line.isdigit() for line in proxy.printed()), report["left"], report["held"])
    assert seen == ([b"OK\n"] * 10, 10, 0, 0), Teach(
        saw=f"ten were OK, then SIGTERM; printed were {proxy.printed()}; the report is {report}",
        because="what was answered OK and is still in the queue dies with the queue",
        try_="heed closes the socket; the loop goes on until drained, and that is when the queue is empty",
        see=README,
    )
    assert meanwhile is not None and json.loads(meanwhile)["left"] >= 10, Teach(  # noqa: PT018 - it told, and the truth
        saw=f"while it drained, with ten left and its workers stopped, the metrics port said {meanwhile!r}",
        because="a drain can last, and whoever waits for it wants to see that it gets on",
        try_="drain in the same loop, with `metrics` still registered",
        see="starter.py, Proxy.run",
    )


@task("18.6")
@limit(60)
def test_a_drain_has_a_limit(stage):
    """What is not handled when the time is up is left, and told; the message in hand is held; status 0."""
    proxy = Running(stage, "--work", "30", "--drain", "0.8", workers=1)
    for name in (b"one", b"two"):
        proxy.ask(name)
    proxy.wait_in_hand()
    begun_s = time.monotonic()
    report = proxy.stop()
    took_s = time.monotonic() - begun_s

    seen = (report["handled"], report["held"], report["left"])
    assert seen == (0, 1, 1), Teach(
        saw=f"one in hand for 30 s, one queued, a drain of 0.8 s: {report}",
        because="a drain without a limit is a proxy that cannot be stopped; what it leaves must stand in its last line",
        try_="drained is true when stop_at_s has come, whatever is left",
        see="starter.py, Proxy.drained",
    )
    assert 1.7 <= took_s < 8, Teach(
        saw=f"a drain of 0.8 s and a grace of 1 s took {took_s:.1f} s",
        because="after the drain the crew is asked to end, and has GRACE_S at least",
        try_="crew.end(max(GRACE_S, what is left of the drain))",
        see="starter.py, GRACE_S",
    )


@task("18.6")
@limit(60)
def test_a_worker_with_its_last_message_has_the_rest_of_the_drain(stage):
    """The queue is empty, a worker is at work for longer than the grace: within the drain it may finish."""
    proxy = Running(stage, "--work", "1.4", workers=1)
    proxy.ask(b"long")
    report = proxy.stop()

    assert (report["handled"], report["held"]) == (1, 0), Teach(
        saw=f"one message in hand for 1.4 s, a drain of 10 s: {report}",
        because="an empty queue does not mean that all is done: the last messages are in the workers' hands",
        try_="give crew.end what is left of the drain: stop_at_s - time.monotonic()",
        see="starter.py, Proxy.run",
    )


@task("18.6")
@limit(60)
def test_a_killed_proxy_leaves_no_worker(stage):
    """kill -9 of the parent: its workers die with it."""
    proxy = Running(stage)
    proxy.program.signal(signal.SIGKILL)
    proxy.program.wait(limit_s=LATER_S)

    def all_gone() -> bool:
        return not any(Path(f"/proc/{pid}").exists() and state_of(pid) != "Z" for pid in proxy.workers)

    deadline_s = time.monotonic() + LATER_S
    while not (gone := all_gone()) and time.monotonic() < deadline_s:
        time.sleep(0.01)
    assert gone, Teach(
        saw="the parent was killed, and its workers live on",
        because="a child does not end with its parent, unless the kernel was asked for it",
        try_="let main start a worker with fork_worker, as starter.py has it",
        see="labs/11_supervisor/README.md",
    )
    sysv_ipc.MessageQueue(KEY).remove()


@task("18.6")
@limit(60)
def test_a_crash_loop_ends_with_status_1(stage):
    """Workers that die again and again, here because their queue was removed: the proxy gives up, and says so."""
    proxy = Running(stage, "--most-deaths", "4")
    sysv_ipc.MessageQueue(KEY).remove()
    report = proxy.ended(status=1)

    assert (report["deaths"], "giving up: 4 deaths" in proxy.program.errors) == (4, True), Teach(
        saw=f"the queue was removed: {report}; on standard error: {proxy.program.errors[-200:]!r}",
        because="a restart does not bring back a queue; a proxy that goes on restarting looks alive and does nothing",
        try_="leave the loop when crew.crash_loop(), end the crew, return 1; bury counts each death",
        see="starter.py, Proxy.run",
    )


@task("18.6")
@limit(60)
def test_what_a_killed_proxy_had_promised_is_sent_at_the_next_start(stage):
    """kill -9 of the parent with three messages promised: the next start sends all three again, and handles them."""
    proxy = Running(stage, "--work", "30", "--journal", "journal.db", workers=1)
    answers = [proxy.ask(name) for name in (b"one", b"two", b"three")]
    proxy.wait_in_hand()
    proxy.program.signal(signal.SIGKILL)
    proxy.program.wait(limit_s=LATER_S)
    sysv_ipc.MessageQueue(KEY).remove()

    again = Running(stage, "--journal", "journal.db", "--depth", "2", workers=1)
    again.wait_for_count(
        "handled",
        3,
        because="an OK is a promise, and the journal is what keeps it when everybody is dead",
        try_="send_again in each turn of the loop, until nothing is owed",
    )
    report = again.stop()

    seen = (answers, again.printed(), report["again"], report["received"])
    assert seen == ([b"OK\n"] * 3, ["one", "two", "three"], 3, 0), Teach(
        saw=f"three were {answers}, then kill -9; the next start printed {again.printed()}, and reports {report}",
        because="what is owed goes through the same queue, in its order, within the same depth, and is no new datagram",
        try_="send_again in each turn of the loop; count it as AGAIN, and not as RECEIVED",
        see="starter.py, Proxy.run",
    )
