"""The checks of lab 16: `pytest labs/16_honest_benchmark`.

Most run on a clock of their own: SimulatedLine works out when its worker receives each message, so that a stall of a
second takes no time and is the same each time. All its times are multiples of 1/1024 s, which floats hold exactly.
Two checks do it for real, and compare by order only.
"""

from __future__ import annotations

import math
import re
from collections import deque

from harness.labkit import Teach, limit, task

LOOPS = "README.md, Two loops"
FIGURES = "README.md, What the figures may say"
TICK_S = 1 / 1024
START_S = 4096.0


class Clock:
    """A clock that goes on only when somebody sleeps or waits; each sleep takes `late_s` more than was asked for."""

    def __init__(self, late_s: float = 0.0) -> None:
        self.now = START_S
        self._late_s = late_s

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        if seconds < 0:
            raise ValueError("sleep length must be non-negative")  # as time.sleep
        self.now += seconds + self._late_s


class SimulatedLine:
    """A queue and a worker who takes `service_s` over each message, and stands still from `stall` for its length.

    The queue has room for `room` messages that are not yet received; send waits for it.
    """

    def __init__(
        self, clock: Clock, *, service_s: float = TICK_S, stall: tuple[float, float] = (0.0, 0.0), room: int = 10**9
    ) -> None:
        self._clock = clock
        self._service_s = service_s
        self._stall_from = START_S + stall[0]
        self._stall_to = self._stall_from + stall[1]
        self._room = room
        self._free_s = 0.0
        self._received: dict[int, float] = {}
        self._under_way: deque[float] = deque()  # when those that are not yet received will be
        self.sent: list[tuple[int, float]] = []  # number, and when its send began
        self.most_under_way = 0
        self.first_wait_after = -1  # so many messages had been sent at the first wait

    def send(self, number: int) -> None:
        self.sent.append((number, self._clock.now))
        if len(self._under_way) >= self._room:
            self._clock.now = max(self._clock.now, self._under_way[-self._room])
        while self._under_way and self._under_way[0] <= self._clock.now:
            self._under_way.popleft()
        begin = max(self._clock.now, self._free_s)
        if self._stall_from <= begin < self._stall_to:
            begin = self._stall_to
        self._free_s = self._received[number] = begin + self._service_s
        self._under_way.append(self._free_s)
        self.most_under_way = max(self.most_under_way, len(self._under_way))

    def wait(self, number: int) -> float:
        if self.first_wait_after < 0:
            self.first_wait_after = len(self.sent)
        assert number in self._received, Teach(
            saw=f"wait({number}), and the messages that were sent are {[number for number, _ in self.sent][-5:]}",
            because="a message that was never sent is never received: a real worker would let you wait for ever",
            try_="send(number) first, with the same number",
            see="starter.py, Line",
        )
        self._clock.now = max(self._clock.now, self._received[number])
        return self._received[number]


def rank(values: list[float], percent: int) -> float:
    """The kit's own percentile, for the checks of other tasks."""
    return sorted(values)[math.ceil(len(values) * percent / 100) - 1]


def ms(seconds: float) -> str:
    return f"{seconds * 1000:.2f} ms"


# --- 16.1 ------------------------------------------------------------------------------------------------------------


@task("16.1")
def test_a_closed_loop_has_one_message_under_way(lab):
    """The closed loop sends 0, 1, 2, ... and each only when the one before it was received."""
    clock = Clock()
    line = SimulatedLine(clock)

    lab.closed_loop(line, 8 * TICK_S, clock)

    numbers = [number for number, _ in line.sent]
    assert (line.most_under_way, numbers) == (1, list(range(8))), Teach(
        saw=f"with a worker that takes 1/1024 s a message, in 8/1024 s it sent the numbers {numbers}, "
        f"and up to {line.most_under_way} were under way at once",
        because="a closed loop is a person who waits for the answer before asking again; and at the very moment at "
        "which the time is over, nothing is begun any more",
        try_="while clock() < end: send, wait; number the messages from 0",
        see=LOOPS,
    )


@task("16.1")
def test_a_closed_loop_counts_from_the_send_to_the_receipt(lab):
    """A latency of the closed loop is from just before the send to the receipt; nothing is unsent."""
    clock = Clock()
    line = SimulatedLine(clock, service_s=3 * TICK_S)

    measured = lab.closed_loop(line, 30 * TICK_S, clock)

    assert (measured.latencies, measured.unsent) == ([3 * TICK_S] * 10, 0), Teach(
        saw=f"with a worker that takes {ms(3 * TICK_S)} a message the latencies are "
        f"{[ms(latency) for latency in measured.latencies[:4]]}..., {measured.unsent} unsent",
        because="a message's time ends where the worker has it, which is what wait returns; a closed loop owes no "
        "message, as it plans none",
        try_="read the clock before send, and subtract that from what wait returns",
        see=LOOPS,
    )


@task("16.1")
def test_a_closed_loop_hides_a_stall(lab):
    """While the worker stands still for one second of ten, a closed loop has one slow message, and a fast p99."""
    clock = Clock()
    line = SimulatedLine(clock, stall=(4.0, 1.0))

    measured = lab.closed_loop(line, 10.0, clock)

    slow = [latency for latency in measured.latencies if latency > 2 * TICK_S]
    assert (slow, rank(measured.latencies, 99)) == ([1.0 + TICK_S], TICK_S), Teach(
        saw=f"of {len(measured.latencies)} messages {len(slow)} took longer than 2/1024 s; p99 is "
        f"{ms(rank(measured.latencies, 99))}",
        because="the stall meets the one message that is under way, and holds up the sender with it: what would have "
        "been sent meanwhile is not sent, so nobody measures it",
        try_="keep every latency, also one that looks like a mistake",
        see=LOOPS,
    )


# --- 16.2 ------------------------------------------------------------------------------------------------------------


@task("16.2")
def test_an_open_loop_keeps_its_schedule(lab):
    """Message k is sent at t0 + k / rate, also while the worker stands still, and receipts are asked for at the end."""
    clock = Clock()
    line = SimulatedLine(clock, stall=(0.25, 0.5))

    lab.open_loop(line, 128, 1.0, clock, clock.sleep)

    expected = [(number, START_S + number / 128) for number in range(128)]
    wrong = next((pair for pair in zip(line.sent, expected, strict=False) if pair[0] != pair[1]), None)
    assert (wrong, len(line.sent), line.first_wait_after) == (None, 128, 128), Teach(
        saw=f"at 128 messages/s for 1 s it sent {len(line.sent)}"
        + (f"; the first that differs has (number, time) {wrong[0]} instead of {wrong[1]}" if wrong else "")
        + f"; it asked for a receipt when {line.first_wait_after} were sent",
        because="who waits for a receipt before the next send is a closed loop again: the senders out there do not "
        "wait for each other",
        try_="sleep until the message is due, send it, go on; ask for all receipts after the last one",
        see=LOOPS,
    )


@task("16.2")
def test_a_late_sleep_does_not_move_the_schedule(lab):
    """Where each sleep is 1/1024 s too long, every message is due as before, and 1/1024 s late."""
    clock = Clock(late_s=TICK_S)
    line = SimulatedLine(clock)

    measured = lab.open_loop(line, 128, 1.0, clock, clock.sleep)

    late = [sent - (START_S + number / 128) for number, sent in line.sent]
    expected = [0.0] + [TICK_S] * 127
    assert late == expected, Teach(
        saw=f"it sent {len(line.sent)} messages; the last was {ms(late[-1])} late",
        because="a sleep is always a little too long; when the next due time is counted from the last send, these bits "
        "add up, and the rate is lower than it claims",
        try_="due = t0 + number / rate, each time from t0",
        see=LOOPS,
    )
    assert measured.latencies == [TICK_S] + [2 * TICK_S] * 127, Teach(
        saw=f"each message left {ms(TICK_S)} late and took {ms(TICK_S)}; the latencies are "
        f"{[ms(latency) for latency in measured.latencies[:3]]}...",
        because="being late is the load loop's fault, and whoever should have sent the message waited all the same",
        try_="latency = wait(number) - due",
        see=LOOPS,
    )


@task("16.2")
def test_latency_counts_from_when_a_message_was_due(lab):
    """Messages that a full queue held up are sent as soon as there is room, and count from when they were due."""
    clock = Clock()
    line = SimulatedLine(clock, stall=(0.25, 0.5), room=4)

    measured = lab.open_loop(line, 128, 1.0, clock, clock.sleep)

    # By hand: the worker is at rest except that it takes 32, 33, ... from 0.75 s on, each 1/1024 s after the other.
    end_s, expected = 0.0, []
    for number in range(128):
        begin = max(number / 128, end_s)
        end_s = (0.75 if 0.25 <= begin < 0.75 else begin) + TICK_S
        expected.append(end_s - number / 128)
    assert measured.latencies == expected, Teach(
        saw=f"with room for 4 messages and a stall of 500 ms, of {len(measured.latencies)} latencies "
        f"{sum(latency > 0.1 for latency in measured.latencies)} are over 100 ms; it should be "
        f"{sum(latency > 0.1 for latency in expected)} of {len(expected)}",
        because="a full queue stops the sender, too: counted from the send, all that could not even be sent looks fast",
        try_="latency = wait(number) - due; and no sleep for a message that is late already",
        see=LOOPS,
    )
    assert measured.unsent == 0, Teach(
        saw=f"all 128 were sent, and {measured.unsent} are called unsent",
        because="unsent are those that were due and never sent",
        try_="planned - sent",
        see=FIGURES,
    )


@task("16.2")
def test_what_is_not_sent_in_time_is_counted_as_unsent(lab):
    """When the time is over the loop stops; what was due by then and not sent is `unsent`."""
    clock = Clock()
    # The worker stands still to the very end of the second: send number 36 comes back exactly then.
    line = SimulatedLine(clock, stall=(0.25, 0.75 - TICK_S), room=4)

    measured = lab.open_loop(line, 128, 1.0, clock, clock.sleep)

    assert (len(measured.latencies), measured.unsent) == (37, 91), Teach(
        saw=f"of 128 messages that were due it sent {len(line.sent)}; it gives {len(measured.latencies)} latencies and "
        f"{measured.unsent} unsent, and it should be 37 and 91",
        because="32 left in time, 4 filled the queue, and one waited in send until the time was over: the others were "
        "due and never sent, and a measurement that forgets them forgets those that waited longest",
        try_="look at the clock before each send: is the duration over? then leave the loop",
        see=FIGURES,
    )


@task("16.2")
@limit(20)
def test_for_real_the_open_loop_sees_what_the_closed_one_hides(lab):
    """Of a real worker that is stopped for 0.3 s the open loop's p90 tells, and the closed one's does not."""
    found = {}
    for name in ("closed", "open"):
        with lab.QueueLine() as line, lab.stalled(line.worker, 0.1, 0.3):
            found[name] = lab.closed_loop(line, 0.5) if name == "closed" else lab.open_loop(line, 4000, 0.5)

    closed, opened = (rank(found[name].latencies, 90) for name in ("closed", "open"))
    assert closed < 0.1 < opened, Teach(
        saw=f"the worker stood still for 300 ms of 500: p90 is {ms(closed)} in the closed loop "
        f"({len(found['closed'].latencies)} messages), {ms(opened)} in the open one ({len(found['open'].latencies)})",
        because="the closed loop met the stall with one message; in the open one three of five were due while "
        "nothing moved, and each waited for the rest of the stall",
        try_="run both by hand: python lab.py closed, python lab.py open",
        see=LOOPS,
    )


# --- 16.3 ------------------------------------------------------------------------------------------------------------


@task("16.3")
def test_a_percentile_is_one_of_the_values(lab):
    """Of 1 to 1000, p50 is 500, p99 is 990 and p100 is 1000: the nearest rank, in whatever order the values come."""
    values = [float((number * 37) % 1000 + 1) for number in range(1000)]
    before = list(values)

    found = [lab.percentile(values, percent) for percent in (1, 50, 90, 99, 100)]

    assert found == [10.0, 500.0, 900.0, 990.0, 1000.0], Teach(
        saw=f"of the numbers 1 to 1000 it gives p1, p50, p90, p99, p100 as {found}",
        because="p99 is the smallest value that 99 % do not exceed: the 990th of 1000 sorted ones, at index 989",
        try_="sort, take ceil(n * percent / 100) as the rank, which counts from 1",
        see=FIGURES,
    )
    assert values == before, Teach(
        saw="after the call the caller's list is in another order",
        because="list.sort changes the list itself, and in it the k-th latency was the k-th message's",
        try_="sorted(values) gives a new list",
        see=FIGURES,
    )


@task("16.3")
def test_few_values_have_percentiles_too(lab):
    """Of ten values p99 is the largest and p50 the fifth; of one value every percentile is that value."""
    ten = [float(number) for number in range(1, 11)]

    found = [lab.percentile(ten, 50), lab.percentile(ten, 51), lab.percentile(ten, 99), lab.percentile([7.0], 1)]

    assert found == [5.0, 6.0, 10.0, 7.0], Teach(
        saw=f"of 1 to 10 it gives p50 {found[0]}, p51 {found[1]}, p99 {found[2]}; of the one value 7, p1 {found[3]}",
        because="the rank is rounded up: five of ten are 50 % and not yet 51 %, and nothing less than all ten is 99 %",
        try_="math.ceil, and not int or round",
        see=FIGURES,
    )


# --- 16.4 ------------------------------------------------------------------------------------------------------------


@task("16.4")
def test_the_line_says_what_was_measured(lab):
    """`say` gives the number of messages, and p50, p90, p99 and max in ms with two decimals."""
    lab.percentile = rank
    measured = lab.Measured([number / 1000 for number in range(200, 0, -1)])

    said = lab.say(measured)

    expected = "200 sent, 0 unsent: p50 100.00 ms, p90 180.00 ms, p99 198.00 ms, max 200.00 ms"
    assert said == expected, Teach(
        saw=f"{said!r}; it should be {expected!r}",
        because="latencies are kept in seconds, and people read milliseconds",
        try_="one f-string a figure, over FIGURES",
        see="starter.py, say",
    )


@task("16.4")
def test_with_unsent_messages_every_figure_is_a_lower_bound(lab):
    """Where messages are unsent, each figure says `at least`."""
    lab.percentile = rank
    measured = lab.Measured([0.001, 0.002], unsent=1)

    said = lab.say(measured)

    expected = "2 sent, 1 unsent: " + ", ".join(
        f"{name} at least {value} ms"
        for name, value in [("p50", "1.00"), ("p90", "2.00"), ("p99", "2.00"), ("max", "2.00")]
    )
    assert said == expected, Teach(
        saw=f"{said!r}; it should be {expected!r}",
        because="the messages that would have waited longest are not among the latencies: every true figure is at "
        "least as large as the one that you can compute",
        try_="put `at least ` before each figure when measured.unsent is not 0",
        see=FIGURES,
    )


@task("16.4")
@limit(20)
def test_the_program_measures_500_messages(stage):
    """`lab.py open` sends 500 messages in a second, while its worker stands still for 0.3 s, and prints the line."""
    program = stage.run("open")
    status = program.wait(limit_s=15)

    found = re.fullmatch(r"(\d+) sent, (\d+) unsent: p50 .* ms, p90 .* ms, p99 \D*(.*) ms, max .* ms\n", program.output)
    asked, p99_ms = (int(found[1]) + int(found[2]), float(found[3])) if found else (0, 0.0)
    assert (status, asked, p99_ms > 100) == (0, 500, True), Teach(
        saw=f"it ended with status {status} and wrote {program.output!r}; on standard error {program.errors[-200:]!r}",
        because="500 messages a second are due for a second, each was sent or is unsent, and of the 150 that were due "
        "in the stall many waited longer than 100 ms; main measures with your loop, and prints what your say returns",
        try_="compare main with that of starter.py, and your line with the example in say",
        see="starter.py, main",
    )


# --- 16.5 ------------------------------------------------------------------------------------------------------------


@task("16.5")
def test_percentiles_are_asked_of_all_messages_at_once(lab):
    """`merge` keeps the latency of every message: a percentile of all is not the mean of percentiles."""
    quiet = [lab.Measured([0.001] * 1000) for _ in range(9)]
    stalled = lab.Measured([0.001] * 500 + [1.0] * 500)

    merged = lab.merge([*quiet, stalled])

    mean_ms = sum(rank(run.latencies, 99) for run in [*quiet, stalled]) / 10 * 1000
    assert (len(merged.latencies), rank(merged.latencies, 99)) == (10_000, 1.0), Teach(
        saw=f"of nine quiet runs and a stalled one, 10000 messages, {len(merged.latencies)} are left, with p99 "
        f"{ms(rank(merged.latencies, 99))}; the mean of the ten p99s is {mean_ms:.2f} ms",
        because="5 % of all messages took a second, so p99 of all is a second; a mean of percentiles is a time that no "
        "message ever took",
        try_="put the latencies of all runs into one list",
        see=FIGURES,
    )


@task("16.5")
def test_unsent_messages_stay_unsent_when_merged(lab):
    """`merge` adds up what the runs did not send."""
    merged = lab.merge([lab.Measured([0.25], unsent=3), lab.Measured([0.5]), lab.Measured([], unsent=4)])

    assert (sorted(merged.latencies), merged.unsent) == ([0.25, 0.5], 7), Teach(
        saw=f"3, 0 and 4 messages were unsent, and the merged runs have {merged.unsent}; latencies {merged.latencies}",
        because="a lower bound does not become exact by adding runs to it",
        try_="sum the unsent of all runs",
        see=FIGURES,
    )
