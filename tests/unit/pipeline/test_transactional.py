"""Handlers that commit with their event: a batch together, and carefully where something failed."""

import asyncio
from typing import Annotated, Any

import pytest

from onward import Event, FatalError, SyncTransaction, Transaction, upcast
from onward.errors import ClaimLostError, DeclarationError, StoreError, TransactionError
from onward.events import isolated_registry
from onward.outgoing import encode
from onward.pipeline import transactional
from onward.pipeline.context import Context
from onward.pipeline.invocation import CallNext
from onward.pipeline.transactional import TransactionalRunner
from onward.ports import Claim, Outgoing
from tests.unit.pipeline.stage import INSERT, TOPIC, Billed, Foreign, Noted, Ordered, Stage, ask_again


async def begun(stage: Stage, *events: Event | Outgoing) -> tuple[TransactionalRunner, Claim]:
    runner = await stage.open()
    assert isinstance(runner, TransactionalRunner)
    await stage.publish(*events)
    return runner, await stage.claim()


def orders(*numbers: int) -> list[Event]:
    return [Ordered(customer="ann", n=n) for n in numbers]


async def save(order: Ordered, tx: Transaction) -> Billed:
    await tx.execute(INSERT, by="save", n=order.n)
    return Billed(customer=order.customer, n=order.n)


async def save_but_three(order: Ordered, tx: Transaction) -> Billed:
    await tx.execute(INSERT, by="save", n=order.n)
    await tx.publish(Billed(customer=order.customer, n=order.n))
    if order.n == 3:
        raise OSError("down")
    return Billed(customer=order.customer, n=order.n + 100)


def test_a_batch_of_one_type_takes_effect_in_order_in_one_commit() -> None:
    async def main() -> None:
        stage = Stage()
        stage.on(save)
        runner, claim = await begun(stage, *orders(*range(200)))
        revision = claim.revision
        assert await runner.handle(claim, stage.delivery()) is None
        assert claim.revision == revision + 1
        assert stage.effects() == stage.bills() == list(range(200))
        assert stage.tally() == [("save", 200, 0, 0)]
        assert stage.account() == (200, 0, 0)

    asyncio.run(main())


def test_a_mixed_batch_goes_to_the_handlers_of_each_type_and_skips_the_rest() -> None:
    async def main() -> None:
        async def note(noted: Noted, tx: Transaction) -> None:
            await tx.submit(INSERT, by="note", n=noted.n)

        stage = Stage()
        stage.on(save)
        stage.on(note, Noted)
        runner, claim = await begun(stage, *orders(1), Noted(n=2), Foreign(n=3), *orders(4))
        assert await runner.handle(claim, stage.delivery()) is None
        assert stage.effects() == [1, 2, 4]
        assert stage.tally() == [("", 0, 0, 1), ("note", 1, 0, 2), ("save", 2, 0, 1)]

    asyncio.run(main())


def test_a_batch_of_one_type_counts_as_skipped_with_those_who_take_another() -> None:
    async def main() -> None:
        async def note(noted: Noted, tx: Transaction) -> None:
            raise AssertionError("it is of another type")

        stage = Stage()
        stage.on(save)
        stage.on(note, Noted)
        runner, claim = await begun(stage, *orders(1, 2, 3))
        assert await runner.handle(claim, stage.delivery()) is None
        assert stage.tally() == [("note", 0, 0, 3), ("save", 3, 0, 0)]

    asyncio.run(main())


def test_one_of_two_handlers_fails_and_the_other_takes_effect() -> None:
    async def main() -> None:
        async def refuse(order: Ordered, tx: Transaction) -> Billed:
            await tx.execute(INSERT, by="refuse", n=order.n + 1000)
            raise FatalError("never")

        stage = Stage()
        stage.on(save)
        stage.on(refuse)
        runner, claim = await begun(stage, *orders(1, 2))
        assert await stage.drive(runner, claim) == []
        assert stage.effects() == stage.bills() == [1, 2]
        assert stage.letters() == [(0, "refuse", "fatal", 1, "dead"), (1, "refuse", "fatal", 1, "dead")]
        assert stage.tally() == [("refuse", 0, 2, 0), ("save", 2, 0, 0)]

    asyncio.run(main())


def test_what_comes_before_a_failing_event_commits_before_the_wait() -> None:
    async def main() -> None:
        stage = Stage()
        stage.on(save_but_three)
        runner, claim = await begun(stage, *orders(1, 2, 3, 4))
        assert await runner.handle(claim, stage.delivery()) == 1.0
        assert stage.effects() == [1, 2]
        assert stage.account()[0] == 2
        assert stage.rows("SELECT offset, handler, attempts FROM onward_attempt") == [(2, "save_but_three", 1)]

    asyncio.run(main())


def test_the_last_attempt_ends_as_a_dead_letter_without_outputs_and_the_rest_goes_on() -> None:
    async def main() -> None:
        stage = Stage()
        stage.on(save_but_three)
        runner, claim = await begun(stage, *orders(1, 2, 3, 4))
        assert await stage.drive(runner, claim) == [1.0, 2.0]
        assert stage.effects() == [1, 2, 4]
        assert stage.bills() == [1, 101, 2, 102, 4, 104]
        assert stage.letters() == [(2, "save_but_three", "attempts_spent", 3, "dead")]
        assert stage.rows("SELECT * FROM onward_attempt") == []
        assert stage.account()[0] == 4

    asyncio.run(main())


def test_attempts_are_counted_over_owners() -> None:
    async def main() -> None:
        stage = Stage()
        stage.on(save_but_three)
        runner, claim = await begun(stage, *orders(3))
        for wait_s in (1.0, 2.0, None):
            assert await runner.handle(claim, stage.delivery(claim.position.next)) == wait_s
            claim = await stage.claim()
        assert stage.letters() == [(0, "save_but_three", "attempts_spent", 3, "dead")]

    asyncio.run(main())


def test_a_declared_fatal_error_is_not_tried_again() -> None:
    async def main() -> None:
        stage = Stage()
        stage.on(save_but_three, fatal=(OSError,))
        runner, claim = await begun(stage, *orders(2, 3, 4))
        assert await stage.drive(runner, claim) == []
        assert stage.letters() == [(1, "save_but_three", "fatal", 1, "dead")]
        assert stage.effects() == [2, 4]

    asyncio.run(main())


def test_bytes_that_are_no_event_are_kept_and_their_neighbours_take_effect() -> None:
    async def main() -> None:
        calls: list[int] = []

        async def save_and_note(order: Ordered, tx: Transaction) -> None:
            calls.append(order.n)
            await save(order, tx)

        stage = Stage()
        stage.on(save_and_note)
        broken = Outgoing(TOPIC, "pipeline.ordered", 1, b"\xff not json", None)
        runner, claim = await begun(stage, *orders(1), broken, *orders(2))
        assert await stage.drive(runner, claim) == []
        assert stage.rows("SELECT offset, cause, value FROM onward_dead_letter") == [(1, "decode", b"\xff not json")]
        assert stage.effects() == [1, 2]
        assert calls == [1, 2], "nobody is called before the whole batch is known to be readable"

    asyncio.run(main())


def test_a_record_that_names_no_type_is_a_dead_letter_where_several_are_handled() -> None:
    async def main() -> None:
        async def note(noted: Noted, tx: Transaction) -> None:
            raise AssertionError("nobody knows what it is")

        stage = Stage()
        stage.on(save)
        stage.on(note, Noted)
        runner, claim = await begun(stage, Outgoing(TOPIC, "", 1, b'{"n": 1}', None), *orders(2))
        assert await stage.drive(runner, claim) == []
        ((offset, handler, error),) = stage.rows("SELECT offset, handler, error FROM onward_dead_letter")
        assert (offset, handler) == (0, "")
        assert "names no event type (header ce_type), and this subscription handles several" in error
        assert "pipeline.noted, pipeline.ordered" in error
        assert stage.effects() == [2]

    asyncio.run(main())


class Weighed(Event, type="pipeline.weighed", topic=TOPIC, version=2):
    n: int


def test_an_upcaster_that_fails_is_named_by_the_dead_letter() -> None:
    async def main() -> None:
        async def weigh(weighed: Weighed, tx: Transaction) -> None: ...

        stage = Stage()
        with isolated_registry():

            @upcast(Weighed, from_version=1)
            def weigh_in_grams(old: dict[str, Any]) -> dict[str, Any]:
                raise LookupError("no scales")

            stage.on(weigh, Weighed)
            runner, claim = await begun(stage, Outgoing(TOPIC, "pipeline.weighed", 1, b'{"n": 1}', None))
            await stage.drive(runner, claim)
        ((cause, error),) = stage.rows("SELECT cause, error FROM onward_dead_letter")
        assert cause == "decode"
        assert error.startswith("DecodeError: A pipeline.weighed version 1 could not be read as version 2: ")
        assert "weigh_in_grams failed with LookupError('no scales')" in error

    asyncio.run(main())


def test_a_caught_sql_error_without_a_savepoint_fails_the_event() -> None:
    async def main() -> None:
        async def careless(order: Ordered, tx: Transaction) -> None:
            await tx.execute(INSERT, by="careless", n=order.n)
            if order.n == 2:
                with pytest.raises(StoreError):
                    await tx.execute("INSERT INTO no_such_table VALUES (1)")
            if order.n == 3:
                with pytest.raises(StoreError):
                    async with tx.savepoint():
                        await tx.execute(INSERT, by="again", n=order.n)

        stage = Stage()
        stage.on(careless, fatal=(TransactionError,))
        runner, claim = await begun(stage, *orders(1, 2, 3))
        assert await stage.drive(runner, claim) == []
        assert stage.effects() == [1, 3]
        assert stage.letters() == [(1, "careless", "fatal", 1, "dead")]

    asyncio.run(main())


def test_a_handler_that_suspends_is_finished_before_the_next_event() -> None:
    async def main() -> None:
        async def slow(order: Ordered, tx: Transaction) -> None:
            await asyncio.sleep(0)
            await tx.execute(INSERT, by="slow", n=order.n)
            await asyncio.sleep(0)

        stage = Stage()
        stage.on(slow)
        runner, claim = await begun(stage, *orders(3, 1, 2))
        assert await runner.handle(claim, stage.delivery()) is None
        assert stage.effects() == [3, 1, 2]

    asyncio.run(main())


def test_a_plain_def_handler_has_the_same_transaction() -> None:
    async def main() -> None:
        def store(order: Ordered, tx: SyncTransaction) -> Billed:
            tx.execute(INSERT, by="store", n=order.n)
            tx.publish(Billed(customer="ann", n=order.n))
            return Billed(customer="ann", n=order.n + 100)

        stage = Stage()
        stage.on(store)
        runner, claim = await begun(stage, *orders(1, 2))
        assert await runner.handle(claim, stage.delivery()) is None
        assert stage.effects() == [1, 2]
        assert stage.bills() == [1, 101, 2, 102]

    asyncio.run(main())


def test_middleware_goes_around_in_the_order_given() -> None:
    async def main() -> None:
        trail: list[str] = []

        async def outer(event: object, ctx: Context, call_next: CallNext) -> object:
            trail.append(f"outer {ctx.handler} {ctx.attempt}")
            returned = await call_next()
            trail.append("outer end")
            return returned

        async def inner(event: object, ctx: Context, call_next: CallNext) -> object:
            trail.append("inner")
            return await call_next()

        stage = Stage(middleware=[outer, inner])
        stage.on(save)
        runner, claim = await begun(stage, *orders(1))
        assert await runner.handle(claim, stage.delivery()) is None
        assert trail == ["outer save 1", "inner", "outer end"]
        assert stage.bills() == [1]

    asyncio.run(main())


class Rates:
    """A resource."""

    factor = 7


def test_resources_come_by_type_and_by_name() -> None:
    async def main() -> None:
        async def store(order: Ordered, tx: Transaction, rates: Rates, extra: Annotated[int, "extra"]) -> None:
            await tx.execute(INSERT, by="store", n=order.n * rates.factor + extra)

        stage = Stage(resources={Rates: Rates(), "extra": 1})
        stage.on(store)
        runner, claim = await begun(stage, *orders(1, 2))
        assert await runner.handle(claim, stage.delivery()) is None
        assert stage.effects() == [8, 15]

    asyncio.run(main())


def test_a_parameter_that_no_resource_fills_is_told_when_the_service_starts() -> None:
    async def main() -> None:
        async def store(order: Ordered, tx: Transaction, rates: Rates) -> None: ...

        stage = Stage(resources={int: 1})
        stage.on(store)
        with pytest.raises(DeclarationError, match=r"'store' asks for 'rates' .* which no resource .* \(it has: int\)"):
            await stage.open()

    asyncio.run(main())


def test_the_context_tells_the_attempt_and_keeps_its_key_over_attempts() -> None:
    async def main() -> None:
        seen: list[tuple[int, str]] = []

        async def refuse(order: Ordered, tx: Transaction, ctx: Context) -> None:
            seen.append((ctx.attempt, ctx.idempotency_key))
            raise OSError("down")

        stage = Stage()
        stage.on(refuse)
        runner, claim = await begun(stage, *orders(1))
        await stage.drive(runner, claim)
        # The first attempt is called twice: once together with its batch, and once alone.
        assert [attempt for attempt, _ in seen] == [1, 1, 2, 3]
        assert len({key for _, key in seen}) == 1
        assert seen[0][1].startswith("shop:refuse:")

    asyncio.run(main())


def test_a_lost_claim_takes_the_effects_with_it() -> None:
    async def main() -> None:
        stage = Stage()
        stage.on(save)
        runner, claim = await begun(stage, *orders(1))
        await stage.claim()
        with pytest.raises(ClaimLostError):
            await runner.handle(claim, stage.delivery())
        assert stage.effects() == stage.bills() == []
        assert stage.account()[0] == 0

    asyncio.run(main())


def test_a_dead_letter_that_succeeds_on_retry_takes_effect_once_and_moves_no_position() -> None:
    async def main() -> None:
        mended = asyncio.Event()

        async def flaky(order: Ordered, tx: Transaction, ctx: Context) -> Billed:
            await tx.execute(INSERT, by="flaky", n=order.n)
            if not mended.is_set():
                raise FatalError("not yet")
            assert ctx.late
            return Billed(customer="ann", n=order.n)

        stage = Stage()
        stage.on(flaky)
        runner, claim = await begun(stage, *orders(1))
        await stage.drive(runner, claim)
        assert not await runner.revive(claim)
        await ask_again(stage)
        assert await runner.revive(claim)
        assert stage.letters() == [(0, "flaky", "fatal", 2, "dead")]
        assert stage.effects() == []
        mended.set()
        await ask_again(stage)
        assert await runner.revive(claim)
        assert not await runner.revive(claim)
        assert stage.letters() == [(0, "flaky", "fatal", 3, "recovered")]
        assert stage.effects() == stage.bills() == [1]
        assert stage.tally() == [("flaky", 1, 0, 0)]
        assert stage.account()[0] == 1

    asyncio.run(main())


def test_a_dead_letter_that_fails_again_says_of_what_it_failed_last() -> None:
    async def main() -> None:
        async def flaky(order: Ordered, tx: Transaction, ctx: Context) -> None:
            raise KeyError("second") if ctx.late else FatalError("first")

        stage = Stage()
        stage.on(flaky)
        runner, claim = await begun(stage, *orders(1))
        await stage.drive(runner, claim)
        ((first,),) = stage.rows("SELECT fingerprint FROM onward_dead_letter")
        await ask_again(stage)
        assert await runner.revive(claim)
        ((cause, attempts, error, detail, fingerprint),) = stage.rows(
            "SELECT cause, attempts, error, detail, fingerprint FROM onward_dead_letter WHERE state = 'dead'"
        )
        assert (cause, attempts, error) == ("attempts_spent", 2, "KeyError: 'second'")
        assert "second" in detail
        assert fingerprint != first

    asyncio.run(main())


def test_dead_letters_run_again_for_a_moment_and_the_rest_stays_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        async def flaky(order: Ordered, tx: Transaction, ctx: Context) -> None:
            if not ctx.late:
                raise FatalError("not yet")

        stage = Stage()
        stage.on(flaky)
        runner, claim = await begun(stage, *orders(1, 2))
        await stage.drive(runner, claim)
        await ask_again(stage)
        monkeypatch.setattr(transactional, "HOLD_S", 0.0)
        assert await runner.revive(claim)
        assert [letter[4] for letter in stage.letters()] == ["recovered", "retrying"]
        assert await runner.revive(claim)
        assert not await runner.revive(claim)
        assert [letter[4] for letter in stage.letters()] == ["recovered", "recovered"]

    asyncio.run(main())


def test_an_event_that_ends_its_process_each_time_ends_as_a_dead_letter_alone() -> None:
    class Death(BaseException):
        pass

    async def main() -> None:
        async def deadly(order: Ordered, tx: Transaction) -> None:
            await tx.execute(INSERT, by="deadly", n=order.n)
            if order.n == 5:
                raise Death

        stage = Stage()
        stage.on(deadly)
        runner, claim = await begun(stage, *orders(*range(10)))
        deaths = 0
        while claim.position.next < 10:
            try:
                await runner.handle(claim, stage.delivery(claim.position.next))
            except Death:
                deaths += 1
                claim = await stage.claim()
        assert stage.letters() == [(5, "", "process_died", 3, "dead")]
        assert stage.effects() == [0, 1, 2, 3, 4, 6, 7, 8, 9]
        # Twice with its batch, unmarked, and twice alone after a mark.
        assert deaths == 4

    asyncio.run(main())


def test_a_recovered_dead_letter_of_no_handler_counts_with_each_that_it_is_or_is_not_for() -> None:
    async def main() -> None:
        async def note(noted: Noted, tx: Transaction) -> None:
            raise AssertionError("it is of another type")

        stage = Stage()
        stage.on(save)
        stage.on(note, Noted)
        runner, claim = await begun(stage, encode(orders(1)[0])._replace(value=b"{"))
        await stage.drive(runner, claim)
        assert stage.tally() == [("", 0, 1, 0)]
        async with stage.database.transaction() as connection:
            connection.execute("UPDATE onward_dead_letter SET value = ?", (encode(orders(1)[0]).value,))
        await ask_again(stage)
        assert await runner.revive(claim)
        assert stage.effects() == [1]
        assert stage.tally() == [("", 0, 0, 0), ("note", 0, 0, 1), ("save", 1, 0, 0)]

    asyncio.run(main())
