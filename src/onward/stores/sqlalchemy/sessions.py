"""The session that a handler asks for: on its event's transaction, flushed when the handler returns, then discarded."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, NoReturn

from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession
from sqlalchemy.orm import Session, SessionTransaction
from sqlalchemy.util import await_only, greenlet_spawn

from onward.errors import TransactionError
from onward.stores.refusals import BELOW_US, ended
from onward.stores.sqlalchemy.dialects import engine_on, handed
from onward.stores.sqlalchemy.driver import DrivenConnection, refused
from onward.stores.sqlalchemy.wire import PostgresWire, SqliteWire, Wire


class HandlerConnection(Connection):
    """Under a session that onward gave: its transaction is not the user's to end."""

    def begin(self) -> NoReturn:
        raise ended() if self.closed else refused("begin")

    def commit(self) -> NoReturn:
        raise refused("commit")

    def rollback(self) -> NoReturn:
        raise refused("roll back")

    def close(self) -> NoReturn:
        raise refused("close")

    def invalidate(self, exception: BaseException | None = None) -> NoReturn:
        raise refused("close")

    def detach(self) -> NoReturn:
        raise refused("close")


class HandlerSession(Session):
    """What a plain handler gets as its `Session`, and what is inside of an async one."""

    onward_statements: Any = None  # through which events are published in it

    def begin(self, nested: bool = False) -> SessionTransaction:
        if not nested:
            raise refused("begin")
        return super().begin(nested=True)

    def commit(self) -> NoReturn:
        raise refused("commit")

    def prepare(self) -> NoReturn:
        raise refused("commit")

    def rollback(self) -> NoReturn:
        raise refused("roll back")

    def close(self) -> NoReturn:
        raise refused("close")

    def reset(self) -> NoReturn:
        raise refused("close")

    def invalidate(self) -> NoReturn:
        raise refused("close")


class HandlerAsyncSession(AsyncSession):
    """What an async handler gets as its `AsyncSession`."""

    sync_session_class = HandlerSession
    sync_session: HandlerSession
    onward_statements: Any = None


@contextmanager
def session_on(tx: Any) -> Iterator[Session]:
    """For a plain function, with its `SyncTransaction`."""
    statements = tx.statements
    wire = SqliteWire(statements, None) if statements.dialect == "sqlite" else PostgresWire(statements, tx.wait)
    connection, driven = _connected(wire, is_async=False)
    session = HandlerSession(connection, join_transaction_mode="control_fully")
    session.onward_statements = statements
    with _ending(session, connection, driven):
        _initialize(connection)
        yield session
        _finish(session)
        statements.refuse_ended()


@asynccontextmanager
async def async_session_on(tx: Any) -> AsyncIterator[AsyncSession]:
    """For an async function, with its `Transaction`."""
    statements = tx.statements
    wire = (
        SqliteWire(statements, await_only) if statements.dialect == "sqlite" else PostgresWire(statements, await_only)
    )
    connection, driven = _connected(wire, is_async=True)
    bind = AsyncConnection(AsyncEngine(connection.engine), connection)
    session = HandlerAsyncSession(bind, join_transaction_mode="control_fully")
    session.onward_statements = session.sync_session.onward_statements = statements
    with _ending(session.sync_session, connection, driven):
        await greenlet_spawn(_initialize, connection)
        yield session
        await greenlet_spawn(_finish, session.sync_session)
        statements.refuse_ended()


def _connected(wire: Wire, *, is_async: bool) -> tuple[Connection, DrivenConnection]:
    driven = DrivenConnection(wire)
    engine = engine_on(wire.statements.dialect, wire.statements.path, is_async=is_async)
    token = handed.set(driven)
    try:
        connection = HandlerConnection(engine)
    finally:
        handed.reset(token)
    Connection.begin(connection)
    return connection, driven


def _initialize(connection: Connection) -> None:
    """Ask the server, once for each engine, what the dialect has to know of it."""
    dialect: Any = connection.dialect
    if not dialect.initialized:
        dialect.initialize(connection)
        dialect.initialized = True


def _finish(session: Session) -> None:
    if session.in_nested_transaction():
        raise TransactionError(
            "The handler returned while `session.begin_nested()` was open, so nothing of this event was stored. Use it"
            " as a block, `with` or `async with`, or end it by commit() or rollback() of what it returns."
        )
    session.flush()


@contextmanager
def _ending(session: Session, connection: Connection, driven: DrivenConnection) -> Iterator[None]:
    """The session is of no use afterwards. What is below the handler comes as the store's error, not SQLAlchemy's."""
    try:
        yield
    except SQLAlchemyError as error:
        failed = driven.wire.statements.failed
        if isinstance(failed, BELOW_US):
            raise failed from error
        raise
    finally:
        driven.end()
        Session.close(session)
        Connection.close(connection)
