"""Why a check did not pass, apart from an assert of its own; each carries its words. Importable on every system."""

from __future__ import annotations


class WrongAnswerError(AssertionError):
    """What the kit itself finds wrong with a learner's code; its text is a Teach."""


class UnreadableError(Exception):
    """A lab's file that does not compile; its text is a Teach."""


class CannotStageError(Exception):
    """This machine cannot put on what the check needs; the text says what and why. The check is skipped."""
