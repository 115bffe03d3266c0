"""The checks of lab 17: `pytest labs/17_choose_ipc`.

What a transport can do, no table here says: each property is tried on the real thing, and your answer is compared with
what happened. Nothing is asserted about speed; `python lab.py compare` prints it.
"""

from __future__ import annotations

import contextlib
import errno
import importlib
import os
import re
import select
import socket
from itertools import count
from pathlib import Path

import pytest
import sysv_ipc

from harness.labkit import Teach, limit, task
from harness.labkit.failures import CannotStageError
from harness.sysv import Limits

DO = "README.md, Do"
PREDICT = "README.md, Predict"
NAME = "/somebody"


@pytest.fixture(autouse=True)
def mechanisms(monkeypatch):
    """The kit beside this file; it is also what the learner's file imports."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    found = importlib.import_module("mechanisms")
    try:
        os.close(found.mq_open(NAME, os.O_CREAT | os.O_RDWR, max_messages=1, max_bytes=1))
    except OSError as error:
        if error.errno not in (errno.ENOSYS, errno.EACCES, errno.EMFILE):  # not there, forbidden, RLIMIT_MSGQUEUE
            raise
        raise CannotStageError(f"this machine has no POSIX message queues for us: {error.strerror}") from error
    found.mq_unlink(NAME)
    return found


@pytest.fixture
def posix(lab, mechanisms):
    """The learner's transport on a queue that the check has made, so that 17.2 does not need 17.1."""
    with contextlib.ExitStack() as stack:

        def make(*, max_messages: int = 10, max_bytes: int = 8192):
            queue = object.__new__(lab.PosixQueue)
            flags = os.O_CREAT | os.O_RDWR
            queue.descriptor = mechanisms.mq_open(NAME, flags, max_messages=max_messages, max_bytes=max_bytes)
            queue.max_bytes = max_bytes
            mechanisms.mq_unlink(NAME)
            stack.callback(close_again, queue.descriptor)
            return queue

        yield make


@pytest.fixture
def other(mechanisms):
    """A queue of somebody else's, called NAME, with one message in it."""
    descriptor = mechanisms.mq_open(NAME, os.O_CREAT | os.O_RDWR, 0o600, max_messages=3, max_bytes=100)
    mechanisms.mq_send(descriptor, b"theirs", 0)
    yield descriptor
    os.close(descriptor)
    with contextlib.suppress(FileNotFoundError):
        mechanisms.mq_unlink(NAME)


def receive_all(queue, count: int) -> list[bytes]:
    """So many messages, with the learner's `receive`; one that is refused is told."""
    try:
        return [queue.receive() for _ in range(count)]
    except OSError as error:
        if error.errno != errno.EMSGSIZE:
            raise
    raise AssertionError(
        Teach(
            saw="there are messages on the queue, and receive raised EMSGSIZE",
            because="a receiver's buffer must be as large as the queue's limit for a message, also when the message "
            "has one byte: with a smaller one mq_receive answers EMSGSIZE, and leaves the message where it is",
            try_="receive with a buffer of max_bytes",
            see="mechanisms.py, mq_receive",
        )
    )


def close_again(descriptor: int) -> None:
    """Close it, unless the learner's code has done so."""
    with contextlib.suppress(OSError):
        os.close(descriptor)


def exists(mechanisms, name: str) -> bool:
    """Whether a POSIX queue has this name; the name is taken away if so."""
    try:
        os.close(mechanisms.mq_open(name, os.O_RDONLY))
    except FileNotFoundError:
        return False
    mechanisms.mq_unlink(name)
    return True


def in_child(work) -> int:
    """Do `work` in another process, which ends with status 0 when it returns; returns its pid."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            work()
            status = 0
        finally:
            os._exit(status)
    return pid


def status_of(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def last_line(text: str) -> str:
    """What a traceback comes down to."""
    return (text.strip().splitlines() or [""])[-1]


# --- 17.1 ------------------------------------------------------------------------------------------------------------


@task("17.1")
def test_the_queue_is_made_as_it_was_asked_for(lab, mechanisms):
    """The limits are those of the call, the mode is 0600, and it can be read and written."""
    made = [lab.PosixQueue("/one"), lab.PosixQueue("/two", max_messages=3, max_bytes=100)]
    found = [mechanisms.mq_attributes(each.descriptor) for each in made]
    modes = {oct(os.fstat(each.descriptor).st_mode & 0o777) for each in made}
    usable = True
    try:
        mechanisms.mq_send(made[1].descriptor, b"x", 0)
        mechanisms.mq_receive(made[1].descriptor, 100)
    except OSError:
        usable = False
    for each, name in zip(made, ["/one", "/two"], strict=True):
        os.close(each.descriptor)
        exists(mechanisms, name)

    limits = [(each.max_messages, each.max_bytes) for each in found]
    assert limits == [(10, 8192), (3, 100)], Teach(
        saw=f"without limits and with max_messages=3, max_bytes=100 you made queues of (messages, bytes) {limits}",
        because="a POSIX queue gets its limits when it is made, and keeps them; System V's have one limit in bytes for "
        "all messages together",
        try_="hand max_messages and max_bytes to mq_open",
        see="starter.py, PosixQueue",
    )
    assert (modes, usable) == ({"0o600"}, True), Teach(
        saw=f"the modes are {modes}; sending and receiving is {'possible' if usable else 'refused'}",
        because="the flags say what this descriptor may do (os.O_RDWR: both), the mode who else may open the queue",
        try_="os.O_CREAT | os.O_EXCL | os.O_RDWR, and 0o600",
        see=DO,
    )


@task("17.1")
def test_a_queue_of_somebody_else_is_not_joined(lab, mechanisms, other):
    """If the name is taken there is FileExistsError, and the other queue is as it was."""
    raised = None
    try:
        os.close(lab.PosixQueue(NAME).descriptor)
    except OSError as error:
        raised = error

    left = mechanisms.mq_attributes(other).messages
    named = exists(mechanisms, NAME)
    assert isinstance(raised, FileExistsError), Teach(
        saw=f"somebody else had a queue {NAME} with a message in it; PosixQueue({NAME!r}) "
        f"{'was made all the same' if raised is None else f'raised {raised!r}'}",
        because="O_CREAT alone opens the queue that is there, with its limits and its messages; only with O_EXCL it "
        "says that it was not made",
        try_="os.O_CREAT | os.O_EXCL",
        see=DO,
    )
    assert (left, named) == (1, True), Teach(
        saw=f"PosixQueue({NAME!r}) was refused; the other's queue has {left} messages, and its name is "
        f"{'there' if named else 'gone'}",
        because="mq_unlink takes a name away, whoever made the queue",
        try_="unlink after mq_open has come back, and not when it raised",
        see="starter.py, PosixQueue",
    )


@task("17.1")
def test_the_name_is_gone_at_once(lab, mechanisms, monkeypatch):
    """As soon as it is made the name can be used again, and two of one name are two queues."""
    asked = []

    def mq_open(name, *arguments, **limits):
        asked.append(name)
        return real(name, *arguments, **limits)

    real = mechanisms.mq_open
    monkeypatch.setattr(mechanisms, "mq_open", mq_open)
    made = [lab.PosixQueue(NAME), lab.PosixQueue()]
    monkeypatch.undo()
    stays = [name for name in asked if exists(mechanisms, name)]
    for each in made:
        os.close(each.descriptor)

    assert (asked[0], stays) == (NAME, []), Teach(
        saw=f"the queues were made with the names {asked}; while they were in use {stays} could still be opened",
        because="a name outlives its processes, as a System V queue does; a process that is killed does not come to "
        "its close(). Without a name the queue lives as long as a descriptor of it",
        try_="mechanisms.mq_unlink(name), right after mq_open",
        see=DO,
    )


# --- 17.2 ------------------------------------------------------------------------------------------------------------


@task("17.2")
def test_messages_come_as_they_were_sent(posix):
    """Any bytes, the empty message and the largest too, in their order, from another process."""
    queue = posix()
    payloads = [b"hello\n", b"", b"\0\xff\0", b"x" * 8192, b"last"]

    def send_all():
        for payload in payloads:
            queue.send(payload)

    status = status_of(in_child(send_all))
    waiting = len(select.select([queue.descriptor], [], [], 0)[0])
    found = receive_all(queue, len(payloads)) if status == 0 and waiting else []
    if status != 0 or not waiting:
        queue.send(b"")  # what it raised, or a todo, is told here

    assert found == payloads, Teach(
        saw=f"five messages were sent, of the sizes {[len(payload) for payload in payloads]}; there came "
        f"{[len(payload) for payload in found]} bytes, the first of them {found[:1]}",
        because="a message is its bytes and its length, and those of one priority come in their order",
        try_="hand the payload to mq_send, with the priority; return only the payload of what mq_receive gives",
        see="starter.py, PosixQueue",
    )


@task("17.2")
def test_a_higher_priority_overtakes(posix):
    """The highest number comes first, and those of one number in their order; 0 unless said otherwise."""
    queue = posix()
    for payload, priority in [(b"a", None), (b"b", 1), (b"c", 5), (b"d", 5), (b"e", 0)]:
        queue.send(payload, *([] if priority is None else [priority]))

    found = b"".join(receive_all(queue, 5))

    assert found == b"cdbae", Teach(
        saw=f"sent were a (priority not given), b (1), c (5), d (5), e (0); they came as {found.decode()!r}",
        because="the kernel keeps the messages sorted: the highest priority first, the oldest first among equals. It "
        "is the other way round than with System V, where msgrcv with -t takes the lowest type first",
        try_="hand the priority through as it is",
        see=PREDICT,
    )


@task("17.2")
def test_the_size_is_limited_per_message(posix):
    """A message of max_bytes goes through; one byte more is a ValueError, and is not on the queue."""
    queue = posix(max_messages=3, max_bytes=100)
    said = []
    for size in (100, 101, 1):
        try:
            queue.send(b"x" * size)
        except OSError as error:
            said.append(f"OSError {errno.errorcode[error.errno]}")
        except ValueError:
            said.append("ValueError")
        else:
            said.append("sent")
    expected = ["sent", "ValueError", "sent"]
    sizes = [len(payload) for payload in receive_all(queue, 2)] if said == expected else []

    assert (said, sizes) == (expected, [100, 1]), Teach(
        saw=f"with max_bytes 100 messages of 100, 101 and 1 bytes were: {', '.join(said)}; received were {sizes}",
        because="each message is measured against the limit that the queue was made with, and one that is over it can "
        "never be sent: that is wrong with the message (ValueError, as with sysv_ipc), not with the machine. One that "
        "is cut, or refused in silence, would be lost",
        try_="compare len(payload) with max_bytes before mq_send",
        see=DO,
    )


@task("17.2")
def test_close_lets_go_of_it(lab):
    """After `close` the descriptor is closed."""
    queue = lab.PosixQueue()
    queue.close()

    closed = False
    try:
        os.fstat(queue.descriptor)
    except OSError:
        closed = True

    assert closed, Teach(
        saw="after close() the queue's descriptor is still open",
        because="the queue lives as long as somebody has a descriptor of it, and counts against RLIMIT_MSGQUEUE",
        try_="os.close(self.descriptor): on Linux it is a file descriptor",
        see=DO,
    )


# --- 17.3 ------------------------------------------------------------------------------------------------------------


class Things:
    """The five mechanisms themselves: each can send with an urgency, receive, and say its file descriptor, if any."""

    NAMES = ("sysv", "posix", "pipe", "datagram", "multiprocessing")

    def __init__(self, mechanisms) -> None:
        self.kit = mechanisms

    @contextlib.contextmanager
    def made(self, name: str):
        """A thing of the kit (or the descriptor of a POSIX queue); closed, and removed, at the end."""
        if name == "posix":
            thing = self.kit.mq_open(NAME, os.O_CREAT | os.O_RDWR, max_messages=5, max_bytes=8192)
            try:
                yield thing
            finally:
                os.close(thing)
                self.kit.mq_unlink(NAME)
            return
        makers = [self.kit.SysV, None, self.kit.Pipe, self.kit.Datagram, self.kit.Multiprocessing]
        thing = makers[self.NAMES.index(name)]()
        try:
            yield thing
        finally:
            thing.close()

    def send(self, name: str, thing, payload: bytes, urgent: int = 0) -> None:
        """`urgent` is 0 or 1: as System V's type 2 or 1, as POSIX's priority; the others know no such thing."""
        if name == "sysv":
            thing.queue.send(payload, type=2 - urgent)
        elif name == "posix":
            self.kit.mq_send(thing, payload, urgent)
        elif name == "pipe":
            os.write(thing.writing.fileno(), payload)
        else:
            thing.send(payload)

    def receive(self, name: str, thing, kind: int = 0) -> bytes:
        """`kind` is what msgrcv may be told: 0 any, -2 the lowest type up to 2, 2 only that; the others cannot ask."""
        if name == "sysv":
            return bytes(thing.queue.receive(type=kind)[0])
        if name == "posix":
            return self.kit.mq_receive(thing, 8192)[0]
        if name == "pipe":
            return os.read(thing.reading.fileno(), 65536)
        return thing.receive()

    def numbers(self, name: str, thing) -> tuple[int, int]:
        """What the kernel knows the sender's and the receiver's end by: file descriptors, or a System V id."""
        if name == "sysv":
            return thing.queue.id, thing.queue.id
        if name == "posix":
            return thing, thing
        if name == "pipe":
            return thing.writing.fileno(), thing.reading.fileno()
        return thing.sending.fileno(), thing.receiving.fileno()

    def readable(self, name: str, thing) -> bool:
        """What poll says of it; of a number that is no file descriptor it says POLLNVAL."""
        waiting = select.poll()
        waiting.register(self.numbers(name, thing)[1], select.POLLIN)
        return any(event & select.POLLIN for _, event in waiting.poll(0))

    def room(self, name: str, size_bytes: int) -> int:
        """How many messages of this size fit in before the sender would wait."""
        with self.made(name) as thing:
            if name == "sysv":
                thing.queue.max_size = min(thing.queue.max_size, 16384)  # where somebody raised msgmnb it takes long
            else:
                os.set_blocking(self.numbers(name, thing)[0], False)
            for number in count():
                try:
                    if name == "sysv":
                        thing.queue.send(bytes(size_bytes), block=False)
                    else:
                        self.send(name, thing, bytes(size_bytes))
                except (BlockingIOError, sysv_ipc.BusyError):
                    return number
        raise AssertionError

    # Each of these is one experiment: what happened.

    def boundaries(self, name: str) -> bool:
        with self.made(name) as thing:
            self.send(name, thing, b"one")
            self.send(name, thing, b"two")
            return self.receive(name, thing) == b"one"

    def priority(self, name: str) -> bool:
        with self.made(name) as thing:
            self.send(name, thing, b"ordinary")
            self.send(name, thing, b"urgent", 1)
            return self.receive(name, thing, -2) == b"urgent"

    def selection(self, name: str) -> bool:
        with self.made(name) as thing:
            self.send(name, thing, b"urgent", 1)
            self.send(name, thing, b"ordinary")
            return self.receive(name, thing, 2) == b"ordinary"

    def survives(self, name: str) -> bool:
        # Somebody makes it, sends, and ends; then somebody else looks for it. What has no name nobody can look for:
        # its last descriptor is closed with its last process, and it is gone.
        if name == "sysv":
            pid = in_child(lambda: sysv_ipc.MessageQueue(0x1717, sysv_ipc.IPC_CREX).send(b"left"))
            status_of(pid)
            found = sysv_ipc.MessageQueue(0x1717)
            left = found.current_messages
            found.remove()
            return left == 1
        if name == "posix":

            def leave():
                made = self.kit.mq_open(NAME, os.O_CREAT | os.O_RDWR, max_messages=5, max_bytes=10)
                self.kit.mq_send(made, b"left", 0)

            status_of(in_child(leave))
            found = self.kit.mq_open(NAME, os.O_RDONLY)
            left = self.kit.mq_attributes(found).messages
            os.close(found)
            self.kit.mq_unlink(NAME)
            return left == 1
        return False

    def pollable(self, name: str) -> bool:
        with self.made(name) as thing:
            before = self.readable(name, thing)
            self.send(name, thing, b"x")
            return not before and self.readable(name, thing)

    def any_size(self, name: str) -> bool:
        large = bytes(1 << 20)
        with self.made(name) as thing:
            limits_bytes = {"sysv": Limits.read().msgmax}
            if name == "datagram":
                limits_bytes[name] = thing.sending.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)
            if limits_bytes.get(name, 0) >= len(large):
                raise CannotStageError(f"somebody has raised the limit of {name} on this machine")
            try:  # where the kernel says no, it does so at once
                if name == "sysv":
                    sysv_ipc.MessageQueue(thing.queue.key, max_message_size=len(large)).send(large)
                elif name in ("posix", "datagram"):
                    self.send(name, thing, large)
            except OSError:
                return False
            sender = in_child(lambda: thing.send(large))
            arrived = thing.receive() == large
            return status_of(sender) == 0 and arrived

    def counted(self, name: str) -> bool:
        return self.room(name, 1) == self.room(name, 1000)


BECAUSE = {
    "BOUNDARIES": "a pipe is a stream of bytes: two writes can come with one read, and one with two. Queues and "
    "datagram sockets keep messages apart in the kernel; multiprocessing puts a length before each",
    "PRIORITY": "POSIX sorts by priority; System V's msgrcv with -t takes the lowest type first; the others are first "
    "in, first out",
    "SELECTION": "only msgrcv can be told a type, and passes over all else. POSIX gives the most urgent, wanted or not",
    "SURVIVES": "what has a key or a name stays until it is removed or the machine restarts; what has only descriptors "
    "goes with the last of them",
    "POLLABLE": "select waits for file descriptors, and a System V queue has none: its id is a number of its own. On "
    "Linux a POSIX queue's descriptor is a file descriptor",
    "ANY_SIZE": "msgmax, msgsize_max and a socket's send buffer bound one message; a pipe is handed on piece by piece, "
    "however long it is, and so is what multiprocessing builds on it",
    "COUNTED": "a POSIX queue is full after max_messages, of whatever size. The others have so many bytes (msgmnb, the "
    "buffer of a pipe, the send buffer of a socket): room for many short messages or for a few long ones",
}


@task("17.3")
@limit(10)
@pytest.mark.parametrize("name", list(BECAUSE))
def test_the_table_says_what_happens(lab, mechanisms, name):
    """Each property, tried on each of the five: the table says what happened."""
    table = lab.properties()
    things = Things(mechanisms)

    wrong = []
    for transport in things.NAMES:
        happened = getattr(things, name.lower())(transport)
        said = getattr(lab, name) in table.get(transport, set())
        if said != happened:
            wrong.append(f"{transport}: you say {'yes' if said else 'no'}, and it was {'yes' if happened else 'no'}")

    assert not wrong, Teach(
        saw=f"{getattr(lab, name)!r} was tried: {'; '.join(wrong)}",
        because=BECAUSE[name],
        try_="try it yourself, with two messages and the transports in mechanisms.py",
        see=PREDICT,
    )


@task("17.3")
@limit(10)
def test_the_program_prints_the_table(lab, stage):
    """`python lab.py table` prints a line for each property: who has it."""
    table = lab.properties()
    program = stage.run("table")
    status = program.wait()

    expected = [
        f"{words}: {', '.join(name for name in Things.NAMES if words in table.get(name, set()))}"
        for words in (getattr(lab, name) for name in BECAUSE)
    ]
    assert (status, program.output.splitlines()) == (0, expected), Teach(
        saw=f"it ended with {status} and printed {program.output[-600:]!r}, and on standard error "
        f"{last_line(program.errors)!r}",
        because="the program prints properties() as it is, the properties in the order of PROPERTIES, and of each the "
        "transports in the order of TRANSPORTS",
        try_="name all five in properties(), in this order; leave main and PROPERTIES as starter.py has them",
        see="starter.py, main",
    )


# --- 17.4 ------------------------------------------------------------------------------------------------------------


@task("17.4")
def test_the_choice_has_all_that_is_needed(lab):
    """`choose` names those that have every property asked for, in the table's order."""
    lab.properties = lambda: {"b": {"red", "round"}, "a": {"red"}, "c": {"red", "round", "small"}, "d": set()}
    asked = [set(), {"red"}, {"red", "round"}, {"small", "round"}, {"blue"}]

    found = [lab.choose(needs) for needs in asked]

    assert found == [["b", "a", "c", "d"], ["b", "a", "c"], ["b", "c"], ["c"], []], Teach(
        saw="from {b: red round, a: red, c: red round small, d: nothing} you chose "
        + ", ".join(f"{names} for {sorted(needs)}" for needs, names in zip(asked, found, strict=True)),
        because="what you need is a lower bound: a transport may have more, and may not lack one. Who needs nothing "
        "can have any; and nothing may be left",
        try_="for sets, `needs <= has` asks whether all of needs is in has",
        see="starter.py, choose",
    )


# --- 17.5 ------------------------------------------------------------------------------------------------------------


def rounds_of(**times: list[float]) -> list[dict[str, float]]:
    return [dict(zip(times, values, strict=True)) for values in zip(*times.values(), strict=True)]


@task("17.5")
def test_the_ratio_is_taken_within_each_round(lab):
    """Each time is divided by sysv's of the same round, and of these ratios the median is taken."""
    rounds = rounds_of(sysv=[10.0, 20.0, 30.0], fast=[30.0, 10.0, 15.0], slow=[10.0, 60.0, 60.0])

    found = lab.compare(rounds)

    shown = {name: (each.median_us, each.ratio) for name, each in found.items()}
    assert shown == {"sysv": (20.0, 1.0), "fast": (15.0, 0.5), "slow": (60.0, 2.0)}, Teach(
        saw=f"for the rounds {rounds} you give (median_us, ratio) {shown}",
        because="what the machine does besides changes from round to round and meets all transports of one round "
        "alike: a ratio within a round leaves it out, a ratio of two medians compares different moments",
        try_="times[name] / times[BASE] for each round, then the median of these",
        see=PREDICT,
    )


@task("17.5")
def test_the_spread_is_that_of_the_ratios(lab):
    """`low` and `high` are the quartiles of the ratios; one wild round moves neither them nor the median."""
    rounds = rounds_of(sysv=[10.0, 10.0, 10.0, 10.0, 20.0], other=[40.0, 10.0, 30.0, 9000.0, 40.0])

    found = lab.compare(rounds)

    shown = {name: (each.ratio, each.low, each.high) for name, each in found.items()}
    assert shown == {"sysv": (1.0, 1.0, 1.0), "other": (3.0, 2.0, 4.0)}, Teach(
        saw=f"five rounds had the ratios 4, 1, 3, 900 and 2; you give (ratio, low, high) {shown}",
        because="half of the rounds lie between the quartiles: they tell how far to trust the median. Mean and "
        "standard deviation would tell of the one round in which something else ran",
        try_='statistics.quantiles(ratios, n=4, method="inclusive") gives low, median and high',
        see=DO,
    )


@task("17.5")
@limit(15)
@pytest.mark.parametrize(
    "arguments", ["compare", "compare --rounds 2 --messages 20 --size 8000"], ids=["default", "options"]
)
def test_the_program_compares_all_five(lab, stage, arguments):
    """`python lab.py compare` prints what it measured: a line for each of the five transports."""
    lab.compare(rounds_of(sysv=[1.0, 1.0]))  # a todo is met here, and told
    program = stage.run(*arguments.split())
    status = program.wait(limit_s=10)

    first, *lines = program.output.splitlines() or [""]
    expected = (
        "2 rounds of 20 messages of 8000 bytes" if "--size" in arguments else "9 rounds of 1000 messages of 100 bytes"
    )
    shape = r"(\w+) +\d+\.\d\d us a message, to sysv as \d+\.\d\d \(\d+\.\d\d to \d+\.\d\d\)"
    names = [found[1] for line in lines if (found := re.fullmatch(shape, line))]
    assert (status, first, names) == (0, expected, list(Things.NAMES)), Teach(
        saw=f"it ended with {status} and printed {program.output[-600:]!r}, and on standard error "
        f"{last_line(program.errors)!r}",
        because="the program measures the five in TRANSPORTS, round by round, and prints what compare makes of it"
        if status == 0
        else "a transport that raises ends the measurement, in the receiver's process or in the sender's",
        try_="leave main and TRANSPORTS as starter.py has them"
        if status == 0
        else "run it by hand, and read the last line that it writes",
        see="starter.py, main",
    )


@task("17.5")
@limit(15)
@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("--size 8193", 2),
        ("--size -1", 2),
        ("--rounds 1", 2),
        ("--messages 0", 2),
        ("--size 8192 --rounds 2 --messages 1", 0),
        ("--size 0 --rounds 2 --messages 1", 0),
    ],
)
def test_the_program_refuses_what_it_cannot_measure(lab, stage, arguments, expected):
    """Sizes from 0 to 8192, two rounds and one message are the least and the most; else one line says so."""
    lab.compare(rounds_of(sysv=[1.0, 1.0]))  # a todo is met here, and told
    program = stage.run("compare", *arguments.split())
    status = program.wait(limit_s=10)

    traceback = "Traceback" in program.errors
    assert (status, traceback) == (expected, False), Teach(
        saw=f"compare {arguments} ended with {status}, and on standard error {last_line(program.errors)!r}",
        because="who mistypes a number wants one line, before anything is measured",
        try_="leave main as starter.py has it",
        see="starter.py, main",
    )
