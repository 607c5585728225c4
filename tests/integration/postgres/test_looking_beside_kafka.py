"""A database whose logs are on a real Kafka: the broker is asked for their ends, and told of what may lose them."""

import asyncio
import json
from typing import Any

import pytest
from click.testing import CliRunner, Result
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from onward import App, Event, Topic, Transaction
from onward.cli import main
from onward.ledger import IntervalSet
from scripts.servers.kafka import Kafka
from scripts.servers.ports import free_ports
from tests.integration.postgres.looking import change, rows
from tests.integration.postgres.stage import SCHEMA

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


class Asked(Event, type="looking.asked", topic="looking.asked", key="n"):
    n: str


class Answered(Event, type="looking.answered", topic="looking.answered", key="n"):
    n: str


def test_a_service_at_work_on_both_is_seen_to_lead_to_hold_and_to_be_even(kafka: Kafka, postgres_url: str) -> None:
    topics = [Topic(name, partitions=2) for name in ("looking.asked", "looking.answered")]
    app = App("answering", broker=kafka.url, store=postgres_url, schema=SCHEMA, topics=topics)

    @app.on(Asked)
    async def answer(asked: Asked, tx: Transaction) -> Answered:
        await tx.execute("INSERT INTO effect VALUES (:n, 'answer')", n=int(asked.n))
        return Answered(n=asked.n)

    @app.on(Answered)
    async def note(answered: Answered, tx: Transaction) -> None:
        await tx.execute("INSERT INTO effect VALUES (:n, 'note')", n=int(answered.n))

    def done() -> bool:
        noted = rows(postgres_url, "SELECT 1 FROM effect WHERE by = 'note'")
        return len(noted) == 30 and rows(postgres_url, "SELECT count(*) FROM onward.outbox") == [(0,)]

    async def scene() -> dict[str, Any]:
        async with app.lifespan() as service, asyncio.timeout(60):
            assert service is not None
            await app.publish(*(Asked(n=str(n)) for n in range(30)))
            while not await asyncio.to_thread(done):
                await asyncio.sleep(0.05)
            shown = await asyncio.to_thread(onward, postgres_url, kafka.url, "status", "--json")
            audited = await asyncio.to_thread(onward, postgres_url, kafka.url, "audit")
            assert audited.exit_code == 0, audited.stdout
            found: dict[str, Any] = json.loads(shown.stdout)
            holders = [holder for each in found["subscriptions"] for holder in each["holders"]]
            assert {(holder["member"], holder["sure"]) for holder in holders} == {(service.member, True)}
            return found

    found = asyncio.run(scene())
    assert [(each["topic"], each["lag"], each["handled"]) for each in found["subscriptions"]] == [
        ("looking.answered", 0, 30),
        ("looking.asked", 0, 30),
    ]
    assert found["outboxes"] == [
        {"service": "answering", "oldest_age_s": None, "led": True, "refused": 0, "barred": []}
    ]
    assert onward(postgres_url, kafka.url, "audit").exit_code == 0
    missing = "UPDATE onward.producer SET owed_from = 1, done = %s WHERE partition = 0"
    change(postgres_url, missing, IntervalSet.of([1, 2, 4]).to_bytes())
    assert "number 3 of incarnation" in onward(postgres_url, kafka.url, "audit").stdout
