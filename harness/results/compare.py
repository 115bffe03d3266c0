"""Two results of one kind into a comparison, the `harness.diff/1` document (docs/results.md).

    Result, Result --same kind, machine and plan?--> their figures, run by run (kinds.py)
                   --bootstrap over whole runs------> a change with its interval, and a verdict, for each

A figure is `worse` or `better` when the whole interval of its change lies beyond FLOOR; what lies within may be a real
difference, but nobody could tell it from noise. With fewer than FEWEST_RUNS whole runs on a side the verdict is `not
enough runs`, since two single runs of the same code differ by a third often enough. Only of a tolerance above LARGE
may a few runs be held against it, by their medians. What must not happen at all (messages lost) needs no statistics:
there one message in one run is enough.

Nothing here reads a file, runs or prints.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from math import isfinite
from statistics import median
from typing import TYPE_CHECKING, Any, Literal

from harness.results.bootstrap import paired_ratio_interval, ratio_interval
from harness.results.kinds import KINDS, Figure, Kind
from harness.sysv.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from harness.results.loading import Result

SCHEMA = "harness.diff/1"
TOLERANCE = 0.10
"""How much worse a figure may be, where nobody says otherwise."""
FEWEST_RUNS = 5
CONFIDENCE = 0.995
"""Of each interval. There are up to 13 figures in a comparison, and 95 % each would find one in too many."""
FLOOR = 0.05
"""Changes below 5 % are not told from noise (docs/measuring.md has what was tried)."""
LARGE = 0.40
"""A tolerance above it may be held against single runs too: these differ by about 30 %."""

Verdict = Literal["better", "worse", "no difference", "not enough runs"]

MACHINE = (
    "machine", "cpu_model", "cores_online", "cores_allowed", "hypervisor", "container", "kernel_release",
    "clock_source", "versions.python",
)  # fmt: skip
"""What of `environment` makes a machine: what figures follow from, and is not the code that is compared."""
AS_BUSY = 0.10
"""Other processes' shares of the CPUs that differ by no more than this go without a word."""
OTHER_MACHINE = "were measured on different machines"
OTHER_PLAN = "have different plans"
MOST_NAMED = 3
"""Differences that a refusal names; the rest it counts."""
MOST_QUOTED = 60
"""Characters of a damaged document that a refusal shows."""


@dataclass(frozen=True, slots=True)
class _Side:
    """What is compared of one result."""

    title: str
    figures: Mapping[str, Figure]
    about: Mapping[str, Any]


def compare(
    before: Result,
    after: Result,
    *,
    tolerance: float = TOLERANCE,
    force: bool = False,
    paired: bool = False,
    argv: Sequence[str] = (),
) -> dict[str, Any]:
    """The comparison of `after` with `before`; `tolerance` is a share, 0.1 for 10 %.

    `paired` says that run i of both was made in the same round: then ratios within a round are compared. Raises
    UsageError when they are not of one kind, a document is damaged or has no whole run, or machine or plan are not the
    same and `force` does not allow it.
    """
    kind = kind_of(before, after)
    left, right = _side(before, kind), _side(after, kind)
    warnings = [*_refused_or_forced(before, after, force=force), *_doubts(left), *_doubts(right)]
    warnings += _busier(left, right)
    if tolerance < FLOOR:
        warnings.append(f"the tolerance is below {FLOOR:.0%}: changes as small as that are not told from noise")
    figures = [
        _compare_figure(left.figures.get(name), right.figures.get(name), tolerance, paired=paired)
        for name in dict.fromkeys([*left.figures, *right.figures])
    ]
    return {
        "schema": SCHEMA,
        "kind": before.schema,
        "argv": list(argv),
        "before": left.about,
        "after": right.about,
        "paired": paired,
        "tolerance": tolerance,
        "confidence": CONFIDENCE,
        "floor": FLOOR,
        "fewest_runs": FEWEST_RUNS,
        "figures": figures,
        "verdict": _overall(figures),
        "failed": [figure["name"] for figure in figures if figure["failed"]],
        "warnings": warnings,
    }


def kind_of(before: Result, after: Result) -> Kind:
    """How both are compared; raises UsageError unless they are of one kind, and it is a known one."""
    for result in (before, after):
        if result.schema not in KINDS:
            raise UsageError(
                f"{result.title} is {result.schema!r}, which cannot be compared",
                hint=f"give two results of one of {', '.join(sorted(KINDS))}",
            )
    if before.schema != after.schema:
        raise UsageError(
            f"{before.title} is {before.schema} and {after.title} is {after.schema}",
            hint="give two results of one kind",
        )
    return KINDS[before.schema]


def check_comparable(result: Result) -> None:
    """Raise UsageError unless this result can be compared: for whoever would else learn it after a long run."""
    _side(result, kind_of(result, result))
    differences(result, result)


# What is read of a document


@contextmanager
def _reading(result: Result) -> Iterator[None]:
    """Turns what reading a document that is not as its schema says raises into a UsageError."""
    try:
        yield
    except KeyError as error:
        raise _damaged(result, f"there is no {error} where {result.schema} has one") from None
    except (TypeError, ValueError, AttributeError, ArithmeticError, IndexError) as error:
        seen = str(error)[:MOST_QUOTED]
        raise _damaged(result, f"a value in it is not what {result.schema} has there ({seen})") from None


def _median_or_none(values: Sequence[float | None]) -> float | None:
    known = [_amount(value) for value in values if value is not None]
    return median(known) if known else None


def _damaged(result: Result, why: str) -> UsageError:
    return UsageError(f"{result.title} is damaged", why=why, hint="make it again")


def _side(result: Result, kind: Kind) -> _Side:
    """All that is compared of a document; raises UsageError where it is not what its schema says, or has no run."""
    document = result.document
    with _reading(result):
        figures = [_checked(figure) for figure in kind.figures(document)]
        environment = document["environment"]
        git = environment["git"]
        about = {
            "title": result.title,
            "label": _a(str, document.get("label", "")),
            "started_at": _a(str, document["started_at"]),
            "complete": _a(bool, document["complete"]),
            "runs": max((len(figure.values) for figure in figures), default=0),
            "busy_others_share": _median_or_none(kind.busy(document)),
            "verdicts": {_a(str, verdict): _amount(number) for verdict, number in kind.verdicts(document).items()},
            "harness": _a(str, _within(environment, "versions.harness")),
            "revision": None if git is None else _a(str, git["revision"]),
            "dirty": None if git is None else _a(bool, git["dirty"]),
        }
    known = {figure.name: figure for figure in figures if any(value is not None for value in figure.values)}
    if not known:
        raise UsageError(f"{result.title} has no whole run to compare", hint="run it again, to its end")
    return _Side(result.title, known, about)


def _within(mapping: Mapping[str, Any], path: str) -> Any:
    """The value behind keys with dots between."""
    value: Any = mapping
    for key in path.split("."):
        value = value[key]
    return value


def _checked(figure: Figure) -> Figure:
    """The figure, if its values are numbers. A run with 0 in a figure that is compared by ratio does not have it."""
    for value in figure.values:
        if value is not None:
            _amount(value)
    if figure.better == "zero":
        return figure
    return Figure(figure.name, figure.unit, figure.better, tuple(value or None for value in figure.values))


def _amount(value: Any) -> Any:
    """The value, if it is a finite number from 0 up; JSON's true and false are none. Else ValueError."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value) or value < 0:
        raise ValueError(repr(value))
    return value


def _a(kind: type, value: Any) -> Any:
    """The value, if it is of that kind; else ValueError."""
    if not isinstance(value, kind):
        raise ValueError(repr(value))  # noqa: TRY004  one error for all that is damaged
    return value


# Like with like


def differences(before: Result, after: Result) -> tuple[list[str], list[str]]:
    """What is not the same of their machines and of their plans, each as "key this and that".

    Raises UsageError when they are not of one kind or have neither.
    """
    kind = kind_of(before, after)
    machines: list[dict[str, Any]] = []
    plans: list[dict[str, Any]] = []
    for result in (before, after):
        with _reading(result):
            machines.append({name: _within(result.document["environment"], name) for name in MACHINE})
            plans.append(dict(kind.plan(result.document)))
    return (
        _differences(machines[0], machines[1], free=frozenset()),
        _differences(plans[0], plans[1], free=kind.free),
    )


def refuse_differences(before: Result, after: Result, what: str, found: Sequence[str]) -> None:
    """Raise UsageError if some were `found`; `what` both have or were that is not the same."""
    if found:
        more = len(found) - MOST_NAMED
        named = [*found[:MOST_NAMED], *([f"and {more} more"] if more > 0 else [])]
        raise UsageError(
            f"{before.title} and {after.title} {what}",
            why=", ".join(named),
            hint="compare like with like; harness diff --force compares them all the same",
        )


def _refused_or_forced(before: Result, after: Result, *, force: bool) -> list[str]:
    """What is not the same, as warnings; without `force` that raises UsageError."""
    warnings = []
    for what, found in zip((OTHER_MACHINE, OTHER_PLAN), differences(before, after), strict=True):
        if not force:
            refuse_differences(before, after, what, found)
        elif found:
            warnings.append(f"{before.title} and {after.title} {what}: {', '.join(found)}")
    return warnings


def _differences(left: Mapping[str, Any], right: Mapping[str, Any], free: frozenset[str] = frozenset()) -> list[str]:
    """Each key whose values differ, with both values.

    What one side lacks, as an older harness's plan may, was not asked for there: no difference to None, False or 0.
    """
    return [
        f"{key} {left.get(key)} and {right.get(key)}"
        for key in dict.fromkeys([*left, *right])
        if key not in free and left.get(key) != right.get(key)
        if (key in left and key in right) or left.get(key) or right.get(key)
    ]


def _doubts(side: _Side) -> list[str]:
    """What a reader should know of one side before believing its figures."""
    doubts = []
    if not side.about["complete"]:
        doubts.append(f"{side.title} was cut short: only its whole runs are compared")
    disturbed = side.about["verdicts"].get("disturbed", 0)
    if disturbed:
        doubts.append(f"{side.title}: {disturbed} of {sum(side.about['verdicts'].values())} runs were disturbed")
    return doubts


def _busier(left: _Side, right: _Side) -> list[str]:
    """Whether other processes left the two sides as much of the machine."""
    first, second = (side.about["busy_others_share"] for side in (left, right))
    if first is None or second is None or abs(first - second) <= AS_BUSY:
        return []
    shares = f"{first:.0%} of the CPUs' time from {left.title} and {second:.0%} from {right.title}"
    return [f"other processes took {shares}: a difference may be theirs"]


# One figure


def _compare_figure(before: Figure | None, after: Figure | None, tolerance: float, *, paired: bool) -> dict[str, Any]:
    known = before or after
    assert known is not None, "its name is on one side"
    left, right = (list(figure.values) if figure else [] for figure in (before, after))
    if paired and before and after:
        both = [(a, b) for a, b in zip(left, right, strict=True) if a is not None and b is not None]
        left, right = [a for a, _ in both], [b for _, b in both]
    first, second = ([value for value in side if value is not None] for side in (left, right))
    middle = max if known.better == "zero" else median
    entry = {
        "name": known.name,
        "unit": known.unit,
        "better": known.better,
        "before": {"value": middle(first) if first else None, "values": first},
        "after": {"value": middle(second) if second else None, "values": second},
        "change": None,
        "interval": None,
        "verdict": "not enough runs",
        "failed": False,
    }
    if not first or not second:
        return entry
    if known.better == "zero":
        return {**entry, "verdict": _verdict_of_counts(max(first), max(second)), "failed": max(second) > 0}
    change, interval = _change(first, second, paired=paired)
    verdict = "not enough runs" if interval is None else _verdict(interval, higher=known.better == "higher")
    loss = -change if known.better == "higher" else change
    judged = verdict == "worse" or (interval is None and tolerance > LARGE)
    return {
        **entry,
        "change": change,
        "interval": None if interval is None else {"low": interval[0], "high": interval[1]},
        "verdict": verdict,
        "failed": judged and loss > tolerance,
    }


def _change(
    before: Sequence[float], after: Sequence[float], *, paired: bool
) -> tuple[float, tuple[float, float] | None]:
    """The change of the median as a share (0.1: 10 % more), and its interval; None for that when there are too few."""
    ratios = [b / a for a, b in zip(before, after, strict=True)] if paired else []
    change = (median(ratios) if paired else median(after) / median(before)) - 1
    if min(len(before), len(after)) < FEWEST_RUNS:
        return change, None
    if paired:
        low, high = paired_ratio_interval(ratios, CONFIDENCE)
    else:
        low, high = ratio_interval(before, after, CONFIDENCE)
    return change, (low - 1, high - 1)


def _verdict(interval: tuple[float, float], *, higher: bool) -> Verdict:
    """What an interval of the change says; `higher` is better, or worse."""
    low, high = interval
    if low > FLOOR:
        return "better" if higher else "worse"
    if high < -FLOOR:
        return "worse" if higher else "better"
    return "no difference"


def _verdict_of_counts(before: float, after: float) -> Verdict:
    """Of what must be zero."""
    if after == before:
        return "no difference"
    return "worse" if after > before else "better"


def _overall(figures: Sequence[Mapping[str, Any]]) -> Verdict:
    """The first of these that a figure has; a count that is still zero says nothing about the others."""
    verdicts = [
        figure["verdict"]
        for figure in figures
        if figure["better"] != "zero" or figure["verdict"] in ("worse", "better")
    ]
    order: tuple[Verdict, ...] = ("worse", "better", "no difference")
    return next((verdict for verdict in order if verdict in verdicts), "not enough runs")
