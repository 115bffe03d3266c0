"""harness.show.diff: the table fits 80 columns and says the same as the plain lines."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from harness.show.diff import cells, diff_lines, diff_view, percent


def figure(name: str, **changes: Any) -> dict[str, Any]:
    return {
        "name": name,
        "unit": "ns",
        "better": "lower",
        "before": {"value": 4_380.0, "values": [4_380.0] * 5},
        "after": {"value": 5_000.0, "values": [5_000.0] * 5},
        "change": 0.1416,
        "interval": {"low": 0.081, "high": 0.2},
        "verdict": "worse",
        "failed": False,
        **changes,
    }


def zero(name: str, before: int, after: int, **changes: Any) -> dict[str, Any]:
    sides = {"before": {"value": before, "values": [before]}, "after": {"value": after, "values": [after]}}
    return figure(name, unit="messages", better="zero", change=None, interval=None, **sides, **changes)


def comparison(*figures: dict[str, Any], **changes: Any) -> dict[str, Any]:
    side = {"label": "", "started_at": "2026-01-01T00:00:00+00:00", "runs": 5, "harness": "0.1.0"}
    return {
        "before": {**side, "title": "A.json", "revision": "5ea16daaa842119354e9", "dirty": False, "label": "nightly"},
        "after": {**side, "title": "B.json", "revision": None, "dirty": None},
        "paired": False,
        "tolerance": 0.1,
        "confidence": 0.995,
        "floor": 0.05,
        "fewest_runs": 5,
        "figures": list(figures),
        "verdict": "worse",
        "failed": [entry["name"] for entry in figures if entry["failed"]],
        "warnings": [],
        **changes,
    }


def rendered(what: dict[str, Any], *, width: int = 80, colour: bool = False) -> str:
    stream = io.StringIO()
    console = Console(file=stream, width=width, force_terminal=colour, color_system="standard" if colour else None)
    console.print(diff_view(what))
    return stream.getvalue()


WIDE = comparison(
    figure("service.p99.9", change=4123.0, interval={"low": -0.36, "high": 63.28}, failed=True),
    figure("native/bare 1 KiB", unit="ratio", interval={"low": -0.123, "high": 0.123}),
    figure("memory", unit="bytes", before={"value": 135e6, "values": []}),
    figure("a_name_that_is_one_long_word", interval={"low": -0.123, "high": 0.123}),
    figure("2.50 M/s latency.p99.9", verdict="not enough runs", interval=None),
    warnings=["A.json and B.json have different plans: " + ", ".join(f"option_{n} 1 and 2" for n in range(9))],
)


def test_the_table_fits_80_columns() -> None:
    """With large changes and long names no line is longer than 80, and no figure is cut."""
    text = rendered(WIDE)

    assert max(len(line.rstrip()) for line in text.splitlines()) <= 80
    assert "…" not in text
    for words in (
        "-36 % to x64",
        "x4,124",
        "not enough runs",
        "native/bare 1 KiB",
        "128.7 MiB",
        "option_8 1 and 2",
    ):
        assert words in " ".join(text.split())


@pytest.mark.parametrize("width", [1, 20, 40, 200])
def test_any_width_is_drawn(width: int) -> None:
    """A terminal of any width gets something, and never more than its width."""
    assert max(len(line) for line in rendered(WIDE, width=width).splitlines()) <= width


def test_the_lines_say_which_results_and_what_became_of_them() -> None:
    """Both results with what made them, a line a figure, how it was judged, and what it comes to."""
    lines = diff_lines(comparison(figure("latency.p99", failed=True), zero("lost", 0, 0, verdict="no difference")))

    assert lines[0] == "before A.json 'nightly': 5 runs, 2026-01-01T00:00:00+00:00, revision 5ea16daaa8"
    assert lines[1] == "after  B.json: 5 runs, 2026-01-01T00:00:00+00:00, harness 0.1.0"
    assert lines[2] == "latency.p99: 4.38 µs to 5.00 µs, +14 % (99.5%: +8.1 % to +20 %): worse"
    assert lines[3] == "lost: 0 before and after"
    assert "beyond 5%" in lines[4]
    assert lines[-1] == "worse; beyond the tolerance of 10%: latency.p99"


def test_what_must_be_zero_and_is_not_has_a_line_of_its_own() -> None:
    """A loss is told as a count, without a change."""
    lines = diff_lines(comparison(zero("lost", 0, 1234, verdict="worse", failed=True)))

    assert "lost: 0 to 1,234, -: worse" in lines


def test_few_runs_are_explained() -> None:
    """Where there are not enough runs, it says how many it takes."""
    few = figure("rate", unit="messages/s", interval=None, verdict="not enough runs")

    lines = diff_lines(comparison(few, verdict="not enough runs"))

    assert "rate: 4.38 k/s to 5.00 k/s, +14 %: not enough runs" in lines
    assert any(line.startswith("not enough runs: it takes 5 on each side") for line in lines)
    assert lines[-1] == "not enough runs; nothing beyond the tolerance of 10%"


def test_what_is_not_known_shows_as_a_dash() -> None:
    """A figure that one side does not have has no value there, no change and no interval."""
    one = figure("cpu", before={"value": None, "values": []}, change=None, interval=None, verdict="not enough runs")

    assert cells(one) == ("cpu", "-", "5.00 µs", "-", "-")
    assert "None" not in rendered(comparison(one))


def test_what_failed_is_red_and_what_is_better_green() -> None:
    """Verdicts stand out by colour, and by words where there is none."""
    what = comparison(figure("cpu", failed=True), figure("memory", verdict="better"))

    lines = rendered(what, colour=True).splitlines()

    assert any("cpu" in line and "\x1b[1;31mworse" in line for line in lines)
    assert any("memory" in line and "\x1b[1;32mbetter" in line for line in lines)


@pytest.mark.parametrize(
    ("change", "text"),
    [(None, "-"), (0.0, "+0.0 %"), (0.0449, "+4.5 %"), (-0.0994, "-9.9 %"), (-0.12, "-12 %"), (8.99, "+899 %"),
     (9.0, "x10"), (4123.0, "x4,124"), (-0.9, "1/10"), (-0.9986, "1/714"), (-1.0, "-100 %")],
)  # fmt: skip
def test_a_change_is_told_in_few_digits(change: float | None, text: str) -> None:
    """Percent up to tenfold, a factor from there."""
    assert percent(change) == text
