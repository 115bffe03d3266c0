"""Selectors: msgrcv's third argument, and its flag MSG_EXCEPT."""

from __future__ import annotations

import pytest

from harness.sysv import Selector
from harness.sysv.errors import PayloadError
from harness.sysv.msgrcv import MSG_EXCEPT, MSG_NOERROR

LARGEST = 2**31 - 1


@pytest.mark.parametrize(
    ("selector", "msgtyp", "text", "taken", "refused"),
    [
        (Selector.any(), 0, "any type", [1, 7, LARGEST], []),
        (Selector.exactly(7), 7, "type 7", [7], [1, 6, 8]),
        (Selector.at_most(7), -7, "lowest type up to 7", [1, 6, 7], [8, LARGEST]),
        (Selector.at_most(LARGEST), -LARGEST, f"lowest type up to {LARGEST}", [1, LARGEST], []),
        (Selector.anything_but(7), 7, "any type but 7", [1, 6, 8, LARGEST], [7]),
    ],
)
def test_a_selector_knows_its_number_its_words_and_what_it_takes(
    selector: Selector, msgtyp: int, text: str, taken: list[int], refused: list[int]
) -> None:
    """Each kind has the kernel's number, reads as a sentence, and takes the types that msgrcv(2) says."""
    assert selector.msgtyp == msgtyp
    assert str(selector) == text
    assert [type_ for type_ in taken + refused if selector.takes(type_)] == taken


@pytest.mark.parametrize(
    "selector", [Selector.any(), Selector.exactly(3), Selector.at_most(3), Selector.anything_but(3)]
)
def test_the_repr_of_a_selector_makes_it_again(selector: Selector) -> None:
    """repr is the expression that makes an equal selector."""
    assert eval(repr(selector)) == selector


@pytest.mark.parametrize("wrong", [0, -1, LARGEST + 1, True, "1", 1.0, None])
def test_a_type_outside_the_range_is_refused(wrong: object) -> None:
    """Types are ints from 1 to 2**31-1; a bool is none."""
    with pytest.raises(PayloadError):
        Selector.exactly(wrong)  # type: ignore[arg-type]
    with pytest.raises(PayloadError):
        Selector.at_most(wrong)  # type: ignore[arg-type]
    with pytest.raises(PayloadError):
        Selector.anything_but(wrong)  # type: ignore[arg-type]


def test_two_selectors_of_one_type_are_two() -> None:
    """A type and anything but that type have the same number, and are not equal."""
    assert Selector.anything_but(3).msgtyp == Selector.exactly(3).msgtyp
    assert Selector.anything_but(3) != Selector.exactly(3)


@pytest.mark.parametrize(
    ("msgtyp", "flags"), [(0, MSG_EXCEPT), (-3, MSG_EXCEPT), (3, MSG_NOERROR), (3, MSG_EXCEPT | MSG_NOERROR), (3, True)]
)
def test_flags_that_select_nothing_are_refused(msgtyp: int, flags: int) -> None:
    """MSG_EXCEPT needs a type, as the kernel ignores it otherwise, and no other flag belongs to a selector."""
    with pytest.raises(PayloadError, match="MSG_EXCEPT"):
        Selector(msgtyp, flags)


@pytest.mark.parametrize("wrong", [2**31, -(2**31), True, False, "1", 0.0, None])
def test_a_number_that_msgrcv_cannot_take_is_refused(wrong: object) -> None:
    """A selector made from a bare number is checked too."""
    with pytest.raises(PayloadError):
        Selector(wrong)  # type: ignore[arg-type]
