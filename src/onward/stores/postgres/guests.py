"""Publishing in a transaction of the user's own psycopg connection, and which database the service's store is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import psycopg
from psycopg.rows import tuple_row

from onward.errors import StoreError, TransactionError
from onward.ports import Outgoing
from onward.stores.guests import Rows, as_driver_has_it, go_through, go_through_async, not_from_here, visit
from onward.stores.postgres.address import Address
from onward.stores.postgres.failures import translate

DOING = "Publishing in a transaction of yours"


class ConnectionGuest:
    """A `psycopg.Connection`."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._connection = connection

    def publish(self, outgoing: Sequence[Outgoing], service: str, store: str) -> None:
        cursor = psycopg.Cursor(self._connection, row_factory=tuple_row)

        def run(sql: str, args: dict[str, Any]) -> Rows:
            return cursor.execute(as_driver_has_it(sql).encode(), args).fetchall()

        try:
            go_through(visit(outgoing, service, store), run)
        except psycopg.Error as error:
            raise translate(error, DOING) from error

    async def publish_async(self, outgoing: Sequence[Outgoing], service: str, store: str) -> None:
        self.publish(outgoing, service, store)

    def call_after_commit(self, wake: Callable[[], None]) -> None:
        """psycopg tells of no commit."""


class AsyncConnectionGuest:
    """A `psycopg.AsyncConnection`."""

    def __init__(self, connection: psycopg.AsyncConnection[Any]) -> None:
        self._connection = connection

    def publish(self, outgoing: Sequence[Outgoing], service: str, store: str) -> None:
        raise not_from_here("An AsyncConnection of psycopg")

    async def publish_async(self, outgoing: Sequence[Outgoing], service: str, store: str) -> None:
        cursor = psycopg.AsyncCursor(self._connection, row_factory=tuple_row)

        async def run(sql: str, args: dict[str, Any]) -> Rows:
            await cursor.execute(as_driver_has_it(sql).encode(), args)
            return await cursor.fetchall()

        try:
            await go_through_async(visit(outgoing, service, store), run)
        except psycopg.Error as error:
            raise translate(error, DOING) from error

    def call_after_commit(self, wake: Callable[[], None]) -> None:
        """psycopg tells of no commit."""


@lru_cache(64)
def identity_of(url: str) -> str:
    """Which store is at this address, asked once over a connection of its own. Raises StoreError."""
    address = Address.read(url)
    try:
        with psycopg.connect(address.conninfo, autocommit=True) as connection:
            found = connection.execute("SELECT id FROM onward.identity").fetchall()
    except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName) as error:
        raise TransactionError(
            f"{address} has no tables of onward yet, so nothing can be published in it. Start the service once."
        ) from error
    except psycopg.Error as error:
        raise translate(error, f"Looking which store {address} is") from error
    if len(found) != 1:
        raise StoreError(f"{address} does not say which store it is: onward.identity has to hold one row.")
    return str(found[0][0])
