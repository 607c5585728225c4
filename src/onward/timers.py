"""Having delayed events delivered when they are due."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Coroutine
from typing import Any, Protocol

from onward.delays import DELAYED, micros_of
from onward.errors import InfrastructureError
from onward.ports import Clock

logger = logging.getLogger("onward.timers")

FIRST_PATIENCE_S = 0.02
LONGEST_PATIENCE_S = 0.25
AFTER_FAILURE_S = 2.0


class Delayed(Protocol):
    """Events that wait for their time, and the log that they go to then."""

    def next_due(self) -> int | None:
        """When the earliest is due, in microseconds since the epoch; None where none waits."""
        ...

    async def deliver(self) -> int:
        """Append what is due to the log in order of (due, publishing), as much as one transaction may hold.

        How many that were. An event is appended and no longer waits by the same commit.
        """
        ...


class Timers:
    """Has delayed events delivered when they are due.

    Every process of a file does this, so that whichever lives is enough. One that finds the work done by another
    is more patient from then on: in the end one process is always first, and the others only look whether it was.
    """

    def __init__(self, delayed: Delayed, clock: Clock, *, look_every_s: float | None = None) -> None:
        """`look_every_s` is the net under `wake`, where other processes can put events off."""
        self._delayed = delayed
        self._clock = clock
        self._look_every_s = look_every_s
        self._changed = asyncio.Event()
        self._patience_s = 0.0
        self.task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """On the running loop. Safe to repeat."""
        if self.task is None:
            self.task = asyncio.create_task(self._run())
            self.task.add_done_callback(_tell)

    def told(self, topics: Collection[str]) -> None:
        """Something was appended or put off, here or elsewhere."""
        if DELAYED in topics:
            self._changed.set()

    async def stop(self) -> None:
        """Safe to repeat."""
        task, self.task = self.task, None
        if task is not None and not task.done():
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            self._changed.clear()
            try:
                wait_s = self._wait_s()
                if wait_s is None or wait_s > 0:
                    await self._sleep(wait_s)
                elif await self._delayed.deliver():
                    self._patience_s = 0.0
                else:
                    self._patience_s = min(max(2 * self._patience_s, FIRST_PATIENCE_S), LONGEST_PATIENCE_S)
            except InfrastructureError as error:
                logger.warning("delayed events wait for longer: %s", error)
                await self._sleep(AFTER_FAILURE_S)

    def _wait_s(self) -> float | None:
        due = self._delayed.next_due()
        if due is None:
            return None
        late_s = (micros_of(self._clock.time()) - due) / 1e6
        return self._patience_s - late_s

    async def _sleep(self, wait_s: float | None) -> None:
        """Until the time has passed, something has changed, or it is time to look."""
        waits: list[Coroutine[Any, Any, object]] = [self._changed.wait()]
        if wait_s is not None:
            waits.append(self._clock.sleep(wait_s))
        waiting = [asyncio.create_task(each) for each in waits]
        try:
            await asyncio.wait(waiting, timeout=self._look_every_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)


def _tell(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and task.exception() is not None:
        logger.critical("delayed events are not delivered by this process any more", exc_info=task.exception())
