"""`SchemaView` of a database."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from onward.errors import SchemaVersionError
from onward.inspection.schema import Phase, Schema, Step
from onward.stores.postgres.address import Address
from onward.stores.postgres.connections import Connections
from onward.stores.postgres.inspection import Inspection
from onward.stores.postgres.migration import Migration, Standing, migrate, migrations, refuse_other_schema, standing

STEP_S = 3600.0  # what one statement of a step may take: it may have to read a table whole


class DatabaseSchema:
    """The schema `onward` of one database. Not for an event loop."""

    def __init__(self, url: str) -> None:
        """Raises SettingError for an address that can't be read."""
        self._address = Address.read(url)

    def look(self) -> Schema:
        found = asyncio.run(self._standing())
        steps = [
            *(_step(each, installed=True) for each in found.installed),
            *(_step(each, installed=False) for each in found.pending),
            *(Step(*each, installed=True, known=False) for each in found.unknown),
        ]
        return Schema(str(self._address), tuple(sorted(steps, key=lambda each: each.version)), self._trouble(found))

    async def _standing(self) -> Standing:
        connections = Connections(self._address)
        try:
            async with Inspection(connections).snapshot() as snapshot:
                return await standing(snapshot.session, migrations())
        finally:
            connections.close()

    def _trouble(self, found: Standing) -> str:
        try:
            refuse_other_schema(found, self._address)
        except SchemaVersionError as error:
            return str(error)
        return ""

    def install(self, phase: Phase) -> list[Step]:
        return [_step(each, installed=True) for each in asyncio.run(self._install(phase))]

    async def _install(self, phase: Phase) -> list[Migration]:
        connections = Connections(replace(self._address, statement_s=max(self._address.statement_s, STEP_S)))
        try:
            return await migrate(connections, migrations(), phase)
        finally:
            connections.close()


def _step(migration: Migration, *, installed: bool) -> Step:
    return Step(migration.version, migration.phase, migration.name, installed)
