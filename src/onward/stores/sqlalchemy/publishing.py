"""Publishing in SQLAlchemy's sessions and connections that are the user's own.

What is published in a Session waits there, and is written behind its last flush: rows of an outbox come last in their
transaction, when all that has to be locked for them is locked. What a hook publishes while the session commits is
written right before COMMIT. A savepoint that is rolled back takes with it what was published inside.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, Engine, event, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession, async_scoped_session
from sqlalchemy.orm import Session, SessionTransaction, scoped_session
from sqlalchemy.orm.session import SessionTransactionState

from onward.errors import StoreError, TransactionError
from onward.ports import Outgoing
from onward.stores.guests import Guest, Rows, elsewhere, go_through, not_from_here, visit

INFO = "onward.published"

_OVER = (SessionTransactionState.PREPARED, SessionTransactionState.COMMITTED, SessionTransactionState.CLOSED)


@dataclass(slots=True)
class _Waiting:
    """Published in one transaction of a session, inside of `within`, and not written yet."""

    within: SessionTransaction
    outgoing: Sequence[Outgoing]
    service: str
    store: str


@dataclass(slots=True)
class _Published:
    """What waits in a session."""

    waiting: list[_Waiting] = field(default_factory=list)
    committed: bool = False  # the transaction that ends next
    wakes: set[Callable[[], None]] = field(default_factory=set)  # what to call once all is committed


class ConnectionGuest:
    """A `Connection`: written at once, as nothing tells what the user still wants to write."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def publish(self, outgoing: Sequence[Outgoing], service: str, store: str) -> None:
        _write(self._connection, outgoing, service, store)

    async def publish_async(self, outgoing: Sequence[Outgoing], service: str, store: str) -> None:
        self.publish(outgoing, service, store)

    def call_after_commit(self, wake: Callable[[], None]) -> None:
        """SQLAlchemy tells before the commit of a connection, and not after it."""


class AsyncConnectionGuest:
    """An `AsyncConnection`."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    def publish(self, outgoing: Sequence[Outgoing], service: str, store: str) -> None:
        raise not_from_here("An AsyncConnection of SQLAlchemy")

    async def publish_async(self, outgoing: Sequence[Outgoing], service: str, store: str) -> None:
        await self._connection.run_sync(_write, outgoing, service, store)

    def call_after_commit(self, wake: Callable[[], None]) -> None:
        """SQLAlchemy tells before the commit of a connection, and not after it."""


class SessionGuest:
    """A `Session`, or the one inside of an `AsyncSession`."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def publish(self, outgoing: Sequence[Outgoing], service: str, store: str) -> None:
        if _is_joined(self._session):
            _write_now(self._session, outgoing, service, store)
        else:
            _wait(self._session, outgoing, service, store)

    async def publish_async(self, outgoing: Sequence[Outgoing], service: str, store: str) -> None:
        self.publish(outgoing, service, store)

    def call_after_commit(self, wake: Callable[[], None]) -> None:
        _call_after_commit(self._session, wake)


class AsyncSessionGuest:
    """An `AsyncSession`."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session

    def publish(self, outgoing: Sequence[Outgoing], service: str, store: str) -> None:
        if _is_joined(self._session.sync_session):
            raise not_from_here("An AsyncSession on a connection of yours")
        _wait(self._session.sync_session, outgoing, service, store)

    async def publish_async(self, outgoing: Sequence[Outgoing], service: str, store: str) -> None:
        await self._session.run_sync(lambda session: SessionGuest(session).publish(outgoing, service, store))

    def call_after_commit(self, wake: Callable[[], None]) -> None:
        _call_after_commit(self._session.sync_session, wake)


def scoped_guest(scoped: scoped_session[Session] | async_scoped_session[AsyncSession]) -> Guest:
    """A registry of sessions: the one of this thread or task."""
    session = scoped()
    return AsyncSessionGuest(session) if isinstance(session, AsyncSession) else SessionGuest(session)


def _is_joined(session: Session) -> bool:
    """Whether its transaction is one of a connection that the user holds, and may commit without the session."""
    return isinstance(session.bind, Connection)


def _write_now(session: Session, outgoing: Sequence[Outgoing], service: str, store: str) -> None:
    if not session._flushing:  # one of its hooks publishes, and SQLAlchemy refuses a flush inside of another
        session.flush()
    _write(session.connection(), outgoing, service, store)


def _wait(session: Session, outgoing: Sequence[Outgoing], service: str, store: str) -> None:
    dialect = _bind(session).dialect.name
    if dialect != "postgresql":
        raise elsewhere(service, f"This session is one on {dialect}")
    root = session.get_transaction() or session.begin()
    if root._state in _OVER:
        raise TransactionError(
            "The transaction of this session is prepared or committed already. Nothing was published; publish before"
            " that, such as in `before_commit` or `after_flush` in place of `after_commit`."
        )
    published: _Published | None = session.info.get(INFO)
    if published is None:
        published = session.info[INFO] = _Published()
        event.listen(session, "after_begin", _after_begin)
        event.listen(session, "before_commit", _before_commit)
        event.listen(session, "after_commit", _after_commit)
        event.listen(session, "after_transaction_end", _after_end)
        for connection in set(_connections(root).values()):
            _watch(session, connection)
    published.waiting.append(_Waiting(session.get_nested_transaction() or root, outgoing, service, store))


def _call_after_commit(session: Session, wake: Callable[[], None]) -> None:
    if not _is_joined(session):
        session.info[INFO].wakes.add(wake)


def _connections(root: SessionTransaction) -> dict[Engine | Connection, Connection]:
    """Those that it has by now, by what they are of. To ask the session for one would open it."""
    return {bind: connection for bind, (connection, *_) in root._connections.items()}


def _watch(session: Session, connection: Connection) -> None:
    """Right before its COMMIT or PREPARE is behind every hook of the session, the first publishing one too."""
    event.listen(connection, "commit", lambda connection: _write_or_end(session, connection))
    event.listen(connection, "prepare_twophase", lambda _connection, _xid: _write_rest(session))


def _bind(session: Session) -> Engine | Connection:
    try:
        return session.get_bind()
    except SQLAlchemyError as error:
        raise TransactionError(
            f"Nothing tells which database this session is on ({_said(error)}). Nothing was published; publish within"
            " its connection to the service's store, `session.connection(bind_arguments=…)`."
        ) from error


def _after_begin(session: Session, transaction: SessionTransaction, connection: Connection) -> None:
    if transaction.parent is None:
        _watch(session, connection)


def _before_commit(session: Session) -> None:
    """Behind the last flush. It is called for the commit of a savepoint too, and can't tell whose it is meanwhile."""
    if not session.info[INFO].waiting:
        return
    if session.in_nested_transaction():
        session.connection()  # for its COMMIT to write
        return
    session.flush()
    _write_waiting(session, session.connection())


def _write_or_end(session: Session, connection: Connection) -> None:
    """After an error at its COMMIT a connection would be pooled as it is, and its next user would commit these rows."""
    try:
        _write_rest(session)
    except BaseException:
        connection.invalidate()
        raise


def _write_rest(session: Session) -> None:
    """Of several databases' connections the first to commit writes, before any of them has committed."""
    root = session.get_transaction()
    if root is None or not session.info[INFO].waiting:
        return
    connection = _connections(root).get(_bind(session))
    if connection is None:
        raise TransactionError(
            "A hook of this session published while it committed to other databases alone. Nothing was published;"
            " call `session.connection()` before the commit."
        )
    _write_waiting(session, connection)


def _after_commit(session: Session) -> None:
    session.info[INFO].committed = True


def _after_end(session: Session, transaction: SessionTransaction) -> None:
    """What was published inside of what is not committed is not published."""
    if transaction.parent is not None and not transaction.nested:
        return  # one that a flush begins for itself
    published: _Published = session.info[INFO]
    committed, published.committed = published.committed, False
    if transaction.parent is None:
        left, published.waiting = published.waiting, []
        wakes, published.wakes = published.wakes, set()
        for wake in wakes if committed else ():
            wake()
        if left and committed:
            raise TransactionError(
                "This session's commit had no connection to write by what a hook published in it, and that is not"
                " published. Call `session.connection()` in the hook first."
            )
    elif not committed:
        published.waiting = [each for each in published.waiting if not _is_inside(each.within, transaction)]


def _is_inside(inner: SessionTransaction | None, outer: SessionTransaction) -> bool:
    while inner is not None and inner is not outer:
        inner = inner.parent
    return inner is outer


def _write_waiting(session: Session, connection: Connection) -> None:
    waiting = session.info[INFO].waiting
    while waiting:
        each = waiting[0]
        _write(connection, each.outgoing, each.service, each.store)
        waiting.pop(0)


def _write(connection: Connection, outgoing: Sequence[Outgoing], service: str, store: str) -> None:
    if connection.dialect.name != "postgresql":
        raise elsewhere(service, f"This connection is one to {connection.dialect.name}")

    def run(sql: str, args: dict[str, Any]) -> Rows:
        return connection.execute(text(sql), args).all()

    try:
        go_through(visit(outgoing, service, store), run)
    except SQLAlchemyError as error:
        raise StoreError(
            f"Publishing in a transaction of SQLAlchemy failed ({_said(error)}). Nothing was published."
        ) from error


def _said(error: SQLAlchemyError) -> str:
    """What the database said, without the statement."""
    return str(getattr(error, "orig", None) or error).strip().partition("\n")[0]
