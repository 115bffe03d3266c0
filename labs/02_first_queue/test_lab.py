"""The checks of lab 02: `pytest labs/02_first_queue`.

Queues are real ones, in a namespace of the check's own; `ipcs -q` and the C library's ftok are asked for the truth.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import sysv_ipc

from harness.labkit import Teach, limit, task, wait_until
from harness.sysv import queues

KEY = 0xC0049
OTHER = 0x77
DO = "README.md, Do"
KEYS = "README.md, Keys"
LISTING = Path("/proc/sysvipc/msg")


def messages_in(key: int) -> int | None:
    """How many messages the queue with this key holds; None if there is no such queue."""
    return next((queue.messages for queue in queues() if queue.key == key), None)


def what_came(call, *arguments):
    """What a call returned, or the name of sysv_ipc's error that it raised."""
    try:
        return call(*arguments)
    except sysv_ipc.ExistentialError:
        return "ExistentialError"


@pytest.fixture
def queue():
    """A queue with the lab's key, made by the check; it is removed at the end, if it is still there."""
    made = sysv_ipc.MessageQueue(KEY, sysv_ipc.IPC_CREX, max_message_size=8192)
    yield made
    if messages_in(KEY) is not None:
        made.remove()


# --- 2.1 -------------------------------------------------------------------------------------------------------------


@task("2.1")
def test_open_existing_finds_a_queue_and_never_makes_one(lab, queue):
    """`open_existing` gives the queue that has the key; where there is none, it raises ExistentialError."""
    found = lab.open_existing(KEY)
    missing = what_came(lab.open_existing, OTHER)

    assert found.id == queue.id, Teach(
        saw=f"the queue with the key has the id {queue.id}, and open_existing gave the one with id {found.id}",
        because="a key names one queue; all who call msgget with it get the same id",
        try_="hand the key on to msgget as it is",
        see=DO,
    )
    assert missing == "ExistentialError", Teach(
        saw=f"no queue had the key 0x{OTHER:x}, and open_existing gave one",
        because="with IPC_CREAT msgget makes the queue that is not there: a wrong key then gives an empty queue, in "
        "which you wait for ever",
        try_="which flags ask only for what is there?",
        see=DO,
    )


@task("2.1")
def test_open_or_create_makes_one_queue_however_often_it_is_called(lab):
    """`open_or_create` makes the queue, with the mode; from then on it finds that queue, and changes nothing."""
    made = lab.open_or_create(KEY, 0o640)
    first_mode = made.mode
    found = what_came(lab.open_or_create, KEY, 0o600)

    assert found != "ExistentialError", Teach(
        saw="the first open_or_create made the queue, the second raised ExistentialError",
        because="IPC_EXCL says: only if it is new; whoever comes second is refused then, and the second worker is one",
        try_="leave IPC_EXCL out",
        see=DO,
    )
    assert found.id == made.id, Teach(
        saw=f"two calls with one key gave the queues {made.id} and {found.id}",
        because="IPC_CREAT makes a queue only where none has the key; only IPC_PRIVATE gives a new one at each call",
        try_="hand the key on to msgget as it is",
        see=DO,
    )
    assert (first_mode, found.mode) == (0o640, 0o640), Teach(
        saw=f"made with mode 640, opened with mode 600: its mode was {first_mode:o}, then {found.mode:o}",
        because="whoever makes a queue sets its mode; from those who open it later, a mode is what they ask leave for",
        try_="hand the mode on to msgget",
        see=DO,
    )
    made.remove()


@task("2.1")
def test_create_new_is_refused_where_there_is_a_queue(lab, queue):
    """`create_new` raises ExistentialError where the key is taken; else it makes a queue with the mode."""
    try:
        taken = what_came(lab.create_new, KEY, 0o600)
        made = what_came(lab.create_new, OTHER, 0o640)
    except ValueError as error:
        taken = made = str(error)

    assert taken == "ExistentialError", Teach(
        saw=f"a queue had the key already, and create_new gave {taken!r}",
        because="IPC_CREAT alone opens what is there, with another program's messages in it; IPC_EXCL turns that into "
        "an error, and means something only together with IPC_CREAT",
        try_="two flags become one number with |",
        see=DO,
    )
    assert (made != "ExistentialError" and made.mode) == 0o640, Teach(
        saw=f"the key was free, and create_new(0x77, 0o640) gave {made!r}",
        because="a new queue has the permissions that its maker names, as a new file has",
        try_="both flags, and the mode",
        see=DO,
    )
    made.remove()


@task("2.1")
def test_create_private_makes_a_queue_that_has_no_key(lab):
    """`create_private` makes another queue at each call; its key is 0, so that nobody finds it by name."""
    made = [lab.create_private(0o640), lab.create_private(0o640)]

    keys, ids, modes = zip(*((queue.key, queue.id, oct(queue.mode)) for queue in made), strict=True)
    for queue in made:
        queue.remove()
    assert keys == (0, 0), Teach(
        saw=f"the two private queues have the keys {keys[0]} and {keys[1]}",
        because="only key 0, IPC_PRIVATE, names nothing; sysv_ipc's None draws a key below 32768, which any program "
        "can find, or draw as well",
        try_="the key itself is what makes a queue private: sysv_ipc has a name for it",
        see=KEYS,
    )
    assert ids[0] != ids[1] and modes == ("0o640", "0o640"), Teach(  # noqa: PT018 - one thing: two queues as asked
        saw=f"two calls with mode 640 gave the ids {ids} with the modes {modes}",
        because="with IPC_PRIVATE each msgget makes a new queue, with the mode that it is given",
        try_="call msgget anew each time, with the mode",
        see=DO,
    )


@task("2.1")
@limit(10)
def test_the_program_creates_a_queue_once(stage):
    """`create` makes the queue of `--key` with `--mode` and prints its id; once more, it is refused, with status 1."""
    first = stage.run("create")
    statuses = [first.wait()]
    others = [stage.run("create", "--mode", "640"), stage.run("receive", "--key", "0x77")]
    statuses += [program.wait() for program in others]

    made = stage.queue(KEY)
    assert (made and f"{made.mode:o}", statuses) == ("600", [0, 1, 1]), Teach(
        saw=f"`create`, again `create --mode 640`, and `receive --key 0x77` ended with {statuses}; the queue is {made}",
        because="the second is refused, as the key is taken, and the third, as no queue has its key",
        try_="see what the other checks of this task say; leave KEY and main as starter.py has them",
        see="starter.py, main",
    )
    refusals = [program.errors for program in others]
    is_said = [text.count("\n") == 1 and "exists" in text for text in refusals]
    assert (first.output, is_said) == (f"id {made.id}\n", [True, True]), Teach(
        saw=f"the first wrote {first.output!r}, and on standard error the others {[text[-90:] for text in refusals]}",
        because="the second is refused, as the key is taken, and the third, as no queue has its key: a line each",
        try_="see what the other checks of this task say; leave main as starter.py has it",
        see="starter.py, main",
    )
    sysv_ipc.MessageQueue(KEY).remove()


# --- 2.2 -------------------------------------------------------------------------------------------------------------


@task("2.2")
def test_put_adds_one_message_with_the_text(lab, queue):
    """`put` adds one message: the text as UTF-8 and nothing else, with type 1."""
    lab.put(queue, "Grüße")

    count = queue.current_messages
    assert count == 1, Teach(
        saw=f"after one put the queue holds {count} messages",
        because="one call of msgsnd is one message",
        try_="call queue.send once",
        see=DO,
    )
    data, kind = queue.receive()
    assert (bytes(data), kind) == ("Grüße".encode(), 1), Teach(
        saw=f"put(queue, 'Grüße') sent the bytes {bytes(data)!r} with type {kind}",
        because="the kernel carries bytes and a number; what they mean, both sides must agree on: here UTF-8 and 1",
        try_="text.encode()",
        see=DO,
    )


@task("2.2")
def test_take_gives_the_oldest_text_and_does_not_wait(lab, queue):
    """`take` removes the oldest message and gives its text; it gives None at once when the queue is empty."""
    for text in ["erste Grüße", "second"]:
        queue.send(text.encode())

    took = [lab.take(queue) for _ in range(2)]
    nothing = lab.take(queue)

    assert took == ["erste Grüße", "second"], Teach(
        saw=f"'erste Grüße' and 'second' were sent, and two calls of take gave {took}",
        because="msgrcv with type 0 takes the message that was sent first, and takes it away; receive gives a pair, "
        "bytes and type, and the bytes are UTF-8",
        try_="data, kind = queue.receive(...), then data.decode()",
        see=DO,
    )
    assert nothing is None, Teach(
        saw=f"the queue was empty, and take gave {nothing!r}",
        because="an empty message is a message too; only None can say that there was none",
        try_="return None where sysv_ipc raises BusyError",
        see=DO,
    )


@task("2.2")
def test_take_tells_an_empty_queue_from_one_that_is_gone(lab, queue):
    """`take` raises ExistentialError when the queue was removed: that is not the same as empty."""
    queue.remove()

    outcome = what_came(lab.take, queue)

    assert outcome == "ExistentialError", Teach(
        saw=f"the queue was removed, and take gave {outcome!r}",
        because="an empty queue may get a message in a moment, a removed one never; who takes the two for one polls a "
        "queue that is gone, for ever",
        try_="catch sysv_ipc.BusyError alone: its parent sysv_ipc.Error catches them all",
        see=DO,
    )


@task("2.2")
def test_remove_takes_the_queue_and_its_messages_away(lab, queue):
    """`remove` says True and the queue is gone, with the message in it; it says False where there is none."""
    queue.send(b"never taken")

    answers = [what_came(lab.remove, KEY)]
    left = messages_in(KEY)
    answers.append(what_came(lab.remove, KEY))

    assert left is None, Teach(
        saw=f"after remove the queue is still there, with {left} messages",
        because="closing and ending leave a queue as it is; only msgctl with IPC_RMID takes it away, messages and all",
        try_="find the queue by its key, then call its remove()",
        see=DO,
    )
    assert answers == [True, False], Teach(
        saw=f"remove of a queue, and then of none, gave {answers}",
        because="whoever cleans up may come second: that there is nothing left to remove is an answer, not a failure",
        try_="catch sysv_ipc.ExistentialError",
        see=DO,
    )


@task("2.2")
@limit(10)
def test_a_queue_outlives_its_process(stage):
    """The program `send` has ended, and `ipcs -q` shows its message; `receive` gets it, and `remove` ends the queue."""
    other = stage.run("send", "not this one", "--key", "0x77", "--mode", "640")
    sent = stage.run("send", "hello")
    statuses = [other.wait(), sent.wait()]
    listed = [row for row in stage.ipcs() if row[0] in ("0x000c0049", "0x00000077")]

    seen = sorted((key, perms, used, count) for key, _, _, perms, used, count in listed)
    assert (statuses, seen) == ([0, 0], [("0x00000077", "640", "12", "1"), ("0x000c0049", "600", "5", "1")]), Teach(
        saw=f"`send` ended with {statuses}, and then ipcs -q showed {seen or 'neither queue'}",
        because="a queue belongs to the kernel, not to a process: its maker ends, and it stays, messages and all",
        try_="do not remove the queue where the sender ends",
        see="README.md, Look back",
    )
    received = stage.run("receive")
    received.wait()
    assert received.output == "hello\n", Teach(
        saw=f"`receive`, started when `send` had ended, wrote {received.output!r} {received.errors!r}",
        because="the two never ran at one time; all that they share is the key",
        try_="put and take use the queue that they are handed",
        see=DO,
    )
    removed = [stage.run("remove"), stage.run("remove", "--key", "0x77")]
    wait_until(lambda: all(program.status == 0 for program in removed), "both `remove` to end with status 0")
    late = stage.run("remove")
    late.wait()
    words = [program.output for program in [*removed, late]]
    left = [row[0] for row in stage.ipcs() if row[0] in ("0x000c0049", "0x00000077")]
    assert (left, words) == ([], ["removed\n", "removed\n", "there is none\n"]), Teach(
        saw=f"`remove` of both queues, and of one once more, said {words}; ipcs -q then showed {left or 'neither'}",
        because="only msgctl with IPC_RMID removes a queue, and then no key leads to it any more",
        try_="remove finds the queue by the key and removes it",
        see=DO,
    )


# --- 2.3 -------------------------------------------------------------------------------------------------------------


@task("2.3")
@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("03000111", 786505),
        ("0x03000111", 50331921),
        ("3000111", 3000111),
        ("786505", 0xC0049),
        ("0xC0049", 786505),
        ("0o3000111", 786505),
        ("1", 1),
        ("0xffffffff", 0xFFFFFFFF),
    ],
)
def test_the_same_digits_can_be_three_keys(lab, text, key):
    """`key_from` reads a literal as PHP and C do: 0x is hex, a leading 0 is octal, the rest is decimal."""
    found = key_from(lab, text)

    assert found == key, Teach(
        saw=f"key_from({text!r}) gave {found!r}; PHP's `msg_get_queue({text})` uses the key {key}, 0x{key:08x}",
        because="a leading 0 means octal in PHP and C; read as decimal or hex the digits are another key, so another "
        "queue, in which nobody else is, and no error says so",
        try_="int(text, 0) knows all but the old octal; int(text, 8) is for that",
        see=KEYS,
    )


@task("2.3")
@pytest.mark.parametrize("text", ["0", "00", "0x100000000", "-1", "hello", "089", ""])
def test_what_names_no_queue_is_refused(lab, text):
    """`key_from` raises ValueError for what is no number, for 0, and for what does not fit into 32 bits."""
    found = key_from(lab, text)

    assert found == "ValueError", Teach(
        saw=f"key_from({text!r}) gave {found!r}",
        because="0 is IPC_PRIVATE, which names no queue; and sysv_ipc cuts a number to 32 bits without a word, so that "
        "0x100000005 is the queue of 5",
        try_="compare the number with 1 and with LARGEST_KEY, and raise ValueError",
        see=KEYS,
    )


def key_from(lab, text):
    try:
        return lab.key_from(text)
    except ValueError:
        return "ValueError"


@task("2.3")
@pytest.mark.parametrize("key", [5, KEY, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFB])
def test_a_key_reads_as_ipcs_prints_it(lab, stage, key):
    """`as_ipcs` of a key is what the real `ipcs -q` shows for its queue, also where the kernel's number is negative."""
    made = sysv_ipc.MessageQueue(key, sysv_ipc.IPC_CREX)
    words = next(row[0] for row in stage.ipcs() if row[1] == str(made.id))
    made.remove()

    mine = [lab.as_ipcs(key), lab.as_ipcs(made.key)]

    assert mine == [words, words], Teach(
        saw=f"ipcs shows {words}; as_ipcs gave {mine[0]} for {key}, and {mine[1]} for queue.key, {made.key}",
        because="the kernel's key is a signed 32-bit number, which ipcs prints as eight hex digits without a sign",
        try_="key & LARGEST_KEY gives the same 32 bits without a sign",
        see=KEYS,
    )


@task("2.3")
@limit(10)
def test_the_program_tells_what_a_literal_means(stage):
    """`key 03000111` prints the number, and the key as ipcs shows it; `key 0` is refused, with status 2."""
    programs = [stage.run("key", "03000111"), stage.run("key", "0")]
    statuses = [program.wait() for program in programs]

    assert (statuses, programs[0].output, programs[1].output) == ([0, 2], "786505 0x000c0049\n", ""), Teach(
        saw=f"`key 03000111` and `key 0` ended with {statuses}, and wrote {[program.output for program in programs]}",
        because="the original's key is 03000111 in its source and 0x000c0049 in ipcs: one number, written twice",
        try_="leave main as starter.py has it",
        see=KEYS,
    )


# --- 2.4 -------------------------------------------------------------------------------------------------------------


def status_of(inode: int, device: int) -> os.stat_result:
    """The status of a file with this inode number on this device."""
    return os.stat_result((0o100600, inode, device, 1, 0, 0, 0, 0, 0, 0))


FTOK_BECAUSE = "a key has 32 bits: ftok gives 8 to the project, 8 to st_dev, 16 to st_ino; the higher bits are lost"


@task("2.4")
@pytest.mark.parametrize("project", [1, 0x42, 0xFF, 0x142])
def test_ftok_is_the_c_librarys(lab, tmp_path, project):
    """`ftok` gives what the C library gives for real files, a key without a sign."""
    for path in [tmp_path, Path(__file__), Path("/"), Path("/proc")]:
        status = path.stat()
        theirs = sysv_ipc.ftok(str(path), project, silence_warning=True) & 0xFFFFFFFF
        mine = lab.ftok(status, project)

        assert mine == theirs, Teach(
            saw=f"for inode 0x{status.st_ino:x}, device 0x{status.st_dev:x}, project 0x{project:x} the C library "
            f"gives 0x{theirs:08x}, and yours 0x{mine:x}",
            because=FTOK_BECAUSE,
            try_="cut each of the three with &, shift it to its place with <<, and join them with |",
            see=KEYS,
        )


@task("2.4")
@pytest.mark.parametrize(
    ("what", "inode", "device", "project"),
    [
        ("inode numbers 65536 apart", 0x1BEEF, 0x12, 0x34),
        ("device numbers 256 apart", 0xBEEF, 0x112, 0x34),
        ("project numbers 256 apart", 0xBEEF, 0x12, 0x134),
    ],
)
def test_two_files_can_have_one_key(lab, what, inode, device, project):
    """Files (or projects) that differ only in the higher bits get the same key: they share a queue."""
    first = lab.ftok(status_of(0xBEEF, 0x12), 0x34)
    second = lab.ftok(status_of(inode, device), project)

    assert first == 0x3412BEEF == second, Teach(
        saw=f"{what}: the keys are 0x{first:x} and 0x{second:x}; the C library gives 0x3412beef for both",
        because=FTOK_BECAUSE,
        try_="cut before you shift: & 0xff for eight bits, & 0xffff for sixteen",
        see=KEYS,
    )


@task("2.4")
def test_a_file_that_is_saved_anew_has_another_key(lab, tmp_path):
    """A new file under the old name has another inode number, and so another key."""
    settings, new = tmp_path / "settings", tmp_path / "settings.new"
    settings.touch()
    new.touch()
    before = settings.stat()
    new.replace(settings)  # as many editors save
    after = settings.stat()

    keys = [lab.ftok(before, 1), lab.ftok(after, 1)]

    assert keys[0] != keys[1], Teach(
        saw=f"inode {before.st_ino}, then inode {after.st_ino}: the keys 0x{keys[0]:08x} and 0x{keys[1]:08x}",
        because="the key is made of the inode number, not of the name: who saves the file anew moves the queue away",
        try_="the low 16 bits of status.st_ino are the low 16 bits of the key",
        see=KEYS,
    )


# --- 2.5 -------------------------------------------------------------------------------------------------------------


@task("2.5")
def test_rows_show_what_ipcs_shows(lab, stage, queue):
    """`rows` of /proc/sysvipc/msg are the rows of `ipcs -q`, in the same order: key, id, perms, bytes, messages."""
    queue.send(b"hello")
    queue.send(b"")
    others = [
        sysv_ipc.MessageQueue(sysv_ipc.IPC_PRIVATE, sysv_ipc.IPC_CREX, 0o640),
        sysv_ipc.MessageQueue(0x80000001, sysv_ipc.IPC_CREX, 0o666),
    ]

    def read():
        # On this machine's own queues somebody may make one in between.
        text = LISTING.read_text()
        listed = stage.ipcs()
        return (text, listed) if text == LISTING.read_text() else None

    text, listed = wait_until(read, "a moment in which nobody makes or removes a queue")
    for other in others:
        other.remove()

    mine = [tuple(row) for row in lab.rows(text)]

    theirs = [
        (int(key, 16), int(msqid), int(perms, 8), int(used), int(count)) for key, msqid, _, perms, used, count in listed
    ]
    differ = [f"{show(a)}, ipcs shows {show(b)}" for a, b in zip(mine, theirs, strict=False) if a != b]
    assert len(mine) == len(theirs), Teach(
        saw=f"rows gave {len(mine)} rows, and ipcs -q shows {len(theirs)} queues",
        because="in /proc/sysvipc/msg the first line names the columns, and each line below it is a queue, of whoever",
        try_="leave out the first line, and no other",
        see="README.md, The listing",
    )
    assert mine == theirs, Teach(
        saw=f"a row was (key, id, mode, bytes, messages) = {differ[0]}",
        because="the key stands there as a signed decimal number, perms as octal digits, as a mode is always written",
        try_="int(key) & LARGEST_KEY, int(perms, 8), and the columns in the order of the first line",
        see="README.md, The listing",
    )


def show(row: tuple[int, int, int, int, int]) -> str:
    key, msqid, mode, used, count = row
    return f"(0x{key:08x}, {msqid}, 0o{mode:o}, {used}, {count})"


@task("2.5")
def test_columns_are_told_apart_by_blanks(lab):
    """Columns are padded but never cut: long numbers push the rest to the right; and no queue at all is no row."""
    head, *_ = LISTING.read_text().splitlines(keepends=True)
    wide = "-2147483648 1073741825   600  2147483647      65536 4194303 4194302 65534 65534 65534 65534 1 2 3\n"

    found = [[tuple(row) for row in lab.rows(text)] for text in (head, head + wide)]

    assert found == [[], [(0x80000000, 1073741825, 0o600, 2147483647, 65536)]], Teach(
        saw=f"for the first line alone, and then with one queue of long numbers, rows gave {found}",
        because="the kernel pads a column to a width, and a longer number simply takes more; a cut at fixed places "
        "then goes through the middle of one",
        try_="line.split() without an argument splits at any number of blanks",
        see="README.md, The listing",
    )


@task("2.5")
@limit(10)
def test_the_program_lists_the_queues(stage, queue):
    """`list` prints a line for each queue."""
    queue.send(b"hello")

    listing = stage.run("list")
    status = listing.wait()

    line = f"0x000c0049 id {queue.id} 600 5 bytes 1 messages"
    assert (status, line in listing.output.splitlines()) == (0, True), Teach(
        saw=f"`list` ended with {status} and wrote {listing.output!r}; {line!r} is not a line of it",
        because="main prints one line for each row that rows gives",
        try_="leave main as starter.py has it",
        see="starter.py, main",
    )
