"""A handler moved to a position of its own, or back to the one that its service's transactional handlers share.

Its tally goes with it. What the position it comes to has passed, and the handler did not run for, it has skipped, so
that the audit's sums stay even.
"""

from __future__ import annotations

from time import time
from typing import Any

import apsw

from onward.inspection.record import SHARED, apart, buried_apart, cannot_move, not_on_record
from onward.sqlite.registrations import retire_whole

_FIND = (
    "SELECT s.id, s.name, t.name, t.id, h.kind, (SELECT count(*) FROM onward_handler o WHERE o.subscription = s.id)"
    " FROM onward_subscription s JOIN onward_topic t ON t.id = s.topic JOIN onward_handler h ON h.subscription = s.id"
    " WHERE s.service = ? AND h.name = ? AND s.retired_at IS NULL"
)
_FIND_SUBSCRIPTION = "SELECT id FROM onward_subscription WHERE service = ? AND name = ? AND topic = ?"
_CREATE = (
    "INSERT INTO onward_subscription (service, name, topic, ordered_commit, created_at)"
    " SELECT service, ?, topic, ordered_commit, ? FROM onward_subscription WHERE id = ? RETURNING id"
)
_COPIES = (
    "INSERT INTO onward_account (subscription, partition, start_offset, next_offset, mark, unclean, suspect_until,"
    " moved_at) SELECT :to, partition, start_offset, next_offset, mark, unclean, suspect_until, moved_at"
    " FROM onward_account WHERE subscription = :from",
    "INSERT INTO onward_producer SELECT :to, partition, incarnation, owed_from, done FROM onward_producer"
    " WHERE subscription = :from",
    "INSERT INTO onward_attempt SELECT :to, partition, offset, handler, attempts, error, fingerprint, first_at, last_at"
    " FROM onward_attempt WHERE subscription = :from AND handler = ''",
    # What was given up before a handler was chosen is owed to this one, too.
    "INSERT INTO onward_dead_letter (subscription, partition, offset, handler, state, cause, error, detail,"
    " fingerprint, attempts, first_at, died_at, event_id, event_type, event_version, event_source, event_time,"
    " event_key, extra, value) SELECT :to, partition, offset, handler, state, cause, error, detail, fingerprint,"
    " attempts, first_at, died_at, event_id, event_type, event_version, event_source, event_time, event_key, extra,"
    " value"
    " FROM onward_dead_letter WHERE subscription = :from AND handler = '' AND state <> 'recovered' ORDER BY id",
    "INSERT INTO onward_tally (subscription, partition, handler, succeeded, dead, discarded, skipped)"
    " SELECT :to, partition, handler, succeeded, dead, discarded, skipped FROM onward_tally"
    " WHERE subscription = :from AND handler = ''",
)
_DISTANCE = (
    "SELECT coalesce(sum(abs(o.next_offset - s.next_offset)), 0) FROM onward_account o JOIN onward_account s"
    " ON s.partition = o.partition AND s.subscription = :to WHERE o.subscription = :from"
)
# Given up as a whole: one that is retried runs for all handlers of its position, and counts for each of them.
_BURIED_APART = (
    "SELECT (SELECT count(*) FROM onward_dead_letter o WHERE o.subscription = :from AND o.handler = ''"
    " AND o.state IN ('dead', 'retrying') AND NOT EXISTS (SELECT 1 FROM onward_dead_letter s"
    " WHERE (s.subscription, s.partition, s.offset, s.handler) = (:to, o.partition, o.offset, '')"
    " AND s.state IN ('dead', 'retrying')))"
    " + (SELECT count(*) FROM onward_dead_letter s JOIN onward_account a ON a.subscription = :from"
    " AND a.partition = s.partition AND a.start_offset <= s.offset"
    " WHERE s.subscription = :to AND s.handler = '' AND s.state <> 'recovered'"
    " AND NOT EXISTS (SELECT 1 FROM onward_dead_letter o"
    " WHERE (o.subscription, o.partition, o.offset, o.handler) = (:from, s.partition, s.offset, '')"
    " AND o.state <> 'recovered' AND (o.state = 'discarded') = (s.state = 'discarded')))"
)
_EARLIER = (  # the shared position counts from where this handler's own began, and the others skipped what is between
    "INSERT INTO onward_tally (subscription, partition, handler, skipped)"
    " SELECT :to, s.partition, h.name, s.start_offset - o.start_offset FROM onward_account s"
    " JOIN onward_account o ON o.subscription = :from AND o.partition = s.partition AND o.start_offset < s.start_offset"
    " JOIN onward_handler h ON h.subscription = :to WHERE s.subscription = :to"
    " ON CONFLICT DO UPDATE SET skipped = skipped + excluded.skipped",
    "UPDATE onward_account AS s SET start_offset = o.start_offset FROM onward_account o WHERE s.subscription = :to"
    " AND o.subscription = :from AND o.partition = s.partition AND o.start_offset < s.start_offset",
)
_SAME_LETTERS = (  # the shared position has the same ones
    "DELETE FROM onward_dead_letter WHERE subscription = :from AND handler = '' AND state IN ('dead', 'retrying')",
    "UPDATE onward_tally SET dead = 0 WHERE subscription = :from AND handler = ''",
)
_TALLY = (
    "INSERT INTO onward_tally (subscription, partition, handler, succeeded, dead, discarded, skipped)"
    " SELECT :to, a.partition, :handler, coalesce(t.succeeded, 0), coalesce(t.dead, 0), coalesce(t.discarded, 0),"
    " a.next_offset - a.start_offset - coalesce(t.succeeded + t.dead + t.discarded, 0) - coalesce(w.parked, 0)"
    " - coalesce(u.succeeded + u.dead + u.discarded + u.skipped, 0) FROM onward_account a"
    " LEFT JOIN onward_tally t ON (t.subscription, t.partition, t.handler) = (:from, a.partition, :handler)"
    " LEFT JOIN (SELECT p.partition, count(*) AS parked FROM onward_blocked k JOIN onward_parked p ON p.blocked = k.id"
    "  WHERE k.subscription = :from AND k.handler = :handler GROUP BY 1) w ON w.partition = a.partition"
    " LEFT JOIN onward_tally u ON (u.subscription, u.partition, u.handler) = (:to, a.partition, '')"
    " WHERE a.subscription = :to"
)
_CARRIES = (
    _TALLY,
    "DELETE FROM onward_tally WHERE subscription = :from AND handler = :handler",
    "UPDATE onward_attempt SET subscription = :to WHERE subscription = :from AND handler = :handler",
    "UPDATE onward_dead_letter SET subscription = :to WHERE subscription = :from AND handler = :handler",
    "UPDATE onward_blocked SET subscription = :to WHERE subscription = :from AND handler = :handler",
    "UPDATE onward_handler SET subscription = :to WHERE subscription = :from AND name = :handler",
)


def move(connection: apsw.Connection, service: str, name: str, *, alone: bool) -> list[str]:
    """As `RecordView.move`; called inside a transaction, while no process of the service runs."""
    rows: list[tuple[Any, ...]] = connection.execute(_FIND, (service, name)).fetchall()
    if not rows:
        raise not_on_record(service, name)
    found = [row for row in rows if (row[1] == SHARED) == alone]
    if rows[0][4] == "plain" or not found:
        raise cannot_move(service, name, kind=rows[0][4], alone=alone)
    for subscription, held, topic, topic_id, _, handlers in found:
        target = name if alone else SHARED
        there = connection.execute(_FIND_SUBSCRIPTION, (service, target, topic_id)).get
        places = {"from": subscription, "to": there, "handler": name}
        if there is None and handlers == 1:
            connection.execute("UPDATE onward_subscription SET name = ? WHERE id = ?", (target, subscription))
        elif there is None:
            places["to"] = connection.execute(_CREATE, (target, time(), subscription)).get
            _run(connection, (*_COPIES, *_CARRIES), places)
        else:
            if away := connection.execute(_DISTANCE, places).get:
                raise apart(service, name, topic, int(str(away)))
            if buried := connection.execute(_BURIED_APART, places).get:
                raise buried_apart(service, name, topic, int(str(buried)))
            _run(connection, (*_EARLIER, *_SAME_LETTERS, *_CARRIES), places)
            retire_whole(connection, subscription)
        group = service if held == SHARED else f"{service}.{held}"
        connection.execute("DELETE FROM onward_lease WHERE group_name = ? AND topic = ?", (group, topic_id))
    return [row[2] for row in found]


def _run(connection: apsw.Connection, statements: tuple[str, ...], places: dict[str, Any]) -> None:
    for sql in statements:
        connection.execute(sql, places)
