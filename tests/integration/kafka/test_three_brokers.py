"""Three brokers, three copies, two in sync: one of them may die in the middle of everything."""

import asyncio
from itertools import count
from pathlib import Path

import pytest
from confluent_kafka.admin import NewTopic  # type: ignore[attr-defined]  # its stub leaves it out

from onward.errors import PublishUncertainError
from scripts.servers.kafka import Kafka
from tests.integration.kafka.stage import PATIENCE_S, TOPIC, Placed, Stage, assert_exactly_once, placed
from tests.integration.services import running

BATCH = 50
AHEAD = 1000  # events that have left the hands of the test and are not handled yet, at most
BATCHES = 40  # before the kill, and behind it


@pytest.mark.parametrize("way", ["send", "publish"])
def test_a_leader_killed_while_events_are_sent_and_handled_loses_nothing_and_doubles_nothing(
    kafka_cluster: Kafka, tmp_path: Path, way: str
) -> None:
    stage = Stage(kafka_cluster, tmp_path)

    def kill_a_leader() -> None:
        leader = stage.admin.list_topics(TOPIC, timeout=PATIENCE_S).topics[TOPIC].partitions[0].leader
        next(node for node in kafka_cluster.nodes if node.number == leader).kill()

    def handled() -> int:
        return sum(int(str(n)) for (n,) in stage.rows("SELECT count(*) FROM effect"))

    async def scene() -> int:
        sender, service = stage.app(), stage.recorder()
        leave = sender.send if way == "send" else service.publish
        batches = count()

        async def leave_batch() -> int:
            first = next(batches) * BATCH
            await stage.until(lambda: handled() >= first - AHEAD)
            await leave(*placed(range(first, first + BATCH), keys=40))
            return first + BATCH

        async with running(service):
            for _ in range(BATCHES):
                await leave_batch()
            await stage.until(lambda: handled() > 0)
            kill = asyncio.create_task(asyncio.to_thread(kill_a_leader))
            while not kill.done():  # so that it is in the middle of some
                await leave_batch()
            await kill
            for _ in range(BATCHES):
                last = await leave_batch()
            await stage.until(lambda: handled() >= last)
        await sender.close()
        return last

    last = asyncio.run(scene())
    assert_exactly_once(stage.effects(), range(last))
    assert len(stage.effects()) == last


def test_nothing_is_acknowledged_that_too_few_replicas_have(kafka_cluster: Kafka, tmp_path: Path) -> None:
    stage = Stage(kafka_cluster, tmp_path, partitions=1)
    topic = NewTopic(TOPIC, num_partitions=1, replica_assignment=[[1, 2, 3]], config={"min.insync.replicas": "3"})
    stage.admin.create_topics([topic])[TOPIC].result(PATIENCE_S)
    for node in kafka_cluster.nodes:
        node.wait_for_topic(TOPIC, 1)

    def in_sync() -> int:
        return len(stage.admin.list_topics(TOPIC, timeout=PATIENCE_S).topics[TOPIC].partitions[0].isrs)

    async def scene() -> None:
        app = stage.app("?delivery.timeout.ms=3000")
        await app.send(Placed(key="a", n=0))
        follower = kafka_cluster.nodes[2]
        follower.kill()
        await stage.until(lambda: in_sync() == 2)
        with pytest.raises(PublishUncertainError, match="0 are there"):
            await app.send(Placed(key="a", n=1))
        follower.start()
        await stage.until(lambda: in_sync() == 3)
        await app.send(Placed(key="a", n=2))
        await app.close()

    asyncio.run(scene())
    # A leader that does not know yet that the follower is gone may have taken the refused one: nobody was told that.
    values = stage.values_of(TOPIC)
    assert values[0] == b'{"key":"a","n":0}'
    assert values[-1] == b'{"key":"a","n":2}'
    assert values[1:-1] in ([], [b'{"key":"a","n":1}'])
