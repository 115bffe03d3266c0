"""Transports that reach across hosts with another address: ZeroMQ and Redis. Here both stay on a Unix socket."""

from __future__ import annotations

import os
import secrets
import shutil
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, ClassVar

from harness.experiments.transports.protocol import Extra
from harness.sysv.errors import MachineError

if TYPE_CHECKING:
    from pathlib import Path

    from harness.experiments.inside import Bench
    from harness.experiments.transports.protocol import Place, Receive, Send

ZMQ, REDIS = Extra.load("zmq"), Extra.load("redis")
SERVER = "redis-server"
START_LIMIT_S = 10.0
POLL_S = 0.01


class ZeroMq:
    """PUSH to PULL over ZeroMQ's ipc transport; each process has a thread of ZeroMQ's own for input and output.

    The address is an abstract one (unix(7)): it is no file, and is gone with the process that bound it.
    """

    name: ClassVar[str] = "zeromq"
    title: ClassVar[str] = "ZeroMQ ipc, PUSH to PULL"
    tasks: ClassVar[int] = 4

    def __init__(self, place: Place) -> None:  # noqa: ARG002  it holds any size
        self._address = f"ipc://@harness-{secrets.token_hex(8)}"

    @classmethod
    def available(cls) -> str | None:
        """See `Transport`."""
        return ZMQ.problem

    @property
    def room(self) -> str:
        """See `Transport`."""
        return "1000 messages on either side (ZMQ_SNDHWM, ZMQ_RCVHWM), and a socket between"

    def sender(self) -> Send:
        """See `Transport`."""
        send: Send = self._socket(ZMQ.module.PUSH, bind=False).send
        return send

    def receiver(self) -> Receive:
        """See `Transport`."""
        receive: Receive = self._socket(ZMQ.module.PULL, bind=True).recv
        return receive

    def _socket(self, kind: int, *, bind: bool) -> Any:
        """A socket of this process: a context does not survive a fork (zmq_ctx_new(3) has threads)."""
        opened = ZMQ.module.Context().socket(kind)
        (opened.bind if bind else opened.connect)(self._address)
        return opened

    def close(self) -> None:
        """See `Transport`."""


class RedisServer:
    """A redis-server of the run's own: on a socket in `folder`, on no port, keeping nothing on disk.

    It dies with the chamber (PR_SET_PDEATHSIG outlives exec, prctl(2)). Raises MachineError when it does not answer.
    """

    def __init__(self, bench: Bench, folder: Path) -> None:
        self._bench = bench
        # By way of the folder's descriptor, as an address has room for 107 characters and no more (unix(7)).
        self._folder = os.open(folder, os.O_PATH | os.O_CLOEXEC)
        self.socket = f"/proc/self/fd/{self._folder}/redis.sock"
        self._pid = bench.start(lambda: _become_server(folder))
        client = _client(self.socket)
        deadline_s = time.monotonic() + START_LIMIT_S
        while True:
            try:
                client.ping()
                break
            except (REDIS.module.RedisError, OSError) as error:
                if time.monotonic() > deadline_s:
                    self.close()
                    raise MachineError(
                        f"{SERVER} did not answer within {START_LIMIT_S:g} s", why=_last_line(folder) or str(error)
                    ) from error
                time.sleep(POLL_S)
        self.version = str(client.info("server")["redis_version"])
        client.close()

    def close(self) -> None:
        """End it; there is nothing that it would have to write."""
        self._bench.end(self._pid)
        os.close(self._folder)


def _become_server(folder: Path) -> int:
    """In the child: turn into the server, with nothing of ours open. Its log is a file in the folder."""
    os.chdir(folder)
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nothing, descriptor)
    settings = {
        "port": "0",
        "unixsocket": "redis.sock",
        "unixsocketperm": "700",
        "save": "",
        "appendonly": "no",
        "daemonize": "no",
        "logfile": "redis.log",
    }
    os.execlp(SERVER, SERVER, *(word for name, value in settings.items() for word in (f"--{name}", value)))  # noqa: S606


def _last_line(folder: Path) -> str:
    try:
        return (folder / "redis.log").read_text(errors="replace").strip().splitlines()[-1]
    except (OSError, IndexError):
        return ""


def _client(path: str) -> Any:
    """A connection that is made when it is first used, and waits for an answer as long as it takes.

    It tries nothing again, as redis-py would: a message must not be sent twice, nor a dead server waited for.
    """
    from redis.backoff import NoBackoff  # noqa: PLC0415  only where redis-py is
    from redis.retry import Retry  # noqa: PLC0415

    return REDIS.module.Redis(unix_socket_path=path, socket_timeout=None, retry=Retry(NoBackoff(), 0))


class RedisList:
    """RPUSH and BLPOP on a list of the run's own server, by redis-py: a request and its answer for each."""

    name: ClassVar[str] = "redis"
    title: ClassVar[str] = "Redis list, RPUSH and BLPOP"
    tasks: ClassVar[int] = 3

    def __init__(self, place: Place) -> None:
        if place.redis_socket is None:
            raise MachineError("there is no Redis server", why="none was started")
        self._path = place.redis_socket
        self._key = f"harness-{secrets.token_hex(8)}"

    @classmethod
    def available(cls) -> str | None:
        """See `Transport`."""
        if REDIS.problem:
            return REDIS.problem
        return None if shutil.which(SERVER) else f"{SERVER} is not on the PATH (Debian: apt install redis-server)"

    @property
    def room(self) -> str:
        """See `Transport`."""
        return "the server's memory"

    def sender(self) -> Send:
        """See `Transport`."""
        push, key = _client(self._path).rpush, self._key

        def send(payload: bytes) -> None:
            push(key, payload)

        return send

    def receiver(self) -> Receive:
        """See `Transport`."""
        pop, key = _client(self._path).blpop, [self._key]

        def receive() -> bytes:
            payload: bytes = pop(key)[1]
            return payload

        return receive

    def close(self) -> None:
        """Remove what nobody took; with a server that is gone, all of it is gone."""
        with suppress(REDIS.module.RedisError, OSError), _client(self._path) as client:
            client.delete(self._key)
