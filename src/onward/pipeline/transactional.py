"""The batch loop for handlers that commit with their event: account, decode, execute, commit.

A batch first runs *together*: one transaction, nothing between the handlers. Only if something fails is it rolled
back and run *carefully*, with a savepoint around every event and handler, so that exactly the failing one stands
alone; where savepoints are dear, halves of it run together until the failing event is the only one left to run
carefully. So the common case pays nothing for the rare one.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable
from operator import itemgetter
from random import random
from time import perf_counter
from typing import Any

from onward.errors import MessageError, StoreConflictError
from onward.events import Envelope
from onward.outgoing import encode_returned
from onward.pipeline.careful import Gathered, TransactionEnded, TryAgain, undo
from onward.pipeline.conflicts import Conflicts
from onward.pipeline.context import Context
from onward.pipeline.failures import NOBODYS_ATTEMPT, Failure, judge
from onward.pipeline.halves import Halves
from onward.pipeline.invocation import Bound, is_cancelled
from onward.pipeline.listed import ListRun
from onward.pipeline.parking import parked as parked_event
from onward.pipeline.routing import Route, Routes
from onward.pipeline.suspects import is_suspect, mark_or_bury, still_suspect, survived, take_back_mark
from onward.pipeline.suspensions import Suspensions
from onward.pipeline.transactional_parking import TransactionalQueues
from onward.pipeline.transactional_revival import TransactionalRevival
from onward.ports import Claim, Clock, Delivery, Log, Parked, Record, Settlement, Store, Transaction, Unit
from onward.telemetry.failpoints import reach
from onward.telemetry.meter import Meter

logger = logging.getLogger("onward.handlers")

LONGEST_STRIDE = 64  # events between two looks at the clock, where none of them waits for anything
HOLD_S = 0.2  # a transaction open for longer commits what it has


class TransactionalRunner:
    """Runs one subscription's batches. One task at a time."""

    def __init__(self, *, service: str, routes: Routes, store: Store, log: Log, clock: Clock, meter: Meter) -> None:
        self._service = service
        self._routes = routes
        self.handlers = routes.handlers
        self._store = store
        self._log = log
        self._clock = clock
        self._meter = meter
        self._revival = TransactionalRevival(service, routes, store, meter)
        self._queues = TransactionalQueues(service, routes, store, clock, meter)
        self._savepoints_are_cheap = store.capabilities.savepoints_are_cheap
        self._suspensions = Suspensions(warns=store.capabilities.inline)

    async def handle(self, claim: Claim, delivery: Delivery) -> float | None:
        """Handle a delivery as far as possible; `claim.position.next` then says how far that was.

        Returns None when all of it is done, else the seconds to wait before the rest is delivered again. Raises
        ClaimLostError and InfrastructureError, after which nothing uncommitted is kept.
        """
        records = delivery.records
        halves, conflicts = Halves(), Conflicts(self._clock)
        while records:
            try:
                done, wait_s = await self._go_on(claim, records, halves)
            except StoreConflictError as conflict:
                await take_back_mark(self._store, claim)
                await conflicts.stand_back(conflict)
                continue
            conflicts.over()
            if wait_s is not None:
                return wait_s
            records = records[done:]
        return None

    async def _go_on(self, claim: Claim, records: list[Record], halves: Halves) -> tuple[int, float | None]:
        """Run the next of these records; how many are done with, and the seconds to wait before what follows."""
        if is_suspect(claim):
            return await self._alone(claim, records[0])
        started = perf_counter()
        done, wait_s = 0, None
        count = halves.together(self._untried(claim, records))
        if count:
            try:
                done = await self._together(claim, records[:count])
            except NOBODYS_ATTEMPT as error:
                if isinstance(error, StoreConflictError):
                    halves.failed(count)  # fewer of them hold fewer locks, for a shorter time
                raise
            except (Exception, asyncio.CancelledError):
                if is_cancelled():
                    raise
                self._meter.rerun()
                if not self._savepoints_are_cheap:
                    halves.failed(count)
                    return 0, None
        if not done:
            done, wait_s = await self._carefully(claim, records if self._savepoints_are_cheap else records[:1])
        halves.done(done)
        self._meter.batch(done, perf_counter() - started)
        return done, wait_s

    def _untried(self, claim: Claim, records: list[Record]) -> int:
        """How many at the front can be run without a look at attempts on record."""
        if not claim.attempts:
            return len(records)
        if self._savepoints_are_cheap:
            return 0
        tried = {offset for offset, _ in claim.attempts}
        return next((index for index, record in enumerate(records) if record[0] in tried), len(records))

    def attach(self, claim: Claim) -> None:
        """Nothing is kept per partition."""

    async def settle(self, partition: int, within_s: float | None) -> None:
        """Nothing is in flight between deliveries."""

    def forget(self, partition: int) -> None:
        """Nothing is kept per partition."""

    def check(self) -> None:
        """Nothing goes on beside the deliveries."""

    async def revive(self, claim: Claim) -> bool:
        """Run dead letters again, and what is parked behind those that are decided, each for HOLD_S."""
        revived = await self._revival.run(claim, HOLD_S)
        return await self._queues.run(claim, HOLD_S) or revived

    async def _together(self, claim: Claim, records: list[Record]) -> int:
        """Run without savepoints and commit; how many records that were. Any handler's error undoes all."""
        uniform = self._routes.uniform(records)
        unit = self._store.unit()
        later = {name: joined for name, joined in claim.joined.items() if joined > records[0][0]}
        waits = bool(claim.blocked) and self._any_waits(claim, records)
        parked: list[Parked] = []
        reach("batch.decoded")
        async with unit:
            reach("batch.begun")
            self._suspensions.begin()
            try:
                if (
                    uniform is not None
                    and len(uniform[0].singles) == 1
                    and not uniform[0].lists
                    and not (later or waits)
                ):
                    route, events = uniform
                    bound = route.singles[0]
                    done = await self._run_uniform(claim, unit, bound, events, records)
                    succeeded, skipped, passed = {bound.handler.name: done}, 0, dict.fromkeys(route.others, done)
                else:
                    done, succeeded, skipped, passed = await self._run_mixed(
                        claim, unit, records, uniform, later, parked
                    )
            finally:
                self._suspensions.end()
            reach("batch.handled")
            position = claim.position.finish_through(records[done - 1][0] + 1)
            skipped += position.done_since(claim.position) - done  # offsets without an event: a log may have gaps
            settlement = Settlement(position, succeeded, skipped, passed, outputs=unit.outputs, parked=parked)
            await unit.commit(claim, settlement)
        reach("batch.committed")
        self._meter.handled(succeeded)
        self._meter.published(len(settlement.outputs))
        self._meter.parked(each.handler for each in parked)
        return done

    async def _run_uniform(
        self, claim: Claim, unit: Unit, bound: Bound, events: list[Any], records: list[Record]
    ) -> int:
        deadline = perf_counter() + HOLD_S
        self._suspensions.entering(bound.handler.name)
        done, total, stride = 0, len(events), 1
        while done < total:
            end = min(done + stride, total)
            if bound.direct is not None:
                done += await _run_direct(unit, bound.direct, events[done:end], self._suspensions, deadline)
            else:
                await self._call(claim, unit, bound, events[done], records[done])
                done += 1
            if perf_counter() > deadline:
                break
            stride = min(2 * stride, LONGEST_STRIDE)
        return done

    async def _run_mixed(
        self,
        claim: Claim,
        unit: Unit,
        records: list[Record],
        uniform: tuple[Route, list[Any]] | None,
        later: dict[str, int],
        parked: list[Parked],
    ) -> tuple[int, dict[str, int], int, dict[str, int]]:
        """Events of any types; `later` are the handlers that joined behind the first record, with where they did.

        What may not run yet is added to `parked`.
        """
        deadline = perf_counter() + HOLD_S
        succeeded: Counter[str] = Counter()
        passed: Counter[str] = Counter()
        skipped = 0
        listed: dict[Bound, tuple[Record, list[Any]]] = {}
        blocked = claim.blocked
        done = 0
        for index, record in enumerate(records):
            route = self._routes.route(record[1])
            if not route.handlers:
                skipped += 1
            else:
                event = uniform[1][index] if uniform is not None else route.open(record[2])
                for bound in route.singles:
                    if later and later.get(bound.handler.name, 0) > record[0]:
                        passed[bound.handler.name] += 1
                        continue
                    if blocked and (bound.handler.name, record[3]) in blocked:
                        parked.append(self._parked(claim, bound, record))
                        continue
                    self._suspensions.entering(bound.handler.name)
                    if bound.direct is not None:
                        encode_returned(await bound.direct(event, unit.tx), unit.outputs)
                    else:
                        await self._call(claim, unit, bound, event, record)
                    succeeded[bound.handler.name] += 1
                for bound in route.lists:
                    if later and later.get(bound.handler.name, 0) > record[0]:
                        passed[bound.handler.name] += 1
                        continue
                    if blocked and (bound.handler.name, record[3]) in blocked:
                        parked.append(self._parked(claim, bound, record))
                        continue
                    listed.setdefault(bound, (record, []))[1].append(event)
                for name in route.others:
                    passed[name] += 1
            done = index + 1
            if perf_counter() > deadline:
                break
        for bound, (first, events) in listed.items():
            self._suspensions.entering(bound.handler.name)
            encode_returned(await bound.call(events, unit, self._list_context(bound, claim, first)), unit.outputs)
            succeeded[bound.handler.name] += len(events)
        return done, succeeded, skipped, passed

    async def _call(self, claim: Claim, unit: Unit, bound: Bound, event: Any, record: Record) -> None:
        context = self._context(bound, claim, record) if bound.wants_context else None
        encode_returned(await bound.call(event, unit, context), unit.outputs)

    def _context(self, bound: Bound, claim: Claim, record: Record) -> Context:
        tried = claim.attempts.get((record[0], bound.handler.name))
        return Context(
            self._service, bound.handler.name, self._envelope(claim, record), tried.attempts + 1 if tried else 1
        )

    def _list_context(self, bound: Bound, claim: Claim, first: Record) -> Context | None:
        """A batch's context is its first event's."""
        return self._context(bound, claim, first) if bound.wants_context else None

    def _any_waits(self, claim: Claim, records: list[Record]) -> bool:
        return any((name, record[3]) in claim.blocked for name in self.handlers for record in records)

    def _parked(self, claim: Claim, bound: Bound, record: Record) -> Parked:
        return parked_event(self._log, claim, bound.handler.name, record)

    def _envelope(self, claim: Claim, record: Record) -> Envelope:
        return self._log.envelope(claim.topic, claim.partition, record)

    async def _carefully(self, claim: Claim, records: list[Record]) -> tuple[int, float | None]:
        """Run with a savepoint each, commit what comes before an event that must be tried again, or the time limit."""
        cut = len(records)
        again: list[Failure] = []
        known: dict[tuple[int, str], BaseException] = {}
        while True:
            found = Gathered(known)
            try:
                async with self._store.unit() as unit:
                    reach("careful.begun")
                    stop = await self._singles(claim, unit, records[:cut], found, again)
                    earlier = await self._lists(claim, unit, records, stop, found, again)
                    if earlier < stop:
                        cut = earlier
                        continue  # leaving the block rolls back; the shorter run can't fail there again
                    await self._settle_carefully(claim, unit, records, stop, found, again)
            except TransactionEnded as ended:
                known.update(ended.blamed)
                cut = sum(record[0] <= ended.last for record in records[:cut])
                continue
            self._report(found, again)
            # Also for one that is further on, where time was up before it: none is tried again before its wait.
            return stop, max((failure.after_s for failure in again), default=None)

    async def _settle_carefully(
        self, claim: Claim, unit: Unit, records: list[Record], stop: int, found: Gathered, again: list[Failure]
    ) -> None:
        position = claim.position.finish_through(records[stop - 1][0] + 1) if stop else claim.position
        settlement = Settlement(
            position,
            dict(found.succeeded),
            found.skipped + position.done_since(claim.position) - stop,
            dict(found.passed),
            dead=[failure.letter for failure in found.failures if failure.letter is not None],
            attempts={(failure.offset, failure.handler): failure.attempt for failure in again},
            forget=[
                *(key for key in claim.attempts if key[0] < position.next),
                *survived(claim, dict.fromkeys(failure.offset for failure in again)),
            ],
            outputs=unit.outputs,
            suspect_until=still_suspect(claim, position),
            parked=found.parked,
        )
        reach("careful.handled")
        await unit.commit(claim, settlement)
        reach("careful.committed")
        self._meter.published(len(settlement.outputs))

    async def _singles(
        self, claim: Claim, unit: Unit, records: list[Record], found: Gathered, again: list[Failure]
    ) -> int:
        """Run the one-event handlers; how many records are done before one must be tried again or time is up."""
        deadline = perf_counter() + HOLD_S
        for index, record in enumerate(records):
            if index and perf_counter() > deadline:
                return index
            await unit.mark()
            one = Gathered(found.known, blocked=found.blocked)
            try:
                await self._event(claim, unit, record, one)
            except TryAgain as stop:
                await unit.undo()
                again.append(stop.failure)
                return index
            await unit.keep()
            found.succeeded.update(one.succeeded)
            found.skipped += one.skipped
            found.passed.update(one.passed)
            found.failures += one.failures
            found.parked += one.parked
            for bound, events in one.listed.items():
                found.listed.setdefault(bound, []).extend(events)
        return len(records)

    async def _event(self, claim: Claim, unit: Unit, record: Record, found: Gathered) -> None:
        route = self._routes.route(record[1])
        if not route.handlers:
            found.skipped += 1
            return
        joined = _joined(claim, route, record)
        if route.error is None and self._all_wait(claim, found, joined, record):
            event = None
        else:
            try:
                event = route.open(record[2])
            except MessageError as error:
                self._judged(error, claim, record, None, found)
                return
        found.passed.update(route.others)
        found.passed.update(bound.handler.name for bound in route.handlers if bound not in joined)
        for bound in route.singles:
            if bound not in joined:
                continue
            if self._waits(claim, found, bound, record):
                found.parked.append(self._parked(claim, bound, record))
                continue
            place = (record[0], bound.handler.name)
            if place in found.known:
                self._judged(found.known[place], claim, record, bound, found)
                continue
            await unit.mark()
            try:
                await self._call(claim, unit, bound, event, record)
                await unit.keep()
            except NOBODYS_ATTEMPT:
                raise
            except (Exception, asyncio.CancelledError) as error:
                if is_cancelled():
                    raise
                await undo(unit, {place: error}, record[0])
                self._judged(error, claim, record, bound, found)
            else:
                found.succeeded[bound.handler.name] += 1
        for bound in route.lists:
            if bound not in joined:
                continue
            if self._waits(claim, found, bound, record):
                found.parked.append(self._parked(claim, bound, record))
            else:
                found.listed.setdefault(bound, []).append((record, event))

    def _all_wait(self, claim: Claim, found: Gathered, joined: list[Bound], record: Record) -> bool:
        """Whether it is going to be parked for all whom it is for: then it is not even read."""
        return bool(joined) and all(self._waits(claim, found, each, record) for each in joined)

    @staticmethod
    def _waits(claim: Claim, found: Gathered, bound: Bound, record: Record) -> bool:
        place = (bound.handler.name, record[3])
        return place in claim.blocked or place in found.blocked

    def _judged(self, error: BaseException, claim: Claim, record: Record, bound: Bound | None, found: Gathered) -> None:
        failure = self._judge(error, claim, record, bound)
        if failure.letter is None:
            raise TryAgain(failure) from error
        found.give_up(failure)

    def _judge(self, error: BaseException, claim: Claim, record: Record, bound: Bound | None) -> Failure:
        handler = bound.handler.name if bound else ""
        return judge(
            error,
            before=claim.attempts.get((record[0], handler)),
            offset=record[0],
            handler=handler,
            rules=bound.handler if bound else None,
            now=self._clock.time(),
            random=random(),
            about=lambda: (self._envelope(claim, record), record[2]),
        )

    async def _lists(
        self, claim: Claim, unit: Unit, records: list[Record], stop: int, found: Gathered, again: list[Failure]
    ) -> int:
        """Run the list handlers; the index of the earliest record that one of them wants tried again, or `stop`."""
        earliest = records[stop][0] if stop < len(records) else records[-1][0] + 1
        for bound, items in found.listed.items():
            name = bound.handler.name
            places = {record[0]: (record[0], name) for record, _ in items}
            failed = {offset: found.known[place] for offset, place in places.items() if place in found.known}
            run = ListRun(
                unit,
                bound,
                lambda first, bound=bound: self._list_context(bound, claim, first),  # type: ignore[misc]
                {record[0]: record[3] for record, _ in items},
                failed,
            )
            await run.run([item for item in items if item[0][0] not in failed])
            for record, _ in items:
                if record[0] not in failed:
                    continue
                if self._waits(claim, found, bound, record):  # one before it in its key has just died
                    del failed[record[0]]
                    run.held.append(record)
                    continue
                failure = self._judge(failed[record[0]], claim, record, bound)
                if failure.letter is None:
                    again.append(failure)
                    earliest = min(earliest, record[0])
                else:
                    found.give_up(failure)
            found.parked += [self._parked(claim, bound, record) for record in sorted(run.held, key=itemgetter(0))]
            found.succeeded[bound.handler.name] += len(items) - len(failed) - len(run.held)
        return sum(record[0] < earliest for record in records[:stop])

    def _report(self, found: Gathered, again: list[Failure]) -> None:
        self._meter.handled(found.succeeded)
        self._meter.parked(each.handler for each in found.parked)
        for failure in again:
            self._meter.retried(failure.handler)
        for failure in found.failures:
            self._meter.died(failure.handler)

    async def _alone(self, claim: Claim, record: Record) -> tuple[int, float | None]:
        """Run one event after a durable mark, or bury it."""
        route = self._routes.route(record[1])
        if route.error is None and self._all_wait(claim, Gathered({}), _joined(claim, route, record), record):
            return await self._carefully(claim, [record])  # it is parked, unread: nothing can end the process
        envelope = self._envelope(claim, record)
        now = self._clock.time()
        buried = claim.position.finish_through(record[0] + 1)
        if await mark_or_bury(self._store, claim, record, route, buried, envelope=envelope, now=now):
            return await self._carefully(claim, [record])
        self._meter.died("")
        return 1, None


def _joined(claim: Claim, route: Route, record: Record) -> list[Bound]:
    """Those whom the event is for and who are owed it."""
    return [bound for bound in route.handlers if claim.joined.get(bound.handler.name, 0) <= record[0]]


async def _run_direct(
    unit: Unit,
    function: Callable[[Any, Transaction], Awaitable[Any]],
    events: list[Any],
    suspensions: Suspensions,
    deadline: float,
) -> int:
    """The innermost loop, with nothing between it and the user's function; how many of the events it ran."""
    tx, outputs = unit.tx, unit.outputs
    for done, event in enumerate(events, 1):
        returned = await function(event, tx)
        if returned is not None:
            encode_returned(returned, outputs)
        if suspensions.noticed and perf_counter() > deadline:
            return done
    return len(events)
