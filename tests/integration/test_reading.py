"""`app.read` on a file: beside whoever writes, on what is committed."""

import asyncio
from pathlib import Path

import pytest

from onward import App
from onward.errors import TransactionError

SCHEMA = "CREATE TABLE IF NOT EXISTS note (text TEXT)"


def test_a_read_waits_for_no_open_transaction(database_path: Path) -> None:
    app = App("notes", store=f"sqlite:///{database_path}", schema=SCHEMA)

    async def scene() -> None:
        async with app.lifespan(consume=False), app.transaction() as tx:
            await tx.execute("INSERT INTO note VALUES ('not yet')")
            async with asyncio.timeout(20):
                found = await asyncio.create_task(app.read("SELECT text FROM note WHERE text <> :without", without=""))
            assert found.rows == []

    asyncio.run(scene())


def test_a_read_opens_the_store_by_itself_and_says_what_to_use_for_writing(database_path: Path) -> None:
    app = App("notes", store=f"sqlite:///{database_path}", schema=SCHEMA)

    async def scene() -> None:
        assert (await app.read("SELECT count(*) FROM note")).scalar() == 0
        with pytest.raises(TransactionError, match=r"app\.transaction"):
            await app.read("DELETE FROM note")
        await app.close()

    asyncio.run(scene())
