# ruff: noqa: INP001  a script beside the documents, not a package
"""Makes the README's picture of a report from a real run's result: `python docs/picture.py RESULT.json docs/load.svg`.

Called by `make picture`. It runs nothing and measures nothing: what is drawn is what `harness load --json RESULT.json`
kept. The picture stands for itself: no font, style or script is loaded from anywhere.
"""

from __future__ import annotations

import argparse
import io
import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from rich.console import Console
from rich.text import Text

from harness.show.terminal import report

if TYPE_CHECKING:
    from collections.abc import Sequence

COLUMNS: Final = 100

FRAME: Final = """\
<svg class="rich-terminal" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
    <style>
    .{unique_id}-matrix {{
        font-family: ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace;
        font-size: {char_height}px;
        line-height: {line_height}px;
    }}
    .{unique_id}-title {{
        font-size: 18px;
        font-family: sans-serif;
    }}
    {styles}
    </style>
    <defs>
    <clipPath id="{unique_id}-clip-terminal">
      <rect x="0" y="0" width="{terminal_width}" height="{terminal_height}" />
    </clipPath>
    {lines}
    </defs>
    {chrome}
    <g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
    {backgrounds}
    <g class="{unique_id}-matrix" xml:space="preserve">
    {matrix}
    </g>
    </g>
</svg>
"""
"""rich's own frame without its web fonts; the placeholders are those of `Console.export_svg`."""


def picture(result: dict[str, Any]) -> str:
    """The report of a `harness.load/1` result as a terminal shows it, under the command that made it, as SVG."""
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    console.print(Text(f"$ {shlex.join(result['argv'])}", style="bold"))
    console.print(report(result))
    # A fixed id: the same result gives the same file, so that a new picture's differences can be read.
    return console.export_svg(title="harness load", code_format=FRAME, unique_id="load")


def main(argv: Sequence[str] | None = None) -> None:
    """Read a result and write its picture."""
    parser = argparse.ArgumentParser(description="Draw the report of a result of `harness load --json`.")
    parser.add_argument("result", type=Path, help="the result, as JSON")
    parser.add_argument("picture", type=Path, help="where the SVG goes")
    given = parser.parse_args(argv)
    result = json.loads(given.result.read_text(encoding="utf-8"))
    given.picture.write_text(picture(result), encoding="utf-8")


if __name__ == "__main__":
    main()
