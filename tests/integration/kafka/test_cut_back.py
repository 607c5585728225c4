"""A log that an unclean election cut back: what is written there anew is handled, not taken for what was there."""

import asyncio
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin import NewTopic, PartitionMetadata  # type: ignore[attr-defined]  # its stub leaves them out

from scripts.servers.kafka import Kafka, KafkaNode
from tests.integration.kafka.stage import PATIENCE_S, TOPIC, Stage, written


class Replicas:
    """The topic's only partition, kept by two nodes; either may lead, though it lacks what the other has."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._nodes = {node.number: node for node in stage.kafka.nodes}
        topic = NewTopic(
            TOPIC,
            num_partitions=1,
            replica_assignment=[[1, 2]],
            config={"unclean.leader.election.enable": "true", "min.insync.replicas": "1"},
        )
        stage.admin.create_topics([topic])[TOPIC].result(PATIENCE_S)
        for node in stage.kafka.nodes:
            node.wait_for_topic(TOPIC, 1)

    def led_by(self, number: int) -> bool:
        found = self._look()
        return found is not None and found.leader == number

    def lacks(self, number: int) -> bool:
        """Whether the cluster goes on without this node."""
        found = self._look()
        return found is not None and number not in found.isrs

    def _look(self) -> PartitionMetadata | None:
        """None where the node that was asked has just died."""
        try:
            return self._stage.admin.list_topics(TOPIC, timeout=1).topics[TOPIC].partitions[0]
        except KafkaException:
            return None

    async def down(self, number: int) -> KafkaNode:
        """Returns when the cluster goes on without it."""
        node = self._nodes[number]
        node.kill()
        await self._stage.until(lambda: self.lacks(number))
        return node


async def events_that_the_next_leader_lacks(stage: Stage, replicas: Replicas) -> None:
    """0 to 9 on both nodes, 10 to 19 on node 1 alone, all handled; then node 2 leads."""
    stage.produce(*written(*range(10)), acks="all")
    await stage.until_handled(10)
    lacking = await replicas.down(2)
    stage.produce(*written(*range(10, 20)))
    await stage.until_handled(20)
    stage.kafka.nodes[0].kill()
    lacking.start()
    await stage.until(lambda: replicas.led_by(2))


def test_what_is_written_after_a_log_was_cut_back_is_handled(kafka_cluster: Kafka, tmp_path: Path) -> None:
    stage = Stage(kafka_cluster, tmp_path, partitions=1)
    replicas = Replicas(stage)

    async def scene() -> None:
        async with stage.recording():
            await events_that_the_next_leader_lacks(stage, replicas)
        stage.produce(*written(*range(100, 104)))  # fewer than were lost: the log's end alone does not tell where
        async with stage.recording():
            await stage.until_handled(24)

    asyncio.run(scene())
    assert stage.numbers() == [*range(20), *range(100, 104)]
    ((went, anew, why),) = stage.rows("SELECT to_offset, anew, why FROM onward_shift")
    assert (went, anew) == (10, 1)
    assert "cut back to 10" in str(why)


def test_a_running_service_notices_that_the_log_was_cut_back(kafka_cluster: Kafka, tmp_path: Path) -> None:
    stage = Stage(kafka_cluster, tmp_path, partitions=1)
    replicas = Replicas(stage)

    async def scene() -> None:
        async with stage.recording():
            await events_that_the_next_leader_lacks(stage, replicas)
            stage.produce(*written(*range(100, 115)))  # more than were lost: the place lies within the new log
            await stage.until_handled(35)

    asyncio.run(scene())
    assert stage.numbers() == [*range(20), *range(100, 115)]
