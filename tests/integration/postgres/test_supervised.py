"""Child processes whose store is PostgreSQL and whose broker is Kafka, under a supervisor."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from onward.runtime.supervisor import Supervisor
from scripts.servers.kafka import Kafka
from tests.integration.postgres.looking import rows
from tests.integration.supervised import Asked, publisher

ROOT = Path(__file__).parents[3]
PATIENCE_S = 60.0


async def until(holds: Callable[[], bool]) -> None:
    """It is about another process, which has no event of ours to wait for."""
    async with asyncio.timeout(PATIENCE_S):
        while not holds():
            await asyncio.sleep(0.05)


def test_a_kill_at_the_end_of_a_drain_is_no_unclean_start(
    kafka: Kafka, postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ONWARD_STORE", postgres_url)
    monkeypatch.setenv("ONWARD_BROKER", kafka.url)
    monkeypatch.setenv("PYTHONPATH", f"{ROOT / 'src'}{os.pathsep}{ROOT}")
    once = tmp_path / "once"

    async def scenario() -> None:
        supervisor = Supervisor([("troubled", "tests.integration.supervised:troubled")], drain_s=0.2, hang_s=60.0)
        await supervisor.start()
        try:
            await until(lambda: supervisor.states()[0].state == "running")
            await publisher.publish(Asked(key="a", n=1, deed="block", once=str(once)))
            await publisher.close()
            await until(once.exists)
            assert rows(postgres_url, "SELECT sum(unclean) > 0 FROM onward.account") == [(True,)]
        finally:
            assert not await supervisor.stop_all()

    asyncio.run(scenario())
    assert rows(postgres_url, "SELECT sum(unclean) FROM onward.account") == [(0,)]
