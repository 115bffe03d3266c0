"""The experiments' documents: their common beginning is what its schema says, and harness diff knows their figures."""

from __future__ import annotations

import json
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from harness.experiments import (
    BlockPlan,
    ClaimsPlan,
    ComparePlan,
    FlipflopPlan,
    SelectPlan,
    run_block,
    run_claims,
    run_compare,
    run_flipflop,
    run_select,
)
from harness.results.compare import compare
from harness.results.kinds import KINDS
from harness.results.loading import Result
from harness.results.schema import experiment_schema
from harness.sysv.errors import UsageError

MAKERS = {
    "select": lambda: run_select(SelectPlan(depths=(2, 10), rounds=3, sleepers=(0, 3), bystander_depth=2)),
    "block": lambda: run_block(BlockPlan(parts=("wake", "never-fits"), rounds=3)),
    "flipflop": lambda: run_flipflop(FlipflopPlan(count=4, every_ns=0, rounds=1)),
    "compare": lambda: run_compare(ComparePlan(transports=("sysv", "pipe"), rounds=3, duration_s=0.02, paced_s=0.05)),
    "claims": lambda: run_claims(
        ClaimsPlan(
            rounds=1, duration_s=0.02, warmup_s=0.0, message_bytes=(65_536,), burst_messages=10, paced_messages=4
        )
    ),
}
DIFFED = {
    "select": {"any 2": "ns", "peek 10": "ns", "send 3": "ns", "bystander slowed": "ratio"},
    "block": {"wake same CPU median": "ns", "never-fits detected": "ns"},
    "compare": {"sysv rate": "messages/s", "pipe to sysv": "ratio", "pipe p99": "ns", "pipe wrong": "messages"},
}


@pytest.fixture(scope="module", params=MAKERS)
def made(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    """A real document of each kind, as it is written and read."""
    return request.param, json.loads(json.dumps(MAKERS[request.param](), allow_nan=False))


def problems(document: dict[str, Any]) -> list[str]:
    checker = Draft202012Validator(experiment_schema(), format_checker=Draft202012Validator.FORMAT_CHECKER)
    return [f"{error.json_path}: {error.message}" for error in checker.iter_errors(document)]


def test_a_document_begins_as_its_schema_says(made: tuple[str, dict[str, Any]]) -> None:
    """Kind, plan, honesty block, warnings, environment and rows are there, and are what they should be."""
    name, document = made

    assert problems(document) == []
    assert document["schema"] == f"harness.{name}/1"


@pytest.mark.parametrize(
    ("key", "value"),
    [("complete", "yes"), ("cut", {"cause": "bored", "sentence": ""}), ("disturbance", {}), ("rows", None)],
)
def test_the_schema_notices_what_is_wrong(key: str, value: object, made: tuple[str, dict[str, Any]]) -> None:
    """A key with another meaning, or one that is missing, is not valid."""
    _, document = made

    assert problems(document | {key: value}) != []
    assert problems({name: found for name, found in document.items() if name != key}) != []


def test_harness_diff_knows_its_figures(made: tuple[str, dict[str, Any]]) -> None:
    """Two documents of a kind that has better and worse are compared figure by figure, a value for each round."""
    name, document = made
    if name not in DIFFED:
        with pytest.raises(UsageError, match=f"harness.{name}/1"):
            compare(Result("A.json", document), Result("B.json", document))
        return

    found = compare(Result("A.json", document), Result("B.json", document))

    figures = {figure["name"]: figure for figure in found["figures"]}
    assert {key: figures[key]["unit"] for key in DIFFED[name]} == DIFFED[name]
    assert all(len(figures[key]["before"]["values"]) == 3 for key in DIFFED[name])
    assert found["verdict"] in ("no difference", "not enough runs")


def test_every_kind_is_known_or_has_no_better() -> None:
    """The table has each kind of document in which something can be better or worse."""
    assert set(KINDS) == {
        f"harness.{name}/1" for name in ("load", "ceiling", "udp", "find-rate", "select", "block", "compare")
    }
