"""Groups: each partition has one reader at a time, told before it begins and before it ends."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from onward.ports import Broker, Consumer, Place
from onward.testing.contracts.scenes import ONE, ORDERS, Seat, event, on_broker, other_turns, take

A_MOMENT_S = 0.01


class _Curious(Seat):
    """Looks how long its partitions are while it is told of more."""

    consumer: Consumer | None = None
    asked = 0

    async def _assign(self, partitions: Sequence[int]) -> Mapping[int, Place]:
        if self.consumer is not None:
            assert all(end >= 0 for end in self.consumer.ends.values())
            self.asked += 1
        return await super()._assign(partitions)


class GroupContract:
    """Supply the fixture `open_broker`."""

    @on_broker
    async def test_a_member_alone_is_assigned_every_partition(self, broker: Broker) -> None:
        seat = Seat("a")
        consumer = await broker.consume(seat.group(ORDERS))
        while not seat.held:
            await consumer.next(1, A_MOMENT_S)
        assert seat.held == {0, 1, 2, 3}

    @on_broker
    async def test_delivery_begins_at_the_offset_that_assigned_gave(self, broker: Broker) -> None:
        await broker.publish([event(b"%d" % n, topic=ONE) for n in range(5)], "shop")
        consumer = await broker.consume(Seat("a", start=3).group(ONE))
        assert [record[0] for _, record in await take(consumer, 2)] == [3, 4]

    @on_broker
    async def test_nothing_to_read_is_none_after_the_wait(self, broker: Broker) -> None:
        consumer = await broker.consume(Seat("a").group(ONE))
        assert await consumer.next(10, A_MOMENT_S) is None

    @on_broker
    async def test_a_publish_wakes_a_waiting_consumer(self, broker: Broker) -> None:
        consumer = await broker.consume(Seat("a").group(ONE))
        waiting = asyncio.create_task(consumer.next(10, 25.0))
        await _begin_to_wait()
        await broker.publish([event(topic=ONE)], "shop")
        async with asyncio.timeout(5.0):
            delivery = await waiting
        assert delivery is not None
        assert len(delivery.records) == 1

    @on_broker
    async def test_a_paused_partition_delivers_nothing_until_it_is_resumed(self, broker: Broker) -> None:
        consumer = await broker.consume(Seat("a").group(ONE))
        consumer.pause(0)
        consumer.pause(0)
        await broker.publish([event(topic=ONE)], "shop")
        assert await consumer.next(10, A_MOMENT_S) is None
        consumer.resume(0)
        assert len(await take(consumer, 1)) == 1

    @on_broker
    async def test_resume_wakes_a_waiting_consumer(self, broker: Broker) -> None:
        await broker.publish([event(topic=ONE)], "shop")
        consumer = await broker.consume(Seat("a").group(ONE))
        consumer.pause(0)
        waiting = asyncio.create_task(consumer.next(10, 25.0))
        await _begin_to_wait()
        consumer.resume(0)
        async with asyncio.timeout(5.0):
            assert await waiting is not None

    @on_broker
    async def test_a_paused_partition_does_not_stop_the_others(self, broker: Broker) -> None:
        await broker.publish([event(key=str(n)) for n in range(40)], "shop")
        ends = await broker.log.bounds(ORDERS.name)
        consumer = await broker.consume(Seat("a").group(ORDERS))
        consumer.pause(2)
        taken = await take(consumer, 40 - ends[2][1])
        assert {partition for partition, _ in taken} == {0, 1, 3}

    @on_broker
    async def test_ends_can_be_asked_for_while_partitions_are_assigned(self, broker: Broker) -> None:
        seat, other = _Curious("a"), Seat("b")
        seat.consumer = consumer = await broker.consume(seat.group(ORDERS))
        while len(seat.held) < 4:
            await consumer.next(1, A_MOMENT_S)
        leaving = await broker.consume(other.group(ORDERS))
        while not other.held:
            await consumer.next(1, A_MOMENT_S)
            await leaving.next(1, A_MOMENT_S)
        seat.asked = 0
        closing = asyncio.create_task(leaving.close())
        while not seat.asked:
            await consumer.next(1, A_MOMENT_S)
        await closing

    @on_broker
    async def test_ends_are_known_of_the_partitions_held(self, broker: Broker) -> None:
        await broker.publish([event(key="foobar") for _ in range(3)], "shop")
        consumer = await broker.consume(Seat("a").group(ORDERS))
        await take(consumer, 3)
        assert {partition: end for partition, end in consumer.ends.items() if end} == {2: 3}
        await consumer.close()
        assert consumer.ends == {}

    @on_broker
    async def test_seek_delivers_again_from_there(self, broker: Broker) -> None:
        await broker.publish([event(topic=ONE) for _ in range(4)], "shop")
        consumer = await broker.consume(Seat("a").group(ONE))
        await take(consumer, 4)
        consumer.seek(0, 1)
        assert [record[0] for _, record in await take(consumer, 3)] == [1, 2, 3]

    @on_broker
    async def test_seek_of_a_partition_that_is_not_ours_does_nothing(self, broker: Broker) -> None:
        await broker.publish([event(topic=ONE)], "shop")
        consumer = await broker.consume(Seat("a").group(ONE))
        await consumer.close()
        consumer.seek(0, 0)
        assert await consumer.next(10, A_MOMENT_S) is None

    @on_broker
    async def test_partitions_take_turns(self, broker: Broker) -> None:
        await broker.publish([event(key=str(n)) for n in range(400)], "shop")
        consumer = await broker.consume(Seat("a").group(ORDERS))
        await take(consumer, 400)
        for partition in range(4):
            consumer.seek(partition, 0)
        turns = [await consumer.next(1, 1.0) for _ in range(4)]
        assert {turn.partition for turn in turns if turn is not None} == {0, 1, 2, 3}

    @on_broker
    async def test_a_backlog_leaves_other_tasks_their_turn(self, broker: Broker) -> None:
        await broker.publish([event(topic=ONE) for _ in range(20)], "shop")
        consumer = await broker.consume(Seat("a").group(ONE))
        async with other_turns() as turns:
            await take(consumer, 20, limit=1)
            assert turns() >= 20

    @on_broker
    async def test_two_members_share_the_partitions_and_none_is_held_twice(self, broker: Broker) -> None:
        first, second = Seat("a"), Seat("b")
        one = await broker.consume(first.group(ORDERS))
        while len(first.held) < 4:
            await one.next(1, A_MOMENT_S)
        two = await broker.consume(second.group(ORDERS))
        while not len(first.held) == len(second.held) == 2:
            await one.next(1, A_MOMENT_S)
            await two.next(1, A_MOMENT_S)
            assert not first.held & second.held
        assert first.held | second.held == {0, 1, 2, 3}

    @on_broker
    async def test_each_record_goes_to_one_member_of_a_group(self, broker: Broker) -> None:
        first, second = Seat("a"), Seat("b")
        one, two = await broker.consume(first.group(ORDERS)), await broker.consume(second.group(ORDERS))
        while not len(first.held) == len(second.held) == 2:
            await one.next(1, A_MOMENT_S)
            await two.next(1, A_MOMENT_S)
        await broker.publish([event(key=str(n)) for n in range(100)], "shop")
        bounds = await broker.log.bounds(ORDERS.name)
        for consumer, seat in ((one, first), (two, second)):
            owed = sum(bounds[partition][1] for partition in seat.held)
            taken = await take(consumer, owed)
            assert len(taken) == owed
            assert {partition for partition, _ in taken} == seat.held

    @on_broker
    async def test_a_closed_member_gives_its_partitions_to_those_who_stay(self, broker: Broker) -> None:
        leaving, staying = Seat("a"), Seat("b")
        one = await broker.consume(leaving.group(ORDERS))
        while len(leaving.held) < 4:
            await one.next(1, A_MOMENT_S)
        two = await broker.consume(staying.group(ORDERS))
        await one.close()
        await one.close()
        assert leaving.held == set()
        assert set(leaving.revoked) == {0, 1, 2, 3}
        while len(staying.held) < 4:
            await two.next(1, A_MOMENT_S)

    @on_broker
    async def test_a_partition_that_comes_back_is_not_paused_any_more(self, broker: Broker) -> None:
        staying, passing = Seat("a"), Seat("b")
        one = await broker.consume(staying.group(ORDERS))
        while len(staying.held) < 4:
            await one.next(1, A_MOMENT_S)
        for partition in range(4):
            one.pause(partition)
        two = await broker.consume(passing.group(ORDERS))
        while len(passing.held) < 2:
            await one.next(1, A_MOMENT_S)
            await two.next(1, A_MOMENT_S)
        lent = set(passing.held)
        await two.close()
        while len(staying.held) < 4:
            await one.next(1, A_MOMENT_S)
        await broker.publish([event(key=str(n)) for n in range(100)], "shop")
        bounds = await broker.log.bounds(ORDERS.name)
        taken = await take(one, sum(bounds[partition][1] for partition in lent))
        assert {partition for partition, _ in taken} == lent

    @on_broker
    async def test_groups_do_not_take_from_each_other(self, broker: Broker) -> None:
        await broker.publish([event(topic=ONE) for _ in range(3)], "shop")
        stock = await broker.consume(Seat("a").group(ONE, "stock"))
        payment = await broker.consume(Seat("a").group(ONE, "payment"))
        assert len(await take(stock, 3)) == 3
        assert len(await take(payment, 3)) == 3


async def _begin_to_wait() -> None:
    for _ in range(10):
        await asyncio.sleep(0)
