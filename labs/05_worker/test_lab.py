"""The checks of lab 05: `pytest labs/05_worker`."""

from __future__ import annotations

import contextlib
import io
import os
import sys

import pytest
import sysv_ipc

from harness.labkit import CannotStageError, Teach, limit, task
from harness.labkit.failures import WrongAnswerError
from harness.labkit.stage import wait_until
from harness.sysv import Limits, asleep_in
from harness.sysv.errors import MachineError

LARGE = "README.md, A message that does not fit"
ENDS = "README.md, Do"
KEY = 0x505
TYPE = 7
QUEUE_REMOVED, OUTPUT_GONE = 3, 4
STUCK = """E2BIG leaves the message where it is, at the head: the same receive meets it again and again, and all that is
behind it is stuck"""
REMOVED = """EIDRM wakes a sleeper once, and from then on each msgrcv answers EINVAL at once: a loop that asks again
spins, as the original does"""


@pytest.fixture
def queue():
    """The lab's queue, through a buffer that takes everything; removed at the end, unless the check has done so."""
    made = sysv_ipc.MessageQueue(KEY, sysv_ipc.IPC_CREX, max_message_size=2**20)
    yield made
    with contextlib.suppress(sysv_ipc.ExistentialError):
        made.remove()


class Errors(io.StringIO):
    """Standard error, which ends a loop that does nothing but complain."""

    MOST_LINES = 50

    def __init__(self) -> None:
        super().__init__()
        self.because = ""

    def write(self, text: str) -> int:
        written = super().write(text)
        lines = self.getvalue().splitlines()
        spins = len(lines) >= self.MOST_LINES
        assert not spins, Teach(
            saw=f"it has said {len(lines)} lines and goes on, the last of them {lines[-1]!r}",
            because=self.because,
            try_="a call that has failed will fail again, unless you change something, or give up",
            see=LARGE,
        )
        return written


class Heard:
    """What the code that a check calls wrote, through the streams that Python gives it."""

    def __init__(self, folder) -> None:
        self.path = folder / "output"
        self.errors = Errors()

    @property
    def shown(self) -> bytes:
        """What whoever reads standard output has by now; it is a file."""
        return self.path.read_bytes()

    @property
    def said(self) -> list[str]:
        return self.errors.getvalue().splitlines()

    @contextlib.contextmanager
    def listening(self, *, somebody_reads: bool = True, because: str = STUCK):
        """`because` is told of a loop that complains for ever."""
        self.errors.because = because
        if somebody_reads:
            stream = self.path.open("w", encoding="utf-8")
        else:
            reading, writing = os.pipe()
            os.close(reading)
            stream = os.fdopen(writing, "w")
        with contextlib.redirect_stdout(stream), contextlib.redirect_stderr(self.errors):
            yield self
        with contextlib.suppress(BrokenPipeError):
            stream.close()


@pytest.fixture
def heard(tmp_path) -> Heard:
    return Heard(tmp_path)


def worker_with(lab, buffer_bytes: int, number: int = 0):
    return lab.Worker(lab.open_queue(KEY, 0o600, buffer_bytes), number, buffer_bytes)


# --- 5.1 -------------------------------------------------------------------------------------------------------------


@task("5.1")
@pytest.mark.parametrize(
    "payload",
    [b"hello", b"two\nlines\n", b"", b"a\0b", bytes(range(256))],
    ids=["text", "lines", "empty", "nul", "all"],
)
def test_the_payload_is_shown_byte_for_byte(lab, queue, heard, payload):
    """`show` writes `[Worker 7] ` and the payload as it came: any bytes, none added."""
    with heard.listening():
        worker_with(lab, 64, number=7).show(payload)

    assert heard.shown == b"[Worker 7] " + payload, Teach(
        saw=f"for the payload {payload[:20]!r} it wrote {heard.shown[:60]!r}",
        because="a payload is bytes, perhaps no text at all; print adds a newline, and decode changes or refuses bytes",
        try_="sys.stdout.buffer.write takes bytes: the prefix encoded, and the payload",
        see=ENDS,
    )


@task("5.1")
def test_the_payload_is_there_at_once(lab, queue, heard):
    """`show` leaves nothing in the program's own buffer: what is shown can be read before the worker ends."""
    worker = worker_with(lab, 64)

    with heard.listening():
        worker.show(b"first, ")
        worker.show(b"second")
        shown = heard.shown

    assert shown == b"[Worker 0] first, [Worker 0] second", Teach(
        saw=f"after two messages were shown, whoever reads the output had {shown!r}",
        because="what is written to a pipe or a file stays in the program until 8 KiB are there or it ends; a worker "
        "that is killed takes it along",
        try_="flush after each message",
        see=ENDS,
    )


# --- 5.2 -------------------------------------------------------------------------------------------------------------


def room_for(message_bytes: int) -> None:
    """Raise the limits of this check's namespace, before the queue is made."""
    try:
        Limits.raise_to(msgmax=message_bytes, msgmnb=4 * message_bytes)
    except MachineError as error:
        raise CannotStageError(f"no messages of {message_bytes} bytes here: {error}") from error


@task("5.2")
@pytest.mark.parametrize("buffer_bytes", [1, 2048])
def test_a_message_that_just_fits_is_nothing_special(lab, queue, heard, buffer_bytes):
    """A message exactly as large as the buffer, and a smaller one, are received as usual: not counted, not told."""
    for size in (buffer_bytes, 0):
        queue.send(b"x" * size, type=TYPE)
    worker = worker_with(lab, buffer_bytes)

    with heard.listening():
        sizes = [len(worker.receive()[0]) for _ in range(2)]

    found = (sizes, worker.large, heard.said)
    assert found == ([buffer_bytes, 0], 0, []), Teach(
        saw=f"messages of {buffer_bytes} and 0 bytes, a buffer of {buffer_bytes}: sizes, `large` and what was said are "
        f"{found}",
        because="a buffer of n bytes has room for n: only a message that is larger needs more",
        try_="compare the payload's length with buffer_bytes: is it larger?",
        see=LARGE,
    )


@task("5.2")
@limit(10)
@pytest.mark.parametrize(("buffer_bytes", "size"), [(2048, 2049), (2048, 8192), (8192, 8193), (8192, 100_000)])
def test_a_large_message_at_the_head_is_taken(lab, heard, request, buffer_bytes, size):
    """A message larger than the buffer is taken whole, told in one line and counted; what is behind it comes next."""
    room_for(size)
    queue = request.getfixturevalue("queue")
    queue.send(b"L" * size, type=TYPE)
    queue.send(b"behind it", type=TYPE + 1)
    worker = worker_with(lab, buffer_bytes)

    with heard.listening():
        taken = [worker.receive() for _ in range(2)]

    whole = taken == [(b"L" * size, TYPE), (b"behind it", TYPE + 1)]
    assert whole, Teach(
        saw=f"a message of {size} bytes and type {TYPE}, and one of 9 bytes behind it; received were "
        f"{[(len(payload), kind) for payload, kind in taken]} as (bytes, type)",
        because=STUCK,
        try_="on E2BIG open the queue again with more room, until it fits: msgmax is the most that anybody can send",
        see=LARGE,
    )
    lines = heard.said
    assert (worker.large, len(lines)) == (1, 1), Teach(
        saw=f"one message was too large, and `large` is {worker.large}; on standard error stand {lines[:3]}",
        because="a line a message can be read and counted; a line a try fills the disk with the same one",
        try_="count and say it once, when the message has been received",
        see=LARGE,
    )


@task("5.2")
def test_each_large_message_is_counted(lab, queue, heard):
    """After a large message the worker goes on with its own buffer: the next large one is told and counted too."""
    sizes = [100, 101, 5000, 3, 101]
    for size in sizes:
        queue.send(b"x" * size, type=TYPE)
    worker = worker_with(lab, 100)

    with heard.listening():
        taken = [len(worker.receive()[0]) for _ in sizes]

    lines = len(heard.said)
    assert (taken, worker.large, lines) == (sizes, 3, 3), Teach(
        saw=f"messages of {sizes} bytes, a buffer of 100: received were {taken}, `large` is {worker.large}, and "
        f"{lines} lines were said",
        because="three of them are larger than the buffer, and whoever looks for their sender needs each of them told",
        try_="keep self.queue and buffer_bytes as they are; the larger buffer is for this one message",
        see=LARGE,
    )


@task("5.2")
def test_a_removed_queue_is_no_large_message(lab, queue, heard):
    """`receive` lets ExistentialError through when the queue is gone, and does not make the queue anew."""
    worker = worker_with(lab, 100)
    queue.remove()

    raised = None
    with heard.listening(because=REMOVED):
        try:
            worker.receive()
        except sysv_ipc.ExistentialError as error:
            raised = error

    assert raised is not None, Teach(
        saw=f"after the queue was removed, receive came back without ExistentialError, and said {heard.said}",
        because="EIDRM and EINVAL mean that this queue never has a message again; only `work` knows what to do then",
        try_="catch OSError where its errno is E2BIG, and nothing else",
        see=LARGE,
    )


# --- 5.3 -------------------------------------------------------------------------------------------------------------


@task("5.3")
def test_a_message_is_delivered(lab, queue, heard):
    """`deliver` shows the message and returns True; nothing goes back to the queue."""
    with heard.listening():
        delivered = worker_with(lab, 64).deliver(b"hello", TYPE)

    found = (delivered, heard.shown, queue.current_messages, heard.said)
    assert found == (True, b"[Worker 0] hello", 0, []), Teach(
        saw=f"what deliver returned, what was shown, messages in the queue, what was said: {found}",
        because="a message that was shown is done: put back, it would be shown twice",
        try_="show it; only BrokenPipeError changes what comes next",
        see=ENDS,
    )


@task("5.3")
@pytest.mark.parametrize("size", [5, 5000])
def test_a_message_that_nobody_reads_is_put_back(lab, queue, heard, size):
    """When the output's reader is gone, the message goes back to the queue, large or small, and deliver says False."""
    with heard.listening(somebody_reads=False):
        delivered = worker_with(lab, 64).deliver(b"x" * size, TYPE)

    left = [queue.receive(block=False) for _ in range(queue.current_messages)]
    found = (delivered, [(len(payload), kind) for payload, kind in left], heard.said)
    assert found == (False, [(size, TYPE)], []), Teach(
        saw=f"a message of {size} bytes and type {TYPE}, and nobody to read it; what deliver returned, what is in the "
        f"queue as (bytes, type), what was said: {found}",
        because="msgrcv has taken the message off the queue: it is in this worker's hand alone, and goes with it",
        try_="on BrokenPipeError send it again, with its own type, through a queue object that has room for it",
        see=ENDS,
    )


@task("5.3")
@pytest.mark.parametrize("trouble", ["the queue is full", "the queue is gone"])
def test_a_message_that_cannot_be_put_back_is_told(lab, queue, heard, trouble):
    """When the message cannot be put back, deliver does not wait; it says in one line that it is lost."""
    worker = worker_with(lab, 64)
    if trouble == "the queue is full":
        queue.max_size = 4
    else:
        queue.remove()

    with heard.listening(somebody_reads=False):
        delivered = worker.deliver(b"hello", TYPE)

    found = (delivered, len(heard.said), "lost" in " ".join(heard.said))
    assert found == (False, 1, True), Teach(
        saw=f"{trouble}: deliver returned {delivered}, and said {heard.said}",
        because="a worker that waits for room may be the only one who could make it; and a loss that nobody tells is "
        "found by a customer",
        try_="send with block=False; catch sysv_ipc.Error, the parent of all that can go wrong there, and say it",
        see=ENDS,
    )


# --- 5.4 -------------------------------------------------------------------------------------------------------------


def status_of(program) -> int | None:
    """Its exit status, or None when it has not ended in time."""
    with contextlib.suppress(WrongAnswerError):
        return program.wait()
    return None


def comes_about(condition) -> None:
    """Wait for it, for a while: what the check asserts afterwards says what is missing."""
    with contextlib.suppress(WrongAnswerError):
        wait_until(condition, "")


@task("5.4")
@limit(10)
def test_the_worker_ends_when_its_queue_is_removed(stage, queue):
    """A worker asleep in msgrcv shows what comes; when its queue is removed it says one line and ends with status 3."""
    worker = stage.run("work")
    worker.wait_asleep()
    for payload in (b"one ", b"two "):
        queue.send(payload)
    wait_until(lambda: not queue.current_messages and asleep_in(worker.pid), "the worker to take both messages")

    queue.remove()
    status = status_of(worker)

    lines = worker.errors.splitlines()
    assert (status, len(lines)) == (QUEUE_REMOVED, 1), Teach(
        saw=f"its exit status is {status} (None: it still runs), and on standard error it wrote {len(lines)} lines, "
        f"the last of them {lines[-3:]}",
        because=REMOVED,
        try_="catch sysv_ipc.ExistentialError around receive, say one line, and return QUEUE_REMOVED",
        see=ENDS,
    )
    assert worker.raw_output == b"[Worker 0] one [Worker 0] two ", Teach(
        saw=f"of the messages `one ` and `two ` it showed {worker.raw_output!r}",
        because="a worker takes a message, delivers it, and asks for the next",
        try_="call receive and deliver by turns, for ever",
        see=ENDS,
    )


@task("5.4")
def test_a_queue_that_was_removed_meanwhile_ends_it_too(lab, queue, heard):
    """A worker that was not asleep when its queue was removed ends as well, the next time it asks."""
    worker = worker_with(lab, 64)
    queue.remove()

    with heard.listening(because=REMOVED):
        status = worker.work()

    lines = heard.said
    assert (status, len(lines)) == (QUEUE_REMOVED, 1), Teach(
        saw=f"with the queue gone already, work returned {status}, and said {lines[:3]}",
        because="only a sleeper gets EIDRM; who comes later gets EINVAL, which sysv_ipc's receive makes the same class",
        try_="catch sysv_ipc.ExistentialError, whatever its text is",
        see=ENDS,
    )


@task("5.4")
@limit(10)
def test_the_worker_ends_when_nobody_reads_its_output(stage, queue):
    """When its output's reader is gone, the worker says one line, ends with status 4, and the message is left."""
    pipe = stage.folder / "pipe"
    os.mkfifo(pipe)
    reading = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    worker = stage.start("sh", "-c", 'exec "$0" "$1" work > "$2"', sys.executable, str(stage.file), str(pipe))
    worker.wait_asleep(limit_s=5)
    os.close(reading)

    queue.send(b"hello", type=TYPE)
    status = status_of(worker)

    found = (status, len(worker.errors.splitlines()), queue.current_messages)
    assert found == (OUTPUT_GONE, 1, 1), Teach(
        saw="its output's reader ended, and a message came: exit status (None: it still runs), lines on standard error "
        f"and messages in the queue are {found}; it said {worker.errors[-300:]!r}",
        because="a write to a pipe without a reader fails (EPIPE), and will each time: a worker that goes on takes "
        "message after message for nobody",
        try_="when deliver returns False, say one line and return OUTPUT_GONE; main does the rest",
        see=ENDS,
    )


@task("5.4")
@limit(10)
def test_the_whole_program(stage):
    """`send` puts its input on the queue as one message; `work --buffer` takes it, whatever its size."""
    words = ("--key", "0x77", "--mode", "640")
    worker = stage.run("work", "--number", "2", "--buffer", "100", *words)
    worker.wait_asleep()
    mode = oct(stage.queue(0x77).mode)
    plain = stage.run("work")
    plain.wait_asleep()

    for command, key in (("printf hello", "0x77"), ("printf %03000d 0", "0x77"), ("printf %08192d 0", "0x505")):
        sender = stage.start("sh", "-c", f'{command} | "$0" "$1" send --key {key}', sys.executable, str(stage.file))
        assert sender.wait() == 0, Teach(
            saw=f"`{command} | python lab.py send --key {key}` ended with {sender.status}: {sender.errors[-300:]!r}",
            because="send takes standard input as one message, up to msgmax",
            try_="leave open_queue and main as starter.py has them",
            see="starter.py",
        )
    for key, program in ((0x77, worker), (KEY, plain)):
        comes_about(lambda key=key: not stage.queue(key).messages)
        comes_about(lambda program=program: asleep_in(program.pid))
        sysv_ipc.MessageQueue(key).remove()
    statuses = [status_of(worker), status_of(plain)]

    found = (statuses, mode, worker.output, len(plain.output), [len(p.errors.splitlines()) for p in (worker, plain)])
    expected = ([QUEUE_REMOVED] * 2, "0o640", "[Worker 2] hello[Worker 2] " + "0" * 3000, 11 + 8192, [2, 1])
    assert found == expected, Teach(
        saw=f"exit statuses {statuses}, mode {mode}; worker 2 with --buffer 100 showed {len(worker.output)} characters "
        f"and said {worker.errors[-200:]!r}, worker 0 with a message of 8192 bytes showed {len(plain.output)} and said "
        f"{plain.errors[-200:]!r}",
        because="a buffer of 100 bytes makes a message of 3000 a large one, which is told once and shown all the same; "
        "the default of 8192 has room for 8192",
        try_="leave BUFFER_BYTES and main as starter.py has them",
        see="starter.py",
    )
