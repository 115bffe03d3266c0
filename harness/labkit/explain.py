"""What the kit itself says of a learner's code: what it raised, where it hung, how it died, what it left.

Each answer is a Teach. What a check finds out by its own asserts it says itself; this is for all that no check expects.
Used by verdict.py and checking.py.
"""

from __future__ import annotations

import errno
import linecache
import re
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.labkit.teach import Teach

if TYPE_CHECKING:
    from harness.labkit.apart import Ending


def processes_left(left: list[str]) -> Teach:
    """What is told when a check ended and processes of its code went on."""
    return Teach(
        saw=f"when the check ended, {len(left)} of your processes still ran: {'; '.join(left[:3])}",
        because="a child does not end with its parent: it goes on as an orphan, and takes messages from the next run",
        try_="end every child that you start, and wait for it: os.kill, then os.waitpid",
        see="labs/11_supervisor/README.md",
    )


def fork_came_back() -> Teach:
    """What is told when a forked child returned into the check."""
    return Teach(
        saw="a child that your code forked came back out of your function, and ran the rest of the check too",
        because="after os.fork both processes go on from the same line, and only os._exit stops the child there",
        try_="in the child: try: ... finally: os._exit(status)",
        see="https://docs.python.org/3/library/os.html#os._exit",
    )


def raised(error: BaseException, frame: tuple[str, int, str], file: Path) -> Teach:
    """What is told of an exception that came out of the learner's `file`, at the (file, line, function) `frame`."""
    _, line, function = frame
    source = linecache.getline(str(file), line).strip()
    where = f"{file.name} line {line}" + (f", in {function}" if function != "<module>" else "")
    because, try_ = _words_for(error)
    return Teach(
        saw=f"{_kind(error)}: {error}" if str(error) else _kind(error),
        because=because,
        try_=try_,
        see=f"{where}: {source}",
    )


def _kind(error: BaseException) -> str:
    kind = type(error)
    return kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__name__}"


_OF_SYSV_IPC = {
    "sysv_ipc.ExistentialError": (
        "the kernel answered ENOENT, EEXIST or EIDRM: there is no such queue, there is one already, or it was removed",
        "ask which queue your code means at this line, and whether it exists at that moment",
    ),
    "sysv_ipc.BusyError": (
        "the kernel answered EAGAIN (no room) or ENOMSG (no message that was asked for), and the call does not wait",
        "catch sysv_ipc.BusyError, or let the call wait",
    ),
    "sysv_ipc.PermissionsError": (
        "the kernel answered EACCES: the queue's mode does not allow this",
        "look at the mode and the owner: ipcs -q",
    ),
    "sysv_ipc.Error": (
        "the kernel answered EINTR: a signal's handler ran while the call slept, and the call was given up",
        "look at your flag, and make the call again",
    ),
}
"""(because, try) for what sysv_ipc raises, which carries no errno and says little; facts of its version 1.2."""


def _words_for(error: BaseException) -> tuple[str, str]:
    """(because, try) for an exception that nobody expected."""
    if _kind(error) in _OF_SYSV_IPC:
        return _OF_SYSV_IPC[_kind(error)]
    if isinstance(error, SystemExit):
        return "your code ended the program (sys.exit) in a function that the check called", "return a value instead"
    if isinstance(error, OSError) and error.errno == errno.E2BIG:
        return (
            "the kernel answered E2BIG: the message is larger than the buffer, and it stays at the head of the queue",
            "make the queue object with a max_message_size as large as msgmax",
        )
    if isinstance(error, ValueError) and "max_message_size" in str(error):
        return (
            "sysv_ipc refuses to send more than max_message_size bytes, 2048 unless you say otherwise",
            "give max_message_size when you make the queue object",
        )
    return (
        "your code raised it, and nothing caught it; the check expected it to go through",
        "read the line named below, and what each name in it is at that moment",
    )


def still_open(words: str) -> Teach:
    """What is told of a todo where it counts as wrong (--grade, --solutions)."""
    number = words.split(maxsplit=1)[0]
    return Teach(
        saw=f"task {words} is still open",
        because="the check met its todo(...)",
        try_="write it, and take the todo line away",
        see=f"harness lab hint {number}",
    )


_OF_WAITS = {
    "msgsnd": (
        "msgsnd sleeps until the queue has room for the message",
        "find out who should make room, and does not",
    ),
    "msgrcv": (
        "msgrcv sleeps until there is a message that it selects",
        "find out who should have sent that message, or whether you ask for the wrong type",
    ),
    "": (
        "a loop that never ends, or a wait for something that does not come",
        "say aloud what ends each loop, and what each wait is for",
    ),
}
"""(because, try) for a check that did not end, by the queue call that it sleeps in."""


def hung(ending: Ending[Any], file: Path, limit_s: float) -> Teach:
    """What is told of a check that was killed after `limit_s` seconds; `ending.seen` are evidence.py's sentences."""
    waiting: list[str] = ending.seen or []
    call = next((name for name in ("msgsnd", "msgrcv") if waiting and name in waiting[0]), "")
    because, try_ = _OF_WAITS[call]
    frames = learners_frames(ending.stack, file)
    return Teach(
        saw=f"no end within {limit_s:g} s: {'; '.join(waiting[:3]) or 'none of its processes sleeps in a queue call'}",
        because=because,
        try_=try_,
        see=frames[0] if frames else "README.md",
    )


def died(ending: Ending[Any], file: Path) -> Teach:
    """What is told of a check whose process ended in the middle: `ending.status` is as subprocess has it."""
    if ending.status >= 0:
        return Teach(
            saw=f"the process that ran your code ended with status {ending.status}, in the middle of the check",
            because="os._exit ends the process that calls it, at once, whoever that is",
            try_="call os._exit only in a child that you forked",
            see=file.name,
        )
    name = signal.Signals(-ending.status).name
    crashed = name in ("SIGSEGV", "SIGABRT")
    return Teach(
        saw=f"the process that ran your code died of {name}",
        because="sysv_ipc 1.2 crashes when send gets something that is not bytes"
        if crashed
        else "a signal that nobody handles ends a process",
        try_="hand only bytes to send, and an int as its type"
        if crashed
        else "look for os.kill in your code: whom does it name?",
        see=file.name,
    )


def learners_frames(stack: str, file: Path) -> list[str]:
    """The lines of a C-level stack (faulthandler's) that stand in the learner's file, innermost first."""
    found = re.findall(r'File "(.+)", line (\d+) in (.+)', stack)
    return [
        f"{file.name} line {line}, in {function}: {linecache.getline(str(file), int(line)).strip()}"
        for name, line, function in found
        if Path(name) == file
    ]
