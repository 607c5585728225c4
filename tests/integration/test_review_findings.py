"""What was once lost, stuck or blamed wrongly, and is not any more."""

import asyncio
from pathlib import Path

import apsw
import pytest

from onward import App, Context, Event, Retry, Transaction
from onward.errors import StoreClosedError, StoreFullError, StoreUnreachableError, TransactionError
from onward.pipeline.failures import NOBODYS_ATTEMPT
from onward.ports import Outgoing
from onward.runtime import subscription
from onward.runtime.service import Service
from onward.sqlite.failures import translate
from tests.integration.services import database_of, running
from tests.integration.test_failures import QUICK, SCHEMA, effects, letters, rows, until


class Seen(Event, type="review.seen", topic="review", key="sensor"):
    sensor: str
    n: int


@pytest.fixture
def app(database_path: Path) -> App:
    return App("station", store=f"sqlite:///{database_path}", schema=SCHEMA)


async def insert(tx: Transaction, seen: Seen) -> None:
    await tx.execute("INSERT INTO effect (key, n) VALUES (:key, :n)", key=seen.sensor, n=seen.n)


def events(count: int) -> list[Seen]:
    return [Seen(sensor="a", n=n) for n in range(count)]


async def cancelled_elsewhere() -> None:
    """Await a task that somebody cancelled, as a client library's pool does when it is closed."""
    task = asyncio.create_task(asyncio.sleep(60))
    task.cancel()
    await task


def test_a_handler_that_raises_a_cancellation_of_its_own_is_judged_like_any_failure(app: App) -> None:
    @app.on(Seen, retry=QUICK)
    async def store(seen: Seen, tx: Transaction) -> None:
        await insert(tx, seen)
        if seen.n == 1:
            await cancelled_elsewhere()

    async def run() -> None:
        async with running(app) as service:
            await app.publish(*events(3))
            await until(lambda: effects(service) == [0, 2])
            assert [letter[:3] for letter in letters(service)] == [(1, "attempts_spent", 3)]

    asyncio.run(run())


def test_a_publish_that_breaks_the_writer_leaves_no_lock_and_no_publisher_waiting(app: App) -> None:
    async def run() -> None:
        async with app.lifespan() as service:
            assert service is not None
            assert service.engine is not None
            broken = Outgoing("review", "review.seen", 1, b"{}", "\ud800")
            async with asyncio.timeout(5):
                with pytest.raises(UnicodeEncodeError):
                    await service.engine.broker.publish([broken, broken._replace(key=None)], "somebody")
                await app.publish(*events(1))
            assert rows(service, "SELECT count(*) FROM onward_log") == [(1,)]

    asyncio.run(run())


def test_publishing_outside_of_the_transaction_one_is_in_is_refused_instead_of_waiting_for_ever(app: App) -> None:
    @app.on(Seen, retry=Retry(max_attempts=1))
    async def store(seen: Seen, tx: Transaction) -> None:
        await insert(tx, seen)
        await app.publish(Seen(sensor="b", n=seen.n))

    async def run() -> None:
        async with running(app) as service:
            await app.publish(*events(1))
            await until(lambda: len(letters(service)) == 1)
            assert effects(service) == []
            assert "tx.publish" in rows(service, "SELECT error FROM onward_dead_letter")[0][0]

    asyncio.run(run())


def test_a_disk_that_is_full_is_never_blamed_on_the_event(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onward.runtime.subscription.FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr("onward.runtime.subscription.LONGEST_PAUSE_S", 0.01)
    tries = 0

    @app.on(Seen, retry=Retry(max_attempts=2))
    async def store(seen: Seen, tx: Transaction) -> None:
        nonlocal tries
        tries += 1
        await insert(tx, seen)
        if tries < 12:
            raise StoreFullError("the disk is full")

    async def run() -> None:
        async with running(app) as service:
            await app.publish(*events(1))
            await until(lambda: tries >= 12)
            await until(lambda: effects(service) == [0] or letters(service) != [])
            assert effects(service) == [0]
            assert letters(service) == []

    asyncio.run(run())


def test_a_dead_letter_whose_handler_is_gone_is_not_called_recovered(app: App) -> None:
    failing = [True]

    @app.on(Seen, retry=Retry(max_attempts=1))
    async def store(seen: Seen, tx: Transaction) -> None:
        if failing[0]:
            raise ValueError("no")

    async def run() -> None:
        async with running(app) as service:
            assert service.engine is not None
            await app.publish(*events(1))
            await until(lambda: len(letters(service)) == 1)
            async with database_of(service).transaction() as connection:
                connection.execute("UPDATE onward_dead_letter SET handler = 'retired', state = 'retrying'")
            await until(lambda: rows(service, "SELECT state FROM onward_dead_letter") != [("retrying",)])
            assert rows(service, "SELECT state FROM onward_dead_letter") == [("dead",)]

    asyncio.run(run())


def test_what_is_published_before_and_at_the_end_of_a_lifespan_goes_through_one_engine(app: App) -> None:
    async def run() -> None:
        await app.publish(*events(1))
        before = app._engine
        async with running(app) as service:
            assert service.engine is before
        assert app._engine is None

    asyncio.run(run())


def test_waits_that_are_over_are_not_kept(app: App) -> None:
    @app.on(Seen, retry=Retry(max_attempts=30, first_s=0.0, max_s=0.0))
    async def store(seen: Seen, tx: Transaction) -> None:
        raise ValueError("no")

    async def run() -> None:
        async with running(app) as service:
            await app.publish(*events(1))
            await until(lambda: len(letters(service)) == 1)
            assert sum(len(each._resumes) for each in service._subscriptions) <= 2

    asyncio.run(run())


def test_a_file_that_can_not_be_read_is_an_error_that_the_loop_knows(app: App) -> None:
    async def run() -> None:
        async with app.lifespan(consume=False):
            await app.publish(*events(1))
            engine = app._engine
            assert engine is not None
            log = engine.broker.log
        with pytest.raises(StoreClosedError):
            await log.read("review", 0, 0, 1)
        with pytest.raises(StoreClosedError):
            log.wire_type(77)

    asyncio.run(run())


def test_a_statement_that_would_roll_everything_back_fails_its_event_alone(app: App) -> None:
    @app.on(Seen, retry=Retry(max_attempts=1))
    async def store(seen: Seen, tx: Transaction) -> None:
        verb = "INSERT OR ROLLBACK" if seen.n == 1 else "INSERT"
        await tx.execute(f"{verb} INTO effect (place, key, n) VALUES (:place, 'a', :n)", place=seen.n % 2, n=seen.n)
        if seen.n == 1:
            await tx.execute("INSERT OR ROLLBACK INTO effect (place, key, n) VALUES (1, 'a', 9)")

    async def run() -> None:
        async with running(app) as service:
            await app.publish(*events(2))
            await until(lambda: len(letters(service)) == 1)
            assert effects(service) == [0]
            assert service.unready() == []

    asyncio.run(run())


def test_an_event_of_a_version_to_come_is_not_taken_for_one_that_ends_its_process(
    app: App, database_path: Path
) -> None:
    @app.on(Seen)
    async def store(seen: Seen, tx: Transaction) -> None:
        await insert(tx, seen)

    async def run() -> None:
        async with running(app):
            pass  # registers the subscription
        async with app.lifespan(consume=False):
            assert app._engine is not None
            await app._engine.broker.publish([Outgoing("review", "review.seen", 2, b"{}", "a")], "newer")
            async with database_of(app).transaction() as connection:
                connection.execute("UPDATE onward_account SET unclean = 2")
                connection.execute(
                    "INSERT INTO onward_attempt SELECT subscription, partition, 0, '', 30, 'UnknownVersionError', 'f',"
                    " 1.0, 1.0 FROM onward_account"
                )
        async with running(app) as service:
            tried = "SELECT attempts FROM onward_attempt WHERE handler = '' AND attempts = 31"
            await until(lambda: rows(service, tried) != [] or letters(service) != [])
            assert letters(service) == []
            assert rows(service, "SELECT count(*) FROM onward_attempt WHERE handler = '(process)'") == [(0,)]

    asyncio.run(run())


@pytest.mark.parametrize("plain", [False, True])
def test_a_suspect_event_is_not_buried_for_failures_below_it(plain: bool, app: App) -> None:
    calls: list[int] = []

    def fail_often() -> None:
        calls.append(1)
        if len(calls) < 4:
            raise StoreUnreachableError("The disk failed.")

    async def notify(seen: Seen, ctx: Context) -> None:
        async with ctx.transaction() as tx:
            await insert(tx, seen)
        fail_often()

    async def store(seen: Seen, tx: Transaction) -> None:
        await insert(tx, seen)
        fail_often()

    app.on(Seen, retry=Retry(max_attempts=3))(notify if plain else store)

    async def run() -> None:
        async with running(app):
            pass  # registers the subscription
        async with app.lifespan(consume=False):
            await app.publish(*events(1))
            assert app._engine is not None
            async with database_of(app).transaction() as connection:
                connection.execute("UPDATE onward_account SET unclean = 2")
        async with running(app) as service:
            await until(lambda: effects(service) == [0] or letters(service) != [])
            assert effects(service) == [0]
            assert rows(service, "SELECT * FROM onward_attempt") == []

    asyncio.run(run())


def test_a_partition_goes_to_a_new_member_though_a_handler_never_returns(
    app: App, database_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subscription, "SETTLE_S", 0.1)
    begun: list[App] = []
    handled: list[App] = []
    other = App("station", store=f"sqlite:///{database_path}", schema=SCHEMA)

    def declare(where: App) -> None:
        @where.on(Seen)
        async def notify(seen: Seen) -> None:
            begun.append(where)
            if begun[0] is where:
                await asyncio.Event().wait()
            handled.append(where)

    declare(app)
    declare(other)

    async def run() -> None:
        first = Service(app.plan, app.settings)
        await first.start()
        await other.publish(*[Seen(sensor=f"s{n}", n=n) for n in range(100)])
        await until(lambda: len(begun) == 10)
        async with running(other):
            await until(lambda: other in handled)
            await first.stop(0.05)

    asyncio.run(run())


@pytest.mark.parametrize("plain", [False, True])
def test_what_a_drain_cuts_short_is_no_unclean_start(plain: bool, app: App) -> None:
    begun = asyncio.Event()

    async def notify(seen: Seen) -> None:
        begun.set()
        await asyncio.Event().wait()

    async def store(seen: Seen, tx: Transaction) -> None:
        begun.set()
        await asyncio.Event().wait()

    app.on(Seen)(notify if plain else store)

    async def run() -> None:
        service = Service(app.plan, app.settings)
        await service.start()
        await app.publish(*events(1))
        await begun.wait()
        drained = await service.stop(0.05)
        assert not drained.finished
        await app.read("SELECT 1")
        assert app._engine is not None
        unclean = database_of(app).read("SELECT max(unclean), count(token) FROM onward_account")
        await app.close()
        assert unclean == [(0, 0)]

    asyncio.run(run())


def test_a_transaction_that_was_kept_past_its_end_writes_into_no_other(app: App) -> None:
    async def run() -> None:
        async with app.lifespan(consume=False):
            async with app.transaction() as kept:
                await insert(kept, Seen(sensor="a", n=1))
            async with app.transaction() as other:
                with pytest.raises(TransactionError, match="has ended"):
                    await insert(kept, Seen(sensor="a", n=2))
                await insert(other, Seen(sensor="a", n=3))
            assert app._engine is not None
            assert database_of(app).read("SELECT n FROM effect ORDER BY place") == [(1,), (3,)]

    asyncio.run(run())


def test_a_disk_that_fails_is_nobodys_attempt() -> None:
    assert isinstance(translate(apsw.IOError("disk I/O error"), "Running"), NOBODYS_ATTEMPT)
