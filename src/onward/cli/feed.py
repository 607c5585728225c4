"""Lines of an input as they come: what is there goes on soon, however far the end is, and Ctrl-C loses none of it."""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import IO

WAIT_S = 0.1  # the most that a line waits for others to go with it
CHUNK_BYTES = 1 << 16
LONGEST_LINE = 64 << 20  # bytes; what a line without an end may take of memory


class Feed:
    """The lines of a stream, and None where those since the last None are to go on by now.

    It ends with the stream; or, as soon as `alarm` can be read, after the last line that was read whole:
    `interrupted` says so.
    """

    def __init__(self, stream: IO[bytes], alarm: int) -> None:
        self.interrupted = False
        self._stream = stream
        self._alarm = alarm
        self._descriptor = descriptor_of(stream)

    def __iter__(self) -> Iterator[bytes | None]:
        rest = bytearray()
        due: float | None = None
        while True:
            if self._ready(None if due is None else max(0.0, due - time.monotonic())):
                chunk = self._read()
                if not chunk:
                    break
                rest += chunk
                lines = _whole_lines(rest, len(chunk))
                if lines and due is None:
                    due = time.monotonic() + WAIT_S
                yield from lines
            elif self.interrupted:
                return
            elif due is not None and time.monotonic() >= due:  # what is always there, as in a file, fills batches
                yield None
                due = None
        if rest:
            yield bytes(rest)

    def _ready(self, within_s: float | None) -> bool:
        """Whether reading will not wait, by then; false too when the alarm has gone off."""
        watched = [self._alarm] if self._descriptor is None else [self._alarm, self._descriptor]
        ready, _, _ = select.select(watched, [], [], 0.0 if self._descriptor is None else within_s)
        self.interrupted = self._alarm in ready
        return not self.interrupted and (self._descriptor is None or bool(ready))

    def _read(self) -> bytes:
        if self._descriptor is None:
            return self._stream.read(CHUNK_BYTES)
        return os.read(self._descriptor, CHUNK_BYTES)  # what is there; the stream's own reading waits for more


def descriptor_of(stream: IO[bytes]) -> int | None:
    """None for a stream in memory."""
    try:
        return stream.fileno()
    except OSError:
        return None


def _whole_lines(rest: bytearray, added: int) -> list[bytes]:
    """Take the lines that have ended off the front of what is read; `added` bytes of it were not looked at yet."""
    end = rest.rfind(b"\n", len(rest) - added) + 1
    if not end and len(rest) >= LONGEST_LINE:
        end = len(rest)
    lines = bytes(rest[:end]).removesuffix(b"\n").split(b"\n") if end else []
    del rest[:end]
    return lines


@contextmanager
def interrupts() -> Iterator[int]:
    """A descriptor that can be read once Ctrl-C was pressed. The second Ctrl-C does what the first did before.

    In the main thread. What is under way when it is pressed ends undisturbed, a commit for one.
    """
    reading, writing = os.pipe()
    os.set_blocking(writing, False)

    def pressed(_number: int, _frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, former)

    # By the wake-up descriptor: a handler of Python's would run only after a wait that began just now.
    former_wakeup = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    former = signal.signal(signal.SIGINT, pressed)
    try:
        yield reading
    finally:
        signal.signal(signal.SIGINT, former)
        signal.set_wakeup_fd(former_wakeup)
        os.close(reading)
        os.close(writing)
