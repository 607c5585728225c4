"""What a handler returns that is no event: only other code mends it, so it is said at once and not tried again."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from onward import Transaction
from onward.pipeline.plain import PlainRunner
from onward.pipeline.transactional import TransactionalRunner
from tests.unit.pipeline.stage import INSERT, Billed, Ordered, Stage, until


async def each(order: Ordered, tx: Transaction) -> Any:
    await tx.execute(INSERT, by="each", n=order.n)
    return 5 if order.n == 2 else Billed(customer=order.customer, n=order.n)


async def together(orders: list[Ordered], tx: Transaction) -> Any:
    for order in orders:
        await tx.execute(INSERT, by="together", n=order.n)
    return [5 if order.n == 2 else Billed(customer=order.customer, n=order.n) for order in orders]


async def plainly(order: Ordered) -> Any:
    return 5 if order.n == 2 else Billed(customer=order.customer, n=order.n)


def published_in_the_middle(value: object) -> Callable[..., Any]:
    async def each(order: Ordered, tx: Transaction) -> None:
        if order.n == 2:
            await tx.publish(value)
        await tx.execute(INSERT, by="each", n=order.n)

    return each


async def handle(stage: Stage) -> None:
    runner = await stage.open()
    await stage.publish(*(Ordered(customer="ann", n=n) for n in (1, 2, 3)))
    claim = await stage.claim()
    if isinstance(runner, PlainRunner):
        runner.attach(claim)
        assert await runner.handle(claim, stage.delivery()) is None
        await until(lambda: claim.position.next == 3)
        await runner.settle(0, None)
    else:
        assert isinstance(runner, TransactionalRunner)
        assert await stage.drive(runner, claim) == []


@pytest.mark.parametrize("handler", [each, together, plainly])
def test_what_is_returned_and_is_no_event_is_a_dead_letter_at_once(handler: Callable[..., Any]) -> None:
    async def main() -> None:
        stage = Stage()
        stage.on(handler)
        await handle(stage)
        assert stage.letters() == [(1, handler.__name__, "fatal", 1, "dead")]
        ((error,),) = stage.rows("SELECT error FROM onward_dead_letter")
        assert error.startswith("DeclarationError: A handler returned what can't be published: int is not an event.")
        assert error.endswith("It may return an event, a list of events, or None.")
        assert sorted(stage.bills()) == [1, 3]

    asyncio.run(main())


def test_what_is_published_and_is_no_event_is_a_dead_letter_at_once() -> None:
    async def main() -> None:
        stage = Stage()
        stage.on(published_in_the_middle("order 2"))
        await handle(stage)
        assert stage.letters() == [(1, "each", "fatal", 1, "dead")]
        assert stage.effects() == [1, 3]

    asyncio.run(main())
