"""The JSON Schemas of a result, `harness.load/1`, and of a comparison, `harness.diff/1`.

For tests, and for whoever checks results in a language of theirs. Each schema is a file beside this module, so that it
can be read and used without Python. Nothing here validates: that takes a validator of draft 2020-12, such as the
package `jsonschema`, which a run does not need.
"""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any, Final

SCHEMA_FILE: Final = "load.schema.json"
"""The name in this folder of the schema of `harness.load/1`."""
DIFF_SCHEMA_FILE: Final = "diff.schema.json"
"""That of `harness.diff/1`."""
UDP_SCHEMA_FILE: Final = "udp.schema.json"
"""That of `harness.udp/1`."""
EXPERIMENT_SCHEMA_FILE: Final = "experiment.schema.json"
"""That of what the documents of select, block, flipflop, compare and claims begin with."""


def load_schema() -> dict[str, Any]:
    """The schema of `harness load`'s result as a mapping, read anew at each call."""
    return _read(SCHEMA_FILE)


def diff_schema() -> dict[str, Any]:
    """The schema of `harness diff`'s comparison as a mapping, read anew at each call."""
    return _read(DIFF_SCHEMA_FILE)


def udp_schema() -> dict[str, Any]:
    """The schema of the result of a load through a proxy as a mapping, read anew at each call.

    It refers to parts of the load's schema by that one's `$id`; here that is bundled with it, under `$defs`.
    """
    return _with_load(_read(UDP_SCHEMA_FILE))


def experiment_schema() -> dict[str, Any]:
    """The schema of what the experiments' documents have in common as a mapping, read anew at each call.

    As `udp_schema`, with the load's schema bundled.
    """
    return _with_load(_read(EXPERIMENT_SCHEMA_FILE))


def _with_load(schema: dict[str, Any]) -> dict[str, Any]:
    schema.setdefault("$defs", {})["load"] = load_schema()
    return schema


def _read(name: str) -> dict[str, Any]:
    schema: dict[str, Any] = json.loads(files("harness.results").joinpath(name).read_text(encoding="utf-8"))
    return schema
