"""The checks of lab 14: `pytest labs/14_request_reply`.

Where a check is about clients, the server is the kit's own process, and the other way round.
"""

from __future__ import annotations

import contextlib
import os
import signal
import struct

import pytest
import sysv_ipc

from harness.labkit import Teach, limit, task, wait_until
from harness.sysv import asleep_in, peek_types

KEY = 0xE14
REQUEST = struct.Struct("=iI")
REPLY = struct.Struct("=I")
ADDRESS = "README.md, The address"
NUMBER = "README.md, The number"
WAYS = "README.md, One queue for both ways"


@pytest.fixture
def queue():
    """The lab's queue, removed at the end."""
    made = sysv_ipc.MessageQueue(KEY, sysv_ipc.IPC_CREX, max_message_size=8192)
    yield made
    with contextlib.suppress(sysv_ipc.ExistentialError):
        made.remove()


@contextlib.contextmanager
def process(work):
    """Do `work` in a child, killed at the end; gives its pid."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
        finally:
            os._exit(0)
    try:
        yield pid
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def serve(queue, *, together=1):
    """The kit's server: takes `together` requests, then answers them, the last one first, in upper case."""
    while True:
        requests = [queue.receive(type=1)[0] for _ in range(together)]
        for payload in reversed(requests):
            reply_type, number = REQUEST.unpack_from(payload)
            queue.send(REPLY.pack(number) + payload[REQUEST.size :].upper(), type=reply_type)


# --- 14.1 ------------------------------------------------------------------------------------------------------------


@task("14.1")
def test_a_reply_goes_to_the_type_that_the_request_names(lab, queue):
    """Two requests are answered, each under its client's type and with its own number."""
    queue.send(REQUEST.pack(4711, 3) + b"a", type=1)
    queue.send(REQUEST.pack(2, 9) + b"b", type=1)

    answered = [lab.serve_one(queue, bytes.upper), lab.serve_one(queue, bytes.upper)]

    types = sorted(peek_types(queue.id))
    assert (answered, types) == ([True, True], [2, 4711]), Teach(
        saw=f"after requests for the types 4711 and 2, serve_one gave {answered}; in the queue are types {types}",
        because="the type is the reply's address: msgrcv of a client takes its own type and nothing else",
        try_="send the reply with the type that stands in the request's header",
        see=ADDRESS,
    )
    replies = {kind: queue.receive(type=kind)[0] for kind in (4711, 2)}
    assert replies == {4711: REPLY.pack(3) + b"A", 2: REPLY.pack(9) + b"B"}, Teach(
        saw=f"the replies' bytes are {replies}",
        because="a client knows by the number which of its requests this answers; it stands before the answer",
        try_="REPLY_HEADER.pack(number) + answer(body), with the body that follows the request's header",
        see=NUMBER,
    )


@task("14.1")
def test_the_server_takes_requests_only(lab, queue):
    """A reply that waits for its client is not taken by the server, even at the head of the queue."""
    queue.send(REPLY.pack(1) + b"for 5", type=5)
    queue.send(REQUEST.pack(7, 1) + b"x", type=1)

    lab.serve_one(queue, bytes.upper)

    types = peek_types(queue.id)
    assert types == [5, 7], Teach(
        saw=f"a reply for type 5 was in the queue before the request; now the queue has the types {types}",
        because="on a queue for both ways a receiver of any type takes what is addressed to others",
        try_="receive with type=REQUEST",
        see=ADDRESS,
    )
    for kind in types:
        queue.receive(type=kind)


@task("14.1")
@pytest.mark.parametrize("reply_type", [1, 0, -7])
def test_a_reply_to_nobody_is_not_sent(lab, queue, reply_type):
    """A request that names type 1, 0 or a negative one is dropped, and serve_one says False."""
    queue.send(REQUEST.pack(reply_type, 1) + b"x", type=1)

    answered = lab.serve_one(queue, bytes.upper)

    assert (answered, queue.current_messages) == (False, 0), Teach(
        saw=f"for a request that names type {reply_type}, serve_one gave {answered}; "
        f"{queue.current_messages} messages are in the queue",
        because="a reply of type 1 is a request again, which the server answers, and so on for ever; types under 1 do "
        "not exist",
        try_="drop what names a type up to REQUEST, and return False",
        see=ADDRESS,
    )


@task("14.1")
@pytest.mark.parametrize("length", [0, 7])
def test_what_is_too_short_is_dropped(lab, queue, length):
    """A message of type 1 that has no whole header is dropped, and the server lives."""
    queue.send(bytes(length), type=1)

    answered = lab.serve_one(queue, bytes.upper)

    assert answered is False, Teach(
        saw=f"for a message of {length} bytes serve_one gave {answered}",
        because="whoever may write to the queue can send anything, and a server that dies of it is gone for all",
        try_="look at the length before you unpack",
        see=ADDRESS,
    )


@task("14.1")
def test_a_request_without_a_body_is_answered(lab, queue):
    """A header and nothing behind it is a request like any other."""
    queue.send(REQUEST.pack(7, 1), type=1)

    answered = lab.serve_one(queue, bytes.upper)

    assert answered is True, Teach(
        saw=f"for a request with an empty body serve_one gave {answered}",
        because="an empty body is a body; too short is only what has no whole header",
        try_="compare the length with REQUEST_HEADER.size, which may be reached",
        see=ADDRESS,
    )
    queue.receive(type=7)


# --- 14.2 ------------------------------------------------------------------------------------------------------------


@task("14.2")
def test_sweep_takes_what_waits_for_this_type(lab, queue):
    """Replies that wait for the client's own type are taken away and counted; those of others stay."""
    for kind in (7, 5, 7, 1, 7):
        queue.send(REPLY.pack(1), type=kind)

    swept = lab.sweep(queue, 7)

    types = peek_types(queue.id)
    assert (swept, types) == (3, [5, 1]), Teach(
        saw=f"of the types 7, 5, 7, 1, 7 sweep(7) took {swept}, and the queue still has {types}",
        because="a process number is used again some day, and its new owner must not read the old one's replies; "
        "nobody else's either",
        try_="receive type my_type without waiting until BusyError, and count",
        see=NUMBER,
    )
    for kind in types:
        queue.receive(type=kind)


@task("14.2")
def test_sweep_of_nothing_does_not_wait(lab, queue):
    """Where nothing waits, sweep gives 0 at once."""
    swept = lab.sweep(queue, 7)

    assert swept == 0, Teach(
        saw=f"with an empty queue sweep gave {swept}",
        because="nothing was there to take away",
        try_="count what was received, not how often you tried",
        see=NUMBER,
    )


# --- 14.3 ------------------------------------------------------------------------------------------------------------


@task("14.3")
@limit(10)
def test_ask_returns_the_reply(lab, queue):
    """`ask` sends a request with the client's type and number, and returns the reply's body."""
    with process(lambda: serve(queue)):
        reply = lab.ask(queue, 4711, 3, b"hello", 5)

    assert reply == b"HELLO", Teach(
        saw=f"ask(..., b'hello') gave {reply!r}; the server answers in upper case",
        because="the request's header is the client's type and the number, packed; the reply has its number in front",
        try_="pack both headers as the two Structs have them, and return what follows the reply's",
        see=NUMBER,
    )


@task("14.3")
@limit(10)
def test_a_stale_reply_is_passed_over(lab, queue):
    """A reply with another number belongs to a request that was given up: it is dropped, and the wait goes on."""
    queue.send(REPLY.pack(2) + b"of request 2", type=4711)

    with process(lambda: serve(queue)):
        reply = lab.ask(queue, 4711, 3, b"hello", 5)

    assert reply == b"HELLO", Teach(
        saw=f"the reply to request 2 came late, and ask for request 3 gave {reply!r}",
        because="whoever gives up a request does not unsend it: its reply still comes, under the same type",
        try_="compare the number, and go on waiting when it is another one",
        see=NUMBER,
    )
    assert queue.current_messages == 0, Teach(
        saw=f"afterwards {queue.current_messages} messages are in the queue",
        because="a reply that was put back, or left there, meets the next request",
        try_="drop what has another number",
        see=NUMBER,
    )


@task("14.3")
@limit(10)
def test_without_a_server_ask_gives_up(lab, queue):
    """When no reply comes in time, `ask` gives None."""
    reply = lab.ask(queue, 4711, 3, b"hello", 0.05)

    assert reply is None, Teach(
        saw=f"without any server ask gave {reply!r}",
        because="nobody promises that a server is there: a request without a limit waits for ever",
        try_="return None when receive_until does",
        see=NUMBER,
    )


@task("14.3")
@limit(10)
def test_the_program_says_that_no_reply_came(stage, queue):
    """`ask` in vain prints `no reply`, and ends with 1."""
    client = stage.run("ask", "--wait", "0.1")

    status = client.wait(limit_s=5)

    assert (client.output, status) == ("no reply\n", 1), Teach(
        saw=f"without any server `ask --wait 0.1` printed {client.output!r} and ended with {status}",
        because="a caller sees by the exit status whether there is an answer to read",
        try_="return None from ask when nothing came, and leave main as starter.py has it",
        see="starter.py",
    )


@task("14.3")
@limit(20)
def test_two_clients_get_their_own_replies(stage, queue):
    """Two clients that ask at once each get the answer to their own question, and nothing is left."""
    with process(lambda: serve(queue, together=2)):
        clients = [stage.run("ask", text) for text in ("tea", "coffee")]
        statuses = [client.wait(limit_s=8) for client in clients]

    said = [client.output for client in clients]
    left = stage.queue(KEY)
    assert (said, statuses, left and left.messages) == (["TEA\n", "COFFEE\n"], [0, 0], 0), Teach(
        saw=f"`ask tea` and `ask coffee` at once printed {said}, with statuses {statuses}; the queue is {left}",
        because="both read the same queue; only the type keeps the two replies apart",
        try_="wait for my_type, and send my_type in the request",
        see=ADDRESS,
    )


@task("14.3")
@limit(20)
def test_the_program_serves_until_its_queue_is_removed(stage):
    """`serve --key` makes the queue with `--mode`, answers `ask`, and ends with 0 when `stop` removes the queue."""
    server = stage.run("serve", "--key", "0x77", "--mode", "620")
    server.wait_asleep("msgrcv")
    largest = "x" * (8192 - REQUEST.size)
    client = stage.run("ask", largest, "--key", "0x77")

    status = client.wait(limit_s=8)

    found = stage.queue(0x77)
    answered = client.output == largest.upper() + "\n"
    assert (answered, status, found and oct(found.mode)) == (True, 0, "0o620"), Teach(
        saw=f"`ask --key 0x77` of 8184 letters printed {len(client.output)} with status {status}; the queue is {found}",
        because="client and server meet because both name the same key",
        try_="leave main as starter.py has it",
        see="starter.py",
    )
    statuses = [stage.run("stop", "--key", "0x77").wait(), server.wait()]
    assert statuses == [0, 0], Teach(
        saw=f"`stop` and the server ended with {statuses}",
        because="msgrcv wakes with EIDRM when its queue is removed: for this server that is the end of its work",
        try_="leave main as starter.py has it",
        see="starter.py",
    )


# --- 14.4 ------------------------------------------------------------------------------------------------------------


@task("14.4")
@pytest.mark.parametrize(
    ("sizes", "clients", "expected"),
    [
        ((1000, 100, 50), 1, 10),
        ((1000, 50, 100), 1, 10),
        ((1000, 100, 100), 4, 2),
        ((999, 100, 100), 1, 9),
        ((100, 101, 8), 1, 0),
        ((16384, 1000, 16), 2, 8),
    ],
)
def test_a_safe_window_has_room_for_all_that_is_under_way(lab, sizes, clients, expected):
    """Every request under way may be in the queue as the larger of request and reply; all of them must fit at once."""
    max_bytes, request_bytes, reply_bytes = sizes

    window = lab.safe_window(max_bytes, request_bytes, reply_bytes, clients)

    assert window == expected, Teach(
        saw=f"a queue of {max_bytes} bytes, requests of {request_bytes}, replies of {reply_bytes}, {clients} clients: "
        f"you said {window}, and it is {expected}",
        because="a request under way takes room for the larger of itself and its reply; clients share the queue",
        try_="count how many of the larger ones fit, and share them out; a rest of a message is none",
        see=WAYS,
    )


# --- 14.5 ------------------------------------------------------------------------------------------------------------


@task("14.5")
@limit(10)
@pytest.mark.parametrize("together", [1, 2])
def test_many_replies_come_back_in_the_order_of_the_questions(lab, queue, together):
    """All bodies are asked, and the replies stand in the order of the bodies, also when they come in another one."""
    bodies = [b"a", b"bb", b"ccc", b"dddd"]

    with process(lambda: serve(queue, together=together)):
        replies = lab.ask_many(queue, 4711, bodies, 4)

    assert replies == [b"A", b"BB", b"CCC", b"DDDD"], Teach(
        saw=f"for {bodies} ask_many gave {replies}; the server answered {together} at a time, the last one first",
        because="two workers on a queue finish in any order; the number says which question a reply answers",
        try_="keep replies by their number, and hand them out in the order of the bodies",
        see=NUMBER,
    )


@task("14.5")
@limit(10)
@pytest.mark.parametrize("window", [1, 3])
def test_never_more_than_the_window_is_under_way(lab, queue, window):
    """With nobody answering, the client has sent exactly `window` requests when it sleeps in msgrcv."""
    bodies = [b"x"] * 5
    with process(lambda: lab.ask_many(queue, 4711, bodies, window)) as client:
        wait_until(lambda: stuck(client, "msgrcv"), "ask_many to wait for a reply, asleep in msgrcv")
        under_way = queue.current_messages
        payload, _ = queue.receive(type=1)
        queue.send(REPLY.pack(REQUEST.unpack_from(payload)[1]) + b"X", type=4711)
        wait_until(lambda: stuck(client, "msgrcv") and 4711 not in peek_types(queue.id), "ask_many to take the reply")
        after_one = queue.current_messages

    assert (under_way, after_one) == (window, window), Teach(
        saw=f"with a window of {window}, {under_way} requests were in the queue before the first reply, "
        f"and {after_one} after one was answered",
        because="under way is what was sent and not yet answered; each reply makes room for one more",
        try_="before each send: if as many as the window are unanswered, take one reply",
        see=WAYS,
    )
    while queue.current_messages:
        queue.receive()


@task("14.5")
@limit(10)
def test_a_safe_window_never_deadlocks(lab, queue):
    """On a queue with room for three messages, thirty requests in a window of three are all answered."""
    size = REQUEST.size + 40
    queue.max_size = 3 * size
    bodies = [bytes([65 + number % 26]) * 40 for number in range(30)]

    with process(lambda: serve(queue)):
        replies = lab.ask_many(queue, 4711, bodies, 3)

    assert replies == [body.upper() for body in bodies], Teach(
        saw=f"{sum(a == b for a, b in zip(replies, bodies, strict=False))} of 30 replies were right",
        because="with a window that fits, whoever takes a message out has made the room for the one it puts in",
        try_="send the next request only after a reply has made room",
        see=WAYS,
    )


@task("14.5")
@limit(10)
def test_all_at_once_puts_everybody_to_sleep(lab, queue, stage):
    """On the same queue a window of thirty is a deadlock: the client sleeps in msgsnd, and the server sleeps too."""
    size = REQUEST.size + 40
    queue.max_size = 3 * size
    bodies = [b"x" * 40] * 30

    with process(lambda: serve(queue)) as server, process(lambda: lab.ask_many(queue, 4711, bodies, 30)) as client:

        def nobody_can_go_on() -> bool:
            full = stage.queue(KEY).used_bytes + size > queue.max_size
            server_waits = stuck(server, "msgsnd") or (stuck(server, "msgrcv") and 1 not in peek_types(queue.id))
            return full and stuck(client, "msgsnd") and server_waits

        wait_until(
            nobody_can_go_on, "a full queue, with the client asleep in msgsnd and the server asleep too", limit_s=5
        )

    while queue.current_messages:
        queue.receive()


def stuck(pid: int, call: str) -> bool:
    """Whether the process sleeps in that call."""
    asleep = asleep_in(pid)
    return asleep is not None and asleep.call == call
