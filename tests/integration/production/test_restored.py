"""A database goes back to an older copy of itself, while Kafka does not: nothing new is taken for old."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from secrets import token_hex

import psycopg
import pytest

from scripts.servers.kafka import Kafka
from scripts.servers.postgres import Postgres
from tests.integration.kafka.stage import assert_exactly_once, placed
from tests.integration.postgres.copies import copies_of
from tests.integration.production.stage import Stage
from tests.integration.services import running

EARLIER, WAITING, FORGOTTEN, NEW = range(20), range(20, 30), range(30, 60), range(60, 120)
EVERY = range(120)


@pytest.fixture
def publishing(kafka: Kafka, postgres: Postgres, tmp_path: Path) -> Iterator[Stage]:
    """A service that publishes, on a database of its own."""
    name = f"test_{token_hex(6)}"
    postgres.create_database(name)
    yield Stage(kafka, postgres.url_of(name), tmp_path)
    postgres.drop_database(name)


@pytest.fixture
def handling(kafka: Kafka, postgres_url: str, tmp_path: Path) -> Stage:
    """Another service, on another database, that handles what the first one publishes."""
    return Stage(kafka, postgres_url, tmp_path)


@pytest.mark.parametrize("restored", [("publishing",), ("handling",), ("publishing", "handling")], ids=" and ".join)
def test_a_database_that_went_back_to_an_older_copy_takes_nothing_new_for_old_and_loses_nothing(
    publishing: Stage, handling: Stage, postgres: Postgres, restored: tuple[str, ...]
) -> None:
    async def publish(numbers: range) -> None:
        """And all that waits leaves."""
        app = publishing.app()
        await app.publish(*placed(numbers))
        await publishing.until(lambda: publishing.rows("SELECT count(*) FROM onward.outbox") == [(0,)])
        await app.close()

    async def handle(last: range) -> None:
        async with running(handling.recorder()):
            await handling.until(lambda: set(last) <= set(handling.numbers()))

    def leave_waiting(numbers: range) -> None:
        with psycopg.connect(publishing.store) as connection:
            publishing.app().outbox(connection).add(*placed(numbers))

    with ExitStack() as stack:
        stores = {"publishing": publishing.store, "handling": handling.store}
        copies = [stack.enter_context(copies_of(postgres, stores[each])) for each in restored]
        asyncio.run(publish(EARLIER))
        asyncio.run(handle(EARLIER))
        leave_waiting(WAITING)
        for copy in copies:
            copy.take()
        asyncio.run(publish(FORGOTTEN))
        asyncio.run(handle(FORGOTTEN))
        for copy in copies:
            copy.go_back()
        asyncio.run(publish(NEW))
        asyncio.run(handle(NEW))
        found = handling.effects()

    counts = Counter(n for _, n in found)
    twice = {n for n, count in counts.items() if count > 1}
    # What the copy had, and had left already, leaves again: that is stated.
    assert twice == (set(WAITING) if "publishing" in restored else set())
    assert_exactly_once([(key, n) for key, n in found if n not in twice], [n for n in EVERY if n not in twice])
    assert set(counts.values()) <= {1, 2}
