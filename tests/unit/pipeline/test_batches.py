"""Handlers that take a list: which event failed is named by them, or found by halving."""

import asyncio

import pytest

from onward import BatchFailed, FatalError, Transaction
from onward.pipeline import transactional
from onward.pipeline.transactional import TransactionalRunner
from onward.ports import Claim
from tests.unit.pipeline.stage import INSERT, Billed, Ordered, Stage


async def begun(stage: Stage, count: int) -> tuple[TransactionalRunner, Claim]:
    runner = await stage.open()
    assert isinstance(runner, TransactionalRunner)
    await stage.publish(*(Ordered(customer=f"c{n}", n=n) for n in range(count)))
    return runner, await stage.claim()


def test_a_list_handler_runs_once_for_a_batch() -> None:
    async def main() -> None:
        calls: list[int] = []

        async def save(orders: list[Ordered], tx: Transaction) -> list[Billed]:
            calls.append(len(orders))
            for order in orders:
                await tx.execute(INSERT, by="save", n=order.n)
            return [Billed(customer=order.customer, n=order.n) for order in orders]

        stage = Stage()
        stage.on(save)
        runner, claim = await begun(stage, 50)
        assert await runner.handle(claim, stage.delivery()) is None
        assert calls == [50]
        assert stage.effects() == sorted(stage.bills()) == list(range(50))
        assert stage.tally() == [("save", 50, 0, 0)]

    asyncio.run(main())


def test_the_events_that_a_list_handler_names_fail_and_the_others_take_effect() -> None:
    async def main() -> None:
        async def save(orders: list[Ordered], tx: Transaction) -> None:
            failed: dict[int, BaseException] = {}
            for index, order in enumerate(orders):
                await tx.execute(INSERT, by="save", n=order.n)
                if order.n in (2, 5):
                    failed[index] = FatalError(f"no {order.n}")
            if failed:
                raise BatchFailed(failed)

        stage = Stage()
        stage.on(save)
        runner, claim = await begun(stage, 8)
        assert await stage.drive(runner, claim) == []
        assert stage.effects() == [0, 1, 3, 4, 6, 7]
        assert stage.rows("SELECT offset, error FROM onward_dead_letter ORDER BY offset") == [
            (2, "FatalError: no 2"),
            (5, "FatalError: no 5"),
        ]
        assert stage.tally() == [("save", 6, 2, 0)]

    asyncio.run(main())


def test_any_other_error_halves_the_batch_until_one_event_stands_alone() -> None:
    async def main() -> None:
        sizes: list[int] = []

        async def save(orders: list[Ordered], tx: Transaction) -> None:
            sizes.append(len(orders))
            for order in orders:
                await tx.execute(INSERT, by="save", n=order.n)
                if order.n == 6:
                    raise FatalError("no 6")

        stage = Stage()
        stage.on(save)
        runner, claim = await begun(stage, 8)
        assert await stage.drive(runner, claim) == []
        assert stage.effects() == [0, 1, 2, 3, 4, 5, 7]
        assert stage.letters() == [(6, "save", "fatal", 1, "dead")]
        assert sizes == [8, 8, 4, 4, 2, 2, 1, 1]

    asyncio.run(main())


def test_a_retryable_failure_in_a_list_lets_what_comes_before_commit_first() -> None:
    async def main() -> None:
        async def save(orders: list[Ordered], tx: Transaction) -> None:
            for order in orders:
                await tx.execute(INSERT, by="save", n=order.n)
                if order.n == 3:
                    raise OSError("down")

        stage = Stage()
        stage.on(save)
        runner, claim = await begun(stage, 6)
        assert await runner.handle(claim, stage.delivery()) == 1.0
        assert stage.effects() == [0, 1, 2]
        assert stage.account()[0] == 3
        assert await stage.drive(runner, claim) == [2.0]
        assert stage.effects() == [0, 1, 2, 4, 5]
        assert stage.letters() == [(3, "save", "attempts_spent", 3, "dead")]

    asyncio.run(main())


def test_a_failure_that_time_was_up_before_is_not_tried_again_before_its_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        calls: list[list[int]] = []

        async def save(orders: list[Ordered], tx: Transaction) -> None:
            calls.append([order.n for order in orders])
            for order in orders:
                await tx.execute(INSERT, by="save", n=order.n)
                if order.n == 3:
                    if len(orders) == 1:  # found, so that what comes before it runs next, one event in each pass
                        monkeypatch.setattr(transactional, "HOLD_S", -1.0)
                    raise OSError("down")

        stage = Stage()
        stage.on(save)
        runner, claim = await begun(stage, 6)
        assert await runner.handle(claim, stage.delivery()) == 1.0
        assert calls[-1] == [0]
        assert stage.effects() == [0]
        assert stage.rows("SELECT offset, attempts FROM onward_attempt") == [(3, 1)]

    asyncio.run(main())


def test_a_batch_that_names_an_index_it_does_not_have_fails_as_a_whole() -> None:
    async def main() -> None:
        async def save(orders: list[Ordered], tx: Transaction) -> None:
            await tx.execute(INSERT, by="save", n=orders[0].n)
            raise BatchFailed({99: ValueError("nobody")})

        stage = Stage()
        stage.on(save, fatal=(BatchFailed,))
        runner, claim = await begun(stage, 3)
        assert await stage.drive(runner, claim) == []
        assert stage.effects() == []
        assert [letter[0] for letter in stage.letters()] == [0, 1, 2]

    asyncio.run(main())
