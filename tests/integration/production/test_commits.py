"""A partition that goes in the middle of a commit, a commit without an answer: what was done is done, and once."""

import asyncio
from pathlib import Path

import psycopg
import pytest

from onward import App, Context
from onward.partitioning import partition_of
from onward.pipeline.plain import PlainRunner
from onward.runtime.service import Service
from scripts.servers.kafka import Kafka
from scripts.servers.postgres import Postgres
from tests.integration.kafka.stage import INSERT, PATIENCE_S, Placed, assert_exactly_once, placed
from tests.integration.postgres.gate import gated
from tests.integration.postgres.proxy import Proxy
from tests.integration.production.stage import Stage, held, holds
from tests.integration.services import running

QUICK = "?heartbeat.interval.ms=100"
MOVE, CLAIM = "UPDATE onward.account SET next_offset", "UPDATE onward.account SET token"


@pytest.fixture
def stage(kafka: Kafka, postgres_url: str, tmp_path: Path) -> Stage:
    return Stage(kafka, postgres_url, tmp_path, partitions=2)


def members(stage: Stage, group: str) -> int:
    return len(stage.admin.describe_consumer_groups([group])[group].result(PATIENCE_S).members)


def gives_back(service: Service) -> bool:
    """Whether a partition is to go, and waits for what runs."""
    (subscription,) = service._subscriptions
    assert isinstance(subscription._runner, PlainRunner)
    return any(window.stopping for window in subscription._runner._windows.values())


def test_a10_a_rebalance_in_the_middle_of_a_commit_waits_for_it_and_nothing_of_it_is_repeated(stage: Stage) -> None:
    stage.way += "?lock_s=60"  # the commit waits for as long as the other member takes to join

    async def scene() -> None:
        app = stage.recorder(QUICK)
        async with running(app) as first:
            await stage.until(holds(first, 2))
            with psycopg.connect(stage.store) as connection:
                # In a thread: the member may not have committed yet how it begins, and needs the loop for that.
                await asyncio.to_thread(connection.execute, "SELECT 1 FROM onward.account FOR UPDATE")
                await app.send(*placed(range(100)))
                await stage.until_waiting(MOVE)  # the commit has begun, and can't end
                async with running(stage.recorder(QUICK)) as second:
                    await stage.until(lambda: members(stage, f"{stage.name}:{stage.topic.name}") == 2)
                    assert (held(second), stage.effects()) == ([], [])
                    connection.rollback()
                    await stage.until(lambda: len(held(first)) == len(held(second)) == 1)
                    await app.send(*placed(range(100, 200)))
                    await stage.until_handled(200)

    asyncio.run(scene())
    assert_exactly_once(stage.effects(), range(200))
    assert sum(stage.standing().values()) == 200


def test_a10_what_runs_when_its_partition_goes_is_committed_and_the_rest_is_handed_over_untouched(stage: Stage) -> None:
    calls: list[tuple[str, int]] = []
    everything = placed(range(40), keys=40)
    gates = {"first": asyncio.Event(), "second": asyncio.Event()}

    def member(name: str) -> App:
        app = stage.app(QUICK)

        @app.on(Placed, name="take", concurrency=4)
        async def take(placed: Placed, ctx: Context) -> None:
            calls.append((name, placed.n))
            await gates[name].wait()
            async with ctx.transaction() as tx:
                await tx.execute(INSERT, key=name, n=placed.n)

        return app

    async def scene() -> None:
        app = member("first")
        async with running(app) as first:
            await stage.until(holds(first, 2))
            # Of both partitions some run, whichever goes.
            one_of_each = {partition_of(each.key.encode(), 2): each for each in everything}.values()
            await app.send(*one_of_each)
            await stage.until(lambda: len(calls) == 2)
            await app.send(*(each for each in everything if each not in one_of_each))
            await stage.until(lambda: len(calls) == 4)
            async with running(member("second")) as second:
                await stage.until(lambda: gives_back(first))
                gates["first"].set()
                gates["second"].set()
                await stage.until(lambda: len(held(first)) == len(held(second)) == 1)
                await stage.until_handled(40)

    asyncio.run(scene())
    assert sorted(n for _, n in calls) == [*range(40)]
    assert sorted(calls) == sorted(stage.effects())
    assert len({name for name, _ in calls}) == 2


def test_a_commit_whose_answer_is_lost_while_the_server_still_ends_it_is_neither_lost_nor_repeated(
    stage: Stage, postgres: Postgres
) -> None:
    async def scene() -> None:
        async with Proxy(postgres.port).running() as proxy:
            stage.way = stage.store.replace(f":{postgres.port}/", f":{proxy.port}/") + "?sslmode=disable&lock_s=60"
            app = stage.recorder()
            async with running(app) as service:
                await stage.until(holds(service, 2))
                with psycopg.connect(stage.store, autocommit=True) as gate:
                    for statement in gated("effect"):
                        gate.execute(statement)
                    proxy.lose("INSERT INTO effect", kept=True, early=True)
                    await app.send(*placed(range(100)))
                    await stage.until_waiting(CLAIM)  # it is claimed anew, and what has it is still about to commit
                    assert stage.effects() == []
                await stage.until_handled(100)
                await app.send(*placed(range(100, 200)))
                await stage.until_handled(200)
            assert proxy.cut == 1

    asyncio.run(scene())
    assert_exactly_once(stage.effects(), range(200))
    assert sum(stage.standing().values()) == 200
