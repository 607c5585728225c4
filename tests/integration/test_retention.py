"""Retention on a real file: what everybody handled goes, what anybody is owed stays."""

import asyncio
import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from onward import App, Event, Transaction
from onward.ports import Claim, HandlerEntry, Outgoing, ServiceEntry, SubscriptionEntry
from onward.sqlite.database import Database
from onward.sqlite.log import FileLog
from onward.sqlite.retention import Pruned, prune, prune_letters
from onward.stores.sqlite import SqliteStore
from onward.topics import Retention, Topic
from tests.integration.services import running, until_none, until_some

LATER = 4_000_000_000.0  # seconds since the epoch: every event is old by then
KEEP_NOTHING = Retention(age_s=0, bytes=0)


class Rung(Event, type="retention.rung", topic="retention.bells"):
    n: int


@pytest.fixture
def database(database_path: Path) -> Iterator[Database]:
    with closing(Database.open(database_path)) as opened:
        yield opened


def topic(log: FileLog, name: str, retention: Retention, partitions: int = 1) -> None:
    with log.database.transaction_sync():
        log.names.create_topic(Topic(name, partitions, retention))


def publish(log: FileLog, name: str, count: int, value_bytes: int = 10, key: str | None = None) -> None:
    with log.database.transaction_sync():
        log.append([Outgoing(name, "made", 1, b"x" * value_bytes, key)] * count, "test")


def subscribe(database: Database, name: str, next_offset: int = 0, retired_at: float | None = None) -> None:
    with database.transaction_sync() as writer:
        writer.execute(
            "INSERT INTO onward_subscription (service, name, topic, ordered_commit, created_at, retired_at)"
            " VALUES (?, 'transactional', 1, 1, 0, ?)",
            (name, retired_at),
        )
        writer.execute(
            "INSERT INTO onward_account (subscription, partition, start_offset, next_offset) VALUES (?, 0, 0, ?)",
            (writer.last_insert_rowid(), next_offset),
        )


def letters(database: Database, state: str, *died_at: float) -> None:
    """Dead letters of the first subscription, which died then."""
    with database.transaction_sync() as writer:
        (begin,) = writer.execute("SELECT count(*) FROM onward_dead_letter").fetchone() or (0,)
        writer.executemany(
            "INSERT INTO onward_dead_letter (subscription, partition, offset, handler, state, cause, error, detail,"
            " fingerprint, attempts, first_at, died_at, event_id, event_type, event_version, event_source, event_time)"
            " VALUES (1, 0, ?, 'pay', ?, 'fatal', '', '', '', 1, 0, ?, '', '', 1, '', 0)",
            [(begin + index, state, died) for index, died in enumerate(died_at)],
        )


def handle_all(database: Database) -> None:
    with database.transaction_sync() as writer:
        writer.execute("UPDATE onward_account SET next_offset = (SELECT max(next_offset) FROM onward_lane)")


def pruned(database: Database, now: float = LATER, max_rows: int = 5000) -> Pruned:
    return asyncio.run(prune(database, now, max_rows=max_rows))


def offsets(database: Database) -> list[int]:
    return [row[0] for row in database.read("SELECT pos & 1099511627775 FROM onward_log ORDER BY pos")]


def test_nothing_unhandled_is_pruned_however_old_or_large(database: Database) -> None:
    log = FileLog(database)
    topic(log, "orders", KEEP_NOTHING)
    publish(log, "orders", 10)
    subscribe(database, "fast", next_offset=10)
    subscribe(database, "slow", next_offset=4)
    assert pruned(database) == Pruned(rows=4, bytes=40, more=False)
    assert offsets(database) == [4, 5, 6, 7, 8, 9]
    assert database.read("SELECT first_offset, next_offset, bytes FROM onward_lane") == [(4, 10, 60)]


def test_a_subscription_without_an_account_for_a_partition_holds_everything_back(database: Database) -> None:
    log = FileLog(database)
    topic(log, "orders", KEEP_NOTHING)
    publish(log, "orders", 3)
    subscribe(database, "one", next_offset=3)
    with database.transaction_sync() as writer:
        writer.execute(
            "INSERT INTO onward_subscription (service, name, topic, ordered_commit, created_at)"
            " VALUES ('new', 'x', 1, 1, 0)"
        )
    assert pruned(database) == Pruned(0, 0, more=False)


def test_a_subscription_begins_at_what_is_left_when_the_log_was_cut_meanwhile(database: Database) -> None:
    log = FileLog(database)
    topic(log, "orders", KEEP_NOTHING, partitions=2)
    publish(log, "orders", 5, key="a")
    publish(log, "orders", 3, key="d")
    starts = (0, 0)  # as they were read before the next line
    assert pruned(database).rows == 8
    publish(log, "orders", 1, key="a")
    handler = HandlerEntry("pay", "transactional", "earliest", ("made",), starts)
    entry = SubscriptionEntry("transactional", "orders", True, (handler,), starts)

    async def register() -> list[Claim]:
        store = SqliteStore(log, "shop")
        (subscription,) = await store.open(ServiceEntry("shop", (), {}, (entry,)))
        return await store.claim(subscription, "orders", (0, 1), "member")

    claims = asyncio.run(register())
    assert sorted((claim.position.start, claim.position.next, claim.joined["pay"]) for claim in claims) == [
        (3, 3, 3),
        (5, 5, 5),
    ]


def test_a_retired_subscription_holds_nothing_back(database: Database) -> None:
    log = FileLog(database)
    topic(log, "orders", KEEP_NOTHING)
    publish(log, "orders", 3)
    subscribe(database, "live", next_offset=3)
    subscribe(database, "gone", next_offset=1, retired_at=1.0)
    assert pruned(database).rows == 3


def test_handled_events_within_age_and_size_are_kept(database: Database) -> None:
    log = FileLog(database)
    topic(log, "orders", Retention(age_s=3600, bytes=1000))
    publish(log, "orders", 10)
    subscribe(database, "all", next_offset=10)
    now = database.read("SELECT max(time) / 1e6 FROM onward_log")[0][0]
    assert pruned(database, now + 3599) == Pruned(0, 0, more=False)
    assert pruned(database, now + 3601).rows == 10


def test_without_a_subscription_size_alone_cuts_the_oldest_over_all_partitions(database: Database) -> None:
    log = FileLog(database)
    topic(log, "orders", Retention(age_s=1e9, bytes=45), partitions=2)
    for index in range(10):
        publish(log, "orders", 1, key="a" if index % 2 else "d")
    with database.transaction_sync() as writer:  # a time of its own for each, in the order of publishing
        rows = writer.execute("SELECT pos, id FROM onward_log ORDER BY id").fetchall()
        writer.executemany(
            "UPDATE onward_log SET time = ? WHERE pos = ?", [(at, pos) for at, (pos, _) in enumerate(rows)]
        )
    partitions = database.read("SELECT count(DISTINCT pos >> 40) FROM onward_log")
    assert partitions == [(2,)], "the two keys must lie in two partitions for this test to say anything"
    assert pruned(database, 0.0) == Pruned(rows=6, bytes=60, more=False)
    assert database.read("SELECT time FROM onward_log ORDER BY time") == [(6,), (7,), (8,), (9,)]
    assert database.read("SELECT first_offset, bytes FROM onward_lane ORDER BY id") == [(3, 20), (3, 20)]


def test_a_step_takes_no_more_rows_than_it_may_and_says_that_there_is_more(database: Database) -> None:
    log = FileLog(database)
    topic(log, "orders", KEEP_NOTHING)
    publish(log, "orders", 25)
    steps = [pruned(database, max_rows=10) for _ in range(4)]
    assert [(step.rows, step.more) for step in steps] == [(10, True), (10, True), (5, False), (0, False)]


def test_offsets_go_on_after_everything_was_pruned(database: Database) -> None:
    log = FileLog(database)
    topic(log, "orders", KEEP_NOTHING)
    publish(log, "orders", 3)
    pruned(database)
    publish(log, "orders", 1)
    assert offsets(database) == [3]


def test_the_file_stops_growing_over_many_rounds_of_publishing_handling_and_pruning(
    database: Database, database_path: Path
) -> None:
    log = FileLog(database)
    topic(log, "orders", Retention(age_s=1e9, bytes=100_000))
    subscribe(database, "all")
    sizes: list[int] = []
    for _ in range(30):
        publish(log, "orders", 200, value_bytes=500)
        handle_all(database)
        while pruned(database, 0.0).more:
            continue
        database.writer.wal_checkpoint()
        sizes.append(os.path.getsize(database_path))
    assert sizes[0] < sizes[2], "the file must have grown at first for this test to say anything"
    assert max(sizes[5:]) < 1.1 * sizes[5]
    held = database.read("SELECT sum(length(value)) FROM onward_log")
    assert held == [(100_000,)]


@pytest.mark.parametrize("state", ["recovered", "discarded"])
def test_dead_letters_that_are_over_go_with_their_topics_age(database: Database, state: str) -> None:
    log = FileLog(database)
    topic(log, "orders", Retention(age_s=100, bytes=0))
    subscribe(database, "shop")
    letters(database, state, 800.0, 899.0, 900.0, 950.0)
    assert asyncio.run(prune_letters(database, 1000.0)) == 2
    assert asyncio.run(prune_letters(database, 1000.0)) == 0
    assert database.read("SELECT died_at FROM onward_dead_letter ORDER BY 1") == [(900.0,), (950.0,)]


@pytest.mark.parametrize("retired_at", [None, 1.0])
@pytest.mark.parametrize("state", ["dead", "retrying"])
def test_dead_letters_that_are_not_over_stay_for_ever(database: Database, state: str, retired_at: float | None) -> None:
    log = FileLog(database)
    topic(log, "orders", KEEP_NOTHING)
    subscribe(database, "shop", retired_at=retired_at)
    letters(database, state, 0.0, 1.0)
    assert asyncio.run(prune_letters(database, LATER)) == 0
    assert database.read("SELECT count(*) FROM onward_dead_letter") == [(2,)]


def test_dead_letters_leave_in_bounded_steps(database: Database) -> None:
    log = FileLog(database)
    topic(log, "orders", KEEP_NOTHING)
    subscribe(database, "shop")
    letters(database, "discarded", *map(float, range(25)))
    assert [asyncio.run(prune_letters(database, LATER, max_rows=10)) for _ in range(4)] == [10, 10, 5, 0]


def test_a_running_service_prunes_what_was_handled_and_again_what_is_handled_later(
    database_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("onward.runtime.service.PRUNE_EVERY_S", 0.01)
    kept = Topic("retention.bells", partitions=1, retention=KEEP_NOTHING)
    app = App(
        "tower",
        store=f"sqlite:///{database_path}",
        topics=[kept],
        schema="CREATE TABLE IF NOT EXISTS heard (n INTEGER)",
    )

    @app.on(Rung)
    async def hear(rung: Rung, tx: Transaction) -> None:
        await tx.execute("INSERT INTO heard VALUES (:n)", n=rung.n)

    async def main() -> None:
        async with running(app) as service:
            for count in (1, 2):
                await app.publish(Rung(n=count))
                await until_some(service, "SELECT 1 FROM heard", rows=count)
                await until_none(service, "SELECT 1 FROM onward_log")

    asyncio.run(main())
