"""Handlers that commit with their event: behind a dead letter that blocks its key waits, and the others flow."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from onward import Transaction
from onward.errors import DeclarationError
from onward.outgoing import encode
from onward.pipeline.context import Context
from onward.pipeline.transactional import TransactionalRunner
from onward.policy import Retry
from tests.unit.pipeline.parking import ONCE, execute, handler, opened, orders, revive
from tests.unit.pipeline.stage import INSERT, Noted, Ordered, Stage, ask_again, give_up


def test_a9_a_key_waits_behind_its_dead_letter_the_others_flow_and_redriven_it_goes_on_in_order() -> None:
    async def main() -> None:
        broken = {1}
        stage, runner, claim = await opened(broken, *orders(("ann", 1), ("bob", 2), ("ann", 3), ("ann", 4), ("bob", 5)))
        assert stage.effects() == [2, 5]
        assert stage.parked() == [("pay", "ann", 2), ("pay", "ann", 3)]
        await stage.publish(*orders(("ann", 6), ("bob", 7)))  # in a batch of their own
        await stage.drive(runner, claim)
        assert stage.effects() == [2, 5, 7]
        await revive(runner, claim)
        assert stage.effects() == [2, 5, 7]
        broken.clear()
        await ask_again(stage)
        await revive(runner, claim)
        assert stage.effects() == [2, 5, 7, 1, 3, 4, 6]
        assert sorted(stage.bills()) == [1, 2, 3, 4, 5, 6, 7]
        assert stage.blocked() == []
        assert claim.blocked == set()
        await stage.publish(*orders(("ann", 8)))
        await stage.drive(runner, claim)
        assert stage.effects()[-1] == 8
        assert stage.parked() == []
        assert stage.tally() == [("pay", 8, 0, 0)]

    asyncio.run(main())


def test_a_discarded_letter_lets_its_key_go_on() -> None:
    async def main() -> None:
        stage, runner, claim = await opened({1}, *orders(("ann", 1), ("ann", 2), ("ann", 3)))
        await give_up(stage)
        await revive(runner, claim)
        assert stage.effects() == [2, 3]
        assert stage.blocked() == []

    asyncio.run(main())


def test_what_comes_while_a_key_is_decided_and_not_yet_free_goes_behind_what_is_parked() -> None:
    async def main() -> None:
        stage, runner, claim = await opened({1}, *orders(("ann", 1), ("ann", 2)))
        await give_up(stage)
        await stage.publish(*orders(("ann", 3)))
        await stage.drive(runner, claim)
        assert stage.effects() == []
        await revive(runner, claim)
        assert stage.effects() == [2, 3]
        assert stage.blocked() == []

    asyncio.run(main())


def test_the_next_owner_knows_what_waits() -> None:
    async def main() -> None:
        stage, _, _ = await opened({1}, *orders(("ann", 1)))
        runner = stage.runner()
        assert isinstance(runner, TransactionalRunner)
        claim = await stage.claim()
        await stage.publish(*orders(("ann", 2), ("bob", 3)))
        await stage.drive(runner, claim)
        assert stage.effects() == [3]
        assert stage.parked() == [("pay", "ann", 1)]

    asyncio.run(main())


def test_a_parked_event_that_fails_is_tried_again_and_its_key_waits_for_it() -> None:
    async def main() -> None:
        broken = {1, 2}
        stage, runner, claim = await opened(
            broken, *orders(("ann", 1), ("ann", 2), ("ann", 3)), retry=Retry(max_attempts=3, first_s=0.0, jitter=0.0)
        )
        await give_up(stage)
        broken.discard(1)
        await revive(runner, claim)
        assert stage.effects() == []
        (letter,) = [each for each in stage.letters() if each[4] == "dead"]
        assert letter == (1, "pay", "attempts_spent", 3, "dead")
        assert stage.parked() == [("pay", "ann", 2)]
        broken.clear()
        await ask_again(stage)
        await revive(runner, claim)
        assert stage.effects() == [2, 3]
        assert stage.tally() == [("pay", 2, 0, 0)]

    asyncio.run(main())


def test_one_of_two_handlers_waits_and_the_other_goes_on() -> None:
    async def main() -> None:
        broken = {1}
        stage = Stage()
        stage.on(handler(broken), retry=ONCE, after_last="block")
        stage.on(_counting(), retry=ONCE)
        runner = await stage.open()
        assert isinstance(runner, TransactionalRunner)
        claim = await stage.claim()
        await stage.publish(*orders(("ann", 1), ("ann", 2)))
        await stage.drive(runner, claim)
        assert stage.rows("SELECT n FROM effect WHERE by = 'count' ORDER BY n") == [(101,), (102,)]
        assert stage.parked() == [("pay", "ann", 1)]
        assert stage.tally() == [("count", 2, 0, 0), ("pay", 0, 1, 0)]

    asyncio.run(main())


def test_an_event_without_a_key_blocks_nothing() -> None:
    async def main() -> None:
        async def note(noted: Noted | Ordered, tx: Transaction) -> None:
            if noted.n == 1:
                raise ValueError("no")
            await tx.execute(INSERT, by="note", n=noted.n)

        stage = Stage()
        stage.on(note, Noted, Ordered, retry=ONCE, after_last="block")
        runner = await stage.open()
        assert isinstance(runner, TransactionalRunner)
        claim = await stage.claim()
        await stage.publish(Noted(n=1), Noted(n=2))
        await stage.drive(runner, claim)
        assert stage.effects() == [2]
        assert stage.blocked() == []

    asyncio.run(main())


def test_a_parked_event_that_no_handler_takes_any_more_waits_and_the_other_keys_go_on() -> None:
    async def main() -> None:
        stage, _, _ = await opened({1, 3}, *orders(("ann", 1), ("ann", 2), ("bob", 3), ("bob", 4)))
        await give_up(stage)
        await execute(stage, "UPDATE onward_blocked SET handler = 'former' WHERE key = 'ann'")
        runner = stage.runner()
        assert isinstance(runner, TransactionalRunner)
        claim = await stage.claim()
        await revive(runner, claim)
        assert stage.effects() == [4]
        assert stage.parked() == [("former", "ann", 1)]

    asyncio.run(main())


def test_who_asks_is_told_that_an_event_was_parked() -> None:
    async def main() -> None:
        seen: list[tuple[int, bool]] = []

        async def pay(order: Ordered, tx: Transaction, ctx: Context) -> None:
            if order.n == 1:
                raise ValueError("no")
            seen.append((order.n, ctx.late))

        stage = Stage()
        stage.on(pay, retry=ONCE, after_last="block")
        runner = await stage.open()
        assert isinstance(runner, TransactionalRunner)
        claim = await stage.claim()
        await stage.publish(*orders(("ann", 1), ("ann", 2), ("bob", 3)))
        await stage.drive(runner, claim)
        await give_up(stage)
        await revive(runner, claim)
        assert seen[-2:] == [(3, False), (2, True)]

    asyncio.run(main())


def test_a_long_queue_is_handled_in_order() -> None:
    async def main() -> None:
        stage, runner, claim = await opened({0}, *orders(*(("ann", n) for n in range(350))))
        assert len(stage.parked()) == 349
        await give_up(stage)
        await revive(runner, claim)
        assert stage.effects() == list(range(1, 350))
        assert stage.blocked() == []

    asyncio.run(main())


def test_what_could_not_be_read_and_is_retried_waits_for_its_key_too() -> None:
    async def main() -> None:
        broken = {2}
        stage, runner, claim = await opened(broken)
        await stage.publish(encode(Ordered(customer="ann", n=1))._replace(value=b"not JSON"))
        await stage.publish(*orders(("ann", 2), ("ann", 3)))
        await stage.drive(runner, claim)
        assert stage.parked() == [("pay", "ann", 2)]
        async with stage.database.transaction() as connection:
            value = b'{"customer":"ann","n":1}'
            connection.execute(
                "UPDATE onward_dead_letter SET value = ?, state = 'retrying' WHERE handler = ''", (value,)
            )
        await revive(runner, claim)
        assert stage.effects() == []
        assert stage.parked() == [("pay", "ann", 2), ("pay", "ann", 0)]
        broken.clear()
        await ask_again(stage)
        await revive(runner, claim)
        assert stage.effects() == [2, 3, 1]
        assert stage.tally() == [("", 0, 0, 0), ("pay", 3, 0, 0)]

    asyncio.run(main())


def test_a_key_with_a_long_queue_does_not_hold_up_another() -> None:
    async def main() -> None:
        events = orders(("ann", 0), ("bob", 1), *(("ann", n) for n in range(2, 900)), ("bob", 2000))
        stage, runner, claim = await opened({0, 1}, *events)
        await give_up(stage)
        await revive(runner, claim)
        assert stage.effects().index(2000) < 100
        assert len(stage.effects()) == 899

    asyncio.run(main())


def test_many_keys_with_nothing_behind_them_are_freed_at_once() -> None:
    async def main() -> None:
        stage, runner, claim = await opened(set(range(350)), *orders(*((f"key-{n}", n) for n in range(350))))
        assert len(claim.blocked) == 350
        await give_up(stage)
        await revive(runner, claim)
        assert stage.blocked() == []
        assert claim.blocked == set()

    asyncio.run(main())


def test_after_last_says_block_or_skip_and_needs_a_key() -> None:
    async def note(noted: Noted, tx: Transaction) -> None: ...

    with pytest.raises(DeclarationError, match="no event that it handles has one"):
        Stage().on(note, Noted, after_last="block")
    with pytest.raises(DeclarationError, match="'block' or 'skip', not 'stop'"):
        Stage().on(note, Noted, after_last="stop")


def _counting() -> Callable[[Ordered, Transaction], Awaitable[None]]:
    async def count(order: Ordered, tx: Transaction) -> None:
        await tx.execute(INSERT, by="count", n=100 + order.n)

    return count
