"""The few protocols between onward and what it runs on. An adapter keeps these promises, and no others are used.

A **broker** carries records; a **store** keeps effects and accounts. They may be the same file. The pipeline
sees only this page. Unless a method says otherwise it may be cancelled, in which case it had no effect.

A **record** is a plain tuple, because millions of them pass: `(offset, tag, value, key, ...)`. `offset` is the
place in its partition; `tag` is whatever hashable the broker uses for the wire type, opened by `Log.wire_type`;
`value` is the bytes as published or None; `key` is text or None; what follows is the adapter's own and is opened by
`Log.envelope`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar

if TYPE_CHECKING:
    from datetime import datetime
    from types import TracebackType

    from onward.delays import Delay
    from onward.errors import MessageError
    from onward.events import Envelope
    from onward.ledger import Arrivals, Position, Run
    from onward.topics import Topic

DELIVERY_BYTES = 8 << 20

Record = tuple[Any, ...]
Returned = TypeVar("Returned")


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What an adapter can promise beyond the port; the runtime and the docs read it, users print it."""

    durable: bool  # survives the process
    shared: bool  # more than one process can use it at once
    atomic_publish: bool  # a store transaction's events appear in the log by its commit, without a relay
    ordered: bool = True  # one partition has one order
    inline: bool = False  # a transaction's verbs never give up the event loop
    savepoints_are_cheap: bool = True  # one around each event of a batch costs little


class WireType(NamedTuple):
    """Name and version of an event type as a record carries them; `type` is "" where the record names none."""

    type: str
    version: int
    fault: MessageError | None = None  # why records of this tag can't be opened, whatever their bytes are


class Repeated(NamedTuple):
    """The tag of a record that came before at a lower offset, in place of its own: it goes to no handler."""

    tag: Hashable


class Outgoing(NamedTuple):
    """An encoded event on its way out. `id` is None for a new event: the adapter gives it a UUIDv7."""

    topic: str
    type: str
    version: int
    value: bytes | None
    key: str | None
    extra: bytes | None = None
    id: bytes | None = None
    source: str | None = None
    due: int | None = None  # microseconds since the epoch, before which it may not be in the log


class Place(NamedTuple):
    """Where in a partition; `mark` is what the broker wants kept beside the offset, such as which log it is one of."""

    offset: int
    mark: str = ""
    beyond: int = 0  # the offset after the last one that is done, where some are done out of order


class Shift(NamedTuple):
    """Where a partition goes on, other than its account says, and why, in words.

    `anew` is another log of the same name: its offsets, from `others` on, mean other events. Otherwise what lies before
    `place` and is not done is lost.
    """

    partition: int
    place: Place
    anew: bool
    why: str
    others: int = 0


@dataclass(frozen=True, slots=True)
class Delivery:
    """Records of one partition in offset order, 1 to the asked limit; `end` is the offset to go on from.

    Their values are DELIVERY_BYTES at most, unless one record alone is larger. Offsets may have gaps, and what lies
    between two records holds no event.
    """

    topic: str
    partition: int
    records: list[Record]
    end: int
    mark: str = ""  # to be kept beside `end`
    runs: Sequence[Run] = ()  # those with producers' numbers, rising by offset


@dataclass(slots=True)
class Group:
    """One subscription's membership in its broker: what it reads, and whom to tell when its partitions change.

    `assigned` is awaited before any record of a partition is delivered and returns the place to begin at;
    `revoked` is awaited before another member may have the partition, and returns when its work is settled.
    `shifted` is awaited after `assigned`, when the log does not go on at that place. `positions` are the next offsets
    of the held partitions by the store, for who shows progress. `store` is the store's identity, "" where it has none.
    """

    name: str
    topic: str
    member: str
    assigned: Callable[[Sequence[int]], Awaitable[Mapping[int, Place]]]
    revoked: Callable[[Sequence[int]], Awaitable[None]]
    shifted: Callable[[Sequence[Shift]], Awaitable[None]]
    positions: Callable[[], Mapping[int, int]]
    store: str


class Consumer(Protocol):
    """One member of a group. Used by one task at a time."""

    async def next(self, limit: int, wait_s: float) -> Delivery | None:
        """The next batch of one assigned, not paused partition, or None if none came in time. Partitions take turns.

        Gives other tasks their turn at least once. Assignment callbacks run inside this call. Raises
        InfrastructureError when the broker can't be read.
        """
        ...

    def seek(self, partition: int, offset: int) -> None:
        """Deliver from `offset` next. Does nothing for a partition that is not assigned."""
        ...

    def pause(self, partition: int) -> None:
        """Deliver nothing of this partition until `resume`. Safe to repeat."""
        ...

    def resume(self, partition: int) -> None:
        """Undo `pause`, and wake a waiting `next`. Safe to repeat."""
        ...

    @property
    def ends(self) -> Mapping[int, int]:
        """By assigned partition, the next offset to be given out as far as it is known here, without asking anyone."""
        ...

    async def close(self) -> None:
        """Give every partition back (through `revoked`) and leave the group. Safe to repeat."""
        ...


class Log(Protocol):
    """Reading a topic by place, beside what consumers are delivered. What waits raises InfrastructureError."""

    def wire_type(self, tag: Hashable) -> WireType: ...

    def envelope(self, topic: str, partition: int, record: Record) -> Envelope: ...

    async def read(self, topic: str, partition: int, offset: int, limit: int) -> list[Record]:
        """Up to `limit` records from `offset` on, in order.

        There are fewer at the end of the partition, and when they come to DELIVERY_BYTES.
        """
        ...

    async def bounds(self, topic: str) -> list[tuple[int, int]]:
        """Per partition: the first offset still there, and the next one to be given out."""
        ...

    async def since(self, topic: str, time: datetime) -> list[int]:
        """Per partition: the first offset published (if delayed, due) at `time` (aware) or later, or the next one."""
        ...


class Broker(Protocol):
    """Carries records. Durable brokers return from `publish` only when the records will survive a power cut."""

    @property
    def capabilities(self) -> Capabilities: ...

    @property
    def log(self) -> Log: ...

    async def open(self, topics: Iterable[Topic]) -> None:
        """Create what is missing; raise RegistrationError where a topic exists with other partitions."""
        ...

    async def publish(self, outgoing: Sequence[Outgoing], source: str) -> None:
        """Append all or none, in this order per key; what is due later is put off, as durably, to be appended then.

        Raises BacklogFullError, and InfrastructureError; after either nothing was published, but for
        PublishUncertainError and CommitUncertainError.
        """
        ...

    async def consume(self, group: Group) -> Consumer:
        """Join a group. Each partition has at most one live member of the group at a time."""
        ...

    async def close(self) -> None: ...


class HandlerEntry(NamedTuple):
    """A handler as the store has it on record; `joined` is the first offset it is owed, per partition, if new."""

    name: str
    kind: str
    start: str
    types: tuple[str, ...]
    joined: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class SubscriptionEntry:
    """What the store must know of a subscription before it hands out claims.

    `starts` has one offset per partition, used when the subscription is new to the store, and so is `chosen`: where
    all its handlers begin then, whatever they say themselves. `ordered` is False where events may be done beyond a gap.
    """

    name: str
    topic: str
    ordered: bool
    handlers: tuple[HandlerEntry, ...]
    starts: tuple[int, ...]
    chosen: tuple[int, ...] | None = None

    def anew(self) -> SubscriptionEntry:
        """What a store puts on record when it does not know this subscription."""
        if self.chosen is None:
            return self
        handlers = tuple(handler._replace(joined=self.chosen) for handler in self.handlers)
        return replace(self, handlers=handlers, starts=self.chosen)


@dataclass(frozen=True, slots=True)
class ServiceEntry:
    """One service as its code declares it: `schema` is SQL that may run at every start without harm."""

    name: str
    schema: tuple[str, ...]
    invariants: Mapping[str, str]
    subscriptions: tuple[SubscriptionEntry, ...]


@dataclass(slots=True)
class Claim:
    """The right to move one account, as long as nobody claimed it after us.

    Held by one task. `position`, `revision` and `arrivals` are memory's copy, right as long as every settle succeeds;
    after an error the claim is thrown away and taken again.
    """

    subscription: int
    topic: str
    partition: int
    token: bytes
    revision: int
    position: Position
    unclean: int
    suspect_until: int
    attempts: dict[tuple[int, str], Attempt] = field(default_factory=dict)
    joined: dict[str, int] = field(default_factory=dict)  # handler -> first offset it is owed
    mark: str = ""  # stored beside the position by the next settle; "" leaves what is there
    marked: int | None = None  # the suspect event it set a mark for last
    arrivals: Arrivals = field(kw_only=True)  # of it a settle stores what is done by its position


class Attempt(NamedTuple):
    """Tries of one (offset, handler) so far; handler "" counts marks set before a suspect event ran."""

    attempts: int
    error: str
    fingerprint: str
    first_at: float
    last_at: float


class DeadLetter(NamedTuple):
    """An event that a handler gives up, with its bytes. `handler` is "" when none was chosen yet."""

    offset: int
    handler: str
    cause: str
    error: str
    detail: str
    fingerprint: str
    attempts: int
    first_at: float
    envelope: Envelope
    value: bytes | None


class Retried(NamedTuple):
    """A dead letter on its way back: `id` names it in the store."""

    id: int
    letter: DeadLetter


@dataclass(slots=True)
class Settlement:
    """What one commit says about an account, beside the handlers' effects."""

    position: Position
    succeeded: dict[str, int] = field(default_factory=dict)  # handler -> events
    skipped: int = 0  # events that no handler here is for
    passed: dict[str, int] = field(default_factory=dict)  # handler -> events for others alone, or before it joined
    dead: list[DeadLetter] = field(default_factory=list)
    attempts: dict[tuple[int, str], Attempt] = field(default_factory=dict)  # to write
    forget: list[tuple[int, str]] = field(default_factory=list)  # attempts to delete
    outputs: list[Outgoing] = field(default_factory=list)
    suspect_until: int | None = None
    shift: Shift | None = None  # why the position is where no handling led it
    clears_unclean: bool = True  # False for an attempt mark: the event has not run yet
    revived: list[int] = field(default_factory=list)  # ids of dead letters that succeeded on retry
    still_dead: list[Retried] = field(default_factory=list)  # about to run again, or failed again: as they are from now


class Result(Protocol):
    """What a statement gave: `rows` of tuples, and `rowcount`, the rows it changed."""

    @property
    def rows(self) -> list[tuple[Any, ...]]: ...

    @property
    def rowcount(self) -> int: ...

    def one(self) -> tuple[Any, ...]:
        """The only row; raises TransactionError when there are none or several."""
        ...

    def scalar(self) -> Any:
        """The first column of the first row, or None without rows."""
        ...


class Transaction(Protocol):
    """The transaction that an event's effects commit in. Given to async handlers; onward commits it.

    SQL parameters are `:name` on every store. An SQL error that is caught without a `savepoint()` around it
    fails the event all the same, on every store alike.
    """

    async def execute(self, sql: str, /, **params: object) -> Result:
        """Run one statement and wait for its result. Raises StoreError."""
        ...

    async def submit(self, sql: str, /, **params: object) -> None:
        """Run one statement without a result; where the store can, without waiting. Its error fails the batch."""
        ...

    async def publish(self, *events: object, at: datetime | None = None, delay: Delay | None = None) -> None:
        """Publish events by this transaction's commit, and not at all if it does not commit; `at` a time, or later."""
        ...

    def savepoint(self) -> AbstractAsyncContextManager[None]:
        """Undo what happens inside if it raises; the exception passes on.

        They nest. Tasks started inside may use the transaction meanwhile, others are refused with TransactionError:
        their work would be undone with it.
        """
        ...


class SyncTransaction(Protocol):
    """`Transaction` for handlers written with plain `def`: the same verbs, without await."""

    def execute(self, sql: str, /, **params: object) -> Result: ...

    def submit(self, sql: str, /, **params: object) -> None: ...

    def publish(self, *events: object, at: datetime | None = None, delay: Delay | None = None) -> None: ...

    def savepoint(self) -> AbstractContextManager[None]: ...


class Unit(Protocol):
    """One open store transaction under the pipeline's control. Leaving without `commit` rolls back."""

    @property
    def tx(self) -> Transaction: ...

    @property
    def outputs(self) -> list[Outgoing]:
        """What was published so far, to be added to; shortened by `undo`."""
        ...

    async def run_sync(self, function: Callable[[SyncTransaction], Returned]) -> Returned:
        """Call a plain function with this transaction: in a thread of its own where statements wait for a server."""
        ...

    async def mark(self) -> None:
        """Open a savepoint; marks nest, at most 3 deep."""
        ...

    async def undo(self) -> None:
        """Take back everything since the innermost mark, outputs too, and close it.

        `tx` is another one from then on: what a failed handler left running can't write for its neighbours. Raises
        TransactionError when a statement has undone the whole transaction by itself, as a schema can say.
        """
        ...

    async def keep(self) -> None:
        """Close the innermost mark, keeping what happened since.

        Raises TransactionError if a statement failed inside and was caught without a savepoint.
        """
        ...

    async def retrying(self, claim: Claim) -> list[Retried]:
        """Dead letters of this account that someone asked to run again, oldest first, at most 100."""
        ...

    async def commit(self, claim: Claim | None, settlement: Settlement | None) -> None:
        """Write outputs and account and commit, comparing the claim's token and revision.

        Raises ClaimLostError (nothing stored), TransactionError, InfrastructureError. `claim` advances after it.
        """
        ...

    async def __aenter__(self) -> Unit: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Store(Protocol):
    """Keeps effects, accounts, attempts and dead letters, all in one transaction."""

    @property
    def capabilities(self) -> Capabilities: ...

    @property
    def identity(self) -> str:
        """Which store this is, the same for all its users and at every start; "" for one of this process alone."""
        ...

    async def open(self, service: ServiceEntry) -> list[int]:
        """Make the store ready for a service and return its subscriptions' ids, in order.

        Creates a new subscription's accounts all at once; compares a known one with what is on record. A handler that
        joins one: all events that it is past count as skipped for the handler, and its claims are taken back, since
        whoever has them does not know the handler. Raises RegistrationError when a recorded handler is missing here or
        has another kind or start.
        """
        ...

    async def claim(self, subscription: int, topic: str, partitions: Sequence[int], member: str) -> list[Claim]:
        """Take the accounts over: whoever had them can't commit any more. Counts an unclean start.

        A partition that came after the subscription was created has its account from now on, and is owed from offset 0.
        """
        ...

    async def release(self, claims: Sequence[Claim], *, excused: bool = False) -> None:
        """Give accounts back cleanly, which clears their unclean starts. Claims that were lost are left alone.

        `excused`, after a failure below the handlers: only each claim's own start counts as clean.
        """
        ...

    def unit(self) -> Unit:
        """A new transaction; entering it waits its turn to write."""
        ...

    async def read(self, sql: str, params: Mapping[str, object]) -> Result:
        """Run one query on what is committed, without a turn to write.

        Raises TransactionError for anything but a SELECT, and inside a transaction of the same task; StoreError.
        """
        ...

    async def close(self) -> None: ...


class Clock(Protocol):
    """Time, as the pipeline sees it; tests turn it by hand."""

    def time(self) -> float:
        """Seconds since the epoch."""
        ...

    async def sleep(self, seconds: float) -> None: ...
