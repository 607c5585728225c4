"""Lines as they come: none waits long for others, and Ctrl-C loses none that was read."""

import os
import select
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace

import pytest

from onward.cli import feed
from onward.cli.feed import Feed, interrupts


class Pipe:
    """A pipe whose writing end is the test's."""

    def __init__(self) -> None:
        reading, self._writing = os.pipe()
        self.stream = os.fdopen(reading, "rb")

    def write(self, content: bytes) -> None:
        os.write(self._writing, content)

    def end(self) -> None:
        os.close(self._writing)


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    made = Pipe()
    with made.stream:
        yield made


@pytest.fixture
def alarm() -> Iterator[int]:
    with interrupts() as descriptor:
        yield descriptor


def press() -> None:
    """Ctrl-C."""
    os.kill(os.getpid(), signal.SIGINT)


def test_lines_of_a_stream_in_memory_come_without_their_ends(alarm: int) -> None:
    assert [line for line in Feed(BytesIO(b"one\r\n\ntwo\nlast"), alarm) if line is not None] == [
        b"one\r",
        b"",
        b"two",
        b"last",
    ]


def test_lines_of_a_pipe_go_on_though_its_end_is_far(pipe: Pipe, alarm: int) -> None:
    lines = iter(Feed(pipe.stream, alarm))
    pipe.write(b"one\ntwo\nthr")
    assert [next(lines) for _ in range(3)] == [b"one", b"two", None]
    pipe.write(b"ee\nfour")
    assert [next(lines) for _ in range(2)] == [b"three", None]
    pipe.end()
    assert list(lines) == [b"four"]


def test_a_line_waits_no_longer_where_others_never_cease_to_come(
    pipe: Pipe, alarm: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    waits: list[float | None] = []

    def look(watched: list[int], _to: list[int], _wrong: list[int], within_s: float | None) -> object:
        nonlocal now
        waits.append(within_s)
        found = select.select(watched, [], [], 0)
        now += 0.0 if found[0] or within_s is None else within_s
        return found

    monkeypatch.setattr("onward.cli.feed.time", SimpleNamespace(monotonic=lambda: now))
    monkeypatch.setattr("onward.cli.feed.select", SimpleNamespace(select=look))
    lines = iter(Feed(pipe.stream, alarm))
    for line in (b"one", b"two"):
        pipe.write(line + b"\n")
        assert next(lines) == line
        now += 0.75 * feed.WAIT_S
    assert next(lines) is None
    assert waits == [None, pytest.approx(0.25 * feed.WAIT_S), 0.0]
    pipe.end()


def test_what_is_always_there_is_never_cut_short(alarm: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onward.cli.feed.WAIT_S", 0.0)
    file = tmp_path / "lines"
    file.write_bytes(b"line\n" * feed.CHUNK_BYTES)
    with file.open("rb") as stream:
        assert list(Feed(stream, alarm)) == [b"line"] * feed.CHUNK_BYTES


def test_ctrl_c_ends_the_lines_after_those_that_were_read_whole(pipe: Pipe, alarm: int) -> None:
    lines = Feed(pipe.stream, alarm)
    walked = iter(lines)
    pipe.write(b"one\ntwo\nhalf of a li")
    assert next(walked) == b"one"
    press()
    assert list(walked) == [b"two"]
    assert lines.interrupted
    pipe.end()


def test_ctrl_c_ends_a_stream_that_never_makes_one_wait(alarm: int) -> None:
    lines = Feed(BytesIO(b"n\n" * feed.CHUNK_BYTES), alarm)
    walked = iter(lines)
    next(walked)
    press()
    assert sum(1 for line in walked if line is not None) == feed.CHUNK_BYTES // 2 - 1
    assert lines.interrupted


def test_a_second_ctrl_c_does_what_it_did_before() -> None:
    with ExitStack() as stack:
        # Whoever starts the tests in the background has them ignore it.
        stack.callback(signal.signal, signal.SIGINT, signal.signal(signal.SIGINT, signal.default_int_handler))
        stack.enter_context(interrupts())
        press()
        with pytest.raises(KeyboardInterrupt):
            press()


def test_ctrl_c_is_afterwards_what_it_was() -> None:
    before = signal.getsignal(signal.SIGINT)
    with interrupts():
        assert signal.getsignal(signal.SIGINT) is not before
    assert signal.getsignal(signal.SIGINT) is before
    assert signal.set_wakeup_fd(-1) == -1


def test_a_line_without_an_end_is_cut_off_in_time(alarm: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "LONGEST_LINE", 2 * feed.CHUNK_BYTES)
    found = [line for line in Feed(BytesIO(b"x" * 5 * feed.CHUNK_BYTES), alarm) if line is not None]
    assert [len(line) for line in found] == [2 * feed.CHUNK_BYTES, 2 * feed.CHUNK_BYTES, feed.CHUNK_BYTES]
