import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress

import pytest

from onward import App, Context, Event, Transaction
from onward.events.registry import isolated_registry
from onward.testing import Harness

TABLE = "CREATE TABLE IF NOT EXISTS seen (life INTEGER, n INTEGER)"
INSERT = "INSERT INTO seen VALUES (:life, :n)"


class Rung(Event, type="harness-restart.rung", topic="harness-restart-bells", key="bell"):
    bell: str
    n: int = 0


class Answered(Event, type="harness-restart.answered", topic="harness-restart-answers", key="bell"):
    bell: str


@pytest.fixture(autouse=True)
def own_registry() -> Iterator[None]:
    with isolated_registry():
        yield


class Lives:
    """An App whose handler, in its first life, waits for ever after it has written."""

    def __init__(self, kind: str, *, stubborn: bool = False) -> None:
        self.app = App("porter", schema=TABLE)
        self.number = 1
        self.waiting = asyncio.Event()
        self.stubborn = stubborn
        if kind == "transactional":

            @self.app.on(Rung)
            async def answer(rung: Rung, tx: Transaction) -> Answered:
                return await self.answer(rung, tx)
        else:

            @self.app.on(Rung)
            async def answer_plainly(rung: Rung, ctx: Context) -> Answered:
                async with ctx.transaction() as tx:
                    return await self.answer(rung, tx)

    async def answer(self, rung: Rung, tx: Transaction) -> Answered:
        await tx.execute(INSERT, life=self.number, n=rung.n)
        if self.number == 1:
            self.waiting.set()
            with suppress(asyncio.CancelledError if self.stubborn else KeyError):
                await asyncio.Event().wait()
        return Answered(bell=rung.bell)


async def restarted_while_waiting(lives: Lives, h: Harness) -> None:
    await h.publish(Rung(bell="front"))
    async with asyncio.timeout(5):
        await lives.waiting.wait()
    lives.number = 2
    await h.restart()
    await h.settle()


@pytest.mark.parametrize("stubborn", [False, True], ids=["cancelled", "swallowing"])
@pytest.mark.parametrize("kind", ["transactional", "plain"])
def test_what_was_under_way_at_a_restart_is_undone_and_handled_once(kind: str, stubborn: bool) -> None:
    async def scene() -> None:
        lives = Lives(kind, stubborn=stubborn)
        async with Harness(lives.app) as h:
            await restarted_while_waiting(lives, h)
            assert h.rows("SELECT life, n FROM seen") == [(2, 0)]
            assert h.published == [Answered(bell="front")]
            assert len(h.handled) == 1

    asyncio.run(scene())


def test_what_was_done_before_a_restart_stays_done() -> None:
    async def scene() -> None:
        lives = Lives("transactional")
        lives.number = 2
        async with Harness(lives.app) as h:
            await h.publish(Rung(bell="front", n=1))
            await h.settle()
            await h.restart()
            await h.publish(Rung(bell="front", n=2))
            await h.settle()
            assert h.rows("SELECT n FROM seen") == [(1,), (2,)]
            assert [each.event.n for each in h.handled] == [1, 2]

    asyncio.run(scene())


def test_an_event_that_is_there_at_each_death_ends_as_a_dead_letter() -> None:
    async def scene() -> None:
        lives = Lives("transactional")
        async with Harness(lives.app) as h:
            await h.publish(Rung(bell="front"))
            for _ in range(10):
                async with asyncio.timeout(5):
                    while not lives.waiting.is_set() and not h.dead_letters:
                        await asyncio.sleep(0)
                if h.dead_letters:
                    break
                lives.waiting.clear()
                await h.restart()
            await h.settle()
            assert [letter.cause for letter in h.dead_letters] == ["process_died"]

    asyncio.run(scene())


def test_the_app_publishes_and_stores_after_a_restart() -> None:
    async def scene() -> None:
        lives = Lives("transactional")
        lives.number = 2
        async with Harness(lives.app) as h:
            await h.restart()
            await lives.app.publish(Rung(bell="front"))
            async with lives.app.transaction() as tx:
                await tx.execute(INSERT, life=0, n=9)
            await h.settle()
            assert sorted(h.rows("SELECT life, n FROM seen")) == [(0, 9), (2, 0)]

    asyncio.run(scene())


def test_resources_are_opened_anew_at_a_restart() -> None:
    opened: list[str] = []

    class Bell:
        pass

    async def bell() -> AsyncIterator[Bell]:
        opened.append("opened")
        yield Bell()
        opened.append("closed")

    app = App("ringer", resources=[bell])

    @app.on(Rung)
    async def ring(rung: Rung, bell: Bell) -> None:
        pass

    async def scene() -> None:
        async with Harness(app) as h:
            await h.restart()
            assert opened == ["opened", "closed", "opened"]

    asyncio.run(scene())
