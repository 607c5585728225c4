import asyncio
import time
from contextlib import closing, suppress
from pathlib import Path

import apsw
import pytest

from onward.errors import StoreClosedError, StoreError, TransactionError
from onward.sqlite.database import Database, writing_since
from tests.unit.sqlite.places import add, opened, places


@pytest.mark.parametrize("memory", [False, True])
def test_a_transaction_is_committed_at_the_end_of_its_block(database_path: Path, memory: bool) -> None:
    with opened(":memory:" if memory else database_path) as database:
        asyncio.run(add(database, "Aarau"))
        assert places(database) == ["Aarau"]


def test_a_commit_is_there_when_the_file_is_opened_again(database_path: Path) -> None:
    with opened(database_path) as database:
        asyncio.run(add(database, "Aarau"))
    with opened(database_path) as database:
        assert places(database) == ["Aarau"]


def test_an_exception_in_the_block_rolls_back_and_is_seen(database_path: Path) -> None:
    async def fail(database: Database) -> None:
        async with database.transaction() as writer:
            writer.execute("INSERT INTO place VALUES ('Bern')")
            raise ValueError("no such place")

    with opened(database_path) as database:
        with pytest.raises(ValueError, match="no such place"):
            asyncio.run(fail(database))
        asyncio.run(add(database, "Aarau"))
        assert places(database) == ["Aarau"]


def test_a_cancelled_block_rolls_back(database_path: Path) -> None:
    async def cancel_inside(database: Database) -> None:
        inside = asyncio.Event()

        async def linger() -> None:
            async with database.transaction() as writer:
                writer.execute("INSERT INTO place VALUES ('Bern')")
                inside.set()
                await asyncio.Event().wait()

        task = asyncio.create_task(linger())
        await inside.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await add(database, "Aarau")

    with opened(database_path) as database:
        asyncio.run(cancel_inside(database))
        assert places(database) == ["Aarau"]


def test_a_script_that_raises_inside_a_transaction_leaves_nothing_and_no_lock(database_path: Path) -> None:
    def fail(database: Database) -> None:
        with database.transaction_sync() as writer:
            writer.execute("INSERT INTO place (name) VALUES ('Aarau')")
            raise LookupError

    with opened(database_path) as database, opened(database_path) as other:
        with pytest.raises(LookupError):
            fail(database)
        asyncio.run(asyncio.wait_for(add(other, "Baden"), 5))
        assert places(database) == ["Baden"]


def test_begin_does_not_suspend_when_nobody_else_writes(database_path: Path) -> None:
    async def step(database: Database) -> None:
        with pytest.raises(StopIteration):
            database.begin().send(None)
        database.rollback()

    with opened(database_path) as database:
        asyncio.run(step(database))


def test_tasks_of_one_process_write_in_the_order_they_asked(database_path: Path) -> None:
    async def ask(database: Database) -> list[int]:
        order: list[int] = []

        async def write(number: int) -> None:
            async with database.transaction():
                order.append(number)
                await asyncio.sleep(0)

        await asyncio.gather(*(write(number) for number in range(20)))
        return order

    with opened(database_path) as database:
        assert asyncio.run(ask(database)) == list(range(20))


def test_a_waiting_task_that_is_cancelled_leaves_the_turn_to_the_next(database_path: Path) -> None:
    async def give_up(database: Database) -> None:
        await database.begin()
        impatient = asyncio.create_task(database.begin())
        patient = asyncio.create_task(add(database, "Chur"))
        await asyncio.sleep(0)
        impatient.cancel()
        database.commit()
        await asyncio.wait_for(patient, 5)
        assert impatient.cancelled()

    with opened(database_path) as database:
        asyncio.run(give_up(database))
        assert places(database) == ["Chur"]


def test_beginning_inside_a_transaction_of_the_same_task_is_refused(database_path: Path) -> None:
    async def nest(database: Database) -> None:
        async with database.transaction():
            with pytest.raises(TransactionError, match="wait for itself"):
                await database.begin()

    with opened(database_path) as database:
        asyncio.run(nest(database))


def test_a_statement_outside_a_transaction_stores_nothing(database_path: Path) -> None:
    with opened(database_path) as database:
        with pytest.raises(apsw.ConstraintError):
            database.writer.execute("INSERT INTO place VALUES ('Herisau')")
        assert places(database) == []


@pytest.mark.parametrize("ending", ["COMMIT", "ROLLBACK"])
def test_a_transaction_ended_behind_our_back_stores_nothing(database_path: Path, ending: str) -> None:
    async def meddle(database: Database) -> None:
        await database.begin()
        database.writer.execute("INSERT INTO place VALUES ('Ilanz')")
        with suppress(apsw.ConstraintError):  # SQLite's word for a commit that a hook refused
            database.writer.execute(ending)
        with pytest.raises(TransactionError):
            database.commit()
        await add(database, "Jona")

    with opened(database_path) as database:
        asyncio.run(meddle(database))
        assert places(database) == ["Jona"]


def test_a_commit_that_fails_is_rolled_back_and_the_turn_given_back(database_path: Path) -> None:
    async def break_a_promise(database: Database) -> None:
        async with database.transaction() as writer:
            writer.execute("CREATE TABLE road (a REFERENCES place (name) DEFERRABLE INITIALLY DEFERRED)")
        await database.begin()
        database.writer.execute("INSERT INTO road VALUES ('nowhere')")
        with pytest.raises(StoreError, match="FOREIGN KEY"):
            database.commit()
        await asyncio.wait_for(add(database, "Kandersteg"), 5)
        assert database.read("SELECT count(*) FROM road") == [(0,)]

    with opened(database_path) as database:
        asyncio.run(break_a_promise(database))
        assert places(database) == ["Kandersteg"]


def test_after_commit_runs_once_per_commit_and_sees_the_turn_given_back(database_path: Path) -> None:
    async def write(first: Database, second: Database) -> list[bool]:
        free: list[bool] = []

        def note() -> None:
            free.append(first.holder() is None)

        first.after_commit.append(note)
        await add(first, "Lugano")
        await first.begin()
        first.rollback()
        await add(second, "Murten")
        return free

    with opened(database_path) as first, opened(database_path) as second:
        assert asyncio.run(write(first, second)) == [True]


def test_a_process_knows_since_when_it_writes_however_the_transaction_ends(database_path: Path) -> None:
    async def write(database: Database, how: str) -> None:
        before = time.monotonic()
        await database.begin()
        since = writing_since()
        assert since is not None
        assert before <= since <= time.monotonic()
        if how == "commit":
            database.commit()
        elif how == "rollback":
            database.rollback()
        else:
            database.close()

    for how in ("commit", "rollback", "close"):
        with opened(database_path) as database:
            asyncio.run(write(database, how))
            assert writing_since() is None
    with opened(database_path) as database:
        with database.transaction_sync():
            assert writing_since() is not None
        assert writing_since() is None


def test_waiting_for_a_program_outside_onward_is_not_writing(database_path: Path) -> None:
    async def wait(database: Database, stranger: apsw.Connection) -> None:
        beginning = asyncio.create_task(database.begin())
        await asyncio.sleep(0)
        assert database.holder() is not None
        assert writing_since() is None
        stranger.execute("ROLLBACK")
        await beginning
        assert writing_since() is not None
        database.rollback()

    with opened(database_path) as database, closing(apsw.Connection(str(database_path))) as stranger:
        stranger.execute("BEGIN IMMEDIATE")
        asyncio.run(wait(database, stranger))


def test_the_reader_sees_commits_only_and_cannot_write(database_path: Path) -> None:
    async def look_inside(database: Database) -> None:
        async with database.transaction() as writer:
            writer.execute("INSERT INTO place VALUES ('Nyon')")
            assert places(database) == []
        assert places(database) == ["Nyon"]
        with pytest.raises(StoreError):
            database.read("DELETE FROM place")

    with opened(database_path) as database:
        asyncio.run(look_inside(database))
        assert not database.reader.in_transaction


def test_a_wrong_query_is_a_store_error_that_says_what_sqlite_said(database_path: Path) -> None:
    with opened(database_path) as database, pytest.raises(StoreError, match="no such table: nowhere"):
        database.read("SELECT * FROM nowhere")


def test_the_synchronous_twin_is_refused_on_an_event_loop_and_inside_itself(database_path: Path) -> None:
    async def block(database: Database) -> None:
        with pytest.raises(TransactionError, match="block the event loop"), database.transaction_sync():
            pass

    with opened(database_path) as database:
        asyncio.run(block(database))
        with database.transaction_sync():
            with pytest.raises(TransactionError, match="nested"):
                database.transaction_sync().__enter__()


def fill_twice(database: Database) -> None:
    with database.transaction_sync() as writer:
        writer.execute("INSERT INTO place VALUES ('Olten')")
        writer.execute("INSERT INTO place VALUES ('Olten')")


def test_the_synchronous_twin_rolls_back_on_an_exception(database_path: Path) -> None:
    with opened(database_path) as database:
        with pytest.raises(apsw.ConstraintError):
            fill_twice(database)
        assert places(database) == []


def test_using_a_closed_database_says_that_we_closed_it(database_path: Path) -> None:
    with opened(database_path) as database:
        database.close()
        database.close()
        with pytest.raises(StoreClosedError):
            asyncio.run(database.begin())
        with pytest.raises(StoreClosedError), database.transaction_sync():
            pass
        with pytest.raises(StoreClosedError):
            database.read("SELECT 1")


def test_closing_rolls_back_what_is_open_and_turns_waiting_tasks_away(database_path: Path) -> None:
    async def close_inside(first: Database, second: Database) -> None:
        await first.begin()
        first.writer.execute("INSERT INTO place VALUES ('Quinto')")
        beside = asyncio.create_task(first.begin())
        beyond = asyncio.create_task(second.begin())
        await asyncio.sleep(0)
        second.close()
        first.close()
        for refused in (beside, beyond):
            with pytest.raises(StoreClosedError):
                await asyncio.wait_for(refused, 5)

    with opened(database_path) as first, opened(database_path) as second:
        asyncio.run(close_inside(first, second))
    with opened(database_path) as database:
        assert places(database) == []


def test_the_last_close_leaves_one_file_without_a_log(database_path: Path) -> None:
    with opened(database_path) as database:
        asyncio.run(add(database, "Riehen"))
    assert not database_path.with_name("onward.db-wal").exists()
