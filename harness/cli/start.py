"""Where the command `harness` begins: a Ctrl-C during the imports ends it like any program, without a traceback.

Until a run notes signals itself (`signals.Interrupts`) there is nothing to clean up, so SIGINT may simply end the
process. Where it is ignored, as in a background job, it stays so.
"""

from __future__ import annotations

import signal


def main() -> int:
    """Run one command; returns the exit status."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from harness.cli.app import main as run  # noqa: PLC0415  the imports are what takes time

    return run()
