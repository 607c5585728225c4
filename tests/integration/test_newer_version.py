"""An event newer than the code that meets it: it waits and says so wherever one looks, until newer code comes."""

import asyncio
import json
import logging
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from onward import App, Context, Event, Retry, Topic, Transaction, upcast
from onward.cli import main
from onward.events import isolated_registry
from onward.ports import Outgoing
from onward.runtime.service import Service
from tests.integration.services import database_of, running, until_some

ELSEWHERE = "d"  # a key of the other partition than that of "a"
SCHEMA = "CREATE TABLE IF NOT EXISTS effect (place INTEGER PRIMARY KEY, n INTEGER NOT NULL)"
INSERT = "INSERT INTO effect (n) VALUES (:n)"
TOPIC = "newer.parcels"
QUICK = Retry(max_attempts=100, first_s=0.1, factor=1.0, jitter=0.0)
WAITS = (
    "waits for newer code: A message is newer.parcel version 2; Parcel here is version 1. Deploy the consumers that"
    " know version 2 before its producers; nothing is lost meanwhile."
)


class Parcel(Event, type="newer.parcel", topic=TOPIC, key="place"):
    place: str
    n: int


def in_its_transaction(app: App) -> str:
    @app.on(Parcel, name="ship")
    async def ship(parcel: Parcel, tx: Transaction) -> None:
        await tx.execute(INSERT, n=parcel.n)

    return "post"


def plainly(app: App) -> str:
    @app.on(Parcel, name="ship")
    async def ship(parcel: Parcel, ctx: Context) -> None:
        async with ctx.transaction() as tx:
            await tx.execute(INSERT, n=parcel.n)

    return "post.ship"


def post(path: Path) -> App:
    return App("post", store=f"sqlite:///{path}", schema=SCHEMA, topics=[Topic(TOPIC, partitions=2)])


def parcel(version: int, place: str, n: int) -> Outgoing:
    return Outgoing(TOPIC, "newer.parcel", version, json.dumps({"place": place, "n": n}).encode(), place)


async def publish(service: Service, *events: Outgoing) -> None:
    assert service.engine is not None
    await service.engine.broker.publish(events, "elsewhere")


@pytest.mark.parametrize("declare", [in_its_transaction, plainly])
def test_a_newer_version_is_told_by_readiness_once_in_the_log_and_by_the_doctor_until_code_comes_that_knows_it(
    declare: Callable[[App], str],
    database_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("onward.pipeline.failures.NEWER_VERSION", QUICK)
    caplog.set_level(logging.ERROR, "onward.subscription")
    old = post(database_path)
    group = declare(old)

    async def meet_it() -> None:
        async with running(old) as service:
            assert service.unready() == []
            await publish(service, parcel(2, "a", 1), parcel(1, "a", 2), parcel(1, ELSEWHERE, 3))
            await until(lambda: bool(service.unready()))
            tried = attempts_on(service)
            await until(lambda: attempts_on(service) > tried + 1)
            await until_some(service, "SELECT 1 FROM effect")
            assert service.unready() == [f"{group} on {TOPIC} {WAITS}"]
            assert database_of(service).read("SELECT n FROM effect") == [(3,)]
            assert [record.getMessage() for record in caplog.records] == [f"subscription {group} on {TOPIC} {WAITS}"]

    asyncio.run(meet_it())
    examined = CliRunner().invoke(main, ["doctor", "--json", "-d", str(database_path)])
    assert examined.exit_code == 1
    (found,) = [each for each in json.loads(examined.stdout)["findings"] if each["subject"] == "version"]
    assert found["sentence"].startswith("post/")
    assert f"on {TOPIC}: 1 event waits for newer code. A message is newer.parcel version 2; " in found["sentence"]
    assert found["remedy"].startswith("Deploy service post with the code that knows that version.")

    with isolated_registry():
        new = post(database_path)
        _declare_newer(new, declare)

        async def read_it() -> None:
            async with running(new) as service:
                await until_some(service, "SELECT 1 FROM effect", rows=3)
                assert database_of(service).read("SELECT n FROM effect ORDER BY place") == [(3,), (1,), (2,)]
                await until(lambda: not service.unready())

        asyncio.run(read_it())
    examined = CliRunner().invoke(main, ["doctor", "--json", "-d", str(database_path)])
    assert "version" not in [each["subject"] for each in json.loads(examined.stdout)["findings"]]


def attempts_on(service: Service) -> int:
    ((count,),) = database_of(service).read("SELECT attempts FROM onward_attempt")
    return int(count)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.005)


def _declare_newer(app: App, declare: Callable[[App], str]) -> None:
    class NewParcel(Event, type="newer.parcel", topic=TOPIC, key="place", version=2):
        place: str
        n: int

    @upcast(NewParcel, from_version=1)
    def as_it_was(old: dict[str, object]) -> dict[str, object]:
        return old

    if declare is plainly:

        @app.on(NewParcel, name="ship")
        async def ship_plainly(parcel: NewParcel, ctx: Context) -> None:
            async with ctx.transaction() as tx:
                await tx.execute(INSERT, n=parcel.n)
    else:

        @app.on(NewParcel, name="ship")
        async def ship(parcel: NewParcel, tx: Transaction) -> None:
            await tx.execute(INSERT, n=parcel.n)
