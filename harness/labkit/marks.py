"""What a check says of itself. Used in every test_lab.py.

    @task("4.1")
    @limit(10)
    def test_the_first_to_wait_is_served_first(lab, stage):
        \"\"\"The receiver that waited first gets the first message.\"\"\"

catalog.py reads `@task` from the source, so its argument is written as a plain string.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from _pytest.mark.structures import MarkDecorator

LIMIT_S = 3.0
"""How long a check may take unless it says otherwise, in seconds."""

WORDS = {
    "task(number)": "the task of the lab that this check belongs to; a task is done when all its checks pass",
    "limit(seconds)": "how long this check may take before it is killed (a lab's checks only)",
    "needs_no_queues": "this check runs where the machine has no message queues, too",
    "own_network": "this check has a network of its own: an empty loopback, every port free",
}


def task(number: str) -> MarkDecorator:
    """The check belongs to task `number`, such as "4.1"."""
    return pytest.mark.task(number)


def limit(seconds: float) -> MarkDecorator:
    """The check may take so many seconds, instead of 3. Say five times what it takes on an idle machine."""
    return pytest.mark.limit(seconds)


needs_no_queues = pytest.mark.needs_no_queues
"""The check is about a machine without message queues, and runs there too."""

own_network = pytest.mark.own_network
"""The check runs in a network namespace of its own, where every port is free; it is skipped where that is refused."""
