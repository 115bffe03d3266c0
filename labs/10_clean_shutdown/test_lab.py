"""The checks of lab 10: `pytest labs/10_clean_shutdown`.

Signals are real. That one comes "just before the receive" is no luck: the check hands in a `receive` that first signals
its own process, and then calls the real one. What may sleep for ever does so in a child, which the check kills.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import mmap
import os
import signal
import time

import pytest
import sysv_ipc

from harness.labkit import Teach, limit, task
from harness.labkit.stage import wait_until
from harness.sysv import asleep_in

KEY = 0xA0A
STOP = 2**31 - 1
MOMENTS = "README.md, Four moments"
STOPS = "README.md, What a stop message cannot do"


@pytest.fixture
def queue():
    """The lab's queue, removed at the end."""
    made = sysv_ipc.MessageQueue(KEY, sysv_ipc.IPC_CREX, max_message_size=8192)
    yield made
    with contextlib.suppress(sysv_ipc.ExistentialError):
        made.remove()


def fill(queue, *kinds: int) -> None:
    """Send one message for each type, numbered from 0."""
    for number, kind in enumerate(kinds):
        queue.send(str(number).encode(), block=False, type=kind)


def nothing(*_) -> None:
    """A `handle` that does nothing."""


class Worker:
    """A child that does `run`; its answer, a number, is its exit status. Killed at the end, whatever it does."""

    def __init__(self, run) -> None:
        self.status: int | None = None
        self.pid = os.fork()
        if self.pid == 0:
            status = 99
            try:
                status = run()
            finally:
                os._exit(status)

    def __enter__(self):
        return self

    def __exit__(self, *_) -> None:
        if self.status is None:
            # end_all may have collected it.
            with contextlib.suppress(ProcessLookupError, ChildProcessError):
                os.kill(self.pid, signal.SIGKILL)
                os.waitpid(self.pid, 0)

    def ended(self) -> bool:
        if self.status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.status = os.waitstatus_to_exitcode(status)
        return self.status is not None

    def ends(self, limit_s: float = 3.0) -> bool:
        """Wait for its end; whether it came in time."""
        deadline_s = time.monotonic() + limit_s
        while not self.ended() and time.monotonic() < deadline_s:
            time.sleep(0.001)
        return self.ended()

    def wait_asleep(self) -> None:
        wait_until(lambda: asleep_in(self.pid) or self.ended(), "the worker to sleep in msgrcv", limit_s=5)

    def doing(self) -> str:
        if self.ended():
            return f"ended with status {self.status}"
        asleep = asleep_in(self.pid)
        return f"still sleeps in {asleep.call}" if asleep else "still runs"


# --- 10.1 ------------------------------------------------------------------------------------------------------------


@task("10.1")
def test_what_was_sent_before_the_stop_message_is_handled(lab, queue):
    """A worker handles the work before its stop message, in order, then returns how many; the work behind it stays."""
    fill(queue, 1, 7, 1)
    queue.send(b"", type=STOP)
    queue.send(b"late", type=1)
    seen = []

    handled = lab.work_until_stop_message(queue, lambda *message: seen.append(message))

    assert (seen, handled, queue.current_messages) == ([(b"0", 1), (b"1", 7), (b"2", 1)], 3, 1), Teach(
        saw=f"of three messages, a stop message and one more, handle saw {seen}; the worker returned {handled}, and "
        f"{queue.current_messages} were left",
        because="msgrcv of type 0 takes messages in the order of sending: a stop message behind the work comes when "
        "the work is done, and what is behind it belongs to others",
        try_="receive; if the type is STOP return how many, else handle(payload, kind)",
        see="starter.py, work_until_stop_message",
    )


@task("10.1")
def test_with_at_most_selection_the_stop_message_comes_last(lab, queue):
    """A worker that selects -STOP takes the lowest type first, also work that was sent behind the stop message."""
    queue.send(b"", type=STOP)
    fill(queue, 9, 5, 9)
    seen = []

    handled = lab.work_until_stop_message(queue, lambda payload, _: seen.append(payload.decode()), -STOP)

    assert (seen, handled) == (["1", "0", "2"], 3), Teach(
        saw=f"a stop message, then types 9 5 9 were sent; with selector -STOP handle saw the numbers {seen}",
        because="a negative msgtyp takes the lowest type at most as high, and STOP is the highest there is: not the "
        "order of sending decides, but the type",
        try_="queue.receive(type=selector)",
        see="README.md, Predict",
    )


@task("10.1")
@limit(15)
def test_each_worker_takes_one_stop_message(lab, queue):
    """Two workers and two stop messages behind 40 messages: all is handled, both end, and nothing is left."""
    fill(queue, *[1] * 40)
    sent = lab.send_stops(queue, 2)

    with (
        Worker(lambda: lab.work_until_stop_message(queue, nothing)) as one,
        Worker(lambda: lab.work_until_stop_message(queue, nothing)) as two,
    ):
        both_end = one.ends() & two.ends()
        words = f"{one.doing()}, {two.doing()}"
        handled = (one.status or 0) + (two.status or 0)

    assert (sent, both_end, queue.current_messages) == (2, True, 0), Teach(
        saw=f"send_stops(queue, 2) said {sent}; the workers: {words}; {queue.current_messages} messages are left",
        because="a message goes to one receiver: so each worker needs a stop message of its own, and takes no second "
        "one",
        try_="send as many as there are workers; return at the first one that comes",
        see="starter.py, send_stops",
    )
    assert handled == 40, Teach(
        saw=f"40 messages were before the stop messages, and the two workers say that they handled {handled}",
        because="the stop messages are no work, and all work was sent before them",
        try_="count a message when handle has returned, and a stop message not at all",
        see="starter.py, work_until_stop_message",
    )


@task("10.1")
def test_a_full_queue_takes_no_stop_message_and_nobody_waits(lab, queue):
    """send_stops puts as many as have room and returns the number; an empty one fits also where no byte is free."""
    queue.max_size = 50
    queue.send(bytes(50), type=1)
    no_byte_free = lab.send_stops(queue, 3)
    while queue.current_messages:
        queue.receive(block=False)
    queue.max_size = 6
    for _ in range(4):
        queue.send(b"", type=1)
    two_places_free = lab.send_stops(queue, 5)

    assert (no_byte_free, two_places_free) == (3, 2), Teach(
        saw=f"with 50 of 50 bytes used, {no_byte_free} of 3 stop messages got in; with 4 of 6 places used, "
        f"{two_places_free} of 5",
        because="an empty message needs no bytes, but one place of the number of messages; where that is used up, "
        "who sends with block=True sleeps until a worker takes something, and the worker may be dead",
        try_="send b'' with block=False; at BusyError return how many were sent",
        see=STOPS,
    )


@task("10.1")
@limit(15)
def test_a_stop_message_that_nobody_took_stops_the_next_run(lab, queue):
    """A killed worker leaves its stop message; a worker of the next run takes it, and ends before the work."""
    with Worker(lambda: lab.work_until_stop_message(queue, nothing)) as killed:
        killed.wait_asleep()
        os.kill(killed.pid, signal.SIGKILL)
        killed.ends()
    lab.send_stops(queue, 1)
    fill(queue, 1, 1, 1)

    with Worker(lambda: lab.work_until_stop_message(queue, nothing)) as next_one:
        next_one.ends()
        words = next_one.doing()

    assert (next_one.status, queue.current_messages) == (0, 3), Teach(
        saw=f"one worker was killed, its stop message sent, then three messages: the next worker {words} (the status "
        f"is how many it handled), and {queue.current_messages} are left",
        because="a message waits in the kernel for whoever selects it, also for those who were not meant",
        try_="return at the first stop message, whoever it was for; this is what a stop message cannot do better",
        see=STOPS,
    )


@task("10.1")
@limit(20)
def test_the_program_drains(stage, queue):
    """`send`, `stop` and `drain` use the queue of `--key`, and `drain` handles all that was before the stops."""
    options = ["--key", "0x77"]
    programs = [stage.run("send", *options, "--mode", "640"), stage.run("stop", "--key", "0x78", "--workers", "1")]
    for program in programs:
        program.wait(limit_s=5)
    for words in (["stop", *options], ["drain", *options]):
        programs.append(stage.run(*words))
        programs[-1].wait(limit_s=6)
    lines = [program.output.splitlines()[-1:] for program in programs]
    numbers = sorted(int(line.split()[-1]) for line in programs[-1].output.splitlines() if line.startswith("[Worker"))
    made = {key: stage.queue(key) for key in (0x77, 0x78)}
    modes = [queue and oct(queue.mode) for queue in made.values()]

    told = [[], ["1 stop messages sent"], ["2 stop messages sent"], ["ended with [0, 0]"]]
    seen = (lines, modes, numbers)
    assert seen == (told, ["0o640", "0o600"], list(range(20))), Teach(
        saw="last lines of `send`, `stop --workers 1`, `stop` and `drain`, the modes of the two queues, and the "
        f"numbers handled: {seen}",
        because="20 messages, then two stop messages: two workers share the work, and each takes one stop message",
        try_="get the other checks of 10.1 green first; leave main as starter.py has it",
        see="starter.py, main",
    )
    for key in made:
        sysv_ipc.MessageQueue(key).remove()


# --- 10.2 ------------------------------------------------------------------------------------------------------------


def kit_loop(receive, stop) -> int:
    """A worker's loop as task 10.3 asks for it, so that an open 10.3 reddens no check of 10.2."""
    while not stop.asked:
        try:
            receive()
        except sysv_ipc.Error as error:
            if type(error) is not sysv_ipc.Error:
                raise
    return 0


def once_before(signal_it, queue):
    """A `receive` that does `signal_it` before it calls msgrcv for the first time."""
    pending = [signal_it]

    def receive():
        if pending:
            pending.pop()()
        return queue.receive()

    return receive


def check_how_it_ended(worker: Worker) -> None:
    """A worker of these checks ends with a small status of its own; with 99 when an exception ended it."""
    assert worker.status != -signal.SIGALRM, Teach(
        saw="SIGALRM ended the worker",
        because="without a handler SIGALRM ends a process, as most signals do; with one, also one that does nothing, "
        "it only interrupts",
        try_="in __enter__: signal.signal(signal.SIGALRM, lambda *_: None), before the timer",
        see="starter.py, Stop",
    )
    assert worker.status != 99, Teach(
        saw="the worker got SIGTERM, and an exception ended it",
        because="what a handler raises comes out of any line, and takes the loop and what it holds with it",
        try_="no raise and no sys.exit in Stop.ask: only self.asked, and the timer",
        see=MOMENTS,
    )


@task("10.2")
@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_a_signal_is_remembered_and_raises_nothing(lab, queue, name):
    """SIGTERM and SIGINT set `asked`, and code in which they come goes on to its end."""
    reached = []

    def run() -> list:
        try:
            with lab.Stop() as stop:
                reached.append(stop.asked)
                os.kill(os.getpid(), getattr(signal, name))
                reached.append("next line")
                reached.append(stop.asked)
        except BaseException as error:  # noqa: BLE001 - a learner's handler may raise anything
            reached.append(type(error).__name__)
        return reached

    assert run() == [False, "next line", True], Teach(
        saw=f"asked, then {name}, then the next line and asked again: {reached}",
        because="what a handler raises comes out of any line, also of the one between msgrcv's return and the name "
        "that is to hold the message: then the message is gone",
        try_="signal.signal for SIGTERM and for SIGINT, with a handler that only sets self.asked and the timer",
        see=MOMENTS,
    )


@task("10.2")
@limit(10)
def test_a_signal_just_before_the_receive_leaves_nobody_asleep(lab, queue):
    """A signal whose handler has run after the loop looked at `asked`, and before msgrcv: msgrcv is woken soon."""

    def run() -> int:
        with lab.Stop(tick_s=60) as stop:
            return kit_loop(once_before(lambda: os.kill(os.getpid(), signal.SIGTERM), queue), stop)

    with Worker(run) as worker:
        ended = worker.ends()
        words = worker.doing()

    check_how_it_ended(worker)
    assert ended, Teach(
        saw=f"SIGTERM came between the look at `asked` and msgrcv; 3 s later the worker {words}",
        because="a signal interrupts a call that sleeps, and not one that begins after its handler is done: nothing "
        "tells msgrcv that `asked` has changed",
        try_="in the handler too, signal.setitimer(signal.ITIMER_REAL, QUICK_TICK_S, QUICK_TICK_S): its SIGALRM comes "
        "again and again, until it meets a sleeping msgrcv",
        see=MOMENTS,
    )


class SignalledInside:
    """As msgtyp: while sysv_ipc reads this number (0), in C, SIGTERM comes; no Python runs between that and msgrcv."""

    __index__ = staticmethod(functools.partial(getattr(ctypes.CDLL(None), "raise"), signal.SIGTERM))


@task("10.2")
@limit(10)
def test_a_signal_inside_the_call_leaves_nobody_asleep(lab, queue):
    """A signal that comes inside receive, before msgrcv sleeps, so that its handler cannot run: a tick wakes msgrcv."""
    pending = [SignalledInside()]

    def receive():
        return queue.receive(type=pending.pop() if pending else 0)

    def run() -> int:
        with lab.Stop(tick_s=0.05) as stop:
            return kit_loop(receive, stop)

    with Worker(run) as worker:
        ended = worker.ends()
        words = worker.doing()

    check_how_it_ended(worker)
    assert ended, Teach(
        saw=f"SIGTERM came inside queue.receive, just before msgrcv; 3 s later the worker {words}",
        because="Python runs a handler between two of its own steps, and receive is one step: until msgrcv returns the "
        "handler does not run, and cannot start a timer",
        try_="start the timer in __enter__ already: signal.setitimer(signal.ITIMER_REAL, self.tick_s, self.tick_s)",
        see=MOMENTS,
    )


@task("10.2")
@limit(10)
def test_the_timer_ticks_in_the_with_alone_and_the_handlers_stay(lab, queue):
    """It ticks slowly, after a signal quickly, after the `with` not at all; a second SIGTERM ends nothing then."""

    def run() -> int:
        with lab.Stop() as stop:
            slow = signal.getitimer(signal.ITIMER_REAL)[1]
            os.kill(os.getpid(), signal.SIGTERM)
            quick = signal.getitimer(signal.ITIMER_REAL)[1] if stop.asked else 0
        after = signal.getitimer(signal.ITIMER_REAL)[0]
        os.kill(os.getpid(), signal.SIGTERM)
        signal.setitimer(signal.ITIMER_REAL, 0)
        return 1 * (0 < slow <= 1) + 2 * (0 < quick <= 0.1) + 4 * (after == 0)

    with Worker(run) as worker:
        worker.ends()
        words = worker.doing()

    check_how_it_ended(worker)
    assert worker.status in range(8), Teach(
        saw=f"one SIGTERM came in the `with`, and one after it; the child {words}",
        because="a handler that is taken back leaves the signal's default: it kills a worker that is putting things "
        "in order",
        try_="let the handlers stay",
        see="starter.py, Stop.__exit__",
    )
    assert worker.status & 1, Teach(
        saw="between the beginning of the `with` and the first signal no timer ran, or one slower than 1 s",
        because="a signal that comes inside receive has its handler wait for msgrcv's return: only a timer that runs "
        "already can bring that about",
        try_="in __enter__: signal.setitimer(signal.ITIMER_REAL, self.tick_s, self.tick_s)",
        see=MOMENTS,
    )
    assert worker.status & 2, Teach(
        saw="after the signal no timer ran in the `with`, or one slower than 0.1 s",
        because="a worker that was asked to end may sleep until the next tick, and whoever asked waits as long",
        try_="in the handler: signal.setitimer(signal.ITIMER_REAL, QUICK_TICK_S, QUICK_TICK_S)",
        see=MOMENTS,
    )
    assert worker.status & 4, Teach(
        saw="after the `with` the timer still ran",
        because="a timer that goes on interrupts whatever the program does next",
        try_="in __exit__: signal.setitimer(signal.ITIMER_REAL, 0)",
        see="starter.py, Stop.__exit__",
    )


# --- 10.3 ------------------------------------------------------------------------------------------------------------


class KitStop:
    """A Stop without a timer, for loops in which no signal can be missed."""

    def __init__(self) -> None:
        self.asked = False

    def ask(self, *_) -> None:
        self.asked = True


@task("10.3")
def test_the_message_in_hand_is_handled(lab, queue):
    """A stop that is asked for while receive returns ends the loop after that message, which is handled."""
    fill(queue, 1, 1, 1)
    stop, seen = KitStop(), []

    def receive():
        message = queue.receive()
        if message[0] == b"1":
            stop.ask()
        return message

    handled = lab.work(receive, lambda *message: seen.append(message), stop)

    assert (seen, handled, queue.current_messages) == ([(b"0", 1), (b"1", 1)], 2, 1), Teach(
        saw=f"the stop came as the second of three messages was received; handle saw {seen}, work returned {handled}, "
        f"and {queue.current_messages} are left",
        because="a message that was received is in no queue any more: who does not handle it has lost it, and who "
        "takes another one does not end",
        try_="look at stop.asked before receive, and not between receive and handle",
        see="starter.py, work",
    )


@task("10.3")
def test_who_was_asked_before_it_began_takes_nothing(lab, queue):
    """When a stop was asked for before the loop, no message is taken."""
    fill(queue, 1)
    stop = KitStop()
    stop.ask()

    handled = lab.work(queue.receive, nothing, stop)

    assert (handled, queue.current_messages) == (0, 1), Teach(
        saw=f"asked before it began, work returned {handled} and left {queue.current_messages} of 1 message",
        because="a worker can be stopped between its start and its first message",
        try_="while not stop.asked: ...",
        see="starter.py, work",
    )


@task("10.3")
@limit(10)
def test_an_interrupted_receive_is_no_failure(lab, queue):
    """A signal that asks for nothing interrupts msgrcv (EINTR): the worker waits again and handles what comes next."""
    signal.signal(signal.SIGUSR1, nothing)
    stop, seen = KitStop(), []

    def handle(payload, _) -> None:
        seen.append(payload)
        stop.ask()

    def run() -> int:
        return 10 * lab.work(queue.receive, handle, stop) + len(seen)

    with Worker(run) as worker:
        for _ in range(3):
            worker.wait_asleep()
            if not worker.ended():
                os.kill(worker.pid, signal.SIGUSR1)
        queue.send(b"work")
        worker.ends()
        words = worker.doing()

    assert worker.status == 11, Teach(
        saw=f"three signals interrupted msgrcv, then a message came; the worker {words} (11 is one message, handled)",
        because="sysv_ipc tells EINTR as sysv_ipc.Error itself, and does not call again as Python's own calls do",
        try_="except sysv_ipc.Error as error: if type(error) is sysv_ipc.Error, continue",
        see="starter.py, work",
    )
    if queue.current_messages:
        queue.receive(block=False)


@task("10.3")
def test_other_failures_rise(lab, queue):
    """When the queue is removed, work raises ExistentialError, and does not try again for ever."""
    calls = []

    def receive():
        calls.append(1)
        if len(calls) > 50:
            raise AssertionError
        return queue.receive()

    queue.remove()
    with pytest.raises(Exception) as raised:  # noqa: PT012 - what is raised is what is checked
        lab.work(receive, nothing, KitStop())
        pytest.fail("it returned")

    assert (raised.type, len(calls)) == (sysv_ipc.ExistentialError, 1), Teach(
        saw=f"the queue is gone: receive was called {len(calls)} times (the check ends it after 50), and what came "
        f"out of work was {raised.type.__name__}",
        because="ExistentialError, BusyError and PermissionsError are subclasses of sysv_ipc.Error: who goes on at "
        "all of them runs in a circle, as fast as the processor can, when the queue was removed",
        try_="go on only if type(error) is sysv_ipc.Error; else raise",
        see="starter.py, work",
    )


@task("10.3")
@limit(120)
def test_terminations_under_traffic_lose_nothing(lab, queue, thorough):
    """20 workers (200 with --solutions) are ended by SIGTERM one after the other, while messages come: none is lost."""
    rounds = 200 if thorough else 20
    most = 5000 * rounds
    seen = mmap.mmap(-1, most)  # shared with the workers: how often each number was handled

    def handle(payload: bytes, _: int) -> None:
        seen[int(payload)] += 1

    def run() -> int:
        with lab.Stop() as stop:
            lab.work(queue.receive, handle, stop)
        return 0

    def run_first() -> int:
        """As `run`, but the signal comes exactly as a message was received."""
        received = []

        def receive():
            received.append(queue.receive())
            if len(received) == 10:
                os.kill(os.getpid(), signal.SIGTERM)
            return received[-1]

        with lab.Stop() as stop:
            lab.work(receive, handle, stop)
        return 0

    queue.max_size = 100  # 16 messages: so the worker has handled all but the last few that were sent
    sent, ends = 0, []
    for round_ in range(rounds):
        with Worker(run if round_ else run_first) as worker:
            ask_at = sent + 50 + 7 * round_ % 41  # another moment in each round
            asked, late_s = False, time.monotonic() + 10
            while not worker.ended() and sent < most and time.monotonic() < late_s:
                if sent >= ask_at and not asked:
                    os.kill(worker.pid, signal.SIGTERM)
                    asked = True
                if asked and round_ % 2:
                    break  # in every other round nothing comes any more that could wake it
                try:
                    queue.send(f"{sent:06}".encode(), block=False)
                    sent += 1
                except sysv_ipc.BusyError:
                    os.sched_yield()
            worker.ends(limit_s=5)
            ends.append(worker.doing())
        if ends[-1] != "ended with status 0":
            break
    left = 0
    while queue.current_messages:
        seen[int(queue.receive(block=False)[0])] += 1
        left += 1

    wrong = [number for number in range(sent) if seen[number] != 1]
    assert wrong == [], Teach(
        saw=f"{sent} messages were sent, {left} are left in the queue; of {len(wrong)} it is not known what became: "
        f"{wrong[:5]}",
        because="what a worker has taken off the queue exists nowhere else: it must be handled, whenever the signal "
        "comes",
        try_="a handler that raises nothing, and a loop that handles whatever receive has returned",
        see=MOMENTS,
    )
    assert set(ends) == {"ended with status 0"}, Teach(
        saw=f"worker {len(ends)} of {rounds}, after SIGTERM: it {ends[-1]}",
        because="a worker that was asked to end returns from its loop, and ends with status 0",
        try_="get the other checks of 10.2 and 10.3 green first",
        see=MOMENTS,
    )


# --- 10.4 ------------------------------------------------------------------------------------------------------------


def polite(seconds: float = 0) -> int:
    """A child's work: wait for SIGTERM, then some seconds more, and end with status 3."""
    asked = KitStop()
    signal.signal(signal.SIGTERM, asked.ask)
    while not asked.asked:
        time.sleep(0.002)
    time.sleep(seconds)
    return 3


def stubborn() -> int:
    """A child's work that SIGTERM does not end."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while True:
        time.sleep(0.01)


def handles_sigterm(pid: int) -> bool:
    """Whether the process has a handler for SIGTERM, or ignores it, by now (/proc/PID/status, SigCgt and SigIgn)."""
    with open(f"/proc/{pid}/status", encoding="ascii") as file:  # noqa: PTH123 - a plain read
        words = dict(line.split(":", 1) for line in file)
    return bool((int(words["SigCgt"], 16) | int(words["SigIgn"], 16)) >> (signal.SIGTERM - 1) & 1)


def is_zombie(pid: int) -> bool:
    """Whether the process has ended and nobody has collected its status yet."""
    with open(f"/proc/{pid}/stat", encoding="ascii") as file:  # noqa: PTH123 - a plain read
        return file.read().rpartition(")")[2].split()[0] == "Z"


@contextlib.contextmanager
def children(*works):
    """Children that do these works, each ready for SIGTERM."""
    with contextlib.ExitStack() as stack:
        made = [stack.enter_context(Worker(run)) for run in works]
        for child in made:
            wait_until(lambda child=child: handles_sigterm(child.pid), "a child to be ready", limit_s=5)
        yield made


@task("10.4")
@limit(15)
def test_who_ends_when_asked_is_not_killed(lab, queue):
    """Three children end by themselves after SIGTERM, one only a little later: their own statuses come back."""
    with children(polite, lambda: polite(0.1), polite) as made:
        statuses = lab.end_all([child.pid for child in made], 10)

    assert statuses == [3, 3, 3], Teach(
        saw=f"three children that end with status 3 when SIGTERM comes: end_all said {statuses}",
        because="SIGTERM asks, SIGKILL does not: a worker that is killed loses what it has in hand",
        try_="os.kill(pid, signal.SIGTERM); look with has_ended until the deadline; then os.waitpid and "
        "os.waitstatus_to_exitcode",
        see="starter.py, end_all",
    )


@task("10.4")
@limit(10)
def test_who_has_ended_already_is_no_failure(lab, queue):
    """Children that ended before anybody asked them: their own statuses come back, 1 for one that had raised."""
    made = [lab.start(lambda: 0), lab.start(lambda: int("no number"))]
    for pid in made:
        wait_until(lambda pid=pid: is_zombie(pid), "a child to end", limit_s=5)

    statuses = lab.end_all(made, 10)

    assert statuses == [0, 1], Teach(
        saw=f"one child had ended well, and one with an exception; end_all said {statuses}",
        because="a child that has ended stays as a zombie until its parent asks for its status; a signal does "
        "nothing to it, and os.waitpid gives the status and lets it go",
        try_="os.waitpid for each child, also when it has ended by itself",
        see="starter.py, end_all",
    )


@task("10.4")
@limit(15)
def test_who_does_not_end_is_killed_and_the_patience_is_for_all(lab, queue):
    """Two children ignore SIGTERM: after the patience, waited once and not twice, both are killed."""
    pauses = []

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) > 1000:
            pytest.fail(
                Teach(
                    saw="1000 pauses, and no end",
                    because="a child that ignores SIGTERM never ends by itself",
                    try_="compare clock() with the deadline in each turn, and then send SIGKILL",
                    see="starter.py, end_all",
                )
            )

    with children(stubborn, stubborn) as made:
        statuses = lab.end_all([child.pid for child in made], 0.5, clock=lambda: 64 + len(pauses) / 128, sleep=sleep)

    assert statuses == [-signal.SIGKILL, -signal.SIGKILL], Teach(
        saw=f"two children that ignore SIGTERM: end_all said {statuses}",
        because="nobody can ignore SIGKILL, and os.waitstatus_to_exitcode says of it -9",
        try_="at the deadline os.kill(pid, signal.SIGKILL), then os.waitpid",
        see="starter.py, end_all",
    )
    assert (len(pauses), set(pauses)) == (64, {0.01}), Teach(
        saw=f"with a patience of 0.5 s and 1/128 s gone with each pause there were {len(pauses)} pauses, of "
        f"{sorted(set(pauses))} s; 64 of 0.01 s are right",
        because="whoever stops this program has one patience too: ten workers with a wait each would need ten times "
        "as long",
        try_="compute deadline_s once, before the loop over the pids, and kill when clock() >= deadline_s",
        see="starter.py, end_all",
    )


@task("10.4")
@limit(15)
def test_all_are_asked_before_any_is_waited_for(lab, queue):
    """A stubborn child comes first and uses the patience up; the polite one behind it has ended by itself meanwhile."""
    with children(stubborn, polite) as made:
        polite_one, hours = made[1].pid, [0.0]

        def clock() -> float:
            # Time stands still until the polite child has ended, and runs away then; it has 3 s for that.
            if is_zombie(polite_one) or time.monotonic() - began > 3:
                hours.append(hours[-1] + 3600)
            return hours[-1]

        began = time.monotonic()
        statuses = lab.end_all([child.pid for child in made], 10, clock=clock, sleep=lambda _: time.sleep(0.002))

    assert statuses == [-signal.SIGKILL, 3], Teach(
        saw=f"a child that ignores SIGTERM, then one that ends with status 3: end_all said {statuses}",
        because="who is asked only after the others were waited for has no time left, and is killed with its work in "
        "hand",
        try_="two loops: one that asks all, one that waits for all",
        see="starter.py, end_all",
    )


@task("10.4")
@limit(20)
@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_the_pool_ends_cleanly(stage, queue, name):
    """`pool` handles what `send` sends, and ends with all its workers when the signal comes."""
    pool = stage.run("pool")
    wait_until(lambda: len(pool.children) == 2 and all(map(asleep_in, pool.children)), "two workers to wait", limit_s=5)
    wait_until(lambda: handles_sigterm(pool.pid), "the parent to be ready for SIGTERM")
    stage.run("send", "--messages", "4").wait(limit_s=5)
    for number in range(4):
        pool.wait_for(rf"^\[Worker \d+\] {number}$", limit_s=5)

    pool.signal(getattr(signal, name))
    status = pool.wait(limit_s=5)

    last = pool.output.splitlines()[-1]
    assert (status, last) == (0, "ended with [0, 0], left in the queue: 0"), Teach(
        saw=f"after {name} to the parent alone it ended with status {status}; its last line is {last!r}",
        because="the parent passes the signal on, and each worker ends when it has nothing in hand",
        try_="get the checks of 10.2 and 10.3 green first; leave main as starter.py has it",
        see="starter.py, main",
    )
