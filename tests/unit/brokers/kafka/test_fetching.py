"""What a fetcher asks beside the events: whether the topic is still the same, and leaders that would fall silent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, Message, TopicPartition

from onward.brokers.kafka import fetching, lanes
from onward.brokers.kafka.address import parse
from onward.brokers.kafka.client import Client
from onward.brokers.kafka.fetching import LIVELY_S, POLL_S, SURE_S, Fetcher, Request
from onward.brokers.kafka.places import TopicState
from onward.errors import BrokerError
from onward.ports import Group, Place

TOPIC = "orders"
AN_IDLE_WHILE = int(SURE_S / POLL_S) + 2  # polls, after which what was known is too old


class Scene:
    """A fetcher of one partition, stepped by the test; time passes while nothing comes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        self.coming: list[Message] = []
        self.asked = 0
        self.topic: str | None = "first"  # its identity; None gives no answer
        self.leaders_asked: list[list[int]] = []  # of which partitions, each time
        self.silent = False
        monkeypatch.setattr(fetching, "Consumer", lambda *_args, **_more: self)
        monkeypatch.setattr(fetching, "monotonic", lambda: self.now)
        monkeypatch.setattr(lanes, "monotonic", lambda: self.now)
        cluster: Any = self
        group = Group("till", TOPIC, "me", _assigned, _nothing, _nothing, dict, "")
        client = Client(parse("kafka://127.0.0.1:1"), "till")
        self.fetcher = Fetcher(client, cluster, group, tell=lambda: None, ask=_answered)
        self.fetcher.state = TopicState(TOPIC, "cluster", "first", {0: (0, 0)}, {0: 0})
        self.fetcher.lanes.assign({0: 0})

    def poll(self, timeout_s: float) -> Message | None:
        if self.coming:
            return self.coming.pop()
        self.now += timeout_s
        return None

    def consume(self, _limit: int, _timeout_s: float) -> list[Message]:
        return []

    def get_watermark_offsets(self, *_place: object, **_more: object) -> None:
        return None

    def incremental_unassign(self, _places: list[TopicPartition]) -> None:
        pass

    def offsets_for_times(self, places: list[TopicPartition], **_more: object) -> None:
        self.leaders_asked.append([place.partition for place in places])
        if self.silent:
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT))

    def committed(self, _places: list[TopicPartition], **_more: object) -> list[TopicPartition]:
        return []

    def incremental_assign(self, _places: list[TopicPartition]) -> None:
        pass

    def state(self, topic: str, partitions: list[int]) -> TopicState:
        return TopicState(topic, "cluster", self.topic or "", dict.fromkeys(partitions, (0, 0)), {})

    def identity(self, _topic: str) -> str:
        self.asked += 1
        if self.topic is None:
            raise BrokerError("no answer")
        return self.topic

    def event(self, offset: int) -> None:
        self.coming.append(Message(topic=TOPIC, partition=0, offset=offset, value=b"{}"))
        self.fetcher._step()

    def idle(self, polls: int) -> None:
        for _ in range(polls):
            self.fetcher._step()


def _answered(request: Request) -> None:
    request.done.set_result({})


async def _assigned(partitions: Sequence[int]) -> Mapping[int, Place]:
    return {}


async def _nothing(*_of_it: object) -> None:
    pass


def test_the_event_after_a_short_silence_waits_for_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(monkeypatch)
    scene.event(0)
    assert scene.asked == 1
    for offset in range(1, 5):
        scene.idle(AN_IDLE_WHILE)
        before = scene.asked
        scene.event(offset)
        assert scene.asked == before
    assert scene.asked > 1


def test_nothing_is_asked_while_nobody_expects_an_event(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(monkeypatch)
    scene.idle(100)
    assert scene.asked == 0
    scene.event(0)
    scene.idle(int(LIVELY_S / POLL_S) + 1)
    before = scene.asked
    scene.idle(100)
    assert scene.asked == before
    scene.event(1)
    assert scene.asked == before + 1


def test_another_topic_of_that_name_is_noticed_before_its_events_come(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(monkeypatch)
    scene.event(0)
    scene.topic = "second"
    with pytest.raises(BrokerError, match="was deleted and made again"):
        scene.idle(AN_IDLE_WHILE)


@pytest.mark.parametrize("stays", [False, True])
def test_another_topic_of_that_name_is_noticed_when_it_brings_partitions(
    monkeypatch: pytest.MonkeyPatch, stays: bool
) -> None:
    """Those that stay would be read on where the old ones ended. Where none does, the claims tell it apart."""
    scene = Scene(monkeypatch)
    consumer: Any = scene
    scene.event(0)
    scene.topic = "second"
    if not stays:
        scene.fetcher._lost(consumer, [TopicPartition(TOPIC, 0)])
    scene.fetcher._assigned(consumer, [TopicPartition(TOPIC, 1)])
    failure = scene.fetcher.failure
    assert ("was deleted and made again" in str(failure)) is stays
    assert (failure is None) is not stays


def test_a_silence_without_an_answer_is_borne_and_the_next_event_asks_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(monkeypatch)
    scene.event(0)
    scene.topic = None
    scene.idle(AN_IDLE_WHILE)
    before = scene.asked
    assert before > 1
    scene.topic = "first"
    scene.event(1)
    assert scene.asked == before + 1


@pytest.mark.parametrize("silent", [False, True])
def test_leaders_of_what_stays_are_asked_once_when_partitions_went(
    monkeypatch: pytest.MonkeyPatch, silent: bool
) -> None:
    scene = Scene(monkeypatch)
    scene.silent = silent
    scene.fetcher.lanes.assign({1: 0, 2: 0})
    scene.idle(1)
    assert scene.leaders_asked == []
    consumer: Any = scene
    scene.fetcher._lost(consumer, [TopicPartition(TOPIC, 1)])
    scene.idle(3)
    assert scene.leaders_asked == [[0, 2]]
    scene.fetcher._lost(consumer, [TopicPartition(TOPIC, 0), TopicPartition(TOPIC, 2)])
    scene.idle(3)
    assert scene.leaders_asked == [[0, 2]]
