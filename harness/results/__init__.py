"""What becomes of a run's figures: where they were measured, whether they pass, and where they are written.

`environment` describes the machine, `thresholds` judges a result (`--fail-if`), `files` writes it (`--json`, `--csv`),
`loading` reads it back, `compare` holds two of a kind against each other (`harness diff`).
Results are plain mappings with the keys of the JSON schema; nothing here runs anything.
"""

from __future__ import annotations

from harness.results.environment import describe
from harness.results.files import Destination
from harness.results.thresholds import Outcome, Threshold, parse_threshold

__all__ = ["Destination", "Outcome", "Threshold", "describe", "parse_threshold"]
