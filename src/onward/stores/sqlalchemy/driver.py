"""A connection as SQLAlchemy expects one of a driver (PEP 249), whose transaction is onward's to begin and to end."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any

from onward.errors import TransactionError
from onward.stores.refusals import ended
from onward.stores.savepoints import Savepoint
from onward.stores.sqlalchemy.wire import Arguments, Wire

Row = tuple[Any, ...]


class DrivenConnection:
    """Inside a transaction from its first moment to `end`. Savepoints have the names that SQLAlchemy gives them."""

    closed = False
    broken = False

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self.over = False
        self._savepoints: dict[str, Savepoint] = {}

    def cursor(self) -> DrivenCursor:
        if self.over:
            raise ended()
        return DrivenCursor(self)

    def enter(self, name: str) -> None:
        if self.over:
            raise ended()
        self._savepoints[name] = self.wire.enter()

    def leave(self, name: str, *, keep: bool) -> None:
        savepoint = self._savepoints.pop(name, None)
        if savepoint is not None and not self.over:
            self.wire.leave(savepoint, keep=keep)

    def commit(self) -> None:
        raise refused("commit")

    def rollback(self) -> None:
        """SQLAlchemy does this when a flush has failed: what it undoes, onward must not commit."""
        statements = self.wire.statements
        if not self.over and statements.failed is None:
            statements.failed = TransactionError(
                "the session was rolled back, as after a flush that failed without a savepoint around it"
            )

    def end(self) -> None:
        """Nothing runs on it from now on; the transaction goes on without it. Safe to repeat."""
        self.over = True

    def close(self) -> None:
        self.end()


class DrivenCursor:
    """The result of one statement, read whole."""

    arraysize = 1
    description: Sequence[Row] | None = None
    rowcount = -1
    lastrowid: int | None = None

    def __init__(self, connection: DrivenConnection) -> None:
        self.connection = connection
        self._rows: deque[Row] = deque()

    def execute(self, sql: str, args: Arguments | None = None) -> None:
        self._run(sql, args, many=False)

    def executemany(self, sql: str, args: Sequence[Arguments]) -> None:
        self._run(sql, args, many=True)

    def _run(self, sql: str, args: Arguments | None, *, many: bool) -> None:
        if self.connection.over:
            raise ended()
        driven = self.connection.wire.run(sql, args, many=many)
        self._rows = deque(driven.rows)
        self.description, self.rowcount, self.lastrowid = driven.columns, driven.rowcount, driven.lastrowid

    def fetchone(self) -> Row | None:
        return self._rows.popleft() if self._rows else None

    def fetchmany(self, size: int | None = None) -> list[Row]:
        return [self._rows.popleft() for _ in range(min(size or self.arraysize, len(self._rows)))]

    def fetchall(self) -> list[Row]:
        rows = list(self._rows)
        self._rows.clear()
        return rows

    def __iter__(self) -> Iterator[Row]:
        while self._rows:
            yield self._rows.popleft()

    def setinputsizes(self, sizes: object) -> None:
        """Every value says by itself what it is."""

    def setoutputsize(self, size: object, column: object = None) -> None:
        """Results are read whole."""

    def close(self) -> None:
        """What was read stays readable, as a stream of an async session wants it."""

    async def _async_soft_close(self) -> None:
        """SQLAlchemy awaits this of an async driver's cursor before it hands the result on."""


def refused(what: str) -> TransactionError:
    """`what` is a verb, such as "commit"."""
    return TransactionError(
        f"A session that onward gave can't {what}: its transaction commits when the handler returns, together with the"
        " event, or at the end of `app.session()`. Leave that away; `flush` sends what is pending, raising an error"
        " undoes everything, and `session.begin_nested()` a part."
    )
