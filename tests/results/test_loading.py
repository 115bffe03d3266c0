"""harness.results.loading: a result from a file; what is none is one line that says why, and what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from harness.results.loading import load_result
from harness.sysv.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

BAD = {
    "empty": (b"", "it is empty"),
    "blank": (b" \n", "it is empty"),
    "cut short": (b'{"schema": "harness.load/1", "runs": [', "line 1, column 39"),
    "two documents": (b"{}{}", "Extra data"),
    "text": (b"rate,latency\n1,2\n", "line 1, column 1"),
    "binary": (b"\x1f\x8b\x08\xff\xfe", "it is no text"),
    "a list": (b"[1, 2]", 'no "schema"'),
    "a number": (b"5", 'no "schema"'),
    "null": (b"null", 'no "schema"'),
    "without a schema": (b'{"runs": []}', 'no "schema"'),
    "a schema that is no text": (b'{"schema": 1}', 'no "schema"'),
    "not a number": (b'{"schema": "harness.load/1", "rate": NaN}', "NaN is no JSON number"),
    "too deep": (b"[" * 200_000, "recursion"),
    "a number too long": (b'{"schema": "a", "rate": ' + b"9" * 10_000 + b"}", "digits"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_result_is_refused_in_one_line(name: str, tmp_path: Path) -> None:
    """Whatever stands in the file, it is a UsageError with the file's name, the reason, and a hint."""
    content, why = BAD[name]
    path = tmp_path / "A.json"
    path.write_bytes(content)

    with pytest.raises(UsageError) as refused:
        load_result(str(path))

    assert str(refused.value).startswith(str(path))
    assert why in str(refused.value)
    assert "\n" not in str(refused.value)
    assert refused.value.hint


@pytest.mark.parametrize(
    ("name", "why"), [("nowhere.json", "No such file"), (".", "Is a directory"), ("a\0b", "null byte")]
)
def test_what_cannot_be_read_is_refused(name: str, why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is not there, a directory, and what cannot be a path are refused in the same way."""
    monkeypatch.chdir(tmp_path)

    with pytest.raises(UsageError, match=why):
        load_result(name)


def test_a_result_keeps_the_name_that_it_was_given(tmp_path: Path) -> None:
    """The document is there as it was written, with its schema and the name for people."""
    path = tmp_path / "A.json"
    path.write_text('{"schema": "harness.load/1", "label": "\N{LATIN SMALL LETTER E WITH ACUTE}"}', encoding="utf-8")

    result = load_result(str(path))

    assert (result.title, result.schema) == (str(path), "harness.load/1")
    assert result.document["label"] == "\N{LATIN SMALL LETTER E WITH ACUTE}"
