"""The one place that imports sysv_ipc, the C extension that makes the system calls.

`sysv_ipc` here is the module, or None on a host where it cannot be had (macOS, Windows, not installed):
importing `harness.sysv` must succeed there, and only the making of a Queue fails, with an explanation.
"""

from __future__ import annotations

try:
    import sysv_ipc
except ImportError:  # no wheel for this platform; support.py tells the user why
    sysv_ipc = None  # type: ignore[assignment]

__all__ = ["sysv_ipc"]
