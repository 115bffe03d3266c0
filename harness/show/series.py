"""The series of a result as CSV, for spreadsheets and plots."""

from __future__ import annotations

import csv
import io
from typing import Any


def series_csv(result: dict[str, Any]) -> str:
    """A heading and one line a row; a value that is not known is left empty."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(result["series"]["columns"])
    writer.writerows(result["series"]["rows"])
    return text.getvalue()
