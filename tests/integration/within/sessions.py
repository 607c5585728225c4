"""Sessions and connections of a user's own on PostgreSQL, all with the same verbs, to publish within."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
from sqlalchemy import URL, create_engine, make_url, text
from sqlalchemy.ext.asyncio import AsyncSession, async_scoped_session, async_sessionmaker, create_async_engine
from sqlalchemy.orm import Session, scoped_session, sessionmaker

WRITE = "INSERT INTO written (n) VALUES (1)"


@dataclass
class Open:
    """A transaction that is open: what to publish within, and how to write beside it."""

    session: Any
    write: Callable[[], Awaitable[None]]
    is_async: bool = False


Kind = Callable[[str], Any]


def sqlalchemy_url(url: str) -> URL:
    return make_url(url).set(drivername="postgresql+psycopg")


@asynccontextmanager
async def psycopg_connection(url: str) -> AsyncIterator[Open]:
    with psycopg.connect(url) as connection:

        async def write() -> None:
            connection.execute(WRITE)

        yield Open(connection, write)


@asynccontextmanager
async def psycopg_async_connection(url: str) -> AsyncIterator[Open]:
    async with await psycopg.AsyncConnection.connect(url) as connection:

        async def write() -> None:
            await connection.execute(WRITE)

        yield Open(connection, write, is_async=True)


@asynccontextmanager
async def sqlalchemy_connection(url: str) -> AsyncIterator[Open]:
    engine = create_engine(sqlalchemy_url(url))
    try:
        with engine.begin() as connection:

            async def write() -> None:
                connection.execute(text(WRITE))

            yield Open(connection, write)
    finally:
        engine.dispose()


@asynccontextmanager
async def sqlalchemy_async_connection(url: str) -> AsyncIterator[Open]:
    engine = create_async_engine(sqlalchemy_url(url))
    try:
        async with engine.begin() as connection:

            async def write() -> None:
                await connection.execute(text(WRITE))

            yield Open(connection, write, is_async=True)
    finally:
        await engine.dispose()


@asynccontextmanager
async def sqlalchemy_session(url: str) -> AsyncIterator[Open]:
    engine = create_engine(sqlalchemy_url(url))
    try:
        with Session(engine) as session, session.begin():

            async def write() -> None:
                session.execute(text(WRITE))

            yield Open(session, write)
    finally:
        engine.dispose()


@asynccontextmanager
async def sqlalchemy_scoped_session(url: str) -> AsyncIterator[Open]:
    engine = create_engine(sqlalchemy_url(url))
    scoped = scoped_session(sessionmaker(engine))
    try:

        async def write() -> None:
            scoped.execute(text(WRITE))

        yield Open(scoped, write)
        scoped.commit()
    finally:
        scoped.remove()
        engine.dispose()


@asynccontextmanager
async def sqlalchemy_async_session(url: str) -> AsyncIterator[Open]:
    engine = create_async_engine(sqlalchemy_url(url))
    try:
        async with AsyncSession(engine) as session, session.begin():

            async def write() -> None:
                await session.execute(text(WRITE))

            yield Open(session, write)
    finally:
        await engine.dispose()


@asynccontextmanager
async def sqlalchemy_async_scoped_session(url: str) -> AsyncIterator[Open]:
    engine = create_async_engine(sqlalchemy_url(url))
    scoped = async_scoped_session(async_sessionmaker(engine), scopefunc=lambda: 1)
    try:

        async def write() -> None:
            await scoped.execute(text(WRITE))

        yield Open(scoped, write)
        await scoped.commit()
    finally:
        await scoped.remove()
        await engine.dispose()


@asynccontextmanager
async def sqlalchemy_session_on_a_connection(url: str) -> AsyncIterator[Open]:
    engine = create_engine(sqlalchemy_url(url))
    try:
        with engine.begin() as connection:
            session = Session(connection)

            async def write() -> None:
                session.execute(text(WRITE))

            yield Open(session, write)
            session.close()
    finally:
        engine.dispose()


KINDS: dict[str, Kind] = {
    kind.__name__: kind
    for kind in (
        psycopg_connection,
        psycopg_async_connection,
        sqlalchemy_connection,
        sqlalchemy_async_connection,
        sqlalchemy_session,
        sqlalchemy_scoped_session,
        sqlalchemy_async_session,
        sqlalchemy_async_scoped_session,
        sqlalchemy_session_on_a_connection,
    )
}
