"""The documents are true: their commands parse, their links lead somewhere, their example works, no key is left out."""

from __future__ import annotations

import json
import re
import runpy
import shlex
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

from harness.cli.app import main
from harness.results.schema import load_schema

ROOT = Path(__file__).parents[1]
DOCUMENTS = [
    ROOT / "README.md",
    ROOT / "CHANGELOG.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "labs").glob("**/*.md")),
]
NAMES = [str(document.relative_to(ROOT)) for document in DOCUMENTS]
TOP_FOLDERS = ("harness/", "labs/", "tests/", "tools/", "docs/", "typings/", "provision/", ".ci/")


def text_of(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


def inline_code(text: str) -> list[str]:
    without_blocks = re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)
    return re.findall(r"`([^`\n]+)`", without_blocks)


def commands(name: str) -> list[list[str]]:
    """The arguments of each `harness ...` in the document, without what the shell does with it."""
    text = text_of(name)
    lines = [line for block in blocks(text, "sh") for line in block.replace("\\\n", " ").splitlines()]
    lines += inline_code(text)
    found = []
    for line in lines:
        words = shlex.split(line, comments=True) if line.startswith("harness ") else []
        shell = next((place for place, word in enumerate(words) if word in ("|", "&", ">", "<", ";", "&&")), len(words))
        found += [words[1:shell]] if words else []
    return found


COMMANDS = sorted({shlex.join(words) for name in NAMES for words in commands(name)})


def anchor(heading: str) -> str:
    """The anchor that GitHub makes of a heading."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def test_the_documents_are_found() -> None:
    """The tests here look at the README, the changelog, every document in docs, and more than ten commands."""
    expected = {"README.md", "CHANGELOG.md", "docs/architecture.md", "docs/measuring.md", "docs/results.md"}

    assert expected <= set(NAMES)
    assert len(COMMANDS) > 10


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_parses(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A `harness` command that a document shows is one that harness understands."""
    words = shlex.split(command)
    only_look = "--dry-run" if words[0] == "load" and "--help" not in words else "--help"

    end = words.index("--") if "--" in words else len(words)  # what follows is the lab's program's own
    status = main([*words[:end], only_look, *words[end:]])

    assert status == 0, capsys.readouterr().err


@pytest.mark.parametrize("name", NAMES)
def test_links_lead_somewhere(name: str) -> None:
    """Every link to a file of ours names one that is there, and an anchor in it names a heading."""
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", text_of(name)):
        if re.match(r"https?://", target):
            continue
        path, _, fragment = target.partition("#")
        file = (ROOT / name).parent / path if path else ROOT / name
        headings = re.findall(r"^#+ (.*)$", file.read_text(encoding="utf-8"), re.MULTILINE) if file.is_file() else []
        if not file.exists() or (fragment and fragment not in map(anchor, headings)):
            broken.append(target)

    assert broken == []


@pytest.mark.parametrize("name", NAMES)
def test_paths_exist(name: str) -> None:
    """Every path into this repository that a document names is there."""
    named = set(re.findall(rf"(?<![\w/.])(?:{'|'.join(map(re.escape, TOP_FOLDERS))})[\w./-]*", text_of(name)))

    missing = [path for path in sorted(named) if not (ROOT / path.rstrip(".")).exists()]

    assert missing == []


@pytest.mark.parametrize("name", NAMES)
def test_make_targets_exist(name: str) -> None:
    """Every `make TARGET` that a document shows is a target of the Makefile."""
    targets = set(re.findall(r"^([a-z-]+):", text_of("Makefile"), re.MULTILINE))
    shown = [
        *inline_code(text_of(name)),
        *(line for block in blocks(text_of(name), "sh") for line in block.splitlines()),
    ]

    asked = {target for line in shown for target in re.findall(r"(?:^|&& )make ([a-z-]+)", line)}

    assert asked <= targets


@pytest.mark.parametrize("name", [*NAMES, "docs/picture.py", "docs/load.svg"])
def test_no_machine_is_named(name: str) -> None:
    """No document names the host of a package registry, or an absolute path of somebody's machine."""
    text = text_of(name)

    hosts = re.findall(r"[\w.-]*(?:pypi|pythonhosted|npmjs|anaconda|artifactory|nexus)[\w-]*\.[\w.-]+", text)
    paths = re.findall(r"(?<![\w.])/(?:home|root|work|tmp|Users|opt|mnt|var)/\S*", text)

    assert hosts + paths == []


def test_the_map_names_every_folder() -> None:
    """docs/architecture.md names the folder of every package in harness."""
    text = text_of("docs/architecture.md")

    packages = sorted(path.parent for path in (ROOT / "harness").rglob("__init__.py"))
    unnamed = [str(path.relative_to(ROOT)) for path in packages[1:] if f"`{path.relative_to(ROOT)}/`" not in text]

    assert packages
    assert unnamed == []


def keys_of(schema: Any) -> set[str]:
    """The names of all properties in a schema."""
    names: set[str] = set()
    if isinstance(schema, dict):
        properties = schema.get("properties")
        names |= set(properties) if isinstance(properties, dict) else set()
        for value in schema.values():
            names |= keys_of(value)
    elif isinstance(schema, list):
        for value in schema:
            names |= keys_of(value)
    return names


def test_every_key_is_described() -> None:
    """docs/results.md has a row for each key of the JSON Schema, and no row for a key that is not."""
    rows = set(re.findall(r"^\| `(\w+)` \|", text_of("docs/results.md"), re.MULTILINE))

    keys = keys_of(load_schema())

    assert keys - rows == set()
    assert rows - keys == set()


def test_the_decoding_example_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The six lines of Python in docs/results.md find the p99 that the result itself has."""
    example = blocks(text_of("docs/results.md"), "python")[0]
    load = ["load", "--rate", "5k", "--duration", "200ms", "--warmup", "0s", "--quiet", "--json", "result.json"]
    subprocess.run([sys.executable, "-m", "harness", *load], cwd=tmp_path, check=True, timeout=30)
    (tmp_path / "example.py").write_text(example, encoding="utf-8")
    monkeypatch.chdir(tmp_path)

    found = runpy.run_path("example.py")

    result = json.loads((tmp_path / "result.json").read_text(encoding="utf-8"))
    assert found["p99_ns"] == result["latency_ns"]["p99"]


def test_the_example_of_an_experiment_works(tmp_path: Path) -> None:
    """The lines of Python in docs/results.md that run an experiment give its document."""
    example = blocks(text_of("docs/results.md"), "python")[1]
    (tmp_path / "example.py").write_text(example, encoding="utf-8")

    found = runpy.run_path(str(tmp_path / "example.py"))

    assert (found["result"]["schema"], found["result"]["complete"]) == ("harness.select/1", True)


def test_the_picture_stands_for_itself() -> None:
    """docs/load.svg is well-formed, shows a report, and loads nothing from elsewhere."""
    text = text_of("docs/load.svg")

    words = "".join(ET.fromstring(text).itertext()).replace("\N{NO-BREAK SPACE}", " ")

    assert "$ harness load" in words
    assert "ledger" in words
    assert set(re.findall(r"https?://[^\s\"'<>]+", text)) == {"http://www.w3.org/2000/svg"}
    assert not re.search(r"@import|@font-face|<script|<image|href=", text)


def test_the_picture_script_draws_a_result(tmp_path: Path) -> None:
    """`docs/picture.py` makes a picture of what a run kept, with the figures that the run had."""
    load = ["load", "--rate", "5k", "--duration", "200ms", "--warmup", "0s", "--quiet", "--json", "result.json"]
    subprocess.run([sys.executable, "-m", "harness", *load], cwd=tmp_path, check=True, timeout=30)

    script = str(ROOT / "docs" / "picture.py")
    subprocess.run([sys.executable, script, "result.json", "picture.svg"], cwd=tmp_path, check=True, timeout=30)

    words = "".join(ET.parse(tmp_path / "picture.svg").getroot().itertext()).replace("\N{NO-BREAK SPACE}", " ")
    sent = json.loads((tmp_path / "result.json").read_text(encoding="utf-8"))["sent"]
    assert "$ harness load --rate 5k" in words
    assert f"sent {sent:,}" in words
