"""Thresholds: `--fail-if 'p99>200us'` turns a result into right or wrong, for a script or a nightly job.

A threshold is parsed before the run, so that a typing error costs nothing, and checked against the result's JSON
(schema harness.load/1) afterwards. This module neither runs nor prints anything. The grammar, in EBNF (ISO 14977),
blanks being allowed around the operator:

    threshold  = figure, operator, limit ;
    figure     = [ group, "." ], percentile | count | "rate" ;
    group      = "latency" | "service" | "pacing" ;          (* without one: latency *)
    percentile = "p50" | "p90" | "p99" | "p99_9" | "p99.9" | "p99_99" | "p99.99" | "max" | "mean" ;
    count      = "lost" | "duplicated" | "out_of_order" | "refused" | "unsent" | "undecided" | "foreign" ;
                 (* of a load through a proxy: those of harness/experiments/udp.py *)
    operator   = ">" | ">=" | "<" | "<=" | "==" | "!=" ;
    limit      = "0" | duration | number | rate ;             (* as the figure is a time, a count, the rate *)
    duration   = decimal, ( "ns" | "us" | "µs" | "ms" | "s" ) ;
    number     = decimal, [ "k" | "M" | "G" ] ;              (* a whole number *)
    rate       = decimal, [ "k" | "M" | "G" ], [ "/s" ] ;

A decimal is what `harness.measure.quantities` reads everywhere: 490, 0.5, 2.5e5, 5_000_000.

The comparison is exact: no figure is rounded before it is compared. A figure that the run does not have (no latency
under `--rate max`) fails its threshold: a check that could not be made must not read as passed.
"""

from __future__ import annotations

import math
import operator as operators
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Final, Literal

from harness.measure.quantities import (
    format_count,
    format_duration_ns,
    format_rate,
    parse_count,
    parse_duration_ns,
    parse_rate,
)
from harness.sysv.errors import UsageError

Kind = Literal["time", "count", "rate"]

_EXAMPLE: Final = "for example --fail-if 'p99>200us', 'unsent>0' or 'rate<490k/s'"
# What a user writes before the dot, and the key of the result's JSON that it means.
_GROUPS: Final = {"latency": "latency_ns", "service": "service_ns", "pacing": "pacing_error_ns"}
_PERCENTILES: Final = ("p50", "p90", "p99", "p99_9", "p99_99", "max", "mean")
_COUNTS: Final = ("lost", "duplicated", "out_of_order", "refused", "unsent", "undecided", "foreign")
_RATE: Final = "rate"
_OPERATORS: Final[dict[str, Callable[[Any, Any], bool]]] = {
    ">": operators.gt,
    ">=": operators.ge,
    "<": operators.lt,
    "<=": operators.le,
    "==": operators.eq,
    "!=": operators.ne,
}
_PARTS: Final = re.compile(r"(?P<figure>[^<>=!]*)(?P<operator>[<>=!]*)(?P<limit>.*)", re.DOTALL)


@dataclass(frozen=True)
class Figure:
    """One figure of a result: its `name` as people write it, what `kind` it is, and the `keys` that lead to it."""

    name: str
    kind: Kind
    keys: tuple[str, ...]

    def read(self, result: Mapping[str, Any]) -> int | float | None:
        """The figure's value in nanoseconds, messages or messages a second; None if the result has none."""
        value: Any = result
        for key in self.keys:
            value = value.get(key) if isinstance(value, Mapping) else None
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            return None
        return value

    def show(self, value: float | Fraction) -> str:
        """The value with its unit, rounded for reading."""
        if self.kind == "time":
            return format_duration_ns(float(value))
        return format_rate(value) if self.kind == "rate" else format_count(int(value))

    def show_exactly(self, value: float | Fraction) -> str:
        """The value with its unit and all its digits."""
        number = f"{int(value):,}" if value == int(value) else f"{float(value):,}"
        return number + {"time": " ns", "rate": "/s", "count": ""}[self.kind]


@dataclass(frozen=True)
class Outcome:
    """What became of one threshold: `value` is the figure (None: there is none), `sentence` says it for a person."""

    threshold: str
    value: int | float | None
    failed: bool
    sentence: str

    def to_json(self) -> dict[str, Any]:
        """The outcome as it stands in a result's JSON."""
        return {
            "threshold": self.threshold,
            "value": self.value,
            "failed": self.failed,
            "sentence": self.sentence,
        }


@dataclass(frozen=True)
class Threshold:
    """A condition under which a run counts as failed; `limit` in nanoseconds, messages or messages a second."""

    text: str
    figure: Figure
    operator: str
    limit: Fraction

    def __str__(self) -> str:
        return self.text

    def check(self, result: Mapping[str, Any]) -> Outcome:
        """Compare with a result of schema harness.load/1; never raises, a figure that is not there has failed."""
        value = self.figure.read(result)
        if value is None:
            return Outcome(self.text, None, failed=True, sentence=self._sentence_without_value(result))
        failed = _OPERATORS[self.operator](Fraction(value), self.limit)
        return Outcome(self.text, value, failed=failed, sentence=self._sentence(value, result, failed=failed))

    def _sentence(self, value: float, result: Mapping[str, Any], *, failed: bool) -> str:
        seen, limit = self.figure.show(value), self.figure.show(self.limit)
        if seen == limit and value != self.limit:  # rounding hides the difference that the comparison saw
            seen, limit = self.figure.show_exactly(value), self.figure.show_exactly(self.limit)
        verdict = "failed" if failed else "passed"
        is_or_not = "is" if failed else "is not"
        sentence = f"{self.text} {verdict}: {self.figure.name} is {seen}, which {is_or_not} {self.operator} {limit}"
        unsent = result.get("unsent")
        if self.figure.keys[0] == _GROUPS["latency"] and isinstance(unsent, int) and unsent > 0:
            # MEASURING: what was due and never sent has no latency, so that the percentiles are lower bounds.
            sentence += f" (a lower bound: {format_count(unsent)} due messages were not sent)"
        return sentence

    def _sentence_without_value(self, result: Mapping[str, Any]) -> str:
        sentence = f"{self.text} failed: the run has no {self.figure.name}, so that it could not be checked"
        instead = Figure(f"service.{self.figure.keys[-1]}", "time", (_GROUPS["service"], self.figure.keys[-1]))
        if self.figure.keys[0] == _GROUPS["latency"] and instead.read(result) is not None:
            sentence += f"; latency counts from the intended send time, which --rate max has not: use {instead.name}"
        return sentence


def parse_threshold(text: str, counts: Sequence[str] = _COUNTS) -> Threshold:
    """Read a threshold as the module's grammar says; raises UsageError that names the part which is wrong.

    `counts` are the counts of the result that it will be checked against.
    """
    parts = _PARTS.fullmatch(text)
    assert parts is not None, "every part may be empty"
    figure_text, operator, limit_text = (parts[name].strip() for name in ("figure", "operator", "limit"))
    if not operator:
        raise _error(text, f"there is no comparison in it, one of {' '.join(_OPERATORS)}")
    if operator not in _OPERATORS:
        raise _error(text, f"{operator!r} is none of {' '.join(_OPERATORS)}")
    figure = _parse_figure(text, figure_text, counts)
    return Threshold(
        text=f"{figure_text}{operator}{limit_text}",
        figure=figure,
        operator=operator,
        limit=_parse_limit(text, figure, limit_text),
    )


def _parse_figure(text: str, figure_text: str, counts: Sequence[str]) -> Figure:
    """The figure that is meant by `figure_text`; `text` is the whole, for the error."""
    if figure_text == _RATE:
        return Figure(_RATE, "rate", ("achieved_rate",))
    if figure_text in counts:
        return Figure(figure_text, "count", (figure_text,))
    group, dot, percentile = figure_text.partition(".")
    if not dot or group not in _GROUPS:  # `p99.9` has a dot, and no group
        group, percentile = "latency", figure_text
    key = percentile.replace(".", "_")
    if key in _PERCENTILES:
        name = percentile if percentile == figure_text else f"{group}.{percentile}"
        return Figure(name, "time", (_GROUPS[group], key))
    known = ", ".join((*_PERCENTILES, *counts, _RATE))
    seen = repr(figure_text) if figure_text else "nothing before the comparison"
    raise _error(text, f"{seen} is none of the figures {known} (also with service. or pacing. before a percentile)")


def _parse_limit(text: str, figure: Figure, limit_text: str) -> Fraction:
    """The number behind the comparison, in the figure's unit; `text` is the whole, for the error."""
    if not limit_text:
        raise _error(text, "there is no limit behind the comparison")
    if limit_text == "0":
        return Fraction(0)
    try:
        if figure.kind == "time":
            return Fraction(parse_duration_ns(limit_text))
        return Fraction(parse_rate(limit_text) if figure.kind == "rate" else parse_count(limit_text))
    except ValueError as error:
        raise _error(text, f"the limit {limit_text!r} does not fit {figure.name}: {error}") from error


def _error(text: str, why: str) -> UsageError:
    return UsageError(f"cannot read the threshold {text!r}", why=why, hint=_EXAMPLE)
