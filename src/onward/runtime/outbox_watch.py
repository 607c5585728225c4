"""What waits to leave a service's store, looked at beside its work."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from time import time

from onward.errors import InfrastructureError
from onward.relay import OutboxStats

LOOK_EVERY_S = 1.0


class OutboxWatch:
    """Keeps up with one outbox while `run` goes on."""

    def __init__(self, stats: Callable[[], Awaitable[OutboxStats]], *, now: Callable[[], float] = time) -> None:
        """`stats` are the outbox's; `now` gives seconds since the epoch."""
        self._stats = stats
        self._now = now
        self._seen: OutboxStats | None = None

    async def run(self) -> None:
        """Look every second, until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(LOOK_EVERY_S)

    async def look(self) -> None:
        """Where nothing can be read nobody is known to lead, and what waited goes on waiting."""
        try:
            self._seen = await self._stats()
        except InfrastructureError:
            self._seen = None if self._seen is None else self._seen._replace(led=False)

    def said(self) -> dict[str, float | bool] | None:
        """`age_s` of the oldest event that may leave, 0 where none waits, and `led`; None before the first look."""
        if self._seen is None:
            return None
        oldest, led = self._seen
        return {"age_s": 0.0 if oldest is None else max(0.0, self._now() - oldest / 1_000_000), "led": led}
