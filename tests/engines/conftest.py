"""What the tests of the engines share: a queue and a board, and whatever sends to and receives from them.

Each test that uses a Bench is marked private_ipc, so it has a process and a namespace of its own, and neither queue
nor board need be taken down: they end with the process. HARNESS_REQUIRE_NATIVE=1 in the environment turns the skips
of the native engine into failures.
"""

from __future__ import annotations

import contextlib
import importlib
import multiprocessing
import os
import signal
import time
from array import array
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from harness.engines import choice
from harness.engines.layout import HEADER, HEADER_BYTES, Board, Shape, new_memory
from harness.engines.protocol import TABLE_SIZE, ConsumerTask, Loop, ProducerTask
from harness.sysv import Queue, Selector, sleepers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from multiprocessing.process import BaseProcess
    from types import ModuleType

    from harness.engines.protocol import Engine, Reason, Receiver, Sender

KEY = 0x0BE7C4
PATIENCE_S = 10.0
forking = multiprocessing.get_context("fork")


def native_or_skip() -> None:
    """Skip the test, or fail it when HARNESS_REQUIRE_NATIVE is set, where the native engine was not built."""
    problem = choice.native_problem()
    if problem is None:
        return
    if os.environ.get("HARNESS_REQUIRE_NATIVE"):
        pytest.fail(f"the native engine is required, but {problem}")
    pytest.skip(f"native engine: {problem}")


def engine_named(name: str) -> Engine:
    if name in ("native", "bare"):
        native_or_skip()
    return choice.load(name)


@pytest.fixture(params=["python", "native"])
def engine(request: pytest.FixtureRequest) -> Engine:
    """Each of the two engines in turn."""
    return engine_named(request.param)


@pytest.fixture(params=["python", "native"])
def other_engine(request: pytest.FixtureRequest) -> Engine:
    """Each of the two engines in turn, for the other end of the queue."""
    return engine_named(request.param)


@pytest.fixture
def load_engine() -> Callable[[str], Engine]:
    """Loads an engine by name, or skips."""
    return engine_named


@pytest.fixture(scope="session")
def native_module() -> ModuleType:
    """The compiled module itself."""
    native_or_skip()
    return importlib.import_module("harness.engines._native")


@pytest.fixture
def native_engine() -> Engine:
    """The native engine only."""
    return engine_named("native")


def table(values: Sequence[int]) -> array[int]:
    """A table of an engine: `values` over and over."""
    return array("I", (values[index % len(values)] for index in range(TABLE_SIZE)))


class Bench:
    """A queue and a board of some shape; makes senders and receivers on them, and messages by hand."""

    run_id = 0x5EED5EED
    forever = 1 << 62

    def __init__(
        self,
        *,
        types: tuple[int, ...] = (1,),
        producers: int = 1,
        consumers: int = 1,
        ringed: bool = False,
        max_bytes: int = 4096,
        holds: int | None = None,
    ) -> None:
        """`holds` is how many messages of a header's size the queue holds; None: as many as the namespace gives."""
        self.types = types
        self.max_bytes = max_bytes
        self.queue = Queue.create(KEY, max_bytes=max_bytes)
        if holds is not None:
            self.queue.resize(holds * HEADER_BYTES)
        shape = Shape(producers=producers, consumers=consumers, queues=1, types=len(types), ringed=ringed)
        descriptor = new_memory(shape)
        self.board = Board(descriptor, shape)
        os.close(descriptor)

    def sender(self, engine: Engine, producer: int = 0, **changes: Any) -> Sender:
        """An unpaced producer of bare headers; `changes` are fields of ProducerTask, tables as short as you like."""
        fields: dict[str, Any] = {
            "producer": producer,
            "producers": self.board.shape.producers,
            "run_id": self.run_id,
            "types": self.types,
            "type_table": [0],
            "size_table": [HEADER_BYTES],
            "loop": Loop.UNPACED,
            "period_ns": 0.0,
            "first_k": 0,
            "outstanding": 1,
            "refuse": False,
            "spin": False,
        } | changes
        fields |= {name: table(fields[name]) for name in ("type_table", "size_table")}
        return engine.sender(ProducerTask(**fields), self.queue, self.board)

    def receiver(self, engine: Engine, consumer: int = 0, **changes: Any) -> Receiver:
        """A consumer of any type; `changes` are fields of ConsumerTask."""
        fields: dict[str, Any] = {
            "consumer": consumer,
            "run_id": self.run_id,
            "msgtyp": 0,
            "flags": 0,
            "max_bytes": self.max_bytes,
            "types": self.types,
            "paced": True,
        } | changes
        return engine.receiver(ConsumerTask(**fields), self.queue, self.board)

    def put(
        self,
        *numbers: int,
        stream: int = 0,
        message_type: int | None = None,
        run_id: int | None = None,
        intended_ns: int | None = None,
        started_ns: int | None = None,
    ) -> None:
        """Put messages on the queue that were made by hand; times are now when left out."""
        now = time.monotonic_ns()
        for number in numbers:
            tag = (self.run_id if run_id is None else run_id) << 32 | stream
            intended = now if intended_ns is None else intended_ns
            started = now if started_ns is None else started_ns
            kind = self.types[stream % len(self.types)] if message_type is None else message_type
            self.queue.send(HEADER.pack(tag, number, intended, started), type=kind, timeout=0)

    def take(self) -> list[tuple[int, tuple[int, int, int, int], int]]:
        """All messages of the queue: type, the header's four words, size in bytes."""
        return [
            (message.type, HEADER.unpack_from(message.payload), len(message.payload))
            for message in self.queue.drain(Selector.any())
        ]

    def asleep(self, pid: int | None, thread: int | None = None) -> bool:
        """Whether the process, or one thread of it, sleeps in msgsnd or msgrcv on the queue."""
        if thread is None:
            return any(sleeper.pid == pid for sleeper in sleepers(self.queue.id))
        where = Path(f"/proc/{pid}/task/{thread}/wchan").read_text(encoding="ascii")
        return where in ("do_msgrcv", "do_msgsnd")

    @contextlib.contextmanager
    def running(self, run: Callable[[], Reason]) -> Iterator[Child]:
        """A forked child that runs a slice."""
        child = Child(self, run)
        try:
            yield child
        finally:
            child.process.kill()
            child.process.join()

    @contextlib.contextmanager
    def asleep_in(self, run: Callable[[], Reason]) -> Iterator[Child]:
        """A forked child that runs a slice and has fallen asleep on the queue."""
        with self.running(run) as child:
            child.wait_until_asleep()
            yield child


class Child:
    """A process that runs one slice, with a handler for SIGUSR1 that does nothing; it ends with the slice's reason."""

    def __init__(self, bench: Bench, run: Callable[[], Reason]) -> None:
        def main() -> None:
            signal.signal(signal.SIGUSR1, lambda _number, _frame: None)
            os._exit(100 + run())  # so that no defect's exit status is taken for a reason

        self._bench = bench
        self.process: BaseProcess = forking.Process(target=main)
        self.process.start()

    def reason(self) -> int | None:
        """How the slice ended: a Reason's number."""
        self.process.join(PATIENCE_S)
        status = self.process.exitcode
        assert status is not None, "the slice did not end"
        assert status >= 100, f"the child ended with status {status}"
        return status - 100

    def wait_until(self, condition: Callable[[], bool]) -> None:
        """Until the condition holds, while the child runs."""
        deadline_s = time.monotonic() + PATIENCE_S
        while not condition():
            assert self.process.is_alive(), f"the slice ended with reason {self.reason()}"
            assert time.monotonic() < deadline_s, "what was waited for never came"

    def wait_until_asleep(self, beyond_switches: int = -1) -> None:
        """Until it sleeps on the queue, having switched more often than that; fails when it ends instead."""
        self.wait_until(lambda: self.switches() > beyond_switches and self._bench.asleep(self.process.pid))

    def switches(self) -> int:
        """How often it gave the CPU away."""
        try:
            with open(f"/proc/{self.process.pid}/status", encoding="ascii") as status:  # noqa: PTH123
                return next((int(line.split()[1]) for line in status if line.startswith("voluntary")), -1)
        except ProcessLookupError:
            return -1

    def signal(self) -> None:
        """Interrupt its sleep."""
        assert self.process.pid is not None
        os.kill(self.process.pid, signal.SIGUSR1)

    def signal_and_wait_asleep(self) -> None:
        """Interrupt its sleep, and wait until it has woken and sleeps again."""
        switches = self.switches()
        self.signal()
        self.wait_until_asleep(switches)


@pytest.fixture
def bench() -> type[Bench]:
    """The class Bench: a test says what shape it needs."""
    return Bench
