import asyncio
from collections.abc import Iterator

import pytest

from onward import App, Context, Event, FatalError, Transaction
from onward.errors import DeliveryError, RegistrationError, TransactionError
from onward.events.registry import isolated_registry
from onward.testing import FakeClock, Handled, Harness
from onward.topics import Topic


class Ordered(Event, type="harness.ordered", topic="harness-orders", key="order"):
    order: str
    amount: int


class Paid(Event, type="harness.paid", topic="harness-payments", key="order"):
    order: str


class Sent(Event, type="harness.sent", topic="harness-parcels", key="order"):
    order: str


@pytest.fixture(autouse=True)
def own_registry() -> Iterator[None]:
    with isolated_registry():
        yield


def payment(calls: list[str] | None = None) -> App:
    app = App("payment", schema="CREATE TABLE IF NOT EXISTS paid (id TEXT PRIMARY KEY, amount INTEGER)")

    @app.on(Ordered)
    async def pay(order: Ordered, tx: Transaction) -> Paid:
        if calls is not None:
            calls.append(order.order)
        if order.amount < 0:
            raise FatalError("no negative amounts")
        await tx.execute("INSERT INTO paid VALUES (:id, :amount)", id=order.order, amount=order.amount)
        return Paid(order=order.order)

    return app


def shipping() -> App:
    app = App("shipping")

    @app.on(Paid)
    async def send(paid: Paid) -> Sent:
        return Sent(order=paid.order)

    return app


def test_a_harness_says_what_was_handled_published_and_stored() -> None:
    async def scene() -> None:
        async with Harness(payment()) as h:
            await h.publish(Ordered(order="a", amount=5), Ordered(order="b", amount=7))
            await h.settle()
            assert sorted(h.handled, key=lambda each: each.event.order) == [
                Handled("payment", "pay", Ordered(order="a", amount=5)),
                Handled("payment", "pay", Ordered(order="b", amount=7)),
            ]
            assert sorted(event.order for event in h.published) == ["a", "b"]
            assert {type(event) for event in h.published} == {Paid}
            assert h.rows("SELECT id, amount FROM paid ORDER BY id") == [("a", 5), ("b", 7)]
            assert h.rows("SELECT amount FROM paid WHERE id = :id", id="b") == [(7,)]
            assert h.dead_letters == []

    asyncio.run(scene())


def test_settled_means_that_what_handlers_published_is_handled_too() -> None:
    async def scene() -> None:
        async with Harness(payment(), shipping()) as h:
            await h.publish(Ordered(order="a", amount=5))
            await h.settle()
            assert [(each.service, each.handler) for each in h.handled] == [("payment", "pay"), ("shipping", "send")]
            assert h.published == [Paid(order="a"), Sent(order="a")]

    asyncio.run(scene())


def test_an_event_given_up_is_a_dead_letter_and_not_handled() -> None:
    async def scene() -> None:
        async with Harness(payment()) as h:
            await h.publish(Ordered(order="a", amount=-1), Ordered(order="b", amount=1))
            await h.settle()
            (letter,) = h.dead_letters
            assert (letter.handler, letter.cause, letter.value) == ("pay", "fatal", b'{"order":"a","amount":-1}')
            assert [each.event.order for each in h.handled] == ["b"]
            assert h.published == [Paid(order="b")]

    asyncio.run(scene())


def test_bytes_that_are_no_event_are_a_dead_letter() -> None:
    async def scene() -> None:
        async with Harness(payment()) as h:
            await h.publish_bytes("harness-orders", b"\xff", type="harness.ordered")
            await h.publish_bytes("harness-orders", b'{"order": "a", "amount": 3}')
            await h.settle()
            assert [(letter.cause, letter.value) for letter in h.dead_letters] == [("decode", b"\xff")]
            assert [each.event for each in h.handled] == [Ordered(order="a", amount=3)]

    asyncio.run(scene())


def test_retries_come_at_once_and_as_often_as_declared() -> None:
    app = App("stubborn")
    tries: list[int] = []

    @app.on(Ordered)
    async def fail(order: Ordered, tx: Transaction, ctx: Context) -> None:
        tries.append(ctx.attempt)
        raise ValueError("never")

    async def scene() -> None:
        async with Harness(app) as h:
            await h.publish(Ordered(order="a", amount=1))
            await h.settle()
            assert [letter.attempts for letter in h.dead_letters] == [5]
            assert h.handled == []

    asyncio.run(scene())
    assert sorted(set(tries)) == [1, 2, 3, 4, 5]


def test_what_a_rolled_back_attempt_did_is_not_reported() -> None:
    app = App("flaky", schema="CREATE TABLE IF NOT EXISTS seen (n INTEGER)")

    @app.on(Ordered)
    async def see(order: Ordered, tx: Transaction, ctx: Context) -> Paid:
        await tx.execute("INSERT INTO seen VALUES (1)")
        await tx.publish(Sent(order=order.order))
        if ctx.attempt < 3:
            raise ValueError("not yet")
        return Paid(order=order.order)

    async def scene() -> None:
        async with Harness(app) as h:
            await h.publish(Ordered(order="a", amount=1))
            await h.settle()
            assert h.rows("SELECT count(*) FROM seen") == [(1,)]
            assert len(h.handled) == 1
            assert h.published == [Sent(order="a"), Paid(order="a")]

    asyncio.run(scene())


def test_settle_says_what_is_stuck() -> None:
    app = App("waiting")
    never = asyncio.Event()

    @app.on(Ordered, name="wait_for_ever")
    async def wait(order: Ordered) -> None:
        await never.wait()

    async def scene() -> str:
        async with Harness(app) as h:
            await h.publish(Ordered(order="order-17", amount=1))
            with pytest.raises(DeliveryError) as stuck:
                await h.settle(timeout_s=0.05)
            never.set()
            await h.settle()
            return str(stuck.value)

    message = asyncio.run(scene())
    for named in ("waiting", "wait_for_ever", "harness-orders", "harness.ordered", "order-17"):
        assert named in message


def test_the_app_publishes_and_stores_in_the_harness_while_it_is_open() -> None:
    app = payment()

    async def scene() -> None:
        async with Harness(app) as h:
            await app.publish(Ordered(order="a", amount=2))
            async with app.transaction() as tx:
                await tx.execute("INSERT INTO paid VALUES ('by hand', 1)")
                with pytest.raises(TransactionError):
                    h.rows("SELECT * FROM paid")
            await h.settle()
            assert h.published == [Ordered(order="a", amount=2), Paid(order="a")]
            assert h.rows("SELECT id FROM paid ORDER BY id") == [("a",), ("by hand",)]

    asyncio.run(scene())


def test_each_harness_begins_with_nothing() -> None:
    calls: list[str] = []
    app = payment(calls)

    async def scene() -> None:
        async with Harness(app) as h:
            assert h.rows("SELECT count(*) FROM paid") == [(0,)]
            await h.publish(Ordered(order="a", amount=2))
            await h.settle()

    asyncio.run(scene())
    asyncio.run(scene())
    assert calls == ["a", "a"]


def test_a_service_that_ended_is_told_by_settle() -> None:
    app = App("broken")

    class Ending(BaseException):
        pass

    @app.on(Ordered)
    async def end(order: Ordered, tx: Transaction) -> None:
        raise Ending

    async def scene() -> None:
        async with Harness(app) as h:
            await h.publish(Ordered(order="a", amount=1))
            await h.settle()

    with pytest.raises(RuntimeError, match="Ending"):
        asyncio.run(scene())


def test_apps_that_declare_a_topic_differently_do_not_start() -> None:
    one, other = payment(), shipping()
    other.topics = (Topic("harness-payments", partitions=3),)

    async def scene() -> None:
        async with Harness(one, other):
            pytest.fail("they started")

    with pytest.raises(RegistrationError):
        asyncio.run(scene())


def test_a_harness_wants_apps_with_names_of_their_own() -> None:
    with pytest.raises(ValueError, match="name"):
        Harness(payment(), payment())


def test_handlers_times_come_from_the_clock_that_is_given() -> None:
    async def scene() -> None:
        async with Harness(payment(), clock=FakeClock(start_s=12345.0)) as h:
            await h.publish(Ordered(order="a", amount=-1))
            await h.settle()
            assert [letter.first_at for letter in h.dead_letters] == [12345.0]

    asyncio.run(scene())


def test_what_waits_behind_a_dead_letter_is_settled_and_not_handled_also_by_another_process() -> None:
    app = App("till", schema="CREATE TABLE IF NOT EXISTS paid (id TEXT PRIMARY KEY, amount INTEGER)")

    @app.on(Ordered, after_last="block")
    async def pay(order: Ordered, tx: Transaction) -> None:
        if order.amount < 0:
            raise FatalError("no negative amounts")

    async def scene() -> None:
        async with Harness(app) as h:
            await h.publish(Ordered(order="a", amount=-1), Ordered(order="a", amount=1), Ordered(order="b", amount=2))
            await h.settle()
            await h.restart()
            await h.publish(Ordered(order="a", amount=3), Ordered(order="b", amount=4))
            await h.settle()
            assert [letter.envelope.key for letter in h.dead_letters] == ["a"]
            assert [each.event for each in h.handled] == [Ordered(order="b", amount=2), Ordered(order="b", amount=4)]

    asyncio.run(scene())
