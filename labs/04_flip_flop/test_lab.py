"""The checks of lab 04: `pytest labs/04_flip_flop`.

Receivers are real processes. `Receiver` below is the kit's own, which waits when it is told to; the learner's program
is started as a person would start it.
"""

from __future__ import annotations

import os
import signal

import pytest
import sysv_ipc

from harness.labkit import Teach, limit, task
from harness.labkit.stage import wait_until
from harness.sysv import asleep_in

README = "README.md, Do"
ORDER = "README.md, Predict"


@pytest.fixture
def queue():
    """The demo's queue, removed at the end."""
    made = sysv_ipc.MessageQueue(12340, sysv_ipc.IPC_CREX, max_message_size=64)
    yield made
    made.remove()


# --- 4.1 -------------------------------------------------------------------------------------------------------------


@task("4.1")
def test_the_sender_puts_one_message_of_type_8_on_the_queue(lab, queue):
    """`send_one` puts `abcd` on the queue once, with type 8."""
    lab.send_one(queue)

    assert queue.current_messages == 1, Teach(
        saw=f"after one send_one the queue holds {queue.current_messages} messages",
        because="each call of msgsnd puts one message on the queue, and each message goes to one receiver",
        try_="call queue.send once",
        see=README,
    )
    data, message_type = queue.receive(block=False)
    assert (message_type, bytes(data)) == (8, b"abcd"), Teach(
        saw=f"the message has type {message_type} and the bytes {bytes(data)!r}",
        because="the type travels beside the bytes, as a number of its own; without one, sysv_ipc sends type 1",
        try_="queue.send(TEXT, type=TYPE)",
        see=README,
    )


@task("4.1")
@limit(10)
def test_the_program_uses_the_key_and_the_mode_of_its_command_line(stage, queue):
    """`send` uses key 12340, or the queue of `--key`, which it creates with the mode of `--mode`."""
    programs = [stage.run("send"), stage.run("send", "--key", "0x77", "--mode", "640")]
    statuses = [program.wait() for program in programs]

    other = stage.queue(0x77)
    seen = [stage.queue(12340).messages, other and (other.messages, oct(other.mode))]
    assert (statuses, seen) == ([0, 0], [1, (1, "0o640")]), Teach(
        saw=f"`send` and `send --key 0x77 --mode 640` ended with {statuses}; in their queues were {seen}",
        because="two programs meet on a queue because both name the same key",
        try_="leave KEY, open_queue and main as starter.py has them",
        see="starter.py",
    )
    sysv_ipc.MessageQueue(0x77).remove()


# --- 4.2 -------------------------------------------------------------------------------------------------------------


@task("4.2")
@limit(10)
def test_the_receiver_prints_each_message_as_it_comes(stage, queue):
    """The receiver prints `msgtype 8 data abcd` at the moment a message comes, not only when it ends."""
    receiver = stage.run("receive")
    receiver.wait_asleep()

    queue.send(b"abcd", type=8)
    receiver.wait_for(r"\Z(?<=\n)")

    assert receiver.output == "msgtype 8 data abcd\n", Teach(
        saw=f"after one message the receiver had written {receiver.output!r}",
        because="the original's line is `msgtype 8 data abcd`, with the type and the bytes that msgrcv gave",
        try_='print(f"msgtype {message_type} data {data.decode()}", flush=True)',
        see=README,
    )


@task("4.2")
@limit(10)
def test_the_receiver_ends_after_two_messages(stage, queue):
    """The receiver takes two messages and no more, and ends with status 0."""
    for _ in range(3):
        queue.send(b"abcd", type=8)

    receiver = stage.run("receive")
    status = receiver.wait()

    assert (status, queue.current_messages) == (0, 1), Teach(
        saw=f"it ended with status {status}, and of three messages the queue still holds {queue.current_messages}",
        because="two receivers of two messages each are done after four; what a receiver takes is gone for all others",
        try_="receive exactly twice, then return",
        see=README,
    )
    queue.receive(block=False)


@task("4.2")
@limit(10)
def test_two_receivers_take_turns(stage, queue):
    """Two receivers that wait again before the next message get the messages in turn: 1, 2, 1, 2."""
    receivers = [stage.run("receive") for _ in range(2)]
    for receiver in receivers:
        receiver.wait_asleep()

    winners = []
    for _ in range(4):
        before = [receiver.output.count("\n") for receiver in receivers]
        queue.send(b"abcd", type=8)
        wait_until(
            lambda before=before: [receiver.output.count("\n") for receiver in receivers] != before,
            "one of the two receivers to print the message that was sent",
        )
        winner = next(n for n, receiver in enumerate(receivers) if receiver.output.count("\n") != before[n])
        winners.append(winner)
        wait_until(
            lambda winner=winner: receivers[winner].status is not None or asleep_in(receivers[winner].pid),
            "the receiver that got the message to wait again, or to end",
        )

    assert winners[0] != winners[1] and winners[:2] == winners[2:], Teach(  # noqa: PT018 - one thing: they alternate
        saw=f"the messages went to the receivers {winners}",
        because="msgrcv puts a receiver at the tail of the kernel's list, and msgsnd serves the head of that list",
        try_="call queue.receive again at once after a message was printed",
        see=ORDER,
    )


# --- 4.3 -------------------------------------------------------------------------------------------------------------


class Receiver:
    """A process that calls msgrcv when it is told to, and writes its letter when it got a message."""

    def __init__(self, letter: str, queue: sysv_ipc.MessageQueue, winners: int) -> None:
        self._orders, orders = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                os.close(orders)
                while os.read(self._orders, 1):
                    queue.receive()
                    os.write(winners, letter.encode())
            finally:
                os._exit(0)
        os.close(self._orders)
        self._orders = orders

    def wait_for_a_message(self) -> None:
        os.write(self._orders, b"w")

    def end(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self._orders)


class Scene:
    """The events of a prediction, for real: each has had its effect before the next begins."""

    def __init__(self, queue: sysv_ipc.MessageQueue) -> None:
        self._queue = queue
        self._receivers: dict[str, Receiver] = {}
        self._reading, self._writing = os.pipe()
        os.set_blocking(self._reading, False)
        self.winners = ""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for receiver in self._receivers.values():
            receiver.end()

    def play(self, events: list[str]) -> str:
        for event in events:
            who, _, what = event.partition(" ")
            if event == "send":
                somebody_waits = any(asleep_in(receiver.pid) for receiver in self._receivers.values())
                self._queue.send(b"abcd", type=8)
                if somebody_waits:
                    self._await_winner()
            elif what == "waits":
                waiting_before = self._queue.current_messages
                if who not in self._receivers:
                    self._receivers[who] = Receiver(who, self._queue, self._writing)
                receiver = self._receivers[who]
                receiver.wait_for_a_message()
                if waiting_before:
                    self._await_winner()
                else:
                    wait_until(lambda pid=receiver.pid: asleep_in(pid), f"{who} to sleep in msgrcv")
            elif what == "stops":
                self._stop_and_continue(self._receivers[who])
        return self.winners

    def _await_winner(self) -> None:
        def somebody_won() -> bytes:
            try:
                return os.read(self._reading, 1)
            except BlockingIOError:
                return b""

        self.winners += wait_until(somebody_won, "a receiver to get the message").decode()

    def _stop_and_continue(self, receiver: Receiver) -> None:
        os.kill(receiver.pid, signal.SIGSTOP)
        os.waitpid(receiver.pid, os.WUNTRACED)
        os.kill(receiver.pid, signal.SIGCONT)
        os.waitpid(receiver.pid, os.WCONTINUED)
        wait_until(lambda: asleep_in(receiver.pid), "the receiver to sleep in msgrcv again")


def compare(lab, queue, events: list[str], because: str) -> None:
    """The prediction, then the same for real."""
    predicted = lab.predict(list(events))

    with Scene(queue) as scene:
        happened = scene.play(events)

    assert predicted == happened, Teach(
        saw=f"for {', '.join(events)} you predicted {predicted!r}, and the kernel did {happened!r}",
        because=because,
        try_="keep a list of those who wait: who comes goes to its end, who is served leaves its head",
        see=ORDER,
    )
    while queue.current_messages:
        queue.receive()


@task("4.3")
@limit(10)
@pytest.mark.parametrize("count", [2, 3, 5])
def test_n_receivers_are_served_in_the_order_in_which_they_began_to_wait(lab, queue, count):
    """Two, three and five receivers that wait again at once are served round and round."""
    letters = "ABCDE"[:count]
    events = [f"{letter} waits" for letter in letters]
    for letter in letters + letters[:1]:
        events += ["send", f"{letter} waits"]

    compare(
        lab, queue, events, "the receiver that has slept longest is served first, and one that comes back is the last"
    )


@task("4.3")
@limit(10)
def test_a_slow_receiver_misses_its_turn(lab, queue):
    """A receiver that still works on a message does not wait, so the other one gets several in a row."""
    events = ["A waits", "B waits", "send", "send", "B waits", "send", "B waits", "send", "B waits", "A waits", "send"]

    compare(
        lab, queue, events, "only those who sleep in msgrcv are on the list; one that still works is not, and is passed"
    )


@task("4.3")
@limit(10)
def test_a_backlog_goes_to_whoever_comes_first(lab, queue):
    """Messages that were sent before anybody waited go to the first who calls msgrcv, as often as it calls."""
    events = ["send", "send", "send", "A waits", "A waits", "B waits", "A waits", "B waits", "send", "send"]
    events += ["send", "B waits", "B waits"]  # the last of these finds nothing

    compare(
        lab,
        queue,
        events,
        "a message that finds nobody waiting stays in the queue, and the next msgrcv takes it at once",
    )


@task("4.3")
@limit(10)
def test_a_stopped_receiver_loses_its_place(lab, queue):
    """A waiting receiver that is stopped and goes on is at the end of the list afterwards."""
    events = ["A waits", "B waits", "C waits", "A stops", "send", "send", "send"]

    compare(
        lab, queue, events, "a stop interrupts msgrcv; when the process goes on the call begins anew, at the list's end"
    )
