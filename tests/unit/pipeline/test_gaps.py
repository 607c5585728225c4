"""A log whose offsets have gaps: what holds no event is passed, counts as skipped, and holds nobody up."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from onward import Context, FatalError, Transaction
from onward.pipeline.plain import PlainRunner
from onward.pipeline.transactional import TransactionalRunner
from onward.ports import Claim
from tests.unit.pipeline.stage import INSERT, Noted, Stage, until


class Killed(BaseException):
    """What stands for the end of a process: nothing catches it."""


GAPS = (0, 3, 4, 8)
EVENTS = [1, 2, 5, 6, 7, 9]


async def publish_with_gaps(stage: Stage) -> None:
    """Ten events, some of which are as if they had never been."""
    await stage.publish(*(Noted(n=n) for n in range(10)))
    async with stage.database.transaction() as connection:
        connection.executemany("DELETE FROM onward_log WHERE pos & 1099511627775 = ?", [(n,) for n in GAPS])


async def save(noted: Noted, tx: Transaction) -> None:
    await tx.execute(INSERT, by="save", n=noted.n)


async def begun(stage: Stage) -> tuple[TransactionalRunner, Claim]:
    runner = await stage.open()
    assert isinstance(runner, TransactionalRunner)
    await publish_with_gaps(stage)
    return runner, await stage.claim()


def test_a_batch_passes_gaps_and_counts_them_as_skipped() -> None:
    async def main() -> None:
        stage = Stage()
        stage.on(save, Noted)
        runner, claim = await begun(stage)
        assert await runner.handle(claim, stage.delivery()) is None
        assert stage.effects() == EVENTS
        assert stage.account()[0] == 10
        assert stage.tally() == [("", 0, 0, 4), ("save", 6, 0, 0)]

    asyncio.run(main())


def test_a_careful_pass_counts_each_gap_once() -> None:
    async def main() -> None:
        async def refuse_five(noted: Noted, tx: Transaction, ctx: Context) -> None:
            if noted.n == 5 or (noted.n == 7 and ctx.attempt == 1):
                raise FatalError("no") if noted.n == 5 else OSError("down")
            await save(noted, tx)

        stage = Stage()
        stage.on(refuse_five, Noted)
        runner, claim = await begun(stage)
        assert len(await stage.drive(runner, claim)) == 1
        assert stage.effects() == [1, 2, 6, 7, 9]
        assert [letter[:2] for letter in stage.letters()] == [(5, "refuse_five")]
        assert stage.account()[0] == 10
        assert stage.tally() == [("", 0, 0, 4), ("refuse_five", 5, 1, 0)]

    asyncio.run(main())


def test_an_event_that_ends_its_process_is_buried_once_though_a_gap_lies_before_it() -> None:
    async def main() -> None:
        async def save_but_one(noted: Noted, tx: Transaction) -> None:
            if noted.n == 1:
                raise Killed
            await save(noted, tx)

        stage = Stage()
        stage.on(save_but_one, Noted)
        runner, claim = await begun(stage)
        processes = 1
        while not await _survived(stage, runner, claim):
            claim = await stage.claim()
            processes += 1
        assert processes < 10
        assert [letter[:3] for letter in stage.letters()] == [(1, "", "process_died")]
        assert stage.effects() == EVENTS[1:]
        assert stage.tally() == [("", 0, 1, 4), ("save_but_one", 5, 0, 0)]

    asyncio.run(main())


def test_a_plain_handler_s_position_moves_over_gaps() -> None:
    async def main() -> None:
        stage = Stage()
        runner, claim, calls = await _plain(stage)
        assert await runner.handle(claim, stage.delivery()) is None
        await until(lambda: claim.position.next == 10)
        assert (sorted(calls), claim.position.beyond.bounds) == (EVENTS, ())
        assert stage.tally() == [("", 0, 0, 4), ("call", 6, 0, 0)]

    asyncio.run(main())


def test_a_plain_handler_s_gaps_count_once_whatever_is_delivered_again() -> None:
    async def main() -> None:
        stage = Stage()
        slow = asyncio.Event()
        runner, claim, calls = await _plain(stage, slow_at=2, gate=slow)
        whole = stage.delivery()
        for some in (whole.records[:3], whole.records[1:5], whole.records[1:]):
            assert await runner.handle(claim, replace(whole, records=some)) is None
        await until(lambda: 9 in claim.position.beyond)
        # Another process finds all but the slow one done, and is delivered everything from there on.
        other, taken = stage.runner(), await stage.claim()
        assert isinstance(other, PlainRunner)
        slow.set()
        other.attach(taken)
        assert await other.handle(taken, stage.delivery(taken.position.next)) is None
        await until(lambda: taken.position.next == 10)
        assert sorted(calls) == sorted([*EVENTS, 2])
        assert stage.tally() == [("", 0, 0, 4), ("call", 6, 0, 0)]

    asyncio.run(main())


async def _plain(
    stage: Stage, slow_at: int = -1, gate: asyncio.Event | None = None
) -> tuple[PlainRunner, Claim, Sequence[int]]:
    calls: list[int] = []

    async def call(noted: Noted) -> None:
        calls.append(noted.n)
        if noted.n == slow_at and gate is not None:
            await gate.wait()

    stage.on(call, Noted)
    runner, claim = await stage.plain()
    await publish_with_gaps(stage)
    return runner, claim, calls


async def _survived(stage: Stage, runner: TransactionalRunner, claim: Claim) -> bool:
    try:
        assert await runner.handle(claim, stage.delivery(claim.position.next)) is None
    except Killed:
        return False
    return True
