"""harness.show.terminal: the live view and the report fit 80 columns and lose nothing."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from rich.console import Console, RenderableType

from harness.show.terminal import BLOCKS, live_view, report, sparkline
from harness.show.words import NONE

if TYPE_CHECKING:
    from harness.experiments.follow import Snapshot

NO_TIMES: dict[str, None] = dict.fromkeys(("p50", "p90", "p99", "p99_9", "p99_99", "max", "mean"))
LOOK = "nsenter --target 1234567 --user --preserve-credentials --ipc ipcs -q"
Make = Callable[..., Any]


def rendered(what: RenderableType, *, width: int = 80, colour: bool = False) -> str:
    stream = io.StringIO()
    Console(file=stream, width=width, force_terminal=colour, color_system="standard" if colour else None).print(what)
    return stream.getvalue()


def words_of(text: str) -> str:
    """The text on one line, however it was wrapped."""
    return " ".join(text.split())


def test_the_report_fits_80_columns(result_with: Make) -> None:
    """With large numbers in every column no line is longer than 80, and none is cut."""
    slow = {"p50": 123_456_789, "p90": 2e9, "p99": 99e9, "p99_9": 99e9, "p99_99": 99e9, "max": 99e9, "mean": 1e9}
    by_worker = result_with()["by_worker"] * 9
    result = result_with(
        latency_ns=slow,
        service_ns=slow,
        pacing_error_ns=slow,
        by_worker=[row | {"index": 255, "messages": 999_999_999, "switches": 99_999_999} for row in by_worker],
        by_type=[{"type": 2**31 - 1, "sent": 10**9, "received": 10**9, "latency_ns": slow}] * 2,
        warnings=["a sentence that is so long that no terminal of this width could ever show it on one line, or two"],
    )

    text = rendered(report(result))

    assert max(len(line) for line in text.splitlines()) <= 80
    assert "…" not in text
    assert "no terminal of this width could ever show it" in words_of(text)


def test_the_report_says_the_same_as_the_plain_lines(result_with: Make) -> None:
    """What was asked and held, the percentiles, the ledger, the costs, the checks and the advice are all there."""
    result = result_with(
        thresholds=[{"failed": True, "sentence": "p99>1us failed"}], warnings=["look out"], advice="Try --repeat 5."
    )

    text = words_of(rendered(report(result)))

    for words in (
        "500 k/s for 10 s, messages of 32 B",
        "native engine, 1 producer",
        "sustained",
        "clean",
        "p99.99",
        "400 µs",
        "sent 5,500,000",
        "1,834 ns of CPU",
        "p99>1us failed",
        "look out",
        "Try --repeat 5.",
        "producer 0",
    ):
        assert words in text


@pytest.mark.parametrize(
    ("changes", "words", "style"),
    [
        ({}, "sustained", "1;32"),
        ({"sustained": False}, "NOT SUSTAINED", "1;31"),
        ({"complete": False, "cut": {"cause": "", "sentence": "by SIGINT"}}, "INCOMPLETE: by SIGINT", "1;31"),
        ({"lost": 3}, "lost 3", "1;31"),
    ],
)
def test_right_is_green_and_wrong_is_red(changes: dict[str, Any], words: str, style: str, result_with: Make) -> None:
    """The verdict and a ledger that is wrong stand out by colour, and by words where there is none."""
    coloured = rendered(report(result_with(**changes)), colour=True)

    assert words in rendered(report(result_with(**changes)))
    [line] = [line for line in coloured.splitlines() if words in line]
    assert f"\x1b[{style}m" in line


def test_markup_in_a_warning_is_shown_as_it_is(result_with: Make) -> None:
    """What others wrote may hold square brackets: it is text and not markup."""
    text = words_of(rendered(report(result_with(warnings=["see [bold]here[/bold] [1]"], advice="look at [2]"))))

    assert "see [bold]here[/bold] [1]" in text
    assert "look at [2]" in text


def test_a_repeated_run_tells_its_spread(result_with: Make) -> None:
    """With several runs the rate is their median, and the least and the most stand beside it."""
    runs = [{"achieved_rate": rate} for rate in (400_000.0, 499_987.0, 500_000.0)]

    assert "(median of 3: 400 k/s to 500 k/s)" in words_of(rendered(report(result_with(runs=runs))))


def test_steps_and_types_have_tables(result_with: Make) -> None:
    """A ramp's steps, and the types where there are several, have a row each."""
    step = result_with() | {"rate": 100_000.0}
    types = [row | {"type": number} for number, row in enumerate(result_with()["by_type"] * 3, start=1001)]

    text = rendered(report(result_with(steps=[step, step | {"sustained": False}], by_type=types)))

    assert "depth at end" in text
    assert "NOT SUSTAINED" in text
    assert all(str(number) in text for number in (1001, 1002, 1003))


def test_what_is_not_known_shows_as_a_dash(result_with: Make) -> None:
    """A run that was cut before it began has a report, too."""
    rows = [
        row | {"cpu_share": None, "wait_share": None, "switches": None, "ended": None}
        for row in result_with()["by_worker"]
    ]
    result = result_with(
        latency_ns=NO_TIMES, service_ns=NO_TIMES, pacing_error_ns=NO_TIMES, achieved_rate=None, by_worker=rows,
        runs=[{"achieved_rate": None}] * 2,
    )  # fmt: skip

    text = rendered(report(result))

    assert "None" not in text
    assert f"held      {NONE}" in text


def test_the_live_view_tells_the_moment_and_fits(snapshot_with: Callable[..., Snapshot]) -> None:
    """Progress, time left, both rates against the one asked, the depth and how to look at the queue fit 80 columns."""
    history = [snapshot_with(depth=depth) for depth in range(0, 40_000_000, 1_000_000)]

    text = rendered(live_view(snapshot_with(depth=39_000_000, refused=5), "500 k/s for 10 s", LOOK, history))

    assert max(len(line) for line in text.splitlines()) <= 80
    for words in ("7 s left", "asked 500 k/s", "sent 2,000,000", "refused 5", "39,000,000", LOOK):
        assert words in words_of(text)


def test_the_live_view_without_a_known_end_shows_the_time(snapshot_with: Callable[..., Snapshot]) -> None:
    """A count at no rate shows how long it has taken, and no rate that was asked."""
    text = words_of(rendered(live_view(snapshot_with(total_s=None, asked_rate=None), "title", LOOK)))

    assert "load, 4.0 s" in text
    assert "asked" not in text
    assert "service" in text


@pytest.mark.parametrize("width", [1, 10, 40, 200])
def test_any_width_is_drawn(width: int, snapshot_with: Callable[..., Snapshot], result_with: Make) -> None:
    """A terminal of any width gets something, and never more than its width."""
    for what in (live_view(snapshot_with(), "title", LOOK), report(result_with())):
        text = rendered(what, width=width)
        assert max(len(line) for line in text.splitlines()) <= width


def test_a_sparkline_is_scaled_to_its_largest() -> None:
    """The largest value is a whole block, zero is none, and only the last values are shown."""
    assert sparkline([0, 4, 8]) == BLOCKS[0] + BLOCKS[4] + BLOCKS[8]
    assert sparkline([]) == sparkline([0, 0]) == ""
    assert len(sparkline(list(range(100)), width=40)) == 40
