"""A real SQLite store in memory with one topic of one partition; deliveries are handed over by the test."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from onward import Event
from onward.brokers.sqlite import SqliteLog
from onward.outgoing import encode
from onward.pipeline.handlers import Handler, HandlerKind, Options, read_handler
from onward.pipeline.invocation import Bound, Middleware, bind
from onward.pipeline.plain import PlainRunner
from onward.pipeline.routing import Routes
from onward.pipeline.transactional import TransactionalRunner
from onward.policy import Retry
from onward.ports import Claim, Delivery, HandlerEntry, Outgoing, ServiceEntry, SubscriptionEntry
from onward.sqlite.database import Database
from onward.sqlite.letters import discard
from onward.sqlite.log import FileLog, read
from onward.stores.sqlite import SqliteStore
from onward.telemetry.meter import Meter
from onward.topics import Topic

TOPIC = "pipeline.orders"
SCHEMA = "CREATE TABLE effect (place INTEGER PRIMARY KEY, by TEXT NOT NULL, n INTEGER NOT NULL UNIQUE)"
INSERT = "INSERT INTO effect (by, n) VALUES (:by, :n)"
THRICE = Retry(max_attempts=3, first_s=1.0, factor=2.0, jitter=0.0)


class Ordered(Event, type="pipeline.ordered", topic=TOPIC, key="customer"):
    customer: str
    n: int


class Noted(Event, type="pipeline.noted", topic=TOPIC):
    n: int


class Foreign(Event, type="pipeline.foreign", topic=TOPIC):
    n: int


class Billed(Event, type="pipeline.billed", topic="pipeline.bills", key="customer"):
    customer: str
    n: int


class StillClock:
    """A clock that stands still: sleeping takes one turn of the loop, or waits for `gate` where one is given."""

    def __init__(self) -> None:
        self.slept: list[float] = []
        self.gate: asyncio.Event | None = None

    def time(self) -> float:
        return 1_000_000.0

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        await (asyncio.sleep(0) if self.gate is None else self.gate.wait())


class Stage:
    """One service with one subscription, of handlers that share it."""

    def __init__(self, resources: dict[Any, Any] | None = None, middleware: Sequence[Middleware] = ()) -> None:
        self.database = Database.open(":memory:")
        self.file = FileLog(self.database)
        self.log = SqliteLog(self.file)
        self.store = SqliteStore(self.file, "shop")
        self.clock = StillClock()
        self.meter = Meter()
        self.handlers: list[Handler] = []
        self.subscription = 0
        self._resources = resources or {}
        self._middleware = middleware

    def on(
        self,
        function: Callable[..., Any],
        *events: type,
        retry: Retry = THRICE,
        fatal: tuple[type[BaseException], ...] = (),
        concurrency: int | None = None,
        after_last: str = "skip",
    ) -> None:
        """Declare a handler, before `open`."""
        options = Options(retry=retry, fatal=fatal, after_last=after_last)
        if concurrency is not None:
            options = replace(options, concurrency=concurrency)
        self.handlers.append(read_handler(function, events or (Ordered,), options))

    async def open(self) -> TransactionalRunner | PlainRunner:
        async with self.database.transaction():
            self.file.names.create_topic(Topic(TOPIC, partitions=1))
        plain = self.handlers[0].kind is HandlerKind.PLAIN
        entries = tuple(HandlerEntry(each.name, each.kind.value, "earliest", (), (0,)) for each in self.handlers)
        subscription = SubscriptionEntry("transactional", TOPIC, not plain, entries, (0,))
        schema = (SCHEMA,) if not self.subscription else ()
        (self.subscription,) = await self.store.open(ServiceEntry("shop", schema, {}, (subscription,)))
        return self.runner()

    def runner(self) -> TransactionalRunner | PlainRunner:
        """Another process's, as it were."""
        bounds: list[Bound] = [bind(each, self._resources, self._middleware) for each in self.handlers]
        parts: dict[str, Any] = {
            "service": "shop",
            "routes": Routes(TOPIC, bounds, self.log),
            "store": self.store,
            "log": self.log,
            "clock": self.clock,
            "meter": self.meter,
        }
        if self.handlers[0].kind is HandlerKind.PLAIN:
            return PlainRunner(bound=bounds[0], **parts)
        return TransactionalRunner(**parts)

    async def plain(self) -> tuple[PlainRunner, Claim]:
        """Opened, with its partition attached."""
        runner = await self.open()
        assert isinstance(runner, PlainRunner)
        claim = await self.claim()
        runner.attach(claim)
        return runner, claim

    async def begin_plainly(self, *events: Event | Outgoing) -> tuple[PlainRunner, Claim]:
        """These events delivered to a plain handler."""
        runner, claim = await self.plain()
        await self.publish(*events)
        assert await runner.handle(claim, self.delivery()) is None
        return runner, claim

    async def handle_plainly(self, *events: Event | Outgoing) -> None:
        """These events handled by a plain handler, and the partition given back."""
        runner, claim = await self.begin_plainly(*events)
        await until(lambda: claim.position.next == len(events))
        await runner.settle(0, None)

    async def claim(self) -> Claim:
        (claim,) = await self.store.claim(self.subscription, TOPIC, [0], "tester")
        return claim

    async def publish(self, *events: Event | Outgoing) -> None:
        async with self.database.transaction():
            self.file.append([each if isinstance(each, Outgoing) else encode(each) for each in events], "till")

    def delivery(self, offset: int = 0) -> Delivery:
        topic = self.file.names.topic(TOPIC)
        assert topic is not None
        records = read(self.database.reader, topic.lanes[0], offset, 1000)
        return Delivery(TOPIC, 0, records, offset + len(records))

    async def drive(self, runner: TransactionalRunner, claim: Claim) -> list[float]:
        """Deliver until all is done, as a subscription does; the waits it was asked for."""
        waits: list[float] = []
        while (wait_s := await runner.handle(claim, self.delivery(claim.position.next))) is not None:
            waits.append(wait_s)
        return waits

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        return self.database.read(sql)

    def effects(self) -> list[int]:
        return [n for (n,) in self.rows("SELECT n FROM effect ORDER BY place")]

    def letters(self) -> list[tuple[Any, ...]]:
        return self.rows(
            "SELECT offset, handler, cause, attempts, state FROM onward_dead_letter ORDER BY offset, handler"
        )

    def parked(self) -> list[tuple[Any, ...]]:
        """Handler, key and offset of each, in order."""
        sql = "SELECT k.handler, k.key, p.offset FROM onward_parked p JOIN onward_blocked k ON k.id = p.blocked"
        return self.rows(f"{sql} ORDER BY p.id")

    def blocked(self) -> list[tuple[Any, ...]]:
        return self.rows("SELECT handler, key, waiting, letter IS NOT NULL FROM onward_blocked ORDER BY handler, key")

    def bills(self) -> list[int]:
        sql = "SELECT value ->> 'n' FROM onward_log JOIN onward_kind k ON k.id = kind WHERE k.type = 'pipeline.billed'"
        return [n for (n,) in self.rows(f"{sql} ORDER BY pos")]

    def tally(self) -> list[tuple[Any, ...]]:
        return self.rows("SELECT handler, succeeded, dead, skipped FROM onward_tally ORDER BY handler")

    def account(self) -> tuple[Any, ...]:
        return self.rows("SELECT next_offset, unclean, suspect_until FROM onward_account")[0]


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop turn until it holds; fails the test after some seconds."""
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0)


async def ask_again(stage: Stage) -> None:
    """What `onward dead-letters retry --all` does."""
    async with stage.database.transaction() as connection:
        connection.execute("UPDATE onward_dead_letter SET state = 'retrying' WHERE state = 'dead'")


async def give_up(stage: Stage) -> None:
    """What `onward dead-letters discard` does, for all."""
    async with stage.database.transaction() as connection:
        discard(connection, None)
