"""A quiz on msgrcv's third argument: here is what is in a queue; say which message each receive gets.

Run `python predict.py`, write your answers down, then run the command that it prints: its answers are the kernel's.
This file is finished; the model that you write is `predict` in lab.py.
"""

from __future__ import annotations

import argparse
import random
import sys

import sysv_ipc


def question(seed: int) -> tuple[list[int], list[int]]:
    """The types of 5 to 8 messages, and 5 selectors: 0, a type, or minus a type. The same for the same seed."""
    dice = random.Random(seed)
    types = [dice.randint(1, 4) for _ in range(dice.randint(5, 8))]
    selectors = [dice.choice([0, 1, 2, 3, 4, -1, -2, -3, -4, -5]) for _ in range(5)]
    return types, selectors


def ask_the_kernel(types: list[int], selectors: list[int]) -> list[int | None]:
    """Send and receive all that on a queue of our own, and remove it; the places of the messages that were got."""
    queue = sysv_ipc.MessageQueue(sysv_ipc.IPC_PRIVATE, sysv_ipc.IPC_CREX)
    try:
        for place, kind in enumerate(types):
            queue.send(bytes([place]), type=kind)
        answers: list[int | None] = []
        for selector in selectors:
            try:
                payload, _ = queue.receive(block=False, type=selector)
                answers.append(payload[0])
            except sysv_ipc.BusyError:
                answers.append(None)
    finally:
        queue.remove()
    return answers


def main(argv: list[str] | None = None) -> int:
    """Print the question, and with --answer what the kernel does; returns the exit status."""
    parser = argparse.ArgumentParser(description="Which message does each receive get?")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randint(1, 9999))
    parser.add_argument("--answer", action="store_true", help="show what the kernel does")
    options = parser.parse_args(argv)
    types, selectors = question(options.seed)
    print("place", *range(len(types)), sep="  ")
    print("type ", *types, sep="  ")
    for selector, place in zip(selectors, ask_the_kernel(types, selectors), strict=True):
        answer = "nothing" if place is None else f"place {place}, type {types[place]}"
        print(f"receive(type={selector:>2})  {answer if options.answer else '?'}")
    if not options.answer:
        print(f"the kernel's answers: python predict.py --seed {options.seed} --answer")
    return 0


if __name__ == "__main__":
    sys.exit(main())
