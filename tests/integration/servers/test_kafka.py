"""The Kafka that tests run on: what plain clients see of it, before and after the worst."""

from __future__ import annotations

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer
from confluent_kafka.admin import AdminClient
from kafka import KafkaConsumer, KafkaProducer

from scripts.servers.kafka import Kafka

ANSWER_LIMIT_S = 20.0


def produce(kafka: Kafka, topic: str, *values: str) -> None:
    """Returns when all of them are acknowledged by every replica in sync."""
    failed: list[object] = []
    producer = Producer({"bootstrap.servers": kafka.bootstrap, "enable.idempotence": True, "log_level": 0})
    for value in values:
        producer.produce(topic, value, key=value, on_delivery=lambda error, _: failed.append(error) if error else None)
    assert producer.flush(ANSWER_LIMIT_S) == 0
    assert not failed


def consume(kafka: Kafka, topic: str, count: int) -> set[str]:
    """The first `count` values, as a group that nobody knows reads them."""
    consumer = Consumer(
        {
            "bootstrap.servers": kafka.bootstrap,
            "group.id": f"reads-{topic}",
            "auto.offset.reset": "earliest",
            "log_level": 0,
        }
    )
    consumer.subscribe([topic])
    try:
        values = [message.value() for message in consumer.consume(count, ANSWER_LIMIT_S)]
    finally:
        consumer.close()
    return {value.decode() for value in values if value is not None}


def test_what_one_client_writes_another_reads(kafka: Kafka) -> None:
    kafka.create_topic("written", partitions=4)
    produce(kafka, "written", "by confluent-kafka")
    writer = KafkaProducer(bootstrap_servers=kafka.bootstrap)
    writer.send("written", b"by kafka-python").get(ANSWER_LIMIT_S)
    writer.close()

    assert consume(kafka, "written", 2) == {"by confluent-kafka", "by kafka-python"}
    reader = KafkaConsumer(
        "written",
        bootstrap_servers=kafka.bootstrap,
        auto_offset_reset="earliest",
        consumer_timeout_ms=int(ANSWER_LIMIT_S * 1000),
    )
    assert {next(reader).value, next(reader).value} == {b"by confluent-kafka", b"by kafka-python"}
    reader.close()


def test_a_topic_has_its_partitions_and_none_of_an_earlier_test_is_left(kafka: Kafka) -> None:
    kafka.create_topic("four", partitions=4)
    kafka.create_topic("seven", partitions=7)

    found = AdminClient({"bootstrap.servers": kafka.bootstrap}).list_topics(timeout=ANSWER_LIMIT_S).topics
    ours = {name: len(topic.partitions) for name, topic in found.items() if not name.startswith("__")}
    assert ours == {"four": 4, "seven": 7}


def test_asking_for_a_topic_that_nobody_created_does_not_create_it(kafka: Kafka) -> None:
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap, "allow.auto.create.topics": True, "log_level": 0})

    for _ in range(2):
        error = admin.list_topics("misspelt", timeout=ANSWER_LIMIT_S).topics["misspelt"].error
        assert error is not None
        assert error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART


def test_a_killed_broker_comes_back_on_its_port_with_its_data(kafka: Kafka) -> None:
    kafka.create_topic("kept", partitions=4)
    produce(kafka, "kept", "before")
    (node,) = kafka.nodes
    before = node.process.pid

    kafka.kill()
    assert not node.process.running
    kafka.start()

    assert node.process.pid != before
    produce(kafka, "kept", "after")
    assert consume(kafka, "kept", 2) == {"before", "after"}


def test_a_broker_that_is_down_at_the_end_of_a_test_is_up_for_the_next(kafka: Kafka) -> None:
    kafka.kill()


def test_and_here_is_the_next(kafka: Kafka) -> None:
    assert all(node.process.running for node in kafka.nodes)


def test_a_frozen_broker_is_silent_and_goes_on_when_it_thaws(kafka: Kafka) -> None:
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap, "log_level": 0})
    admin.list_topics(timeout=ANSWER_LIMIT_S)

    with kafka.frozen(), pytest.raises(KafkaException):
        admin.list_topics(timeout=0.3)

    assert admin.list_topics(timeout=ANSWER_LIMIT_S).brokers.keys() == {1}


def test_one_node_of_three_may_die_and_nothing_acknowledged_is_lost(kafka_cluster: Kafka) -> None:
    kafka_cluster.create_topic("replicated", partitions=3)
    produce(kafka_cluster, "replicated", "with three")

    kafka_cluster.nodes[0].kill()
    produce(kafka_cluster, "replicated", "with two")
    assert consume(kafka_cluster, "replicated", 2) == {"with three", "with two"}

    kafka_cluster.nodes[0].start()
    found = AdminClient({"bootstrap.servers": kafka_cluster.bootstrap}).list_topics(timeout=ANSWER_LIMIT_S)
    assert {len(each.replicas) for each in found.topics["replicated"].partitions.values()} == {3}
    assert found.brokers.keys() == {1, 2, 3}
