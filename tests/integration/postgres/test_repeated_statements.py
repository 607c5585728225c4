"""A statement that runs again and again is read by the server once, and behind a pooler nothing stays."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest

from onward.errors import StoreConflictError, StoreError
from onward.stores.postgres import names as names_of
from onward.stores.postgres.address import Address
from onward.stores.postgres.command import Command
from onward.stores.postgres.connections import Connections
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


@pytest.mark.usefixtures("pooled")
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


@pytest.mark.usefixtures("pooled")
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


@pytest.mark.usefixtures("pooled")
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


def test_a_repeated_statement_keeps_its_name_when_its_transaction_has_ended(postgres_url: str, tmp_path: Path) -> None:
    async def play() -> str:
        session = await opened(postgres_url)
        await session.commit()
        for _ in range(OFTEN):
            await session.begin()
            await insert(session, 1)
            await session.commit()
        await session.begin()
        kinds = [text.split()[0] for text in await names(session)]
        assert set(kinds) == {"BEGIN", "SET", "INSERT", "COMMIT"}
        assert len(kinds) == len(set(kinds)) - 1 + kinds.count("SET")
        with (tmp_path / "trace").open("w") as trace:
            session._connection.pgconn.trace(trace.fileno())
            await insert(session, 1)
            await session.commit()
            await session.begin()
            await session.rollback()
            await session.begin()
            await insert(session, 1)
            session._connection.pgconn.untrace()
        session.drop()
        return (tmp_path / "trace").read_text()

    assert not re.findall(r"\tParse\t.*", asyncio.run(play()))


def test_what_failed_is_planned_anew_and_a_row_that_breaks_a_rule_is_no_reason(postgres_url: str) -> None:
    async def play() -> None:
        session = await opened(postgres_url)
        await session.script("CREATE UNIQUE INDEX ON found (n)", "Testing")
        await insert(session, OFTEN)
        before = await names(session)
        await session.script("SAVEPOINT one", "Testing")
        again = await names(session)
        assert again == before
        with pytest.raises(StoreError, match="duplicate key"):
            await session.run(INSERT, (1, "word"), "Testing")
        await session.send([Command("ROLLBACK TO one")], "Testing")
        await session.commit()
        await session.begin()
        with pytest.raises(StoreError, match="division by zero"):
            await session.run("SELECT 1 / $1::int", (0,), "Testing")
        await session.rollback()
        await session.begin()
        await session.run(INSERT, (OFTEN, "word"), "Testing")
        await session.commit()
        await session.begin()
        assert INSERT not in await names(session)
        session.drop()

    asyncio.run(play())


async def names(session: Session) -> list[str]:
    return [text for (text,) in (await session.run("SELECT statement FROM pg_prepared_statements", (), "Testing")).rows]


@pytest.mark.parametrize("change", ["ADD COLUMN more text", "ALTER COLUMN n TYPE text"])
def test_a_table_that_others_altered_meanwhile_costs_a_conflict_at_most(postgres_url: str, change: str) -> None:
    """Nobody's fault, so that it is tried again and no event has had an attempt; then it is read anew."""

    async def play() -> None:
        session = await opened(postgres_url)
        await insert(session, 1)
        await session.commit()
        for _ in range(OFTEN + 1):
            await session.begin()
            await session.run("SELECT * FROM found WHERE word = $1", ("word",), "Testing")
            await session.commit()
        other = await opened_beside(postgres_url, f"ALTER TABLE found {change}")
        other.drop()
        await session.begin()
        with pytest.raises(StoreConflictError, match="fits a table no longer"):
            await session.run("SELECT * FROM found WHERE word = $1", ("word",), "Testing")
        await session.rollback()
        for _ in range(OFTEN + 1):
            await session.begin()
            found = await session.run("SELECT * FROM found WHERE word = $1", ("word",), "Testing")
            assert len(found.rows) == 1
            await session.commit()
        session.drop()

    asyncio.run(play())


async def opened_beside(url: str, sql: str) -> Session:
    session = await Session.open(Address.read(url))
    await session.script(sql, "Testing")
    return session


def test_where_a_pooler_is_taken_for_the_server_a_missing_name_costs_a_conflict_and_no_more_are_kept(
    postgres_url: str,
) -> None:
    """Never another client's statement under the same name, as names are nobody else's."""

    async def play() -> None:
        session = await opened(postgres_url)
        await insert(session, OFTEN)
        await session.commit()
        session._connection.pgconn.exec_(b"DEALLOCATE ALL")  # as another connection of the server's has none
        await session.begin()
        with pytest.raises(StoreConflictError, match="not there any more"):
            await session.run(INSERT, (1, "word"), "Testing")
        await session.rollback()
        for _ in range(2):
            await session.begin()
            await insert(session, OFTEN)
            await session.commit()
            await session.begin()
            assert await prepared(session) == 0
            await session.commit()
        session.drop()

    asyncio.run(play())


def test_statements_that_have_no_room_among_the_names_are_answered_each_for_itself(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(names_of, "MAX_COUNTED", 4)
    monkeypatch.setattr(names_of, "MAX_NAMES", 2)

    async def play() -> None:
        connections = Connections(Address.read(f"{postgres_url}?pool_size=1"), kept=True)
        for n in range(30):
            asked = Command(f"SELECT $1::int + {n % 7}", [(n,)])
            found = await connections.apart(asked, "Testing", read_only=bool(n % 2))
            assert found.scalar() == n + n % 7
            async with connections.transaction(asked) as session:
                assert len(await names(session)) <= 4, "those before end with the next transaction"
        connections.close()

    asyncio.run(play())


def test_two_connections_never_give_the_same_name(postgres_url: str) -> None:
    async def play() -> list[str]:
        sessions = [await Session.open(Address.read(postgres_url)) for _ in range(2)]
        found: list[str] = []
        for session in sessions:
            await session.begin()
            for _ in range(OFTEN):
                await session.run("SELECT $1::int", (1,), "Testing")
            rows = await session.run("SELECT name FROM pg_prepared_statements", (), "Testing")
            found += [name for (name,) in rows.rows]
            session.drop()
        return found

    found = asyncio.run(play())
    assert len(found) == 2
    assert len(set(found)) == 2
