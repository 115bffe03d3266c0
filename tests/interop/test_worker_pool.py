"""Lab 07's program and a real PHP on one queue: PHP's producer to its workers, its proxy to PHP's consumer."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from harness.labkit.stage import Program, Stage, wait_until
from harness.sysv import Queue

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.interop.conftest import Php

pytestmark = pytest.mark.private_ipc

LAB = Path(__file__).parents[2] / "labs" / "07_worker_pool"
KEY = 0o3000111


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    """What starts lab 07's solution; it is ended at the end."""
    with Stage(LAB / "solution.py", tmp_path, lab=LAB) as made:
        yield made


def start(stage: Stage, workers: int) -> tuple[Program, int]:
    """Start the lab's program as the original, on loopback; returns it and its port, which is open."""
    port = stage.free_port()
    program = stage.run("--as-original", "--bind", "127.0.0.1", "--port", str(port), "--workers", str(workers))
    # Not at a line's beginning: a worker that finds a message at once has written it there, without an end of line.
    program.wait_for(rf"stream_socket_server bind=udp://127\.0\.0\.1:{port}$")
    return program, port


def test_the_lab_s_workers_print_what_php_sends(stage: Stage, php: Php) -> None:
    """What PHP's msg_send puts on the original's key comes out of the lab's worker, byte for byte behind its name."""
    program, _ = start(stage, workers=1)

    answers = [php.send(KEY, "str_hello")["returned"], php.send(KEY, "str_hello", serialize=True)["returned"]]

    assert answers == [True, True]
    program.wait_for(re.escape('[Worker 0] hello[Worker 0] s:5:"hello";'))


@pytest.mark.parametrize("payload", [b"hello", b"", b"0", bytes(range(256))], ids=["hello", "empty", "0", "every-byte"])
def test_php_receives_what_the_lab_s_proxy_queued(stage: Stage, payload: bytes, php: Php) -> None:
    """A datagram that the lab's proxy answers OK reaches PHP's msg_receive as a message of type 1, unchanged."""
    _, port = start(stage, workers=0)

    answer = stage.ask(port, payload)
    told = php.receive(KEY, max_bytes=8192)

    assert (answer, told["type"], bytes.fromhex(told["text_hex"])) == (b"OK\n", 1, payload)


def test_php_and_the_lab_share_one_queue_whoever_was_first(stage: Stage, php: Php) -> None:
    """The lab's program joins a queue that PHP made, and its worker takes what waited there."""
    php.run("create.php", key=KEY)
    php.send(KEY, "str_hello")

    program, _ = start(stage, workers=1)
    program.wait_for(re.escape("[Worker 0] hello"))

    wait_until(lambda: Queue.open(KEY).stat().messages == 0, "the queue to be empty")
    assert Queue.open(KEY).stat().mode == 0o666


def test_phps_consumers_and_the_lab_s_workers_take_turns(stage: Stage, php: Php) -> None:
    """A PHP consumer that waits beside the lab's worker gets one of two datagrams, the worker the other."""
    program, port = start(stage, workers=1)
    worker = int(program.wait_for(r"^create worker 0\.pid = (\d+)$")[1])
    php.wait_until_asleep(worker)
    with php.started("receive.php", key=KEY, type=0, max_bytes=8192, unserialize=False, flags=[]) as consumer:
        php.wait_until_asleep(consumer.pid)

        answers = [stage.ask(port, b"one"), stage.ask(port, b"two")]
        told = php.answer(consumer)

    assert answers == [b"OK\n", b"OK\n"]
    assert bytes.fromhex(told["text_hex"]) == b"two"
    program.wait_for(re.escape("[Worker 0] one"))
