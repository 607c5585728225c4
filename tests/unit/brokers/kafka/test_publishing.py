"""Sending through a client whose room and answers are in the test's hand."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from threading import Condition
from typing import Any

import pytest
from confluent_kafka import KafkaError
from hypothesis import given
from hypothesis import strategies as st

from onward.brokers.kafka import publishing
from onward.brokers.kafka.address import parse
from onward.brokers.kafka.client import Client
from onward.brokers.kafka.publishing import Prepared, Sender, _Batch
from onward.errors import BrokerError, PublishUncertainError
from onward.ports import Outgoing

ROOM = 3
PATIENCE_S = 30.0


class Told:
    """What the client calls back with."""

    def __init__(self, offset: int | None) -> None:
        self.offset = lambda: offset


class Crowded:
    """A producer that takes ROOM messages at once, and confirms them when it is polled."""

    sent: list[bytes]
    offset: int | None = 7

    def __init__(self, _options: dict[str, Any], **_logger: object) -> None:
        self.sent = []
        self._waiting: list[Callable[[None, Told], None] | None] = []
        self._changed = Condition()

    def __len__(self) -> int:
        return len(self._waiting)

    def produce(self, _topic: str, value: bytes, *_place: object, on_delivery: Any, **_more: object) -> None:
        with self._changed:
            if len(self._waiting) >= ROOM:
                raise BufferError
            self.sent.append(value)
            self._waiting.append(on_delivery)
            self._changed.notify()

    def purge(self, **_what: object) -> None:
        pass

    def poll(self, timeout_s: float) -> int:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting, timeout_s)
            told, self._waiting = self._waiting, []
        for each in told:
            if each is not None:
                each(None, Told(self.offset))
        return len(told)


class Mute(Crowded):
    """It never says what became of anything."""

    def poll(self, timeout_s: float) -> int:
        time.sleep(timeout_s / 100)
        return 0

    def purge(self, **_what: object) -> None:
        self._waiting = []


@pytest.fixture
def crowded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publishing, "Producer", Crowded)


@pytest.mark.parametrize("gathers", [False, True])
@pytest.mark.usefixtures("crowded")
def test_sends_of_more_than_the_client_takes_at_once_all_end_each_in_its_order(gathers: bool) -> None:
    counts = [50, 1, 50, ROOM, *[1] * 500] * 2

    async def scene() -> list[bytes]:
        sender = Sender(Client(parse("kafka://127.0.0.1:1"), "till"), gathers=gathers)
        producer: Any = sender._producer
        sends: list[asyncio.Task[None]] = []
        async with asyncio.timeout(PATIENCE_S):
            for call, count in enumerate(counts):
                sends.append(asyncio.create_task(sender.send(*_messages(call, count))))
                await asyncio.sleep(0)  # one comes in each turn of the loop, also where another has just ended
            await asyncio.gather(*sends)
            await sender.close()
        sent: list[bytes] = producer.sent
        return sent

    sent = asyncio.run(scene())
    assert sent == [b"%d %d" % (call, number) for call, count in enumerate(counts) for number in range(count)]


@pytest.mark.parametrize("gathers", [False, True])
@pytest.mark.usefixtures("crowded")
def test_a_send_of_nobody_s_is_heard_of_until_it_is_over_and_then_its_sender_ends(gathers: bool) -> None:
    async def scene() -> None:
        sender = Sender(Client(parse("kafka://127.0.0.1:1"), "till"), gathers=gathers)
        sending = asyncio.create_task(sender.send(*_messages(1, ROOM)))
        await asyncio.sleep(0)
        sending.cancel()
        sender.abandon()
        async with asyncio.timeout(PATIENCE_S):
            while not sender.idle:
                await asyncio.sleep(0.01)
            await sender.close()
        assert {each.name for each in threading.enumerate()}.isdisjoint({"onward-kafka-producer"})
        assert [each for each in asyncio.all_tasks() if each is not asyncio.current_task()] == []

    asyncio.run(scene())


@pytest.mark.parametrize("gathers", [False, True])
@pytest.mark.parametrize("how", ["close", "abandon"])
def test_a_client_that_is_over_is_let_go_at_once_and_not_by_the_event_loop(
    gathers: bool, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It waits for its threads, of which one may be asking for the name of a server."""
    let_go: list[str] = []

    class Watched(Crowded):
        def __del__(self) -> None:
            let_go.append(threading.current_thread().name)

    monkeypatch.setattr(publishing, "Producer", Watched)

    async def scene() -> None:
        sender = Sender(Client(parse("kafka://127.0.0.1:1"), "till"), gathers=gathers)
        await sender.send(*_messages(1, ROOM))
        if how == "close":
            await sender.close()
            assert len(let_go) == 1
        sender.abandon()
        async with asyncio.timeout(PATIENCE_S):
            while not let_go:
                await asyncio.sleep(0.01)
        assert sender.idle

    gc.disable()
    try:
        asyncio.run(scene())
    finally:
        gc.enable()
    assert let_go == ["onward-kafka-ending" if gathers else "onward-kafka-producer"]


@pytest.mark.parametrize("gathers", [False, True])
def test_whatever_is_raised_while_answers_are_heard_of_they_are_heard_of_again(
    gathers: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Raising(Crowded):
        raised = 0

        def poll(self, timeout_s: float) -> int:
            if self.raised < 3:
                self.raised += 1
                raise ValueError("a handler of the log")
            return super().poll(timeout_s)

    monkeypatch.setattr(publishing, "Producer", Raising)

    async def scene() -> None:
        sender = Sender(Client(parse("kafka://127.0.0.1:1"), "till"), gathers=gathers)
        async with asyncio.timeout(PATIENCE_S):
            await sender.send(*_messages(1, ROOM))
            await sender.close()

    asyncio.run(scene())
    assert [each.levelname for each in caplog.records if each.exc_info] == ["ERROR"] * 3


@pytest.mark.parametrize("gathers", [False, True])
def test_what_never_had_its_turn_is_not_in_doubt(gathers: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publishing, "Producer", Mute)
    monkeypatch.setattr(publishing, "ENDING_S", 0.1)

    async def scene() -> None:
        sender = Sender(Client(parse("kafka://127.0.0.1:1?delivery.timeout.ms=300"), "till"), gathers=gathers)
        producer: Any = sender._producer
        sends = [sender.send(*_messages(call, count)) for call, count in enumerate((ROOM + 1, 1, 2))]
        first, *behind = await asyncio.gather(*sends, return_exceptions=True)
        assert isinstance(first, PublishUncertainError)
        assert sender.abandoned
        assert list(map(type, behind)) == [BrokerError] * 2
        assert all("sent. Send it again." in str(each) for each in behind)
        assert producer.sent == [b"0 0", b"0 1", b"0 2"]
        await sender.close()

    asyncio.run(scene())


@pytest.mark.parametrize("count", [1, 2])
def test_whoever_finds_no_room_in_time_gives_up_what_takes_it(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be there for good: what its sender no more waits for does not expire."""
    monkeypatch.setattr(publishing, "Producer", Mute)

    async def scene() -> None:
        sender = Sender(Client(parse("kafka://127.0.0.1:1?delivery.timeout.ms=300"), "till"))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(sender.send(*_messages(0, ROOM)), 0.1)
        with pytest.raises(PublishUncertainError) as found:
            await sender.send(*_messages(1, count))
        assert found.value.fields["lanes"] == [("orders", 0)]
        assert sender.abandoned
        await sender.close()

    asyncio.run(scene())


@pytest.mark.usefixtures("crowded")
def test_a_send_that_was_confirmed_while_the_loop_had_no_turn_has_not_failed() -> None:
    async def scene() -> None:
        sender = Sender(Client(parse("kafka://127.0.0.1:1?delivery.timeout.ms=100"), "till"))
        sending = asyncio.create_task(sender.send(*_messages(1, ROOM)))
        await asyncio.sleep(0)
        time.sleep(0.3)  # noqa: ASYNC251 - nothing else has a turn
        await sending
        assert not sender.abandoned
        await sender.close()

    asyncio.run(scene())


@pytest.mark.usefixtures("crowded")
def test_what_is_confirmed_without_a_place_may_be_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Crowded, "offset", None)

    async def scene() -> None:
        sender = Sender(Client(parse("kafka://127.0.0.1:1"), "till"))
        with pytest.raises(PublishUncertainError, match="duplicate sequence number"):
            await sender.send(*_messages(1, ROOM))
        assert sender.abandoned
        await sender.close()

    asyncio.run(scene())


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 2)), min_size=1, max_size=40), st.data())
def test_what_kafka_says_of_the_ends_of_each_lane_tells_whether_all_some_or_none_are_there(
    lanes: list[tuple[str, int]], data: st.DataObject
) -> None:
    """In a lane nothing is there behind what is missing."""
    there = {lane: data.draw(st.integers(0, lanes.count(lane)), label=str(lane)) for lane in set(lanes)}
    loop = asyncio.new_event_loop()
    batch = _Batch(loop.create_future(), deque())
    loop.close()
    answers = batch.answers(lanes)
    batch.asked = len(answers) - answers.count(None)
    batch.handed_over = True
    assert batch.asked <= 2 * len(there)
    gap = KafkaError(KafkaError.INVALID_RECORD)
    came: Counter[tuple[str, int]] = Counter()
    for lane, answer in zip(lanes, answers, strict=True):
        came[lane] += 1
        assert not batch.over
        if answer is not None:
            answer(None if came[lane] <= there[lane] else gap, Told(7))  # type: ignore[arg-type]
    assert batch.over
    assert (batch.published == len(lanes)) is (batch.error is None) is (sum(there.values()) == len(lanes))
    assert (batch.published > 0) is any(there.values())
    assert batch.published <= sum(there.values())


def _messages(call: int, count: int) -> tuple[list[Prepared], list[int], list[Outgoing]]:
    values = [b"%d %d" % (call, number) for number in range(count)]
    events = [Outgoing("orders", "shop.paid", 1, value, None) for value in values]
    return [("orders", value, None, 0, 1, []) for value in values], [0] * count, events
