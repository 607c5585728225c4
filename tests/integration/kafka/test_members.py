"""A member that stands still holds up nobody else, takes no memory without end, and can't commit once replaced."""

import asyncio
from pathlib import Path

import pytest

from onward import App
from onward.brokers.kafka.consumer import KafkaConsumer
from onward.brokers.kafka.fetching import FETCH
from onward.brokers.kafka.lanes import AHEAD_RECORDS
from onward.partitioning import partition_of
from onward.runtime.service import Service
from scripts.servers.kafka import Kafka
from tests.integration.kafka.stage import Placed, Stage, assert_exactly_once
from tests.integration.kills.bank import Paid
from tests.integration.kills.stage import Stage as Bank
from tests.integration.kills.zombie import freeze_and_thaw
from tests.integration.services import running

QUICK = "?session.timeout.ms=1500&heartbeat.interval.ms=200"
MANY = 3 * AHEAD_RECORDS


@pytest.mark.parametrize(
    ("service", "handler", "store"),
    [("slow", "settle", "file"), ("slow", "settle", "server"), ("still", "sit", "server")],
)
def test_a_member_frozen_past_its_session_and_thawed_cannot_commit(
    kafka: Kafka, tmp_path: Path, request: pytest.FixtureRequest, service: str, handler: str, store: str
) -> None:
    bank = Bank(tmp_path, kafka.url + QUICK, request.getfixturevalue("postgres_url") if store == "server" else "")

    async def send() -> None:
        sender = App("sender", broker=kafka.url, store=f"sqlite:///{tmp_path / 'sender.db'}")
        await sender.send(Paid(account="account-0", n=0))
        await sender.close()

    asyncio.run(send())
    freeze_and_thaw(bank, service, handler)


def ahead(service: Service) -> dict[int, int]:
    """Events that were fetched and not taken, by partition."""
    (subscription,) = service._subscriptions
    consumer = subscription._consumer
    assert isinstance(consumer, KafkaConsumer)
    return {partition: lane.ahead for partition, lane in consumer._lanes._lanes.items()}


def test_a_handler_that_waits_stops_the_fetching_of_its_partition_and_no_other(kafka: Kafka, tmp_path: Path) -> None:
    stage = Stage(kafka, tmp_path, partitions=2)
    held, flowing = (next(key for key in "abcdefgh" if partition_of(key.encode(), 2) == each) for each in (0, 1))
    handled: list[tuple[str, int]] = []

    async def scene() -> None:
        gate = asyncio.Event()
        app = stage.app()

        @app.on(Placed)
        async def take(placed: Placed) -> None:
            if placed.key == held:
                await gate.wait()
            handled.append((placed.key, placed.n))

        async with running(app) as service:
            await app.send(*(Placed(key=held, n=n) for n in range(MANY)))
            await app.send(*(Placed(key=flowing, n=n) for n in range(MANY, MANY + 1000)))
            await stage.until(lambda: len(handled) == 1000)
            found = ahead(service)
            assert 0 < found[0] <= AHEAD_RECORDS + FETCH
            gate.set()
            await stage.until(lambda: len(handled) == MANY + 1000)

    asyncio.run(scene())
    assert_exactly_once(handled, range(MANY + 1000))
