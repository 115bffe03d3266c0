"""The namespace's limits, and what is in use."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from harness.sysv import Limits, Queue, Usage, limits, usage
from harness.sysv.errors import MachineError, UsageError

if TYPE_CHECKING:
    from tests.conftest import OrdinaryUser


@pytest.mark.private_ipc
def test_the_limits_are_the_kernels() -> None:
    """Limits.read shows what the three files of /proc/sys/kernel show."""
    found = Limits.read()

    assert [found.msgmax, found.msgmnb, found.msgmni] == [
        int(Path("/proc/sys/kernel", name).read_text()) for name in ("msgmax", "msgmnb", "msgmni")
    ]


@pytest.mark.private_ipc
def test_a_limit_can_be_set_up_and_down() -> None:
    """write sets what is given, either way, and leaves the rest."""
    before = Limits.read()

    after = Limits.write(msgmnb=100_000, msgmni=7)

    assert after == Limits(msgmax=before.msgmax, msgmnb=100_000, msgmni=7) == Limits.read()
    assert Limits.write(msgmnb=1000).msgmnb == 1000


@pytest.mark.private_ipc
def test_raise_to_never_lowers() -> None:
    """raise_to raises what is too low, and leaves what is high enough."""
    Limits.write(msgmax=9000, msgmnb=20_000)

    after = Limits.raise_to(msgmax=100, msgmnb=30_000)

    assert (after.msgmax, after.msgmnb) == (9000, 30_000)


@pytest.mark.private_ipc
def test_a_number_that_the_kernel_refuses_is_told() -> None:
    """msgmni over 32768 (or 2^24, by boot parameter) is refused by the kernel, and the error names it."""
    with pytest.raises(MachineError, match="msgmni"):
        Limits.write(msgmni=2**31 - 1)


# In a private namespace although nothing should be written: if the check fails, the machine's own limits must not go.
@pytest.mark.private_ipc
@pytest.mark.parametrize("wrong", [-1, 2**31, True, "1"])
def test_a_number_that_no_limit_can_be_is_refused(wrong: object) -> None:
    """Limits are ints from 0 to 2**31-1."""
    with pytest.raises(UsageError):
        Limits.write(msgmnb=wrong)  # type: ignore[arg-type]


@pytest.mark.private_ipc
def test_an_ordinary_user_is_told_that_root_is_needed(as_user: OrdinaryUser) -> None:
    """An ordinary user may not write in a namespace of another's, and the hint is the command that does it."""
    done = as_user.python(
        "from harness.sysv import Limits\n"
        "from harness.sysv.errors import MachineError\n"
        "try: Limits.write(msgmnb=Limits.read().msgmnb + 1)\n"
        "except MachineError as error: print(error, error.hint)\n"
    )

    assert "only root" in done.stdout, done.stderr
    assert "sudo sysctl -w kernel.msgmnb=" in done.stdout


@pytest.mark.private_ipc
def test_a_read_only_proc_is_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where /proc/sys is mounted read-only, the error says so and names the container's option."""
    (tmp_path / "msgmnb").write_text("1")
    monkeypatch.setattr(limits, "SYSCTL_FOLDER", tmp_path)
    refusal = OSError(30, "Read-only file system")
    monkeypatch.setattr(Path, "write_text", lambda *_args, **_options: (_ for _ in ()).throw(refusal))

    with pytest.raises(MachineError, match="read-only") as caught:
        Limits.write(msgmnb=2)

    assert "--sysctl" in caught.value.hint


@pytest.mark.private_ipc
def test_usage_counts_queues_messages_and_bytes() -> None:
    """usage adds up what stands in the namespace."""
    assert usage() == Usage(queues=0, messages=0, used_bytes=0)

    with Queue.private() as first, Queue.private() as second:
        first.send(b"12345")
        second.send(b"123")
        second.send(b"")

        assert usage() == Usage(queues=2, messages=3, used_bytes=8)
