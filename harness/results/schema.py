"""The JSON Schema of a result, `harness.load/1`: for tests, and for whoever checks results in a language of theirs.

The schema is a file beside this module, so that it can be read and used without Python. Nothing here validates: that
takes a validator of draft 2020-12, such as the package `jsonschema`, which a run does not need.
"""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any, Final

SCHEMA_FILE: Final = "load.schema.json"
"""The schema's name in this folder."""


def load_schema() -> dict[str, Any]:
    """The schema as a mapping, read anew at each call."""
    schema: dict[str, Any] = json.loads(files("harness.results").joinpath(SCHEMA_FILE).read_text(encoding="utf-8"))
    return schema
