"""A statement that runs again and again is read by the server once, and behind a pooler nothing stays."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest

from onward.errors import StoreConflictError, StoreError
from onward.stores.postgres.address import Address
from onward.stores.postgres.command import Command
from onward.stores.postgres.names import MAX_NAMES, OFTEN
from onward.stores.postgres.session import Session

INSERT = "INSERT INTO found (n, word) VALUES ($1, $2)"


@pytest.fixture(params=["alone", "pooled"])
def either(request: pytest.FixtureRequest) -> None:
    if request.param == "pooled":
        request.getfixturevalue("pooled")


async def opened(url: str) -> Session:
    session = await Session.open(Address.read(url))
    await session.begin()
    await session.script("CREATE TABLE found (n numeric, word text)", "Testing")
    return session


@pytest.mark.usefixtures("either")
def test_the_server_reads_a_statement_once_for_all_rows(postgres_url: str, tmp_path: Path) -> None:
    async def play() -> str:
        session = await opened(postgres_url)
        with (tmp_path / "trace").open("w") as trace:
            session._connection.pgconn.trace(trace.fileno())
            await session.send([Command(INSERT, [(n, "word") for n in range(100)])], "Testing")
            session._connection.pgconn.untrace()
        session.drop()
        return (tmp_path / "trace").read_text()

    said = asyncio.run(play())
    assert len(re.findall(r"\tParse\t", said)) == 1
    assert len(re.findall(r"\tBind\t", said)) == 100


@pytest.mark.usefixtures("either")
def test_rows_whose_types_differ_are_all_run(postgres_url: str) -> None:
    rows: list[tuple[Any, str]] = [(1, "a"), (None, "b"), (1 << 20, "c"), (1 << 40, "d"), (1 << 80, "e"), (2, "f")]

    async def play() -> list[tuple[Any, ...]]:
        session = await opened(postgres_url)
        await session.send([Command(INSERT, rows), Command(INSERT, [(3, "g")]), Command(INSERT, rows[:2])], "Testing")
        found = await session.run("SELECT n::text, word FROM found ORDER BY ctid", (), "Testing")
        session.drop()
        return found.rows

    expected = [(None if n is None else str(n), word) for n, word in [*rows, (3, "g"), *rows[:2]]]
    assert asyncio.run(play()) == expected


@pytest.mark.usefixtures("either")
def test_nothing_stays_prepared_on_the_connection(postgres_url: str) -> None:
    async def play() -> Any:
        session = await opened(postgres_url)
        await session.send([Command(INSERT, [(1, "a"), (2, "b")])], "Testing")
        await session.commit()
        await session.begin()
        found = await session.run("SELECT count(*) FROM pg_prepared_statements", (), "Testing")
        session.drop()
        return found.scalar()

    assert asyncio.run(play()) == 0


@pytest.mark.usefixtures("either")
def test_a_statement_that_the_server_can_not_read_is_told(postgres_url: str) -> None:
    async def play() -> None:
        session = await opened(postgres_url)
        with pytest.raises(StoreError, match="absent"):
            await session.send([Command("INSERT INTO absent VALUES ($1)", [(1,), (2,)])], "Testing")
        await session.rollback()
        assert session.usable
        session.drop()

    asyncio.run(play())


async def prepared(session: Session) -> Any:
    return (await session.run("SELECT count(*) FROM pg_prepared_statements", (), "Testing")).scalar()


async def insert(session: Session, times: int) -> None:
    for n in range(times):
        await session.run(INSERT, (n, "word"), "Testing")


@pytest.mark.usefixtures("either")
def test_the_server_reads_a_statement_that_a_transaction_repeats_a_few_times_only(
    postgres_url: str, tmp_path: Path
) -> None:
    async def play() -> str:
        session = await opened(postgres_url)
        with (tmp_path / "trace").open("w") as trace:
            session._connection.pgconn.trace(trace.fileno())
            await insert(session, 100)
            session._connection.pgconn.untrace()
        session.drop()
        return (tmp_path / "trace").read_text()

    said = asyncio.run(play())
    assert len(re.findall(r"\tParse\t", said)) == 4
    assert len(re.findall(r"\tBind\t", said)) == 100


@pytest.mark.usefixtures("either")
def test_a_repeated_statement_has_no_name_any_more_when_its_transaction_has_ended(postgres_url: str) -> None:
    async def play() -> None:
        session = await opened(postgres_url)
        await insert(session, 10)
        assert await prepared(session) == 1
        await session.commit()
        await session.begin()
        assert await prepared(session) == 0
        await insert(session, 10)
        with pytest.raises(StoreError, match="division by zero"):
            await session.run("SELECT 1 / $1::int", (0,), "Testing")
        await session.rollback()
        await session.begin()
        assert await prepared(session) == 0
        session.drop()

    asyncio.run(play())


@pytest.mark.usefixtures("either")
def test_a_name_that_the_server_never_got_is_not_counted_on(postgres_url: str) -> None:
    async def play() -> Any:
        session = await opened(postgres_url)
        await insert(session, 3)
        await session.script("SAVEPOINT one", "Testing")
        wrong = Command("SELECT 1 / $1::int", [(0,)])
        with pytest.raises(StoreError, match="division by zero"):
            await session.run(INSERT, (3, "word"), "Testing", before=[wrong])
        await session.script("ROLLBACK TO one", "Testing")
        await insert(session, 3)
        found = await session.run("SELECT count(*) FROM found", (), "Testing")
        session.drop()
        return found.scalar()

    assert asyncio.run(play()) == 6


@pytest.mark.usefixtures("either")
def test_a_repeated_statement_sees_the_table_that_its_own_transaction_has_altered(postgres_url: str) -> None:
    async def play() -> None:
        session = await opened(postgres_url)
        await insert(session, 1)
        for _ in range(10):
            await session.run("SELECT * FROM found WHERE n = $1", (0,), "Testing")
        await session.run("ALTER TABLE found ADD COLUMN more text", (), "Testing")
        found = await session.run("SELECT * FROM found WHERE n = $1", (0,), "Testing")
        assert found.rows == [(0, "word", None)]
        await session.script("SAVEPOINT one", "Testing")
        await session.run("ALTER TABLE found DROP COLUMN more", (), "Testing")
        for _ in range(10):
            await session.run("SELECT * FROM found WHERE n = $1", (0,), "Testing")
        await session.send([Command("ROLLBACK TO one")], "Testing")
        found = await session.run("SELECT * FROM found WHERE n = $1", (0,), "Testing")
        session.drop()
        assert found.rows == [(0, "word", None)]

    asyncio.run(play())


@pytest.mark.usefixtures("either")
def test_a_repeated_statement_that_changes_too_little_is_told(postgres_url: str) -> None:
    async def play() -> None:
        session = await opened(postgres_url)
        for n in range(10):
            await session.send([Command("SELECT $1::int", [(n,)], StoreError("unexpected"))], "Testing")
        none = Command("SELECT $1::int WHERE $1 > 0", [(0,)], StoreError("too early"), 0)
        for _ in range(10):
            await session.send([none], "Testing")
        with pytest.raises(StoreError, match="as it should"):
            await session.send([none._replace(otherwise=StoreError("as it should"), changes=1)], "Testing")
        session.drop()

    asyncio.run(play())


@pytest.mark.usefixtures("either")
def test_a_transaction_that_others_ended_takes_its_names_with_it_and_the_connection(postgres_url: str) -> None:
    async def play() -> None:
        session = await opened(postgres_url)
        await insert(session, 10)
        await session.script("COMMIT", "Testing")
        await session.rollback()
        assert not session.usable

    asyncio.run(play())


@pytest.mark.usefixtures("either")
def test_more_kinds_of_statements_than_there_are_names_all_run(postgres_url: str) -> None:
    async def play() -> None:
        session = await opened(postgres_url)
        for _ in range(5):
            for n in range(150):
                found = await session.run(f"SELECT $1 + {n}", (1,), "Testing")
                assert found.scalar() == 1 + n
        assert await prepared(session) == MAX_NAMES
        session.drop()

    asyncio.run(play())


# ------------------------------------------------------------------------------ on a connection that is nobody else's

OURS = Command("SELECT $1::int", [(1,)], ours=True)


async def names(session: Session) -> list[str]:
    return [text for (text,) in (await session.run("SELECT statement FROM pg_prepared_statements", (), "Testing")).rows]


def test_our_own_statements_stay_prepared_and_users_do_not(postgres_url: str, tmp_path: Path) -> None:
    async def play() -> str:
        session = await opened(postgres_url)
        await session.commit()
        for _ in range(OFTEN):
            await session.begin()
            await insert(session, OFTEN)
            await session.send([OURS], "Testing")
            await session.commit()
        await session.begin()
        kinds = {text.split()[0] for text in await names(session)}
        assert kinds == {"BEGIN", "SET", "COMMIT", "SELECT"}
        with pytest.raises(StoreError, match="division by zero"):
            await session.run("SELECT 1 / $1::int", (0,), "Testing")
        await session.rollback()
        with (tmp_path / "trace").open("w") as trace:
            session._connection.pgconn.trace(trace.fileno())
            await session.begin()
            await session.commit([OURS])
            session._connection.pgconn.untrace()
        session.drop()
        return (tmp_path / "trace").read_text()

    said = asyncio.run(play())
    assert "\tBind\t" in said
    assert "\tParse\t" not in said


@pytest.mark.usefixtures("either")
def test_what_a_user_says_means_what_it_means_today(postgres_url: str) -> None:
    """Read once for all transactions, these would give what they gave in the first."""

    async def play() -> None:
        session = await opened(postgres_url)
        await session.commit()
        moments, midnights, stored = set(), set(), []
        for n in range(2 * OFTEN):
            if n == OFTEN:
                other = await Session.open(Address.read(postgres_url))
                await other.script("ALTER TABLE found ALTER COLUMN n TYPE text", "Testing")
                other.drop()
            await session.begin()
            await session.run(f"SET LOCAL TIME ZONE '{'UTC' if n < OFTEN else 'Asia/Tokyo'}'", (), "Testing")
            now = "SELECT 'now'::timestamptz, '2024-01-01 00:00'::timestamptz, $1::int"
            found = (await session.run(now, (1,), "Testing")).one()
            moments.add(found[0])
            midnights.add(found[1].timestamp())
            await session.run("INSERT INTO found (n, word) VALUES ($1, $2)", ("007", "word"), "Testing")
            rows = await session.run("SELECT n::text FROM found WHERE n::text = $1", ("007",), "Testing")
            stored.append(len(rows.rows))
            await session.commit()
        session.drop()
        assert len(moments) == 2 * OFTEN
        assert len(midnights) == 2
        assert stored == [0] * OFTEN + [*range(1, OFTEN + 1)]

    asyncio.run(play())


@pytest.mark.parametrize("behind", [False, True])
def test_where_a_pooler_is_taken_for_the_server_a_missing_name_costs_a_conflict_and_no_more_are_kept(
    postgres_url: str, behind: bool
) -> None:
    """Never another client's statement under the same name, as names are nobody else's."""

    async def play() -> None:
        session = await opened(postgres_url)
        await session.commit()
        for _ in range(OFTEN):
            await session.begin()
            await session.commit([OURS], OURS)
        session._connection.pgconn.exec_(b"DEALLOCATE ALL")  # as another connection of the server's has none
        with pytest.raises(StoreConflictError, match="not there any more"):
            await session.begin()
        await session.rollback()
        for _ in range(2 * OFTEN):
            await session.begin()
            assert await prepared(session) == 0
            await session.commit([OURS], OURS if behind else None)
        session.drop()

    asyncio.run(play())


def test_two_connections_never_give_the_same_name(postgres_url: str) -> None:
    async def play() -> list[str]:
        sessions = [await Session.open(Address.read(postgres_url)) for _ in range(2)]
        found: list[str] = []
        for session in sessions:
            for _ in range(OFTEN):
                await session.begin()
                await session.commit([OURS])
            await session.begin()
            rows = await session.run("SELECT name FROM pg_prepared_statements", (), "Testing")
            found += [name for (name,) in rows.rows]
            session.drop()
        return found

    found = asyncio.run(play())
    assert len(found) > 2
    assert len(set(found)) == len(found)
