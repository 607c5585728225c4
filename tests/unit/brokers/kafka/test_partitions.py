"""Which partition an event goes to: alone as among others."""

import asyncio
from typing import Any

import pytest

from onward.brokers.kafka.partitions import Partitions
from onward.ports import Outgoing

PARTITIONS = 7


class Cluster:
    """Has one topic."""

    def partitions(self, _topic: str) -> int:
        return PARTITIONS

    def ensure(self, _topics: Any) -> None:
        pass


@pytest.fixture
def partitions() -> Partitions:
    cluster: Any = Cluster()
    found = Partitions(cluster)
    asyncio.run(found.look(["orders"]))
    return found


def keyed(key: str | None) -> Outgoing:
    return Outgoing("orders", "shop.paid", 1, b"{}", key)


def test_a_key_goes_to_the_same_partition_alone_as_among_others(partitions: Partitions) -> None:
    events = [keyed(f"order-{number}") for number in range(50)]
    together = partitions.of(events)
    assert len(set(together)) == PARTITIONS
    assert [partitions.of([event]) for event in events] == [[each] for each in together]


def test_events_without_a_key_that_are_sent_alone_take_turns(partitions: Partitions) -> None:
    found = [partitions.of([keyed(None)])[0] for _ in range(PARTITIONS)]
    assert sorted(found) == list(range(PARTITIONS))
