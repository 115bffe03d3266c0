"""`harness ceiling`: what the measuring itself costs."""

from __future__ import annotations


def ceiling() -> None:
    """Compare the engines with bare loops."""
