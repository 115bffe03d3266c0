"""How `harness lab` looks: where a learner is, a hint, a difference, and the line before each run of a watch.

Pure functions of what progress.py found. For a terminal they make rich renderables; the lines for everything else are
never wrapped, and hold nothing but what a terminal of any kind can show.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rich.console import Group, RenderableType
from rich.markdown import Markdown
from rich.rule import Rule
from rich.syntax import Syntax
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from harness.labkit.progress import Progress, State, Survey

BAR_WIDTH = 40
NOT_CHECKED = "(not checked now)"
_STYLES: Final[dict[State, str]] = {
    "not started": "dim",
    "in progress": "yellow",
    "written": "cyan",
    "done": "green",
    "cannot run here": "red",
}


# --- where am I -----------------------------------------------------------------------------------------------------


def overview_lines(found: Survey) -> list[str]:
    """The bar, a line a lab and the next step, as plain text."""
    done, tasks = _totals(found)
    filled = _filled(done, tasks)
    lines = [f"labs [{'#' * filled}{'.' * (BAR_WIDTH - filled)}] {done} of {tasks} tasks", ""]
    for progress in found.labs:
        mark = ">" if progress is found.current else " "
        lines.append(f"{mark} {progress.lab.name:<22}{standing(progress)}")
    return [*lines, "", *(f"next: {line}" for line in next_steps(found))]


def overview_view(found: Survey) -> RenderableType:
    """The same for a terminal; readable at 80 columns."""
    done, tasks = _totals(found)
    filled = _filled(done, tasks)
    bar = Text.assemble(
        ("labs ", "bold"), ("█" * filled, "green"), ("░" * (BAR_WIDTH - filled), "dim"), f" {done} of {tasks} tasks"
    )
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column()
    for progress in found.labs:
        current = progress is found.current
        name = Text(progress.lab.name, "bold" if current else "")
        table.add_row("▶" if current else "", name, Text(standing(progress), _STYLES[progress.state]))
    steps = Table.grid(padding=(0, 2, 0, 0))
    for line in next_steps(found):
        steps.add_row(Text("next", "bold"), Text(line))
    return Group(bar, Text(), table, Text(), steps)


def standing(progress: Progress) -> str:
    """How far one lab is, in words."""
    part = f"{progress.done}/{progress.tasks}"
    words: str = progress.state
    if progress.state == "written":
        words = f"written {NOT_CHECKED}"
    elif progress.state == "in progress":
        words = f"in progress {part}" if progress.checked else f"in progress {part} {NOT_CHECKED}"
    elif progress.state == "cannot run here" and progress.done:
        words = f"cannot run here, {part} written"
    return f"{words}; {progress.note}" if progress.note else words


def next_steps(found: Survey) -> list[str]:
    """What to do now."""
    current = found.current
    if current is not None and current.state == "not started":
        return [f"read labs/{current.lab.name}/README.md", f"harness lab watch {current.lab.number}"]
    if current is not None:
        where, task = f"labs/{current.lab.name}/lab.py", current.first_open
        checks = f"harness lab {current.lab.number} checks it"
        return [f"task {task} in {where}", f"{checks}; harness lab hint {task} helps"] if task else [where, checks]
    if any(progress.state == "cannot run here" for progress in found.labs):
        return []
    if any(not progress.checked for progress in found.labs):
        return ["all of it is written; pytest labs/ checks it all"]
    return ["all of it is done"]


def _totals(found: Survey) -> tuple[int, int]:
    return sum(progress.done for progress in found.labs), sum(progress.tasks for progress in found.labs)


def _filled(done: int, tasks: int) -> int:
    """How much of the bar is filled: all of it only where all is done."""
    return BAR_WIDTH * done // tasks if tasks else 0


# --- a hint ---------------------------------------------------------------------------------------------------------


def hint_lines(task: str, steps: list[str], step: int) -> list[str]:
    """One step of a hint, as the Markdown it is written in."""
    return [_hint_title(task, steps, step), "", *steps[step - 1].splitlines(), "", _hint_end(task, steps, step)]


def hint_view(task: str, steps: list[str], step: int) -> RenderableType:
    """The same for a terminal."""
    return Group(
        Text(_hint_title(task, steps, step), "bold"),
        Text(),
        Markdown(steps[step - 1], code_theme="ansi_dark"),  # which leaves the terminal its background
        Text(),
        Text(_hint_end(task, steps, step), "dim"),
    )


def _hint_title(task: str, steps: list[str], step: int) -> str:
    return f"task {task}, step {step} of {len(steps)}"


def _hint_end(task: str, steps: list[str], step: int) -> str:
    if step == len(steps):
        return f"this was the last step; harness lab {task.partition('.')[0].zfill(2)} checks what you write"
    return f"the next step: harness lab hint {task} --step {step + 1}"


# --- the rest -------------------------------------------------------------------------------------------------------


def diff_view(diff: str) -> RenderableType:
    """A unified diff in colours."""
    return Syntax(diff, "diff", theme="ansi_dark", word_wrap=True, background_color="default")


def run_line(lab: str, number: int, at: str) -> str:
    """What stands before each run of a watch: which run, and when."""
    return f"--- {lab}, run {number}, {at} ---"


def run_rule(lab: str, number: int, at: str) -> RenderableType:
    """The same for a terminal, over its whole width."""
    return Rule(Text(f"{lab}, run {number}, {at}", "bold cyan"), characters="━", style="cyan")


def after_run(progress: Progress) -> str:
    """What stands after each run of a watch."""
    return f"{standing(progress)}; checked again when you save lab.py, Ctrl-C ends"
