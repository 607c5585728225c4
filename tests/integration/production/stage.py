"""Services on a real Kafka with their store on a real PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg

from onward import App, Topic
from onward.runtime.service import Service
from scripts.servers.kafka import Kafka
from tests.integration.kafka import stage as beside_a_file
from tests.integration.kafka.stage import TOPIC

SCHEMA = "CREATE TABLE IF NOT EXISTS effect (place BIGSERIAL PRIMARY KEY, key TEXT NOT NULL, n INTEGER NOT NULL)"
WAITING = "SELECT query FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"


class Stage(beside_a_file.Stage):
    """As beside a file; what tests look at is in the database."""

    def __init__(self, kafka: Kafka, store: str, folder: Path, *, partitions: int = 4) -> None:
        super().__init__(kafka, folder, partitions=partitions)
        self.store = store
        self.way = store
        """The address by which services go to the database; tests go by `store`."""

    def app(self, options: str = "", *, bootstrap: str = "", name: str = "") -> App:
        """The service, or one with another name."""
        return App(
            name or self.name,
            broker=f"kafka://{bootstrap or self.kafka.bootstrap}{options}",
            store=self.way,
            schema=SCHEMA,
            topics=[Topic(TOPIC, partitions=self.topic.partitions)],
        )

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """What is committed; nothing before the service has made its tables."""
        with psycopg.connect(self.store) as connection:
            try:
                return connection.execute(sql.encode()).fetchall()
            except psycopg.errors.UndefinedTable:
                return []

    async def until_handled(self, count: int) -> None:
        await self.until(lambda: self.rows("SELECT count(*) FROM effect")[0:1] >= [(count,)])

    async def until_waiting(self, statement: str) -> None:
        """Until a transaction waits for another one's lock with this statement."""
        await self.until(lambda: any(statement in query for (query,) in self.rows(WAITING)))

    def standing(self) -> dict[int, int]:
        """Where the service's accounts stand, by partition."""
        return dict(self.rows("SELECT partition, next_offset FROM onward.account"))

    def dead_letters(self) -> list[tuple[Any, ...]]:
        """(handler, cause, attempts), in the order of their offsets."""
        return self.rows('SELECT handler, cause, attempts FROM onward.dead_letter ORDER BY "offset"')


def held(service: Service) -> list[int]:
    """The partitions that a service with one subscription has."""
    ((_, partitions),) = service.snapshot()["partitions"].items()
    return sorted(partitions)


def holds(service: Service, count: int) -> Callable[[], bool]:
    return lambda: len(held(service)) == count
