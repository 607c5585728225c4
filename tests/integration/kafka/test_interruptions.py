"""A Kafka that is not there, goes away, comes back or does not take offsets: services wait, say so, and go on."""

import asyncio
import json
import logging
from contextlib import suppress
from pathlib import Path

import pytest
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # its stub leaves them out
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourceType,
)

from onward import Event
from onward.brokers.kafka import fetching
from onward.errors import BrokerError, BrokerUnreachableError, EncodeError, PublishUncertainError
from scripts.servers.kafka import Kafka
from scripts.servers.ports import free_ports
from tests.integration.kafka.stage import PATIENCE_S, TOPIC, Placed, Stage, assert_exactly_once, placed
from tests.integration.services import running

QUICK = "?session.timeout.ms=1500&heartbeat.interval.ms=200"  # a member that is gone is waited for no longer


class Wordy(Event, type="kafka.wordy", topic=TOPIC):
    text: str


OFFSETS = ConfigResource(ResourceType.TOPIC, "__consumer_offsets")


def refuse_offsets(stage: Stage, refused: bool) -> None:
    """Kafka takes a group's offsets, or finds each of them too large to keep."""
    change = AlterConfigOpType.SET if refused else AlterConfigOpType.DELETE
    OFFSETS.incremental_configs = [
        ConfigEntry("max.message.bytes", "80" if refused else None, incremental_operation=change)
    ]
    stage.admin.incremental_alter_configs([OFFSETS])[OFFSETS].result(PATIENCE_S)


def test_a_broker_that_is_down_at_the_start_is_named_with_what_to_look_at(tmp_path: Path, kafka: Kafka) -> None:
    stage = Stage(kafka, tmp_path)
    (port,) = free_ports(1)

    async def scene() -> None:
        async with running(stage.recorder(bootstrap=f"127.0.0.1:{port}")):
            raise AssertionError

    with pytest.raises(
        BrokerUnreachableError, match=f"no Kafka server answers at 127.0.0.1:{port}.*Look whether it runs"
    ):
        asyncio.run(scene())


def test_p8_the_broker_restarts_readiness_says_so_and_what_was_sent_meanwhile_is_handled_once(
    kafka: Kafka, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "DOWN_S", 0.5)
    stage = Stage(kafka, tmp_path)

    async def scene() -> None:
        app = stage.recorder(QUICK)
        async with running(app) as service:
            await app.send(*placed(range(50)))
            await stage.until_handled(50)
            kafka.kill()
            sending = asyncio.create_task(app.send(*placed(range(50, 100))))
            await stage.until(lambda: service.unready() != [])
            assert "no Kafka server answers" in service.unready()[0]
            await asyncio.to_thread(kafka.start)
            await sending
            await stage.until_handled(100)
            assert service.unready() == []
            await app.send(*placed(range(100, 150)))
            await stage.until_handled(150)

    asyncio.run(scene())
    assert_exactly_once(stage.effects(), range(150))
    assert len(stage.effects()) == 150


def test_p8_sending_to_a_broker_that_stays_away_fails_within_its_timeout_and_says_so(
    kafka: Kafka, tmp_path: Path
) -> None:
    stage = Stage(kafka, tmp_path)

    async def scene() -> None:
        app = stage.app("?delivery.timeout.ms=500")
        try:
            await app.send(Placed(key="a", n=0))
            kafka.kill()
            async with asyncio.timeout(PATIENCE_S):
                await app.send(Placed(key="a", n=1))
        finally:
            await app.close()

    with pytest.raises(PublishUncertainError, match=r"no answer in 0\.5 s"):
        asyncio.run(scene())


def test_nothing_is_sent_behind_what_a_failed_send_left_out(kafka: Kafka, tmp_path: Path) -> None:
    stage = Stage(kafka, tmp_path, partitions=1)
    kafka.create_topic(TOPIC, 1)
    # The client takes 100 at once, so that the second send still hands over when the first one fails.
    app = stage.app("?delivery.timeout.ms=2000&queue.buffering.max.messages=100")

    async def send(numbers: range) -> None:
        with suppress(BrokerError):
            await app.send(*(Placed(key="a", n=n) for n in numbers))

    async def scene() -> None:
        await app.send(Placed(key="a", n=0))
        with kafka.frozen():
            first = asyncio.create_task(send(range(1, 51)))
            await asyncio.sleep(1.0)  # so that the second's time is not over with the first's
            second = asyncio.create_task(send(range(51, 401)))
            await first
            await asyncio.sleep(0.1)  # what the first gave up made room, and the second is woken
        await second
        await app.send(Placed(key="a", n=1_000))
        assert app._engine is not None
        there = await app._engine.broker.log.read(TOPIC, 0, 0, 1_000)
        await app.close()
        found.extend(json.loads(record[2])["n"] for record in there)

    found: list[int] = []
    asyncio.run(scene())
    assert found[0] == 0
    assert found[-1] == 1_000
    assert found[1:-1] == [*range(1, len(found) - 1)]


def test_p7_offset_commits_that_fail_stop_nothing_and_are_made_up_for(
    kafka: Kafka, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    stage = Stage(kafka, tmp_path, partitions=1)
    caplog.set_level(logging.INFO, "onward.kafka")

    async def scene() -> None:
        app = stage.recorder()
        async with running(app) as service:
            await app.send(*placed(range(10)))
            await stage.until(lambda: stage.committed() == {0: 10})
            refuse_offsets(stage, True)
            try:
                await app.send(*placed(range(10, 20)))
                await stage.until_handled(20)
                await stage.until(lambda: "Showing how far group" in caplog.text)
                assert stage.committed() == {0: 10}
                assert service.unready() == []
            finally:
                refuse_offsets(stage, False)
            await stage.until(lambda: stage.committed() == {0: 20})

    asyncio.run(scene())
    assert stage.numbers() == [*range(20)]


def test_an_event_that_its_topic_has_no_room_for_is_refused_and_the_next_one_is_sent(
    kafka: Kafka, tmp_path: Path
) -> None:
    stage = Stage(kafka, tmp_path, partitions=1)
    kafka.create_topic(TOPIC, 1)
    small = ConfigResource(
        ResourceType.TOPIC,
        TOPIC,
        incremental_configs=[ConfigEntry("max.message.bytes", "2000", incremental_operation=AlterConfigOpType.SET)],
    )
    stage.admin.incremental_alter_configs([small])[small].result(PATIENCE_S)

    async def scene() -> None:
        app = stage.recorder()
        async with running(app):
            with pytest.raises(EncodeError, match=r"Kafka does not take an event of 3,\d\d\d bytes on topic 'placed'"):
                await app.send(Wordy(text="x" * 3000))
            await app.send(Placed(key="y", n=2))
            await stage.until_handled(1)

    asyncio.run(scene())
    assert stage.numbers() == [2]
