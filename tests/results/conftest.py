"""What the tests of comparing share: results as `harness load` writes them, small, with the figures that are given."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

TIMES = {"p50": 5_000, "p90": 9_000, "p99": 50_000, "p99_9": 90_000, "p99_99": 400_000, "max": 1_500_000, "mean": 6e3}
PLAN = {
    "rate": 500_000.0,
    "size": {"smallest": 32, "largest": 32},
    "repeat": 5,
    "label": "",
    "seed": 0,
    "engine": "auto",
}
ENVIRONMENT = {
    "machine": "x86_64",
    "cpu_model": "Some CPU",
    "cores_online": 2,
    "cores_allowed": 2,
    "hypervisor": True,
    "container": None,
    "kernel_release": "6.18.0",
    "clock_source": "tsc",
    "versions": {"python": "CPython 3.11.7", "harness": "0.1.0"},
    "git": {"revision": "5ea16da", "dirty": False},
}


def run_with(rate: float | None, **changes: Any) -> dict[str, Any]:
    """One whole run."""
    return {
        "complete": True,
        "achieved_rate": rate,
        "latency_ns": dict(TIMES),
        "service_ns": dict(TIMES),
        "per_message": {"cpu_ns": 1800.0, "switches": 0.001},
        "memory_bytes": 50 * 2**20,
        "lost": 0,
        "duplicated": 0,
        "out_of_order": 0,
        "disturbance": {"verdict": "clean", "busy_others_share": 0.01},
        **changes,
    }


@pytest.fixture
def run() -> Callable[..., dict[str, Any]]:
    """Makes one whole run of this rate, with the keys that are given in place of its own."""
    return run_with


@pytest.fixture
def load_document() -> Callable[..., dict[str, Any]]:
    """Makes a result with a run for each rate (or for each run that is given); the other keys as they are given."""

    def make(
        runs: Sequence[float | dict[str, Any]],
        *,
        plan: dict[str, Any] | None = None,
        environment: dict[str, Any] | None = None,
        **changes: Any,
    ) -> dict[str, Any]:
        return copy.deepcopy(
            {
                "schema": "harness.load/1",
                "label": "",
                "started_at": "2026-01-01T00:00:00+00:00",
                "plan": PLAN | (plan or {}),
                "engine": "native",
                "complete": True,
                "steps": [],
                "runs": [one if isinstance(one, dict) else run_with(one) for one in runs],
                "environment": ENVIRONMENT | (environment or {}),
                **changes,
            }
        )

    return make
