"""Dead letters of handlers that commit with their event, run again: each in a transaction of its own."""

from __future__ import annotations

import asyncio
import logging
from time import perf_counter

from onward.pipeline import parking
from onward.pipeline.failures import NOBODYS_ATTEMPT
from onward.pipeline.invocation import Bound, is_cancelled
from onward.pipeline.revival import asked_for, call_late, failed_again, keep_dead, tried_once_more
from onward.pipeline.routing import Route, Routes
from onward.ports import Claim, Retried, Settlement, Store, WireType
from onward.telemetry.meter import Meter

logger = logging.getLogger("onward.handlers")


class TransactionalRevival:
    """Beside the deliveries of one subscription."""

    def __init__(self, service: str, routes: Routes, store: Store, meter: Meter) -> None:
        self._service = service
        self._routes = routes
        self._store = store
        self._meter = meter

    async def run(self, claim: Claim, hold_s: float) -> bool:
        """Run those that somebody asked for, until so much time has passed; whether there were any."""
        deadline = perf_counter() + hold_s
        letters = await asked_for(self._store, claim)
        for retried in letters:
            await self._run_one(claim, tried_once_more(retried))
            if perf_counter() > deadline:
                break
        return bool(letters)

    async def _run_one(self, claim: Claim, retried: Retried) -> None:
        await keep_dead(self._store, claim, retried)
        letter = retried.letter
        route = self._routes.named(WireType(letter.envelope.type, letter.envelope.version))
        wanted = [
            bound
            for bound in route.handlers
            if letter.handler == bound.handler.name
            or (not letter.handler and claim.joined.get(bound.handler.name, 0) <= letter.offset)
        ]
        if not wanted:
            logger.warning("dead letter %s stays one: no handler %r is here for it", retried.id, letter.handler)
            return
        try:
            settlement = await self._settled(claim, retried, route, wanted)
        except NOBODYS_ATTEMPT:
            raise
        except (Exception, asyncio.CancelledError) as error:
            if is_cancelled():
                raise
            fatal = tuple(kind for bound in wanted for kind in bound.handler.fatal)
            await keep_dead(self._store, claim, failed_again(retried, error, fatal))
            return
        self._meter.handled(settlement.succeeded)
        self._meter.published(len(settlement.outputs))

    async def _settled(self, claim: Claim, retried: Retried, route: Route, wanted: list[Bound]) -> Settlement:
        letter = retried.letter
        async with self._store.unit() as unit:
            event = route.open(letter.value)
            waits = parking.behind(claim, letter, self._routes)
            for bound in wanted:
                if bound.handler.name not in waits:
                    await call_late(self._service, route, bound, event, letter.envelope, letter.attempts, unit)
            names = [bound.handler.name for bound in wanted]
            others = [] if letter.handler else [name for name in self._routes.handlers if name not in names]
            settlement = Settlement(
                claim.position,
                dict.fromkeys((name for name in names if name not in waits), 1),
                passed=dict.fromkeys(others, 1),
                outputs=unit.outputs,
                revived=[retried.id],
                parked=parking.behind_them(letter, waits),
                clears_unclean=False,
            )
            await unit.commit(claim, settlement)
        return settlement
