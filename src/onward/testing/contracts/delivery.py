"""Publishing and delivery: nothing lost, nothing half published, one order per partition."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest

from onward.errors import RegistrationError
from onward.ports import DELIVERY_BYTES, Broker, Outgoing
from onward.testing.contracts.scenes import ONE, ORDERS, Seat, event, on_broker, take
from onward.topics import Topic


class DeliveryContract:
    """Supply the fixture `open_broker`."""

    @on_broker
    async def test_records_of_a_partition_arrive_in_the_order_published(self, broker: Broker) -> None:
        for first in range(0, 30, 3):
            await broker.publish([event(b"%d" % n, topic=ONE) for n in range(first, first + 3)], "shop")
        consumer = await broker.consume(Seat("a").group(ONE))
        taken = await take(consumer, 30)
        assert [record[2] for _, record in taken] == [b"%d" % n for n in range(30)]

    @on_broker
    async def test_offsets_of_a_partition_are_dense_from_zero(self, broker: Broker) -> None:
        await broker.publish([event(key=str(n)) for n in range(200)], "shop")
        consumer = await broker.consume(Seat("a").group(ORDERS))
        offsets: dict[int, list[int]] = {}
        for partition, record in await take(consumer, 200, limit=7):
            offsets.setdefault(partition, []).append(record[0])
        assert all(found == list(range(len(found))) for found in offsets.values())
        assert sum(map(len, offsets.values())) == 200

    @on_broker
    async def test_a_key_goes_to_the_partition_that_murmur2_gives_it(self, broker: Broker) -> None:
        # Kafka's own test vectors, each hash made positive and taken modulo 4.
        expected = {
            "21": 0,  # -973932308
            "foobar": 2,  # -790332482
            "a-little-bit-long-string": 0,  # -985981536
            "a-little-bit-longer-string": 3,  # -1486304829
            "lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": 1,  # -58897971
        }
        await broker.publish([event(key=key) for key in expected], "shop")
        consumer = await broker.consume(Seat("a").group(ORDERS))
        assert {record[3]: partition for partition, record in await take(consumer, 5)} == expected

    @on_broker
    async def test_events_of_one_key_keep_their_order_among_others(self, broker: Broker) -> None:
        events = [event(b"%d" % n, key=f"key-{n % 5}") for n in range(100)]
        await broker.publish(events[:50], "shop")
        await broker.publish(events[50:], "shop")
        consumer = await broker.consume(Seat("a").group(ORDERS))
        by_key: dict[str, list[int]] = {}
        for _, record in await take(consumer, 100, limit=9):
            by_key.setdefault(record[3], []).append(int(record[2]))
        assert len(by_key) == 5
        assert all(first < second for found in by_key.values() for first, second in pairwise(found))

    @on_broker
    async def test_events_without_a_key_are_all_delivered(self, broker: Broker) -> None:
        for n in range(20):
            await broker.publish([event(b"%d" % n)], "shop")
        consumer = await broker.consume(Seat("a").group(ORDERS))
        assert sorted(int(record[2]) for _, record in await take(consumer, 20)) == list(range(20))

    @on_broker
    async def test_concurrent_publishers_lose_nothing(self, broker: Broker) -> None:
        await asyncio.gather(*(broker.publish([event(b"%d" % n, topic=ONE)], "shop") for n in range(50)))
        assert sorted(int(record[2]) for record in await broker.log.read(ONE.name, 0, 0, 100)) == list(range(50))

    @on_broker
    async def test_a_delivery_holds_at_most_what_was_asked_for(self, broker: Broker) -> None:
        await broker.publish([event(topic=ONE) for _ in range(2500)], "shop")
        consumer = await broker.consume(Seat("a").group(ONE))
        ends: list[int] = []
        while sum(ends[-1:]) < 2500:
            delivery = await consumer.next(1000, 1.0)
            assert delivery is not None
            assert 1 <= len(delivery.records) <= 1000
            assert delivery.records[-1][0] + 1 == delivery.end
            ends.append(delivery.end)
        assert ends == sorted(set(ends))

    @on_broker
    async def test_a_delivery_holds_so_many_bytes_at_most(self, broker: Broker) -> None:
        large = b"x" * 900_000
        for _ in range(4):
            await broker.publish([event(large, topic=ONE) for _ in range(5)], "shop")
        consumer = await broker.consume(Seat("a").group(ONE))
        sizes: list[int] = []
        while sum(sizes) < 20 * len(large):
            delivery = await consumer.next(1000, 1.0)
            assert delivery is not None
            sizes.append(sum(len(record[2]) for record in delivery.records))
        assert max(sizes) <= DELIVERY_BYTES

    @on_broker
    async def test_no_value_and_an_empty_value_stay_two_things(self, broker: Broker) -> None:
        await broker.publish([Outgoing(ONE.name, "t", 1, None, None), Outgoing(ONE.name, "t", 1, b"", None)], "shop")
        assert [record[2] for record in await broker.log.read(ONE.name, 0, 0, 10)] == [None, b""]

    @on_broker
    async def test_any_bytes_come_back_as_they_were(self, broker: Broker) -> None:
        every_byte = bytes(range(256))
        await broker.publish([event(every_byte, key="schlüssel-\N{SNOWMAN}", topic=ONE)], "shop")
        (record,) = await broker.log.read(ONE.name, 0, 0, 10)
        assert record[2:4] == (every_byte, "schlüssel-\N{SNOWMAN}")

    @on_broker
    async def test_opening_a_topic_again_changes_nothing(self, broker: Broker) -> None:
        await broker.publish([event(topic=ONE)], "shop")
        await broker.open([ONE])
        assert await broker.log.bounds(ONE.name) == [(0, 1)]

    @on_broker
    async def test_a_topic_with_another_number_of_partitions_is_refused(self, broker: Broker) -> None:
        with pytest.raises(RegistrationError):
            await broker.open([Topic(ORDERS.name, partitions=5)])
        assert len(await broker.log.bounds(ORDERS.name)) == 4
