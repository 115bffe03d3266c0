"""An answer that teaches: what was seen, why it is so, what to try, where to read on; a line each.

Used by checks as the message of an assert, so that pytest's own comparison stands below it:

    assert winners == [1, 2, 1, 2], Teach(
        saw=f"the messages went to {winners}",
        because="a receiver that comes back goes to the end of the kernel's list of waiters",
        try_="let each receiver call receive again before the next message is sent",
        see="README.md, Do",
    )

What pytest makes of an assert is text, so the four lines are found again in text by `Teach.found_in`.
"""

from __future__ import annotations

import re
import textwrap
from typing import Self

_LABELS = ("saw", "because", "try", "see")
_INDENT = 9
# pytest indents the lines of an assert's message, all but the first; `wrapped` breaks long ones.
_LINES = re.compile("".join(rf" *{label}: *(.*(?:\n {{{_INDENT}}}.*)*)\n?" for label in _LABELS))


class Teach(str):
    """The four lines as one text; each argument is a sentence or two, told on one line."""

    __slots__ = ("because", "saw", "see", "try_")

    saw: str
    because: str
    try_: str
    see: str

    def __new__(cls, *, saw: str, because: str, try_: str, see: str) -> Self:
        """Fold each text into one line."""
        fields = [" ".join(text.split()) for text in (saw, because, try_, see)]
        lines = [f"{label + ':':<{_INDENT}}{text}" for label, text in zip(_LABELS, fields, strict=True)]
        self = super().__new__(cls, "\n".join(lines))
        self.saw, self.because, self.try_, self.see = fields
        return self

    def wrapped(self, width: int) -> str:
        """The same with lines of at most `width` columns, what runs over indented below its beginning."""
        return "\n".join(
            textwrap.fill(line, width, subsequent_indent=" " * _INDENT, break_long_words=False, break_on_hyphens=False)
            for line in self.splitlines()
        )

    @classmethod
    def found_in(cls, text: str) -> tuple[Self, str] | None:
        """The first four lines that teach in `text`, and what stands below them; None where there are none."""
        found = _LINES.search(text)
        if found is None:
            return None
        saw, because, try_, see = found.groups()
        return cls(saw=saw, because=because, try_=try_, see=see), text[found.end() :]
