"""A database looked at and never changed: in short read-only transactions, each of which sees one moment."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from onward.errors import StoreError
from onward.stores.postgres.address import Address
from onward.stores.postgres.connections import Connections
from onward.stores.postgres.migration import migrations, refuse_other_schema, standing
from onward.stores.postgres.session import Session

_DOING = "Looking at the store"


class Snapshot:
    """One moment of a database, for as long as its transaction lasts: no longer than its queries."""

    def __init__(self, session: Session) -> None:
        self.session = session

    async def rows(self, sql: str, *args: object) -> list[tuple[Any, ...]]:
        """All rows of a query. Raises StoreError."""
        return (await self.session.run(sql, args, _DOING)).rows


class Inspection:
    """What is asked of one database, one snapshot after the other."""

    def __init__(self, connections: Connections) -> None:
        self.address = connections.address
        self._connections = connections

    @asynccontextmanager
    async def snapshot(self, *, statement_s: float | None = None) -> AsyncIterator[Snapshot]:
        """Raises the StoreError that says why there is none. `statement_s` is what one of its queries may take."""
        session = await self._connections.begin(read_only=True)
        try:
            await session.script("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ", _DOING)
            if statement_s is not None:
                await session.script(f"SET LOCAL statement_timeout = {round(statement_s * 1000)}", _DOING)
            yield Snapshot(session)
        finally:
            await self._connections.end(session)

    async def refuse_unready(self) -> None:
        """Raises the StoreError that says why there is nothing to look at, or nothing that this onward can read."""
        async with self.snapshot() as snapshot:
            found = await standing(snapshot.session, migrations())
        if found.is_empty:
            raise StoreError(
                f"There is nothing of onward at {self.address}. Nothing was made; name the store with --store or"
                " ONWARD_STORE, or make its tables with `onward migrate --before`."
            )
        refuse_other_schema(found, self.address)


@asynccontextmanager
async def inspecting(address: Address) -> AsyncIterator[Inspection]:
    """Closed at the block's end. Raises as `refuse_unready`."""
    connections = Connections(address)
    try:
        inspection = Inspection(connections)
        await inspection.refuse_unready()
        yield inspection
    finally:
        connections.close()
