"""A handler's statements on the SQLite file: they complete inline, without a round trip through the event loop."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from copy import copy
from datetime import datetime
from typing import Any

import apsw

from onward.delays import Delay, due_micros
from onward.errors import StoreError, TransactionError
from onward.outgoing import encode_all, put_off
from onward.ports import Outgoing
from onward.sqlite.database import Database
from onward.sqlite.failures import translate
from onward.stores.refusals import crossed_savepoints, ended, failed_before, misfit
from onward.stores.result import Driven, StatementResult
from onward.stores.savepoints import Savepoint, Savepoints
from onward.stores.vetting import Plan, vet

MAX_VETTED = 10_000


class Statements:
    """What both faces of the transaction share: running, vetting, savepoints, the events published so far."""

    dialect = "sqlite"

    def __init__(self, database: Database, service: str, now: Callable[[], float]) -> None:
        connection = database.writer
        self.path = database.path
        self.service = service
        self.now = now
        self.connection = connection
        self._changes = connection.changes
        self._execute = connection.cursor().execute  # one for all: a new one each time costs a third of an UPDATE
        self.outputs: list[Outgoing] = []
        self.failed: StoreError | None = None
        self.open = False
        self._plans: dict[str, Plan] = {}
        self.savepoints = Savepoints()

    def anew(self) -> Statements:
        """For another transaction: a `tx` kept from this one stays ended while the other is open."""
        other = copy(self)
        other.open, other.failed, other.outputs, other.savepoints = False, None, [], Savepoints()
        return other

    def run(self, sql: str, params: dict[str, Any]) -> StatementResult:
        plan = self._plans.get(sql)
        if plan is None or not self.open or self.failed is not None or self.savepoints:
            plan = self._admit(sql)
        try:
            cursor = self._execute(sql, plan.arguments(params))
            return StatementResult(cursor.fetchall() if plan.gives_rows else [], self._changes())
        except apsw.Error as error:
            self.failed = self._failure(sql, error)
            raise self.failed from error
        except (KeyError, TypeError) as error:
            raise misfit(sql, error) from error

    def drive(self, sql: str, params: Any, *, many: bool) -> Driven:
        """`run` for who speaks as a driver does; `many` sets of parameters, or one."""
        plan = self._admit(sql)
        cursor = self.connection.cursor()
        columns: list[tuple[Any, ...]] = []
        reads = False

        def begun(begun: apsw.Cursor, _sql: str, _bindings: object) -> bool:
            nonlocal reads, columns
            reads = begun.is_readonly
            # Asked now: a finished statement has none to tell, and what an earlier one had may have been altered.
            columns = [(name, *[None] * 6) for name, _ in begun.get_description()]
            return True

        cursor.exec_trace = begun
        rows: list[tuple[Any, ...]] = []
        changed = 0
        try:
            for each in params if many else [params or {}]:
                rows += cursor.execute(sql, plan.arguments(each)).fetchall()
                changed += self._changes()
        except apsw.Error as error:
            self.failed = self._failure(sql, error)
            raise self.failed from error
        except (KeyError, TypeError) as error:
            raise misfit(sql, error) from error
        return Driven(rows, columns or None, -1 if reads else changed, self.connection.last_insert_rowid())

    @property
    def taken_away(self) -> StoreError | None:
        """The error of the statement that has undone the whole transaction by itself, if one has."""
        return None if self.connection.in_transaction else self.failed

    def refuse_ended(self) -> None:
        """Raises TransactionError when somebody else has ended the transaction."""
        if not self.connection.in_transaction:
            raise self.failed or TransactionError(
                "The transaction that the handlers were given was ended behind onward's back. Nothing of it was stored;"
                " leave BEGIN, COMMIT and ROLLBACK to onward."
            )

    def _failure(self, sql: str, error: apsw.Error) -> StoreError:
        if isinstance(error, apsw.ConstraintError) and not self.connection.in_transaction:
            return TransactionError(
                f"{sql[:200]!r} failed ({error}), and the schema says ROLLBACK for that: SQLite undid the whole"
                " transaction. Nothing of this event was stored. Say ABORT in the table's ON CONFLICT, or in the"
                " trigger's RAISE, which undoes the statement alone."
            )
        return translate(error, f"Running {sql[:200]!r}")

    def publish(self, events: tuple[object, ...], at: datetime | None, delay: Delay | None) -> None:
        if not self.open:
            raise ended()
        self.savepoints.refuse_others()
        self.outputs.extend(put_off(encode_all(events), due_micros(self.now(), at, delay)))

    def enter(self) -> Savepoint:
        if not self.open:
            raise ended()
        savepoint = self.savepoints.enter(len(self.outputs))
        self.connection.execute(f"SAVEPOINT {savepoint.name}")
        return savepoint

    def leave(self, savepoint: Savepoint, keep: bool) -> None:
        innermost = self.savepoints.leave(savepoint)
        if innermost is None or not self.open:
            if keep:
                raise ended()
            return  # its work is undone already
        gone = self.taken_away
        if gone is not None:
            if keep:
                raise gone
            return
        if not keep or not innermost or self.failed is not None:
            self.connection.execute(f"ROLLBACK TO {savepoint.name}")
            del self.outputs[savepoint.outputs :]
            self.failed = None
        self.connection.execute(f"RELEASE {savepoint.name}")
        if not innermost:
            self.failed = crossed_savepoints()
            raise self.failed

    def _admit(self, sql: str) -> Plan:
        if not self.open:
            raise ended()
        self.savepoints.refuse_others()
        if self.failed is not None:
            raise failed_before(self.failed) from self.failed
        known = self._plans.get(sql)
        if known is not None:
            return known
        try:
            plan = vet(self.connection, sql)
        except TransactionError:
            raise  # refused by us: SQLite heard nothing of it
        except StoreError as error:
            self.failed = error
            raise
        if len(self._plans) >= MAX_VETTED:
            self._plans.clear()
        self._plans[sql] = plan
        return plan


class SqliteTransaction:
    """`Transaction` on the file."""

    __slots__ = ("_run", "statements")

    def __init__(self, statements: Statements) -> None:
        self.statements = statements
        self._run = statements.run

    async def execute(self, sql: str, /, **params: object) -> StatementResult:
        return self._run(sql, params)

    async def submit(self, sql: str, /, **params: object) -> None:
        self._run(sql, params)

    async def publish(self, *events: object, at: datetime | None = None, delay: Delay | None = None) -> None:
        self.statements.publish(events, at, delay)

    @asynccontextmanager
    async def savepoint(self) -> AsyncIterator[None]:
        with _savepoint(self.statements):
            yield


class SqliteSyncTransaction:
    """`SyncTransaction` on the file."""

    __slots__ = ("statements",)

    def __init__(self, statements: Statements) -> None:
        self.statements = statements

    def execute(self, sql: str, /, **params: object) -> StatementResult:
        return self.statements.run(sql, params)

    def submit(self, sql: str, /, **params: object) -> None:
        self.statements.run(sql, params)

    def publish(self, *events: object, at: datetime | None = None, delay: Delay | None = None) -> None:
        self.statements.publish(events, at, delay)

    @contextmanager
    def savepoint(self) -> Iterator[None]:
        with _savepoint(self.statements):
            yield


@contextmanager
def _savepoint(statements: Statements) -> Iterator[None]:
    savepoint = statements.enter()
    try:
        yield
    except BaseException:
        statements.leave(savepoint, keep=False)
        raise
    statements.leave(savepoint, keep=True)
