"""Parked events of handlers that commit with their event, run in order once their key's dead letter is decided."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from time import perf_counter

from onward.errors import StoreConflictError, UnknownTypeError
from onward.pipeline import parking
from onward.pipeline.conflicts import Conflicts
from onward.pipeline.failures import NOBODYS_ATTEMPT
from onward.pipeline.invocation import is_cancelled
from onward.pipeline.revival import call_late
from onward.pipeline.routing import Routes
from onward.ports import Claim, Clock, Parked, Settlement, Store, Unit
from onward.telemetry.failpoints import reach
from onward.telemetry.meter import Meter


class TransactionalQueues:
    """Between the deliveries of one subscription, in their task: nothing of a key comes in between."""

    def __init__(self, service: str, routes: Routes, store: Store, clock: Clock, meter: Meter) -> None:
        self._service = service
        self._routes = routes
        self._store = store
        self._clock = clock
        self._meter = meter

    async def run(self, claim: Claim, hold_s: float) -> bool:
        """Run what is due until so much time has passed, and free keys; whether more was due then."""
        deadline = perf_counter() + hold_s
        while claim.blocked:
            async with self._store.unit() as unit:
                found = await unit.queues(claim, self._clock.time())
                if found.empty:
                    await unit.commit(claim, Settlement(claim.position, freed=found.empty, clears_unclean=False))
                    reach("parking.freed")
            if found.due:
                await self._some(claim, found.due, deadline)
            elif not found.empty:
                return False
            if perf_counter() > deadline:
                return True
        return False

    async def _some(self, claim: Claim, events: Sequence[Parked], deadline: float) -> None:
        """All in one transaction, unless one of them was tried before; each by itself where that does not go well."""
        if all(not (each.attempts or each.begun) for each in events):
            noted = await parking.note(self._store, claim, events, self._clock.time())
            reach("parking.noted")
            try:
                await self._together(claim, noted, deadline)
            except NOBODYS_ATTEMPT:
                raise
            except (Exception, asyncio.CancelledError):
                if is_cancelled():
                    raise
                self._meter.rerun()
            else:
                return
            await parking.take_back(self._store, claim)
        held: set[tuple[str, str]] = set()
        for event in events:
            if event.place not in held and not await self._alone(claim, event):
                held.add(event.place)
            if perf_counter() > deadline:
                return

    async def _alone(self, claim: Claim, event: Parked) -> bool:
        """Whether it succeeded, so that the next one of its key may run."""
        try:
            _, bound = parking.handler_of(self._routes, event)
        except UnknownTypeError as error:
            await parking.settle(self._store, claim, parking.not_here(claim, event, error, self._clock.time()))
            return False
        failure = parking.ended_processes(claim, event, bound.handler)
        if failure is None:
            (event,) = await parking.note(self._store, claim, [event], self._clock.time())
            reach("parking.noted")
            try:
                await self._together(claim, [event], perf_counter())
            except NOBODYS_ATTEMPT:
                raise
            except (Exception, asyncio.CancelledError) as error:
                if is_cancelled():
                    raise
                failure = parking.judged(event, bound.handler, error, self._clock.time())
            else:
                return True
        await parking.settle(self._store, claim, parking.after(claim, event, failure, self._clock.time()))
        if failure.letter is not None:
            self._meter.died(event.handler)
        else:
            self._meter.retried(event.handler)
        return False

    async def _together(self, claim: Claim, events: Sequence[Parked], deadline: float) -> None:
        """Run them in one transaction, or as many as time allows, and commit; the others were not tried then."""
        conflicts = Conflicts(self._clock)
        while True:
            try:
                async with self._store.unit() as unit:
                    settlement = await self._run(claim, unit, events, deadline)
                    reach("parking.handled")
                    await unit.commit(claim, settlement)
            except StoreConflictError as conflict:
                await conflicts.stand_back(conflict)
            else:
                self._meter.handled(Counter(each.handler for each in settlement.unparked))
                self._meter.published(len(settlement.outputs))
                return

    async def _run(self, claim: Claim, unit: Unit, events: Sequence[Parked], deadline: float) -> Settlement:
        done = 0
        for event in events:
            if done and perf_counter() > deadline:
                break
            route, bound = parking.handler_of(self._routes, event)
            opened = route.open(event.value)
            await call_late(self._service, route, bound, opened, event.envelope, event.attempts + 1, unit)
            done += 1
        return Settlement(
            claim.position,
            outputs=unit.outputs,
            unparked=list(events[:done]),
            put_off=[(claim.begun[each.id], None) for each in events[done:]],  # they were not tried
            clears_unclean=False,
        )
