"""The audit of a database: is every event accounted for, and does what the services say must hold, hold?"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import msgspec

from onward.errors import StoreError
from onward.inspection.ends import ask
from onward.inspection.report import (
    MOST_VIOLATIONS,
    Problem,
    Progress,
    Report,
    of_accounts,
    of_keys,
    of_letters,
    of_violations,
    unchecked,
)
from onward.inspection.view import LogsView
from onward.stores.postgres.accounts import accounts
from onward.stores.postgres.inspection import Inspection, Snapshot

INVARIANT_S = 10.0  # a snapshot that is open for longer keeps the server from cleaning up behind its writers

_LETTERS_MISSED = (
    "SELECT s.service || '/' || s.name, t.partition, t.handler, t.dead, coalesce(d.kept, 0) FROM onward.tally t"
    " JOIN onward.subscription s ON s.id = t.subscription LEFT JOIN (SELECT subscription, partition, handler,"
    "  count(*) AS kept FROM onward.dead_letter WHERE state IN ('dead', 'retrying')"
    "  GROUP BY subscription, partition, handler) d USING (subscription, partition, handler)"
    " WHERE t.dead > coalesce(d.kept, 0) ORDER BY t.subscription, t.partition, t.handler"
)
_KEYS_WRONG = (
    "SELECT s.service || '/' || s.name, k.handler, k.key, k.waiting, coalesce(p.parked, 0), k.letter, d.state"
    " FROM onward.blocked k JOIN onward.subscription s ON s.id = k.subscription"
    " LEFT JOIN (SELECT blocked, count(*) AS parked FROM onward.parked GROUP BY blocked) p ON p.blocked = k.id"
    " LEFT JOIN onward.dead_letter d ON d.id = k.letter AND (d.subscription, d.handler) = (k.subscription, k.handler)"
    " WHERE coalesce(p.parked, 0) <> k.waiting"
    " OR (k.letter IS NOT NULL AND coalesce(d.state, '') NOT IN ('dead', 'retrying')) ORDER BY k.id"
)
_ROWS = "SELECT row_to_json(violation)::text FROM (\n{query}\n) violation LIMIT $1"
_INVARIANTS = "SELECT service, name, sql FROM onward.invariant ORDER BY service, name"


async def audit(inspection: Inspection, logs: LogsView | None, progress: Progress) -> Report:
    """Raises StoreError and BrokerError. The log is asked for its ends once the accounts are read."""
    async with inspection.snapshot() as snapshot:
        said = await accounts(snapshot)
        letters = [of_letters(*row) for row in await snapshot.rows(_LETTERS_MISSED)]
        keys = await snapshot.rows(_KEYS_WRONG)
        invariants = await snapshot.rows(_INVARIANTS)
    ends = await asyncio.to_thread(ask, logs, said.live)
    tallies, problems = of_accounts(said, lambda subscription, partition: ends.kept((subscription.topic, partition)))
    problems += letters
    for subscription, handler, key, *counts in keys:
        problems += of_keys(subscription, handler, key.decode(), *counts)
    for done, (service, name, sql) in enumerate(invariants):
        progress("invariants", done, len(invariants))
        problems += await _of_invariant(inspection, service, name, sql)
    return Report.of(str(inspection.address), ends.events, tallies, len(invariants), problems, ends.unknown)


async def _of_invariant(inspection: Inspection, service: str, name: str, sql: str) -> list[Problem]:
    try:
        async with inspection.snapshot(statement_s=INVARIANT_S) as snapshot:
            return list(_violations(service, name, await _found(snapshot, sql)))
    except StoreError as error:
        return [unchecked(service, name, f"{error} An audit gives an invariant {INVARIANT_S:g} s.")]


async def _found(snapshot: Snapshot, sql: str) -> list[dict[str, object]]:
    """The first rows of a query, by column: JSON is the form in which they have their names with them."""
    query = sql.rstrip().rstrip(";")
    rows = await snapshot.rows(_ROWS.format(query=query), MOST_VIOLATIONS + 1)
    return [msgspec.json.decode(row) for (row,) in rows]


def _violations(service: str, name: str, rows: list[dict[str, object]]) -> Iterator[Problem]:
    for row in rows[:MOST_VIOLATIONS]:
        yield from of_violations(service, name, list(row), [list(row.values())], more=False)
    if len(rows) > MOST_VIOLATIONS:
        yield from of_violations(service, name, (), (), more=True)
