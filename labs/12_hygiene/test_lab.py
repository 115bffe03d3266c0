"""The checks of lab 12: `pytest labs/12_hygiene`.

Queues, their users and the kernel's refusals are real. Root does not notice a mode: so checks run without its rights.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from pathlib import Path

import pytest
import sysv_ipc

from harness.labkit import Teach, limit, task
from harness.labkit.ground import BYSTANDER_KEY, CannotStageError
from harness.labkit.stage import wait_until
from harness.sysv import QueueStat, asleep_in, probe, queues

KEY, OTHER_KEY = 0o3000111, 12340
README = "README.md, Do"
PREDICT = "README.md, Predict"


@pytest.fixture
def make():
    """`make(key, mode)` makes a queue, which is removed at the end if it is still there."""
    made = []

    def make_one(key: int, mode: int = 0o600) -> sysv_ipc.MessageQueue:
        made.append(sysv_ipc.MessageQueue(key, sysv_ipc.IPC_CREX, mode))
        return made[-1]

    yield make_one
    for queue in made:
        with contextlib.suppress(sysv_ipc.ExistentialError, OSError):
            queue.remove()


def listed(key: int) -> QueueStat | None:
    return next((queue for queue in queues() if queue.key == key), None)


def is_refused(call) -> bool:
    """Whether the kernel answers EACCES or EPERM; other answers (no message, no room) come after that question."""
    try:
        call()
    except sysv_ipc.PermissionsError:
        return True
    except sysv_ipc.BusyError:
        return False
    return False


def in_a_child(work) -> int:
    """Do it in a process that has ended, and is no zombie, when this returns; its process id."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
    return pid


# --- 12.1 ------------------------------------------------------------------------------------------------------------

MODES = (0o600, 0o644, 0o666, 0o622, 0o400, 0o200, 0o066, 0o000)
WHAT = ("send", "receive", "remove")


def allowed(answers) -> str:
    """What of send, receive and remove the answers allow, in words."""
    return ", ".join(what for what, answer in zip(WHAT, answers, strict=True) if answer) or "nothing"


def compare(lab, who: str, queue_of) -> None:
    """What is said of each mode, and then the same for real; `queue_of(mode)` gives the queue to try it with."""
    wrong = []
    for mode in MODES:
        queue = queue_of(mode)
        tries = (lambda q=queue: q.send(b"x", block=False), lambda q=queue: q.receive(block=False), queue.remove)
        found = allowed(not is_refused(attempt) for attempt in tries)
        predicted = allowed(lab.may(what, mode, who) for what in WHAT)
        if predicted != found:
            wrong.append(f"of mode 0{mode:03o} you said {predicted}, and the kernel allows {found}")

    assert not wrong, Teach(
        saw=f"{who}: {'; '.join(wrong)}",
        because="the kernel picks one class (owner, or else group, or else others) and looks at its three bits alone: "
        "w to send, r to receive. What other classes may is no matter; and removing goes by owner, not by mode",
        try_='rights(mode, who) has the three bits; "remove" does not look at them',
        see=PREDICT,
    )


@task("12.1")
def test_what_the_owner_may(lab, make):
    """The owner of a queue: what you say of each mode is what the kernel does."""
    compare(lab, "owner", lambda mode: make(KEY, mode))


@task("12.1")
def test_what_others_may(lab, foreign_queue):
    """Queues that belong to another user: what you say of each mode is what the kernel does."""

    def queue_of(mode: int) -> sysv_ipc.MessageQueue:
        foreign_queue(KEY + mode, mode=mode)
        return sysv_ipc.MessageQueue(KEY + mode, mode=0)

    compare(lab, "others", queue_of)


@task("12.1")
def test_the_group_and_others_have_bits_of_their_own(lab):
    """The middle bits are the group's, the last ones are others'; neither may remove."""
    table = {
        ("group", 0o640): "receive",
        ("group", 0o620): "send",
        ("group", 0o606): "nothing",
        ("others", 0o664): "receive",
        ("others", 0o662): "send",
        ("others", 0o660): "nothing",
        ("others", 0o666): "send, receive",
    }
    answers = {(who, mode): allowed(lab.may(what, mode, who) for what in WHAT) for who, mode in table}

    wrong = [
        f"0{mode:03o} for {who}: {answers[who, mode]}" for who, mode in table if answers[who, mode] != table[who, mode]
    ]
    assert not wrong, Teach(
        saw=f"you said of {'; '.join(wrong)}",
        because="0640 is three digits for three classes: owner 6, group 4, others 0; and a digit is r (4) plus w (2)",
        try_="needed = WRITE or READ; look whether rights(mode, who) has it",
        see="starter.py, rights",
    )


@task("12.1")
def test_what_is_asked_of_msgget(lab, make):
    """Opening queues of several modes, with several modes: what you say is what the kernel does."""
    wrong = []
    for mode in (0o700, 0o600, 0o640, 0o200, 0o066, 0o000):
        queue = make(KEY, mode)
        for asked in (0o000, 0o200, 0o400, 0o600, 0o004, 0o060, 0o666, 0o700):
            found = not is_refused(lambda asked=asked: sysv_ipc.MessageQueue(KEY, 0, asked))
            if bool(lab.may_open(mode, asked, "owner")) != found:
                wrong.append(f"of 0{mode:03o} asked for 0{asked:03o} the kernel says {'yes' if found else 'no'}")
        queue.remove()

    assert not wrong, Teach(
        saw=f"the owner opens a queue: {'; '.join(wrong[:4])}; and you say the opposite",
        because="msgget folds the nine bits that are asked for into three (an r anywhere is r for the caller), and "
        "refuses if one of them is not granted; who asks for nothing gets any queue, and is refused when it sends",
        try_="wanted = the three groups of bits of `asked`, or-ed; compare with rights(mode, who)",
        see=PREDICT,
    )


# --- 12.2 ------------------------------------------------------------------------------------------------------------

ME, NOW_S, SENDER, RECEIVER = 1000, 1_000_000.0, 501, 502


def stat(**changes: int) -> QueueStat:
    """A queue of mine that was used last an hour ago, by processes 501 (sender) and 502 (receiver)."""
    facts = {
        "key": KEY, "id": 7, "mode": 0o600, "uid": ME, "gid": ME, "cuid": ME, "cgid": ME, "messages": 3,
        "used_bytes": 30, "queue_bytes": 16384, "last_send_pid": SENDER, "last_receive_pid": RECEIVER,
        "last_send_time": 996_400, "last_receive_time": 996_000, "last_change_time": 990_000,
    }  # fmt: skip
    return QueueStat(**(facts | changes))


def judged(lab, queue: QueueStat, *, asleep: int = 0, living=None, began=None, now_s: float = NOW_S) -> str:
    """What `judge` says; `living`: when the processes that live have begun, or `began(pid)` tells it."""
    return lab.judge(
        queue,
        uid=ME,
        keys=(KEY, OTHER_KEY),
        older_than_s=3600.0,
        now_s=now_s,
        asleep=asleep,
        started_s=began or (living or {}).get,
    )


@contextlib.contextmanager
def newcomer():
    """A process that began just now and does nothing; its process id."""
    pid = os.fork()
    if pid == 0:
        try:
            signal.pause()
        finally:
            os._exit(0)
    try:
        yield pid
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


@task("12.2")
@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "mine, my key, its users have ended, used exactly as long ago as asked"),
        ({"key": OTHER_KEY}, "the same with my other key"),
        (
            {"last_send_pid": 0, "last_send_time": 0, "last_receive_pid": 0, "last_receive_time": 0},
            "never used, made long ago",
        ),
    ],
    ids=["left", "other key", "never used"],
)
def test_an_orphan(lab, changes, words):
    """A queue of one's own that nobody uses any more is an orphan."""
    reason = judged(lab, stat(**changes))

    assert reason == "", Teach(
        saw=f"a queue ({words}) is kept: {reason!r}",
        because="a queue outlives the processes that use it, and nobody but its owner will ever remove it",
        try_='return "" when no reason to keep it is left; a time of 0 means never',
        see=README,
    )


YOUNG = 996_401  # 3599 s ago


REASONS = {
    "owner": "its owner is somebody else: what is in it is theirs",
    "creator": "somebody else made it, and may count on it, whoever owns it now",
    "key": "the user is one, the programs are many: a key that is not known to be yours is another program's",
    "asleep": "who sleeps on a queue that is removed is woken with EIDRM; an idle worker may have slept there for "
    "weeks, and is in no other field",
    "sender": "the last sender lives, and may send again",
    "receiver": "the last receiver lives: a worker that works on its message sleeps on no queue",
    "only received": "that nobody has sent since it was made says nothing of who receives",
    "one reused": "a new process with the sender's number does not make the receiver dead",
    "slack": "a time of the queue is a whole second, cut: a process that began up to SLACK_S later may still be the "
    "one that used it",
    "unseen": "a process id of 0 beside a time means a process outside this pid namespace (a container, say): nobody "
    "here can know whether it lives",
    "sent": "it was used a moment ago: between two commands of a script nobody is there, and yet the queue is in use",
    "received": "it was used a moment ago: receiving is use, too",
    "made": "it was made or changed a moment ago, and its users may not have come yet",
}


@task("12.2")
@pytest.mark.parametrize(
    ("name", "changes", "living", "said"),
    [
        ("owner", {"uid": 0}, {}, "uid 0"),
        ("creator", {"cuid": 33}, {}, "uid 33"),
        ("key", {"key": BYSTANDER_KEY}, {}, "key"),
        ("asleep", {}, {}, "2 asleep"),
        ("sender", {}, {SENDER: 900_000.0}, "501"),
        ("receiver", {}, {RECEIVER: 900_000.0}, "502"),
        ("only received", {"last_send_pid": 0, "last_send_time": 0}, {RECEIVER: 900_000.0}, "502"),
        ("one reused", {}, {RECEIVER: 996_000.0, SENDER: 996_500.0}, "lives"),
        ("slack", {}, {SENDER: 996_402.0}, "501"),
        ("unseen", {"last_receive_pid": 0}, {}, "seen"),
        ("sent", {"last_send_time": YOUNG}, {}, "3599 s"),
        ("received", {"last_receive_time": YOUNG}, {}, "3599 s"),
        ("made", {"last_change_time": YOUNG}, {}, "3599 s"),
    ],
    ids=list(REASONS),
)
def test_a_reason_to_keep_it(lab, name, changes, living, said):
    """One reason is enough to keep a queue, and it is told."""
    asleep = 2 if name == "asleep" else 0
    reason = judged(lab, stat(**changes), asleep=asleep, living=living)

    assert reason != "", Teach(
        saw=f"a queue with {changes or 'nothing special'}, {asleep} asleep on it, living processes {living or 'none'}: "
        "judged an orphan",
        because=REASONS[name],
        try_="one `if` for each reason, and the first that holds is returned",
        see=README,
    )
    assert said in reason, Teach(
        saw=f"it is kept for the reason {reason!r}, which does not say {said!r}",
        because="who reads that a queue was kept wants to know whom to ask: a uid, a process, a number of seconds",
        try_="put the number that decided into the text",
        see="starter.py, judge",
    )


@task("12.2")
def test_a_number_that_was_given_to_another_process(lab):
    """The process with the last user's number began long after the use: it is another one, and no reason."""
    reasons = [judged(lab, stat(), living={SENDER: 996_402.5}), judged(lab, stat(), living={RECEIVER: 998_000.0})]
    # And a real newcomer, whose number is in a queue that was used a hundred seconds before it began.
    with newcomer() as pid:
        used_s = int(time.time()) - 100
        queue = stat(last_send_pid=pid, last_send_time=used_s, last_receive_time=0, last_receive_pid=0)
        reasons.append(judged(lab, queue, began=lab.started_s, now_s=used_s + 3600.0))

    assert reasons == ["", "", ""], Teach(
        saw=f"the last user's process id belongs to a process that began after the use; the queue is kept: {reasons}",
        because="process ids are used again, from the beginning when the largest is reached; and then a queue whose "
        "user died long ago looks used for as long as the newcomer lives",
        try_="compare started_s(pid) with the time of the use, plus SLACK_S",
        see=README,
    )


# --- 12.3 ------------------------------------------------------------------------------------------------------------


@task("12.3")
def test_it_removes_this_queue_and_no_other(lab, make):
    """`remove_exactly` removes the queue that was looked at; one that has its key by now stays."""
    first = make(KEY)
    seen = listed(KEY)
    first.remove()
    gone = lab.remove_exactly(seen)
    make(KEY)

    taken = lab.remove_exactly(seen)

    assert listed(KEY) is not None, Teach(
        saw="a queue was judged; before it was removed somebody made a new one with its key, and the new one is gone",
        because="between the look and the deed there is time. A key says where to meet, an id says which queue: each "
        "queue gets a new one",
        try_="open by key, and remove only if its id is the one that was judged",
        see=README,
    )
    assert (gone, taken) == (False, False), Teach(
        saw=f"of a queue that was gone remove_exactly said {gone}, and of one with a successor {taken}",
        because="somebody else was faster; that is no error, but it is not your deed either",
        try_="return False; catch sysv_ipc.ExistentialError",
        see="starter.py, remove_exactly",
    )
    mode_0 = make(OTHER_KEY, 0)
    removed = lab.remove_exactly(listed(OTHER_KEY))
    assert (removed, listed(OTHER_KEY)) == (True, None), Teach(
        saw=f"one's own queue of mode 0 (id {mode_0.id}): remove_exactly returned {removed}; it is "
        f"{'gone' if listed(OTHER_KEY) is None else 'still there'}",
        because="the owner may remove a queue whatever its mode; but msgget refuses who asks for rights that the mode "
        "does not grant, and sysv_ipc asks for 0600 unless told otherwise",
        try_="sysv_ipc.MessageQueue(key, mode=0) asks for nothing; return True after remove()",
        see=PREDICT,
    )


def orphan(make, key: int) -> sysv_ipc.MessageQueue:
    """A queue with a message in it, whose only user has ended."""
    queue = make(key)
    in_a_child(lambda: queue.send(b"left behind"))
    return queue


@task("12.3")
@limit(10)
def test_without_remove_it_only_tells(stage, make):
    """`clean` says of each queue what would be done and why, the bystander included, and removes nothing."""
    orphan(make, KEY)

    program = stage.run("clean", "--older-than", "0")
    status = program.wait()

    assert listed(KEY) is not None, Teach(
        saw="`clean` without --remove has removed a queue",
        because="what is removed cannot be had back, and a first run shows mostly what one did not expect",
        try_="remove only if `remove` is true",
        see=README,
    )
    lines = sorted(program.output.splitlines())
    id_, theirs = listed(KEY).id, listed(BYSTANDER_KEY).id
    expected = [
        f"0x{KEY:08x} id {id_}, 1 messages: orphan, would be removed",
        f"0x{BYSTANDER_KEY:08x} id {theirs}, 1 messages: kept: ",
    ]
    right = [line.startswith(start) for line, start in zip(lines, expected, strict=False)]
    assert (status, len(lines), right) == (0, 2, [True, True]), Teach(
        saw=f"with an orphan and somebody else's queue, `clean` ended with status {status} and wrote {lines}",
        because="a janitor who is silent about what it left is trusted in vain: each queue has its line and its reason",
        try_="one line for every queue of queues(), kept or not, in the form of clean's docstring",
        see="starter.py, clean",
    )


@task("12.3")
@limit(10)
def test_it_removes_orphans_and_nothing_else(stage, make):
    """With --remove an orphan goes; a queue that is slept on, or whose last user lives, and all other keys stay."""
    orphan(make, KEY)
    slept_on = orphan(make, OTHER_KEY)
    used = make(0x77)
    used.send(b"I live")
    orphan(make, 0x78)
    sleeper = os.fork()
    if sleeper == 0:
        try:
            slept_on.receive(type=5)
        finally:
            os._exit(0)
    wait_until(lambda: asleep_in(sleeper), "the receiver to sleep in msgrcv")

    keys = [hex(key) for key in (KEY, OTHER_KEY, 0x77)]
    program = stage.run("clean", "--older-than", "0", "--remove", "--keys", *keys)
    program.wait()

    left = sorted(queue.key for queue in queues())
    os.kill(sleeper, signal.SIGKILL)
    os.waitpid(sleeper, 0)
    assert left == sorted([OTHER_KEY, 0x77, 0x78, BYSTANDER_KEY]), Teach(
        saw=f"an orphan (0x{KEY:x}), a queue that is slept on (0x{OTHER_KEY:x}), one whose sender lives (0x77), and "
        f"two with other keys; left are {[hex(key) for key in left]}; it wrote {program.output!r}",
        because="a queue that was removed by mistake is messages lost and workers that die of EIDRM; one that was kept "
        "by mistake is a line in a list",
        try_="hand judge what is true of this queue: asleep_on(queue.id), started_s, time.time(), os.geteuid()",
        see=README,
    )
    told = [line for line in program.output.splitlines() if line.endswith("orphan, removed")]
    assert len(told) == 1 and "1 asleep" in program.output, Teach(  # noqa: PT018 - one thing: it tells what is so
        saw=f"one queue was removed, one is slept on by one process; it wrote {program.output!r}",
        because="the list is all that is known of a removed queue afterwards: it tells what was done",
        try_='"orphan, removed" if remove_exactly(queue) said so, else "gone by now"',
        see="starter.py, clean",
    )


@task("12.3")
@limit(10)
def test_by_default_what_was_used_just_now_stays(stage, make):
    """Without --older-than ten minutes without use are asked for; without --keys those of the original are known."""
    for key in (KEY, OTHER_KEY):
        orphan(make, key)

    program = stage.run("clean", "--remove")
    program.wait()

    left = sorted(queue.key for queue in queues())
    assert left == sorted([KEY, OTHER_KEY, BYSTANDER_KEY]), Teach(
        saw=f"two queues were used a second ago; left are {[hex(key) for key in left]}",
        because="a system that is being started, or restarted, has queues and for a moment nobody at them",
        try_="hand older_than_s and time.time() to judge",
        see=README,
    )
    assert program.output.count(" s ago") == 2, Teach(
        saw=f"two queues with known keys were used a second ago; it wrote {program.output!r}",
        because="a queue's times are seconds since the epoch, as time.time() gives them; a reason with a number lets "
        "the reader see when to come back",
        try_="leave main as starter.py has it, and hand `keys` on to judge",
        see="starter.py, main",
    )


@task("12.3")
@limit(10)
def test_somebody_elses_queue_stays(lab, foreign_queue):
    """Another user's queue, with a key of yours and open to all (0666), is told and left."""
    foreign_queue(KEY, mode=0o666, payloads=[b"theirs"])

    lines = lab.clean([KEY], 0.0, remove=True)

    queue = listed(KEY)
    assert queue is not None and queue.messages == 1, Teach(  # noqa: PT018 - one thing: it is as it was
        saw=f"another user's queue had one message; now it is {queue}",
        because="that everybody may send and receive makes a queue shared, not yours",
        try_="judge by uid first",
        see=README,
    )
    assert any(f"uid {queue.uid}" in line for line in lines), Teach(
        saw=f"another user's queue has your key; clean told {lines}",
        because="that is a find: two programs of two users meet on one key, and one of them will get EACCES",
        try_="a line for each queue, with its owner's uid in the reason",
        see="starter.py, judge",
    )


# --- 12.4 ------------------------------------------------------------------------------------------------------------

MAKE_A_QUEUE = (
    "import sysv_ipc, sys; from harness.sysv import queues; "
    "print(len(queues()), flush=True); sysv_ipc.MessageQueue(786505, sysv_ipc.IPC_CREX); sys.exit(7)"
)


@pytest.fixture
def rooms():
    """Skips where this machine lets nobody have an IPC namespace of one's own."""
    support = probe()
    if not support.available:
        raise CannotStageError(f"no IPC namespace of one's own: {support.why}")


@task("12.4")
@limit(15)
@pytest.mark.usefixtures("rooms")
def test_a_room_is_empty_and_vanishes(lab, make, capfd):
    """A program in a room sees no queue of ours, and may make one with our key, twice; none of it is seen here."""
    mine = make(KEY)

    statuses = [lab.room([sys.executable, "-c", MAKE_A_QUEUE]) for _ in range(2)]

    seen = capfd.readouterr().out.split()
    assert statuses == [7, 7], Teach(
        saw=f"a program made a queue with IPC_CREX and ended with status 7, twice; room returned {statuses}",
        because="in one namespace a key is free only once: EEXIST. Each room has its own list, which the kernel "
        "removes with the room's last process",
        try_="fork; in the child enter_private(), then os.execvp; in the parent waitpid and its exit status",
        see=README,
    )
    assert seen == ["0", "0"], Teach(
        saw=f"in its room the program saw {seen} queues",
        because="a namespace begins empty; who sees our queues is still in ours",
        try_="enter_private() in the child, before os.execvp",
        see=README,
    )
    here = listed(KEY)
    assert here is not None and here.id == mine.id, Teach(  # noqa: PT018 - one thing: our queue
        saw="after room had returned, the caller's own queue was not to be seen any more",
        because="unshare moves the process that calls it, and there is no way back but one's end",
        try_="enter the room in a child that you fork for it",
        see=README,
    )


@task("12.4")
@limit(15)
@pytest.mark.usefixtures("rooms")
def test_the_status_of_a_room(lab, stage):
    """The program's exit status is passed on, also that of a killed one; 127 and a line for one that is not there."""
    program = stage.run("room", "sh", "-c", "exit $0", "5")
    nobody = stage.run("room", "no-such-program", "with", "words")
    before = Path("/proc/self/ns/ipc").readlink()
    killed = lab.room(["sh", "-c", "kill -9 $$"])
    after = Path("/proc/self/ns/ipc").readlink()
    statuses = [program.wait(limit_s=5), nobody.wait(limit_s=5), killed]

    assert statuses == [5, 127, -9], Teach(
        saw=f"exit 5, a program that is not there, and one killed by SIGKILL gave the statuses {statuses}",
        because="whoever runs a program through another wants to know how it ended; 127 is the shells' number for "
        "'no such program'",
        try_="os.waitstatus_to_exitcode; in the child os._exit(127) in a finally",
        see="starter.py, room",
    )
    assert after == before, Teach(
        saw=f"the caller of room was in {before} before it, and is in {after} after it",
        because="unshare moves the process that calls it, and there is no way back but one's end",
        try_="enter the room in a child that you fork for it",
        see=README,
    )
    assert len(nobody.errors.splitlines()) == 1 and "no-such-program" in nobody.errors, Teach(  # noqa: PT018 - one line
        saw=f"for a program that is not there, standard error had {nobody.errors!r}",
        because="a status alone does not say what was missing, and a traceback hides it",
        try_="except OSError in the child: print one line with the program's name",
        see="starter.py, room",
    )
