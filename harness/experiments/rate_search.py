"""The search for the highest rate that is held: which probe comes next, from what became of those before.

Pure: it runs nothing and knows no clock; find_rate.py carries out what is asked here.

    ramp     probes of 1 s, each at 1.5 times the rate before, until one is not held; where already the first is not,
             at a quarter of it, and so on, until one is
    judge    the middle of the bracket [held, not held], until that is 5 % wide; a rate is held when 2 of 3 probes of
             3 s held it. Then the bracket's edges, where a probe of the ramp alone spoke for them
    confirm  one probe of 10 s at the lower edge; where that is not held, 3 % lower, and again

A disturbed probe that was held is believed: a quieter machine would have held it too. One that was not is repeated,
at most twice for each rate, and then believed; so it is where a repetition would not fit into the limit.

The search keeps to its limit of time. A probe that would not fit is not asked for, and one of the ramp or the judging
only where the confirmation fits behind it: a bracket that is wide but confirmed tells more than the reverse.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from fractions import Fraction
from math import sqrt
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

Stage = Literal["ramp", "judge", "confirm"]
End = Literal["confirmed", "limit", "nothing-held"]

UP: Final = Fraction(3, 2)
DOWN: Final = Fraction(1, 4)
STEP_DOWN: Final = Fraction(97, 100)
NARROW_SHARE: Final = Fraction(5, 100)
"""How wide the bracket may be at the end, as a share of its upper edge."""
MAJORITY: Final = 2
"""Of three probes."""
MOST_REPEATS: Final = 2
LOWEST_RATE: Final = Fraction(10)
"""Messages a second; a probe of 1 s at less has too few messages to tell."""
HIGHEST_RATE: Final = Fraction(10**9)
ASSUMED_OVERHEAD_S: Final = 2.0
"""What a probe takes beyond its length, until probes have shown it: a fresh crew, warm-up, catching up, drain."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """Where the search begins (messages/s), how long its probes and how long all of it may take (s)."""

    first_rate: Fraction
    ramp_s: float = 1.0
    judge_s: float = 3.0
    confirm_s: float = 10.0
    limit_s: float = 90.0

    def length_s(self, stage: Stage) -> float:
        """How long a probe of a stage lasts."""
        return {"ramp": self.ramp_s, "judge": self.judge_s, "confirm": self.confirm_s}[stage]


@dataclass(frozen=True, slots=True)
class Ask:
    """The next probe. `again`: it repeats the one before, which was disturbed and not held, and does not count."""

    stage: Stage
    rate: Fraction
    length_s: float
    again: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a probe, and how long it took with all that belongs to it, in s."""

    held: bool
    disturbed: bool
    took_s: float


@dataclass(frozen=True, slots=True)
class Bracket:
    """The highest rate that was held and the lowest above it that was not, messages/s; None where none was found."""

    held: Fraction | None
    not_held: Fraction | None

    @property
    def width_share(self) -> float | None:
        """The bracket's width as a share of its upper edge; None where an edge is missing."""
        if self.held is None or self.not_held is None:
            return None
        return float(_width(self.held, self.not_held))

    @property
    def narrow(self) -> bool:
        """Whether the bracket is as narrow as it should be."""
        return self.held is not None and self.not_held is not None and _is_narrow(self.held, self.not_held)


@dataclass(frozen=True, slots=True)
class Verdict:
    """The end of the search: what was found, and why it ended."""

    bracket: Bracket
    end: End


def next_probe(history: Sequence[Outcome], rules: Rules) -> Ask | Verdict:
    """The next probe after those of `history`, or the verdict. The same history gives the same answer."""
    return _replayed(history, _Search(rules))


def bracket(history: Sequence[Outcome], rules: Rules) -> Bracket:
    """What was found so far: also of a search that was cut short."""
    search = _Search(rules)
    _replayed(history, search)
    return search.known.bracket


class _NoTimeError(Exception):
    """The next probe would not fit."""


@dataclass(slots=True)
class _Known:
    """What the probes have shown: rates held and not held, and of which of them more than one probe spoke."""

    rates_held: set[Fraction] = field(default_factory=set)
    rates_not_held: set[Fraction] = field(default_factory=set)
    judged: set[Fraction] = field(default_factory=set)
    confirmed: Fraction | None = None

    @property
    def not_held(self) -> Fraction | None:
        return min(self.rates_not_held, default=None)

    @property
    def held(self) -> Fraction | None:
        if self.confirmed is not None:
            return self.confirmed  # and not one a little higher that was held for less long
        limit = self.not_held
        return max((rate for rate in self.rates_held if limit is None or rate < limit), default=None)

    @property
    def bracket(self) -> Bracket:
        return Bracket(self.held, self.not_held)

    def note(self, stage: Stage, rate: Fraction, *, held: bool) -> None:
        """Take in what was found of a rate; what was thought of it before does not count any more."""
        (self.rates_held if held else self.rates_not_held).add(rate)
        (self.rates_not_held if held else self.rates_held).discard(rate)
        if stage != "ramp":
            self.judged.add(rate)
        if stage == "confirm" and held:
            self.confirmed = rate

    def step(self, rules: Rules) -> tuple[Stage, Fraction] | None:
        """What is to be found out next; None when the bracket is as it should be, or cannot be had."""
        low, high = self.held, self.not_held
        if low is None:
            rate = rules.first_rate if high is None else _rounded(high * DOWN)
            return ("ramp", rate) if rate >= LOWEST_RATE else None
        up = _rounded(low * UP)
        if high is None or up < high:
            return ("ramp", up) if up <= HIGHEST_RATE else None
        if not _is_narrow(low, high):
            return "judge", _rounded(sqrt(low * high))
        unsure = [rate for rate in (low, high) if rate not in self.judged]
        return ("judge", unsure[0]) if unsure else None


@dataclass(slots=True)
class _Clock:
    """How much of the limit is spent, and what a probe takes beyond its length."""

    rules: Rules
    spent_s: float = 0.0
    overhead_s: float = ASSUMED_OVERHEAD_S
    seen: bool = False

    def fits(self, stage: Stage) -> bool:
        """Whether a probe can be made within the limit, and the confirmation after it."""
        needed_s = self.rules.length_s(stage) + self.overhead_s
        if stage != "confirm":
            needed_s += self.rules.confirm_s + self.overhead_s
        return self.spent_s + needed_s <= self.rules.limit_s

    def note(self, stage: Stage, took_s: float) -> None:
        beyond_s = max(0.0, took_s - self.rules.length_s(stage))
        self.overhead_s = max(self.overhead_s, beyond_s) if self.seen else beyond_s
        self.seen = True
        self.spent_s += took_s


class _Search:
    """The search as one pass from the first probe to the verdict; it waits at each `yield` for what became of one."""

    def __init__(self, rules: Rules) -> None:
        self.known = _Known()
        self._rules = rules
        self._clock = _Clock(rules)
        self._repeated: Counter[Fraction] = Counter()

    def run(self) -> Generator[Ask, Outcome, Verdict]:
        """Ramp and judge until the bracket is as it should be, or time is up; then confirm."""
        known = self.known
        try:
            while (step := known.step(self._rules)) is not None:
                stage, rate = step
                held = yield from (self._judge(rate) if stage == "judge" else self._probe(stage, rate))
                known.note(stage, rate, held=held)
        except _NoTimeError:
            pass  # what is known so far can perhaps still be confirmed
        if known.held is None:
            return Verdict(known.bracket, "nothing-held" if known.step(self._rules) is None else "limit")
        try:
            return (yield from self._confirm(known.held))
        except _NoTimeError:
            return Verdict(known.bracket, "limit")

    def _confirm(self, rate: Fraction) -> Generator[Ask, Outcome, Verdict]:
        """Hold the rate for long, or the next lower one that can be held."""
        while rate >= LOWEST_RATE:
            held = yield from self._probe("confirm", rate)
            self.known.note("confirm", rate, held=held)
            if held:
                return Verdict(self.known.bracket, "confirmed")
            rate = _rounded(rate * STEP_DOWN)
        return Verdict(self.known.bracket, "nothing-held")

    def _judge(self, rate: Fraction) -> Generator[Ask, Outcome, bool]:
        """Whether the majority of three probes held the rate."""
        votes: Counter[bool] = Counter()
        while max(votes.values(), default=0) < MAJORITY:
            votes[(yield from self._probe("judge", rate))] += 1
        return votes[True] == MAJORITY

    def _probe(self, stage: Stage, rate: Fraction) -> Generator[Ask, Outcome, bool]:
        """Whether one probe held the rate."""
        if not self._clock.fits(stage):
            raise _NoTimeError
        again = False
        while True:
            outcome = yield Ask(stage, rate, self._rules.length_s(stage), again)
            self._clock.note(stage, outcome.took_s)
            if outcome.held or not outcome.disturbed:
                return outcome.held
            if self._repeated[rate] == MOST_REPEATS or not self._clock.fits(stage):
                return False
            self._repeated[rate] += 1
            again = True


def _replayed(history: Sequence[Outcome], search: _Search) -> Ask | Verdict:
    steps = search.run()
    try:
        ask = next(steps)
        for outcome in history:
            ask = steps.send(outcome)
    except StopIteration as end:
        verdict: Verdict = end.value
        return verdict
    return ask


def _width(low: Fraction, high: Fraction) -> Fraction:
    return 1 - low / high


def _is_narrow(low: Fraction, high: Fraction) -> bool:
    return _width(low, high) <= NARROW_SHARE


def _rounded(rate: Fraction | float) -> Fraction:
    """Three digits: a rate that can be said and typed."""
    return Fraction(f"{float(rate):.3g}")
