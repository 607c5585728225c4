"""What fails on PostgreSQL fails alone: its neighbours take effect once, and nobody is blamed for what is below."""

import asyncio
import threading
from collections.abc import Awaitable, Callable

import psycopg
import pytest

from onward import App, BatchFailed, Context, SyncTransaction, Topic, Transaction
from onward.policy import Retry
from onward.stores.postgres.names import OFTEN
from tests.integration.postgres.stage import PATIENCE_S, SCHEMA, Numbered, Stage, on_stage

TWICE = Retry(max_attempts=2, first_s=0.01, max_s=0.01)
COUNT = 300
INSERT = "INSERT INTO effect VALUES (:n, 'handler')"


def shop(*, partitions: int = 1, schema: str = SCHEMA) -> App:
    return App("shop", schema=schema, topics=[Topic("numbers", partitions=partitions)])


def numbers(count: int = COUNT) -> list[Numbered]:
    return [Numbered(key=f"k{n % 7}", n=n) for n in range(count)]


def test_events_that_fail_are_dead_letters_alone_and_the_others_take_effect_once(postgres_url: str) -> None:
    app = shop()
    poison = {3, 150, 151, 299}

    @app.on(Numbered, retry=TWICE)
    async def note(event: Numbered, tx: Transaction) -> None:
        await tx.submit(INSERT, n=event.n)
        if event.n in poison:
            raise ValueError(event.n)

    async def scene(stage: Stage) -> None:
        async with stage.running(app):
            await stage.publish(*numbers())
            await stage.settled()
        assert stage.effects() == [n for n in range(COUNT) if n not in poison]
        assert stage.dead_letters() == [("note", n, 2) for n in sorted(poison)]
        assert stage.rows("SELECT 1 FROM onward.attempt") == []
        assert stage.rows("SELECT succeeded, dead FROM onward.tally WHERE handler = 'note'") == [(296, 4)]

    on_stage(postgres_url, scene)


@pytest.mark.parametrize(("poison", "most"), [(-1, 1), (150, 30)])
def test_a_batch_has_no_savepoint_for_each_event(postgres_url: str, poison: int, most: int) -> None:
    app = shop()

    @app.on(Numbered, retry=TWICE)
    async def note(event: Numbered, tx: Transaction) -> None:
        await tx.submit(INSERT, n=event.n)
        if event.n == poison:
            raise ValueError(poison)

    async def scene(stage: Stage) -> None:
        await stage.parts.broker.open(app.topics)
        await stage.publish(*numbers())
        async with stage.running(app):
            await stage.settled()
        assert len(stage.effects()) >= COUNT - 1
        # What a savepoint wrote carries an id of its own, and beyond 64 of them in a transaction the server slows down.
        ((identities,),) = stage.rows("SELECT count(DISTINCT xmin::text) FROM effect")
        assert identities <= most

    on_stage(postgres_url, scene)


def test_an_error_of_a_submitted_statement_is_its_own_events(postgres_url: str) -> None:
    app = shop(schema="CREATE TABLE IF NOT EXISTS effect (n INTEGER NOT NULL CHECK (n <> 42), by TEXT NOT NULL)")

    @app.on(Numbered, retry=TWICE)
    async def note(event: Numbered, tx: Transaction) -> None:
        await tx.submit(INSERT, n=event.n)

    async def scene(stage: Stage) -> None:
        async with stage.running(app):
            await stage.publish(*numbers())
            await stage.settled()
        assert stage.effects() == [n for n in range(COUNT) if n != 42]
        assert stage.dead_letters() == [("note", 42, 2)]

    on_stage(postgres_url, scene)


def test_a_constraint_that_is_checked_at_commit_is_its_own_events(postgres_url: str) -> None:
    schema = (
        "CREATE TABLE IF NOT EXISTS parent (n INTEGER PRIMARY KEY);"
        " CREATE TABLE IF NOT EXISTS effect"
        " (n INTEGER NOT NULL REFERENCES parent DEFERRABLE INITIALLY DEFERRED, by TEXT NOT NULL)"
    )
    app = shop(schema=schema)

    @app.on(Numbered, retry=TWICE)
    async def first(event: Numbered, tx: Transaction) -> None:
        await tx.submit("INSERT INTO effect VALUES (:n, 'first')", n=event.n)
        if event.n != 7:
            await tx.submit("INSERT INTO parent VALUES (:n)", n=event.n)

    @app.on(Numbered, retry=TWICE)
    async def second(event: Numbered, tx: Transaction) -> None:
        await tx.submit("INSERT INTO effect VALUES (:n, 'second')", n=event.n + 1000)
        await tx.submit("INSERT INTO parent VALUES (:n)", n=event.n + 1000)

    async def scene(stage: Stage) -> None:
        async with stage.running(app):
            await stage.publish(*numbers(20))
            await stage.settled()
        assert stage.effects() == [n for n in range(20) if n != 7] + [n + 1000 for n in range(20)]
        assert stage.dead_letters() == [("first", 7, 2)]

    on_stage(postgres_url, scene)


def test_plain_functions_with_the_transaction_do_not_hold_the_event_loop(postgres_url: str) -> None:
    app = shop()
    begun, turned = threading.Event(), threading.Event()

    @app.on(Numbered, retry=TWICE)
    def note(event: Numbered, tx: SyncTransaction) -> None:
        begun.set()
        assert turned.wait(PATIENCE_S), "the event loop sets it, while this function waits"
        with pytest.raises(ZeroDivisionError), tx.savepoint():  # noqa: PT012 - the block is what is undone
            tx.submit(INSERT, n=event.n + 1000)
            raise ZeroDivisionError
        tx.submit(INSERT, n=event.n)
        if event.n == 5:
            raise ValueError("poison")

    async def scene(stage: Stage) -> None:
        async with stage.running(app):
            await stage.publish(*numbers(50))
            await stage.until(begun.is_set)
            turned.set()
            await stage.settled()
        assert stage.effects() == [n for n in range(50) if n != 5]
        assert stage.dead_letters() == [("note", 5, 2)]

    on_stage(postgres_url, scene)


def test_a_list_handler_says_which_of_its_events_failed(postgres_url: str) -> None:
    app = shop()

    @app.on(Numbered, retry=TWICE)
    async def note(events: list[Numbered], tx: Transaction) -> None:
        for event in events:
            await tx.submit(INSERT, n=event.n)
        failed: dict[int, BaseException] = {
            place: ValueError(event.n) for place, event in enumerate(events) if event.n in (10, 20)
        }
        if failed:
            raise BatchFailed(failed)

    async def scene(stage: Stage) -> None:
        async with stage.running(app):
            await stage.publish(*numbers(40))
            await stage.settled()
        assert stage.effects() == [n for n in range(40) if n not in (10, 20)]
        assert stage.dead_letters() == [("note", 10, 2), ("note", 20, 2)]

    on_stage(postgres_url, scene)


def test_an_event_that_leaves_its_transaction_idle_is_a_dead_letter_alone(postgres_url: str) -> None:
    app = shop()

    @app.on(Numbered, retry=TWICE)
    async def note(event: Numbered, tx: Transaction) -> None:
        await tx.execute(INSERT, n=event.n)
        if event.n == 5:
            await asyncio.sleep(0.5)  # what is claimed: longer than idle_s

    async def scene(stage: Stage) -> None:
        async with stage.running(app):
            await stage.publish(*numbers(10))
            await stage.settled()
        assert stage.effects() == [n for n in range(10) if n != 5]
        assert stage.dead_letters() == [("note", 5, 2)]

    on_stage(f"{postgres_url}?idle_s=0.1", scene)


def take_once(app: App, kind: str, take: Callable[[Numbered, Transaction], Awaitable[None]]) -> None:
    """A handler of that kind whose first failure is its last."""
    if kind == "transactional":
        app.on(Numbered, name="take", retry=Retry(max_attempts=1))(take)
    else:

        @app.on(Numbered, name="take", retry=Retry(max_attempts=1))
        async def plain(event: Numbered, ctx: Context) -> None:
            async with ctx.transaction() as tx:
                await take(event, tx)


@pytest.mark.parametrize("kind", ["transactional", "plain"])
def test_a_lock_that_somebody_else_holds_is_nobodys_attempt(postgres_url: str, kind: str) -> None:
    app = shop(schema=f"{SCHEMA}; CREATE TABLE IF NOT EXISTS stock (id INTEGER PRIMARY KEY)")
    calls = 0
    enough = asyncio.Event()

    async def take(event: Numbered, tx: Transaction) -> None:
        nonlocal calls
        calls += 1
        if calls == 6:
            enough.set()
        await tx.execute("SELECT id FROM stock FOR UPDATE")
        await tx.submit(INSERT, n=event.n)

    take_once(app, kind, take)

    async def scene(stage: Stage) -> None:
        async with stage.running(app) as service:
            stage.rows("INSERT INTO stock VALUES (1) RETURNING 1")
            with psycopg.connect(postgres_url) as holder:
                holder.execute("SELECT id FROM stock FOR UPDATE")
                await stage.publish(*numbers(4))
                await enough.wait()
            await stage.settled()
            assert service.unready() == []
        assert stage.effects() == [0, 1, 2, 3]
        assert stage.dead_letters() == []
        assert stage.rows("SELECT 1 FROM onward.attempt") == []

    on_stage(f"{postgres_url}?lock_s=0.05", scene)


@pytest.mark.parametrize("kind", ["transactional", "plain"])
def test_a_table_that_is_altered_under_a_handler_at_work_is_nobodys_attempt(postgres_url: str, kind: str) -> None:
    """Kept beyond a transaction, a plan of before would be refused by the server: it gives other columns since."""
    app = shop(schema=f"{SCHEMA}; CREATE TABLE IF NOT EXISTS stock (id INTEGER PRIMARY KEY)")
    rounds = 3 * OFTEN
    columns: list[int] = []

    async def take(event: Numbered, tx: Transaction) -> None:
        columns.append(len((await tx.execute("SELECT * FROM stock WHERE id = :one", one=1)).one()))
        await tx.submit(INSERT, n=event.n)

    take_once(app, kind, take)

    async def scene(stage: Stage) -> None:
        async with stage.running(app) as service:
            stage.rows("INSERT INTO stock VALUES (1) RETURNING 1")
            for n in range(rounds):
                await stage.publish(Numbered(key="k", n=n))
                await stage.settled()
                if n % OFTEN == OFTEN - 1:
                    with psycopg.connect(postgres_url) as other:
                        other.execute(f"ALTER TABLE stock ADD COLUMN more_{n} TEXT".encode())
            assert service.unready() == []
        assert stage.effects() == list(range(rounds))
        assert columns[-1] > columns[0]
        assert stage.dead_letters() == []
        assert stage.rows("SELECT 1 FROM onward.attempt") == []

    on_stage(postgres_url, scene)
