"""What a transport is: one way from a sending process to a receiving one, both forks of the process that opened it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any, ClassVar, Protocol, TypeAlias

Send: TypeAlias = Callable[[bytes], object]
"""Sends one message; waits while there is no room."""
Receive: TypeAlias = Callable[[], bytes]
"""Waits for the next message and takes it. What comes back may be any buffer of its bytes."""


@dataclass(frozen=True, slots=True)
class Place:
    """What a transport is opened for: messages of `size_bytes`; and where, for Redis, the run's server listens."""

    size_bytes: int
    queue_bytes: int = 16384
    """What a System V queue holds here; a POSIX queue gets as many messages, if that is allowed."""
    redis_socket: str | None = None


class Transport(Protocol):
    """One of them. `close` is for the process that opened it; the forks just end.

    Sender and receiver are made after the fork, as threads and connections do not survive one. They are functions
    rather than methods, so that nothing of ours stands between the loop and the call, where that is possible.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    tasks: ClassVar[int]
    """How many processes or threads are at work at a time: sender, receiver, and what the transport adds."""

    def __init__(self, place: Place) -> None: ...

    @classmethod
    def available(cls) -> str | None:
        """Why it is not here and what to do, in a line, or None when it is here. Opening it may be refused still."""
        ...

    @property
    def room(self) -> str:
        """What it holds while nobody receives, in words, with this machine's own numbers."""
        ...

    def sender(self) -> Send:
        """In the process that sends."""
        ...

    def receiver(self) -> Receive:
        """In the process that receives."""
        ...

    def close(self) -> None:
        """Give up what this process holds of it."""
        ...


@dataclass(frozen=True, slots=True)
class Extra:
    """A package that is here or not: the module, or the `problem` in a line, with what to do.

    Imported when this package is, as in the chamber that is before it enters its namespace: there an ordinary user may
    no longer be able to read what root may (user_namespaces(7)).
    """

    module: Any
    problem: str | None

    @classmethod
    def load(cls, name: str) -> Extra:
        """Import it, or find out why not."""
        try:
            return cls(import_module(name), None)
        except ModuleNotFoundError:
            problem = f"the package {name} is not installed: pip install 'msgq-harness[compare]'"
        except ImportError as error:  # installed, but for another Python or without its library
            problem = f"the package {name} cannot be loaded: {error}"
        return cls(None, problem)
