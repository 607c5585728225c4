"""Accounts of logs that this file does not hold: partitions that came later, and a log that did not go on."""

from __future__ import annotations

import json
from time import time

import apsw

from onward.errors import StoreCorruptError
from onward.ports import Claim, Shift
from onward.sqlite.fetch import fetch
from onward.stores.parking import begin_anew

_LOST_ON_ANOTHER = (  # what was last known of the old log's end, if anything of it was still ahead
    "SELECT CASE WHEN l.next_offset >= ?3 THEN l.next_offset - ?3 END FROM onward_lane l"
    " JOIN onward_subscription s ON s.topic = l.topic WHERE s.id = ?1 AND l.partition = ?2"
)


def grow(connection: apsw.Connection, subscription: int, topic: str, partition: int) -> None:
    """Accounts of the partitions up to this one that came after the subscription was created, from their beginning.

    Raises StoreCorruptError for one that was there before, and has lost its account.
    """
    handlers = fetch(connection, "SELECT name, joined FROM onward_handler WHERE subscription = ?", (subscription,))
    joined = {name: json.loads(each) for name, each in handlers}
    known = max(map(len, joined.values()), default=0)
    if partition < known or not joined:
        raise StoreCorruptError(f"Partition {partition} of {topic!r} has no account in subscription {subscription}.")
    fresh = range(known, partition + 1)
    connection.executemany(
        "INSERT INTO onward_account (subscription, partition, start_offset, next_offset) VALUES (?, ?, 0, 0)",
        [(subscription, each) for each in fresh],
    )
    connection.executemany(
        "UPDATE onward_handler SET joined = ? WHERE subscription = ? AND name = ?",
        [
            (json.dumps([*each, *[0] * (partition + 1 - len(each))]), subscription, name)
            for name, each in joined.items()
        ],
    )
    connection.executemany(
        "INSERT INTO onward_lane (topic, partition) SELECT topic, ?2 FROM onward_subscription WHERE id = ?1"
        " ON CONFLICT DO NOTHING",
        [(subscription, each) for each in fresh],
    )
    connection.execute(
        "UPDATE onward_topic SET partitions = max(partitions, ?2)"
        " WHERE id = (SELECT topic FROM onward_subscription WHERE id = ?1)",
        (subscription, partition + 1),
    )


def note_shift(connection: apsw.Connection, claim: Claim, shift: Shift, start: int, lost: int) -> None:
    """Put on record that an account, moved already, goes on where no handling led it. `start` is its position's."""
    where = (claim.subscription, claim.partition)
    counted: int | None = lost
    if shift.anew:
        ((counted,),) = fetch(connection, _LOST_ON_ANOTHER, (*where, claim.position.next))
        _begin_anew(connection, where, shift.place.offset, start)
    connection.execute(
        "INSERT INTO onward_shift (subscription, partition, from_offset, to_offset, anew, lost, why, at)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (*where, claim.position.next, shift.place.offset, shift.anew, counted, shift.why, time()),
    )


def _begin_anew(connection: apsw.Connection, where: tuple[int, int], first: int, start: int) -> None:
    """The old log's offsets mean nothing any more: dead letters of it are told apart from now on by one below 0."""
    connection.execute(
        "UPDATE onward_account SET start_offset = ?, suspect_until = 0 WHERE subscription = ? AND partition = ?",
        (start, *where),
    )
    connection.execute("DELETE FROM onward_attempt WHERE subscription = ? AND partition = ?", where)
    connection.execute(
        "UPDATE onward_dead_letter SET offset = -id WHERE subscription = ? AND partition = ? AND offset >= 0", where
    )
    begin_anew(connection, *where)
    for name, joined in fetch(
        connection, "SELECT name, joined FROM onward_handler WHERE subscription = ?", (where[0],)
    ):
        offsets = json.loads(joined)
        offsets[where[1]] = first
        connection.execute(
            "UPDATE onward_handler SET joined = ? WHERE subscription = ? AND name = ?",
            (json.dumps(offsets), where[0], name),
        )
