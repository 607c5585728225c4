"""One SQLite file in one process and event loop."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, cast

import apsw

from onward.errors import CommitUncertainError, StoreBusyError, StoreClosedError, StoreError, TransactionError
from onward.sqlite.checkpoint import Checkpointer, checkpoint
from onward.sqlite.connection import connect, prepare
from onward.sqlite.failures import translate
from onward.sqlite.folder import run_folder
from onward.sqlite.fork import ForkedConnection, disown_on_fork, forked, outlive_interpreter
from onward.sqlite.schema import Migration, migrations
from onward.sqlite.turn import Holder, WriteTurn

_writing_since: dict[int, float] = {}


def writing_since() -> float | None:
    """Since when, by `time.monotonic`, this process has a transaction open on any file. From any thread."""
    return min(list(_writing_since.values()), default=None)


class Database:
    """One file, its two connections, and transactions in fair turns with every other process on it.

    `writer` is used between `begin` and `commit` or `rollback` only: a statement that would commit by itself
    is rolled back with a `TransactionError` in its place. `reader` sees what is committed and can't write;
    use `read`, which leaves no snapshot open. All of it is called from one thread, the event loop's;
    statements run inline.

    The functions in `after_commit` run after each commit, when the turn has been given back; they must not
    raise.
    """

    def __init__(
        self,
        path: str,
        writer: apsw.Connection,
        reader: apsw.Connection,
        *,
        turn: WriteTurn | None = None,
        checkpointer: Checkpointer | None = None,
        busy_s: float = 30.0,
    ) -> None:
        self.path = path
        self.writer = writer
        self.reader = reader
        self.after_commit: list[Callable[[], None]] = []
        self._turn = turn
        self._checkpointer = checkpointer
        self._busy_s = busy_s
        self._line = asyncio.Lock()
        self._owner: asyncio.Task[object] | None = None
        self._committing = False
        self._refusal: StoreError | None = None
        writer.set_commit_hook(self._refuses_commit)
        disown_on_fork(self)

    @classmethod
    def open(
        cls,
        path: str | Path,
        *,
        busy_s: float = 30.0,
        vfs: str | None = None,
        checkpoint_pages: int = 1000,
        known: Sequence[Migration] | None = None,
    ) -> Database:
        """Opens `path`, makes it if it is not there, and brings its schema up to date.

        Blocks, at most about `busy_s` seconds, while another process makes or changes the file's schema.
        ":memory:" is a database of this process alone, whose reader is the writer. `known` is for tests of
        migrations. Raises the `StoreError` that says why the file can't be used; the file is then as it was.
        """
        steps = migrations() if known is None else known
        if str(path) == ":memory:":
            memory = connect(":memory:", None)
            prepare(memory, ":memory:", steps)
            return cls(":memory:", memory, memory, busy_s=busy_s)
        folder = run_folder(path)
        file = os.path.realpath(path)
        turn = WriteTurn(folder)
        opened: list[apsw.Connection] = []
        try:
            writer = connect(file, vfs, busy_s)
            opened.append(writer)
            prepare(writer, file, steps, turn=turn, busy_s=busy_s)
            reader = connect(file, vfs)
            opened.append(reader)
            reader.pragma("query_only", True)
            reader.set_busy_timeout(1000)
            # A commit in WAL mode never waits for a lock, and a BEGIN that would is tried again off the loop.
            writer.set_busy_timeout(0)
        except BaseException as error:
            for connection in opened:
                connection.close()
            turn.close()
            if isinstance(error, apsw.Error):
                raise translate(error, f"Opening {file}") from error
            raise
        checkpointer = Checkpointer(writer, lambda: connect(file, vfs), checkpoint_pages)
        return cls(file, writer, reader, turn=turn, checkpointer=checkpointer, busy_s=busy_s)

    @property
    def is_mine(self) -> bool:
        """Whether the running task is inside a transaction."""
        return self._line.locked() and self._owner is not None and self._owner is asyncio.current_task()

    async def begin(self) -> None:
        """Returns inside a write transaction; without suspending when nobody else is writing.

        Waits its turn behind the transactions of this process, however long, and then behind other processes.
        Raises `StoreBusyError` when those take more than `busy_s` seconds, and `TransactionError` in a task
        that is already inside one. When cancelled it leaves no lock behind.
        """
        task = asyncio.current_task()
        if self.is_mine:
            raise TransactionError(
                "This task is inside a transaction already, and would wait for itself for ever. "
                "Use that transaction, or begin the other one when it has ended."
            )
        await self._line.acquire()
        try:
            if self._refusal is not None:
                raise type(self._refusal)(str(self._refusal))
            if self._turn is not None:
                await self._turn.take(self._busy_s)
        except BaseException:
            self._line.release()
            raise
        self._owner = task
        try:
            self.writer.execute("BEGIN IMMEDIATE")
        except apsw.BusyError:
            await self._begin_beside_strangers()
        except apsw.Error as error:
            self._end()
            raise translate(error, f"Beginning a transaction on {self.path}") from error
        _writing_since[id(self)] = time.monotonic()

    def commit(self) -> None:
        """Makes the transaction durable, ends it, and runs `after_commit`.

        On any error the transaction is rolled back and ended too.
        """
        self._committing = True
        try:
            self.writer.execute("COMMIT")
            if self._checkpointer is not None:
                self._checkpointer.after_commit()
        except apsw.Error as error:
            raise self._failed_commit(error) from error
        finally:
            self._committing = False
            self._end()
        for notify in self.after_commit:
            notify()

    def rollback(self) -> None:
        """Undoes and ends the transaction. Safe after an error that made SQLite roll back by itself."""
        try:
            if self.writer.in_transaction:
                self.writer.execute("ROLLBACK")
        except apsw.Error as error:
            raise translate(error, f"Rolling back on {self.path}") from error
        finally:
            self._end()

    def transaction(self) -> _Scope:
        """`async with`: begins, gives the writer; commits at the block's end, rolls back on any exception."""
        return _Scope(self)

    @contextmanager
    def transaction_sync(self) -> Iterator[apsw.Connection]:
        """`transaction` for scripts and threads without an event loop: it blocks until its turn comes."""
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            pass
        else:
            raise TransactionError("transaction_sync() would block the event loop: use `async with transaction()`.")
        self._begin_blocking()
        try:
            yield self.writer
        except BaseException:
            self.rollback()
            raise
        self.commit()

    def read(
        self, sql: str, params: Sequence[apsw.SQLiteValue] | dict[str, apsw.SQLiteValue] = ()
    ) -> list[tuple[Any, ...]]:
        """All rows of a query on committed data. No snapshot stays open, so the log can start over."""
        try:
            return self.reader.execute(sql, params).fetchall()
        except apsw.Error as error:
            raise translate(error, f"Reading {self.path}") from error

    def holder(self) -> Holder | None:
        """Who has the turn to write, as far as is recorded."""
        return self._turn.holder() if self._turn is not None else None

    def close(self) -> None:
        """Rolls back what is open, copies the log into the file and closes it. Safe to repeat."""
        if self._refusal is not None:
            return
        if self.writer.in_transaction:
            self.rollback()
        self._refusal = StoreClosedError(f"{self.path} was closed. Nothing was written; use it only until `close`.")
        if self._checkpointer is not None:
            self._checkpointer.close()
            checkpoint(self.writer)
        self.reader.close()
        self.writer.close()
        if self._turn is not None:
            self._turn.close()

    async def _begin_beside_strangers(self) -> None:
        """Tries again while a program that knows nothing of turns, such as a shell, holds SQLite's lock."""
        until = time.monotonic() + self._busy_s
        pause_s = 0.001
        try:
            while True:
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * 2, 0.05)
                try:
                    self.writer.execute("BEGIN IMMEDIATE")
                except apsw.BusyError as error:
                    if time.monotonic() >= until:
                        raise StoreBusyError(
                            f"A program outside onward has held the write lock of {self.path} for "
                            f"{self._busy_s:g} s. Nothing was written; end its transaction and try again.",
                            holder_pid=None,
                            wait_s=self._busy_s,
                        ) from error
                else:
                    return
        except apsw.Error as error:
            self._end()
            raise translate(error, f"Beginning a transaction on {self.path}") from error
        except BaseException:
            self._end()
            raise

    def _begin_blocking(self) -> None:
        if self._refusal is not None:
            raise type(self._refusal)(str(self._refusal))
        if self.writer.in_transaction:
            raise TransactionError("transaction_sync() can't be nested: use the transaction that is open.")
        until = time.monotonic() + self._busy_s
        if self._turn is not None:
            self._turn.take_blocking(self._busy_s)
        try:
            self.writer.set_busy_timeout(max(0, int((until - time.monotonic()) * 1000)))
            self.writer.execute("BEGIN IMMEDIATE")
        except apsw.Error as error:
            self._end()
            raise translate(error, f"Beginning a transaction on {self.path}") from error
        finally:
            self.writer.set_busy_timeout(0)
        _writing_since[id(self)] = time.monotonic()

    def _failed_commit(self, error: apsw.Error) -> StoreError:
        if isinstance(error, apsw.SQLError) and not self.writer.in_transaction:
            return TransactionError(
                f"There is no transaction on {self.path} to commit: an earlier error or a ROLLBACK of the "
                "user's ended it. Nothing was stored; let errors of statements leave the transaction.",
                path=self.path,
            )
        with suppress(apsw.Error):
            if self.writer.in_transaction:
                self.writer.execute("ROLLBACK")
        failure = translate(error, f"Committing to {self.path}")
        return CommitUncertainError(str(failure), **failure.fields) if isinstance(error, apsw.IOError) else failure

    def _end(self) -> None:
        self._owner = None
        _writing_since.pop(id(self), None)
        if self._turn is not None:
            self._turn.give_back()
        if self._line.locked():
            self._line.release()

    def _refuses_commit(self) -> bool:
        return not self._committing

    def disown(self) -> None:
        """Makes every use in a forked child an error, and none of it harm the parent's locks."""
        self._refusal = forked(self.path)
        _writing_since.pop(id(self), None)
        outlive_interpreter(self.writer, self.reader)
        self.writer = self.reader = cast(apsw.Connection, ForkedConnection(self.path))
        if self._turn is not None:
            self._turn.disown()


class _Scope:
    """`async with` around one transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def __aenter__(self) -> apsw.Connection:
        await self._database.begin()
        return self._database.writer

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._database.commit()
        else:
            self._database.rollback()
