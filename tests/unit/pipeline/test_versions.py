"""Versions of an event that this code can't read: each ends as told, and no event beside it is touched."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from onward import Event, Transaction
from onward.errors import DecodeError
from onward.pipeline.context import Context
from onward.pipeline.plain import PlainRunner
from onward.pipeline.transactional import TransactionalRunner
from onward.ports import Outgoing, WireType
from tests.unit.pipeline.stage import INSERT, TOPIC, Stage, until


class Measured(Event, type="pipeline.measured", topic=TOPIC, version=3):
    n: int


async def each(measured: Measured, tx: Transaction) -> None:
    await tx.execute(INSERT, by="each", n=measured.n)


async def together(measured: list[Measured], tx: Transaction) -> None:
    for one in measured:
        await tx.execute(INSERT, by="together", n=one.n)


async def plainly(measured: Measured, ctx: Context) -> None:
    async with ctx.transaction() as tx:
        await tx.execute(INSERT, by="plainly", n=measured.n)


KINDS = pytest.mark.parametrize("handler", [each, together, plainly])


def measured(n: int, version: int = 3) -> Outgoing:
    return Outgoing(TOPIC, "pipeline.measured", version, b'{"n": %d}' % n, None)


async def all_handled(stage: Stage, *events: Outgoing) -> None:
    runner = await stage.open()
    await stage.publish(*events)
    claim = await stage.claim()
    if isinstance(runner, PlainRunner):
        runner.attach(claim)
        assert await runner.handle(claim, stage.delivery()) is None
        await until(lambda: claim.position.next == len(events))
        await runner.settle(0, None)
    else:
        assert isinstance(runner, TransactionalRunner)
        assert await stage.drive(runner, claim) == []


@KINDS
def test_an_older_version_that_nothing_reads_is_a_dead_letter_alone(
    handler: Callable[..., Coroutine[Any, Any, None]],
) -> None:
    async def main() -> None:
        stage = Stage()
        stage.on(handler, Measured)
        await all_handled(stage, measured(1), measured(2, version=1), measured(3))
        assert [letter[:1] + letter[2:] for letter in stage.letters()] == [(1, "decode", 1, "dead")]
        ((error,),) = stage.rows("SELECT error FROM onward_dead_letter")
        assert error.startswith("DecodeError: A message is pipeline.measured version 1, and nothing says how to")
        assert sorted(stage.effects()) == [1, 3]

    asyncio.run(main())


@KINDS
def test_a_batch_of_older_versions_that_nothing_reads_leaves_all_of_them_as_dead_letters(
    handler: Callable[..., Coroutine[Any, Any, None]],
) -> None:
    async def main() -> None:
        stage = Stage()
        stage.on(handler, Measured)
        await all_handled(stage, *(measured(n, version=1) for n in range(5)))
        assert [(offset, cause) for offset, _, cause, _, _ in stage.letters()] == [(n, "decode") for n in range(5)]
        assert stage.effects() == []

    asyncio.run(main())


def test_a_refusal_said_of_many_events_keeps_nothing_of_those_before() -> None:
    async def main() -> None:
        stage = Stage()
        stage.on(each, Measured)
        runner = await stage.open()
        assert isinstance(runner, TransactionalRunner)
        route = runner._routes.named(WireType("pipeline.measured", 1))
        for _ in range(2):
            with pytest.raises(DecodeError) as caught:
                route.open(b"{}")
        frames = [entry.frame.code.name for entry in caught.traceback]
        assert frames.count("open") == 1

    asyncio.run(main())
