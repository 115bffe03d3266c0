"""The checks of lab 13: `pytest labs/13_nothing_arrives`.

Every piece of evidence is collected from real processes, sockets and queues, which scenes.py puts on; each check has a
network of its own, so that port 9999 is free.
"""

from __future__ import annotations

import importlib
import itertools
import os
from pathlib import Path

import pytest

from harness.labkit import Teach, limit, own_network, task

HERE = Path(__file__).parent
LIST = "README.md, The ten"
READ = "README.md, How to read the evidence"
FULL = 100  # bytes that the queue may hold, where it is to be small


@pytest.fixture
def scenes(monkeypatch):
    """The kit beside this file; imported in the check's own process, so that no other lab sees its name."""
    monkeypatch.syspath_prepend(str(HERE))
    return importlib.import_module("scenes")


@pytest.fixture
def scene(scenes):
    with scenes.Scene() as made:
        yield made


@pytest.fixture
def foreign_scene(scenes, foreign_queue):
    """A scene in which another user can be had: as root only."""
    with scenes.Scene(foreign_queue=lambda key, mode: foreign_queue(key, mode=mode)) as made:
        yield made


def name_of(answer) -> str:
    return "None" if answer is None else getattr(answer, "name", repr(answer))


def expect(expected: str, side, evidence, *, shown: str, because: str, try_: str) -> None:
    """The side's answer is the expected one; `shown` is what in the evidence would have told."""
    answer = name_of(side(evidence))

    assert answer == expected, Teach(
        saw=f"{side.__name__} says {answer}, and it is {expected}; the evidence has {shown}",
        because=because,
        try_=try_,
        see=READ if expected == "None" else LIST,
    )


# --- 13.1 the client -------------------------------------------------------------------------------------------------


@task("13.1")
@limit(20)
@own_network
def test_netcat_without_u(lab, scenes, scene):
    """A client that speaks TCP is NETCAT_WITHOUT_U."""
    evidence = scenes.netcat_without_u(scene)

    expect(
        "NETCAT_WITHOUT_U",
        lab.client_side,
        evidence,
        shown=f"protocol {evidence.client.protocol!r}, error {evidence.client.error!r}",
        because="TCP and UDP ports are two sets of numbers: on TCP 9999 nobody listens, so the proxy never hears of it",
        try_="look at the client's protocol",
    )


@task("13.1")
@limit(20)
@own_network
def test_localhost_that_means_ipv6(lab, scenes, scene):
    """A client that sends to ::1, where only an IPv4 socket has the port, is LOCALHOST_IS_IPV6."""
    evidence = scenes.localhost_is_ipv6(scene)

    expect(
        "LOCALHOST_IS_IPV6",
        lab.client_side,
        evidence,
        shown=f"target {evidence.client.target!r} ({evidence.client.family}), and sockets of "
        f"{[socket.family for socket in evidence.sockets]}",
        because="localhost is a name for two addresses, and a socket bound to an IPv4 address hears nothing of ::1",
        try_="compare the client's family with those of the sockets at the port",
    )


@task("13.1")
@limit(20)
@own_network
def test_a_client_in_another_network(lab, scenes, scene):
    """A client whose network namespace is not the proxy's is CLIENT_ELSEWHERE."""
    evidence = scenes.client_elsewhere(scene)

    expect(
        "CLIENT_ELSEWHERE",
        lab.client_side,
        evidence,
        shown=f"the client in {evidence.client.network}, the proxy in {evidence.network}",
        because="each network namespace has a loopback of its own: 127.0.0.1 in a container is the container",
        try_="compare the client's network with the proxy's",
    )


@task("13.1")
@limit(20)
@own_network
@pytest.mark.parametrize("how", ["IPv4", "IPv6", "no reply"])
def test_a_client_that_is_heard(lab, scenes, scene, how):
    """A client whose datagram comes to a socket at the port is not the cause, whatever the reply was."""
    if how == "IPv6":
        program = scene.start(bind="::")
        evidence = scene.evidence(program, scene.send(to="::1"))
    else:
        evidence = (scenes.all_is_well if how == "IPv4" else scenes.queue_too_small)(scene)

    expect(
        "None",
        lab.client_side,
        evidence,
        shown=f"protocol {evidence.client.protocol!r}, target {evidence.client.target!r}, reply "
        f"{evidence.client.reply!r}, error {evidence.client.error!r}, and a socket of "
        f"{[socket.family for socket in evidence.sockets]}",
        because={
            "IPv4": "UDP to an IPv4 address where an IPv4 socket has the port does arrive",
            "IPv6": "::1 is no mistake where a socket has the port on IPv6",
            "no reply": "a missing reply tells that something is wrong, and not where: this datagram did arrive",
        }[how],
        try_="say for each of your three answers which fact makes it so, and return None if none of them holds",
    )


# --- 13.2 the sockets ------------------------------------------------------------------------------------------------


def sockets_of(evidence) -> str:
    return "sockets at " + ", ".join(
        f"{socket.address}{' (the proxy)' if socket.pid == evidence.proxy.pid else ''}" for socket in evidence.sockets
    )


@task("13.2")
@limit(20)
@own_network
@pytest.mark.parametrize("first", ["the listener", "the proxy"])
def test_a_forgotten_listener(lab, scenes, scene, first):
    """Another process at 127.0.0.1 takes what a proxy at 0.0.0.0 waits for, whichever was first: FORGOTTEN_LISTENER."""
    if first == "the listener":
        evidence = scenes.forgotten_listener(scene)
    else:
        program = scene.start(bind="0.0.0.0")
        scene.listen("127.0.0.1")
        evidence = scene.evidence(program, scene.send(until=scene.unread))

    expect(
        "FORGOTTEN_LISTENER",
        lab.socket_side,
        evidence,
        shown=f"{sockets_of(evidence)}, and the client sends to {evidence.client.target}",
        because="a socket bound to exactly the datagram's address wins over one bound to all, whoever came first",
        try_="look for a socket at the client's target, and ask whether it is the proxy's",
    )


@task("13.2")
@limit(20)
@own_network
@pytest.mark.parametrize("what", ["a program with another key", "a listener at every address"])
def test_a_later_listener(lab, scenes, scene, what):
    """Another process that bound the proxy's own address after it gets the datagrams: LATER_LISTENER."""
    if what == "a program with another key":
        evidence = scenes.later_listener(scene)
    else:
        program = scene.start(bind="0.0.0.0")
        scene.listen("0.0.0.0")
        evidence = scene.evidence(program, scene.send(until=scene.unread))

    expect(
        "LATER_LISTENER",
        lab.socket_side,
        evidence,
        shown=f"{sockets_of(evidence)}, the latest first; the client met {evidence.client.reply or 'no reply'!r}",
        because="SO_REUSEADDR lets two UDP sockets have the same address, and the one bound last gets every datagram: "
        "an OK may be somebody else's",
        try_="among the sockets with the proxy's own address, ask whose stands first",
    )


@task("13.2")
@limit(20)
@own_network
@pytest.mark.parametrize("who", ["nobody", "at another address", "at every address", "before the proxy"])
def test_listeners_that_take_nothing(lab, scenes, scene, who):
    """Other sockets at the port that lose against the proxy's are not the cause."""
    if who == "before the proxy":
        scene.listen("127.0.0.1")
    program = scene.start(bind="0.0.0.0" if who == "at another address" else "127.0.0.1")
    if who == "at another address":
        scene.listen("127.0.0.2")
    if who == "at every address":
        scene.listen("0.0.0.0")
    evidence = scene.evidence(program, scene.send())

    expect(
        "None",
        lab.socket_side,
        evidence,
        shown=f"{sockets_of(evidence)}, the client sends to {evidence.client.target}, "
        f"and the proxy answered {evidence.client.reply!r}",
        because={
            "nobody": "only the proxy has the port",
            "at another address": "a socket at 127.0.0.2 gets only what is sent to 127.0.0.2",
            "at every address": "the proxy's own address is the exact one here, and exact wins over every address",
            "before the proxy": "of two sockets at one address the one bound last gets the datagrams: here, the proxy",
        }[who],
        try_="ask of each other socket whether it wins against the proxy's: exact first, then the latest",
    )


# --- 13.3 the queue --------------------------------------------------------------------------------------------------


def queue_of(evidence) -> str:
    queue, proxy = evidence.queue, evidence.proxy
    return (
        f"a queue of uid {queue.uid}, mode {queue.mode:04o}, {queue.used_bytes} of {queue.limit_bytes} bytes used, "
        f"and a proxy of uid {proxy.uid}, "
        + (f"asleep in {proxy.asleep_in} with {proxy.size_bytes} bytes" if proxy.asleep_in else "waiting for datagrams")
    )


@task("13.3")
@limit(20)
@own_network
def test_a_message_larger_than_the_queue(lab, scenes, scene):
    """A proxy that sleeps in msgsnd with more bytes than the queue may ever hold: QUEUE_TOO_SMALL."""
    evidence = scenes.queue_too_small(scene)

    expect(
        "QUEUE_TOO_SMALL",
        lab.queue_side,
        evidence,
        shown=queue_of(evidence),
        because="msgsnd waits until the message fits, and never asks whether it can: it sleeps even on an empty queue",
        try_="compare the size of the message in the proxy's msgsnd with the queue's limit",
    )


@task("13.3")
@limit(20)
@own_network
@pytest.mark.parametrize("mode", [0o644, 0o775])
def test_a_queue_of_another_user(lab, scenes, foreign_scene, mode):
    """A queue of another user's whose mode does not let others write: FOREIGN_QUEUE."""
    foreign_scene.make_foreign_queue(mode=mode)
    program = foreign_scene.start()
    evidence = foreign_scene.evidence(program, foreign_scene.send())

    expect(
        "FOREIGN_QUEUE",
        lab.queue_side,
        evidence,
        shown=f"{queue_of(evidence)}; the client met {evidence.client.reply!r}",
        because="opening a queue asks for no right; msgsnd does, and for a stranger the last octal digit counts: 2 is "
        "the right to write",
        try_="compare the two uids, then look at the bit 0o002 of the mode",
    )


@task("13.3")
@limit(20)
@own_network
@pytest.mark.parametrize("what", ["mode 0644", "full"])
def test_a_queue_that_is_fine(lab, scenes, scene, what):
    """The proxy's own queue is not the cause, whatever its mode; nor is one that is full of messages that fit."""
    if what == "mode 0644":
        scene.make_queue(mode=0o644)
        program = scene.start()
        evidence = scene.evidence(program, scene.send())
    else:
        evidence = full_queue(scenes, scene)

    expect(
        "None",
        lab.queue_side,
        evidence,
        shown=queue_of(evidence),
        because="for the owner the first octal digit of the mode counts, and it has the 2"
        if what == "mode 0644"
        else "a message of just the limit fits as soon as the queue is empty: the proxy waits for workers, and the "
        "queue is not what is wrong",
        try_="name both facts that each of your two answers needs",
    )


@task("13.3")
@limit(20)
@own_network
def test_another_users_queue_that_everybody_may_write(lab, scenes, foreign_scene):
    """Another user's queue with mode 0666 is not the cause."""
    foreign_scene.make_foreign_queue(mode=0o666)
    program = foreign_scene.start()
    evidence = foreign_scene.evidence(program, foreign_scene.send())

    expect(
        "None",
        lab.queue_side,
        evidence,
        shown=f"{queue_of(evidence)}; the client met {evidence.client.reply!r}",
        because="a mode whose last digit has the 2 lets everybody put messages on the queue, strangers too",
        try_="another owner alone is no obstacle: look at the mode too",
    )


def full_queue(scenes, scene):
    """Both workers are dead, the queue is full to its last byte, and the proxy waits with another such message."""
    scene.make_queue(limit_bytes=FULL)
    program = scene.start()
    program.kill_worker(0)
    program.kill_worker(1)
    scene.send(b"x" * FULL)
    client = scene.send(b"x" * FULL, until=lambda: scenes.process(program.pid).asleep_in == "msgsnd")
    return scene.evidence(program, client)


# --- 13.4 the workers ------------------------------------------------------------------------------------------------


def workers_of(evidence) -> str:
    return (
        f"{sum(worker.alive for worker in evidence.workers)} of {len(evidence.workers)} workers alive, "
        f"receivers with the parents {[receiver.parent for receiver in evidence.receivers]}, "
        f"the proxy {evidence.proxy.pid}, output that {'somebody' if evidence.output_has_reader else 'nobody'} reads"
    )


@task("13.4")
@limit(20)
@own_network
@pytest.mark.parametrize("when", ["after one message", "when the queue is full"])
def test_both_workers_dead(lab, scenes, scene, when):
    """A program none of whose workers lives, while its output has a reader: WORKERS_DEAD."""
    evidence = scenes.workers_dead(scene) if when == "after one message" else full_queue(scenes, scene)

    expect(
        "WORKERS_DEAD",
        lab.worker_side,
        evidence,
        shown=f"{workers_of(evidence)}; {evidence.queue.messages} message on the queue, and the client met "
        f"{evidence.client.reply or 'no reply'!r}",
        because="OK means that the message is on the queue, and nothing more; with no worker it stays there",
        try_="ask whether any of the program's own workers is alive; a zombie is not",
    )


@task("13.4")
@limit(20)
@own_network
def test_workers_of_an_earlier_run(lab, scenes, scene):
    """Somebody who waits on the queue and is no child of the proxy: ORPHAN_WORKERS."""
    evidence = scenes.orphan_workers(scene)

    expect(
        "ORPHAN_WORKERS",
        lab.worker_side,
        evidence,
        shown=workers_of(evidence),
        because="workers outlive a killed parent and have waited longest, so they get the first messages; whoever "
        "adopts orphans here is their parent now, and that need not be process 1",
        try_="ask of each receiver whether its parent is the proxy",
    )


@task("13.4")
@limit(20)
@own_network
@pytest.mark.parametrize("messages", [1, 3])
def test_output_that_nobody_reads(lab, scenes, scene, messages):
    """Workers whose output has no reader are OUTPUT_GONE: one of them dead, or both."""
    if messages == 1:
        evidence = scenes.output_gone(scene)
    else:
        program = scene.start()
        program.stop_reading()
        clients = [scene.send() for _ in range(messages)]
        wait_for_all_dead(scenes, program)
        evidence = scene.evidence(program, clients[-1])

    expect(
        "OUTPUT_GONE",
        lab.worker_side,
        evidence,
        shown=workers_of(evidence),
        because="writing to a pipe without a reader ends a program (SIGPIPE): every worker takes one message with it; "
        "that they are dead is the effect, and the pipe the cause",
        try_="look at the output before you look at the workers",
    )


@task("13.4")
@limit(20)
@own_network
@pytest.mark.parametrize("killed", [0, 1])
def test_workers_that_are_well(lab, scenes, scene, killed):
    """Two workers, or the one that is left of them, take the messages: not the cause."""
    program = scene.start()
    for number in range(killed):
        program.kill_worker(number)
    evidence = scene.evidence(program, scene.send())

    expect(
        "None",
        lab.worker_side,
        evidence,
        shown=workers_of(evidence),
        because="one worker that lives takes every message by itself, later perhaps"
        if killed
        else "both workers wait on the queue, are children of the proxy, and are heard",
        try_="say for each of your three answers which fact makes it so, and return None if none of them holds",
    )


def wait_for_all_dead(scenes, program) -> None:
    from harness.labkit.stage import wait_until  # noqa: PLC0415 - as late as its one use

    wait_until(
        lambda: not any(scenes.process(worker).alive for worker in program.workers), "both workers to die", limit_s=10
    )


# --- 13.5 all together -----------------------------------------------------------------------------------------------


SIDES = ["client_side", "socket_side", "queue_side", "worker_side"]
ON_EACH_SIDE = ["CLIENT_ELSEWHERE", "LATER_LISTENER", "FOREIGN_QUEUE", "WORKERS_DEAD"]


def set_sides(lab, causes: dict[str, str]) -> None:
    """Let each side say this cause, or None."""
    for side in SIDES:
        cause = lab.Cause[causes[side]] if side in causes else None
        setattr(lab, side, lambda _, cause=cause: cause)


@task("13.5")
@limit(20)
@own_network
def test_the_side_nearest_to_the_client_decides(lab, scenes, scene):
    """Of several sides that find something, the one that a message comes to first is the diagnosis."""
    evidence = scenes.all_is_well(scene)
    for finding in itertools.chain.from_iterable(itertools.combinations(range(4), count) for count in (1, 2, 3, 4)):
        causes = {SIDES[place]: ON_EACH_SIDE[place] for place in finding}
        set_sides(lab, causes)

        answer = name_of(lab.diagnose(evidence))

        assert answer == ON_EACH_SIDE[finding[0]], Teach(
            saw=f"with {', '.join(f'{side} = {cause}' for side, cause in causes.items())}, diagnose says {answer}",
            because="a message that is lost on the way in never comes to what is behind: the side that a message comes "
            "to first must be well before a later one can matter",
            try_="ask client, sockets, queue, workers in this order, and return the first answer that is not None",
            see="README.md, Do",
        )


@task("13.5")
@limit(20)
@own_network
def test_when_no_side_finds_anything_all_is_well(lab, scenes, scene):
    """Where no side finds a cause, the diagnosis is ALL_IS_WELL."""
    evidence = scenes.all_is_well(scene)
    set_sides(lab, {})

    answer = name_of(lab.diagnose(evidence))

    assert answer == "ALL_IS_WELL", Teach(
        saw=f"all four sides say None, and diagnose says {answer}",
        because="who reads a diagnosis cannot tell None from a program that forgot to answer",
        try_="return Cause.ALL_IS_WELL when nobody found anything",
        see="README.md, Do",
    )


@task("13.5")
@limit(20)
@own_network
def test_the_program_prints_the_diagnosis(lab, stage, scenes):
    """`lab.py --stage 1` prints the evidence, and what diagnose says of it."""
    with scenes.Scene() as scene:
        expected = lab.diagnose(scenes.netcat_without_u(scene))

    # Under --lab-file the program may stand elsewhere than the kit.
    folders = [str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])]
    program = stage.run("--stage", "1", env={"PYTHONPATH": os.pathsep.join(folders)})
    status = program.wait(limit_s=15)

    assert (status, f"your diagnosis: {expected.value}" in program.output) == (0, True), Teach(
        saw=f"it ended with status {status} and wrote {program.output[-200:]!r} and, on standard error, "
        f"{program.errors[-200:]!r}",
        because="the program hands diagnose to the kit, which puts the cause on and prints what diagnose returns",
        try_="compare main with that of starter.py",
        see="starter.py, main",
    )
