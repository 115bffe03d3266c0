"""What learners' code does wrong: each ends in four lines that teach, within seconds; the next check starts clean."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from harness.labkit import Teach

if TYPE_CHECKING:
    from tests.labkit.conftest import Labs

CHECKS = """
KEY = 0x3034

@task("1.1")
@limit(1.5)
def test_it(lab):
    \"\"\"`answer` gives 42.\"\"\"
    assert lab.answer(KEY) == 42, Teach(saw="s", because="it is not 42", try_="t", see="e")

@task("1.2")
def test_next(lab):
    \"\"\"The next check starts clean: no queue but somebody else's, no child.\"\"\"
    from harness.sysv import queues
    from harness.labkit.apart import children_of
    assert [hex(queue.key) for queue in queues()] == ["0x62797374"]
    assert children_of(os.getpid()) == []
"""

CASES = {
    "endless loop": (
        "while True: pass",
        "no end within 1.5 s: none of its processes sleeps in a queue call",
        "a loop that never ends",
        "lab.py line 4, in answer: while True: pass",
    ),
    "waits for a type that never comes": (
        "q = sysv_ipc.MessageQueue(key, sysv_ipc.IPC_CREAT); q.send(b'x'); q.send(b'y'); q.receive(type=7)",
        "your code sleeps in msgrcv for type 7 on queue 0x00003034, which holds 2 messages, none of it: 2 of type 1",
        "msgrcv sleeps until there is a message that it selects",
        "lab.py line 4, in answer",
    ),
    "fills the queue": (
        "q = sysv_ipc.MessageQueue(key, sysv_ipc.IPC_CREAT); [q.send(bytes(1000)) for _ in range(10**6)]",
        "your code sleeps in msgsnd of 1000 bytes to queue 0x00003034, which holds 16 messages, 16000 of 16384 bytes",
        "msgsnd sleeps until the queue has room",
        "lab.py line 4, in <listcomp>|lab.py line 4, in answer",
    ),
    "a child hangs": (
        "if os.fork() == 0:\n        sysv_ipc.MessageQueue(key, sysv_ipc.IPC_CREAT).receive()\n    os.wait()",
        r"process \d+ sleeps in msgrcv for any type on queue 0x00003034, which is empty",
        "msgrcv sleeps until",
        "lab.py line 6, in answer: os.wait",
    ),
    "prints instead of returning": (
        "print(42)",
        "answer.. returned None, and printed '42'",
        "printing shows a value to people, `return` hands it to the caller; its signature promises int",
        "starter.py",
    ),
    "forgets return": (
        "42",
        "answer.. returned None$",
        "a function that ends without `return` gives None",
        "starter.py",
    ),
    "wrong value": ("return 41", "s", "it is not 42", "e"),
    "raises": ("return {}[1]", "KeyError: 1", "your code raised it", "lab.py line 4, in answer: return {}.1."),
    "raises sysv_ipc's": (
        "return sysv_ipc.MessageQueue(key)",
        "sysv_ipc.ExistentialError",
        "the kernel answered ENOENT, EEXIST or EIDRM",
        "lab.py line 4",
    ),
    "exits": ("sys.exit(0)", "SystemExit: 0", "your code ended the program .sys.exit.", "lab.py line 4"),
    "ends the process": ("os._exit(0)", "ended with status 0, in the middle", "os._exit ends the process", "lab.py"),
    "kills itself": ("os.kill(os.getpid(), 9)", "died of SIGKILL", "a signal that nobody handles", "lab.py"),
    "crashes": ("os.kill(os.getpid(), 11)", "died of SIGSEGV", "sysv_ipc 1.2 crashes when send gets", "lab.py"),
    "leaves a queue": (
        "sysv_ipc.MessageQueue(key, sysv_ipc.IPC_CREX); return 42",
        r"your code had left 1 queue behind: 0x00003034 \(id \d+, 0 messages\)",
        "a queue lives in the kernel until somebody removes it",
        "ipcs -q",
    ),
    "leaves a child": (
        "subprocess.Popen(['sleep', '4321']); return 42",
        "1 of your processes still ran: sleep 4321",
        "a child does not end with its parent",
        "labs/11_supervisor/README.md",
    ),
    "leaves a grandchild": (
        "subprocess.run(['setsid', '--fork', 'sleep', '4321']); return 42",
        "1 of your processes still ran: sleep 4321",
        "a child does not end with its parent",
        "labs/11",
    ),
    "a fork comes back": (
        "os.fork(); return 42",
        "a child that your code forked came back",
        "after os.fork both processes go on",
        "os._exit",
    ),
    "removes somebody else's queue": (
        "sysv_ipc.MessageQueue(0x62797374).remove(); return 42",
        "the queue 0x62797374 had one message before the check",
        "that queue belongs to somebody else",
        "labs/12_hygiene/README.md",
    ),
    "takes somebody else's message": (
        "sysv_ipc.MessageQueue(0x62797374).receive(); return 42",
        "the queue 0x62797374 had one message before the check",
        "that queue belongs to somebody else",
        "labs/12_hygiene/README.md",
    ),
}


@pytest.mark.parametrize(("code", "saw", "because", "see"), CASES.values(), ids=CASES)
def test_wrong_code_is_told(code: str, saw: str, because: str, see: str, labs: Labs) -> None:
    """The check is red with four lines that teach, no traceback of the kit's, and the next check starts clean."""
    head = "import os, subprocess, sys, sysv_ipc\n\n"
    labs.add("01_one", checks=CHECKS, starter="", mine=f"{head}def answer(key) -> int:\n    {code}\n")

    begun_s = time.monotonic()
    found = labs.run("labs")
    took_s = time.monotonic() - begun_s

    told = Teach.found_in(found.text)
    assert told is not None, found.text
    assert re.search(saw, told[0].saw), told[0]
    assert re.search(because, told[0].because), told[0]
    assert re.search(see, told[0].see), told[0]
    assert found.last_line == "1 failed, 1 passed"
    assert "harness/labkit" not in found.text
    assert "Traceback" not in found.text
    assert took_s < 15


def test_what_was_left_running_is_gone(labs: Labs) -> None:
    """A process that a check's code left is ended, also when it is in a session of its own."""
    mine = f"""
    import subprocess

    def answer(key) -> int:
        subprocess.Popen(["sleep", "4321"], start_new_session=True, cwd={str(labs.root)!r})
        return 42
    """
    labs.add("01_one", checks=CHECKS, starter="", mine=mine)

    labs.run("labs")

    assert str(labs.root) not in {_cwd(process) for process in Path("/proc").glob("[0-9]*")}


def _cwd(process: Path) -> str:
    try:
        return str((process / "cwd").readlink())
    except OSError:
        return ""


def test_a_syntax_error_is_told(labs: Labs) -> None:
    """A lab.py that does not compile: its line, what Python says, and every check is red."""
    labs.add("01_one", checks=CHECKS, starter="", mine="def answer(key) -> int:\n    return (42\n")

    found = labs.run("labs")

    told = Teach.found_in(found.text)
    assert told is not None
    assert told[0].saw == "lab.py line 2 cannot be read: return (42"
    assert told[0].because == "Python says: '(' was never closed"
    assert found.last_line == "2 failed"


def test_a_missing_function_is_told(labs: Labs) -> None:
    """A function that the checks call and the file does not have is named."""
    labs.add("01_one", checks=CHECKS, starter="", mine="def anwser(key) -> int:\n    return 42\n")

    found = labs.run("labs")

    told = Teach.found_in(found.text)
    assert told is not None
    assert told[0].saw == "lab.py has no `answer`"


def test_the_comparison_stands_below(labs: Labs) -> None:
    """Below the four lines stands pytest's own comparison."""
    labs.add("01_one", checks=CHECKS, starter="", mine="def answer(key) -> int:\n    return 41\n")

    found = labs.run("labs")

    assert re.search(r"^see: +e\nassert 41 == 42$", found.text, re.MULTILINE)


def test_a_warning_is_no_failure(labs: Labs) -> None:
    """A forgotten socket or a deprecated call fails no check, however strict the project's filters are."""
    mine = """
    import socket, warnings

    def answer(key) -> int:
        socket.socket()
        warnings.warn("old", DeprecationWarning)
        return 42
    """
    labs.add("01_one", checks=CHECKS, starter="", mine=mine)
    with (labs.root / "pytest.ini").open("a") as file:
        file.write("filterwarnings = error\n")

    found = labs.run("labs")

    assert found.last_line == "2 passed", found.text
