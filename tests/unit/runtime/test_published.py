import asyncio
from pathlib import Path

from onward import App, Event, Transaction


class Asked(Event, type="published.asked", topic="published-asked"):
    n: int


class Answered(Event, type="published.answered", topic="published-answered"):
    n: int


def test_what_handlers_publish_is_counted_with_and_without_a_transaction(database_path: Path) -> None:
    app = App("counted", store=f"sqlite:///{database_path}")
    heard: list[int] = []
    done = asyncio.Event()

    @app.on(Asked)
    async def answer(asked: Asked, tx: Transaction) -> list[Answered]:
        return [Answered(n=asked.n), Answered(n=asked.n + 1)]

    @app.on(Asked)
    async def answer_plainly(asked: Asked) -> Answered:
        return Answered(n=asked.n + 2)

    @app.on(Answered)
    async def hear(answered: Answered, tx: Transaction) -> None:
        heard.append(answered.n)
        if len(set(heard)) == 3:
            done.set()

    async def scenario() -> None:
        async with app.lifespan() as service:
            assert service is not None
            await app.publish(Asked(n=1))
            async with asyncio.timeout(10):
                await done.wait()
        counts = service.meter.snapshot()
        assert counts["published"] == 3
        assert counts["handled"] == {"answer": 1, "answer_plainly": 1, "hear": 3}

    asyncio.run(scenario())
