"""The checks of lab 11: `pytest labs/11_supervisor`.

All processes and their deaths are real. Only the clock is handed in where the supervisor's patience is looked at: a
minute passes in no time there.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import time
from pathlib import Path

import pytest
import sysv_ipc

from harness.labkit import Teach, limit, task
from harness.labkit.marks import own_network
from harness.labkit.stage import wait_until
from harness.labkit.watched import WrongAnswerError

KEY = 0o3000111
OTHER_KEY = 0x77
README = "README.md, Do"
PREDICT = "README.md, Predict"


@pytest.fixture(autouse=True)
def _no_queue_left():
    """The supervisor leaves its queue, on purpose; a check does not."""
    yield
    for key in (KEY, OTHER_KEY):
        with contextlib.suppress(sysv_ipc.ExistentialError):
            sysv_ipc.MessageQueue(key).remove()


def state_of(pid: int) -> str:
    """The process's state as /proc has it (S sleeping, T stopped, Z zombie, ...), or nothing if there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
    except OSError:
        return ""


def runs(pid: int) -> bool:
    """Whether the process lives; a zombie does not."""
    return state_of(pid) not in ("", "Z", "X")


def soon(condition, *, limit_s: float = 3.0) -> bool:
    """Whether the condition came true in time."""
    try:
        return bool(wait_until(condition, "", limit_s=limit_s))
    except WrongAnswerError:
        return False


def crew_of(program, *, size: int) -> dict[str, int]:
    """The crew when all of it was started: process ids by name, as the program's lines `NAME is PID` tell."""
    program.wait_for(rf"\Asupervisor is \d+\n(.+ is \d+\n){{{size}}}", limit_s=5)
    return newest(program)


def newest(program) -> dict[str, int]:
    """The same later: who was started last under each name."""
    lines = re.findall(r"^(proxy|worker \d+) is (\d+)$", program.output, re.MULTILINE)
    return {name: int(pid) for name, pid in lines}


def ended_child(status: int = 0) -> int:
    """A child of the check that is a zombie by now; its process id."""
    pid = os.fork()
    if pid == 0:
        os._exit(status)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    return pid


def kill_and_reap(*pids: int) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, 0)


# --- 11.1 ------------------------------------------------------------------------------------------------------------


@task("11.1")
def test_the_socket_is_bound_before_anything_else(lab, stage):
    """`launch` calls `run` with a socket that is bound to the address already, and returns what `run` returned."""
    port = stage.free_port()
    seen = []

    status = lab.launch("127.0.0.1", port, lambda sock: seen.append(sock.getsockname()) or 5)

    assert seen == [("127.0.0.1", port)], Teach(
        saw=f"`run` was called with sockets that are bound to {seen}, where 127.0.0.1:{port} was asked for",
        because="what is opened before a fork, all children have; a restarted proxy gets the same socket, with the "
        "datagrams that wait in it",
        try_="bind first, then run(sock)",
        see=README,
    )
    assert status == 5, Teach(
        saw=f"`run` returned 5, and launch returned {status}",
        because="a program's exit status is how its caller learns how it went; whoever calls in between hands it on",
        try_="return run(sock)",
        see="starter.py, launch",
    )


@task("11.1")
@limit(10)
def test_where_the_port_is_taken_nobody_is_forked(lab, stage):
    """When somebody else has the port, it says so in one line, ends with status 1, and has started nothing."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as holder:
        # As the original PHP program has it: that it could be shared does not mean that it should.
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(("127.0.0.1", 0))
        port = holder.getsockname()[1]
        ran = []
        status = lab.launch("127.0.0.1", port, lambda _sock: ran.append("run") or 0)

        assert not ran, Teach(
            saw=f"somebody else has port {port}, and launch called `run` all the same",
            because="the processes that are forked before the bind fails stay behind, and take messages from the next "
            "run; and with SO_REUSEADDR it does not even fail: two UDP sockets share the port, the last gets all",
            try_="bind a plain socket, without options, before run(sock)",
            see=README,
        )
        assert status == 1, Teach(
            saw=f"the port is taken, and launch returned {status}",
            because="status 0 says that all went well, and whoever started the program believes it",
            try_="return 1",
            see=README,
        )
        program = stage.run("--port", str(port))
        status = program.wait()
        lines = program.errors.splitlines()

    assert (status, len(lines), str(port) in program.errors) == (1, 1, True), Teach(
        saw=f"the program ended with status {status}, and wrote on standard error {program.errors[-300:]!r}",
        because="a taken port is no bug of the program: one line with the address and the reason says all, and a "
        "traceback hides it",
        try_="except OSError: print one line with the address to sys.stderr, and return 1",
        see=README,
    )


@task("11.1")
def test_an_error_of_the_crew_is_not_a_taken_port(lab, stage):
    """An OSError that `run` raises is not taken for a failure to bind."""

    def run(_sock):
        raise BlockingIOError(11, "Resource temporarily unavailable")

    caught = False
    try:
        lab.launch("127.0.0.1", stage.free_port(), run)
    except BlockingIOError:
        caught = True

    assert caught, Teach(
        saw="`run` raised an OSError (a fork that the system refuses is one), and launch told of a port",
        because="an except clause catches from everything in its try: the more stands in it, the less it knows",
        try_="let the try hold the bind alone, and call run after it",
        see="starter.py, launch",
    )


# --- 11.2 ------------------------------------------------------------------------------------------------------------


@task("11.2")
def test_one_look_finds_all_who_died(lab):
    """Five children died; one call of `reap` collects all of them, each with its status, and no zombie is left."""
    expected = {ended_child(status): status for status in (0, 1, 3, 77)}
    killed = os.fork()
    if killed == 0:
        signal.pause()
    os.setpgid(killed, killed)  # as a child may that wants to be left alone by Ctrl-C: it is a child all the same
    os.kill(killed, signal.SIGKILL)
    os.waitid(os.P_PID, killed, os.WEXITED | os.WNOWAIT)
    expected[killed] = -signal.SIGKILL

    found = lab.reap()

    zombies = [pid for pid in expected if state_of(pid) == "Z"]
    kill_and_reap(*zombies)
    assert not zombies, Teach(
        saw=f"five children had died; after reap {len(zombies)} of them are still zombies (state Z in /proc/PID/stat)",
        because="a SIGCHLD that is pending already is not counted again: one signal can stand for many deaths",
        try_="call os.waitpid(-1, os.WNOHANG) until it finds nobody",
        see=PREDICT,
    )
    assert dict(found) == expected, Teach(
        saw=f"the children ended so: {expected}; reap returned {found}",
        because="what waitpid gives is a packed number: the exit status is in its upper byte, a signal in its lower",
        try_="os.waitstatus_to_exitcode(status)",
        see="starter.py, reap",
    )


@task("11.2")
def test_the_living_are_not_waited_for(lab):
    """With a child that lives `reap` returns at once, with who is dead; with no child at all it returns nothing."""
    alone = lab.reap()

    living = os.fork()
    if living == 0:
        # It ends by itself, so that a reap that waits for it comes back and can be told.
        time.sleep(1)
        os._exit(9)
    dead = ended_child(4)
    found = lab.reap()
    waited = not runs(living)
    kill_and_reap(living)

    assert not waited, Teach(
        saw="one child was dead and one lived; reap came back when the living one had ended too",
        because="waitpid without WNOHANG sleeps until somebody dies, and a supervisor that sleeps there is deaf to "
        "everything else",
        try_="os.waitpid(-1, os.WNOHANG) gives (0, 0) when all children that are left are alive",
        see=README,
    )
    assert (alone, found) == ({}, {dead: 4}), Teach(
        saw=f"without any child reap returned {alone}; with one dead ({dead}, status 4) and one alive, {found}",
        because="waitpid tells three things apart: a pid (somebody died), 0 (children, but none dead), and "
        "ChildProcessError (no child at all)",
        try_="stop at 0 and at ChildProcessError, and return what you have by then",
        see="starter.py, reap",
    )


# --- 11.3 ------------------------------------------------------------------------------------------------------------


@task("11.3")
def test_each_delay_is_twice_the_last_up_to_the_cap(lab):
    """Short lives: 0.1 s, 0.2, 0.4, 0.8, 1.6, 3.2, and then 5 s for ever."""
    delays = []
    for _ in range(9):
        delays.append(lab.next_delay_s(delays[-1] if delays else 0.0, 0.0))

    assert delays == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0, 5.0]), Teach(
        saw=f"nine short lives in a row gave the delays {[round(delay, 3) for delay in delays]}",
        because="doubling turns a storm of restarts into a few within seconds, and the cap bounds how long a repaired "
        "cause stays unnoticed",
        try_="twice the last delay, at least FIRST_S, at most CAP_S",
        see=README,
    )


@task("11.3")
def test_a_good_life_resets_the_delay(lab):
    """Who ran for 10 s or longer starts again after 0.1 s; who ran a little less does not."""
    delays = [lab.next_delay_s(3.2, ran_s) for ran_s in (9.9, 10.0, 3600.0)]

    assert delays == pytest.approx([5.0, 0.1, 0.1]), Teach(
        saw=f"after a delay of 3.2 s, lives of 9.9, 10 and 3600 s gave the delays {delays}",
        because="a worker that dies once a day has no crash loop: without a reset its deaths add up over weeks, and "
        "then it waits the full cap for nothing",
        try_="look at ran_s first: from GOOD_S on the delay is FIRST_S",
        see=README,
    )


@task("11.3")
def test_a_crash_loop_is_many_deaths_in_little_time(lab):
    """It is a crash loop when the last three deaths lie within 60 s; older deaths do not count."""
    cases = [
        ([], False),
        ([100.0, 101.0], False),
        ([100.0, 101.0, 102.0], True),
        ([100.0, 130.0, 160.0], True),
        ([100.0, 130.0, 160.1], False),
        ([0.0, 1.0, 100.0, 161.0], False),
        ([0.0, 100.0, 101.0, 102.0], True),
    ]
    answers = [bool(lab.too_many_deaths(deaths, 3)) for deaths, _ in cases]

    wrong = [(deaths, answer) for (deaths, right), answer in zip(cases, answers, strict=True) if answer != right]
    assert not wrong, Teach(
        saw="; ".join(f"deaths at {deaths}: too many is {answer}" for deaths, answer in wrong[:3]),
        because="a crash loop is a rate: so many deaths within so much time. Their number alone grows for ever, and "
        "would end a healthy system in the end",
        try_="compare the last death with the one `most` places from the end, if there are so many",
        see=README,
    )


# --- 11.4 ------------------------------------------------------------------------------------------------------------


@task("11.4")
def test_a_child_does_its_work_and_never_comes_back(lab, capfd):
    """The child of `start` does the work and ends there: status 0 after it, 1 after an exception, with a traceback."""
    check = os.getpid()
    worked, work = os.pipe()

    def broken() -> None:
        raise ValueError("this worker is broken")

    pids = [lab.start(lambda: os.write(work, b"done") and None), lab.start(broken)]
    if os.getpid() != check:
        os._exit(0)  # it came back: its status is wrong, and this must not be a second check
    statuses = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
    os.set_blocking(worked, False)
    with contextlib.suppress(BlockingIOError):
        assert os.read(worked, 4) == b"done"

    told = "this worker is broken" in capfd.readouterr().err
    assert (statuses, told) == ([0, 1], True), Teach(
        saw=f"a child that worked and one that raised ended with {statuses}; "
        f"the exception was {'told' if told else 'told nowhere'}",
        because="after fork both go on from the same line: only os._exit keeps the child in its place, and os._exit "
        "prints nothing: an exception that nobody shows is a death without a reason",
        try_="try: work() / except BaseException: traceback.print_exc() / finally: os._exit(status)",
        see="starter.py, start",
    )


@task("11.4")
@limit(10)
def test_children_end_when_their_parent_is_killed(lab):
    """A parent with two children gets SIGKILL, and both children end."""
    told, tell = os.pipe()

    def work() -> None:
        os.write(tell, b"%d " % os.getpid())
        time.sleep(30)

    parent = os.fork()
    if parent == 0:
        try:
            for _ in range(2):
                lab.start(work)
            os.close(tell)
            signal.pause()
        finally:
            os._exit(1)
    os.close(tell)
    words = b""
    while words.count(b" ") < 2 and (more := os.read(told, 100)):
        words += more
    children = [int(word) for word in words.split()]
    kill_and_reap(parent)

    ended = soon(lambda: not any(runs(child) for child in children))

    left = [child for child in children if runs(child)]
    for child in left:
        os.kill(child, signal.SIGKILL)
    assert len(children) == 2, Teach(
        saw=f"a parent called start twice, and {len(children)} children came to their work",
        because="start returns in the parent with the child's process id; in the child it never returns",
        try_="return pid where os.fork() gave a number that is not 0",
        see="starter.py, start",
    )
    assert ended, Teach(
        saw=f"the parent was killed with SIGKILL, and {len(left)} of its 2 children ran on",
        because="nothing can be done at one's own SIGKILL, so the parent cannot take its children along: the kernel "
        "must, and does so only for a child that asked (PR_SET_PDEATHSIG)",
        try_="call end_with_parent(parent) in the child, before its work",
        see=README,
    )


@task("11.4")
def test_a_child_whose_parent_is_gone_already_ends_at_once(lab):
    """`end_with_parent` returns in a child of `parent`, and ends a process whose parent is another one by now."""
    gone = ended_child()
    kill_and_reap(gone)

    def status_of_a_child_of(parent: int) -> int:
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                lab.end_with_parent(parent)
                status = 7
            finally:
                os._exit(status)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    of_the_living, of_the_dead = [status_of_a_child_of(parent) for parent in (os.getpid(), gone)]

    assert of_the_living == 7, Teach(
        saw="a child of a living parent ended in end_with_parent",
        because="getppid gives the parent as it is now; as long as the remembered one lives, the two are equal",
        try_="end only if os.getppid() != parent",
        see="starter.py, end_with_parent",
    )
    assert of_the_dead == 1, Teach(
        saw="the parent had ended before the child called prctl, and the child "
        + ("went on" if of_the_dead == 7 else f"ended with status {of_the_dead}, where 1 was asked for"),
        because="prctl tells of deaths from then on, and this one was before. An orphan's new parent need not be "
        "process 1: it can be any subreaper above (systemd for a user, a container's init, these checks)",
        try_="after prctl, compare os.getppid() with the parent that was remembered before the fork",
        see=README,
    )


@task("11.4")
@limit(10)
def test_a_child_hears_sigterm_but_no_ctrl_c(lab):
    """A child of a parent that blocks the signals ends at SIGTERM, and not at SIGINT."""
    signal.pthread_sigmask(signal.SIG_BLOCK, lab.SIGNALS)
    ready, tell = os.pipe()

    def work() -> None:
        os.write(tell, b"r")
        time.sleep(30)

    child = lab.start(work)
    os.read(ready, 1)
    os.kill(child, signal.SIGINT)
    os.kill(child, signal.SIGTERM)
    ended = soon(lambda: not runs(child))
    if not ended:
        os.kill(child, signal.SIGKILL)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

    assert ended, Teach(
        saw="a child got SIGTERM and did not end",
        because="a child inherits the mask of blocked signals across fork (and exec too): what its parent blocks stays "
        "pending in the child for ever",
        try_="signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS) in the child",
        see="starter.py, start",
    )
    assert status == -signal.SIGTERM, Teach(
        saw=f"a child got SIGINT, then SIGTERM, and ended with status {status}",
        because="Ctrl-C goes to every process of the terminal's foreground group: in a worker it becomes a "
        "KeyboardInterrupt in the middle of a message, before the supervisor has ended anybody in order",
        try_="signal.signal(signal.SIGINT, signal.SIG_IGN) in the child, before you unblock",
        see="starter.py, start",
    )


# --- 11.5 ------------------------------------------------------------------------------------------------------------


class Child:
    """A child of the check that writes its letter when it gets SIGTERM, and its small letter when it ends."""

    def __init__(self, letter: str, to: int, *, stubborn: bool = False) -> None:
        ready, tell = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
                os.write(tell, b"r")
                if stubborn:
                    time.sleep(1.5)  # it ends by itself at last, so that waiting for it for ever can be told
                else:
                    signal.sigwait({signal.SIGTERM})
                    os.write(to, letter.encode())
                    time.sleep(0.1)  # the message in hand
                os.write(to, letter.lower().encode())
            finally:
                os._exit(0)
        os.close(tell)
        os.read(ready, 1)
        os.close(ready)

    @property
    def is_reaped(self) -> bool:
        try:
            os.waitpid(self.pid, os.WNOHANG)
        except ChildProcessError:
            return True
        return False


def letters_in(pipe: int) -> str:
    os.set_blocking(pipe, False)
    with contextlib.suppress(BlockingIOError):
        return os.read(pipe, 100).decode()
    return ""


@task("11.5")
@limit(10)
def test_the_crew_ends_one_after_the_other(lab):
    """SIGTERM to the first, which finishes what it has in hand and ends; only then SIGTERM to the next."""
    told, tell = os.pipe()
    children = [Child(letter, tell) for letter in "AB"]
    crew = [lab.Member("proxy", lambda: None, pid=children[0].pid), lab.Member("restarting", lambda: None)]
    crew.append(lab.Member("worker", lambda: None, pid=children[1].pid))

    lab.end(crew)

    left = [child.pid for child in children if not child.is_reaped]
    letters = letters_in(told)
    kill_and_reap(*left)
    assert letters == "AaBb", Teach(
        saw=f"what happened, in order (A: the first gets SIGTERM, a: it ends; B and b: the second): {letters!r}",
        because="if the workers end before the proxy, it goes on putting messages on a queue that nobody reads; and "
        "who is killed with a message in hand loses it",
        try_="for each member: SIGTERM, then wait until it has ended, then the next",
        see=README,
    )
    assert not left, Teach(
        saw=f"after end, {len(left)} of 2 children were not waited for",
        because="a dead child stays in the process table as a zombie until its parent has asked for its status",
        try_="os.waitpid(member.pid, 0) when it has ended",
        see=README,
    )


@task("11.5")
@limit(10)
def test_who_does_not_listen_is_killed(lab):
    """A child that ignores SIGTERM gets SIGKILL after the grace period, and is waited for."""
    lab.GRACE_S = 0.2
    told, tell = os.pipe()
    stubborn = Child("S", tell, stubborn=True)

    lab.end([lab.Member("worker", lambda: None, pid=stubborn.pid)])

    left, letters = not stubborn.is_reaped, letters_in(told)
    kill_and_reap(stubborn.pid)
    assert letters == "", Teach(
        saw="a child ignored SIGTERM, and end waited until it ended by itself",
        because="SIGTERM is a request, and a process that hangs does not hear it; SIGKILL and SIGSTOP alone cannot be "
        "refused. Without a limit one worker that hangs keeps the whole system from ending",
        try_="wait with a limit of GRACE_S (os.pidfd_open and select), then os.kill(pid, signal.SIGKILL)",
        see=README,
    )
    assert not left, Teach(
        saw="the child that ignored SIGTERM was left, alive or as a zombie",
        because="SIGKILL too takes a moment, and a child that it killed is a zombie until its parent waits for it",
        try_="os.waitpid(member.pid, 0) after the SIGKILL",
        see=README,
    )


# --- 11.6 ------------------------------------------------------------------------------------------------------------


class Days:
    """A clock that goes only while the supervisor sleeps, and a `wait` that moves it.

    While a start is due later, the time goes by at once. While all run, their lives last as long as `lives_s` says,
    and then the next real SIGCHLD is waited for; behind the last life somebody sends SIGTERM.
    """

    def __init__(self, lab, lives_s: list[float]) -> None:
        self.now_s = 0.5
        self.starts_s: list[float] = []
        self._lab = lab
        self._lives_s = list(lives_s)
        signal.pthread_sigmask(signal.SIG_BLOCK, lab.SIGNALS)

    def clock(self) -> float:
        return self.now_s

    def wait(self, timeout_s: float | None) -> int | None:
        if timeout_s is not None:
            self.now_s += timeout_s
            return None
        self.starts_s.append(self.now_s)
        if not self._lives_s:
            return signal.SIGTERM
        self.now_s += self._lives_s.pop(0)
        return signal.sigwait(self._lab.SIGNALS)


def live_through(lab, lives_s: list[float], **options) -> tuple[int, list[float]]:
    """The status of a supervisor whose only worker has these lives, and the pauses before each of them, in seconds."""
    days = Days(lab, lives_s)
    crew = [lab.Member("worker 0", lambda: None)]
    ended_s = [days.now_s]
    status = lab.supervise(crew, clock=days.clock, wait=days.wait, **options)
    ended_s += [start_s + life_s for start_s, life_s in zip(days.starts_s, lives_s, strict=False)]
    return status, [round(start_s - end_s, 6) for start_s, end_s in zip(days.starts_s, ended_s, strict=False)]


@task("11.6")
@limit(15)
@own_network
@pytest.mark.parametrize(
    ("options", "port", "key", "mode", "workers"),
    [
        ((), 9999, KEY, "0o600", 2),
        (("--port", "9998", "--key", hex(OTHER_KEY), "--mode", "640", "--workers", "1"), 9998, OTHER_KEY, "0o640", 1),
    ],
    ids=["plain", "options"],
)
def test_the_crew_stands_where_the_command_line_says(stage, options, port, key, mode, workers):  # noqa: PLR0917 - one case
    """The plain command is port 9999 of this machine, two workers, and a queue for nobody else; options change it."""
    program = stage.run(*options)
    crew = crew_of(program, size=1 + workers)
    program.wait_asleep(pid=crew[f"worker {workers - 1}"], limit_s=5)
    answer = stage.ask(port, b"hello")
    queue = stage.queue(key)

    program.wait_for(r"hello")
    program.signal(signal.SIGTERM)
    program.wait(limit_s=5)

    seen = (answer, program.output.count(" is ") - 1, queue and oct(queue.mode))
    assert seen == (b"OK\n", 1 + workers, mode), Teach(
        saw=f"the answer from port {port}, the number of starts, and the mode of queue 0x{key:x} are {seen}",
        because="a supervisor starts each member of its crew once, and starts again only who died",
        try_="start members whose pid is None and whose time has come; leave main as starter.py has it",
        see="starter.py, supervise",
    )


@task("11.6")
@limit(10)
def test_restarts_come_later_and_later(lab):
    """A worker that always dies at once is started again after 0.1, 0.2, 0.4 ... s; the tenth death is the last."""
    status, pauses = live_through(lab, [0.0] * 20)

    assert pauses == [0.0, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0, 5.0], Teach(
        saw=f"a worker died at once, again and again; by the supervisor's clock it was started after {pauses} s",
        because="a restart that fails in no time and is made again in no time uses a whole CPU and fills the log: with "
        "a delay that doubles, nine restarts take 21 s instead of a few milliseconds",
        try_="member.due_s = clock() + next_delay_s(...); start nobody before it is due, and let wait sleep until then",
        see=README,
    )
    assert status == 1, Teach(
        saw=f"after ten deaths within a minute the supervisor ended with status {status}",
        because="a restart cures what is over when the worker is new; what it meets again each time, a person must "
        "cure, and status 0 calls no person",
        try_="when too_many_deaths: say so on standard error, end(crew), return 1",
        see=README,
    )


@task("11.6")
@limit(10)
def test_deaths_far_apart_are_no_crash_loop(lab):
    """A worker that lives for 31 s each time is restarted after 0.1 s each time, and the supervisor goes on."""
    status, pauses = live_through(lab, [0.0, 0.0, 31.0, 31.0, 31.0, 31.0], most_deaths=4)

    assert (status, pauses) == (0, [0.0, 0.1, 0.2, 0.1, 0.1, 0.1, 0.1]), Teach(
        saw=f"two short lives, then four of 31 s each: started after {pauses} s, and the status after SIGTERM is "
        f"{status}",
        because="both measures look at time, not at the number of deaths: how long this one ran, and how close "
        "together the last deaths were",
        try_="give next_delay_s how long this life was (clock() - member.started_s), and note the time of each death",
        see=README,
    )


@task("11.6")
@limit(15)
def test_a_killed_worker_is_replaced_and_its_successor_takes_messages(stage):
    """Its only worker gets SIGKILL; a new one is started, and prints what comes in at the UDP port."""
    port = stage.free_port()
    program = stage.run("--port", str(port), "--workers", "1")
    worker = crew_of(program, size=2)["worker 0"]

    os.kill(worker, signal.SIGKILL)
    replaced = soon(lambda: newest(program)["worker 0"] != worker)

    assert replaced, Teach(
        saw=f"worker 0 (process {worker}) was killed, and nobody was started in its place; the program wrote "
        f"{program.output[-200:]!r}",
        because="the kernel tells a parent of a child's death (SIGCHLD), and does no more: a new child is the parent's "
        "decision",
        try_="after wait: reap(), and set pid to None and due_s for each member that died",
        see=README,
    )
    answers = [stage.ask(port, b"still there?")]
    program.wait_for(r"^\[worker 0\] still there\?$")

    # The proxy's other answers: the longest message, one byte more, and no room in the queue.
    queue = sysv_ipc.MessageQueue(KEY)
    answers += [stage.ask(port, b"x" * size) for size in (8192, 8193)]
    queue.max_size = 8
    answers.append(stage.ask(port, b"nine bytes"))
    assert answers == [b"OK\n", b"OK\n", b"ER\n", b"ER\n"], Teach(
        saw=f"a message, the longest, one too long and one that finds no room were answered with {answers}",
        because="the proxy says OK for what it put on the queue, and ER for what it could not put there",
        try_="leave pass_on as starter.py has it",
        see="starter.py, pass_on",
    )


@task("11.6")
@limit(15)
def test_two_deaths_and_one_signal(stage):
    """Two workers die while the supervisor is stopped: when it goes on it replaces both, and no zombie is left."""
    program = stage.run("--port", str(stage.free_port()), "--workers", "3")
    before = crew_of(program, size=4)
    program.signal(signal.SIGSTOP)
    wait_until(lambda: state_of(program.pid) == "T", "the supervisor to be stopped")
    for name in ("worker 0", "worker 2"):
        os.kill(before[name], signal.SIGKILL)
        wait_until(lambda name=name: state_of(before[name]) == "Z", f"{name} to be dead")

    program.signal(signal.SIGCONT)

    def replaced() -> int:
        return sum(newest(program)[name] != before[name] for name in ("worker 0", "worker 2"))

    def zombies() -> int:
        return sum(state_of(child) == "Z" for child in program.children)

    assert soon(lambda: replaced() == 2 and zombies() == 0), Teach(
        saw=f"two workers died together; {replaced()} of them were replaced, and {zombies()} are zombies",
        because="the two SIGCHLD became one: a signal that is pending already is not counted again, so the number of "
        "signals says nothing about the number of deaths",
        try_="after each SIGCHLD ask for all who died: reap() until nobody is left",
        see=PREDICT,
    )
    unharmed = [name for name in ("proxy", "worker 1") if newest(program)[name] == before[name]]
    assert unharmed == ["proxy", "worker 1"], Teach(
        saw=f"two workers died, and of the proxy and worker 1, which lived, only {unharmed} stayed",
        because="restarting the living loses what they have in hand",
        try_="start only members whose pid is None",
        see=README,
    )


@task("11.6")
@limit(15)
@pytest.mark.parametrize("how", ["SIGTERM", "Ctrl-C"])
def test_it_ends_its_crew_and_then_itself(stage, how):
    """SIGTERM to the supervisor, or Ctrl-C for the whole group: all end, without a traceback, and the status is 0."""
    program = stage.run("--port", str(stage.free_port()), "--workers", "1")
    crew = crew_of(program, size=2)
    program.wait_asleep(pid=crew["worker 0"], limit_s=5)

    if how == "SIGTERM":
        program.signal(signal.SIGTERM)
    else:
        os.killpg(program.pid, signal.SIGINT)
    status = program.wait(limit_s=5)

    left = [name for name, pid in crew.items() if runs(pid)]
    assert not left, Teach(
        saw=f"the supervisor ended after {how}, and {left} ran on",
        because="a supervisor's end is the end of all that it started: nobody else knows them",
        try_="end(crew) before you return",
        see=README,
    )
    assert (status, program.errors) == (0, ""), Teach(
        saw=f"after {how} it ended with status {status}, and wrote on standard error {program.errors[-300:]!r}",
        because="to be asked to end is no failure: a service manager takes any other status for a crash, and starts it "
        "again",
        try_="when wait gives SIGTERM or SIGINT: end(crew), return 0",
        see=README,
    )


@task("11.6")
@limit(15)
def test_a_crash_loop_is_reported_and_ends_everything(stage):
    """Its queue is removed (ipcrm): each new worker fails at once, until the supervisor says so, with status 1."""
    program = stage.run("--port", str(stage.free_port()), "--most-deaths", "4")
    crew = crew_of(program, size=3)
    for name in ("worker 0", "worker 1"):
        program.wait_asleep(pid=crew[name], limit_s=5)

    sysv_ipc.MessageQueue(KEY).remove()
    status = program.wait(limit_s=5)

    left = [name for name, pid in newest(program).items() if runs(pid)]
    assert (status, left) == (1, []), Teach(
        saw=f"the queue was removed, all workers failed four times; the supervisor ended with status {status}, and "
        f"{left or 'nobody'} ran on",
        because="a new worker inherits the id of the removed queue: no restart will ever help. Half a system that runs "
        "on (here a proxy without workers) hides that from everybody",
        try_="when too_many_deaths: say so on standard error, end(crew), return 1",
        see=README,
    )
    assert re.search(r"4 deaths.*60", program.errors), Teach(
        saw=f"four deaths within a minute, and the last line on standard error is {program.errors.splitlines()[-1:]}",
        because="who finds the system down reads the last lines: they should say that it gave up, and after what",
        try_='print(f"giving up: {most_deaths} deaths within {WINDOW_S:g} s", file=sys.stderr)',
        see="starter.py, supervise",
    )


@task("11.6")
@limit(15)
def test_nobody_is_left_when_the_supervisor_is_killed(stage):
    """The supervisor gets SIGKILL: its proxy and its workers end too."""
    port = stage.free_port()
    program = stage.run("--port", str(port))
    crew = crew_of(program, size=3)
    stage.ask(port, b"hello")
    for name in ("worker 0", "worker 1"):
        program.wait_asleep(pid=crew[name], limit_s=5)

    program.signal(signal.SIGKILL)
    program.wait()
    soon(lambda: not any(runs(pid) for pid in crew.values()))

    left = [name for name, pid in crew.items() if runs(pid)]
    for name in left:
        os.kill(crew[name], signal.SIGKILL)
    assert not left, Teach(
        saw=f"the supervisor was killed with SIGKILL, and {left} ran on as orphans",
        because="an orphan keeps its port and its place at the queue: the next run cannot bind, or shares its messages "
        "with workers that nobody knows of",
        try_="start each member with start(), whose child calls end_with_parent",
        see=README,
    )
