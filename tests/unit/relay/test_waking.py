"""Whoever waits hears what it is told, whether that came before it waited or after."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from onward.relay.waking import Waking

LONG_S = 30.0


def on_waking(scene: Callable[[Waking], Awaitable[None]]) -> None:
    async def play() -> None:
        async with asyncio.timeout(10):
            await scene(Waking())

    asyncio.run(play())


def test_what_is_told_before_or_while_it_waits_is_heard_once() -> None:
    async def scene(waking: Waking) -> None:
        waking.tell()
        assert await waking.told(LONG_S)
        asyncio.get_running_loop().call_later(0.01, waking.tell)
        assert await waking.told(LONG_S)
        assert not await waking.told(0.01)

    on_waking(scene)


def test_the_end_of_what_it_waits_beside_ends_the_wait_and_is_nothing_told() -> None:
    async def scene(waking: Waking) -> None:
        beside: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_later(0.01, beside.set_result, None)
        assert not await waking.told(LONG_S, beside)
        assert not await waking.told(LONG_S, beside), "it has ended before"
        waking.tell()
        assert await waking.told(LONG_S, beside)

    on_waking(scene)


def test_what_is_told_to_one_that_is_cancelled_is_told_to_the_next() -> None:
    async def scene(waking: Waking) -> None:
        waiting = asyncio.create_task(waking.told(LONG_S))
        await asyncio.sleep(0)
        waking.tell()
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        assert await waking.told(LONG_S)

    on_waking(scene)
