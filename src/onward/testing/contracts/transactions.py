"""Transactions: what a handler may do inside, and what is undone when it fails."""

from __future__ import annotations

import asyncio

import pytest

from onward.errors import DeclarationError, StoreError, TransactionError
from onward.events import Event
from onward.ports import SyncTransaction, Transaction
from onward.testing.contracts.scenes import StoreBench, event, on_store


class Counted(Event, type="onward.contract.counted", topic="one"):
    """What the suite publishes inside transactions."""

    number: int


class TransactionContract:
    """Supply the fixture `open_store`."""

    @on_store
    async def test_a_statement_gives_its_rows_and_the_number_it_changed(self, bench: StoreBench) -> None:
        await bench.claimed()
        async with bench.store.unit() as unit:
            added = await unit.tx.execute("INSERT INTO effect VALUES (:a), (:b)", a=1, b=2)
            found = await unit.tx.execute("SELECT n, n * :times FROM effect ORDER BY n", times=10)
            assert added.rowcount == 2
            assert found.rows == [(1, 10), (2, 20)]
            assert (await unit.tx.execute("SELECT max(n) FROM effect")).scalar() == 2
            assert (await unit.tx.execute("SELECT n FROM effect WHERE n = 9")).scalar() is None

    @on_store
    async def test_one_wants_exactly_one_row(self, bench: StoreBench) -> None:
        await bench.claimed()
        async with bench.store.unit() as unit:
            assert (await unit.tx.execute("SELECT 7")).one() == (7,)
            with pytest.raises(TransactionError):
                (await unit.tx.execute("SELECT n FROM effect")).one()

    @on_store
    async def test_events_are_published_by_the_commit_and_not_before(self, bench: StoreBench) -> None:
        await bench.claimed()
        async with bench.store.unit() as unit:
            await unit.tx.publish(Counted(number=1), Counted(number=2))
            assert await bench.published() == 0
            await unit.commit(None, None)
        assert await bench.inspection.published() == [
            ("one", b'{"number":1}', "shop"),
            ("one", b'{"number":2}', "shop"),
        ]

    @on_store
    async def test_of_events_published_at_once_all_or_none_go_out(self, bench: StoreBench) -> None:
        await bench.claimed()
        async with bench.store.unit() as unit:
            with pytest.raises(DeclarationError):
                await unit.tx.publish(Counted(number=1), "no event")
            await unit.tx.publish(Counted(number=2))
            await unit.commit(None, None)
        assert [each.value for each in await bench.inspection.published()] == [b'{"number":2}']

    @on_store
    async def test_a_savepoint_undoes_what_happened_inside_and_no_more(self, bench: StoreBench) -> None:
        await bench.claimed()
        async with bench.store.unit() as unit:
            await unit.tx.execute("INSERT INTO effect VALUES (1)")
            await unit.tx.publish(Counted(number=1))
            with pytest.raises(ZeroDivisionError):  # noqa: PT012 - the block is what is claimed
                async with unit.tx.savepoint():
                    await unit.tx.execute("INSERT INTO effect VALUES (2)")
                    await unit.tx.publish(Counted(number=2))
                    raise ZeroDivisionError
            await unit.commit(None, None)
        assert await bench.effects() == [1]
        assert await bench.published() == 1

    @on_store
    async def test_savepoints_nest(self, bench: StoreBench) -> None:
        await bench.claimed()
        async with bench.store.unit() as unit:
            async with unit.tx.savepoint():
                await unit.tx.execute("INSERT INTO effect VALUES (1)")
                with pytest.raises(ZeroDivisionError):  # noqa: PT012 - the block is what is claimed
                    async with unit.tx.savepoint():
                        await unit.tx.execute("INSERT INTO effect VALUES (2)")
                        raise ZeroDivisionError
            await unit.commit(None, None)
        assert await bench.effects() == [1]

    @on_store
    async def test_a_savepoint_beside_one_of_another_task_is_refused(self, bench: StoreBench) -> None:
        await bench.claimed()
        entered, refused = asyncio.Event(), asyncio.Event()

        async def first(tx: Transaction) -> None:
            async with tx.savepoint():
                entered.set()
                await tx.execute("INSERT INTO effect VALUES (1)")
                await refused.wait()
                await tx.execute("INSERT INTO effect VALUES (2)")

        async def second(tx: Transaction) -> None:
            await entered.wait()
            try:
                for attempt in (tx.savepoint().__aenter__(), tx.execute("SELECT 1"), tx.publish(Counted(number=1))):
                    with pytest.raises(TransactionError, match="another task"):
                        await attempt
            finally:
                refused.set()

        async with bench.store.unit() as unit:
            await asyncio.gather(first(unit.tx), second(unit.tx))
            await unit.tx.execute("INSERT INTO effect VALUES (3)")
            await unit.commit(None, None)
        assert await bench.effects() == [1, 2, 3]
        assert await bench.published() == 0

    @on_store
    async def test_a_task_started_inside_a_savepoint_works_in_it(self, bench: StoreBench) -> None:
        await bench.claimed()

        async def inner(tx: Transaction) -> None:
            await tx.execute("INSERT INTO effect VALUES (2)")
            async with tx.savepoint():
                await tx.execute("INSERT INTO effect VALUES (3)")
                raise ZeroDivisionError

        async with bench.store.unit() as unit:
            async with unit.tx.savepoint():
                await unit.tx.execute("INSERT INTO effect VALUES (1)")
                with pytest.raises(ZeroDivisionError):
                    await asyncio.create_task(inner(unit.tx))
            await unit.commit(None, None)
        assert await bench.effects() == [1, 2]

    @on_store
    async def test_savepoints_left_in_the_order_they_were_entered_fail_the_event(self, bench: StoreBench) -> None:
        await bench.claimed()
        with pytest.raises(TransactionError):  # noqa: PT012 - the block is what is claimed
            async with bench.store.unit() as unit:
                outer, inner = unit.tx.savepoint(), unit.tx.savepoint()
                await outer.__aenter__()
                await inner.__aenter__()
                await unit.tx.execute("INSERT INTO effect VALUES (1)")
                for savepoint in (outer, inner):
                    with pytest.raises(TransactionError):
                        await savepoint.__aexit__(None, None, None)
                await unit.commit(None, None)
        assert await bench.effects() == []

    @on_store
    async def test_an_event_is_not_kept_while_a_task_is_inside_a_savepoint(self, bench: StoreBench) -> None:
        await bench.claimed()
        entered, undone = asyncio.Event(), asyncio.Event()

        async def linger(tx: Transaction) -> None:
            async with tx.savepoint():
                await tx.execute("INSERT INTO effect VALUES (1)")
                entered.set()
                await undone.wait()
                with pytest.raises(TransactionError):
                    await tx.execute("INSERT INTO effect VALUES (2)")

        async with bench.store.unit() as unit:
            await unit.mark()
            lingering = asyncio.create_task(linger(unit.tx))
            await entered.wait()
            with pytest.raises(TransactionError):
                await unit.keep()
            await unit.undo()
            await unit.mark()
            async with unit.tx.savepoint():
                await unit.tx.execute("INSERT INTO effect VALUES (3)")
                undone.set()
                with pytest.raises(TransactionError):
                    await lingering
            await unit.keep()
            await unit.commit(None, None)
        assert await bench.effects() == [3]

    @on_store
    async def test_an_sql_error_caught_inside_a_savepoint_leaves_the_event_whole(self, bench: StoreBench) -> None:
        await bench.claimed()
        async with bench.store.unit() as unit:
            await unit.tx.execute("INSERT INTO effect VALUES (1)")
            with pytest.raises(StoreError):
                async with unit.tx.savepoint():
                    await unit.tx.execute("INSERT INTO effect VALUES (1)")
            await unit.tx.execute("INSERT INTO effect VALUES (2)")
            await unit.commit(None, None)
        assert await bench.effects() == [1, 2]

    @on_store
    async def test_an_sql_error_caught_without_a_savepoint_fails_the_event_all_the_same(
        self, bench: StoreBench
    ) -> None:
        claim = await bench.claimed()
        with pytest.raises(TransactionError):  # noqa: PT012 - the block is what is claimed
            async with bench.store.unit() as unit:
                await unit.tx.execute("INSERT INTO effect VALUES (1)")
                with pytest.raises(StoreError):
                    await unit.tx.execute("INSERT INTO effect VALUES (1)")
                await unit.commit(None, None)
        assert await bench.effects() == []
        assert (await bench.claim_again(claim.subscription)).position.next == 0

    @on_store
    async def test_nothing_more_runs_after_an_sql_error_that_was_swallowed(self, bench: StoreBench) -> None:
        await bench.claimed()
        async with bench.store.unit() as unit:
            with pytest.raises(StoreError):
                await unit.tx.execute("INSERT INTO nowhere VALUES (1)")
            with pytest.raises(TransactionError):
                await unit.tx.execute("INSERT INTO effect VALUES (1)")

    @on_store
    async def test_undo_takes_back_effects_and_outputs_since_the_innermost_mark(self, bench: StoreBench) -> None:
        await bench.claimed()
        async with bench.store.unit() as unit:
            for number in (1, 2, 3):
                await unit.mark()
                await unit.tx.execute("INSERT INTO effect VALUES (:n)", n=number)
                unit.outputs.append(event())
            await unit.undo()
            await unit.keep()
            await unit.keep()
            await unit.commit(None, None)
        assert await bench.effects() == [1, 2]
        assert await bench.published() == 2

    @on_store
    async def test_undo_of_an_outer_mark_takes_back_what_an_inner_one_kept(self, bench: StoreBench) -> None:
        await bench.claimed()
        async with bench.store.unit() as unit:
            await unit.mark()
            await unit.mark()
            await unit.tx.execute("INSERT INTO effect VALUES (1)")
            await unit.keep()
            await unit.undo()
            await unit.commit(None, None)
        assert await bench.effects() == []

    @on_store
    async def test_keep_refuses_what_a_swallowed_error_left_and_undo_mends_it(self, bench: StoreBench) -> None:
        await bench.claimed()
        async with bench.store.unit() as unit:
            await unit.mark()
            with pytest.raises(StoreError):
                await unit.tx.execute("INSERT INTO nowhere VALUES (1)")
            with pytest.raises(TransactionError):
                await unit.keep()
            await unit.undo()
            await unit.tx.execute("INSERT INTO effect VALUES (1)")
            await unit.commit(None, None)
        assert await bench.effects() == [1]

    @on_store
    async def test_a_transaction_is_of_no_use_after_its_end(self, bench: StoreBench) -> None:
        await bench.claimed()
        async with bench.store.unit() as unit:
            await unit.commit(None, None)
        with pytest.raises(TransactionError):
            await unit.tx.execute("INSERT INTO effect VALUES (1)")
        with pytest.raises(TransactionError):
            await unit.tx.publish(Counted(number=1))
        assert await bench.effects() == []

    @on_store
    async def test_a_handler_cannot_end_the_transaction_itself(self, bench: StoreBench) -> None:
        await bench.claimed()
        for ending in ("COMMIT", "ROLLBACK", "BEGIN"):
            async with bench.store.unit() as unit:
                await unit.tx.execute("INSERT INTO effect VALUES (1)")
                with pytest.raises(TransactionError):
                    await unit.tx.execute(ending)
        assert await bench.effects() == []

    @on_store
    async def test_parameters_go_by_name_whatever_their_order_and_number(self, bench: StoreBench) -> None:
        await bench.claimed()
        async with bench.store.unit() as unit:
            sql = "SELECT :b, :a, :b"
            assert (await unit.tx.execute(sql, a=1, b=2)).one() == (2, 1, 2)
            assert (await unit.tx.execute(sql, b="two", a=None)).one() == ("two", None, "two")
            assert (await unit.tx.execute("INSERT INTO effect VALUES (:n) RETURNING n", n=3)).rows == [(3,)]
            for wrong in ({"a": 1}, {}, {"a": 1, "b": object()}):
                with pytest.raises(TransactionError):
                    await unit.tx.execute(sql, **wrong)
            with pytest.raises(TransactionError):
                await unit.tx.execute("SELECT ?", n=1)

    @on_store
    async def test_several_statements_at_once_are_refused_whole(self, bench: StoreBench) -> None:
        await bench.claimed()
        async with bench.store.unit() as unit:
            for several in (
                "INSERT INTO effect VALUES (1); INSERT INTO effect VALUES (2)",
                "INSERT INTO effect VALUES (:n); -- and\n COMMIT",
            ):
                with pytest.raises(TransactionError):
                    await unit.tx.execute(several, n=1)
            await unit.tx.execute("INSERT INTO effect VALUES (:n); -- alone", n=3)
            assert (await unit.tx.execute("SELECT n FROM effect")).rows == [(3,)]

    @on_store
    async def test_plain_functions_have_the_same_transaction(self, bench: StoreBench) -> None:
        await bench.claimed()

        def handle(tx: SyncTransaction) -> str:
            tx.submit("INSERT INTO effect VALUES (:n)", n=1)
            with pytest.raises(ZeroDivisionError), tx.savepoint():  # noqa: PT012 - the block is what is claimed
                tx.submit("INSERT INTO effect VALUES (2)")
                raise ZeroDivisionError
            tx.publish(Counted(number=1))
            assert tx.execute("SELECT n FROM effect").rows == [(1,)]
            return "returned"

        async with bench.store.unit() as unit:
            assert await unit.run_sync(handle) == "returned"
            await unit.commit(None, None)
        assert await bench.effects() == [1]
        assert await bench.published() == 1


class TurnContract:
    """Of a store that one transaction at a time writes in. Supply the fixture `open_store`."""

    @on_store
    async def test_transactions_take_turns(self, bench: StoreBench) -> None:
        await bench.claimed()
        entered = asyncio.Event()

        async def second() -> list[int]:
            async with bench.store.unit() as unit:
                entered.set()
                return [row[0] for row in (await unit.tx.execute("SELECT n FROM effect")).rows]

        async with bench.store.unit() as unit:
            waiting = asyncio.create_task(second())
            for _ in range(10):
                await asyncio.sleep(0)
            assert not entered.is_set()
            await unit.tx.execute("INSERT INTO effect VALUES (1)")
            await unit.commit(None, None)
        assert await waiting == [1]
