"""The checks of lab 03: `pytest labs/03_message_types`.

What a model says is compared with what the kernel does: `predict.py` asks it, and so do the checks.
"""

from __future__ import annotations

import os
import random
import runpy
import signal
import sys
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import pytest
import sysv_ipc

from harness.labkit import Teach, limit, task
from harness.labkit.stage import wait_until
from harness.sysv import asleep_in

QUIZ = Path(__file__).with_name("predict.py")
SELECTORS = "README.md, The selector"
FAIR = "README.md, Do"
ALARM, ORDER, REPORT, UNKNOWN = 1, 2, 3, 4


@pytest.fixture
def queue():
    """The lab's queue, removed at the end."""
    made = sysv_ipc.MessageQueue(0x303, sysv_ipc.IPC_CREX)
    yield made
    made.remove()


def fill(queue, *kinds: int) -> None:
    """Send a message of each of these types; its payload is its place, from 0."""
    for place, kind in enumerate(kinds):
        queue.send(b"%d" % place, type=kind)


# --- 3.1 -------------------------------------------------------------------------------------------------------------


@task("3.1")
@pytest.mark.parametrize(("selector", "place"), [(0, 0), (1, 2), (-2, 2), (3, 0)])
def test_take_hands_the_selector_to_msgrcv(lab, queue, selector, place):
    """`take` gives the bytes and the type of the message that the kernel selects."""
    fill(queue, REPORT, ORDER, ALARM, REPORT)

    found = lab.take(queue, selector)

    expected = (b"%d" % place, [REPORT, ORDER, ALARM, REPORT][place])
    assert found == expected, Teach(
        saw=f"the queue held the types 3, 2, 1, 3; take(queue, {selector}) gave {found}, and msgrcv({selector}) gives "
        f"{expected}",
        because="queue.receive asks for any type unless its argument `type` says otherwise; it gives (bytes, type)",
        try_="pass the selector on, as type=..., and return what receive gave",
        see=SELECTORS,
    )


@task("3.1")
@pytest.mark.parametrize("kinds", [(), (REPORT, UNKNOWN)])
def test_take_does_not_wait(lab, queue, kinds):
    """`take` gives None when nothing fits the selector, in an empty queue and in one with other types."""
    fill(queue, *kinds)

    found = lab.take(queue, -ORDER)

    assert found is None, Teach(
        saw=f"with the types {list(kinds)} in the queue, take(queue, -2) gave {found}",
        because="a selector that nothing fits leaves all messages where they are; "
        "with block=False the kernel says ENOMSG, which sysv_ipc raises as BusyError",
        try_="catch sysv_ipc.BusyError, and return None",
        see=SELECTORS,
    )


# --- 3.2 -------------------------------------------------------------------------------------------------------------


def ask_the_kernel(types: list[int], selectors: list[int]) -> list[int | None]:
    return runpy.run_path(str(QUIZ))["ask_the_kernel"](types, selectors)


def compare(lab, types: list[int], selectors: list[int], because: str) -> None:
    """The model's answer beside the kernel's."""
    predicted = lab.predict(list(types), list(selectors))

    happened = ask_the_kernel(types, selectors)

    assert predicted == happened, Teach(
        saw=f"messages of the types {types}, receives with {selectors}: you predicted the places {predicted}, "
        f"the kernel gave {happened}",
        because=because,
        try_="for each selector: which of those that are left fit it, and which one of these is taken? Then it is gone",
        see=SELECTORS,
    )


@task("3.2")
def test_0_takes_the_oldest(lab):
    """Selector 0 takes the message that was sent first, whatever its type."""
    compare(lab, [3, 1, 2], [0, 0, 0, 0], "0 asks for no type at all: what was sent first comes first")


@task("3.2")
def test_a_type_takes_the_oldest_of_that_type(lab):
    """A positive selector takes the oldest of exactly that type, passing over the others."""
    because = "a positive selector asks for exactly this type: older messages of others are passed over, and stay"

    compare(lab, [3, 1, 2, 1, 3], [1, 3, 1, 1, 4, 0], because)


@task("3.2")
def test_minus_a_type_takes_the_lowest_type(lab):
    """A negative selector takes the lowest type there is, if that is at most its amount; of several the oldest."""
    because = (
        "a negative selector takes the LOWEST type that is there, its amount being the highest that it takes, "
        "and of several of that type the oldest"
    )

    compare(lab, [4, 3, 2, 3, 2], [-3, -3, -3, -2, -3, -3, -4], because)


@task("3.2")
def test_the_model_answers_the_quiz_as_the_kernel_does(lab, thorough):
    """For the questions of predict.py, your model gives the kernel's answers."""
    quiz = runpy.run_path(str(QUIZ))
    for seed in range(100 if thorough else 40):
        types, selectors = quiz["question"](seed)

        compare(lab, types, selectors, "each receive chooses among those that the receives before it have left")


@task("3.2")
@limit(10)
def test_the_quiz_shows_what_the_model_says(lab, stage):
    """`predict.py --seed N --answer` prints what your model predicts for that question."""
    types, selectors = runpy.run_path(str(QUIZ))["question"](7)
    expected = [
        f"receive(type={selector:>2})  {'nothing' if place is None else f'place {place}, type {types[place]}'}"
        for selector, place in zip(selectors, lab.predict(types, selectors), strict=True)
    ]

    shown = stage.start(sys.executable, str(QUIZ), "--seed", "7", "--answer")
    shown.wait()

    lines = shown.output.splitlines()[2:]
    assert lines == expected, Teach(
        saw=f"for the types {types} predict.py printed {lines}; with your model's places it would be {expected}",
        because="predict.py sends and receives for real: its answers are the kernel's",
        try_="run it with --seed 7, and find the first line where your model differs",
        see=SELECTORS,
    )


# --- 3.3 -------------------------------------------------------------------------------------------------------------


@contextmanager
def stream_of_alarms(queue):
    """A process that sends alarms as fast as the queue takes them; gives a function that waits until it is full."""
    pid = os.fork()
    if pid == 0:
        try:
            while True:
                queue.send(b"fire" * 100, type=ALARM)
        finally:
            os._exit(0)
    try:
        yield lambda: wait_until(lambda: asleep_in(pid), "the sender of alarms to sleep in msgsnd, on a full queue")
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


@task("3.3")
def test_the_most_urgent_comes_first(lab, queue):
    """`take_most_urgent` takes alarms, then orders, then reports, each kind in the order in which it was sent."""
    fill(queue, REPORT, ORDER, ALARM, UNKNOWN, ORDER, ALARM, REPORT)

    places = [int(lab.take_most_urgent(queue)[0]) for _ in range(6)]

    assert places == [2, 5, 1, 4, 0, 6], Teach(
        saw=f"of messages of the types 3, 2, 1, 4, 2, 1, 3 it took the places {places}",
        because="minus a type takes the lowest type that is there, so that the number of the type is its urgency",
        try_="receive with the selector that takes types 1 to LEAST_URGENT, the lowest first",
        see=SELECTORS,
    )


@task("3.3")
@limit(10)
def test_a_worker_with_nothing_to_do_sleeps(stage, queue):
    """`strict` sleeps in msgrcv while there is nothing up to LEAST_URGENT, and wakes for whatever comes first."""
    worker = stage.run("strict")

    selector = worker.wait_asleep().msgtyp

    assert selector == -REPORT, Teach(
        saw=f"it sleeps in msgrcv with the selector {selector}",
        because="the kernel keeps the selector of each sleeper, and wakes it only for a message that fits: "
        "it has to name all kinds at once",
        try_="one receive, with minus LEAST_URGENT",
        see=SELECTORS,
    )
    queue.send(b"report", type=REPORT)
    assert (worker.wait(), worker.output) == (0, "1 report\n"), Teach(
        saw=f"after a report came it ended with {worker.status}, and wrote {worker.output!r}",
        because="`strict` takes --count messages, 1 unless told otherwise, and prints what they were",
        try_="leave main as starter.py has it",
        see="starter.py",
    )


@task("3.3")
@limit(10)
def test_a_stream_of_alarms_starves_a_report(lab, queue, thorough):
    """While alarms keep coming, `take_most_urgent` never takes the report that was there before them all."""
    queue.send(b"report", type=REPORT)
    with stream_of_alarms(queue) as wait_until_full:
        kinds = []
        for _ in range(200 if thorough else 60):
            wait_until_full()
            kinds.append(lab.take_most_urgent(queue)[1])

    assert set(kinds) == {ALARM}, Teach(
        saw=f"with alarms in the queue all the time, take number {1 + kinds.index(max(kinds))} had type {max(kinds)}",
        because="strict priority looks at the type alone, and age counts for nothing: a report waits as long as there "
        "is an alarm, which can be for ever",
        try_="this function is the strict rule; the fair one is task 3.4",
        see=FAIR,
    )


# --- 3.4 -------------------------------------------------------------------------------------------------------------


def next_of(fair) -> int:
    """The type of the message that it takes next."""
    message = fair.next()
    assert message is not None, Teach(
        saw="Fair.next() gave None",
        because="a worker asks for the next message, and sleeps until there is one: None is no message",
        try_="return what take gave only if it gave something; otherwise go on to the next kind, or by urgency",
        see=FAIR,
    )
    return message[1]


@task("3.4")
@pytest.mark.parametrize("row", [1, 3])
def test_after_a_row_one_of_the_others_has_its_turn(lab, queue, row):
    """With all kinds there, `row` alarms are taken, an order, `row` alarms, a report, and so on."""
    fill(queue, *[REPORT, ORDER] * 3, *[ALARM] * 4 * row)

    fair = lab.Fair(queue, row)
    kinds = [next_of(fair) for _ in range(4 * (row + 1))]

    expected = ([ALARM] * row + [ORDER] + [ALARM] * row + [REPORT]) * 2
    rows_are_right = kinds[row :: row + 1].count(ALARM) == 0 and kinds.count(ALARM) == 4 * row
    assert kinds == expected, Teach(
        saw=f"with row={row} and every kind there it took {kinds}, and not {expected}",
        because="a turn that is not passed on starves one of the two: ORDER has the first, REPORT the next"
        if rows_are_right
        else "each turn costs the alarms a place, so there is one after `row` messages, neither sooner nor later",
        try_="count what you take by urgency, begin anew at each turn, and remember whose turn is next",
        see=FAIR,
    )


@task("3.4")
@pytest.mark.parametrize(("present", "absent"), [(ORDER, REPORT), (REPORT, ORDER)])
def test_who_has_nothing_leaves_its_turn_to_the_other(lab, queue, present, absent):
    """With alarms and one other kind there, that kind has every turn."""
    fill(queue, *[present] * 3, *[ALARM] * 9)

    fair = lab.Fair(queue, 2)
    kinds = [next_of(fair) for _ in range(9)]

    expected = [ALARM, ALARM, present] * 3
    assert kinds == expected, Teach(
        saw=f"with alarms and type {present} there, and none of type {absent}, it took {kinds}",
        because=f"nothing of type {absent} was there, and a turn that nobody uses is lost for those who wait",
        try_="try the one whose turn it is without waiting, and then the other",
        see=FAIR,
    )


@task("3.4")
@limit(10)
def test_a_turn_that_nobody_wants_is_not_waited_for(stage, queue):
    """With nothing but alarms, `fair` takes them all, and sleeps for any kind, also when the others have the turn."""
    fill(queue, *[ALARM] * 4)
    worker = stage.run("fair", "--count", "9")

    selector = worker.wait_asleep().msgtyp
    fill(queue, *[ALARM] * 5)

    assert selector == -REPORT, Teach(
        saw=f"after four alarms, and with nothing left, it sleeps in msgrcv with the selector {selector}",
        because="who sleeps for one type is deaf to all others: an alarm that comes now would wait for a report",
        try_="look for the others with block=False, and sleep only in take_most_urgent",
        see=FAIR,
    )
    assert (worker.wait(), worker.output) == (0, "9 alarm\n"), Teach(
        saw=f"with nine alarms and nothing else it ended with {worker.status}, and wrote {worker.output!r}",
        because="a turn that neither kind can use goes to the most urgent message",
        try_="when no kind of OTHERS has anything, go on as if it were nobody's turn",
        see=FAIR,
    )


@task("3.4")
@limit(10)
def test_the_program_takes_by_the_fair_rule(stage):
    """`fair --count 13` takes a report as the fifth, before the other alarms; --key and --mode name the queue."""
    there = ["--key", "0x77", "--mode", "640"]
    statuses = [stage.run(*words, *there).wait() for words in (["report"], ["alarm", "--count", "12"])]
    waiting = stage.queue(0x77)
    worker = stage.run("fair", "--count", "13", *there)
    statuses.append(worker.wait())

    found = (statuses, waiting and (oct(waiting.mode), waiting.messages), worker.output)
    assert found == ([0, 0, 0], ("0o640", 13), "4 alarm, 1 report, 8 alarm\n"), Teach(
        saw="after `report`, `alarm --count 12` and `fair --count 13` on one queue: exit statuses, mode and messages, "
        f"and output were {found}",
        because="ROW is 4: four alarms, then the report, then alarms again",
        try_="leave ROW and main as starter.py has them, and Fair's default with them",
        see=FAIR,
    )
    sysv_ipc.MessageQueue(0x77).remove()


# --- 3.5 -------------------------------------------------------------------------------------------------------------


def longest_seen(fair, queue, arrivals, takes: int) -> int:
    """How many takes an order or a report at most waited for, once it was the first of its kind; its own counts too.

    `arrivals(there)` gives the types that are sent before the next take; `there` counts what is in the queue.
    """
    there = Counter({ALARM: 0, ORDER: 0, REPORT: 0})
    waited = Counter()
    longest = 0
    for _ in range(takes):
        for kind in arrivals(there):
            queue.send(b"", type=kind)
            there[kind] += 1
        if not there.total():
            continue
        waited.update(kind for kind in (ORDER, REPORT) if there[kind])
        taken = next_of(fair)
        there[taken] -= 1
        longest = max(longest, *waited.values(), 0)
        waited[taken] = 0
    while queue.current_messages:
        queue.receive()
    return longest


@task("3.5")
@limit(10)
@pytest.mark.parametrize("row", [1, 2, 5])
def test_the_bound_is_reached_when_every_kind_keeps_coming(lab, queue, row):
    """With all kinds there all the time, the longest wait on the real queue is `longest_wait(row)`."""
    promised = lab.longest_wait(row)

    def keep_all_there(there):
        return [kind for kind in there if not there[kind]]

    seen = longest_seen(lab.Fair(queue, row), queue, keep_all_there, 8 * (row + 1))

    assert seen == promised, Teach(
        saw=f"row={row}: longest_wait says {promised}, and on the real queue a message waited for {seen}",
        because="a bound is worth something if it holds and cannot be lower: count the worst case, in which the turn "
        "has just gone by and the next one belongs to the other kind",
        try_="write down 20 takes in a row, and count from behind one report up to and with the next",
        see=FAIR,
    )


@task("3.5")
@limit(10)
def test_the_bound_holds_whatever_comes(lab, queue, thorough):
    """With whatever mix of arrivals, nobody waits longer than `longest_wait(row)`."""
    for seed in range(18 if thorough else 6):
        dice = random.Random(seed)
        row = dice.choice([1, 2, 4])
        # What keeps coming, beside what comes now and then: alarms, or no alarms at all.
        often = [{ORDER}, {ALARM, ORDER}, {ALARM}, {REPORT}, {ALARM, REPORT}, set()][seed % 6]

        def some(there, dice=dice, often=often):
            return [
                kind
                for kind in there
                if (kind in often and not there[kind]) or (there[kind] < 3 and dice.random() < 0.2)
            ]

        promised = lab.longest_wait(row)

        seen = longest_seen(lab.Fair(queue, row), queue, some, 80)

        assert seen <= promised, Teach(
            saw=f"row={row}, with the types {sorted(often)} there all the time, others now and then: a message waited "
            f"for {seen}, and longest_wait promises {promised}",
            because="a bound holds for every mix: whatever is taken by urgency counts, also an order when there is no "
            "alarm (orders would starve reports as alarms did), and then the turns go round",
            try_="count each message that take_most_urgent gave, and nothing else",
            see=FAIR,
        )
