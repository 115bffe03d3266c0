"""What only the native engine promises: the same buckets, and no hold on the GIL."""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from harness.engines import choice
from harness.engines.protocol import Reason
from harness.measure.histogram import BUCKETS, HIGHEST_VALUE
from harness.measure.histogram import bucket_of as bucket_in_python

if TYPE_CHECKING:
    from types import ModuleType

    from harness.engines.protocol import Engine
    from tests.engines.conftest import Bench


def test_native_is_built() -> None:
    """The native engine was built; where that was not required, its absence is a skip."""
    problem = choice.native_problem()
    if problem and not os.environ.get("HARNESS_REQUIRE_NATIVE"):
        pytest.skip(f"native engine: {problem}; HARNESS_REQUIRE_NATIVE=1 makes this a failure")

    assert problem is None


class TestBuckets:
    @given(
        st.integers(-(2**63), 2**63 - 1) | st.integers(0, 2**20) | st.integers(0, 63).map(lambda bits: (1 << bits) - 1)
    )
    @example(HIGHEST_VALUE)
    @example(HIGHEST_VALUE + 1)
    @example(255)
    @example(256)
    def test_are_those_of_the_histogram(self, native_module: ModuleType, value: int) -> None:
        """For every value that 64 bits hold, the C formula and the Python one give the same bucket."""
        assert native_module.bucket_of(value) == bucket_in_python(value)

    def test_end_where_the_histogram_ends(self, native_module: ModuleType) -> None:
        """The greatest value goes to the last bucket there is."""
        assert native_module.bucket_of(2**63 - 1) == BUCKETS - 1


@pytest.mark.private_ipc(queue_bytes=2**16)
def test_threads_run_while_a_receiver_sleeps(native_engine: Engine, bench: type[Bench]) -> None:
    """A receiver that is blocked in C holds no GIL: other threads of its process go on."""
    at = bench()
    receiver = at.receiver(native_engine)
    reasons: list[Reason] = []
    thread = threading.Thread(target=lambda: reasons.append(receiver.run(0)))
    thread.start()
    deadline_s = time.monotonic() + 10
    while not at.asleep(os.getpid(), thread.native_id):
        assert time.monotonic() < deadline_s, "the receiver never slept"

    steps = sum(range(100_000))  # this thread's progress, with the other one asleep
    still_asleep = at.asleep(os.getpid(), thread.native_id)
    at.put(0)
    thread.join()

    assert steps == 4_999_950_000
    assert still_asleep
    assert reasons == [Reason.TIME]


@pytest.mark.private_ipc(queue_bytes=2**16)
def test_threads_run_while_a_sender_waits(native_engine: Engine, bench: type[Bench]) -> None:
    """A sender that waits for a due time in C holds no GIL either."""
    at = bench(holds=1)
    sender = at.sender(native_engine)
    reasons: list[Reason] = []
    thread = threading.Thread(target=lambda: reasons.append(sender.run(at.forever, 2)))
    thread.start()
    deadline_s = time.monotonic() + 10
    while not at.asleep(os.getpid(), thread.native_id):
        assert time.monotonic() < deadline_s, "the sender never slept"

    at.receiver(native_engine).run(0)
    thread.join()

    assert reasons == [Reason.COUNT]
    assert at.board.sent == 2


@pytest.mark.private_ipc(queue_bytes=2**16)
def test_takes_no_more_types_than_it_has_room_for(native_engine: Engine, bench: type[Bench]) -> None:
    """1024 types are taken; with one more both ends refuse to be made."""
    full, over = tuple(range(1, 1025)), tuple(range(1, 1026))
    at = bench()

    at.receiver(native_engine, types=full)
    at.sender(native_engine, types=full)

    with pytest.raises(ValueError, match="1024 message types, not 1025"):
        at.receiver(native_engine, types=over)
    with pytest.raises(ValueError, match="1024 message types, not 1025"):
        at.sender(native_engine, types=over)
