"""A file looked at and never changed: for the audit, for people, and for other programs."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import apsw

from onward.errors import SchemaVersionError, StoreError
from onward.sqlite.failures import translate
from onward.sqlite.members import Member, Members
from onward.sqlite.schema import check, migrations

BUSY_MS = 5000
TICK_STEPS = 10_000  # virtual machine steps of SQLite between two looks at a query's time limit


class Inspection:
    """One read-only connection to an existing file. Neither the file nor its folder is ever made."""

    def __init__(self, path: Path, connection: apsw.Connection) -> None:
        self.path = path
        self._connection = connection

    @classmethod
    def open(cls, path: str | Path) -> Inspection:
        """Raises the StoreError that says why there is nothing to look at."""
        file = Path(os.path.realpath(path))
        if not file.is_file():
            raise StoreError(
                f"There is no database at {path}. Nothing was made; name the file with --database or ONWARD_STORE, or"
                " start a service with `onward run`, which makes it.",
                path=str(path),
            )
        try:
            connection = _connect(file)
        except apsw.Error as error:
            raise translate(error, f"Opening {path}") from error
        try:
            if not check(connection, str(path), migrations()):
                raise SchemaVersionError(
                    f"{path} has no tables of this version of onward. Nothing was changed; `onward run` brings the"
                    " file of an older version up to date, and --database names another one.",
                    path=str(path),
                )
        except apsw.Error as error:
            connection.close()
            raise translate(error, f"Reading {path}") from error
        except BaseException:
            connection.close()
            raise
        return cls(file, connection)

    def rows(self, sql: str, *params: apsw.SQLiteValue) -> list[tuple[Any, ...]]:
        """All rows of a query. Raises StoreError."""
        try:
            return self._connection.execute(sql, params).fetchall()
        except apsw.Error as error:
            raise translate(error, f"Reading {self.path}") from error

    def stream(self, sql: str, *params: apsw.SQLiteValue) -> Iterator[tuple[Any, ...]]:
        """The rows of a query one by one. Raises StoreError."""
        try:
            yield from self._connection.execute(sql, params)
        except apsw.Error as error:
            raise translate(error, f"Reading {self.path}") from error

    def bounded(self, sql: str, *, rows: int, steps: int) -> tuple[list[str], list[tuple[Any, ...]], bool]:
        """Columns, the first rows of a query that somebody else wrote, and whether there are more than `rows`.

        Raises StoreError when it fails, and when it needs more than `steps` times 10,000 instructions.
        """
        left = steps

        def tick() -> bool:
            nonlocal left
            left -= 1
            return left < 0

        self._connection.set_progress_handler(tick, TICK_STEPS)
        try:
            columns: list[str] = []
            found: list[tuple[Any, ...]] = []
            with closing(self._connection.execute(sql)) as cursor:
                for row in cursor:
                    columns = columns or [column[0] for column in cursor.get_description()]
                    found.append(row)
                    if len(found) > rows:
                        break
        except apsw.InterruptError as error:
            raise StoreError(
                f"The query was stopped after {steps * TICK_STEPS:,} steps: make it cheaper, with an index or a total"
                " that is kept."
            ) from error
        except apsw.Error as error:
            raise translate(error, "Running the query") from error
        finally:
            self._connection.set_progress_handler(None)
        return columns, found[:rows], len(found) > rows

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Every query inside sees the file as it was at the first one."""
        try:
            self._connection.execute("BEGIN")
        except apsw.Error as error:
            raise translate(error, f"Reading {self.path}") from error
        try:
            yield
        finally:
            self._connection.execute("ROLLBACK")

    @contextmanager
    def scratch(self) -> Iterator[apsw.Connection]:
        """A connection of its own that can fill temporary tables, kept in files of their own, and write nothing else.

        Raises StoreError for what SQLite raises inside.
        """
        connection: apsw.Connection | None = None
        try:
            connection = apsw.Connection(str(self.path), flags=apsw.SQLITE_OPEN_READONLY)
            connection.set_busy_timeout(BUSY_MS)
            connection.pragma("temp_store", "FILE")
            connection.execute("PRAGMA temp.journal_mode = OFF").fetchall()
            yield connection
        except apsw.Error as error:
            raise translate(error, f"Reading {self.path}") from error
        finally:
            if connection is not None:
                connection.close()

    def members(self) -> list[Member]:
        """The processes that live on this file now, by their id."""
        folder = run_folder_of(self.path)
        return Members(folder).alive() if (folder / "members").is_dir() else []

    def close(self) -> None:
        """Safe to repeat."""
        self._connection.close()


@contextmanager
def inspecting(path: str | Path) -> Iterator[Inspection]:
    """`Inspection.open`, closed at the block's end."""
    inspection = Inspection.open(path)
    try:
        yield inspection
    finally:
        inspection.close()


def run_folder_of(path: Path) -> Path:
    """Where the run folder of a file is, whether or not it is there yet."""
    file = Path(os.path.realpath(path))
    return file.with_name(file.name + "-run")


def count_of(rows: Sequence[tuple[Any, ...]]) -> int:
    """The number in a result of one row and one column; 0 for NULL."""
    return int(rows[0][0] or 0)


def _connect(file: Path) -> apsw.Connection:
    flags = apsw.SQLITE_OPEN_READWRITE if os.access(file, os.W_OK) else apsw.SQLITE_OPEN_READONLY
    connection = apsw.Connection(str(file), flags=flags)
    try:
        connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)  # looking must not move pages either
        connection.set_busy_timeout(BUSY_MS)
        connection.pragma("query_only", True)
        connection.pragma("journal_mode")  # the first read: damage shows here
    except BaseException:
        connection.close()
        raise
    return connection
