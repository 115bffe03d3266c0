"""What can be measured: each experiment is a plan (frozen, validated), a run, and a result; none of them prints.

    from harness.experiments import SelectPlan, run_select
    result = run_select(SelectPlan(depths=(10, 1000), rounds=3))      # the document that `harness select --json` writes

load        `harness load`: rate, latency and the ledger of one workload: plan, crew and leader, worker, follow, figures
baseline    `harness load --baseline`: the same against an earlier result
ceiling     `harness ceiling`: what the measuring itself costs
claims      `harness claims`: five claims of an article, tried here (claims_tried), judged by rules (claims_judged)
claims      `harness claims`: five claims of an article, tried here (claims_tried), judged by rules (claims_judged)
flipflop    `harness flipflop`: who gets the next message
compare     `harness compare`: what else one could use: transports, workload (the one loop), properties, trials
select      `harness select`: what selecting by message type costs
block       `harness block`: what a full queue does to those who send to it (block_work and block_flow: in the chamber)
top         `harness top`: all queues at one moment
doctor      `harness doctor`: what this machine can do
chamber     where all but load happen: a fresh process in a namespace of its own (inside), its processes (processes)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harness.experiments.block import BlockPlan, run_block
    from harness.experiments.ceiling import CeilingPlan, run_ceiling
    from harness.experiments.claims import ClaimsPlan, run_claims
    from harness.experiments.compare import ComparePlan, run_compare
    from harness.experiments.find_rate import FindRatePlan, run_find_rate
    from harness.experiments.flipflop import FlipflopPlan, run_flipflop
    from harness.experiments.load import run_load
    from harness.experiments.plan import LoadPlan
    from harness.experiments.select import SelectPlan, run_select
    from harness.experiments.udp import run_udp
    from harness.experiments.udp_plan import UdpPlan

_HOMES = {
    "block": ("BlockPlan", "run_block"),
    "ceiling": ("CeilingPlan", "run_ceiling"),
    "claims": ("ClaimsPlan", "run_claims"),
    "compare": ("ComparePlan", "run_compare"),
    "find_rate": ("FindRatePlan", "run_find_rate"),
    "flipflop": ("FlipflopPlan", "run_flipflop"),
    "load": ("run_load",),
    "plan": ("LoadPlan",),
    "select": ("SelectPlan", "run_select"),
    "udp": ("run_udp",),
    "udp_plan": ("UdpPlan",),
}
"""Loaded when asked for: a command needs one of them, and `harness --help` none."""

__all__ = [
    "BlockPlan",
    "CeilingPlan",
    "ClaimsPlan",
    "ComparePlan",
    "FindRatePlan",
    "FlipflopPlan",
    "LoadPlan",
    "SelectPlan",
    "UdpPlan",
    "run_block",
    "run_ceiling",
    "run_claims",
    "run_compare",
    "run_find_rate",
    "run_flipflop",
    "run_load",
    "run_select",
    "run_udp",
]


def __getattr__(name: str) -> Any:
    for module, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"harness.experiments.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
