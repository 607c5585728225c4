"""What a hook of a session publishes while the session commits leaves with the rows of that commit."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import Engine, create_engine, event, text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column
from sqlalchemy.pool import NullPool

from onward.errors import TransactionError
from tests.integration.within.sessions import sqlalchemy_url
from tests.integration.within.till import Paid, Till, Undone

HOOKS = ("before_commit", "before_flush", "after_flush", "after_flush_postexec")


class Base(DeclarativeBase):
    pass


class Written(Base):
    __tablename__ = "written"
    n: Mapped[int] = mapped_column(primary_key=True)


class Hooked(Session):
    """A session class with the hooks of one test."""


class AsyncHooked(AsyncSession):
    sync_session_class = Hooked


@pytest.fixture
def engine(till: Till) -> Engine:
    return create_engine(sqlalchemy_url(till.url), poolclass=NullPool)


@pytest.fixture
def publish_in(till: Till) -> Iterator[Callable[[str], None]]:
    """Makes a hook of `Hooked` publish the number that a session's info names, once."""
    listening: list[tuple[str, Callable[..., None]]] = []

    def publish(session: Session, *_args: Any) -> None:
        if (n := session.info.pop("n", None)) is not None:
            till.app.outbox(session).add(Paid(n=n))

    def listen(hook: str) -> None:
        event.listen(Hooked, hook, publish)
        listening.append((hook, publish))

    yield listen
    for hook, listener in listening:
        event.remove(Hooked, hook, listener)


@pytest.mark.parametrize("hook", HOOKS)
def test_what_a_hook_of_the_commit_publishes_is_published(
    till: Till, engine: Engine, publish_in: Callable[[str], None], hook: str
) -> None:
    publish_in(hook)
    with Hooked(engine) as session:
        session.add(Written(n=1))
        session.info["n"] = 1
        session.commit()
        session.execute(text("SELECT 1"))
        session.add(Written(n=2))
        session.info["n"] = 2
        session.commit()
    with Hooked(engine) as session:
        session.execute(text("SELECT 1"))
        with suppress(Undone), session.begin_nested():
            session.add(Written(n=3))
            session.info["n"] = 3
            session.flush()
            raise Undone
        session.begin_nested()
        session.add(Written(n=4))
        session.info["n"] = 4
        session.commit()
    assert till.written() == 3
    assert till.waiting() == [[1], [2], [4]]


@pytest.mark.parametrize("hook", HOOKS)
def test_what_a_hook_publishes_is_not_published_without_a_commit(
    till: Till, engine: Engine, publish_in: Callable[[str], None], hook: str
) -> None:
    publish_in(hook)
    with Hooked(engine) as session:
        session.add(Written(n=1))
        session.info["n"] = 1
        session.flush()
        session.rollback()
        session.info.pop("n", None)
        session.add(Written(n=2))
        session.commit()
    with Hooked(engine) as session:
        event.listen(session.connection(), "commit", _fail)
        session.add(Written(n=3))
        session.info["n"] = 3
        with pytest.raises(Undone):
            session.commit()
        session.rollback()
        session.commit()
    assert till.written() == 1
    assert till.waiting() == []


def _fail(_connection: object) -> None:
    raise Undone


@pytest.mark.parametrize("hook", HOOKS)
def test_what_a_hook_of_an_async_session_publishes_is_published_by_its_commit_alone(
    till: Till, publish_in: Callable[[str], None], hook: str
) -> None:
    publish_in(hook)

    async def scene() -> None:
        engine = create_async_engine(sqlalchemy_url(till.url), poolclass=NullPool)
        async with AsyncHooked(engine) as session:
            session.add(Written(n=1))
            session.info["n"] = 1
            await session.commit()
        async with AsyncHooked(engine) as session:
            session.add(Written(n=2))
            session.info["n"] = 2
            await session.flush()
            await session.rollback()
            session.info.pop("n", None)
            session.add(Written(n=3))
            await session.commit()

    asyncio.run(scene())
    assert till.written() == 2
    assert till.waiting() == [[1]]


@pytest.mark.parametrize("hook", HOOKS)
def test_a_hook_of_a_session_on_a_connection_publishes_by_that_connections_commit(
    till: Till, engine: Engine, publish_in: Callable[[str], None], hook: str
) -> None:
    publish_in(hook)
    for n, ends in ((1, "rollback"), (2, "commit")):
        with engine.connect() as connection:
            with connection.begin() as transaction, Hooked(connection, info={"n": n}) as session:
                session.add(Written(n=n))
                session.commit()
                getattr(transaction, ends)()
    assert till.written() == 1
    assert till.waiting() == [[2]]


def test_a_hook_behind_onwards_own_publishes_too(till: Till, engine: Engine) -> None:
    with Session(engine) as session:
        till.app.outbox(session).add(Paid(n=1))
        event.listen(session, "before_commit", lambda session: till.app.outbox(session).add(Paid(n=2)), once=True)
        session.commit()
        session.add(Written(n=1))
        event.listen(session, "before_commit", lambda session: till.app.outbox(session).add(Paid(n=3)), once=True)
        session.commit()
    assert till.waiting() == [[1], [2], [3]]


def test_publishing_when_the_commit_is_done_is_refused(
    till: Till, engine: Engine, publish_in: Callable[[str], None]
) -> None:
    publish_in("after_commit")
    with Hooked(engine) as session:
        session.add(Written(n=1))
        session.info["n"] = 1
        with pytest.raises(TransactionError, match=r"is prepared or committed already\. Nothing was published"):
            session.commit()
    assert till.written() == 1
    assert till.waiting() == []


def test_a_hook_of_a_commit_without_a_connection_is_told_that_its_event_is_left_out(
    till: Till, engine: Engine, publish_in: Callable[[str], None]
) -> None:
    publish_in("before_commit")
    with Hooked(engine, info={"n": 1}) as session:
        session.begin()
        with pytest.raises(TransactionError, match=r"not published\. Call `session\.connection\(\)` in the hook"):
            session.commit()
        session.info["n"] = 2
        session.commit()
    assert till.waiting() == [[2]]


def test_a_hook_of_a_commit_to_other_databases_alone_stops_it(
    till: Till, engine: Engine, publish_in: Callable[[str], None], tmp_path: Path
) -> None:
    publish_in("after_flush")
    elsewhere = create_engine(f"sqlite:///{tmp_path}/elsewhere.db", poolclass=NullPool)
    Base.metadata.create_all(elsewhere)
    with Hooked(engine, binds={Written: elsewhere}, info={"n": 1}) as session:
        session.add(Written(n=1))
        with pytest.raises(TransactionError, match=r"committed to other databases alone\. Nothing was published"):
            session.commit()
        session.rollback()
        assert session.query(Written).count() == 0
        session.connection()
        session.info["n"] = 2
        session.add(Written(n=2))
        session.commit()
    assert till.waiting() == [[2]]


@pytest.mark.parametrize("hook", HOOKS)
def test_a_two_phase_session_publishes_what_waits_and_what_its_hooks_publish(
    till: Till, engine: Engine, publish_in: Callable[[str], None], hook: str
) -> None:
    publish_in(hook)
    with Hooked(engine, twophase=True) as session:
        with session.begin() as outer:
            till.app.outbox(session).add(Paid(n=1))
            session.begin_nested()
            till.app.outbox(session).add(Paid(n=2))
            outer.commit()
        session.add(Written(n=1))
        session.prepare()
        with pytest.raises(TransactionError, match="is prepared or committed already"):
            till.app.outbox(session).add(Paid(n=3))
        session.rollback()
    with Hooked(engine, twophase=True, info={"n": 4}) as session:
        session.add(Written(n=4))
        session.commit()
    assert till.written() == 1
    assert till.waiting() == [[1], [2], [4]]


@pytest.mark.parametrize("twophase", [False, True])
def test_a_hooks_event_that_is_refused_leaves_no_row_in_a_connection_of_the_pool(
    till: Till, publish_in: Callable[[str], None], twophase: bool
) -> None:
    publish_in("after_flush")
    engine = create_engine(sqlalchemy_url(till.url), pool_size=1, max_overflow=0)

    def become_another(*_args: Any) -> None:
        with psycopg.connect(till.url) as connection:
            connection.execute("UPDATE onward.identity SET id = 'another'")

    try:
        with Hooked(engine, twophase=twophase, info={"n": 1}) as session:
            event.listen(session, "after_flush_postexec", become_another)
            session.add(Written(n=1))
            with pytest.raises(TransactionError, match="is the store of other services"):
                session.commit()
        with engine.begin() as connection:
            connection.execute(text("SELECT 1"))
    finally:
        engine.dispose()
    assert till.written() == 0
    assert till.waiting() == []
