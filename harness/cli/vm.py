"""`harness --vm COMMAND`, and any command that needs queues on a machine without: the same command in the VM.

What was typed goes along word for word, but for the files that options name: a result is written there and brought
here, to where the option said; an earlier result that is read goes along.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING

from harness.sysv.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.remote.vagrant import Machine

NEED_QUEUES = {"load", "block", "ceiling", "claims", "compare", "flipflop", "select", "top", "lab"}
LOCAL_IN_LAB = {"hint", "diff", "reset", "watch"}
"""`watch` looks at saves on this machine; where it checks one, pytest finds the way into the VM by itself."""

WRITTEN = {"--json", "--csv", "--hlog", "--hgrm", "--markdown"}
READ = {"--baseline"}
WITHOUT_FILES = {"top", "doctor", "lab"}
"""`--json` has no file behind it there, or belongs to a lab's program."""


def in_vm(words: Sequence[str]) -> int | None:
    """Run the command in the VM if it belongs there; its exit status, None for here. Raises HarnessError."""
    leading = list(takewhile(lambda word: word.startswith("-"), words))
    rest = list(words[len(leading) :])
    asked = "--vm" in leading
    if set(leading) - {"--vm"} or not rest or {"-h", "--help"} & set(_before_dashes(rest)):
        return None
    if not _needs_queues(rest, asked=asked):
        if asked:
            raise UsageError("--vm is for commands that need message queues", hint=f"harness {' '.join(rest)}")
        return None
    from harness.remote.choice import choose  # noqa: PLC0415  not needed for --help

    chosen = choose(Path.cwd(), asked=asked)
    if chosen is None:
        return None
    machine, why = chosen
    print(f"harness: {why}: in the VM {machine.name}", file=sys.stderr)  # noqa: T201
    return _run(machine, rest)


def _before_dashes(words: Sequence[str]) -> list[str]:
    """What is the command's own, without the arguments of a lab's program."""
    return list(words[: words.index("--")]) if "--" in words else list(words)


def _needs_queues(words: Sequence[str], *, asked: bool) -> bool:
    """Whether the command belongs into the VM where there are no queues here; some only if it is `asked` for."""
    if words[0] == "lab":
        return not set(words[1:2]) & LOCAL_IN_LAB
    if words[0] == "doctor" or any(word.startswith("udp://") for word in words):
        return asked  # what this machine can do, and a proxy that may run here
    return words[0] in NEED_QUEUES


@dataclass(frozen=True)
class NamedFile:
    """A file that an option names: `place` is the word's number, `before` what stands in it before the path."""

    place: int
    before: str
    option: str
    path: str

    @property
    def there(self) -> str:
        """The file's name in the VM, of this option only: two results may have one name in two folders."""
        return f"{self.option.lstrip('-')}-{Path(self.path).name}"


def named_files(words: Sequence[str]) -> list[NamedFile]:
    """The files behind the options of a command; standard output is none."""
    if words[0] in WITHOUT_FILES:
        return []
    found = []
    for place, word in enumerate(words):
        option, equals, path = word.partition("=")
        if option not in WRITTEN | READ:
            continue
        if equals:
            found.append(NamedFile(place, f"{option}=", option, path))
        elif place + 1 < len(words):
            found.append(NamedFile(place + 1, "", option, words[place + 1]))
    return [file for file in found if file.path != "-"]


def _run(machine: Machine, words: list[str]) -> int:
    from harness.remote.visit import Visit  # noqa: PLC0415  not needed for --help
    from harness.results.files import Destination  # noqa: PLC0415

    named = named_files(words)
    results = {file: Destination.parse(file.path) for file in named if file.option in WRITTEN}
    if len({Path(file.path).absolute() for file in results}) < len(results):
        raise UsageError("two results go to the same file", hint="give them different names")
    for destination in results.values():
        destination.check()
    read = [file for file in named if file.option in READ]
    for file in read:
        if not Path(file.path).is_file():
            raise UsageError(f"{file.option} {file.path}: there is no such file", hint="give another path")
    labs, cwd = _labs(words) if words[0] == "lab" else ([], ".")
    with Visit(machine, [*labs, *((Path(file.path), file.there) for file in read)]) as visit:
        there = list(words)
        for file in named:
            folder = visit.out if file.option in WRITTEN else visit.project
            there[file.place] = f"{file.before}{folder}/{file.there}"
        status = visit.run(["-m", "harness", *there], cwd=cwd)
        written = visit.files()
        for file, destination in results.items():
            if file.there in written:
                destination.write(written[file.there].decode())
    return status


def _labs(words: Sequence[str]) -> tuple[list[tuple[Path, str]], str]:
    """The labs' files, and where in them the user stands. Where a lab is named, its lab.py is made if it is missing."""
    from harness.labkit.catalog import find_lab, find_labs  # noqa: PLC0415  not needed for --help
    from harness.remote.project import files_of  # noqa: PLC0415

    labs, here = find_labs(Path.cwd()), Path.cwd()
    name = next((word.rstrip("/") for word in _before_dashes(words) if word[0].isdigit()), None)
    if name is not None and "--solution" not in words:
        lab = find_lab(labs, name)
        if lab.make_file():
            print(f"made {lab.file} from starter.py; it is yours", file=sys.stderr)  # noqa: T201
    root = labs.parent
    return list(files_of(root)), here.relative_to(root).as_posix() if here.is_relative_to(root) else "."
