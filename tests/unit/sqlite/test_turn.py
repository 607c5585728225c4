import asyncio
import fcntl
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import apsw
import pytest

from onward.errors import StoreBusyError
from onward.sqlite import turn
from onward.sqlite.database import Database
from onward.sqlite.folder import run_folder
from tests.unit.sqlite.places import add, opened, places


async def give_up_waiting(database: Database) -> None:
    waiting = asyncio.create_task(database.begin())
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting


def test_a_second_database_on_the_file_waits_for_the_first(database_path: Path) -> None:
    async def both(first: Database, second: Database) -> None:
        await first.begin()
        waiting = asyncio.create_task(add(second, "Davos"))
        await asyncio.sleep(0)
        assert not waiting.done()
        first.commit()
        await asyncio.wait_for(waiting, 5)

    with opened(database_path) as first, opened(database_path) as second:
        asyncio.run(both(first, second))
        assert places(first) == ["Davos"]


def test_a_wait_for_another_writer_that_is_cancelled_leaves_no_lock(database_path: Path) -> None:
    async def give_up(first: Database, second: Database) -> None:
        await first.begin()
        await give_up_waiting(second)
        first.commit()
        await asyncio.wait_for(add(first, "first"), 5)
        await asyncio.wait_for(add(second, "second"), 5)

    with opened(database_path) as first, opened(database_path) as second:
        asyncio.run(give_up(first, second))
        assert places(first) == ["first", "second"]


def test_a_wait_that_is_given_up_and_asked_again_gets_its_turn(database_path: Path) -> None:
    async def ask_twice(first: Database, second: Database) -> None:
        await first.begin()
        for _ in range(3):
            await give_up_waiting(second)
        again = asyncio.create_task(add(second, "again"))
        await asyncio.sleep(0)
        first.commit()
        await asyncio.wait_for(again, 5)

    with opened(database_path) as first, opened(database_path) as second:
        asyncio.run(ask_twice(first, second))
        assert places(first) == ["again"]


def test_a_turn_may_end_before_the_thread_that_waited_for_it_goes_on(
    database_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def race(first: Database, second: Database) -> None:
        over = threading.Event()
        loop = asyncio.get_running_loop()
        tell = loop.call_soon_threadsafe

        def tell_and_dawdle(callback: Callable[..., object], *arguments: object) -> None:
            tell(callback, *arguments)
            assert over.wait(5)

        await first.begin()
        waiting = asyncio.create_task(add(second, "quick"))
        await asyncio.sleep(0)
        with monkeypatch.context() as patch:
            patch.setattr(loop, "call_soon_threadsafe", tell_and_dawdle)
            first.commit()
            await asyncio.wait_for(waiting, 5)
            assert second.holder() is None
            over.set()
        await asyncio.wait_for(add(first, "first"), 5)
        await asyncio.wait_for(add(second, "second"), 5)

    with opened(database_path) as first, opened(database_path) as second:
        asyncio.run(race(first, second))
        assert places(first) == ["first", "quick", "second"]


def test_a_busy_file_is_an_error_that_names_the_holder(database_path: Path) -> None:
    async def wait(first: Database, second: Database) -> None:
        await first.begin()
        with pytest.raises(StoreBusyError, match=f"process {os.getpid()} has held it for") as caught:
            await second.begin()
        assert caught.value.fields["holder_pid"] == os.getpid()
        first.commit()
        await asyncio.wait_for(add(second, "after"), 5)

    with opened(database_path) as first, opened(database_path, busy_s=0.05) as second:
        asyncio.run(wait(first, second))
        assert places(first) == ["after"]


def test_a_stranger_that_holds_sqlites_lock_is_waited_for(database_path: Path) -> None:
    async def wait(database: Database, stranger: apsw.Connection) -> None:
        waiting = asyncio.create_task(add(database, "Engelberg"))
        await asyncio.sleep(0)
        assert not waiting.done()
        stranger.execute("COMMIT")
        await asyncio.wait_for(waiting, 5)

    with opened(database_path) as database, closing(apsw.Connection(str(database_path))) as stranger:
        stranger.execute("BEGIN IMMEDIATE")
        asyncio.run(wait(database, stranger))
        assert places(database) == ["Engelberg"]


def test_a_stranger_that_never_ends_is_a_busy_error_and_nothing_is_written(database_path: Path) -> None:
    with (
        opened(database_path, busy_s=0.01) as database,
        closing(apsw.Connection(str(database_path))) as stranger,
    ):
        stranger.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreBusyError, match="program outside onward"):
            asyncio.run(add(database, "Flims"))
        with pytest.raises(StoreBusyError, match="another program"), database.transaction_sync():
            pass
        stranger.execute("COMMIT")
        asyncio.run(add(database, "Glarus"))
        assert places(database) == ["Glarus"]


def test_the_synchronous_twin_waits_for_other_writers_and_names_them(database_path: Path) -> None:
    with opened(database_path) as first, opened(database_path, busy_s=0.01) as second:
        with first.transaction_sync():
            with pytest.raises(StoreBusyError, match=f"process {os.getpid()}"), second.transaction_sync():
                pass
        with second.transaction_sync() as writer:
            writer.execute("INSERT INTO place VALUES ('Pontresina')")
        assert places(first) == ["Pontresina"]


def test_every_name_of_a_file_leads_to_the_same_turns(database_path: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    alias = tmp_path / "elsewhere" / "alias.db"
    alias.symlink_to(database_path)
    with opened(database_path) as first, opened(alias, busy_s=0.01) as second, first.transaction_sync():
        with pytest.raises(StoreBusyError, match="has held it"):
            second.transaction_sync().__enter__()


def test_turns_are_free_again_after_a_holder_without_a_loop(database_path: Path) -> None:
    with opened(database_path) as first, opened(database_path) as second:
        assert first.holder() is None
        with first.transaction_sync():
            holder = second.holder()
            assert holder is not None
            assert holder.pid == os.getpid()
        assert second.holder() is None


@contextmanager
def gate_held(path: Path) -> Iterator[None]:
    """What a process does that was stopped while it waited for its turn."""
    with (run_folder(path) / "gate").open("rb") as gate:
        fcntl.flock(gate, fcntl.LOCK_EX)
        yield


@pytest.fixture
def no_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turn, "GATE_PATIENCE_S", 0.0)


@pytest.mark.usefixtures("no_patience")
def test_a_stopped_process_in_the_line_does_not_stop_the_others(database_path: Path) -> None:
    async def write(first: Database, second: Database) -> None:
        for number in range(5):
            await asyncio.wait_for(add(first, f"first {number}"), 5)
            await asyncio.wait_for(add(second, f"second {number}"), 5)

    with opened(database_path) as first, opened(database_path) as second:
        with gate_held(database_path):
            asyncio.run(write(first, second))
            with first.transaction_sync() as writer:
                writer.execute("INSERT INTO place VALUES ('without a loop')")
        asyncio.run(asyncio.wait_for(add(first, "afterwards"), 5))
        assert len(places(second)) == 12


@pytest.mark.usefixtures("no_patience")
def test_going_past_a_stuck_gate_still_waits_for_the_writer(database_path: Path) -> None:
    async def write(first: Database, second: Database) -> list[str]:
        order: list[str] = []
        await first.begin()
        waiting = asyncio.create_task(second.begin())
        waiting.add_done_callback(lambda _task: order.append("second begins"))
        for _ in range(50):
            await asyncio.sleep(0)
        order.append("first commits")
        first.commit()
        await asyncio.wait_for(waiting, 5)
        second.rollback()
        return order

    with opened(database_path) as first, opened(database_path) as second, gate_held(database_path):
        assert asyncio.run(write(first, second)) == ["first commits", "second begins"]


@pytest.mark.usefixtures("no_patience")
def test_a_wait_cancelled_at_a_stuck_gate_leaves_no_lock(database_path: Path) -> None:
    async def give_up(first: Database, second: Database) -> None:
        await first.begin()
        for _ in range(3):
            await give_up_waiting(second)
        first.commit()
        await asyncio.wait_for(add(first, "first"), 5)
        await asyncio.wait_for(add(second, "second"), 5)

    with opened(database_path) as first, opened(database_path) as second, gate_held(database_path):
        asyncio.run(give_up(first, second))
        assert places(first) == ["first", "second"]


def test_a_gate_that_opens_is_gone_through(database_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def wait(database: Database) -> None:
        with gate_held(database_path):
            waiting = asyncio.create_task(add(database, "Sion"))
            await asyncio.sleep(0)
            assert not waiting.done()
        await asyncio.wait_for(waiting, 5)

    monkeypatch.setattr(turn, "GATE_PATIENCE_S", 60.0)
    with opened(database_path) as database:
        asyncio.run(wait(database))
        assert places(database) == ["Sion"]
