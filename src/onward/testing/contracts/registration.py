"""Registration: the store has every handler on record, and nothing is handled where the code disagrees."""

from __future__ import annotations

import pytest

from onward.errors import ClaimLostError, RegistrationError, StoreError
from onward.ports import ServiceEntry, Settlement
from onward.testing.contracts.scenes import ORDERS, StoreBench, handler, on_store, service


class RegistrationContract:
    """Supply the fixture `open_store`."""

    @on_store
    async def test_a_service_that_comes_back_finds_its_subscription_as_it_was(self, bench: StoreBench) -> None:
        claim = await bench.claimed()
        async with bench.store.unit() as unit:
            await unit.commit(claim, Settlement(claim.position.finish_through(4)))
        again = await bench.claimed(service(starts=(9, 9, 9, 9)))
        assert again.subscription == claim.subscription
        assert again.position.next == 4

    @on_store
    async def test_a_handler_that_joins_from_now_is_owed_from_where_it_joined(self, bench: StoreBench) -> None:
        await bench.claimed()
        joined = handler("thank", start="now", joined=(3, 4, 5, 6))
        claim = await bench.claimed(service(handler(), joined), partition=1)
        assert claim.joined == {"pay": 0, "thank": 4}
        assert claim.position.next == 0

    @on_store
    async def test_where_a_new_subscription_begins_may_be_chosen_and_is_then_as_good_as_declared(
        self, bench: StoreBench
    ) -> None:
        chosen = service(handler(), starts=(0, 0, 0, 0), chosen=(5, 6, 7, 8))
        claim = await bench.claimed(chosen, partition=1)
        assert (claim.position.start, claim.position.next, claim.joined) == (6, 6, {"pay": 6})
        assert (await bench.claimed(service(), partition=1)).joined == {"pay": 6}, "a later run need not choose"

    @on_store
    async def test_a_choice_moves_no_subscription_that_is_there(self, bench: StoreBench) -> None:
        await bench.claimed()
        joining = handler("thank", start="now", joined=(3, 3, 3, 3))
        claim = await bench.claimed(service(handler(), joining, chosen=(9, 9, 9, 9)))
        assert (claim.position.next, claim.joined) == (0, {"pay": 0, "thank": 3})

    @on_store
    async def test_where_a_handler_joined_does_not_move_when_the_service_comes_back(self, bench: StoreBench) -> None:
        await bench.claimed()
        await bench.claimed(service(handler(), handler("thank", start="now", joined=(3, 3, 3, 3))))
        claim = await bench.claimed(service(handler(), handler("thank", start="now", joined=(8, 8, 8, 8))))
        assert claim.joined == {"pay": 0, "thank": 3}

    @on_store
    async def test_what_passed_before_a_handler_joined_is_skipped_for_it(self, bench: StoreBench) -> None:
        claim = await bench.claimed()
        async with bench.store.unit() as unit:
            done = claim.position.finish_through(7)
            await unit.commit(claim, Settlement(done, {"pay": 4}, skipped=2, passed={"pay": 1}))
        claim = await bench.claimed(service(handler(), handler("thank", start="now", joined=(7, 0, 0, 0))))
        async with bench.store.unit() as unit:
            done = claim.position.finish_through(9)
            await unit.commit(claim, Settlement(done, {"pay": 2, "thank": 1}, passed={"thank": 1}))
        tallies = dict(bench.inspection.tallies(claim.subscription))
        assert tallies == {"": (0, 0, 2), "pay": (6, 0, 1), "thank": (1, 0, 6)}

    @on_store
    async def test_a_claim_from_before_a_handler_joined_cannot_commit(self, bench: StoreBench) -> None:
        claim = await bench.claimed()
        await bench.store.open(service(handler(), handler("thank", start="now")))
        with pytest.raises(ClaimLostError):
            async with bench.store.unit() as unit:
                await unit.commit(claim, Settlement(claim.position.finish_through(1), {"pay": 1}))
        again = await bench.claim_again(claim.subscription)
        assert (again.position.next, again.unclean) == (0, 0)

    @on_store
    async def test_a_handler_cannot_join_from_the_beginning_what_is_past_it(self, bench: StoreBench) -> None:
        await bench.claimed()
        with pytest.raises(RegistrationError, match="thank"):
            await bench.store.open(service(handler(), handler("thank")))
        assert (await bench.claimed()).joined == {"pay": 0}

    @on_store
    async def test_a_handler_of_another_kind_is_refused(self, bench: StoreBench) -> None:
        await bench.claimed()
        with pytest.raises(RegistrationError, match="batch"):
            await bench.store.open(service(handler(kind="batch")))

    @on_store
    async def test_a_handler_with_another_start_is_refused(self, bench: StoreBench) -> None:
        await bench.claimed()
        with pytest.raises(RegistrationError, match="now"):
            await bench.store.open(service(handler(start="now")))

    @on_store
    async def test_a_handler_on_record_that_the_code_lacks_is_refused(self, bench: StoreBench) -> None:
        await bench.claimed(service(handler(), handler("thank")))
        with pytest.raises(RegistrationError, match="thank"):
            await bench.store.open(service(handler()))

    @on_store
    async def test_a_subscription_on_record_that_the_code_lacks_is_refused(self, bench: StoreBench) -> None:
        entry = service()
        (shared,) = entry.subscriptions
        alone = type(shared)("mail", ORDERS.name, False, (handler("mail", "plain"),), (0, 0, 0, 0))
        await bench.claimed(ServiceEntry("shop", entry.schema, {}, (shared, alone)))
        with pytest.raises(RegistrationError, match="mail"):
            await bench.store.open(entry)

    @on_store
    async def test_a_service_that_only_publishes_is_not_held_to_its_record(self, bench: StoreBench) -> None:
        await bench.claimed()
        assert await bench.store.open(ServiceEntry("shop", (), {}, ())) == []

    @on_store
    async def test_subscriptions_are_given_back_in_the_order_asked(self, bench: StoreBench) -> None:
        entry = service()
        (shared,) = entry.subscriptions
        alone = type(shared)("mail", ORDERS.name, False, (handler("mail", "plain"),), (0, 0, 0, 0))
        await bench.broker.open([ORDERS])
        first, second = await bench.store.open(ServiceEntry("shop", entry.schema, {}, (shared, alone)))
        assert await bench.store.open(ServiceEntry("shop", entry.schema, {}, (alone, shared))) == [second, first]

    @on_store
    async def test_a_schema_that_does_not_run_is_an_error_of_the_store(self, bench: StoreBench) -> None:
        await bench.broker.open([ORDERS])
        with pytest.raises(StoreError):
            await bench.store.open(service(schema="CREATE TABEL effect (n)"))
        assert (await bench.claimed()).position.next == 0
