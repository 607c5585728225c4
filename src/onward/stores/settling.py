"""What every store does alike when a batch settles: the sums it adds, and what memory and log say after the commit."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import Any

import msgspec

from onward.errors import ClaimLostError, StoreCorruptError
from onward.events import Envelope
from onward.ledger import RECENT, Arrivals, IntervalSet, Numbers, ProducerLedger
from onward.ports import Claim, DeadLetter, Retried, Settlement

logger = logging.getLogger("onward.handlers")


def tallies(done: Settlement) -> list[tuple[str, int, int, int]]:
    """What a settlement adds to the sums, each handler once: (handler, succeeded, dead, skipped); "" is nobody's."""
    dead = Counter(letter.handler for letter in done.dead)
    skipped = {**done.passed, "": done.skipped} if done.skipped else done.passed
    return [
        (handler, done.succeeded.get(handler, 0), dead[handler], skipped.get(handler, 0))
        for handler in {**done.succeeded, **dead, **skipped}
    ]


def arrived(claim: Claim, done: Settlement) -> list[tuple[str, int | None, bytes]]:
    """Producers' numbers to put on record: (incarnation, owed from, an interval set of those done)."""
    _, news = claim.arrivals.at(done.position)
    return [(incarnation, each.owed_from, each.done.to_bytes()) for incarnation, each in news.items()]


def came(created: datetime, rows: Iterable[tuple[str, int, bytes]]) -> Arrivals:
    """What `arrived` put on record last, RECENT rows at most, for a subscription created then; as `numbers_of`."""
    known = numbers_of(rows)
    whole_from = min(known) if len(known) >= RECENT else ""
    return Arrivals.after(ProducerLedger(created, MappingProxyType(known)), whole_from)


def numbers_of(rows: Iterable[tuple[str, int, bytes]]) -> dict[str, Numbers]:
    """By incarnation. Raises ValueError for a damaged row."""
    return {name: Numbers(owed_from, IntervalSet.from_bytes(done)) for name, owed_from, done in rows}


def retried(claim: Claim, row: Sequence[Any], first_at: float, time: datetime, key: str | None) -> Retried:
    """A dead letter that is to be run again, with `row` as both stores' RETRYING begins."""
    letter_id, offset, handler, cause, error, detail, mark, attempts, event_id, event_type, version, *rest = row
    source, extra, value = rest
    envelope = Envelope(
        id=event_id,
        source=source,
        type=event_type,
        version=version,
        topic=claim.topic,
        partition=claim.partition,
        offset=offset,
        key=key,
        time=time,
        extensions=msgspec.json.decode(extra, type=dict[str, str]) if extra else {},
    )
    return Retried(
        letter_id, DeadLetter(offset, handler, cause, error, detail, mark, attempts, first_at, envelope, value)
    )


def damaged(claim: Claim, error: ValueError) -> StoreCorruptError:
    return StoreCorruptError(
        f"What came on partition {claim.partition} of {claim.topic!r} is damaged ({error}); it was left as it is. Run"
        " `onward audit`, and restore a backup or mend the row."
    )


def claim_lost(claim: Claim) -> ClaimLostError:
    """For a commit that compared token and revision and found others."""
    return ClaimLostError(
        f"Partition {claim.partition} of topic {claim.topic!r} has been claimed by somebody else since; this batch was"
        " rolled back, and its new owner handles it.",
        topic=claim.topic,
        partition=claim.partition,
    )


def settled(claim: Claim, done: Settlement) -> None:
    """Bring memory to what has just been committed, and log the dead letters."""
    claim.position = done.position
    claim.arrivals, _ = claim.arrivals.at(done.position)
    claim.revision += 1
    if done.clears_unclean:
        claim.unclean = 0
    if done.suspect_until is not None:
        claim.suspect_until = done.suspect_until
    if done.shift is not None and done.shift.anew:
        claim.suspect_until, claim.attempts = 0, {}
        claim.joined = dict.fromkeys(claim.joined, done.position.next)
    claim.attempts.update(done.attempts)
    for key in done.forget:
        claim.attempts.pop(key, None)
    for letter in done.dead:
        _tell(claim, letter)


def _tell(claim: Claim, letter: DeadLetter) -> None:
    """Log a dead letter, with the error's class alone: its text may hold an event's values."""
    logger.error(
        "an event became a dead letter",
        extra={
            "handler": letter.handler,
            "topic": claim.topic,
            "partition": claim.partition,
            "offset": letter.offset,
            "event_id": letter.envelope.id,
            "event_type": letter.envelope.type,
            "attempt": letter.attempts,
            "error": letter.error.partition(":")[0],
        },
    )
