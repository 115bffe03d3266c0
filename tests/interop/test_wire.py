"""The bytes on the queue: what a real PHP sends Python receives, and the other way round, as it was measured."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from harness.sysv import Message, Queue

if TYPE_CHECKING:
    from tests.interop.conftest import Php

pytestmark = pytest.mark.private_ipc

KEY = 0o3000111


def facts(name: str) -> list[dict[str, Any]]:
    """The messages of a file of this folder."""
    messages: list[dict[str, Any]] = json.loads((Path(__file__).parent / name).read_text(encoding="utf-8"))
    return messages


def named_by_case(fact: dict[str, Any]) -> str:
    return f"{fact['case']}-{'serialized' if fact['serialize'] else 'plain'}"


def named_by_bytes(fact: dict[str, Any]) -> str:
    sent = "nothing" if fact["sent_hex"] is None else fact["sent_hex"] or "empty"
    return f"{sent}-{'unserialized' if fact['unserialize'] else 'plain'}"


FROM_PHP = facts("php_to_python.json")
TO_PHP = facts("python_to_php.json")


@pytest.mark.parametrize("fact", [fact for fact in FROM_PHP if "hex" in fact], ids=named_by_case)
def test_python_receives_the_bytes_that_php_sent(fact: dict[str, Any], php: Php) -> None:
    """A value that PHP sends, serialized or not, arrives with its type as exactly the bytes that were measured."""
    with Queue.create(KEY) as queue:
        told = php.send(KEY, fact["case"], type=fact["type"], serialize=fact["serialize"])

        # msg_send leaves its error variable alone when all is well.
        assert (told["returned"], told["error"], told["warning"], told["thrown"]) == (True, None, "", None)
        assert list(queue.drain()) == [Message(fact["type"], bytes.fromhex(fact["hex"]))]


@pytest.mark.parametrize("fact", [fact for fact in FROM_PHP if "refused" in fact], ids=named_by_case)
def test_php_refuses_to_send_what_is_no_text(fact: dict[str, Any], php: Php) -> None:
    """null, an array or an object unserialized is a TypeError in PHP, and nothing is sent."""
    with Queue.create(KEY) as queue:
        told = php.send(KEY, fact["case"], type=fact["type"], serialize=fact["serialize"])

        assert told["thrown"] == fact["refused"]
        assert queue.stat().messages == 0


@pytest.mark.parametrize("fact", TO_PHP, ids=named_by_bytes)
def test_php_makes_of_pythons_bytes_what_was_measured(fact: dict[str, Any], php: Php) -> None:
    """Bytes that Python sends reach PHP unchanged, or unserialized, or corrupted, as measured; none stay behind."""
    expected = {name: fact[name] for name in fact.keys() - {"sent_hex", "unserialize"}}
    with Queue.create(KEY) as queue:
        if fact["sent_hex"] is not None:
            queue.send(bytes.fromhex(fact["sent_hex"]), type=3, timeout=0)

        told = php.receive(KEY, unserialize=fact["unserialize"])

        assert {name: told[name] for name in told.keys() - {"pid"}} == expected
        assert queue.stat().messages == 0


@pytest.mark.parametrize("payload", [bytes(range(256)), b"\0", b"x" * 8192], ids=["every-byte", "nul", "msgmax"])
def test_bytes_pass_unchanged(payload: bytes, php: Php) -> None:
    """Every byte, and a message of the kernel's usual msgmax, reaches PHP as it is."""
    with Queue.create(KEY) as queue:
        queue.send(payload, timeout=0)

        told = php.receive(KEY)

        assert bytes.fromhex(told["text_hex"]) == payload
