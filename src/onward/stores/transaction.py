"""A handler's statements on the SQLite file: they complete inline, without a round trip through the event loop."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from copy import copy
from typing import Any

import apsw
import msgspec

from onward.errors import StoreError, TransactionError
from onward.outgoing import encode as encode_event
from onward.ports import Outgoing
from onward.sqlite.failures import translate

_FORBIDDEN = {
    apsw.SQLITE_TRANSACTION: "begin, commit or roll back",
    apsw.SQLITE_SAVEPOINT: "use SAVEPOINT (tx.savepoint() does that)",
    apsw.SQLITE_ATTACH: "attach files",
    apsw.SQLITE_DETACH: "detach files",
    apsw.SQLITE_PRAGMA: "use PRAGMA",
}
_WRITES = {apsw.SQLITE_INSERT, apsw.SQLITE_UPDATE, apsw.SQLITE_DELETE, apsw.SQLITE_DROP_TABLE, apsw.SQLITE_ALTER_TABLE}
_ROLLS_BACK = re.compile(r"\bOR\s+ROLLBACK\b", re.IGNORECASE)
MAX_VETTED = 10_000


class SqliteResult(msgspec.Struct, eq=False):
    """Rows and the number of rows changed."""

    rows: list[tuple[Any, ...]]
    rowcount: int

    def one(self) -> tuple[Any, ...]:
        if len(self.rows) != 1:
            raise TransactionError(f"one() wants exactly one row and the statement gave {len(self.rows)}.")
        return self.rows[0]

    def scalar(self) -> Any:
        return self.rows[0][0] if self.rows else None


class Statements:
    """What both faces of the transaction share: running, vetting, savepoints, the events published so far."""

    def __init__(self, connection: apsw.Connection) -> None:
        self.connection = connection
        self._cursor = connection.cursor()  # one for all: a new one for each statement costs a third of an UPDATE
        self.outputs: list[Outgoing] = []
        self.failed: StoreError | None = None
        self.open = False
        self._vetted: set[str] = set()
        self._depth = 0

    def anew(self) -> Statements:
        """For another transaction: a `tx` kept from this one stays ended while the other is open."""
        other = copy(self)
        other.open, other.failed, other.outputs, other._depth = False, None, [], 0
        return other

    def run(self, sql: str, params: dict[str, Any]) -> SqliteResult:
        if not self.open or self.failed is not None or sql not in self._vetted:
            self._admit(sql)
        try:
            rows = self._cursor.execute(sql, params or None).fetchall()
        except apsw.Error as error:
            self.failed = translate(error, f"Running {sql[:200]!r}")
            raise self.failed from error
        except (KeyError, TypeError) as error:
            raise misfit(sql, error) from error
        return SqliteResult(rows, self.connection.changes())

    def publish(self, events: tuple[object, ...]) -> None:
        if not self.open:
            raise _ended()
        self.outputs.extend(map(encode_event, events))

    def enter(self) -> int:
        if not self.open:
            raise _ended()
        self._depth += 1
        self.connection.execute(f"SAVEPOINT onward_user_{self._depth}")
        return len(self.outputs)

    def leave(self, outputs: int, keep: bool) -> None:
        name = f"onward_user_{self._depth}"
        self._depth -= 1
        if not keep or self.failed is not None:
            self.connection.execute(f"ROLLBACK TO {name}")
            del self.outputs[outputs:]
            self.failed = None
        self.connection.execute(f"RELEASE {name}")

    def _admit(self, sql: str) -> None:
        if not self.open:
            raise _ended()
        if self.failed is not None:
            raise TransactionError(
                f"An earlier statement failed ({self.failed}) and its error was caught without a savepoint, so this"
                " event can't take effect. Put `async with tx.savepoint():` around what may fail."
            ) from self.failed
        self._vet(sql)
        if len(self._vetted) >= MAX_VETTED:
            self._vetted.clear()
        self._vetted.add(sql)

    def _vet(self, sql: str) -> None:
        """Prepare without running, and refuse what would end the transaction or touch onward's tables."""
        refused: list[str] = []
        if _ROLLS_BACK.search(sql):
            raise TransactionError(
                f"A handler can't say OR ROLLBACK inside its transaction, as in {sql[:200]!r}: it would undo the"
                " events before this one too. Use OR ABORT, which is what SQLite does by default."
            )

        def authorize(action: int, first: str | None, second: str | None, _db: str | None, _view: str | None) -> int:
            if action in _FORBIDDEN:
                refused.append(_FORBIDDEN[action])
            elif action in _WRITES and (first or "").startswith("onward_"):
                refused.append(f"change onward's own table {first}")
            return apsw.SQLITE_OK if not refused else apsw.SQLITE_DENY

        cursor = self.connection.cursor()
        cursor.exec_trace = _never
        self.connection.authorizer = authorize
        try:
            cursor.execute(sql, can_cache=False)
        except apsw.ExecTraceAbort:
            pass
        except apsw.BindingsError:
            pass
        except apsw.Error as error:
            if refused:
                raise TransactionError(
                    f"A handler can't {refused[0]} inside its transaction, as in {sql[:200]!r}: onward commits it"
                    " together with the event. Nothing was stored."
                ) from error
            self.failed = translate(error, f"Preparing {sql[:200]!r}")
            raise self.failed from error
        finally:
            self.connection.authorizer = None
            cursor.close(True)


def misfit(sql: str, error: Exception) -> TransactionError:
    """For parameters that a statement can't be given."""
    return TransactionError(
        f"The parameters of {sql[:200]!r} don't fit ({error}): give each :name as a keyword, as text, bytes, int, float"
        " or None."
    )


def _never(_cursor: apsw.Cursor, _sql: str, _bindings: object) -> bool:
    return False


def _ended() -> TransactionError:
    return TransactionError(
        "This transaction has ended: it lives as long as the handler call it was given to. Use it there."
    )


class SqliteTransaction:
    """`Transaction` on the file."""

    __slots__ = ("_statements",)

    def __init__(self, statements: Statements) -> None:
        self._statements = statements

    async def execute(self, sql: str, /, **params: object) -> SqliteResult:
        return self._statements.run(sql, params)

    async def submit(self, sql: str, /, **params: object) -> None:
        self._statements.run(sql, params)

    async def publish(self, *events: object) -> None:
        self._statements.publish(events)

    @asynccontextmanager
    async def savepoint(self) -> AsyncIterator[None]:
        with _savepoint(self._statements):
            yield


class SqliteSyncTransaction:
    """`SyncTransaction` on the file."""

    __slots__ = ("_statements",)

    def __init__(self, statements: Statements) -> None:
        self._statements = statements

    def execute(self, sql: str, /, **params: object) -> SqliteResult:
        return self._statements.run(sql, params)

    def submit(self, sql: str, /, **params: object) -> None:
        self._statements.run(sql, params)

    def publish(self, *events: object) -> None:
        self._statements.publish(events)

    @contextmanager
    def savepoint(self) -> Iterator[None]:
        with _savepoint(self._statements):
            yield


@contextmanager
def _savepoint(statements: Statements) -> Iterator[None]:
    outputs = statements.enter()
    try:
        yield
    except BaseException:
        statements.leave(outputs, keep=False)
        raise
    statements.leave(outputs, keep=True)
