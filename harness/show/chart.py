"""A chart of characters, for a terminal or a log: curves over two logarithmic axes or over time, bars, and strips.

The picture beside the table: it shows the shape, the table has the figures. Pure functions to lines of text, without
colour, so that the same picture stands in a terminal, a pipe and a document. Pictures for print are plots.py's.
"""

from __future__ import annotations

from math import floor, log10
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

MARKS = "oxv+#*@"
WIDTH, HEIGHT = 56, 14
MOST_TICKS = 6
"""A linear axis has at most so many labels besides its 0."""
BLOCKS = " ▏▎▍▌▋▊▉█"


def curves(
    series: Mapping[str, Sequence[tuple[float, float]]],
    *,
    x_words: Callable[[float], str],
    y_words: Callable[[float], str],
    x_title: str,
    width: int = WIDTH,
    height: int = HEIGHT,
) -> list[str]:
    """(x, y) points of each named series on logarithmic axes; points at or below 0 cannot stand there and are left out.

    At most seven series have a mark of their own. Where two fall on one place, the later stands. Labels stand at powers
    of ten. Empty when there is nothing to draw.
    """
    kept = {name: [(x, y) for x, y in points if x > 0 and y > 0] for name, points in series.items()}
    everything = [point for points in kept.values() for point in points]
    if not everything:
        return []
    xs = _LogAxis([x for x, _ in everything], width)
    ys = _LogAxis([y for _, y in everything], height)
    return _drawn(kept, xs, ys, x_words=x_words, y_words=y_words, x_title=x_title)


def timeline(
    series: Mapping[str, Sequence[tuple[float, float]]],
    *,
    x_words: Callable[[float], str],
    y_words: Callable[[float], str],
    x_title: str,
    width: int = WIDTH,
    height: int = HEIGHT,
) -> list[str]:
    """(x, y) points of each named series on linear axes that begin at 0; for the rest as `curves`.

    Labels stand at round values. Points below 0 stand at 0.
    """
    everything = [point for points in series.values() for point in points]
    if not everything:
        return []
    xs = _LinearAxis(max(x for x, _ in everything), width)
    ys = _LinearAxis(max(y for _, y in everything), height)
    return _drawn(series, xs, ys, x_words=x_words, y_words=y_words, x_title=x_title)


def _drawn(
    series: Mapping[str, Sequence[tuple[float, float]]],
    xs: _Axis,
    ys: _Axis,
    *,
    x_words: Callable[[float], str],
    y_words: Callable[[float], str],
    x_title: str,
) -> list[str]:
    width, height = xs.places, ys.places
    rows = [[" "] * width for _ in range(height)]
    for mark, points in zip(MARKS, series.values(), strict=False):
        for x, y in points:
            rows[height - 1 - ys.place(y)][xs.place(x)] = mark
    labels = {height - 1 - ys.place(value): y_words(value) for value in ys.ticks()}
    margin = max(map(len, labels.values()), default=0)
    lines = [
        f"{labels.get(number, ''):>{margin}} {'┤' if number in labels else '│'}{''.join(row).rstrip()}"
        for number, row in enumerate(rows)
    ]
    below, words = ["─"] * width, [" "] * (width + margin)
    for value in xs.ticks():
        below[xs.place(value)] = "┴"
        text = x_words(value)
        begin = min(max(0, xs.place(value) - len(text) // 2), width + margin - len(text))
        words[begin : begin + len(text)] = text
    indent = " " * margin
    lines += [f"{indent} └{''.join(below)}", f"{indent}  {''.join(words).rstrip()}  {x_title}"]
    legend = "   ".join(f"{mark} {name}" for mark, name in zip(MARKS, series, strict=False))
    return [*lines, f"{indent}  {legend}"]


class _Axis(Protocol):
    """Where values stand on so many `places`, and which of them get a label."""

    places: int

    def place(self, value: float) -> int:
        """Which of the places a value has."""
        ...

    def ticks(self) -> list[float]:
        """The values that get a label."""
        ...


class _LogAxis:
    """A logarithmic axis over the values."""

    def __init__(self, values: Sequence[float], places: int) -> None:
        self._low, self._high = log10(min(values)), log10(max(values))
        if self._high - self._low < 1:  # less than a decade would blow up noise
            middle = (self._low + self._high) / 2
            self._low, self._high = middle - 0.5, middle + 0.5
        self.places = places

    def place(self, value: float) -> int:
        """Which of the places a value has."""
        share = (log10(value) - self._low) / (self._high - self._low)
        return min(self.places - 1, max(0, round(share * (self.places - 1))))

    def ticks(self) -> list[float]:
        """The powers of ten within the axis."""
        first = floor(self._low - 1e-9) + 1
        return [10.0**power for power in range(first, floor(self._high + 1e-9) + 1)]


class _LinearAxis:
    """A linear axis from 0 to the highest value."""

    def __init__(self, highest: float, places: int) -> None:
        self._highest = highest if highest > 0 else 1.0
        self.places = places

    def place(self, value: float) -> int:
        """Which of the places a value has."""
        return min(self.places - 1, max(0, round(value / self._highest * (self.places - 1))))

    def ticks(self) -> list[float]:
        """Multiples of 1, 2 or 5 times a power of ten: at most six besides 0, each two places or more from the next."""
        power = 10.0 ** floor(log10(self._highest))
        most = min(MOST_TICKS, (self.places - 1) / 2)
        step = next(power * part for part in (0.2, 0.5, 1, 2, 5, 10) if self._highest / (power * part) <= most)
        return [step * number for number in range(floor(self._highest / step + 1e-9) + 1)]


def bar(share: float, width: int) -> str:
    """A bar of `share` (0 to 1, cut to that) of `width` characters, in eighths of one."""
    eighths = round(min(1.0, max(0.0, share)) * width * 8)
    whole, rest = divmod(eighths, 8)
    return BLOCKS[-1] * whole + (BLOCKS[rest] if rest else "")


def spans(
    items: Mapping[str, tuple[float, float, float]],
    *,
    words: Callable[[float], str],
    width: int,
    mark: float | None = None,
) -> list[str]:
    """A line for each (low, middle, high), from 0 to the highest of all: a bar to the middle, in three shades.

    Full up to `low`, darker up to the middle, light up to `high`. Where it is empty, a line stands at `mark`.
    """
    highest = max((high for _, _, high in items.values()), default=0.0)
    if highest <= 0:
        return []
    margin = max(map(len, items))
    lines = []
    for name, values in items.items():
        low, middle, high = (round(value / highest * width) for value in values)
        row = list("█" * low + "▓" * (middle - low) + "░" * (high - middle) + " " * (width - high))
        if mark is not None and 0 < mark <= highest and row[place := round(mark / highest * width) - 1] == " ":
            row[place] = "│"
        lines.append(f"{name:<{margin}} {''.join(row)} {words(values[1])}".rstrip())
    return lines


def divided(shares: Sequence[float], marks: str, width: int) -> str:
    """A line of `width` characters, of which each share has its part: the first the first mark, and so on.

    Marks are used again where there are more shares. What is rounded away is given to the largest remainders first.
    """
    total = sum(shares)
    exact = [share / total * width for share in shares]
    parts = [floor(part) for part in exact]
    by_remainder = sorted(range(len(exact)), key=lambda place: parts[place] - exact[place])
    for place in by_remainder[: width - sum(parts)]:
        parts[place] += 1
    return "".join(marks[place % len(marks)] * part for place, part in enumerate(parts))


def strip(text: str, *, most: int, width: int = 60) -> list[str]:
    """A long text, a character for each thing that happened, in lines of `width` with the first one's number before it.

    At most `most` lines; what is left out is counted in one more.
    """
    parts = [(begin, text[begin : begin + width]) for begin in range(0, len(text), width)]
    margin = len(str(len(text)))
    lines = [f"{begin:>{margin}} {part}" for begin, part in parts[:most]]
    left_out = len(text) - most * width
    return [*lines, f"{'':>{margin}} ... and {left_out:,} more"] if left_out > 0 else lines
