"""From the rows of `harness block` to its figures: spreads over rounds, ratios within a round. Pure functions.

Each takes the rows of one part, of which there is at least one: an interrupted experiment has what it has.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from harness.experiments import block_work as work
from harness.measure.statistics import ratio_spread, spread

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    Row = dict[str, Any]


def figures(rows: Sequence[Row]) -> dict[str, Any]:
    """What the rows say, by part, None for a part without rows; and what is `wrong`."""
    made = {
        "wake": _wake,
        "fairness": _fairness,
        "starvation": _starvation,
        "overload": _overload,
        "never_fits": _never_fits,
        "stall": _stall,
    }
    found = {name: [row for row in rows if row["part"] == name.replace("_", "-")] for name in made}
    return {name: make(found[name]) if found[name] else None for name, make in made.items()} | {"wrong": wrong(rows)}


def wrong(rows: Iterable[Row]) -> list[str]:
    """What a queue must never do, in sentences: messages of a flow that were lost, or came twice."""
    return [
        f"{row['part']}, round {row['round'] + 1}: {row['lost']} messages lost, {row['received_again']} received twice"
        for row in rows
        if row.get("lost") or row.get("received_again")
    ]


def jain(shares: Sequence[float]) -> float:
    """Jain's index of fairness: 1 where all get the same, 1/n where one gets all (Jain, Chiu, Hawe 1984).

    Raises ValueError when nobody got anything.
    """
    squares = sum(share * share for share in shares)
    if not squares:
        raise ValueError("nobody got anything, so there is nothing to share")
    return sum(shares) ** 2 / (len(shares) * squares)


def _spread(values: Iterable[float | None]) -> dict[str, float] | None:
    """The spread of those that there are; None when there are none."""
    there = [value for value in values if value is not None]
    return spread(there).to_json() if there else None


def _of(rows: Iterable[Row], key: str, name: str) -> list[Row]:
    return [row for row in rows if row[key] == name]


def _wake(rows: list[Row]) -> dict[str, Any]:
    places = list(dict.fromkeys(row["place"] for row in rows))
    return {
        "floor_ns": _spread(row["floor_ns"] for row in rows),
        "places": [
            {
                "place": place,
                "median_ns": _spread(row["median_ns"] for row in _of(rows, "place", place)),
                "p99_ns": _spread(row["p99_ns"] for row in _of(rows, "place", place)),
            }
            for place in sorted(places, reverse=True)
        ],
        "across_to_same": _ratio(rows, "place", ("across CPUs", "same CPU"), "median_ns"),
    }


def _ratio(rows: list[Row], key: str, names: tuple[str, str], figure: str) -> dict[str, float] | None:
    """The ratio of a figure under two names, within the rounds that have both."""
    upper, lower = ({row["round"]: row[figure] for row in _of(rows, key, name)} for name in names)
    both = sorted(number for number in upper.keys() & lower.keys() if upper[number] and lower[number])
    return ratio_spread([upper[n] for n in both], [lower[n] for n in both]).to_json() if both else None


def _fairness(rows: list[Row]) -> dict[str, Any]:
    windows = []
    for row in rows:
        total = sum(row["received"])
        windows.append(
            {
                "round": row["round"],
                "window": row["window"],
                "jain": jain(row["received"]),
                "shares": [count / total for count in row["received"]],
                "rate": total * 1e9 / row["elapsed_ns"],
            }
        )
    return {
        "senders": len(windows[0]["shares"]),
        "jain": _spread(window["jain"] for window in windows),
        "least_share": _spread(min(window["shares"]) for window in windows),
        "greatest_share": _spread(max(window["shares"]) for window in windows),
        "rate": _spread(window["rate"] for window in windows),
        "windows": windows,
    }


def _starvation(rows: list[Row]) -> list[dict[str, Any]]:
    return [
        {
            "case": case,
            "rounds": len(found),
            "got_in": sum(row["got_in"] for row in found),
            "waited_ns": _spread(row["waited_ns"] for row in found),
            "overtaken_by": _spread(row["overtaken_by"] for row in found),
        }
        for case in work.STARVATION_CASES
        if (found := _of(rows, "case", case))
    ]


def _overload(rows: list[Row]) -> list[dict[str, Any]]:
    return [
        {
            "when_full": way,
            "rounds": len(found),
            "offered_rate": found[0]["offered_rate"],
            "goodput": _spread(row["goodput"] for row in found),
            "refused_share": _spread(row["refused"] / row["due"] for row in found),
            "unsent_share": _spread(row["unsent"] / row["due"] for row in found),
            "refused_call_ns": _spread(row["refused_call_ns"] for row in found),
            "refused_system_call_ns": _spread(row["refused_system_call_ns"] for row in found),
            "sleep_ns": _spread(row["sleep_ns"] for row in found),
            "asleep_share": _spread(row["asleep_ns"] / (row["elapsed_s"] * 1e9) for row in found),
            "behind_ns": _spread(row["behind_ns"] for row in found),
            "latency_p50_ns": _spread(row["latency_ns"]["p50"] for row in found),
            "latency_max_ns": _spread(row["latency_ns"]["max"] for row in found),
            "lost": sum(row["lost"] for row in found),
            "received_again": sum(row["received_again"] for row in found),
        }
        for way in ("refuse", "block")
        if (found := _of(rows, "when_full", way))
    ]


def _never_fits(rows: list[Row]) -> dict[str, Any]:
    first = rows[0]
    return {
        "size_bytes": first["size_bytes"],
        "rounds": len(rows),
        "detected_ns": _spread(row["detected_ns"] for row in rows),
        "errors": dict(Counter(row["error"] for row in rows)),
        **{key: first[key] for key in ("errno", "sentence", "hint")},
        "kernel_waits": sum(row["asleep_in"] == "msgsnd" and row["still_asleep"] for row in rows),
        "watched_ns": _spread(row["watched_ns"] for row in rows),
        "most_messages": max(row["messages"] for row in rows),
    }


def _stall(rows: list[Row]) -> dict[str, Any]:
    percentiles = ("p50", "p90", "p99", "max")
    return {
        "rate": work.STALL_RATE,
        "rounds": len(rows),
        "stalled_ns": _spread(row["stalled_ns"] for row in rows),
        "due": rows[0]["due"],
        "lost": sum(row["lost"] for row in rows),
        "unsent": sum(row["due"] - row["sent"] for row in rows),
        "received_again": sum(row["received_again"] for row in rows),
        "before_p99_ns": _spread(row["before_p99_ns"] for row in rows),
        "intended_ns": {name: _spread(row["intended_ns"][name] for row in rows) for name in percentiles},
        "sent_ns": {name: _spread(row["sent_ns"][name] for row in rows) for name in percentiles},
        "late_ns": work.LATE_NS,
        "late_by_intended": _spread(row["late_by_intended"] for row in rows),
        "late_by_sent": _spread(row["late_by_sent"] for row in rows),
        "gone_ns": _spread(row["gone_ns"] for row in rows),
        "catch_up_rate": _spread(row["catch_up_rate"] for row in rows),
        "deepest": _spread(row["deepest"] for row in rows),
        "series": rows[0]["series"],
    }
