"""In a Session what is published is written behind the last flush, and a savepoint takes with it what is inside."""

import asyncio
from contextlib import suppress

import pytest
from sqlalchemy import Engine, create_engine, event, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, sessionmaker
from sqlalchemy.pool import NullPool

from onward.errors import TransactionError
from tests.integration.within.sessions import sqlalchemy_url
from tests.integration.within.till import Paid, Till


class Base(DeclarativeBase):
    pass


class Written(Base):
    __tablename__ = "written"
    n: Mapped[int] = mapped_column(primary_key=True)


@pytest.fixture
def engine(till: Till) -> Engine:
    engine = create_engine(sqlalchemy_url(till.url), poolclass=NullPool)
    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE written ADD PRIMARY KEY (n)"))
    return engine


def test_rows_of_the_outbox_come_behind_the_last_flush(till: Till, engine: Engine) -> None:
    said: list[str] = []
    event.listen(engine, "before_cursor_execute", lambda _c, _cursor, sql, *_: said.append(sql.split(" (")[0]))
    event.listen(engine, "commit", lambda _connection: said.append("COMMIT"))
    with Session(engine) as session:
        till.app.outbox(session).add(Paid(n=1))
        session.add(Written(n=1))
        session.flush()
        till.app.outbox(session).add(Paid(n=2))
        session.add(Written(n=2))
        session.commit()
    writes = [sql for sql in said if sql.startswith(("INSERT", "COMMIT"))]
    assert writes == ["INSERT INTO written", "INSERT INTO written", *["INSERT INTO onward.outbox"] * 2, "COMMIT"]
    assert till.waiting() == [[1], [2]]


def test_a_savepoint_that_is_undone_takes_with_it_what_was_published_inside(till: Till, engine: Engine) -> None:
    outbox = till.app.outbox
    with Session(engine) as session, session.begin():
        outbox(session).add(Paid(n=1))
        with suppress(IntegrityError), session.begin_nested():
            outbox(session).add(Paid(n=2))
            session.add_all([Written(n=1), Written(n=1)])
        with session.begin_nested():
            outbox(session).add(Paid(n=3))
            with session.begin_nested() as inner:
                outbox(session).add(Paid(n=4))
                inner.rollback()
        with session.begin_nested() as undone:
            with session.begin_nested():
                outbox(session).add(Paid(n=5))
            undone.rollback()
        with session.begin_nested():
            outbox(session).add(Paid(n=6))
        outbox(session).add(Paid(n=7))
    assert till.waiting() == [[1], [3], [6], [7]]


def test_a_commit_over_an_open_savepoint_publishes_too(till: Till, engine: Engine) -> None:
    with Session(engine) as session:
        with session.begin() as outer:
            till.app.outbox(session).add(Paid(n=1))
            session.begin_nested()
            session.add(Written(n=1))
            till.app.outbox(session).add(Paid(n=2))
            outer.commit()
        session.begin_nested()
        till.app.outbox(session).add(Paid(n=3))
        session.commit()
    assert till.waiting() == [[1], [2], [3]]
    assert till.written() == 1


def test_each_transaction_of_a_session_publishes_its_own(till: Till, engine: Engine) -> None:
    with sessionmaker(engine)() as session:
        till.app.outbox(session).add(Paid(n=1))
        session.rollback()
        till.app.outbox(session).add(Paid(n=2))
        session.commit()
        session.commit()
        till.app.outbox(session).add(Paid(n=3))
        session.close()
        session.commit()
        session.add(Written(n=4))
        till.app.outbox(session).add(Paid(n=4))
        session.commit()
    assert till.waiting() == [[2], [4]]


def test_a_flush_that_fails_at_the_commit_publishes_nothing(till: Till, engine: Engine) -> None:
    with Session(engine) as session:
        till.app.outbox(session).add(Paid(n=1))
        session.add_all([Written(n=1), Written(n=1)])
        with pytest.raises(IntegrityError):
            session.commit()
        session.rollback()
        session.commit()
    assert till.waiting() == []


def test_a_session_on_a_connection_publishes_by_that_connections_commit(till: Till, engine: Engine) -> None:
    with engine.begin() as connection:
        with Session(connection) as session:
            session.add(Written(n=1))
            till.app.outbox(session).add(Paid(n=1))
    with engine.connect() as connection:
        with Session(connection) as session:
            session.add(Written(n=2))
            till.app.outbox(session).add(Paid(n=2))
        connection.commit()
    assert till.written() == 1
    assert till.waiting() == [[1]]


def test_what_is_refused_at_the_commit_leaves_a_session_that_can_be_rolled_back(till: Till, engine: Engine) -> None:
    with Session(engine) as session:
        session.add(Written(n=1))
        till.app.outbox(session).add(Paid(n=1))
        with engine.begin() as connection:
            connection.execute(text("UPDATE onward.identity SET id = 'another'"))
        with pytest.raises(TransactionError, match="is the store of other services"):
            session.commit()
        session.rollback()
        session.add(Written(n=2))
        session.commit()
    assert till.written() == 1
    assert till.waiting() == []


def test_an_async_session_that_has_not_begun_takes_events_from_synchronous_code(till: Till) -> None:
    async def scene() -> None:
        engine = create_async_engine(sqlalchemy_url(till.url), poolclass=NullPool)
        async with AsyncSession(engine) as session:
            till.app.outbox(session).add(Paid(n=1))
            await session.commit()
            async with session.begin_nested():
                till.app.outbox(session).add(Paid(n=2))
            await session.rollback()
        async with engine.connect() as connection, AsyncSession(connection) as session:
            with pytest.raises(TransactionError, match=r"has to be awaited.*`await app\.publish"):
                till.app.outbox(session).add(Paid(n=3))
            await till.app.publish(Paid(n=4), within=session)
            await connection.commit()

    asyncio.run(scene())
    assert till.waiting() == [[1], [4]]


def test_a_session_elsewhere_is_refused_at_once(till: Till) -> None:
    with Session(create_engine("sqlite://")) as session:
        with pytest.raises(TransactionError, match="This session is one on sqlite, and events of service 'till'"):
            till.app.outbox(session).add(Paid(n=1))
        with pytest.raises(TransactionError, match="This connection is one to sqlite"):
            till.app.outbox(session.connection()).add(Paid(n=1))
    with Session() as session, pytest.raises(TransactionError, match="Nothing tells which database this session is on"):
        till.app.outbox(session).add(Paid(n=1))
