"""A rolling deploy that adds, renames and retires a handler, and is rolled back: none misses or repeats an event."""

import asyncio
from collections import Counter
from pathlib import Path

import pytest

from onward import App, Transaction
from onward.errors import RegistrationError
from scripts.servers.kafka import Kafka
from tests.integration.kafka.stage import INSERT, Placed, placed
from tests.integration.postgres.looking import command_line
from tests.integration.production.stage import Stage
from tests.integration.services import PATIENCE_S, running

EACH = 100  # events that are sent to each version of the code


@pytest.fixture
def stage(kafka: Kafka, postgres_url: str, tmp_path: Path) -> Stage:
    return Stage(kafka, postgres_url, tmp_path)


def version(stage: Stage, *names: str) -> App:
    app = stage.app("?heartbeat.interval.ms=100")
    for name in names:
        _declare(app, name)
    return app


def _declare(app: App, name: str) -> None:
    @app.on(Placed, name=name, start="now" if name == "thank" else "earliest")
    async def note(placed: Placed, tx: Transaction) -> None:
        await tx.execute(INSERT, key=name, n=placed.n)


def effects(stage: Stage, *names: str) -> Counter[int]:
    return Counter(n for name, n in stage.effects() if name in names)


def test_a_rolling_deploy_that_adds_renames_and_retires_a_handler_and_is_rolled_back_misses_and_repeats_nothing(
    stage: Stage, kafka: Kafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ONWARD_BROKER", kafka.url)
    onward = command_line(stage.store)

    async def handle(app: App, turn: int) -> None:
        await app.send(*placed(range(turn * EACH, (turn + 1) * EACH)))
        await stage.until(lambda: len(effects(stage, "pay")) == (turn + 1) * EACH)

    async def serve(turn: int, *names: str) -> None:
        app = version(stage, *names)
        async with running(app):
            await handle(app, turn)

    async def roll() -> None:
        """New code starts beside old code, which leaves."""
        old, new = version(stage, "pay", "note"), version(stage, "pay", "note", "thank")
        async with running(old) as former:
            await handle(old, 0)
            async with running(new):
                new_events = asyncio.create_task(handle(new, 1))
                async with asyncio.timeout(PATIENCE_S):
                    with pytest.raises(RegistrationError, match="'thank' has joined"):
                        await asyncio.shield(former.failure)
                await former.stop()
                await new_events

    def told(*arguments: str) -> None:
        result = onward(*arguments)
        assert result.exit_code == 0, result.output

    asyncio.run(roll())
    told("handlers", "rename", stage.name, "note", "record")
    asyncio.run(serve(2, "pay", "record", "thank"))
    told("handlers", "retire", stage.name, "thank")
    asyncio.run(serve(3, "pay", "record"))
    with pytest.raises(RegistrationError, match="onward handlers rename"):
        asyncio.run(serve(4, "pay", "note"))
    told("handlers", "rename", stage.name, "record", "note")
    asyncio.run(serve(4, "pay", "note"))
    assert effects(stage, "pay") == effects(stage, "note", "record") == Counter(range(5 * EACH))
    assert effects(stage, "note") == Counter([*range(2 * EACH), *range(4 * EACH, 5 * EACH)])
    assert effects(stage, "thank") == Counter(range(EACH, 3 * EACH))
    told("audit")
