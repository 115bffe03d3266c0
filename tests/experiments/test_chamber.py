"""The chamber: rows come from a fresh process in a namespace of its own, and nothing is left, however it ends."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from harness.experiments.chamber import Needs, Outcome, carry_out, head
from harness.sysv import Limits, queues
from harness.sysv.errors import MachineError, QueueLimitError, RunError, WorkerKilledError

if TYPE_CHECKING:
    from types import ModuleType

LIMIT_S = 10.0
NEEDS = Needs(queue_bytes=16384)


@pytest.fixture
def works(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The works of chamber_works.py, which the chamber can import too."""
    folder = str(Path(__file__).parent)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setenv("PYTHONPATH", folder)
    import chamber_works  # type: ignore[import-not-found]  # noqa: PLC0415

    module: ModuleType = chamber_works
    return module


def carry(work: Any, plan: Any = None, **given: Any) -> Outcome:
    defaults: dict[str, Any] = {"needs": NEEDS, "rows": 3, "announced_s": 5.0}
    return carry_out(work, plan, **defaults | given)


def is_gone(pid: int) -> bool:
    """Whether the process ends within the limit."""
    deadline_s = time.monotonic() + LIMIT_S
    while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline_s:
        time.sleep(0.005)
    return not Path(f"/proc/{pid}").exists()


def test_rows_and_warnings_come_in_order(works: ModuleType) -> None:
    """Each row that the work yields is in the outcome, with what it warned of, and nothing is cut."""
    told: list[tuple[int, int, str]] = []

    outcome = carry(works.count, 3, progress=lambda *words: told.append(words))

    assert outcome.rows == [{"number": 0}, {"number": 1}, {"number": 2}]
    assert (outcome.warnings, outcome.cut) == (["counted"], None)
    assert {of for _, of, _ in told} == {3}


def test_the_namespace_is_private_empty_and_as_large_as_needed(works: ModuleType) -> None:
    """The chamber sees no queue, has the limits that were asked for, and its queues go with it."""
    before = {queue.id for queue in queues()}

    outcome = carry(works.look_around, needs=Needs(queue_bytes=12_345_678, message_bytes=1_000_000))

    assert outcome.rows == [{"before": 0, "msgmnb": 12_345_678, "msgmax": 1_000_000}]
    assert {queue.id for queue in queues()} == before
    assert Limits.read().msgmnb != 12_345_678


def test_a_caller_with_threads_may_use_it(works: ModuleType) -> None:
    """A second thread in the caller, as in Jupyter, does not matter: the chamber is a fresh process."""
    done = threading.Event()
    other = threading.Thread(target=done.wait)
    other.start()
    try:
        outcome = carry(works.look_around)
    finally:
        done.set()
        other.join()

    assert outcome.rows[0]["before"] == 0


def test_a_process_of_the_work_ends_with_its_status(works: ModuleType) -> None:
    """What a started process returns is its exit status."""
    assert carry(works.forks).rows == [{"status": 7}]


def test_an_interrupt_ends_it_with_what_there_is(works: ModuleType) -> None:
    """Interrupted while it sleeps in msgrcv, it ends at once: the rows are kept, and no process is left."""
    rows: list[int] = []

    outcome = carry(
        works.sleeps,
        progress=lambda done, *_: rows.append(done),
        interrupted=lambda: "SIGINT" if rows and rows[-1] == 2 else None,
    )

    assert outcome.cut is not None
    assert (outcome.cut.cause, outcome.cut.sentence) == ("interrupted", "interrupted by SIGINT")
    assert len(outcome.rows) == 2
    assert all(is_gone(row["pid"]) for row in outcome.rows)


def test_what_takes_too_long_is_ended(works: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """Past its deadline an experiment is cut, and says so."""
    monkeypatch.setattr("harness.experiments.chamber.LATE_S", 0.5)

    outcome = carry(works.sleeps, announced_s=0.1)

    assert outcome.cut is not None
    assert outcome.cut.cause == "over-time"


def test_an_error_of_ours_comes_out_as_it_is(works: ModuleType) -> None:
    """An error of the tree keeps its type, its words and its hint."""
    with pytest.raises(QueueLimitError, match="too many: of them") as caught:
        carry(works.fails_at_once)

    assert caught.value.hint == "use fewer"


def test_a_killed_process_of_the_work_leaves_its_rows(works: ModuleType) -> None:
    """A started process that a signal ends cuts the work; what was measured until then is kept."""
    outcome = carry(works.fork_dies)

    assert outcome.cut is not None
    assert (outcome.cut.cause, outcome.rows) == ("killed", [{"number": 1}])
    assert outcome.cut.sentence == "a process of the experiment was killed by signal 9"


@pytest.mark.parametrize(
    ("name", "kind", "words"),
    [("has_a_defect", RunError, "ZeroDivisionError: a defect"), ("kills_itself", WorkerKilledError, "by signal 9")],
)
def test_a_chamber_that_dies_at_once_is_an_error(
    works: ModuleType, name: str, kind: type[RunError], words: str
) -> None:
    """Dead before its first row, it is an error that says why."""
    with pytest.raises(kind, match=words):
        carry(getattr(works, name), 0)


@pytest.mark.parametrize(("name", "cause"), [("has_a_defect", "failed"), ("kills_itself", "killed")])
def test_a_chamber_that_dies_later_leaves_its_rows(works: ModuleType, name: str, cause: str) -> None:
    """Dead after some rows, the outcome has them, and is cut."""
    outcome = carry(getattr(works, name), 2)

    assert outcome.cut is not None
    assert (outcome.cut.cause, len(outcome.rows)) == (cause, 2)


def test_too_little_memory_is_refused_beforehand(works: ModuleType) -> None:
    """Messages that would not fit the memory are refused before a process is started, with how much is needed."""
    with pytest.raises(MachineError, match="memory"):
        carry(works.count, 1, needs=Needs(queue_bytes=16384, memory_bytes=2**60))


def test_the_head_has_the_honesty_block(works: ModuleType) -> None:
    """A document's head says what was asked, whether it is whole, where it ran and how quiet it was."""
    found = head("harness.x/1", carry(works.count, 1), plan={"a": 1}, argv=["harness", "x"], engine=None)

    assert (found["schema"], found["plan"], found["complete"], found["cut"]) == ("harness.x/1", {"a": 1}, True, None)
    assert found["disturbance"]["verdict"] in ("clean", "disturbed", "oversubscribed", "unknown")
    assert found["disturbance"]["steal_share"] is None or 0 <= found["disturbance"]["steal_share"] <= 1
    assert found["environment"]["kernel_release"]


@pytest.mark.parametrize("killed", [False, True])
def test_a_folder_goes_with_the_chamber(works: ModuleType, killed: bool) -> None:
    """Who needs a folder has one of its own, and it is gone with its files when the chamber is, however it ended."""
    outcome = carry(works.has_a_folder, killed, needs=Needs(queue_bytes=16384, folder=True))

    [row] = outcome.rows
    assert row["mode"] == 0o700
    assert not Path(row["folder"]).exists()
    assert (outcome.cut is not None) == killed
