"""`harness load --baseline A.json`: is it worse than it was? The result of this run, compared on the spot.

    the same plan      this plan --repeat times-->  A.json  against  this run
    another plan       both plans by turns------->  A.json  against  A's plan again
                                                    A's plan again  against  this run, within rounds

Running the same plan twice by turns would compare this code with itself, so the code that made A.json is there in its
stored runs only. Where the plans differ (another engine, another size) both can be run now: ratios within one round
tell of the option alone, whatever the machine did since, and the stored runs tell whether A's plan goes as it did.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from harness.engines import choice
from harness.experiments.load import SCHEMA, document_of, now, run_load, run_once, summary, unheard
from harness.experiments.plan import LoadPlan, rate_to_json
from harness.results.compare import OTHER_MACHINE, check_comparable, compare, differences, refuse_differences
from harness.results.environment import describe
from harness.results.loading import Result
from harness.sysv import require
from harness.sysv.errors import PlanError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from harness.experiments.follow import Observer
    from harness.experiments.load import Ended
    from harness.results import Threshold

THIS = "this run"


def run_against(
    baseline: Result,
    plan: LoadPlan,
    observer: Observer,
    *,
    tolerance: float,
    interrupted: Callable[[], str | None] = lambda: None,
    argv: Sequence[str] = (),
    thresholds: Sequence[Threshold] = (),
    ended: Ended = unheard,
) -> dict[str, Any]:
    """Carry out the plan as `run_load` does; `baseline` of the document has the comparisons.

    `ended` is told of each run of this plan, and of none of the baseline's.

    They are left out when it was interrupted. Raises, before anything runs, UsageError when the baseline is no
    comparable result of `harness load` or was measured on another machine, and what `run_load` raises.
    """
    beside = other_plan(baseline, plan)
    if beside is None:
        document = run_load(plan, observer, interrupted=interrupted, argv=argv, thresholds=thresholds, ended=ended)
        if document["complete"]:
            document["baseline"] = [compare(baseline, Result(THIS, document), tolerance=tolerance, argv=argv)]
        return document
    require()
    started_at = now()
    stored, these = _by_turns(beside, plan, observer, interrupted, ended)
    document = _document(plan, these, started_at, argv, thresholds)
    cut_short = [run for run in (*stored, *these) if not run["complete"]]
    if cut_short:
        document |= {"complete": False, "cut": cut_short[0]["cut"]}
        return document
    again = Result(f"{baseline.title} again", _document(beside, stored, started_at, argv))
    document["baseline"] = [
        compare(baseline, again, tolerance=tolerance, argv=argv),
        compare(again, Result(THIS, document), tolerance=tolerance, paired=True, force=True, argv=argv),
    ]
    return document


def other_plan(baseline: Result, plan: LoadPlan) -> LoadPlan | None:
    """The baseline's plan, to be repeated beside this one; None where this one is the same.

    Raises UsageError when it is no comparable result of `harness load`, was measured on another machine, or its plan
    cannot be run here.
    """
    if baseline.schema != SCHEMA:
        raise UsageError(f"{baseline.title} is {baseline.schema!r}", hint="give a file of harness load --json FILE")
    check_comparable(baseline)
    asked = {"schema": SCHEMA, "plan": plan.to_json(), "engine": choice.resolve(plan.engine), "environment": describe()}
    this = Result(THIS, asked)
    machines, plans = differences(baseline, this)
    refuse_differences(baseline, this, OTHER_MACHINE, machines)
    if not plans:
        return None
    try:
        stored = LoadPlan.from_json({**baseline.document["plan"], "engine": baseline.document["engine"]})
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(f"the plan in {baseline.title} is damaged", why=repr(error), hint="make it again") from None
    if len(plan.steps) > 1:
        raise PlanError(
            "a ramp cannot be run by turns with another plan",
            why=f"{baseline.title} has another one",
            hint="hold one rate, or give a baseline of the same ramp",
        )
    return replace(stored, repeat=plan.repeat)


def _by_turns(
    beside: LoadPlan, plan: LoadPlan, observer: Observer, interrupted: Callable[[], str | None], ended: Ended
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The figures of both plans' runs, run i of each from round i, up to one that was cut short.

    Who goes first turns from round to round. The first round begins with `plan`, so that an interruption finds
    something of it to tell.
    """
    sides: list[tuple[LoadPlan, str, list[dict[str, Any]]]] = [
        (each, choice.resolve(each.engine), []) for each in (plan, beside)
    ]
    turns = [side for number in range(plan.repeat) for side in (sides if number % 2 == 0 else sides[::-1])]
    for number, (which, engine, runs) in enumerate(turns, start=1):
        heard = ended if which is plan else unheard
        runs.append(run_once(which, engine, observer, interrupted, number=number, of=len(turns), ended=heard))
        if not runs[-1]["complete"]:
            break
    return sides[1][2], sides[0][2]


def _document(
    plan: LoadPlan,
    runs: Sequence[dict[str, Any]],
    started_at: str,
    argv: Sequence[str],
    thresholds: Sequence[Threshold] = (),
) -> dict[str, Any]:
    steps = [{"rate": rate_to_json(plan.rate), **summary(runs)}]
    engine = choice.resolve(plan.engine)
    return document_of(plan, engine, steps, started_at=started_at, argv=argv, thresholds=thresholds)
