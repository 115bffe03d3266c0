"""From a run's board and readings to its figures, as they stand in `harness.udp/1` (docs/measuring.md)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.experiments.figures import TOLERATED_SHARE
from harness.experiments.udp_board import Word
from harness.experiments.udp_follow import SENDER, warmup_requests
from harness.measure.bound import drops_between
from harness.measure.disturbance import Disturbance
from harness.measure.statistics import theil_sen
from harness.measure.watch import disturbance_between, used_between

if TYPE_CHECKING:
    from harness.experiments.udp_board import UdpBoard
    from harness.experiments.udp_follow import UdpRun

COUNTED = ("sent", "unsendable", "ok", "er", "other", "missing", "unreachable", "surplus")
"""Figures that are words of the board by the same name."""


def udp_figures(run: UdpRun, board: UdpBoard) -> dict[str, Any]:
    """Every figure of one run; the keys are those of the result (docs/results.md)."""
    plan, words = run.plan, board.words
    counted = {name: words[Word[name.upper()]] for name in COUNTED}
    attempted = counted["sent"] + counted["unsendable"]
    due = plan.due if run.cut is None else int(plan.rate * max(0, run.stopped_ns - run.t0_ns) / 10**9)
    unsent = max(0, due - max(0, attempted - warmup_requests(plan)))
    latency = board.histogram("latency")
    bound = run.after.bound if run.after else None
    figures: dict[str, Any] = {
        "complete": run.cut is None,
        "cut": {"cause": run.cut.cause, "sentence": run.cut.sentence} if run.cut else None,
        "elapsed_s": run.elapsed_s,
        "due": due,
        "unsent": unsent,
        "attempted": attempted,
        **counted,
        "late": None if plan.pipelined else words[Word.LATE],
        "held_back": None if plan.pipelined else words[Word.HELD_BACK],
        "in_flight": words[Word.IN_FLIGHT] if run.ended_well else None,
        "reply_loss": words[Word.REPLY_DROPS] if run.ended_well and not words[Word.DROPS_UNREAD] else None,
        "socket_loss": drops_between(run.before.bound, bound),
        "socket_backlog_bytes": sum(found.waiting_bytes for found in bound.values()) if bound else None,
        "full_receives": _full_receives(run),
        "first_other": _text(board.first_other),
        "ports_given_up": words[Word.PORTS_GIVEN_UP],
        "offered_rate": due / run.elapsed_s if run.elapsed_s else None,
        "achieved_rate": words[Word.OK_IN_WINDOW] / run.elapsed_s if run.elapsed_s else None,
        "latency_ns": latency.summary(),
        "latency_is_lower_bound": bool(unsent or counted["missing"]),
        "service_ns": board.histogram("service").summary(),
        "refusal_ns": board.histogram("refusal").summary(),
        "pacing_error_ns": board.histogram("pacing").summary(),
        "sender": _sender(run),
        "memory_bytes": run.memory_bytes,
        "disturbance": _disturbance(run).to_json(),
        "series": run.series.to_json(),
        "histogram": {**latency.to_json(), "of": "latency_ns"},
    }
    figures["balanced"] = _balanced(run, figures)
    figures["backlog_growth_per_s"] = growth = _backlog_growth(run)
    figures["sustained"] = _sustained(run, figures, growth)
    figures["warnings"] = _doubts(run, figures, words[Word.SOCKETS_LOST])
    return figures


def _balanced(run: UdpRun, figures: dict[str, Any]) -> bool | None:
    """Whether every request that was sent is in one place; pipelined, whether no more came back than was sent."""
    if not run.ended_well:
        return None
    if run.plan.pipelined:
        return not figures["surplus"]
    places = ("ok", "er", "other", "missing", "unreachable", "in_flight")
    return bool(figures["sent"] == sum(figures[name] for name in places))


def _full_receives(run: UdpRun) -> int | None:
    before, after = run.before.full_receives, run.after.full_receives if run.after else None
    return None if before is None or after is None else after - before


def _text(reply: bytes | None) -> str | None:
    """A reply as a person can read it."""
    return None if reply is None else reply.decode("ascii", errors="backslashreplace")


def _sender(run: UdpRun) -> dict[str, float | None]:
    """What the sending process took of a CPU, between the first and the last reading in the window."""
    figures: dict[str, float | None] = dict.fromkeys(("cpu_share", "wait_share", "cpu_ns_per_request"))
    if len(run.readings) > 1:
        (sent_before, before), (sent_after, after) = run.readings[0], run.readings[-1]
        if usage := used_between(before, after)[SENDER]:
            figures["cpu_share"] = usage.cpu_share(after.ns - before.ns)
            figures["wait_share"] = usage.wait_share(after.ns - before.ns)
            if usage.run_ns is not None and sent_after > sent_before:
                figures["cpu_ns_per_request"] = usage.run_ns / (sent_after - sent_before)
    return figures


def _disturbance(run: UdpRun) -> Disturbance:
    """What else happened on the machine. The proxy, too, is one of the others."""
    if len(run.readings) > 1:
        (_, before), (_, after) = run.readings[0], run.readings[-1]
        return disturbance_between(before, after, workers=1, cpus=run.cpus, jitter=run.jitter)
    return Disturbance(
        steal_share=None, runnable_wait_share=None, throttled_ns=None, jitter=run.jitter, workers=1, cpus=run.cpus
    )


def _backlog_growth(run: UdpRun) -> float | None:
    """By how many requests a second those due and not settled grew: Theil-Sen slope over the window."""
    rate = float(run.plan.rate)
    return theil_sen([(found.t_s, rate * found.t_s - found.settled) for found in run.series.window(run.elapsed_s)])


def _sustained(run: UdpRun, figures: dict[str, Any], growth: float | None) -> bool | None:
    """Whether the proxy said OK to all at this rate; None where there is no whole run to judge."""
    if run.cut is not None:
        return None
    return (
        figures["unsent"] <= TOLERATED_SHARE * figures["due"]
        and not any(figures[name] for name in ("er", "other", "missing", "unreachable", "unsendable"))
        and (growth is None or growth <= TOLERATED_SHARE * float(run.plan.rate))
    )


def _doubts(run: UdpRun, figures: dict[str, Any], sockets_lost: int) -> list[str]:
    """What a reader should know before believing the figures."""
    doubts = []
    without_time = figures["unsent"] + figures["missing"]
    if run.plan.pipelined:
        doubts.append("pipelined: replies were only counted; no time is known of any, and none is told late")
    elif without_time:
        doubts.append(
            f"requests not sent, or not answered in time: {without_time:,}; the latency percentiles are lower bounds"
        )
    if figures["balanced"] is False:
        doubts.append("the ledger does not balance: there are more replies than requests, or a defect of ours")
    if figures["surplus"]:
        doubts.append(f"replies that nothing was asked for: {figures['surplus']:,}; does something answer twice?")
    if figures["first_other"] is not None:
        doubts.append(f"the first reply that is neither OK nor ER began {figures['first_other']!r}")
    if sockets_lost:
        doubts.append(f"sockets that could not be replaced after a missing reply: {sockets_lost:,}")
    if figures["reply_loss"]:
        doubts.append(f"replies that our own sockets had no room for: {figures['reply_loss']:,}; use more --sockets")
    return doubts
