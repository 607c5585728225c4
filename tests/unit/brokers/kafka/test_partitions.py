"""Which partition an event goes to: alone as among others."""

import asyncio
from typing import Any

import pytest

from onward.brokers.kafka.partitions import Partitions

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


def test_a_key_goes_to_the_same_partition_alone_as_among_others(partitions: Partitions) -> None:
    keys = [f"order-{number}".encode() for number in range(50)]
    together = partitions.of(["orders"] * 50, keys)
    assert len(set(together)) == PARTITIONS
    assert [partitions.of(["orders"], [key]) for key in keys] == [[each] for each in together]


def test_events_without_a_key_that_are_sent_alone_take_turns(partitions: Partitions) -> None:
    found = [partitions.of(["orders"], [None])[0] for _ in range(PARTITIONS)]
    assert sorted(found) == list(range(PARTITIONS))
