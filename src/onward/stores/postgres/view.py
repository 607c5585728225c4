"""`StoreView` of a database."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from onward.inspection.finding import Finding
from onward.inspection.letter import Letter, divided
from onward.inspection.report import Progress, Report, untold
from onward.inspection.status import Status
from onward.inspection.view import LogsView, Ruling
from onward.stores.postgres.accepting import accept
from onward.stores.postgres.address import Address
from onward.stores.postgres.audit import audit
from onward.stores.postgres.connections import Connections
from onward.stores.postgres.dead_letters import letters, rule
from onward.stores.postgres.health import examine
from onward.stores.postgres.inspection import Inspection, inspecting
from onward.stores.postgres.refused import refused, rule_on_refused
from onward.stores.postgres.status import status


class DatabaseView:
    """A database, on a connection for as long as a question takes. `logs` are its topics. Not for an event loop."""

    def __init__(self, url: str, logs: LogsView | None = None) -> None:
        """Raises SettingError for an address that can't be read."""
        self._address = Address.read(url)
        self._logs = logs

    def status(self) -> Status:
        async def look() -> Status:
            async with inspecting(self._address) as inspection:
                return await status(inspection, self._logs)

        return asyncio.run(look())

    def audit(self, *, deep: bool = False, progress: Progress = untold) -> Report:
        async def look() -> Report:
            async with inspecting(self._address) as inspection:
                return await audit(inspection, self._logs, progress)

        return asyncio.run(look())

    def letters(
        self, ids: Sequence[int] | None = None, *, service: str | None = None, every_state: bool = False
    ) -> list[Letter]:
        async def look() -> list[Letter]:
            async with inspecting(self._address) as inspection, inspection.snapshot() as snapshot:
                dead, never_taken = divided(ids)
                found = await letters(snapshot, dead, service=service, every_state=every_state)
                return await refused(snapshot, never_taken, service=service) + found

        return asyncio.run(look())

    def rule(self, ruling: Ruling, ids: Sequence[int] | None) -> int:
        async def change() -> int:
            connections = Connections(self._address)
            try:
                await Inspection(connections).refuse_unready()
                async with connections.transaction() as session:
                    if ruling is Ruling.ACCEPT:
                        return await accept(session, ids or ())
                    dead, never_taken = divided(ids)
                    ruled = await rule(session, ruling, dead)
                    return ruled + await rule_on_refused(session, ruling, never_taken)
            finally:
                connections.close()

        return asyncio.run(change())

    def examine(self) -> list[Finding]:
        return asyncio.run(examine(self._address, self._logs))
