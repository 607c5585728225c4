"""A handler's SQLAlchemy session is on its event's transaction: what it wrote takes effect with the event, or not."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import date, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import JSON, Column, Integer, MetaData, Table, delete, func, insert, select, text, update
from sqlalchemy.exc import IntegrityError, PendingRollbackError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, selectinload
from sqlalchemy.orm.exc import DetachedInstanceError

from onward import App, BatchFailed, Transaction
from onward.errors import TransactionError
from onward.testing import Harness
from tests.integration.sqlalchemy.places import TWICE, Account, Counted, Entry, Numbered, Place, tables

ENTRIES = "SELECT n FROM entry ORDER BY n"
TOTALS = "SELECT key, total FROM holding ORDER BY key"
DEAD = 'SELECT handler, "offset", error FROM {schema}dead_letter ORDER BY id'


def numbers(*ns: int, key: str = "k") -> list[Numbered]:
    return [Numbered(key=key, n=n) for n in ns]


async def book(event: Numbered, session: AsyncSession) -> None:
    """Adds the event to its account, without a flush at the end."""
    account = await session.get(Account, event.key)
    if account is None:
        account = Account(key=event.key, total=0)
        session.add(account)
    account.total += event.n
    session.add(Entry(account=account, n=event.n))


def test_what_an_async_handler_does_with_its_session_commits_with_the_event(place: Place) -> None:
    app, seen = place.app(), []

    @app.on(Numbered, retry=TWICE)
    async def note(event: Numbered, session: AsyncSession) -> object:
        await book(event, session)
        account = (await session.scalars(select(Account).where(Account.key == event.key))).one()
        seen.append([entry.n for entry in await account.awaitable_attrs.entries])
        await session.execute(update(Account).values(total=Account.total + 100))
        return Counted(n=event.n)

    asyncio.run(place.handle(app, *numbers(1, 2, 3)))
    assert seen == [[1], [1, 2], [1, 2, 3]]
    assert place.rows(ENTRIES) == [(1,), (2,), (3,)]
    assert place.rows(TOTALS) == [("k", 306)]
    assert place.rows(DEAD) == []
    assert place.published() == 3


def test_what_a_plain_function_does_with_its_session_commits_with_the_event(place: Place) -> None:
    app, seen = place.app(), []

    @app.on(Numbered, retry=TWICE)
    def note(event: Numbered, session: Session) -> object:
        account = session.get(Account, event.key) or Account(key=event.key, total=0)
        session.add(Entry(account=account, n=event.n))
        session.flush()
        account.total += event.n
        session.refresh(account, ["entries"])
        seen.append([entry.n for entry in account.entries])
        return Counted(n=event.n)

    asyncio.run(place.handle(app, *numbers(1, 2, 3)))
    assert seen == [[1], [1, 2], [1, 2, 3]]
    assert place.rows(TOTALS) == [("k", 6)]
    assert place.published() == 3


def test_an_event_that_fails_takes_back_what_its_session_wrote_and_its_neighbours_take_effect(place: Place) -> None:
    app = place.app()

    @app.on(Numbered, retry=TWICE)
    async def note(event: Numbered, session: AsyncSession) -> object:
        await book(event, session)
        await session.flush()
        if event.n in (3, 4, 19):
            raise ValueError(event.n)
        return Counted(n=event.n)

    asyncio.run(place.handle(app, *numbers(*range(20))))
    assert place.rows(ENTRIES) == [(n,) for n in range(20) if n not in (3, 4, 19)]
    assert place.rows(TOTALS) == [("k", sum(range(20)) - 26)]
    assert [row[:2] for row in place.rows(DEAD)] == [("note", 3), ("note", 4), ("note", 19)]
    assert place.published() == 17


def test_what_is_flushed_when_the_handler_returns_fails_its_own_event(place: Place) -> None:
    app = place.app()

    @app.on(Numbered, retry=TWICE)
    async def note(event: Numbered, session: AsyncSession) -> None:
        session.add(Account(key=event.key))

    asyncio.run(place.handle(app, *numbers(1, key="a"), *numbers(2, key="b"), *numbers(3, key="a")))
    assert place.rows("SELECT key FROM holding ORDER BY key") == [("a",), ("b",)]
    ((handler, offset, error),) = place.rows(DEAD)
    assert (handler, offset) == ("note", 2)
    assert error.startswith("IntegrityError: ")


def test_an_error_inside_a_savepoint_can_be_caught(place: Place) -> None:
    app = place.app()

    @app.on(Numbered, retry=TWICE)
    async def note(event: Numbered, session: AsyncSession) -> None:
        session.add(Account(key=f"{event.key}{event.n}"))
        with pytest.raises(IntegrityError):
            async with session.begin_nested():
                session.add(Account(key=f"{event.key}{event.n}"))
        async with session.begin_nested():
            session.add(Account(key=f"inside {event.n}"))
            async with session.begin_nested() as inner:
                session.add(Account(key="taken back"))
                await inner.rollback()

    @app.on(Numbered, retry=TWICE)
    def look(event: Numbered, session: Session) -> None:
        with pytest.raises(IntegrityError), session.begin_nested():
            session.execute(insert(Account).values(key=f"{event.key}{event.n}", total=1))
        assert session.scalar(select(func.count()).select_from(Account)) == 2 * event.n

    asyncio.run(place.handle(app, *numbers(1, 2)))
    assert place.rows(DEAD) == []
    assert place.rows("SELECT key FROM holding ORDER BY key") == [("inside 1",), ("inside 2",), ("k1",), ("k2",)]


def test_an_error_caught_without_a_savepoint_fails_the_event_all_the_same(place: Place) -> None:
    app = place.app()

    @app.on(Numbered, retry=TWICE)
    async def swallow(event: Numbered, session: AsyncSession) -> None:
        session.add(Account(key="k"))
        await session.flush()
        session.expunge_all()
        session.add(Account(key="k"))
        with pytest.raises(IntegrityError):
            await session.flush()
        with pytest.raises(PendingRollbackError):
            await session.execute(select(Account))

    asyncio.run(place.handle(app, *numbers(1)))
    assert place.rows(TOTALS) == []
    ((_, _, error),) = place.rows(DEAD)
    assert error.startswith("TransactionError: ")
    assert "without a savepoint" in error


ENDING: dict[str, Callable[[AsyncSession], Awaitable[Any]]] = {
    "commit": lambda session: session.commit(),
    "roll back": lambda session: session.rollback(),
    "close": lambda session: session.close(),
    "begin": lambda session: session.begin().start(),
}


async def of_connection(session: AsyncSession, verb: str) -> None:
    await getattr(await session.connection(), verb)()


def test_the_sessions_transaction_is_not_the_handlers_to_end(place: Place) -> None:
    app, said = place.app(), {}

    async def refused(session: AsyncSession, what: str, call: Awaitable[Any]) -> None:
        try:
            await call
        except TransactionError as error:
            said[what] = str(error)

    @app.on(Numbered, retry=TWICE)
    async def note(event: Numbered, session: AsyncSession) -> None:
        for what, end in ENDING.items():
            await refused(session, what, end(session))
        for verb in ("commit", "rollback", "close", "begin"):
            await refused(session, f"connection.{verb}", of_connection(session, verb))
        for sql in ("COMMIT", "rollback", "SAVEPOINT mine", "SELECT 1; COMMIT", place.meddling):
            await refused(session, sql, session.execute(text(sql)))
        await book(event, session)

    asyncio.run(place.handle(app, *numbers(1)))
    assert place.rows(DEAD) == []
    assert place.rows(TOTALS) == [("k", 1)]
    assert len(said) == 13
    for what in ENDING:
        assert f"can't {what}: its transaction commits when the handler returns" in said[what]
        assert "session.begin_nested()" in said[what]


def test_the_same_is_refused_to_a_plain_function(place: Place) -> None:
    app = place.app()

    @app.on(Numbered, retry=TWICE)
    def note(event: Numbered, session: Session) -> None:
        for end in ("commit", "rollback", "close", "begin", "prepare", "reset", "invalidate"):
            with pytest.raises(TransactionError, match="A session that onward gave can't "):
                getattr(session, end)()
        for end in ("commit", "rollback", "close", "begin", "detach", "invalidate"):
            with pytest.raises(TransactionError, match="A session that onward gave can't "):
                getattr(session.connection(), end)()
        session.add(Account(key=f"k{event.n}", total=event.n))
        if event.n == 3:
            session.commit()

    asyncio.run(place.handle(app, *numbers(1, 2, 3)))
    assert place.rows(TOTALS) == [("k1", 1), ("k2", 2)]
    assert [row[:2] for row in place.rows(DEAD)] == [("note", 2)]


def test_a_transaction_of_the_session_can_only_end_with_the_events(place: Place) -> None:
    app = place.app()

    @app.on(Numbered, retry=TWICE)
    async def note(event: Numbered, session: AsyncSession) -> None:
        await book(event, session)
        outer = session.sync_session.get_transaction()
        assert outer is not None
        if event.n == 1:
            await session.run_sync(lambda _: outer.commit())
        else:
            await session.run_sync(lambda _: outer.rollback())

    asyncio.run(place.handle(app, *numbers(1, 2)))
    assert place.rows(TOTALS) == []
    assert [row[2].partition(":")[0] for row in place.rows(DEAD)] == ["TransactionError", "TransactionError"]


def test_a_session_and_what_it_loaded_are_of_no_use_after_the_event(place: Place) -> None:
    app, said = place.app(), []
    kept: list[tuple[AsyncSession, Account]] = []

    @app.on(Numbered, retry=TWICE)
    async def note(event: Numbered, session: AsyncSession) -> None:
        account = await session.get(Account, "k", options=[selectinload(Account.entries)]) or Account(key="k", total=0)
        assert account not in [each for _, each in kept], "each event has objects of its own"
        session.add(account)
        account.total += event.n
        for earlier, loaded in kept:
            assert loaded not in session
            with pytest.raises(DetachedInstanceError):
                await loaded.awaitable_attrs.entries
            with pytest.raises(TransactionError) as refused:
                await earlier.execute(select(Account))
            said.append(str(refused.value))
        kept.append((session, account))

    asyncio.run(place.handle(app, *numbers(1, 2)))
    assert place.rows(DEAD) == []
    assert place.rows(TOTALS) == [("k", 3)]
    assert len(said) == 1
    assert "has ended" in said[0]


def test_a_handler_that_returns_inside_a_savepoint_fails(place: Place) -> None:
    app = place.app()

    @app.on(Numbered, retry=TWICE)
    async def note(event: Numbered, session: AsyncSession) -> None:
        opened = await session.begin_nested()
        assert opened.is_active
        await book(event, session)

    asyncio.run(place.handle(app, *numbers(1)))
    assert place.rows(TOTALS) == []
    ((_, _, error),) = place.rows(DEAD)
    assert "returned while `session.begin_nested()` was open" in error


def test_session_and_transaction_are_one_and_the_same(place: Place) -> None:
    app = place.app()

    @app.on(Numbered, retry=TWICE)
    async def note(event: Numbered, session: AsyncSession, tx: Transaction) -> None:
        await tx.submit("INSERT INTO holding (key, total) VALUES (:key, 1)", key=event.key)
        account = await session.get_one(Account, event.key)
        account.total = 5
        await session.flush()
        assert (await tx.execute("SELECT total FROM holding")).scalar() == 5
        async with tx.savepoint():
            session.add(Entry(key=event.key, n=event.n))
            await session.flush()

    asyncio.run(place.handle(app, *numbers(1)))
    assert place.rows(DEAD) == []
    assert place.rows(ENTRIES) == [(1,)]


def test_a_batch_has_one_session(place: Place) -> None:
    app = place.app()

    @app.on(Numbered, retry=TWICE)
    async def note(events: list[Numbered], session: AsyncSession) -> object:
        session.add(Account(key=f"of {min(event.n for event in events)}"))
        await session.execute(insert(Entry), [{"key": f"of {events[0].n}", "n": event.n} for event in events])
        bad: dict[int, BaseException] = {
            index: ValueError(event.n) for index, event in enumerate(events) if event.n == 2
        }
        if bad:
            raise BatchFailed(bad)
        return [Counted(n=len(events))]

    asyncio.run(place.handle(app, *numbers(*range(5))))
    assert place.rows(ENTRIES) == [(0,), (1,), (3,), (4,)]
    assert [row[:2] for row in place.rows(DEAD)] == [("note", 2)]


def test_many_rows_at_once_are_counted(place: Place) -> None:
    app, counts = place.app(), []

    @app.on(Numbered, retry=TWICE)
    async def note(event: Numbered, session: AsyncSession) -> None:
        await session.execute(insert(Account), [{"key": f"k{n}", "total": n} for n in range(10)])
        accounts = (await session.scalars(select(Account).order_by(Account.key))).all()
        for account in accounts:
            account.total += 1
        await session.flush()
        gone: Any = await session.execute(delete(Account).where(Account.total > 5))
        nothing: Any = await session.execute(update(Account).where(Account.key == "none").values(total=0))
        empty = (await session.execute(text("SELECT key, total FROM holding WHERE total > 100"))).keys()
        session.expire_all()
        streamed = [row async for row in await session.stream_scalars(select(Account.key).order_by(Account.key))]
        counts.append((gone.rowcount, nothing.rowcount, list(empty), streamed))

    asyncio.run(place.handle(app, *numbers(1)))
    assert place.rows(DEAD) == []
    assert counts == [(5, 0, ["key", "total"], ["k0", "k1", "k2", "k3", "k4"])]


def test_a_column_may_be_called_anything(place: Place) -> None:
    app = place.app()
    found: list[Any] = []
    odd = Table("odd", MetaData(), Column("order-id", Integer), Column("sum total", Integer), Column("a$b?c", Integer))

    @app.on(Numbered, retry=TWICE)
    async def note(event: Numbered, session: AsyncSession) -> None:
        await session.execute(text('CREATE TABLE odd ("order-id" INTEGER, "sum total" INTEGER, "a$b?c" INTEGER)'))
        await session.execute(insert(odd).values({"order-id": 1, "sum total": 2, "a$b?c": 3}))
        await session.execute(update(odd).where(odd.c["order-id"] == 1).values({"a$b?c": 4}))
        found.extend((await session.execute(select(odd).where(odd.c["a$b?c"].in_([4, 5])))).all())

    asyncio.run(place.handle(app, *numbers(1)))
    assert place.rows(DEAD) == []
    assert found == [(1, 2, 4)]


class Base(DeclarativeBase):
    pass


class Facts(Base):
    __tablename__ = "facts"
    id: Mapped[UUID] = mapped_column(primary_key=True)
    at: Mapped[datetime]
    day: Mapped[date]
    done: Mapped[bool]
    share: Mapped[float]
    raw: Mapped[bytes]
    wait: Mapped[timedelta]
    facts: Mapped[dict[str, Any]] = mapped_column(JSON)
    words: Mapped[str]
    absent: Mapped[str | None]


def test_values_come_back_as_they_were(place: Place) -> None:
    app, seen = place.app(), []
    values: dict[str, Any] = {
        "id": UUID(int=7),
        "at": datetime(2026, 1, 2, 3, 4, 5, 6),  # noqa: DTZ001 - what a column without a zone holds
        "day": date(2026, 1, 2),
        "done": True,
        "share": 0.1,
        "raw": b"\0\xff",
        "wait": timedelta(days=1, seconds=2),
        "facts": {"a": [1, None, "%(x)s :name"]},
        "words": "100 % :name; $1 ? it's",
        "absent": None,
    }

    @app.on(Numbered, retry=TWICE)
    async def note(event: Numbered, session: AsyncSession) -> None:
        connection = await session.connection()
        await connection.run_sync(Facts.metadata.tables["facts"].create)
        session.add(Facts(**values))
        await session.flush()
        session.expunge_all()
        query = select(Facts).where(Facts.at == values["at"], Facts.done, Facts.words.contains("100 %"))
        seen.append((await session.scalars(query)).one())

    asyncio.run(place.handle(app, *numbers(1)))
    assert place.rows(DEAD) == []
    assert {name: getattr(seen[0], name) for name in values} == values


def test_a_handler_with_a_session_runs_in_the_harness(caplog: pytest.LogCaptureFixture) -> None:
    app = App("shop", schema=tables("sqlite"))

    @app.on(Numbered)
    async def note(event: Numbered, session: AsyncSession) -> Counted:
        await book(event, session)
        return Counted(n=event.n)

    async def scene() -> None:
        async with Harness(app) as h:
            await h.publish(*numbers(1, 2))
            await h.settle()
            assert h.rows("SELECT total FROM holding") == [(3,)]
            assert h.published == [Counted(n=1), Counted(n=2)]

    asyncio.run(scene())
    assert "waits for something other than" not in caplog.text
