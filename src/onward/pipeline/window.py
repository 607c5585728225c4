"""The events of one partition that a plain handler has in hand: begun, or waiting for their key or their turn."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter, deque
from collections.abc import Awaitable, Coroutine
from dataclasses import dataclass, field

from onward.pipeline.failures import Failure
from onward.pipeline.suspects import still_suspect, survived
from onward.ports import Claim, Outgoing, Parked, Record, Settlement

logger = logging.getLogger("onward.handlers")

ENDING_S = 1.0  # what cancelled handlers may take to tidy up


@dataclass(slots=True)
class Results:
    """What was done since the last group was written."""

    finished: list[int] = field(default_factory=list)
    succeeded: Counter[str] = field(default_factory=Counter)
    skipped: int = 0
    void: list[range] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    outputs: list[Outgoing] = field(default_factory=list)
    parked: list[Parked] = field(default_factory=list)


class Window:
    """At most `limit` events of one partition. Whoever moves its account holds `settling`.

    `held` are the offsets that were taken and are not durably done. `error` is what ended work in here, if it did.
    """

    def __init__(self, claim: Claim, limit: int) -> None:
        self.claim = claim
        self.settling = asyncio.Lock()
        self.held: set[int] = set()
        self.keys: dict[str, deque[Record]] = {}
        self.tasks: set[asyncio.Task[None]] = set()
        self.results = Results()
        self.stopping = False
        self.reviving = False
        self.freeing: frozenset[tuple[str, str]] = frozenset()
        """The (handler, key)s that a commit under way frees: until it is through nobody knows whether they wait."""
        self.cleared = False
        """Whether a commit has cleared the claim of its unclean start."""
        self.error: BaseException | None = None
        self.apart = asyncio.Lock()
        """Held, after unclean starts, by who begins an event or has one in hand beside the deliveries."""
        self._idle: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Event()
        self._pressed = asyncio.Event()
        self._pressing = 0  # who waits for what a group makes durable
        self._reached = claim.position.next
        done = claim.position.beyond.bounds
        self._proven_at = (done[-1] if done else claim.position.next) + limit

    async def below(self, count: int, until: float) -> bool:
        """Whether fewer than `count` events are in hand, by `until` on the loop's clock, with nothing broken."""
        while len(self.held) >= count and self.error is None:
            self._changed.clear()
            self._pressing += 1
            self._pressed.set()
            try:
                async with asyncio.timeout_at(until):
                    await self._changed.wait()
            except TimeoutError:
                return False
            finally:
                self._pressing -= 1
        return self.error is None

    @property
    def above_suspicion(self) -> bool:
        """Whether the process may end without a second unclean start, and without an attempt of an event in here."""
        return self.cleared and self.claim.suspect_until <= self.claim.position.next

    async def gather(self, seconds: float) -> None:
        """Let more results come together for so long, or until somebody waits for those that are there."""
        self._pressed.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not (self._pressing or self.stopping or self.results.outputs or self.results.failures):
                    await self._pressed.wait()
                    self._pressed.clear()

    def finish(self, offset: int) -> None:
        """Its handler is through; what it gave is in `results`, and is not to wait there."""
        self.results.finished.append(offset)
        if self.results.outputs or self.results.failures:
            self._pressed.set()

    def come_to(self, offset: int) -> None:
        """A delivery has an event at this offset: what lies between it and the last one holds none."""
        if offset > self._reached:
            self.results.void += self.claim.position.beyond.missing(offset, base=self._reached)
        self._reached = max(self._reached, offset + 1)

    def start(self, work: Coroutine[object, object, None]) -> None:
        """Let it run beside the others; what it raises becomes `error`."""
        task = asyncio.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self.tasks.discard(task)
        if not task.cancelled() and task.exception() is not None and self.error is None:
            self.error = task.exception()
        self._changed.set()

    async def idly(self, waiting: Awaitable[object]) -> None:
        """Wait for something with nothing under way: `stop` cuts it short by ending the task."""
        task = asyncio.current_task()
        assert task is not None
        self._idle.add(task)
        try:
            await waiting
        finally:
            self._idle.discard(task)

    async def stop(self, within_s: float | None) -> bool:
        """Begin nothing more, and wait for what is under way; what takes longer is cancelled. Whether all has ended.

        What has not begun is dropped. A task that does not heed its cancellation is left behind.
        """
        self.stopping = True
        self._pressed.set()
        for task in self._idle:
            task.cancel()
        if not await self._all_ended(within_s):
            logger.warning(
                "topic %s, partition %d: handlers took longer than %g s to end; they are cancelled, and their events"
                " are handled again by the partition's next owner",
                self.claim.topic,
                self.claim.partition,
                within_s,
            )
            self.drop()
            return await self._all_ended(ENDING_S)
        return True

    async def _all_ended(self, within_s: float | None) -> bool:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                while self.tasks:
                    await asyncio.wait(list(self.tasks))
        return not self.tasks

    def drop(self) -> None:
        """End everything here without a result."""
        self.stopping = True
        for task in self.tasks:
            task.cancel()

    def done(self, offsets: list[int]) -> None:
        """These are durably done."""
        self.held.difference_update(offsets)
        self._changed.set()

    def settlement(self, results: Results) -> Settlement:
        """What one commit says about these results."""
        finished = set(results.finished)
        claim = self.claim
        position = claim.position.finish(results.finished, results.void)
        # A neighbour's commit proves nothing about an event that is still running and may yet end the process.
        clears = position.next >= self._proven_at or self.held <= finished
        return Settlement(
            position,
            dict(results.succeeded),
            results.skipped + sum(map(len, results.void)),
            dead=[failure.letter for failure in results.failures if failure.letter is not None],
            attempts={
                (each.offset, each.handler): each.attempt for each in results.failures if each.offset not in finished
            },
            forget=[
                *(key for key in claim.attempts if key[0] in finished),
                *survived(claim, {each.offset for each in results.failures} - finished),
            ],
            outputs=results.outputs,
            suspect_until=still_suspect(claim, position),
            parked=results.parked,
            clears_unclean=clears,
        )
