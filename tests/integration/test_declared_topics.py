"""Topics are as declared, whoever comes first."""

import asyncio
import logging
from contextlib import closing
from pathlib import Path

import pytest

from onward import App, Event, Retention, Topic, Transaction
from onward.errors import BacklogFullError
from onward.ports import Outgoing
from onward.runtime.service import Service
from onward.sqlite.database import Database
from onward.sqlite.log import FileLog
from tests.integration.services import handle


class Rung(Event, type="bells.rung", topic="bells", key="bell"):
    bell: str


def test_publishing_before_the_service_ever_ran_makes_the_topic_as_declared(database_path: Path) -> None:
    app = App("tower", store=f"sqlite:///{database_path}", topics=[Topic("bells", partitions=3)])

    @app.on(Rung)
    async def listen(rung: Rung) -> None:
        """Hears it."""

    async def main() -> int:
        await app.publish(Rung(bell="tenor"))
        await app.close()
        service = Service(app.plan, app.settings)
        await service.start()
        try:
            assert service.engine is not None
            return len(await service.engine.broker.log.bounds("bells"))
        finally:
            await service.stop()

    assert asyncio.run(main()) == 3


NARROW = Topic("bells", partitions=1, retention=Retention(backlog_bytes=200))
WIDE = Topic("bells", partitions=1, retention=Retention(backlog_bytes=100_000_000, age_s=5))
LARGE = Rung(bell="x" * 300)


def tower(database_path: Path, *topics: Topic, name: str = "tower") -> App:
    app = App(name, store=f"sqlite:///{database_path}", topics=topics)

    @app.on(Rung)
    async def listen(rung: Rung, tx: Transaction) -> None:
        """Hears it."""

    return app


def kept(database_path: Path) -> tuple[float, int]:
    with closing(Database.open(database_path)) as database:
        ((age_s, backlog_bytes),) = database.read("SELECT keep_age_s, backlog_bytes FROM onward_topic")
    return age_s, backlog_bytes


def test_a_retention_that_the_code_changes_holds_from_its_next_start(
    database_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(BacklogFullError, match=r"may hold 200, .* declare a larger Retention.backlog_bytes and start"):
        asyncio.run(handle(tower(database_path, NARROW), LARGE))
    caplog.set_level(logging.WARNING, "onward.broker")
    asyncio.run(handle(tower(database_path, WIDE), LARGE))
    assert kept(database_path) == (5, 100_000_000)
    asyncio.run(handle(tower(database_path, WIDE), LARGE))
    (told,) = [record.getMessage() for record in caplog.records if record.name == "onward.broker"]
    assert told.startswith("topic bells is kept otherwise from now on, as declared here: Retention(age_s=5, ")


def test_a_publisher_that_runs_already_sees_a_limit_that_was_raised(database_path: Path) -> None:
    asyncio.run(handle(tower(database_path, NARROW)))
    with closing(Database.open(database_path)) as database:
        log = FileLog(database)
        large = [Outgoing("bells", "", 1, b"x" * 300, None)]
        with pytest.raises(BacklogFullError), database.transaction_sync():
            log.append(large, "elsewhere")
        asyncio.run(handle(tower(database_path, WIDE)))
        with database.transaction_sync():
            log.append(large, "elsewhere")


def test_of_two_services_that_say_how_a_topic_is_kept_the_last_to_start_is_right_and_others_change_nothing(
    database_path: Path,
) -> None:
    for topics, expected in (
        ([NARROW], 200),
        ([WIDE], 100_000_000),
        ([Topic("bells", partitions=1)], 100_000_000),
        ([], 100_000_000),
        ([NARROW], 200),
    ):
        asyncio.run(handle(tower(database_path, *topics, name=f"tower-{len(topics)}")))
        assert kept(database_path)[1] == expected
