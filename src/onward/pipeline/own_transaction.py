"""The store transaction that a plain handler may open, once, for as long as its call lasts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from onward.errors import TransactionError
from onward.ports import Store, Transaction, Unit


class OwnTransaction:
    """One handler call's transaction. `unit` is set while it is open; who made the call commits it and closes it.

    `settling` is held meanwhile, so that nobody else moves the account that the commit compares.
    """

    def __init__(self, store: Store, settling: asyncio.Lock) -> None:
        self._store = store
        self._settling = settling
        self._asked = False
        self.unit: Unit | None = None

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Transaction]:
        """What `ctx.transaction()` gives. An exception inside undoes it at once, also when the handler catches it."""
        if self._asked:
            raise TransactionError(
                "ctx.transaction() was used twice in one handler call: everything that is to commit with the event"
                " belongs into one block."
            )
        self._asked = True
        unit = await self.enter()
        try:
            yield unit.tx
        except BaseException:
            await self.close()
            raise

    async def enter(self) -> Unit:
        """Begin, unless it is open."""
        if self.unit is not None:
            return self.unit
        await self._settling.acquire()
        try:
            unit = self._store.unit()
            await unit.__aenter__()
        except BaseException:
            self._settling.release()
            raise
        self.unit = unit
        return unit

    async def close(self) -> None:
        """Roll back what was not committed. Safe to repeat."""
        unit, self.unit = self.unit, None
        if unit is not None:
            try:
                await unit.__aexit__(None, None, None)
            finally:
                self._settling.release()
