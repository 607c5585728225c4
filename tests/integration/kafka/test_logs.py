"""A log that does not go on as it was: eaten by retention, deleted and made again, cut into more partitions."""

import asyncio
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from confluent_kafka.admin import NewPartitions  # type: ignore[attr-defined]  # its stub leaves it out

from onward import Context, Topic, Transaction
from onward.brokers.kafka import partitions as counts
from onward.errors import PublishUncertainError, RegistrationError, SettingError
from onward.partitioning import partition_of
from scripts.servers.kafka import Kafka
from tests.integration.children import ROOT
from tests.integration.kafka.stage import INSERT, PATIENCE_S, TOPIC, Placed, Stage, placed, written
from tests.integration.services import running

SEES_NEW_PARTITIONS_SOON = "?topic.metadata.refresh.interval.ms=200"


def audited(stage: Stage) -> tuple[int, str]:
    """What `onward audit` ends with, and says."""
    ended = subprocess.run(
        [sys.executable, "-m", "onward", "audit", "--database", str(stage.database)],
        cwd=ROOT / "src",
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    return ended.returncode, ended.stdout


def delete(stage: Stage) -> None:
    """Returns when nobody sees the topic any more."""
    stage.admin.delete_topics([TOPIC])[TOPIC].result(PATIENCE_S)
    while TOPIC in stage.admin.list_topics(timeout=PATIENCE_S).topics:
        continue


def test_what_retention_took_before_it_was_handled_is_a_loss_with_a_name(kafka: Kafka, tmp_path: Path) -> None:
    stage = Stage(kafka, tmp_path, partitions=1)
    kafka.create_topic(TOPIC, 1)

    async def handle(count: int) -> None:
        async with stage.recording():
            await stage.until_handled(count)

    stage.produce(*written(*range(10)))
    asyncio.run(handle(10))
    assert audited(stage)[0] == 0
    stage.produce(*written(*range(10, 30)))
    stage.forget(0, 25)
    asyncio.run(handle(15))

    assert stage.numbers() == [*range(10), *range(25, 30)]
    ((lost, why),) = stage.rows("SELECT lost, why FROM onward_shift")
    assert (lost, why) == (15, "Kafka's retention took the events from 10 to 24 before they were handled")
    code, said = audited(stage)
    assert code == 3
    assert "since Kafka's retention took the events from 10 to 24" in said
    assert "unbalanced" not in said


@pytest.mark.parametrize(("way", "partitions"), [("send", 2), ("send", 5), ("publish", 2), ("publish", 5)])
def test_events_of_a_topic_made_again_while_a_service_runs_are_handled(
    kafka: Kafka, tmp_path: Path, way: str, partitions: int
) -> None:
    """Those too that leave while the server does not serve all of the new one yet."""
    stage = Stage(kafka, tmp_path, partitions=2)
    uncertain: list[int] = []

    async def scene() -> None:
        app = stage.recorder(SEES_NEW_PARTITIONS_SOON)
        async with running(app):
            await getattr(app, way)(*placed(range(20)))
            await stage.until_handled(20)
            await asyncio.to_thread(delete, stage)
            await asyncio.to_thread(kafka.create_topic, TOPIC, partitions)
            try:
                await getattr(app, way)(*placed(range(100, 140)))
            except PublishUncertainError:
                uncertain.extend(range(100, 140))
                await app.send(*placed(range(100, 140)))
            await asyncio.to_thread(stage.produce, *written(*range(200, 240)))  # to all that there are
            await stage.until(lambda: len(set(stage.numbers())) == 100)

    asyncio.run(scene())
    found = Counter(stage.numbers())
    assert sorted(found) == [*range(20), *range(100, 140), *range(200, 240)]
    assert {n for n, times in found.items() if times > 1} <= {*uncertain}


def test_events_of_a_topic_made_again_are_told_from_the_old_ones_at_the_same_places(
    kafka: Kafka, tmp_path: Path
) -> None:
    stage = Stage(kafka, tmp_path, partitions=1)
    keys: list[str] = []

    async def handle(count: int) -> None:
        app = stage.app()

        @app.on(Placed)
        async def record(placed: Placed, tx: Transaction, ctx: Context) -> None:
            keys.append(ctx.idempotency_key)
            await tx.execute(INSERT, key=placed.key, n=placed.n)

        async with running(app):
            await stage.until_handled(count)

    for first in (0, 100):
        kafka.create_topic(TOPIC, 1)
        stage.produce(*written(*range(first, first + 10)))
        asyncio.run(handle(10 if first == 0 else 20))
        delete(stage)
    assert stage.numbers() == [*range(10), *range(100, 110)]
    assert len(set(keys)) == 20
    ((anew, why),) = stage.rows("SELECT anew, why FROM onward_shift")
    assert anew == 1
    assert "deleted and made again" in str(why)
    code, said = audited(stage)
    assert code == 3
    assert "since the topic was deleted and made again" in said
    assert "unbalanced" not in said


def test_partitions_added_while_a_service_runs_are_read_from_their_beginning(kafka: Kafka, tmp_path: Path) -> None:
    stage = Stage(kafka, tmp_path, partitions=2)

    async def scene() -> None:
        app = stage.recorder(SEES_NEW_PARTITIONS_SOON)
        async with running(app) as service:
            await app.send(*placed(range(20)))
            await stage.until_handled(20)
            grown = stage.admin.create_partitions([NewPartitions(TOPIC, 6)])
            await asyncio.to_thread(grown[TOPIC].result, PATIENCE_S)
            stage.produce(*written(*range(100, 200)))  # before the service can know of the new ones
            await stage.until_handled(120)
            (held,) = service.snapshot()["partitions"].values()
            assert held == [0, 1, 2, 3, 4, 5]

    asyncio.run(scene())
    assert stage.numbers() == [*range(20), *range(100, 200)]


@pytest.mark.parametrize("way", ["publish", "send"])
def test_what_is_published_or_sent_once_partitions_were_added_goes_where_the_java_client_sends_it(
    way: str, kafka: Kafka, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What has the partitions counted sees the new ones before the client does that sends."""
    monkeypatch.setattr(counts, "COUNT_EVERY_S", 0.1)
    stage = Stage(kafka, tmp_path, partitions=2)
    events = placed(range(40), keys=40)

    def numbers(partition: int) -> list[int]:
        values = stage.values_of(TOPIC, [partition])
        return [n for value in values if (n := json.loads(value or b"")["n"]) < 100]

    async def scene() -> None:
        app = stage.app()
        await getattr(app, way)(*placed(range(100, 140), keys=40))
        await stage.until(lambda: len(stage.values_of(TOPIC)) == 40)
        grown = stage.admin.create_partitions([NewPartitions(TOPIC, 6)])
        await asyncio.to_thread(grown[TOPIC].result, PATIENCE_S)
        await stage.until(lambda: len(stage.admin.list_topics(timeout=PATIENCE_S).topics[TOPIC].partitions) == 6)
        await asyncio.sleep(0.2)  # longer than a number is taken for true
        await getattr(app, way)(*events)
        await stage.until(lambda: stage.rows("SELECT count(*) FROM onward_outbox") == [(0,)])
        await app.close()

    asyncio.run(scene())
    assert stage.rows("SELECT count(*) FROM onward_refused") == [(0,)]
    for partition in range(6):
        found = numbers(partition)
        assert found == [event.n for event in events if partition_of(event.key.encode(), 6) == partition]


def test_a_topic_that_disagrees_with_what_is_declared_or_asked_for_is_refused_before_anything_is_handled(
    kafka: Kafka, tmp_path: Path
) -> None:
    stage = Stage(kafka, tmp_path, partitions=4)

    async def scene(options: str) -> None:
        async with running(stage.recorder(options)):
            raise AssertionError

    with pytest.raises(SettingError, match=r"replication=3.*servers for"):
        asyncio.run(scene("?replication=3"))
    with pytest.raises(SettingError, match=r"CONFIGURATION\.md"):
        asyncio.run(scene("?no.such.option=1"))
    kafka.create_topic(TOPIC, 2)
    with pytest.raises(RegistrationError, match="has 2 partitions on Kafka and the code declares 4"):
        asyncio.run(scene(""))
    stage.topic = Topic(TOPIC, partitions=2)
    with pytest.raises(RegistrationError, match="has 1 copies of a partition on Kafka and ONWARD_BROKER says"):
        asyncio.run(scene("?replication=2"))
