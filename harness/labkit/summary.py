"""The lines at the end of `pytest labs/`: one for each lab, counted in tasks, and what to open next.

Pure functions of the reports. A task is done when all its checks passed that this machine can run, and one did; a
check that did not run in this session (another was named, or -k) leaves its task open, and the line says so.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.labkit.states import CANNOT, FAILED, NOT_STARTED, PASSED

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from harness.labkit.catalog import Lab


@dataclass(frozen=True, slots=True)
class Standing:
    """How far one lab is: `tasks` of it, `done` of those; `state` in words; `ran` of `checks` checks ran."""

    lab: str
    tasks: int
    done: int
    state: str
    ran: int
    checks: int
    first_open: str = ""


def check_states(reports: Iterable[Any], lab: str) -> dict[str, str]:
    """The state of each check of a lab; of several reports of one check (its parameters, its phases) the worst."""
    order = (FAILED, NOT_STARTED, CANNOT, PASSED)
    found: dict[str, str] = {}
    for report in reports:
        said = report.labkit
        if said["lab"] == lab and (report.when == "call" or said["state"] != PASSED):
            states = (said["state"], found.get(said["check"], PASSED))
            found[said["check"]] = min(states, key=order.index)
    return found


def standing(lab: Lab, reports: Iterable[Any]) -> Standing:
    """How far the lab is, by the reports of this session."""
    reports = list(reports)
    states = check_states(reports, lab.name)
    of_task = {task: [states.get(check.name, "") for check in lab.checks if check.task == task] for task in lab.tasks}
    # What this machine cannot run is not held against the learner, as long as something of the task could.
    done = [task for task, found in of_task.items() if PASSED in found and set(found) <= {PASSED, CANNOT}]
    first_open = next((task for task in lab.tasks if task not in done), "")
    counted = Counter(states.values())
    if counted[CANNOT] and counted[CANNOT] == len(states):
        state = "cannot run here"
    elif set(states.values()) <= {PASSED, CANNOT} and len(states) == len(lab.checks):
        state = "done here" if counted[CANNOT] else "done"
    elif counted[NOT_STARTED] == len(states):
        state = "not started"
    else:
        state = "in progress"
    return Standing(lab.name, len(of_task), len(done), state, len(states), len(lab.checks), first_open)


def lines(reports: list[Any], labs: Mapping[str, Lab], *, ground: str) -> list[str]:
    """The summary: a line a lab, where it ran, and the next step."""
    names = list(dict.fromkeys(report.labkit["lab"] for report in reports))
    found = [standing(labs[name], reports) for name in sorted(names) if name in labs]
    text = [_line(each) for each in found]
    cannot = Counter(report.labkit["because"] for report in reports if report.labkit["state"] == CANNOT)
    text += [f"could not run here ({n} check{'s' * (n != 1)}): {why}" for why, n in cannot.items()]
    if ground:
        text.append(f"ran here, {ground.split('; ', maxsplit=1)[0]}")
    following = next((each for each in found if each.state in ("in progress", "not started")), None)
    if following is not None:
        text.append(f"next: {next_step(following)}")
    elif found and all(each.state in ("done", "done here") for each in found):
        text.append("next: all of this is done; harness lab diff NN shows another way to write it")
    return text


def next_step(of: Standing) -> str:
    """What to open, and where help is."""
    if of.state == "not started":
        return f"labs/{of.lab}/README.md, then labs/{of.lab}/lab.py"
    return f"task {of.first_open} in labs/{of.lab}/lab.py; a hint: harness lab hint {of.first_open}"


def _line(of: Standing) -> str:
    bar = "\N{FULL BLOCK}" * of.done + "\N{LIGHT SHADE}" * (of.tasks - of.done)
    progress = f" {of.done}/{of.tasks}" if of.state == "in progress" else ""
    partly = f"  ({of.ran} of {of.checks} checks ran)" if of.ran < of.checks else ""
    return f"{of.lab:<22}{of.state + progress:<18}{bar}{partly}"
