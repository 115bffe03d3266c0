"""The checks of lab 08: `pytest labs/08_sizes`.

Each prediction is compared with what the kernel does to a real queue. Limits are changed in the check's own IPC
namespace, never in the machine's.
"""

from __future__ import annotations

import pytest
import sysv_ipc

from harness.labkit import CannotStageError, Teach, limit, task
from harness.labkit.ground import BYSTANDER_KEY
from harness.sysv import Limits, queues
from harness.sysv.errors import MachineError

RULE = "README.md, The three limits"
DO = "README.md, Do"


def change_limits(**new: int) -> Limits:
    """Set limits of the check's own namespace; where it has none, the check is skipped."""
    if BYSTANDER_KEY not in [queue.key for queue in queues()]:
        raise CannotStageError("limits are changed in a private IPC namespace only, and this check has none")
    try:
        return Limits.write(**new)
    except MachineError as error:
        raise CannotStageError(f"{error}: {error.hint}") from error


@pytest.fixture(autouse=True)
def usual_limits():
    """The kernel's own msgmax and msgmnb: a machine may have set others, up to gigabytes."""
    now = Limits.read()
    if (now.msgmax, now.msgmnb) != (8192, 16384):
        change_limits(msgmax=8192, msgmnb=16384)


@pytest.fixture
def given_capacity(lab):
    """The kit's own `capacity`, for the checks of the tasks that build on it."""
    lab.capacity = lambda size_bytes, queue_bytes: queue_bytes // max(size_bytes, 1)


@pytest.fixture
def make_queue():
    """`make_queue(bytes)` makes a private queue, with that limit if it is given; all are removed at the end."""
    made = []

    def make(queue_bytes: int | None = None):
        queue = sysv_ipc.MessageQueue(sysv_ipc.IPC_PRIVATE, sysv_ipc.IPC_CREX, max_message_size=2**20)
        made.append(queue)
        if queue_bytes is not None:
            queue.max_size = queue_bytes
        return queue

    yield make
    for queue in made:
        queue.remove()


def answer_to(queue, size_bytes: int) -> str:
    """What the kernel says to one message."""
    try:
        queue.send(bytes(size_bytes), block=False)
    except sysv_ipc.BusyError:
        return "EAGAIN"
    except OSError:
        return "EINVAL"
    return "yes"


def kernels_count(queue, size_bytes: int) -> int:
    """How many messages of this size the kernel takes."""
    count = 0
    while answer_to(queue, size_bytes) == "yes":
        count += 1
    return count


# --- 8.1 -------------------------------------------------------------------------------------------------------------


@task("8.1")
@pytest.mark.parametrize("queue_bytes", [1, 3000, 3500])
@pytest.mark.parametrize("size_bytes", [1, 7, 1000, 1001, 3000, 3001])
def test_the_bytes_of_a_queue_are_bounded(lab, make_queue, size_bytes, queue_bytes):
    """`capacity` is as many messages as have room with their bytes, the last byte included."""
    count = kernels_count(make_queue(queue_bytes), size_bytes)

    predicted = lab.capacity(size_bytes, queue_bytes)

    assert predicted == count, Teach(
        saw=f"{size_bytes} bytes each, a queue of {queue_bytes}: you predicted {predicted}, the kernel took {count}",
        because="the kernel counts the bytes of the text, neither the type nor its own headers, and a message goes in "
        "whole or not at all",
        try_="how often does the size go into the limit?",
        see=RULE,
    )


@task("8.1")
@pytest.mark.parametrize("queue_bytes", [0, 1, 3000])
def test_the_number_of_messages_is_bounded_too(lab, make_queue, queue_bytes):
    """`capacity` of empty messages is the limit itself, counted in messages."""
    count = kernels_count(make_queue(queue_bytes), 0)

    try:
        predicted = lab.capacity(0, queue_bytes)
    except ZeroDivisionError:
        predicted = "a ZeroDivisionError"

    assert predicted == count, Teach(
        saw=f"of empty messages you predicted {predicted} in a queue of {queue_bytes} bytes; the kernel took {count}",
        because="the limit in bytes bounds the number of messages as well: empty ones cost the kernel memory too, and "
        "would have no end",
        try_="as far as the number goes, an empty message counts like one of a single byte",
        see=RULE,
    )


# --- 8.2 -------------------------------------------------------------------------------------------------------------


FATES = {"yes": "fits", "EAGAIN": "sleeps", "EINVAL": "refused"}
FATE_BECAUSE = {
    "fits": "a message may be as long as msgmax and as the queue's limit, to the byte",
    "sleeps": "within msgmax msgsnd is content and waits for room; that even the empty queue is too small, it does not "
    "notice, and nobody wakes it",
    "refused": "msgmax comes first, whatever the queue is like: waiting makes no message shorter, so it is EINVAL",
}


@task("8.2")
@pytest.mark.parametrize(
    ("size_bytes", "queue_bytes"),
    [(0, 3000), (1000, 3000), (3000, 3000), (3001, 3000), (0, 0), ("msgmax", 3000), ("over", 3000), ("over", 16)],
)
def test_one_message_fits_or_sleeps_or_is_refused(lab, make_queue, given_capacity, size_bytes, queue_bytes):
    """`fate` says what msgsnd does with one message and an empty queue."""
    msgmax = Limits.read().msgmax
    size_bytes = {"msgmax": msgmax, "over": msgmax + 1}.get(size_bytes, size_bytes)
    expect_fate(lab, make_queue(queue_bytes), size_bytes)


@task("8.2")
def test_a_message_of_msgmax_bytes_goes_in_where_there_is_room(lab, make_queue, given_capacity):
    """`fate` at the edge: with msgmax and the queue's limit alike, msgmax bytes fit, and one more is refused."""
    change_limits(msgmax=2000)
    for size_bytes, queue_bytes in [(2000, 2000), (2001, 2000), (2000, 1999), (2001, 4000)]:
        expect_fate(lab, make_queue(queue_bytes), size_bytes)


def expect_fate(lab, queue, size_bytes: int) -> None:
    msgmax, queue_bytes = Limits.read().msgmax, queue.max_size
    answer = answer_to(queue, size_bytes)

    said = lab.fate(size_bytes, msgmax, queue_bytes)

    assert said == FATES[answer], Teach(
        saw=f"{size_bytes} bytes, msgmax {msgmax}, an empty queue of {queue_bytes}: fate said {said!r}; asked not to "
        f"wait, the kernel said {answer}",
        because=FATE_BECAUSE[FATES[answer]],
        try_="ask about msgmax first, then about the queue",
        see=RULE,
    )


# --- 8.3 -------------------------------------------------------------------------------------------------------------


@task("8.3")
@pytest.mark.parametrize("size_bytes", [0, 1000, 3001])
def test_fill_counts_what_the_kernel_takes(lab, make_queue, size_bytes):
    """`fill` sends messages of the size until the kernel takes no more, and returns their number; it never waits."""
    queue = make_queue(3000)
    expected = kernels_count(make_queue(3000), size_bytes)

    count = lab.fill(queue, size_bytes)

    held = next(found for found in queues() if found.id == queue.id)
    assert (held.messages, held.used_bytes) == (expected, expected * size_bytes), Teach(
        saw=f"after fill with {size_bytes} bytes the queue holds {held.messages} messages, {held.used_bytes} bytes; it "
        f"takes {expected} of that size",
        because="only the kernel knows when a queue is full, and it says so to the message that has no room",
        try_="send bytes(size_bytes) again and again, with block=False, until sysv_ipc.BusyError",
        see=DO,
    )
    assert count == held.messages, Teach(
        saw=f"the queue was empty and holds {held.messages} messages now; fill returned {count}",
        because="the send that was refused has put nothing on the queue",
        try_="count after the send, not before",
        see=DO,
    )


@task("8.3")
def test_fill_counts_only_what_it_sent(lab, make_queue):
    """`fill` of a queue that holds something returns what it added; on a message over msgmax it returns 0."""
    queue = make_queue(3000)
    queue.send(bytes(500))

    counts = [lab.fill(queue, 1000)]
    try:
        counts.append(lab.fill(make_queue(3000), Limits.read().msgmax + 1))
    except OSError as error:
        counts.append(str(error))

    assert counts[0] == 2, Teach(
        saw=f"500 of 3000 bytes were taken, and fill with 1000 bytes returned {counts[0]}",
        because="what was there before was not sent by you, and the rest of 500 bytes is too small for another",
        try_="count the sends that went well",
        see=DO,
    )
    assert counts[1] == 0, Teach(
        saw=f"with messages of one byte more than msgmax, fill gave {counts[1]!r}",
        because="EINVAL is the kernel's no to a message over msgmax, and it comes as an OSError; none was taken",
        try_="catch OSError as well as sysv_ipc.BusyError",
        see=DO,
    )


# --- 8.4 -------------------------------------------------------------------------------------------------------------


@task("8.4")
def test_a_queue_has_a_limit_of_its_own(lab, make_queue, given_capacity):
    """`predict` goes by the queue's own limit, which its owner may have lowered."""
    for queue_bytes, size_bytes in [(3000, 1000), (2999, 1000), (3000, 0), (None, 1000)]:
        compare(
            lab,
            make_queue(queue_bytes),
            size_bytes,
            "each queue has its own limit, msg_qbytes; its owner may lower it, and msgmnb is only what it began with",
        )


@task("8.4")
def test_a_new_msgmnb_is_for_new_queues(lab, make_queue, given_capacity):
    """`predict` for a queue that is older than the new msgmnb goes by the old one; a new queue has the new one."""
    old = make_queue()
    change_limits(msgmnb=2 * old.max_size)
    new = make_queue()
    because = "a queue gets msgmnb when it is made, and keeps it; to have a larger one, make the queue anew"

    compare(lab, old, 1000, because)
    compare(lab, new, 1000, because)


@task("8.4")
def test_a_new_msgmax_is_for_all_queues(lab, make_queue, given_capacity):
    """`predict` goes by the msgmax of now, also for a queue that is older, to the byte."""
    old = make_queue()
    change_limits(msgmax=100)
    because = "msgmax belongs to no queue: each msgsnd looks at it anew"

    for size_bytes in (100, 101):
        compare(lab, old, size_bytes, because)
        while old.current_messages:
            old.receive()


def compare(lab, queue, size_bytes: int, because: str) -> None:
    """The prediction, then the same for real."""
    now = Limits.read()
    predicted = lab.predict(queue, size_bytes)
    took = kernels_count(queue, size_bytes)

    assert predicted == took, Teach(
        saw=f"{size_bytes} bytes each, a queue of {queue.max_size}, msgmax {now.msgmax}, msgmnb {now.msgmnb}: you "
        f"predicted {predicted}, the kernel took {took}",
        because=because,
        try_="queue.max_size for the queue's limit, limit('msgmax') for the other, both read now",
        see=RULE,
    )


# --- 8.5 -------------------------------------------------------------------------------------------------------------


@task("8.5")
def test_each_queue_takes_one_place(lab, make_queue):
    """`free_queues` is msgmni less the queues of all users, and each new queue takes one."""
    expected = Limits.read().msgmni - len(queues())
    seen = [lab.free_queues()]
    make_queue()
    seen.append(lab.free_queues())

    assert seen == [expected, expected - 1], Teach(
        saw=f"msgmni is {Limits.read().msgmni}, and {len(queues()) - 1} queues were there: free_queues gave {seen[0]}, "
        f"then, with one queue more, {seen[1]}",
        because="msgmni counts every queue of the namespace, whoever made it, and whether or not anything is in it",
        try_="count the lines of LISTING, but not the first, which names the columns",
        see=RULE,
    )


@task("8.5")
@pytest.mark.parametrize("more", [0, 1, 3])
def test_the_kernel_makes_as_many_queues_as_predicted(lab, make_queue, more):
    """`free_queues` queues can be made, and the next is refused with ENOSPC."""
    others = len(queues())
    change_limits(msgmni=others + more)
    predicted = lab.free_queues()

    made = 0
    while True:
        try:
            make_queue()
        except OSError:
            break
        made += 1

    assert predicted == made == more, Teach(
        saw=f"msgmni {others + more}, {others} of other programs: free_queues gave {predicted}, and msgget made {made}",
        because="the queues that others left behind count as well, and at msgmni the answer is ENOSPC for everybody",
        try_="msgmni less the number of queues in LISTING",
        see=RULE,
    )


@task("8.5")
def test_there_can_be_more_queues_than_msgmni(lab, make_queue):
    """`free_queues` is 0, not less, where msgmni was lowered below the number of queues that were there."""
    make_queue()
    make_queue()
    change_limits(msgmni=1)

    free = lab.free_queues()

    assert free == 0, Teach(
        saw=f"msgmni is 1, {len(queues())} queues are there, and free_queues gave {free}",
        because="a lowered limit removes nothing: who is there stays, and nobody comes in",
        try_="max(..., 0)",
        see=RULE,
    )


@task("8.5")
@limit(10)
def test_the_program_predicts_and_measures(stage):
    """The program prints the limits, and a line for each size; it leaves no queue."""
    now, others = Limits.read(), len(queues())
    sizes = [0, 1000, now.msgmax + 1]
    program = stage.run(*map(str, sizes))

    status = program.wait()

    counts = [now.msgmnb, now.msgmnb // 1000, 0]
    fates = ["fits", "fits", "refused"]
    lines = [f"msgmax {now.msgmax}, msgmnb {now.msgmnb}, room for {now.msgmni - others} queues"]
    rows = zip(sizes, fates, counts, strict=True)
    lines += [f"{size} bytes: {what}, predicted {count}, took {count}" for size, what, count in rows]
    assert (status, program.output.splitlines()) == (0, lines), Teach(
        saw=f"it ended with {status} and wrote {program.output!r}, {program.errors[-200:]!r}",
        because="what was predicted and what was measured must be the same number, line by line",
        try_="leave main as starter.py has it, and see what the other checks say",
        see=DO,
    )
