"""The handler sets the flag alone, so that the worker may sleep on until the slow tick.

fails: test_a_signal_just_before_the_receive_leaves_nobody_asleep, test_the_timer_ticks_in_the_with_alone_and_the_handlers_stay
teaches: nothing tells msgrcv that `asked` has changed
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
import traceback
from typing import TYPE_CHECKING, Self

import sysv_ipc

if TYPE_CHECKING:
    from collections.abc import Callable

    Handle = Callable[[bytes, int], None]  # is given a message's bytes and its type
    Receive = Callable[[], tuple[bytes, int]]  # waits for a message, as queue.receive does

KEY = 0xA0A
WORK = 1
STOP = 2**31 - 1  # the type of a stop message: no type is higher, so who prefers low types takes it last
TICK_S = 1.0
QUICK_TICK_S = 0.01
PAUSE_S = 0.01
PATIENCE_S = 2.0


def open_queue(key: int, mode: int) -> sysv_ipc.MessageQueue:
    """Open the queue with this key, or create it."""
    return sysv_ipc.MessageQueue(key, sysv_ipc.IPC_CREAT, mode, max_message_size=8192)


def send_stops(queue: sysv_ipc.MessageQueue, workers: int) -> int:
    """Put an empty stop message for each worker behind the work, without waiting; returns how many had room."""
    for sent in range(workers):
        try:
            queue.send(b"", block=False, type=STOP)
        except sysv_ipc.BusyError:
            return sent
    return workers


def work_until_stop_message(queue: sysv_ipc.MessageQueue, handle: Handle, selector: int = 0) -> int:
    """Handle what `selector` selects (as msgrcv's msgtyp) until a stop message comes; returns how many were handled."""
    handled = 0
    while True:
        payload, kind = queue.receive(type=selector)
        if kind == STOP:
            return handled
        handle(payload, kind)
        handled += 1


class Stop:
    """`with Stop() as stop:` `stop.asked` becomes True when SIGTERM or SIGINT (Ctrl-C) comes, instead of what they do.

    Nothing is raised: an exception out of a handler could come between the kernel's handing over a message and this
    program's seeing it, and the message would be gone.

    A signal that comes just before msgrcv sleeps does not wake it. So a timer interrupts msgrcv (SIGALRM, which does
    nothing else) every `tick_s` seconds, and once a stop was asked for every QUICK_TICK_S, until the `with` ends.
    """

    def __init__(self, tick_s: float = TICK_S) -> None:
        self.tick_s = tick_s
        self.asked = False

    def __enter__(self) -> Self:
        """Take over the three signals, and start the timer."""
        signal.signal(signal.SIGALRM, lambda *_: None)
        signal.signal(signal.SIGTERM, self.ask)
        signal.signal(signal.SIGINT, self.ask)
        # It must run already: a signal that comes inside the call, before it sleeps, finds no Python to start it.
        signal.setitimer(signal.ITIMER_REAL, self.tick_s, self.tick_s)
        return self

    def ask(self, *_: object) -> None:
        """The signals' handler: remember it, and see to it that it is noticed soon."""
        self.asked = True

    def __exit__(self, *_: object) -> None:
        """Stop the timer. The handlers stay: a second SIGTERM must not cut short what comes after the loop."""
        signal.setitimer(signal.ITIMER_REAL, 0)


def work(receive: Receive, handle: Handle, stop: Stop) -> int:
    """Receive and handle messages until a stop is asked for; returns how many were handled.

    What was received is handled, whatever is asked meanwhile. A `receive` that a signal interrupted is made again, if
    it is to go on; other failures of `receive` rise.
    """
    handled = 0
    while not stop.asked:
        try:
            payload, kind = receive()
        except sysv_ipc.Error as error:
            # EINTR is the bare base class; its subclasses are the failures.
            if type(error) is not sysv_ipc.Error:
                raise
            continue
        handle(payload, kind)
        handled += 1
    return handled


def end_all(
    pids: list[int],
    patience_s: float,
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> list[int]:
    """Ask these children to end (SIGTERM), and kill those that still run `patience_s` seconds later (SIGKILL).

    The seconds are for all together. Returns the exit status of each, or minus the number of the signal that ended it.
    `clock` answers in seconds and never goes back; `sleep` takes seconds, PAUSE_S between two looks.
    """
    for pid in pids:
        os.kill(pid, signal.SIGTERM)
    deadline_s = clock() + patience_s
    statuses = []
    for pid in pids:
        while not has_ended(pid):
            if clock() >= deadline_s:
                os.kill(pid, signal.SIGKILL)
                break
            sleep(PAUSE_S)
        statuses.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    return statuses


def has_ended(pid: int) -> bool:
    """Whether this child has ended; its status is not collected."""
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def start(run: Callable[[], int]) -> int:
    """Do `run` in a child, which ends when `run` does, with status 1 if it raised; returns the child's pid."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            run()
            status = 0
        except Exception:  # noqa: BLE001 - told here, since os._exit would swallow it
            traceback.print_exc()
        finally:
            os._exit(status)
    return pid


def main(argv: list[str] | None = None) -> int:
    """Run workers that end by signal (pool) or by stop message (drain), or send them something; returns the status."""
    parser = argparse.ArgumentParser(description="Workers that end cleanly.")
    parser.add_argument("side", choices=["pool", "drain", "send", "stop"])
    parser.add_argument("--key", type=lambda text: int(text, 0), default=KEY)
    parser.add_argument("--mode", type=lambda text: int(text, 8), default=0o600)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--messages", type=int, default=20)
    options = parser.parse_args(argv)
    queue = open_queue(options.key, options.mode)

    def handle(payload: bytes, _: int) -> None:
        print(f"[Worker {os.getpid()}] {payload.decode()}", flush=True)
        time.sleep(0.05)

    def work_until_signal() -> int:
        with Stop() as stop:
            return work(queue.receive, handle, stop)

    if options.side == "send":
        for number in range(options.messages):
            queue.send(str(number).encode(), type=WORK)
    elif options.side == "stop":
        print(f"{send_stops(queue, options.workers)} stop messages sent")
    elif options.side == "drain":
        pids = [start(lambda: work_until_stop_message(queue, handle)) for _ in range(options.workers)]
        print(f"ended with {[os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]}")
    else:
        pids = [start(work_until_signal) for _ in range(options.workers)]
        with Stop() as stop:
            while not stop.asked:
                time.sleep(PAUSE_S)
        print(f"ended with {end_all(pids, PATIENCE_S)}, left in the queue: {queue.current_messages}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
