"""One store transaction on PostgreSQL: effects, outputs and account commit together, or not at all."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from datetime import UTC
from types import TracebackType

from onward.ports import Claim, Outgoing, Queues, Retried, Returned, Settlement, SyncTransaction
from onward.stores.postgres.connections import Connections
from onward.stores.postgres.letters import RETRYING
from onward.stores.postgres.news import Voice
from onward.stores.postgres.outbox import append
from onward.stores.postgres.parking import queues
from onward.stores.postgres.session import Session
from onward.stores.postgres.settle import settle
from onward.stores.postgres.statements import Statements
from onward.stores.postgres.transaction import PostgresSyncTransaction, PostgresTransaction
from onward.stores.refusals import begun_inside, misfit
from onward.stores.settling import retried, settled
from onward.telemetry.failpoints import reach


class PostgresUnit:
    """`Unit` on PostgreSQL, on a connection of its own. `inside` has the tasks that are in one of the store's.

    `appended` is called when it has committed something to the outbox.
    """

    def __init__(
        self,
        connections: Connections,
        threads: ThreadPoolExecutor,
        inside: set[object],
        service: str,
        voice: Voice,
        appended: Callable[[], None],
    ) -> None:
        self._connections = connections
        self._threads = threads
        self._inside = inside
        self._service = service
        self._voice = voice
        self._appended = appended
        self._task: object = None
        self._session: Session | None = None
        self._marks: list[int] = []
        self.outputs: list[Outgoing] = []

    async def __aenter__(self) -> PostgresUnit:
        task = asyncio.current_task()
        if task in self._inside:
            raise begun_inside()
        self._session = await self._connections.begin_soon()
        self._task = task
        self._inside.add(task)
        self._renew()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._end()

    async def run_sync(self, function: Callable[[SyncTransaction], Returned]) -> Returned:
        loop = asyncio.get_running_loop()
        tx = PostgresSyncTransaction(self._statements, loop)
        context = copy_context()
        return await loop.run_in_executor(self._threads, lambda: context.run(_called, function, tx))

    async def mark(self) -> None:
        self._marks.append(len(self.outputs))
        await self._statements.mark(f"onward_{len(self._marks)}")

    async def undo(self) -> None:
        name = f"onward_{len(self._marks)}"
        former = self._statements
        former.open = False  # what the failed handler left behind writes into no other event
        try:
            await former.undo(name)
        finally:
            del self.outputs[self._marks.pop() :]
            self._renew()

    async def keep(self) -> None:
        await self._statements.keep(f"onward_{len(self._marks)}")
        self._marks.pop()

    def _renew(self) -> None:
        """A `tx` that works while this unit is open, and until the next `undo`."""
        assert self._session is not None
        self._statements = Statements(
            self._session, self.outputs, service=self._service, path=str(self._connections.address)
        )
        self.tx = PostgresTransaction(self._statements)

    async def retrying(self, claim: Claim) -> list[Retried]:
        assert self._session is not None
        where = (claim.subscription, claim.partition)
        found = await self._session.run(RETRYING, where, "Looking for dead letters to retry")
        return [
            retried(claim, row, at.timestamp(), time.astimezone(UTC), None if key is None else key.decode())
            for *row, at, time, key in found.rows
        ]

    async def queues(self, claim: Claim, now: float) -> Queues:
        assert self._session is not None
        return await queues(self._session, claim, now)

    async def commit(self, claim: Claim | None, settlement: Settlement | None) -> None:
        statements, session = self._statements, self._session
        assert session is not None
        statements.refuse_unkept()
        outputs = settlement.outputs if settlement is not None else self.outputs
        try:
            commands = [*session.unchanged(), *await statements.close()]
            if claim is not None and settlement is not None:
                commands += settle(claim, settlement)
            if outputs:
                commands += append(outputs, self._service)
            if not all(each.fails or each.otherwise is None for each in commands):
                await session.send(commands, "Storing what a batch did")
                commands = []
            reach("store.committing")
            with self._voice.with_commit(bool(outputs)) as news:
                await session.commit(commands, news)
            reach("store.committed")
            if claim is not None and settlement is not None:
                settled(claim, settlement)
            if outputs:
                self._appended()
        except TypeError as error:
            raise misfit("what was submitted", error) from error
        finally:
            await self._end()

    async def _end(self) -> None:
        """Roll back what was not committed, and give the connection back. Safe to repeat."""
        session, self._session = self._session, None
        if session is None:
            return
        self._inside.discard(self._task)
        try:
            await self._statements.close()
        finally:
            await self._connections.end(session)


def _called(function: Callable[[SyncTransaction], Returned], tx: SyncTransaction) -> Returned:
    """The call in its thread; a future can't carry a StopIteration, and would never be done."""
    try:
        return function(tx)
    except StopIteration as error:
        raise RuntimeError("the handler raised StopIteration") from error
