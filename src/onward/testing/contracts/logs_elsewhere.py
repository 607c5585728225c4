"""Accounts of a log that somebody else holds: it grows, has gaps, loses its oldest, or is replaced by another."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from onward.errors import ClaimLostError
from onward.events import Envelope
from onward.ledger import RECENT, Run
from onward.ports import Attempt, Claim, DeadLetter, Place, Settlement, Shift
from onward.testing.contracts.scenes import StoreBench, handler, on_store, service


class LogElsewhereContract:
    """Supply the fixture `open_store`."""

    @on_store
    async def test_a_mark_is_kept_beside_the_position_and_given_back(self, bench: StoreBench) -> None:
        claim = await bench.claimed()
        assert claim.mark == ""
        claim.mark = "log a, epoch 3"
        await _settle(bench, claim, Settlement(claim.position.finish_through(4), {"pay": 4}))
        again = await bench.claim_again(claim.subscription)
        assert (again.mark, again.position.next) == ("log a, epoch 3", 4)
        await _settle(bench, again, Settlement(again.position.finish_through(5), {"pay": 1}))
        assert (await bench.claim_again(claim.subscription)).mark == "log a, epoch 3"

    @on_store
    async def test_a_partition_that_came_later_is_owed_from_its_beginning(self, bench: StoreBench) -> None:
        first = await bench.claimed(service(handler(joined=(7, 7, 7, 7)), starts=(7, 7, 7, 7)))
        later = await bench.claim_again(first.subscription, partition=5)
        between = await bench.claim_again(first.subscription, partition=4)
        assert [claim.position.next for claim in (first, between, later)] == [7, 0, 0]
        assert [claim.joined for claim in (first, between, later)] == [{"pay": 7}, {"pay": 0}, {"pay": 0}]
        await _settle(bench, later, Settlement(later.position.finish_through(2), {"pay": 2}))
        assert (await bench.claim_again(first.subscription, partition=5)).position.next == 2

    @on_store
    async def test_what_a_log_lost_counts_as_skipped(self, bench: StoreBench) -> None:
        claim = await bench.claimed()
        shift = Shift(0, Place(100, "log a"), anew=False, why="retention took it")
        claim.mark = "log a"
        await _settle(bench, claim, Settlement(claim.position.finish_through(100), skipped=100, shift=shift))
        again = await bench.claim_again(claim.subscription)
        assert (again.position.next, again.mark) == (100, "log a")
        assert dict(bench.inspection.tallies(claim.subscription)) == {"": (0, 0, 100)}

    @on_store
    async def test_another_log_is_owed_from_where_it_begins_and_what_was_handled_stays_counted(
        self, bench: StoreBench
    ) -> None:
        claim = await bench.claimed(service(handler(joined=(3, 0, 0, 0)), starts=(3, 0, 0, 0)))
        await _settle(bench, claim, Settlement(claim.position.finish_through(9), {"pay": 6}))
        await _shift_to_another(bench, claim)
        for found in (claim, await bench.claim_again(claim.subscription)):
            assert (found.position.next, found.position.handled_count) == (0, 6)
            assert (found.joined, found.suspect_until) == ({"pay": 0}, 0)

    @on_store
    async def test_attempts_of_another_log_are_forgotten(self, bench: StoreBench) -> None:
        claim = await bench.claimed()
        attempt = Attempt(2, "ValueError: no", "mark", 1000.0, 1001.5)
        await _settle(bench, claim, Settlement(claim.position, attempts={(0, "pay"): attempt}, suspect_until=50))
        await _shift_to_another(bench, claim)
        assert claim.attempts == {}
        assert (await bench.claim_again(claim.subscription)).attempts == {}

    @on_store
    async def test_dead_letters_of_another_log_stay_and_make_room_for_those_to_come(self, bench: StoreBench) -> None:
        claim = await bench.claimed()
        await _settle(bench, claim, Settlement(claim.position.finish_through(1), dead=[_letter("old")]))
        await _shift_to_another(bench, claim)
        await _settle(bench, claim, Settlement(claim.position.finish_through(1), dead=[_letter("new")]))
        assert await bench.inspection.retry_dead_letters() == 2
        async with bench.store.unit() as unit:
            retried = await unit.retrying(claim)
        assert {each.letter.envelope.id for each in retried} == {"old", "new"}

    @on_store
    async def test_numbers_are_known_of_what_is_done_and_of_nothing_further(self, bench: StoreBench) -> None:
        claim = await bench.claimed()
        claim.arrivals, _ = claim.arrivals.arrive([_run(1, 0, 6)])
        await _settle(bench, claim, Settlement(claim.position.finish_through(4), {"pay": 4}))
        again = await bench.claim_again(claim.subscription)
        again.arrivals, repeated = again.arrivals.arrive([_run(5, 4, 2), _run(3, 6, 5)])
        assert repeated == [range(6, 10)]
        await _settle(bench, again, Settlement(again.position.finish_through(11), {"pay": 3}, skipped=4))
        third = await bench.claim_again(claim.subscription)
        assert third.arrivals.arrive([_run(1, 11, 8)])[1] == [range(11, 18)]

    @on_store
    async def test_numbers_of_what_is_done_beyond_the_position_are_known_wherever_it_moves(
        self, bench: StoreBench
    ) -> None:
        claim = await bench.claimed()
        claim.arrivals, _ = claim.arrivals.arrive([_run(1, 0, 10)])
        await _settle(bench, claim, Settlement(claim.position.finish(range(1, 8)), {"pay": 7}))
        again = await bench.claim_again(claim.subscription)
        again.arrivals, repeated = again.arrivals.arrive([_run(1, 0, 2)])
        assert 0 not in [offset for each in repeated for offset in each]
        await _settle(bench, again, Settlement(again.position.finish([0]), {"pay": 1}))
        third = await bench.claim_again(claim.subscription)
        assert third.position.next == 8
        assert third.arrivals.arrive([_run(9, 8, 2), _run(4, 10, 3)])[1] == [range(10, 13)]

    @on_store
    async def test_an_incarnation_opened_after_the_subscription_is_owed_whole(self, bench: StoreBench) -> None:
        claim = await bench.claimed()
        older = _run(7, 2, 1)._replace(incarnation="older", opened=datetime(2000, 1, 1, tzinfo=UTC))
        claim.arrivals, _ = claim.arrivals.arrive([_run(3, 0, 2), older])
        await _settle(bench, claim, Settlement(claim.position.finish_through(3), {"pay": 3}))
        stored = (await bench.claim_again(claim.subscription)).arrivals.stored
        assert [list(stored.missing(each, 9)) for each in (_run(1, 0, 1).incarnation, "older")] == [
            [range(1, 3), range(5, 10)],
            [range(8, 10)],
        ]

    @on_store
    async def test_a_claim_reads_the_latest_incarnations_and_tells_repetitions_of_an_old_one_all_the_same(
        self, bench: StoreBench
    ) -> None:
        claim = await bench.claimed()
        terms = [_run(1, each, 1)._replace(incarnation=f"{each:032x}") for each in range(3 * RECENT)]
        claim.arrivals, _ = claim.arrivals.arrive(terms)
        await _settle(bench, claim, Settlement(claim.position.finish_through(len(terms)), {"pay": len(terms)}))
        again = await bench.claim_again(claim.subscription)
        if bench.store.capabilities.durable:
            assert sorted(again.arrivals.stored.incarnations) == [each.incarnation for each in terms[-RECENT:]]
        old, new = terms[0]._replace(offset=len(terms)), terms[1]._replace(number=2, offset=len(terms) + 1)
        unknown = _run(1, len(terms) + 2, 1)._replace(incarnation="00")
        strangers = again.arrivals.strangers([old, new, unknown])
        again.arrivals = again.arrivals.recalled(await bench.store.recall(again, strangers))
        again.arrivals, repeated = again.arrivals.arrive([old, new, unknown])
        assert repeated == [range(len(terms), len(terms) + 1)]
        assert again.arrivals.strangers([old, new, unknown]) == set()
        await _settle(bench, again, Settlement(again.position.finish_through(len(terms) + 3), {"pay": 2}, skipped=1))
        third = await bench.claim_again(claim.subscription)
        third.arrivals = third.arrivals.recalled(await bench.store.recall(third, [terms[1].incarnation]))
        assert third.arrivals.arrive([_run(1, len(terms) + 3, 3)._replace(incarnation=terms[1].incarnation)])[1] == [
            range(len(terms) + 3, len(terms) + 5)
        ]

    @on_store
    async def test_what_a_rolled_back_commit_had_of_numbers_is_not_known(self, bench: StoreBench) -> None:
        claim = await bench.claimed()
        stale = await bench.claim_again(claim.subscription)
        await bench.claim_again(claim.subscription)
        stale.arrivals, _ = stale.arrivals.arrive([_run(1, 0, 3)])
        with pytest.raises(ClaimLostError):
            await _settle(bench, stale, Settlement(stale.position.finish_through(3), {"pay": 3}))
        assert (await bench.claim_again(claim.subscription)).arrivals.stored.incarnations == {}


def _run(number: int, offset: int, count: int) -> Run:
    """Of a relay that began long after the subscription was made."""
    return Run("0123456789abcdef0123456789abcdef", datetime(2100, 1, 1, tzinfo=UTC), number, offset, count)


async def _settle(bench: StoreBench, claim: Claim, settlement: Settlement) -> None:
    async with bench.store.unit() as unit:
        await unit.commit(claim, settlement)


async def _shift_to_another(bench: StoreBench, claim: Claim) -> None:
    shift = Shift(claim.partition, Place(0, "log b"), anew=True, why="the topic was made again")
    claim.mark = "log b"
    await _settle(bench, claim, Settlement(claim.position.on_another_log(0), shift=shift, clears_unclean=False))


def _letter(event_id: str) -> DeadLetter:
    envelope = Envelope(
        id=event_id,
        source="elsewhere",
        type="contract.event",
        version=1,
        topic="orders",
        partition=0,
        offset=0,
        key=None,
        time=datetime(2024, 2, 29, 12, 30, 15, tzinfo=UTC),
    )
    return DeadLetter(0, "pay", "attempts_spent", "ValueError: no", "", "mark", 1, 1000.5, envelope, b"{}")
