"""Handlers on record, renamed or retired: what a service's code may not change by itself."""

from __future__ import annotations

from time import time
from typing import Any

import apsw

from onward.inspection.record import LONGEST_NAME, SHARED, not_on_record, not_on_topic, unusable_name

_FIND = (
    "SELECT s.id, s.name, t.name FROM onward_subscription s JOIN onward_topic t ON t.id = s.topic"
    " JOIN onward_handler h ON h.subscription = s.id WHERE s.service = ? AND h.name = ? AND s.retired_at IS NULL"
)
_FIND_SUBSCRIPTION = (
    "SELECT s.id, s.name, t.name FROM onward_subscription s JOIN onward_topic t ON t.id = s.topic"
    " WHERE s.service = ? AND s.name = ? AND t.name = ? AND s.retired_at IS NULL"
)
_RENAMES = (
    "UPDATE onward_handler SET name = ?2 WHERE subscription = ?3 AND name = ?1",
    "UPDATE onward_tally SET handler = ?2 WHERE subscription = ?3 AND handler = ?1",
    "UPDATE onward_attempt SET handler = ?2 WHERE subscription = ?3 AND handler = ?1",
    "UPDATE onward_dead_letter SET handler = ?2 WHERE subscription = ?3 AND handler = ?1",
    "UPDATE onward_blocked SET handler = ?2 WHERE subscription = ?3 AND handler = ?1",
)
_FORGETS = (
    "DELETE FROM onward_attempt WHERE subscription = ?1 AND handler = ?2",
    "DELETE FROM onward_parked WHERE blocked IN"
    " (SELECT id FROM onward_blocked WHERE subscription = ?1 AND handler = ?2)",
    "DELETE FROM onward_blocked WHERE subscription = ?1 AND handler = ?2",
    "UPDATE onward_dead_letter SET state = 'dead' WHERE subscription = ?1 AND handler = ?2 AND state = 'retrying'",
)

Found = list[tuple[int, str, str]]  # subscription, its name, its topic


def rename(connection: apsw.Connection, service: str, old: str, new: str) -> list[str]:
    """Give a handler's record another name, with all that is counted under it; the topics it is on.

    Called inside a transaction, while no process of the service runs. Raises RegistrationError.
    """
    found = _find(connection, service, old)
    if not new or new == SHARED or len(new) > LONGEST_NAME or _rows(connection, _FIND, service, new):
        raise unusable_name(service, old, new)
    for subscription, name, _ in found:
        for sql in _RENAMES:
            connection.execute(sql, (old, new, subscription))
        if name == old:
            connection.execute("UPDATE onward_subscription SET name = ? WHERE id = ?", (new, subscription))
            connection.execute("DELETE FROM onward_lease WHERE group_name = ?", (f"{service}.{old}",))
    return [topic for _, _, topic in found]


def retire(connection: apsw.Connection, service: str, name: str, topic: str | None = None) -> list[str]:
    """Take a handler off the record, and its subscription when it was the last; the topics it was on.

    Its events are owed to nobody any more. `name` may be a subscription's when `topic` is given. Called as
    `rename` is. Raises RegistrationError.
    """
    if topic is not None and (whole := _rows(connection, _FIND_SUBSCRIPTION, service, name, topic)):
        for subscription, _, _ in whole:
            retire_whole(connection, subscription)
        return [topic]
    found = [each for each in _find(connection, service, name) if topic in (None, each[2])]
    if not found:
        raise not_on_topic(service, name, topic)
    for subscription, _, _ in found:
        connection.execute("DELETE FROM onward_handler WHERE subscription = ? AND name = ?", (subscription, name))
        _forget(connection, subscription, name)
        if not connection.execute("SELECT count(*) FROM onward_handler WHERE subscription = ?", (subscription,)).get:
            retire_whole(connection, subscription)
    return [each[2] for each in found]


def retire_whole(connection: apsw.Connection, subscription: int) -> None:
    for (name,) in connection.execute(
        "SELECT name FROM onward_handler WHERE subscription = ?", (subscription,)
    ).fetchall():
        _forget(connection, subscription, str(name))
    connection.execute("DELETE FROM onward_handler WHERE subscription = ?", (subscription,))
    # The name is freed: who comes back under it is a new subscription, and meets no dead letters of the old one.
    connection.execute(
        "UPDATE onward_subscription SET retired_at = ?, name = name || ' (retired ' || id || ')' WHERE id = ?",
        (time(), subscription),
    )


def _forget(connection: apsw.Connection, subscription: int, handler: str) -> None:
    """Attempts and what is parked end here; dead letters stay on record, and nobody is left to retry them."""
    for sql in _FORGETS:
        connection.execute(sql, (subscription, handler))


def _find(connection: apsw.Connection, service: str, name: str) -> Found:
    found = _rows(connection, _FIND, service, name)
    if not found:
        raise not_on_record(service, name)
    return found


def _rows(connection: apsw.Connection, sql: str, *params: str) -> Found:
    rows: list[tuple[Any, ...]] = connection.execute(sql, params).fetchall()
    return [(subscription, name, topic) for subscription, name, topic in rows]
