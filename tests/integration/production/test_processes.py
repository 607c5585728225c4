"""Processes that are killed, stopped or frozen, on Kafka and PostgreSQL: what they had done holds and goes on."""

import os
import signal
import subprocess
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from time import monotonic

import psycopg
import pytest
from confluent_kafka import Consumer, KafkaException, TopicPartition

from onward.errors import StoreError
from onward.runtime.views import view_of
from onward.topics import DEFAULT_PARTITIONS
from scripts.servers.kafka import Kafka
from tests.integration.kills.alone import alone
from tests.integration.kills.stage import PATIENCE_S, Stage, assert_exactly_once

EVENTS = 60
MORE_THAN_ARE_IN_HAND = 2000
TAKEOVER_S = 30.0
SERVE = """
import asyncio, signal, sys
from tests.integration.kills.bank import direct
async def main():
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with direct.lifespan(consume=sys.argv[1] == "consume"):
        await stop.wait()
asyncio.run(main())
"""


@pytest.fixture
def stage(kafka: Kafka, postgres_url: str, tmp_path: Path) -> Stage:
    return Stage(tmp_path, kafka.url, postgres_url)


def serving(stage: Stage, mode: str, failpoint: str = "") -> AbstractContextManager[subprocess.Popen[bytes]]:
    """The bank in a process of its own: it handles and relays, or relays alone."""
    return alone(stage, SERVE, mode, stage.environment(failpoint))


def rows(stage: Stage, sql: str) -> list[tuple[int, ...]]:
    with psycopg.connect(stage.store) as connection:
        return connection.execute(sql.encode()).fetchall()


def epoch(stage: Stage) -> int:
    """How many terms of relays there were."""
    with suppress(psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName):
        return sum(each for (each,) in rows(stage, "SELECT epoch FROM onward.relay"))
    return 0


def on_kafka(kafka: Kafka, topic: str) -> int:
    """Events of a topic that nothing was deleted from; -1 while it has just been made and nobody leads it."""
    consumer = Consumer({"bootstrap.servers": kafka.bootstrap, "group.id": "on-kafka", "log_level": 0})
    try:
        return sum(consumer.get_watermark_offsets(TopicPartition(topic, each))[1] for each in range(DEFAULT_PARTITIONS))
    except KafkaException:
        return -1
    finally:
        consumer.close()


def test_a_killed_process_is_not_shown_as_holding_partitions_once_kafka_misses_it(stage: Stage, kafka: Kafka) -> None:
    view = view_of(stage.store, kafka.url)

    def holders() -> set[tuple[bool, bool]]:
        """Whether there is one, and whether that is sure, of every partition."""
        with suppress(StoreError):  # no service has begun here yet
            found = view.status().subscriptions
            return {(holder.member is not None, holder.sure) for each in found for holder in each.holders}
        return set()

    with serving(stage, "consume") as process:
        stage.until(lambda: holders() == {(True, True)}, "it holds every partition")
        assert stage.publish(0, EVENTS) == 0
        stage.wait_for("confirm", EVENTS)
        process.kill()
        process.wait()
    assert rows(stage, "SELECT count(*) FROM onward.account WHERE owner IS NULL") == [(0,)], "it gave nothing back"
    stage.until(lambda: holders() == {(False, True)}, "nobody holds any")
    assert stage.publish(EVENTS, EVENTS + 1) == 0
    idle = "nobody runs direct/"
    stage.until(lambda: any(each.sentence.startswith(idle) for each in view.examine()), "doctor says so")


def test_a1_what_a_handler_published_before_a_crash_leaves_whatever_becomes_of_the_input(
    stage: Stage, kafka: Kafka
) -> None:
    assert stage.publish(0, EVENTS) == 0
    with serving(stage, "consume", "batch.committed") as process:
        assert process.wait(PATIENCE_S) == -signal.SIGKILL
    handled = stage.handled()["book"]
    assert handled > 0
    assert rows(stage, "SELECT count(*) FROM onward.outbox") != [(0,)]
    assert on_kafka(kafka, "bookings") == 0
    kafka.delete_topics()  # the input is gone: nothing is delivered again
    for topic in ("payments", "bookings"):
        kafka.create_topic(topic, DEFAULT_PARTITIONS)
    with serving(stage, "relay"):
        stage.until(lambda: on_kafka(kafka, "bookings") >= handled, "what was published is on Kafka")
    assert stage.handled() == {"book": handled}
    assert on_kafka(kafka, "bookings") == handled


def test_a2_the_outbox_of_a_killed_process_is_relayed_by_another_one_within_30_s(stage: Stage) -> None:
    with serving(stage, "relay", "relay.numbered") as leader:
        stage.until(lambda: epoch(stage) > 0, "it leads")
        with serving(stage, "relay"):
            assert stage.publish(0, EVENTS) == 0
            assert leader.wait(PATIENCE_S) == -signal.SIGKILL
            died = monotonic()
            stage.until(lambda: rows(stage, "SELECT count(*) FROM onward.outbox") == [(0,)], "all has left")
            assert monotonic() - died < TAKEOVER_S
    assert epoch(stage) > 1
    with stage.running("direct"):  # what the dead one had numbered and not sent is there too, once and in order
        assert_exactly_once(stage.wait_for("book", EVENTS), range(EVENTS))
        stage.wait_for("confirm", EVENTS)
    assert len(stage.effects("book")) == EVENTS
    assert stage.audited() == 0


def test_p2_sigterm_with_work_in_flight_and_more_in_hand_loses_and_doubles_nothing(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, started = stage.folder / "gate", stage.folder / "started"
    monkeypatch.setenv("BANK_GATE", str(gate))
    monkeypatch.setenv("BANK_STARTED", str(started))
    assert stage.publish(0, MORE_THAN_ARE_IN_HAND) == 0
    with stage.running("slow") as process:
        stage.until(lambda: list(stage.folder.glob("started.*")), "handlers are at work")
        process.send_signal(signal.SIGTERM)
        stage.until(lambda: "drain" in stage.log(), "it drains")
        gate.touch()
        assert process.wait(PATIENCE_S) == 0
        finished = len(stage.effects("settle"))
        assert 0 < finished < MORE_THAN_ARE_IN_HAND
    with stage.running("slow"):
        assert_exactly_once(stage.wait_for("settle", MORE_THAN_ARE_IN_HAND), range(MORE_THAN_ARE_IN_HAND))
    assert len(stage.effects("settle")) == MORE_THAN_ARE_IN_HAND


def test_p9_two_relays_one_frozen_past_its_lease_and_thawed_keep_order_per_key_and_double_nothing(
    stage: Stage,
) -> None:
    with serving(stage, "relay") as frozen:
        stage.until(lambda: epoch(stage) > 0, "it leads")
        first = epoch(stage)
        with stage.running("direct"), stage.publishing() as publisher:
            publisher.publish(0, EVENTS)
            os.kill(frozen.pid, signal.SIGSTOP)
            publisher.publish(EVENTS, 2 * EVENTS)
            stage.until(lambda: epoch(stage) > first, "another one leads")
            stage.wait_for("confirm", 2 * EVENTS)
            os.kill(frozen.pid, signal.SIGCONT)
            publisher.publish(2 * EVENTS, 3 * EVENTS)
            for handler in ("book", "confirm"):
                assert_exactly_once(stage.wait_for(handler, 3 * EVENTS), range(3 * EVENTS))
    for handler in ("book", "confirm"):
        assert len(stage.effects(handler)) == 3 * EVENTS
