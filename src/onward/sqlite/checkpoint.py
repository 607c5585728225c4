"""Keeping the write-ahead log short: its pages are copied into the file beside the traffic."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

import apsw

from onward.sqlite.failures import translate

_log = logging.getLogger("onward.sqlite")

BACK_PRESSURE = 16
"""At this many times the threshold the committer copies the pages itself, while nobody else can add any."""

REST = 4
"""What a pass has left behind, if it is at most the threshold by this, the committer copies too."""


class Checkpointer:
    """Copies the log's pages each time it has grown by `threshold_pages`, in a thread of its own.

    Every process of a file has one and may start a pass at any time: SQLite's own checkpoint lock lets one of
    them through and turns the others away at once, so no lock of onward is needed. A pass never waits for
    readers or writers. Under steady writing it never catches the log's end either, and only a log copied to
    its end starts over: so the next committer copies the few pages that a pass has left, while nobody else can
    add any. A log that starts over is written in place, and to make that durable costs half of what a growing
    file does. `BACK_PRESSURE` bounds the log's growth where passes fall behind, unless a reader keeps an old
    snapshot open.
    """

    def __init__(self, writer: apsw.Connection, connect: Callable[[], apsw.Connection], threshold_pages: int) -> None:
        self._writer = writer
        self._connect = connect
        self._threshold_pages = threshold_pages
        self._due_pages = threshold_pages
        self._pages = 0
        self._copied_pages = 0
        self._wanted = threading.Event()
        self._closing = False
        self._thread: threading.Thread | None = None
        writer.set_wal_hook(self._note)

    def after_commit(self) -> None:
        """Ends a pass that is nearly through, or starts one if it is due. Called with the turn to write still held."""
        pages = self._pages
        copied, self._copied_pages = self._copied_pages, 0
        if 0 < copied < pages <= copied + self._threshold_pages // REST:
            checkpoint(self._writer)
            return
        if pages < self._due_pages:
            if pages < self._threshold_pages:
                self._due_pages = self._threshold_pages
            return
        if pages >= BACK_PRESSURE * self._threshold_pages:
            if checkpoint(self._writer) is not None:
                self._due_pages = pages + self._threshold_pages
            return
        self._due_pages = pages + self._threshold_pages
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="onward-checkpoint", daemon=True)
            self._thread.start()
        self._wanted.set()

    def close(self) -> None:
        """Ends the thread after the pass it is in."""
        self._closing = True
        self._wanted.set()
        if self._thread is not None:
            self._thread.join()

    def _note(self, _connection: apsw.Connection, _schema: str, pages: int) -> int:
        self._pages = pages
        return apsw.SQLITE_OK

    def _run(self) -> None:
        connection: apsw.Connection | None = None
        while self._wanted.wait() and not self._closing:
            self._wanted.clear()
            try:
                connection = connection or self._connect()
            except apsw.Error as error:
                _log.warning("%s", translate(error, "Opening the file for a checkpoint"))
                continue
            self._pass(connection)
        if connection is not None:
            connection.close()

    def _pass(self, connection: apsw.Connection) -> None:
        self._copied_pages = checkpoint(connection) or 0


def checkpoint(connection: apsw.Connection) -> int | None:
    """One pass, without waiting for anybody: how many pages of the log are in the file by now.

    None when another process is at it or the disk refused. Never raises: the transactions are safe in the log, and
    the next pass tries again.
    """
    try:
        _, copied = connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
    except apsw.BusyError:
        return None
    except apsw.Error as error:
        _log.warning("%s", translate(error, "Copying the write-ahead log into the file"))
        return None
    return copied
