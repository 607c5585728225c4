"""Processes of a service join and leave while events flow: all have partitions, and every event takes effect once."""

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from onward.topics import DEFAULT_PARTITIONS
from scripts.servers.kafka import Kafka
from tests.integration.kills.stage import PATIENCE_S, Publisher, Stage, assert_exactly_once

CHUNK = 100
AHEAD = 1000  # events published and not handled yet, at most
MORE = 500  # events that take effect before the next process joins or leaves
GROUP = "direct:payments"


class Load:
    """Events that are published all the time until `stop`; `published` so far."""

    def __init__(self, stage: Stage, publisher: Publisher) -> None:
        self.published = 0
        self._stage, self._publisher = stage, publisher
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._publish)
        self._thread.start()

    def _publish(self) -> None:
        while not self._stopping.is_set():
            if self.published - self._stage.counted().get("confirm", 0) < AHEAD:
                self._publisher.publish(self.published, self.published + CHUNK)
                self.published += CHUNK

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive()


@contextmanager
def load(stage: Stage) -> Iterator[Load]:
    with stage.publishing() as publisher:
        flowing = Load(stage, publisher)
        try:
            yield flowing
        finally:
            flowing.stop()


@pytest.mark.timeout(300)
def test_a_service_scaled_from_one_to_three_processes_and_back_under_load_loses_doubles_and_reorders_nothing(
    kafka: Kafka, postgres_url: str, tmp_path: Path
) -> None:
    stage = Stage(tmp_path, kafka.url, postgres_url)
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap, "log_level": 0})

    def sharing() -> int:
        """How many processes have partitions, once no partition is without one."""
        try:
            members = admin.describe_consumer_groups([GROUP])[GROUP].result(PATIENCE_S).members
        except KafkaException:
            return 0
        held = [len(each.assignment.topic_partitions) for each in members if each.assignment is not None]
        return sum(map(bool, held)) if sum(held) == DEFAULT_PARTITIONS else 0

    def shared_by(count: int) -> None:
        stage.until(lambda: sharing() == count, f"{count} processes share the partitions")
        reached = stage.handled().get("confirm", 0) + MORE
        stage.until(lambda: stage.counted().get("confirm", 0) >= reached, "events flow")

    processes: list[ExitStack] = []
    with ExitStack() as all_processes, load(stage) as flowing:
        for count in (1, 2, 3):
            processes.append(all_processes.enter_context(ExitStack()))
            processes[-1].enter_context(stage.running("direct"))
            shared_by(count)
        for count in (2, 1):
            processes.pop(0).close()  # the oldest, which may lead the outbox
            shared_by(count)
        flowing.stop()
        for handler in ("book", "confirm"):
            assert_exactly_once(stage.wait_for(handler, flowing.published), range(flowing.published))
    for handler in ("book", "confirm"):
        assert len(stage.effects(handler)) == flowing.published
    assert stage.audited() == 0
