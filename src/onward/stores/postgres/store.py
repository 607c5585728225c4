"""The store on PostgreSQL: accounts and claims in the schema `onward`, beside the users' own tables."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from os import urandom

from onward.errors import StoreCorruptError, TransactionError
from onward.ledger import RECENT, IntervalSet, Numbers, Position
from onward.ports import Attempt, Capabilities, Claim, ServiceEntry
from onward.relay import outbox_of
from onward.stores.postgres.address import Address
from onward.stores.postgres.command import Command
from onward.stores.postgres.connections import Connections
from onward.stores.postgres.migration import lock, ready
from onward.stores.postgres.other_logs import grow
from onward.stores.postgres.outbox import PostgresOutbox
from onward.stores.postgres.parking import blocked
from onward.stores.postgres.reading import read
from onward.stores.postgres.registration import register
from onward.stores.postgres.session import Session
from onward.stores.postgres.unit import PostgresUnit
from onward.stores.refusals import read_inside
from onward.stores.result import StatementResult
from onward.stores.settling import came, damaged, numbers_of

MAX_THREADS = 64  # of plain functions; idle ones are used again before another is started

_CLAIM = (
    "UPDATE onward.account SET token = $1, owner = $2, revision = revision + 1, unclean = unclean + 1"
    " WHERE subscription = $3 AND partition = $4"
    " RETURNING revision, start_offset, next_offset, beyond, unclean, suspect_until, mark"
)
_ATTEMPTS = (
    'SELECT "offset", handler, attempts, error, fingerprint, first_at, last_at FROM onward.attempt'
    " WHERE subscription = $1 AND partition = $2"
)
_CREATED = "SELECT created_at FROM onward.subscription WHERE id = $1"
_CAME = (  # the last of the primary key, however many there are: an incarnation begins with its time
    "SELECT incarnation, owed_from, done FROM onward.producer WHERE subscription = $1 AND partition = $2"
    " ORDER BY incarnation DESC LIMIT $3"
)
_RECALL = (
    "SELECT incarnation, owed_from, done FROM onward.producer"
    " WHERE subscription = $1 AND partition = $2 AND incarnation = ANY($3::text[])"
)
_RELEASE = (
    "UPDATE onward.account SET token = NULL, owner = NULL, revision = revision + 1,"
    " unclean = CASE WHEN $1 THEN greatest(unclean - 1, 0) ELSE 0 END"
    " WHERE subscription = $2 AND partition = $3 AND token = $4"
)


class PostgresStore:
    """`Store` of one service on one database."""

    capabilities = Capabilities(durable=True, shared=True, atomic_publish=False, savepoints_are_cheap=False)

    def __init__(self, address: Address, service: str) -> None:
        self._connections = Connections(address)
        self._threads = ThreadPoolExecutor(MAX_THREADS, thread_name_prefix="onward-sync")
        self._inside: set[object] = set()
        self._service = service
        self._loop: asyncio.AbstractEventLoop | None = None
        self.outbox = PostgresOutbox(address, service)
        """What its transactions published; it connects when a relay uses it."""
        self.appended: list[Callable[[set[str]], None]] = []
        """Called after a commit that put something into the outbox."""
        self.identity = ""
        """Known once it is open."""

    def unit(self) -> PostgresUnit:
        return PostgresUnit(
            self._connections, self._threads, self._inside, self._service, self.outbox.voice, self._appended
        )

    def _told(self) -> None:
        self._appended()
        self.outbox.voice.say()

    def _appended(self) -> None:
        for tell in self.appended:
            tell({outbox_of(self._service)})

    def told(self) -> None:
        """Somebody else has put something into the outbox. From any thread; waits for nothing and never raises."""
        if self._loop is not None:
            with suppress(RuntimeError):  # the loop has ended
                self._loop.call_soon_threadsafe(self._told)

    async def read(self, sql: str, params: Mapping[str, object]) -> StatementResult:
        if asyncio.current_task() in self._inside:
            raise read_inside()
        return await read(self._connections, sql, params)

    async def open(self, service: ServiceEntry) -> list[int]:
        self._loop = asyncio.get_running_loop()
        async with self._connections.transaction() as session:
            await lock(session)
            await ready(session, self._connections.address)
            for sql in service.schema:
                await session.script(sql, f"Preparing the tables of service {service.name!r}")
                if not session.in_transaction:
                    raise TransactionError(
                        f"The schema of service {service.name!r} ends the transaction that it runs in. Take BEGIN,"
                        " COMMIT and ROLLBACK out of it: onward commits it with the registration."
                    )
            self.identity = (await session.run("SELECT id FROM onward.identity", (), "Reading its identity")).scalar()
            return await register(session, service)

    async def claim(self, subscription: int, topic: str, partitions: Sequence[int], member: str) -> list[Claim]:
        async with self._connections.transaction() as session:
            # In one order everywhere: two members that claim the same ones at once wait instead of deadlocking.
            claims = {each: await _claim(session, subscription, topic, each, member) for each in sorted(partitions)}
        return [claims[each] for each in partitions]

    async def recall(self, claim: Claim, incarnations: Iterable[str]) -> dict[str, Numbers]:
        args = (claim.subscription, claim.partition, sorted(incarnations))
        async with self._connections.transaction() as session:
            found = await session.run(_RECALL, args, f"Looking for what came on partition {claim.partition}")
        try:
            return numbers_of(found.rows)
        except ValueError as error:
            raise damaged(claim, error) from error

    async def release(self, claims: Sequence[Claim], *, excused: bool = False) -> None:
        if not claims:
            return
        rows = [
            (excused, claim.subscription, claim.partition, claim.token)
            for claim in sorted(claims, key=lambda each: (each.subscription, each.partition))
        ]
        async with self._connections.transaction() as session:
            await session.send([Command(_RELEASE, rows)], "Giving partitions back")

    async def close(self) -> None:
        await self.outbox.end()
        self._connections.close()
        self._threads.shutdown(wait=False)


async def _claim(session: Session, subscription: int, topic: str, partition: int, member: str) -> Claim:
    """A new token first, which locks the row: what is read after it is what the former owner's last commit left."""
    doing = f"Claiming partition {partition} of {topic!r}"
    token = urandom(16)
    found = await session.run(_CLAIM, (token, member, subscription, partition), doing)
    if not found.rows:
        await grow(session, subscription, topic, partition)
        found = await session.run(_CLAIM, (token, member, subscription, partition), doing)
    revision, start, next_offset, beyond, unclean, suspect_until, mark = found.one()
    created_at = (await session.run(_CREATED, (subscription,), doing)).scalar()
    numbers = await session.run(_CAME, (subscription, partition, RECENT), doing)
    try:
        position = Position(start, next_offset, IntervalSet.from_bytes(beyond) if beyond else IntervalSet())
        arrivals = came(created_at, numbers.rows)
    except ValueError as error:
        raise StoreCorruptError(
            f"The account of partition {partition} of {topic!r} is damaged ({error}); it was left as it is. Restore a"
            " backup or mend the row."
        ) from error
    attempts = await session.run(_ATTEMPTS, (subscription, partition), doing)
    joined = await session.run(
        "SELECT name, joined[$1] FROM onward.handler WHERE subscription = $2",
        (partition + 1, subscription),
        doing,
    )
    return Claim(
        subscription,
        topic,
        partition,
        token,
        revision,
        position,
        unclean - 1,
        suspect_until,
        {
            (offset, handler): Attempt(count, error, mark, first_at.timestamp(), last_at.timestamp())
            for offset, handler, count, error, mark, first_at, last_at in attempts.rows
        },
        dict(joined.rows),
        mark,
        blocked=await blocked(session, subscription, partition, doing),
        arrivals=arrivals,
    )
