"""A file is looked at from outside: what waits, what was handled, and whether it all adds up."""

import asyncio
from pathlib import Path

import pytest

from onward import App, Event, Transaction
from onward.errors import SettingError, StoreError
from onward.runtime.outlook import Lookout


class Seen(Event, type="outlook.seen", topic="seen"):
    place: int


def service(path: Path) -> App:
    app = App("watcher", store=f"sqlite:///{path}")

    @app.on(Seen)
    async def watch(seen: Seen, tx: Transaction) -> None:
        await tx.submit("SELECT :place", place=seen.place)

    return app


def test_what_waits_is_seen_before_and_after_it_is_handled(database_path: Path) -> None:
    async def run() -> None:
        app = service(database_path)
        async with app.lifespan():
            pass
        await app.publish(*(Seen(place=place) for place in range(5)))
        await app.close()
        lookout = Lookout(f"sqlite:///{database_path}")
        before = lookout.look()["watcher"]
        assert (before.lag, before.handled, before.failures, before.pids) == (5, 0, 0, frozenset())
        async with app.lifespan():
            async with asyncio.timeout(10):
                while lookout.look()["watcher"].lag:
                    await asyncio.sleep(0.01)
        assert lookout.look()["watcher"].handled == 5

    asyncio.run(run())
    verdict = Lookout(f"sqlite:///{database_path}").audit()
    assert (verdict.balanced, verdict.events, verdict.problems) == (True, 5, ())


def test_a_file_that_is_not_there_is_a_sentence(database_path: Path) -> None:
    with pytest.raises(StoreError, match="There is no database"):
        Lookout(f"sqlite:///{database_path}").look()


@pytest.mark.parametrize("kind", ["sqlite:///{}", "{}"])
def test_a_file_that_is_its_own_broker_needs_no_other(
    kind: str, database_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ONWARD_BROKER", "kafka://127.0.0.1:9")
    lookout = Lookout(f"sqlite:///{database_path}", kind.format(database_path))
    with pytest.raises(StoreError, match="There is no database"):
        lookout.look()


def test_a_broker_that_can_t_be_looked_at_is_refused(database_path: Path) -> None:
    with pytest.raises(SettingError, match=r"The broker is set to an address of kind 'amqp'.*or kafka://host:9092"):
        Lookout(f"sqlite:///{database_path}", "amqp://user:secret@host")
