"""`app.send` goes straight to Kafka: whether the store answers is all the same to it."""

import asyncio
import json
from pathlib import Path

import psycopg
import pytest

from onward.errors import StoreUnreachableError
from scripts.servers.kafka import Kafka
from scripts.servers.ports import free_ports
from scripts.servers.postgres import Postgres
from tests.integration.kafka.stage import TOPIC, placed
from tests.integration.production.stage import Stage


@pytest.fixture
def stage(kafka: Kafka, postgres_url: str, tmp_path: Path) -> Stage:
    return Stage(kafka, postgres_url, tmp_path, partitions=1)


def there(stage: Stage) -> int:
    return len(stage.values_of(TOPIC))


def test_events_are_sent_though_the_store_was_never_there_and_published_once_it_is(
    stage: Stage, postgres: Postgres
) -> None:
    (port,) = free_ports(1)
    elsewhere = stage.store.replace(f":{postgres.port}/", f":{port}/")

    async def scene() -> None:
        stage.way = elsewhere
        app = stage.app()
        await app.send(*placed(range(10)))
        with pytest.raises(StoreUnreachableError):
            await app.publish(*placed(range(10, 20)))
        await app.send(*placed(range(20, 30)))
        await app.close()
        assert there(stage) == 20
        stage.way = stage.store
        app = stage.app()
        await app.send(*placed(range(30, 40)))
        with psycopg.connect(stage.store) as connection:
            assert connection.execute("SELECT to_regnamespace('onward')").fetchall() == [(None,)], "nothing of ours yet"
        await app.publish(*placed(range(40, 50)))
        await stage.until(lambda: stage.rows("SELECT count(*) FROM onward.outbox") == [(0,)])
        await app.close()
        assert there(stage) == 40
        app = stage.app()
        await app.send(*placed(range(50, 60)))
        with psycopg.connect(stage.store) as connection:  # which is asked what store it is, as nobody has yet
            app.outbox(connection).add(*placed(range(60, 70)))
        await app.publish(*placed(range(70, 80)))
        await stage.until(lambda: stage.rows("SELECT count(*) FROM onward.outbox") == [(0,)])
        await app.close()
        assert there(stage) == 70

    asyncio.run(scene())


def test_calls_of_few_and_of_many_events_are_sent_in_the_order_in_which_they_were_begun(stage: Stage) -> None:
    counts = [1, 500, 1, 1, 300, 2, 65, 64, 1000] * 20

    async def scene() -> None:
        app = stage.app()
        events = placed(range(sum(counts)), keys=1)
        sends: list[asyncio.Task[None]] = []
        begin = 0
        for count in counts:
            sends.append(asyncio.create_task(app.send(*events[begin : begin + count])))
            begin += count
            if len(sends) % 7 == 0:  # nothing is under way behind these: the next may go by another producer
                await asyncio.gather(*sends[-4:])
            if len(sends) % 5 == 0:
                await asyncio.sleep(0.002)
        await asyncio.gather(*sends)
        await app.close()
        sent = [json.loads(value)["n"] for value in stage.values_of(TOPIC) if value]
        assert sent == list(range(sum(counts)))

    asyncio.run(scene())


def test_events_are_sent_while_the_store_is_down(stage: Stage, postgres: Postgres) -> None:
    async def scene() -> None:
        app = stage.app()
        await app.publish(*placed(range(10)))
        await stage.until(lambda: stage.rows("SELECT count(*) FROM onward.outbox") == [(0,)])
        postgres.kill()
        await app.send(*placed(range(10, 20)))
        assert there(stage) == 20
        await app.close()

    asyncio.run(scene())
