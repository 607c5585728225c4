"""Plain handlers: concurrency across keys, order per key, and a result that is written once with its mark."""

import asyncio
import contextlib
from threading import Barrier

import pytest

from onward import Event
from onward.errors import ClaimLostError
from onward.pipeline import window
from onward.pipeline.context import Context
from tests.unit.pipeline.stage import INSERT, Billed, Foreign, Noted, Ordered, Stage, until


def orders(*pairs: tuple[str, int]) -> list[Event]:
    return [Ordered(customer=customer, n=n) for customer, n in pairs]


async def bill(order: Ordered) -> Billed:
    return Billed(customer=order.customer, n=order.n)


def test_outputs_marks_and_tally_are_written_together() -> None:
    async def main() -> None:
        stage = Stage()
        stage.on(bill)
        await stage.handle_plainly(*orders(("ann", 1), ("bob", 2), ("ann", 3)))
        assert sorted(stage.bills()) == [1, 2, 3]
        assert stage.account() == (3, 0, 0)
        assert stage.tally() == [("bill", 3, 0, 0)]
        assert stage.meter.snapshot()["handled"] == {"bill": 3}

    asyncio.run(main())


def test_a_key_keeps_its_order_while_other_keys_pass_it() -> None:
    async def main() -> None:
        began: list[int] = []
        gate = asyncio.Event()

        async def wait(order: Ordered) -> None:
            began.append(order.n)
            if order.n == 1:
                await gate.wait()

        stage = Stage()
        stage.on(wait)
        runner, claim = await stage.begin_plainly(*orders(("ann", 1), ("ann", 2), ("bob", 3), ("cid", 4)))
        await until(lambda: claim.position.beyond.count == 2)
        assert began == [1, 3, 4]
        assert claim.position.next == 0
        gate.set()
        await until(lambda: claim.position.next == 4)
        assert began == [1, 3, 4, 2]
        await runner.settle(0, None)

    asyncio.run(main())


def test_concurrency_is_reached_and_never_passed() -> None:
    async def main() -> None:
        most = now = 0
        gate = asyncio.Event()

        async def wait(noted: Noted) -> None:
            nonlocal most, now
            now += 1
            most = max(most, now)
            await gate.wait()
            now -= 1

        stage = Stage()
        stage.on(wait, Noted, concurrency=7)
        runner, claim = await stage.begin_plainly(*(Noted(n=n) for n in range(30)))
        await until(lambda: now == 7)
        gate.set()
        await until(lambda: claim.position.next == 30)
        assert most == 7
        await runner.settle(0, None)

    asyncio.run(main())


def test_blocking_functions_reach_their_concurrency_too() -> None:
    async def main() -> None:
        together = Barrier(40, timeout=20)

        def wait(noted: Noted) -> None:
            together.wait()

        stage = Stage()
        stage.on(wait, Noted, concurrency=40)
        await stage.handle_plainly(*(Noted(n=n) for n in range(40)))
        assert stage.tally() == [("wait", 40, 0, 0)]

    asyncio.run(main())


def test_a_full_window_gives_the_rest_back_and_takes_nothing_twice() -> None:
    async def main() -> None:
        calls: list[int] = []
        gate = asyncio.Event()

        async def wait(noted: Noted) -> None:
            calls.append(noted.n)
            await gate.wait()

        stage = Stage()
        stage.on(wait, Noted, concurrency=64)
        runner, claim = await stage.plain()
        await stage.publish(*(Noted(n=n) for n in range(200)))
        async with asyncio.timeout(10):
            for _ in range(2):
                assert await runner.handle(claim, stage.delivery()) is not None
        await until(lambda: len(calls) == 64)
        gate.set()
        async with asyncio.timeout(10):
            while await runner.handle(claim, stage.delivery(claim.position.next)) is not None:
                pass
        await until(lambda: claim.position.next == 200)
        await runner.settle(0, None)
        assert sorted(calls) == list(range(200))
        assert stage.account()[0] == 200

    asyncio.run(main())


def test_types_that_nobody_here_handles_are_skipped_and_counted() -> None:
    async def main() -> None:
        stage = Stage()
        stage.on(bill)
        await stage.handle_plainly(Foreign(n=1), *orders(("ann", 2)), Foreign(n=3))
        assert stage.tally() == [("", 0, 0, 2), ("bill", 1, 0, 0)]
        assert stage.account()[0] == 3

    asyncio.run(main())


def test_events_done_out_of_order_are_not_handled_again_by_the_next_owner() -> None:
    async def main() -> None:
        calls: list[int] = []
        gate = asyncio.Event()

        async def wait(order: Ordered) -> None:
            calls.append(order.n)
            if order.n == 1:
                await gate.wait()

        stage = Stage()
        stage.on(wait)
        runner, claim = await stage.begin_plainly(*orders(("ann", 1), ("bob", 2), ("cid", 3)))
        await until(lambda: claim.position.beyond.count == 2)
        runner.forget(0)
        gate.set()
        other = await stage.claim()
        runner.attach(other)
        assert await runner.handle(other, stage.delivery()) is None
        await until(lambda: other.position.next == 3)
        await runner.settle(0, None)
        assert calls == [1, 2, 3, 1]
        assert stage.account()[0] == 3
        assert stage.tally() == [("wait", 3, 0, 0)]

    asyncio.run(main())


def test_settling_waits_for_what_runs_and_drops_what_has_not_begun() -> None:
    async def main() -> None:
        calls: list[int] = []
        gate = asyncio.Event()

        async def wait(noted: Noted) -> None:
            calls.append(noted.n)
            await gate.wait()

        stage = Stage()
        stage.on(wait, Noted, concurrency=2)
        runner, _ = await stage.begin_plainly(*(Noted(n=n) for n in range(10)))
        await until(lambda: len(calls) == 2)
        settling = asyncio.create_task(runner.settle(0, None))
        await asyncio.sleep(0)
        gate.set()
        await settling
        assert calls == [0, 1]
        assert stage.account()[0] == 2

    asyncio.run(main())


def test_a_handler_that_does_not_end_in_time_is_cancelled_and_its_event_stays_unhandled() -> None:
    async def main() -> None:
        cancelled = asyncio.Event()

        async def wait(order: Ordered) -> Billed:
            if order.n == 1:
                try:
                    await asyncio.Event().wait()
                finally:
                    cancelled.set()
            return Billed(customer=order.customer, n=order.n)

        stage = Stage()
        stage.on(wait)
        runner, claim = await stage.plain()
        await stage.publish(*orders(("ann", 1), ("bob", 2)))
        assert await runner.handle(claim, stage.delivery()) is None
        await until(lambda: claim.position.done(1))
        async with asyncio.timeout(10):
            await runner.settle(0, 0.01)
        assert cancelled.is_set()
        assert stage.bills() == [2]
        assert claim.position.next == 0
        assert claim.position.done(1)

    asyncio.run(main())


def test_a_handler_that_heeds_no_cancellation_is_left_behind_and_stores_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def main() -> None:
        begun, gate, ended = asyncio.Event(), asyncio.Event(), asyncio.Event()

        async def persist(order: Ordered, ctx: Context) -> None:
            begun.set()
            while not gate.is_set():
                with contextlib.suppress(asyncio.CancelledError):
                    await gate.wait()
            async with ctx.transaction() as tx:
                await tx.execute(INSERT, by="persist", n=order.n)
            ended.set()

        stage = Stage()
        stage.on(persist)
        runner, claim = await stage.plain()
        await stage.publish(*orders(("ann", 1)))
        assert await runner.handle(claim, stage.delivery()) is None
        (work,) = runner._windows[0].tasks
        await begun.wait()
        async with asyncio.timeout(10):
            await runner.settle(0, 0.01)
        await stage.store.release([claim])
        gate.set()
        with pytest.raises(ClaimLostError):
            await work
        assert ended.is_set()
        assert stage.effects() == []
        assert stage.account()[0] == 0

    monkeypatch.setattr(window, "ENDING_S", 0.01)
    asyncio.run(main())
