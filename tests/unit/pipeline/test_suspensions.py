"""Handlers that wait inside their transaction: told of once, and not for long."""

import asyncio

import pytest

from onward import Transaction
from onward.pipeline import transactional
from onward.pipeline.context import Context
from onward.pipeline.transactional import TransactionalRunner
from onward.ports import Claim
from tests.unit.pipeline.stage import INSERT, Noted, Ordered, Stage


async def begun(stage: Stage) -> tuple[TransactionalRunner, Claim]:
    runner = await stage.open()
    assert isinstance(runner, TransactionalRunner)
    return runner, await stage.claim()


async def save(order: Ordered, tx: Transaction) -> None:
    await tx.execute(INSERT, by="save", n=order.n)
    async with tx.savepoint():
        await tx.submit("DELETE FROM effect WHERE n < 0")


async def wait(order: Ordered, tx: Transaction) -> None:
    await asyncio.sleep(0)


async def wait_with_context(order: Ordered, tx: Transaction, ctx: Context) -> None:
    await asyncio.sleep(0)


async def wait_for_all(orders: list[Ordered], tx: Transaction) -> None:
    await asyncio.sleep(0)


def test_each_handler_that_waits_inside_its_transaction_is_told_of_once(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        stage = Stage()
        for handler in (save, wait, wait_with_context, wait_for_all):
            stage.on(handler)
        runner, claim = await begun(stage)
        for n in range(3):
            await stage.publish(Ordered(customer="ann", n=n))
            assert await runner.handle(claim, stage.delivery(n)) is None

    asyncio.run(main())
    told = [record.getMessage().split("'")[1] for record in caplog.records if "waits for something" in record.msg]
    assert sorted(told) == ["wait", "wait_for_all", "wait_with_context"]


def test_a_lone_handler_is_told_of_too(caplog: pytest.LogCaptureFixture) -> None:
    async def main(handler: object) -> None:
        stage = Stage()
        stage.on(handler)  # type: ignore[arg-type]
        runner, claim = await begun(stage)
        await stage.publish(*(Ordered(customer="ann", n=n) for n in range(100)))
        assert await runner.handle(claim, stage.delivery()) is None

    asyncio.run(main(save))
    assert "waits for something" not in caplog.text
    asyncio.run(main(wait))
    assert caplog.text.count("waits for something") == 1


@pytest.mark.parametrize("waiting", [True, False])
def test_a_batch_of_slow_handlers_commits_when_its_time_is_up(waiting: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = 0.0
    slow_from = 9 if waiting else 0  # one that holds the loop is found early only where all do
    committed: dict[int, int] = {}

    async def work(noted: Noted, tx: Transaction) -> None:
        nonlocal now_s
        committed[noted.n] = stage.account()[0]
        if noted.n >= slow_from:
            now_s += 1.0
            if waiting:
                await asyncio.sleep(0)

    async def main() -> None:
        stage.on(work, Noted)
        runner, claim = await begun(stage)
        await stage.publish(*(Noted(n=n) for n in range(20)))
        assert await runner.handle(claim, stage.delivery()) is None

    monkeypatch.setattr(transactional, "perf_counter", lambda: now_s)
    stage = Stage()
    asyncio.run(main())
    assert committed == {n: n if n > slow_from else 0 for n in range(20)}
