"""`harness claims`: five claims of an article, put to this machine. The result is the `harness.claims/1` document.

    claims_judged.py   the claims, and from evidence to a verdict, by a rule
    claims_tried.py    what is tried in the chamber: selection, sizes, blocked senders
    here               short load runs for rates and for the order at dequeue, and the document

The article praised System V message queues to PHP programmers. Nothing here knows what comes out: a verdict is made of
what this machine did just now.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from harness.engines import choice
from harness.experiments.chamber import Needs, carry_out, head, nobody
from harness.experiments.claims_judged import CLAIMS, Judgement
from harness.experiments.claims_tried import measure
from harness.experiments.follow import Cut, Unseen
from harness.experiments.load import run_once
from harness.experiments.plan import MOST_REPEATS, LoadPlan
from harness.measure.quantities import TypeShare, format_size
from harness.measure.statistics import spread
from harness.results.environment import describe
from harness.sysv.errors import PlanError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from harness.experiments.chamber import Outcome, Progress

SCHEMA = "harness.claims/1"
SIZES = (32, 8192)
TYPES = tuple(TypeShare(number) for number in (1, 2, 3))
TRIED_ROWS = 4
START_S, TRIED_S = 0.5, 3.0
"""What a run takes beside its window, and all that is tried in the chamber, for the time that is announced."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimsPlan:
    """How thoroughly. Raises PlanError for no rounds, and for runs and bursts that are none.

    `rounds` of load runs of `duration_s`; messages of each of `message_bytes` are tried; `burst_messages` and
    `paced_messages` go to the two workers.
    """

    rounds: int = 3
    duration_s: float = 0.3
    warmup_s: float = 0.1
    message_bytes: tuple[int, ...] = (65_535, 65_536, 2**20, 64 * 2**20)
    burst_messages: int = 20_000
    paced_messages: int = 300

    def __post_init__(self) -> None:
        if not 1 <= self.rounds <= MOST_REPEATS:
            raise PlanError(f"{self.rounds} rounds", why=f"1 to {MOST_REPEATS} are possible", hint="write --rounds 5")
        if self.burst_messages < 1 or self.paced_messages < 1:
            raise PlanError("no message shows no order", hint="give 1 message or more")
        self._load("auto", size=SIZES[0])  # checks the times

    def _load(self, engine: str, *, size: int, **more: Any) -> LoadPlan:
        return LoadPlan(
            rate="max", duration_s=self.duration_s, warmup_s=self.warmup_s, size=(size, size), engine=engine, **more
        )

    def runs(self, engines: Sequence[str], *, message_bytes: int, queue_bytes: int) -> Iterator[tuple[str, LoadPlan]]:
        """For which claim each run is, and its plan, in the order they are made: everything once a round."""
        sizes = [min(size, message_bytes, queue_bytes) for size in SIZES]
        for number in range(self.rounds):
            for size in sizes:
                for turn in range(len(engines)):
                    engine = engines[(turn + number) % len(engines)]
                    yield "rate", self._load(engine, size=size, queue_bytes=queue_bytes)
        for engine in engines:
            yield "order", self._load(engine, size=SIZES[0], types=TYPES)
            yield "order", self._load(engine, size=SIZES[0], types=TYPES, select="exact", consumers=len(TYPES))

    def count_runs(self, engines: Sequence[str]) -> int:
        """How many runs that are."""
        return len(list(self.runs(engines, message_bytes=SIZES[-1], queue_bytes=2 * SIZES[-1])))

    @property
    def announced_s(self) -> float:
        """How long it takes, about, in seconds."""
        return TRIED_S + self.count_runs(_engines()) * (START_S + self.duration_s + self.warmup_s)

    def to_json(self) -> dict[str, Any]:
        """The plan as it stands in the result."""
        return {**asdict(self), "message_bytes": list(self.message_bytes)}


def run_claims(
    plan: ClaimsPlan,
    progress: Progress = nobody,
    *,
    interrupted: Callable[[], str | None] = lambda: None,
    argv: Sequence[str] = (),
) -> dict[str, Any]:
    """Carry it out; returns the `harness.claims/1` document (docs/results.md). Raises HarnessError as `carry_out`."""
    engines = _engines()
    total = TRIED_ROWS + plan.count_runs(engines)
    outcome = carry_out(
        measure,
        plan,
        needs=Needs(queue_bytes=SIZES[-1], workers=2),
        rows=TRIED_ROWS,
        announced_s=TRIED_S,
        progress=lambda done, _of, doing: progress(done, total, doing),
        interrupted=interrupted,
    )
    if problem := choice.native_problem():
        outcome.warnings.append(f"the native engine is not here, so the rates are those of Python: {problem}")
    if outcome.cut is None:
        _load_runs(plan, engines, outcome, progress, interrupted)
    return {
        **head(SCHEMA, outcome, plan=plan.to_json(), argv=argv, engine=None),
        "claims": judged(outcome.rows, describe()),
        "rows": outcome.rows,
    }


def _engines() -> tuple[str, ...]:
    return ("python",) if choice.native_problem() else ("native", "python")


def _load_runs(
    plan: ClaimsPlan,
    engines: Sequence[str],
    outcome: Outcome,
    progress: Progress,
    interrupted: Callable[[], str | None],
) -> None:
    """Make the load runs, and put a row of each into the outcome; an interruption cuts it."""
    found = {row["claim"]: row["evidence"] for row in outcome.rows}
    msgmax, msgmnb = found["message-size"]["msgmax"], found["queue-size"]["msgmnb"]
    total = TRIED_ROWS + plan.count_runs(engines)
    disturbed = 0
    for number, (claim, run) in enumerate(plan.runs(engines, message_bytes=msgmax, queue_bytes=msgmnb)):
        progress(TRIED_ROWS + number, total, f"{claim}: {run.engine} engine, messages of {format_size(run.size[0])}")
        figures = run_once(run, run.engine, Unseen(), interrupted, number=1, of=1)
        if not figures["complete"]:
            outcome.cut = Cut(**figures["cut"])
            return
        disturbed += figures["disturbance"]["verdict"] == "disturbed"
        outcome.rows.append(
            {
                "claim": claim,
                "run": {
                    "engine": run.engine,
                    "size": run.size[0],
                    "queue_bytes": run.effective_queue_bytes,
                    "types": len(run.types),
                    "select": run.select,
                    "rate": figures["achieved_rate"],
                    "received": figures["received"],
                    "out_of_order": figures["out_of_order"],
                    "lost": figures["lost"],
                    "duplicated": figures["duplicated"],
                    "verdict": figures["disturbance"]["verdict"],
                },
            }
        )
    if disturbed:
        outcome.warnings.append(f"{disturbed} of {total - TRIED_ROWS} load runs were disturbed: their rates may be low")


def judged(rows: Sequence[dict[str, Any]], environment: dict[str, Any]) -> list[dict[str, Any]]:
    """Each claim with its evidence and its verdict. `environment` is what the machine is, as in every result."""
    entries = []
    for claim in CLAIMS:
        evidence = evidence_of(claim.key, rows, environment)
        judgement = claim.judge(evidence) if evidence is not None else Judgement(None, "it was not tried")
        entries.append(
            {
                "claim": claim.key,
                "says": claim.says,
                "method": claim.method,
                "rule": claim.rule,
                "evidence": evidence,
                "finding": judgement.finding,
                "verdict": judgement.verdict,
            }
        )
    return entries


def evidence_of(claim: str, rows: Sequence[dict[str, Any]], environment: dict[str, Any]) -> dict[str, Any] | None:
    """What the rows have for a claim; None when the trial that it rests on was not made."""
    runs = [row["run"] for row in rows if row["claim"] == claim and "run" in row]
    if claim == "rate":
        return _rate_evidence(runs, environment) if runs else None
    tried = next((row["evidence"] for row in rows if row["claim"] == claim and "evidence" in row), None)
    if tried is None or claim != "order":
        return tried
    return {"runs": runs, **tried}


def _rate_evidence(runs: Sequence[dict[str, Any]], environment: dict[str, Any]) -> dict[str, Any]:
    """The spread of each engine's rates at each size, and what they were measured on."""
    verdicts = [run["verdict"] for run in runs]
    return {
        "cores": environment["cores_allowed"],
        "memory_bytes": environment["memory_bytes"],
        "queue_bytes": runs[0]["queue_bytes"],
        "sizes": [
            {
                "size": size,
                "engines": {
                    engine: spread(
                        run["rate"] for run in runs if (run["size"], run["engine"]) == (size, engine)
                    ).to_json()
                    for engine in sorted({run["engine"] for run in runs if run["size"] == size})
                },
            }
            for size in sorted({run["size"] for run in runs})
        ],
        "verdicts": {verdict: verdicts.count(verdict) for verdict in sorted(set(verdicts))},
    }
