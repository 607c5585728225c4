"""Transactions that get in each other's way for a minute: nobody's attempt, and every event takes effect once."""

from __future__ import annotations

import asyncio
from collections import Counter
from time import monotonic

import psycopg
import pytest

from onward import App, Retry, Topic, Transaction
from onward.errors import StoreConflictError
from onward.partitioning import partition_of
from onward.pipeline.conflicts import Conflicts
from onward.runtime.service import Service
from tests.integration.postgres.stage import SCHEMA, Numbered, Stage, on_stage

MINUTE_S = 60.0
CHUNK = 100
AHEAD = 400  # events published and not handled yet, at most
KEYS = [next(key for key in "abcdefgh" if partition_of(key.encode(), 2) == partition) for partition in (0, 1)]
STOCK = "CREATE TABLE IF NOT EXISTS stock (id INTEGER PRIMARY KEY, n INTEGER NOT NULL)"
# What the server says to a transaction that read what another one has changed; of a batch's changes one at most.
FALL = """
CREATE SEQUENCE public.changes;
CREATE FUNCTION public.fall() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF nextval('public.changes') % 997 = 0 THEN RAISE serialization_failure; END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER fall BEFORE UPDATE ON stock FOR EACH ROW EXECUTE FUNCTION public.fall();
INSERT INTO stock VALUES (1, 0), (2, 0)
"""
DEADLOCK, SERIALIZATION = "40P01", "40001"


@pytest.fixture
def conflicts(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often the server ended a transaction in favour of another one, by SQLSTATE."""
    found: Counter[str] = Counter()
    stand_back = Conflicts.stand_back

    async def counted(self: Conflicts, conflict: StoreConflictError) -> None:
        found[str(conflict.fields["sqlstate"])] += 1
        await stand_back(self, conflict)

    monkeypatch.setattr(Conflicts, "stand_back", counted)
    return found


def held(service: Service) -> int:
    return sum(map(len, service.snapshot()["partitions"].values()))


@pytest.mark.timeout(240)
def test_partitions_that_take_the_same_rows_in_opposite_order_for_a_minute_lose_and_park_nothing(
    postgres_url: str, conflicts: Counter[str]
) -> None:
    app = App("shop", schema=f"{SCHEMA}; {STOCK}", topics=[Topic("numbers", partitions=2)])
    meeting = asyncio.Barrier(2)
    calls = 0

    @app.on(Numbered, retry=Retry(max_attempts=1))
    async def take(event: Numbered, tx: Transaction) -> None:
        nonlocal calls
        calls += 1
        first, second = (1, 2) if event.key == KEYS[0] else (2, 1)
        await tx.execute("UPDATE stock SET n = n + 1 WHERE id = :row", row=first)
        if calls <= 2:
            await meeting.wait()  # each has its first row, and asks for the other's next
        await tx.execute("UPDATE stock SET n = n + 1 WHERE id = :row", row=second)
        await tx.submit("INSERT INTO effect VALUES (:n, 'take')", n=event.n)

    async def scene(stage: Stage) -> None:
        async with stage.running(app) as one, stage.running(app) as other:
            with psycopg.connect(postgres_url) as connection:
                connection.execute(FALL)
            await stage.until(lambda: held(one) == held(other) == 1)
            published, until = 0, monotonic() + MINUTE_S
            while monotonic() < until:
                new = range(published, published + CHUNK)
                await stage.publish(*(Numbered(key=KEYS[n % 2], n=n) for n in new))
                published = new.stop
                await stage.until(lambda at_least=published - AHEAD: len(stage.effects()) >= at_least)  # type: ignore[misc]
            await stage.settled()
            assert one.unready() == other.unready() == []
        assert stage.effects() == list(range(published))
        assert stage.rows("SELECT n FROM stock") == [(published,), (published,)]
        assert stage.dead_letters() == []
        assert stage.rows("SELECT 1 FROM onward.attempt") == []
        assert calls > published, "what was undone ran again"

    on_stage(postgres_url, scene)
    assert conflicts[DEADLOCK] > 0
    assert conflicts[SERIALIZATION] > 0
