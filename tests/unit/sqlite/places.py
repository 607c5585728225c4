"""A small database to write to, and the writing."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from onward.sqlite.database import Database


@contextmanager
def opened(path: Path | str, *, busy_s: float = 30.0) -> Iterator[Database]:
    with closing(Database.open(path, busy_s=busy_s)) as database:
        with database.transaction_sync() as writer:
            writer.execute("CREATE TABLE IF NOT EXISTS place (name TEXT NOT NULL UNIQUE)")
        yield database


def places(database: Database) -> list[str]:
    return [name for (name,) in database.read("SELECT name FROM place ORDER BY name")]


async def add(database: Database, name: str) -> None:
    async with database.transaction() as writer:
        writer.execute("INSERT INTO place VALUES (?)", (name,))
