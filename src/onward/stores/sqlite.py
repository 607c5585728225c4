"""The store on one SQLite file: accounts and claims beside the users' own tables."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from os import urandom
from time import time

import apsw

from onward.errors import StoreCorruptError
from onward.ledger import RECENT, Arrivals, IntervalSet, Numbers, Position
from onward.ports import Attempt, Capabilities, Claim, HandlerEntry, Outgoing, ServiceEntry, SubscriptionEntry
from onward.sqlite.failures import translate
from onward.sqlite.fetch import fetch
from onward.sqlite.log import FileLog
from onward.sqlite.outbox import FileOutbox
from onward.stores.other_logs import grow
from onward.stores.parking import blocked
from onward.stores.reading import Queries
from onward.stores.registration import newcomers, no_earlier, refuse_unknown
from onward.stores.result import StatementResult
from onward.stores.settling import came, damaged, numbers_of
from onward.stores.transaction import Statements
from onward.stores.unit import SqliteUnit
from onward.topics import Topic

_PASSED_BEFORE = (
    "INSERT INTO onward_tally (subscription, partition, handler, skipped)"
    " SELECT a.subscription, a.partition, ?2, a.next_offset - a.start_offset"
    "  - coalesce((SELECT skipped + dead + discarded FROM onward_tally t"
    "     WHERE (t.subscription, t.partition, t.handler) = (a.subscription, a.partition, '')), 0)"
    "  - coalesce((SELECT succeeded + dead + discarded FROM onward_tally t"
    "     WHERE (t.subscription, t.partition, t.handler) = (a.subscription, a.partition, ?2)), 0)"
    "  - (SELECT count(*) FROM onward_parked p JOIN onward_blocked k ON k.id = p.blocked"
    "     WHERE (k.subscription, p.partition, k.handler) = (a.subscription, a.partition, ?2))"
    " FROM onward_account a WHERE a.subscription = ?1 ON CONFLICT DO UPDATE SET skipped = excluded.skipped"
)
_TAKE_BACK = (
    "UPDATE onward_account SET token = NULL, owner = NULL, revision = revision + 1, unclean = max(0, unclean - 1)"
    " WHERE subscription = ? AND token IS NOT NULL"
)


_CLAIM = (
    "UPDATE onward_account SET token = ?, owner = ?, revision = revision + 1, unclean = unclean + 1"
    " WHERE subscription = ? AND partition = ?"
    " RETURNING revision, start_offset, next_offset, beyond, unclean, suspect_until, mark"
)


class SqliteStore:
    """`Store` on a file. Where the SQLite broker keeps its log in it, outputs are appended to that directly.

    `broker` names the one that keeps the log elsewhere; then they go into `outbox`.
    """

    def __init__(self, log: FileLog, service: str, *, broker: str = "", outbox: FileOutbox | None = None) -> None:
        self.capabilities = Capabilities(durable=True, shared=True, atomic_publish=outbox is None, inline=True)
        self._broker = broker
        self._outbox = outbox
        self._database = log.database
        self._log = log
        self._names = log.names
        self._service = service
        self._statements = Statements(log.database, service, log.now)
        self._queries = Queries(log.database)

    def unit(self) -> SqliteUnit:
        return SqliteUnit(self._database, self._statements, self._let_out, self._forget)

    def _let_out(self, outputs: Sequence[Outgoing]) -> None:
        if self._outbox is not None:
            self._outbox.append(outputs)
        else:
            self._log.append(outputs, self._service)

    def _forget(self) -> None:
        self._log.forget()
        if self._outbox is not None:
            self._outbox.forget()

    @property
    def identity(self) -> str:
        ((identity,),) = self._database.read("SELECT id FROM onward_identity")
        return str(identity)

    async def read(self, sql: str, params: Mapping[str, object]) -> StatementResult:
        self._queries.refuse_inside()
        return self._queries.run(sql, params)

    async def open(self, service: ServiceEntry) -> list[int]:
        try:
            async with self._database.transaction() as connection:
                for sql in service.schema:
                    connection.execute(sql)
                connection.execute("DELETE FROM onward_invariant WHERE service = ?", (service.name,))
                connection.executemany(
                    "INSERT INTO onward_invariant (service, name, sql) VALUES (?, ?, ?)",
                    [(service.name, name, sql) for name, sql in service.invariants.items()],
                )
                ids = [self._register(connection, service.name, entry) for entry in service.subscriptions]
                refuse_unknown(service, _subscriptions(connection, service.name))
                return ids
        except BaseException as error:
            self._log.forget()
            if isinstance(error, apsw.Error):
                raise translate(error, f"Preparing the tables of service {service.name!r}") from error
            raise

    def _register(self, connection: apsw.Connection, service: str, entry: SubscriptionEntry) -> int:
        topic = self._names.create_topic(Topic(entry.topic, len(entry.starts)), self._broker)
        found = fetch(
            connection,
            "SELECT id FROM onward_subscription WHERE service = ? AND name = ? AND topic = ? AND retired_at IS NULL",
            (service, entry.name, topic.id),
        )
        if found:
            ((known,),) = found
            self._compare(connection, service, known, entry)
            return int(known)
        kept = fetch(connection, "SELECT first_offset FROM onward_lane WHERE topic = ? ORDER BY partition", (topic.id,))
        entry = no_earlier(entry.anew(), [first for (first,) in kept])
        connection.execute(
            "INSERT INTO onward_subscription (service, name, topic, ordered_commit, created_at) VALUES (?, ?, ?, ?, ?)",
            (service, entry.name, topic.id, entry.ordered, time()),
        )
        subscription = connection.last_insert_rowid()
        connection.executemany(
            "INSERT INTO onward_account (subscription, partition, start_offset, next_offset) VALUES (?, ?, ?, ?)",
            [(subscription, partition, start, start) for partition, start in enumerate(entry.starts)],
        )
        for handler in entry.handlers:
            _add_handler(connection, subscription, handler)
        return subscription

    def _compare(self, connection: apsw.Connection, service: str, subscription: int, entry: SubscriptionEntry) -> None:
        """A known subscription: handlers that joined are noted from where it stands, changed ones are refused."""
        recorded = {
            name: (kind, start)
            for name, kind, start in fetch(
                connection, "SELECT name, kind, start FROM onward_handler WHERE subscription = ?", (subscription,)
            )
        }
        for handler in newcomers(service, entry, recorded):
            _join(connection, subscription, handler)
        connection.executemany(
            "UPDATE onward_handler SET types = ? WHERE subscription = ? AND name = ?",
            [(json.dumps(handler.types), subscription, handler.name) for handler in entry.handlers],
        )

    async def claim(self, subscription: int, topic: str, partitions: Sequence[int], member: str) -> list[Claim]:
        try:
            async with self._database.transaction() as connection:
                return [self._claim(connection, subscription, topic, each, member) for each in partitions]
        except apsw.Error as error:
            raise translate(error, f"Claiming partitions of {topic!r}") from error

    def _claim(self, connection: apsw.Connection, subscription: int, topic: str, partition: int, member: str) -> Claim:
        token = urandom(16)
        row = fetch(connection, _CLAIM, (token, member, subscription, partition))
        if not row:
            grow(connection, subscription, topic, partition)
            self._names.forget()
            row = fetch(connection, _CLAIM, (token, member, subscription, partition))
        revision, start, next_offset, beyond, unclean, suspect_until, mark = row[0]
        try:
            position = Position(start, next_offset, IntervalSet.from_bytes(beyond) if beyond else IntervalSet())
            arrivals = _arrivals(connection, subscription, partition)
        except ValueError as error:
            raise StoreCorruptError(
                f"The account of partition {partition} of {topic!r} is damaged ({error}); it was left as it is."
                " Run `onward audit`, and restore a backup or mend the row.",
            ) from error
        return Claim(
            subscription,
            topic,
            partition,
            token,
            revision,
            self._folded(connection, subscription, partition, position),
            unclean - 1,
            suspect_until,
            _attempts(connection, subscription, partition),
            _joined(connection, subscription, partition),
            mark,
            blocked=blocked(connection, subscription, partition),
            arrivals=arrivals,
        )

    @staticmethod
    def _folded(connection: apsw.Connection, subscription: int, partition: int, position: Position) -> Position:
        """Marks that a plain handler wrote in its own transaction, added to the position."""
        marks = fetch(
            connection,
            "SELECT offset FROM onward_done WHERE subscription = ? AND partition = ?",
            (subscription, partition),
        )
        return position.finish([offset for (offset,) in marks if not position.done(offset)])

    async def recall(self, claim: Claim, incarnations: Iterable[str]) -> dict[str, Numbers]:
        sql = (
            "SELECT incarnation, owed_from, done FROM onward_producer"
            " WHERE subscription = ? AND partition = ? AND incarnation = ?"
        )
        where = (claim.subscription, claim.partition)
        try:
            return numbers_of(row for each in incarnations for row in self._database.read(sql, (*where, each)))
        except ValueError as error:
            raise damaged(claim, error) from error

    async def release(self, claims: Sequence[Claim], *, excused: bool = False) -> None:
        try:
            async with self._database.transaction() as connection:
                connection.executemany(
                    "UPDATE onward_account SET token = NULL, owner = NULL, revision = revision + 1,"
                    " unclean = CASE WHEN ? THEN max(unclean - 1, 0) ELSE 0 END"
                    " WHERE subscription = ? AND partition = ? AND token = ?",
                    [(excused, claim.subscription, claim.partition, claim.token) for claim in claims],
                )
        except apsw.Error as error:
            raise translate(error, "Giving partitions back") from error

    async def close(self) -> None:
        """The file is closed by who opened it."""


def _add_handler(connection: apsw.Connection, subscription: int, handler: HandlerEntry) -> None:
    connection.execute(
        "INSERT OR REPLACE INTO onward_handler (subscription, name, kind, start, types, joined)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        (
            subscription,
            handler.name,
            handler.kind,
            handler.start,
            json.dumps(handler.types),
            json.dumps(handler.joined),
        ),
    )


def _subscriptions(connection: apsw.Connection, service: str) -> list[tuple[str, str]]:
    """Name and topic of each that has handlers on record."""
    rows = fetch(
        connection,
        "SELECT s.name, t.name FROM onward_subscription s JOIN onward_topic t ON t.id = s.topic"
        " WHERE s.service = ? AND s.retired_at IS NULL AND EXISTS"
        " (SELECT 1 FROM onward_handler h WHERE h.subscription = s.id)",
        (service,),
    )
    return [(name, topic) for name, topic in rows]


def _join(connection: apsw.Connection, subscription: int, handler: HandlerEntry) -> None:
    """A handler comes to a position that others share, and that is done in order: nothing lies beyond it."""
    _add_handler(connection, subscription, handler)
    connection.execute(_PASSED_BEFORE, (subscription, handler.name))
    # Whoever works there now does not know it: its commits would pass events that this handler is owed.
    connection.execute(_TAKE_BACK, (subscription,))


def _attempts(connection: apsw.Connection, subscription: int, partition: int) -> dict[tuple[int, str], Attempt]:
    rows = fetch(
        connection,
        "SELECT offset, handler, attempts, error, fingerprint, first_at, last_at FROM onward_attempt"
        " WHERE subscription = ? AND partition = ?",
        (subscription, partition),
    )
    return {(row[0], row[1]): Attempt(*row[2:]) for row in rows}


def _arrivals(connection: apsw.Connection, subscription: int, partition: int) -> Arrivals:
    """Raises ValueError for a damaged row."""
    ((created_at,),) = fetch(connection, "SELECT created_at FROM onward_subscription WHERE id = ?", (subscription,))
    rows = connection.execute(
        "SELECT incarnation, owed_from, done FROM onward_producer WHERE subscription = ? AND partition = ?"
        " ORDER BY incarnation DESC LIMIT ?",  # an incarnation begins with its time
        (subscription, partition, RECENT),
    )
    return came(datetime.fromtimestamp(created_at, UTC), rows)


def _joined(connection: apsw.Connection, subscription: int, partition: int) -> dict[str, int]:
    rows = connection.execute("SELECT name, joined FROM onward_handler WHERE subscription = ?", (subscription,))
    return {name: json.loads(joined)[partition] for name, joined in rows}
