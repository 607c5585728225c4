"""A backlog with a limit: what would pass it is refused whole. For brokers that keep what nobody has handled."""

from __future__ import annotations

import asyncio

import pytest

from onward.errors import BacklogFullError
from onward.ports import Broker
from onward.testing.contracts.scenes import ONE, event, on_broker
from onward.topics import Retention, Topic

SMALL = Topic("small", partitions=1, retention=Retention(backlog_bytes=100))


class BacklogContract:
    """Supply the fixture `open_broker`."""

    @on_broker
    async def test_a_refused_publish_publishes_nothing(self, broker: Broker) -> None:
        await broker.open([SMALL])
        with pytest.raises(BacklogFullError):
            await broker.publish([event(topic=ONE), event(b"x" * 101, topic=SMALL)], "shop")
        assert await broker.log.bounds(ONE.name) == [(0, 0)]
        assert await broker.log.bounds(SMALL.name) == [(0, 0)]

    @on_broker
    async def test_a_declared_retention_holds_for_a_topic_that_is_there(self, broker: Broker) -> None:
        await broker.open([SMALL])
        await broker.open([Topic(SMALL.name, partitions=1), Topic.by_name(SMALL.name)])
        with pytest.raises(BacklogFullError):
            await broker.publish([event(b"x" * 101, topic=SMALL)], "shop")
        await broker.open([Topic(SMALL.name, partitions=1, retention=Retention())])
        await broker.publish([event(b"x" * 101, topic=SMALL)], "shop")
        await broker.open([SMALL])
        with pytest.raises(BacklogFullError):
            await broker.publish([event(topic=SMALL)], "shop")

    @on_broker
    async def test_a_refused_publish_takes_no_neighbour_with_it(self, broker: Broker) -> None:
        await broker.open([SMALL])
        refused, accepted = await asyncio.gather(
            broker.publish([event(b"x" * 101, topic=SMALL)], "shop"),
            broker.publish([event(topic=ONE)], "shop"),
            return_exceptions=True,
        )
        assert isinstance(refused, BacklogFullError)
        assert accepted is None
        assert await broker.log.bounds(ONE.name) == [(0, 1)]
