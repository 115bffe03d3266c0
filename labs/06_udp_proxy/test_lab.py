"""The checks of lab 06: `pytest labs/06_udp_proxy`.

Sockets, datagrams, queues and processes are real. A check that needs a proxy, and is not about the learner's, has one
of its own: `Front`.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from dataclasses import dataclass
from pathlib import Path

import pytest
import sysv_ipc

from harness.labkit import Teach, limit, own_network, task
from harness.labkit.failures import CannotStageError
from harness.labkit.stage import wait_until
from harness.sysv import asleep_in

DO = "README.md, Do"
PREDICT = "README.md, Predict"
KEY = 0xC0049
NONE = "nothing"


@pytest.fixture
def queue():
    """A queue of the check's own that takes the largest datagram there is, as far as msgmax lets it."""
    made = sysv_ipc.MessageQueue(None, sysv_ipc.IPC_CREX, max_message_size=65535)
    yield made
    with contextlib.suppress(sysv_ipc.ExistentialError):
        made.remove()


@pytest.fixture
def server():
    """A bound socket that stands for the proxy's."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.settimeout(2)
        yield sock


@pytest.fixture
def clients(server):
    """Two clients of it."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(client_of(server)) for _ in range(2)]


def client_of(server: socket.socket) -> socket.socket:
    client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    client.bind(("127.0.0.1", 0))
    client.connect(server.getsockname())
    client.settimeout(1)
    return client


def answers(client: socket.socket) -> list[bytes]:
    """Every datagram that has come back by now; on the loopback it is there when sendto returns."""
    found = []
    patience_s = client.gettimeout()
    client.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while True:
            found.append(client.recv(100))
    client.settimeout(patience_s)
    return found


def set_limit(name: str, value: int) -> None:
    """Set msgmax or msgmnb of the check's own namespace."""
    try:
        Path("/proc/sys/kernel", name).write_text(str(value), encoding="ascii")
    except OSError as error:
        raise CannotStageError(f"kernel.{name} of a private namespace cannot be set: {error.strerror}") from error


def take_all(queue) -> list[tuple[int, bytes]]:
    """Take what is there: (type, payload) of each message."""
    return [(kind, payload) for payload, kind in iter(lambda: receive_or_none(queue), None)]


def receive_or_none(queue):
    try:
        return queue.receive(block=False)
    except sysv_ipc.BusyError:
        return None


def open_files() -> int:
    """How many file descriptors this process has."""
    return len(list(Path("/proc/self/fd").iterdir()))


def told(payload: bytes | None) -> str:
    """A payload in a few words."""
    if payload is None:
        return "None"
    return repr(payload) if len(payload) < 20 else f"{len(payload)} bytes"


def in_child(work) -> int:
    """Start `work` in another process, which ends with status 0 if it returns True; returns its pid."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            status = 0 if work() else 1
        finally:
            os._exit(status)
    return pid


# --- 6.1 -------------------------------------------------------------------------------------------------------------


@task("6.1")
def test_the_socket_is_bound_to_the_address_that_was_asked_for(lab):
    """`listen` gives a UDP socket on just the host and the port that it was asked for."""
    with lab.listen("127.0.0.2", 0) as first:
        host, port = first.getsockname()
        with contextlib.suppress(OSError), lab.listen("127.0.0.3", port) as second:
            others = second.getsockname()
        kind = first.type

    assert (kind, host, others) == (socket.SOCK_DGRAM, "127.0.0.2", ("127.0.0.3", port)), Teach(
        saw=f"listen('127.0.0.2', 0) gave {kind.name} on {host}:{port}, listen('127.0.0.3', {port}) gave {others}",
        because="a datagram reaches a socket that is bound to the address it was sent to; one that is bound to '' or "
        "0.0.0.0 takes those for every address of the machine, also from the network",
        try_="bind to (host, port), as they were handed in",
        see=DO,
    )


@task("6.1")
def test_a_second_listener_is_refused(lab):
    """While one listens the same address is not given again; when it has gone, it is."""
    raised = None
    with lab.listen("127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        before = open_files()
        try:
            lab.listen("127.0.0.1", port).close()
        except OSError as error:
            raised = error
        left_open = open_files() - before

    assert raised is not None, Teach(
        saw=f"two sockets listen on 127.0.0.1:{port} at the same time, and no error told anybody",
        because="with SO_REUSEADDR (or SO_REUSEPORT) on both, UDP lets them share a port, and the last to bind gets "
        "the datagrams: the first proxy goes on and hears nothing",
        try_="set no socket option before bind: TCP's reason for SO_REUSEADDR, connections that linger, UDP has not",
        see=PREDICT,
    )
    assert left_open == 0, Teach(
        saw="listen raised, as it should, and the socket that it had made is still open",
        because="the caller has no name for a socket that was never returned, so only `listen` can close it",
        try_="close it, and raise the error again",
        see="starter.py, listen",
    )
    with lab.listen("127.0.0.1", port) as again:
        assert again.getsockname()[1] == port


@task("6.1")
@limit(10)
def test_a_port_that_is_taken_ends_the_program_before_it_made_a_queue(lab, stage, server):
    """If the port is taken the program says so in one line, ends with status 1, and has made no queue."""
    with contextlib.suppress(OSError):  # a todo is met here, and told
        lab.listen(*server.getsockname()).close()
    port = server.getsockname()[1]
    program = stage.run("--port", str(port))
    status = program.wait()

    made = stage.queue(KEY)
    expected = f"cannot bind 127.0.0.1:{port}: Address already in use\n"
    assert (status, program.errors, made) == (1, expected, None), Teach(
        saw=f"with its port taken the program ended with status {status}; on standard error stood "
        f"{program.errors[-200:]!r}, and its queue is {'there' if made else 'not there'}",
        because="status 0 tells a script that all went well, and a queue that was made before the bind failed stays",
        try_="let `listen` raise what bind raises; main prints it",
        see="starter.py, main",
    )


# --- 6.2 -------------------------------------------------------------------------------------------------------------


@task("6.2")
@pytest.mark.parametrize("payload", [b"hello\n", b"", b"0", b"\0\xff\0", b"x" * 8192], ids=told)
def test_a_datagram_comes_as_it_was_sent(lab, server, clients, payload):
    """`read_datagram` gives the bytes as they came, the empty ones too, and who sent them."""
    clients[0].send(payload)

    found, sender = lab.read_datagram(server, 8192)

    assert (found, sender) == (payload, clients[0].getsockname()), Teach(
        saw=f"{clients[0].getsockname()} sent {told(payload)}; read_datagram gave {told(found)} from {sender}",
        because="a datagram of no bytes is a datagram: it has a sender who waits for an answer. UDP has no end of file"
        if not payload
        else "a datagram is read in one call, with its sender; up to the buffer's size nothing is cut",
        try_="test the flag that tells of a cut, not the payload",
        see=DO,
    )


@task("6.2")
@pytest.mark.parametrize("size", [8193, 65507])
def test_what_does_not_fit_is_none_and_never_a_piece(lab, server, clients, size):
    """A datagram of more than `largest_bytes` is None, and the next one comes whole."""
    clients[0].send(bytes(size))
    clients[0].send(b"next")

    found, sender = lab.read_datagram(server, 8192)
    following, _ = lab.read_datagram(server, 8192)

    assert told(found) == "None", Teach(
        saw=f"of a datagram of {size} bytes read_datagram gave {told(found)}",
        because="the kernel copies what the buffer holds, throws the rest of that datagram away, and reports success: "
        "only the flag MSG_TRUNC tells that something is missing",
        try_="recvmsg gives flags beside the bytes; recvfrom does not",
        see=DO,
    )
    assert (sender, following) == (clients[0].getsockname(), b"next"), Teach(
        saw=f"the long datagram came from {clients[0].getsockname()}, and you gave {sender}; after it came "
        f"{told(following)}, where 'next' was sent",
        because="who sent too much waits for an answer too; and what was cut off does not come with the next call",
        try_="return None with the sender, after one call",
        see="starter.py, read_datagram",
    )


@task("6.2")
def test_the_limit_is_the_callers(lab, server, clients):
    """With a larger limit a larger datagram comes whole, with a smaller one a smaller is refused."""
    clients[0].send(b"x" * 65507)
    clients[0].send(b"four")

    large, _ = lab.read_datagram(server, 65507)
    small, _ = lab.read_datagram(server, 3)

    assert (large, small) == (b"x" * 65507, None), Teach(
        saw=f"with a limit of 65507 a datagram of 65507 bytes gave {told(large)}; with 3 `four` gave {told(small)}",
        because="65507 bytes are the most that UDP over IPv4 can carry; how many of them are welcome is the caller's "
        "to say",
        try_="use largest_bytes as the size of the buffer, and no constant",
        see="starter.py, read_datagram",
    )


# --- 6.3 -------------------------------------------------------------------------------------------------------------


@task("6.3")
def test_each_payload_is_one_message_of_type_1(lab, queue):
    """`enqueue` puts each payload on the queue once, unchanged, with type 1, the empty one and `0` too."""
    payloads = [b"hello\n", b"", b"0", b"\0\xff\0", b"x" * 8192]
    said = [lab.enqueue(queue, payload) for payload in payloads]

    found = take_all(queue)
    shown = ", ".join(f"(type {kind}) {told(payload)}" for kind, payload in found)
    assert found == [(1, payload) for payload in payloads], Teach(
        saw=f"{', '.join(told(payload) for payload in payloads)} were handed in; on the queue were {shown or NONE}",
        because="msgsnd copies the bytes as they are and has nothing against none of them; the type is a number beside",
        try_="one send for each call, with type=TYPE, whatever the payload is",
        see=DO,
    )
    assert said == [True] * 5, Teach(
        saw=f"all five are on the queue, and enqueue returned {said}",
        because="the caller tells the client what enqueue tells the caller",
        try_="return True when send has come back",
        see="starter.py, enqueue",
    )


@task("6.3")
def test_a_message_over_msgmax_is_refused_whole(lab, queue, capsys):
    """Over msgmax `enqueue` returns False, says why on standard error, and leaves nothing on the queue."""
    set_limit("msgmax", 8192)
    lab.enqueue(queue, b"before")
    capsys.readouterr()

    try:
        said = lab.enqueue(queue, b"x" * 8193)
    except OSError as error:
        said = error

    errors = capsys.readouterr().err
    found = [payload for _, payload in take_all(queue)]
    assert (said, found) == (False, [b"before"]), Teach(
        saw=f"msgmax is 8192; for 8193 bytes enqueue gave {said!r}, and on the queue stood "
        f"{', '.join(told(payload) for payload in found)}, where `before` was before",
        because="the kernel refuses a message over msgmax whole (EINVAL, an OSError); a part of it would be a message "
        "that nobody sent",
        try_="catch it, return False, and cut nothing",
        see=DO,
    )
    assert errors.count("\n") == 1 and "8193" in errors, Teach(  # noqa: PT018 - one line with the size in it
        saw=f"8193 bytes were refused, and on standard error stood {errors!r}",
        because="the client is only told ER; why, the person who runs the proxy can read nowhere else",
        try_='print(f"not queued, {len(payload)} bytes: {error}", file=sys.stderr)',
        see="starter.py, enqueue",
    )


@task("6.3")
@limit(10)
def test_a_full_queue_makes_it_wait(lab, queue):
    """While the queue is full `enqueue` waits; it returns True when a worker has made room."""
    lab.enqueue(queue, b"first")
    queue.max_size = 5

    waiting = in_child(lambda: lab.enqueue(queue, b"later") is True)
    wait_until(
        lambda: asleep_in(waiting) or os.waitid(os.P_PID, waiting, os.WEXITED | os.WNOHANG | os.WNOWAIT),
        "enqueue to sleep in msgsnd, or to return",
    )
    slept = asleep_in(waiting) is not None
    taken = [queue.receive()[0]]
    if slept:
        taken.append(queue.receive()[0])
    status = os.waitstatus_to_exitcode(os.waitpid(waiting, 0)[1])

    assert (slept, taken, status) == (True, [b"first", b"later"], 0), Teach(
        saw=f"with no room in the queue enqueue {'slept' if slept else 'returned'}; a worker then took {taken}; "
        f"True came back: {status == 0}",
        because="msgsnd sleeps until there is room, if it may; with IPC_NOWAIT it is BusyError instead. This proxy "
        "waits, as the original does: the socket's buffer takes what comes meanwhile (lab 09 weighs it)",
        try_="leave `block` as it is: queue.send waits unless told otherwise",
        see=DO,
    )


@task("6.3")
@limit(10)
def test_a_queue_that_is_removed_refuses(lab, queue):
    """If the queue is removed, before or while `enqueue` waits for room, it returns False."""
    lab.enqueue(queue, b"first")
    queue.max_size = 5
    waiting = in_child(lambda: lab.enqueue(queue, b"later") is False)
    wait_until(lambda: asleep_in(waiting), "enqueue to sleep in msgsnd before the full queue")

    queue.remove()
    asleep = os.waitstatus_to_exitcode(os.waitpid(waiting, 0)[1]) == 0
    try:
        afterwards = lab.enqueue(queue, b"later") is False
    except (OSError, sysv_ipc.Error):
        afterwards = False

    assert (asleep, afterwards) == (True, True), Teach(
        saw=f"False came back from an enqueue that slept when the queue was removed: {asleep}; from one that began "
        f"afterwards: {afterwards}",
        because="who sleeps is woken with EIDRM, which sysv_ipc raises as ExistentialError; who comes later gets "
        "EINVAL, a plain OSError. An exception that nobody catches ends the proxy, and every client's answers",
        try_="catch OSError and sysv_ipc.Error: neither is a kind of the other",
        see=DO,
    )


# --- 6.4 -------------------------------------------------------------------------------------------------------------


class Parts:
    """Stands for the learner's read_datagram and enqueue, so that serve_one alone is looked at."""

    def __init__(self, lab, clients) -> None:
        self.queued: list[bytes] = []
        self.room = True
        self.early: list[bytes] = []
        self._clients = clients
        lab.read_datagram = self.read_datagram
        lab.enqueue = self.enqueue

    def read_datagram(self, sock, largest_bytes):
        payload, _, flags, sender = sock.recvmsg(largest_bytes)
        return (None if flags & socket.MSG_TRUNC else payload), sender

    def enqueue(self, _queue, payload) -> bool:
        for client in self._clients:
            self.early += answers(client)
        if self.room:
            self.queued.append(payload)
        return self.room


@task("6.4")
@pytest.mark.parametrize(
    ("payload", "room"),
    [(b"hello\n", True), (b"", True), (b"0", True), (b"x" * 9, True), (b"hello\n", False)],
    ids=["hello", "empty", "0", "too-long", "refused"],
)
def test_the_answer_says_whether_it_is_on_the_queue(lab, queue, server, clients, *, payload, room):
    """OK for what was queued, the empty one and `0` too; ER for what was too long or was refused; one answer each."""
    parts = Parts(lab, clients)
    parts.room = room
    clients[0].send(payload)

    lab.serve_one(server, queue, 8)

    found = parts.early + answers(clients[0])
    on_queue = [payload] if room and len(payload) <= 8 else []
    expected = b"OK\n" if on_queue else b"ER\n"
    assert (found, parts.queued) == ([expected], on_queue), Teach(
        saw=f"for {told(payload)}, with a limit of 8 bytes and a queue that "
        f"{'takes it' if room else 'refuses'}, the client got {found}, and queued were {parts.queued}",
        because="an empty payload is false for `if`, and None is too: only `is None` tells what could not be read from "
        "what is empty"
        if not payload
        else "one datagram, one answer, and the answer is what enqueue said",
        try_="ask `payload is not None`, then enqueue; answer in one place",
        see=DO,
    )


@task("6.4")
def test_nothing_is_promised_before_it_is_done(lab, queue, server, clients):
    """The answer goes out after `enqueue` has come back, not before."""
    parts = Parts(lab, clients)
    clients[0].send(b"hello\n")

    lab.serve_one(server, queue, 8192)

    assert (parts.early, answers(clients[0])) == ([], [b"OK\n"]), Teach(
        saw=f"when enqueue was called the client had already been told {parts.early}",
        because="an OK that is sent first is a guess: msgsnd may still sleep for an hour, or refuse",
        try_="first enqueue, then sendto",
        see=PREDICT,
    )


@task("6.4")
def test_each_client_gets_its_own_answer(lab, queue, server, clients):
    """Several clients, one after the other and again: each datagram's own sender is answered."""
    Parts(lab, [])
    got = []
    for client, payload in [(clients[0], b"a"), (clients[1], b"too long for it"), (clients[0], b"c")]:
        client.send(payload)
        try:
            lab.serve_one(server, queue, 8)
        except OSError as error:
            got.append([error])
        else:
            got.append(answers(client))

    assert got == [[b"OK\n"], [b"ER\n"], [b"OK\n"]], Teach(
        saw=f"client 1, client 2 and client 1 again sent a datagram; back came {got}",
        because="one UDP socket serves all clients, and each datagram brings its sender's address. A socket that is "
        "connected to one of them hears no other",
        try_="sock.sendto(reply, sender), with the sender of this very datagram, and no connect",
        see=DO,
    )


@task("6.4")
@limit(10)
@own_network
def test_the_program_serves_the_loopback_alone(lab, stage, queue, server, clients):
    """Without options: 127.0.0.1 and no other address, port 9999, key 0xc0049, mode 0600, at most 8192 bytes."""
    Parts(lab, [])
    clients[0].send(b"a")
    lab.serve_one(server, queue, 8)  # a todo is met here, and told
    set_limit("msgmax", 10000)
    program = stage.run()
    program.wait_for(r"^listening on udp://127.0.0.1:9999$")

    said = [stage.ask(9999, payload) for payload in (b"", b"0", b"x" * 8192, b"x" * 8193)]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.connect(("127.0.0.2", 9999))
        client.settimeout(2)
        client.send(b"elsewhere")
        try:
            elsewhere = client.recv(100)
        except OSError:
            elsewhere = None  # ECONNREFUSED, at once: nobody listens there

    made = stage.queue(KEY)
    seen = made and (oct(made.mode), made.messages, made.used_bytes)
    program.signal(signal.SIGINT)
    status = program.wait()
    assert (said, seen) == ([b"OK\n"] * 3 + [b"ER\n"], ("0o600", 3, 8193)), Teach(
        saw=f"an empty datagram, `0`, 8192 bytes and 8193 were answered {said}; the queue's mode, messages and bytes "
        f"are {seen}; on standard error stood {program.errors[-200:]!r}",
        because="no answer means that the proxy has ended, sleeps in msgsnd before a full queue, or hears this client "
        "no more"
        if None in said
        else "three of the four fit a worker's buffer of 8192 bytes; the fourth would stay at the head of the queue "
        "for ever (E2BIG), with everything else behind it",
        try_="send the four by hand, and look at ipcs -q after each",
        see=DO,
    )
    assert (elsewhere, status, program.errors) == (None, -signal.SIGINT, ""), Teach(
        saw=f"at 127.0.0.2 the answer was {elsewhere}; Ctrl-C ended the program with status {status} and "
        f"{program.errors[-200:]!r}",
        because="who is bound to 127.0.0.1 is heard from this machine only, and there",
        try_="leave main as starter.py has it",
        see="starter.py, main",
    )
    sysv_ipc.MessageQueue(KEY).remove()


@task("6.4")
@limit(10)
def test_the_program_does_what_its_options_say(lab, stage, queue, server, clients):
    """`--bind`, `--port`, `--key`, `--mode` and `--largest`: 65507 bytes go through whole if the limits allow it."""
    Parts(lab, [])
    clients[0].send(b"a")
    lab.serve_one(server, queue, 8)  # a todo is met here, and told
    set_limit("msgmnb", 70000)
    set_limit("msgmax", 65507)
    options = ["--bind", "0.0.0.0", "--port", "0", "--key", "0x77", "--mode", "640", "--largest", "65507"]
    program = stage.run(*options)
    port = int(program.wait_for(r"^listening on udp://0\.0\.0\.0:(\d+)$")[1])
    payload = os.urandom(65507)

    said = [stage.ask(port, payload)]
    set_limit("msgmax", 65506)
    said.append(stage.ask(port, payload))

    made = stage.queue(0x77)
    assert made and made.mode == 0o640, Teach(  # noqa: PT018 - it is there, as it was asked for
        saw=f"with --key 0x77 --mode 640 the queue 0x77 {f'has mode {made.mode:o}' if made else 'is not there'}",
        because="workers meet the proxy on the queue of that key, and the mode, in octal, says who may",
        try_="leave main as starter.py has it",
        see="starter.py, main",
    )
    other = sysv_ipc.MessageQueue(0x77, max_message_size=65507)
    found = take_all(other)
    other.remove()
    assert (said, found == [(1, payload)]) == ([b"OK\n", b"ER\n"], True), Teach(
        saw=f"the same 65507 bytes, with msgmax 65507 and then 65506, were answered {said}; on the queue "
        f"stood {[told(data) for _, data in found]}; on standard error {program.errors[-200:]!r}",
        because="no answer means that the proxy has ended, or hears this client no more"
        if None in said
        else "two limits are asked: the proxy's own (a datagram that its buffer cannot hold) and the kernel's "
        "msgmax, which an administrator can change while the proxy runs",
        try_="read with largest_bytes, and let the kernel judge msgmax",
        see=DO,
    )


# --- 6.5 -------------------------------------------------------------------------------------------------------------


class Front:
    """A proxy of the check's own, in a process: datagram in, msgsnd, reply. It can be told to die before it replies."""

    def __init__(self, queue) -> None:
        self._queue = queue
        self._sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._sock.bind(("127.0.0.1", 0))
        self._client = client_of(self._sock)
        self.pid = 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._client.close()
        self._sock.close()
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)

    def ask(self, payload: bytes, *, dies: bool = False, waits_for_reply: bool = True) -> bytes | None:
        """Send one datagram; returns the reply. Without one, comes back when the proxy sleeps in msgsnd or is dead."""
        self.pid = in_child(lambda: self._serve(dies=dies))
        self._client.send(payload)
        if waits_for_reply:
            return self._client.recv(100)
        if dies:
            os.waitpid(self.pid, 0)
            self.pid = 0
        else:
            wait_until(lambda: asleep_in(self.pid), "the proxy to sleep in msgsnd")
        return None

    def _serve(self, *, dies: bool) -> None:
        payload, sender = self._sock.recvfrom(65535)
        try:
            self._queue.send(payload)
            reply = b"OK\n"
        except OSError:
            reply = b"ER\n"
        if dies:
            os._exit(1)
        self._sock.sendto(reply, sender)
        signal.pause()


@dataclass(frozen=True)
class Scene:
    """How it comes to a reply, or to none: the story, and what is arranged for it."""

    story: str
    payload: bytes = b"hello"
    full: bool = False  # the queue has no room
    dies: bool = False  # the proxy is killed between msgsnd and sendto
    worked: bool = False  # a worker takes the message, and processes it

    def play(self, reply: bytes | None) -> tuple[bool, bool]:
        """Play it for real; returns whether the message was put on the queue, and whether it was processed."""
        queue = sysv_ipc.MessageQueue(None, sysv_ipc.IPC_CREX, max_message_size=65535)
        try:
            if self.full:
                queue.max_size = 1
            with Front(queue) as front:
                got = front.ask(self.payload, dies=self.dies, waits_for_reply=reply is not None)
                assert got == reply
                queued = queue.current_messages > 0
                processed = self.worked and queue.receive(block=False)[0] == self.payload
        finally:
            queue.remove()
        return queued, processed


SCENES = {
    b"OK\n": [
        Scene("no worker runs at all: OK came, and the message lies on the queue"),
        Scene("OK came, and a worker took the message and processed it", worked=True),
    ],
    b"ER\n": [Scene("it was over msgmax: ER came, and nothing is on the queue", payload=bytes(8193))],
    None: [
        Scene("the queue was full, the proxy slept in msgsnd, and no reply came", full=True),
        Scene("the proxy was killed between msgsnd and sendto: no reply, and yet it is on the queue", dies=True),
        Scene("the proxy was killed just before its reply, and a worker processed the message", dies=True, worked=True),
    ],
}


@task("6.5")
@limit(10)
@pytest.mark.parametrize("reply", [b"OK\n", b"ER\n", None], ids=["OK", "ER", "none"])
def test_a_reply_says_what_always_holds_and_no_more(lab, reply):
    """What `conclude` says of a reply holds in each scene with this reply, and it leaves nothing out that does."""
    said = set(lab.conclude(reply))
    set_limit("msgmax", 8192)

    always = {lab.QUEUED, lab.NOT_QUEUED, lab.PROCESSED, lab.NOT_PROCESSED}
    for scene in SCENES[reply]:
        queued, processed = scene.play(reply)
        holds = {lab.QUEUED if queued else lab.NOT_QUEUED, lab.PROCESSED if processed else lab.NOT_PROCESSED}
        always &= holds
        assert said <= holds, Teach(
            saw=f"for {reply!r} you conclude {' and '.join(repr(words) for words in sorted(said))}; but it happened "
            f"otherwise: {scene.story}",
            because="the reply is sent right after msgsnd, by the proxy: it tells what the proxy knew then, nothing of "
            "workers; and silence tells nothing at all",
            try_="keep only what holds in every case that gives this reply",
            see=PREDICT,
        )
    assert always <= said, Teach(
        saw=f"for {reply!r} you conclude {sorted(said) or NONE}; {sorted(always - said)} held in every case as well",
        because="OK is sent only after msgsnd came back, ER only when it refused; and what was never queued no worker "
        "can have processed",
        try_="say all that follows from the reply",
        see=PREDICT,
    )
