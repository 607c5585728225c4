"""Handlers without the transaction: concurrently across keys, in order per key, results written in groups.

What finished while one commit ran is written by the next one, so that a slow disk makes groups larger and not the
handlers slower.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from random import random
from typing import Any

from onward.errors import MessageError, StoreConflictError
from onward.outgoing import encode_returned
from onward.pipeline import parking
from onward.pipeline.conflicts import Conflicts
from onward.pipeline.context import Context
from onward.pipeline.failures import NOBODYS_ATTEMPT, Failure, judge
from onward.pipeline.invocation import Bound, is_cancelled
from onward.pipeline.own_transaction import OwnTransaction
from onward.pipeline.plain_revival import BesideDeliveries, PlainQueues, PlainRevival, in_time
from onward.pipeline.routing import Routes
from onward.pipeline.suspects import is_suspect, mark_or_bury
from onward.pipeline.window import Results, Window
from onward.ports import Claim, Clock, Delivery, Log, Outgoing, Record, Store
from onward.telemetry.failpoints import reach
from onward.telemetry.meter import Meter

logger = logging.getLogger("onward.handlers")

SMALLEST_WINDOW = 64
TURN_S = 0.25  # a partition without room for its delivery lets the others have theirs, and a stop be seen
GATHER_S = 0.01  # a handled event without an output waits at most so long to be marked as done
BEGINNING_TURNS = 3  # of the loop: the place is free, its next holder wakes, its handler is called


class PlainRunner:
    """Runs one plain handler on all partitions that this process has.

    A handler's call may be repeated after a crash; its results, being written with the mark, are not.
    """

    def __init__(
        self, *, service: str, bound: Bound, routes: Routes, store: Store, log: Log, clock: Clock, meter: Meter
    ) -> None:
        self._service = service
        self._bound = bound
        self._name = bound.handler.name
        self._routes = routes
        self.handlers = routes.handlers
        self._store = store
        self._log = log
        self._clock = clock
        self._meter = meter
        self._running = asyncio.Semaphore(bound.handler.concurrency)
        self._limit = max(2 * bound.handler.concurrency, SMALLEST_WINDOW)
        self._gather_s = GATHER_S if store.capabilities.durable and store.capabilities.inline else 0.0
        self._windows: dict[int, Window] = {}
        beside = BesideDeliveries(service, bound, routes, store, clock, meter, self._running, self._limit)
        self._revival = PlainRevival(beside)
        self._queues = PlainQueues(beside)

    def attach(self, claim: Claim) -> None:
        self._windows[claim.partition] = Window(claim, self._limit)

    def check(self) -> None:
        for window in self._windows.values():
            if window.error is not None:
                raise window.error

    async def handle(self, claim: Claim, delivery: Delivery) -> float | None:
        """Take what there is room for; the rest is asked for again, without what is in hand by then."""
        window = self._windows[claim.partition]
        until = asyncio.get_running_loop().time() + TURN_S
        for record in delivery.records:
            offset = record[0]
            if offset in window.held or claim.position.done(offset):
                window.come_to(offset)
                continue
            if is_suspect(claim, self._limit):
                if not await self._alone(window, record, until):
                    self.check()
                    return 0.0
                continue
            if not await window.below(self._limit, until):
                self.check()
                return 0.0
            if window.freeing:
                await self._freed(window, record)
            window.come_to(offset)
            self._take(window, record)
        self.check()
        return None

    async def _alone(self, window: Window, record: Record, until: float) -> bool:
        """After unclean starts: begin an event when none is in hand, after a durable mark. False if that took too long.

        Tried often enough, it is buried instead. One that is going to be parked needs no mark.
        """
        try:
            async with asyncio.timeout_at(until):
                await window.apart.acquire()
        except TimeoutError:
            return False
        try:
            if not await window.below(1, until):
                return False
            if window.freeing:
                await self._freed(window, record)
            window.come_to(record[0])
            if self._waits(window, record) or await self._marked(window, record):
                self._take(window, record)
            return True
        finally:
            window.apart.release()

    async def _freed(self, window: Window, record: Record) -> None:
        """Until it is known whether its key waits."""
        if (self._name, record[3]) in window.freeing:
            async with window.settling:
                pass

    async def _marked(self, window: Window, record: Record) -> bool:
        claim = window.claim
        route = self._routes.route(record[1])
        envelope = self._log.envelope(claim.topic, claim.partition, record)
        async with window.settling:
            buried = claim.position.finish([record[0]])
            if await mark_or_bury(self._store, claim, record, route, buried, envelope=envelope, now=self._clock.time()):
                return True
        self._meter.died("")
        return False

    def _waits(self, window: Window, record: Record) -> bool:
        """Whether it is to be parked: not what can't be read, which becomes a dead letter whatever is before it."""
        if (self._name, record[3]) not in window.claim.blocked:
            return False
        route = self._routes.route(record[1])
        return bool(route.handlers) and route.error is None

    def _take(self, window: Window, record: Record) -> None:
        window.held.add(record[0])
        key = record[3]
        if not self._routes.route(record[1]).handlers:
            window.results.skipped += 1
            self._finish(window, record[0])
        elif key is None:
            window.start(self._work(window, record))
        elif self._waits(window, record):
            self._park(window, record)
        elif key in window.keys:
            window.keys[key].append(record)
        else:
            window.keys[key] = deque([record])
            window.start(self._work_key(window, key))

    async def _work_key(self, window: Window, key: str) -> None:
        """One key's events, in order, until none is left."""
        waiting = window.keys[key]
        try:
            while waiting and not window.stopping:
                if self._waits(window, waiting[0]):
                    self._park(window, waiting[0])
                else:
                    await self._work(window, waiting[0])
                waiting.popleft()
        finally:
            del window.keys[key]

    def _park(self, window: Window, record: Record) -> None:
        """It waits in the store for its key."""
        window.results.parked.append(parking.parked(self._log, window.claim, self._name, record))
        self._finish(window, record[0])

    async def _work(self, window: Window, record: Record) -> None:
        """Run the handler until it succeeded or is given up. Between two attempts it takes up no place."""
        conflicts = Conflicts(self._clock)
        while not window.stopping:
            await window.idly(self._running.acquire())
            try:
                await in_time(window, self._bound, self._clock)
                failure = await self._attempt(window, record)
            except StoreConflictError as conflict:
                self._running.release()
                await window.idly(conflicts.stand_back(conflict))
                continue
            except BaseException:
                self._running.release()
                raise
            self._running.release()
            if failure is None:
                return
            window.results.failures.append(failure)
            if failure.letter is not None:
                if failure.letter.place is not None:
                    # At once: what follows in its key is parked by the commit that writes this down, or a later one.
                    window.claim.blocked.add(failure.letter.place)
                self._meter.died(failure.handler)
                self._finish(window, record[0])
                return
            self._meter.retried(failure.handler)
            await self._write(window)
            if not window.stopping:
                await window.idly(self._clock.sleep(failure.after_s))

    async def _attempt(self, window: Window, record: Record) -> Failure | None:
        """One call; None when it succeeded and its result is written or waits for the next group."""
        reach("plain.started")
        try:
            event = self._routes.route(record[1]).open(record[2])
        except MessageError as error:
            return self._judge(window, record, error, "")
        own = OwnTransaction(self._store, window.settling)
        context = self._context(window, record, own) if self._bound.wants_context else None
        try:
            try:
                outputs = await self._call(event, context)
                reach("plain.handled")
                if own.unit is not None:
                    await self._settle_own(own, window, record[0], outputs)
                    return None
            finally:
                await own.close()
        except NOBODYS_ATTEMPT:
            raise
        except (Exception, asyncio.CancelledError) as error:
            if is_cancelled():
                raise
            return self._judge(window, record, error, self._name)
        window.results.succeeded[self._name] += 1
        window.results.outputs += outputs
        self._finish(window, record[0])
        return None

    async def _call(self, event: Any, context: Context | None) -> list[Outgoing]:
        outputs: list[Outgoing] = []
        encode_returned(await self._bound.call(event, None, context), outputs)
        return outputs

    async def _settle_own(self, own: OwnTransaction, window: Window, offset: int, outputs: list[Outgoing]) -> None:
        """The handler's own transaction: its effects, its events and the mark of this one event."""
        assert own.unit is not None
        results = Results([offset], outputs=[*own.unit.outputs, *outputs])
        results.succeeded[self._name] = 1
        await own.unit.commit(window.claim, window.settlement(results))
        window.done([offset])
        self._meter.handled(results.succeeded)
        self._meter.published(len(results.outputs))

    def _context(self, window: Window, record: Record, own: OwnTransaction) -> Context:
        claim = window.claim
        tried = claim.attempts.get((record[0], self._name))
        envelope = self._log.envelope(claim.topic, claim.partition, record)
        return Context(self._service, self._name, envelope, tried.attempts + 1 if tried else 1, _open=own.open)

    def _judge(self, window: Window, record: Record, error: BaseException, handler: str) -> Failure:
        claim = window.claim
        return judge(
            error,
            before=claim.attempts.get((record[0], handler)),
            offset=record[0],
            handler=handler,
            rules=self._bound.handler,
            now=self._clock.time(),
            random=random(),
            about=lambda: (self._log.envelope(claim.topic, claim.partition, record), record[2]),
        )

    def _finish(self, window: Window, offset: int) -> None:
        """Note it as done; the first to finish since the last group begins the next one."""
        window.finish(offset)
        if len(window.results.finished) == 1:
            window.start(self._write_soon(window))

    async def _write_soon(self, window: Window) -> None:
        """Let those who wait for the place set free begin first: the commit holds the loop while they wait.

        For the same reason one commit says of several events that they are done, where no output waits for it, and
        where the end of this process would not count against events that it has handled.
        """
        for _ in range(BEGINNING_TURNS):
            await asyncio.sleep(0)
        if window.above_suspicion:
            await window.gather(self._gather_s)
        await self._write(window)

    async def _write(self, window: Window) -> None:
        """Write all results there are by the time it is our turn; when it returns ours are durable."""
        async with window.settling:
            results, window.results = window.results, Results()
            if not (results.finished or results.failures):
                return
            await self._store_group(window, results)
            window.done(results.finished)
        self._meter.handled(results.succeeded)
        self._meter.published(len(results.outputs))
        self._meter.parked(each.handler for each in results.parked)
        reach("plain.written")

    async def _store_group(self, window: Window, results: Results) -> None:
        conflicts = Conflicts(self._clock)
        while True:
            try:
                settlement = window.settlement(results)
                async with self._store.unit() as unit:
                    reach("plain.writing")
                    await unit.commit(window.claim, settlement)
            except StoreConflictError as conflict:
                await conflicts.stand_back(conflict)
            else:
                window.cleared = window.cleared or settlement.clears_unclean
                return

    async def settle(self, partition: int, within_s: float | None) -> None:
        window = self._windows.get(partition)
        if window is None:
            return
        try:
            ended = await window.stop(within_s)
            if window.error is not None:
                raise window.error
            if ended:
                await self._write(window)
                async with window.settling:
                    await parking.take_back(self._store, window.claim)  # of what was cut short
        finally:
            self.forget(partition)

    def forget(self, partition: int) -> None:
        window = self._windows.pop(partition, None)
        if window is not None:
            window.drop()

    async def revive(self, claim: Claim) -> bool:
        """Run dead letters again beside the deliveries, and what is parked behind those that are decided.

        One after the other; nobody has to come back for them.
        """
        window = self._windows[claim.partition]
        if not window.reviving:
            window.reviving = True
            window.start(self._revive(window))
        return False

    async def _revive(self, window: Window) -> None:
        try:
            more = True
            while more:
                await self._revival.run(window)
                more = await self._queues.run(window)
        finally:
            window.reviving = False
