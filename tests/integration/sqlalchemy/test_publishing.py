"""Events are published by the commit of a session that onward gave, in a handler and in `app.session()`."""

import asyncio
from pathlib import Path

import pytest
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from onward import App
from onward.errors import TransactionError
from tests.integration.sqlalchemy.places import TWICE, Account, Counted, FilePlace, Numbered, Place


def numbers(*ns: int) -> list[Numbered]:
    return [Numbered(key="k", n=n) for n in ns]


def test_what_a_handler_publishes_in_its_session_commits_with_the_event(place: Place) -> None:
    app = place.app()

    @app.on(Numbered, retry=TWICE)
    async def note(event: Numbered, session: AsyncSession) -> None:
        await app.publish(Counted(n=event.n), within=session)
        app.outbox(session.sync_session).add(Counted(n=event.n))
        if event.n == 2:
            raise ValueError(event.n)

    @app.on(Numbered, retry=TWICE)
    def look(event: Numbered, session: Session) -> None:
        app.outbox(session).add(Counted(n=event.n))

    asyncio.run(place.handle(app, *numbers(1, 2, 3)))
    assert [row[0] for row in place.rows("SELECT handler FROM {schema}dead_letter")] == ["note"]
    assert place.published() == 2 * 2 + 3


def test_a_session_of_another_service_is_refused(place: Place) -> None:
    app = place.app()

    @app.on(Numbered, retry=TWICE)
    async def note(event: Numbered, session: AsyncSession) -> None:
        await App("other").publish(Counted(n=event.n), within=session)

    asyncio.run(place.handle(app, *numbers(1)))
    ((error,),) = place.rows("SELECT error FROM {schema}dead_letter")
    assert error.startswith("TransactionError: This transaction is one of service 'shop'")
    assert place.published() == 0


def test_a_session_of_the_app_commits_at_the_blocks_end_with_what_was_published(tmp_path: Path) -> None:
    place = FilePlace(tmp_path / "shop.db")
    app = place.app()
    kept: list[AsyncSession] = []

    async def again() -> None:
        async with app.session() as session:
            await app.publish(Counted(n=3), within=session)
            session.add(Account(key="k", total=2))

    async def scene() -> None:
        async with app.session() as session:
            session.add(Account(key="k", total=1))
            await app.publish(Counted(n=1), within=session)
            kept.append(session)
            with pytest.raises(TransactionError, match=r"at the end of `app\.session\(\)`"):
                await session.commit()
        with pytest.raises(TransactionError, match="has ended"):
            await app.publish(Counted(n=2), within=kept[0])
        with pytest.raises(IntegrityError):
            await again()
        async with app.session() as session:
            assert (await session.get_one(Account, "k")).total == 1
        await app.close()

    asyncio.run(scene())
    assert place.rows("SELECT key, total FROM holding") == [("k", 1)]
    assert place.published() == 1
