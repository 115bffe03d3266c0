r"""A supervisor keeps a crew of processes alive: the UDP proxy, and the workers behind it.

                     supervisor            binds the port, forks, waits for signals; nothing else
                    /     |     \
    udp ----> proxy   worker 0   worker 1
                |         ^          ^
              msgsnd    msgrcv     msgrcv
                '--> queue 0xc0049 --'

How the supervisor learns of deaths and of SIGTERM: it blocks the signals and takes them one by one with sigtimedwait.
It does nothing but wait for them, so this is the plainest way that is right: no handler runs, no call is interrupted,
and a signal that comes while it is busy stays pending until it asks. A loop that must watch sockets as well would need
signal.set_wakeup_fd, or a pidfd a child, in its select.

Run `python lab.py`, send with `nc -u 127.0.0.1 9999`, and kill whom you like: it prints who is who.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import select
import signal
import socket
import sys
import time
import traceback
from collections import deque
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import sysv_ipc

from harness.labkit import todo

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

KEY = 0o3000111  # 0xc0049, the key of the original
MOST_BYTES = 8192
FIRST_S = 0.1  # the first restart comes after this many seconds, each further one after twice as long,
CAP_S = 5.0  # but none later than this
GOOD_S = 10.0  # who ran so long had a good life: its next restart is a first one again
MOST_DEATHS = 10  # so many deaths, of whomever,
WINDOW_S = 60.0  # within so many seconds are a crash loop
GRACE_S = 1.0  # from SIGTERM to SIGKILL
SLOW_TICK_S = 1.0  # how often a sleeping worker is woken anyway, to look whether it was asked to end
TICK_S = 0.05  # how often a worker that was asked to end is woken, until it has seen it
SIGNALS = {signal.SIGCHLD, signal.SIGTERM, signal.SIGINT}
PR_SET_PDEATHSIG = 1  # prctl(2)


@dataclass
class Member:
    """One process of the crew: its name, what it does, and how it fares; times are in seconds."""

    name: str
    work: Callable[[], None]
    pid: int | None = None  # None while it is not running
    started_s: float = 0.0
    delay_s: float = 0.0  # how long its last restart was put off
    due_s: float = 0.0  # when it may start


# --- before the first fork -------------------------------------------------------------------------------------------


def launch(bind: str, port: int, run: Callable[[socket.socket], int]) -> int:
    """Bind the UDP port, and only then call `run` with the socket; returns run's exit status.

    If the port cannot be had: one line on standard error with the address and the reason, status 1, and no `run`.
    """
    todo("11.1 bind, and call run only if that went well")


# --- deaths ----------------------------------------------------------------------------------------------------------


def reap() -> dict[int, int]:
    """Collect every child that has died by now, and wait for none: {pid: exit status}, minus the signal if killed."""
    todo("11.2 collect all who have died, and wait for none")


def next_delay_s(last_delay_s: float, ran_s: float) -> float:
    """How long to wait before a member that died is started again.

    `last_delay_s`: how long it was put off the last time, 0 if never; `ran_s`: how long it lived since.
    """
    todo("11.3 twice the last delay, within bounds, and from the start again after a good life")


def too_many_deaths(deaths_s: Sequence[float], most: int) -> bool:
    """Whether the last `most` of these deaths (when they were, oldest first) lie within WINDOW_S of each other."""
    todo("11.3 look how close together the last deaths were")


# --- children --------------------------------------------------------------------------------------------------------


def end_with_parent(parent: int) -> None:
    """Let the kernel kill this process when its parent ends; end now, with status 1, if `parent` has ended already."""
    todo("11.4 ask for the signal, then look whether the parent is still there")


def start(work: Callable[[], None]) -> int:
    """Fork a child that does `work` and never comes back: its status is 0 at the end, 1 after a traceback.

    It dies with its parent; SIGTERM reaches it; SIGINT does not, as on Ctrl-C it is the supervisor that ends its crew.
    Returns the child's process id.
    """
    todo("11.4 fork a child that works, ends there, and dies with its parent")


def end(crew: list[Member]) -> None:
    """End the crew in its order, each before the next is told: SIGTERM, and SIGKILL to who still runs after GRACE_S.

    Nobody is a zombie afterwards.
    """
    todo("11.5 SIGTERM, wait with a limit, SIGKILL, and no zombie: one after the other")


# --- the supervisor --------------------------------------------------------------------------------------------------


def wait_for_signal(timeout_s: float | None) -> int | None:
    """Sleep until one of SIGNALS, which are blocked, has come: its number. None if `timeout_s` went by before."""
    if timeout_s is None:
        return signal.sigwait(SIGNALS)
    found = signal.sigtimedwait(SIGNALS, timeout_s)
    return found.si_signo if found else None


def supervise(
    crew: list[Member],
    *,
    most_deaths: int = MOST_DEATHS,
    clock: Callable[[], float] = time.monotonic,
    wait: Callable[[float | None], int | None] = wait_for_signal,
) -> int:
    """Keep the crew running until SIGTERM or SIGINT (status 0), or a crash loop (status 1); then all have ended.

    Who dies is started again after its delay; each start prints `NAME is PID`. A crash loop is told on standard error,
    as `giving up: 10 deaths within 60 s`. `clock` gives seconds; `wait(timeout_s)` is the only thing that sleeps: until
    the next start is due, or with None while everybody runs.
    """
    todo("11.6 start who is due, wait, collect the dead, and know when to stop")


# --- the crew, as earlier labs made it -------------------------------------------------------------------------------


def pass_on(sock: socket.socket, queue: sysv_ipc.MessageQueue) -> None:
    """The proxy: each datagram becomes a message; its sender is told OK, or ER if it cannot be put there."""
    while True:
        datagram, sender = sock.recvfrom(MOST_BYTES + 1)  # one more, or a longer datagram would be cut in silence
        try:
            queue.send(datagram, block=False)
            answer = b"OK\n"
        except sysv_ipc.BusyError:  # no room in the queue
            answer = b"ER\n"
        except ValueError:  # more than max_message_size
            answer = b"ER\n"
        sock.sendto(answer, sender)


def consume(name: str, queue: sysv_ipc.MessageQueue) -> None:
    """A worker: prints each message, until SIGTERM; a message in hand is finished first."""
    asked = []

    def take_note(number: int, _frame: object) -> None:
        # It must not raise, or the message in hand is lost. The timer wakes a msgrcv that began after the loop's look.
        asked.append(number)
        signal.setitimer(signal.ITIMER_REAL, TICK_S, TICK_S)

    signal.signal(signal.SIGALRM, lambda *_: None)
    signal.signal(signal.SIGTERM, take_note)
    signal.setitimer(signal.ITIMER_REAL, SLOW_TICK_S, SLOW_TICK_S)  # lab 10 tells why one must run already
    while not asked:
        try:
            data, _ = queue.receive()
        except sysv_ipc.Error as error:
            if type(error) is not sysv_ipc.Error:  # the bare class is EINTR: look at `asked`, and go on
                raise
        else:
            print(f"[{name}] {data.decode(errors='replace')}", flush=True)


def main(argv: list[str] | None = None) -> int:
    """Run the proxy and its workers under a supervisor; returns the exit status."""
    parser = argparse.ArgumentParser(description="A UDP proxy and its workers, kept alive.")
    parser.add_argument("--bind", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=9999)
    parser.add_argument("--key", type=lambda text: int(text, 0), default=KEY)
    parser.add_argument("--mode", type=lambda text: int(text, 8), default=0o600)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--most-deaths", type=int, default=MOST_DEATHS, help="so many a minute are a crash loop")
    options = parser.parse_args(argv)
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)

    def run(sock: socket.socket) -> int:
        print(f"supervisor is {os.getpid()}", flush=True)
        queue = sysv_ipc.MessageQueue(options.key, sysv_ipc.IPC_CREAT, options.mode, max_message_size=MOST_BYTES)
        # The proxy first, so that it is ended first: what lets messages in before what takes them out.
        crew = [Member("proxy", partial(pass_on, sock, queue))]
        names = [f"worker {number}" for number in range(options.workers)]
        crew += [Member(name, partial(consume, name, queue)) for name in names]
        return supervise(crew, most_deaths=options.most_deaths)

    return launch(options.bind, options.port, run)


if __name__ == "__main__":
    sys.exit(main())
