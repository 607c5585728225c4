"""Time that a test turns by hand."""

from __future__ import annotations

import asyncio
from heapq import heappop, heappush
from itertools import count

from onward.delays import micros_of

START_S = 1_700_000_000.0
_TURNS = 20  # of the event loop, for whoever was woken to go on before the next one is


class FakeClock:
    """`Clock` that stands still until `advance`, and counts whole microseconds, so that times add up. For one loop."""

    def __init__(self, start_s: float = START_S) -> None:
        self._now = micros_of(start_s)
        self._order = count()
        self._sleepers: list[tuple[int, int, asyncio.Future[None]]] = []

    @property
    def sleepers(self) -> int:
        """How many wait for a later time."""
        return sum(not woken.done() for _, _, woken in self._sleepers)

    @property
    def next_at(self) -> float | None:
        """The earliest time that somebody waits for."""
        waiting = [at for at, _, woken in self._sleepers if not woken.done()]
        return min(waiting) / 1e6 if waiting else None

    def time(self) -> float:
        return self._now / 1e6

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        woken = asyncio.get_running_loop().create_future()
        heappush(self._sleepers, (self._now + max(1, micros_of(seconds)), next(self._order), woken))
        await woken

    async def advance(self, seconds: float) -> None:
        """Let time pass: whoever's sleep ends within it wakes, in order and at its time, and goes on meanwhile.

        Raises ValueError for a time that would go back.
        """
        if seconds < 0:
            raise ValueError(f"advance({seconds}): time does not go back.")
        end = self._now + micros_of(seconds)
        while self._sleepers and self._sleepers[0][0] <= end:
            due, _, woken = heappop(self._sleepers)
            if woken.done():
                continue
            self._now = due
            woken.set_result(None)
            for _ in range(_TURNS):
                await asyncio.sleep(0)
        self._now = end
