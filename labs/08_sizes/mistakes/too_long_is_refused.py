"""fate believes that msgsnd refuses what can never fit into the queue.

fails: test_one_message_fits_or_sleeps_or_is_refused, test_a_message_of_msgmax_bytes_goes_in_where_there_is_room
teaches: that even the empty queue is too small, it does not notice
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import sysv_ipc

LISTING = Path("/proc/sysvipc/msg")
LARGEST_BYTES = 2**20  # sysv_ipc's own limit for one message, far above msgmax: the kernel is to be met, not this


def limit(name: str) -> int:
    """One of msgmax, msgmnb and msgmni, as it stands at this moment in this IPC namespace."""
    return int(Path("/proc/sys/kernel", name).read_text())


def new_queue() -> sysv_ipc.MessageQueue:
    """A new private queue; its limit in bytes, `max_size`, is the msgmnb of this moment."""
    return sysv_ipc.MessageQueue(sysv_ipc.IPC_PRIVATE, sysv_ipc.IPC_CREAT, max_message_size=LARGEST_BYTES)


# --- predict ---------------------------------------------------------------------------------------------------------


def capacity(size_bytes: int, queue_bytes: int) -> int:
    """How many messages of this size fit into an empty queue with the limit `queue_bytes` (msg_qbytes).

    The kernel's rule for one more message (ipc/msg.c, msg_fits_inqueue) has two halves, and both must hold:
    bytes in the queue + bytes of the message <= msg_qbytes, and messages in the queue + 1 <= msg_qbytes.
    """
    return queue_bytes // max(size_bytes, 1)


def fate(size_bytes: int, msgmax: int, queue_bytes: int) -> str:
    """What becomes of one message of this size, sent to an empty queue with the limit `queue_bytes`.

    "fits"     it goes in
    "refused"  msgsnd fails with EINVAL; the kernel looks at msgmax before it looks at the queue
    "sleeps"   msgsnd waits for room that there can never be
    """
    if size_bytes > min(msgmax, queue_bytes):
        return "refused"
    return "fits" if capacity(size_bytes, queue_bytes) else "sleeps"


def predict(queue: sysv_ipc.MessageQueue, size_bytes: int) -> int:
    """How many messages of this size would go into this queue now, if it were empty.

    Each msgsnd asks for the msgmax of its moment. The queue keeps the limit that it has (`queue.max_size`), which was
    msgmnb when it was made: a new msgmnb is for new queues.
    """
    if size_bytes > limit("msgmax"):
        return 0
    return capacity(size_bytes, queue.max_size)


def free_queues() -> int:
    """How many more queues this IPC namespace takes: msgmni are allowed, and those of all users count; never below 0.

    LISTING has a line that names the columns, and one for each queue.
    """
    made = len(LISTING.read_text().splitlines()) - 1
    return max(limit("msgmni") - made, 0)


# --- measure ---------------------------------------------------------------------------------------------------------


def fill(queue: sysv_ipc.MessageQueue, size_bytes: int) -> int:
    """Send messages of this size, without waiting, until the queue is full (BusyError); returns how many it took.

    A message over msgmax is refused (OSError), and so 0 are taken.
    """
    count = 0
    while True:
        try:
            queue.send(bytes(size_bytes), block=False)
        except sysv_ipc.BusyError:
            return count
        except OSError:
            return 0
        count += 1


def main(argv: list[str] | None = None) -> int:
    """For each size: its fate, the prediction, the measurement; returns the exit status."""
    parser = argparse.ArgumentParser(description="How many messages of each size does a queue hold?")
    parser.add_argument("sizes", type=int, nargs="+", metavar="BYTES")
    options = parser.parse_args(argv)
    print(f"msgmax {limit('msgmax')}, msgmnb {limit('msgmnb')}, room for {free_queues()} queues")
    for size_bytes in options.sizes:
        queue = new_queue()
        try:
            what = fate(size_bytes, limit("msgmax"), queue.max_size)
            print(f"{size_bytes} bytes: {what}, predicted {predict(queue, size_bytes)}, took {fill(queue, size_bytes)}")
        finally:
            queue.remove()
    return 0


if __name__ == "__main__":
    sys.exit(main())
