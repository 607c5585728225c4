"""Plain handlers that fail: their key waits, the others flow, and what can't succeed stands alone."""

import asyncio

import pytest

from onward import Event, FatalError
from onward.errors import ClaimLostError
from onward.pipeline.context import Context
from onward.pipeline.plain import PlainRunner
from onward.ports import Claim, Outgoing
from onward.sqlite.letters import discard
from tests.unit.pipeline.stage import INSERT, TOPIC, Billed, Noted, Ordered, Stage, ask_again, until


def orders(*pairs: tuple[str, int]) -> list[Event]:
    return [Ordered(customer=customer, n=n) for customer, n in pairs]


async def broken(runner: PlainRunner) -> None:
    """Let the loop turn until `check` raises; fails the test after some seconds."""
    async with asyncio.timeout(10):
        while True:
            runner.check()
            await asyncio.sleep(0)


async def bill(order: Ordered) -> Billed:
    return Billed(customer=order.customer, n=order.n)


def test_settling_does_not_wait_for_a_back_off() -> None:
    async def main() -> None:
        async def refuse(order: Ordered) -> None:
            raise OSError("down")

        stage = Stage()
        stage.clock.gate = asyncio.Event()
        stage.on(refuse)
        runner, _ = await stage.begin_plainly(*orders(("ann", 1)))
        await until(lambda: stage.clock.slept == [1.0])
        async with asyncio.timeout(5):
            await runner.settle(0, None)
        assert (await stage.claim()).attempts[0, "refuse"].attempts == 1

    asyncio.run(main())


def test_a_retried_event_holds_its_key_and_no_other() -> None:
    async def main() -> None:
        calls: list[int] = []

        async def flaky(order: Ordered) -> None:
            calls.append(order.n)
            if calls.count(1) < 3 and order.n == 1:
                raise OSError("down")

        stage = Stage()
        stage.clock.gate = asyncio.Event()
        stage.on(flaky)
        runner, claim = await stage.begin_plainly(*orders(("ann", 1), ("ann", 2), ("bob", 3)))
        await until(lambda: claim.position.beyond.count == 1 and bool(stage.clock.slept))
        assert calls == [1, 3]
        stage.clock.gate.set()
        await until(lambda: claim.position.next == 3)
        assert calls == [1, 3, 1, 1, 2]
        assert stage.clock.slept == [1.0, 2.0]
        assert claim.attempts == {}
        assert stage.rows("SELECT * FROM onward_attempt") == []
        await runner.settle(0, None)

    asyncio.run(main())


def test_attempts_are_counted_on_by_the_next_owner_up_to_a_dead_letter() -> None:
    async def main() -> None:
        seen: list[int] = []

        async def refuse(order: Ordered, ctx: Context) -> Billed:
            seen.append(ctx.attempt)
            raise OSError("down")

        stage = Stage()
        stage.clock.gate = asyncio.Event()
        stage.on(refuse)
        runner, _ = await stage.begin_plainly(*orders(("ann", 1), ("ann", 2)))
        await until(lambda: bool(stage.clock.slept))
        runner.forget(0)
        stage.clock.gate.set()
        other = await stage.claim()
        runner.attach(other)
        assert await runner.handle(other, stage.delivery()) is None
        await until(lambda: other.position.next == 2)
        await runner.settle(0, None)
        assert seen == [1, 2, 3, 1, 2, 3]
        assert stage.letters() == [
            (0, "refuse", "attempts_spent", 3, "dead"),
            (1, "refuse", "attempts_spent", 3, "dead"),
        ]
        assert stage.bills() == []
        assert stage.tally() == [("refuse", 0, 2, 0)]

    asyncio.run(main())


@pytest.mark.parametrize("error", [FatalError("never"), ValueError("declared")])
def test_a_fatal_error_is_a_dead_letter_at_once(error: Exception) -> None:
    async def main() -> None:
        async def refuse(order: Ordered) -> None:
            raise error

        stage = Stage()
        stage.on(refuse, fatal=(ValueError,))
        await stage.handle_plainly(*orders(("ann", 1)))
        assert stage.letters() == [(0, "refuse", "fatal", 1, "dead")]
        assert stage.clock.slept == []

    asyncio.run(main())


def test_bytes_that_are_no_event_are_kept_and_the_next_event_is_handled() -> None:
    async def main() -> None:
        stage = Stage()
        stage.on(bill)
        runner, claim = await stage.plain()
        broken = Outgoing(TOPIC, "pipeline.ordered", 1, b'{"customer": 7', "ann")
        await stage.publish(broken, *orders(("ann", 2)))
        assert await runner.handle(claim, stage.delivery()) is None
        await until(lambda: claim.position.next == 2)
        await runner.settle(0, None)
        assert stage.rows("SELECT handler, cause, value FROM onward_dead_letter") == [("", "decode", b'{"customer": 7')]
        assert stage.bills() == [2]

    asyncio.run(main())


def test_a_result_that_can_not_be_written_as_json_is_the_handlers_failure() -> None:
    async def main() -> None:
        async def oversize(order: Ordered) -> Billed:
            return Billed(customer="x" * (1 << 21) if order.n == 1 else "ann", n=order.n)

        stage = Stage()
        stage.on(oversize)
        await stage.handle_plainly(*orders(("ann", 1), ("ann", 2)))
        assert [letter[:2] for letter in stage.letters()] == [(0, "oversize")]
        assert stage.bills() == [2]

    asyncio.run(main())


def test_a_blocking_function_that_raises_stop_iteration_fails_and_does_not_hold_its_place() -> None:
    async def main() -> None:
        def exhausted(order: Ordered) -> None:
            if order.n == 1:
                next(iter([]))

        stage = Stage()
        stage.on(exhausted)
        await stage.handle_plainly(*orders(("ann", 1), ("bob", 2)))
        assert stage.letters() == [(0, "exhausted", "attempts_spent", 3, "dead")]
        assert stage.rows("SELECT error FROM onward_dead_letter") == [
            ("RuntimeError: the handler raised StopIteration",)
        ]

    asyncio.run(main())


def test_a_handler_that_awaits_something_cancelled_fails_and_does_not_hold_its_place() -> None:
    async def main() -> None:
        async def cancelled(order: Ordered) -> None:
            if order.n == 1:
                raise asyncio.CancelledError

        stage = Stage()
        stage.on(cancelled)
        await stage.handle_plainly(*orders(("ann", 1), ("bob", 2)))
        assert stage.letters() == [(0, "cancelled", "attempts_spent", 3, "dead")]

    asyncio.run(main())


def test_a_lost_claim_stops_the_runner_and_stores_nothing() -> None:
    async def main() -> None:
        stage = Stage()
        stage.on(bill)
        runner, claim = await stage.plain()
        await stage.publish(*orders(("ann", 1)))
        await stage.claim()
        assert await runner.handle(claim, stage.delivery()) is None
        with pytest.raises(ClaimLostError):
            await broken(runner)
        runner.forget(0)
        assert stage.bills() == []
        assert stage.account()[0] == 0

    asyncio.run(main())


def test_what_breaks_beside_the_deliveries_is_told_by_check() -> None:
    class Broken(BaseException):
        pass

    async def main() -> None:
        async def explode(order: Ordered) -> None:
            raise Broken

        stage = Stage()
        stage.on(explode)
        runner, claim = await stage.plain()
        runner.check()
        await stage.publish(*orders(("ann", 1)))
        assert await runner.handle(claim, stage.delivery()) is None
        with pytest.raises(Broken):
            await broken(runner)
        runner.forget(0)
        runner.check()
        assert stage.account()[0] == 0

    asyncio.run(main())


def test_an_event_that_ends_its_process_each_time_ends_as_a_dead_letter_alone() -> None:
    async def main() -> None:
        running = 0
        beside: list[int] = []  # how many ran when the deadly one began, by process

        async def deadly(noted: Noted) -> None:
            nonlocal running
            running += 1
            try:
                if noted.n == 5:
                    beside.append(running)
                    await asyncio.Event().wait()
                await asyncio.sleep(0)
            finally:
                running -= 1

        stage = Stage()
        stage.on(deadly, Noted, concurrency=100)
        runner, claim = await stage.plain()
        await stage.publish(*(Noted(n=n) for n in range(10)))
        deaths = 0
        while claim.position.next < 10:
            assert await runner.handle(claim, stage.delivery(claim.position.next)) in (None, 0.0)
            for _ in range(50):  # the neighbours have time to finish, and to be written
                await asyncio.sleep(0)
            if len(beside) > deaths:  # "kill": its memory is gone, and another process claims
                runner.forget(0)
                await until(lambda: running == 0)
                deaths += 1
                claim = await stage.claim()
                runner.attach(claim)
        await runner.settle(0, None)
        assert stage.letters() == [(5, "", "process_died", 3, "dead")]
        assert stage.tally() == [("", 0, 1, 0), ("deadly", 9, 0, 0)]
        assert deaths == 3
        assert beside == [6, 1, 1]

    asyncio.run(main())


def test_a_neighbours_commit_does_not_clear_a_running_event_of_suspicion() -> None:
    async def main() -> None:
        gate = asyncio.Event()

        async def wait(noted: Noted) -> None:
            if noted.n == 0:
                await gate.wait()

        stage = Stage()
        stage.on(wait, Noted)
        runner, claim = await stage.begin_plainly(*(Noted(n=n) for n in range(3)))
        await until(lambda: claim.position.beyond.count == 2)
        assert stage.account() == (0, 1, 0)
        gate.set()
        await until(lambda: claim.position.next == 3)
        assert stage.account() == (3, 0, 0)
        await runner.settle(0, None)

    asyncio.run(main())


async def revived(runner: PlainRunner, claim: Claim) -> None:
    """All letters that somebody asked for have run again."""
    assert not await runner.revive(claim)
    await until(lambda: not runner._windows[claim.partition].reviving)


def test_a_dead_letter_that_succeeds_on_retry_is_recovered_with_its_outputs() -> None:
    async def main() -> None:
        mended = asyncio.Event()

        async def flaky(order: Ordered, ctx: Context) -> Billed:
            async with ctx.transaction() as tx:
                await tx.execute(INSERT, by="flaky", n=order.n)
            if not mended.is_set():
                raise FatalError("not yet")
            return Billed(customer=order.customer, n=order.n)

        stage = Stage()
        stage.on(flaky)
        runner, claim = await stage.begin_plainly(*orders(("ann", 1)))
        await until(lambda: claim.position.next == 1)
        assert stage.effects() == []
        await ask_again(stage)
        await revived(runner, claim)
        assert stage.letters() == [(0, "flaky", "fatal", 2, "dead")]
        assert stage.effects() == stage.bills() == []
        mended.set()
        await ask_again(stage)
        await revived(runner, claim)
        assert stage.letters() == [(0, "flaky", "fatal", 3, "recovered")]
        assert stage.effects() == stage.bills() == [1]
        assert stage.tally() == [("flaky", 1, 0, 0)]
        assert stage.account()[0] == 1
        await runner.settle(0, None)

    asyncio.run(main())


def test_deliveries_go_on_while_a_dead_letter_runs_again() -> None:
    async def main() -> None:
        gate = asyncio.Event()

        async def slow(order: Ordered, ctx: Context) -> Billed:
            if ctx.late:
                await gate.wait()
            elif order.n == 1:
                raise FatalError("not yet")
            return Billed(customer=order.customer, n=order.n)

        stage = Stage()
        stage.on(slow)
        runner, claim = await stage.begin_plainly(*orders(("ann", 1)))
        await until(lambda: claim.position.next == 1)
        await ask_again(stage)
        assert not await runner.revive(claim)
        await until(lambda: stage.letters()[0][3:] == (2, "dead"))
        assert not await runner.revive(claim)  # it runs once all the same
        await stage.publish(*orders(("bob", 2)))
        assert await runner.handle(claim, stage.delivery(1)) is None
        await until(lambda: claim.position.next == 2)
        assert stage.bills() == [2]
        gate.set()
        await until(lambda: stage.letters()[0][3:] == (2, "recovered"))
        assert sorted(stage.bills()) == [1, 2]
        await runner.settle(0, None)

    asyncio.run(main())


def test_letters_whose_turn_has_not_come_when_the_partition_goes_are_still_asked_for() -> None:
    async def main() -> None:
        gate = asyncio.Event()

        async def slow(noted: Noted, ctx: Context) -> None:
            if not ctx.late:
                raise FatalError("not yet")
            await gate.wait()

        stage = Stage()
        stage.on(slow, Noted)
        runner, claim = await stage.begin_plainly(*(Noted(n=n) for n in range(3)))
        await until(lambda: claim.position.next == 3)
        await ask_again(stage)
        await runner.revive(claim)
        await until(lambda: stage.letters()[0][4] == "dead")
        settling = asyncio.create_task(runner.settle(0, None))
        await asyncio.sleep(0)
        gate.set()
        await settling
        assert [letter[3:] for letter in stage.letters()] == [(2, "recovered"), (1, "retrying"), (1, "retrying")]

    asyncio.run(main())


@pytest.mark.parametrize("fatal", [(), (KeyError,)])
def test_a_dead_letter_that_fails_again_says_of_what_it_failed_last(fatal: tuple[type[Exception], ...]) -> None:
    async def main() -> None:
        async def flaky(order: Ordered, ctx: Context) -> None:
            raise KeyError("second") if ctx.late else FatalError("first")

        stage = Stage()
        stage.on(flaky, fatal=fatal)
        runner, claim = await stage.begin_plainly(*orders(("ann", 1)))
        await until(lambda: claim.position.next == 1)
        ((first,),) = stage.rows("SELECT fingerprint FROM onward_dead_letter")
        await ask_again(stage)
        await revived(runner, claim)
        ((cause, attempts, error, detail, fingerprint),) = stage.rows(
            "SELECT cause, attempts, error, detail, fingerprint FROM onward_dead_letter WHERE state = 'dead'"
        )
        assert (cause, attempts, error) == ("fatal" if fatal else "attempts_spent", 2, "KeyError: 'second'")
        assert "second" in detail
        assert fingerprint != first
        await runner.settle(0, None)

    asyncio.run(main())


def test_a_dead_letter_that_is_discarded_while_it_runs_again_takes_no_effect() -> None:
    async def main() -> None:
        stage = Stage()

        async def flaky(order: Ordered, ctx: Context) -> Billed:
            if not ctx.late:
                raise FatalError("not yet")
            async with stage.database.transaction() as connection:
                assert discard(connection, [1])[0] == 1
            return Billed(customer=order.customer, n=order.n)

        stage.on(flaky)
        runner, claim = await stage.begin_plainly(*orders(("ann", 1)))
        await until(lambda: claim.position.next == 1)
        await ask_again(stage)
        await revived(runner, claim)
        assert [letter[4] for letter in stage.letters()] == ["discarded"]
        assert stage.bills() == []
        assert stage.rows("SELECT handler, succeeded, dead, discarded FROM onward_tally") == [("flaky", 0, 0, 1)]
        await runner.settle(0, None)

    asyncio.run(main())
