"""A handler that commits with its event, and blocks the keys of those that it fails for."""

from collections.abc import Awaitable, Callable

from onward import Event, Transaction
from onward.pipeline.transactional import TransactionalRunner
from onward.policy import Retry
from onward.ports import Claim
from tests.unit.pipeline.stage import INSERT, Billed, Ordered, Stage

ONCE = Retry(max_attempts=1)


Broken = set[int]


def orders(*pairs: tuple[str, int]) -> list[Event]:
    return [Ordered(customer=customer, n=n) for customer, n in pairs]


def handler(broken: Broken, name: str = "pay") -> Callable[[Ordered, Transaction], Awaitable[Billed]]:
    async def pay(order: Ordered, tx: Transaction) -> Billed:
        await tx.execute(INSERT, by=name, n=order.n)
        if order.n in broken:
            raise ValueError(f"no {order.n}")
        return Billed(customer=order.customer, n=order.n)

    pay.__name__ = name
    return pay


async def opened(broken: Broken, *events: Event, retry: Retry = ONCE) -> tuple[Stage, TransactionalRunner, Claim]:
    """A blocking handler that fails for those in `broken`, with these events handled."""
    stage = Stage()
    stage.on(handler(broken), retry=retry, after_last="block")
    runner = await stage.open()
    assert isinstance(runner, TransactionalRunner)
    claim = await stage.claim()
    await stage.publish(*events)
    await stage.drive(runner, claim)
    return stage, runner, claim


async def revive(runner: TransactionalRunner, claim: Claim) -> None:
    while await runner.revive(claim):
        pass


async def execute(stage: Stage, sql: str) -> None:
    async with stage.database.transaction() as connection:
        connection.execute(sql)
