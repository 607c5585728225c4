"""The outbox of a store: what its transactions published, numbered by one relay at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

import pytest

from onward.errors import LeaseLostError, TransactionError
from onward.ids import time_of
from onward.ports import Outgoing
from onward.relay import ASIDE, NOWHERE, Outbox, OutboxRow, Refused, Stamp, Term
from onward.testing.clock import FakeClock
from onward.testing.contracts.scenes import SCENE_S, event

LEASE_S = 10.0


@dataclass(frozen=True, slots=True)
class OutboxBench:
    """An outbox of one service, and what writes to it: `publish` commits a transaction with these events.

    `refused` are value and reason of what is kept apart.
    """

    outbox: Outbox
    publish: Callable[[Sequence[Outgoing]], Awaitable[None]]
    clock: FakeClock
    refused: Callable[[], Awaitable[list[tuple[bytes | None, str]]]]

    async def led(self) -> Term:
        """A term of ours."""
        term = await self.outbox.lease(LEASE_S)
        assert term is not None
        return term

    async def number(self, term: Term, rows: Sequence[OutboxRow]) -> None:
        """All of them in partition 0, in this order, as the term's first."""
        stamps, number = {}, 1
        for turn, row in enumerate(rows):
            places = tuple((0, each) for each in range(number, number + len(row.events)))
            stamps[row.id] = Stamp(term.epoch, turn, term.incarnation, places)
            number += len(row.events)
        await self.outbox.number(term, stamps)


OpenOutbox = Callable[[], AbstractAsyncContextManager[OutboxBench]]


def values(rows: Sequence[OutboxRow]) -> list[bytes | None]:
    return [each.value for row in rows for each in row.events]


def on_outbox(
    scene: Callable[[OutboxContract, OutboxBench], Awaitable[None]],
) -> Callable[[OutboxContract, OpenOutbox], None]:
    def test(self: OutboxContract, open_outbox: OpenOutbox) -> None:
        async def play() -> None:
            async with asyncio.timeout(SCENE_S), open_outbox() as bench:
                await scene(self, bench)

        asyncio.run(play())

    test.__name__ = test.__qualname__ = scene.__name__
    return test


class OutboxContract:
    """Supply the fixture `open_outbox`: () -> async context manager of an OutboxBench."""

    @on_outbox
    async def test_events_come_out_as_they_went_in_each_with_an_id_and_a_source(self, bench: OutboxBench) -> None:
        own = event(b"2", key="ä\0")._replace(id=b"mine", source="elsewhere", extra=b'{"a":"b"}')
        await bench.publish([event(b"1"), own])
        await bench.publish([event(b"3")._replace(value=None)])
        rows = await bench.outbox.read(10)
        first, second, third = (each for row in rows for each in row.events)
        assert (second, [row.stamp for row in rows]) == (own, [None] * len(rows))
        assert (first.value, first.key, first.source, third.value) == (b"1", None, "shop", None)
        assert first.id is not None
        assert first.id != third.id
        assert rows == await bench.outbox.read(10)

    @on_outbox
    async def test_rows_are_read_in_the_order_of_commits_up_to_the_limit(self, bench: OutboxBench) -> None:
        for number in range(3):
            await bench.publish([event(b"%d" % number)])
        assert values(await bench.outbox.read(2)) == [b"0", b"1"]

    @on_outbox
    async def test_a_large_transaction_is_read_whole_and_in_order(self, bench: OutboxBench) -> None:
        await bench.publish([event(b"%d" % number) for number in range(2_500)])
        assert values(await bench.outbox.read(100_000)) == [b"%d" % number for number in range(2_500)]

    @on_outbox
    async def test_large_events_are_read_a_bounded_part_at_a_time(self, bench: OutboxBench) -> None:
        await bench.publish([event(bytes(900_000)) for _ in range(12)])
        assert 1 <= len(values(await bench.outbox.read(100))) <= 9

    @on_outbox
    async def test_a_delayed_event_is_not_there_before_its_time(self, bench: OutboxBench) -> None:
        due = int((bench.clock.time() + 60) * 1e6)
        await bench.publish([event(b"now"), event(b"later")._replace(due=due), event(b"now too")])
        assert values(await bench.outbox.read(10)) == [b"now", b"now too"]
        assert (await bench.outbox.stats()).oldest == due - 60_000_000
        await bench.clock.advance(61)
        assert values(await bench.outbox.read(10)) == [b"later", b"now", b"now too"]
        assert values(await bench.outbox.read(2)) == [b"later", b"now"]
        term = await bench.led()
        rows = await bench.outbox.read(10)
        await bench.number(term, rows)
        await bench.outbox.delete(term, [row.id for row in rows[1:]])
        assert await bench.outbox.stats() == (due, True)  # it has been late since then, and not since it was published

    @on_outbox
    async def test_each_term_has_an_incarnation_of_its_own_that_says_when_it_was_opened(
        self, bench: OutboxBench
    ) -> None:
        first = await bench.led()
        await bench.outbox.lease(0, first)
        second = await bench.led()
        assert time_of(first.incarnation) <= time_of(second.incarnation)
        assert first.incarnation != second.incarnation

    @on_outbox
    async def test_what_the_broker_refuses_is_kept_apart_once_and_waits_no_more(self, bench: OutboxBench) -> None:
        await bench.publish([event(b"fits", key="ä"), event(b"too large")._replace(key="\0")])
        term = await bench.led()
        (row,) = await bench.outbox.read(10)
        stamp = Stamp(term.epoch, 1, term.incarnation, ((0, 1), NOWHERE))
        await bench.outbox.number(term, {row.id: stamp})
        assert (await bench.outbox.read(10, numbered=True))[0].stamp == stamp
        refused = [Refused(row.events[1], "it is too large")]
        for _ in range(2):
            await bench.outbox.delete(term, [row.id], refused)
        assert await bench.outbox.read(10, numbered=True) == []
        assert await bench.refused() == [(b"too large", "it is too large")]

    @on_outbox
    async def test_one_relay_has_the_lease_until_it_ends_or_is_given_up(self, bench: OutboxBench) -> None:
        first = await bench.led()
        assert await bench.outbox.lease(LEASE_S) is None
        await bench.clock.advance(LEASE_S - 1)
        assert await bench.outbox.lease(LEASE_S, first) == first
        await bench.clock.advance(LEASE_S - 1)
        assert await bench.outbox.lease(LEASE_S) is None
        await bench.clock.advance(2)
        assert not (await bench.outbox.stats()).led
        second = await bench.led()
        assert await bench.outbox.lease(0, second) is None
        with pytest.raises(LeaseLostError, match="was given up"):
            await bench.outbox.delete(second, [])
        third = await bench.led()
        assert first.epoch < second.epoch < third.epoch
        assert len({first.incarnation, second.incarnation, third.incarnation}) == 3

    @on_outbox
    async def test_of_relays_that_begin_at_once_one_has_the_lease(self, bench: OutboxBench) -> None:
        terms = await asyncio.gather(*(bench.outbox.lease(LEASE_S) for _ in range(4)))
        assert len([term for term in terms if term is not None]) == 1
        await bench.clock.advance(LEASE_S + 1)
        later = await asyncio.gather(*(bench.outbox.lease(LEASE_S) for _ in range(4)))
        (former,), (term,) = filter(None, terms), filter(None, later)
        assert term.epoch == former.epoch + 1

    @on_outbox
    async def test_a_relay_whose_term_is_over_changes_nothing(self, bench: OutboxBench) -> None:
        await bench.publish([event(b"1")])
        rows = await bench.outbox.read(10)
        former = await bench.led()
        await bench.clock.advance(LEASE_S + 1)
        await bench.led()
        with pytest.raises(LeaseLostError, match="Another relay has taken over"):
            await bench.number(former, rows)
        with pytest.raises(LeaseLostError):
            await bench.outbox.delete(former, [rows[0].id])
        with pytest.raises(LeaseLostError):
            await bench.outbox.lease(LEASE_S, former)
        assert await bench.outbox.read(10) == rows

    @on_outbox
    async def test_a_successor_finds_what_has_numbers_in_the_order_of_its_numbering(self, bench: OutboxBench) -> None:
        for number in range(4):
            await bench.publish([event(b"%d" % number), event(b"and %d" % number)])
        first = await bench.led()
        rows = await bench.outbox.read(2)
        await bench.number(first, rows[::-1])
        await bench.clock.advance(LEASE_S + 1)
        second = await bench.led()
        await bench.number(second, await bench.outbox.read(1))
        found = await bench.outbox.read(10, numbered=True)
        assert values(found) == [b"1", b"and 1", b"0", b"and 0", b"2", b"and 2"]
        assert [row.stamp for row in found] == [
            Stamp(first.epoch, 0, first.incarnation, ((0, 1), (0, 2))),
            Stamp(first.epoch, 1, first.incarnation, ((0, 3), (0, 4))),
            Stamp(second.epoch, 0, second.incarnation, ((0, 1), (0, 2))),
        ]
        assert await bench.outbox.read(10, after=found[0].stamp, numbered=True) == found[1:]
        assert values(await bench.outbox.read(10)) == [b"3", b"and 3"]

    @on_outbox
    async def test_a_row_keeps_the_numbers_that_it_has(self, bench: OutboxBench) -> None:
        await bench.publish([event(b"1")])
        await bench.publish([event(b"2")])
        first, second = await bench.outbox.read(10)
        term = await bench.led()
        await bench.number(term, [first])
        (before,) = await bench.outbox.read(10, numbered=True)
        again = {
            row.id: Stamp(term.epoch, turn, term.incarnation, ((0, turn),))
            for turn, row in enumerate((second, first), start=8)
        }
        with pytest.raises(TransactionError, match="some have numbers or are gone; none was numbered"):
            await bench.outbox.number(term, again)
        assert await bench.outbox.read(10, numbered=True) == [before]
        assert await bench.outbox.read(10) == [second]

    @on_outbox
    async def test_what_was_set_aside_waits_apart_in_its_order_until_it_is_given_numbers(
        self, bench: OutboxBench
    ) -> None:
        for number in range(4):
            await bench.publish([event(b"%d" % number)])
        created = int(bench.clock.time() * 1e6)
        await bench.clock.advance(5)
        term = await bench.led()
        rows = await bench.outbox.read(10)
        aside = [Stamp(ASIDE, turn, b"", ()) for turn in (1, 2, 3)]
        stamps = dict(zip([rows[2].id, rows[0].id, rows[3].id], aside, strict=True))
        await bench.outbox.number(term, stamps, {"orders": "It is shut."})
        assert values(await bench.outbox.read(10)) == [b"1"]
        assert await bench.outbox.read(10, numbered=True) == []
        assert values(await bench.outbox.read(2, aside=True)) == [b"2", b"0"]
        found = await bench.outbox.read(10, aside=True)
        assert [row.stamp for row in found] == aside
        assert await bench.outbox.read(10, after=aside[0], aside=True) == found[1:]
        await bench.number(term, [rows[1], found[0]])
        assert values(await bench.outbox.read(10, numbered=True)) == [b"1", b"2"]
        assert values(await bench.outbox.read(10, aside=True)) == [b"0", b"3"]
        await bench.outbox.delete(term, [row.id for row in rows[:3]])
        assert await bench.outbox.stats() == (created, True)
        with pytest.raises(TransactionError):
            await bench.outbox.number(term, {rows[0].id: aside[0]}, {})

    @on_outbox
    async def test_what_was_deleted_is_gone_and_nobody_waits_for_it(self, bench: OutboxBench) -> None:
        assert await bench.outbox.stats() == (None, False)
        await bench.publish([event(b"1"), event(b"2")])
        created = int(bench.clock.time() * 1e6)
        await bench.clock.advance(5)
        await bench.publish([event(b"3")])
        term = await bench.led()
        assert await bench.outbox.stats() == (created, True)
        rows = await bench.outbox.read(10)
        await bench.number(term, rows)
        await bench.outbox.delete(term, [rows[0].id])
        await bench.outbox.delete(term, [rows[0].id])
        assert values(await bench.outbox.read(10, numbered=True)) == [b"3"]
        assert await bench.outbox.stats() == (created + 5_000_000, True)
