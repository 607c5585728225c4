"""Events that a broker will never take as they are: shown, put back into their outbox, or dropped."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import apsw

from onward.inspection.letter import MOST_LISTED, Letter, refused_event, unknown_letter
from onward.ports import Outgoing
from onward.relay import outbox_of
from onward.sqlite.fetch import fetch
from onward.sqlite.inspection import Inspection
from onward.sqlite.outbox import append_rows

_FIELDS = "id, service, refused_at, why, topic, type, version, value, key, extra, event_id, source FROM onward_refused"


def refused(inspection: Inspection, *, service: str | None) -> list[Letter]:
    """The newest first, at most 1,000."""
    sql = f"SELECT {_FIELDS} WHERE ?1 IS NULL OR service = ?1 ORDER BY id DESC LIMIT ?2"
    return [_letter(row) for row in inspection.rows(sql, service, MOST_LISTED)]


def refused_one(inspection: Inspection, letter_id: int) -> Letter:
    """Raises StoreError when there is none of that id."""
    rows = inspection.rows(f"SELECT {_FIELDS} WHERE id = ?", -letter_id)
    if not rows:
        raise unknown_letter(letter_id)
    return _letter(rows[0])


def send_again(connection: apsw.Connection, letter_ids: Sequence[int] | None) -> tuple[int, set[str]]:
    """Put these, or all, back into their outboxes; how many, and which outboxes. In the caller's transaction.

    Raises StoreError for one that is not there: nothing of the transaction should then be kept.
    """
    rows = _taken(connection, letter_ids)
    for row in rows:
        append_rows(connection, row[1], [Outgoing(*row[4:])])
    return len(rows), {outbox_of(row[1]) for row in rows}


def drop(connection: apsw.Connection, letter_ids: Iterable[int] | None) -> int:
    """Forget these, or all; how many. As `send_again`."""
    return len(_taken(connection, letter_ids))


def _taken(connection: apsw.Connection, letter_ids: Iterable[int] | None) -> list[tuple[Any, ...]]:
    """In the order in which they were refused; they are there no more."""
    if letter_ids is None:
        rows = fetch(connection, f"SELECT {_FIELDS} ORDER BY id", ())
    else:
        rows = []
        for letter_id in sorted(set(letter_ids), reverse=True):
            found = fetch(connection, f"SELECT {_FIELDS} WHERE id = ?", (-letter_id,))
            if not found:
                raise unknown_letter(letter_id)
            rows += found
    connection.executemany("DELETE FROM onward_refused WHERE id = ?", [row[:1] for row in rows])
    return rows


def _letter(row: tuple[Any, ...]) -> Letter:
    row_id, service, refused_at, why, *event = row
    return refused_event(row_id, service, refused_at / 1_000_000, why, Outgoing(*event))
