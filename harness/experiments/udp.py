"""`harness load udp://HOST:PORT`: a load through a proxy, repeated; the result is the `harness.udp/1` document.

plan --plan.repeat times--> execute_udp --> udp_figures --> summary over the repeats --> document
"""

from __future__ import annotations

import resource
from datetime import UTC, datetime
from statistics import median
from typing import TYPE_CHECKING, Any

from harness.experiments.figures import TOLERATED_SHARE
from harness.experiments.load import SEVERITY
from harness.experiments.udp_board import PORTS
from harness.experiments.udp_figures import udp_figures
from harness.experiments.udp_follow import execute_udp, resolve
from harness.experiments.udp_sender import SPARE_DESCRIPTORS, most_given_up
from harness.measure.histogram import Histogram
from harness.results.environment import describe
from harness.sysv.errors import MachineError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from harness.experiments.udp_board import UdpBoard
    from harness.experiments.udp_follow import UdpObserver, UdpRun
    from harness.experiments.udp_plan import UdpPlan
    from harness.results import Threshold

SCHEMA = "harness.udp/1"
COUNTS = (
    "ok", "er", "other", "missing", "late", "unreachable", "unsendable", "surplus", "unsent", "held_back",
    "socket_loss", "reply_loss",
)  # fmt: skip
"""What --fail-if can count."""

WORST = (
    "er", "other", "missing", "late", "unreachable", "unsendable", "surplus", "unsent", "held_back", "in_flight",
    "socket_loss", "reply_loss", "full_receives", "ports_given_up",
)  # fmt: skip
"""Over repeats the largest counts, since a median would hide what went wrong in one run."""
MIDDLE = (
    "elapsed_s", "due", "attempted", "sent", "ok", "offered_rate", "achieved_rate", "backlog_growth_per_s",
    "memory_bytes", "socket_backlog_bytes",
)  # fmt: skip
"""Over repeats the medians."""
GROUPS = ("latency_ns", "service_ns", "refusal_ns", "pacing_error_ns", "sender")
"""Groups of figures: over repeats the median of each."""
MUCH_WAITING = 0.2
"""Share of its time that a sender waits for a CPU, above which that is what held the rate back."""
ALL = ("complete", "balanced", "sustained")
"""Over repeats true only if true in each."""


def run_udp(
    plan: UdpPlan,
    observer: UdpObserver,
    *,
    interrupted: Callable[[], str | None] = lambda: None,
    argv: Sequence[str] = (),
    thresholds: Sequence[Threshold] = (),
) -> dict[str, Any]:
    """Carry out a plan; returns the document that docs/results.md describes.

    Raises UsageError when there is no way to the target, MachineError when so many sockets are not allowed, RunError
    when the sending process does not start.
    """
    place = resolve(plan.target)
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if most_given_up(plan.sockets, most) < plan.sockets:
        raise MachineError(
            f"{plan.sockets} sockets, and as many for late replies, are more than the {most} files allowed here",
            hint=f"write --sockets {max(1, (most - SPARE_DESCRIPTORS) // 2)}, or raise the limit (ulimit -Hn)",
        )
    started_at = datetime.now(UTC).isoformat(timespec="seconds")
    runs: list[dict[str, Any]] = []
    spent = bytes(PORTS)
    for number in range(1, plan.repeat + 1):

        def keep(run: UdpRun, board: UdpBoard) -> None:
            nonlocal spent
            runs.append(udp_figures(run, board))
            spent = bytes(board.spent)

        execute_udp(plan, place, observer, interrupted, number=number, of=plan.repeat, spent=spent, finish=keep)
        if not runs[-1]["complete"]:
            break
    document: dict[str, Any] = {
        "schema": SCHEMA,
        "label": plan.label,
        "argv": list(argv),
        "started_at": started_at,
        "plan": plan.to_json(),
        "address": str(place.ip),
        **summary(runs),
        "thresholds": [],
        "advice": "",
        "environment": describe(),
    }
    document["thresholds"] = [threshold.check(document).to_json() for threshold in thresholds]
    document["advice"] = advice(plan, document)
    return document


def summary(runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The figures of several runs as one, as `load.summary` makes it: medians, and the worst of what must not happen.

    The series is that of the run with the median rate; the histogram is all runs' together.
    """
    by_rate = sorted(runs, key=lambda run: run["achieved_rate"] or 0.0)
    typical = by_rate[len(by_rate) // 2]
    whole = {**typical, "runs": [{key: run[key] for key in run if key not in ("series", "histogram")} for run in runs]}
    for name in ALL:
        values = [run[name] for run in runs]
        whole[name] = None if None in values else all(values)
    for name in WORST:
        known = [run[name] for run in runs]
        whole[name] = None if None in known else max(known)
    for name in MIDDLE:
        whole[name] = _median([run[name] for run in runs])
    for group in GROUPS:
        whole[group] = {key: _median([run[group][key] for run in runs]) for key in typical[group]}
    merged = Histogram()
    for run in runs:
        merged.merge(Histogram.from_json({key: value for key, value in run["histogram"].items() if key != "of"}))
    whole["histogram"] = {**merged.to_json(), "of": "latency_ns"}
    whole["disturbance"] = max((run["disturbance"] for run in runs), key=lambda found: SEVERITY.index(found["verdict"]))
    whole["cut"] = next((run["cut"] for run in runs if run["cut"]), None)
    whole["first_other"] = next((run["first_other"] for run in runs if run["first_other"] is not None), None)
    whole["latency_is_lower_bound"] = any(run["latency_is_lower_bound"] for run in runs)
    whole["warnings"] = list(dict.fromkeys(warning for run in runs for warning in run["warnings"]))
    return whole


def _median(values: Sequence[Any]) -> Any:
    known = [value for value in values if value is not None]
    if not known:
        return None
    middle = median(known)
    return int(middle) if all(isinstance(value, int) for value in known) else middle


def advice(plan: UdpPlan, result: dict[str, Any]) -> str:  # noqa: PLR0911  the first that applies
    """The next thing to try, knowing what was seen."""
    if result["cut"]:
        if result["cut"]["cause"] == "nobody-listens":
            return "Start the proxy first, and look at its port: python labs/07_worker_pool/solution.py"
        return "Run it again: what stands here is only what was measured until then."
    if result["other"]:
        return "Something answers neither OK nor ER: is it the proxy that listens there?"
    if result["missing"] or result["unreachable"]:
        return _unanswered(result)
    if result["er"]:
        return "The proxy refused requests, and said so: its queue was as deep as it lets it be; lower --rate."
    if result["sustained"] is False:
        return _not_held(plan, result)
    if plan.pipelined:
        return "For latencies leave out --pipelined."
    if plan.repeat == 1:
        return "One run is one draw: add --repeat 5 to see the spread."
    return f"It was held: try --rate {float(plan.rate) * 1.5:.0f}."


def _not_held(plan: UdpPlan, result: dict[str, Any]) -> str:
    """All was answered OK, but not as fast as it was due."""
    slower = f"try --rate {(result['achieved_rate'] or 0) * 0.9:.0f}"
    waited = result["sender"]["wait_share"]
    if waited is not None and waited > MUCH_WAITING:
        return f"The sender waited for a CPU {waited:.0%} of the time: here are too few of them for both; {slower}."
    if (result["held_back"] or 0) > TOLERATED_SHARE * result["due"]:
        return f"All {plan.sockets} sockets waited for the proxy, which holds about that rate: {slower}."
    return f"The sender itself was late (pacing error): stop what else runs here, or {slower}."


def _unanswered(result: dict[str, Any]) -> str:
    if result["unreachable"]:
        return "The port was closed for a while: did the proxy end, or start again?"
    if result["socket_loss"]:
        return (
            "The kernel dropped datagrams at the proxy's full socket: it did not keep up, or stood still; lower --rate."
        )
    if result["late"]:
        return "The proxy answered late: it waited, as a rule for a full queue (harness top shows it), or was stopped."
    return "The proxy took requests and did not answer: see whether it is stuck on a full queue (harness top)."
