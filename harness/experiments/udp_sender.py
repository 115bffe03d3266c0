"""The process that sends the requests of a load through a proxy, and takes the replies.

    follower (udp.py)  --stdin: one pickled Order-->  sender        both map the board (udp_board.py)
                       --the board's STOP word----->

It is a program of its own, `python -m harness.experiments.udp_sender`, so that neither a display nor a collection of
garbage holds up a send. It has one thread and one loop: send what is due, wait until the next is due or a reply comes,
take the replies. It goes with its parent (PR_SET_PDEATHSIG), and with it all its sockets.

A reply carries no id. So one request at a time is under way on each source socket, and a reply belongs to the request
that its socket sent last. If none comes in time, that source port is given up for requests: its socket is kept only to
hear a late reply, and a fresh one, on another port, takes its place. A port that was given up is not used again, nor in
a repeat of the run, so that no late reply can be taken for that of another request.

Pipelined there is no such rule, and no time either: requests go out when they are due, and replies are only counted.
"""

from __future__ import annotations

import ctypes
import gc
import os
import pickle
import resource
import select
import signal
import socket
import struct
import sys
import time
from collections import deque
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

from harness.experiments.plan import CATCH_UP_NS
from harness.experiments.processes import PR_SET_PDEATHSIG
from harness.experiments.udp_board import END_NOW, REPLY_BYTES, Phase, UdpBoard, Word
from harness.measure.histogram import bucket_of
from harness.measure.pacing import NS_PER_S

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.experiments.udp_plan import UdpPlan

REPLIES = {b"OK\n": Word.OK, b"ER\n": Word.ER}
STOP, SENT, HELD_BACK, OK, ER, OTHER, OK_IN_WINDOW = (
    Word.STOP, Word.SENT, Word.HELD_BACK, Word.OK, Word.ER, Word.OTHER, Word.OK_IN_WINDOW
)  # fmt: skip
"""What every request needs, by a name: as an attribute of the enumeration each would take 100 ns on Python 3.11."""
LEAD_NS = 20_000_000
"""From the order to the first due request."""
SLICE_NS = 20_000_000
"""The longest wait, so that the stop flag is seen."""
LOOK_NS = 1_000_000
"""How often it looks for replies that did not come in time."""
MOST_DRAIN_NS = 30_000_000_000
"""So long the rest is waited for at most, however slowly it drips in."""
MOST_GIVEN_UP = 4096
"""So many source ports are listened on for a late reply; above, the oldest is closed."""
SPARE_DESCRIPTORS = 64
"""Files that a process needs beside its sockets."""
BURST = 64
"""Pipelined, so many requests that are overdue go out before replies are taken, or our own sockets would be full."""
TRIES = 64
"""Sockets that are opened at most to find one on a port that was not given up."""
PR_SET_TIMERSLACK = 29
SO_MEMINFO = 55
DROPS = 8
"""include/uapi/linux/prctl.h, include/uapi/asm-generic/socket.h, include/uapi/linux/sock_diag.h: SK_MEMINFO_DROPS."""


@dataclass(frozen=True, slots=True)
class Order:
    """What a sender is told: the plan, where to (family and address of socket(7)), its board, and who its parent is."""

    plan: UdpPlan
    family: int
    address: tuple[Any, ...]
    board: int
    parent: int


def most_given_up(sockets: int, descriptors: int) -> int:
    """How many ports may be listened on for a late reply, with so many file descriptors; below 0: too few."""
    return min(MOST_GIVEN_UP, descriptors - sockets - SPARE_DESCRIPTORS)


class Sender:
    """The order of a run, and what both ways of sending share: the schedule, the sockets, the waiting."""

    def __init__(self, order: Order, board: UdpBoard, clock: Callable[[], int] = time.monotonic_ns) -> None:
        self._plan = plan = order.plan
        self._family, self._address = order.family, order.address
        self._board, self._words, self._clock = board, board.words, clock
        self._payloads = plan.payloads()
        self._period_ns = plan.schedule.period_ns
        self._sockets: dict[int, socket.socket] = {}
        self._spent = board.spent
        self._spent[int(order.address[1])] = 1  # the target's own port: a socket on it would talk to itself
        self._epoll = select.epoll()
        self._k = -plan.schedule.warmup(round(plan.warmup_s * NS_PER_S))
        self._t0 = self._end = self._due = 0

    def run(self) -> None:
        """Warm-up, window, catching up, draining; then every socket is closed."""
        words, clock = self._words, self._clock
        self._t0 = clock() + LEAD_NS + round(self._plan.warmup_s * NS_PER_S)
        self._end = self._t0 + self._plan.window_ns
        self._due = self._due_of(self._k)
        words[Word.T0_NS] = self._t0
        words[Word.PHASE] = Phase.SENDING
        give_up, all_of_them = self._end + CATCH_UP_NS, self._plan.due
        while (now := clock()) < give_up and self._k < all_of_them and not words[STOP]:
            self._send_due(now)
            self._take(self._due)
        words[Word.PHASE] = Phase.DRAINING
        self._drain()
        self._settle()
        for number in list(self._sockets):
            self._close(number)
        self._epoll.close()
        words[Word.PHASE] = Phase.DONE

    def _send_due(self, now: int) -> None:
        """Send what is due by `now`, as far as it may go."""
        raise NotImplementedError

    def _readable(self, number: int) -> None:
        """Take what came to this socket."""
        raise NotImplementedError

    def _drain(self) -> None:
        """Wait for the replies that are to be waited for."""
        raise NotImplementedError

    def _settle(self) -> None:
        """Count what is still open when nothing more is awaited."""
        raise NotImplementedError

    def _due_of(self, k: int) -> int:
        """When request k is due: the same sum as `measure.pacing.Schedule`."""
        return self._t0 + int(k * self._period_ns)

    def _next(self) -> None:
        self._k += 1
        self._due = self._due_of(self._k)

    def _send(self, number: int) -> bool:
        """Send the next request from this socket; False, and counted, when our own kernel does not take it."""
        words = self._words
        try:
            self._write(number)
        except OSError as error:
            words[Word.UNSENDABLE] += 1
            words[Word.ERRNO] = error.errno or 0
            return False
        words[SENT] += 1
        return True

    def _write(self, number: int) -> None:
        os.write(number, self._payloads[self._k % len(self._payloads)])

    def _take(self, until_ns: int) -> None:
        """Take the replies that are there; if there are none, wait for one until then, but not long."""
        events = self._epoll.poll(0)
        if not events:
            wait_ns = min(until_ns - self._clock(), SLICE_NS)
            if wait_ns > 0:
                # Epoll's own timeout counts in ms; that of select, on the epoll's descriptor, in us.
                select.select([self._epoll], [], [], wait_ns / NS_PER_S)
                events = self._epoll.poll(0)
        for number, _ in events:
            self._readable(number)

    def _open(self) -> int:
        """A fresh socket on a port that was not given up; raises OSError when there is none."""
        passed_over = []
        try:
            for _ in range(TRIES):
                sock = socket.socket(self._family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
                try:
                    sock.connect(self._address)  # so that the kernel tells of ICMP, and lets nobody else's replies in
                except OSError:
                    sock.close()
                    raise
                if not self._spent[sock.getsockname()[1]]:
                    self._sockets[sock.fileno()] = sock
                    self._epoll.register(sock.fileno(), select.EPOLLIN)
                    return sock.fileno()
                passed_over.append(sock)  # held until then, or the kernel would offer the same port again
            raise OSError("no source port is left that was not given up")
        finally:
            for sock in passed_over:
                sock.close()

    def _spend(self, number: int) -> None:
        """A late reply may still come to this socket's port, which therefore is not used any more."""
        self._spent[self._sockets[number].getsockname()[1]] = 1

    def _close(self, number: int) -> None:
        sock = self._sockets.pop(number)
        drops = drops_of(sock)
        self._words[Word.REPLY_DROPS if drops is not None else Word.DROPS_UNREAD] += 1 if drops is None else drops
        self._epoll.unregister(number)
        sock.close()

    def _count_reply(self, reply: bytes) -> Word:
        """Count a reply that came in time; returns as what."""
        kind = REPLIES.get(reply, OTHER)
        if kind is OTHER:
            self._board.note_other(reply)
        self._words[kind] += 1
        return kind


class OneByOne(Sender):
    """One request under way on each socket, so that each reply is known to be of one request."""

    def __init__(self, order: Order, board: UdpBoard, clock: Callable[[], int] = time.monotonic_ns) -> None:
        super().__init__(order, board, clock)
        assert order.plan.reply_timeout_s is not None, "the plan has one unless it is pipelined"
        self._timeout_ns = round(order.plan.reply_timeout_s * NS_PER_S)
        descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        self._most_given_up = most_given_up(order.plan.sockets, descriptors)
        self._free = [self._open() for _ in range(order.plan.sockets)]
        self._freed_ns = 0
        """When a socket became free after none had been."""
        self._waiting: dict[int, tuple[int, int]] = {}
        """Sockets whose reply is awaited, in the order of their sends: when the send began, and when it was due."""
        self._given_up: dict[int, None] = {}
        """Sockets that are only listened on for a late reply, the oldest first."""
        self._look_ns = 0
        self._moved_ns = 0
        """When the last reply came, in time or late."""

    def _send_due(self, now: int) -> None:
        words, free, clock = self._words, self._free, self._clock
        while self._due <= now and free and self._k < self._plan.due:
            number, due, freed = free.pop(), self._due, self._freed_ns
            started = clock()
            if self._send(number):
                self._waiting[number] = (started, due)
            else:
                free.append(number)
            if due < freed:
                words[HELD_BACK] += 1
            if self._k >= 0:
                self._board.pacing[bucket_of(started - max(due, freed))] += 1
            self._next()

    def _take(self, until_ns: int) -> None:
        now = self._clock()
        if now >= self._look_ns:
            self._expire(now)
            self._look_ns = now + LOOK_NS
        if not self._free:
            until_ns = now + SLICE_NS  # the next due time is nothing to wait for then
        super()._take(min(until_ns, self._look_ns) if self._waiting else until_ns)

    def _readable(self, number: int) -> None:
        words = self._words
        try:
            reply = os.read(number, REPLY_BYTES)
        except BlockingIOError:
            return  # its checksum was wrong (select(2), Bugs)
        except OSError as error:
            self._refused(number, error)
            return
        now = self._clock()
        asked = self._waiting.pop(number, None)
        if asked is None:
            self._unawaited(number, now)
            return
        started, due = asked
        kind = self._count_reply(reply)
        if due >= self._t0:
            if kind is OK:
                self._board.latency[bucket_of(now - due)] += 1
                self._board.service[bucket_of(now - started)] += 1
            elif kind is ER:
                self._board.refusal[bucket_of(now - due)] += 1
        if kind is OK and self._t0 <= now < self._end:
            words[OK_IN_WINDOW] += 1
        self._release(number, now)

    def _release(self, number: int, now: int) -> None:
        """The socket may send the next request."""
        if not self._free:
            self._freed_ns = now
        self._free.append(number)
        self._moved_ns = now

    def _refused(self, number: int, error: OSError) -> None:
        """Instead of a reply the network had an error, as a rule ECONNREFUSED: nobody listens there."""
        if number in self._waiting:
            del self._waiting[number]
            self._words[Word.UNREACHABLE] += 1
            self._release(number, self._clock())
        self._words[Word.ERRNO] = error.errno or 0

    def _unawaited(self, number: int, now: int) -> None:
        """A reply to a request that was given up is late; its socket has done its work. Any other is a surplus."""
        if number in self._given_up:
            self._words[Word.LATE] += 1
            self._moved_ns = now
            del self._given_up[number]
            self._close(number)
        else:
            self._words[Word.SURPLUS] += 1

    def _expire(self, now: int) -> None:
        """Give up the requests that were sent too long ago, unless their reply is there after all."""
        oldest_ns = now - self._timeout_ns
        overdue = []
        for number, (started, _) in self._waiting.items():
            if started > oldest_ns:
                break
            overdue.append(number)
        for number in overdue:
            self._readable(number)
            if number in self._waiting:
                self._give_up(number)

    def _give_up(self, number: int) -> None:
        """Count the reply as missing; a fresh socket takes this one's place."""
        del self._waiting[number]
        self._words[Word.MISSING] += 1
        self._given_up[number] = None
        if len(self._given_up) > self._most_given_up:
            [oldest] = islice(self._given_up, 1)
            del self._given_up[oldest]
            self._spend(oldest)
            self._words[Word.PORTS_GIVEN_UP] += 1
            self._close(oldest)
        try:
            fresh = self._open()
        except OSError:
            self._words[Word.SOCKETS_LOST] += 1
        else:
            self._release(fresh, self._clock())

    def _drain(self) -> None:
        """Every request gets its reply or its timeout; then late replies, until none has come for `drain_s`."""
        self._moved_ns = now = self._clock()
        drain_ns = round(self._plan.drain_s * NS_PER_S)
        latest_ns = now + self._timeout_ns + MOST_DRAIN_NS
        while self._words[STOP] < END_NOW and now < latest_ns:
            now = self._clock()
            if self._waiting:
                self._moved_ns = now
            elif not self._given_up or now - self._moved_ns >= drain_ns:
                return
            self._take(now + SLICE_NS)

    def _settle(self) -> None:
        self._words[Word.IN_FLIGHT] = len(self._waiting)
        for number in (*self._waiting, *self._given_up):
            self._spend(number)


class Pipelined(Sender):
    """Requests go out when they are due, whatever is under way; replies are only counted."""

    def __init__(self, order: Order, board: UdpBoard, clock: Callable[[], int] = time.monotonic_ns) -> None:
        super().__init__(order, board, clock)
        self._turn = deque(self._open() for _ in range(order.plan.sockets))

    def _send_due(self, now: int) -> None:
        clock, turn = self._clock, self._turn
        for _ in range(BURST):
            if self._due > now or self._k >= self._plan.due:
                return
            started = clock()
            self._send(turn[0])
            turn.rotate(-1)
            if self._k >= 0:
                self._board.pacing[bucket_of(started - self._due)] += 1
            self._next()

    def _write(self, number: int) -> None:
        try:
            super()._write(number)
        except ConnectionRefusedError:  # ICMP to an earlier request: it is told at the next call, which sends nothing
            self._words[Word.UNREACHABLE] += 1
            super()._write(number)

    def _readable(self, number: int) -> None:
        words, clock = self._words, self._clock
        try:
            while True:
                kind = self._count_reply(os.read(number, REPLY_BYTES))
                if kind is OK and self._t0 <= clock() < self._end:
                    words[OK_IN_WINDOW] += 1
        except BlockingIOError:
            return
        except OSError as error:
            words[Word.UNREACHABLE] += 1
            words[Word.ERRNO] = error.errno or 0

    def _open_requests(self) -> int:
        words = self._words
        answered = words[OK] + words[ER] + words[OTHER] + words[Word.UNREACHABLE]
        return words[SENT] - answered

    def _drain(self) -> None:
        """Until there are as many replies as requests, or nothing has come for `drain_s`."""
        drain_ns = round(self._plan.drain_s * NS_PER_S)
        moved_ns = now = self._clock()
        before, latest_ns = self._open_requests(), now + MOST_DRAIN_NS
        while before > 0 and self._words[STOP] < END_NOW and now < latest_ns:
            self._take(now + SLICE_NS)
            now, left = self._clock(), self._open_requests()
            if left != before:
                moved_ns, before = now, left
            elif now - moved_ns >= drain_ns:
                return

    def _settle(self) -> None:
        left = self._open_requests()
        self._words[Word.SURPLUS] = max(0, -left)
        for number in self._turn if left > 0 else ():
            self._spend(number)
        self._words[Word.IN_FLIGHT if self._words[STOP] else Word.MISSING] = max(0, left)


def drops_of(sock: socket.socket) -> int | None:
    """Datagrams that found this socket full; None where the kernel does not tell (before Linux 4.11)."""
    size_bytes = 4 * (DROPS + 1)
    try:
        found = sock.getsockopt(socket.SOL_SOCKET, SO_MEMINFO, size_bytes)
    except OSError:
        return None
    return int(struct.unpack(f"={DROPS + 1}I", found)[DROPS]) if len(found) == size_bytes else None


def main() -> int:
    """Carry out one order."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # Ctrl-C is the follower's business, which then sets STOP
    order: Order = pickle.load(sys.stdin.buffer)  # noqa: S301  from the process that started us
    library = ctypes.CDLL(None)
    library.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != order.parent:
        return 1  # it died before the line above
    library.prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0)  # the default lets each wait end 50 us late
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    board = UdpBoard(order.board)
    sender = Pipelined(order, board) if order.plan.pipelined else OneByOne(order, board)
    gc.collect()
    gc.freeze()
    gc.disable()
    sender.run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
