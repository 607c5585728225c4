"""Futures that somebody waits for until some moment."""

from __future__ import annotations

import asyncio


def settle(waiter: asyncio.Future[None]) -> None:
    """Let whoever waits go on; nothing where it has been let go, was cancelled, or its loop is over."""
    if not waiter.done() and not waiter.get_loop().is_closed():
        waiter.set_result(None)


async def settled(waiter: asyncio.Future[None], until: float) -> None:
    """Return when it is settled, or then on its loop's clock, which settles it. For less than `asyncio.timeout`."""
    timer = waiter.get_loop().call_at(until, settle, waiter)
    try:
        await waiter
    finally:
        timer.cancel()
