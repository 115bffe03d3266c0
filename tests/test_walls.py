"""The walls of the house (docs/architecture.md): who may import whom, and who may print. Read from the source alone."""

from __future__ import annotations

import ast
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGE = Path(__file__).parents[1] / "harness"
FLOORS = {
    "sysv": 1,
    "measure": 1,
    "engines": 2,
    "results": 2,
    "remote": 2,
    "experiments": 3,
    "show": 3,
    "labkit": 3,
    "cli": 4,
}
MODULES = sorted(PACKAGE.rglob("*.py"))
NAMES = [str(module.relative_to(PACKAGE)) for module in MODULES]


@dataclass(frozen=True)
class Import:
    """One import of a module, and whether it happens when the program runs or only for the type checker."""

    name: str
    at_run_time: bool

    @property
    def room(self) -> str:
        """The room of the house that it names; empty for everything else."""
        parts = self.name.split(".")
        return parts[1] if parts[0] == "harness" and len(parts) > 1 else ""


def imports(module: str) -> list[Import]:
    """All imports of a module, wherever in it they stand."""
    return list(_imports(ast.parse((PACKAGE / module).read_text(encoding="utf-8")), at_run_time=True))


def _imports(node: ast.AST, *, at_run_time: bool) -> Iterator[Import]:
    if isinstance(node, ast.Import):
        yield from (Import(alias.name, at_run_time) for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        assert node.level == 0, "relative imports are not the style of this house"
        # `from harness import sysv` names a room in its second half.
        yield from (Import(f"{node.module}.{alias.name}", at_run_time) for alias in node.names)
    elif isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
        for part in node.body:
            yield from _imports(part, at_run_time=False)
        for part in node.orelse:
            yield from _imports(part, at_run_time=at_run_time)
    else:
        for child in ast.iter_child_nodes(node):
            yield from _imports(child, at_run_time=at_run_time)


def room_of(module: str) -> str:
    """The room that a module stands in; empty for harness/__init__.py and harness/__main__.py."""
    return Path(module).parts[0] if len(Path(module).parts) > 1 else ""


@pytest.mark.parametrize("module", NAMES)
def test_every_room_has_its_floor(module: str) -> None:
    """Each module stands in a room that the house knows."""
    assert room_of(module) in {*FLOORS, ""}


@pytest.mark.parametrize("module", NAMES)
def test_imports_go_down(module: str) -> None:
    """A module imports from its own room and from the floors below it, and the program's start only from cli.

    One thing stands beside: show may name types of experiments and labkit, on the same floor, for the type checker.
    """
    room = room_of(module)
    for found in imports(module):
        if found.room and room and found.room != room and found.name != "harness.__version__":
            beside = room == "show" and found.room in ("experiments", "labkit") and not found.at_run_time
            assert beside or FLOORS[found.room] < FLOORS[room], f"{module} imports {found.name}"


def test_the_two_rooms_on_the_ground_do_not_know_each_other() -> None:
    """sysv imports nothing of measure, and measure nothing of sysv, not even for types."""
    for module in NAMES:
        rooms = {found.room for found in imports(module)}
        if room_of(module) == "sysv":
            assert "measure" not in rooms
        if room_of(module) == "measure":
            assert "sysv" not in rooms


@pytest.mark.parametrize("module", [name for name in NAMES if room_of(name) not in ("cli", "")])
def test_only_the_command_line_prints_and_exits(module: str) -> None:
    """Below the command line nothing prints, exits or asks for arguments.

    The leader and its like are programs of their own: there `sys.exit(main())` stands under `__name__ == "__main__"`.
    """
    tree = ast.parse((PACKAGE / module).read_text(encoding="utf-8"))
    if Path(module).name == "__main__.py":
        return
    body = [node for node in tree.body if not (isinstance(node, ast.If) and "__main__" in ast.unparse(node.test))]
    for node in body:
        for call in ast.walk(node):
            if isinstance(call, ast.Call):
                name = ast.unparse(call.func)
                assert name not in {"print", "exit", "quit", "sys.exit", "input", "typer.echo"}, f"{module}: {name}"


@pytest.mark.parametrize("module", [name for name in NAMES if room_of(name) not in ("cli", "show")])
def test_only_show_and_the_command_line_know_rich_and_typer(module: str) -> None:
    """What measures knows no terminal: rich, typer and matplotlib are named in show and cli only."""
    assert not {found.name.split(".")[0] for found in imports(module)} & {"rich", "typer", "matplotlib"}


def loaded_by(statement: str) -> set[str]:
    """The names of the modules that a statement loads in a fresh Python."""
    code = f"import sys; {statement}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize("statement", ["import harness", "import harness.cli.app"])
def test_what_is_slow_is_not_imported_before_it_is_needed(statement: str) -> None:
    """Neither the package nor its help loads rich, matplotlib, hypothesis, an engine or a validator."""
    slow = {
        "rich",
        "matplotlib",
        "numpy",
        "hypothesis",
        "jsonschema",
        "pytest",
        "harness.engines",
        "harness.experiments",
    }

    assert not loaded_by(statement) & slow


def test_the_test_of_imports_sees_them() -> None:
    """Imports are found in functions and conditions, and those for the type checker are told apart."""
    tree = ast.parse(
        "from typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n    from harness.cli.app import main\n"
        "def late():\n    import harness.show.words\n"
        "from harness import measure\n"
    )

    found = list(_imports(tree, at_run_time=True))

    assert Import("harness.cli.app.main", at_run_time=False) in found
    assert Import("harness.show.words", at_run_time=True) in found
    assert [entry.room for entry in found] == ["", "cli", "show", "measure"]
