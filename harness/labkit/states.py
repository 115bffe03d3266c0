"""What can have become of a check: the words of --lab-report, shared by whoever makes, counts or reads them."""

from __future__ import annotations

PASSED, FAILED, NOT_STARTED, CANNOT = "passed", "failed", "not started", "cannot"
"""The last: this machine cannot run it."""
NOT_RUN = "not run"
"""It was not among the checks that ran; no report of pytest has this state."""
