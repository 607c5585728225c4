"""The outbox in PostgreSQL: a row for what a transaction published, numbered and deleted in sets by one relay."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from os import urandom

from onward.delays import micros_at, micros_of, moment_of
from onward.errors import StoreError
from onward.ids import uuid7_bytes
from onward.ports import DELIVERY_BYTES, Outgoing
from onward.relay import ASIDE, OutboxRow, OutboxStats, Refused, Stamp, Term, outbox_of
from onward.relay.refusals import numbered_or_gone, term_over
from onward.relay.rows import opened, places, rows_of
from onward.stores.postgres import outbox_sql as sql
from onward.stores.postgres.address import Address
from onward.stores.postgres.command import UNEQUAL, Arguments, Command
from onward.stores.postgres.connections import Connections
from onward.stores.postgres.news import Ears, Voice
from onward.stores.postgres.outbox_marks import move
from onward.stores.result import StatementResult

DELETE_ROWS = 1_000
"""Rows that one transaction deletes at most."""
MOVE_ROWS = 2_000
"""Rows after whose numbering reading begins further on: as many as it may have to pass in vain, and a few more."""
CONNECTIONS = 4
NUMBERING = "Numbering events of the outbox"
DELETING = "Deleting from the outbox"
IDLE_S = 5.0
"""How long a relay that stands still in a transaction may keep its successor from beginning."""

# What is read is always the next of an index. Where the planner guesses that few rows wait, as it does before the first
# ANALYZE, it would rather fetch all and sort them; and a plan without a cheap way left is no reason to compile it.
_WITHOUT = ("enable_seqscan", "enable_bitmapscan", "enable_sort", "enable_hashjoin", "enable_mergejoin", "jit")


def append(outputs: Sequence[Outgoing], service: str, now: datetime | None = None) -> list[Command]:
    """To be sent last in the transaction. Each event gets its id here, the same however often it is sent.

    `now` is for tests; it is the server's clock that counts.
    """
    rows = [
        (service, None if row.due is None else moment_of(row.due), now, row.events, row.body)
        for row in rows_of(outputs, service)
    ]
    return [Command(sql.APPEND, rows, ours=True)]


class PostgresOutbox:
    """`Outbox` of one service in a database. `append` writes to it, inside the transaction that is open.

    The server's clock tells when a lease ends and an event is due, so the machines' clocks need not agree.
    """

    def __init__(self, address: Address, service: str, *, now: Callable[[], float] | None = None) -> None:
        """`now`, in seconds since the epoch, takes the place of the server's clock in tests."""
        # Of its own: handlers that have taken all of the store's must not cost the relay its lease.
        own = replace(address, pool_size=CONNECTIONS, idle_s=min(address.idle_s, IDLE_S))
        self._connections = Connections(own, _WITHOUT, kept=True)
        self._service = service
        self._ears = Ears(address, service, self._hear)
        self.voice = Voice(self._connections, service, self._ears)
        self.heard: list[Callable[[set[str]], None]] = []
        """Called when another process has put something into it, while the lease is held here."""
        self._now = now
        self._revision = 0
        self._since_move = MOVE_ROWS
        self._seen: dict[int, int] = {}
        """When those were put in that were read last. A server that took over may have given an id to another row."""

    async def lease(self, for_s: float, term: Term | None = None) -> Term | None:
        if for_s <= 0:
            self._ears.close()
        term = await self._lease(for_s, term)
        if term is not None and for_s > 0:
            await self._ears.listen()
        return term

    def _hear(self) -> None:
        for tell in self.heard:
            tell({outbox_of(self._service)})

    async def _lease(self, for_s: float, term: Term | None = None) -> Term | None:
        doing = "Taking the lease of the outbox"
        token = urandom(16) if term is None else term.token
        args = (self._service, token, float(for_s), self._time())
        anew = Command(sql.BEGIN_ANEW, [(self._service,)])
        async with self._connections.transaction() as session:
            if term is not None:
                await session.send([Command(sql.PROLONG, [args], term_over(self._service)), anew], doing)
                return term if for_s > 0 else None
            found = await session.run(sql.TAKE, args, doing)
            if not found.rows:
                found = await session.run(sql.TAKE_FIRST, args, doing)
            if not found.rows:
                return None
            await session.send([anew], doing)
        epoch, self._revision = found.one()
        return Term(epoch, token, *uuid7_bytes(1))

    async def read(
        self, limit: int, *, after: Stamp | None = None, numbered: bool = False, aside: bool = False
    ) -> list[OutboxRow]:
        if aside:
            turn = 0 if after is None else after.turn
            found = await self._query(sql.ASIDE, (self._service, limit, DELIVERY_BYTES, turn))
        elif numbered:
            place = (after.epoch, after.turn) if after is not None else (None, None)
            found = await self._query(sql.NUMBERED, (self._service, limit, DELIVERY_BYTES, *place))
        else:
            found = await self._query(sql.WAITING, (self._service, limit, DELIVERY_BYTES, self._time()))
        rows = list(opened(found.rows))
        if not numbered:
            self._seen = {row.id: row.created for row in rows}
        return rows

    async def number(self, term: Term, stamps: Mapping[int, Stamp], barred: Mapping[str, str] | None = None) -> None:
        numbered = [(each.epoch, each.turn) for each in stamps.values() if each.epoch != ASIDE]
        moves = bool(numbered) and self._since_move >= MOVE_ROWS
        numbering = self._numbering(term, stamps) if stamps else None
        try:
            if numbering is None or moves or barred is not None:
                await self._number_with_more(term, numbering, barred, (max(stamps), min(numbered)) if moves else None)
            else:
                await self._of_ours(numbering, NUMBERING, again=False)
        except StoreError as error:
            if error.fields.get("sqlstate") == UNEQUAL:
                raise numbered_or_gone(len(stamps), self._service) from error
            raise
        self._revision += bool(stamps)
        self._since_move = len(stamps) + (0 if moves else self._since_move)

    async def _number_with_more(
        self,
        term: Term,
        numbering: Command | None,
        barred: Mapping[str, str] | None,
        moves: tuple[int, tuple[int, int]] | None,
    ) -> None:
        commands = [] if numbering is None else [numbering]
        if barred is not None:
            notes = [(self._service, topic, why) for topic, why in barred.items()]
            commands += [Command(sql.UNBAR, [(self._service,)]), *([Command(sql.BAR, notes)] if notes else [])]
        compare = self._compare(sql.COMPARE, term)
        async with self._connections.transaction(compare, doing=NUMBERING, again=False) as session:
            if moves is not None:
                commands.insert(0, await move(session, self._service, *moves))
            await session.send(commands, NUMBERING)

    async def _of_ours(self, command: Command, doing: str, *, again: bool = True) -> None:
        """One statement that says whether the term is ours, in one round trip with its commit."""
        found = await self._connections.apart(command, doing, read_only=False, again=again)
        if not found.rows:
            raise term_over(self._service)

    def _numbering(self, term: Term, stamps: Mapping[int, Stamp]) -> Command:
        epochs = _numbers(each.epoch for each in stamps.values())
        turns = _numbers(each.turn for each in stamps.values())
        incarnations = _bytes(each.incarnation for each in stamps.values())
        created = "{" + ",".join(str(self._seen.get(id, "NULL")) for id in stamps) + "}"
        rows = (_numbers(stamps), epochs, turns, incarnations, _bytes(map(places, stamps.values())), created)
        return Command(sql.NUMBER, [(self._service, term.token, self._revision, *rows)])

    async def delete(self, term: Term, ids: Sequence[int], refused: Sequence[Refused] = ()) -> None:
        for start in range(0, len(ids) or 1, DELETE_ROWS):
            some = _numbers(ids[start : start + DELETE_ROWS])
            delete = Command(sql.DELETE, [(self._service, term.token, self._revision, some)])
            if start or not refused:
                await self._of_ours(delete, DELETING)
                continue
            # With the first: what is kept apart before its row is gone is kept once, however often that is tried.
            keep = Command(sql.REFUSE, [self._refused_row(each) for each in refused])
            compare = self._compare(sql.COMPARE, term)
            async with self._connections.transaction(compare, keep, delete, doing=DELETING):
                pass

    def _refused_row(self, refused: Refused) -> tuple[object, ...]:
        event = refused.event
        key = None if event.key is None else event.key.encode()
        what = (event.topic, event.type, event.version, key, event.value, event.id, event.source, event.extra)
        return (self._service, refused.why, *what)

    async def stats(self) -> OutboxStats:
        oldest, led = (await self._query(sql.STATS, (self._service, self._time()))).one()
        return OutboxStats(None if oldest is None else micros_at(oldest), led)

    async def end(self) -> None:
        """Say what is still to be announced, and close. Safe to repeat."""
        await self.voice.end()
        self.close()

    def close(self) -> None:
        """Safe to repeat."""
        self._ears.close()
        self._connections.close()

    async def _query(self, statement: str, args: Arguments) -> StatementResult:
        return await self._connections.apart(Command(statement, [args], binary=True), "Reading the outbox")

    def _compare(self, statement: str, term: Term) -> Command:
        """Nobody begins another term before the transaction has ended that this is the first statement of."""
        return Command(statement, [(self._service, term.token, self._revision)], term_over(self._service))

    def _time(self) -> datetime | None:
        return None if self._now is None else moment_of(micros_of(self._now()))


def _numbers(values: Iterable[int]) -> str:
    """An array as PostgreSQL reads it: written in one go, where the client would write each by itself."""
    return "{" + ",".join(map(str, values)) + "}"


def _bytes(values: Iterable[bytes]) -> str:
    return "{" + ",".join([r"\\x" + each.hex() for each in values]) + "}"
