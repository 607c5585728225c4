"""Which topics are tried again, and when: none waits for another, and none ends term after term."""

from __future__ import annotations

import asyncio

import pytest

from onward.errors import BrokerError
from onward.ports import Outgoing
from onward.relay import Batch, Columns, OutboxRow, Stamp, suspects
from onward.relay.barred import Answer
from onward.relay.columns import columns_of
from onward.relay.suspects import Fronts, Suspects

NOT_TAKEN = "It is not taken."


class Outlet:
    """Proves at once, but for the topics of which nobody says anything."""

    def __init__(self, *silent: str) -> None:
        self.silent = silent
        self.proved: list[list[str]] = []
        self.within: list[float] = []

    def begin(self) -> None:
        """Nothing fails here."""

    def known_places(self, columns: Columns) -> list[Answer] | None:
        return None

    async def places(self, columns: Columns) -> list[Answer]:
        return [0] * len(columns)

    def send(self, batch: Batch) -> asyncio.Future[None]:
        raise NotImplementedError

    async def prove(self, batch: Batch, within_s: float) -> None:
        topics = list(batch.columns.topic_of_each())
        self.proved.append(topics)
        self.within.append(within_s)
        if topics[0] in self.silent:
            await asyncio.Event().wait()
        if topics[0] == "shut":
            raise BrokerError(NOT_TAKEN, lanes=[("shut", 0)])


def noted(found: Suspects, *lanes: tuple[str, int]) -> Fronts:
    """Sends by these lanes failed, and in each an event waits."""
    found.note(BrokerError(NOT_TAKEN, lanes=lanes))
    fronts = Fronts(found)
    for turn, (topic, partition) in enumerate(lanes):
        columns = columns_of([Outgoing(topic, "shop.placed", 1, b"{}", "key")], "shop")
        fronts.note(OutboxRow(turn, 0, columns, Stamp(1, turn, b"term", ((partition, 1),))))
    return fronts


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    clock = [1_000.0]
    monkeypatch.setattr(suspects, "monotonic", lambda: clock[0])
    return clock


def test_one_that_nobody_answers_for_keeps_no_other_waiting() -> None:
    async def play() -> None:
        found, outlet = Suspects(), Outlet("silent")
        fronts = noted(found, ("silent", 0), ("well", 0), ("shut", 0))
        async with asyncio.timeout(5):
            assert await found.clear(fronts, outlet)
        assert "well" not in found
        assert "silent" in found
        assert NOT_TAKEN in str(found.why("shut"))

    asyncio.run(play())


def test_all_lanes_of_a_topic_are_tried_together_and_those_that_failed_again_longer() -> None:
    async def play() -> None:
        found, outlet = Suspects(), Outlet()
        fronts = noted(found, ("shut", 0), ("shut", 1))
        for _ in range(6):
            assert not await found.clear(fronts, outlet)
        assert outlet.proved == [["shut"] * 2] * 6
        assert outlet.within == [5.0, 10.0, 20.0, 40.0, 60.0, 60.0]

    asyncio.run(play())


def test_one_that_fails_again_soon_after_it_took_an_event_rests_for_longer_each_time(now: list[float]) -> None:
    async def play() -> None:
        found, outlet = Suspects(), Outlet()
        for rest_s in (0.0, 1.0, 2.0, 4.0):
            fronts = noted(found, ("flaps", 0))
            if rest_s:
                now[0] += rest_s - 0.1
                assert not await found.clear(fronts, outlet)
            now[0] += 0.1
            assert await found.clear(fronts, outlet)
            now[0] += 30.0
        now[0] += 300.0
        assert await found.clear(noted(found, ("flaps", 0)), outlet)
        assert len(outlet.proved) == 5

    asyncio.run(play())
