"""When a plain handler's results are written: several by one commit, and at once where somebody waits for them."""

import asyncio

import pytest

from onward import FatalError
from onward.pipeline import plain
from tests.unit.pipeline.stage import Billed, Noted, Ordered, Stage, until

NEVER_S = 3600.0


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """No group is written before somebody waits for it."""
    monkeypatch.setattr(plain, "GATHER_S", NEVER_S)


async def note(noted: Noted) -> None:
    pass


@pytest.mark.usefixtures("patient")
def test_one_commit_says_of_events_handled_one_after_the_other_that_they_are_done() -> None:
    async def main() -> None:
        commits: list[int] = []
        stage = Stage()
        stage.on(note, Noted)
        runner, claim = await stage.begin_plainly(Noted(n=0))
        await until(lambda: claim.position.next == 1)
        for n in range(1, 5):
            await stage.publish(Noted(n=n))
            assert await runner.handle(claim, stage.delivery(n)) is None
            await asyncio.sleep(0)
        stage.database.after_commit.append(lambda: commits.append(claim.position.next))
        async with asyncio.timeout(10):
            await runner.settle(0, None)
        assert stage.account()[0] == 5
        assert len(commits) == 1

    asyncio.run(main())


def test_an_event_without_an_output_is_marked_as_done_though_nothing_follows() -> None:
    async def main() -> None:
        stage = Stage()
        stage.on(note, Noted)
        runner, claim = await stage.begin_plainly(Noted(n=0))
        await until(lambda: claim.position.next == 1)
        await stage.publish(Noted(n=1))
        assert await runner.handle(claim, stage.delivery(1)) is None
        await until(lambda: claim.position.next == 2)

    asyncio.run(main())


@pytest.mark.usefixtures("patient")
def test_an_output_waits_for_no_more_events_and_takes_those_before_it_along() -> None:
    async def main() -> None:
        async def bill(order: Ordered) -> Billed | None:
            return Billed(customer=order.customer, n=order.n) if order.n == 3 else None

        stage = Stage()
        stage.on(bill)
        runner, claim = await stage.begin_plainly(Ordered(customer="ann", n=0))
        await until(lambda: claim.position.next == 1)
        await stage.publish(*(Ordered(customer=f"c{n}", n=n) for n in (1, 2)))
        assert await runner.handle(claim, stage.delivery(1)) is None
        for _ in range(50):
            await asyncio.sleep(0)
        assert claim.position.next == 1
        await stage.publish(Ordered(customer="ann", n=3))
        assert await runner.handle(claim, stage.delivery(3)) is None
        await until(lambda: claim.position.next == 4)
        assert stage.bills() == [3]

    asyncio.run(main())


@pytest.mark.usefixtures("patient")
def test_the_first_since_a_claim_waits_for_no_more_events() -> None:
    """Until something is written, the end of the process counts as an unclean start of all that it had in hand."""

    async def main() -> None:
        stage = Stage()
        stage.on(note, Noted)
        _, claim = await stage.begin_plainly(Noted(n=1))
        await until(lambda: claim.position.next == 1)
        assert stage.account()[1:] == (0, 0)

    asyncio.run(main())


@pytest.mark.usefixtures("patient")
def test_a_dead_letter_waits_for_no_more_events() -> None:
    async def main() -> None:
        async def refuse(noted: Noted) -> None:
            if noted.n == 1:
                raise FatalError("never")

        stage = Stage()
        stage.on(refuse, Noted)
        runner, claim = await stage.begin_plainly(Noted(n=0))
        await until(lambda: claim.position.next == 1)
        await stage.publish(Noted(n=1))
        assert await runner.handle(claim, stage.delivery(1)) is None
        await until(lambda: claim.position.next == 2)
        assert len(stage.letters()) == 1

    asyncio.run(main())


@pytest.mark.usefixtures("patient")
def test_who_waits_for_room_waits_for_no_more_events() -> None:
    async def main() -> None:
        handled: list[int] = []

        async def note(noted: Noted) -> None:
            handled.append(noted.n)

        stage = Stage()
        stage.on(note, Noted)
        runner, claim = await stage.plain()
        await stage.publish(*(Noted(n=n) for n in range(200)))
        async with asyncio.timeout(10):
            while await runner.handle(claim, stage.delivery(claim.position.next)) is not None:
                pass
        await until(lambda: len(handled) == 200)
        await runner.settle(0, None)
        assert stage.account()[0] == 200

    asyncio.run(main())
