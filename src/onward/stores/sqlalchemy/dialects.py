"""SQLAlchemy's dialects for SQLite and PostgreSQL, on connections that are inside a transaction of onward."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from functools import lru_cache
from typing import Any

from sqlalchemy import URL, Connection, Engine
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.dialects.sqlite.base import SQLiteCompiler, SQLiteDialect
from sqlalchemy.engine.default import DefaultDialect
from sqlalchemy.pool import NullPool
from sqlalchemy.util import immutabledict

from onward.errors import TransactionError
from onward.stores.sqlalchemy import sqlite_dbapi
from onward.stores.sqlalchemy.driver import DrivenConnection, refused

MAX_ENGINES = 64  # one for each store in use and kind of session: what it keeps is compiled statements

handed: ContextVar[DrivenConnection] = ContextVar("onward_handed_connection")
"""The connection that the next `connect` in this context gets."""


class _Inside(DefaultDialect):
    """What both have in common: the transaction is begun already, and ended by someone else."""

    supports_statement_cache = True
    supports_server_side_cursors = False
    initialized = False

    def do_savepoint(self, connection: Connection, name: str) -> None:
        _driven(connection).enter(name)

    def do_rollback_to_savepoint(self, connection: Connection, name: str) -> None:
        _driven(connection).leave(name, keep=False)

    def do_release_savepoint(self, connection: Connection, name: str) -> None:
        _driven(connection).leave(name, keep=True)

    def do_begin_twophase(self, connection: Connection, xid: Any) -> None:
        raise refused("prepare two phases")

    def set_isolation_level(self, dbapi_connection: Any, level: Any) -> None:
        raise refused("change the isolation of its transaction")

    def reset_isolation_level(self, dbapi_connection: Any) -> None:
        """It was never changed."""

    def get_driver_connection(self, connection: Any) -> Any:
        return connection

    def is_disconnect(self, e: Any, connection: Any, cursor: Any) -> bool:
        return False

    def on_connect(self) -> Callable[[Any], None] | None:
        return None


class SqliteNames(SQLiteCompiler):
    """Parameters are called after columns, whose names may hold what SQLite would read as an operator."""

    bindname_escape_characters = immutabledict(
        {
            **SQLiteCompiler.bindname_escape_characters,
            **{each: f"_x{ord(each):x}_" for each in "!\"#$&'*+,-/;<=>?@\\^`{|}~"},
        }
    )


class SqliteInside(_Inside, SQLiteDialect):
    driver = "apsw"
    supports_statement_cache = True
    default_paramstyle = "named"
    statement_compiler = SqliteNames

    @classmethod
    def import_dbapi(cls) -> Any:
        return sqlite_dbapi

    def get_default_isolation_level(self, dbapi_conn: Any) -> Any:
        return "SERIALIZABLE"

    def get_isolation_level(self, dbapi_connection: Any) -> Any:
        return "SERIALIZABLE"

    def _get_server_version_info(self, connection: Any) -> Any:
        return sqlite_dbapi.sqlite_version_info


class PostgresInside(_Inside, PGDialect_psycopg):
    supports_statement_cache = True

    def __init__(self, **options: Any) -> None:
        # A type of the server's own would be looked up, and made known to the connection for good.
        super().__init__(use_native_hstore=False, **options)  # type: ignore[no-untyped-call]

    def get_default_isolation_level(self, dbapi_conn: Any) -> Any:
        return "READ COMMITTED"

    def get_isolation_level(self, dbapi_connection: Any) -> Any:
        return "READ COMMITTED"


@lru_cache(MAX_ENGINES)
def engine_on(name: str, _store: str, *, is_async: bool) -> Engine:
    """The engine of one store, which has no connection by itself: `handed` has it."""
    kind: Any = SqliteInside if name == "sqlite" else PostgresInside
    dialect = kind(dbapi=kind.import_dbapi())
    dialect.is_async = is_async
    return Engine(NullPool(_handed_over, dialect=dialect), dialect, URL.create(f"{name}+{dialect.driver}"))


def _handed_over() -> Any:
    driven = handed.get(None)
    if driven is None or driven.over:
        raise TransactionError(
            "The engine behind a session that onward gave has no connections of its own: there is that of the event's"
            " transaction alone. Use the session, or `session.connection()`; nothing was run."
        )
    return driven


def _driven(connection: Connection) -> DrivenConnection:
    driven: Any = connection.connection.dbapi_connection
    assert isinstance(driven, DrivenConnection)
    return driven
