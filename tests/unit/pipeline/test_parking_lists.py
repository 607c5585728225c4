"""List handlers that block: of a list nothing runs behind one of its key that failed."""

import asyncio
from collections.abc import Callable
from typing import Any

from onward import BatchFailed, Event, Transaction
from onward.pipeline.context import Context
from onward.pipeline.transactional import TransactionalRunner
from onward.ports import Claim
from tests.unit.pipeline.parking import ONCE, orders, revive
from tests.unit.pipeline.stage import INSERT, Ordered, Stage, ask_again


async def opened(pay: Callable[..., Any], *events: Event) -> tuple[Stage, TransactionalRunner, Claim]:
    """This list handler, which blocks, with these events handled."""
    stage = Stage()
    stage.on(pay, Ordered, retry=ONCE, after_last="block")
    runner = await stage.open()
    assert isinstance(runner, TransactionalRunner)
    claim = await stage.claim()
    await stage.publish(*events)
    await stage.drive(runner, claim)
    return stage, runner, claim


def naming(broken: set[int], calls: list[list[int]]) -> Callable[..., Any]:
    """A list handler that names those of `broken`, and notes its calls."""

    async def pay(found: list[Ordered], tx: Transaction) -> None:
        calls.append([order.n for order in found])
        failed: dict[int, BaseException] = {
            index: ValueError("no") for index, order in enumerate(found) if order.n in broken
        }
        if failed:
            raise BatchFailed(failed)
        for order in found:
            await tx.execute(INSERT, by="pay", n=order.n)

    return pay


def test_of_a_list_nothing_runs_behind_one_of_its_key_that_failed() -> None:
    async def main() -> None:
        broken = {2}
        calls: list[list[int]] = []
        stage, runner, claim = await opened(
            naming(broken, calls), *orders(("ann", 1), ("ann", 2), ("bob", 3), ("ann", 4))
        )
        assert stage.effects() == [1, 3]
        assert stage.parked() == [("pay", "ann", 3)]
        await stage.publish(*orders(("ann", 5), ("bob", 6)))
        await stage.drive(runner, claim)
        assert stage.effects() == [1, 3, 6]
        broken.clear()
        await ask_again(stage)
        await revive(runner, claim)
        assert stage.effects() == [1, 3, 6, 2, 4, 5]
        assert calls[-3:] == [[2], [4], [5]]

    asyncio.run(main())


def test_of_a_list_in_halves_nothing_runs_behind_one_of_its_key_that_failed() -> None:
    async def main() -> None:
        async def pay(found: list[Ordered], tx: Transaction) -> None:
            for order in found:
                if order.n == 1:
                    raise ValueError("no")
                await tx.execute(INSERT, by="pay", n=order.n)

        stage, _, _ = await opened(pay, *orders(("ann", 1), ("bob", 2), ("ann", 3), ("cid", 4)))
        assert stage.effects() == [2, 4]
        assert stage.parked() == [("pay", "ann", 2)]

    asyncio.run(main())


def test_of_a_list_the_second_that_fails_in_a_key_waits_for_the_first() -> None:
    async def main() -> None:
        broken = {1, 3}
        stage, runner, claim = await opened(naming(broken, []), *orders(("ann", 1), ("bob", 2), ("ann", 3), ("ann", 4)))
        assert [letter[0] for letter in stage.letters()] == [0]
        assert stage.parked() == [("pay", "ann", 2), ("pay", "ann", 3)]
        assert stage.tally() == [("pay", 1, 1, 0)]
        broken.clear()
        await ask_again(stage)
        await revive(runner, claim)
        assert stage.effects() == [2, 1, 3, 4]
        assert stage.tally() == [("pay", 4, 0, 0)]

    asyncio.run(main())


def test_a_list_handler_is_told_of_the_first_event_that_it_gets() -> None:
    async def main() -> None:
        told: list[tuple[list[int], int | None]] = []

        async def pay(found: list[Ordered], tx: Transaction, ctx: Context) -> None:
            if found[0].n == 1:
                raise ValueError("no")
            told.append(([order.n for order in found], ctx.envelope.offset))

        stage, runner, claim = await opened(pay, *orders(("ann", 1)))
        await stage.publish(*orders(("ann", 2), ("bob", 3), ("cid", 4)))
        await stage.drive(runner, claim)
        assert told == [([3, 4], 2)]

    asyncio.run(main())
