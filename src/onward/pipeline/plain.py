"""Handlers without the transaction: concurrently across keys, in order per key, results written in groups.

Each partition has a window of events that are begun or wait for their key. What finished while one commit ran is
written by the next one, so that a slow disk makes groups larger and not the handlers slower.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, deque
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from random import random
from typing import Any

from onward.errors import MessageError, TransactionError
from onward.outgoing import encode, flatten
from onward.pipeline.context import Context
from onward.pipeline.failures import NOBODYS_ATTEMPT, Failure, judge
from onward.pipeline.invocation import Bound
from onward.pipeline.routing import Routes
from onward.pipeline.suspects import is_suspect, mark_or_bury
from onward.ports import (
    Claim,
    Clock,
    Delivery,
    Log,
    Outgoing,
    Record,
    Retried,
    Settlement,
    Store,
    Transaction,
    Unit,
    WireType,
)
from onward.telemetry.failpoints import reach
from onward.telemetry.meter import Meter

logger = logging.getLogger("onward.handlers")

SMALLEST_WINDOW = 64


@dataclass(slots=True)
class _Results:
    """What was done since the last group was written."""

    finished: list[int] = field(default_factory=list)
    succeeded: Counter[str] = field(default_factory=Counter)
    skipped: int = 0
    failures: list[Failure] = field(default_factory=list)
    outputs: list[Outgoing] = field(default_factory=list)


@dataclass(slots=True)
class _Part:
    """One partition in this process. `settling` is held by whoever moves its account."""

    claim: Claim
    settling: asyncio.Lock = field(default_factory=asyncio.Lock)
    room: asyncio.Event = field(default_factory=asyncio.Event)
    keys: dict[str, deque[tuple[Record, Any]]] = field(default_factory=dict)
    tasks: set[asyncio.Task[None]] = field(default_factory=set)
    asleep: set[asyncio.Task[None]] = field(default_factory=set)
    results: _Results = field(default_factory=_Results)
    unfinished: int = 0
    stopping: bool = False


class PlainRunner:
    """Runs one plain handler on all partitions that this process has."""

    def __init__(
        self, *, service: str, bound: Bound, routes: Routes, store: Store, log: Log, clock: Clock, meter: Meter
    ) -> None:
        self._service = service
        self._bound = bound
        self._name = bound.handler.name
        self._routes = routes
        self._store = store
        self._log = log
        self._clock = clock
        self._meter = meter
        self._running = asyncio.Semaphore(bound.handler.concurrency)
        self._window = max(2 * bound.handler.concurrency, SMALLEST_WINDOW)
        self._parts: dict[int, _Part] = {}
        self._error: BaseException | None = None

    def attach(self, claim: Claim) -> None:
        self._parts[claim.partition] = _Part(claim)

    def check(self) -> None:
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    async def handle(self, claim: Claim, delivery: Delivery) -> float | None:
        part = self._parts[claim.partition]
        for record in delivery.records:
            if claim.position.done(record[0]):
                continue
            while part.unfinished >= self._window and self._error is None:
                part.room.clear()
                await part.room.wait()
            if self._error is not None:
                break
            if is_suspect(claim):
                await self._alone(part, record)
            else:
                self._take(part, record)
        self.check()
        return None

    def _take(self, part: _Part, record: Record) -> None:
        route = self._routes.route(record[1])
        part.unfinished += 1
        if not route.handlers:
            part.results.skipped += 1
            self._finish(part, record[0])
            return
        try:
            event = route.open(record[2])
        except MessageError as error:
            self._start(part, self._refuse(part, record, error))
            return
        key = record[3]
        if key is None:
            self._start(part, self._work(part, record, event))
        elif key in part.keys:
            part.keys[key].append((record, event))
        else:
            part.keys[key] = deque([(record, event)])
            self._start(part, self._work_key(part, key))

    def _start(self, part: _Part, work: Any) -> None:
        task: asyncio.Task[None] = asyncio.create_task(work)
        part.tasks.add(task)
        task.add_done_callback(lambda done: self._ended(part, done))

    def _ended(self, part: _Part, task: asyncio.Task[None]) -> None:
        part.tasks.discard(task)
        if not task.cancelled() and task.exception() is not None and self._error is None:
            self._error = task.exception()
        part.room.set()

    async def _work_key(self, part: _Part, key: str) -> None:
        """One key's events, in order, until none is left."""
        waiting = part.keys[key]
        try:
            while waiting and not part.stopping:
                record, event = waiting[0]
                await self._work(part, record, event)
                waiting.popleft()
        finally:
            del part.keys[key]

    async def _refuse(self, part: _Part, record: Record, error: MessageError) -> None:
        """A record that is no event: dead, or to be tried again while its consumer is deployed."""
        while (failure := self._judge(part, record, error, "")).letter is None:
            await self._wait(part, failure)
            try:
                event = self._routes.route(record[1]).open(record[2])
            except MessageError as again:
                error = again
            else:
                await self._work(part, record, event)
                return
        part.results.failures.append(failure)
        self._meter.died("")
        self._finish(part, record[0])

    async def _work(self, part: _Part, record: Record, event: Any) -> None:
        """Run the handler until it succeeded or is given up. No attempt holds a transaction open while it waits."""
        while True:
            async with self._running:
                failure = await self._attempt(part, record, event)
            if failure is None:
                return
            if failure.letter is not None:
                part.results.failures.append(failure)
                self._meter.died(self._name)
                self._finish(part, record[0])
                return
            self._meter.retried(self._name)
            await self._wait(part, failure)

    async def _wait(self, part: _Part, failure: Failure) -> None:
        part.results.failures.append(failure)
        part.claim.attempts[failure.offset, failure.handler] = failure.attempt
        await self._write(part)
        task = asyncio.current_task()
        assert task is not None
        part.asleep.add(task)
        try:
            await self._clock.sleep(failure.after_s)
        finally:
            part.asleep.discard(task)

    async def _attempt(self, part: _Part, record: Record, event: Any) -> Failure | None:
        """One call; None when it succeeded and its result is written or waits for the next group."""
        reach("plain.started")
        scope = _Scope(self._store, part.settling)
        context = self._context(part, record, scope) if self._bound.wants_context else None
        try:
            try:
                returned = await self._bound.call(event, None, context)
                outputs = [encode(each) for each in flatten(returned)] if returned is not None else []
                reach("plain.handled")
                if scope.unit is not None:
                    self._settle_in(scope.unit, part, record[0], outputs)
            finally:
                await scope.close()
        except NOBODYS_ATTEMPT:
            raise
        except Exception as error:  # noqa: BLE001 - a handler may raise anything; judged, never dropped
            return self._judge(part, record, error, self._name)
        if scope.unit is None:
            part.results.succeeded[self._name] += 1
            part.results.outputs += outputs
            self._finish(part, record[0])
        else:
            part.unfinished -= 1
            part.room.set()
        self._meter.handled({self._name: 1})
        return None

    def _settle_in(self, unit: Unit, part: _Part, offset: int, outputs: list[Outgoing]) -> None:
        """The handler's own transaction: effects, outputs and the mark of this one event."""
        unit.outputs.extend(outputs)
        unit.commit(
            part.claim,
            Settlement(
                part.claim.position.finish([offset]),
                {self._name: 1},
                forget=[key for key in part.claim.attempts if key[0] == offset],
                outputs=unit.outputs,
            ),
        )

    def _context(self, part: _Part, record: Record, scope: _Scope) -> Context:
        tried = part.claim.attempts.get((record[0], self._name))
        envelope = self._log.envelope(part.claim.topic, part.claim.partition, record)
        return Context(self._service, self._name, envelope, tried.attempts + 1 if tried else 1, _open=scope.open)

    def _judge(self, part: _Part, record: Record, error: BaseException, handler: str) -> Failure:
        rules = self._bound.handler
        return judge(
            error,
            claim=part.claim,
            offset=record[0],
            handler=handler,
            retry=rules.retry,
            fatal=rules.fatal,
            now=self._clock.time(),
            random=random(),
            about=lambda: (self._log.envelope(part.claim.topic, part.claim.partition, record), record[2]),
        )

    def _finish(self, part: _Part, offset: int) -> None:
        """Note it as done; the first to finish since the last group begins the next one."""
        part.results.finished.append(offset)
        part.unfinished -= 1
        part.room.set()
        if len(part.results.finished) == 1:
            self._start(part, self._write(part))

    async def _write(self, part: _Part) -> None:
        """Write all results there are by the time it is our turn."""
        async with part.settling:
            results, part.results = part.results, _Results()
            if not (results.finished or results.failures):
                return
            claim = part.claim
            letters = [failure.letter for failure in results.failures if failure.letter is not None]
            done = set(results.finished)
            settlement = Settlement(
                claim.position.finish(results.finished),
                dict(results.succeeded),
                results.skipped,
                dead=letters,
                attempts={
                    (each.offset, each.handler): each.attempt for each in results.failures if each.offset not in done
                },
                forget=[key for key in claim.attempts if key[0] in done],
                outputs=results.outputs,
            )
            async with self._store.unit() as unit:
                reach("plain.writing")
                unit.commit(claim, settlement)
            reach("plain.written")

    async def _alone(self, part: _Part, record: Record) -> None:
        """After unclean starts: nothing else in flight, a durable mark, then this one event."""
        await self._quiet(part)
        claim = part.claim
        if claim.position.done(record[0]):
            return
        route = self._routes.route(record[1])
        envelope = self._log.envelope(claim.topic, claim.partition, record)
        async with part.settling:
            run = await mark_or_bury(self._store, claim, record, route, envelope=envelope, now=self._clock.time())
        if run:
            self._take(part, record)
            await self._quiet(part)
        else:
            self._meter.died("")

    async def _quiet(self, part: _Part) -> None:
        while part.tasks and self._error is None:
            await asyncio.wait(list(part.tasks))

    async def settle(self, partition: int) -> None:
        part = self._parts[partition]
        part.stopping = True
        while part.tasks:
            for task in part.asleep:
                task.cancel()
            await asyncio.wait(list(part.tasks), timeout=0.1)
        if self._error is None:
            await self._write(part)
        del self._parts[partition]

    def forget(self, partition: int) -> None:
        part = self._parts.pop(partition, None)
        if part is not None:
            part.stopping = True
            for task in part.tasks:
                task.cancel()

    async def revive(self, claim: Claim) -> int:
        """Run dead letters again; each is dead before it runs: one that ends the process is not tried for ever."""
        part = self._parts[claim.partition]
        async with part.settling, self._store.unit() as unit:
            letters = unit.retrying(claim)
            if not letters:
                return 0
            began = [(each.id, each.letter.error, each.letter.detail) for each in letters]
            unit.commit(claim, Settlement(claim.position, still_dead=began, clears_unclean=False))
        for retried in letters:
            await self._revive_one(part, retried)
        return len(letters)

    async def _revive_one(self, part: _Part, retried: Retried) -> None:
        letter = retried.letter
        scope = _Scope(self._store, part.settling)
        context = Context(self._service, self._name, letter.envelope, letter.attempts + 1, late=True, _open=scope.open)
        try:
            try:
                event = self._routes.named(WireType(letter.envelope.type, letter.envelope.version)).open(letter.value)
                returned = await self._bound.call(event, None, context)
                outputs = [encode(each) for each in flatten(returned)] if returned is not None else []
                unit = await scope.enter()
                unit.outputs.extend(outputs)
                settlement = Settlement(
                    part.claim.position,
                    {self._name: 1},
                    outputs=unit.outputs,
                    revived=[retried.id],
                    clears_unclean=False,
                )
                unit.commit(part.claim, settlement)
            finally:
                await scope.close()
        except NOBODYS_ATTEMPT:
            raise
        except Exception as error:  # noqa: BLE001 - a handler may raise anything; it stays a dead letter
            logger.warning("dead letter %s failed again: %r", retried.id, error)
        else:
            self._meter.handled(settlement.succeeded)


class _Scope:
    """A handler call's own transaction, opened at most once and ended by whoever made the call."""

    def __init__(self, store: Store, settling: asyncio.Lock) -> None:
        self._store = store
        self._settling = settling
        self.unit: Unit | None = None

    def open(self) -> AbstractAsyncContextManager[Transaction]:
        return self._block()

    @asynccontextmanager
    async def _block(self) -> AsyncIterator[Transaction]:
        if self.unit is not None:
            raise TransactionError(
                "ctx.transaction() was used twice in one handler call: everything that is to commit with the event"
                " belongs into one block."
            )
        unit = await self.enter()
        yield unit.tx

    async def enter(self) -> Unit:
        """Begin, unless the handler has; the partition's account is ours until `close`."""
        if self.unit is not None:
            return self.unit
        await self._settling.acquire()
        try:
            unit = self._store.unit()
            await unit.__aenter__()
        except BaseException:
            self._settling.release()
            raise
        self.unit = unit
        return unit

    async def close(self) -> None:
        """Roll back what was not committed."""
        if self.unit is not None:
            try:
                await self.unit.__aexit__(None, None, None)
            finally:
                self._settling.release()
