"""harness.udp/1: what real runs write is what the schema says, and the schema notices what is not."""

from __future__ import annotations

import copy
import json
import re
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import pytest
from jsonschema import Draft202012Validator

from harness.experiments.udp import COUNTS, run_udp
from harness.experiments.udp_plan import Target, UdpPlan
from harness.results import parse_threshold
from harness.results.schema import udp_schema

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from harness.experiments.udp_follow import UdpSnapshot

NOBODY_S = 3600.0


class Nobody:
    """Looks at nothing."""

    interval_s = NOBODY_S

    def started(self, plan: UdpPlan, number: int, of: int) -> None:
        pass

    def sample(self, snapshot: UdpSnapshot) -> None:
        pass


def checker() -> Draft202012Validator:
    return Draft202012Validator(udp_schema(), format_checker=Draft202012Validator.FORMAT_CHECKER)


def problems(document: dict[str, Any]) -> list[str]:
    return [f"{error.json_path}: {error.message}" for error in checker().iter_errors(document)]


def run(port: int, *, cut: bool = False, **changes: Any) -> dict[str, Any]:
    plan = UdpPlan(
        **{
            "target": Target("127.0.0.1", port),
            "rate": Fraction(200),
            "duration_s": 0.2,
            "warmup_s": 0.05,
            "drain_s": 0.1,
            **changes,
        }
    )
    document = run_udp(
        plan,
        Nobody(),
        interrupted=lambda: "SIGINT" if cut else None,
        argv=["harness", "load"],
        thresholds=[parse_threshold("missing>0", COUNTS), parse_threshold("p99>1s", COUNTS)],
    )
    parsed: dict[str, Any] = json.loads(json.dumps(document))
    return parsed


@pytest.fixture
def port(udp_server: Callable[..., Any]) -> int:
    """Where all kinds of replies come from, and now and then none."""
    replies = [b"OK\n", b"ER\n", b"?", b""]
    found: int = udp_server(lambda n: [(0.0, replies[n % 4])] if n % 5 else []).port
    return found


def objects(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from objects(item)


def test_the_schema_is_one_of_draft_2020_12() -> None:
    """The schema itself is valid under the draft that it names."""
    Draft202012Validator.check_schema(udp_schema())


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"pipelined": True, "reply_timeout_s": None},
        {"repeat": 2},
        {"count": 20, "duration_s": None, "size": (64, 128)},
        {"cut": True, "duration_s": 60.0},
    ],
    ids=str,
)
def test_a_real_run_is_valid(changes: dict[str, Any], port: int) -> None:
    """What a run of this kind writes is what the schema says."""
    assert problems(run(port, **{"reply_timeout_s": 0.1, **changes})) == []


def test_a_run_to_a_closed_port_is_valid() -> None:
    """Where nobody listens, what is not known is null, and the schema allows it."""
    document = run(9)

    assert document["cut"]["cause"] == "nobody-listens"
    assert problems(document) == []


def test_missing_and_added_keys_are_noticed(port: int) -> None:
    """No key of any object in a result may be left out, and none may be added."""
    document = run(port, reply_timeout_s=0.1)
    document["series"]["rows"] = document["series"]["rows"][:1]
    document["histogram"]["counts"] = document["histogram"]["counts"][:1]
    variant, check, overlooked = copy.deepcopy(document), checker(), []

    def is_valid() -> bool:
        return next(check.iter_errors(variant), None) is None

    assert is_valid()
    for place in objects(variant):
        for key in list(place):
            taken = place.pop(key)
            if is_valid():
                overlooked.append(f"{key} left out")
            place[key] = taken
        place["surplus_key"] = 1
        if is_valid():
            overlooked.append(f"added beside {sorted(place)}")
        del place["surplus_key"]

    assert overlooked == []


def test_every_key_is_described(repository: Path) -> None:
    """docs/results.md names each key of the schema that is not one of harness.load/1's, in its section."""
    text = (repository / "docs/results.md").read_text(encoding="utf-8")
    section = text.partition("\n## harness.udp/1\n")[2].partition("\n## ")[0]

    named = set(re.findall(r"`(\w+)`", section))
    schema = udp_schema()
    figures, plan = schema["$defs"]["figures"]["properties"], schema["$defs"]["plan"]["properties"]
    keys = {*schema["properties"], *figures, *plan, *figures["sender"]["properties"]}

    assert keys - named == set()


def test_every_value_has_a_description() -> None:
    """Every property of the schema's own says what it is."""
    schema = udp_schema()
    del schema["$defs"]["load"]

    silent = [
        name
        for place in objects(schema)
        if isinstance(place.get("properties"), dict)
        for name, value in place["properties"].items()
        if not value.get("description") and "$ref" not in value
    ]

    assert silent == []
