"""The five claims of `harness claims`, and for each the rule that makes a verdict of evidence. Pure functions.

A verdict is about what the claim says, on the machine that was tried:

    true                   it held in everything that was tried
    true with conditions   it held in a part of it; the finding names what decides
    outdated               what it says is what one meets here without setting anything, and the kernel lets more
    wrong                  what was tried contradicts it
    None                   undecided: what would decide could not be tried, and the finding says why

No verdict is stored anywhere: other evidence makes another. What each rule looks at stands beside the claim as `rule`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.measure.quantities import format_rate, format_size

if TYPE_CHECKING:
    from collections.abc import Callable

TRUE, CONDITIONS, OUTDATED, WRONG = "true", "true with conditions", "outdated", "wrong"
VERDICTS = (TRUE, CONDITIONS, OUTDATED, WRONG)

CLAIMED_RATE = 500_000
CLAIMED_CORES = 4
CLAIMED_MEMORY_BYTES = 4 * 10**9
CLAIMED_MESSAGE_BYTES = 65_535
CLAIMED_MEMORY_SHARE = 0.5
ABOUT_HALF = (0.45, 0.55)
"""A limit within these shares of the memory would be called 50 % of it."""

Evidence = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Judgement:
    """A verdict, or None, and in a sentence what it rests on."""

    verdict: str | None
    finding: str


@dataclass(frozen=True, slots=True)
class Claim:
    """One claim: what it `says`, how it is put to the machine (`method`), and how evidence is judged (`rule`)."""

    key: str
    says: str
    method: str
    rule: str
    judge: Callable[[Evidence], Judgement]


def judge_rate(evidence: Evidence) -> Judgement:
    """Whether the quicker engine's median is over 500,000 messages a second, size by size."""
    best = [
        (entry["size"], *max((found["median"], name) for name, found in entry["engines"].items()))
        for entry in evidence["sizes"]
    ]
    figures = ", ".join(f"{format_rate(rate)} of {format_size(size)} ({engine})" for size, rate, engine in best)
    memory = evidence["memory_bytes"]
    figures += f"; {evidence['cores']} cores, a queue of {format_size(evidence['queue_bytes'])}"
    reached = [rate > CLAIMED_RATE for _, rate, _ in best]
    if all(reached):
        return Judgement(TRUE, figures)
    if any(reached):
        return Judgement(CONDITIONS, f"it depends on the size: {figures}")
    if evidence["cores"] < CLAIMED_CORES or memory is None or memory < CLAIMED_MEMORY_BYTES:
        return Judgement(None, f"not reached, on less than the claim's 4 cores and 4 GB: {figures}")
    if set(evidence["verdicts"]) == {"disturbed"}:
        return Judgement(None, f"not reached, while the machine had other work all the time: {figures}")
    return Judgement(WRONG, figures)


def judge_selection(evidence: Evidence) -> Judgement:
    """Whether each of the three ways to ask got the message that it should, in every trial."""
    ways = {"exact": ">0 exact", "first": "0 first", "lowest": "<0 lowest"}
    held = {way: [trial["got"] == trial["expected"] for trial in evidence[way]] for way in ways}
    good, bad = ([words for way, words in ways.items() if all(held[way]) is wanted] for wanted in (True, False))
    extras = []
    for way, words in {"except": "MSG_EXCEPT", "copy": "MSG_COPY"}.items():
        trials = evidence[way]
        state = "not here" if trials is None else "as documented" if _as_expected(trials) else "not as documented"
        extras.append(f"{words} {state}")
    added = f"; Linux's own: {', '.join(extras)}"
    if not bad:
        return Judgement(TRUE, f"{', '.join(good)}: all as stated{added}")
    if good:
        return Judgement(CONDITIONS, f"as stated: {', '.join(good)}; otherwise: {', '.join(bad)}{added}")
    return Judgement(WRONG, f"none was as stated: {', '.join(bad)}{added}")


def _as_expected(trials: list[dict[str, Any]]) -> bool:
    return all(trial["got"] == trial["expected"] for trial in trials)


def judge_message_size(evidence: Evidence) -> Judgement:
    """Whether messages end at 65,535 bytes."""
    arrived = [trial["bytes"] for trial in evidence["tried"] if trial["arrived"]]
    refused = [trial["bytes"] for trial in evidence["tried"] if trial["arrived"] is False]
    msgmax = evidence["msgmax"]
    limit = f"msgmax is {msgmax:,} here"
    if evidence["largest_msgmax"] is not None:
        limit += f", settable to {evidence['largest_msgmax']:,}"
    if arrived and max(arrived) > CLAIMED_MESSAGE_BYTES:
        finding = f"a message of {format_size(max(arrived))} was sent and received; {limit}"
        return Judgement(OUTDATED if msgmax == CLAIMED_MESSAGE_BYTES else WRONG, finding)
    if CLAIMED_MESSAGE_BYTES in arrived and refused and min(refused) == CLAIMED_MESSAGE_BYTES + 1:
        return Judgement(TRUE, f"65,535 bytes arrived, and one more was refused; {limit}")
    if not evidence["settable"] and msgmax <= CLAIMED_MESSAGE_BYTES and evidence["over_msgmax_refused"]:
        return Judgement(CONDITIONS, f"{limit}, larger ones are refused, and it cannot be set from here")
    return Judgement(None, f"{limit}; nothing larger could be tried")


def judge_queue_size(evidence: Evidence) -> Judgement:
    """Whether the kernel stops at half of the memory, and whether that can be tuned."""
    memory, together = evidence["memory_bytes"], evidence["together_bytes"]
    if memory is None or together is None:
        why = "the memory's size is not known" if memory is None else "msgmnb cannot be set from here, or not enough"
        return Judgement(None, f"{why}; a queue holds {evidence['msgmnb']:,} bytes here")
    counted = "text" if evidence["text"]["fitted"] == evidence["text"]["expected"] else "text and more"
    facts = f"msgmnb is {evidence['msgmnb']:,} bytes of {counted}"
    if evidence["count"]["fitted"] == evidence["count"]["expected"]:
        facts += " and as many messages"
    if evidence["largest_msgmnb"] is not None:
        facts += f", settable to {evidence['largest_msgmnb']:,}"
    facts += "; an old queue keeps its limit" if evidence["existing_keeps"] else "; an old queue's limit changes too"
    facts += f"; msgmni is {evidence['msgmni']:,} queues"
    half = CLAIMED_MEMORY_SHARE * memory
    if together <= half:
        stopped = f"the kernel stopped at limits of {together / memory:.0%} of the memory in sum; {facts}"
        tunable = evidence["new_bytes"] > evidence["msgmnb"]
        return Judgement(TRUE if tunable else CONDITIONS, stopped)
    found = f"{facts}; limits of {together / memory:.0%} of the memory in sum were granted"
    low, high = (share * memory for share in ABOUT_HALF)
    return Judgement(OUTDATED if low <= evidence["msgmnb"] <= high else WRONG, found)


def judge_order(evidence: Evidence) -> Judgement:
    """Whether every stream of every run was in order at dequeue, and whether another order breaks."""
    runs = evidence["runs"]
    if not runs:
        return Judgement(None, "no run was complete")
    received, disorder = (sum(run[name] for run in runs) for name in ("received", "out_of_order"))
    if disorder:
        return Judgement(WRONG, f"{disorder:,} of {received:,} messages were out of order at dequeue")
    blocked = evidence["blocked"]
    inversions = [
        f"{trial['inversions']:,} in {trial['messages']:,} {how}"
        for how, trial in (("in bursts", evidence["bursts"]), ("paced", evidence["paced"]))
        if trial["inversions"]
    ]
    broken = [f"inversions in two workers' output: {', '.join(inversions)}"] if inversions else []
    if blocked["in_order"] < blocked["rounds"]:
        times = f"{blocked['rounds'] - blocked['in_order']} of {blocked['rounds']} rounds"
        broken.append(f"blocked senders got in out of order in {times}")
    if evidence["overtaking"]["overtaken"]:
        broken.append("a small message overtook a blocked large one")
    held = f"{received:,} messages in order at dequeue, per type"
    if broken:
        return Judgement(CONDITIONS, f"{held}; but {'; '.join(broken)}")
    return Judgement(TRUE, f"{held}; nothing else was out of order either")


CLAIMS = (
    Claim(
        "rate",
        "over 500,000 reads and writes a second, on 4 cores and 4 GB",
        "unpaced runs of both engines by turns, small and 8 KiB messages, queues of the size set here; medians",
        "true: over 500,000 messages/s at every size; with conditions: at some; wrong: at none; undecided: at none, on"
        " less than 4 cores and 4 GB, or without a run that was not disturbed",
        judge_rate,
    ),
    Claim(
        "selection",
        "receivers select by message type",
        "a queue of six messages of three types; each way to ask, and what came",
        "true: >0, 0 and <0 each get what they should; with conditions: some; wrong: none. Linux's own flags decide"
        " nothing",
        judge_selection,
    ),
    Claim(
        "message-size",
        "a message is at most 65,535 bytes",
        "msgmax read and raised; messages up to 64 MiB sent and received",
        "wrong: a larger one arrived whole; outdated: that too, and msgmax is 65,535 here; true: one byte more is"
        " refused; with conditions: msgmax is less, holds, and cannot be set",
        judge_message_size,
    ),
    Claim(
        "queue-size",
        "a queue's size is bounded by 50 % of memory, tunable",
        "msgmnb read and raised; queues filled to see what counts; queues made until their limits pass 50 % of memory",
        "true: the kernel stops there, and a new queue follows msgmnb; with conditions: it does not follow; wrong:"
        " limits over that are granted; outdated: that too, and msgmnb is about 50 % of memory here",
        judge_queue_size,
    ),
    Claim(
        "order",
        "strict FIFO, the order is kept by the kernel",
        "the ledger of runs with three types; two workers that copy to one file; senders blocked one after the other",
        "wrong: a stream out of order at dequeue; with conditions: that in order, but outputs, blocked senders or a"
        " small message not; true: all in order",
        judge_order,
    ),
)
