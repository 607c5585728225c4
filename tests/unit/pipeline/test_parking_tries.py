"""How often a parked event is tried, and what counts as a try."""

import asyncio

import pytest

from onward import Transaction
from onward.errors import StoreUnreachableError
from onward.pipeline import suspects
from onward.pipeline.parking import take_back
from onward.pipeline.routing import Route
from onward.pipeline.transactional import TransactionalRunner
from onward.policy import Retry
from tests.unit.pipeline.parking import ONCE, execute, opened, orders, revive
from tests.unit.pipeline.stage import INSERT, Ordered, give_up


def test_a_parked_event_is_tried_as_often_as_any_other_and_not_before_its_time() -> None:
    async def main() -> None:
        broken = {1, 2}
        later = Retry(max_attempts=2, first_s=5.0, jitter=0.0)
        stage, runner, claim = await opened(broken, *orders(("ann", 1), ("ann", 2), ("bob", 3)), retry=later)
        await give_up(stage)
        await revive(runner, claim)
        assert stage.rows("SELECT attempts, error FROM onward_parked") == [(1, "ValueError: no 2")]
        assert stage.rows("SELECT due FROM onward_blocked") == [(1_000_005.0,)]
        await revive(runner, claim)  # its time has not come
        assert stage.rows("SELECT attempts FROM onward_parked") == [(1,)]
        broken.clear()
        await execute(stage, "UPDATE onward_blocked SET due = 0")
        await revive(runner, claim)
        assert stage.effects() == [3, 2]

    asyncio.run(main())


def test_a_parked_event_that_ends_its_process_each_time_becomes_a_dead_letter_alone() -> None:
    async def main() -> None:
        stage, _, _ = await opened({1}, *orders(("ann", 1), ("ann", 2), ("ann", 3), ("bob", 4)))
        deadly = True

        class Killed(BaseException):
            """The process is no more."""

        async def pay(order: Ordered, tx: Transaction) -> None:
            if order.n == 2 and deadly:
                raise Killed
            await tx.execute(INSERT, by="pay", n=order.n)

        await give_up(stage)
        stage.handlers.clear()
        stage.on(pay, retry=Retry(max_attempts=2), after_last="block")
        for _ in range(3):  # with its neighbour, and then twice alone
            runner = stage.runner()
            assert isinstance(runner, TransactionalRunner)
            claim = await stage.claim()
            with pytest.raises(Killed):
                await runner.revive(claim)
        runner = stage.runner()
        assert isinstance(runner, TransactionalRunner)
        claim = await stage.claim()
        await revive(runner, claim)
        assert stage.letters()[-1] == (1, "pay", "process_died", 2, "dead")
        assert stage.effects() == [4]
        assert stage.parked() == [("pay", "ann", 2)]
        await give_up(stage)
        await revive(runner, claim)
        assert stage.effects() == [4, 3]

    asyncio.run(main())


def test_what_fails_below_a_parked_event_is_not_its_attempt() -> None:
    async def main() -> None:
        stage, _, _ = await opened({1}, *orders(("ann", 1), ("ann", 2)))

        async def pay(order: Ordered, tx: Transaction) -> None:
            raise StoreUnreachableError("away")

        await give_up(stage)
        stage.handlers.clear()
        stage.on(pay, retry=ONCE, after_last="block")
        runner = stage.runner()
        assert isinstance(runner, TransactionalRunner)
        claim = await stage.claim()
        for _ in range(3):
            with pytest.raises(StoreUnreachableError):
                await runner.revive(claim)
            await take_back(stage.store, claim)  # as a subscription does before it gives its claims back
        assert stage.rows("SELECT attempts, begun FROM onward_parked") == [(0, 0)]

    asyncio.run(main())


def test_a_try_that_is_cancelled_ends_no_process() -> None:
    async def main() -> None:
        stage, _, _ = await opened({1, 3}, *orders(("ann", 1), ("ann", 2), ("bob", 3), ("bob", 4)))
        waits = asyncio.Event()

        async def pay(order: Ordered, tx: Transaction) -> None:
            waits.set()
            await asyncio.Event().wait()

        await give_up(stage)
        stage.handlers.clear()
        stage.on(pay, retry=ONCE, after_last="block")
        for _ in range(4):
            runner = stage.runner()
            assert isinstance(runner, TransactionalRunner)
            claim = await stage.claim()
            reviving = asyncio.create_task(runner.revive(claim))
            await waits.wait()
            reviving.cancel()
            with pytest.raises(asyncio.CancelledError):
                await reviving
            await take_back(stage.store, claim)
            waits.clear()
        assert stage.rows("SELECT attempts, begun FROM onward_parked") == [(0, 0), (0, 0)]

    asyncio.run(main())


def test_a_parked_event_of_a_newer_version_waits_for_its_code() -> None:
    async def main() -> None:
        stage, runner, claim = await opened({1}, *orders(("ann", 1), ("ann", 2)), retry=Retry(max_attempts=2))
        await give_up(stage)
        await execute(stage, "UPDATE onward_parked SET event_version = 7")
        for tried in range(1, 6):
            await revive(runner, claim)
            assert stage.rows("SELECT attempts, begun FROM onward_parked") == [(tried, 0)]
            await execute(stage, "UPDATE onward_blocked SET due = 0")
        await execute(stage, "UPDATE onward_parked SET event_version = 1")
        await revive(runner, claim)
        assert stage.effects() == [2]

    asyncio.run(main())


def test_what_is_going_to_be_parked_is_not_taken_for_what_ends_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        stage, _, _ = await opened({1}, *orders(("ann", 1)))
        await stage.publish(*orders(("ann", 2)))
        for _ in range(4):
            claim = await stage.claim()
        runner = stage.runner()
        assert isinstance(runner, TransactionalRunner)
        assert claim.unclean
        await stage.drive(runner, claim)
        assert stage.parked() == [("pay", "ann", 1)]
        assert stage.rows("SELECT * FROM onward_attempt") == []
        assert "suspect.marked" not in reached

    reached: list[str] = []
    monkeypatch.setattr(suspects, "reach", reached.append)
    asyncio.run(main())


def test_an_event_that_ends_its_process_when_it_is_read_is_parked_unread_and_given_up_in_its_turn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def main() -> None:
        class Killed(BaseException):
            """The process is no more."""

        def deadly(route: Route, value: bytes | None) -> object:
            if value is not None and b'"n":2' in value:
                raise Killed
            return opening(route, value)

        stage, _, _ = await opened({1}, *orders(("ann", 1)))
        await stage.publish(*orders(("ann", 2)))
        for _ in range(4):
            claim = await stage.claim()
        opening = Route.open
        monkeypatch.setattr(Route, "open", deadly)
        runner = stage.runner()
        assert isinstance(runner, TransactionalRunner)
        await stage.drive(runner, claim)
        assert stage.parked() == [("pay", "ann", 1)]
        assert stage.rows("SELECT suspect_until > next_offset FROM onward_account") == [(1,)]
        await give_up(stage)
        for _ in range(2):
            runner = stage.runner()
            assert isinstance(runner, TransactionalRunner)
            claim = await stage.claim()
            with pytest.raises(Killed):
                await revive(runner, claim)
        runner = stage.runner()
        assert isinstance(runner, TransactionalRunner)
        await revive(runner, await stage.claim())
        assert stage.letters()[-1] == (1, "pay", "process_died", 1, "dead")

    asyncio.run(main())
