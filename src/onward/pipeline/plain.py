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
from onward.pipeline.conflicts import Conflicts
from onward.pipeline.context import Context
from onward.pipeline.failures import NOBODYS_ATTEMPT, Failure, judge
from onward.pipeline.invocation import Bound, is_cancelled
from onward.pipeline.own_transaction import OwnTransaction
from onward.pipeline.revival import asked_for, failed_again, keep_dead, tried_once_more
from onward.pipeline.routing import Routes
from onward.pipeline.suspects import is_suspect, mark_or_bury
from onward.pipeline.window import Results, Window
from onward.ports import Claim, Clock, Delivery, Log, Outgoing, Record, Retried, Settlement, Store, WireType
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
            suspect = is_suspect(claim, self._limit)
            if not await window.below(1 if suspect else self._limit, until):
                self.check()
                return 0.0
            window.come_to(offset)
            if not suspect or await self._marked(window, record):
                self._take(window, record)
        self.check()
        return None

    async def _marked(self, window: Window, record: Record) -> bool:
        """After unclean starts: a durable mark before the event runs, alone. False if it was buried instead."""
        claim = window.claim
        route = self._routes.route(record[1])
        envelope = self._log.envelope(claim.topic, claim.partition, record)
        async with window.settling:
            buried = claim.position.finish([record[0]])
            if await mark_or_bury(self._store, claim, record, route, buried, envelope=envelope, now=self._clock.time()):
                return True
        self._meter.died("")
        return False

    def _take(self, window: Window, record: Record) -> None:
        window.held.add(record[0])
        key = record[3]
        if not self._routes.route(record[1]).handlers:
            window.results.skipped += 1
            self._finish(window, record[0])
        elif key is None:
            window.start(self._work(window, record))
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
                await self._work(window, waiting[0])
                waiting.popleft()
        finally:
            del window.keys[key]

    async def _work(self, window: Window, record: Record) -> None:
        """Run the handler until it succeeded or is given up. Between two attempts it takes up no place."""
        conflicts = Conflicts(self._clock)
        while not window.stopping:
            await window.idly(self._running.acquire())
            try:
                await self._in_time(window)
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
                self._meter.died(failure.handler)
                self._finish(window, record[0])
                return
            self._meter.retried(failure.handler)
            await self._write(window)
            if not window.stopping:
                await window.idly(self._clock.sleep(failure.after_s))

    async def _in_time(self, window: Window) -> None:
        """Where calls are limited, wait for the next one's time, in its place: as many wait as may run."""
        pace = self._bound.pace
        if pace is not None and (wait_s := pace.wait_s(self._clock.time())) > 0:
            await window.idly(self._clock.sleep(wait_s))

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
        rules = self._bound.handler
        claim = window.claim
        return judge(
            error,
            claim=claim,
            offset=record[0],
            handler=handler,
            retry=rules.retry,
            fatal=rules.fatal,
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
        finally:
            self.forget(partition)

    def forget(self, partition: int) -> None:
        window = self._windows.pop(partition, None)
        if window is not None:
            window.drop()

    async def revive(self, claim: Claim) -> bool:
        """Run dead letters again beside the deliveries, one after the other; nobody has to come back for them."""
        window = self._windows[claim.partition]
        if not window.reviving:
            window.reviving = True
            window.start(self._revive_all(window))
        return False

    async def _revive_all(self, window: Window) -> None:
        letters: list[Retried] = []
        try:
            while not window.stopping:
                if not letters:
                    async with window.settling:
                        letters = await asked_for(self._store, window.claim)
                    if not letters:
                        return
                await window.idly(self._running.acquire())
                try:
                    await self._in_time(window)
                    await self._revive_one(window, tried_once_more(letters.pop(0)))
                finally:
                    self._running.release()
        finally:
            window.reviving = False

    async def _revive_one(self, window: Window, retried: Retried) -> None:
        async with window.settling:
            await keep_dead(self._store, window.claim, retried)
        letter = retried.letter
        own = OwnTransaction(self._store, window.settling)
        context = Context(self._service, self._name, letter.envelope, letter.attempts, late=True, _open=own.open)
        try:
            try:
                event = self._routes.named(WireType(letter.envelope.type, letter.envelope.version)).open(letter.value)
                outputs = await self._call(event, context)
                unit = await own.enter()
                settlement = Settlement(
                    window.claim.position,
                    {self._name: 1},
                    outputs=[*unit.outputs, *outputs],
                    revived=[retried.id],
                    clears_unclean=False,
                )
                await unit.commit(window.claim, settlement)
            finally:
                await own.close()
        except NOBODYS_ATTEMPT:
            raise
        except (Exception, asyncio.CancelledError) as error:
            if is_cancelled():
                raise
            async with window.settling:
                await keep_dead(self._store, window.claim, failed_again(retried, error, self._bound.handler.fatal))
        else:
            self._meter.handled(settlement.succeeded)
            self._meter.published(len(settlement.outputs))
