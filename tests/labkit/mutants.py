"""`make mutants`: are the labs' checks strong enough? Small changes to each solution, and how many a check catches.

    python tests/labkit/mutants.py [NN ...] [--jobs N] [--at-least 90]

A change is caught when a check fails and teaches: a failure without its `because` counts as missed. The changes are
those of cosmic-ray, used as a library: one for each place where an operator applies. Left out are changes that change
nothing at run time (in annotations). Ends with 1 if a lab's share is below the least.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator

from harness.labkit.catalog import Lab, find_lab, labs_in

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
LIMIT_S = 120

# One or two changes a place: the whole of cosmic-ray's list tries eleven for each arithmetic operator.
ARITHMETIC = """Add_Sub Sub_Add Mul_Add Div_Mul FloorDiv_Mul Mod_Mul Pow_Mul BitOr_BitAnd BitAnd_BitOr BitXor_BitOr
LShift_RShift RShift_LShift"""
COMPARISON = "Eq_NotEq NotEq_Eq Lt_LtE Lt_GtE LtE_Lt LtE_Gt Gt_GtE Gt_LtE GtE_Gt GtE_Lt Is_IsNot IsNot_Is"
OTHERS = """ReplaceUnaryOperator_Delete_USub ReplaceUnaryOperator_Delete_Not AddNot ReplaceTrueWithFalse
ReplaceFalseWithTrue ReplaceAndWithOr ReplaceOrWithAnd ReplaceBreakWithContinue ReplaceContinueWithBreak
ExceptionReplacer NumberReplacer ZeroIterationForLoop"""
OPERATORS = [
    *(f"core/ReplaceBinaryOperator_{change}" for change in ARITHMETIC.split()),
    *(f"core/ReplaceComparisonOperator_{change}" for change in COMPARISON.split()),
    *(f"core/{change}" for change in OTHERS.split()),
]


@dataclass(frozen=True)
class Mutant:
    """One change: the text with it, and in words what was changed."""

    text: str
    words: str


def mutants_of(source: str) -> Iterator[Mutant]:
    """Every change of the list to the source that changes what it does."""
    seen = {_meaning(source)}
    for name in OPERATORS:
        operator = get_operator(name)()
        for occurrence in count():
            try:
                text = mutate_code(source, operator, occurrence)
            except AttributeError:
                break  # cosmic-ray's ExceptionReplacer on `except (module.One, Two)`
            if text is None or text == source:
                break
            try:
                meaning = _meaning(text)
            except SyntaxError:
                continue
            if meaning not in seen:
                seen.add(meaning)
                yield Mutant(text, _words(source, text, name))


def _meaning(source: str) -> str:
    """The program without its annotations, which `from __future__ import annotations` never evaluates."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            node.returns = None
        elif isinstance(node, ast.arg):
            node.annotation = None
        elif isinstance(node, ast.AnnAssign):
            node.annotation = ast.Constant(None)
    return ast.dump(tree)


def _words(source: str, text: str, name: str) -> str:
    pairs = enumerate(zip(source.splitlines(), text.splitlines(), strict=False), 1)
    place, line = next(((number, after) for number, (before, after) in pairs if before != after), (0, ""))
    return f"line {place}, {name.removeprefix('core/')}: {line.strip()}"


def is_caught(lab: Lab, mutant: Mutant) -> bool:
    """Whether a check fails on it, and teaches."""
    with tempfile.TemporaryDirectory(prefix="mutant-") as folder:
        file, report = Path(folder, "lab.py"), Path(folder, "report.json")
        file.write_text(mutant.text, encoding="utf-8")
        command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", str(lab.folder)]
        subprocess.run(
            [*command, "--lab-file", str(file), "--lab-report", str(report), "--basetemp", f"{folder}/tmp"],
            cwd=ROOT,
            capture_output=True,
            check=False,
            timeout=LIMIT_S,
        )
        # No report, or an empty one: the mutant took pytest itself along, and nobody was taught anything.
        found = json.loads(report.read_text(encoding="utf-8"))["labs"] if report.exists() else []
    return any(check["passed"] is False and check["because"] for lab in found for check in lab["checks"])


def main(argv: list[str] | None = None) -> int:
    """Try all mutants of the named labs, or of all; returns the exit status."""
    parser = argparse.ArgumentParser(description="How many small changes to the solutions do the checks catch?")
    parser.add_argument("labs", nargs="*", metavar="NN")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--at-least", type=float, default=90, metavar="PERCENT")
    options = parser.parse_args(argv)
    labs = [find_lab(ROOT / "labs", word) for word in options.labs] or labs_in(ROOT / "labs")
    enough = True
    for lab in labs:
        mutants = list(mutants_of(lab.solution.read_text(encoding="utf-8")))
        with ThreadPoolExecutor(options.jobs) as pool:
            caught = list(pool.map(lambda mutant, lab=lab: is_caught(lab, mutant), mutants))
        share = 100 * sum(caught) / len(mutants)
        enough &= share >= options.at_least
        print(f"{lab.name}: {sum(caught)} of {len(mutants)} caught, {share:.0f} %", flush=True)
        for mutant, was_caught in zip(mutants, caught, strict=True):
            if not was_caught:
                print(f"  missed  {mutant.words}", flush=True)
    return 0 if enough else 1


if __name__ == "__main__":
    sys.exit(main())
