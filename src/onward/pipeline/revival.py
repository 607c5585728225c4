"""Dead letters that somebody wants to be run again, one after the other."""

from __future__ import annotations

import logging
from typing import Any

from onward.events import Envelope
from onward.outgoing import encode_returned
from onward.pipeline.context import Context
from onward.pipeline.failures import renewed
from onward.pipeline.invocation import Bound
from onward.pipeline.routing import Route
from onward.ports import Claim, Retried, Settlement, Store, Unit

logger = logging.getLogger("onward.handlers")


async def asked_for(store: Store, claim: Claim) -> list[Retried]:
    """The next ones of this account, oldest first, at most 100."""
    async with store.unit() as unit:
        return await unit.retrying(claim)


async def keep_dead(store: Store, claim: Claim, letter: Retried) -> None:
    """Write it down as it is now: before it runs, since one that ends the process is not tried for ever, and after."""
    async with store.unit() as unit:
        await unit.commit(claim, Settlement(claim.position, still_dead=[letter], clears_unclean=False))


async def call_late(
    service: str, route: Route, bound: Bound, event: Any, envelope: Envelope, attempt: int, unit: Unit
) -> None:
    """Hand one event to one handler that commits with it, behind others of its key."""
    context = Context(service, bound.handler.name, envelope, attempt, late=True)
    argument = [event] if bound in route.lists else event
    encode_returned(await bound.call(argument, unit, context), unit.outputs)


def tried_once_more(retried: Retried) -> Retried:
    """With the try that is about to begin."""
    return retried._replace(letter=retried.letter._replace(attempts=retried.letter.attempts + 1))


def failed_again(retried: Retried, error: BaseException, fatal: tuple[type[BaseException], ...]) -> Retried:
    """With what it failed of this time, in place of what it failed of before."""
    logger.warning("dead letter %s failed again: %s", retried.id, type(error).__name__)
    return retried._replace(letter=renewed(retried.letter, error, fatal))
