"""What holds for every lab: its solution passes, its starter nothing, its mistakes fail as they say, it is whole.

Labs are run by a real pytest, as a learner runs them; the outcome of each check is read from --lab-report. That every
solution passes is shown by `pytest labs/ --solutions`, which `make test` runs with these.
"""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from harness.labkit.catalog import Lab, labs_in

ROOT = Path(__file__).parents[2]
LABS = labs_in(ROOT / "labs")
AT_ONCE = 2
PYTEST = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
SECTIONS = ["Goal", "Before you start", "Predict", "Do", "Check", "Look back"]
LINES = ["**Out of scope:**", "**Minutes:**"]


def checks_of(lab: Lab, report: Path, *options: str) -> dict[str, Any]:
    """What each check of the lab found, by its name."""
    done = subprocess.run(
        [*PYTEST, str(lab.folder), "--lab-report", str(report), *options],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert report.exists(), done.stdout + done.stderr
    (found,) = json.loads(report.read_text(encoding="utf-8"))["labs"]
    return {check["name"]: check for check in found["checks"]}


def field(text: str, name: str) -> str:
    """What a mistake's docstring says behind `name:`."""
    found = re.search(rf"^{name}: (.*)$", text, re.MULTILINE)
    assert found, f"no line `{name}:`"
    return found[1].strip()


@pytest.mark.parametrize("lab", LABS, ids=lambda lab: lab.name)
def test_the_solution_has_no_open_todo(lab: Lab) -> None:
    """A solution leaves nothing open; that it passes all checks, `pytest labs/ --solutions` shows."""
    assert lab.open_todos(lab.solution) == []


@pytest.mark.parametrize("lab", LABS, ids=lambda lab: lab.name)
def test_the_starter_passes_nothing(lab: Lab, tmp_path: Path) -> None:
    """No check of a lab passes, and none fails, on its starter: all are not started."""
    checks = checks_of(lab, tmp_path / "report.json", "--lab-file", str(lab.starter))

    assert {name for name, check in checks.items() if check["passed"] is not None} == set()


@pytest.mark.parametrize("lab", LABS, ids=lambda lab: lab.name)
def test_mistakes_fail_as_they_say(lab: Lab, tmp_path: Path) -> None:
    """A known mistake fails exactly the checks that it names, and the first of them teaches the words that it names."""
    mistakes = sorted((lab.folder / "mistakes").glob("*.py"))
    # Before the threads: ast.parse in two at once can raise a SystemError on Python 3.11 (gh-106905).
    docstrings = [ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "" for path in mistakes]
    folders = [tmp_path / mistake.stem for mistake in mistakes]

    # Side by side: most of their time they wait for what never comes.
    with ThreadPoolExecutor(AT_ONCE) as pool:
        amiss = list(pool.map(partial(amiss_twice, lab), mistakes, docstrings, folders))

    assert {mistake.stem: words for mistake, words in zip(mistakes, amiss, strict=True) if words} == {}


def amiss_twice(lab: Lab, mistake: Path, text: str, folder: Path) -> str:
    """As amiss_with, if it is so in two runs: what else of wrong code fails may depend on who was quicker once."""
    folder.mkdir()
    return amiss_with(lab, mistake, text, folder / "first") and amiss_with(lab, mistake, text, folder / "second")


def amiss_with(lab: Lab, mistake: Path, text: str, folder: Path) -> str:
    """What is not as the mistake's docstring, `text`, says; empty when all is."""
    folder.mkdir()
    expected = [name.strip() for name in field(text, "fails").split(",")]
    may = {name.strip() for name in field(text, "sometimes").split(",")} if "\nsometimes: " in text else set()
    own_tmp = f"--basetemp={folder / 'tmp'}"
    checks = checks_of(lab, folder / "report.json", "--lab-file", str(mistake), own_tmp)
    failed = {name for name, check in checks.items() if check["passed"] is False}
    if failed - may != set(expected):
        return f"it fails {sorted(failed)} and not {sorted(expected)}"
    because = checks[expected[0]]["because"]
    return "" if field(text, "teaches") in because else f"it teaches {because!r}"


@pytest.mark.parametrize("lab", LABS, ids=lambda lab: lab.name)
def test_a_lab_is_whole(lab: Lab) -> None:
    """A lab has all its files and three mistakes; its README its sections in order; each task its todo and checks."""
    readme = (lab.folder / "README.md").read_text(encoding="utf-8")
    headings = re.findall(r"^## (.*)$", readme, re.MULTILINE)
    tasks = {words.split()[0] for words in lab.open_todos(lab.starter)}

    assert [heading for heading in headings if heading in SECTIONS] == SECTIONS
    assert [line for line in LINES if line not in readme] == []
    assert tasks == set(lab.tasks)
    assert all(check.task for check in lab.checks)
    assert len(list((lab.folder / "mistakes").glob("*.py"))) >= 3
    assert (lab.folder / "INSTRUCTOR.md").read_text(encoding="utf-8").startswith("# ")


@pytest.mark.parametrize("lab", LABS, ids=lambda lab: lab.name)
def test_every_task_has_its_hint(lab: Lab) -> None:
    """hints.md has three steps for each task, and no task that the lab does not have."""
    hints = lab.hints()

    assert set(hints) == set(lab.tasks)
    assert {task: len(steps) for task, steps in hints.items()} == dict.fromkeys(hints, 3)


@pytest.mark.parametrize("lab", LABS, ids=lambda lab: lab.name)
def test_starter_and_solution_have_the_same_names(lab: Lab) -> None:
    """A learner finds every function of the solution in the starter, with the same parameters and result."""

    def signatures(path: Path) -> dict[str, str]:
        body = ast.parse(path.read_text(encoding="utf-8")).body
        methods = [part for node in body if isinstance(node, ast.ClassDef) for part in node.body]
        return {
            node.name: f"{ast.unparse(node.args)} -> {ast.unparse(node.returns) if node.returns else ''}"
            for node in [*body, *methods]
            if isinstance(node, ast.FunctionDef) and not node.name.startswith("_")
        }

    starter, solution = signatures(lab.starter), signatures(lab.solution)

    assert {name: starter.get(name) for name in solution} == solution


@pytest.mark.parametrize("lab", LABS, ids=lambda lab: lab.name)
def test_a_lab_stands_alone(lab: Lab) -> None:
    """No file of a lab imports another lab."""
    for path in [lab.starter, lab.solution, lab.test_file]:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        modules = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
        modules |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        assert not any(module.startswith("labs") for module in modules), path


def test_the_labs_are_found() -> None:
    """The tests here look at the labs that are there, in the order of their numbers."""
    assert [lab.number for lab in LABS] == sorted(lab.number for lab in LABS)
    assert LABS
