"""The kernel's System V message queue, typed: the ground floor that everything else stands on.

Who needs a queue, its limits, a private namespace, or to know why there are no queues here, imports it from this face.
It knows nothing of what stands above it, and nothing of `harness.measure`. It can be imported on any system: where
there are no message queues, `diagnose()` says why, and making a Queue raises NoMessageQueuesError. The errors are in
`harness.sysv.errors`, as one tree for the whole project.
"""

from harness.sysv.inventory import QueueStat, queues
from harness.sysv.limits import Limits, Usage, usage
from harness.sysv.namespace import NamespaceSupport, PrivateNamespace, enter_private, probe
from harness.sysv.queue import Message, Queue
from harness.sysv.selector import Selector
from harness.sysv.support import Support, diagnose, require
from harness.sysv.waiting import Waiter

__all__ = [
    "Limits",
    "Message",
    "NamespaceSupport",
    "PrivateNamespace",
    "Queue",
    "QueueStat",
    "Selector",
    "Support",
    "Usage",
    "Waiter",
    "diagnose",
    "enter_private",
    "probe",
    "queues",
    "require",
    "usage",
]
