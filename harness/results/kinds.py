"""What can be compared in a result of each kind: the table that `compare` reads.

To add a kind: a function that takes its document and gives its figures, each with a value for every whole run, and a
row in KINDS. Nothing else knows a kind. A document that lacks something makes the function raise KeyError or
TypeError, which `compare` turns into one line; so it need not check.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from harness.measure.quantities import format_rate, format_size

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

Better = Literal["higher", "lower", "zero"]
"""Which way is better; `zero` is for what must not happen at all."""
Unit = Literal["messages/s", "messages", "ns", "bytes", "ratio"]


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure of a result, with its value in each whole run, in their order; None where a run does not have it."""

    name: str
    unit: Unit
    better: Better
    values: tuple[float | None, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """How documents of one schema are compared.

    `figures` takes a document to its figures. `plan` takes it to what was asked for, and `free` names what in that may
    differ. `verdicts` takes it to the number of runs that were clean, disturbed and so on; `busy` to the share of the
    CPUs that other processes took in each run, where it knows.
    """

    figures: Callable[[Mapping[str, Any]], list[Figure]]
    plan: Callable[[Mapping[str, Any]], Mapping[str, Any]] = lambda document: document["plan"]
    free: frozenset[str] = frozenset()
    verdicts: Callable[[Mapping[str, Any]], Mapping[str, int]] = lambda document: document["verdicts"]
    busy: Callable[[Mapping[str, Any]], Sequence[float | None]] = lambda _: ()


# harness load

_PERCENTILES = ("p50", "p90", "p99", "p99_9", "max")
_MUST_BE_ZERO = ("lost", "duplicated", "out_of_order")


def _load_figures(document: Mapping[str, Any]) -> list[Figure]:
    """Of a ramp: those of each step, the rate that was asked for before their names."""
    if not document["steps"]:
        return list(_figures_of_runs(document["runs"]))
    return [
        figure
        for step in document["steps"]
        for figure in _figures_of_runs(step["runs"], before_name=f"{format_rate(step['rate'])} ")
    ]


def _figures_of_runs(runs: Sequence[Mapping[str, Any]], before_name: str = "") -> Iterator[Figure]:
    """The figures of whole runs, named as in --fail-if; a run that was cut short is left out."""
    whole = [run for run in runs if run["complete"]]

    def figure(name: str, unit: Unit, better: Better, value: Callable[[Mapping[str, Any]], float | None]) -> Figure:
        return Figure(before_name + name, unit, better, tuple(value(run) for run in whole))

    yield figure("rate", "messages/s", "higher", lambda run: run["achieved_rate"])
    for group in ("latency", "service"):
        for key in _PERCENTILES:
            name = f"{group}.{key.replace('_', '.')}"
            yield figure(name, "ns", "lower", lambda run, g=f"{group}_ns", k=key: run[g][k])  # type: ignore[misc]
    yield figure("cpu", "ns", "lower", lambda run: run["per_message"]["cpu_ns"])
    yield figure("memory", "bytes", "lower", lambda run: run["memory_bytes"])
    for name in _MUST_BE_ZERO:
        yield figure(name, "messages", "zero", lambda run, n=name: run[n])  # type: ignore[misc]


def _load_plan(document: Mapping[str, Any]) -> Mapping[str, Any]:
    """The plan, with the engine that ran in place of `auto`."""
    return {**document["plan"], "engine": document["engine"]}


def _load_disturbances(document: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [run["disturbance"] for part in document["steps"] or [document] for run in part["runs"]]


def _load_verdicts(document: Mapping[str, Any]) -> Mapping[str, int]:
    return _counted(found["verdict"] for found in _load_disturbances(document))


def _counted(verdicts: Iterable[str]) -> Mapping[str, int]:
    return dict(sorted(Counter(verdicts).items()))


# harness ceiling


def _ceiling_figures(document: Mapping[str, Any]) -> list[Figure]:
    """Ratios only: each was taken within one round, while the rates behind them move with the machine."""
    figures = []
    for entry in document["sizes"]:
        for ratio in entry["ratios"]:
            upper, lower = (entry["rates"][loop]["all"] for loop in (ratio["of"], ratio["to"]))
            name = f"{ratio['of']}/{ratio['to']} {format_size(entry['size'])}"
            values = tuple(a / b for a, b in zip(upper, lower, strict=True))
            figures.append(Figure(name, "ratio", "higher", values))
    return figures


# the experiments of the chamber: a whole round is what a whole run is to a load


def _experiment_plan(document: Mapping[str, Any]) -> Mapping[str, Any]:
    """The plan, with the probes that ran in place of `auto`."""
    return {**document["plan"], "engine": document["engine"]}


def _experiment_verdicts(document: Mapping[str, Any]) -> Mapping[str, int]:
    return {document["disturbance"]["verdict"]: 1}


def _by_round(rows: Sequence[Mapping[str, Any]], value: Callable[[Mapping[str, Any]], Any]) -> tuple[float | None, ...]:
    """The value of each row, in the order of their rounds."""
    return tuple(value(row) for row in sorted(rows, key=lambda row: row["round"]))


def _grouped(
    rows: Sequence[Mapping[str, Any]], name: Callable[[Mapping[str, Any]], str]
) -> dict[str, list[Mapping[str, Any]]]:
    """Rows of one name, by name, in the order in which the names come first."""
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault(name(row), []).append(row)
    return groups


def _select_figures(document: Mapping[str, Any]) -> list[Figure]:
    """Times of each way to ask at each depth, of each send, and how far the bystander was slowed."""
    names: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
        "receive": lambda row: f"{row['case']} {row['depth']}",
        "send": lambda row: f"send {row['sleepers']}",
        "bystander": lambda _: "bystander slowed",
    }
    rows = [row for row in document["rows"] if row["part"] in names]
    figures = []
    for name, group in _grouped(rows, lambda row: names[row["part"]](row)).items():
        if group[0]["part"] == "bystander":
            values = _by_round(group, lambda row: row["alone"] / row["polled"])
            figures.append(Figure(name, "ratio", "lower", values))
        else:
            figures.append(Figure(name, "ns", "lower", _by_round(group, lambda row: row["ns"])))
    return figures


_BLOCK: Mapping[str, tuple[tuple[str, Unit, Better], ...]] = {
    "wake": (("median_ns", "ns", "lower"), ("p99_ns", "ns", "lower")),
    "fairness": (("jain", "ratio", "higher"), ("rate", "messages/s", "higher")),
    "overload": (("goodput", "messages/s", "higher"), ("lost", "messages", "zero")),
    "never-fits": (("detected_ns", "ns", "lower"),),
    "stall": (("gone_ns", "ns", "lower"), ("lost", "messages", "zero")),
}
"""Of the parts of `harness block` what is better or worse; a large message that starves is a finding, not a fault."""


def _block_figures(document: Mapping[str, Any]) -> list[Figure]:
    """The figures of _BLOCK, by part and by what was tried in it."""
    rows = [row for row in document["rows"] if row["part"] in _BLOCK]

    def tried(row: Mapping[str, Any]) -> str:
        return " ".join(str(row[key]) for key in ("part", "place", "when_full") if key in row)

    return [
        Figure(f"{name} {key.removesuffix('_ns')}", unit, better, _by_round(group, lambda row, k=key: row[k]))  # type: ignore[misc]
        for name, group in _grouped(rows, tried).items()
        for key, unit, better in _BLOCK[group[0]["part"]]
    ]


def _compare_figures(document: Mapping[str, Any]) -> list[Figure]:
    """Of each transport its ratio to SysV in the same round, its rate, its latencies, and what went wrong."""
    turns = _grouped([row for row in document["rows"] if row["part"] == "turn"], lambda row: row["name"])
    base = {row["round"]: row["rate"] for row in turns["sysv"]}
    figures = []
    for name, group in turns.items():
        to_sysv = _by_round(group, lambda row: row["rate"] / base[row["round"]] if row["round"] in base else None)
        figures += [
            Figure(f"{name} to sysv", "ratio", "higher", to_sysv),
            Figure(f"{name} rate", "messages/s", "higher", _by_round(group, lambda row: row["rate"])),
            Figure(f"{name} p50", "ns", "lower", _by_round(group, lambda row: row["p50_ns"])),
            Figure(f"{name} p99", "ns", "lower", _by_round(group, lambda row: row["p99_ns"])),
            Figure(f"{name} wrong", "messages", "zero", _by_round(group, lambda row: row["wrong"])),
        ]
    return figures


# a load through a proxy, and the highest rate that is held


def _udp_figures(document: Mapping[str, Any]) -> list[Figure]:
    """Rate and latencies: replies that are missing or refused are findings about the proxy, as its report has it."""
    whole = [run for run in document["runs"] if run["complete"]]
    figures = [Figure("rate", "messages/s", "higher", tuple(run["achieved_rate"] for run in whole))]
    for group in ("latency", "service"):
        for key in _PERCENTILES:
            values = tuple(run[f"{group}_ns"][key] for run in whole)
            figures.append(Figure(f"{group}.{key.replace('_', '.')}", "ns", "lower", values))
    return figures


def _find_rate_figures(document: Mapping[str, Any]) -> list[Figure]:
    """The rate that was held, one a document."""
    return [Figure("held", "messages/s", "higher", (document["bracket"]["held"],))]


def _experiment(figures: Callable[[Mapping[str, Any]], list[Figure]]) -> Kind:
    return Kind(
        figures=figures,
        plan=_experiment_plan,
        free=frozenset({"rounds"}),
        verdicts=_experiment_verdicts,
        busy=lambda document: [document["disturbance"]["busy_others_share"]],
    )


KINDS: Mapping[str, Kind] = {
    "harness.load/1": Kind(
        figures=_load_figures,
        plan=_load_plan,
        # The seed shuffles the order of types and sizes, and leaves their shares as they are.
        free=frozenset({"label", "repeat", "seed", "force"}),
        verdicts=_load_verdicts,
        busy=lambda document: [found["busy_others_share"] for found in _load_disturbances(document)],
    ),
    "harness.ceiling/1": Kind(figures=_ceiling_figures, free=frozenset({"rounds"})),
    "harness.select/1": _experiment(_select_figures),
    "harness.block/1": _experiment(_block_figures),
    "harness.compare/1": _experiment(_compare_figures),
    "harness.udp/1": Kind(
        figures=_udp_figures,
        free=frozenset({"label", "repeat", "seed"}),
        verdicts=lambda document: _counted(run["disturbance"]["verdict"] for run in document["runs"]),
        busy=lambda document: [run["disturbance"]["busy_others_share"] for run in document["runs"]],
    ),
    "harness.find-rate/1": Kind(
        figures=_find_rate_figures,
        free=frozenset({"label", "seed"}),
        verdicts=lambda document: _counted(probe["disturbance"] for probe in document["probes"]),
    ),
}
"""Not here: flipflop and claims, of which nothing is better or worse."""
