"""The front: each UDP datagram becomes one message on the queue, and its sender is told OK or ER.

    client ---datagram---> proxy ---msgsnd, type 1---> queue 0xc0049 ---> workers
           <--OK or ER----

Run `python solution.py`, and send with `nc -u 127.0.0.1 9999` from another terminal. `ipcs -q` shows what is queued.
"""

from __future__ import annotations

import argparse
import signal
import socket
import sys

import sysv_ipc

KEY = 0o3000111  # 0xc0049, the key of the original: in PHP a leading 0 means octal, as in C
TYPE = 1
LARGEST_BYTES = 8192  # what the workers' buffer holds; also the kernel's own msgmax
OK, ER = b"OK\n", b"ER\n"

Address = tuple[str, int]  # host and port

# What a client may conclude from a reply.
QUEUED = "the message was put on the queue"
NOT_QUEUED = "the message was not put on the queue"
PROCESSED = "a worker has processed it"
NOT_PROCESSED = "no worker has processed it"


def listen(host: str, port: int) -> socket.socket:
    """A UDP socket that is bound to this address (port 0: any free one), and that shares it with nobody.

    Raises OSError if the address cannot be had, and leaves no socket open then.
    """
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    # No SO_REUSEADDR: for UDP it lets two programs have one port, and only the last to bind gets the datagrams.
    try:
        sock.bind((host, port))
    except OSError:
        sock.close()
        raise
    return sock


def read_datagram(sock: socket.socket, largest_bytes: int) -> tuple[bytes | None, Address]:
    """Wait for the next datagram: its bytes as they came, and its sender.

    None for one of more than `largest_bytes`: the kernel cuts what does not fit the buffer, and throws the rest away.
    """
    payload, _, flags, sender = sock.recvmsg(largest_bytes)
    if flags & socket.MSG_TRUNC:
        return None, sender
    return payload, sender


def enqueue(queue: sysv_ipc.MessageQueue, payload: bytes) -> bool:
    """Put the payload on the queue as one message of type TYPE; returns whether it is there.

    Waits while the queue is full. If the kernel refuses (over msgmax, queue removed, no permission), nothing of the
    payload is on the queue, and the reason is one line on standard error.
    """
    try:
        queue.send(payload, type=TYPE)
    except (OSError, sysv_ipc.Error) as error:  # EINVAL comes as OSError, the rest as the module's own
        print(f"not queued, {len(payload)} bytes: {error}", file=sys.stderr)
        return False
    return True


def serve_one(sock: socket.socket, queue: sysv_ipc.MessageQueue, largest_bytes: int) -> None:
    """Take one datagram, put it on the queue, and only then answer its sender: OK if it is there, else ER."""
    payload, sender = read_datagram(sock, largest_bytes)
    # `is None`, as the empty datagram is false too, and a message like any other.
    queued = payload is not None and enqueue(queue, payload)
    sock.sendto(OK if queued else ER, sender)


def conclude(reply: bytes | None) -> set[str]:
    """What a client may be sure of that got this reply, or none within its patience (None).

    A set of QUEUED, NOT_QUEUED, PROCESSED and NOT_PROCESSED.
    """
    if reply == OK:
        return {QUEUED}  # a worker may have it by now, or never get to it
    if reply == ER:
        return {NOT_QUEUED, NOT_PROCESSED}
    return set()  # the proxy may sleep before a full queue, or have died just before it answered


def main(argv: list[str] | None = None) -> int:
    """Run the proxy until it is killed (Ctrl-C); returns the exit status. The queue stays: the workers need it."""
    parser = argparse.ArgumentParser(description="UDP datagrams to a System V message queue.")
    parser.add_argument("--bind", default="127.0.0.1", metavar="HOST")
    parser.add_argument("--port", type=int, default=9999)
    parser.add_argument("--key", type=lambda text: int(text, 0), default=KEY)
    parser.add_argument("--mode", type=lambda text: int(text, 8), default=0o600)
    parser.add_argument("--largest", type=int, default=LARGEST_BYTES, metavar="BYTES")
    options = parser.parse_args(argv)
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # no traceback: there is nothing to put in order
    try:
        sock = listen(options.bind, options.port)
    except OSError as error:
        print(f"cannot bind {options.bind}:{options.port}: {error.strerror}", file=sys.stderr)
        return 1
    # Bound first: who cannot have the port leaves no queue behind.
    queue = sysv_ipc.MessageQueue(options.key, sysv_ipc.IPC_CREAT, options.mode, max_message_size=options.largest)
    host, port = sock.getsockname()
    print(f"listening on udp://{host}:{port}", flush=True)
    while True:
        serve_one(sock, queue, options.largest)


if __name__ == "__main__":
    sys.exit(main())
