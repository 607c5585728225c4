"""A relay's work on a real PostgreSQL: nothing skipped, nothing numbered twice, and no slower the more has passed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import psycopg
import pytest

from onward.errors import LeaseLostError
from onward.inspection.schema import Phase
from onward.ports import Outgoing
from onward.relay import OutboxRow, Stamp, Term, outbox_of
from onward.stores.postgres import outbox, outbox_sql
from onward.stores.postgres.address import Address
from onward.stores.postgres.connections import Connections
from onward.stores.postgres.migration import migrate, migrations
from onward.stores.postgres.outbox import PostgresOutbox, append
from onward.stores.postgres.session import Session
from onward.stores.postgres.store import PostgresStore
from tests.integration.postgres.stage import Numbered

SCENE_S = 60.0
FILL = (
    "INSERT INTO onward.outbox (service, created_at, events, body)"
    " SELECT 'shop', now(), 1, '\\x90' FROM generate_series(1, %s)"
)


class Relay:
    """What a leader does, without a broker: whatever it numbers counts as sent."""

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
        """What the server did for a statement of the outbox's, which is undone; the first step is the whole."""
        session = await self.outbox._connections.begin()
        found = await session.run(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {sql}", args, "Explaining")
        await self.outbox._connections.end(session)
        return list(flat(found.scalar()[0]["Plan"]))


def on_relay(url: str, scene: Callable[[Relay], Awaitable[None]]) -> None:
    @asynccontextmanager
    async def opened() -> AsyncIterator[Relay]:
        relay = Relay(url)
        try:
            await migrate(relay.connections, migrations(), Phase.BEFORE)
            yield relay
        finally:
            relay.outbox.close()
            relay.connections.close()

    async def play() -> None:
        async with asyncio.timeout(SCENE_S), opened() as relay:
            await scene(relay)

    asyncio.run(play())


def test_of_two_open_transactions_the_one_with_the_lower_id_may_commit_last(postgres_url: str) -> None:
    async def scene(relay: Relay) -> None:
        term = await relay.led()
        lower = await relay.begun(b"lower")
        await relay.publish(b"higher")
        assert await relay.pass_on(term) == [b"higher"]
        await relay.commit(lower)
        assert await relay.pass_on(term) == [b"lower"]
        assert await relay.pass_on(term) == []

    on_relay(postgres_url, scene)


def test_reading_begins_behind_what_has_passed_but_never_behind_who_may_still_commit(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "MOVE_ROWS", 1)

    async def scene(relay: Relay) -> None:
        term = await relay.led()
        begins = "SELECT waiting_after FROM onward.relay"
        for number in range(3):
            await relay.publish(b"%d" % number)
            await relay.pass_on(term)
        assert relay.rows(begins) == [(2,)]
        lower = await relay.begun(b"lower")
        for number in range(6):
            await relay.publish(b"%d" % number)
            assert await relay.pass_on(term) == [b"%d" % number]
        assert relay.rows(begins) == [(3,)]  # 4 is the one that is not there yet
        await relay.commit(lower)
        assert await relay.pass_on(term) == [b"lower"]
        for number in range(3):
            await relay.publish(b"%d" % number)
            await relay.pass_on(term)
        assert relay.rows(begins) == [(12,)]

    on_relay(postgres_url, scene)


def test_while_a_transaction_is_prepared_reading_begins_no_further_on(postgres_url: str) -> None:
    """A prepared writer has another name than before; the server of these tests allows none, so it is told of one."""

    async def scene(relay: Relay) -> None:
        await relay.led()
        relay.rows("UPDATE onward.relay SET ceiling = 7, writers = '{3/14}'")
        for writers, begins in ((["prepared", "4/1"], 0), (["3/14"], 0), (["4/1"], 7)):
            with psycopg.connect(relay.url) as connection, psycopg.RawCursor(connection) as cursor:
                cursor.execute(outbox_sql.MOVE.encode(), ("shop", writers, 9, 1, 1))
            assert relay.rows("SELECT waiting_after FROM onward.relay") == [(begins,)]

    on_relay(postgres_url, scene)


def test_what_a_leader_is_still_numbering_its_successor_waits_for_and_finds(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scene(relay: Relay) -> None:
        await relay.publish(b"1")
        former = await relay.led()
        written, go_on = asyncio.Event(), asyncio.Event()
        commit = Session.commit

        async def later(session: Session) -> None:
            monkeypatch.setattr(Session, "commit", commit)
            written.set()
            await go_on.wait()
            await commit(session)

        monkeypatch.setattr(Session, "commit", later)
        numbering = asyncio.create_task(relay.pass_on(former, keep=True))
        await written.wait()
        with psycopg.connect(postgres_url) as other:
            other.execute("SET LOCAL lock_timeout = '10ms'")
            with pytest.raises(psycopg.errors.LockNotAvailable):  # the row that ends the lease is locked
                other.execute("UPDATE onward.relay SET until = now()")
        go_on.set()
        await numbering
        await relay.led()
        (found,) = await relay.outbox.read(10, numbered=True)
        assert found.stamp == Stamp(former.epoch, 1, former.incarnation, ((0, 1),))
        with pytest.raises(LeaseLostError):
            await relay.outbox.number(former, {})

    on_relay(postgres_url, scene)


def test_a_commit_that_published_is_told_of_and_a_rollback_is_not(postgres_url: str) -> None:
    async def scene(relay: Relay) -> None:
        store = PostgresStore(Address.read(postgres_url), "shop")
        told: list[set[str]] = []
        store.appended.append(told.append)
        async with store.unit() as unit:
            await unit.tx.publish(Numbered(key="a", n=1))
        async with store.unit() as unit:
            await unit.tx.execute("SELECT 1")
            await unit.commit(None, None)
        assert told == []
        async with store.unit() as unit:
            await unit.tx.publish(Numbered(key="a", n=2))
            await unit.commit(None, None)
        assert told == [{outbox_of("shop")}]
        (row,) = await store.outbox.read(10)
        assert [event.value for event in row.events] == [b'{"key":"a","n":2}']
        await store.close()

    on_relay(postgres_url, scene)


def test_a_lease_ends_by_the_servers_clock(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.time", lambda: 0.0)

    async def scene(relay: Relay) -> None:
        term = await relay.outbox.lease(60)
        assert term is not None
        assert relay.rows("SELECT extract(epoch FROM until - now()) BETWEEN 50 AND 60 FROM onward.relay") == [(True,)]
        relay.rows("UPDATE onward.relay SET until = now() + interval '1 hour'")
        assert await relay.outbox.lease(60) is None
        relay.rows("UPDATE onward.relay SET until = now()")
        assert await relay.outbox.lease(60) is not None

    on_relay(postgres_url, scene)


def test_a_step_of_the_relay_touches_no_more_rows_than_it_is_about(postgres_url: str) -> None:
    async def scene(relay: Relay) -> None:
        term = await relay.led()
        relay.rows(FILL, 5_000)
        await relay.pass_on(term, 2_500, keep=True)
        ids, turns = list(range(2_501, 2_511)), list(range(9_001, 9_011))
        numbers = (ids, [term.epoch] * 10, turns, [b""] * 10, [b""] * 10)
        for analyzed in (False, True):
            if analyzed:
                relay.rows("ANALYZE onward.outbox")
            for sql, args in (
                (outbox_sql.WAITING, (10, 1 << 20, None)),
                (outbox_sql.NUMBERED, (10, 1 << 20, None, None)),
                (outbox_sql.NUMBERED, (10, 1 << 20, term.epoch, 1_000)),
                (outbox_sql.STATS, (None,)),
                (outbox_sql.NUMBER, numbers),
                (outbox_sql.DELETE, (ids,)),
            ):
                steps = await relay.steps(sql, ("shop", *args))
                scans = [
                    step for step in steps if step.get("Relation Name") == "outbox" and "Scan" in step["Node Type"]
                ]
                assert scans
                assert {step["Node Type"] for step in scans} <= {"Index Scan", "Tid Scan"}
                assert sum(step["Actual Rows"] * step["Actual Loops"] for step in scans) <= 20
                assert sum(step.get("Rows Removed by Filter", 0) for step in scans) == 0

    on_relay(postgres_url, scene)


def test_what_has_left_is_not_passed_again_while_an_old_transaction_keeps_it(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "MOVE_ROWS", 500)

    async def scene(relay: Relay) -> None:
        term = await relay.led()
        relay.rows(FILL, 6_000)
        with psycopg.connect(postgres_url) as report:
            report.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            report.execute("SELECT count(*) FROM onward.outbox")
            for _ in range(11):
                await relay.pass_on(term, 500)
            for sql, args in (
                (outbox_sql.WAITING, ("shop", 10, 1 << 20, None)),
                (outbox_sql.NUMBERED, ("shop", 10, 1 << 20, None, None)),
                (outbox_sql.STATS, ("shop", None)),
            ):
                whole, *_ = await relay.steps(sql, args)
                assert whole["Shared Hit Blocks"] + whole["Shared Read Blocks"] < 2_500
        assert len(await relay.outbox.read(1_000)) == 500

    on_relay(postgres_url, scene)


def flat(step: dict[str, Any]) -> Iterable[dict[str, Any]]:
    yield step
    for below in step.get("Plans", ()):
        yield from flat(below)
