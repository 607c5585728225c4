"""The few connections of one store: one for each transaction that is open, at most so many."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from onward.errors import StoreBusyError, StoreClosedError, StoreUnreachableError
from onward.stores.postgres.address import Address
from onward.stores.postgres.session import Session


class Connections:
    """Opened when they are needed, kept for the next transaction. Belongs to one event loop."""

    def __init__(self, address: Address, without: Sequence[str] = ()) -> None:
        """`without` are settings that are off in their transactions."""
        self.address = address
        self._without = without
        self._places = asyncio.Semaphore(address.pool_size)
        self._free: list[Session] = []
        self._closed = False

    async def begin(self, *, read_only: bool = False) -> Session:
        """A session inside a new transaction, to be given to `end`.

        Raises StoreBusyError when all are in use for too long, and the StoreError that says why there is none.
        """
        if self._closed:
            raise StoreClosedError(f"{self.address} was closed. Nothing was stored; use it only until `close`.")
        try:
            async with asyncio.timeout(self.address.wait_s):
                await self._places.acquire()
        except TimeoutError as error:
            raise StoreBusyError(
                f"All {self.address.pool_size} connections to {self.address} have been in use for"
                f" {self.address.wait_s:g} s. Nothing was stored; find the transaction that stays open, or raise"
                " pool_size."
            ) from error
        try:
            return await self._begun(read_only)
        except BaseException:
            self._places.release()
            raise

    async def _begun(self, read_only: bool) -> Session:
        while self._free:
            session = self._free.pop()
            try:
                await session.begin(read_only=read_only)
            except StoreUnreachableError:
                session.drop()  # it ended while it lay idle: the server was started again, a firewall forgot it
            except BaseException:
                session.drop()
                raise
            else:
                return session
        session = await Session.open(self.address, self._without)
        try:
            await session.begin(read_only=read_only)
        except BaseException:
            session.drop()
            raise
        return session

    async def end(self, session: Session) -> None:
        """Roll back what is not committed, and keep the connection for the next one."""
        try:
            await session.rollback()
        finally:
            if session.usable and not self._closed:
                self._free.append(session)
            else:
                session.drop()
            self._places.release()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Session]:
        """Commits at the block's end, rolls back on any exception."""
        session = await self.begin()
        try:
            yield session
            await session.commit()
        finally:
            await self.end(session)

    def close(self) -> None:
        """Close those that are free; the others follow when their transaction ends. Safe to repeat."""
        self._closed = True
        while self._free:
            self._free.pop().drop()
