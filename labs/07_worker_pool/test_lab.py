"""The checks of lab 07: `pytest labs/07_worker_pool`.

Processes, datagrams and the queue are real. What a task builds on, the check brings itself (`own_start`, `own_consume`,
`own_start_workers`), so that a mistake in one function is told once. The last checks of 7.4 and 7.5 run the program.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import sys
import time
import traceback
from pathlib import Path

import pytest
import sysv_ipc

from harness.labkit import Teach, limit, own_network, task
from harness.labkit.failures import CannotStageError, WrongAnswerError
from harness.labkit.stage import wait_until
from harness.sysv import asleep_in, queues

KEY = 0xC0049  # 0o3000111
DO = "README.md, Do"
PREDICT = "README.md, Predict"
PAYLOADS = [b"hello\n", b"no end of line", b"", b"0", b"\xff\0\r\n", b"x" * 8192]


@pytest.fixture
def queue():
    """The system's queue, which is there before the system is; removed at the end."""
    made = sysv_ipc.MessageQueue(KEY, sysv_ipc.IPC_CREX, max_message_size=8192)
    yield made
    with contextlib.suppress(sysv_ipc.ExistentialError):
        made.remove()


# --- what the checks bring themselves --------------------------------------------------------------------------------


def own_start(work) -> int:
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_SETMASK, set())
            work()
            status = 0
        finally:
            os._exit(status)
    return pid


def own_consume(number, queue, out) -> None:
    with contextlib.suppress(sysv_ipc.ExistentialError):
        while True:
            payload, _ = queue.receive()
            os.write(out.fileno(), b"[Worker %d] " % number + payload)


def own_start_workers(count, queue, out) -> list[int]:
    pids = []
    for number in range(count):
        pids.append(own_start(lambda number=number: own_consume(number, queue, out)))
        os.write(out.fileno(), b"create worker %d.pid = %d\n" % (number, pids[-1]))
    return pids


def state_of(pid: int) -> str:
    """The letter of /proc/PID/stat: "Z" for a zombie; "" where there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0]
    except OSError:
        return ""


def runs(pid: int) -> bool:
    """Whether the process is alive; one that has ended and was not waited for is not."""
    return state_of(pid) not in ("", "Z")


def queue_stat():
    """The system's queue as the kernel lists it, or None."""
    return next((found for found in queues() if found.key == KEY), None)


class Output:
    """A pipe: the writing end as a file for the learner's code, and what has come out of the other end."""

    def __init__(self, *, packets: bool = False) -> None:
        # With O_DIRECT each write is one packet, and each read gives one (pipe(2)).
        self._reading, writing = os.pipe2(os.O_DIRECT if packets else 0)
        self.file = os.fdopen(writing, "wb")
        os.set_blocking(self._reading, False)
        self._packets: list[bytes] = []

    def packets(self) -> list[bytes]:
        with contextlib.suppress(BlockingIOError):
            while data := os.read(self._reading, 65536):
                self._packets.append(data)
        return self._packets

    def bytes(self) -> bytes:
        return b"".join(self.packets())

    def wait_for(self, count: int) -> bytes:
        """Wait for at least so many bytes."""
        wait_until(lambda: len(self.bytes()) >= count, f"{count} bytes of output; there are {self.bytes()[:200]!r}")
        return self.bytes()


@contextlib.contextmanager
def child(work):
    """`work` in another process; gives its pid, and kills it and all of its children's group at the end."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            os.setsid()
            work()
            status = 0
        except BaseException:  # noqa: BLE001
            traceback.print_exc()
        finally:
            os._exit(status)
    try:
        yield pid
    finally:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, 0)


def ended(pid: int) -> int | None:
    """Its exit status, minus the signal that killed it, or None while it runs; it is not collected by this."""
    found = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    if found is None:
        return None
    return found.si_status if found.si_code == os.CLD_EXITED else -found.si_status


class System:
    """The learner's `run` or `run_as_original` in a process group of its own, with the check's own workers."""

    def __init__(self, lab, way: str, port: int, *, bind: str = "127.0.0.1", mode: int = 0o600, own=True) -> None:
        if own:
            lab.start, lab.consume, lab.start_workers = own_start, own_consume, own_start_workers
        self.port = port
        self._out = Output()
        settings = lab.Settings(bind=bind, port=port, key=KEY, mode=mode, workers=2)
        self._child = child(lambda: self._run(getattr(lab, way), settings))

    def _run(self, way, settings) -> None:
        # What it says in its last moment is part of the output, as on a terminal.
        os.dup2(self._out.file.fileno(), 2)
        sys.stderr = os.fdopen(2, "w", buffering=1, closefd=False)
        way(settings, self._out.file)
        self._out.file.flush()

    def __enter__(self):
        self.pid = self._child.__enter__()
        return self

    def __exit__(self, *told):
        self._child.__exit__(*told)

    @property
    def raw_output(self) -> bytes:
        return self._out.bytes()

    @property
    def output(self) -> str:
        return self.raw_output.decode(errors="replace")

    @property
    def workers(self) -> list[int]:
        return [int(pid) for pid in re.findall(r"^create worker \d+\.pid = (\d+)$", self.output, re.MULTILINE)]

    def wait_ready(self):
        """Wait until it has said that it is bound, and both workers sleep in msgrcv."""
        wait_until(
            lambda: "stream_socket_server" in self.output or ended(self.pid) is not None,
            "the line `stream_socket_server ...`",
            limit_s=4,
        )
        wait_until(
            lambda: (len(self.workers) == 2 and all(map(asleep_in, self.workers))) or ended(self.pid) is not None,
            "two workers to sleep in msgrcv",
            limit_s=4,
        )
        if (status := ended(self.pid)) is not None:
            raise WrongAnswerError(
                Teach(
                    saw=f"it ended with {status} before it served anybody; it wrote {self.output[-400:]!r}",
                    because="the system runs until a signal ends it: its parent serves, or waits for one",
                    try_="read the last line that it wrote",
                    see="starter.py",
                )
            )
        return self

    def wait_end(self, *, limit_s: float = 4) -> int | None:
        """Its exit status, or None when it still runs after the limit."""
        deadline_s = time.monotonic() + limit_s
        while (status := ended(self.pid)) is None and time.monotonic() < deadline_s:
            time.sleep(0.002)
        return status


def take_turns(ask, output, workers, count: int) -> list[str]:
    """Send `count` messages, each when all workers sleep in msgrcv again; returns the numbers of who got them."""
    winners = []
    for number in range(count):
        wait_until(lambda: all(map(asleep_in, workers)), "all workers to sleep in msgrcv")
        text = f"message {number}\n"
        assert ask(text.encode()) == b"OK\n"
        wait_until(lambda text=text: text in output(), f"a worker to write {text!r}; there is {output()[-300:]!r}")
        winners += re.findall(rf"\[Worker (\d+)\] {text}", output())
    return winners


def port_holder() -> socket.socket:
    """A socket on a port of 127.0.0.1 that does not share it."""
    held = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    held.bind(("127.0.0.1", 0))
    return held


# --- 7.1 -------------------------------------------------------------------------------------------------------------


@task("7.1")
def test_a_child_does_its_work_and_ends(lab, capfd):
    """`start` returns the child's pid to the parent; the child works, and ends with 0, or with 1 after a traceback."""

    def fails():
        raise ZeroDivisionError

    def gives_up():
        sys.exit("no")

    parent = os.getpid()
    reading, writing = os.pipe()
    pids = [lab.start(lambda: os.write(writing, b"%d" % os.getpid())), lab.start(fails), lab.start(gives_up)]
    assert os.getpid() == parent
    statuses = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
    wrote = os.read(reading, 100)
    os.close(reading)
    os.close(writing)

    errors = capfd.readouterr().err
    assert (statuses, wrote) == ([0, 1, 1], b"%d" % pids[0]), Teach(
        saw=f"three children (one works, one raises, one calls sys.exit) ended with {statuses}; start returned "
        f"{pids}, and the first child's own number is {wrote.decode()}",
        because="os._exit ends the child there and then, with the status that you hand it; sys.exit only raises "
        "SystemExit, which goes up into whoever called start",
        try_="begin with status 1, and set it to 0 in the child when work() has returned",
        see="starter.py, start",
    )
    assert "ZeroDivisionError" in errors, Teach(
        saw=f"a child's work raised ZeroDivisionError, and on standard error stood {errors[-200:]!r}",
        because="os._exit ends the process at once: nobody prints the traceback that Python prints at a normal end",
        try_="traceback.print_exc() in an except BaseException",
        see="starter.py, start",
    )


@task("7.1")
def test_a_child_leaves_its_parents_buffers_alone(lab, tmp_path):
    """What the parent has in a buffer is written once, by the parent; and nothing of the parent's cleaning-up runs."""
    cleaned = tmp_path / "cleaned"
    with Path(tmp_path, "written").open("wb") as file:
        file.write(b"once\n")
        try:
            pid = lab.start(lambda: None)
        finally:
            with cleaned.open("a", encoding="ascii") as log:
                log.write("parent\n")
        os.waitpid(pid, 0)

    wrote, cleanings = Path(tmp_path, "written").read_bytes(), cleaned.read_text(encoding="ascii").count("\n")
    assert (wrote, cleanings) == (b"once\n", 1), Teach(
        saw=f"the file has {wrote!r}, and the `finally` around start ran {cleanings} times",
        because="a forked child has a copy of everything: the open `with` and `try` blocks, and what is in the "
        "buffers. sys.exit goes through all of it; os._exit through nothing",
        try_="os._exit in a finally, so that no way out of the child leads past it",
        see="https://docs.python.org/3/library/os.html#os._exit",
    )


@task("7.1")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_a_signal_simply_ends_a_child(lab, number):
    """SIGINT and SIGTERM end the child without a word, whatever the parent does with them."""
    signal.signal(number, lambda *_: None)
    signal.pthread_sigmask(signal.SIG_BLOCK, {number})
    reading, writing = os.pipe()
    pid = lab.start(lambda: (os.write(writing, b"."), time.sleep(1)))
    os.read(reading, 1)

    os.kill(pid, number)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    os.close(reading)
    os.close(writing)

    assert status == -number, Teach(
        saw=f"the parent had a handler for {number.name} and had blocked it; a child that got it ended with {status}",
        because="a forked child inherits its parent's handlers and what its parent has blocked; a blocked signal waits "
        "for ever",
        try_="in the child: signal.signal(number, signal.SIG_DFL), and pthread_sigmask with SIG_UNBLOCK",
        see=DO,
    )


# --- 7.2 -------------------------------------------------------------------------------------------------------------


@task("7.2")
@limit(10)
@pytest.mark.parametrize("number", [0, 12])
def test_a_worker_writes_its_number_and_the_payload_as_it_came(lab, queue, number):
    """`[Worker NUMBER] ` and the very bytes, with no end of line of the worker's own."""
    out = Output()
    with child(lambda: lab.consume(number, queue, out.file)) as pid:
        for payload in PAYLOADS:
            wait_until(
                lambda: asleep_in(pid) or ended(pid) is not None, f"the worker to wait; it wrote {out.bytes()[:200]!r}"
            )
            queue.send(payload)
        prefix = b"[Worker %d] " % number
        expected = b"".join(prefix + payload for payload in PAYLOADS)
        wait_until(
            lambda: len(out.bytes()) >= len(expected) or (asleep_in(pid) and not queue.current_messages) or ended(pid),
            "the worker to be done",
        )
    found = out.bytes()

    at = next((n for n, (one, other) in enumerate(zip(found, expected, strict=False)) if one != other), len(expected))
    assert found == expected, Teach(
        saw=f"for {PAYLOADS[:5]} and 8192 bytes worker {number} wrote {found[:200]!r}; the first difference is at byte "
        f"{at}, where {expected[at : at + 30]!r} should follow, and {found[at : at + 30]!r} does",
        because="a payload is bytes, and need not be text, nor end with an end of line: print adds, decode assumes",
        try_='out.write(b"[Worker %d] " % number + payload)',
        see=DO,
    )


@task("7.2")
@limit(10)
def test_a_message_is_written_when_it_comes_in_one_piece(lab, queue):
    """Each message is on its way before the next is asked for, and is one write."""
    out = Output(packets=True)
    with child(lambda: lab.consume(3, queue, out.file)) as pid:
        wait_until(lambda: asleep_in(pid), "the worker to sleep in msgrcv")
        queue.send(b"hello\n")
        wait_until(lambda: out.packets() or (asleep_in(pid) and not queue.current_messages), "the worker to come back")
        wait_until(lambda: asleep_in(pid), "the worker to sleep in msgrcv again")
        pieces = list(out.packets())

    assert pieces, Teach(
        saw="the worker has taken the message and waits for the next, and has written nothing",
        because="output that is not flushed stays in the program until its buffer is full or it ends",
        try_="out.flush() after each message",
        see=DO,
    )
    assert len(pieces) == 1, Teach(
        saw=f"one message was written in {len(pieces)} pieces: {pieces}",
        because="two workers have one standard output. Each write(2) is whole, but between two of them another "
        "worker's text can get in",
        try_="put number and payload together first, then write, then flush",
        see=PREDICT,
    )


@task("7.2")
@limit(10)
@pytest.mark.parametrize("when", ["asleep", "before"])
def test_a_worker_ends_when_its_queue_is_removed(lab, queue, when):
    """Removed while the worker sleeps, or before it asks: it returns, without an error."""
    out = Output()
    if when == "before":
        queue.remove()
    with child(lambda: lab.consume(0, queue, out.file)) as pid:
        if when == "asleep":
            wait_until(lambda: asleep_in(pid), "the worker to sleep in msgrcv")
            queue.remove()
        with contextlib.suppress(WrongAnswerError):
            wait_until(lambda: ended(pid) is not None, "the worker to end")
        status = ended(pid)

    assert status == 0, Teach(
        saw=f"the queue was removed {'while the worker slept' if when == 'asleep' else 'before it asked'}; the worker "
        f"{'still runs' if status is None else f'ended with status {status}'}",
        because="EIDRM wakes who sleeps, EINVAL answers who comes later; sysv_ipc's receive raises ExistentialError "
        "for both. A worker that ignores it, as the original's does, asks again for ever, with a whole core",
        try_="catch sysv_ipc.ExistentialError, and return",
        see="starter.py, consume",
    )


# --- 7.3 -------------------------------------------------------------------------------------------------------------


def started(lab, queue, count: int):
    """start_workers with the check's own start and consume: its output, what it returned, and what the workers wrote.

    Each worker gets one message, in turn.
    """
    lab.start, lab.consume = own_start, writes_through_the_buffer
    out = Output()
    pids = lab.start_workers(count, queue, out.file)
    said = out.bytes()
    try:
        for _ in range(count):
            wait_until(lambda: all(map(asleep_in, pids)), "all workers to sleep in msgrcv")
            before = len(out.bytes())
            queue.send(b"hello\n")
            out.wait_for(before + 1)
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
    return said, pids, out.bytes()[len(said) :]


def writes_through_the_buffer(number, queue, out) -> None:
    while True:
        payload, _ = queue.receive()
        out.write(b"[Worker %d] " % number + payload)
        out.flush()


@task("7.3")
@limit(10)
@pytest.mark.parametrize("count", [1, 3])
def test_each_worker_is_announced(lab, queue, count):
    """A line `create worker NUMBER.pid = PID` for each, from 0 up, at once; and the pids are returned."""
    said, pids, _ = started(lab, queue, count)

    expected = "".join(f"create worker {number}.pid = {pid}\n" for number, pid in enumerate(pids))
    assert (said.decode(), len(pids)) == (expected, count), Teach(
        saw=f"start_workers({count}, ...) returned {pids}, and had written {said.decode()!r} by then",
        because="the parent knows each child's number from fork's answer, and is the one who can say it, in order",
        try_="after each start write the line, and flush",
        see="starter.py, start_workers",
    )


@task("7.3")
@limit(10)
def test_no_line_is_written_twice(lab, queue):
    """What the workers write later has no start-up line in it."""
    _, _, later = started(lab, queue, 3)

    assert b"create" not in later, Teach(
        saw=f"when all were started and each worker had got one message, there came {later.decode()!r}",
        because="what is in the buffer when you fork is in the child's copy of the buffer too, and the child writes it "
        "with its first message",
        try_="flush before the next fork",
        see=PREDICT,
    )


@task("7.3")
@limit(10)
def test_each_worker_knows_its_number(lab, queue):
    """Three workers call themselves 0, 1 and 2."""
    _, _, later = started(lab, queue, 3)

    names = sorted(re.findall(rb"\[Worker (\d+)\]", later))
    assert names == [b"0", b"1", b"2"], Teach(
        saw=f"each of three workers got one message; they called themselves {[name.decode() for name in names]}",
        because="a child's variables are copies of what the parent's were at the fork",
        try_="start(partial(consume, number, queue, out)) in the loop",
        see="starter.py, start_workers",
    )


# --- 7.4 -------------------------------------------------------------------------------------------------------------


@task("7.4")
@limit(10)
def test_the_original_forks_before_it_binds(lab):
    """If the port is held, the original has its queue and its two workers already when it finds out."""
    with port_holder() as held, System(lab, "run_as_original", held.getsockname()[1], mode=0o666) as system:
        status = system.wait_end()
        made = queue_stat()
        left = [pid for pid in system.workers if runs(pid)]

    if made:
        sysv_ipc.MessageQueue(KEY).remove()
    assert (len(left), made is not None, status) == (2, True, 1), Teach(
        saw=f"the port was held by somebody else; it ended with {status}, {len(left)} workers were left, its queue was "
        f"{'there' if made else 'not there'}, and it wrote {system.output[-300:]!r}",
        because="the article's program makes its queue, forks its workers, and only then asks for the port: what is "
        "wrong with that you can only see if you rebuild it",
        try_="open_queue, start_workers, listen, in this order; let the error of listen go through",
        see=DO,
    )


@task("7.4")
@limit(10)
def test_on_the_wire_and_on_the_queue_it_is_the_original(lab, stage):
    """Empty, `0`, raw bytes, and over 8192 bytes, which are cut: each is OK, and a worker writes what was queued."""
    with System(lab, "run_as_original", stage.free_port(), mode=0o666) as system:
        system.wait_ready()
        mode = queue_stat().mode
        start_up = system.output
        said = []
        for payload in (b"hello\n", b"", b"0", b"\xff\n", b"x" * 8193):
            said.append(stage.ask(system.port, payload))
            wait_until(lambda: all(map(asleep_in, system.workers)), "the workers to sleep in msgrcv")
        wrote = re.sub(rb"\[Worker [01]\] ", b"|", system.raw_output[len(start_up) :])
        workers = system.workers

    sysv_ipc.MessageQueue(KEY).remove()
    lines = [f"create worker {number}.pid = {pid}\n" for number, pid in enumerate(workers)]
    expected = "".join(lines) + f"stream_socket_server bind=udp://127.0.0.1:{system.port}\n"
    assert (start_up, oct(mode)) == (expected, "0o666"), Teach(
        saw=f"it started with {start_up!r}; its queue had the mode {mode:o}, where 666 was asked for",
        because="who replaces a program must say what it said: somebody's script waits for these lines",
        try_="the workers' lines, then `stream_socket_server bind=udp://HOST:PORT`, flushed",
        see=DO,
    )
    assert (said, wrote) == ([b"OK\n"] * 5, b"|hello\n||0|\xff\n|" + b"x" * 8192), Teach(
        saw=f"`hello`, nothing, `0`, the byte 255 and 8193 bytes were answered {said}; the workers wrote "
        f"{wrote[:60]!r}, {len(wrote)} bytes in all",
        because="the original reads up to 8192 bytes of each datagram, queues what it has, and says OK: the cut is one "
        "of the faults that you rebuild here",
        try_="serve(sock, queue, cut=True), and nothing else",
        see=DO,
    )


@task("7.4")
@limit(10)
def test_the_original_shares_its_port(lab, stage):
    """Started twice it runs twice, and the last to bind gets the datagrams; all four workers have one queue."""
    port = stage.free_port()
    with System(lab, "run_as_original", port) as first:
        first.wait_ready()
        with System(lab, "run_as_original", port) as second:
            second.wait_ready()
            os.kill(second.pid, signal.SIGSTOP)
            answer = stage.ask(port, b"hello\n", limit_s=0.2)

    sysv_ipc.MessageQueue(KEY).remove()
    assert answer is None, Teach(
        saw=f"two ran on one port, and the second's proxy was stopped; the first answered a datagram {answer!r}",
        because="with SO_REUSEADDR the kernel gives each datagram to the socket that was bound last",
        try_="listen(settings.bind, settings.port, share=True)",
        see=PREDICT,
    )


@task("7.4")
@limit(10)
def test_ctrl_c_ends_all_and_leaves_the_queue(lab, stage):
    """SIGINT to the whole group, as the terminal sends it: parent and workers are gone, and the queue stays."""
    with System(lab, "run_as_original", stage.free_port()) as system:
        system.wait_ready()
        os.killpg(system.pid, signal.SIGINT)
        status = system.wait_end()
        with contextlib.suppress(WrongAnswerError):
            wait_until(lambda: not any(map(runs, system.workers)), "both workers to end")
        left = [pid for pid in system.workers if runs(pid)]
        stays = queue_stat() is not None
        output = system.output

    if stays:
        sysv_ipc.MessageQueue(KEY).remove()
    assert (status, left, stays) == (-signal.SIGINT, [], True), Teach(
        saw=f"after Ctrl-C the parent's status is {status}, {len(left)} workers still run, and the queue "
        f"{'stays' if stays else 'is gone'}; it wrote {output[-300:]!r}",
        because="the terminal sends SIGINT to every process of its foreground group; PHP leaves the signal its "
        "default, which ends a process without a word, and nothing is cleaned up",
        try_="signal.signal(signal.SIGINT, signal.SIG_DFL) first of all, and remove nothing",
        see=DO,
    )


@task("7.4")
@limit(15)
@own_network
def test_the_original_as_netcat_and_ipcs_see_it(stage):
    """`--as-original`: 0.0.0.0:9999, the key 0x000c0049, perms 666, and workers that take turns."""
    program = stage.run("--as-original")
    program.wait_for(r"^stream_socket_server bind=udp://0\.0\.0\.0:9999$")
    workers = [int(pid) for pid in re.findall(r"^create worker [01]\.pid = (\d+)$", program.output, re.MULTILINE)]

    winners = take_turns(lambda text: stage.ask(9999, text), lambda: program.output, workers, 6)
    for pid in workers:
        os.kill(pid, signal.SIGSTOP)
    wait_until(lambda: all(state_of(pid) == "T" for pid in workers), "both workers to be stopped")
    heard = stage.netcat(9999, "hello\n")
    rows = [row for row in stage.ipcs() if row[0] == "0x000c0049"]
    types = []
    if queue_stat():
        left = sysv_ipc.MessageQueue(KEY, max_message_size=8192)
        while left.current_messages:
            types.append(left.receive(block=False)[1])
        left.remove()

    assert heard == "OK\n", Teach(
        saw=f"a person typed `hello` into nc -u 127.0.0.1 9999, and got {heard!r}",
        because="0.0.0.0 stands for every address of the machine, the loopback among them",
        try_="try it by hand",
        see=DO,
    )
    assert [row[3:] for row in rows] == [["666", "6", "1"]], Teach(
        saw=f"both workers were stopped, one `hello` was sent; the rows of ipcs -q for 0x000c0049 are {rows}",
        because="03000111 is octal: 0x000c0049. A queue's mode is just what msgget was given: the umask has no say",
        try_="leave main as starter.py has it; open_queue(settings.key, settings.mode)",
        see=DO,
    )
    assert types == [1], Teach(
        saw=f"the message on the queue has the type {types}",
        because="the original's proxy sends type 1; the workers take any, but somebody else's may not",
        try_="leave serve as starter.py has it",
        see="starter.py, serve",
    )
    assert len(set(winners[:2])) == 2 and winners == winners[:2] * 3, Teach(  # noqa: PT018 - one thing: they alternate
        saw=f"six messages, each sent when both workers slept, went to the workers {', '.join(winners)}",
        because="msgrcv puts a worker at the tail of the kernel's list, and msgsnd serves its head (lab 04); which "
        "worker was first on the list is a race of two forks",
        try_="let each worker do nothing between its write and its next receive",
        see="labs/04_flip_flop/README.md",
    )


# --- 7.5 -------------------------------------------------------------------------------------------------------------


@task("7.5")
@limit(10)
def test_who_cannot_have_the_port_starts_nothing(lab):
    """If the port is held there is an error, and no worker, and no queue."""
    with port_holder() as held, System(lab, "run", held.getsockname()[1]) as system:
        status = system.wait_end()
        made = queue_stat()
        output = system.output

    if made:
        sysv_ipc.MessageQueue(KEY).remove()
    assert (status, "create worker" in output, made) == (1, False, None), Teach(
        saw=f"the port was held by somebody else; it {'runs' if status is None else f'ended with {status}'}, its queue "
        f"was {'there' if made else 'not there'}, it had started {len(system.workers)} workers, and it wrote "
        f"{output[-200:]!r}",
        because="binding is the step that can fail: what was made before it must be unmade, and workers that were "
        "forked before it live on as orphans",
        try_="listen first; open the queue and start the workers when you have the port",
        see=PREDICT,
    )


@task("7.5")
@limit(15)
@pytest.mark.parametrize("how", ["ctrl-c", "sigterm"])
@pytest.mark.parametrize("there", [False, True], ids=["its-queue", "anothers-queue"])
def test_it_ends_its_children_and_removes_what_it_made(lab, stage, how, there):
    """Ctrl-C or SIGTERM to the parent: nobody is left, and the queue is gone, unless it was there before."""
    before = sysv_ipc.MessageQueue(KEY, sysv_ipc.IPC_CREX) if there else None
    with System(lab, "run", stage.free_port()) as system:
        system.wait_ready()
        answers = [stage.ask(system.port, payload) for payload in (b"", b"x" * 8193)]
        if how == "ctrl-c":
            os.killpg(system.pid, signal.SIGINT)
        else:
            os.kill(system.pid, signal.SIGTERM)
        status = system.wait_end()
        group = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
        left = [pid for pid in group if pid != system.pid and runs(pid) and group_of(pid) == system.pid]
        made = queue_stat()
        output = system.output

    if made:
        sysv_ipc.MessageQueue(KEY).remove()
    assert answers == [b"OK\n", b"ER\n"], Teach(
        saw=f"an empty datagram and one of 8193 bytes were answered {answers}",
        because="without --as-original nothing is cut: over 8192 bytes the answer is ER",
        try_="serve(sock, queue) in a child of its own",
        see=DO,
    )
    assert (status, left) == (0, []), Teach(
        saw=f"after {how} it {'still runs' if status is None else f'ended with {status}'}, and of its children "
        f"{len(left)} run on; it wrote {output[-300:]!r}",
        because="a signal that is not blocked takes its default way, and ends the parent before it has ended anybody; "
        "SIGTERM goes to one process, and its children are not told",
        try_="block ENDINGS before the first fork, signal.sigwait(ENDINGS), then end(pids), the proxy's too",
        see=DO,
    )
    assert (made is not None) == (before is not None), Teach(
        saw=f"the queue was {'there before it started' if there else 'made by it'}, and afterwards it "
        f"{'is still there' if made else 'is gone'}",
        because="a queue that was there belongs to somebody else, with what is in it; one that you made nobody else "
        "will remove",
        try_="open_queue tells you whether it was created: remove it in that case alone",
        see=DO,
    )


def group_of(pid: int) -> int:
    """The process group of a process; 0 when it is gone."""
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return 0


def end_by_sigterm(program) -> None:
    """End the learner's program, as `kill` does; it must do so by itself, with status 0."""
    program.signal(signal.SIGTERM)
    status = program.wait()
    assert status == 0, Teach(
        saw=f"SIGTERM was sent to the program; it ended with status {status}, and wrote {program.errors[-200:]!r}",
        because="a signal that is not blocked takes its default way, and ends the parent before it has ended anybody; "
        "a minus stands before the number of the signal that killed it",
        try_="block ENDINGS before the first fork, signal.sigwait(ENDINGS), then end(pids)",
        see=DO,
    )


@task("7.5")
@limit(10)
@own_network
def test_the_program_is_careful_unless_told_otherwise(stage):
    """Without options: 127.0.0.1:9999, mode 0600, two workers; a second one is refused with status 1."""
    program = stage.run()
    program.wait_for(r"^stream_socket_server bind=udp://127\.0\.0\.1:9999$")
    made = stage.queue(KEY)
    count = len(program.children)
    second = stage.run()
    refused = second.wait()
    answer = stage.ask(9999, b"hello")
    program.wait_for(r"\[Worker [01]\] hello$")
    end_by_sigterm(program)

    mode = made and oct(made.mode)
    assert (mode, count, answer) == ("0o600", 3, b"OK\n"), Teach(
        saw=f"its queue 0xc0049 has the mode {mode}, it has {count} children, and it answered {answer!r}",
        because="on 127.0.0.1 only this machine is heard, and mode 0600 lets only you at the queue; the three children "
        "are two workers and the proxy",
        try_="leave main as starter.py has it",
        see=DO,
    )
    assert (refused, second.output, second.errors.count("\n")) == (1, "", 1), Teach(
        saw=f"a second one on the same port ended with {refused}; it wrote {second.output!r}, and on standard error "
        f"{second.errors[-200:]!r}",
        because="without SO_REUSEADDR the port belongs to the first",
        try_="listen(settings.bind, settings.port), and let its error go through",
        see=DO,
    )


@task("7.5")
@limit(10)
def test_the_program_does_what_its_options_say(stage):
    """`--bind`, `--port`, `--key`, `--mode` and `--workers`; what msgmax forbids is ER, and told."""
    program = stage.run("--bind", "127.0.0.2", "--port", "0", "--key", "0x77", "--mode", "640", "--workers", "3")
    port = int(program.wait_for(r"^stream_socket_server bind=udp://127\.0\.0\.2:(\d+)$")[1])
    made = stage.queue(0x77)
    count = len(program.children)
    try:
        Path("/proc/sys/kernel/msgmax").write_text("4", encoding="ascii")
    except OSError as error:
        raise CannotStageError(f"kernel.msgmax of a private namespace cannot be set: {error.strerror}") from error
    answers = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.connect(("127.0.0.2", port))
        client.settimeout(2)
        for payload in (b"12345", b"1234"):
            client.send(payload)
            try:
                answers.append(client.recv(100))
            except OSError:
                answers.append(None)
    end_by_sigterm(program)

    assert (made and oct(made.mode), count) == ("0o640", 4), Teach(
        saw=f"with --key 0x77 --mode 640 --workers 3 its queue is {made}, and it has {count} children",
        because="all of it is in `settings`",
        try_="use settings.key, .mode, .workers, .bind and .port, and no constants",
        see="starter.py, Settings",
    )
    assert (answers, "5 bytes" in program.errors) == ([b"ER\n", b"OK\n"], True), Teach(
        saw=f"msgmax was 4; 5 bytes and 4 bytes were answered {answers}, on standard error stood {program.errors!r}",
        because="the kernel refuses what is over msgmax, and the proxy says so to the client and to you",
        try_="leave serve as starter.py has it",
        see="starter.py, serve",
    )
