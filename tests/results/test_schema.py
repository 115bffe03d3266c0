"""harness.load/1: what real runs write is what the schema says, and the schema notices what is not."""

from __future__ import annotations

import copy
import json
import os
import signal
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest
from jsonschema import Draft202012Validator

from harness.results.schema import load_schema
from harness.sysv import Queue

if TYPE_CHECKING:
    from collections.abc import Iterator

LIMIT_S = 30.0
SHORT = ("--duration", "200ms", "--warmup", "50ms", "--drain", "200ms")
MODES = {
    "open loop": ("--rate", "2k", "--fail-if", "lost>0", "--label", "short"),
    "python engine": ("--rate", "2k", "--engine", "python"),
    "several of each": (
        *("--rate", "2k", "--types", "1:3,2:1", "--select", "exact"),
        *("--producers", "2", "--consumers", "4", "--queues", "2", "--size", "32..64"),
    ),
    "shared streams": ("--rate", "2k", "--consumers", "2"),
    "all types but one": ("--rate", "2k", "--types", "1,2", "--select", "except"),
    "rate max": ("--rate", "max", "--fail-if", "p99>1s"),
    "closed loop": ("--closed", "--outstanding", "2"),
    "full queue": ("--rate", "50k", "--queue-bytes", "320", "--when-full", "refuse"),
    "ramp": ("--rate", "1k..2k/2"),
    "repeats": ("--rate", "2k", "--repeat", "2"),
}


def load(*arguments: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "harness", "load", "--json", "-", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=LIMIT_S,
    )
    assert done.returncode in (0, 1), done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def problems(document: dict[str, Any]) -> list[str]:
    checker = Draft202012Validator(load_schema(), format_checker=Draft202012Validator.FORMAT_CHECKER)
    return [f"{error.json_path}: {error.message}" for error in checker.iter_errors(document)]


def is_valid(checker: Draft202012Validator, document: dict[str, Any]) -> bool:
    return next(checker.iter_errors(document), None) is None


@pytest.fixture(scope="module")
def result() -> dict[str, Any]:
    """A real result, cut to a row of each list so that hundreds of variants of it can be checked."""
    document = load("--rate", "2k", "--fail-if", "lost>0", *SHORT)
    document["series"]["rows"] = document["series"]["rows"][:1]
    document["histogram"]["counts"] = document["histogram"]["counts"][:1]
    document["by_worker"] = document["by_worker"][:1]
    return document


def step_of(result: dict[str, Any]) -> dict[str, Any]:
    """A ramp's step, as this result would be one."""
    schema = load_schema()["$defs"]
    names = [*schema["figures"]["properties"], *schema["summary"]["properties"]]
    return {"rate": 2000.0, **{name: result[name] for name in names}}


def objects(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from objects(item)


def test_the_schema_is_one_of_draft_2020_12() -> None:
    """The schema itself is valid under the draft that it names."""
    schema = load_schema()

    Draft202012Validator.check_schema(schema)

    assert schema["$schema"] == Draft202012Validator.META_SCHEMA["$id"]


@pytest.mark.parametrize("mode", MODES)
def test_a_real_run_is_valid(mode: str) -> None:
    """What a run of this mode writes is what the schema says."""
    document = load(*SHORT, *MODES[mode])

    assert document["complete"]
    assert problems(document) == []


@pytest.mark.private_ipc(limit_s=LIMIT_S)
def test_a_run_on_somebody_elses_queue_is_valid() -> None:
    """A run without consumers of its own has null where it cannot know, and the schema allows it."""
    with Queue.create(0xC0049):
        document = load("--key", "0xC0049", "--consumers", "0", "--count", "20", "--rate", "1k", "--warmup", "0s")

    assert document["received"] is None
    assert problems(document) == []


def test_an_interrupted_run_is_valid() -> None:
    """A run that SIGINT cut short says so, and is valid as well."""
    command = [sys.executable, "-m", "harness", "load", "--json", "-", "--rate", "1k", "--duration", "60s"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        limit = threading.Timer(LIMIT_S, process.kill)
        limit.start()
        assert process.stderr is not None
        for line in process.stderr:
            if " load " in line and "sent" in line:
                os.kill(process.pid, signal.SIGINT)
                break
        written, _ = process.communicate()
        limit.cancel()
    document = json.loads(written)

    assert process.returncode == 128 + signal.SIGINT
    assert document["complete"] is False
    assert document["cut"]["cause"] == "interrupted"
    assert problems(document) == []


def test_a_missing_key_is_noticed(result: dict[str, Any]) -> None:
    """No key of any object in a result may be left out."""
    checker = Draft202012Validator(load_schema())
    variant = copy.deepcopy(result)
    overlooked = []

    assert is_valid(checker, variant)
    for place in objects(variant):
        for key in list(place):
            taken = place.pop(key)
            if is_valid(checker, variant):
                overlooked.append(key)
            place[key] = taken

    assert overlooked == []


def test_an_added_key_is_noticed(result: dict[str, Any]) -> None:
    """No object in a result may have a key that the schema does not know."""
    checker = Draft202012Validator(load_schema())
    variant = copy.deepcopy(result)
    overlooked = []

    for place in objects(variant):
        place["surplus"] = 1
        if is_valid(checker, variant):
            overlooked.append(sorted(place))
        del place["surplus"]

    assert overlooked == []


def test_a_step_is_as_strict(result: dict[str, Any]) -> None:
    """A ramp's step has the figures, the details and its rate, no less and no more."""
    checker = Draft202012Validator(load_schema())
    step = step_of(result)

    whole = is_valid(checker, {**result, "steps": [step]})
    less = [is_valid(checker, {**result, "steps": [{k: step[k] for k in step if k != key}]}) for key in step]
    more = is_valid(checker, {**result, "steps": [{**step, "surplus": 1}]})

    assert whole
    assert not any(less)
    assert not more


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("schema", "harness.load/2"),
        ("complete", None),
        ("sent", None),
        ("sent", -1),
        ("sent", 1.5),
        ("lost", "0"),
        ("achieved_rate", "500 k/s"),
        ("started_at", 0),
        ("engine", "auto"),
        ("warnings", None),
        ("runs", []),
    ],
)
def test_a_wrong_value_is_noticed(result: dict[str, Any], key: str, value: Any) -> None:
    """A figure of another type, or one that cannot be, is noticed."""
    variant = {**result, key: value}

    found = problems(variant)

    assert len(found) >= 1


def test_every_value_has_a_description() -> None:
    """Every property says what it is, itself or in the definition that it refers to."""
    schema = load_schema()

    silent = [
        name
        for place in objects(schema)
        if isinstance(place.get("properties"), dict)
        for name, value in place["properties"].items()
        if not described(value, schema)
    ]

    assert silent == []


def described(value: dict[str, Any], schema: dict[str, Any]) -> bool:
    if "$ref" in value and "description" not in value:
        value = schema["$defs"][value["$ref"].rpartition("/")[2]]
    return bool(value.get("description"))
