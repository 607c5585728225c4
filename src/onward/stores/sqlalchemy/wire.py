"""How a session's statements reach the transaction that it is on."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, Protocol

from onward.errors import OnwardError, TransactionError
from onward.stores.result import Driven
from onward.stores.savepoints import Savepoint
from onward.stores.sqlalchemy.sqlite_dbapi import translated

Wait = Callable[[Coroutine[Any, Any, Any]], Any]
"""Runs a coroutine to its end for code that can't await it."""

Arguments = Mapping[str, Any] | Sequence[Any]


class Wire(Protocol):
    """One open transaction, to the driver under a session. `statements` are the store's own."""

    statements: Any

    def run(self, sql: str, args: Arguments | None, *, many: bool) -> Driven:
        """Raises what the dialect's driver raises, and TransactionError for what a handler can't do."""
        ...

    def enter(self) -> Savepoint: ...

    def leave(self, savepoint: Savepoint, *, keep: bool) -> None: ...


class PostgresWire:
    """Statements run on the event loop; `wait` is one of a greenlet or of a thread."""

    def __init__(self, statements: Any, wait: Wait) -> None:
        self.statements = statements
        self._wait = wait

    def run(self, sql: str, args: Arguments | None, *, many: bool) -> Driven:
        try:
            driven: Driven = self._wait(self.statements.drive(sql, args, many=many))
        except (OnwardError, TypeError) as error:
            if (cause := _drivers(error)) is None:
                raise
            raise cause from None
        return driven

    def enter(self) -> Savepoint:
        savepoint: Savepoint = self.statements.enter()
        try:
            self._wait(self.statements.begin(savepoint))
        except BaseException:
            self.statements.leave(savepoint, keep=False)
            raise
        return savepoint

    def leave(self, savepoint: Savepoint, *, keep: bool) -> None:
        innermost = self.statements.leave(savepoint, keep=keep)
        if innermost is not None:
            self._wait(self.statements.end(savepoint, keep=keep, innermost=innermost))


class SqliteWire:
    """Statements complete inline. An async session has a `wait` all the same: it expects to be able to wait."""

    def __init__(self, statements: Any, wait: Wait | None) -> None:
        self.statements = statements
        self._wait = wait

    def run(self, sql: str, args: Arguments | None, *, many: bool) -> Driven:
        if self._wait is not None:
            self._wait(_nothing())
        try:
            driven: Driven = self.statements.drive(sql, args, many=many)
        except (OnwardError, TypeError) as error:
            if (cause := _drivers(error)) is None:
                raise
            raise translated(cause) from cause
        return driven

    def enter(self) -> Savepoint:
        savepoint: Savepoint = self.statements.enter()
        return savepoint

    def leave(self, savepoint: Savepoint, *, keep: bool) -> None:
        self.statements.leave(savepoint, keep=keep)


def _drivers(error: Exception) -> BaseException | None:
    """The error of the driver's own behind it; None where it is onward that refuses."""
    cause = error.__cause__
    if isinstance(cause, KeyError | TypeError):
        return cause
    return None if isinstance(error, TransactionError) or isinstance(cause, OnwardError) else cause


async def _nothing() -> None:
    """Ends without a turn of the event loop."""
