"""Delayed events: none before its time, each once, in order of their times, and as they were published."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeVar

import pytest

from onward.delays import EXTENSION, micros_of
from onward.errors import BacklogFullError
from onward.ports import Broker, Outgoing
from onward.testing.clock import START_S, FakeClock
from onward.testing.contracts.scenes import ONE, ORDERS, SCENE_S, event
from onward.timers import Delayed
from onward.topics import Retention, Topic

SMALL = Topic("small", partitions=1, retention=Retention(backlog_bytes=100))

Suite = TypeVar("Suite")


@dataclass(frozen=True, slots=True)
class DelayBench:
    """A broker that lives by `clock`, and its delayed events, which nobody else delivers; closed by who gave it."""

    broker: Broker
    delayed: Delayed
    clock: FakeClock

    def later(self, seconds: float, value: bytes = b"{}", *, key: str | None = None, topic: Topic = ONE) -> Outgoing:
        """An event that is due in so many seconds, or was due before."""
        return event(value, key=key, topic=topic)._replace(due=micros_of(self.clock.time() + seconds))

    async def publish(self, *outgoing: Outgoing) -> None:
        await self.broker.publish(outgoing, "shop")

    async def deliver_all(self) -> list[bytes]:
        """Everything that is due by now; what topic ONE has then."""
        while await self.delayed.deliver():
            pass
        return await self.values()

    async def values(self) -> list[bytes]:
        return [record[2] for record in await self.broker.log.read(ONE.name, 0, 0, 10_000)]


OpenDelays = Callable[[], AbstractAsyncContextManager[DelayBench]]


def on_delays(scene: Callable[[Suite, DelayBench], Awaitable[None]]) -> Callable[[Suite, OpenDelays], None]:
    """A test of delayed events: takes the fixture `open_delays`, plays the scene on what it opens."""

    def test(self: Suite, open_delays: OpenDelays) -> None:
        async def play() -> None:
            async with asyncio.timeout(SCENE_S), open_delays() as bench:
                await bench.broker.open([ORDERS, ONE])
                await scene(self, bench)

        asyncio.run(play())

    test.__name__ = test.__qualname__ = scene.__name__
    return test


class DelayContract:
    """Supply the fixture `open_delays`."""

    @on_delays
    async def test_a_delayed_event_is_not_in_its_topic_before_its_time(self, bench: DelayBench) -> None:
        await bench.publish(bench.later(60.0))
        assert await bench.deliver_all() == []
        await bench.clock.advance(59.999)
        assert await bench.deliver_all() == []
        await bench.clock.advance(0.001)
        assert await bench.deliver_all() == [b"{}"]

    @on_delays
    async def test_it_comes_once(self, bench: DelayBench) -> None:
        await bench.publish(bench.later(1.0, b"1"))
        await bench.clock.advance(2.0)
        assert await bench.delayed.deliver() == 1
        assert await bench.delayed.deliver() == 0
        assert bench.delayed.next_due() is None
        assert await bench.values() == [b"1"]

    @on_delays
    async def test_what_is_due_already_is_published_at_once(self, bench: DelayBench) -> None:
        await bench.publish(bench.later(0.0, b"now"), bench.later(-3600.0, b"an hour ago"))
        assert await bench.values() == [b"now", b"an hour ago"]
        assert bench.delayed.next_due() is None

    @on_delays
    async def test_they_come_in_the_order_of_their_times_and_then_of_publishing(self, bench: DelayBench) -> None:
        await bench.publish(bench.later(3.0, b"late", key="a"), bench.later(1.0, b"early", key="a"))
        await bench.publish(bench.later(2.0, b"first", key="a"))
        await bench.publish(bench.later(2.0, b"second", key="a"), bench.later(1.0, b"early too", key="a"))
        assert bench.delayed.next_due() == bench.later(1.0).due
        await bench.clock.advance(3.0)
        assert await bench.deliver_all() == [b"early", b"early too", b"first", b"second", b"late"]

    @on_delays
    async def test_they_come_after_what_was_published_meanwhile(self, bench: DelayBench) -> None:
        await bench.publish(bench.later(1.0, b"delayed", key="a"))
        await bench.clock.advance(5.0)
        await bench.publish(event(b"meanwhile", key="a", topic=ONE))
        assert await bench.deliver_all() == [b"meanwhile", b"delayed"]

    @on_delays
    async def test_id_source_and_time_are_those_of_publishing(self, bench: DelayBench) -> None:
        await bench.publish(bench.later(60.0), bench.later(60.0)._replace(source="till", id=bytes(range(16))))
        await bench.publish(event(topic=ONE))
        await bench.clock.advance(60.0)
        await bench.deliver_all()
        records = await bench.broker.log.read(ONE.name, 0, 0, 10)
        at_once, delayed, foreign = (bench.broker.log.envelope(ONE.name, 0, record) for record in records)
        assert delayed.time == at_once.time
        assert delayed.id < at_once.id, "ids are in the order of publishing"
        assert (delayed.source, foreign.source, foreign.id) == (
            "shop",
            "till",
            "00010203-0405-0607-0809-0a0b0c0d0e0f",
        )

    @on_delays
    async def test_it_says_for_when_it_was_published_beside_its_other_extensions(self, bench: DelayBench) -> None:
        traced = bench.later(60.0)._replace(extra=b'{"traceparent":"00-1"}', due=1_800_000_000_000_000)
        await bench.publish(traced)
        await bench.clock.advance(200_000_000.0)
        await bench.deliver_all()
        (record,) = await bench.broker.log.read(ONE.name, 0, 0, 10)
        extensions = bench.broker.log.envelope(ONE.name, 0, record).extensions
        assert extensions == {"traceparent": "00-1", EXTENSION: "2027-01-15T08:00:00+00:00"}

    @on_delays
    async def test_a_key_goes_to_its_partition(self, bench: DelayBench) -> None:
        # Kafka's own test vectors, each hash made positive and taken modulo 4.
        expected = {"21": 0, "foobar": 2, "a-little-bit-longer-string": 3}
        await bench.publish(
            *(bench.later(1.0, key=key, topic=ORDERS) for key in expected), bench.later(1.0, topic=ORDERS)
        )
        await bench.clock.advance(1.0)
        await bench.deliver_all()
        found = [
            (record[3], partition)
            for partition in range(ORDERS.partitions)
            for record in await bench.broker.log.read(ORDERS.name, partition, 0, 10)
        ]
        assert len(found) == 4
        assert expected.items() <= set(found)

    @on_delays
    async def test_many_come_in_their_order_however_many_one_step_takes(self, bench: DelayBench) -> None:
        for first in range(0, 1200, 300):
            await bench.publish(*(bench.later(1.0 + n, b"%d" % n) for n in range(first, first + 300)))
        await bench.clock.advance(1200.0)
        assert await bench.deliver_all() == [b"%d" % n for n in range(1200)]

    @on_delays
    async def test_what_waits_counts_towards_what_its_topic_may_hold(self, bench: DelayBench) -> None:
        await bench.broker.open([SMALL])
        await bench.publish(bench.later(60.0, b"x" * 60, topic=SMALL))
        with pytest.raises(BacklogFullError):
            await bench.publish(bench.later(60.0, b"x" * 60, topic=SMALL))
        await bench.clock.advance(60.0)
        await bench.deliver_all()
        assert await bench.broker.log.bounds(SMALL.name) == [(0, 1)]

    @on_delays
    async def test_a_refused_publish_puts_nothing_off(self, bench: DelayBench) -> None:
        await bench.broker.open([SMALL])
        with pytest.raises(BacklogFullError):
            await bench.publish(bench.later(60.0), event(b"x" * 101, topic=SMALL))
        with pytest.raises(BacklogFullError):
            await bench.publish(event(topic=ONE), bench.later(60.0, b"x" * 101, topic=SMALL))
        assert bench.delayed.next_due() is None
        assert await bench.values() == []

    @on_delays
    async def test_the_place_of_a_time_is_found_among_delayed_events(self, bench: DelayBench) -> None:
        for delay in (25.0, 26.0, 55.0, 65.0, 66.0):
            await bench.publish(bench.later(delay))
        for _ in range(6):  # at 0, 10, ... 50; those of 25 and 26 come after 20, and late: after 30
            await bench.publish(event(topic=ONE))
            if (bench.clock.time() - START_S) != 20.0:
                await bench.deliver_all()
            await bench.clock.advance(10.0)
        await bench.clock.advance(10.0)
        await bench.deliver_all()
        # Offsets:             0  1   2   3   4   5   6   7   8   9  10
        # published, or due:   0  10  20  30  25  26  40  50  55  65  66
        expected = {0: 0, 5: 1, 20: 2, 24: 3, 26: 3, 30: 3, 31: 6, 50: 7, 51: 8, 60: 9, 66: 10, 67: 11}
        found = {}
        for second in expected:
            (found[second],) = await bench.broker.log.since(ONE.name, datetime.fromtimestamp(START_S + second, UTC))
        assert found == expected
