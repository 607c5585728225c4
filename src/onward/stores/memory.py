"""The store in memory, for tests: accounts in dictionaries, effects on an SQLite database of this process alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from os import urandom
from time import time
from typing import NamedTuple

import apsw

from onward.errors import StoreClosedError
from onward.ledger import Arrivals, Numbers, Position, ProducerLedger
from onward.ports import (
    Attempt,
    Capabilities,
    Claim,
    DeadLetter,
    HandlerEntry,
    Outgoing,
    Parked,
    Queues,
    Retried,
    ServiceEntry,
    Settlement,
    Shift,
    SubscriptionEntry,
)
from onward.sqlite.connection import connect
from onward.sqlite.database import Database
from onward.sqlite.failures import translate
from onward.stores.reading import Queries
from onward.stores.registration import newcomers, refuse_unknown
from onward.stores.result import StatementResult
from onward.stores.settling import MOST_AT_ONCE, blocked_here, claim_lost, tallies
from onward.stores.transaction import Statements
from onward.stores.unit import SqliteUnit

Prepare = Callable[[Sequence[Outgoing], str], Callable[[], None]]
"""Refuses outputs that can't be published; what it returns publishes them, and can't fail."""


@dataclass(slots=True)
class MemoryAccount:
    """One subscription's account of one partition."""

    position: Position
    token: bytes | None = None
    revision: int = 0
    unclean: int = 0
    suspect_until: int = 0
    mark: str = ""
    arrivals: ProducerLedger = field(default_factory=lambda: ProducerLedger(datetime.now(UTC)))
    attempts: dict[tuple[int, str], Attempt] = field(default_factory=dict)


@dataclass(slots=True)
class MemorySubscription:
    """A subscription on record, with its accounts by partition."""

    id: int
    entry: SubscriptionEntry
    handlers: dict[str, HandlerEntry]
    accounts: list[MemoryAccount]


@dataclass(slots=True)
class StoredLetter:
    """A dead letter; `state` is "dead", "retrying" or "recovered"."""

    id: int
    subscription: int
    partition: int
    letter: DeadLetter
    state: str = "dead"


@dataclass(slots=True)
class MemoryQueue:
    """The row of a blocked key: what `letter` it waits for, None when that is decided, and what is parked behind it."""

    partition: int
    letter: int | None = None
    due: float = 0.0
    parked: list[Parked] = field(default_factory=list)


class Tally(NamedTuple):
    """What became of the events of one handler on one partition."""

    succeeded: int = 0
    dead: int = 0
    skipped: int = 0


def memory_database() -> Database:
    """An empty database of this process, for the effects of one or more services."""
    connection = connect(":memory:", None)
    return Database(":memory:", connection, connection)


class MemoryStore:
    """`Store` of one service. `settled` is called after each commit that moved an account."""

    capabilities = Capabilities(durable=False, shared=False, atomic_publish=True, inline=True)
    identity = ""

    def __init__(self, database: Database, prepare: Prepare, service: str, *, now: Callable[[], float] = time) -> None:
        self.subscriptions: list[MemorySubscription] = []
        self.letters: list[StoredLetter] = []
        self.tallies: dict[tuple[int, int, str], Tally] = {}
        self.queues: dict[tuple[int, str, str], MemoryQueue] = {}
        self.shifts: list[tuple[int, Shift]] = []
        self.settled: list[Callable[[Claim, Position, Settlement], None]] = []
        self._database = database
        self._prepare = prepare
        self._now = now
        self._service = service
        self._statements = Statements(database, service, now)
        self._queries = Queries(database)
        self._staged: list[Callable[[], None]] = []
        self._last_parked = 0
        self._closed = False
        database.after_commit.append(self._apply)

    async def successor(self) -> MemoryStore:
        """Close this one, as a process that dies does; what another process finds has the same accounts and letters."""
        await self.close()
        other = MemoryStore(self._database, self._prepare, self._service, now=self._now)
        other.subscriptions, other.letters, other.tallies = self.subscriptions, self.letters, self.tallies
        other.queues, other._last_parked = self.queues, self._last_parked
        return other

    def unit(self) -> MemoryUnit:
        return MemoryUnit(self, self._database, self._statements)

    async def read(self, sql: str, params: Mapping[str, object]) -> StatementResult:
        """Waits for an open transaction's end: reader and writer are one connection, and it would see half of it."""
        self._queries.refuse_inside()
        await self._database.begin()
        try:
            return self._queries.run(sql, params)
        finally:
            self._database.rollback()

    def stage(self, change: Callable[[], None]) -> None:
        """Make a change in memory by the commit of the open transaction, and not at all if it does not commit."""
        self._staged.append(change)

    def stage_outputs(self, outputs: Sequence[Outgoing]) -> None:
        self.stage(self._prepare(outputs, self._service))

    def forget(self) -> None:
        self._staged.clear()

    def _apply(self) -> None:
        staged, self._staged = self._staged, []
        for change in staged:
            change()

    async def open(self, service: ServiceEntry) -> list[int]:
        for entry in service.subscriptions:
            self._check(service.name, entry)
        refuse_unknown(service, ((known.entry.name, known.entry.topic) for known in self.subscriptions))
        try:
            async with self._database.transaction() as connection:
                for sql in service.schema:
                    connection.execute(sql)
        except apsw.Error as error:
            raise translate(error, f"Preparing the tables of service {service.name!r}") from error
        return [self._register(entry) for entry in service.subscriptions]

    def _find(self, entry: SubscriptionEntry) -> MemorySubscription | None:
        same = (each for each in self.subscriptions if (each.entry.name, each.entry.topic) == (entry.name, entry.topic))
        return next(same, None)

    def _check(self, service: str, entry: SubscriptionEntry) -> None:
        known = self._find(entry)
        if known is not None:
            newcomers(service, entry, {name: (each.kind, each.start) for name, each in known.handlers.items()})

    def _register(self, entry: SubscriptionEntry) -> int:
        known = self._find(entry)
        if known is None:
            entry = entry.anew()
            accounts = [MemoryAccount(Position(start, start)) for start in entry.starts]
            known = MemorySubscription(len(self.subscriptions) + 1, entry, {}, accounts)
            self.subscriptions.append(known)
        for handler in entry.handlers:
            before = known.handlers.get(handler.name)
            if before is None:
                self._join(known, handler.name)
            known.handlers[handler.name] = handler._replace(joined=(before or handler).joined)
        return known.id

    def _join(self, known: MemorySubscription, handler: str) -> None:
        """What the subscription is past, this handler has passed; whoever works there now does not know it."""
        for partition, account in enumerate(known.accounts):
            unrouted = self.tallies.get((known.id, partition, ""), Tally())
            passed = account.position.handled_count - unrouted.skipped - unrouted.dead
            if passed:
                self.tallies[known.id, partition, handler] = Tally(skipped=passed)
            if account.token is not None:
                account.token, account.unclean = None, max(account.unclean - 1, 0)
                account.revision += 1

    def account(self, subscription: int, partition: int) -> MemoryAccount:
        return self.subscriptions[subscription - 1].accounts[partition]

    async def claim(self, subscription: int, topic: str, partitions: Sequence[int], member: str) -> list[Claim]:
        self.refuse_closed()
        async with self._database.transaction():
            return [self._claim(subscription, topic, partition) for partition in partitions]

    def _claim(self, subscription: int, topic: str, partition: int) -> Claim:
        self._grow(self.subscriptions[subscription - 1], partition)
        account = self.account(subscription, partition)
        account.token = urandom(16)
        account.revision += 1
        account.unclean += 1
        handlers = self.subscriptions[subscription - 1].handlers
        return Claim(
            subscription,
            topic,
            partition,
            account.token,
            account.revision,
            account.position,
            account.unclean - 1,
            account.suspect_until,
            dict(account.attempts),
            {name: handler.joined[partition] for name, handler in handlers.items()},
            account.mark,
            blocked=self._blocked(subscription, partition),
            arrivals=Arrivals.after(account.arrivals),
        )

    def _blocked(self, subscription: int, partition: int) -> set[tuple[str, str]]:
        rows = ((*place[1:], queue.partition) for place, queue in self.queues.items() if place[0] == subscription)
        return blocked_here(rows, partition, len(self.subscriptions[subscription - 1].accounts))

    async def recall(self, claim: Claim, incarnations: Iterable[str]) -> dict[str, Numbers]:
        """A claim has them all."""
        return {}

    @staticmethod
    def _grow(known: MemorySubscription, partition: int) -> None:
        """Accounts of partitions that came after the subscription, from their beginning."""
        fresh = partition + 1 - len(known.accounts)
        known.accounts += [MemoryAccount(Position(0, 0)) for _ in range(fresh)]
        for name, handler in known.handlers.items():
            known.handlers[name] = handler._replace(joined=(*handler.joined, *[0] * fresh))

    def _shift(self, claim: Claim, shift: Shift) -> None:
        """The account, moved already, goes on in the log where no handling led it."""
        self.shifts.append((claim.subscription, shift))
        if not shift.anew:
            return
        account = self.account(claim.subscription, claim.partition)
        account.suspect_until = 0
        account.attempts.clear()
        handlers = self.subscriptions[claim.subscription - 1].handlers
        for name, handler in handlers.items():
            joined = list(handler.joined)
            joined[claim.partition] = shift.place.offset
            handlers[name] = handler._replace(joined=tuple(joined))

    async def release(self, claims: Sequence[Claim], *, excused: bool = False) -> None:
        self.refuse_closed()
        async with self._database.transaction():
            for claim in claims:
                account = self.account(claim.subscription, claim.partition)
                if account.token == claim.token:
                    account.token, account.unclean = None, max(account.unclean - 1, 0) if excused else 0
                    account.revision += 1

    def retry(self) -> int:
        """Ask every dead letter to run again; how many there are."""
        dead = [each for each in self.letters if each.state == "dead"]
        for each in dead:
            each.state = "retrying"
        return len(dead)

    def refuse_closed(self) -> None:
        if self._closed:
            raise StoreClosedError("The store in memory was closed. Nothing was stored; use it only until `close`.")

    async def close(self) -> None:
        """From now on nothing commits; the database is closed by who opened it. Safe to repeat."""
        self._closed = True
        if self._apply in self._database.after_commit:
            self._database.after_commit.remove(self._apply)

    def settle(self, claim: Claim, done: Settlement) -> None:
        """What the open transaction's commit says about an account."""
        account = self.account(claim.subscription, claim.partition)
        before, account.position = account.position, done.position
        account.revision += 1
        if done.clears_unclean:
            account.unclean = 0
        if done.suspect_until is not None:
            account.suspect_until = done.suspect_until
        account.mark = claim.mark
        account.arrivals = claim.arrivals.at(done.position)[0].stored
        if done.shift is not None:
            self._shift(claim, done.shift)
        account.attempts.update(done.attempts)
        for key in done.forget:
            account.attempts.pop(key, None)
        for partition, handler, *counts in tallies(claim, done):
            self._count(claim.subscription, partition, handler, Tally(*counts))
        for letter in done.dead:
            partition = letter.envelope.partition
            self.letters.append(StoredLetter(len(self.letters) + 1, claim.subscription, partition, letter))
        self._settle_retried(claim, done)
        self._settle_parked(claim, done)
        for tell in self.settled:
            tell(claim, before, done)

    def _settle_retried(self, claim: Claim, done: Settlement) -> None:
        for letter_id in done.revived:
            stored = self.letters[letter_id - 1]
            stored.state = "recovered"
            self._count(stored.subscription, stored.partition, stored.letter.handler, Tally(dead=-1))
        for letter_id, letter in done.still_dead:
            stored = self.letters[letter_id - 1]
            stored.state, stored.letter = "dead", letter

    def _settle_parked(self, claim: Claim, done: Settlement) -> None:
        for stored in self.letters[len(self.letters) - len(done.dead) :]:
            if stored.letter.place is not None:
                queue = self._queue(claim, stored.letter.place)
                queue.partition, queue.letter, queue.due = claim.partition, stored.id, 0.0
        for queue in self.queues.values():
            if queue.letter in done.revived:
                queue.letter, queue.due = None, 0.0
        for event in done.unparked:
            queue = self._queue(claim, event.place)
            queue.parked, queue.due = [each for each in queue.parked if each.id != event.id], 0.0
        for event, due in done.put_off:
            queue = self._queue(claim, event.place)
            queue.parked = [event if each.id == event.id else each for each in queue.parked]
            queue.due = due or 0.0
        for event in done.parked:
            self._last_parked += 1
            queue = self._queue(claim, event.place)
            queue.parked.append(event._replace(id=self._last_parked))
            if queue.letter is None:
                queue.partition = claim.partition
        for place in done.freed:
            del self.queues[(claim.subscription, *place)]

    def _queue(self, claim: Claim, place: tuple[str, str]) -> MemoryQueue:
        return self.queues.setdefault((claim.subscription, *place), MemoryQueue(claim.partition))

    def _count(self, subscription: int, partition: int, handler: str, more: Tally) -> None:
        place = (subscription, partition, handler)
        before = self.tallies.get(place, Tally())
        self.tallies[place] = Tally(*(former + added for former, added in zip(before, more, strict=True)))


class MemoryUnit(SqliteUnit):
    """`Unit` whose effects are SQL, and whose account moves in memory by the same commit."""

    def __init__(self, store: MemoryStore, database: Database, statements: Statements) -> None:
        super().__init__(database, statements, store.stage_outputs, store.forget)
        self._store = store

    async def commit(self, claim: Claim | None, settlement: Settlement | None) -> None:
        self._store.refuse_closed()
        await super().commit(claim, settlement)

    async def retrying(self, claim: Claim) -> list[Retried]:
        asked = [
            Retried(each.id, each.letter)
            for each in self._store.letters
            if each.state == "retrying" and (each.subscription, each.partition) == (claim.subscription, claim.partition)
        ]
        return sorted(asked, key=lambda each: each.letter.offset)[:100]

    async def queues(self, claim: Claim, now: float) -> Queues:
        decided = {
            place[1:]: queue
            for place, queue in self._store.queues.items()
            if (place[0], queue.partition) == (claim.subscription, claim.partition) and queue.letter is None
        }
        going_on = [queue.parked for queue in decided.values() if queue.due <= now and queue.parked][:MOST_AT_ONCE]
        due = [each for parked in going_on for each in parked[: MOST_AT_ONCE // len(going_on)]]
        empty = [place for place, queue in decided.items() if not queue.parked]
        return Queues(due, empty[:MOST_AT_ONCE])

    def _settle(self, claim: Claim, done: Settlement) -> None:
        account = self._store.account(claim.subscription, claim.partition)
        if (account.token, account.revision) != (claim.token, claim.revision):
            raise claim_lost(claim)
        parked = {each.id for queue in self._store.queues.values() for each in queue.parked}
        if not parked.issuperset(each.id for each in (*done.unparked, *(tried for tried, _ in done.put_off))):
            raise claim_lost(claim)
        self._store.stage(lambda: self._store.settle(claim, done))
