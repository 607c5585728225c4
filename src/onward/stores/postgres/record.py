"""`RecordView` of a database: handlers on record, renamed or retired."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from onward.inspection.accounts import Subscribed
from onward.inspection.record import LONGEST_NAME, SHARED, not_on_record, not_on_topic, running, unusable_name
from onward.stores.postgres.accounts import subscriptions
from onward.stores.postgres.address import Address
from onward.stores.postgres.connections import Connections
from onward.stores.postgres.inspection import Inspection, inspecting
from onward.stores.postgres.migration import lock
from onward.stores.postgres.session import Command, Session

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
    "UPDATE onward.dead_letter SET handler = $2 WHERE subscription = $3 AND handler = $1",
    "UPDATE onward.subscription SET name = $2 WHERE id = $3 AND name = $1",
)
_RETIRES = (
    "DELETE FROM onward.handler WHERE subscription = $1 AND ($2::text IS NULL OR name = $2)",
    "DELETE FROM onward.attempt WHERE subscription = $1 AND ($2::text IS NULL OR handler = $2)",
    "UPDATE onward.dead_letter SET state = 'dead'"
    " WHERE subscription = $1 AND ($2::text IS NULL OR handler = $2) AND state = 'retrying'",
)
_RETIRE = (  # the name is freed: who comes back under it is new, and meets no dead letters of the old one
    "UPDATE onward.subscription s SET retired_at = now(), name = name || ' (retired ' || id || ')'"
    " WHERE id = $1 AND NOT EXISTS (SELECT 1 FROM onward.handler h WHERE h.subscription = s.id)"
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
