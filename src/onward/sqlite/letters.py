"""Dead letters: what they say, and the three ways they end: recovered, discarded, or kept."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import apsw

from onward.errors import StoreError
from onward.inspection.letter import MOST_LISTED, Letter, refused_letter, unknown_letter
from onward.sqlite.fetch import fetch
from onward.sqlite.inspection import Inspection
from onward.sqlite.times import from_micros

_FIELDS = (
    "d.id, s.service, d.handler, t.name, d.partition, d.offset, d.state, d.cause, d.error, d.detail, d.fingerprint,"
    " d.attempts, d.first_at, d.died_at, d.event_id, d.event_type, d.event_version, d.event_source, d.event_time,"
    " d.event_key, d.value, coalesce(k.waiting, 0)"
)
_FROM = (
    " FROM onward_dead_letter d JOIN onward_subscription s ON s.id = d.subscription"
    " JOIN onward_topic t ON t.id = s.topic"
)
_LETTERS = f"SELECT {_FIELDS}{_FROM} LEFT JOIN onward_blocked k ON k.letter = d.id"

_RETRY_ALL = (
    "UPDATE onward_dead_letter SET state = 'retrying' WHERE state = 'dead'"
    " AND subscription IN (SELECT id FROM onward_subscription WHERE retired_at IS NULL)"
)
_RETRY_ONE = (
    "UPDATE onward_dead_letter SET state = 'retrying' WHERE id = ? AND state IN ('dead', 'retrying')"
    " AND subscription IN (SELECT id FROM onward_subscription WHERE retired_at IS NULL)"
)
_COUNT_DISCARDED = (
    "UPDATE onward_tally SET dead = dead - 1, discarded = discarded + 1"
    " WHERE (subscription, partition, handler) ="
    " (SELECT subscription, partition, handler FROM onward_dead_letter WHERE id = ?)"
)
# The key's row itself goes with the last event that is parked behind it, by who has its partition claimed.
DECIDED = "UPDATE onward_blocked SET letter = NULL, due = NULL WHERE letter = ?"


def letters(inspection: Inspection, *, service: str | None = None, every_state: bool = False) -> list[Letter]:
    """The newest first, at most 1,000: those that wait for somebody, or of `every_state`."""
    rows = inspection.rows(
        f"{_LETTERS} WHERE (?1 IS NULL OR s.service = ?1) AND (?2 OR d.state IN ('dead', 'retrying'))"
        " ORDER BY d.id DESC LIMIT ?3",
        service,
        every_state,
        MOST_LISTED,
    )
    return [_letter(row) for row in rows]


def letter(inspection: Inspection, letter_id: int) -> Letter:
    """Raises StoreError when there is none of that id."""
    rows = inspection.rows(f"{_LETTERS} WHERE d.id = ?", letter_id)
    if not rows:
        raise unknown_letter(letter_id)
    return _letter(rows[0])


def retry(connection: apsw.Connection, letter_ids: Sequence[int] | None) -> tuple[int, set[str]]:
    """Ask for these dead letters, or all, to be handled again; how many, and the topics to wake.

    Called inside a transaction. Safe to repeat. Raises StoreError for one that can't be retried: nothing of
    the transaction should then be kept.
    """
    if letter_ids is None:
        topics = _topics(connection, "d.state = 'dead'", ())
        connection.execute(_RETRY_ALL)
        return connection.changes(), topics
    topics = set()
    for letter_id in letter_ids:
        connection.execute(_RETRY_ONE, (letter_id,))
        if not connection.changes():
            raise _refused(connection, letter_id, "retried")
        topics |= _topics(connection, "d.id = ?", (letter_id,))
    return len(set(letter_ids)), topics


def discard(connection: apsw.Connection, letter_ids: Iterable[int] | None) -> tuple[int, set[str]]:
    """Give these dead letters, or all, up for good, and keep them on record; as `retry`.

    What waits for them in their keys may go on.
    """
    count, topics = 0, set[str]()
    if letter_ids is None:
        letter_ids = [each for (each,) in fetch(connection, "SELECT id FROM onward_dead_letter WHERE state = 'dead'")]
    for letter_id in dict.fromkeys(letter_ids):
        connection.execute(
            "UPDATE onward_dead_letter SET state = 'discarded' WHERE id = ? AND state = 'dead'", (letter_id,)
        )
        if not connection.changes():
            raise _refused(connection, letter_id, "discarded")
        connection.execute(_COUNT_DISCARDED, (letter_id,))
        connection.execute(DECIDED, (letter_id,))
        topics |= _topics(connection, "d.id = ?", (letter_id,))
        count += 1
    return count, topics


def _topics(connection: apsw.Connection, condition: str, params: tuple[int, ...]) -> set[str]:
    rows: list[tuple[Any, ...]] = connection.execute(
        f"SELECT DISTINCT t.name{_FROM} WHERE {condition}",
        params,
    ).fetchall()
    return {name for (name,) in rows}


def _refused(connection: apsw.Connection, letter_id: int, verb: str) -> StoreError:
    row = connection.execute(
        f"SELECT d.state, s.retired_at{_FROM} WHERE d.id = ?",
        (letter_id,),
    ).fetchone()
    if row is None:
        return unknown_letter(letter_id)
    return refused_letter(letter_id, verb, row[0], retired=row[1] is not None)


def _letter(row: tuple[Any, ...]) -> Letter:
    fields = dict(zip(Letter.__dataclass_fields__, row, strict=True))
    return Letter(**{**fields, "event_time": from_micros(row[18])})
