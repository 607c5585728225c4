"""Events that are parked behind a dead letter of their key, and what becomes of those that fail in their turn."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from random import random

from onward.errors import UnknownTypeError
from onward.pipeline.failures import NEWER_VERSION, Failure, died_letter, judge
from onward.pipeline.handlers import Handler
from onward.pipeline.invocation import Bound
from onward.pipeline.routing import Route, Routes
from onward.policy import AWAITS_CODE
from onward.ports import Attempt, Claim, DeadLetter, Log, Parked, Record, Retried, Settlement, Store, WireType

logger = logging.getLogger("onward.handlers")

NOBODY_HERE_S = 60.0  # until a parked event is looked at again for which no handler is here


def parked(log: Log, claim: Claim, handler: str, record: Record) -> Parked:
    """This event, to wait for its key."""
    return Parked(handler, record[0], log.envelope(claim.topic, claim.partition, record), record[2])


def behind(claim: Claim, letter: DeadLetter, routes: Routes) -> list[str]:
    """For whom a dead letter that was given up before a handler was chosen has to wait, now that it runs again."""
    key = letter.envelope.key
    if letter.handler or key is None:
        return []
    route = routes.named(WireType(letter.envelope.type, letter.envelope.version))
    names = (bound.handler.name for bound in route.handlers if route.error is None)
    return [name for name in names if (name, key) in claim.blocked and claim.joined.get(name, 0) <= letter.offset]


def behind_them(letter: DeadLetter, names: Sequence[str]) -> list[Parked]:
    """The event of this dead letter, parked for these handlers."""
    return [Parked(name, letter.offset, letter.envelope, letter.value) for name in names]


def parks(claim: Claim, retried: Retried, names: Sequence[str]) -> Settlement:
    """What a commit says of a dead letter that is one no more, and waits for its key."""
    letters = behind_them(retried.letter, names)
    return Settlement(claim.position, parked=letters, revived=[retried.id], clears_unclean=False)


def handler_of(routes: Routes, event: Parked) -> tuple[Route, Bound]:
    """Raises UnknownTypeError where no handler of that name takes the event any more."""
    route = routes.named(WireType(event.envelope.type, event.envelope.version))
    for bound in route.handlers:
        if bound.handler.name == event.handler:
            return route, bound
    raise UnknownTypeError(
        f"An event of type {event.envelope.type!r} is parked for handler {event.handler!r}, which does not take it any"
        " more. It waits, and what came behind it in its key; deploy code that handles it."
    )


async def note(store: Store, claim: Claim, events: Sequence[Parked], now: float) -> list[Parked]:
    """Write down that they are about to be tried; as they are then.

    An event that ends its process is found by that, and is not tried for ever.
    """
    noted = [each._replace(begun=each.begun + 1, first_at=each.first_at or now) for each in events]
    await settle(store, claim, Settlement(claim.position, put_off=_at_once(noted), clears_unclean=False))
    claim.begun.update((each.id, each) for each in events)
    return noted


async def take_back(store: Store, claim: Claim) -> None:
    """Parked events in hand did not end their process: what ends them is nobody's attempt.

    Raises ClaimLostError and InfrastructureError, after which it counts.
    """
    if claim.begun:
        before = list(claim.begun.values())
        await settle(store, claim, Settlement(claim.position, put_off=_at_once(before), clears_unclean=False))


def _at_once(events: Sequence[Parked]) -> list[tuple[Parked, float | None]]:
    return [(each, None) for each in events]


def judged(event: Parked, handler: Handler, error: BaseException, now: float) -> Failure:
    """What follows the failure of a try."""
    before = Attempt(event.attempts, event.error, event.fingerprint, event.first_at or now, now)
    return judge(
        error,
        before=before,
        offset=event.offset,
        handler=event.handler,
        rules=handler,
        now=now,
        random=random(),
        about=lambda: (event.envelope, event.value),
    )


def ended_processes(claim: Claim, event: Parked, handler: Handler) -> Failure | None:
    """For one that was tried alone and did not end, so often that it is given up before it is tried once more.

    The first time it may have been a neighbour that ended the process, and counts for none of them.
    """
    alone = event.begun - 1
    awaits_code = event.error.startswith(AWAITS_CODE)
    retry = NEWER_VERSION if awaits_code else handler.retry
    if alone < 1 or event.attempts + alone < retry.max_attempts:
        return None
    tried = Attempt(event.attempts + alone, "", "", event.first_at, event.first_at)
    letter = died_letter(claim, event.offset, tried, tried.attempts, event.envelope, event.value)
    letter = letter._replace(handler=event.handler, blocks=handler.blocks)
    return Failure(event.offset, event.handler, tried, 0.0, letter)


def after(claim: Claim, event: Parked, failure: Failure, now: float) -> Settlement:
    """What a commit says of a parked event that failed: a dead letter now, or put off."""
    if failure.letter is not None:
        return Settlement(claim.position, dead=[failure.letter], unparked=[event], clears_unclean=False)
    count, error, mark, first_at, _ = failure.attempt
    if error.startswith(AWAITS_CODE):
        logger.error("a parked event of handler %s waits for newer code: %s", event.handler, error)
    tried = event._replace(attempts=count, begun=0, error=error, fingerprint=mark, first_at=first_at)
    return Settlement(claim.position, put_off=[(tried, now + failure.after_s)], clears_unclean=False)


def not_here(claim: Claim, event: Parked, error: UnknownTypeError, now: float) -> Settlement:
    """What a commit says of one for which no handler is here."""
    logger.error("%s", error)
    return Settlement(claim.position, put_off=[(event, now + NOBODY_HERE_S)], clears_unclean=False)


async def settle(store: Store, claim: Claim, settlement: Settlement) -> None:
    async with store.unit() as unit:
        await unit.commit(claim, settlement)
