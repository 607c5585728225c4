"""`RecordView` of a database: handlers on record, renamed, moved or retired."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from onward.inspection.accounts import Subscribed
from onward.inspection.record import (
    LONGEST_NAME,
    SHARED,
    apart,
    buried_apart,
    cannot_move,
    not_on_record,
    not_on_topic,
    running,
    unusable_name,
)
from onward.stores.postgres.accounts import subscriptions
from onward.stores.postgres.address import Address
from onward.stores.postgres.command import Command
from onward.stores.postgres.connections import Connections
from onward.stores.postgres.inspection import Inspection, inspecting
from onward.stores.postgres.migration import lock
from onward.stores.postgres.session import Session

_DOING = "Changing the handlers on record"
# A process keeps connections under its service's name while it lives; what it claimed says nothing, if it was killed.
_RUNNING = (
    "SELECT client_addr, client_port FROM pg_stat_activity"
    " WHERE datname = current_database() AND application_name = left('onward ' || $1::text, 63) ORDER BY pid LIMIT 5"
)
_FIND = (
    "SELECT s.id, s.name, s.topic FROM onward.subscription s JOIN onward.handler h ON h.subscription = s.id"
    " WHERE s.service = $1 AND h.name = $2 AND s.retired_at IS NULL ORDER BY s.topic"
)
_FIND_SUBSCRIPTION = (
    "SELECT id, name, topic FROM onward.subscription"
    " WHERE service = $1 AND name = $2 AND topic = $3 AND retired_at IS NULL"
)
# Who is at work after all, unseen, commits nothing of it, and finds the names changed when it claims again.
_TAKE_BACK = "UPDATE onward.account SET token = NULL, owner = NULL, revision = revision + 1 WHERE subscription = $1"
_RENAMES = (
    "UPDATE onward.handler SET name = $2 WHERE subscription = $3 AND name = $1",
    "UPDATE onward.tally SET handler = $2 WHERE subscription = $3 AND handler = $1",
    "UPDATE onward.attempt SET handler = $2 WHERE subscription = $3 AND handler = $1",
    "UPDATE onward.blocked SET handler = $2 WHERE subscription = $3 AND handler = $1",
    "UPDATE onward.dead_letter SET handler = $2 WHERE subscription = $3 AND handler = $1",
    "UPDATE onward.subscription SET name = $2 WHERE id = $3 AND name = $1",
)
_RETIRES = (
    "DELETE FROM onward.handler WHERE subscription = $1 AND ($2::text IS NULL OR name = $2)",
    "DELETE FROM onward.attempt WHERE subscription = $1 AND ($2::text IS NULL OR handler = $2)",
    "DELETE FROM onward.parked p USING onward.blocked k"
    " WHERE k.id = p.blocked AND k.subscription = $1 AND ($2::text IS NULL OR k.handler = $2)",
    "DELETE FROM onward.blocked WHERE subscription = $1 AND ($2::text IS NULL OR handler = $2)",
    "UPDATE onward.dead_letter SET state = 'dead'"
    " WHERE subscription = $1 AND ($2::text IS NULL OR handler = $2) AND state = 'retrying'",
)
_RETIRE = (  # the name is freed: who comes back under it is new, and meets no dead letters of the old one
    "UPDATE onward.subscription s SET retired_at = now(), name = name || ' (retired ' || id || ')'"
    " WHERE id = $1 AND NOT EXISTS (SELECT 1 FROM onward.handler h WHERE h.subscription = s.id)"
)

_KIND = (
    "SELECT kind, (SELECT count(*) FROM onward.handler o WHERE o.subscription = $1) FROM onward.handler"
    " WHERE subscription = $1 AND name = $2"
)
_CREATE = (
    "INSERT INTO onward.subscription (service, name, topic, ordered_commit)"
    " SELECT service, $2, topic, ordered_commit FROM onward.subscription WHERE id = $1 RETURNING id"
)
_COPIES = (  # from $1 to $2, as in the next ones
    "INSERT INTO onward.account (subscription, partition, start_offset, next_offset, mark, unclean, suspect_until,"
    " moved_at) SELECT $2::bigint, partition, start_offset, next_offset, mark, unclean, suspect_until, moved_at"
    " FROM onward.account WHERE subscription = $1",
    "INSERT INTO onward.producer SELECT $2::bigint, partition, incarnation, owed_from, done FROM onward.producer"
    " WHERE subscription = $1",
    'INSERT INTO onward.attempt SELECT $2::bigint, partition, "offset", handler, attempts, error, fingerprint,'
    " first_at, last_at FROM onward.attempt WHERE subscription = $1 AND handler = ''",
    # What was given up before a handler was chosen is owed to this one, too.
    'INSERT INTO onward.dead_letter (subscription, partition, "offset", handler, state, cause, error, detail,'
    " fingerprint, attempts, first_at, died_at, event_id, event_type, event_version, event_source, event_time,"
    ' event_key, extra, value) SELECT $2::bigint, partition, "offset", handler, state, cause, error, detail,'
    " fingerprint, attempts, first_at, died_at, event_id, event_type, event_version, event_source, event_time,"
    " event_key, extra, value FROM onward.dead_letter WHERE subscription = $1 AND handler = ''"
    " AND state <> 'recovered' ORDER BY id",
    "INSERT INTO onward.tally (subscription, partition, handler, succeeded, dead, discarded, skipped)"
    " SELECT $2::bigint, partition, handler, succeeded, dead, discarded, skipped FROM onward.tally"
    " WHERE subscription = $1 AND handler = ''",
)
_DISTANCE = (
    "SELECT coalesce(sum(abs(o.next_offset - s.next_offset)), 0)::bigint FROM onward.account o"
    " JOIN onward.account s ON s.partition = o.partition AND s.subscription = $2 WHERE o.subscription = $1"
)
# Given up as a whole: one that is retried runs for all handlers of its position, and counts for each of them.
_BURIED_APART = (
    "SELECT (SELECT count(*) FROM onward.dead_letter o WHERE o.subscription = $1 AND o.handler = ''"
    " AND o.state IN ('dead', 'retrying') AND NOT EXISTS (SELECT 1 FROM onward.dead_letter s"
    ' WHERE (s.subscription, s.partition, s."offset", s.handler) = ($2, o.partition, o."offset", \'\')'
    " AND s.state IN ('dead', 'retrying')))"
    " + (SELECT count(*) FROM onward.dead_letter s JOIN onward.account a ON a.subscription = $1"
    ' AND a.partition = s.partition AND a.start_offset <= s."offset"'
    " WHERE s.subscription = $2 AND s.handler = '' AND s.state <> 'recovered'"
    " AND NOT EXISTS (SELECT 1 FROM onward.dead_letter o"
    ' WHERE (o.subscription, o.partition, o."offset", o.handler) = ($1, s.partition, s."offset", \'\')'
    " AND o.state <> 'recovered' AND (o.state = 'discarded') = (s.state = 'discarded')))"
)
_SAME_LETTERS = (  # the shared position has the same ones
    "DELETE FROM onward.dead_letter WHERE subscription = $1 AND handler = '' AND state IN ('dead', 'retrying')",
    "UPDATE onward.tally SET dead = 0 WHERE subscription = $1 AND handler = ''",
)
_EARLIER = (  # the shared position counts from where this handler's own began, and the others skipped what is between
    "INSERT INTO onward.tally AS t (subscription, partition, handler, skipped)"
    " SELECT $2::bigint, s.partition, h.name, s.start_offset - o.start_offset FROM onward.account s"
    " JOIN onward.account o ON o.subscription = $1 AND o.partition = s.partition AND o.start_offset < s.start_offset"
    " JOIN onward.handler h ON h.subscription = $2 WHERE s.subscription = $2"
    " ON CONFLICT (subscription, partition, handler) DO UPDATE SET skipped = t.skipped + excluded.skipped",
    "UPDATE onward.account AS s SET start_offset = o.start_offset FROM onward.account o WHERE s.subscription = $2"
    " AND o.subscription = $1 AND o.partition = s.partition AND o.start_offset < s.start_offset",
)
_CARRIES = (  # what the position it comes to has passed, and it did not run for, counts as skipped
    "INSERT INTO onward.tally (subscription, partition, handler, succeeded, dead, discarded, skipped)"
    " SELECT $2::bigint, a.partition, $3::text, coalesce(t.succeeded, 0), coalesce(t.dead, 0),"
    " coalesce(t.discarded, 0), a.next_offset - a.start_offset - coalesce(t.succeeded + t.dead + t.discarded, 0)"
    " - coalesce(w.parked, 0) - coalesce(u.succeeded + u.dead + u.discarded + u.skipped, 0) FROM onward.account a"
    " LEFT JOIN onward.tally t ON t.subscription = $1 AND t.partition = a.partition AND t.handler = $3"
    " LEFT JOIN (SELECT p.partition, count(*) AS parked FROM onward.blocked k JOIN onward.parked p ON p.blocked = k.id"
    "  WHERE k.subscription = $1 AND k.handler = $3 GROUP BY 1) w ON w.partition = a.partition"
    " LEFT JOIN onward.tally u ON u.subscription = $2 AND u.partition = a.partition AND u.handler = ''"
    " WHERE a.subscription = $2",
    "DELETE FROM onward.tally WHERE subscription = $1 AND subscription <> $2 AND handler = $3",
    "UPDATE onward.attempt SET subscription = $2 WHERE subscription = $1 AND handler = $3",
    "UPDATE onward.dead_letter SET subscription = $2 WHERE subscription = $1 AND handler = $3",
    "UPDATE onward.blocked SET subscription = $2 WHERE subscription = $1 AND handler = $3",
    "UPDATE onward.handler SET subscription = $2 WHERE subscription = $1 AND name = $3",
)

Found = Sequence[tuple[int, str, str]]  # subscription, its name, its topic


class DatabaseRecord:
    """The record of one database. Not for an event loop."""

    def __init__(self, url: str) -> None:
        """Raises SettingError for an address that can't be read."""
        self._address = Address.read(url)

    def subscriptions(self) -> list[Subscribed]:
        async def look() -> list[Subscribed]:
            async with inspecting(self._address) as inspection, inspection.snapshot() as snapshot:
                return await subscriptions(snapshot)

        return asyncio.run(look())

    def rename(self, service: str, old: str, new: str) -> list[str]:
        return asyncio.run(self._change(service, lambda session: rename(session, service, old, new)))

    def retire(self, service: str, name: str, topic: str | None = None) -> list[str]:
        return asyncio.run(self._change(service, lambda session: retire(session, service, name, topic)))

    def move(self, service: str, name: str, *, alone: bool) -> list[str]:
        return asyncio.run(self._change(service, lambda session: move(session, service, name, alone=alone)))

    async def _change(self, service: str, change: Callable[[Session], Awaitable[list[str]]]) -> list[str]:
        async with self._changing() as session:
            await lock(session)
            found = (await session.run(_RUNNING, (service,), _DOING)).rows
            if found:
                raise running(service, [f"connected from {address or 'this machine'}" for address, _ in found[:1]])
            return await change(session)

    @asynccontextmanager
    async def _changing(self) -> AsyncIterator[Session]:
        connections = Connections(self._address)
        try:
            await Inspection(connections).refuse_unready()
            async with connections.transaction() as session:
                yield session
        finally:
            connections.close()


async def rename(session: Session, service: str, old: str, new: str) -> list[str]:
    """As `RecordView.rename`; the caller has the lock of registrations."""
    found = await _find(session, service, old)
    taken = await session.run(_FIND, (service, new), _DOING)
    if not new or new == SHARED or len(new) > LONGEST_NAME or taken.rows:
        raise unusable_name(service, old, new)
    for subscription, _, _ in found:
        commands = [Command(_TAKE_BACK, [(subscription,)])]
        commands += [Command(sql, [(old, new, subscription)]) for sql in _RENAMES]
        await session.send(commands, _DOING)
    return [topic for _, _, topic in found]


async def retire(session: Session, service: str, name: str, topic: str | None) -> list[str]:
    """As `RecordView.retire`; the caller has the lock of registrations."""
    if topic is not None:
        whole = (await session.run(_FIND_SUBSCRIPTION, (service, name, topic), _DOING)).rows
        if whole:
            await _retire(session, whole, None)
            return [topic]
    found = [each for each in await _find(session, service, name) if topic in (None, each[2])]
    if not found:
        raise not_on_topic(service, name, topic)
    await _retire(session, found, name)
    return [each[2] for each in found]


async def move(session: Session, service: str, name: str, *, alone: bool) -> list[str]:
    """As `RecordView.move`; the caller has the lock of registrations."""
    everywhere = await _find(session, service, name)
    ((kind, _),) = (await session.run(_KIND, (everywhere[0][0], name), _DOING)).rows
    found = [each for each in everywhere if (each[1] == SHARED) == alone]
    if kind == "plain" or not found:
        raise cannot_move(service, name, kind=kind, alone=alone)
    target = name if alone else SHARED
    for subscription, held, topic in found:
        await session.send([Command(_TAKE_BACK, [(subscription,)])], _DOING)
        ((_, handlers),) = (await session.run(_KIND, (subscription, name), _DOING)).rows
        there = (await session.run(_FIND_SUBSCRIPTION, (service, target, topic), _DOING)).rows
        if there:
            await _join(session, (subscription, there[0][0]), service, name, topic)
            await _retire(session, [(subscription, held, topic)], None)
        elif handlers == 1:
            renamed = Command("UPDATE onward.subscription SET name = $1 WHERE id = $2", [(target, subscription)])
            await session.send([renamed], _DOING)
        else:
            ((created,),) = (await session.run(_CREATE, (subscription, target), _DOING)).rows
            await _carry(session, _COPIES, (subscription, created), name)
    return [topic for _, _, topic in found]


async def _join(session: Session, places: tuple[int, int], service: str, name: str, topic: str) -> None:
    ((away,),) = (await session.run(_DISTANCE, places, _DOING)).rows
    if away:
        raise apart(service, name, topic, away)
    ((buried,),) = (await session.run(_BURIED_APART, places, _DOING)).rows
    if buried:
        raise buried_apart(service, name, topic, buried)
    await session.send([Command(_TAKE_BACK, [places[1:]])], _DOING)
    await session.send([Command(sql, [places[:1]]) for sql in _SAME_LETTERS], _DOING)
    await _carry(session, _EARLIER, places, name)


async def _carry(session: Session, before: Sequence[str], places: tuple[int, int], name: str) -> None:
    commands = [Command(sql, [places]) for sql in before]
    await session.send([*commands, *(Command(sql, [(*places, name)]) for sql in _CARRIES)], _DOING)


async def _retire(session: Session, found: Found, handler: str | None) -> None:
    """This handler, or all."""
    for subscription, _, _ in found:
        commands = [Command(_TAKE_BACK, [(subscription,)])]
        commands += [Command(sql, [(subscription, handler)]) for sql in _RETIRES]
        await session.send([*commands, Command(_RETIRE, [(subscription,)])], _DOING)


async def _find(session: Session, service: str, name: str) -> list[tuple[Any, ...]]:
    found = (await session.run(_FIND, (service, name), _DOING)).rows
    if not found:
        raise not_on_record(service, name)
    return found
