"""A relay's events leave in order, by whichever of its producers, and nothing behind what did not."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

import pytest

from onward.brokers.kafka import outlet
from onward.brokers.kafka.outlet import KafkaOutlet
from onward.brokers.kafka.publishing import FEW, Lanes, Prepared
from onward.errors import BrokerError
from onward.ports import Outgoing
from onward.relay import Batch, OutboxRow, Stamp
from onward.relay.columns import columns_of


class Sent:
    """One send: by which kind, how many events, and what becomes of it."""

    def __init__(self, kind: str, events: int) -> None:
        self.kind = kind
        self.events = events
        self.there: asyncio.Future[None] = asyncio.get_running_loop().create_future()


class Producer:
    """As `Sender` where it ends: its sends are told by the test."""

    def __init__(self, kind: str, log: list[Sent]) -> None:
        self.kind = kind
        self.log = log
        self.abandoned = False

    async def send(self, messages: Iterable[Prepared], lanes: Lanes, events: Sequence[Outgoing]) -> None:
        if self.abandoned:
            raise BrokerError("It has ended.", lanes=())
        sent = Sent(self.kind, len(list(events)))
        self.log.append(sent)
        try:
            await sent.there
        except BrokerError:
            self.abandoned = True
            raise

    def abandon(self) -> None:
        self.abandoned = True


class Rooms:
    """Knows all topics: `large` takes more than others."""

    async def measure(self, topics: Iterable[str]) -> None:
        """It is known."""

    def room(self, topic: str) -> int:
        return 2_000 if topic == "large" else 1_000

    def doubt(self, topics: Iterable[str]) -> None:
        """It is sure."""


def batch(events: int, *topics: str) -> Batch:
    topics = topics or ("orders",)
    columns = columns_of([Outgoing(each, "shop.placed", 1, b"{}", "key") for each in topics] * events, "shop")
    places = tuple((0, n + 1) for n in range(events) for _ in topics)
    return Batch.of([OutboxRow(1, 0, columns, Stamp(1, 1, b"term", places))])


def on_outlet(monkeypatch: pytest.MonkeyPatch, scene: Callable[[KafkaOutlet, list[Sent]], Awaitable[None]]) -> None:
    async def play() -> None:
        log: list[Sent] = []

        def producer(_client: object, _size: int, *, gathers: bool, ends: bool) -> Producer:
            assert ends
            return Producer("gathering" if gathers else "quick", log)

        monkeypatch.setattr("onward.brokers.kafka.publishing.Sender", producer)
        client: Any = None
        rooms: Any = Rooms()
        async with asyncio.timeout(10):
            await scene(outlet.KafkaOutlet(client, rooms), log)

    asyncio.run(play())


async def turns() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


def test_many_wait_for_the_few_that_are_under_way_and_then_are_gathered(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(relayed: KafkaOutlet, log: list[Sent]) -> None:
        sends = [relayed.send(batch(each)) for each in (1, FEW, FEW + 1, 1)]
        await turns()
        assert [(each.kind, each.events) for each in log] == [("quick", 1), ("quick", FEW)]
        for each in log[:2]:
            each.there.set_result(None)
        await turns()
        assert [(each.kind, each.events) for each in log[2:]] == [("gathering", FEW + 1), ("gathering", 1)]
        for each in log[2:]:
            each.there.set_result(None)
        await asyncio.gather(*sends)
        last = relayed.send(batch(1))
        await turns()
        assert log[-1].kind == "quick"
        log[-1].there.set_result(None)
        await last

    on_outlet(monkeypatch, scene)


@pytest.mark.parametrize("together", [False, True])
def test_what_needs_two_producers_is_handed_to_both_before_what_comes_behind_it(
    together: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scene(relayed: KafkaOutlet, log: list[Sent]) -> None:
        sends = [relayed.send(batch(2, "orders", "large"))]
        if not together:
            await asyncio.sleep(0)
        sends += [relayed.send(batch(3, "large")), relayed.send(batch(4)), relayed.send(batch(5, "orders", "large"))]
        await turns()
        assert [each.events for each in log] == [2, 2, 3, 4, 5, 5]
        for each in log:
            each.there.set_result(None)
        await asyncio.gather(*sends)

    on_outlet(monkeypatch, scene)


@pytest.mark.parametrize("waits", [False, True])
@pytest.mark.parametrize("behind", [1, FEW + 1])
def test_nothing_leaves_behind_what_failed_by_whichever_producer(
    behind: int, waits: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scene(relayed: KafkaOutlet, log: list[Sent]) -> None:
        sends = [relayed.send(batch(1))]
        await turns()
        if waits:
            sends.append(relayed.send(batch(FEW + 1)))
        await turns()
        log[0].there.set_exception(BrokerError("It was cut.", lanes=[("orders", 0)]))
        for _ in range(10):  # whatever has heard of it by then
            sends.append(relayed.send(batch(behind)))
            await asyncio.sleep(0)
        failed = await asyncio.gather(*sends, return_exceptions=True)
        assert {type(each) for each in failed} == {BrokerError}
        assert {str(each.fields["lanes"]) for each in failed if isinstance(each, BrokerError)} == {"[('orders', 0)]"}
        assert len(log) == 1
        relayed.begin()
        again = relayed.send(batch(behind))
        await turns()
        log[-1].there.set_result(None)
        await again
        assert len(log) == 2

    on_outlet(monkeypatch, scene)
