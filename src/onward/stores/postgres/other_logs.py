"""What becomes of accounts when their log grows by a partition, or does not go on where they stand."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from onward.errors import StoreCorruptError
from onward.ports import Claim, Settlement, Shift
from onward.stores.postgres.command import Command
from onward.stores.postgres.parking import ANEW
from onward.stores.postgres.session import Session

_KNOWN = "SELECT max(cardinality(joined)) FROM onward.handler WHERE subscription = $1"
_LATER = (
    "INSERT INTO onward.account (subscription, partition, start_offset, next_offset)"
    " SELECT $1, later, 0, 0 FROM generate_series($2::integer, $3::integer) later"
)
_JOINED_LATER = (
    "UPDATE onward.handler SET joined = joined || array_fill(0::bigint, ARRAY[$2 + 1 - cardinality(joined)])"
    " WHERE subscription = $1 AND cardinality(joined) <= $2"
)
_SHIFT = (
    "INSERT INTO onward.shift (subscription, partition, from_offset, to_offset, anew, lost, why, at)"
    " VALUES ($1, $2, $3, $4, $5, $6, $7, $8)"
)


async def grow(session: Session, subscription: int, topic: str, partition: int) -> None:
    """Accounts of the partitions up to this one that came after the subscription was created, from their beginning.

    Raises StoreCorruptError for one that was there before, and has lost its account.
    """
    doing = f"Opening accounts for later partitions of {topic!r}"
    await session.run("SELECT 1 FROM onward.subscription WHERE id = $1 FOR UPDATE", (subscription,), doing)
    there = await session.run(
        "SELECT 1 FROM onward.account WHERE subscription = $1 AND partition = $2", (subscription, partition), doing
    )
    if there.rows:
        return  # another member of the group was first, while we waited for the row above
    known = (await session.run(_KNOWN, (subscription,), doing)).scalar()
    if known is None or partition < known:
        raise StoreCorruptError(f"Partition {partition} of {topic!r} has no account in subscription {subscription}.")
    await session.send(
        [
            Command(_LATER, [(subscription, known, partition)]),
            Command(_JOINED_LATER, [(subscription, partition)]),
        ],
        doing,
    )


def shifted(claim: Claim, shift: Shift, done: Settlement) -> Iterator[Command]:
    """Put on record that an account goes on where no handling led it.

    Another log's offsets mean other events: dead letters of the old one are told apart by an offset below 0.
    """
    where = (claim.subscription, claim.partition)
    if shift.anew:
        yield Command(
            "UPDATE onward.account SET start_offset = $1, suspect_until = 0 WHERE subscription = $2 AND partition = $3",
            [(done.position.start, *where)],
        )
        yield Command("DELETE FROM onward.attempt WHERE subscription = $1 AND partition = $2", [where])
        yield Command(
            'UPDATE onward.dead_letter SET "offset" = -id WHERE subscription = $1 AND partition = $2 AND "offset" >= 0',
            [where],
        )
        yield Command(ANEW, [where])
        yield Command(
            "UPDATE onward.handler SET joined[$1] = $2 WHERE subscription = $3",
            [(claim.partition + 1, shift.place.offset, claim.subscription)],
        )
    lost = None if shift.anew else done.skipped
    moved = (claim.position.next, shift.place.offset, shift.anew)
    yield Command(_SHIFT, [(*where, *moved, lost, shift.why, datetime.now(UTC))])
