"""The kernel's System V message queue, typed: the ground floor that everything else stands on.

Who needs a queue, its limits, a private namespace, or to know why there are no queues here, imports it from this face.
It knows nothing of what stands above it, and nothing of `harness.measure`. It can be imported on any system: where
there are no message queues, `diagnose()` says why, and making a Queue raises NoMessageQueuesError. The errors are in
`harness.sysv.errors`, as one tree for the whole project.

A name's module is imported when the name is first asked for (PEP 562): the command line imports the errors alone to
show its help, and the rest would double the time that takes.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harness.sysv.asleep import Sleeper, all_sleepers, asleep_in, sleepers
    from harness.sysv.inventory import QueueStat, queues
    from harness.sysv.limits import Limits, Usage, usage
    from harness.sysv.message import Message
    from harness.sysv.msgget import msgget_errno
    from harness.sysv.namespace import NamespaceSupport, PrivateNamespace, enter_private, probe
    from harness.sysv.peeking import peek, peek_types
    from harness.sysv.queue import Queue
    from harness.sysv.removing import remove_queue
    from harness.sysv.selector import Selector
    from harness.sysv.support import Support, diagnose, require
    from harness.sysv.waiting import Waiter

_HOMES = {
    "inventory": ("QueueStat", "queues"),
    "limits": ("Limits", "Usage", "usage"),
    "message": ("Message",),
    "msgget": ("msgget_errno",),
    "namespace": ("NamespaceSupport", "PrivateNamespace", "enter_private", "probe"),
    "peeking": ("peek", "peek_types"),
    "queue": ("Queue",),
    "selector": ("Selector",),
    "asleep": ("Sleeper", "all_sleepers", "asleep_in", "sleepers"),
    "removing": ("remove_queue",),
    "support": ("Support", "diagnose", "require"),
    "waiting": ("Waiter",),
}

__all__ = [
    "Limits",
    "Message",
    "NamespaceSupport",
    "PrivateNamespace",
    "Queue",
    "QueueStat",
    "Selector",
    "Sleeper",
    "Support",
    "Usage",
    "Waiter",
    "all_sleepers",
    "asleep_in",
    "diagnose",
    "enter_private",
    "msgget_errno",
    "peek",
    "peek_types",
    "probe",
    "queues",
    "remove_queue",
    "require",
    "sleepers",
    "usage",
]


def __getattr__(name: str) -> Any:
    for module, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"harness.sysv.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
