"""What is refused before sysv_ipc sees it."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.sysv import checks
from harness.sysv.errors import PayloadError, UsageError


@given(st.integers(1, 2**32 - 1))
def test_every_key_that_ipcs_can_print_has_one_key_t(key: int) -> None:
    """The signed 32-bit key_t of a key leads back to it."""
    signed = checks.signed_key(key)

    assert -(2**31) <= signed < 2**31
    assert checks.unsigned_key(signed) == key


@pytest.mark.parametrize("wrong", [-1, 2**32, "1", 1.0, None, True])
def test_a_key_that_ipcs_cannot_print_is_refused(wrong: object) -> None:
    """Keys are ints from 1 to 0xffffffff."""
    with pytest.raises(UsageError, match="a key must be an int"):
        checks.signed_key(wrong)  # type: ignore[arg-type]


def test_key_0_is_refused_with_the_way_to_a_private_queue() -> None:
    """Key 0 is IPC_PRIVATE, and the hint names what makes such a queue."""
    with pytest.raises(UsageError) as caught:
        checks.signed_key(0)

    assert "Queue.private" in caught.value.hint


@pytest.mark.parametrize("wrong", [-1, 2**32, "1", None, False])
def test_where_private_keys_pass_the_others_are_still_refused(wrong: object) -> None:
    """With `private`, 0 is a key too, and what ipcs cannot print is still none."""
    assert checks.signed_key(0, private=True) == 0
    with pytest.raises(UsageError, match="an int from 0 to"):
        checks.signed_key(wrong, private=True)  # type: ignore[arg-type]


@pytest.mark.parametrize("wrong", [-1, 0o1000, "600", None, True, 0o600 + 0.0])
def test_a_wrong_mode_is_refused(wrong: object) -> None:
    """Modes are ints from 0 to 0o777."""
    with pytest.raises(UsageError, match="a mode must be"):
        checks.check_mode(wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("wrong", [-1, -0.001, math.nan, "1"])
def test_a_wrong_timeout_is_refused(wrong: object) -> None:
    """Timeouts are None or seconds from 0; NaN is none."""
    with pytest.raises(UsageError, match="a timeout must be"):
        checks.check_timeout(wrong)


@pytest.mark.parametrize("right", [None, 0, 0.0, 1e-9, 3, math.inf])
def test_a_right_timeout_passes(right: float | None) -> None:
    """None, 0 and any positive number are timeouts."""
    checks.check_timeout(right)


def test_a_view_with_gaps_is_copied_whole() -> None:
    """A memoryview that is not contiguous becomes the bytes it shows."""
    payload = checks.check_payload(memoryview(b"a-b-c-")[::2])

    assert payload == b"abc"


def test_a_released_view_is_refused() -> None:
    """A released memoryview is a PayloadError, not a ValueError from below."""
    view = memoryview(b"abc")
    view.release()

    with pytest.raises(PayloadError, match="released"):
        checks.check_payload(view)
