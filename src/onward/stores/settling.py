"""What every store does alike when a batch settles: the sums it adds, and what memory and log say after the commit."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import Any

import msgspec

from onward.errors import ClaimLostError, StoreCorruptError
from onward.events import Envelope
from onward.ledger import RECENT, Arrivals, IntervalSet, Numbers, ProducerLedger
from onward.partitioning import partition_of
from onward.ports import Claim, DeadLetter, Parked, Retried, Settlement

logger = logging.getLogger("onward.handlers")

MOST_AT_ONCE = 100  # parked events, and keys, of one look


def tallies(claim: Claim, done: Settlement) -> list[tuple[int, str, int, int, int]]:
    """What a settlement adds to the sums: (partition, handler, succeeded, dead, skipped); "" is nobody's.

    An event that was parked counts on the partition on which it came, whoever handled it.
    """
    here = claim.partition
    sums: dict[tuple[int, str], list[int]] = {}
    for handler, count in done.succeeded.items():
        sums[here, handler] = [count, 0, 0]
    for handler, count in {**done.passed, "": done.skipped}.items():
        if count:
            sums.setdefault((here, handler), [0, 0, 0])[2] += count
    died = set()
    for letter in done.dead:
        died.add((letter.handler, letter.envelope.partition, letter.offset))
        sums.setdefault((letter.envelope.partition, letter.handler), [0, 0, 0])[1] += 1
    for event in done.unparked:
        if (event.handler, event.envelope.partition, event.offset) not in died:
            sums.setdefault((event.envelope.partition, event.handler), [0, 0, 0])[0] += 1
    return [(*place, succeeded, dead, skipped) for place, (succeeded, dead, skipped) in sorted(sums.items())]


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
    letter_id, offset, handler, cause, error, detail, mark, attempts, *event, value = row
    envelope = _envelope(claim.topic, claim.partition, offset, event, time, key)
    return Retried(
        letter_id, DeadLetter(offset, handler, cause, error, detail, mark, attempts, first_at, envelope, value)
    )


def parked_event(claim: Claim, row: Sequence[Any], first_at: float, time: datetime, key: str) -> Parked:
    """One that is due, with `row` as both stores' DUE begins."""
    parked_id, partition, offset, handler, attempts, begun, error, mark, *event, value = row
    envelope = _envelope(claim.topic, partition, offset, event, time, key)
    return Parked(handler, offset, envelope, value, attempts, error, mark, first_at, begun, parked_id)


def blocked_here(rows: Iterable[tuple[str, str, int]], partition: int, partitions: int) -> set[tuple[str, str]]:
    """Of (handler, key, partition of its row) those that a claim of this partition is to know.

    Where a topic got more partitions, a key's events come on another one than that of its row.
    """
    return {
        (handler, key)
        for handler, key, where in rows
        if where == partition or partition_of(key.encode(), partitions) == partition
    }


def _envelope(
    topic: str, partition: int, offset: int, event: Sequence[Any], time: datetime, key: str | None
) -> Envelope:
    event_id, event_type, version, source, extra = event
    return Envelope(
        id=event_id,
        source=source,
        type=event_type,
        version=version,
        topic=topic,
        partition=partition,
        offset=offset,
        key=key,
        time=time,
        extensions=msgspec.json.decode(extra, type=dict[str, str]) if extra else {},
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
    claim.blocked.difference_update(done.freed)
    claim.blocked.update(event.place for event in done.parked)
    for event in (*done.unparked, *(tried for tried, _ in done.put_off)):
        claim.begun.pop(event.id, None)
    for letter in done.dead:
        if letter.place is not None:
            claim.blocked.add(letter.place)
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
