"""Accounts and claims: what a batch did and how far it came commit together, and only its owner can commit."""

from __future__ import annotations

from dataclasses import replace

import pytest

from onward.errors import ClaimLostError
from onward.ports import Attempt, Claim, Settlement
from onward.testing.contracts.scenes import StoreBench, event, on_store, service

FAILED = Attempt(2, "ValueError: no", "mark", 1000.0, 1001.5)


class AccountContract:
    """Supply the fixture `open_store`."""

    @on_store
    async def test_a_new_account_stands_where_its_registration_says(self, bench: StoreBench) -> None:
        claim = await bench.claimed(service(starts=(5, 6, 7, 8)), partition=2)
        assert (claim.partition, claim.position.start, claim.position.next) == (2, 7, 7)
        assert (claim.unclean, claim.suspect_until, claim.attempts) == (0, 0, {})

    @on_store
    async def test_effects_outputs_tally_and_position_commit_together(self, bench: StoreBench) -> None:
        claim = await bench.claimed()
        await _effect(bench, claim, 1, _done(claim, 3, succeeded={"pay": 2}, skipped=1))
        assert claim.position.next == 3
        assert await bench.effects() == [1]
        assert await bench.published() == 1
        assert dict(bench.inspection.tallies(claim.subscription)) == {"pay": (2, 0, 0), "": (0, 0, 1)}
        assert (await bench.claim_again(claim.subscription)).position.next == 3

    @on_store
    async def test_tallies_add_up_over_commits_and_partitions(self, bench: StoreBench) -> None:
        claim = await bench.claimed()
        other = await bench.claim_again(claim.subscription, partition=1)
        await _effect(bench, claim, 1, _done(claim, 2, succeeded={"pay": 2}))
        await _effect(bench, claim, 2, _done(claim, 1, succeeded={"pay": 1}))
        await _effect(bench, other, 3, _done(other, 4, succeeded={"pay": 4}))
        assert dict(bench.inspection.tallies(claim.subscription)) == {"pay": (7, 0, 0)}

    @on_store
    async def test_a_unit_left_without_commit_leaves_nothing(self, bench: StoreBench) -> None:
        claim = await bench.claimed()
        with pytest.raises(ZeroDivisionError):  # noqa: PT012 - the block is what is claimed
            async with bench.store.unit() as unit:
                await unit.tx.execute("INSERT INTO effect VALUES (1)")
                unit.outputs.append(event())
                raise ZeroDivisionError
        await _nothing_happened(bench, claim)

    @on_store
    async def test_whoever_claims_an_account_stops_its_former_owner(self, bench: StoreBench) -> None:
        former = await bench.claimed()
        owner = await bench.claim_again(former.subscription)
        with pytest.raises(ClaimLostError):
            await _effect(bench, former, 1, _done(former, 3, succeeded={"pay": 3}))
        assert former.position.next == 0
        await _nothing_happened(bench, former)
        assert dict(bench.inspection.tallies(former.subscription)) == {}
        owner = await bench.claim_again(owner.subscription)
        await _effect(bench, owner, 2, _done(owner, 3))
        assert await bench.effects() == [2]
        assert await bench.published() == 1

    @on_store
    async def test_a_stale_copy_of_a_claim_cannot_commit(self, bench: StoreBench) -> None:
        claim = await bench.claimed()
        stale = replace(claim)
        await _effect(bench, claim, 1, _done(claim, 1))
        with pytest.raises(ClaimLostError):
            await _effect(bench, stale, 2, _done(stale, 1))
        assert await bench.effects() == [1]
        assert await bench.published() == 1

    @on_store
    async def test_another_token_cannot_commit_whatever_its_revision(self, bench: StoreBench) -> None:
        claim = await bench.claimed()
        stranger = replace(claim, token=bytes(16))
        with pytest.raises(ClaimLostError):
            await _effect(bench, stranger, 1, _done(stranger, 1))
        await _nothing_happened(bench, claim)

    @on_store
    async def test_a_released_claim_cannot_commit(self, bench: StoreBench) -> None:
        claim = await bench.claimed()
        await bench.store.release([claim])
        with pytest.raises(ClaimLostError):
            await _effect(bench, claim, 1, _done(claim, 1))
        await _nothing_happened(bench, claim)

    @on_store
    async def test_releasing_a_lost_claim_leaves_its_owner_alone(self, bench: StoreBench) -> None:
        former = await bench.claimed()
        owner = await bench.claim_again(former.subscription)
        await bench.store.release([former])
        await _effect(bench, owner, 1, _done(owner, 1))
        assert await bench.effects() == [1]

    @on_store
    async def test_claims_without_a_commit_are_counted_as_unclean(self, bench: StoreBench) -> None:
        claim = await bench.claimed()
        assert (await bench.claim_again(claim.subscription)).unclean == 1
        claim = await bench.claim_again(claim.subscription)
        assert claim.unclean == 2
        await _effect(bench, claim, 1, _done(claim, 1))
        assert claim.unclean == 0
        assert (await bench.claim_again(claim.subscription)).unclean == 0

    @on_store
    async def test_a_clean_release_is_no_unclean_start(self, bench: StoreBench) -> None:
        claim = await bench.claimed()
        await bench.store.release([claim])
        assert (await bench.claim_again(claim.subscription)).unclean == 0

    @on_store
    async def test_a_clean_release_clears_the_unclean_starts_before_it(self, bench: StoreBench) -> None:
        claim = await bench.claimed()
        await bench.store.release([await bench.claim_again(claim.subscription)])
        assert (await bench.claim_again(claim.subscription)).unclean == 0

    @on_store
    async def test_an_excused_release_gives_back_its_own_start_and_no_other(self, bench: StoreBench) -> None:
        claim = await bench.claimed()
        claim = await bench.claim_again(claim.subscription)
        assert claim.unclean == 1
        await bench.store.release([claim], excused=True)
        claim = await bench.claim_again(claim.subscription)
        assert claim.unclean == 1
        await _effect(bench, claim, 1, _done(claim, 1))
        await bench.store.release([claim], excused=True)
        assert (await bench.claim_again(claim.subscription)).unclean == 0

    @on_store
    async def test_a_mark_before_a_suspect_event_does_not_count_as_clean(self, bench: StoreBench) -> None:
        claim = await bench.claimed()
        claim = await bench.claim_again(claim.subscription)
        mark = Settlement(claim.position, attempts={(0, ""): FAILED}, suspect_until=9, clears_unclean=False)
        async with bench.store.unit() as unit:
            await unit.commit(claim, mark)
        assert (claim.unclean, claim.suspect_until) == (1, 9)
        again = await bench.claim_again(claim.subscription)
        assert (again.unclean, again.suspect_until, again.attempts) == (2, 9, {(0, ""): FAILED})

    @on_store
    async def test_attempts_outlive_their_claim_until_they_are_forgotten(self, bench: StoreBench) -> None:
        claim = await bench.claimed()
        async with bench.store.unit() as unit:
            await unit.commit(claim, Settlement(claim.position, attempts={(0, "pay"): FAILED, (1, "pay"): FAILED}))
        claim = await bench.claim_again(claim.subscription)
        assert claim.attempts == {(0, "pay"): FAILED, (1, "pay"): FAILED}
        async with bench.store.unit() as unit:
            await unit.commit(claim, _done(claim, 1, forget=[(0, "pay")]))
        assert claim.attempts == {(1, "pay"): FAILED}
        assert (await bench.claim_again(claim.subscription)).attempts == {(1, "pay"): FAILED}

    @on_store
    async def test_offsets_done_beyond_a_gap_are_remembered(self, bench: StoreBench) -> None:
        claim = await bench.claimed()
        async with bench.store.unit() as unit:
            await unit.commit(claim, Settlement(claim.position.finish([0, 2, 3, 7])))
        position = (await bench.claim_again(claim.subscription)).position
        assert [offset for offset in range(10) if position.done(offset)] == [0, 2, 3, 7]

    @on_store
    async def test_accounts_of_two_partitions_do_not_touch(self, bench: StoreBench) -> None:
        zero = await bench.claimed()
        one = await bench.claim_again(zero.subscription, partition=1)
        await _effect(bench, zero, 1, _done(zero, 5))
        assert (await bench.claim_again(one.subscription, partition=1)).position.next == 0

    @on_store
    async def test_a_transaction_without_a_claim_stores_effects_and_outputs(self, bench: StoreBench) -> None:
        claim = await bench.claimed()
        async with bench.store.unit() as unit:
            await unit.tx.execute("INSERT INTO effect VALUES (1)")
            unit.outputs.append(event())
            await unit.commit(None, None)
        assert await bench.effects() == [1]
        assert await bench.published() == 1
        await _effect(bench, claim, 2, _done(claim, 1))


def _done(
    claim: Claim,
    count: int,
    *,
    succeeded: dict[str, int] | None = None,
    skipped: int = 0,
    forget: list[tuple[int, str]] | None = None,
) -> Settlement:
    position = claim.position.finish_through(claim.position.next + count)
    return Settlement(position, succeeded or {}, skipped, forget=forget or [])


async def _effect(bench: StoreBench, claim: Claim, number: int, settlement: Settlement) -> None:
    """One row, one output, one settlement."""
    async with bench.store.unit() as unit:
        await unit.tx.execute("INSERT INTO effect VALUES (:n)", n=number)
        unit.outputs.append(event())
        settlement.outputs = unit.outputs
        await unit.commit(claim, settlement)


async def _nothing_happened(bench: StoreBench, claim: Claim) -> None:
    assert await bench.effects() == []
    assert await bench.published() == 0
    assert (await bench.claim_again(claim.subscription)).position.next == 0
