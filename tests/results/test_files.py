"""harness.results.files, on real files, pipes, devices and a disk that is full."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
import textwrap
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pytest

from harness.results.files import Destination
from harness.sysv.errors import ResultNotSavedError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

NOBODY = 65534
ROOT = Path(__file__).parents[2]
IMPORTS = """
import os, shutil, sys, tempfile
from harness.results.files import Destination
from harness.sysv.errors import ResultNotSavedError, UsageError
"""


class OrdinaryUser(Protocol):
    """What the fixture `as_user` gives."""

    def python(self, code: str, *arguments: str) -> subprocess.CompletedProcess[str]: ...


@pytest.fixture
def umask_022() -> Iterator[None]:
    """The usual umask, whatever that of the caller is."""
    before = os.umask(0o022)
    yield
    os.umask(before)


def names_in(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def run_python(code: str, *arguments: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run `code` in a fresh interpreter with Destination at hand, and with the buffer that standard output has."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    return subprocess.run(
        [sys.executable, "-c", IMPORTS + textwrap.dedent(code), *map(str, arguments)],
        cwd=ROOT,
        env=environment,
        timeout=30,
        check=False,
        **{"capture_output": True, "text": True, **options},
    )


def test_new_file_has_the_text_and_the_mode_of_any_new_file(tmp_path: Path, umask_022: None) -> None:
    """A new file holds exactly the text, as UTF-8, with the mode that the umask leaves of 0666."""
    target = tmp_path / "result.json"

    Destination.parse(str(target)).write("200 µs\n")

    assert target.read_bytes() == "200 µs\n".encode()
    assert stat.S_IMODE(target.stat().st_mode) == 0o644


def test_existing_file_is_replaced_by_another_with_the_same_mode(tmp_path: Path) -> None:
    """An existing file is replaced, not rewritten: who has the old one open still reads the old result whole."""
    target = tmp_path / "result.json"
    target.write_text("the old result")
    target.chmod(0o640)

    with target.open() as reader:
        Destination.parse(str(target)).write("new")
        seen_by_reader = reader.read()

    assert seen_by_reader == "the old result"
    assert target.read_text() == "new"
    assert stat.S_IMODE(target.stat().st_mode) == 0o640
    assert names_in(tmp_path) == ["result.json"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to somebody else")
def test_owner_is_kept_when_root_replaces_a_file(tmp_path: Path) -> None:
    """Root replacing somebody's result leaves it theirs."""
    target = tmp_path / "result.json"
    target.touch()
    os.chown(target, NOBODY, NOBODY)

    Destination.parse(str(target)).write("new")

    assert (target.stat().st_uid, target.stat().st_gid) == (NOBODY, NOBODY)


@pytest.mark.parametrize("target_exists", [True, False])
def test_symbolic_link_stays_and_its_target_is_replaced(tmp_path: Path, target_exists: bool) -> None:
    """Through a symbolic link, also a dangling one, the target is written and the link is left alone."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    target, link = elsewhere / "result.json", tmp_path / "latest.json"
    if target_exists:
        target.write_text("old")
    link.symlink_to("elsewhere/result.json")
    destination = Destination.parse(str(link))

    destination.check()
    destination.write("new")

    assert link.is_symlink()
    assert target.read_text() == "new"
    assert not target.is_symlink()


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_failed_replacement_leaves_the_old_file_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    """Whatever interrupts the writing, the old result is still there and the temporary file is not."""
    target = tmp_path / "result.json"
    target.write_text("old")
    expected = ResultNotSavedError if isinstance(error, OSError) else KeyboardInterrupt

    def fail(descriptor: int) -> None:
        raise error

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(expected):
        Destination.parse(str(target)).write("new")

    assert target.read_text() == "old"
    assert names_in(tmp_path) == ["result.json"]


def test_dev_full_is_reported_with_path_reason_and_hint(as_user: OrdinaryUser) -> None:
    """A device that has no room makes an error that names it, why, and what to do; the device is still a device."""
    # As an ordinary user: root, with a mistake in the code, would replace the machine's own device by a file.
    code = """
        destination = Destination.parse("/dev/full")
        destination.check()
        try:
            destination.write("text")
        except ResultNotSavedError as error:
            print(error, error.hint, sep="\\n")
    """

    done = as_user.python(IMPORTS + textwrap.dedent(code))

    assert done.stdout.splitlines() == [
        "the result was not saved to /dev/full: No space left on device",
        "make room there, or give a path on another disk",
    ], done.stderr
    assert stat.S_ISCHR(Path("/dev/full").stat().st_mode)


def test_full_disk_is_reported_and_the_old_result_survives(tmp_path: Path) -> None:
    """On a disk that runs full while the result is written, the old result survives and no fragment is left."""
    code = """
        import subprocess
        disk = sys.argv[1]
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", disk], check=True)
        print("mounted")
        path = disk + "/result.json"
        Destination.parse(path).write("old")
        Destination.parse(path).check()
        try:
            Destination.parse(path).write("x" * 100_000)
        except ResultNotSavedError as error:
            print(error, error.hint, sep="\\n")
        print(open(path).read(), os.listdir(disk))
    """
    program = IMPORTS + textwrap.dedent(code)

    done = subprocess.run(
        ["unshare", "--user", "--map-root-user", "--mount", sys.executable, "-c", program, str(tmp_path)],
        cwd=ROOT,
        timeout=30,
        check=False,
        capture_output=True,
        text=True,
    )

    if "mounted" not in done.stdout:
        pytest.skip(f"no tmpfs can be mounted in a mount namespace of its own here: {done.stderr.strip()[-200:]}")
    assert done.stdout.splitlines()[1:] == [
        f"the result was not saved to {tmp_path}/result.json: No space left on device",
        "make room there, or give a path on another disk",
        "old ['result.json']",
    ], done.stderr


def test_named_pipe_gets_the_text_and_stays_a_pipe(tmp_path: Path) -> None:
    """A named pipe is written in place: its reader gets every byte, more than a pipe holds at once included."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    text = "x" * 300_000
    received: list[str] = []
    reader = threading.Thread(target=lambda: received.append(pipe.read_text()), daemon=True)
    destination = Destination.parse(str(pipe))
    destination.check()

    reader.start()
    destination.write(text)
    reader.join(timeout=10)

    assert received == [text]
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_reader_that_goes_away_is_reported_as_not_saved() -> None:
    """Where the reader of standard output is gone, the error says so, and the interpreter's end adds nothing to it."""
    reader, writer = os.pipe()
    os.close(reader)
    code = """
        try:
            Destination.parse("-").write("text")
        except ResultNotSavedError as error:
            sys.stderr.write(f"{error}|{error.hint}")
    """

    done = run_python(code, capture_output=False, stdout=writer, stderr=subprocess.PIPE)
    os.close(writer)

    assert done.stderr == (
        "the result was not saved to standard output: Broken pipe|"
        "whoever read the output went away; give a path to keep the result"
    )
    assert done.returncode == 0


@pytest.mark.parametrize("name", ["-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"])
def test_standard_output_keeps_what_was_printed_before(tmp_path: Path, name: str) -> None:
    """Written to standard output by any of its names, a result stands behind what was printed, also in a file."""
    code = """
        print("before")
        Destination.parse(sys.argv[1]).check()
        Destination.parse(sys.argv[1]).write("result\\n")
        print("after")
    """
    target = tmp_path / "all.txt"

    with target.open("w") as stdout:
        done = run_python(code, name, capture_output=False, stdout=stdout, stderr=subprocess.PIPE)

    assert done.stderr == ""
    assert target.read_text() == "before\nresult\nafter\n"


def test_dash_goes_where_a_caller_captures_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    """Standard output that a caller replaced within this process gets the text."""
    destination = Destination.parse("-")

    destination.check()
    destination.write("text")

    assert capsys.readouterr().out == "text"
    assert str(destination) == "standard output"


def test_descriptor_that_the_shell_opened_is_written_to(tmp_path: Path) -> None:
    """A descriptor that was handed down (bash: 3>file) is written to by its name."""
    code = "d = Destination.parse('/dev/fd/' + sys.argv[1]); d.check(); d.write('result')"
    target = tmp_path / "out"

    with target.open("w") as handed_down:
        number = handed_down.fileno()
        done = run_python(code, str(number), pass_fds=(number,))

    assert done.stderr == ""
    assert target.read_text() == "result"


@pytest.mark.parametrize("name", ["-", "/dev/stdout"])
def test_closed_standard_output_is_refused_before_the_run(name: str) -> None:
    """With standard output closed by the shell, check raises UsageError."""
    code = f"""
        try:
            Destination.parse({name!r}).check()
        except UsageError as error:
            sys.stderr.write("refused")
    """

    done = run_python(code, capture_output=False, stderr=subprocess.PIPE, preexec_fn=lambda: os.close(1))

    assert done.stderr == "refused"


@pytest.mark.parametrize("text", ["", "results/", "a\0b"])
def test_text_that_names_no_file_is_refused_at_parsing(text: str) -> None:
    """An empty name, one with a NUL byte and one that ends as a directory does are refused at once."""
    with pytest.raises(UsageError) as caught:
        Destination.parse(text)

    assert caught.value.hint


def test_missing_directory_is_refused_with_the_command_that_makes_it(tmp_path: Path) -> None:
    """A path in a directory that is not there is refused, and nothing is created."""
    with pytest.raises(UsageError) as caught:
        Destination.parse(f"{tmp_path}/missing/result.json").check()

    assert f"{tmp_path}/missing" in str(caught.value)
    assert caught.value.hint == f"mkdir -p {tmp_path}/missing"
    assert names_in(tmp_path) == []


def test_directory_is_refused(tmp_path: Path) -> None:
    """A directory, also behind a link, is refused with a hint to name a file in it."""
    link = tmp_path / "link"
    link.symlink_to(tmp_path)

    for path in (tmp_path, link):
        with pytest.raises(UsageError, match="is a directory"):
            Destination.parse(str(path)).check()


def test_path_through_a_file_and_a_loop_of_links_are_refused(tmp_path: Path) -> None:
    """What the kernel cannot follow, such as a file used as a directory or links in a circle, is refused."""
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to("loop")

    for name in ("file/result.json", "loop"):
        with pytest.raises(UsageError):
            Destination.parse(f"{tmp_path}/{name}").check()


def test_socket_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A socket's name cannot be opened for writing, and is refused before the run."""
    monkeypatch.chdir(tmp_path)  # a socket's path is at most 107 bytes
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket")

        with pytest.raises(UsageError, match="socket"):
            Destination.parse("socket").check()


def test_check_of_a_good_path_leaves_nothing_behind(tmp_path: Path) -> None:
    """A check that passes has created nothing and touched nothing."""
    existing = tmp_path / "existing.json"
    existing.write_text("old")
    before = existing.stat()

    Destination.parse(f"{tmp_path}/new.json").check()
    Destination.parse(str(existing)).check()

    assert names_in(tmp_path) == ["existing.json"]
    assert existing.stat().st_mtime_ns == before.st_mtime_ns


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        ("read-only directory", "the directory {} is not writable"),
        ("read-only file", "{}/result.json is not writable"),
    ],
)
def test_what_an_ordinary_user_may_not_write_is_refused(as_user: OrdinaryUser, case: str, expected: str) -> None:
    """Without root's rights, a read-only directory and a read-only file are refused before the run."""
    code = f"""
        import shutil, tempfile
        directory = tempfile.mkdtemp()
        path = directory + "/result.json"
        if {case!r} == "read-only file":
            open(path, "w").close()
            os.chmod(path, 0o444)
        else:
            os.chmod(directory, 0o555)
        try:
            Destination.parse(path).check()
        except UsageError as error:
            print({expected!r}.format(directory) in str(error), bool(error.hint), os.listdir(directory) == [])
        try:
            Destination.parse(path).write("text")
        except ResultNotSavedError as error:
            print("not saved")
        finally:
            os.chmod(directory, 0o700)
            shutil.rmtree(directory)
    """

    done = as_user.python(IMPORTS + textwrap.dedent(code))

    first, *rest = done.stdout.splitlines()
    assert first == f"True True {case == 'read-only directory'}", done.stderr
    # rename(2) asks for the directory only: that is why check looks at the file's mode.
    assert rest == (["not saved"] if case == "read-only directory" else [])
