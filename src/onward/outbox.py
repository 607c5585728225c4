"""Publishing in a transaction that is open: what `app.publish(…, within=…)` and `app.outbox(…)` accept."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from time import time
from typing import Any

from onward.delays import Delay, due_micros
from onward.errors import MissingExtraError, TransactionError
from onward.outgoing import encode_all, put_off
from onward.stores.guests import Guest, refuse_file


@dataclass(frozen=True, slots=True)
class Home:
    """Where a service's events leave from."""

    service: str
    place: str  # as the transactions of its store have it
    identity: str | Callable[[], str] = ""
    """Of a store on PostgreSQL, where users have connections of their own; or what asks the database, and waits."""
    wake: Callable[[], None] = lambda: None
    """Has events leave that were committed on such a connection. From any thread; waits for nothing, never raises."""


class Outbox:
    """What is added goes out by the commit of one transaction, and not at all if that does not commit.

    Raises TransactionError for a session that is not the open transaction of the service's store.
    """

    def __init__(self, session: object, home: Home) -> None:
        self._home = home
        self._statements = _statements(session)
        self._guest: Guest | None = None
        if self._statements is None:
            self._guest = _guest(session, home)
        elif (self._statements.service, self._statements.path) != (home.service, home.place):
            raise TransactionError(
                f"This transaction is one of service {self._statements.service!r} on {self._statements.path}, and"
                f" service {home.service!r} publishes on {home.place}: the two would not commit together. Nothing was"
                f" published. Give it a transaction of {home.service!r}, or publish with the App that this one belongs"
                " to."
            )

    def add(self, *events: object, at: datetime | None = None, delay: Delay | None = None) -> None:
        """Publish events in this order per key, all or none; `at` a time, or later by `delay`.

        Raises EncodeError, DelayError, StoreError, and TransactionError once the transaction has ended; nothing was
        published then.
        """
        if self._guest is None:
            self._statements.publish(events, at, delay)
        elif outgoing := put_off(encode_all(events), due_micros(time(), at, delay)):
            identity = self._home.identity
            store = identity if isinstance(identity, str) else identity()
            self._guest.publish(outgoing, self._home.service, store)
            self._guest.call_after_commit(self._home.wake)

    async def publish(self, *events: object, at: datetime | None = None, delay: Delay | None = None) -> None:
        """`add` for what has to be awaited too."""
        if self._guest is None:
            self._statements.publish(events, at, delay)
        elif outgoing := put_off(encode_all(events), due_micros(time(), at, delay)):
            identity = self._home.identity
            store = identity if isinstance(identity, str) else await asyncio.to_thread(identity)
            await self._guest.publish_async(outgoing, self._home.service, store)
            self._guest.call_after_commit(self._home.wake)


def _statements(session: Any) -> Any:
    """Those of onward's own: of a `tx`, or of a session of SQLAlchemy that is on one."""
    return getattr(session, "onward_statements", None) or (
        session.statements if type(session).__module__.startswith("onward.stores.") else None
    )


# The door: each kind of session that can be published in has its line here.
_DOOR = {
    "psycopg.Connection": ("onward.stores.postgres.guests", "ConnectionGuest"),
    "psycopg.AsyncConnection": ("onward.stores.postgres.guests", "AsyncConnectionGuest"),
    "sqlalchemy.orm.session.Session": ("onward.stores.sqlalchemy.publishing", "SessionGuest"),
    "sqlalchemy.orm.scoping.scoped_session": ("onward.stores.sqlalchemy.publishing", "scoped_guest"),
    "sqlalchemy.ext.asyncio.session.AsyncSession": ("onward.stores.sqlalchemy.publishing", "AsyncSessionGuest"),
    "sqlalchemy.ext.asyncio.scoping.async_scoped_session": ("onward.stores.sqlalchemy.publishing", "scoped_guest"),
    "sqlalchemy.engine.base.Connection": ("onward.stores.sqlalchemy.publishing", "ConnectionGuest"),
    "sqlalchemy.ext.asyncio.engine.AsyncConnection": ("onward.stores.sqlalchemy.publishing", "AsyncConnectionGuest"),
    "django.utils.connection.ConnectionProxy": ("onward.stores.django", "DjangoGuest"),
    "django.db.backends.base.base.BaseDatabaseWrapper": ("onward.stores.django", "DjangoGuest"),
}


def _guest(session: object, home: Home) -> Guest:
    kinds = [f"{cls.__module__}.{cls.__qualname__}" for cls in type(session).__mro__]
    found = next((_DOOR[kind] for kind in kinds if kind in _DOOR), None)
    if found is None:
        raise TransactionError(
            f"Events can't be published within a {kinds[0]}. Accepted are the transaction that"
            " `async with app.transaction() as tx` opens, `ctx.transaction()`, and the `tx` or `session` of a handler;"
            " where the store is on PostgreSQL also a connection of psycopg, a session or connection of SQLAlchemy, and"
            " Django's `connection`. Nothing was published."
        )
    if not home.identity:
        refuse_file(kinds[0])
    module, name = found
    try:
        guest: Guest = getattr(importlib.import_module(module), name)(session)
    except ModuleNotFoundError as error:
        if error.name != "psycopg":
            raise
        raise MissingExtraError(
            "A store on PostgreSQL needs the extra `postgres`: pip install 'onward[postgres]'. Nothing was published."
        ) from error
    return guest
