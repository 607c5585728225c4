import asyncio
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from onward import App, Event, Topic, Transaction
from onward.errors import RegistrationError
from onward.runtime.service import Service
from onward.sqlite.database import Database
from onward.sqlite.log import FileLog


class Rung(Event, type="service.rung", topic="bells"):
    n: int


class Rope:
    """A resource."""


def test_a_service_that_can_not_start_closes_what_it_had_opened(database_path: Path) -> None:
    with closing(Database.open(database_path)) as database, database.transaction_sync():
        FileLog(database).names.create_topic(Topic("bells", partitions=2))
    steps: list[str] = []

    async def rope() -> AsyncIterator[Rope]:
        steps.append("opened")
        yield Rope()
        steps.append("closed")

    app = App("tower", store=f"sqlite:///{database_path}", resources=[rope], topics=[Topic("bells", partitions=3)])

    @app.on(Rung)
    async def ring(rung: Rung, rope: Rope, tx: Transaction) -> None: ...

    async def scene() -> None:
        service = Service(app.plan, app.settings)
        with pytest.raises(RegistrationError, match="has 2 partitions and the code declares 3"):
            await service.start()
        assert service.failure.cancelled()

    asyncio.run(scene())
    assert steps == ["opened", "closed"]
    assert not database_path.with_name(database_path.name + "-wal").exists(), "the file is open still"
