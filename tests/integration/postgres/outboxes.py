"""An outbox on a real PostgreSQL: what publishes to it, what relays from it, and what receives."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import psycopg
from psycopg.sql import Literal

from onward.ids import time_of
from onward.inspection.schema import Phase
from onward.ledger import Arrivals, ProducerLedger, Run
from onward.ports import Outgoing
from onward.relay import Batch, Columns, OutboxRow, Stamp, Term
from onward.relay.barred import Answer
from onward.stores.postgres.address import Address
from onward.stores.postgres.connections import Connections
from onward.stores.postgres.migration import migrate, migrations
from onward.stores.postgres.outbox import PostgresOutbox, append
from onward.stores.postgres.session import Session

SCENE_S = 60.0


class Bench:
    """One service's outbox; `led` and `pass_on` do by steps what a leader does, without a broker."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.connections = Connections(Address.read(url))
        self.outbox = PostgresOutbox(Address.read(url), "shop")
        self.turn = 0

    async def begun(self, *events: bytes) -> Session:
        """A transaction that has published these, and is open."""
        session = await self.connections.begin()
        outputs = [Outgoing("orders", "test.event", 1, event, None) for event in events]
        await session.send(append(outputs, "shop"), "Publishing")
        return session

    async def publish(self, *events: bytes) -> None:
        await self.commit(await self.begun(*events))

    async def commit(self, session: Session) -> None:
        await session.commit()
        await self.connections.end(session)

    async def led(self) -> Term:
        """A term of ours, whoever had the lease."""
        self.rows("UPDATE onward.relay SET until = now()")
        term = await self.outbox.lease(60)
        assert term is not None
        self.turn = 0
        return term

    def stamps(self, term: Term, rows: Iterable[OutboxRow]) -> dict[int, Stamp]:
        stamps = {}
        for row in rows:
            self.turn += 1
            stamps[row.id] = Stamp(term.epoch, self.turn, term.incarnation, ((0, self.turn),))
        return stamps

    async def pass_on(self, term: Term, limit: int = 100, *, keep: bool = False) -> list[bytes | None]:
        """Number the next rows, and delete them unless they are to be kept; the events that they held."""
        rows = await self.outbox.read(limit)
        await self.outbox.number(term, self.stamps(term, rows))
        if not keep:
            await self.outbox.delete(term, [row.id for row in rows])
        return [event.value for row in rows for event in row.events]

    def rows(self, sql: str, *args: object) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.url) as connection:
            cursor = connection.execute(sql.encode(), args or None)
            return cursor.fetchall() if cursor.description else []

    async def steps(self, sql: str, args: Sequence[object]) -> list[dict[str, Any]]:
        """What the server did for a statement of the outbox's, which is undone; the first step is the whole.

        By the plan that the relay's connections run it by, which is made without a look at the arguments.
        """
        values = [Literal(each).as_string() for each in args]
        session = await self.outbox._connections.begin()
        await session.script(f"PREPARE step AS {sql}", "Preparing")
        explain = f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) EXECUTE step ({', '.join(values)})"
        found = await session.run(explain, (), "Explaining")
        await session.script("DEALLOCATE step", "Forgetting")
        await self.outbox._connections.end(session)
        return list(_flat(found.scalar()[0]["Plan"]))


def on_bench(url: str, scene: Callable[[Bench], Awaitable[None]]) -> None:
    """Play a scene in an event loop of its own, in bounded time."""

    @asynccontextmanager
    async def opened() -> AsyncIterator[Bench]:
        bench = Bench(url)
        try:
            await migrate(bench.connections, migrations(), Phase.BEFORE)
            yield bench
        finally:
            bench.outbox.close()
            bench.connections.close()

    async def play() -> None:
        async with asyncio.timeout(SCENE_S), opened() as bench:
            await scene(bench)

    asyncio.run(play())


class Received:
    """`Outlet` to one partition that keeps what it is sent, and tells repetitions as a subscription does."""

    def __init__(self) -> None:
        self.log: list[tuple[bytes, int, bytes | None]] = []  # incarnation, number, event
        self._grown = asyncio.Event()

    def begin(self) -> None:
        """Nothing fails here."""

    def known_places(self, columns: Columns) -> list[Answer] | None:
        return [0] * len(columns)

    async def places(self, columns: Columns) -> list[Answer]:
        return [0] * len(columns)

    def send(self, batch: Batch) -> asyncio.Future[None]:
        for row in batch.rows:
            assert row.stamp is not None
            for event, (_, number) in zip(row.events, row.stamp.places, strict=True):
                self.log.append((row.stamp.incarnation, number, event.value))
        self._grown.set()
        there: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        there.set_result(None)
        return there

    async def prove(self, batch: Batch, within_s: float) -> None:
        await self.send(batch)

    async def until(self, event: bytes) -> None:
        """It has been sent."""
        while event not in [value for _, _, value in self.log]:
            await self._grown.wait()
            self._grown.clear()

    @property
    def handled(self) -> list[bytes | None]:
        """Events that are no repetitions, in their order."""
        runs = [
            Run(incarnation.hex(), time_of(incarnation), number, offset, 1)
            for offset, (incarnation, number, _) in enumerate(self.log)
        ]
        _, repeated = Arrivals.after(ProducerLedger(datetime.now(UTC))).arrive(runs)
        again = {offset for each in repeated for offset in each}
        return [event for offset, (_, _, event) in enumerate(self.log) if offset not in again]

    def numbers(self) -> dict[bytes, list[int]]:
        """By incarnation, as they came."""
        found: dict[bytes, list[int]] = {}
        for incarnation, number, _ in self.log:
            found.setdefault(incarnation, []).append(number)
        return found


def _flat(step: dict[str, Any]) -> Iterable[dict[str, Any]]:
    yield step
    for below in step.get("Plans", ()):
        yield from _flat(below)
