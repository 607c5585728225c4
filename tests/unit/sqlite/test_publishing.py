"""Publishers of one process share commits, and none of them pays for another."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import wraps
from pathlib import Path

import apsw
import pytest

from onward.errors import CommitUncertainError, StoreClosedError
from onward.ports import Outgoing
from onward.sqlite.database import Database
from onward.sqlite.log import FileLog, read
from onward.sqlite.publishing import Publisher
from onward.topics import Topic

SCENE_S = 30.0
PLACES = Topic("places", partitions=1)


class Desk:
    """A publisher on a file of its own, and what came of it."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.commits = 0
        self._log = FileLog(database)
        self._publisher = Publisher(self._log)
        database.after_commit.append(self._count)

    def _count(self) -> None:
        self.commits += 1

    async def open(self) -> None:
        async with self.database.transaction():
            self._log.names.create_topic(PLACES)
        self.commits = 0

    async def publish(self, place: str, key: str | None = None) -> None:
        await self._publisher.publish([Outgoing(PLACES.name, "place", 1, place.encode(), key)], "atlas")

    def start(self, place: str, key: str | None = None) -> asyncio.Task[None]:
        return asyncio.create_task(self.publish(place, key))

    def cancel_after_commit(self, task: asyncio.Task[None]) -> None:
        """Between the next commit and the turn of the loop in which its publishers hear of it."""

        def cancel() -> None:
            task.cancel()

        self.database.after_commit.append(cancel)

    def published(self) -> list[str]:
        stored = self._log.names.topic(PLACES.name)
        assert stored is not None
        return [record[2].decode() for record in read(self.database.reader, stored.lanes[0], 0, 100)]


@asynccontextmanager
async def desk_on(path: Path) -> AsyncIterator[Desk]:
    database = Database.open(path)
    try:
        desk = Desk(database)
        await desk.open()
        yield desk
    finally:
        database.close()


def scene(play: Callable[[Desk], Awaitable[None]]) -> Callable[[Path], None]:
    @wraps(play)
    def test(database_path: Path) -> None:
        async def bounded() -> None:
            async with asyncio.timeout(SCENE_S), desk_on(database_path) as desk:
                await play(desk)

        asyncio.run(bounded())

    del test.__wrapped__  # pytest would ask for its parameters
    return test


async def turns(count: int = 3) -> None:
    """Let whoever can go on do so."""
    for _ in range(count):
        await asyncio.sleep(0)


async def outcomes(*publishing: Awaitable[None]) -> list[BaseException | None]:
    return list(await asyncio.gather(*publishing, return_exceptions=True))


@scene
async def test_publishers_that_come_together_share_a_commit(desk: Desk) -> None:
    await asyncio.gather(*(desk.publish(f"Aarau {n}") for n in range(50)))
    assert desk.published() == [f"Aarau {n}" for n in range(50)]
    assert desk.commits == 1


@scene
async def test_publishers_that_wait_for_their_turn_share_a_commit(desk: Desk) -> None:
    async with desk.database.transaction():
        tasks = [desk.start("Aarau")]
        await turns()
        tasks += [desk.start("Bern"), desk.start("Chur")]
        await turns()
    await asyncio.gather(*tasks)
    assert desk.published() == ["Aarau", "Bern", "Chur"]
    assert desk.commits == 2  # the first is that of the transaction they waited for


@scene
async def test_what_may_have_been_committed_is_not_written_again_and_each_publisher_is_told(desk: Desk) -> None:
    class Failing:
        """The disk fails when the commit is written."""

        def after_commit(self) -> None:
            raise apsw.exception_for(apsw.SQLITE_IOERR_FSYNC)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(desk.database, "_checkpointer", Failing())
        told = await outcomes(desk.publish("Aarau"), desk.publish("Bern"))
    assert [type(each) for each in told] == [CommitUncertainError, CommitUncertainError]
    assert desk.published() == ["Aarau", "Bern"]
    await desk.publish("Chur")
    assert desk.published() == ["Aarau", "Bern", "Chur"]


@scene
async def test_publishing_in_a_loop_lets_other_tasks_run(desk: Desk) -> None:
    seen: list[int] = []

    async def watch() -> None:
        while len(desk.published()) < 20:
            seen.append(len(desk.published()))
            await asyncio.sleep(0)

    watching = asyncio.create_task(watch())
    for n in range(20):
        await desk.publish(f"Aarau {n}")
    await watching
    assert seen == list(range(20))


@pytest.mark.parametrize("which", [0, 1, 2])
def test_a_publish_cancelled_while_it_waits_publishes_nothing_and_stops_nobody(database_path: Path, which: int) -> None:
    async def play() -> None:
        async with asyncio.timeout(SCENE_S), desk_on(database_path) as desk:
            async with desk.database.transaction():
                tasks = [desk.start(place) for place in ("Aarau", "Bern", "Chur")]
                await turns()
                tasks[which].cancel()
                await turns()
            results = await outcomes(*tasks)
            assert isinstance(results.pop(which), asyncio.CancelledError)
            assert results == [None, None]
            assert len(desk.published()) == 2
            assert ["Aarau", "Bern", "Chur"][which] not in desk.published()
            await desk.publish("Davos")
            assert desk.published()[-1] == "Davos"

    asyncio.run(play())


@scene
async def test_a_publish_cancelled_when_it_is_written_returns(desk: Desk) -> None:
    leader, task = desk.start("Aarau"), desk.start("Bern")
    desk.cancel_after_commit(task)
    assert await outcomes(leader, task) == [None, None]
    assert desk.published() == ["Aarau", "Bern"]


@scene
async def test_a_cancellation_that_comes_too_late_is_not_lost(desk: Desk) -> None:
    returned = asyncio.Event()

    async def publish_and_wait() -> None:
        await desk.publish("Bern")
        returned.set()
        await asyncio.Event().wait()

    leader, task = desk.start("Aarau"), asyncio.create_task(publish_and_wait())
    desk.cancel_after_commit(task)
    await leader
    await asyncio.wait([task], timeout=5)
    assert task.cancelled()
    assert returned.is_set()
    assert desk.published() == ["Aarau", "Bern"]


@scene
async def test_a_time_out_that_comes_too_late_cancels_nothing(desk: Desk) -> None:
    async def publish_in_time() -> None:
        async with asyncio.timeout(SCENE_S) as limit:
            desk.database.after_commit.append(lambda: limit.reschedule(0))
            await desk.publish("Bern")
        assert limit.expired()
        await turns()

    leader, task = desk.start("Aarau"), asyncio.create_task(publish_in_time())
    assert await outcomes(leader, task) == [None, None]
    assert desk.published() == ["Aarau", "Bern"]


@scene
async def test_what_one_publisher_may_not_write_takes_no_other_with_it(desk: Desk) -> None:
    class Unwritable(bytes):
        def __len__(self) -> int:
            raise RuntimeError("no length today")

    broken = Outgoing(PLACES.name, "place", 1, Unwritable(b"Bern"), None)
    results = await outcomes(desk.publish("Aarau"), desk._publisher.publish([broken], "atlas"), desk.publish("Chur"))
    assert (results[0], results[2]) == (None, None)
    assert str(results[1]) == "no length today"
    await desk.publish("Davos")
    assert desk.published() == ["Aarau", "Chur", "Davos"]


@scene
async def test_what_the_store_refuses_is_told_to_all_who_wait(desk: Desk) -> None:
    desk.database.close()
    results = await outcomes(desk.publish("Aarau"), desk.publish("Bern"))
    assert [type(result) for result in results] == [StoreClosedError, StoreClosedError]
