"""The front: each UDP datagram becomes one message on the queue, and its sender is told OK or ER.

    client ---datagram---> proxy ---msgsnd, type 1---> queue 0xc0049 ---> workers
           <--OK or ER----

Run `python lab.py`, and send with `nc -u 127.0.0.1 9999` from another terminal. `ipcs -q` shows what is queued.
"""

from __future__ import annotations

import argparse
import signal
import socket
import sys

import sysv_ipc

from harness.labkit import todo

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
    todo("6.1 make a UDP socket and bind it")


def read_datagram(sock: socket.socket, largest_bytes: int) -> tuple[bytes | None, Address]:
    """Wait for the next datagram: its bytes as they came, and its sender.

    None for one of more than `largest_bytes`: the kernel cuts what does not fit the buffer, and throws the rest away.
    """
    todo("6.2 read one datagram, and notice one that was cut")


def enqueue(queue: sysv_ipc.MessageQueue, payload: bytes) -> bool:
    """Put the payload on the queue as one message of type TYPE; returns whether it is there.

    Waits while the queue is full. If the kernel refuses (over msgmax, queue removed, no permission), nothing of the
    payload is on the queue, and the reason is one line on standard error.
    """
    todo("6.3 one message of type TYPE, or False and a line that says why")


def serve_one(sock: socket.socket, queue: sysv_ipc.MessageQueue, largest_bytes: int) -> None:
    """Take one datagram, put it on the queue, and only then answer its sender: OK if it is there, else ER."""
    todo("6.4 read, enqueue, answer, in this order")


def conclude(reply: bytes | None) -> set[str]:
    """What a client may be sure of that got this reply, or none within its patience (None).

    A set of QUEUED, NOT_QUEUED, PROCESSED and NOT_PROCESSED.
    """
    todo("6.5 say what each reply means")


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
