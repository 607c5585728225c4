"""A relay's work on a real PostgreSQL: nothing skipped, nothing numbered twice, and no slower the more has passed."""

from __future__ import annotations

import asyncio

import psycopg
import pytest

from onward.errors import InfrastructureError, LeaseLostError
from onward.ports import Outgoing
from onward.relay import Stamp, outbox_of
from onward.relay.rows import rows_of
from onward.stores.postgres import outbox, outbox_sql
from onward.stores.postgres.address import Address
from onward.stores.postgres.outbox import PostgresOutbox
from onward.stores.postgres.session import Session
from onward.stores.postgres.store import PostgresStore
from tests.integration.postgres.outboxes import Bench, on_bench
from tests.integration.postgres.stage import Numbered

BODY = rows_of([Outgoing("orders", "test.event", 1, b"", None)], "shop")[0].body
FILL = (
    "INSERT INTO onward.outbox (service, created_at, events, body)"
    " SELECT 'shop', now(), 1, %s FROM generate_series(1, %s)"
)


def test_a3_of_two_open_transactions_the_one_with_the_lower_id_may_commit_last(postgres_url: str) -> None:
    async def scene(bench: Bench) -> None:
        term = await bench.led()
        lower = await bench.begun(b"lower")
        await bench.publish(b"higher")
        assert await bench.pass_on(term) == [b"higher"]
        await bench.commit(lower)
        assert await bench.pass_on(term) == [b"lower"]
        assert await bench.pass_on(term) == []

    on_bench(postgres_url, scene)


def test_reading_begins_behind_what_has_passed_but_never_behind_who_may_still_commit(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "MOVE_ROWS", 1)

    async def scene(bench: Bench) -> None:
        term = await bench.led()
        begins = "SELECT waiting_after FROM onward.relay"
        for number in range(3):
            await bench.publish(b"%d" % number)
            await bench.pass_on(term)
        assert bench.rows(begins) == [(2,)]
        lower = await bench.begun(b"lower")
        for number in range(6):
            await bench.publish(b"%d" % number)
            assert await bench.pass_on(term) == [b"%d" % number]
        assert bench.rows(begins) == [(3,)]  # 4 is the one that is not there yet
        await bench.commit(lower)
        assert await bench.pass_on(term) == [b"lower"]
        for number in range(3):
            await bench.publish(b"%d" % number)
            await bench.pass_on(term)
        assert bench.rows(begins) == [(12,)]

    on_bench(postgres_url, scene)


def test_where_ids_begin_anew_reading_does_too(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a server that took over by logical replication, which copies no sequences."""
    monkeypatch.setattr(outbox, "MOVE_ROWS", 1)

    async def scene(bench: Bench) -> None:
        for again in (False, True):
            term = await bench.led()
            for number in range(4):
                await bench.publish(b"%d" % number)
                await bench.pass_on(term)
            bench.rows("ALTER TABLE onward.outbox ALTER COLUMN id RESTART")
            await bench.publish(b"new")
            assert await bench.outbox.read(10) == []
            if again:
                term = await bench.led()
            else:
                await bench.outbox.lease(60, term)
            assert await bench.pass_on(term) == [b"new"]

    on_bench(postgres_url, scene)


def test_while_a_transaction_is_prepared_reading_begins_no_further_on(postgres_url: str) -> None:
    """A prepared writer has another name than before; the server of these tests allows none, so it is told of one."""

    async def scene(bench: Bench) -> None:
        await bench.led()
        bench.rows("UPDATE onward.relay SET ceiling = 7, writers = '{3/14}'")
        for writers, begins in ((["prepared", "4/1"], 0), (["3/14"], 0), (["4/1"], 7)):
            with psycopg.connect(bench.url) as connection, psycopg.RawCursor(connection) as cursor:
                cursor.execute(outbox_sql.MOVE.encode(), ("shop", writers, 9, 1, 1))
            assert bench.rows("SELECT waiting_after FROM onward.relay") == [(begins,)]

    on_bench(postgres_url, scene)


def test_what_a_leader_is_still_numbering_its_successor_waits_for_and_finds(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scene(bench: Bench) -> None:
        await bench.publish(b"1")
        former = await bench.led()
        written, go_on = asyncio.Event(), asyncio.Event()
        commit = Session.commit

        async def later(session: Session) -> None:
            monkeypatch.setattr(Session, "commit", commit)
            written.set()
            await go_on.wait()
            await commit(session)

        monkeypatch.setattr(Session, "commit", later)
        numbering = asyncio.create_task(bench.pass_on(former, keep=True))
        await written.wait()
        with psycopg.connect(postgres_url) as other:
            other.execute("SET LOCAL lock_timeout = '10ms'")
            with pytest.raises(psycopg.errors.LockNotAvailable):  # the row that ends the lease is locked
                other.execute("UPDATE onward.relay SET until = now()")
        go_on.set()
        await numbering
        await bench.led()
        (found,) = await bench.outbox.read(10, numbered=True)
        assert found.stamp == Stamp(former.epoch, 1, former.incarnation, ((0, 1),))
        with pytest.raises(LeaseLostError):
            await bench.outbox.number(former, {})

    on_bench(postgres_url, scene)


def test_a_leader_that_stands_still_in_a_transaction_is_succeeded_and_its_numbers_do_not_hold(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "IDLE_S", 0.3)

    async def scene(bench: Bench) -> None:
        await bench.publish(b"1")
        frozen = PostgresOutbox(Address.read(postgres_url), "shop")
        former = await frozen.lease(60)
        assert former is not None
        bench.rows("UPDATE onward.relay SET until = now()")
        rows = await frozen.read(10)
        thaw = asyncio.Event()
        commit = Session.commit

        async def later(session: Session) -> None:
            monkeypatch.setattr(Session, "commit", commit)
            term = await bench.outbox.lease(60)  # waits until the server has ended the other's transaction
            assert term is not None
            assert await bench.pass_on(term) == [b"1"]
            thaw.set()
            await commit(session)

        monkeypatch.setattr(Session, "commit", later)
        with pytest.raises(InfrastructureError, match="Nothing of it was stored"):
            await frozen.number(former, bench.stamps(former, rows))
        assert thaw.is_set()
        assert await bench.outbox.read(10) == []
        frozen.close()

    on_bench(postgres_url, scene)


def test_a_commit_that_published_is_told_of_and_a_rollback_is_not(postgres_url: str) -> None:
    async def scene(bench: Bench) -> None:
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

    on_bench(postgres_url, scene)


def test_a_lease_ends_by_the_servers_clock(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.time", lambda: 0.0)

    async def scene(bench: Bench) -> None:
        term = await bench.outbox.lease(60)
        assert term is not None
        assert bench.rows("SELECT extract(epoch FROM until - now()) BETWEEN 50 AND 60 FROM onward.relay") == [(True,)]
        bench.rows("UPDATE onward.relay SET until = now() + interval '1 hour'")
        assert await bench.outbox.lease(60) is None
        bench.rows("UPDATE onward.relay SET until = now()")
        assert await bench.outbox.lease(60) is not None

    on_bench(postgres_url, scene)


def test_a4_a_step_of_the_relay_touches_no_more_rows_than_it_is_about(postgres_url: str) -> None:
    async def scene(bench: Bench) -> None:
        term = await bench.led()
        bench.rows(FILL, BODY, 5_000)
        await bench.pass_on(term, 2_500, keep=True)
        ids, turns = list(range(2_501, 2_511)), list(range(9_001, 9_011))
        numbers = (term.token, 0, ids, [term.epoch] * 10, turns, [b""] * 10, [b""] * 10, [None] * 10)
        for analyzed in (False, True):
            if analyzed:
                bench.rows("ANALYZE onward.outbox")
            for sql, args in (
                (outbox_sql.WAITING, (10, 1 << 20, None)),
                (outbox_sql.NUMBERED, (10, 1 << 20, None, None)),
                (outbox_sql.NUMBERED, (10, 1 << 20, term.epoch, 1_000)),
                (outbox_sql.STATS, (None,)),
                (outbox_sql.NUMBER, numbers),
                (outbox_sql.DELETE, (term.token, 0, ids)),
            ):
                steps = await bench.steps(sql, ("shop", *args))
                scans = [
                    step for step in steps if step.get("Relation Name") == "outbox" and "Scan" in step["Node Type"]
                ]
                assert scans
                assert {step["Node Type"] for step in scans} <= {"Index Scan", "Tid Scan"}
                assert sum(step["Actual Rows"] * step["Actual Loops"] for step in scans) <= 20
                assert sum(step.get("Rows Removed by Filter", 0) for step in scans) == 0

    on_bench(postgres_url, scene)


def test_what_has_left_is_not_passed_again_while_an_old_transaction_keeps_it(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "MOVE_ROWS", 500)

    async def scene(bench: Bench) -> None:
        term = await bench.led()
        bench.rows(FILL, BODY, 6_000)
        with psycopg.connect(postgres_url) as report:
            report.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            report.execute("SELECT count(*) FROM onward.outbox")
            for _ in range(11):
                await bench.pass_on(term, 500)
            for sql, args in (
                (outbox_sql.WAITING, ("shop", 10, 1 << 20, None)),
                (outbox_sql.NUMBERED, ("shop", 10, 1 << 20, None, None)),
                (outbox_sql.STATS, ("shop", None)),
            ):
                whole, *_ = await bench.steps(sql, args)
                assert whole["Shared Hit Blocks"] + whole["Shared Read Blocks"] < 2_500
        assert len(await bench.outbox.read(1_000)) == 500

    on_bench(postgres_url, scene)
