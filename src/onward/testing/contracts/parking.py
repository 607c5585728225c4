"""Blocked keys: what comes behind a dead letter waits for it, in order, and a key is freed only with nothing behind."""

from __future__ import annotations

import asyncio

import pytest

from onward.errors import ClaimLostError
from onward.partitioning import partition_of
from onward.ports import Claim, DeadLetter, Parked, Queues, Settlement
from onward.testing.contracts.scenes import ORDERS, StoreBench, arrived, on_store

NOW = 1000.0


class ParkingContract:
    """Supply the fixture `open_store`."""

    @on_store
    async def test_a_dead_letter_that_blocks_blocks_its_key_for_its_handler_alone(self, bench: StoreBench) -> None:
        claim = await bench.claimed()
        await _settle(bench, claim, dead=[_letter(0, "a"), _letter(1, "b", blocks=False), _letter(2, None)])
        assert claim.blocked == {("pay", "a")}
        assert (await bench.claim_again(claim.subscription)).blocked == {("pay", "a")}
        its_own = partition_of(b"a", ORDERS.partitions)  # where it comes if it came here before there were as many
        for partition in (1, 2, 3):
            blocked = (await bench.claim_again(claim.subscription, partition)).blocked
            assert blocked == ({("pay", "a")} if partition == its_own else set())

    @on_store
    async def test_nothing_is_due_behind_a_dead_letter(self, bench: StoreBench) -> None:
        claim = await bench.claimed()
        await _settle(bench, claim, dead=[_letter(0, "a")], parked=[_event(1, "a")])
        assert await _queues(bench, claim) == Queues([], [])

    @on_store
    async def test_what_was_parked_comes_in_its_order_and_as_it_was_once_the_letter_succeeded(
        self, bench: StoreBench
    ) -> None:
        claim = await bench.claimed()
        await _settle(bench, claim, dead=[_letter(0, "a")], parked=[_event(2, "a", value=None), _event(1, "a")])
        await _settle(bench, claim, parked=[_event(7, "a", value=b"\xff\x00 not JSON")])
        await _revive(bench, claim)
        found = await _queues(bench, claim)
        assert [each._replace(id=0) for each in found.due] == [
            _event(2, "a", value=None),
            _event(1, "a"),
            _event(7, "a", value=b"\xff\x00 not JSON"),
        ]
        assert found.empty == []

    @on_store
    async def test_another_key_and_another_partition_have_queues_of_their_own(self, bench: StoreBench) -> None:
        claim = await bench.claimed()
        other = await bench.claim_again(claim.subscription, partition=1)
        await _settle(bench, claim, dead=[_letter(0, "a")], parked=[_event(1, "a")])
        await _settle(bench, other, dead=[_letter(0, "c", partition=1)], parked=[_event(1, "c", partition=1)])
        await _revive(bench, claim)
        await _settle(bench, claim, dead=[_letter(5, "b")], parked=[_event(6, "b")])
        assert [each.offset for each in (await _queues(bench, claim)).due] == [1]
        assert await _queues(bench, other) == Queues([], [])

    @on_store
    async def test_a_key_is_freed_once_nothing_is_parked_any_more(self, bench: StoreBench) -> None:
        claim = await bench.claimed()
        await _settle(bench, claim, dead=[_letter(0, "a")], parked=[_event(1, "a")])
        await _revive(bench, claim)
        (event,) = (await _queues(bench, claim)).due
        await _settle(bench, claim, unparked=[event])
        assert claim.blocked == {("pay", "a")}
        await _free(bench, claim)
        assert claim.blocked == set()
        assert (await bench.claim_again(claim.subscription)).blocked == set()

    @on_store
    async def test_a_parked_event_that_dies_blocks_what_is_parked_behind_it(self, bench: StoreBench) -> None:
        claim = await bench.claimed()
        await _settle(bench, claim, dead=[_letter(0, "a")], parked=[_event(1, "a"), _event(2, "a")])
        await _revive(bench, claim)
        first, second = (await _queues(bench, claim)).due
        await _settle(bench, claim, dead=[_letter(1, "a")], unparked=[first])
        assert await _queues(bench, claim) == Queues([], [])
        await _revive(bench, claim)
        assert (await _queues(bench, claim)).due == [second]

    @on_store
    async def test_what_is_put_off_holds_up_its_key_until_its_time(self, bench: StoreBench) -> None:
        claim = await bench.claimed()
        await _settle(bench, claim, dead=[_letter(0, "a")], parked=[_event(1, "a"), _event(2, "a")])
        await _settle(bench, claim, dead=[_letter(3, "b")], parked=[_event(4, "b")])
        await _revive(bench, claim)
        first, *_ = (await _queues(bench, claim)).due
        tried = first._replace(attempts=1, begun=2, error="ValueError: no", fingerprint="mark", first_at=NOW)
        await _settle(bench, claim, put_off=[(tried, NOW + 5)])
        assert [each.offset for each in (await _queues(bench, claim)).due] == [4]
        later = await _queues(bench, claim, now=NOW + 5)
        assert later.due[0] == tried
        assert [each.offset for each in later.due] == [1, 2, 4]

    @on_store
    async def test_an_event_parked_behind_a_key_that_was_freed_meanwhile_is_due_and_blocks_again(
        self, bench: StoreBench
    ) -> None:
        claim = await bench.claimed()
        other = await bench.claim_again(claim.subscription, partition=1)  # as a key's new partition has it
        await _settle(bench, claim, dead=[_letter(0, "a")])
        await _revive(bench, claim)
        await _free(bench, claim)
        await _settle(bench, other, parked=[_event(0, "a", partition=1)])
        assert [each.offset for each in (await _queues(bench, other)).due] == [0]
        assert (await bench.claim_again(claim.subscription, partition=1)).blocked == {("pay", "a")}

    @on_store
    async def test_of_a_key_that_is_freed_and_an_event_that_is_parked_at_once_the_event_is_never_left_behind(
        self, bench: StoreBench
    ) -> None:
        claim = await bench.claimed()
        other = await bench.claim_again(claim.subscription, partition=1)
        await _settle(bench, claim, dead=[_letter(0, "a")])
        await _revive(bench, claim)
        found, freed = asyncio.Event(), asyncio.Event()

        async def free() -> None:
            async with bench.store.unit() as unit:
                queues = await unit.queues(claim, NOW)
                assert queues.empty == [("pay", "a")]
                found.set()
                for _ in range(50):  # time for the other one to come, and to wait
                    await asyncio.sleep(0.001)
                await unit.commit(claim, Settlement(claim.position, freed=queues.empty))
            freed.set()

        async def park() -> None:
            await found.wait()
            await _settle(bench, other, parked=[_event(0, "a", partition=1)])
            assert freed.is_set()

        await asyncio.gather(free(), park())
        assert [each.offset for each in (await _queues(bench, other)).due] == [0]
        await _settle(bench, other, unparked=(await _queues(bench, other)).due)
        await _free(bench, other)

    @on_store
    async def test_a_key_behind_which_something_was_parked_is_not_found_empty(self, bench: StoreBench) -> None:
        claim = await bench.claimed()
        other = await bench.claim_again(claim.subscription, partition=1)
        await _settle(bench, claim, dead=[_letter(0, "a")])
        await _settle(bench, other, parked=[_event(0, "a", partition=1)])
        await _revive(bench, claim)
        found = await _queues(bench, claim)
        assert [each.offset for each in found.due] == [0]
        assert found.empty == []

    @on_store
    async def test_what_came_on_another_partition_counts_there_and_dies_there(self, bench: StoreBench) -> None:
        claim = await bench.claimed()
        other = await bench.claim_again(claim.subscription, partition=1)
        await _settle(bench, claim, dead=[_letter(0, "a"), _letter(1, "b", blocks=False)])
        await _settle(bench, other, parked=[_event(0, "a", partition=1), _event(1, "a", partition=1)])
        await _revive(bench, claim)
        first, second = (await _queues(bench, claim)).due
        assert first._replace(id=0) == _event(0, "a", partition=1)
        await _settle(bench, claim, unparked=[first])
        await _settle(bench, claim, dead=[_letter(1, "a", partition=1)], unparked=[second])
        await bench.inspection.retry_dead_letters()
        async with bench.store.unit() as unit:
            assert await unit.retrying(claim) == []
            (died,) = await unit.retrying(other)
            await unit.commit(other, Settlement(other.position, {"pay": 1}, revived=[died.id]))
        assert died.letter._replace(blocks=False) == _letter(1, "a", partition=1, blocks=False)
        assert dict(bench.inspection.tallies(claim.subscription)) == {"pay": (4, 0, 0)}
        await _free(bench, claim)

    @on_store
    async def test_who_lost_the_claim_parks_and_frees_nothing(self, bench: StoreBench) -> None:
        claim = await bench.claimed()
        await _settle(bench, claim, dead=[_letter(0, "a")])
        await _revive(bench, claim)
        owner = await bench.claim_again(claim.subscription)
        with pytest.raises(ClaimLostError):
            await _settle(bench, claim, parked=[_event(1, "a")])
        with pytest.raises(ClaimLostError):
            await _settle(bench, claim, freed=[("pay", "a")])
        assert await _queues(bench, owner) == Queues([], [("pay", "a")])

    @on_store
    async def test_what_is_parked_no_more_is_not_unparked_twice(self, bench: StoreBench) -> None:
        claim = await bench.claimed()
        await _settle(bench, claim, dead=[_letter(0, "a")], parked=[_event(1, "a"), _event(2, "a")])
        await _revive(bench, claim)
        first, second = (await _queues(bench, claim)).due
        await _settle(bench, claim, unparked=[first])
        with pytest.raises(ClaimLostError):
            await _settle(bench, claim, unparked=[first])
        claim = await bench.claim_again(claim.subscription)
        assert await _queues(bench, claim) == Queues([second], [])


def _letter(offset: int, key: str | None, *, partition: int = 0, blocks: bool = True) -> DeadLetter:
    envelope = arrived(offset, key, partition)
    return DeadLetter(offset, "pay", "fatal", "ValueError: no", "", "mark", 5, 1000.5, envelope, b"{}", blocks)


def _event(offset: int, key: str, *, partition: int = 0, value: bytes | None = b"{}") -> Parked:
    return Parked("pay", offset, arrived(offset, key, partition), value)


async def _settle(
    bench: StoreBench,
    claim: Claim,
    *,
    dead: list[DeadLetter] | None = None,
    parked: list[Parked] | None = None,
    unparked: list[Parked] | None = None,
    put_off: list[tuple[Parked, float | None]] | None = None,
    freed: list[tuple[str, str]] | None = None,
) -> None:
    settlement = Settlement(
        claim.position,
        dead=dead or [],
        parked=parked or [],
        unparked=unparked or [],
        put_off=put_off or [],
        freed=freed or [],
    )
    async with bench.store.unit() as unit:
        await unit.commit(claim, settlement)


async def _queues(bench: StoreBench, claim: Claim, *, now: float = NOW) -> Queues:
    async with bench.store.unit() as unit:
        return await unit.queues(claim, now)


async def _revive(bench: StoreBench, claim: Claim) -> None:
    """Every dead letter of the partition runs again with success."""
    await bench.inspection.retry_dead_letters()
    async with bench.store.unit() as unit:
        revived = [each.id for each in await unit.retrying(claim)]
        await unit.commit(claim, Settlement(claim.position, {"pay": len(revived)}, revived=revived))


async def _free(bench: StoreBench, claim: Claim) -> None:
    async with bench.store.unit() as unit:
        found = await unit.queues(claim, NOW)
        assert found.empty
        await unit.commit(claim, Settlement(claim.position, freed=found.empty))
