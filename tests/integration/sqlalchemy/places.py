"""A service on a SQLite file, or on a real PostgreSQL, whose handlers use SQLAlchemy; looked at from outside."""

from __future__ import annotations

import asyncio
from contextlib import closing
from pathlib import Path
from typing import Any, Protocol

import apsw
from sqlalchemy import ForeignKey, MetaData, create_mock_engine
from sqlalchemy.ext.asyncio import AsyncAttrs
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from onward import App, Event
from onward.policy import Retry
from tests.integration.postgres.stage import Stage
from tests.integration.services import running, until_handled

TWICE = Retry(max_attempts=2, first_s=0.01, max_s=0.01)
PATIENCE_S = 60.0


class Numbered(Event, type="sqlalchemy.numbered", topic="sqlalchemy.numbers", key="key"):
    key: str
    n: int


class Counted(Event, type="sqlalchemy.counted", topic="sqlalchemy.counts"):
    n: int


class Base(AsyncAttrs, DeclarativeBase):
    metadata = MetaData()


class Account(Base):
    __tablename__ = "holding"
    key: Mapped[str] = mapped_column(primary_key=True)
    total: Mapped[int] = mapped_column(default=0)
    entries: Mapped[list[Entry]] = relationship(back_populates="account", order_by="Entry.n")


class Entry(Base):
    __tablename__ = "entry"
    id: Mapped[int] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(ForeignKey("holding.key"))
    n: Mapped[int] = mapped_column(unique=True)
    account: Mapped[Account] = relationship(back_populates="entries")


def tables(dialect: str) -> list[str]:
    """CREATE TABLE statements, as `App(schema=…)` takes them."""
    found: list[str] = []

    def note(sql: Any, *_: object, **__: object) -> None:
        found.append(str(sql.compile(dialect=engine.dialect)))

    engine = create_mock_engine(f"{dialect}://", note)
    Base.metadata.create_all(engine, checkfirst=False)
    return [each.replace("CREATE TABLE", "CREATE TABLE IF NOT EXISTS") for each in found]


class Place(Protocol):
    schema: str  # what stands before the names of onward's tables
    meddling: str  # a statement that would change one of them

    def app(self) -> App: ...

    async def handle(self, app: App, *events: Event) -> None:
        """Publish, and handle everything there is."""
        ...

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """What a query finds, over a connection of its own. `{schema}` stands for where onward's tables are."""
        ...

    def published(self) -> int:
        """How many events the service published."""
        ...


class FilePlace:
    schema = "onward_"
    meddling = "DELETE FROM onward_account"

    def __init__(self, path: Path) -> None:
        self._path = path

    def app(self) -> App:
        return App("shop", store=f"sqlite:///{self._path}", schema=tables("sqlite"))

    async def handle(self, app: App, *events: Event) -> None:
        async with running(app) as service:
            await app.publish(*events)
            await until_handled(service)

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        with closing(apsw.Connection(str(self._path))) as connection:
            return connection.execute(sql.format(schema=self.schema)).fetchall()

    def published(self) -> int:
        return len(
            self.rows("SELECT 1 FROM onward_log l, onward_kind k WHERE k.id = kind AND type = 'sqlalchemy.counted'")
        )


class PostgresPlace:
    schema = "onward."
    meddling = "DELETE FROM onward.account"

    def __init__(self, url: str) -> None:
        self._url = url

    def app(self) -> App:
        return App("shop", broker="kafka://127.0.0.1:9", store=self._url, schema=tables("postgresql"))

    async def handle(self, app: App, *events: Event) -> None:
        stage = Stage(self._url)
        try:
            async with asyncio.timeout(PATIENCE_S), stage.running(app):
                await stage.publish(*events)
                await stage.settled()
        finally:
            await stage.close()

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        return Stage(self._url).rows(sql.format(schema=self.schema))

    def published(self) -> int:
        return sum(events for (events,) in self.rows("SELECT events FROM onward.outbox"))
