"""The outbox in the file: one row for what a transaction published, numbered by one update."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby
from os import urandom
from time import time
from typing import Any

import apsw

from onward.delays import micros_of
from onward.ids import uuid7_bytes
from onward.ports import Outgoing
from onward.relay import OutboxRow, OutboxStats, Refused, Stamp, Term, outbox_of
from onward.relay.refusals import numbered_or_gone, term_over
from onward.relay.rows import opened, places, rows_of
from onward.sqlite.database import Database
from onward.sqlite.failures import translate
from onward.sqlite.fetch import fetch

_INSERT = "INSERT INTO onward_outbox (service, due, created_at, events, body) VALUES (?, ?, ?, ?, ?)"
_REFUSED = (
    "INSERT INTO onward_refused (service, refused_at, why, topic, type, version, key, value, event_id, source, extra)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"
)
_COLUMNS = "id, created_at, body, epoch, turn, incarnation, places FROM onward_outbox"
_NUMBERED = (
    f"SELECT {_COLUMNS} WHERE service = ?1 AND epoch > 0 AND (epoch, turn) > (?2, ?3) ORDER BY epoch, turn LIMIT ?4"
)
_ASIDE = f"SELECT {_COLUMNS} WHERE service = ? AND epoch = 0 AND turn > ? ORDER BY turn LIMIT ?"
_DUE = f"SELECT {_COLUMNS} WHERE service = ? AND epoch IS NULL AND due <= ? ORDER BY due, id LIMIT ?"
_WAITING = f"SELECT {_COLUMNS} WHERE service = ? AND epoch IS NULL AND due IS NULL ORDER BY id LIMIT ?"
_LEASE = (
    "INSERT INTO onward_relay (service, epoch, token, until) VALUES (?1, 1, ?2, ?3) ON CONFLICT DO UPDATE"
    " SET epoch = epoch + 1, token = excluded.token, until = excluded.until WHERE token IS NULL OR until <= ?4"
    " RETURNING epoch"
)
_PROLONG = "UPDATE onward_relay SET until = ?3, token = CASE WHEN ?4 THEN token END WHERE service = ?1 AND token = ?2"
_STAMP = (
    "UPDATE onward_outbox SET epoch = ?, turn = ?, incarnation = ?, places = ?"
    " WHERE id = ? AND service = ? AND coalesce(epoch, 0) = 0"
)
_DELETE = "DELETE FROM onward_outbox WHERE id BETWEEN ? AND ? AND service = ?"
_OLDEST = (  # each the first of an index: how much waits makes no difference
    "SELECT min(at) FROM ("
    "SELECT * FROM (SELECT max(coalesce(due, 0), created_at) AS at FROM onward_outbox"
    " WHERE service = ?1 AND epoch > 0"
    " ORDER BY epoch, turn LIMIT 1) UNION ALL "
    "SELECT * FROM (SELECT max(coalesce(due, 0), created_at) FROM onward_outbox"
    " WHERE service = ?1 AND epoch = 0 ORDER BY turn LIMIT 1) UNION ALL "
    "SELECT * FROM (SELECT created_at FROM onward_outbox WHERE service = ?1 AND epoch IS NULL AND due IS NULL"
    " ORDER BY id LIMIT 1) UNION ALL "
    "SELECT * FROM (SELECT max(due, created_at) FROM onward_outbox WHERE service = ?1 AND epoch IS NULL AND due <= ?2"
    " ORDER BY due LIMIT 1))"
)


Rows = list[tuple[Any, ...]]


def outbox_stats(read: Callable[[str, tuple[str, float]], Rows], service: str, now: float) -> OutboxStats:
    """`Outbox.stats`, for who can read the file and no more. `now` is in seconds since the epoch."""
    ((oldest,),) = read(_OLDEST, (service, micros_of(now)))
    led = read("SELECT 1 FROM onward_relay WHERE service = ? AND token IS NOT NULL AND until > ?", (service, now))
    return OutboxStats(oldest, bool(led))


def append_rows(
    connection: apsw.Connection, service: str, outputs: Sequence[Outgoing], *, now: Callable[[], float] = time
) -> None:
    """`FileOutbox.append`, for who tells the relays by themselves."""
    created = micros_of(now())
    rows = [(service, row.due, created, row.events, row.body) for row in rows_of(outputs, service)]
    connection.executemany(_INSERT, rows)


class FileOutbox:
    """`Outbox` of one service in a file. `append` writes to it, inside the transaction that is open.

    `appended` is called after a commit that put something into it. `forget` after a rollback.
    """

    def __init__(self, database: Database, service: str, *, now: Callable[[], float] = time) -> None:
        """`now` gives seconds since the epoch."""
        self._database = database
        self._service = service
        self._now = now
        self._pending = False
        self.appended: list[Callable[[set[str]], None]] = []
        database.after_commit.append(self._tell)

    def append(self, outputs: Sequence[Outgoing]) -> None:
        """To be called last in the transaction. Each event gets its id here, the same however often it is sent."""
        self._pending = True
        append_rows(self._database.writer, self._service, outputs, now=self._now)

    def forget(self) -> None:
        self._pending = False

    def _tell(self) -> None:
        if self._pending:
            self._pending = False
            for tell in self.appended:
                tell({outbox_of(self._service)})

    async def lease(self, for_s: float, term: Term | None = None) -> Term | None:
        now = self._now()
        try:
            async with self._database.transaction() as connection:
                if term is not None:
                    connection.execute(_PROLONG, (self._service, term.token, now + for_s, for_s > 0))
                    self._refuse_over(connection.changes())
                    return term if for_s > 0 else None
                token = urandom(16)
                found = fetch(connection, _LEASE, (self._service, token, now + for_s, now))
        except apsw.Error as error:
            raise translate(error, "Taking the lease of the outbox") from error
        return Term(found[0][0], token, *uuid7_bytes(1)) if found else None

    async def read(
        self, limit: int, *, after: Stamp | None = None, numbered: bool = False, aside: bool = False
    ) -> list[OutboxRow]:
        if aside:
            turn = 0 if after is None else after.turn
            return list(opened(self._database.read(_ASIDE, (self._service, turn, limit))))
        if numbered:
            place = (after.epoch, after.turn) if after is not None else (-1, -1)
            return list(opened(self._database.read(_NUMBERED, (self._service, *place, limit))))
        found = self._database.read(_DUE, (self._service, micros_of(self._now()), limit))
        if len(found) < limit:
            found += self._database.read(_WAITING, (self._service, limit - len(found)))
        return list(opened(found))

    async def number(self, term: Term, stamps: Mapping[int, Stamp], barred: Mapping[str, str] | None = None) -> None:
        rows = [
            (each.epoch, each.turn, each.incarnation, places(each), row_id, self._service)
            for row_id, each in stamps.items()
        ]
        try:
            async with self._database.transaction() as connection:
                self._compare(connection, term)
                before = connection.total_changes()
                connection.executemany(_STAMP, rows)
                if connection.total_changes() - before != len(rows):
                    raise numbered_or_gone(len(rows), self._service)
                if barred is not None:
                    self._note(connection, barred)
        except apsw.Error as error:
            raise translate(error, "Numbering events of the outbox") from error

    def _note(self, connection: apsw.Connection, barred: Mapping[str, str]) -> None:
        now = micros_of(self._now())
        connection.execute("DELETE FROM onward_barred WHERE service = ?", (self._service,))
        connection.executemany(
            "INSERT INTO onward_barred VALUES (?, ?, ?, ?)",
            [(self._service, topic, why, now) for topic, why in barred.items()],
        )

    async def delete(self, term: Term, ids: Sequence[int], refused: Sequence[Refused] = ()) -> None:
        try:
            async with self._database.transaction() as connection:
                self._compare(connection, term)
                connection.executemany(_DELETE, [(first, last, self._service) for first, last in _runs(ids)])
                connection.executemany(_REFUSED, [self._refused_row(each) for each in refused])
        except apsw.Error as error:
            raise translate(error, "Deleting from the outbox what the broker has") from error

    def _refused_row(self, refused: Refused) -> tuple[apsw.SQLiteValue, ...]:
        event = refused.event
        what = (event.topic, event.type, event.version, event.key, event.value, event.id, event.source, event.extra)
        return (self._service, micros_of(self._now()), refused.why, *what)

    async def stats(self) -> OutboxStats:
        return outbox_stats(self._database.read, self._service, self._now())

    def _compare(self, connection: apsw.Connection, term: Term) -> None:
        """The writer is ours from here to the commit, and nobody can begin another term meanwhile."""
        held = fetch(connection, "SELECT token FROM onward_relay WHERE service = ?", (self._service,))
        self._refuse_over(held == [(term.token,)])

    def _refuse_over(self, held: object) -> None:
        if not held:
            raise term_over(self._service)


def _runs(ids: Sequence[int]) -> Iterator[tuple[int, int]]:
    """The first and the last of each run of numbers without a gap."""
    for _, run in groupby(enumerate(sorted(ids)), lambda each: each[1] - each[0]):
        found = [number for _, number in run]
        yield found[0], found[-1]
