"""Dead letters that somebody wants to be run again, one after the other."""

from __future__ import annotations

import logging

from onward.pipeline.failures import renewed
from onward.ports import Claim, Retried, Settlement, Store

logger = logging.getLogger("onward.handlers")


async def asked_for(store: Store, claim: Claim) -> list[Retried]:
    """The next ones of this account, oldest first, at most 100."""
    async with store.unit() as unit:
        return await unit.retrying(claim)


async def keep_dead(store: Store, claim: Claim, letter: Retried) -> None:
    """Write it down as it is now: before it runs, since one that ends the process is not tried for ever, and after."""
    async with store.unit() as unit:
        await unit.commit(claim, Settlement(claim.position, still_dead=[letter], clears_unclean=False))


def tried_once_more(retried: Retried) -> Retried:
    """With the try that is about to begin."""
    return retried._replace(letter=retried.letter._replace(attempts=retried.letter.attempts + 1))


def failed_again(retried: Retried, error: BaseException, fatal: tuple[type[BaseException], ...]) -> Retried:
    """With what it failed of this time, in place of what it failed of before."""
    logger.warning("dead letter %s failed again: %s", retried.id, type(error).__name__)
    return retried._replace(letter=renewed(retried.letter, error, fatal))
