"""A limit on the calls of a plain handler: even, for all its calls, and in nobody's way."""

import asyncio
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import pytest

from onward import App, Context, Event, Retry, SyncTransaction, Transaction
from onward.errors import DeclarationError
from onward.events.registry import isolated_registry
from onward.testing import FakeClock, Harness


class Rung(Event, type="rate.rung", topic="rate-bells"):
    n: int


class Knocked(Event, type="rate.knocked", topic="rate-doors"):
    n: int


@pytest.fixture(autouse=True)
def own_registry() -> Iterator[None]:
    with isolated_registry():
        yield


class Porter:
    """An App whose plain handler may be called so often; the times of its calls, from the first on."""

    def __init__(self, limit: str | float, *, failing: int = 0) -> None:
        self.app = App("porter", schema="CREATE TABLE IF NOT EXISTS seen (n INTEGER)")
        self.clock = FakeClock(start_s=0.0)
        self.called_at: list[float] = []
        self.failing = failing

        @self.app.on(Rung, Knocked, rate_limit=limit, retry=Retry(max_attempts=2, first_s=0.0, max_s=0.0))
        async def answer(called: Rung | Knocked, ctx: Context) -> None:
            self.called_at.append(self.clock.time())
            if self.failing:
                self.failing -= 1
                raise ValueError("nobody there")

    def harness(self) -> Harness:
        return Harness(self.app, clock=self.clock, waits=True)


def test_calls_are_spaced_evenly_whatever_waits() -> None:
    async def scene() -> None:
        porter = Porter("5/s")
        async with porter.harness() as h:
            await h.publish(*(Rung(n=n) for n in range(12)))
            await h.advance(0.5)
            assert porter.called_at == pytest.approx([0.0, 0.2, 0.4])
            await h.advance(60.0)
            await h.settle()
            assert porter.called_at == pytest.approx([n / 5 for n in range(12)])

    asyncio.run(scene())


def test_all_topics_of_a_handler_share_its_limit() -> None:
    async def scene() -> None:
        porter = Porter("30/min")
        async with porter.harness() as h:
            await h.publish(Rung(n=1), Knocked(n=2), Rung(n=3))
            await h.advance(60.0)
            await h.settle()
            assert porter.called_at == pytest.approx([0.0, 2.0, 4.0])

    asyncio.run(scene())


def test_retries_and_dead_letters_that_run_again_count_as_calls() -> None:
    async def scene() -> None:
        porter = Porter(1, failing=4)
        async with porter.harness() as h:
            await h.publish(Rung(n=1), Rung(n=2))
            await h.advance(60.0)
            await h.settle()
            assert porter.called_at == pytest.approx([0.0, 1.0, 2.0, 3.0])
            assert sum(store.retry() for store in h._parts.stores.values()) == 2
            async with asyncio.timeout(20):
                while h.dead_letters or len(porter.called_at) < 6:
                    await h.advance(0.1)
                    await asyncio.sleep(0.005)  # dead letters to run again are looked for by the machine's clock
            assert all(later - earlier > 0.99 for earlier, later in pairwise(porter.called_at))

    asyncio.run(scene())


def test_nobody_waits_to_write_while_a_call_waits_for_its_time() -> None:
    async def scene() -> None:
        porter = Porter("1/h")
        async with porter.harness() as h:
            await h.publish(Rung(n=1), Rung(n=2))
            await h.advance(1.0)
            assert len(porter.called_at) == 1
            async with asyncio.timeout(5), porter.app.transaction() as tx:
                await tx.execute("INSERT INTO seen VALUES (1)")
            assert h.rows("SELECT n FROM seen") == [(1,)]

    asyncio.run(scene())


def test_a_stop_waits_for_no_call_that_has_not_begun_and_the_next_start_makes_it() -> None:
    async def scene() -> None:
        porter = Porter("1/h")
        async with asyncio.timeout(10), porter.harness() as h:
            await h.publish(*(Rung(n=n) for n in range(3)))
            await h.advance(1.0)
            (service,) = h._services
            assert (await service.drain(5.0)).finished
            assert len(porter.called_at) == 1
            await h.restart()
            await h.advance(7200.0)
            await h.settle()
            assert sorted(each.event.n for each in h.handled) == [0, 1, 2]

    asyncio.run(scene())


def test_a_harness_without_waits_calls_as_often_as_it_can() -> None:
    async def scene() -> None:
        porter = Porter("1/h")
        async with Harness(porter.app) as h:
            await h.publish(*(Rung(n=n) for n in range(100)))
            await h.settle()
            assert len(h.handled) == 100

    asyncio.run(scene())


async def with_transaction(rung: Rung, tx: Transaction) -> None: ...


def with_sync_transaction(rung: Rung, tx: SyncTransaction) -> None: ...


async def with_list(rung: list[Rung], tx: Transaction) -> None: ...


@pytest.mark.parametrize("function", [with_transaction, with_sync_transaction, with_list])
def test_a_handler_with_a_transaction_can_have_no_limit(function: Callable[..., Any]) -> None:
    with pytest.raises(DeclarationError, match=f"{function.__name__} .*rate_limit is for handlers without a transact"):
        App("porter").on(Rung, rate_limit="5/s")(function)


def test_a_limit_that_is_no_rate_is_refused_where_it_is_declared() -> None:
    async def answer(rung: Rung) -> None: ...

    with pytest.raises(DeclarationError, match=r"answer: rate_limit='often' is no rate"):
        App("porter").on(Rung, rate_limit="often")(answer)
