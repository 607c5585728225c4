"""What users of other frameworks were hurt by, on Kafka and PostgreSQL: each event takes effect once, poison ends."""

import asyncio
from collections import Counter
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from onward import App, Context, Retry, Transaction
from scripts.servers.kafka import Kafka
from tests.integration.kafka.stage import INSERT, PATIENCE_S, TOPIC, Placed, assert_exactly_once, placed
from tests.integration.production.stage import Stage
from tests.integration.services import running

SESSION = "?session.timeout.ms=1000&heartbeat.interval.ms=200&max.poll.interval.ms=2000"
LONGER_S = 3.0


@pytest.fixture
def stage(kafka: Kafka, postgres_url: str, tmp_path: Path) -> Stage:
    return Stage(kafka, postgres_url, tmp_path, partitions=1)


def writing(app: App, name: str) -> None:
    @app.on(Placed, name=name)
    async def write(placed: Placed, tx: Transaction) -> None:
        await tx.execute(INSERT, key=f"{app.name} {name}", n=placed.n)


def test_a5_two_handlers_and_two_services_on_one_database_all_run_for_one_event(stage: Stage) -> None:
    one, other = stage.app(name=f"{stage.name}-one"), stage.app(name=f"{stage.name}-other")
    for app in (one, other):
        for name in ("first", "second"):
            writing(app, name)

    async def scene() -> None:
        async with running(one), running(other):
            await one.publish(*placed(range(20)))
            await stage.until_handled(4 * 20)

    asyncio.run(scene())
    assert Counter(stage.effects()) == Counter(
        (f"{app.name} {name}", n) for app in (one, other) for name in ("first", "second") for n in range(20)
    )


def copy(stage: Stage) -> None:
    """The first event of the topic comes once more, with all that its producer wrote, as after an unclear send."""
    consumer = Consumer({"bootstrap.servers": stage.kafka.bootstrap, "group.id": f"{stage.name}-copy"})
    consumer.assign([TopicPartition(TOPIC, 0, 0)])
    (first,) = consumer.consume(1, PATIENCE_S)
    consumer.close()
    producer = Producer({"bootstrap.servers": stage.kafka.bootstrap})
    producer.produce(TOPIC, first.value(), first.key(), 0, headers=first.headers())
    assert producer.flush(PATIENCE_S) == 0


def test_a6_a_copy_is_recognised_however_much_came_in_between(stage: Stage) -> None:
    count = 2000

    async def scene() -> None:
        app = stage.recorder()
        async with running(app):
            for first in range(0, count, 500):
                await app.publish(*placed(range(first, first + 500)))
            await stage.until_handled(count)
        copy(stage)  # by the next owner, who has nothing in memory
        async with running(app):
            await app.send(Placed(key="last", n=count))
            await stage.until_handled(count + 1)

    asyncio.run(scene())
    assert_exactly_once(stage.effects(), range(count + 1))
    assert stage.standing() == {0: count + 2}


def test_a6_a_group_that_kafka_sends_back_to_the_beginning_handles_nothing_again(stage: Stage) -> None:
    async def scene() -> None:
        app = stage.recorder()
        async with running(app):
            await app.send(*placed(range(100)))
            await stage.until(lambda: stage.committed() == {0: 100})
        consumer = Consumer({"bootstrap.servers": stage.kafka.bootstrap, "group.id": f"{stage.name}:{TOPIC}"})
        consumer.commit(offsets=[TopicPartition(TOPIC, 0, 0)], asynchronous=False)
        consumer.close()
        assert stage.committed() == {0: 0}
        async with running(app):
            await app.send(Placed(key="last", n=100))
            await stage.until(lambda: stage.committed() == {0: 101})

    asyncio.run(scene())
    assert_exactly_once(stage.effects(), range(101))


def test_a8_a_backlog_that_is_older_than_the_session_runs_once(stage: Stage) -> None:
    calls: Counter[int] = Counter()

    async def scene() -> None:
        app = stage.app(SESSION)
        began, gate = asyncio.Event(), asyncio.Event()

        @app.on(Placed, concurrency=1)
        async def take(placed: Placed, ctx: Context) -> None:
            calls[placed.n] += 1
            began.set()
            await gate.wait()
            async with ctx.transaction() as tx:
                await tx.execute(INSERT, key=placed.key, n=placed.n)

        async with running(app):
            await app.send(*placed(range(50)))
            await began.wait()
            await asyncio.sleep(LONGER_S)  # is the claim: longer than a session, and than a poll may be apart
            gate.set()
            await stage.until_handled(50)

    asyncio.run(scene())
    assert_exactly_once(stage.effects(), range(50))
    assert calls == Counter(range(50))


def test_p4_the_offset_never_passes_an_unfinished_event_and_what_finished_behind_it_runs_once(stage: Stage) -> None:
    async def scene() -> None:
        held = asyncio.Event()

        def service() -> App:
            app = stage.app()

            @app.on(Placed, name="take", concurrency=100)
            async def take(placed: Placed, ctx: Context) -> None:
                if placed.n == 3 and not held.is_set():
                    await asyncio.Event().wait()
                async with ctx.transaction() as tx:
                    await tx.execute(INSERT, key=placed.key, n=placed.n)

            return app

        app = service()
        async with running(app) as first:
            await app.send(*placed(range(50), keys=50))
            await stage.until_handled(49)
            await stage.until(lambda: set(committed().values()) == {3})
            assert stage.standing() == {0: 3}
            await first.kill()
        held.set()
        async with running(service()):
            await stage.until(lambda: set(committed().values()) == {50})
        assert stage.standing() == {0: 50}

    def committed() -> dict[int, int]:
        return stage.committed(f"{stage.name}.take:{TOPIC}")

    asyncio.run(scene())
    assert stage.numbers() == [*range(50)]


def test_p6_poison_in_decoder_validator_and_handler_ends_after_bounded_attempts_with_its_cause(stage: Stage) -> None:
    calls: Counter[int] = Counter()

    async def scene() -> None:
        app = stage.app()

        @app.on(Placed, retry=Retry(max_attempts=3, first_s=0.01, max_s=0.01))
        async def take(placed: Placed, tx: Transaction) -> None:
            calls[placed.n] += 1
            await tx.execute(INSERT, key=placed.key, n=placed.n)
            if placed.n == 3:
                raise ValueError("poison")

        async with running(app):
            stage.produce(b'{"key":"a","n":0}', b'{"key', b'{"key":"a","n":1}', b'{"key":"a","n":"many"}')
            stage.produce(b'{"key":"a","n":2}', b'{"key":"a","n":3}', b'{"key":"a","n":4}')
            await stage.until(lambda: stage.committed() == {0: 7})

    asyncio.run(scene())
    assert stage.numbers() == [0, 1, 2, 4]
    assert 3 <= calls[3] <= 6, "a batch is halved until the event stands alone, which is no attempt"
    assert stage.dead_letters() == [("", "decode", 1), ("", "decode", 1), ("take", "attempts_spent", 3)]
    errors = [error for (error,) in stage.rows('SELECT error FROM onward.dead_letter ORDER BY "offset"')]
    assert [cause in error for cause, error in zip(("truncated", "Expected `int`", "poison"), errors, strict=True)] == [
        True,
        True,
        True,
    ], errors
