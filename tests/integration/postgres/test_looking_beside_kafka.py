"""A database whose logs are on a real Kafka: the broker is asked for their ends, and told of what may lose them."""

import json

import pytest
from click.testing import CliRunner, Result
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from onward.cli import main
from scripts.servers.kafka import Kafka
from scripts.servers.ports import free_ports
from tests.integration.postgres.looking import rows

TOPIC = "looking.orders"


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onward.cli.status.SAMPLE_S", 0.001)


@pytest.fixture
def beside(handled: str, kafka: Kafka) -> tuple[str, Kafka, list[int]]:
    """The store, the broker, and the position in each of the two partitions."""
    kafka.create_topic(TOPIC, 2)
    found = rows(handled, "SELECT next_offset FROM onward.account ORDER BY partition")
    return handled, kafka, [int(str(position)) for (position,) in found]


def produce(kafka: Kafka, counts: list[int]) -> None:
    producer = Producer({"bootstrap.servers": kafka.bootstrap})
    for partition, count in enumerate(counts):
        for _ in range(count):
            producer.produce(TOPIC, b"{}", partition=partition)
    assert producer.flush(20) == 0


def onward(store: str, broker: str, *arguments: str) -> Result:
    return CliRunner().invoke(main, [*arguments, "--store", store, "--broker", broker], catch_exceptions=False)


def test_what_waits_on_the_broker_is_lag_and_in_flight(beside: tuple[str, Kafka, list[int]]) -> None:
    store, kafka, (first, second) = beside
    produce(kafka, [first + 3, second + 2])
    (shown,) = json.loads(onward(store, kafka.url, "status", "--json").stdout)["subscriptions"]
    assert shown["lag"] == 5
    assert [holder["lag"] for holder in shown["holders"]] == [3, 2]
    audited = onward(store, kafka.url, "audit", "--json")
    assert audited.exit_code == 0
    report = json.loads(audited.stdout)["report"]
    assert [each["in_flight"] for each in report["tallies"]] == [3, 2]
    assert (report["unknown"], report["events"]) == ("", 11)
    examined = onward(store, kafka.url, "doctor")
    assert examined.exit_code == 1
    assert "BAD subscription: nobody runs payment/transactional on looking.orders, and 5 events wait" in examined.stdout
    assert "warn replication: looking.orders: a partition has one copy" in examined.stdout


def test_a_warning_is_no_failure(beside: tuple[str, Kafka, list[int]]) -> None:
    store, kafka, positions = beside
    produce(kafka, positions)
    CliRunner().invoke(main, ["dead-letters", "discard", "1", "--store", store])
    result = onward(store, kafka.url, "doctor")
    assert result.exit_code == 0
    assert "warn replication" in result.stdout


def test_events_that_left_the_log_before_they_were_handled_are_named(beside: tuple[str, Kafka, list[int]]) -> None:
    store, kafka, (first, second) = beside
    produce(kafka, [first + 3, second])
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
    for cut in admin.delete_records([TopicPartition(TOPIC, 0, first + 2)]).values():
        cut.result(20)
    result = onward(store, kafka.url, "audit", "--json")
    assert result.exit_code == 3
    report = json.loads(result.stdout)["report"]
    assert [problem["sentence"] for problem in report["problems"]] == [
        f"Lost event: {TOPIC}, partition 0, offset {offset}: it left the log before Subscription payment/transactional"
        f" on {TOPIC}, partition 0 handled it."
        for offset in (first, first + 1)
    ]
    assert [(each["lost"], each["in_flight"]) for each in report["tallies"]] == [(2, 1), (0, 0)]


def test_a_position_beyond_the_log_is_damage(beside: tuple[str, Kafka, list[int]]) -> None:
    store, kafka, (first, second) = beside
    produce(kafka, [first - 1, second])
    result = onward(store, kafka.url, "audit")
    assert result.exit_code == 3
    assert f"it is at offset {first}, and the log of this partition ends at {first - 1}" in result.stdout


def test_a_topic_that_is_not_there_is_told(handled: str, kafka: Kafka) -> None:
    assert f"The broker has no topic {TOPIC}" in onward(handled, kafka.url, "audit").stdout
    examined = onward(handled, kafka.url, "doctor")
    assert examined.exit_code == 1
    assert f"BAD topics: {TOPIC}: not on this broker" in examined.stdout


def test_without_an_answer_status_goes_on_and_the_audit_does_not(handled: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onward.brokers.kafka.cluster.ANSWER_S", 0.3)
    (port,) = free_ports(1)
    broker = f"kafka://127.0.0.1:{port}"
    status = onward(handled, broker, "status")
    assert status.exit_code == 0
    assert "The ends of logs are not known: " in status.stdout
    audit = onward(handled, broker, "audit")
    assert audit.exit_code == 1
    assert audit.stderr.startswith("onward: ")
    examined = onward(handled, broker, "doctor")
    assert examined.exit_code == 1
    assert "BAD broker: " in examined.stdout
