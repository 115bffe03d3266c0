"""A load through a proxy: what becomes of each request, whatever the other side does with it."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from harness.experiments.follow import Cut
from harness.experiments.udp import run_udp
from harness.experiments.udp_board import UdpBoard, Word, new_memory
from harness.experiments.udp_figures import _sustained
from harness.experiments.udp_follow import Network, SendingProcess, UdpRun, UdpSnapshot, resolve
from harness.experiments.udp_plan import Target, UdpPlan
from harness.experiments.udp_sender import OneByOne, Order, drops_of
from harness.measure.jitter import jitter_baseline
from harness.results import parse_threshold
from harness.sysv.errors import MachineError, UsageError

LIMIT_S = 20.0
LONG_S = 15.0
"""Of a run that something is to end long before."""
Server = Callable[..., Any]


def ok(number: int) -> list[tuple[float, bytes]]:
    return [(0.0, b"OK\n")]


def silent(number: int) -> list[tuple[float, bytes]]:
    return []


class Watcher:
    """Sees every snapshot of a run, and may act on it."""

    interval_s = 0.05

    def __init__(self, act: Callable[[UdpSnapshot], None] = lambda _: None) -> None:
        self._act = act
        self.started_runs: list[tuple[int, int]] = []
        self.seen: list[UdpSnapshot] = []

    def started(self, plan: UdpPlan, number: int, of: int) -> None:
        self.started_runs.append((number, of))

    def sample(self, snapshot: UdpSnapshot) -> None:
        self.seen.append(snapshot)
        self._act(snapshot)


def plan_for(target: str | Target, **changes: Any) -> UdpPlan:
    """100 requests in 0.2 s, without a warm-up, with what is given in place of that."""
    if isinstance(target, str):
        host, port = target.removeprefix("udp://").rsplit(":", 1)
        target = Target(host, int(port))
    usual = {"rate": Fraction(500), "duration_s": 0.2, "warmup_s": 0.0, "drain_s": 0.3, "sockets": 16}
    return UdpPlan(target=target, **{**usual, **changes})


def run(target: str | Target, watcher: Watcher | None = None, **changes: Any) -> dict[str, Any]:
    return run_udp(plan_for(target, **changes), watcher or Watcher())


def recorded(result: dict[str, Any]) -> int:
    return sum(count for _, count in result["histogram"]["counts"])


# --- what becomes of a request -------------------------------------------------------------------------------------


def test_every_request_is_answered(udp_server: Server) -> None:
    """What is due is sent once, each OK is counted and has a latency, and the ledger balances."""
    server = udp_server(ok)

    result = run(server.target, reply_timeout_s=10.0)

    assert result["complete"] is True
    assert result["due"] == 100
    assert result["sent"] == result["ok"] == len(server.ports) == 100 - result["unsent"]
    assert result["balanced"] is True
    assert recorded(result) == result["ok"]
    assert result["latency_ns"]["p50"] >= result["service_ns"]["p50"] > 0
    assert result["er"] == result["other"] == result["missing"] == result["late"] == result["surplus"] == 0
    assert result["refusal_ns"]["p50"] is None
    assert json.loads(json.dumps(result)) == result


def test_er_and_garbage_are_told_from_ok(udp_server: Server) -> None:
    """Each reply is counted as what it is; latency is that of OK alone, so that quick refusals do not flatter it."""
    replies = [b"OK\n", b"ER\n", b"OK\n", b"what?\xff", b""]
    server = udp_server(lambda n: [(0.0, replies[n % 5])])

    result = run(server.target, reply_timeout_s=10.0)

    given = Counter(replies[number % 5] for number in range(len(server.ports)))
    assert result["ok"] == given[b"OK\n"] == recorded(result) > 0
    assert result["er"] == given[b"ER\n"]
    assert result["other"] == result["sent"] - result["ok"] - result["er"]
    assert result["first_other"] == "what?\\xff"
    assert result["refusal_ns"]["p50"] is not None
    assert result["balanced"] is True
    assert result["sustained"] is False


def test_the_warm_up_is_in_the_ledger_alone(udp_server: Server) -> None:
    """Requests of the warm-up are counted as sent and answered, and have no latency."""
    server = udp_server(ok)

    result = run(server.target, count=10, duration_s=None, warmup_s=0.1, reply_timeout_s=10.0)

    assert result["due"] == 10
    assert result["sent"] == result["ok"] == 60 - result["unsent"]
    assert recorded(result) == 10 - result["unsent"]


def test_a_late_reply_is_never_that_of_the_next_request(udp_server: Server) -> None:
    """OK that comes after its timeout counts as late, though the next requests, answered ER, are long under way."""
    server = udp_server(lambda number: [(0.4, b"OK\n")] if number < 3 else [(0.0, b"ER\n")])

    result = run(server.target, sockets=1, rate=Fraction(100), duration_s=0.6, reply_timeout_s=0.1, drain_s=1.0)

    assert result["ok"] == 0
    assert result["late"] == result["missing"] >= 3
    assert result["er"] == result["sent"] - result["missing"] > 0
    assert result["balanced"] is True


def test_a_port_without_a_reply_sends_nothing_more(udp_server: Server) -> None:
    """Each request that goes unanswered leaves its source port for good: all ports of the unanswered differ."""
    server = udp_server(silent)

    result = run(server.target, sockets=2, count=12, duration_s=None, rate=Fraction(200), reply_timeout_s=0.02)

    assert result["sent"] == result["missing"] == len(server.ports) > 2
    assert len(set(server.ports)) == len(server.ports)
    assert result["late"] == 0
    assert result["balanced"] is True


def test_a_request_that_waited_for_a_socket_is_late_from_its_due_time(udp_server: Server) -> None:
    """With one socket and 20 ms an answer, requests due every 10 ms wait ever longer, and their latency says so."""
    server = udp_server(lambda _: [(0.02, b"OK\n")])

    result = run(server.target, sockets=1, rate=Fraction(100), duration_s=0.3, reply_timeout_s=10.0)

    assert result["held_back"] >= result["sent"] / 2
    assert result["latency_ns"]["max"] > 1.5 * result["service_ns"]["p50"]
    assert result["latency_ns"]["max"] >= 100_000_000
    assert result["unsent"] > 0
    assert result["latency_is_lower_bound"] is True
    assert result["sustained"] is False


def test_a_second_reply_is_a_surplus(udp_server: Server) -> None:
    """A reply that nothing was asked for is counted apart, and told."""
    server = udp_server(lambda _: [(0.0, b"OK\n"), (0.0, b"OK\n")])

    result = run(server.target, sockets=1, count=5, duration_s=None, rate=Fraction(20), reply_timeout_s=10.0)

    assert result["ok"] == result["sent"] > 1
    assert result["surplus"] >= result["sent"] - 1  # that to the last request may come when nobody listens any more
    assert any("answer twice" in warning for warning in result["warnings"])


def test_sizes_are_those_of_the_plan(udp_server: Server) -> None:
    """Datagrams have the sizes that were asked for, in the order of the seed."""
    server = udp_server(ok)

    run(server.target, size=(20, 40), count=30, duration_s=None, seed=3, sockets=1, reply_timeout_s=10.0)

    assert {len(payload) for payload in server.payloads} <= set(range(20, 41))
    assert server.payloads == plan_for(server.target, size=(20, 40), seed=3).payloads()[: len(server.payloads)]
    assert len(set(map(len, server.payloads))) > 3
    assert all(payload.endswith(b"x\n") for payload in server.payloads)


# --- pipelined -------------------------------------------------------------------------------------------------------


def test_pipelined_replies_are_only_counted(udp_server: Server) -> None:
    """Requests go out without waiting for replies; counts are there, times are null, and the result says so."""
    server = udp_server(lambda n: [(0.05, (b"OK\n", b"ER\n")[n % 2])] if n % 4 else [])

    result = run(server.target, pipelined=True, reply_timeout_s=None, sockets=2, drain_s=1.0)

    numbers = range(len(server.ports))
    assert len(set(server.ports)) == 2
    assert result["sent"] == len(server.ports)
    assert result["missing"] == sum(number % 4 == 0 for number in numbers)
    assert result["ok"] == sum(number % 4 == 2 for number in numbers)
    assert result["er"] == sum(number % 2 == 1 for number in numbers)
    assert result["late"] is result["held_back"] is None
    assert result["latency_ns"]["p50"] is result["service_ns"]["p50"] is None
    assert result["pacing_error_ns"]["p50"] is not None
    assert result["balanced"] is True
    assert any(warning.startswith("pipelined") for warning in result["warnings"])


def test_pipelined_more_replies_than_requests_do_not_balance(udp_server: Server) -> None:
    """Where more comes back than was sent, the ledger says that it does not balance."""
    server = udp_server(lambda _: [(0.0, b"OK\n")] * 2)

    result = run(server.target, pipelined=True, reply_timeout_s=None, sockets=1, count=10, duration_s=None)

    assert result["surplus"] > 0
    assert result["balanced"] is False


# --- a port where nobody listens, and a full socket ----------------------------------------------------------------


@pytest.fixture
def deaf() -> Iterator[socket.socket]:
    """A bound socket that nobody reads, with little room."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.bind(("127.0.0.1", 0))
        sock.setblocking(False)
        yield sock


def closed_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


@pytest.mark.parametrize("pipelined", [False, True])
def test_a_port_where_nobody_listens_ends_the_run(pipelined: bool) -> None:
    """ICMP says that nobody listens: after a second the run ends and says so, though more was asked for."""
    result = run(
        f"udp://127.0.0.1:{closed_port()}",
        duration_s=LONG_S,
        pipelined=pipelined,
        reply_timeout_s=None if pipelined else 1.0,
    )

    assert result["elapsed_s"] < LONG_S
    assert result["cut"]["cause"] == "nobody-listens"
    assert "Connection refused" in result["cut"]["sentence"]
    assert result["unreachable"] > 0
    assert result["ok"] == 0
    assert result["socket_loss"] is None
    assert result["balanced"] is True
    assert "Start the proxy first" in result["advice"]


def test_a_short_run_to_a_port_where_nobody_listens_is_no_success() -> None:
    """Also a run that is over within that second says that nobody listens, and is not complete."""
    result = run(f"udp://127.0.0.1:{closed_port()}")

    assert result["cut"]["cause"] == "nobody-listens"
    assert (result["complete"], result["sustained"]) == (False, None)


def test_what_the_proxys_full_socket_dropped_is_told(deaf: socket.socket) -> None:
    """Of the missing, those that the kernel dropped at the full socket are counted, and no others."""
    result = run(f"udp://127.0.0.1:{deaf.getsockname()[1]}", pipelined=True, reply_timeout_s=None, drain_s=0.1)

    kept = 0
    with contextlib.suppress(BlockingIOError):
        while deaf.recv(64):
            kept += 1
    assert kept > 0
    assert result["missing"] == result["sent"]
    assert result["socket_loss"] == result["sent"] - kept > 0
    assert result["socket_backlog_bytes"] > 0
    assert result["full_receives"] >= result["socket_loss"]
    assert "full socket" in result["advice"]


def test_our_own_sockets_drops_are_read() -> None:
    """The kernel tells what one of our own sockets had no room for."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as deaf, socket.socket(type=socket.SOCK_DGRAM) as sender:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.bind(("127.0.0.1", 0))
        assert drops_of(deaf) == 0
        for _ in range(100):
            sender.sendto(b"x", deaf.getsockname())
        kept = 0
        deaf.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while deaf.recv(64):
                kept += 1

        assert drops_of(deaf) == 100 - kept > 0


def test_a_host_without_a_way_is_told() -> None:
    """A name that nobody knows is one line, before anything runs."""
    with pytest.raises(UsageError, match="cannot send to udp://no-such-host"):
        resolve(Target("no-such-host.invalid", 9))


def test_too_many_sockets_for_the_limit_are_told(udp_server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where so many files are not allowed, nothing is begun, and the line says how many sockets are."""
    monkeypatch.setattr("resource.getrlimit", lambda _: (100, 100))

    with pytest.raises(MachineError, match="more than the 100 files") as error:
        run(udp_server(ok).target, sockets=64)

    assert error.value.hint.startswith("write --sockets 18")


# --- what cuts a run short -------------------------------------------------------------------------------------------


def test_an_interruption_keeps_what_was_measured(udp_server: Server) -> None:
    """After a signal nothing more is sent, what is under way is still awaited, and the result says that it is cut."""
    watcher = Watcher()

    result = run_udp(
        plan_for(udp_server(lambda _: [(0.1, b"OK\n")]).target, duration_s=LONG_S, reply_timeout_s=10.0),
        watcher,
        interrupted=lambda: "SIGINT" if any(seen.sample.ok for seen in watcher.seen) else None,
    )

    assert result["cut"] == {"cause": "interrupted", "sentence": "interrupted by SIGINT"}
    assert result["complete"] is False
    assert result["sustained"] is None
    assert result["ok"] == result["sent"] > 0
    assert result["in_flight"] == 0
    assert result["balanced"] is True


def test_a_second_interruption_waits_for_nothing(udp_server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests that are still awaited then are counted as that, and neither as missing nor as lost."""
    monkeypatch.setattr("harness.experiments.udp_follow.HURRIED_DRAIN_S", LONG_S)
    watcher = Watcher()

    result = run_udp(
        plan_for(udp_server(silent).target, duration_s=LONG_S, reply_timeout_s=LONG_S, sockets=5),
        watcher,
        interrupted=lambda: "SIGINT twice" if any(seen.sample.outstanding == 5 for seen in watcher.seen) else None,
    )

    assert result["elapsed_s"] < LONG_S
    assert (result["sent"], result["missing"], result["in_flight"]) == (5, 0, 5)
    assert result["balanced"] is True


def sending_process() -> int:
    """The process id of this process's sender."""
    for task in Path("/proc/self/task").iterdir():
        for pid in map(int, (task / "children").read_text().split()):
            if b"harness.experiments.udp_sender" in Path(f"/proc/{pid}/cmdline").read_bytes():
                return pid
    raise AssertionError("no sending process")


def test_a_killed_sender_leaves_its_counts(udp_server: Server) -> None:
    """What it had counted until then is still told; what it had in hand is not known, and not called missing."""

    def act(snapshot: UdpSnapshot) -> None:
        if snapshot.sample.ok:
            with contextlib.suppress(ProcessLookupError):
                os.kill(sending_process(), signal.SIGKILL)

    result = run(udp_server(ok).target, Watcher(act), duration_s=LONG_S)

    assert result["cut"]["cause"] == "sender-killed"
    assert "signal 9" in result["cut"]["sentence"]
    assert result["ok"] > 0
    assert result["in_flight"] is result["balanced"] is result["reply_loss"] is None


def test_repeats_are_whole_runs(udp_server: Server) -> None:
    """Each repeat has a fresh sender; counts are medians, what went wrong is the worst, the histogram is of all."""
    server = udp_server(lambda n: [(0.0, b"ER\n" if n < 3 else b"OK\n")])
    watcher = Watcher()

    result = run(server.target, watcher, repeat=3, count=20, duration_s=None, reply_timeout_s=10.0)

    assert watcher.started_runs == [(1, 3), (2, 3), (3, 3)]
    assert [found["er"] for found in result["runs"]] == [3, 0, 0]
    assert result["er"] == 3
    assert result["ok"] == sorted(found["ok"] for found in result["runs"])[1]
    assert recorded(result) == sum(found["ok"] for found in result["runs"])
    assert result["runs"][0]["sustained"] is result["sustained"] is False


@pytest.mark.parametrize("pipelined", [False, True])
def test_a_repeat_does_not_use_ports_where_a_late_reply_may_come(pipelined: bool, udp_server: Server) -> None:
    """The ports of requests that were never answered are told to the next repeat, which opens others."""
    told: list[bytes] = []
    enter = SendingProcess.__enter__

    def note(self: SendingProcess) -> SendingProcess:
        entered = enter(self)
        told.append(bytes(self.board.spent))
        return entered

    server = udp_server(silent)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SendingProcess, "__enter__", note)
        run(
            server.target,
            repeat=2,
            sockets=3,
            count=3,
            duration_s=None,
            drain_s=0.05,
            pipelined=pipelined,
            reply_timeout_s=None if pipelined else 0.05,
        )

    first, second = server.ports[:3], server.ports[3:]
    assert [told[0][port] for port in first] == [0, 0, 0]
    assert [told[1][port] for port in first] == [1, 1, 1]
    assert set(first).isdisjoint(second)


def test_thresholds_are_checked(udp_server: Server) -> None:
    """--fail-if knows the counts of a proxy's replies."""
    threshold = parse_threshold("er>0", counts=("er",))

    result = run_udp(
        plan_for(udp_server(lambda _: [(0.0, b"ER\n")]).target, count=5, duration_s=None),
        Watcher(),
        thresholds=[threshold],
    )

    assert result["thresholds"][0]["failed"] is True
    assert f"er is {result['er']}," in result["thresholds"][0]["sentence"]


def test_the_series_adds_up(udp_server: Server) -> None:
    """The rows hold the requests after the first sample, and end with what was not sent and nothing outstanding."""
    result = run(udp_server(ok).target, duration_s=0.5, reply_timeout_s=10.0)

    series = result["series"]
    sent = sum(row[series["columns"].index("sent")] for row in series["rows"])
    assert 0 < sent <= result["sent"]
    assert series["rows"][-1][-2:] == [result["unsent"], 0]


@pytest.mark.parametrize(
    ("changes", "growth", "sustained"),
    [
        ({}, 0.0, True),
        ({}, None, True),
        ({"unsent": 1}, 0.5, True),
        ({"unsent": 2}, 0.0, False),
        ({}, 1.0, False),
        *(({name: 1}, 0.0, False) for name in ("er", "other", "missing", "unreachable", "unsendable")),
    ],
)
def test_a_rate_is_sustained_when_all_got_ok(changes: dict[str, int], growth: float | None, sustained: bool) -> None:
    """At most 0.1 % may be unsent, the backlog may grow by 0.1 % of the rate, and everything else must have got OK."""
    nothing = dict.fromkeys(("unsent", "er", "other", "missing", "unreachable", "unsendable"), 0)
    ended = UdpRun(plan_for(Target("127.0.0.1", 9)), jitter_baseline(1000), Network(None, None))

    assert _sustained(ended, {"due": 1000, **nothing, **changes}, growth) is sustained
    ended.cut = Cut("interrupted", "interrupted by SIGINT")
    assert _sustained(ended, {"due": 1000, **nothing, **changes}, growth) is None


# --- the sending process, from inside ------------------------------------------------------------------------------


@pytest.fixture
def board() -> Iterator[UdpBoard]:
    memory = new_memory()
    found = UdpBoard(memory)
    os.close(memory)
    yield found
    found.close()


def test_ports_that_were_given_up_are_not_opened_again(board: UdpBoard, deaf: socket.socket) -> None:
    """Above a number the oldest socket that waits for a late reply is closed, and its port is never used again."""
    place = resolve(Target("127.0.0.1", deaf.getsockname()[1]))
    plan = plan_for(Target("127.0.0.1", deaf.getsockname()[1]), sockets=3)
    sender = OneByOne(Order(plan, place.family, place.address, 0, 0), board)
    ports = [sender._sockets[number].getsockname()[1] for number in sender._free]
    sender._most_given_up = 1
    for number in list(sender._free):
        sender._free.remove(number)
        sender._waiting[number] = (0, 0)
    sender._expire(10**18)

    assert [board.spent[port] for port in ports] == [1, 1, 0]
    assert list(sender._given_up) == [number for number, sock in sender._sockets.items() if number not in sender._free]
    assert board.words[Word.MISSING] == 3
    assert board.words[Word.PORTS_GIVEN_UP] == 2
    sender._settle()
    assert [board.spent[port] for port in ports] == [1, 1, 1]
    board.spent[:] = bytes([1]) * 65536
    with pytest.raises(OSError, match="no source port is left"):
        sender._open()
    for number in list(sender._sockets):
        sender._close(number)


# --- the real proxy --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class WorkerPool:
    """Lab 07's system: the id of its session, which is its parent's process id, and its workers' process ids."""

    session: int
    workers: list[int]
    port: int


@pytest.fixture
def worker_pool(repository: Path, tmp_path: Path) -> Iterator[WorkerPool]:
    """Lab 07's system on a free port, in this test's IPC namespace; ended as by Ctrl-C."""
    port = closed_port()
    program = [sys.executable, str(repository / "labs/07_worker_pool/solution.py"), "--port", str(port)]
    out = tmp_path / "out"
    with out.open("wb") as file, subprocess.Popen(program, stdout=file, start_new_session=True) as system:
        wait_until(lambda: b"stream_socket_server" in out.read_bytes(), "the proxy")
        try:
            yield WorkerPool(system.pid, [int(pid) for pid in re.findall(rb"\.pid = (\d+)", out.read_bytes())], port)
        finally:
            os.killpg(system.pid, signal.SIGCONT)
            system.terminate()


def wait_until(true: Callable[[], bool], what: str) -> None:
    deadline_s = time.monotonic() + LIMIT_S
    while not true():
        assert time.monotonic() < deadline_s, f"not within {LIMIT_S:g} s: {what}"
        time.sleep(0.002)


def stopped(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


def stop(pids: list[int]) -> None:
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    wait_until(lambda: all(map(stopped, pids)), "the stop")


def all_are_given_up(snapshot: UdpSnapshot) -> bool:
    return snapshot.phase == "drain" and snapshot.sample.outstanding == 0


def children_of(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.mark.private_ipc
def test_the_real_proxy_answers(worker_pool: WorkerPool) -> None:
    """Lab 07's proxy and workers say OK to all, and nothing is lost at their socket."""
    result = run(Target("127.0.0.1", worker_pool.port), reply_timeout_s=10.0)

    assert result["ok"] == result["sent"] == 100 - result["unsent"]
    assert result["socket_loss"] == 0
    assert result["balanced"] is True


@pytest.mark.private_ipc
def test_with_a_stopped_proxy_late_is_told_from_dropped(worker_pool: WorkerPool) -> None:
    """Of a proxy that stands still, what its socket has room for is answered late, and the rest was dropped."""
    processes = [*children_of(worker_pool.session), worker_pool.session]
    stop(processes)
    requests = 600

    def go_on(snapshot: UdpSnapshot) -> None:
        if all_are_given_up(snapshot):
            os.killpg(worker_pool.session, signal.SIGCONT)

    result = run(
        Target("127.0.0.1", worker_pool.port),
        Watcher(go_on),
        count=requests,
        duration_s=None,
        rate=Fraction(3000),
        sockets=requests,
        reply_timeout_s=0.3,
        drain_s=1.0,
    )

    assert result["missing"] == result["sent"]
    assert result["ok"] == 0
    assert result["late"] > 0
    assert result["socket_loss"] > 0
    assert result["late"] + result["socket_loss"] == result["sent"]
    assert result["balanced"] is True


@pytest.mark.private_ipc(queue_bytes=16384, message_bytes=8192)
def test_a_full_queue_is_silence_and_late_replies(worker_pool: WorkerPool) -> None:
    """As the original: with its workers stopped 16 messages of 1000 bytes get OK, the rest none until they go on."""
    stop(worker_pool.workers)
    requests = 40

    def go_on(snapshot: UdpSnapshot) -> None:
        if all_are_given_up(snapshot):
            for pid in worker_pool.workers:
                os.kill(pid, signal.SIGCONT)

    result = run(
        Target("127.0.0.1", worker_pool.port),
        Watcher(go_on),
        count=requests,
        duration_s=None,
        size=(1000, 1000),
        sockets=requests,
        reply_timeout_s=1.0,
        drain_s=1.0,
    )

    assert result["ok"] == 16
    assert result["missing"] == result["late"] == result["sent"] - 16 > 0
    assert result["er"] == result["socket_loss"] == 0
    assert "harness top" in result["advice"]
