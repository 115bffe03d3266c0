"""One load through a proxy from start to end: starts the sending process, samples it, and notices what goes wrong.

As `follow.py` does for a queue. What cuts a run short (a signal, a killed sender, a port where nobody listens) is a
`Cut`, and the figures say so. All counting happens in the sending process (udp_sender.py).
"""

from __future__ import annotations

import os
import pickle
import select
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import TYPE_CHECKING, Any, Protocol, Self

from harness.experiments.follow import HURRIED_DRAIN_S, NS, TICK_S, Cut
from harness.experiments.series import Samples
from harness.experiments.udp_board import END_NOW, STOP_SENDING, Phase, UdpBoard, Word, new_memory
from harness.experiments.udp_sender import Order
from harness.measure.bound import BoundSocket, read_bound, read_full_receives
from harness.measure.jitter import Jitter, jitter_baseline
from harness.measure.observe import read_pss_bytes
from harness.measure.watch import MachineReading, read_machine
from harness.sysv.errors import RunError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.experiments.udp_plan import Target, UdpPlan
    from harness.measure.histogram import Histogram

START_LIMIT_S = 20.0
NOBODY_AFTER_NS = 1_000_000_000
"""So long after the first request a run ends to which nothing but the network has answered."""
SENDER = "sender"
COLUMNS = ("t_s", "sent", "ok", "er", "other", "missing", "late", "behind", "outstanding")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a target is: its address, and family and address as socket(7) wants them."""

    ip: IPv4Address | IPv6Address
    family: int
    address: tuple[Any, ...]


def resolve(target: Target) -> Place:
    """Where the target is; raises UsageError for a name that nobody knows, or a host to which there is no way."""
    host = str(target.address or target.host)
    try:
        family, _, _, _, address = socket.getaddrinfo(host, target.port, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.connect(address)
    except OSError as error:
        raise UsageError(
            f"cannot send to {target}", why=error.strerror or str(error), hint="look at the host and the port"
        ) from None
    return Place(ip_address(str(address[0])), family, address)


@dataclass(frozen=True, slots=True)
class UdpSample:
    """Counts since the sender started, at `t_s` seconds after t0 (negative in the warm-up).

    `behind` is how many requests are due and not sent, `outstanding` how many wait for their reply.
    """

    t_s: float
    sent: int
    ok: int
    er: int
    other: int
    missing: int
    late: int
    behind: int
    outstanding: int
    settled: int
    """Requests that nothing more is to come of, or only too late."""


class UdpSeries(Samples[UdpSample]):
    """The samples of a load through a proxy."""

    def to_json(self) -> dict[str, Any]:
        """Rows of what happened since the row before; `behind` and `outstanding` are states at the row's end."""
        counts = COLUMNS[1:-2]
        rows = [
            [
                round(now.t_s, 4),
                *(getattr(now, name) - getattr(before, name) for name in counts),
                now.behind,
                now.outstanding,
            ]
            for before, now in zip(self.samples, self.samples[1:], strict=False)
        ]
        return {"width_s": self.width_s, "columns": list(COLUMNS), "rows": rows}


@dataclass(frozen=True, slots=True)
class UdpSnapshot:
    """A run at one moment, for a display. Rates are requests and OKs a second since the snapshot before."""

    phase: str
    elapsed_s: float
    total_s: float
    sample: UdpSample
    unreachable: int
    sent_rate: float
    ok_rate: float
    latency: Histogram


class UdpObserver(Protocol):
    """Who wants to see a run while it goes on."""

    interval_s: float

    def started(self, plan: UdpPlan, number: int, of: int) -> None:
        """A run begins, the `number`-th of `of`."""
        ...

    def sample(self, snapshot: UdpSnapshot) -> None:
        """Called about every `interval_s`."""
        ...


@dataclass(frozen=True, slots=True)
class Network:
    """What the kernel says at one moment: the proxy's sockets, if they are here, and what all had no room for."""

    bound: dict[int, BoundSocket] | None
    full_receives: int | None


@dataclass(slots=True)
class UdpRun:
    """Everything one run left behind; `udp_figures` makes the result of it while the board is still mapped."""

    plan: UdpPlan
    jitter: Jitter
    before: Network
    after: Network | None = None
    t0_ns: int = 0
    end_ns: int = 0
    stopped_ns: int = 0
    """When the run was cut, or the window's end."""
    cut: Cut | None = None
    series: UdpSeries = field(default_factory=UdpSeries)
    readings: list[tuple[int, MachineReading[str]]] = field(default_factory=list)
    """The first and the last in the window, each with how many requests had been sent."""
    memory_bytes: int | None = None
    cpus: int = 1
    ended_well: bool = False
    """Whether the sending process came to its own end, so that all it counts is there."""

    @property
    def elapsed_s(self) -> float:
        """Length of the window that was measured, in s."""
        return max(0, self.stopped_ns - self.t0_ns) / NS


class SendingProcess:
    """The sending process, from its start to its end; leaving the block ends it, however far it is."""

    def __init__(self, plan: UdpPlan, place: Place, spent: bytes) -> None:
        self._plan = plan
        self._place = place
        self._spent = spent

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            memory = new_memory()
            stack.callback(os.close, memory)
            self.board = UdpBoard(memory)
            stack.callback(self.board.close)
            self.board.spent[:] = self._spent
            self._stderr = os.memfd_create("harness-udp-stderr", os.MFD_CLOEXEC)
            stack.callback(os.close, self._stderr)
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "harness.experiments.udp_sender"],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=self._stderr,
                bufsize=0,
                pass_fds=(memory,),
                start_new_session=True,  # so that Ctrl-C and a closed terminal reach only the follower
            )
            stack.callback(self._end)
            self.pid = self._process.pid
            self._ended = os.pidfd_open(self.pid)
            stack.callback(os.close, self._ended)
            order = Order(self._plan, self._place.family, self._place.address, memory, os.getpid())
            assert self._process.stdin is not None
            with suppress(BrokenPipeError), self._process.stdin:  # it died: whoever waits for it is told
                self._process.stdin.write(pickle.dumps(order))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _end(self) -> None:
        self._process.kill()  # nothing to one that has ended
        self._process.wait()

    def wait(self, wait_s: float) -> bool:
        """Wait so long for its end; whether it has ended."""
        poller = select.poll()
        poller.register(self._ended, select.POLLIN)
        return bool(poller.poll(max(0.0, wait_s * 1000)))

    def how_it_ended(self) -> Cut | None:
        """After its end: what went wrong with it, or None."""
        status = self._process.wait()
        if status < 0:
            return Cut("sender-killed", f"the sending process was killed by signal {-status}")
        if status > 0:
            said = os.pread(self._stderr, 65536, 0).decode(errors="replace").strip()
            return Cut("sender-failed", f"the sending process failed: {said.splitlines()[-1] if said else status}")
        return None


class UdpFollower:
    """Follows one sending process through its run."""

    def __init__(
        self, run: UdpRun, sender: SendingProcess, observer: UdpObserver, interrupted: Callable[[], str | None]
    ) -> None:
        self._run, self._plan = run, run.plan
        self._sender = sender
        self._words = sender.board.words
        self._observer = observer
        self._interrupted = interrupted
        self._warmup = warmup_requests(run.plan)
        self._shown: UdpSample | None = None
        self._shown_ns = 0
        self._reading_every_ns = int(max(0.1, min(1.0, run.plan.window_ns / NS / 10)) * NS)
        self._hurried_ns = 0

    def follow(self) -> None:
        """From the start to the sending process's end; raises RunError when it does not start."""
        run, words = self._run, self._words
        self._await_start()
        while not self._sender.wait(TICK_S):
            self._tick()
        wrong = self._sender.how_it_ended()
        run.ended_well = wrong is None
        if wrong:
            self._cut(wrong)
        elif self._nothing_came_back():  # of a run that was over before a second was
            self._cut(self._why_nobody())
        if words[Word.T0_NS]:
            run.series.finish(self.sample(time.monotonic_ns()))
        run.stopped_ns = run.stopped_ns or run.end_ns

    def _await_start(self) -> None:
        deadline_s = time.monotonic() + START_LIMIT_S
        while not self._words[Word.T0_NS]:
            if self._sender.wait(0.002):
                if self._words[Word.T0_NS]:
                    break
                wrong = self._sender.how_it_ended()
                raise RunError(wrong.sentence if wrong else "the sending process did nothing")
            if time.monotonic() > deadline_s:
                raise RunError("the sending process did not start in time", hint="is the machine overloaded?")
        self._run.t0_ns = self._words[Word.T0_NS]
        self._run.end_ns = self._run.t0_ns + self._plan.window_ns

    def _tick(self) -> None:
        run, now = self._run, time.monotonic_ns()
        if run.series.due((now - run.t0_ns) / NS):
            run.series.add(self.sample(now))
        if run.t0_ns <= now < run.end_ns and (
            not run.readings or now >= run.readings[-1][1].ns + self._reading_every_ns
        ):
            self._read(now)
        if now - self._shown_ns >= self._observer.interval_s * NS:
            self._show(now)
        self._look_for_an_end(now)

    def _look_for_an_end(self, now: int) -> None:
        """Whether something ends the run early; then sending stops, and draining is hurried."""
        signal = self._interrupted()
        if self._run.cut is not None:
            if signal == "SIGINT twice" or now > self._hurried_ns:
                self._words[Word.STOP] = END_NOW
        elif signal or self._nobody_listens(now):
            self._cut(Cut("interrupted", f"interrupted by {signal}") if signal else self._why_nobody())
            self._words[Word.STOP] = STOP_SENDING
            self._hurried_ns = now + int(HURRIED_DRAIN_S * NS)

    def _nobody_listens(self, now: int) -> bool:
        """Whether a second has passed since the first request, and nothing has come back but the network's errors."""
        began_ns = self._run.t0_ns - round(self._plan.warmup_s * NS)
        sending = self._words[Word.PHASE] == Phase.SENDING
        return sending and now - began_ns >= NOBODY_AFTER_NS and self._nothing_came_back()

    def _nothing_came_back(self) -> bool:
        words = self._words
        replies = sum(words[word] for word in (Word.OK, Word.ER, Word.OTHER, Word.MISSING))
        return not replies and bool(words[Word.UNREACHABLE] or words[Word.UNSENDABLE])

    def _why_nobody(self) -> Cut:
        words, target = self._words, self._plan.target
        if words[Word.UNREACHABLE]:
            return Cut("nobody-listens", f"nobody listens on {target}: {os.strerror(words[Word.ERRNO])}")
        return Cut("unsendable", f"nothing can be sent to {target}: {os.strerror(words[Word.ERRNO])}")

    def _cut(self, cut: Cut) -> None:
        if self._run.cut is None:
            self._run.cut = cut
            self._run.stopped_ns = min(time.monotonic_ns(), self._run.end_ns)

    def sample(self, now: int) -> UdpSample:
        """The counts of this moment."""
        words, plan = self._words, self._plan
        t_s = (now - self._run.t0_ns) / NS
        ok, er, other, missing, sent = (words[word] for word in (Word.OK, Word.ER, Word.OTHER, Word.MISSING, Word.SENT))
        settled = ok + er + other + missing + words[Word.UNREACHABLE]
        within_s = min(max(t_s, -plan.warmup_s), plan.window_ns / NS)
        due = self._warmup + int(within_s * plan.rate)
        return UdpSample(
            t_s=t_s,
            sent=sent,
            ok=ok,
            er=er,
            other=other,
            missing=missing,
            late=words[Word.LATE],
            behind=max(0, due - sent - words[Word.UNSENDABLE]),
            outstanding=max(0, sent - settled),
            settled=settled + words[Word.UNSENDABLE],
        )

    def _read(self, now: int) -> None:
        run = self._run
        run.readings.append((self._words[Word.SENT], read_machine({SENDER: self._sender.pid})))
        del run.readings[1:-1]  # the first and the last tell; a run's length must not show in its memory
        if now > run.end_ns - 2 * self._reading_every_ns and run.memory_bytes is None:
            shares = [read_pss_bytes(pid) for pid in (os.getpid(), self._sender.pid)]
            run.memory_bytes = None if None in shares else sum(share for share in shares if share)

    def _show(self, now: int) -> None:
        sample, before, plan = self.sample(now), self._shown, self._plan
        seconds = sample.t_s - before.t_s if before else 0.0
        sending = "warm-up" if sample.t_s < 0 else "load"
        self._observer.sample(
            UdpSnapshot(
                phase=sending if self._words[Word.PHASE] == Phase.SENDING else "drain",
                elapsed_s=max(0.0, sample.t_s + plan.warmup_s),
                total_s=plan.warmup_s + plan.window_ns / NS,
                sample=sample,
                unreachable=self._words[Word.UNREACHABLE],
                sent_rate=(sample.sent - before.sent) / seconds if before and seconds else 0.0,
                ok_rate=(sample.ok - before.ok) / seconds if before and seconds else 0.0,
                latency=self._sender.board.histogram("latency"),
            )
        )
        self._shown, self._shown_ns = sample, now


def warmup_requests(plan: UdpPlan) -> int:
    """Requests that are due in the warm-up."""
    return plan.schedule.warmup(round(plan.warmup_s * NS))


def read_network(place: Place) -> Network:
    """What the kernel says now of the sockets that the target's datagrams can reach, if they are here."""
    return Network(read_bound(place.ip, int(place.address[1])), read_full_receives())


def execute_udp(
    plan: UdpPlan,
    place: Place,
    observer: UdpObserver,
    interrupted: Callable[[], str | None],
    *,
    number: int,
    of: int,
    spent: bytes,
    finish: Callable[[UdpRun, UdpBoard], None],
) -> None:
    """One run of a plan with a fresh sending process; `finish` gets the run and its board before that is unmapped.

    `spent` has, as the board, a byte for each port: which are not used, as an earlier run's late reply may come there.
    `interrupted` answers as for `follow.execute`. Raises RunError when the sending process does not start.
    """
    run = UdpRun(plan, jitter_baseline(), read_network(place), cpus=len(os.sched_getaffinity(0)))
    with SendingProcess(plan, place, spent) as sender:
        observer.started(plan, number, of)
        UdpFollower(run, sender, observer, interrupted).follow()
        run.after = read_network(place)
        finish(run, sender.board)
