"""harness/show/claims.py: the table of claims within 80 columns, the plain lines, and the Markdown."""

from __future__ import annotations

import re
from typing import Any

import pytest
from rich.console import Console

from harness.experiments.claims_judged import CLAIMS, VERDICTS
from harness.show.claims import STYLES, UNDECIDED, claims_lines, claims_markdown, claims_view

FOUND = "1.50 M/s of 32 B (native), 60.0 k/s of 8 KiB | 2 cores; <0 lowest; settable to 2,147,483,647"


def result_with(**changes: Any) -> dict[str, Any]:
    """A result with the real claims, each with another verdict, the last without one."""
    verdicts = [*VERDICTS, None]
    return {
        "started_at": "2026-01-02T03:04:05+00:00",
        "plan": {"rounds": 3, "duration_s": 0.3, "burst_messages": 20_000},
        "environment": {"kernel_release": "6.18.0", "cores_allowed": 2, "memory_bytes": 4 * 2**30},
        "claims": [
            {"says": claim.says, "method": claim.method, "rule": claim.rule, "finding": FOUND, "verdict": verdict}
            for claim, verdict in zip(CLAIMS, verdicts, strict=True)
        ],
        "complete": True,
        "cut": None,
        "disturbance": {
            "verdict": "clean",
            "steal_share": 0.0,
            "runnable_wait_share": 0.001,
            "throttled_ns": 0,
            "jitter": None,
        },
        "warnings": ["2 of 16 load runs were disturbed"],
        **changes,
    }


def drawn(result: dict[str, Any]) -> str:
    console = Console(width=80, color_system=None, force_terminal=False)
    with console.capture() as captured:
        console.print(claims_view(result))
    return captured.get()


def test_the_table_fits_80_columns() -> None:
    """Four columns within 80, no word cut off, and below them the machine and what a reader should know."""
    text = drawn(result_with())

    assert max(len(line) for line in text.splitlines()) <= 80
    assert "…" not in text
    for words in ("the article says", "undecided", "outdated", "Linux 6.18.0, 2 CPUs, 4.0 GiB", "2 of 16 load runs"):
        assert words in text


def test_the_lines_say_each_claim_with_its_verdict_first() -> None:
    """Three lines a claim: verdict and claim, how it was tried, what was found."""
    lines = claims_lines(result_with())

    assert lines[6] == f"{VERDICTS[2]}: {CLAIMS[2].says}"
    assert lines[7] == f"  tried: {CLAIMS[2].method}"
    assert lines[8] == f"  found: {FOUND}"
    assert lines[12].startswith(f"{UNDECIDED}: ")


def test_the_markdown_has_one_table_and_the_rules() -> None:
    """Every row has as many cells as the heading, whatever stands in them, and each claim its rule."""
    text = claims_markdown(result_with())

    rows = [line for line in text.splitlines() if line.startswith("|")]
    cells = [len(re.findall(r"(?<!\\)\|", row)) - 1 for row in rows]
    assert cells == [4] * 7 + [2] * 7
    assert "8 KiB \\| 2 cores; &lt;0 lowest" in text
    assert all(claim.rule.split(";")[0].replace("<", "&lt;") in text for claim in CLAIMS)
    assert text.endswith("- 2 of 16 load runs were disturbed\n")


@pytest.mark.parametrize("text_of", [drawn, lambda result: "\n".join(claims_lines(result)), claims_markdown])
def test_an_interrupted_run_says_so(text_of: Any) -> None:
    """In every output an interruption is told."""
    cut = {"cause": "interrupted", "sentence": "interrupted by SIGINT"}

    assert "INCOMPLETE: interrupted by SIGINT" in text_of(result_with(complete=False, cut=cut))


def test_every_verdict_has_a_style() -> None:
    """No verdict of the rules is one that the table does not know."""
    assert set(STYLES) == {*VERDICTS, UNDECIDED}
