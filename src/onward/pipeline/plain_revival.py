"""What plain handlers run beside the deliveries: dead letters again, and what is parked behind them."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from onward.errors import StoreConflictError, UnknownTypeError
from onward.events import Envelope
from onward.outgoing import encode_returned
from onward.pipeline import parking
from onward.pipeline.conflicts import Conflicts
from onward.pipeline.context import Context
from onward.pipeline.failures import NOBODYS_ATTEMPT
from onward.pipeline.invocation import Bound, is_cancelled
from onward.pipeline.own_transaction import OwnTransaction
from onward.pipeline.revival import asked_for, failed_again, keep_dead, tried_once_more
from onward.pipeline.routing import Route, Routes
from onward.pipeline.suspects import is_suspect
from onward.pipeline.window import Window
from onward.ports import Clock, Outgoing, Parked, Retried, Settlement, Store, WireType
from onward.telemetry.failpoints import reach
from onward.telemetry.meter import Meter

Told = Callable[[list[Outgoing]], Settlement]
"""What the commit of a call that went well says, with these outputs."""


async def in_time(window: Window, bound: Bound, clock: Clock) -> None:
    """Where calls are limited, wait for the next one's time, in its place: as many wait as may run."""
    if bound.pace is not None and (wait_s := bound.pace.wait_s(clock.time())) > 0:
        await window.idly(clock.sleep(wait_s))


@dataclass(frozen=True, slots=True)
class BesideDeliveries:
    """Calls of one handler that no delivery asks for; `running` are the places for calls at once."""

    service: str
    bound: Bound
    routes: Routes
    store: Store
    clock: Clock
    meter: Meter
    running: asyncio.Semaphore
    in_hand: int  # most events of a partition at once

    @asynccontextmanager
    async def place(self, window: Window) -> AsyncIterator[None]:
        """A place for a call, in its time; after unclean starts with no other event of the partition in hand."""
        suspect = is_suspect(window.claim, self.in_hand)
        if suspect:
            await window.idly(window.apart.acquire())
        try:
            if suspect:  # before the place for a call is taken, for which what is in hand may be waiting
                await window.idly(window.below(1, math.inf))
                if window.error is not None:
                    raise window.error
            await window.idly(self.running.acquire())
            try:
                await in_time(window, self.bound, self.clock)
                yield
            finally:
                self.running.release()
        finally:
            if suspect:
                window.apart.release()

    async def call(
        self, window: Window, route: Route, value: bytes | None, envelope: Envelope, attempt: int, told: Told
    ) -> None:
        """Call the handler and commit what it did with the mark; raises what it raised, and nothing of it is kept."""
        own = OwnTransaction(self.store, window.settling)
        context = Context(self.service, self.bound.handler.name, envelope, attempt, late=True, _open=own.open)
        try:
            outputs: list[Outgoing] = []
            encode_returned(await self.bound.call(route.open(value), None, context), outputs)
            unit = await own.enter()
            settlement = told([*unit.outputs, *outputs])
            await unit.commit(window.claim, settlement)
        finally:
            await own.close()
        self.meter.handled({self.bound.handler.name: 1})
        self.meter.published(len(settlement.outputs))


class PlainRevival:
    """Dead letters that somebody wants to be run again."""

    def __init__(self, beside: BesideDeliveries) -> None:
        self._beside = beside
        self._store = beside.store

    async def run(self, window: Window) -> None:
        """Until none is left, or the window stops."""
        beside = self._beside
        letters: list[Retried] = []
        while True:
            await asyncio.sleep(0)  # nothing here has to wait for anything, and others want their turn
            if not letters:
                async with window.settling:
                    letters = await asked_for(self._store, window.claim)
            if not letters or window.stopping:
                return
            async with beside.place(window):
                await self._run_one(window, tried_once_more(letters.pop(0)))

    async def _run_one(self, window: Window, retried: Retried) -> None:
        async with window.settling:
            if behind := parking.behind(window.claim, retried.letter, self._beside.routes):
                await parking.settle(self._store, window.claim, parking.parks(window.claim, retried, behind))
                return
            await keep_dead(self._store, window.claim, retried)
        letter, name = retried.letter, self._beside.bound.handler.name

        def told(outputs: list[Outgoing]) -> Settlement:
            position = window.claim.position
            return Settlement(position, {name: 1}, outputs=outputs, revived=[retried.id], clears_unclean=False)

        try:
            route = self._beside.routes.named(WireType(letter.envelope.type, letter.envelope.version))
            await self._beside.call(window, route, letter.value, letter.envelope, letter.attempts, told)
        except NOBODYS_ATTEMPT:
            raise
        except (Exception, asyncio.CancelledError) as error:
            if is_cancelled():
                raise
            async with window.settling:
                fatal = self._beside.bound.handler.fatal
                await keep_dead(self._store, window.claim, failed_again(retried, error, fatal))


class PlainQueues:
    """Events that are parked behind a dead letter of their key, once that is decided."""

    def __init__(self, beside: BesideDeliveries) -> None:
        self._beside = beside
        self._store = beside.store

    async def run(self, window: Window) -> bool:
        """Run what is due at first, one after the other, and free keys; whether to look again."""
        if window.stopping or not window.claim.blocked:
            return False
        async with window.settling:
            due, freed = await self._look(window)
        held: set[tuple[str, str]] = set()
        for event in due:
            await asyncio.sleep(0)
            if window.stopping or event.place in held:
                continue
            async with self._beside.place(window):
                if not await self._run_one(window, event):
                    held.add(event.place)
        return bool(due) or freed

    async def _look(self, window: Window) -> tuple[list[Parked], bool]:
        """What is due, and whether keys were freed: those with nothing behind them, nor on its way there."""
        claim = window.claim
        async with self._store.unit() as unit:
            found = await unit.queues(claim, self._beside.clock.time())
            # From here on a delivery waits that has an event of theirs: it would be parked behind a key that is free.
            coming = {event.place for event in window.results.parked}
            freed = window.freeing = frozenset(found.empty) - coming
            try:
                if freed:
                    settlement = Settlement(claim.position, freed=sorted(freed), clears_unclean=False)
                    await unit.commit(claim, settlement)
                    reach("parking.freed")
            finally:
                window.freeing = frozenset()
        return found.due, bool(freed)

    async def _run_one(self, window: Window, event: Parked) -> bool:
        """Whether it succeeded, so that the next one of its key may run."""
        claim, clock, rules = window.claim, self._beside.clock, self._beside.bound.handler
        try:
            route, _ = parking.handler_of(self._beside.routes, event)
        except UnknownTypeError as error:
            unknown = error
            await self._settle(window, lambda: parking.not_here(claim, event, unknown, clock.time()))
            return False
        failure = parking.ended_processes(claim, event, rules)
        if failure is None:
            async with window.settling:
                (event,) = await parking.note(self._store, claim, [event], clock.time())
            reach("parking.noted")
            try:
                await self._call(window, route, event)
            except NOBODYS_ATTEMPT:
                raise
            except (Exception, asyncio.CancelledError) as error:
                if is_cancelled():
                    raise
                failure = parking.judged(event, rules, error, clock.time())
            else:
                return True
        spoken = failure
        await self._settle(window, lambda: parking.after(claim, event, spoken, clock.time()))
        (self._beside.meter.retried if failure.letter is None else self._beside.meter.died)(rules.name)
        return False

    async def _call(self, window: Window, route: Route, event: Parked) -> None:
        claim, conflicts = window.claim, Conflicts(self._beside.clock)

        def told(outputs: list[Outgoing]) -> Settlement:
            reach("parking.handled")
            return Settlement(claim.position, outputs=outputs, unparked=[event], clears_unclean=False)

        while True:
            try:
                await self._beside.call(window, route, event.value, event.envelope, event.attempts + 1, told)
            except StoreConflictError as conflict:
                await window.idly(conflicts.stand_back(conflict))
            else:
                return

    async def _settle(self, window: Window, told: Callable[[], Settlement]) -> None:
        async with window.settling:
            await parking.settle(self._store, window.claim, told())
