"""The checks of lab 09: `pytest labs/09_full_queue`.

The queue is real, holds up to 16384 bytes, and is as full as a check makes it. Time is handed in where a policy waits,
except where a real process is what is shown.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time

import pytest
import sysv_ipc

from harness.labkit import Teach, limit, task
from harness.labkit.ground import CannotStageError
from harness.labkit.stage import wait_until
from harness.sysv import Limits, asleep_in

KEY = 0x909
MAX_BYTES = 16384
RULE = "README.md, What the kernel asks"
BOOKS = "README.md, The books"


@pytest.fixture
def queue():
    """A queue of 16384 bytes, whatever this machine's limit is; removed at the end."""
    if Limits.read().msgmnb < MAX_BYTES:
        raise CannotStageError(f"msgmnb is under {MAX_BYTES}: sysctl -w kernel.msgmnb={MAX_BYTES}")
    made = sysv_ipc.MessageQueue(KEY, sysv_ipc.IPC_CREX, max_message_size=8192)
    made.max_size = MAX_BYTES
    yield made
    made.remove()


def fill(queue, *kinds: int, size: int = 1000) -> None:
    """Send one message of `size` bytes for each type, numbered from 0."""
    for number, kind in enumerate(kinds):
        queue.send(str(number).encode().ljust(size), block=False, type=kind)


def take_all(queue) -> list[tuple[str, int]]:
    """Take what is there: (the number or word at its beginning, its type) of each message."""
    taken = []
    while queue.current_messages:
        payload, kind = queue.receive(block=False)
        taken.append((payload.split()[0].decode() if payload.strip() else "", kind))
    return taken


@contextlib.contextmanager
def another_process(work):
    """Do `work` in a child, which ends with status 0 if it returns True; gives its pid, and kills it at the end."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            status = 0 if work() else 1
        finally:
            os._exit(status)
    try:
        yield pid
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, 0)


@contextlib.contextmanager
def asleep_in_msgsnd(queue, size: int):
    """Another process that sends `size` bytes and finds no room; it is asleep when this begins."""
    with another_process(lambda: queue.send(bytes(size)) is None) as pid:
        wait_until(lambda: asleep_in(pid), f"the sender of {size} bytes to sleep in msgsnd", limit_s=5)
        yield pid


def ended(pid: int) -> bool:
    """Whether the child has ended; it is not collected by this."""
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def kernel_takes(queue, size: int) -> bool:
    try:
        queue.send(bytes(size), block=False)
    except sysv_ipc.BusyError:
        return False
    return True


# --- 9.1 -------------------------------------------------------------------------------------------------------------


@task("9.1")
@limit(10)
@pytest.mark.parametrize("size", [1000, 4096, 5000])
def test_the_bytes_of_all_messages_share_one_limit(lab, queue, size):
    """As many messages get in as have room together, a last one may fill the queue to the byte; the next one sleeps."""
    fits = 0
    while fits < 100 and lab.has_room(size, used_bytes=size * fits, messages=fits, max_bytes=MAX_BYTES):
        fits += 1

    sent = 0
    while kernel_takes(queue, size):
        sent += 1
    with asleep_in_msgsnd(queue, size) as pid:
        call = asleep_in(pid).call

    assert fits == sent, Teach(
        saw=f"of messages of {size} bytes you let {fits} in, the kernel {sent}, and then a sender slept in {call}",
        because=f"the bytes in the queue and those that come must together be at most msg_qbytes, {MAX_BYTES} here",
        try_="compare the sum with max_bytes; a sum that is just as large fits",
        see=RULE,
    )


@task("9.1")
@limit(10)
def test_the_same_limit_bounds_the_number_of_messages(lab, queue):
    """A queue of 16384 bytes is full with 16384 empty messages and 0 bytes in it: the next sender sleeps."""
    fits = 0
    while fits <= MAX_BYTES and lab.has_room(0, used_bytes=0, messages=fits, max_bytes=MAX_BYTES):
        fits += 1

    while kernel_takes(queue, 0):
        pass
    with asleep_in_msgsnd(queue, 0):
        sent = queue.current_messages

    assert fits == sent, Teach(
        saw=f"you let {fits if fits <= MAX_BYTES else 'any number of'} empty messages in, the kernel {sent}; "
        "then a sender of 0 bytes slept in msgsnd",
        because="msg_qbytes bounds the number of messages as well, or empty ones would fill the kernel's memory",
        try_="two conditions: one for the bytes, one for the number of messages with this one",
        see=RULE,
    )


@task("9.1")
def test_a_message_larger_than_the_queue_waits_before_an_empty_one(lab, queue):
    """A message over the queue's limit never fits, though msgmax allows it: its sender sleeps before an empty queue."""
    queue.max_size = 1000
    predicted = [lab.has_room(size, used_bytes=0, messages=0, max_bytes=1000) for size in (1000, 1001)]

    with asleep_in_msgsnd(queue, 1001):
        waits_before = queue.current_messages
    happened = [kernel_takes(queue, 1000), False]

    assert (predicted, waits_before) == (happened, 0), Teach(
        saw=f"of 1000 and 1001 bytes you let {predicted} into an empty queue of 1000; the kernel let {happened} in, "
        "and the sender of 1001 bytes slept with nothing in the queue",
        because="over msgmax msgsnd answers EINVAL; over msg_qbytes it waits for room, which never comes",
        try_="an empty queue is used_bytes=0, messages=0: the rule is the same",
        see=RULE,
    )


@task("9.1")
@limit(10)
def test_a_small_message_overtakes_a_large_one_that_waits(lab, queue):
    """The kernel asks for room, not for turns: a small message goes in while a large one that came before sleeps on."""
    fill(queue, *[1] * 16)
    with asleep_in_msgsnd(queue, 5000) as large:
        # 16000 bytes are used. A newcomer of 300 bytes comes while the large one waits.
        predicted = [lab.has_room(size, used_bytes=16000, messages=16, max_bytes=MAX_BYTES) for size in (5000, 300)]
        happened = [ended(large), kernel_takes(queue, 300)]
        with asleep_in_msgsnd(queue, 900) as small:
            # Now both sleep, the large one longer. One message is taken: 15300 bytes are used.
            queue.receive(block=False)
            predicted += [
                lab.has_room(size, used_bytes=15300, messages=16, max_bytes=MAX_BYTES) for size in (5000, 900)
            ]
            wait_until(lambda: ended(small) or ended(large), "one of the two senders to get in")
            happened += [ended(large), ended(small)]

    assert predicted == happened, Teach(
        saw=f"large, newcomer, then large and small after one was taken: you said {predicted}, the kernel {happened}",
        because="each sender is asked only whether its own message has room; those that wait keep no place for theirs",
        try_="nothing of who came first belongs into has_room",
        see=RULE,
    )


# --- 9.2 -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def rule(lab):
    """The kernel's rule from the kit, so that task 9.1 reddens nothing else."""

    def has_room(size_bytes: int, *, used_bytes: int, messages: int, max_bytes: int) -> bool:
        return used_bytes + size_bytes <= max_bytes and messages < max_bytes

    lab.has_room = has_room


def asked_policy(lab, queue, answer: bool):
    """A policy of the kit's, which writes down what its `when_full` is asked and gives `answer`."""

    class Asked(lab.Policy):
        asked: list = []  # noqa: RUF012 - of this class, made anew for each

        def when_full(self, payload, kind):
            self.asked.append((len(payload), kind))
            return answer

    return Asked(queue)


@task("9.2")
def test_a_full_queue_refuses_at_once_and_is_counted(lab, queue, rule):
    """Of 20 messages of 1000 bytes Refuse puts 16 on the queue; 4 are refused; each is counted."""
    policy = lab.Refuse(queue)
    answers = [policy.offer(str(number).encode().ljust(1000), kind=number % 3 + 1) for number in range(20)]
    counts, taken = policy.counts, take_all(queue)

    assert answers == [True] * 16 + [False] * 4, Teach(
        saw=f"20 offers were answered {answers}",
        because="the proxy makes its OK or ER of this answer: it says whether the message is on the queue",
        try_="True when try_send had room; else what when_full says, which for Refuse is False",
        see="starter.py, Policy.offer",
    )
    assert taken == [(str(number), number % 3 + 1) for number in range(16)], Teach(
        saw=f"on the queue were (number, type) {taken}",
        because="each accepted message is on the queue once, with the type that was asked for",
        try_="try_send(self.queue, payload, kind), once",
        see="starter.py, try_send",
    )
    assert (counts.offered, counts.accepted, counts.refused) == (20, 16, 4), Teach(
        saw=f"the counts are {counts}",
        because="each message is counted once when it is offered, and once when it is known what became of it",
        try_="offer counts offered and accepted; Refuse.when_full counts refused",
        see=BOOKS,
    )


@task("9.2")
@pytest.mark.parametrize(("max_bytes", "size"), [(1000, 1001), (0, 0)])
def test_what_can_never_fit_is_refused_before_it_is_tried(lab, queue, rule, max_bytes, size):
    """A message over the queue's limit is refused and counted, and no policy is asked to make room for it."""
    queue.max_size = max_bytes
    policy = asked_policy(lab, queue, answer=True)

    answer = policy.offer(bytes(size))

    assert (answer, policy.asked, policy.counts.refused) == (False, [], 1), Teach(
        saw=f"{size} bytes for an empty queue of {max_bytes}: offer said {answer}, when_full was asked "
        f"{len(policy.asked)} times, and the counts are {policy.counts}",
        because="for such a message even the empty queue is full: Block waits for it in vain, and Shed throws all "
        "others away for it",
        try_="ask has_room about the empty queue (max_bytes is self.queue.max_size) before you try to send",
        see=RULE,
    )


@task("9.2")
def test_a_message_as_large_as_the_queue_is_accepted(lab, queue, rule):
    """One byte goes into a queue of one byte, and when_full is not asked, since there is room."""
    queue.max_size = 1
    policy = asked_policy(lab, queue, answer=False)

    answer = policy.offer(b"x")
    asked = list(policy.asked)

    assert (answer, asked, policy.counts.refused, take_all(queue)) == (True, [], 0, [("x", 1)]), Teach(
        saw=f"1 byte for an empty queue of 1: offer said {answer}, asked when_full {len(asked)} times, counts "
        f"{policy.counts}",
        because="the limit itself still fits, and with room there is nothing for a policy to decide",
        try_="try_send first; when_full only if it says False",
        see=RULE,
    )


@task("9.2")
@pytest.mark.parametrize("answer", [True, False])
def test_the_policy_decides_when_there_is_no_room(lab, queue, rule, answer):
    """With no room `offer` gives the policy's answer back, and counts as accepted what the policy got in."""
    fill(queue, *[1] * 16)
    policy = asked_policy(lab, queue, answer=answer)

    said = policy.offer(bytes(700), kind=6)

    assert (said, policy.asked) == (answer, [(700, 6)]), Teach(
        saw=f"when_full answered {answer}, and offer {said}; when_full was asked for (bytes, type) {policy.asked}",
        because="what to do without room is the subclass's own decision: offer asks it once, with the same message",
        try_="return what self.when_full(payload, kind) returns",
        see="starter.py, Policy.offer",
    )
    counts = policy.counts
    assert (counts.offered, counts.accepted, counts.refused) == (1, int(answer), 0), Teach(
        saw=f"when_full answered {answer}, and then the counts were {counts}",
        because="a message that got in late is accepted like any other; one that did not, when_full has counted itself",
        try_="count accepted wherever offer returns True, and nothing where when_full said False",
        see=BOOKS,
    )


@task("9.2")
@limit(10)
def test_the_program_offers_what_its_command_line_says(stage, queue):
    """`refuse` offers 20 messages of 1000 bytes on key 0x909, or those of its options; `take` shows what was kept."""
    programs = [
        stage.run("refuse"),
        stage.run("refuse", "--key", "0x77", "--mode", "640", "--messages", "12", "--size", "1"),
        stage.run("refuse", "--key", "0x78", "--messages", "1", "--size", "8192"),
    ]
    statuses = [program.wait(limit_s=5) for program in programs]
    taker = stage.run("take")
    statuses.append(taker.wait(limit_s=5))

    made = [stage.queue(0x77), stage.queue(0x78)]
    seen = [queue and (queue.messages, queue.used_bytes, oct(queue.mode)) for queue in made]
    expected = [(12, 12, "0o640"), (1, 8192, "0o600")]
    numbers = " ".join(map(str, range(16)))
    assert (statuses, seen, taker.output) == ([0] * 4, expected, f"took 16: {numbers}\n"), Teach(
        saw=f"the programs ended with {statuses}; `refuse` said {programs[0].output!r}, `take` {taker.output!r}; "
        f"in the queues 0x77 and 0x78 were (messages, bytes, mode) {seen}",
        because="`refuse` keeps what came first, and drops what comes while the queue is full",
        try_="leave KEY, open_queue and main as starter.py has them",
        see="starter.py, main",
    )
    for key in (0x77, 0x78):
        sysv_ipc.MessageQueue(key).remove()


# --- 9.3 -------------------------------------------------------------------------------------------------------------


class FakeTime:
    """A clock that stands still but for `sleep`; `at` says what happens during which pause, counted from 1."""

    def __init__(self, at=None) -> None:
        self.pauses_us: list[int] = []
        self._at = at or {}

    def clock(self) -> float:
        return 1000 + sum(self.pauses_us) / 1e6

    def sleep(self, seconds: float) -> None:
        self.pauses_us.append(round(seconds * 1e6))
        if len(self.pauses_us) > 100:
            pytest.fail(
                Teach(
                    saw=f"100 pauses, the last of them of {self.pauses_us[-1]} us, and no end",
                    because="a loop that waits must look at the clock, or it waits for as long as the queue is full",
                    try_="compute the deadline once, before the loop, and compare self.clock() with it in each turn",
                    see="README.md, Do",
                )
            )
        if happens := self._at.get(len(self.pauses_us)):
            happens()


PAUSES_US = [50, 100, 200, 400, 800, 1600, 3200, 5000, 5000, 3650]
"""20 ms in pauses: doubled, at most 5 ms, and the last one cut."""


@task("9.3")
def test_pauses_double_and_end_at_the_deadline(lab, queue):
    """The pauses are 50 us, 100 us and so on up to 5 ms, and together as long as the wait; then it is timed out."""
    fill(queue, *[1] * 16)
    time_ = FakeTime()
    policy = lab.Block(queue, 0.02, clock=time_.clock, sleep=time_.sleep)

    answer = policy.when_full(bytes(1000), 1)

    assert time_.pauses_us == PAUSES_US, Teach(
        saw=f"for a wait of 20 ms the pauses were {time_.pauses_us} us",
        because="short pauses at first add little delay when room comes soon, long ones later cost little CPU; a last "
        "pause that is not cut overruns what the caller allowed",
        try_="sleep for the smaller of the pause and what is left; then double the pause, up to LONGEST_PAUSE_S",
        see="starter.py, Block.when_full",
    )
    assert (answer, policy.counts.timed_out, policy.counts.refused) == (False, 1, 0), Teach(
        saw=f"after the deadline it answered {answer}, and the counts were {policy.counts}",
        because="one that waited in vain has cost its caller time: that is counted apart from those refused at once",
        try_="self.counts.timed_out += 1, and return False",
        see=BOOKS,
    )


@task("9.3")
@pytest.mark.parametrize("pause", [1, 4, len(PAUSES_US)])
def test_room_that_comes_in_time_is_used(lab, queue, pause):
    """Room that comes during a pause, the last one too, is used when that pause ends."""
    fill(queue, *[1] * 16)
    time_ = FakeTime(at={pause: lambda: queue.receive(block=False)})
    policy = lab.Block(queue, 0.02, clock=time_.clock, sleep=time_.sleep)

    answer = policy.when_full(b"late".ljust(1000), 7)
    taken = take_all(queue)

    assert (answer, taken[-1:], len(time_.pauses_us)) == (True, [("late", 7)], pause), Teach(
        saw=f"room came in pause {pause} of {len(PAUSES_US)}; it answered {answer} after {len(time_.pauses_us)}; last "
        f"on the queue is (word, type) {taken[-1:]}",
        because="who tries before the pause and not after it has slept through what came in the last one",
        try_="in each turn: pause, then try, and only then ask whether time is left",
        see="starter.py, Block.when_full",
    )
    assert (len(taken), policy.counts) == (16, lab.Counts()), Teach(
        saw=f"one message was taken and one sent; {len(taken)} were on the queue, and when_full had counted "
        f"{policy.counts}",
        because="offer counts a message as accepted when when_full says True; counted here too it would be two",
        try_="count nothing when it was sent",
        see=BOOKS,
    )


@task("9.3")
def test_a_wait_of_no_time_does_not_pause(lab, queue):
    """With wait_s=0 there is no pause, and the message is timed out."""
    fill(queue, *[1] * 16)
    time_ = FakeTime()
    policy = lab.Block(queue, 0, clock=time_.clock, sleep=time_.sleep)

    answer = policy.when_full(bytes(1000), 1)

    assert (answer, time_.pauses_us, policy.counts.timed_out) == (False, [], 1), Teach(
        saw=f"with no time at all it answered {answer}, paused {time_.pauses_us} us, and counted {policy.counts}",
        because="nothing is left at the deadline itself: a wait of 0 seconds is over as it begins",
        try_="go on only while what is left is greater than 0",
        see="starter.py, Block.when_full",
    )


@task("9.3")
@limit(15)
def test_a_real_process_waits_outside_the_kernels_list(lab, queue):
    """A process that waits by Block sleeps in no msgsnd: it can give up, and it gets in when room comes."""
    fill(queue, *[1] * 16)
    reading, writing = os.pipe()

    def tell_and_sleep(seconds: float) -> None:
        os.write(writing, b".")
        time.sleep(seconds)

    def offer() -> bool:
        return lab.Block(queue, 10, sleep=tell_and_sleep).when_full(b"late".ljust(1000), 1)

    def paused() -> bool:
        return bool(select.select([reading], [], [], 0)[0])

    with another_process(offer) as pid:
        wait_until(lambda: paused() or asleep_in(pid) or ended(pid), "the process to pause", limit_s=5)
        asleep = asleep_in(pid)
        assert asleep is None, Teach(
            saw=f"the process sleeps in {asleep and asleep.call}, for a message of 1000 bytes",
            because="msgsnd has no timeout: who sleeps in it is woken by room, by a signal, or by the queue's end only",
            try_="send only with try_send, and pause between two tries by self.sleep",
            see="starter.py, Block",
        )
        queue.receive(block=False)
        wait_until(lambda: ended(pid), "the process to get in and end, since one message was taken", limit_s=10)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    last = take_all(queue)[-1:]
    assert (status, last) == (0, [("late", 1)]), Teach(
        saw=f"a message was taken; then the process ended with status {status} (0 is True); last on the queue: {last}",
        because="room came within the 10 s that it may wait",
        try_="return True when try_send did",
        see="starter.py, Block",
    )


# --- 9.4 -------------------------------------------------------------------------------------------------------------


@task("9.4")
def test_the_oldest_makes_room_for_the_newest(lab, queue):
    """By default the oldest message goes, whatever its type, and is counted as shed."""
    fill(queue, 3, 1, 2, *[1] * 13)
    policy = lab.Shed(queue)

    answers = [policy.when_full(f"new{number}".encode().ljust(1000), 4) for number in range(2)]
    taken = take_all(queue)

    expected = [("2", 2), *((str(number), 1) for number in range(3, 16)), ("new0", 4), ("new1", 4)]
    assert (answers, taken) == ([True, True], expected), Teach(
        saw=f"two new messages for a full queue were answered {answers}, and then it held (number, type) {taken}",
        because="msgrcv of type 0 takes the message that was sent first: the one that nobody has wanted for longest",
        try_="take one message without waiting, then try to send",
        see="starter.py, Shed",
    )
    assert policy.counts == lab.Counts(shed=2), Teach(
        saw=f"two were taken off the queue, two were sent, and the counts were {policy.counts}",
        because="what is shed was accepted once and will not be delivered: uncounted, the books say it is still there",
        try_="count shed for each message that give_up_one took; offer counts accepted",
        see=BOOKS,
    )


@task("9.4")
def test_a_large_message_may_cost_several_small_ones(lab, queue):
    """Messages are given up until the new one fits: three of 1000 bytes for one of 3000, and not one more."""
    fill(queue, *[1] * 16)
    policy = lab.Shed(queue)

    answer = policy.when_full(b"large".ljust(3000), 1)
    taken = take_all(queue)

    assert (answer, len(taken), taken[-1:], policy.counts.shed) == (True, 14, [("large", 1)], 3), Teach(
        saw=f"384 bytes were free, and a message of 3000 came: the answer was {answer}, {policy.counts.shed} were "
        f"shed, and the queue held {len(taken)} messages, the last one {taken[-1:]}",
        because="one message that goes makes room for its own size, which need not be enough",
        try_="a loop: give up one, try to send; again while there was one to give up",
        see="starter.py, Shed.when_full",
    )


@task("9.4")
def test_the_least_urgent_goes_first(lab, queue):
    """With victims (9, 5) the oldest 9 goes, then the oldest 5; type 1 stays, and who finds no victim is refused."""
    fill(queue, 1, 5, 9, 1, 9, *[1] * 11)
    policy = lab.Shed(queue, victims=(9, 5))

    answers = [policy.when_full(f"new{number}".encode().ljust(1000), 1) for number in range(4)]
    taken = [number for number, _ in take_all(queue)]

    kept = ["0", "3", *map(str, range(5, 16)), "new0", "new1", "new2"]
    assert (answers, taken) == ([True, True, True, False], kept), Teach(
        saw=f"types 1 5 9 1 9 and eleven of 1, then four new ones of type 1: answers {answers}; on the queue {taken}",
        because="msgrcv of an exact type takes the oldest of that type and no other: so the least urgent can go first, "
        "and what is no victim stays",
        try_="go through self.victims in order; ENOMSG (BusyError) means none of that type, so try the next",
        see="starter.py, Shed.give_up_one",
    )
    assert policy.counts == lab.Counts(shed=3, refused=1), Teach(
        saw=f"three were shed and one found nothing to give up; the counts were {policy.counts}",
        because="a message that gets in nowhere was refused, whatever the policy is called",
        try_="count refused when there was nothing to give up and still no room",
        see=BOOKS,
    )


@task("9.4")
def test_what_is_more_urgent_is_never_given_up(lab, queue):
    """A new message of type 5 costs one of type 9 or 5; one of type 9 costs no 5: it is refused."""
    fill(queue, 5, 9, *[5] * 14)
    policy = lab.Shed(queue, victims=(9, 5))

    answers = [policy.when_full(f"new{kind}".encode().ljust(1000), kind) for kind in (5, 5, 9)]
    taken = take_all(queue)

    expected = [*((str(number), 5) for number in range(2, 16)), ("new5", 5), ("new5", 5)]
    assert (answers, taken) == ([True, True, False], expected), Teach(
        saw=f"new messages of types 5, 5 and 9 were answered {answers}; the queue then held (number, type) {taken}",
        because="a flood of unimportant messages must not push out important ones: the lower type is the more urgent",
        try_="skip a victim whose type is lower than kind; OLDEST is no type, and always allowed",
        see="starter.py, Shed.give_up_one",
    )


class FasterWorker:
    """The queue, but a worker takes everything in the moment before this process's msgrcv."""

    def __init__(self, queue) -> None:
        self._queue = queue

    def receive(self, *args, **kwargs):
        take_all(self._queue)
        return self._queue.receive(*args, **kwargs)

    def __getattr__(self, name):
        return getattr(self._queue, name)


@task("9.4")
def test_a_worker_that_was_faster_has_made_room_too(lab, queue):
    """When a worker empties the queue first, there is nothing to give up, and the message is sent, not refused."""
    fill(queue, *[1] * 16)
    policy = lab.Shed(FasterWorker(queue))

    answer = policy.when_full(b"new".ljust(1000), 1)
    taken = take_all(queue)

    assert (answer, taken, policy.counts) == (True, [("new", 1)], lab.Counts()), Teach(
        saw=f"a worker had taken all before msgrcv; the answer was {answer}, on the queue were {taken}, and the counts "
        f"were {policy.counts}",
        because="between 'no room' and 'nothing to give up' other processes run: both can be true, one after the other",
        try_="try to send once more also when nothing was there to give up, and refuse only then",
        see="starter.py, Shed.when_full",
    )


# --- 9.5 -------------------------------------------------------------------------------------------------------------


@task("9.5")
@pytest.mark.parametrize(
    ("counts", "delivered", "left", "expected"),
    [
        ((100, 60, 25, 15, 10), 40, 10, (0, 0)),
        ((100, 60, 25, 10, 10), 40, 10, (5, 0)),
        ((100, 60, 25, 15, 10), 40, 3, (0, 7)),
        ((100, 60, 25, 17, 10), 49, 10, (-2, -9)),
    ],
)
def test_the_books_say_what_they_do_not_explain(lab, counts, delivered, left, expected):
    """Both sums are 0 when each message is explained, positive when some vanished, negative when counted twice."""
    books = lab.Counts(*counts)

    found = books.unexplained(delivered, left)

    assert tuple(found) == expected, Teach(
        saw=f"for {books}, {delivered} delivered and {left} left you said {tuple(found)}; it is {expected}",
        because="offered = accepted + refused + timed out, and accepted = delivered + shed + left in the queue; a shed "
        "message was accepted first, so it belongs to the second sum",
        try_="left side minus right side, for each of the two",
        see=BOOKS,
    )


def deliver(queue, stop: int, result: int) -> bool:
    """A worker: take messages until `stop` can be read, then write how many. It ends with nothing in hand."""
    delivered = 0
    while not select.select([stop], [], [], 0)[0]:
        try:
            queue.receive(block=False)
            delivered += 1
        except sysv_ipc.BusyError:
            time.sleep(0.0002)
    os.write(result, str(delivered).encode())
    return True


@task("9.5")
@limit(15)
def test_the_program_blocks_and_sheds(stage, queue):
    """`block` keeps what came first and gives up on the rest, `shed` keeps what came last, and both count."""
    said = []
    for words in (["block"], ["shed", "--messages", "2"], ["take"]):
        program = stage.run(*words)
        program.wait(limit_s=5)
        said.append(program.output)

    expected = [
        "Counts(offered=20, accepted=16, refused=0, timed_out=4, shed=0), left in the queue: 16\n",
        "Counts(offered=2, accepted=2, refused=0, timed_out=0, shed=2), left in the queue: 16\n",
        f"took 16: {' '.join(map(str, range(2, 16)))} 0 1\n",
    ]
    assert said == expected, Teach(
        saw=f"`block`, then `shed --messages 2`, then `take` said {said}",
        because="while nobody takes, block keeps the first 16 and gives up on four; shed drops two for its own",
        try_="get the checks of 9.2, 9.3 and 9.4 green first; leave main as starter.py has it",
        see="README.md, Do",
    )


@task("9.5")
@limit(20)
@pytest.mark.parametrize("name", ["Refuse", "Block", "Shed"])
def test_the_books_balance_under_traffic(lab, queue, rule, name):
    """500 messages are offered while a worker takes them, by each policy: every one is explained."""
    queue.max_size = 4096
    policy = lab.Block(queue, 0.02) if name == "Block" else getattr(lab, name)(queue)
    stop, stopping = os.pipe()
    result, resulting = os.pipe()
    with another_process(lambda: deliver(queue, stop, resulting)) as worker:
        for number in range(500):
            policy.offer(bytes(number % 5 * 1000 + 100))  # those of 4100 bytes can never fit
        os.write(stopping, b"x")
        wait_until(lambda: ended(worker), "the worker to end", limit_s=10)
        delivered = int(os.read(result, 20))
    left = queue.current_messages

    found = tuple(policy.counts.unexplained(delivered, left))

    assert found == (0, 0), Teach(
        saw=f"{name}: {policy.counts}, {delivered} delivered, {left} left: {found[0]} of the offered and {found[1]} of "
        "the accepted are not explained",
        because="a message that no count explains was lost without a trace, and one counted twice hides another's loss",
        try_="go through the ways out of offer and when_full: on each, is exactly one count raised?",
        see=BOOKS,
    )
