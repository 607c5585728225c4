"""An App is one service: its handlers, its settings, and the one place where its parts are put together."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

from onward import runtime
from onward.delays import Delay, due_micros
from onward.errors import DeclarationError
from onward.outgoing import encode_all, put_off
from onward.pipeline.handlers import Handler, Options, Start, check_filled, read_handler
from onward.policy import Retry
from onward.ports import Result, Transaction
from onward.runtime.resources import Resource, check_resources, given_by
from onward.settings import Settings, resolve
from onward.telemetry import stamp
from onward.topics import Topic

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy.ext.asyncio import AsyncSession

    from onward.pipeline.invocation import Middleware
    from onward.runtime import Engine, Home, Lock, Outbox, Service, ServicePlan

Function = TypeVar("Function", bound=Callable[..., Any])
RESERVED_NAMES = ("transactional",)


class App:
    """One service: one name, one store, its own consumer groups.

    broker, store: addresses such as "sqlite:///./shop.db"; ONWARD_<NAME>_STORE and ONWARD_STORE are stronger.
    resources:     async generator functions, injected into handlers by the type they yield or by their name.
    middleware:    `async def m(event, ctx, call_next)` around every handler call, the first outermost.
    schema:        SQL that creates the service's tables; runs at every start, so write CREATE TABLE IF NOT EXISTS.
    topics:        Topic declarations, where an event's topic needs more than its name.

    Belongs to one event loop once it is used. Raises DeclarationError at declaration, before any connection.
    """

    def __init__(
        self,
        name: str,
        *,
        broker: str | None = None,
        store: str | None = None,
        resources: Sequence[Resource] = (),
        middleware: Sequence[Middleware] = (),
        schema: str | Sequence[str] = (),
        topics: Sequence[Topic] = (),
    ) -> None:
        if not name or len(name) > 100 or not name.replace("-", "").replace("_", "").isalnum():
            raise DeclarationError(f"App({name!r}): a service's name is 1 to 100 letters, digits, '-' or '_'.")
        check_resources(resources)
        self.name = name
        self.handlers: list[Handler] = []
        self.topics = tuple(topics)
        self.resources = tuple(resources)
        self.middleware = tuple(middleware)
        self.schema = (schema,) if isinstance(schema, str) and schema else tuple(schema)
        self.invariants: dict[str, str] = {}
        self._broker = broker
        self._store = store
        self._engine: Engine | None = None
        self._opening: Lock | None = None

    @property
    def settings(self) -> Settings:
        """Where broker and store are, by the environment of this moment. Raises SettingError."""
        return resolve(self.name, broker=self._broker, store=self._store)

    def on(
        self,
        *events: type,
        name: str | None = None,
        start: Start = "earliest",
        retry: Retry | None = None,
        fatal: Iterable[type[BaseException]] = (),
        concurrency: int = 10,
        alone: bool = False,
        rate_limit: str | float | None = None,
        after_last: Literal["block", "skip"] = "skip",
    ) -> Callable[[Function], Function]:
        """Declare a handler; the function comes back as it was, so that a test can call it.

        name:        its identity in the store; by default the function's name.
        start:       where a new handler begins: "earliest" that is kept, "now", or an aware datetime.
        retry:       how often and how far apart a failing event is tried; by default five times in a few seconds.
        fatal:       exceptions that no retry mends: the event is a dead letter at once.
        concurrency: events at once, over all keys, in one process; for handlers without a transaction.
        alone:       a position of its own, so that its pace and failures don't touch the others'.
        rate_limit:  calls at most in one process, retries included, evenly spaced: "100/s", "5/min", "20/h", or a
                     number per second; for handlers without a transaction.
        after_last:  what follows a dead letter in its key: "block", it waits in the store until the letter was retried
                     with success or discarded, and then runs in order; "skip", it runs and overtakes it.
        """

        def declare(function: Function) -> Function:
            options = Options(name, start, retry or Retry(), tuple(fatal), concurrency, alone, rate_limit, after_last)
            handler = read_handler(function, events, options)
            if any(handler.name == each.name for each in self.handlers) or handler.name in RESERVED_NAMES:
                raise DeclarationError(
                    f"Service {self.name!r} can't have another handler called {handler.name!r}: the name is the"
                    " handler's identity in the store. Rename the function, or give it name='…'."
                )
            self.handlers.append(handler)
            return function

        return declare

    def invariant(self, name: str, sql: str) -> None:
        """Say what must always hold: a query that returns one row for each violation. The audit runs it."""
        if not sql.lstrip().upper().startswith(("SELECT", "WITH")):
            raise DeclarationError(f"Invariant {name!r} is a SELECT that returns one row for each violation.")
        if name in self.invariants:
            raise DeclarationError(f"Service {self.name!r} has an invariant called {name!r} already.")
        self.invariants[name] = sql

    @property
    def plan(self) -> ServicePlan:
        """What the service is, for whoever runs it. Raises DeclarationError where its parts do not fit together."""
        given = [key for resource in self.resources for key in given_by(resource)]
        for handler in self.handlers:
            check_filled(handler, given)
        return runtime.ServicePlan(
            name=self.name,
            handlers=tuple(self.handlers),
            topics=self.topics,
            resources=self.resources,
            middleware=self.middleware,
            schema=self.schema,
            invariants=dict(self.invariants),
        )

    async def publish(
        self,
        *events: object,
        within: object = None,
        at: datetime | None = None,
        delay: Delay | None = None,
    ) -> None:
        """Publish events, all or none; they are durable when this returns. In order per key.

        within: a transaction of this service that is open: they are published by its commit, and not at all if it
                does not commit.
        at:     an aware datetime, at most 366 days ahead: they come to their topic then, or soon after, once. Durable
                and cheap while they wait. What is published meanwhile goes before them, of the same key too.
        delay:  the same, as a timedelta or seconds from now.

        Raises EncodeError, DelayError, BacklogFullError and InfrastructureError, after which nothing was published, and
        CommitUncertainError, after which all or none were: to publish them again may publish them twice. The same goes
        for a publish that is cancelled, such as by a time-out, as its commit may have been on its way.
        """
        if within is not None:
            await self.outbox(within).publish(*events, at=at, delay=delay)
            return
        with stamp.published(self.name, events):
            outgoing = encode_all(events)
            if outgoing:
                engine = await self._opened()
                due = due_micros(engine.clock.time(), at, delay)
                await engine.publish(put_off(outgoing, due))

    async def send(self, *events: object) -> None:
        """Send events straight to the broker, with no store in the way: it has them when this returns.

        In order per key; once the service is open, also calls that wait at once, each for events of one topic, in the
        order in which they were begun. They are part of no transaction: a process that ends before this returns may
        have sent some of them. On one SQLite file it is `publish`.

        Raises EncodeError and InfrastructureError, after which none was sent, and PublishUncertainError, after which
        some may have been.
        """
        with stamp.published(self.name, events):
            outgoing = encode_all(events)
            if outgoing:
                engine = await self._opened(to_send=True)
                await engine.broker.publish(outgoing, self.name)

    def outbox(self, session: object) -> Outbox:
        """Where synchronous code publishes in a transaction that is open: `app.outbox(tx).add(event)`.

        Raises TransactionError for what is no transaction of this service.
        """
        return runtime.Outbox(session, self._home)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        """A transaction on the service's store: statements and `tx.publish(…)` commit together at the block's end.

        Raises StoreError, after which nothing was stored or published, and CommitUncertainError, after which all or
        nothing was: look before you do it again.
        """
        engine = await self._opened()
        async with engine.store.unit() as unit:
            yield unit.tx
            await unit.commit(None, None)

    @asynccontextmanager
    async def session(self) -> AsyncIterator[AsyncSession]:
        """A session of SQLAlchemy on a transaction of the service's store, which commits at the block's end.

        `await app.publish(event, within=session)` publishes by that commit. Raises what a flush raises, StoreError,
        and MissingExtraError.
        """
        sessions = runtime.sessions()
        async with self.transaction() as tx, sessions.async_session_on(tx) as session:
            yield session

    async def read(self, sql: str, /, **params: object) -> Result:
        """Run one SELECT on what is committed in the service's store; it waits for no writer and delays none.

        Raises TransactionError for any other statement and inside a transaction of the same task, and StoreError.
        """
        engine = await self._opened()
        return await engine.store.read(sql, params)

    @overload
    def lifespan(self, _web: object, *, consume: bool = True) -> AbstractAsyncContextManager[None]: ...

    @overload
    def lifespan(self, _web: None = None, *, consume: bool = True) -> AbstractAsyncContextManager[Service | None]: ...

    def lifespan(self, _web: object = None, *, consume: bool = True) -> AbstractAsyncContextManager[Any]:
        """Open the app for as long as the block runs; with `consume=False` only to publish.

        For a web framework: `Starlette(lifespan=app.lifespan)`, or `functools.partial(app.lifespan, consume=False)`.
        The block is given the running service; a framework nothing, since it would take that for state of its own.
        """
        return self._open(consume=consume) if _web is None else self._open_within(consume=consume)

    @asynccontextmanager
    async def _open_within(self, *, consume: bool) -> AsyncIterator[None]:
        async with self._open(consume=consume):
            yield

    @asynccontextmanager
    async def _open(self, *, consume: bool) -> AsyncIterator[Service | None]:
        if not consume:
            await self._opened()
            try:
                yield None
            finally:
                await self.close()
            return
        engine = await self._opened()  # what was published before, in a store of this process alone, stays seen
        service = runtime.Service(self.plan, self.settings, open_engine=lambda _name, _settings: engine)
        try:
            await service.start()
            yield service
        finally:
            try:
                await service.stop()  # handlers that end meanwhile may still publish
            finally:
                await self.close()

    async def close(self) -> None:
        """Close what `publish` and `transaction` opened. Safe to repeat."""
        engine, self._engine = self._engine, None
        if engine is not None:
            await engine.close()

    @property
    def _home(self) -> Home:
        if self._engine is not None and self._engine.file is not None:
            return runtime.Home(self.name, self._engine.file.database.path)
        settings = self.settings
        place = runtime.place_of(settings)
        if settings.database is not None:
            return runtime.Home(self.name, place)
        if self._engine is not None and self._engine.prepared:
            return runtime.Home(self.name, place, self._engine.store.identity, self._engine.wake_relay)
        wake = runtime.waker_of(settings, self.name)
        return runtime.Home(self.name, place, lambda: runtime.identity_of(settings), wake)

    async def _opened(self, *, to_send: bool = False) -> Engine:
        """With its store, but `to_send` beside a server: that may be away, and nothing of it is needed."""
        engine = self._engine
        if engine is None or not engine.ready(to_send=to_send):
            self._opening = self._opening or runtime.Lock()
            async with self._opening:
                plan = self.plan  # whose faults are told before anything is opened
                engine = self._engine or runtime.open_engine(self.name, self.settings)
                await self._open_up(engine, plan, to_send=to_send)
                self._engine = engine
        return engine

    async def _open_up(self, engine: Engine, plan: ServicePlan, *, to_send: bool) -> None:
        """An engine that can't be opened is closed, unless somebody sends by it already."""
        try:
            if self._engine is None:
                await engine.broker.open(plan.all_topics())
            if not engine.ready(to_send=to_send):
                await engine.prepare(await plan.entry())
        except BaseException:
            if self._engine is None:
                await engine.close()
            raise
