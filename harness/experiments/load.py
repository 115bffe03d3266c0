"""`harness load`: one workload, repeated, at one rate or a ramp of them; the result is the `harness.load/1` document.

plan.steps --each, plan.repeat times--> follow.execute --> figures_of --> summary over the repeats --> document
"""

from __future__ import annotations

from datetime import UTC, datetime
from statistics import median
from typing import TYPE_CHECKING, Any

from harness.engines import choice
from harness.experiments.figures import figures_of
from harness.experiments.follow import Observer, Run, execute
from harness.experiments.plan import rate_to_json
from harness.measure.histogram import Histogram
from harness.results.environment import describe
from harness.sysv import require

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from harness.engines.layout import Board
    from harness.experiments.plan import LoadPlan
    from harness.results import Threshold

    Ended = Callable[[Run, dict[str, Any]], None]

SCHEMA = "harness.load/1"

WORST = ("lost", "duplicated", "out_of_order", "undecided", "unknown", "held_by_killed", "foreign", "refused", "unsent")
"""Over repeats the largest counts, since a median would hide one run's loss."""
MIDDLE = (
    "elapsed_s", "due", "attempted", "sent", "received", "received_once", "left_in_queue", "offered_rate",
    "achieved_rate", "queue_full", "blocked_s", "memory_bytes", "backlog_growth_per_s",
)  # fmt: skip
"""Over repeats the medians."""
PERCENTILES = ("latency_ns", "service_ns", "pacing_error_ns", "per_message")
"""Groups of figures: over repeats the median of each."""
ALL = ("complete", "balanced", "sustained")
"""Over repeats true only if true in each."""
SEVERITY = ("clean", "unknown", "oversubscribed", "disturbed")


def unheard(run: Run, figures: dict[str, Any]) -> None:
    """Nobody wants to know of a run that has ended."""


def run_load(
    plan: LoadPlan,
    observer: Observer,
    *,
    interrupted: Callable[[], str | None] = lambda: None,
    argv: Sequence[str] = (),
    thresholds: Sequence[Threshold] = (),
    ended: Ended = unheard,
) -> dict[str, Any]:
    """Carry out a plan; returns the document that docs/results.md describes. `ended` is told of each run.

    Raises HarnessError when nothing could be measured: no queues here, a namespace or the queue was refused.
    """
    require()
    engine = choice.resolve(plan.engine)
    started_at = now()
    steps: list[dict[str, Any]] = []
    for number, step in enumerate(plan.steps):
        runs: list[dict[str, Any]] = []
        for repeat in range(step.repeat):
            place = number * step.repeat + repeat + 1
            of = len(plan.steps) * step.repeat
            runs.append(run_once(step, engine, observer, interrupted, number=place, of=of, ended=ended))
            if not runs[-1]["complete"]:
                break
        steps.append({"rate": rate_to_json(step.rate), **summary(runs)})
        if not steps[-1]["complete"]:
            break
    return document_of(plan, engine, steps, started_at=started_at, argv=argv, thresholds=thresholds)


def now() -> str:
    """The time as documents have it: UTC, ISO 8601, whole seconds."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def run_once(
    plan: LoadPlan,
    engine: str,
    observer: Observer,
    interrupted: Callable[[], str | None],
    *,
    number: int,
    of: int,
    ended: Ended = unheard,
) -> dict[str, Any]:
    """The figures of one whole run, the `number`th of `of`; raises HarnessError as `run_load`.

    `ended` is told them with the run: a summary keeps neither a run's histogram nor its times.
    """
    kept: list[dict[str, Any]] = []

    def keep(run: Run, board: Board) -> None:
        kept.append(figures_of(run, board))
        ended(run, kept[0])

    execute(plan, engine, observer, interrupted, number=number, of=of, finish=keep)
    return kept[0]


def document_of(
    plan: LoadPlan,
    engine: str,
    steps: Sequence[dict[str, Any]],
    *,
    started_at: str,
    argv: Sequence[str] = (),
    thresholds: Sequence[Threshold] = (),
) -> dict[str, Any]:
    """The document of a plan whose steps, each a rate with its summary, were measured."""
    headline = dict(_headline(steps))
    headline.pop("rate")
    document: dict[str, Any] = {
        "schema": SCHEMA,
        "label": plan.label,
        "argv": list(argv),
        "started_at": started_at,
        "plan": plan.to_json(),
        "engine": engine,
        **headline,
        "complete": all(step["complete"] for step in steps) and len(steps) == len(plan.steps),
        "cut": steps[-1]["cut"],
        "steps": list(steps) if len(plan.steps) > 1 else [],
        "thresholds": [],
        "baseline": [],
        "advice": "",
        "environment": describe(),
    }
    if engine == "python" and plan.engine == "auto":
        document["warnings"].append(
            f"the native engine was not built, so these are the python engine's figures ({choice.BUILD_HINT})"
        )
    document["thresholds"] = [threshold.check(document).to_json() for threshold in thresholds]
    document["advice"] = advice(plan, document)
    return document


def summary(runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The figures of several runs as one: medians, the worst of what must not happen, one run's details.

    The details (series, workers, types) are those of the run with the median rate; the histogram is all runs' together.
    """
    by_rate = sorted(runs, key=lambda run: run["achieved_rate"] or 0.0)
    typical = by_rate[len(by_rate) // 2]
    whole = {**typical, "runs": [_brief(run) for run in runs]}
    for name in ALL:
        values = [run[name] for run in runs]
        whole[name] = None if None in values else all(values)
    for name in WORST:
        whole[name] = max((run[name] for run in runs if run[name] is not None), default=None)
    for name in MIDDLE:
        whole[name] = _median(runs, lambda run, name=name: run[name])  # type: ignore[misc]
    for group in PERCENTILES:
        whole[group] = {key: _median(runs, lambda run, g=group, k=key: run[g][k]) for key in typical[group]}  # type: ignore[misc]
    merged = Histogram()
    for run in runs:
        merged.merge(Histogram.from_json({key: value for key, value in run["histogram"].items() if key != "of"}))
    whole["histogram"] = {**merged.to_json(), "of": typical["histogram"]["of"]}
    whole["disturbance"] = max((run["disturbance"] for run in runs), key=lambda found: SEVERITY.index(found["verdict"]))
    whole["cut"] = next((run["cut"] for run in runs if run["cut"]), None)
    whole["latency_is_lower_bound"] = any(run["latency_is_lower_bound"] for run in runs)
    whole["warnings"] = list(dict.fromkeys(warning for run in runs for warning in run["warnings"]))
    return whole


def _brief(run: dict[str, Any]) -> dict[str, Any]:
    """A run's figures without what is large."""
    return {key: value for key, value in run.items() if key not in ("series", "histogram", "by_type", "by_worker")}


def _median(runs: Sequence[dict[str, Any]], figure: Callable[[dict[str, Any]], Any]) -> Any:
    values = [figure(run) for run in runs]
    known = [value for value in values if value is not None]
    if not known:
        return None
    middle = median(known)
    return int(middle) if all(isinstance(value, int) for value in known) else middle


def _headline(steps: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Of a ramp: the fastest step before the first that was not held, seen from the slowest; else the slowest."""
    upwards = sorted(steps, key=lambda step: step["offered_rate"] or 0.0)
    held = upwards[0]
    for step in upwards:
        if step["sustained"] is False or not step["complete"]:
            break
        held = step
    return held


def advice(plan: LoadPlan, result: dict[str, Any]) -> str:
    """The next thing to try, knowing what was tried already."""
    disturbance = result["disturbance"]
    if result["cut"]:
        return "Run it again: what stands here is only what was measured until then."
    if result["lost"] or result["duplicated"] or result["out_of_order"]:
        return (
            "Look at by_worker and the warnings: messages went wrong, which the kernel's queue does not do by itself."
        )
    if result["sustained"] is False:
        first = f"{disturbance['next_step']} " if disturbance["verdict"] == "disturbed" else ""
        return first + _slower(plan, result)
    if disturbance["verdict"] == "disturbed":
        return str(disturbance["next_step"])
    if result["queue_full"] and plan.loop.value == "open":
        return f"The queue was full {result['queue_full']:,} times: try a larger --queue-bytes, or --when-full refuse."
    if disturbance["verdict"] in ("oversubscribed", "unknown"):
        return str(disturbance["next_step"])
    if plan.repeat == 1:
        return "One run is one draw: add --repeat 5 to see the spread."
    if plan.fixed_rate is not None:
        faster = float(plan.fixed_rate) * 1.5
        ramp = f"{float(plan.fixed_rate):.0f}..{2 * faster:.0f}"
        return f"It was held: try --rate {faster:.0f}, or --rate {ramp} for a ramp."
    return "Compare with a paced run: --rate 500k gives latency its meaning."


def _slower(plan: LoadPlan, result: dict[str, Any]) -> str:
    if not plan.consumers and result["left_in_queue"]:
        return f"{result['left_in_queue']:,} messages lie in the queue: see whether its workers still read it."
    if result["refused"]:
        return "Messages were refused: try a larger --queue-bytes, a lower --rate, or --when-full block."
    if result["engine"] == "python" and not choice.native_problem():
        return "The rate was not held: try --engine native."
    achieved = result["achieved_rate"] or 0
    held = f"{achieved * 0.9:.0f}"
    if not plan.pin and result["disturbance"]["verdict"] != "oversubscribed":
        return f"The rate was not held: try --pin, or --rate {held}."
    ramp = f"{held}..{achieved * 1.1:.0f}"
    return f"The rate was not held: try --rate {held}, or a ramp to see where it breaks: --rate {ramp}."
