"""harness/show/block.py: tables, shares, the picture of a stall and its sentences, within 80 columns."""

from __future__ import annotations

from typing import Any

import pytest
from rich.console import Console

from harness.show.block import block_lines, block_view

MS = 1_000_000


def spread(value: float, *, to: float | None = None) -> dict[str, float]:
    return {"median": value, "low": value, "high": value, "min": value, "max": value if to is None else to, "n": 3}


def way(name: str, **figures: Any) -> dict[str, Any]:
    return {
        "when_full": name,
        "rounds": 3,
        "offered_rate": 10_000,
        "goodput": spread(5_000),
        "refused_share": spread(0.0),
        "unsent_share": spread(0.0),
        "refused_call_ns": None,
        "refused_system_call_ns": None,
        "sleep_ns": None,
        "asleep_share": spread(0.0),
        "behind_ns": spread(16_000),
        "latency_p50_ns": spread(51.4 * MS),
        "latency_max_ns": spread(60.0 * MS),
        "lost": 0,
        "received_again": 0,
        **figures,
    }


def stall(**figures: Any) -> dict[str, Any]:
    percentiles = ("p50", "p90", "p99", "max")
    return {
        "rate": 10_000,
        "rounds": 3,
        "stalled_ns": spread(1000 * MS),
        "due": 30_000,
        "lost": 0,
        "unsent": 0,
        "received_again": 0,
        "before_p99_ns": spread(0.4 * MS),
        "intended_ns": {name: spread(900 * MS) for name in percentiles},
        "sent_ns": {name: spread(0.05 * MS) for name in percentiles},
        "late_ns": 10 * MS,
        "late_by_intended": spread(11_016),
        "late_by_sent": spread(257),
        "gone_ns": spread(107 * MS),
        "catch_up_rate": spread(103_000),
        "deepest": spread(256, to=257),
        "series": {
            "width_s": 0.5,
            "columns": ["t_s", "intended_ns", "sent_ns", "depth"],
            "rows": [[0.0, MS, MS, 0], [0.5, MS, MS, 0], [1.0, 1000 * MS, 1000 * MS, 256], [1.5, 500 * MS, 0, 256]],
        },
        **figures,
    }


def result_with(**changes: Any) -> dict[str, Any]:
    """A result of three rounds with all parts, with the changes."""
    windows = [
        {"round": 0, "window": 0, "jain": 0.6, "shares": [0.61, 0.13, 0.13, 0.13], "rate": 180_000.0},
        {"round": 0, "window": 1, "jain": 1.0, "shares": [0.25] * 4, "rate": 90_000.0},
    ]
    return {
        "engine": "native",
        "complete": True,
        "cut": None,
        "plan": {"senders": 4, "sizes": [64, 8192], "queue_bytes": 16384, "rounds": 3},
        "starvation_limit_s": 0.4,
        "steady_rest_ns": 200_000,
        "wake": {
            "floor_ns": spread(1_460),
            "places": [
                {"place": "same CPU", "median_ns": spread(5_700), "p99_ns": spread(27_800)},
                {"place": "across CPUs", "median_ns": spread(20_400), "p99_ns": spread(1.6 * MS)},
            ],
            "across_to_same": spread(3.58),
        },
        "fairness": {"senders": 4, "jain": {**spread(0.8), "min": 0.6, "max": 1.0}, "windows": windows},
        "starvation": [
            {"case": name, "rounds": 3, "got_in": got_in, "waited_ns": waited, "overtaken_by": spread(by, to=by + 9)}
            for name, got_in, waited, by in (
                ("alone", 3, spread(29 * MS), 0),
                ("steady", 0, None, 1_553),
                ("hurried", 2, spread(12.3 * MS), 1_195),
            )
        ],
        "overload": [
            way("refuse", refused_share=spread(0.5), refused_system_call_ns=spread(851), refused_call_ns=spread(2_500)),
            way("block", unsent_share=spread(0.5), sleep_ns=spread(196_000), asleep_share=spread(0.98)),
        ],
        "never_fits": {
            "size_bytes": 16385,
            "rounds": 3,
            "detected_ns": spread(7_900),
            "errors": {"MessageTooLargeError": 3},
            "errno": "EINVAL",
            "sentence": "it holds at most 16384 bytes, and the kernel would wait for ever",
            "hint": "send less",
            "kernel_waits": 3,
            "watched_ns": spread(54 * MS),
            "most_messages": 0,
        },
        "stall": stall(),
        "wrong": [],
        "disturbance": {
            "verdict": "clean",
            "steal_share": 0.0,
            "runnable_wait_share": 0.001,
            "throttled_ns": 0,
            "jitter": None,
        },
        "warnings": [],
        **changes,
    }


def drawn(result: dict[str, Any]) -> str:
    console = Console(width=80, color_system=None, force_terminal=False)
    with console.capture() as captured:
        console.print(block_view(result))
    return captured.get()


def plain(result: dict[str, Any]) -> str:
    return "\n".join(block_lines(result))


BOTH = pytest.mark.parametrize("draw", [drawn, plain])


@BOTH
def test_both_outputs_say_the_same(draw: Any) -> None:
    """Every part has its figures and its sentence in a terminal and in a pipe."""
    text = draw(result_with())

    for words in (
        "27.8 µs",
        "across CPUs it takes 3.58 times as long as on one",
        "need not wait take 1.46 µs",
        "A" * 25 + "BBBBBCCCCCDDDDD",
        "Jain's index: 0.80 in the median, 0.60 to 1.00",
        "0.25 all for one",
        "over 400 ms",
        "rests for 200 µs",
        "2 of 3",
        "1,553",
        "851 ns",
        "196 µs",
        "over 51.4 ms",
        "our send tells it after 7.90 µs: MessageTooLargeError (EINVAL)",
        "asleep",
        "empty queue in 3 of 3 rounds",
        "10,000 messages became due",
        "coordinated omission",
        "gone 107 ms after the stall, at 103 k/s",
        "3 rounds of 30,000 messages: lost 0, received twice 0, not sent 0",
        "native engine, 3 rounds, medians; queues of 16 KiB",
        ": clean",
    ):
        assert words in text, words


def test_a_terminal_of_80_columns_is_wide_enough() -> None:
    """No line of the tables, the shares and the picture is cut or wider than 80."""
    text = drawn(result_with())

    assert max(len(line) for line in text.splitlines()) <= 80
    assert "…" not in text


def test_plain_lines_name_every_figure() -> None:
    """In a pipe each cell has its heading before it, and each row its name."""
    lines = block_lines(result_with())

    assert "sender and receiver same CPU: median 5.70 µs, quartiles 5.70 µs to 5.70 µs, p99 27.8 µs" in lines
    assert "4 small senders: got in 0 of 3, after over 400 ms, overtaken by 1,553, at most 1,562" in lines
    assert "refused: refuse 50.0%, block 0.0%" in lines


@BOTH
def test_a_latency_is_a_lower_bound_only_where_messages_are_missing(draw: Any) -> None:
    """What was not sent would have waited longest: only with such messages is a latency "over" something."""
    text = draw(result_with(overload=[way("refuse")]))

    assert "over 51.4 ms" not in text
    assert "51.4 ms" in text


@BOTH
def test_parts_that_were_not_measured_are_not_told(draw: Any) -> None:
    """A part without rows has no title, and what cut the run is said."""
    nothing = dict.fromkeys(("wake", "fairness", "starvation", "overload", "never_fits", "stall"))
    text = draw(result_with(**nothing, complete=False, cut={"sentence": "interrupted by SIGINT"}))

    assert "Jain" not in text
    assert "stall" not in text
    assert "INCOMPLETE: interrupted by SIGINT" in text


@BOTH
def test_one_cpu_has_no_ratio(draw: Any) -> None:
    """Where there is one CPU only, nothing is said of wake-ups across CPUs but why they are missing."""
    wake = result_with()["wake"]
    text = draw(
        result_with(
            wake={**wake, "places": wake["places"][:1], "across_to_same": None},
            warnings=["one CPU is all that we may use"],
        )
    )

    assert "across CPUs" not in text
    assert "one CPU is all that we may use" in text


@BOTH
def test_a_deep_queue_hides_no_wait(draw: Any) -> None:
    """Where all that became due found room, both clocks saw it, and there is no omission to speak of."""
    text = draw(result_with(stall=stall(deepest=spread(200))))

    assert "the queue had room for all" in text
    assert "omission" not in text


@BOTH
def test_a_backlog_without_an_end_is_told(draw: Any) -> None:
    """Where latency did not come back, that is said, and no time."""
    text = draw(result_with(stall=stall(gone_ns=None, catch_up_rate=None)))

    assert "the backlog was not gone by the end" in text


@BOTH
def test_what_is_wrong_is_told(draw: Any) -> None:
    """Lost messages stand among the notes."""
    assert "stall, round 1: 2 messages lost" in draw(result_with(wrong=["stall, round 1: 2 messages lost"]))
