"""Services on record: their subscriptions, handlers and invariants, compared with what the code declares."""

from __future__ import annotations

from onward.ports import HandlerEntry, ServiceEntry, SubscriptionEntry
from onward.stores.postgres.command import Command
from onward.stores.postgres.session import Session
from onward.stores.registration import newcomers, refuse_unknown

_DOING = "Registering the service"
_SUBSCRIPTIONS = (
    "SELECT s.name, s.topic FROM onward.subscription s WHERE s.service = $1 AND s.retired_at IS NULL AND EXISTS"
    " (SELECT 1 FROM onward.handler h WHERE h.subscription = s.id)"
)
_FIND = "SELECT id FROM onward.subscription WHERE service = $1 AND name = $2 AND topic = $3 AND retired_at IS NULL"
_CREATE = "INSERT INTO onward.subscription (service, name, topic, ordered_commit) VALUES ($1, $2, $3, $4) RETURNING id"
_ACCOUNT = "INSERT INTO onward.account (subscription, partition, start_offset, next_offset) VALUES ($1, $2, $3, $3)"
_HANDLER = "INSERT INTO onward.handler (subscription, name, kind, start, types, joined) VALUES ($1, $2, $3, $4, $5, $6)"
_TYPES = "UPDATE onward.handler SET types = $1 WHERE subscription = $2 AND name = $3"
_PASSED_BEFORE = (
    "INSERT INTO onward.tally AS mine (subscription, partition, handler, skipped)"
    " SELECT a.subscription, a.partition, $2, a.next_offset - a.start_offset"
    "  - coalesce((SELECT skipped + dead + discarded FROM onward.tally t"
    "     WHERE (t.subscription, t.partition, t.handler) = (a.subscription, a.partition, '')), 0)"
    "  - coalesce((SELECT succeeded + dead + discarded FROM onward.tally t"
    "     WHERE (t.subscription, t.partition, t.handler) = (a.subscription, a.partition, $2)), 0)"
    "  - (SELECT count(*) FROM onward.parked p JOIN onward.blocked k ON k.id = p.blocked"
    "     WHERE (k.subscription, p.partition, k.handler) = (a.subscription, a.partition, $2))"
    " FROM onward.account a WHERE a.subscription = $1"
    " ON CONFLICT (subscription, partition, handler) DO UPDATE SET skipped = excluded.skipped"
)
_TAKE_BACK = (
    "UPDATE onward.account SET token = NULL, owner = NULL, revision = revision + 1,"
    " unclean = greatest(0, unclean - 1) WHERE subscription = $1 AND token IS NOT NULL"
)


async def register(session: Session, service: ServiceEntry) -> list[int]:
    """The ids of its subscriptions, in order. One registration at a time. Raises RegistrationError."""
    invariants = [(service.name, name, sql) for name, sql in service.invariants.items()]
    commands = [Command("DELETE FROM onward.invariant WHERE service = $1", [(service.name,)])]
    if invariants:
        commands.append(Command("INSERT INTO onward.invariant (service, name, sql) VALUES ($1, $2, $3)", invariants))
    await session.send(commands, _DOING)
    ids = [await _register(session, service.name, entry) for entry in service.subscriptions]
    known = await session.run(_SUBSCRIPTIONS, (service.name,), _DOING)
    refuse_unknown(service, ((name, topic) for name, topic in known.rows))
    return ids


async def _register(session: Session, service: str, entry: SubscriptionEntry) -> int:
    found = await session.run(_FIND, (service, entry.name, entry.topic), _DOING)
    if found.rows:
        await _compare(session, service, int(found.scalar()), entry)
        return int(found.scalar())
    entry = entry.anew()
    created = await session.run(_CREATE, (service, entry.name, entry.topic, entry.ordered), _DOING)
    subscription = int(created.scalar())
    commands = [Command(_HANDLER, [_handler_row(subscription, handler) for handler in entry.handlers])]
    accounts = [(subscription, partition, start) for partition, start in enumerate(entry.starts)]
    if accounts:
        commands.append(Command(_ACCOUNT, accounts))
    await session.send(commands, _DOING)
    return subscription


async def _compare(session: Session, service: str, subscription: int, entry: SubscriptionEntry) -> None:
    """A known subscription: handlers that joined are noted from where it stands, changed ones are refused."""
    rows = await session.run(
        "SELECT name, kind, start FROM onward.handler WHERE subscription = $1", (subscription,), _DOING
    )
    joining = newcomers(service, entry, {name: (kind, start) for name, kind, start in rows.rows})
    commands: list[Command] = []
    if joining:
        # First, so that nobody goes on past events that these handlers are owed: its rows stay locked from here on.
        commands.append(Command(_TAKE_BACK, [(subscription,)]))
        commands.append(Command(_HANDLER, [_handler_row(subscription, handler) for handler in joining]))
        commands.append(Command(_PASSED_BEFORE, [(subscription, handler.name) for handler in joining]))
    commands.append(Command(_TYPES, [(list(handler.types), subscription, handler.name) for handler in entry.handlers]))
    await session.send(commands, _DOING)


def _handler_row(subscription: int, handler: HandlerEntry) -> tuple[object, ...]:
    return (subscription, handler.name, handler.kind, handler.start, list(handler.types), list(handler.joined))
