"""What everybody has handled leaves the log, and dead letters that are over leave too, in steps that hold up nobody."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from heapq import merge
from typing import Any

import apsw

from onward.sqlite.database import Database
from onward.sqlite.failures import translate
from onward.sqlite.log import LANE_SHIFT, OFFSET_MASK

_LANES = (
    "SELECT t.id, t.keep_age_s, t.keep_bytes, l.id, l.first_offset, l.bytes, l.next_offset,"
    " (SELECT min(coalesce(a.next_offset, 0)) FROM onward_subscription s"
    "  LEFT JOIN onward_account a ON a.subscription = s.id AND a.partition = l.partition"
    "  WHERE s.topic = t.id AND s.retired_at IS NULL)"
    " FROM onward_topic t JOIN onward_lane l ON l.topic = t.id ORDER BY t.id, l.id"
)
_ENDED_LETTERS = (
    "SELECT d.id FROM onward_topic t CROSS JOIN onward_subscription s ON s.topic = t.id"
    " CROSS JOIN onward_dead_letter d ON d.subscription = s.id AND d.died_at < ?1 - t.keep_age_s"
    " AND d.state IN ('recovered', 'discarded') LIMIT ?2"
)
_OLDEST = "SELECT time, pos, coalesce(length(value), 0) FROM onward_log WHERE pos >= ? AND pos < ? ORDER BY pos LIMIT ?"


@dataclass(frozen=True, slots=True)
class Pruned:
    """What one step took from the log: rows, bytes of values, and whether another step may find more."""

    rows: int
    bytes: int
    more: bool


@dataclass(slots=True)
class _Lane:
    """One partition: `first` to `floor` may go, what lies above is owed to somebody; `cut` is chosen in between."""

    id: int
    first: int
    floor: int
    cut: int = 0
    rows: int = 0
    bytes: int = 0


@dataclass(slots=True)
class _Topic:
    keep_age_s: float
    keep_bytes: int
    held_bytes: int
    lanes: list[_Lane]


async def prune(database: Database, now: float, *, max_rows: int = 5000) -> Pruned:
    """Takes at most `max_rows` events from the log in one transaction; none that a live subscription is owed.

    Of what all subscriptions of a topic have handled, those events go that are older than the topic keeps, and
    the oldest for as long as the topic holds more bytes than it keeps. Retired subscriptions hold nothing
    back; a topic that nobody subscribes to is cut by age and size alone. `now` is in seconds since the epoch.
    Raises StoreError, after which nothing was taken.
    """
    try:
        if not _plan(database.reader, now, max_rows):  # most of the time nothing is due, and no turn is taken
            return Pruned(0, 0, more=False)
        async with database.transaction() as connection:
            lanes = _plan(connection, now, max_rows)
            for lane in lanes:
                _cut(connection, lane)
    except apsw.Error as error:
        raise translate(error, "Pruning handled events") from error
    rows = sum(lane.rows for lane in lanes)
    return Pruned(rows, sum(lane.bytes for lane in lanes), more=rows >= max_rows)


async def prune_letters(database: Database, now: float, *, max_rows: int = 500) -> int:
    """Takes at most `max_rows` dead letters that are over from the record, in one transaction; how many it took.

    Those go that are recovered or discarded and died longer ago than their topic keeps; tallies keep what became of
    them. One that is dead, or being retried, stays however old it is. Raises StoreError, after which nothing was taken.
    """
    try:
        if not database.reader.execute(_ENDED_LETTERS, (now, 1)).fetchall():
            return 0
        async with database.transaction() as connection:
            ended = connection.execute(_ENDED_LETTERS, (now, max_rows)).fetchall()
            connection.executemany("DELETE FROM onward_dead_letter WHERE id = ?", ended)
            return len(ended)
    except apsw.Error as error:
        raise translate(error, "Pruning dead letters that are over") from error


def _plan(connection: apsw.Connection, now: float, max_rows: int) -> list[_Lane]:
    """The lanes to cut, each with how many rows from its first one on."""
    chosen: list[_Lane] = []
    left = max_rows
    for topic in _topics(connection):
        left -= _choose(connection, topic, now, left)
        chosen += [lane for lane in topic.lanes if lane.rows]
        if left <= 0:
            break
    return chosen


def _topics(connection: apsw.Connection) -> list[_Topic]:
    found: dict[int, _Topic] = {}
    rows: list[tuple[Any, ...]] = connection.execute(_LANES).fetchall()
    for topic_id, age_s, size, lane, first, held, end, handled in rows:
        topic = found.setdefault(topic_id, _Topic(age_s, size, 0, []))
        topic.held_bytes += held
        topic.lanes.append(_Lane(lane, first, end if handled is None else min(handled, end)))
    return list(found.values())


def _choose(connection: apsw.Connection, topic: _Topic, now: float, limit: int) -> int:
    """Counts in each lane what is to go, oldest first over all of them; returns how many rows that is."""
    cutoff_micros = int((now - topic.keep_age_s) * 1e6)
    excess_bytes = topic.held_bytes - topic.keep_bytes
    taken = 0
    cursors = [connection.cursor() for _ in topic.lanes]
    try:
        handled = (_handled(cursor, lane, limit) for cursor, lane in zip(cursors, topic.lanes, strict=True))
        for micros, pos, size, lane in merge(*handled, key=lambda row: row[:2]):
            if taken == limit or (micros >= cutoff_micros and excess_bytes <= 0):
                break
            lane.rows += 1
            lane.cut = (pos & OFFSET_MASK) + 1
            lane.bytes += size
            excess_bytes -= size
            taken += 1
    finally:
        for cursor in cursors:
            cursor.close(True)
    return taken


def _handled(cursor: apsw.Cursor, lane: _Lane, limit: int) -> Iterator[tuple[int, int, int, _Lane]]:
    bounds = (lane.id << LANE_SHIFT | lane.first, lane.id << LANE_SHIFT | lane.floor, limit)
    rows: Iterator[tuple[Any, ...]] = cursor.execute(_OLDEST, bounds)
    for micros, pos, size in rows:
        yield micros, pos, size, lane


def _cut(connection: apsw.Connection, lane: _Lane) -> None:
    begin = lane.id << LANE_SHIFT
    connection.execute("DELETE FROM onward_log WHERE pos >= ? AND pos < ?", (begin | lane.first, begin | lane.cut))
    connection.execute(
        "UPDATE onward_lane SET first_offset = ?, bytes = max(0, bytes - ?) WHERE id = ?",
        (lane.cut, lane.bytes, lane.id),
    )
