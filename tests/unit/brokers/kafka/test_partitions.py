"""Which partition an event goes to: alone as among others."""

import asyncio
import time
from typing import Any

import pytest

from onward.brokers.kafka.partitions import COUNT_EVERY_S, Partitions
from onward.errors import BrokerUnreachableError, OnwardError

PARTITIONS = 7


class Cluster:
    """Has one topic. Its answers take their time, the first one the most, and fail where they are to."""

    def __init__(self, failure: OnwardError | None = None) -> None:
        self.failure = failure
        self.asked = 0

    def partitions(self, _topic: str) -> int:
        self.asked += 1
        time.sleep(0.2 / self.asked)
        if self.failure is not None:
            raise self.failure
        return PARTITIONS

    def message_bytes(self, _topic: str) -> int:
        return 1 << 20

    def ensure(self, _topics: Any) -> None:
        pass


@pytest.fixture
def partitions() -> Partitions:
    cluster: Any = Cluster()
    found = Partitions(cluster)
    asyncio.run(found.prepare(["orders"]))
    return found


def test_a_key_goes_to_the_same_partition_alone_as_among_others(partitions: Partitions) -> None:
    keys = [f"order-{number}".encode() for number in range(50)]
    together = partitions.of(["orders"] * 50, keys)
    assert len(set(together)) == PARTITIONS
    assert [partitions.of(["orders"], [key]) for key in keys] == [[each] for each in together]


def test_events_without_a_key_that_are_sent_alone_take_turns(partitions: Partitions) -> None:
    found = [partitions.of(["orders"], [None])[0] for _ in range(PARTITIONS)]
    assert sorted(found) == list(range(PARTITIONS))


def test_a_topic_is_known_once_it_was_asked_about_until_it_is_doubted(partitions: Partitions) -> None:
    assert partitions.known(["orders"])
    assert not partitions.known(["orders", "stock"])
    partitions.doubt(["orders"])
    assert not partitions.known(["orders"])
    asyncio.run(partitions.prepare(["orders"]))
    assert partitions.known(["orders"])


def test_who_comes_first_goes_on_first_whatever_has_to_be_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster: Any = Cluster()
    partitions = Partitions(cluster)
    went_on: list[int] = []
    passed: list[float] = []
    monkeypatch.setattr("onward.brokers.kafka.partitions.monotonic", lambda: time.monotonic() + sum(passed))

    async def send(number: int) -> None:
        await partitions.prepare(["orders"])
        went_on.append(number)

    async def scene() -> None:
        for _ in range(3):
            sends: list[asyncio.Task[None]] = []
            while len(sends) < 10 or not sends[0].done():
                sends.append(asyncio.create_task(send(len(sends))))
                await asyncio.sleep(0)  # one comes in each turn of the loop, also where another just goes on
            await asyncio.gather(*sends)
            assert went_on == list(range(len(sends)))
            went_on.clear()
            passed.append(COUNT_EVERY_S + 1)

    asyncio.run(scene())
    assert cluster.asked == 3


def test_what_one_hears_is_told_to_all_who_wait_and_whoever_comes_later_asks_again() -> None:
    cluster: Any = Cluster(BrokerUnreachableError("No server answers."))
    partitions = Partitions(cluster)

    async def scene() -> None:
        for asked in (1, 2):
            sends = [partitions.prepare(["orders"]) for _ in range(20)]
            failed = await asyncio.gather(*sends, return_exceptions=True)
            assert {type(each) for each in failed} == {BrokerUnreachableError}
            assert cluster.asked == asked
        cluster.failure = None
        await asyncio.gather(*(partitions.prepare(["orders"]) for _ in range(20)))
        assert cluster.asked == 3

    asyncio.run(scene())
