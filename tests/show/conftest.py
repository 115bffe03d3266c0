"""What the tests of the report share: a result such as a run leaves, small, and a snapshot of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from harness.experiments.follow import Snapshot
from harness.measure.histogram import Histogram

if TYPE_CHECKING:
    from collections.abc import Callable

TIMES = {
    "p50": 5_000,
    "p90": 9_000,
    "p99": 50_000,
    "p99_9": 90_000,
    "p99_99": 400_000,
    "max": 1_500_000,
    "mean": 6_000.0,
}
NO_TIMES: dict[str, None] = dict.fromkeys(TIMES)


def base() -> dict[str, Any]:
    workers = [
        {"role": "producer", "index": 0, "queue": 0, "takes": None, "messages": 5_000_000, "refused": 0},
        {"role": "consumer", "index": 0, "queue": 0, "takes": "any type", "messages": 5_000_000, "refused": None},
    ]
    use = {"blocked_s": 0.0, "cpu_share": 0.98, "wait_share": 0.001, "switches": 1234, "ended": "done"}
    return {
        "plan": {
            "rate": 500_000.0,
            "loop": "open",
            "outstanding": 1,
            "duration_s": 10.0,
            "count": None,
            "size": {"smallest": 32, "largest": 32},
            "types": [{"type": 1, "weight": 1}],
            "select": "any",
            "producers": 1,
            "consumers": 1,
            "queues": 1,
            "queue_bytes": 16 * 2**20,
            "key": None,
        },
        "engine": "native",
        "complete": True,
        "cut": None,
        "sustained": True,
        "achieved_rate": 499_987.0,
        "offered_rate": 500_000.0,
        "elapsed_s": 10.0,
        "latency_ns": dict(TIMES),
        "service_ns": dict(TIMES),
        "pacing_error_ns": dict(TIMES),
        **dict.fromkeys(("attempted", "sent", "received", "received_once"), 5_500_000),
        **dict.fromkeys(("refused", "unknown", "duplicated", "out_of_order", "undecided", "left_in_queue"), 0),
        **dict.fromkeys(("held_by_killed", "lost", "foreign", "unsent", "queue_full"), 0),
        "balanced": True,
        "blocked_s": 0.0,
        "per_message": {"cpu_ns": 1834.2, "switches": 0.0012},
        "memory_bytes": 48 * 2**20,
        "disturbance": {
            "verdict": "clean",
            "steal_share": 0.001,
            "runnable_wait_share": 0.002,
            "throttled_ns": 0,
            "jitter": {"p99_ns": 600, "max_ns": 70_000},
        },
        "by_type": [{"type": 1, "sent": 5_500_000, "received": 5_500_000, "latency_ns": dict(TIMES)}],
        "by_worker": [{**worker, **use} for worker in workers],
        "series": {"width_s": 0.1, "columns": ["t_s", "sent", "received", "refused", "behind", "depth"], "rows": []},
        "runs": [{"achieved_rate": 499_987.0}],
        "steps": [],
        "thresholds": [],
        "warnings": [],
        "advice": "",
    }


@pytest.fixture
def result_with() -> Callable[..., dict[str, Any]]:
    """Makes a result of a run that went well, with the figures that are given in place of its own."""

    def make(*, plan: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
        result = base()
        result["plan"] |= plan or {}
        return result | changes

    return make


@pytest.fixture
def snapshot_with() -> Callable[..., Snapshot]:
    """Makes a snapshot of a run in its window, with the figures that are given in place of its own."""

    def make(**changes: Any) -> Snapshot:
        latency = Histogram()
        figures: dict[str, Any] = {
            "phase": "load",
            "elapsed_s": 4.0,
            "total_s": 11.0,
            "sent": 2_000_000,
            "received": 1_999_000,
            "refused": 0,
            "sent_rate": 500_000.0,
            "received_rate": 499_000.0,
            "asked_rate": 500_000.0,
            "due": 5_000_000,
            "depth": 1000,
            "room": 16 * 2**20,
            "latency": latency,
        }
        return Snapshot(**figures | changes)

    return make
