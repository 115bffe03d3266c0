"""Something is killed or removed under a run: it ends in seconds, tells what it had, and leaves nothing."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Any

import pytest

from harness.engines.choice import native_problem
from harness.sysv import Queue, queues

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.conftest import OrdinaryUser
    from tests.faults.conftest import Load

LONG = ("--rate", "5k", "--duration", "60s", "--warmup", "0.1s", "--drain", "0.2s")

pytestmark = pytest.mark.private_ipc


@pytest.mark.parametrize("visible", [(), ("--visible",)], ids=["private", "visible"])
@pytest.mark.parametrize("victim", ["producer 0", "consumer 0"])
def test_a_killed_worker_ends_the_run(
    victim: str,
    visible: tuple[str, ...],
    start: Callable[..., Load],
    result_of: Callable[[], dict[str, Any]],
    tmp_path: Path,
) -> None:
    """A killed worker ends the run with 1; what was measured is shown and saved as incomplete, and names it."""
    load = start(*LONG, *visible, "--json", str(tmp_path / "result.json"))
    load.wait_until_loaded()

    os.kill(load.crew()[1 if "producer" in victim else 2], signal.SIGKILL)

    assert load.end() == 1
    result = result_of()
    assert result["complete"] is False
    assert result["cut"]["cause"] == "worker-killed"
    assert victim in result["cut"]["sentence"]
    assert f"INCOMPLETE: {result['cut']['sentence']}" in load.said
    assert result["sent"] > 0
    assert result["lost"] == 0
    assert "Traceback" not in load.said
    load.wait_until_nothing_is_left()


@pytest.mark.parametrize("visible", [(), ("--visible",)], ids=["private", "visible"])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_leader_ends_the_run(
    number: signal.Signals,
    visible: tuple[str, ...],
    start: Callable[..., Load],
    result_of: Callable[[], dict[str, Any]],
    tmp_path: Path,
) -> None:
    """When the leader is killed its workers and queues go too, and the run ends with 1 and what was measured."""
    load = start(*LONG, *visible, "--json", str(tmp_path / "result.json"))
    load.wait_until_loaded()

    os.kill(load.crew()[0], number)

    assert load.end() == 1
    result = result_of()
    assert result["complete"] is False
    assert result["cut"]["cause"] == "leader-killed"
    assert result["sent"] > 0
    assert result["lost"] == 0
    assert "INCOMPLETE" in load.said
    assert "defect" not in load.said
    load.wait_until_nothing_is_left()


@pytest.mark.parametrize("engine", ["native", "python"])
def test_a_queue_removed_from_outside_ends_the_run(
    engine: str, start: Callable[..., Load], result_of: Callable[[], dict[str, Any]], tmp_path: Path
) -> None:
    """`ipcrm` under a --visible run ends it with 1, incomplete; what lay in the queue is not called lost."""
    if engine == "native" and (problem := native_problem()):
        pytest.skip(f"the native engine is not here: {problem}")
    load = start(*LONG, "--visible", "--engine", engine, "--json", str(tmp_path / "result.json"))
    load.wait_until_loaded()

    [queue] = queues()
    Queue.open(queue.key).remove()

    assert load.end() == 1
    result = result_of()
    assert result["complete"] is False
    assert result["cut"]["cause"] == "queue-removed"
    assert result["lost"] == 0
    assert "the queue was removed while the run was going on" in load.said
    load.wait_until_nothing_is_left()


def test_a_producer_killed_asleep_on_a_full_queue_ends_the_run(
    start: Callable[..., Load], result_of: Callable[[], dict[str, Any]], tmp_path: Path
) -> None:
    """With both ends as fast as they can the workers sleep and wake all the time; a kill is still seen and told."""
    load = start(
        *("--rate", "max", "--duration", "60s", "--warmup", "0.1s", "--producers", "2"),
        *("--queue-bytes", "4KiB", "--json", str(tmp_path / "result.json")),
    )
    load.wait_until_loaded()

    os.kill(load.crew(3)[2], signal.SIGKILL)

    assert load.end() == 1
    result = result_of()
    assert "producer 1" in result["cut"]["sentence"]
    assert result["lost"] == 0
    load.wait_until_nothing_is_left()


def test_an_ordinary_user_is_told_the_same(as_user: OrdinaryUser, start: Callable[..., Load], tmp_path: Path) -> None:
    """As an ordinary user, with the user namespace that this takes, a killed consumer ends the run with 1 as well."""
    load = start(*LONG, prefix=as_user.prefix, env=as_user.env)
    load.wait_until_loaded()

    os.kill(load.crew()[2], signal.SIGKILL)

    assert load.end() == 1
    assert "INCOMPLETE: consumer 0" in load.said
    load.wait_until_nothing_is_left()
