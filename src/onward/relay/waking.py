"""What a relay waits for."""

from __future__ import annotations

import asyncio

from onward.waiters import settle, settled


class Waking:
    """One waits, others wake it, in one event loop. Who is woken before it waits does not wait."""

    def __init__(self) -> None:
        self._stirred = self._told = False  # since the last wait
        self._waiter: asyncio.Future[None] | None = None

    def tell(self) -> None:
        """There is something to do."""
        self._told = True
        self._stir()

    def _stir(self, _ended: object = None) -> None:
        self._stirred = True
        if self._waiter is not None:
            settle(self._waiter)

    async def told(self, within_s: float, before: asyncio.Future[None] | None = None) -> bool:
        """Whether there is; for so long, and `before` this ends, that is waited for."""
        if before is not None:
            before.add_done_callback(self._stir)
        try:
            if not self._stirred:
                loop = asyncio.get_running_loop()
                self._waiter = loop.create_future()
                await settled(self._waiter, loop.time() + within_s)
        finally:
            if before is not None:
                before.remove_done_callback(self._stir)
        told, self._stirred, self._told = self._told, False, False
        return told
