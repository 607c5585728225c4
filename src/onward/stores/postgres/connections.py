"""The few connections of one store: one for each transaction that is open, at most so many."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TypeVar

from onward.errors import StoreBusyError, StoreClosedError, StoreUnreachableError
from onward.stores.postgres.address import Address
from onward.stores.postgres.command import Command
from onward.stores.postgres.session import BEGINNING, Session
from onward.stores.result import StatementResult

Given = TypeVar("Given")


class Connections:
    """Opened when they are needed, kept for the next transaction. Belongs to one event loop."""

    def __init__(self, address: Address, without: Sequence[str] = (), *, kept: bool = False) -> None:
        """`without` and `kept` are as in `Session.open`."""
        self.address = address
        self._kept = kept
        self._without = without
        self._places = asyncio.Semaphore(address.pool_size)
        self._free: list[Session] = []
        self._closed = False

    async def begin(
        self, *, read_only: bool = False, first: Sequence[Command] = (), doing: str = BEGINNING, again: bool = True
    ) -> Session:
        """A session inside a new transaction, to be given to `end`.

        `first`, which is `doing` that, travels with its beginning; `again` is as in `apart`.

        Raises as `apart` does.
        """
        session, _ = await self._on_one(
            lambda each: each.begin(read_only=read_only, first=first, doing=doing), again=again
        )
        return session

    async def begin_soon(self) -> Session:
        """As `begin`, by its first statement, which may raise what `begin` does where the server was lost just now."""
        session, _ = await self._on_one(Session.begin_soon)
        return session

    async def apart(
        self, command: Command, doing: str, *, read_only: bool = True, again: bool = True
    ) -> StatementResult:
        """One statement in a transaction of its own, in one round trip.

        Where a connection turns out to have ended it runs `again` on another one, though it may have run. Raises as
        `Session.run` does, and as below.
        """
        session, result = await self._on_one(lambda each: each.apart(command, doing, read_only=read_only), again=again)
        await self.end(session)
        return result

    async def _on_one(
        self, work: Callable[[Session], Awaitable[Given]], *, again: bool = True
    ) -> tuple[Session, Given]:
        """A session that `work` has been done on, and what that gave.

        Raises StoreBusyError when all are in use for too long, and the StoreError that says why there is none.
        """
        if self._closed:
            raise StoreClosedError(f"{self.address} was closed. Nothing was stored; use it only until `close`.")
        try:
            if self._places.locked():
                async with asyncio.timeout(self.address.wait_s):
                    await self._places.acquire()
            else:
                await self._places.acquire()
        except TimeoutError as error:
            raise StoreBusyError(
                f"All {self.address.pool_size} connections to {self.address} have been in use for"
                f" {self.address.wait_s:g} s. Nothing was stored; find the transaction that stays open, or raise"
                " pool_size."
            ) from error
        try:
            return await self._done(work, again)
        except BaseException:
            self._places.release()
            raise

    async def _done(self, work: Callable[[Session], Awaitable[Given]], again: bool) -> tuple[Session, Given]:
        while self._free:
            session = self._free.pop()
            try:
                return session, await work(session)
            except StoreUnreachableError:
                session.drop()  # it ended while it lay idle: the server was started again, a firewall forgot it
                if not again:
                    raise
            except BaseException:
                session.drop()
                raise
        session = await Session.open(self.address, self._without, kept=self._kept)
        try:
            return session, await work(session)
        except BaseException:
            session.drop()
            raise

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
    async def transaction(self, *first: Command, doing: str = BEGINNING, again: bool = True) -> AsyncIterator[Session]:
        """Commits at the block's end, rolls back on any exception. `first` and `again` are as in `begin`."""
        session = await self.begin(first=first, doing=doing, again=again)
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
