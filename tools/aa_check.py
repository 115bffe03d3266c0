"""Does identical code compare as "no difference"? Real runs of one plan, held against each other many times.

    python tools/aa_check.py [--runs 200] [--tries 100] [--each 5] [--rate max] [RESULT.json]

It makes the runs here, or takes those of a result with many (`harness load --repeat 1000 --json RESULT.json`). Each try
draws two sides from them and compares these as `harness diff` does: first sides drawn at random, then sides that follow
each other in time, between which the machine may have changed.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections import Counter
from typing import TYPE_CHECKING, Any

from harness.experiments.load import run_load
from harness.experiments.plan import LoadPlan
from harness.measure.quantities import parse_rate_spec
from harness.results.compare import compare
from harness.results.loading import Result, load_result

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from harness.experiments.crew import Started
    from harness.experiments.follow import Snapshot

Runs = list[dict[str, Any]]


class Unseen:
    """An observer that looks at nothing."""

    interval_s = 3600.0

    def started(self, plan: LoadPlan, engine: str, started: Started, number: int, of: int) -> None:
        """A run begins."""

    def sample(self, snapshot: Snapshot) -> None:
        """A moment of it."""


def drawn(runs: Runs, each: int, tries: int) -> Iterable[tuple[Runs, Runs]]:
    """Two sides of so many runs, drawn from all; the same ones each time this is called."""
    dice = random.Random(1)  # noqa: S311  repeatable, not secret
    for _ in range(tries):
        both = dice.sample(runs, 2 * each)
        yield both[:each], both[each:]


def following(runs: Runs, each: int, tries: int) -> Iterable[tuple[Runs, Runs]]:
    """Two sides of so many runs, one straight after the other; no run is in two tries."""
    for start in range(0, len(runs) - 2 * each + 1, 2 * each)[:tries]:
        yield runs[start : start + each], runs[start + each : start + 2 * each]


def report(document: dict[str, Any], title: str, pairs: Iterable[tuple[Runs, Runs]]) -> None:
    """Compare each pair of sides, and print how many tries said "no difference" of each figure and of all."""
    verdicts: dict[str, Counter[str]] = {}
    whole: Counter[str] = Counter()
    for before, after in pairs:
        sides = [Result(name, {**document, "runs": runs}) for name, runs in (("A", before), ("B", after))]
        comparison = compare(sides[0], sides[1])
        for figure in comparison["figures"]:
            verdicts.setdefault(figure["name"], Counter())[figure["verdict"]] += 1
        whole[comparison["verdict"]] += 1
        whole["exit 1"] += bool(comparison["failed"])
    tries = sum(whole.values()) - whole["exit 1"]
    print(f"{title}: {tries} tries")
    for name, seen in verdicts.items():
        others = ", ".join(f"{number} {verdict}" for verdict, number in seen.items() if verdict != "no difference")
        print(f"  {name:14} {seen['no difference']:4} no difference" + (f", {others}" if others else ""))
    print(f"  all figures    {whole['no difference']:4} no difference, {whole['exit 1']} would end with 1")


def main(argv: Sequence[str]) -> int:
    """Returns the exit status."""
    parser = argparse.ArgumentParser(description="Hold identical code against itself.")
    parser.add_argument("--runs", type=int, default=200, help="runs to make (200)")
    parser.add_argument("--tries", type=int, default=100, help="comparisons (100)")
    parser.add_argument("--each", type=int, default=5, help="runs a side (5)")
    parser.add_argument("--rate", default="max", help="as harness load's (max)")
    parser.add_argument(
        "result", nargs="?", metavar="RESULT.json", help="a result with many runs, instead of making some"
    )
    given = parser.parse_args(argv)
    if given.result:
        document = dict(load_result(given.result).document)
    else:
        plan = LoadPlan(
            rate=parse_rate_spec(given.rate), duration_s=None, count=20_000, warmup_s=0.0, repeat=given.runs
        )
        document = run_load(plan, Unseen())
    runs = [run for run in document["runs"] if run["complete"]]
    if len(runs) < 2 * given.each:
        print(f"{len(runs)} whole runs are too few for two sides of {given.each}", file=sys.stderr)
        return 2
    print(f"{len(runs)} runs, {given.each} a side")
    report(document, "drawn at random", drawn(runs, given.each, given.tries))
    report(document, "one after the other", following(runs, given.each, given.tries))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
