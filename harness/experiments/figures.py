"""From a run's board and readings to its figures, as they stand in the result. What each means: docs/measuring.md."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.engines.layout import ConsumerWord, ProducerWord
from harness.engines.protocol import Loop
from harness.experiments.follow import NS, Run
from harness.measure.histogram import Histogram
from harness.measure.ledger import Ledger, settle
from harness.measure.statistics import theil_sen

if TYPE_CHECKING:
    from collections.abc import Iterable

    from harness.engines.layout import Board

TOLERATED_SHARE = 0.001
"""Of the due messages that may stay unsent, and of the rate that the backlog may grow by, in a sustained run."""


def figures_of(run: Run, board: Board) -> dict[str, Any]:
    """Every figure of one run; the keys are those of the result (docs/results.md)."""
    plan = run.plan
    own = plan.consumers > 0
    ledger = _ledger(run, board)
    latency = board.latency() if own and plan.loop is not Loop.UNPACED else Histogram()
    service, pacing = board.service(), board.pacing()
    attempted = _since_t0(board)
    due = _due(run)
    unsent = max(0, due - attempted) if due is not None else None
    disturbance = run.disturbance()
    figures: dict[str, Any] = {
        "complete": run.cut is None,
        "cut": {"cause": run.cut.cause, "sentence": run.cut.sentence} if run.cut else None,
        "elapsed_s": run.elapsed_s,
        "due": due,
        "unsent": unsent,
        "attempted": ledger.attempted,
        "sent": ledger.sent,
        "refused": ledger.refused,
        "unknown": ledger.unknown,
        "received": ledger.received if own else None,
        "received_once": ledger.received_once if own else None,
        "duplicated": ledger.duplicated if own else None,
        "out_of_order": ledger.out_of_order if own else None,
        "undecided": ledger.undecided if own else None,
        "left_in_queue": ledger.left_in_queue if own else run.left_in_queue,
        "held_by_killed": ledger.held_by_killed if own else None,
        "lost": ledger.lost if own else None,
        "foreign": ledger.foreign if own else None,
        "balanced": ledger.balanced if own else None,
        "offered_rate": due / run.elapsed_s if due is not None and run.elapsed_s else None,
        "achieved_rate": _achieved_rate(run, board),
        "latency_ns": latency.summary(),
        "latency_is_lower_bound": bool(unsent),
        "service_ns": (service if own else Histogram()).summary(),
        "pacing_error_ns": (pacing if plan.loop is Loop.OPEN else Histogram()).summary(),
        "queue_full": sum(part.words[ProducerWord.FULL] for part in board.producers),
        "blocked_s": sum(part.words[ProducerWord.BLOCKED_NS] for part in board.producers) / NS,
        "per_message": _per_message(run),
        "memory_bytes": run.memory_bytes,
        "disturbance": disturbance.to_json(),
        "by_type": _by_type(run, board),
        "by_worker": _by_worker(run, board),
        "series": run.series.to_json(),
        "histogram": (latency if latency.total else service).to_json(),
        "warnings": list(run.warnings),
    }
    figures["histogram"]["of"] = "latency_ns" if latency.total else "service_ns"
    figures["backlog_growth_per_s"] = growth = backlog_growth(run)
    figures["sustained"] = _sustained(run, figures, growth)
    figures["warnings"] += _doubts(run, figures)
    return figures


def _ledger(run: Run, board: Board) -> Ledger:
    killed = [ending.worker for ending in run.endings if ending.signal is not None]
    if run.cut and run.cut.cause == "leader-killed":  # its workers go with it
        killed = run.started.workers
    killed_consumers = [worker.index for worker in killed if worker.role == "consumer"]
    streams = range(board.shape.streams)
    consumers = board.consumers
    return settle(
        sent=board.sent,
        refused=board.refused,
        received=board.received,
        duplicated=sum(part.duplicated for part in consumers),
        out_of_order=sum(part.out_of_order for part in consumers),
        undecided=sum(part.undecided for part in consumers),
        missing=sum(board.missing(stream) for stream in streams) if consumers else 0,
        in_queue=_in_queue(run, board),
        foreign=sum(part.words[ConsumerWord.FOREIGN] for part in consumers),
        killed_producers=len(killed) - len(killed_consumers),
        killed_consumers=len(killed_consumers),
        in_bursts=sum(consumers[index].words[ConsumerWord.HOLDS] for index in killed_consumers),
        seen_unsent=sum(board.seen_unsent(stream) for stream in streams) if consumers else 0,
    )


def _in_queue(run: Run, board: Board) -> int:
    """Messages that lay in the queue at the end; where it was removed under the run, all that is missing did."""
    if run.cut and run.cut.cause in ("queue-removed", "leader-killed"):
        return max(0, board.sent - board.received)
    return run.left_in_queue or 0


def _since_t0(board: Board) -> int:
    """Sends tried since t0, done and refused. A producer that never reached t0 has none."""
    total = 0
    for part in board.producers:
        if part.words[ProducerWord.MARKED]:
            before = part.words[ProducerWord.SENT_BEFORE] + part.words[ProducerWord.REFUSED_BEFORE]
            total += part.sent + part.words[ProducerWord.REFUSED] - before
    return total


def _due(run: Run) -> int | None:
    """Messages due in the part of the window that was measured; None without a rate."""
    plan = run.plan
    if plan.fixed_rate is None:
        return None
    if run.cut is None:
        return plan.due
    return int(plan.fixed_rate * max(0, run.stopped_ns - run.t0_ns) / 10**9)


def _achieved_rate(run: Run, board: Board) -> float | None:
    """Messages/s: received within the window over its length; unpaced: received over first send to last receive.

    Without consumers of our own it is what was sent within the window: the others' receipts cannot be counted.
    """
    if run.elapsed_s <= 0:
        return None
    if not run.plan.consumers:
        return _since_t0(board) / run.elapsed_s
    if run.plan.loop is Loop.UNPACED:
        starts = [part.words[ProducerWord.FIRST_SEND_NS] for part in board.producers]
        first = min((start for start in starts if start), default=0)
        last = max(part.words[ConsumerWord.LAST_RECEIVE_NS] for part in board.consumers)
        if run.engine in ("bare", "plain"):
            # They stamp nothing: of what came after t0, that which was sent before it is told by the producers' marks.
            count = board.received - sum(part.words[ProducerWord.SENT_BEFORE] for part in board.producers)
        else:
            count = board.service().total
        return count * NS / (last - first) if first and last > first else None
    within = 0
    for part in board.consumers:
        marked = part.words[ConsumerWord.MARKED]
        if not marked:
            continue
        # A consumer that met no message after the window's end set no second mark: all it has came before.
        by_end = part.words[ConsumerWord.RECEIVED_BY_END] if marked > 1 else part.total
        within += by_end - part.words[ConsumerWord.RECEIVED_BEFORE]
    return within / run.elapsed_s


def _per_message(run: Run) -> dict[str, float | None]:
    """CPU time and context switches of all workers for each message, between the first and the last reading."""
    usages = list(run.used().values())
    messages = 0
    if run.readings:
        first, last = run.readings[0], run.readings[-1]
        messages = last.received - first.received if run.plan.consumers else last.sent - first.sent
    cpu_ns = _sum(usage.run_ns if usage else None for usage in usages)
    switches = _sum(usage.switches if usage else None for usage in usages)
    return {
        "cpu_ns": None if cpu_ns is None or messages <= 0 else cpu_ns / messages,
        "switches": None if switches is None or messages <= 0 else switches / messages,
    }


def _sum(values: Iterable[int | None]) -> int | None:
    """The sum, or None when one is not known."""
    known = list(values)
    return None if None in known else sum(value for value in known if value is not None)


def backlog_growth(run: Run) -> float | None:
    """By how many messages a second the backlog (due and not yet received) grew: Theil-Sen slope over the window.

    None without a rate, or with too few samples to tell.
    """
    rate = run.plan.fixed_rate
    if rate is None:
        return None
    own = run.plan.consumers > 0
    points = []
    for sample in run.series.window(run.elapsed_s):
        taken = sample.received + sample.refused if own else sample.sent + sample.refused - sample.depth
        points.append((sample.t_s, float(rate) * sample.t_s - taken))
    return theil_sen(points)


def _sustained(run: Run, figures: dict[str, Any], growth: float | None) -> bool | None:
    """Whether the rate was held; None where there is no rate, or no whole run to judge."""
    rate = run.plan.fixed_rate
    if rate is None or run.cut is not None:
        return None
    due = figures["due"] or 1
    return (
        figures["unsent"] <= TOLERATED_SHARE * due
        and not figures["lost"]
        and not figures["refused"]
        and (growth is None or growth <= TOLERATED_SHARE * float(rate))
    )


def _by_type(run: Run, board: Board) -> list[dict[str, Any]]:
    plan = run.plan
    rows = []
    for index, share in enumerate(plan.types):
        streams = [board.shape.stream(producer, index) for producer in range(plan.producers)]
        rows.append(
            {
                "type": share.type,
                "sent": sum(part.next_number[index] for part in board.producers),
                "received": sum(board.received_of(stream) for stream in streams) if plan.consumers else None,
                "latency_ns": (
                    board.latency(index) if plan.loop is not Loop.UNPACED and plan.consumers else Histogram()
                ).summary(),
            }
        )
    return rows


def _by_worker(run: Run, board: Board) -> list[dict[str, Any]]:
    endings = {ending.worker: ending for ending in run.endings}
    used = run.used()
    elapsed_ns = run.readings[-1].ns - run.readings[0].ns if run.readings else 0
    rows = []
    for worker in run.started.workers:
        producing = worker.role == "producer"
        part = board.producers[worker.index] if producing else None
        usage, ending = used.get(worker), endings.get(worker)
        rows.append(
            {
                "role": worker.role,
                "index": worker.index,
                "queue": run.plan.queue_of(worker.index),
                "takes": None if producing else str(run.plan.selector_of(worker.index)),
                "messages": part.sent if part else board.consumers[worker.index].total,
                "refused": part.words[ProducerWord.REFUSED] if part else None,
                "blocked_s": part.words[ProducerWord.BLOCKED_NS] / NS if part else None,
                "cpu_share": usage.cpu_share(elapsed_ns) if usage else None,
                "wait_share": usage.wait_share(elapsed_ns) if usage else None,
                "switches": usage.switches if usage else None,
                "ended": _ended(ending.signal, ending.state) if ending else None,
            }
        )
    return rows


def _ended(signal: int | None, state: str | None) -> str:
    return f"killed by signal {signal}" if signal is not None else (state or "").lower().replace("_", " ")


def _doubts(run: Run, figures: dict[str, Any]) -> list[str]:
    """What a reader should know before believing the figures."""
    doubts = []
    if figures["latency_is_lower_bound"] and run.plan.consumers:
        doubts.append(f"due messages never sent: {figures['unsent']:,}; the latency percentiles are lower bounds")
    if figures["balanced"] is False and run.cut is None:
        doubts.append("the ledger does not balance: the receivers' counts and the gaps in the numbers disagree")
    if figures["foreign"]:
        doubts.append(f"{figures['foreign']:,} messages on the queue were not this run's")
    return doubts
