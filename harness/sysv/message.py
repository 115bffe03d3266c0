"""What a queue hands out: a message's type and its bytes. Used by queue.py and peeking.py."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Message:
    """A message that was received or looked at: its `type` and its bytes.

    The type is the kernel's long, 1 to 2**63-1 (2**31-1 where a long has 32 bits): `Queue.send` gives types up to
    2**31-1, but PHP and C send larger ones, and they are received whole.
    """

    type: int
    payload: bytes
