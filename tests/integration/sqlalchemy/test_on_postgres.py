"""Sessions on PostgreSQL alone: the driver's own types, conflicts with others, a transaction that is another one."""

import asyncio
from decimal import Decimal
from typing import Any
from uuid import UUID

import psycopg
from sqlalchemy.dialects.postgresql import JSONB, insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import ARRAY, Integer

from onward import Transaction
from onward.policy import Retry
from onward.stores.postgres.statements import Statements
from tests.integration.sqlalchemy.places import TWICE, Account, Numbered, PostgresPlace

ONCE = Retry(max_attempts=1)


class Base(DeclarativeBase):
    pass


class Special(Base):
    __tablename__ = "special"
    id: Mapped[UUID] = mapped_column(primary_key=True)
    price: Mapped[Decimal]
    facts: Mapped[dict[str, Any]] = mapped_column(JSONB)
    numbers: Mapped[list[int]] = mapped_column(ARRAY(Integer))


def test_values_of_the_servers_own_types_come_back_as_they_were(postgres_url: str) -> None:
    place = PostgresPlace(postgres_url)
    app, seen = place.app(), []
    values: dict[str, Any] = {
        "id": UUID(int=7),
        "price": Decimal("12.50"),
        "facts": {"a": [1, None, "%(x)s"]},
        "numbers": [1, 2],
    }

    @app.on(Numbered, retry=TWICE)
    async def note(event: Numbered, session: AsyncSession) -> None:
        connection = await session.connection()
        await connection.run_sync(Base.metadata.create_all)
        session.add(Special(**values))
        await session.flush()
        session.expunge_all()
        seen.append(await session.get_one(Special, UUID(int=7)))
        await session.execute(insert(Special).values(**values).on_conflict_do_nothing())

    asyncio.run(place.handle(app, Numbered(key="k", n=1)))
    assert place.rows("SELECT error FROM {schema}dead_letter") == []
    assert {name: getattr(seen[0], name) for name in values} == values


def test_a_lock_that_another_transaction_holds_for_too_long_is_nobodys_attempt(postgres_url: str) -> None:
    place = PostgresPlace(postgres_url + "?lock_s=0.2")
    app, calls = place.app(), []
    with psycopg.connect(postgres_url) as other:

        @app.on(Numbered, retry=ONCE)
        async def note(event: Numbered, session: AsyncSession) -> None:
            (await session.get_one(Account, event.key)).total += event.n
            calls.append(event.n)
            if len(calls) == 3:
                other.rollback()
            await session.flush()

        asyncio.run(place.handle(app))  # which creates the tables
        other.execute("INSERT INTO holding (key, total) VALUES ('k', 1)")
        other.commit()
        other.execute("UPDATE holding SET total = 100")
        asyncio.run(place.handle(app, Numbered(key="k", n=1)))
    assert place.rows("SELECT error FROM {schema}dead_letter") == []
    assert calls == [1, 1, 1]
    assert place.rows("SELECT total FROM holding") == [(2,)]


def test_a_transaction_that_is_not_the_one_that_began_is_not_committed(postgres_url: str) -> None:
    place = PostgresPlace(postgres_url)
    app = place.app()

    @app.on(Numbered, retry=TWICE)
    async def note(event: Numbered, session: AsyncSession, tx: Transaction) -> None:
        session.add(Account(key=f"k{event.n}", total=event.n))
        await session.flush()
        if event.n != 2:
            statements: Any = tx
            assert isinstance(statements.statements, Statements)
            connection = statements.statements._session._connection
            await connection.execute("ROLLBACK")
            if event.n == 3:
                await connection.execute("BEGIN")

    asyncio.run(place.handle(app, *(Numbered(key="k", n=n) for n in (1, 2, 3))))
    assert place.rows("SELECT key FROM holding") == [("k2",)]
    assert [row[0] for row in place.rows('SELECT "offset" FROM {schema}dead_letter ORDER BY id')] == [0, 2]
