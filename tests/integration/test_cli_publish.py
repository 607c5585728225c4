"""`onward publish` with what it reads and writes in all its shapes: pipes, devices, files that are one and the same."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from threading import Thread

import apsw
import pytest
from click.testing import CliRunner, Result

from onward.cli import main
from onward.sqlite.database import Database
from tests.integration.children import PATHS

PATIENCE_S = 20.0
LINES = '{"n": 1}\n{"n": 2}\n'

Onward = Callable[..., Result]


@pytest.fixture
def onward(database_path: Path, monkeypatch: pytest.MonkeyPatch) -> Onward:
    """The command line in this process, its database named by the environment, its working folder empty."""
    monkeypatch.setenv("ONWARD_STORE", f"sqlite:///{database_path}")
    (database_path.parent / "work").mkdir()
    monkeypatch.chdir(database_path.parent / "work")

    def invoke(*arguments: str, stdin: str | None = None) -> Result:
        return CliRunner().invoke(main, list(arguments), input=stdin, catch_exceptions=False)

    return invoke


@contextmanager
def publishing(database: Path) -> Iterator[subprocess.Popen[bytes]]:
    """`onward publish things` in a process of its own, its standard input a pipe that stays open."""
    process = subprocess.Popen(
        [sys.executable, "-m", "onward", "publish", "things", "-d", str(database)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(PATHS)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def until_published(database: Path, count: int) -> None:
    """Another process's commits have no event to wait for."""
    end = time.monotonic() + PATIENCE_S
    with closing(apsw.Connection(str(database))) as connection:
        connection.set_busy_timeout(1000)
        while connection.execute("SELECT count(*) FROM onward_log").get != count:
            assert time.monotonic() < end, f"{count} events did not come"
            time.sleep(0.01)


def test_a_line_in_a_pipe_is_published_while_the_pipe_stays_open_and_ctrl_c_says_how_many(database_path: Path) -> None:
    Database.open(database_path).close()
    with publishing(database_path) as process:
        assert process.stdin is not None
        for count in (1, 2):
            process.stdin.write(b'{"n": 1}\n')
            process.stdin.flush()
            until_published(database_path, count)
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE_S) == 3  # its input is still open
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.read() == b"2 events published to things; interrupted before the end of the input.\n"
        assert process.stderr.read() == b""


def test_lines_come_through_a_pipe_with_a_name(onward: Onward) -> None:
    os.mkfifo("lines")
    writer = Thread(target=lambda: Path("lines").write_text(LINES))
    writer.start()
    result = onward("publish", "things", "lines")
    writer.join()
    assert result.stdout == "2 events published to things.\n"


def test_an_empty_device_is_an_input_without_lines(onward: Onward) -> None:
    result = onward("publish", "things", "/dev/null")
    assert (result.exit_code, result.stdout) == (0, "0 events published to things.\n")


def test_a_folder_is_no_input(onward: Onward) -> None:
    result = onward("publish", "things", ".")
    assert (result.exit_code, "Error: . is a folder." in result.stderr) == (2, True)


@pytest.mark.parametrize("alias", ["same", "link", "hard link"])
def test_rejects_are_never_written_into_the_file_that_is_read(onward: Onward, database_path: Path, alias: str) -> None:
    Path("in.jsonl").write_text(LINES)
    rejects = Path("in.jsonl" if alias == "same" else "other")
    if alias == "link":
        rejects.symlink_to("in.jsonl")
    elif alias == "hard link":
        rejects.hardlink_to("in.jsonl")
    result = onward("publish", "things", "in.jsonl", "--rejects", str(rejects))
    assert result.exit_code == 2
    assert f"{rejects} is where the lines come from. Nothing was published; name another file" in result.stderr
    assert Path("in.jsonl").read_text() == LINES
    assert not database_path.exists()


@pytest.mark.parametrize("exists", [True, False])
def test_rejects_are_never_written_into_the_database(onward: Onward, database_path: Path, exists: bool) -> None:
    if exists:
        Database.open(database_path).close()
    before = database_path.read_bytes() if exists else None
    result = onward("publish", "things", "--rejects", str(database_path), stdin="nonsense\n")
    assert result.exit_code == 2
    assert "is the database. Nothing was published; name another file with --rejects." in result.stderr
    assert (database_path.read_bytes() if database_path.exists() else None) == before


def test_standard_input_is_told_from_the_file_for_rejects(database_path: Path, tmp_path: Path) -> None:
    lines = tmp_path / "in.jsonl"
    lines.write_text(LINES)
    with lines.open("rb") as stream:
        ended = subprocess.run(
            [sys.executable, "-m", "onward", "publish", "things", "-d", str(database_path), "--rejects", str(lines)],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(PATHS)},
            stdin=stream,
            capture_output=True,
            timeout=PATIENCE_S,
            check=False,
        )
    assert (ended.returncode, b"is where the lines come from" in ended.stderr) == (2, True)
    assert lines.read_text() == LINES


def test_rejects_come_after_what_their_file_holds_already(onward: Onward) -> None:
    Path("kept").write_text("mine\n")
    onward("publish", "things", "--rejects", "kept", stdin='first\n{"n": 1}\n')
    onward("publish", "things", "--rejects", "kept", stdin="second\n")
    assert Path("kept").read_text() == "mine\nfirst\nsecond\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--rejects", "/nonexistent/x"), "would be kept in /nonexistent/x, which can't be written: No such file"),
        (("bad topic!",), "'bad topic!' can't be a topic. Write 1 to 200 letters, digits or any of . _ - such as"),
        (("--type", "bad type!! "), "'bad type!! ' can't be a type. Write 1 to 200 letters, digits or any of _ . - /"),
        (("--version", "0"), "0 is not in the range 1<=x<=1000000"),
        (("--version", "-3"), "-3 is not in the range 1<=x<=1000000"),
        (("--version", "99999999999999999999"), "99999999999999999999 is not in the range 1<=x<=1000000"),
    ],
)
def test_what_no_event_can_be_is_refused_and_nothing_is_made(
    onward: Onward, database_path: Path, arguments: tuple[str, ...], said: str
) -> None:
    topic = () if arguments[0] == "bad topic!" else ("things",)
    result = onward("publish", *topic, *arguments, stdin=LINES)
    assert result.exit_code in (1, 2)
    assert said in " ".join(result.stderr.split())
    assert not database_path.exists()


def test_an_input_that_can_not_be_opened_says_so(onward: Onward, database_path: Path) -> None:
    listener = socket.socket(socket.AF_UNIX)
    with listener:
        listener.bind("socket")
        result = onward("publish", "things", "socket")
    assert result.exit_code == 1
    assert result.stderr == "onward: socket can't be read: No such device or address. Nothing was published.\n"
    assert not database_path.exists()


def test_the_number_of_a_dead_letter_that_no_file_can_hold_is_wrong_usage(onward: Onward) -> None:
    for command in ("show", "retry", "discard"):
        result = onward("dead-letters", command, "9223372036854775808")
        assert (result.exit_code, "is no id" in result.stderr) == (2, True)


def test_long_input_tells_how_far_it_is_and_short_input_nothing(
    onward: Onward, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    monkeypatch.setattr("onward.cli.publish.progress", told.append)
    onward("publish", "things", stdin=LINES)
    assert told == [""]
    told.clear()
    monkeypatch.setattr("onward.cli.publish.QUIET_S", -1.0)
    monkeypatch.setattr("onward.cli.feed.WAIT_S", PATIENCE_S)
    onward("publish", "things", stdin='{"n": 1}\n' * 2500)
    assert [text.split(" published, ")[0] for text in told] == ["1,000", "2,000", "2,500", ""]
    assert all(text.endswith(" a second") for text in told[:-1])
