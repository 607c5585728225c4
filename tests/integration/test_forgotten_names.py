"""What a rollback took back is not remembered: an event written under such a name would be on no topic."""

import asyncio
from contextlib import closing
from pathlib import Path

import pytest

from onward import App, Event, Retention, Topic
from onward.brokers.sqlite import SqliteBroker
from onward.errors import BacklogFullError, OnwardError, RegistrationError
from onward.ports import Outgoing
from onward.sqlite.database import Database
from onward.sqlite.ingest import Ingest
from onward.sqlite.log import FileLog

SCHEMA = (
    "CREATE TABLE IF NOT EXISTS parent (id INTEGER PRIMARY KEY)",
    "CREATE TABLE IF NOT EXISTS child (parent INTEGER REFERENCES parent (id) DEFERRABLE INITIALLY DEFERRED)",
)
ON_TOPIC = (
    "SELECT count(*) FROM onward_log JOIN onward_lane l ON l.id = pos >> 40"
    " JOIN onward_topic t ON t.id = l.topic WHERE t.name = ?"
)


class Named(Event, type="forgotten.named", topic="names"):
    n: int


def on_topic(path: Path, name: str) -> int:
    """How many events a reader of the topic would find."""
    with closing(Database.open(path)) as database:
        ((count,),) = database.read(ON_TOPIC, (name,))
    return int(count)


def event(topic: str) -> Outgoing:
    return Outgoing(topic, "forgotten.named", 1, b'{"n":1}', None)


def test_after_a_commit_that_failed_its_topic_is_made_again(database_path: Path) -> None:
    async def scene() -> None:
        app = App("shop", store=f"sqlite:///{database_path}", schema=SCHEMA)

        async def orphan() -> None:
            async with app.transaction() as tx:
                await tx.publish(Named(n=1))
                await tx.execute("INSERT INTO child VALUES (7)")  # its parent is asked for by the commit

        with pytest.raises(OnwardError, match="FOREIGN KEY"):
            await orphan()
        await app.publish(Named(n=2))
        await app.close()

    asyncio.run(scene())
    assert on_topic(database_path, "names") == 1


def test_after_topics_that_were_refused_the_new_ones_among_them_are_made_again(database_path: Path) -> None:
    async def scene() -> None:
        with closing(Database.open(database_path)) as database:
            broker = SqliteBroker(FileLog(database), lambda _group: [])
            await broker.open([Topic("old", partitions=2)])
            with pytest.raises(RegistrationError, match="has 2 partitions and the code declares 3"):
                await broker.open([Topic("names", partitions=4), Topic("old", partitions=3)])
            await broker.publish([event("names")], "shop")
            await broker.close()

    asyncio.run(scene())
    assert on_topic(database_path, "names") == 1


def test_after_lines_that_were_refused_their_topic_is_made_again(database_path: Path) -> None:
    with closing(Database.open(database_path)) as database:
        log = FileLog(database)
        with database.transaction_sync():
            log.names.create_topic(Topic("overfull", 1, Retention(backlog_bytes=1)))
        ingest = Ingest(database)
        with pytest.raises(BacklogFullError):
            ingest.append([event("names"), event("overfull")], "cli")
        ingest.append([event("names")], "cli")
    assert on_topic(database_path, "names") == 1
