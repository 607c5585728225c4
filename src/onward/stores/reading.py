"""Queries outside of transactions: they see what is committed, and take no turn to write."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import apsw

from onward.sqlite.database import Database
from onward.sqlite.failures import translate
from onward.stores.refusals import misfit, no_query, read_inside
from onward.stores.result import StatementResult
from onward.stores.transaction import MAX_VETTED


class Queries:
    """Runs the service's own queries on a database's reader."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._vetted: set[str] = set()

    def refuse_inside(self) -> None:
        """Raises TransactionError in a task that is inside a transaction: what it wrote there would be missing."""
        if self._database.is_mine:
            raise read_inside()

    def run(self, sql: str, params: Mapping[str, Any]) -> StatementResult:
        """All rows. Raises TransactionError for what is no query, and StoreError."""
        reader = self._database.reader
        given = dict(params) or None
        try:
            if sql not in self._vetted:
                self._vet(reader, sql, given)
            return StatementResult(reader.execute(sql, given).fetchall(), 0)
        except apsw.Error as error:
            raise translate(error, f"Reading with {sql[:200]!r}") from error
        except (KeyError, TypeError) as error:
            raise misfit(sql, error) from error

    def _vet(self, reader: apsw.Connection, sql: str, params: dict[str, Any] | None) -> None:
        """Prepare without running, and refuse whatever is not one query alone."""
        actions: list[int] = []
        queries: list[bool] = []

        def authorize(action: int, *_about: str | None) -> int:
            actions.append(action)
            return apsw.SQLITE_OK

        def look(cursor: apsw.Cursor, statement: str, _bindings: object) -> bool:
            queries.append(cursor.is_readonly and actions[:1] == [apsw.SQLITE_SELECT] and statement == sql)
            return False

        cursor = reader.cursor()
        cursor.exec_trace = look
        reader.authorizer = authorize
        try:
            cursor.execute(sql, params, can_cache=False)
        except apsw.ExecTraceAbort:
            pass
        finally:
            reader.authorizer = None
            cursor.close(True)
        if queries != [True]:
            raise no_query(sql)
        if len(self._vetted) >= MAX_VETTED:
            self._vetted.clear()
        self._vetted.add(sql)
