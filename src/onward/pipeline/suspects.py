"""After unclean starts: events run one at a time, each after a durable mark, until the suspect range is passed.

So an event that ends its process is found, counted over all processes, and ends as a dead letter, alone.
"""

from __future__ import annotations

from collections.abc import Iterable

from onward.events import Envelope
from onward.ledger import Position
from onward.pipeline.failures import died_letter
from onward.pipeline.routing import Route
from onward.policy import Dead, Retry, attempts_after_unclean, decide_suspect, suspect_range
from onward.ports import Attempt, Claim, Record, Settlement, Store
from onward.telemetry.failpoints import reach

SUSPECTS = 1000  # the most events that a process may have had in hand

MARK = "(process)"
"""Where marks are counted among attempts: apart from "", which counts an event that can't be read yet."""


def survived(claim: Claim, offsets: Iterable[int]) -> list[tuple[int, str]]:
    """The marks to forget: these events failed and left their process alive, which no mark is for."""
    return [key for offset in offsets if (key := (offset, MARK)) in claim.attempts]


def is_suspect(claim: Claim, in_hand: int = SUSPECTS) -> bool:
    """Whether the next event has to run alone, where a process has at most `in_hand` events at once.

    May widen `claim.suspect_until`, which the mark then stores.
    """
    if claim.suspect_until <= claim.position.next:
        done = claim.position.beyond.bounds
        suspects = suspect_range(claim.unclean, done[-1] if done else claim.position.next, in_hand)
        if suspects:
            claim.suspect_until = max(claim.suspect_until, suspects.stop)
    return claim.suspect_until > claim.position.next


def still_suspect(claim: Claim, position: Position) -> int | None:
    """How far the suspect range reaches, for a commit that clears the claim of its unclean start within it."""
    return claim.suspect_until if claim.suspect_until > position.next else None


async def mark_or_bury(
    store: Store, claim: Claim, record: Record, route: Route, buried: Position, *, envelope: Envelope, now: float
) -> bool:
    """Set a durable mark and return True: run it. Or, tried often enough, make it a dead letter and return False.

    `buried` is the position with this record done.
    """
    offset = record[0]
    marked = claim.attempts.get((offset, MARK))
    count = marked.attempts if marked is not None else 0
    retries = [bound.handler.retry for bound in route.handlers]
    retry = max(retries, key=lambda each: each.max_attempts, default=Retry())
    if marked is not None and isinstance(decide_suspect(count, claim.unclean, retry), Dead):
        tries = attempts_after_unclean(count, claim.unclean)
        settlement = Settlement(
            buried,
            skipped=buried.done_since(claim.position) - 1,
            dead=[died_letter(claim, offset, marked, tries, envelope, record[2])],
            forget=[key for key in claim.attempts if key[0] == offset],
        )
    else:
        settlement = Settlement(
            claim.position,
            attempts={(offset, MARK): Attempt(count + 1, "", "", marked.first_at if marked else now, now)},
            suspect_until=claim.suspect_until,
            clears_unclean=False,
        )
    async with store.unit() as unit:
        await unit.commit(claim, settlement)
    claim.marked = None if settlement.dead else offset
    reach("suspect.marked")
    return not settlement.dead


async def take_back_mark(store: Store, claim: Claim) -> None:
    """The event in hand did not end its process: something failed below it, and its mark counts as no attempt.

    Raises ClaimLostError and InfrastructureError, after which it counts.
    """
    if claim.marked is None or (key := (claim.marked, MARK)) not in claim.attempts:
        return
    mark = claim.attempts[key]
    settlement = Settlement(claim.position, clears_unclean=False)
    if mark.attempts > 1:
        settlement.attempts[key] = mark._replace(attempts=mark.attempts - 1)
    else:
        settlement.forget.append(key)
    async with store.unit() as unit:
        await unit.commit(claim, settlement)
