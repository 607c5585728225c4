"""Plain handlers: behind a dead letter that blocks its key waits; what is parked is neither left nor overtaken.

Gates stand where a delivery and the work beside it may meet: each order of the two is made to happen.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from onward import Event
from onward.outgoing import encode
from onward.pipeline.context import Context
from onward.pipeline.plain import PlainRunner
from onward.policy import Retry
from onward.ports import Claim, Outgoing, Settlement
from onward.stores.unit import SqliteUnit
from tests.unit.pipeline.stage import INSERT, Ordered, Stage, ask_again, give_up, until

ONCE = Retry(max_attempts=1)


def orders(*pairs: tuple[str, int]) -> list[Event]:
    return [Ordered(customer=customer, n=n) for customer, n in pairs]


class Cashier:
    """A plain handler that notes its calls, fails for those in `broken`, and waits at the gate that an event has."""

    def __init__(self, *broken: int) -> None:
        self.broken = set(broken)
        self.calls: list[int] = []
        self.gates: dict[int, asyncio.Event] = {}

    def handler(self) -> Callable[[Ordered, Context], Awaitable[None]]:
        async def pay(order: Ordered, ctx: Context) -> None:
            self.calls.append(order.n)
            if order.n in self.gates:
                await self.gates[order.n].wait()
            if order.n in self.broken:
                raise ValueError(f"no {order.n}")
            async with ctx.transaction() as tx:
                await tx.execute(INSERT, by="pay", n=order.n)

        return pay


async def opened(cashier: Cashier, *events: Event | Outgoing, retry: Retry = ONCE) -> tuple[Stage, PlainRunner, Claim]:
    stage = Stage()
    stage.on(cashier.handler(), retry=retry, after_last="block")
    runner, claim = await stage.begin_plainly(*events)
    return stage, runner, claim


def attached(stage: Stage, claim: Claim) -> PlainRunner:
    """The runner of another process, which has the partition now."""
    runner = stage.runner()
    assert isinstance(runner, PlainRunner)
    runner.attach(claim)
    return runner


async def deliver(stage: Stage, runner: PlainRunner, claim: Claim, *events: Event | Outgoing) -> None:
    await stage.publish(*events)
    assert await runner.handle(claim, stage.delivery(claim.position.next)) is None


async def handled(claim: Claim, count: int) -> None:
    await until(lambda: claim.position.next == count)


async def quiet(runner: PlainRunner, claim: Claim) -> None:
    """Let what somebody asked for be run, until nothing of it is under way."""
    await runner.revive(claim)
    await until(lambda: not runner._windows[0].reviving)  # nothing else tells that it is over
    runner.check()


class Gate:
    """Holds up whoever comes through until it is opened; `reached` once somebody has."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self.opened = asyncio.Event()

    async def __call__(self) -> None:
        self.reached.set()
        await self.opened.wait()


@asynccontextmanager
async def gated(
    monkeypatch: pytest.MonkeyPatch, when: Callable[[Settlement], bool], *, behind: bool = False
) -> AsyncIterator[Gate]:
    """Commits of such settlements wait at a gate: before they are made, or when they have been, before that is told."""
    gate = Gate()
    commit = SqliteUnit.commit

    async def held(self: SqliteUnit, claim: Claim | None, settlement: Settlement | None) -> Any:
        meant = settlement is not None and when(settlement)
        if meant and not behind:
            await gate()
        await commit(self, claim, settlement)
        if meant and behind:
            await gate()

    with monkeypatch.context() as patch:
        patch.setattr(SqliteUnit, "commit", held)
        yield gate


def test_a9_a_key_waits_behind_its_dead_letter_the_others_flow_and_redriven_it_goes_on_in_order() -> None:
    async def main() -> None:
        cashier = Cashier(1)
        stage, runner, claim = await opened(cashier, *orders(("ann", 1), ("bob", 2), ("ann", 3), ("ann", 4)))
        await handled(claim, 4)
        assert stage.effects() == [2]
        assert stage.parked() == [("pay", "ann", 2), ("pay", "ann", 3)]
        await deliver(stage, runner, claim, *orders(("ann", 5), ("bob", 6)))
        await handled(claim, 6)
        assert stage.effects() == [2, 6]
        await quiet(runner, claim)
        assert cashier.calls.count(1) == 1
        cashier.broken.clear()
        await ask_again(stage)
        await quiet(runner, claim)
        assert stage.effects() == [2, 6, 1, 3, 4, 5]
        assert stage.blocked() == []
        await deliver(stage, runner, claim, *orders(("ann", 7)))
        await handled(claim, 7)
        assert stage.effects() == [2, 6, 1, 3, 4, 5, 7]
        assert stage.tally() == [("pay", 7, 0, 0)]
        await runner.settle(0, None)

    asyncio.run(main())


def test_the_next_owner_knows_what_waits() -> None:
    async def main() -> None:
        cashier = Cashier(1)
        stage, runner, claim = await opened(cashier, *orders(("ann", 1)))
        await handled(claim, 1)
        await runner.settle(0, None)
        claim = await stage.claim()
        other = attached(stage, claim)
        await deliver(stage, other, claim, *orders(("ann", 2), ("bob", 3)))
        await handled(claim, 3)
        assert stage.effects() == [3]
        assert stage.parked() == [("pay", "ann", 1)]
        await other.settle(0, None)

    asyncio.run(main())


def test_a_parked_event_that_fails_becomes_a_dead_letter_and_its_key_waits_for_it() -> None:
    async def main() -> None:
        cashier = Cashier(1, 2)
        stage, runner, claim = await opened(cashier, *orders(("ann", 1), ("ann", 2), ("ann", 3)))
        await handled(claim, 3)
        await give_up(stage)
        await quiet(runner, claim)
        assert stage.letters()[-1] == (1, "pay", "attempts_spent", 1, "dead")
        assert stage.parked() == [("pay", "ann", 2)]
        cashier.broken.clear()
        await ask_again(stage)
        await quiet(runner, claim)
        assert stage.effects() == [2, 3]
        await runner.settle(0, None)

    asyncio.run(main())


def test_what_is_delivered_behind_an_event_that_is_about_to_become_a_dead_letter_is_parked_behind_it() -> None:
    async def main() -> None:
        cashier = Cashier(1)
        cashier.gates[1] = asyncio.Event()
        stage, runner, claim = await opened(cashier, *orders(("ann", 1), ("ann", 2)))
        await until(lambda: cashier.calls == [1])
        await deliver(stage, runner, claim, *orders(("ann", 3)))  # while the first one is running
        cashier.gates[1].set()
        await handled(claim, 3)
        assert cashier.calls == [1]
        assert stage.parked() == [("pay", "ann", 1), ("pay", "ann", 2)]
        await runner.settle(0, None)

    asyncio.run(main())


@pytest.mark.parametrize("behind", [False, True])
def test_what_is_delivered_while_a_dead_letter_is_written_is_parked_behind_it(
    monkeypatch: pytest.MonkeyPatch, behind: bool
) -> None:
    async def main() -> None:
        cashier = Cashier(1)
        stage, runner, claim = await opened(cashier)
        await stage.publish(*orders(("ann", 1), ("ann", 2)))
        whole = stage.delivery()
        first, second = (replace(whole, records=[each]) for each in whole.records)
        async with gated(monkeypatch, lambda each: bool(each.dead), behind=behind) as gate:
            assert await runner.handle(claim, first) is None
            await gate.reached.wait()
            assert await runner.handle(claim, second) is None
            gate.opened.set()
            await handled(claim, 2)
        assert cashier.calls == [1]
        assert stage.parked() == [("pay", "ann", 1)]
        await runner.settle(0, None)

    asyncio.run(main())


@pytest.mark.parametrize("behind", [False, True])
def test_an_event_that_comes_while_its_key_is_being_freed_is_handled_once_and_behind_what_was_parked(
    monkeypatch: pytest.MonkeyPatch, behind: bool
) -> None:
    async def main() -> None:
        cashier = Cashier(1)
        stage, runner, claim = await opened(
            cashier, *orders(("ann", 1), ("ann", 2), ("ann", 3), ("ann", 4), ("ann", 5))
        )
        # All are in the log; the delivery of the last two comes when the gate says so.
        await handled(claim, 5)
        await give_up(stage)
        await stage.publish(*orders(("ann", 6), ("ann", 7)))
        coming = stage.delivery(claim.position.next)
        async with gated(monkeypatch, lambda each: bool(each.freed), behind=behind) as gate:
            await runner.revive(claim)
            await gate.reached.wait()
            taking = asyncio.create_task(runner.handle(claim, coming))
            for _ in range(20):
                await asyncio.sleep(0)
            assert not taking.done()  # nobody knows yet whether its key waits
            gate.opened.set()
            assert await taking is None
            await handled(claim, 7)
        await quiet(runner, claim)
        assert cashier.calls == [1, 2, 3, 4, 5, 6, 7]
        assert stage.effects() == [2, 3, 4, 5, 6, 7]
        assert stage.blocked() == []
        assert stage.parked() == []
        await runner.settle(0, None)

    asyncio.run(main())


def test_a_key_is_not_freed_while_an_event_is_on_its_way_behind_it(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        cashier = Cashier(1)
        stage, runner, claim = await opened(cashier, *orders(("ann", 1)))
        await handled(claim, 1)
        await give_up(stage)
        window = runner._windows[0]  # to hold what a commit needs, so that none comes in between
        await window.settling.acquire()
        await runner.revive(claim)  # waits for its turn to look at the queues
        await deliver(stage, runner, claim, *orders(("ann", 2)))
        assert [event.offset for event in window.results.parked] == [1]
        window.settling.release()
        await handled(claim, 2)
        await quiet(runner, claim)
        await deliver(stage, runner, claim, *orders(("ann", 3)))
        await handled(claim, 3)
        await quiet(runner, claim)
        assert cashier.calls == [1, 2, 3]
        assert stage.blocked() == []
        await runner.settle(0, None)

    asyncio.run(main())


def test_an_event_that_comes_while_the_last_parked_one_runs_is_handled_behind_it() -> None:
    async def main() -> None:
        cashier = Cashier(1)
        cashier.gates[2] = asyncio.Event()
        stage, runner, claim = await opened(cashier, *orders(("ann", 1), ("ann", 2)))
        await handled(claim, 2)
        await give_up(stage)
        await runner.revive(claim)
        await until(lambda: cashier.calls == [1, 2])
        await deliver(stage, runner, claim, *orders(("ann", 3)))
        await handled(claim, 3)
        assert stage.parked() == [("pay", "ann", 1), ("pay", "ann", 2)]
        cashier.gates[2].set()
        await quiet(runner, claim)
        assert cashier.calls == [1, 2, 3]
        assert stage.effects() == [2, 3]
        await runner.settle(0, None)

    asyncio.run(main())


def test_a_partition_that_goes_while_a_parked_event_runs_leaves_the_rest_to_the_next_owner() -> None:
    async def main() -> None:
        cashier = Cashier(1)
        cashier.gates[2] = asyncio.Event()
        stage, runner, claim = await opened(cashier, *orders(("ann", 1), ("ann", 2), ("ann", 3)))
        await handled(claim, 3)
        await give_up(stage)
        await runner.revive(claim)
        await until(lambda: cashier.calls == [1, 2])
        settling = asyncio.create_task(runner.settle(0, None))
        await asyncio.sleep(0)
        cashier.gates[2].set()
        await settling
        assert stage.effects() == [2]
        claim = await stage.claim()
        other = attached(stage, claim)
        await quiet(other, claim)
        assert stage.effects() == [2, 3]
        assert cashier.calls == [1, 2, 3]
        await other.settle(0, None)

    asyncio.run(main())


def test_a_parked_event_that_takes_too_long_for_its_partition_to_stay_did_not_end_its_process() -> None:
    async def main() -> None:
        cashier = Cashier(1)
        stage, runner, claim = await opened(cashier, *orders(("ann", 1), ("ann", 2)))
        await handled(claim, 2)
        await give_up(stage)
        cashier.gates[2] = asyncio.Event()
        for _ in range(3):
            cashier.calls.clear()
            await runner.revive(claim)
            await until(lambda: cashier.calls == [2])
            await runner.settle(0, 0.01)
            assert stage.rows("SELECT attempts, begun FROM onward_parked") == [(0, 0)]
            claim = await stage.claim()
            runner = attached(stage, claim)
        cashier.gates.clear()
        await quiet(runner, claim)
        assert stage.effects() == [2]
        await runner.settle(0, None)

    asyncio.run(main())


def test_after_unclean_starts_a_parked_event_and_a_delivered_one_are_never_in_hand_at_once() -> None:
    async def main() -> None:
        cashier = Cashier(1)
        stage, runner, claim = await opened(cashier, *orders(("ann", 1), ("ann", 2), ("ann", 3)))
        await handled(claim, 3)
        await runner.settle(0, None)
        await give_up(stage)
        await stage.publish(*orders(("bob", 4), ("bob", 5)))
        for _ in range(4):
            claim = await stage.claim()
        other = attached(stage, claim)
        cashier.calls.clear()
        cashier.gates = {n: asyncio.Event() for n in range(2, 6)}
        await other.revive(claim)
        await until(lambda: cashier.calls == [2])
        assert await other.handle(claim, stage.delivery(claim.position.next)) == 0.0  # its turn has not come
        assert cashier.calls == [2]
        cashier.gates[2].set()
        await until(lambda: len(cashier.calls) == 2)
        for gate in cashier.gates.values():
            gate.set()
        while await other.handle(claim, stage.delivery(claim.position.next)) is not None:
            pass
        await handled(claim, 5)
        await quiet(other, claim)
        assert sorted(stage.effects()) == [2, 3, 4, 5]
        await other.settle(0, None)

    asyncio.run(main())


def test_after_unclean_starts_a_parked_event_does_not_take_the_place_that_a_retry_needs() -> None:
    async def main() -> None:
        cashier = Cashier(1)
        stage = Stage()
        stage.on(cashier.handler(), retry=Retry(max_attempts=2, first_s=1.0), after_last="block", concurrency=1)
        runner, claim = await stage.begin_plainly(*orders(("ann", 1), ("ann", 2)))
        await handled(claim, 2)
        await runner.settle(0, None)
        await give_up(stage)
        await stage.publish(*orders(("bob", 3)))
        for _ in range(4):
            claim = await stage.claim()
        other = attached(stage, claim)
        cashier.calls.clear()
        cashier.broken, stage.clock.gate = {3}, asyncio.Event()
        slept = len(stage.clock.slept)
        assert await other.handle(claim, stage.delivery(claim.position.next)) is None
        await until(lambda: len(stage.clock.slept) > slept)  # between two tries it is in hand, and has no place
        await other.revive(claim)
        for _ in range(50):
            await asyncio.sleep(0)
        cashier.broken.clear()
        stage.clock.gate.set()
        await quiet(other, claim)
        assert cashier.calls == [3, 3, 2]
        await other.settle(0, None)

    asyncio.run(main())


def test_a_long_queue_leaves_others_their_turns_and_a_stop_is_heeded() -> None:
    async def main() -> None:
        cashier = Cashier(0)
        stage, runner, claim = await opened(cashier, *orders(*(("ann", n) for n in range(60))))
        await handled(claim, 60)
        await give_up(stage)
        await runner.revive(claim)
        await until(lambda: len(cashier.calls) > 5)
        assert len(cashier.calls) < 30
        await runner.settle(0, None)
        done = len(cashier.calls)
        assert done < 40
        assert stage.effects() == list(range(1, done))

    asyncio.run(main())


def test_what_could_not_be_read_and_is_retried_waits_for_its_key_too() -> None:
    async def main() -> None:
        cashier = Cashier(2)
        unreadable = encode(Ordered(customer="ann", n=1))._replace(value=b"not JSON")
        stage, runner, claim = await opened(cashier, unreadable, *orders(("ann", 2), ("ann", 3)))
        await handled(claim, 3)
        assert stage.parked() == [("pay", "ann", 2)]
        async with stage.database.transaction() as connection:
            value = b'{"customer":"ann","n":1}'
            connection.execute(
                "UPDATE onward_dead_letter SET value = ?, state = 'retrying' WHERE handler = ''", (value,)
            )
        await quiet(runner, claim)
        assert cashier.calls == [2]
        assert stage.parked() == [("pay", "ann", 2), ("pay", "ann", 0)]
        cashier.broken.clear()
        await ask_again(stage)
        await quiet(runner, claim)
        assert cashier.calls == [2, 2, 3, 1]
        assert stage.tally() == [("", 0, 0, 0), ("pay", 3, 0, 0)]
        await runner.settle(0, None)

    asyncio.run(main())


def test_what_can_not_be_read_in_its_turn_becomes_a_dead_letter_of_its_handler() -> None:
    async def main() -> None:
        cashier = Cashier(1)
        stage, runner, claim = await opened(cashier, *orders(("ann", 1)))
        await handled(claim, 1)
        await deliver(stage, runner, claim, encode(Ordered(customer="ann", n=2))._replace(value=b"not JSON"))
        await deliver(stage, runner, claim, *orders(("ann", 3)))
        await handled(claim, 3)
        await give_up(stage)
        await quiet(runner, claim)
        assert stage.letters()[-1] == (1, "pay", "decode", 1, "dead")
        assert stage.parked() == [("pay", "ann", 2)]
        await runner.settle(0, None)

    asyncio.run(main())
