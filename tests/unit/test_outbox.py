import asyncio
import sqlite3
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from onward import App, Context, Event, SyncTransaction, Transaction
from onward.errors import TransactionError
from onward.events.registry import isolated_registry
from onward.runtime.service import Service
from onward.testing import Harness

SCHEMA = "CREATE TABLE IF NOT EXISTS paid (n INTEGER)"


class Ordered(Event, type="outbox.ordered", topic="outbox-orders"):
    n: int


class Paid(Event, type="outbox.paid", topic="outbox-payments"):
    n: int


@pytest.fixture(autouse=True)
def own_registry() -> Iterator[None]:
    with isolated_registry():
        yield


def bank(path: Path, name: str = "bank") -> App:
    return App(name, store=f"sqlite:///{path}", schema=SCHEMA)


def played(scene: Callable[[App], Awaitable[None]], path: Path) -> None:
    async def play() -> None:
        app = bank(path)
        try:
            await scene(app)
        finally:
            await app.close()

    asyncio.run(play())


async def payments(app: App) -> list[tuple[str, bytes]]:
    """Who published what on the topic of payments."""
    found = await app.read(
        "SELECT s.name, g.value FROM onward_log g JOIN onward_kind k ON k.id = g.kind"
        " JOIN onward_source s ON s.id = g.source WHERE k.type = 'outbox.paid' ORDER BY g.id"
    )
    return [(source, value) for source, value in found.rows]


def test_what_is_published_within_a_transaction_commits_with_it(database_path: Path) -> None:
    async def scene(app: App) -> None:
        async with app.transaction() as tx:
            await tx.execute("INSERT INTO paid VALUES (1)")
            await app.publish(Paid(n=1), within=tx)
            app.outbox(tx).add(Paid(n=2), Paid(n=3))
            assert (await tx.execute("SELECT count(*) FROM onward_log")).scalar() == 0
        assert await payments(app) == [("bank", b'{"n":1}'), ("bank", b'{"n":2}'), ("bank", b'{"n":3}')]
        assert (await app.read("SELECT n FROM paid")).rows == [(1,)]

    played(scene, database_path)


def test_what_is_published_within_a_transaction_is_undone_with_it(database_path: Path) -> None:
    async def scene(app: App) -> None:
        with pytest.raises(ZeroDivisionError):  # noqa: PT012 - the block is what is claimed
            async with app.transaction() as tx:
                await app.publish(Paid(n=1), within=tx)
                app.outbox(tx).add(Paid(n=2))
                raise ZeroDivisionError
        assert await payments(app) == []

    played(scene, database_path)


def test_a_savepoint_undoes_what_was_published_within_it(database_path: Path) -> None:
    async def scene(app: App) -> None:
        async with app.transaction() as tx:
            with pytest.raises(ZeroDivisionError):  # noqa: PT012 - the block is what is claimed
                async with tx.savepoint():
                    await app.publish(Paid(n=1), within=tx)
                    raise ZeroDivisionError
            await app.publish(Paid(n=2), within=tx)
        assert await payments(app) == [("bank", b'{"n":2}')]

    played(scene, database_path)


def test_handlers_of_every_kind_publish_within_their_transaction() -> None:
    app = App("bank")

    @app.on(Ordered)
    async def pay(ordered: Ordered, tx: Transaction) -> None:
        await app.publish(Paid(n=ordered.n), within=tx)

    @app.on(Ordered)
    def pay_synchronously(ordered: Ordered, tx: SyncTransaction) -> None:
        app.outbox(tx).add(Paid(n=ordered.n + 1))

    @app.on(Ordered)
    async def pay_plainly(ordered: Ordered, ctx: Context) -> None:
        async with ctx.transaction() as tx:
            await app.publish(Paid(n=ordered.n + 2), within=tx)
            app.outbox(tx).add(Paid(n=ordered.n + 3))

    async def scene() -> None:
        async with Harness(app) as h:
            await h.publish(Ordered(n=1))
            await h.settle()
            assert sorted(event.n for event in h.published) == [1, 2, 3, 4]

    asyncio.run(scene())


def test_a_service_that_was_opened_apart_from_its_app_has_its_transactions_accepted(database_path: Path) -> None:
    app = bank(database_path)
    done = asyncio.Event()

    @app.on(Ordered)
    async def pay(ordered: Ordered, tx: Transaction) -> None:
        await app.publish(Paid(n=ordered.n), within=tx)

    @app.on(Paid)
    async def note(paid: Paid) -> None:
        done.set()

    async def scene() -> None:
        await app.publish(Ordered(n=1))
        await app.close()
        service = Service(app.plan, app.settings)  # as a worker process does
        await service.start()
        async with asyncio.timeout(10):
            await done.wait()
        await service.stop()

    asyncio.run(scene())


def test_a_transaction_that_has_ended_publishes_nothing_more(database_path: Path) -> None:
    async def scene(app: App) -> None:
        async with app.transaction() as tx:
            outbox = app.outbox(tx)
        with pytest.raises(TransactionError, match="has ended"):
            await app.publish(Paid(n=1), within=tx)
        with pytest.raises(TransactionError, match="has ended"):
            outbox.add(Paid(n=2))
        async with app.transaction():  # the next one does not revive it
            with pytest.raises(TransactionError, match="has ended"):
                outbox.add(Paid(n=2))
        assert await payments(app) == []

    played(scene, database_path)


@pytest.mark.parametrize(("name", "file"), [("bank", "other.db"), ("till", "onward.db")], ids=["file", "service"])
def test_a_transaction_of_another_service_or_file_is_refused(name: str, file: str, database_path: Path) -> None:
    async def scene(app: App) -> None:
        other = bank(database_path.with_name(file), name)
        try:
            async with other.transaction() as tx:
                with pytest.raises(TransactionError, match=rf"'{name}' on .*{file}"):
                    await app.publish(Paid(n=1), within=tx)
                with pytest.raises(TransactionError, match="Nothing was published"):
                    app.outbox(tx).add(Paid(n=1))
            assert await payments(other) == []
        finally:
            await other.close()

    played(scene, database_path)


def test_any_other_session_is_refused_with_what_is_accepted(database_path: Path) -> None:
    async def scene(app: App) -> None:
        session = sqlite3.connect(":memory:")
        with pytest.raises(TransactionError, match=r"within a sqlite3\.Connection\. Accepted are .*app\.transaction"):
            await app.publish(Paid(n=1), within=session)
        with pytest.raises(TransactionError, match=r"within a sqlite3\.Connection"):
            app.outbox(session)
        session.close()

    played(scene, database_path)
