"""Topics are as declared, whoever comes first."""

import asyncio
from pathlib import Path

from onward import App, Event, Topic
from onward.runtime.service import Service


class Rung(Event, type="bells.rung", topic="bells", key="bell"):
    bell: str


def test_publishing_before_the_service_ever_ran_makes_the_topic_as_declared(database_path: Path) -> None:
    app = App("tower", store=f"sqlite:///{database_path}", topics=[Topic("bells", partitions=3)])

    @app.on(Rung)
    async def listen(rung: Rung) -> None:
        """Hears it."""

    async def main() -> int:
        await app.publish(Rung(bell="tenor"))
        await app.close()
        service = Service(app.plan, app.settings)
        await service.start()
        try:
            assert service.engine is not None
            return len(await service.engine.broker.log.bounds("bells"))
        finally:
            await service.stop()

    assert asyncio.run(main()) == 3
