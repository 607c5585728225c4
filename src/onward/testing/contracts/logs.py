"""Reading a log by place: what was published is there, with its identity."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from time import time_ns

import pytest

from onward.errors import RegistrationError
from onward.ports import Broker, Outgoing, WireType
from onward.testing.contracts.scenes import ONE, ORDERS, event, on_broker
from onward.topics import Topic


class LogContract:
    """Supply the fixture `open_broker`."""

    @on_broker
    async def test_bounds_are_the_first_offset_and_the_next_one(self, broker: Broker) -> None:
        await broker.publish([event(key="foobar") for _ in range(3)], "shop")
        assert await broker.log.bounds(ORDERS.name) == [(0, 0), (0, 0), (0, 3), (0, 0)]

    @on_broker
    async def test_an_unknown_topic_has_no_bounds_and_no_records(self, broker: Broker) -> None:
        assert await broker.log.bounds("nowhere") == []
        assert await broker.log.read("nowhere", 0, 0, 10) == []
        assert await broker.log.since("nowhere", datetime.now(UTC)) == []

    @on_broker
    async def test_a_topic_that_is_named_alone_is_right_as_it_is(self, broker: Broker) -> None:
        await broker.open([Topic.by_name(ORDERS.name)])
        assert len(await broker.log.bounds(ORDERS.name)) == ORDERS.partitions
        with pytest.raises(RegistrationError, match=r"has 4 partitions .*the code declares 8"):
            await broker.open([Topic(ORDERS.name)])

    @on_broker
    async def test_read_begins_at_the_offset_and_ends_at_the_limit(self, broker: Broker) -> None:
        await broker.publish([event(b"%d" % n, topic=ONE) for n in range(10)], "shop")
        assert [record[2] for record in await broker.log.read(ONE.name, 0, 4, 3)] == [b"4", b"5", b"6"]
        assert [record[2] for record in await broker.log.read(ONE.name, 0, 8, 100)] == [b"8", b"9"]
        assert await broker.log.read(ONE.name, 0, 10, 100) == []

    @on_broker
    async def test_since_is_the_first_offset_published_then_or_later(self, broker: Broker) -> None:
        moments: list[datetime] = []
        for n in range(3):
            moments.append(datetime.now(UTC))
            await broker.publish([event(b"%d" % n, topic=ONE)], "shop")
            _a_later_millisecond()
        assert [await broker.log.since(ONE.name, moment) for moment in moments] == [[0], [1], [2]]
        assert await broker.log.since(ONE.name, datetime.now(UTC)) == [3]
        assert await broker.log.since(ONE.name, datetime(2001, 1, 1, tzinfo=UTC)) == [0]
        assert await broker.log.since(ORDERS.name, datetime.now(UTC)) == [0, 0, 0, 0]

    @on_broker
    async def test_a_tag_opens_to_type_and_version(self, broker: Broker) -> None:
        await broker.publish([Outgoing(ONE.name, "shop.paid", 3, b"{}", None)], "shop")
        (record,) = await broker.log.read(ONE.name, 0, 0, 1)
        assert broker.log.wire_type(record[1]) == WireType("shop.paid", 3)

    @on_broker
    async def test_a_record_without_a_type_has_an_empty_one(self, broker: Broker) -> None:
        await broker.publish([Outgoing(ONE.name, "", 1, b"{}", None)], "shop")
        (record,) = await broker.log.read(ONE.name, 0, 0, 1)
        assert broker.log.wire_type(record[1]).type == ""

    @on_broker
    async def test_the_envelope_says_what_it_is_and_where(self, broker: Broker) -> None:
        before = datetime.now(UTC) - timedelta(seconds=1)
        extra = b'{"traceparent":"00-abc-def-01"}'
        await broker.publish([Outgoing(ORDERS.name, "shop.paid", 2, b"{}", "foobar", extra)], "payment")
        (record,) = await broker.log.read(ORDERS.name, 2, 0, 1)
        envelope = broker.log.envelope(ORDERS.name, 2, record)
        assert (envelope.topic, envelope.partition, envelope.offset) == ("orders", 2, 0)
        assert (envelope.type, envelope.version, envelope.key) == ("shop.paid", 2, "foobar")
        assert envelope.source == "payment"
        assert envelope.extensions == {"traceparent": "00-abc-def-01"}
        assert before <= envelope.time <= datetime.now(UTC) + timedelta(seconds=1)

    @on_broker
    async def test_new_events_are_given_ids_that_differ(self, broker: Broker) -> None:
        await broker.publish([event(topic=ONE) for _ in range(100)], "shop")
        records = await broker.log.read(ONE.name, 0, 0, 100)
        found = {broker.log.envelope(ONE.name, 0, record).id for record in records}
        assert len(found) == 100
        assert all(len(each) == 36 and each[14] == "7" for each in found)

    @on_broker
    async def test_an_event_that_has_an_id_and_a_source_keeps_them(self, broker: Broker) -> None:
        own = bytes.fromhex("0190163d8694739aaea5966c26f8ad91")
        await broker.publish([Outgoing(ONE.name, "t", 1, b"{}", None, id=own, source="elsewhere")], "shop")
        (record,) = await broker.log.read(ONE.name, 0, 0, 1)
        envelope = broker.log.envelope(ONE.name, 0, record)
        assert (envelope.id, envelope.source) == ("0190163d-8694-739a-aea5-966c26f8ad91", "elsewhere")


def _a_later_millisecond() -> None:
    """Times of events are kept to the millisecond by some brokers."""
    before = time_ns() // 1_000_000
    while time_ns() // 1_000_000 == before:
        pass
