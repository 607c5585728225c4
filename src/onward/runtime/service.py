"""One service in one process: opened, registered, its subscriptions at work, drained and closed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import datetime
from time import monotonic
from typing import Any

from onward.errors import InfrastructureError
from onward.pipeline.handlers import Handler, HandlerKind, Start
from onward.pipeline.invocation import Bound, Middleware, bind
from onward.pipeline.plain import PlainRunner
from onward.pipeline.routing import Routes
from onward.pipeline.transactional import TransactionalRunner
from onward.ports import HandlerEntry, Log, ServiceEntry, SubscriptionEntry
from onward.runtime.engine import Engine
from onward.runtime.opening import open_engine as open_by_settings
from onward.runtime.outbox_watch import OutboxWatch
from onward.runtime.resources import Resource, open_resources
from onward.runtime.subscription import Runner, Subscription
from onward.settings import Settings
from onward.telemetry.meter import Meter
from onward.topics import Topic

logger = logging.getLogger("onward.service")

SHARED = "transactional"  # the name of the subscription that a service's transactional handlers share
BEAT_S = 0.25
PRUNE_EVERY_S = 30.0


@dataclass(frozen=True, slots=True)
class ServicePlan:
    """A service as declared, without anything open."""

    name: str
    handlers: tuple[Handler, ...]
    topics: tuple[Topic, ...]
    resources: tuple[Resource, ...]
    middleware: tuple[Middleware, ...]
    schema: tuple[str, ...]
    invariants: dict[str, str]

    def all_topics(self) -> list[Topic]:
        """Every topic that its events name, as declared or with the defaults."""
        declared = {topic.name: topic for topic in self.topics}
        for handler in self.handlers:
            for event in (*handler.event_types, *handler.outputs):
                declared.setdefault(event.topic, Topic.by_name(event.topic))
        return list(declared.values())

    def groups(self) -> list[tuple[str, str, tuple[Handler, ...]]]:
        """(subscription, topic, handlers): transactional handlers of a topic share one, the others stand alone."""
        shared: dict[str, list[Handler]] = {}
        found: list[tuple[str, str, tuple[Handler, ...]]] = []
        for handler in self.handlers:
            for topic in handler.topics:
                if handler.kind is HandlerKind.PLAIN or handler.alone:
                    found.append((handler.name, topic, (handler,)))
                else:
                    shared.setdefault(topic, []).append(handler)
        return [*((SHARED, topic, tuple(handlers)) for topic, handlers in shared.items()), *found]

    async def entry(self, log: Log | None = None, chosen: Start | None = None) -> ServiceEntry:
        """What the store must know; without a log, only tables and invariants. `chosen` as in Service."""
        subscriptions = [] if log is None else [await _entry(log, *group, chosen) for group in self.groups()]
        return ServiceEntry(self.name, self.schema, self.invariants, tuple(subscriptions))


@dataclass(frozen=True, slots=True)
class Drained:
    """What a drain did: events handled since start, how long it took, and whether all work in flight ended."""

    handled: int
    seconds: float
    finished: bool


class Service:
    """Runs a plan. `failure` is set when a subscription can't go on; `unready` says what is wrong now.

    `chosen` is where subscriptions begin that are new to the store, in place of what their handlers say.
    """

    def __init__(
        self,
        plan: ServicePlan,
        settings: Settings,
        *,
        open_engine: Callable[[str, Settings], Engine] = open_by_settings,
        chosen: Start | None = None,
    ) -> None:
        self.plan = plan
        self.settings = settings
        self._open_engine = open_engine
        self._chosen = chosen
        self.meter = Meter()
        self.member = ""
        self.engine: Engine | None = None
        self.failure: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.failure.add_done_callback(lambda done: done.cancelled() or done.exception())
        self._stack = AsyncExitStack()
        self._subscriptions: list[Subscription] = []
        self._outbox: OutboxWatch | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._closing = False

    async def start(self) -> None:
        """Open, register and begin to handle. Raises what is wrong; everything is closed again then."""
        try:
            await self._start()
        except BaseException:
            await self._close()
            raise

    async def _start(self) -> None:
        plan = self.plan
        resources = await open_resources(plan.resources, self._stack)
        bounds = {handler.name: bind(handler, resources, plan.middleware) for handler in plan.handlers}
        engine = self.engine = self._open_engine(plan.name, self.settings)
        await engine.broker.open(plan.all_topics())
        ids = await engine.prepare(await plan.entry(engine.broker.log, self._chosen))
        groups = plan.groups()
        names = [_group_name(plan.name, name) for name, _, _ in groups]
        self.member = engine.join(names, [topic for _, topic, _ in groups])
        for subscription_id, group_name, (_, topic, handlers) in zip(ids, names, groups, strict=True):
            runner = self._runner(engine, topic, [bounds[handler.name] for handler in handlers])
            self._subscriptions.append(
                Subscription(
                    subscription_id=subscription_id,
                    group=group_name,
                    topic=topic,
                    member=self.member,
                    broker=engine.broker,
                    store=engine.store,
                    runner=runner,
                    clock=engine.clock,
                )
            )
        works: list[Callable[[], Any]] = [*(each.run for each in self._subscriptions), self._beat, self._prune]
        if engine.outlets is not None:
            self._outbox = OutboxWatch(engine.outlets.outbox.stats)
            works.append(self._outbox.run)
        for beside in engine.tasks:
            beside.add_done_callback(self._ended)
        for work in works:
            task = asyncio.create_task(work())
            task.add_done_callback(self._ended)
            self._tasks.append(task)

    def _runner(self, engine: Engine, topic: str, handlers: Sequence[Bound]) -> Runner:
        routes = Routes(topic, handlers, engine.broker.log)
        parts: dict[str, Any] = {
            "service": self.plan.name,
            "routes": routes,
            "store": engine.store,
            "log": engine.broker.log,
            "clock": engine.clock,
            "meter": self.meter,
        }
        if handlers[0].handler.kind is HandlerKind.PLAIN:
            return PlainRunner(bound=handlers[0], **parts)
        return TransactionalRunner(**parts)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if self._closing or self.failure.done():
            return
        error = RuntimeError("its task was cancelled from outside") if task.cancelled() else task.exception()
        if error is not None:
            logger.error("service %s can't go on: %r", self.plan.name, error, exc_info=error)
            if not isinstance(error, Exception):
                told = RuntimeError(repr(error))
                told.__cause__ = error
                error = told
            self.failure.set_exception(error)

    async def _beat(self) -> None:
        assert self.engine is not None
        while True:
            self.engine.beat()
            await asyncio.sleep(BEAT_S)

    async def _prune(self) -> None:
        assert self.engine is not None
        while True:
            await asyncio.sleep(PRUNE_EVERY_S)
            try:
                await self.engine.prune()
            except InfrastructureError as error:
                logger.warning("handled events stay in the log for now: %s", error)

    def unready(self) -> list[str]:
        """Why this service does not do its work; empty when it does."""
        reasons = [each.trouble for each in self._subscriptions if each.trouble]
        if self.engine is not None:
            reasons += self.engine.unready()
        if self.failure.done() and not self.failure.cancelled():
            reasons.append(f"stopped by {self.failure.exception()!r}")
        return reasons

    def snapshot(self) -> dict[str, Any]:
        """Counters and held partitions, as JSON can carry them."""
        held: dict[str, list[int]] = {}
        for each in self._subscriptions:
            held[f"{each.group}:{each.topic}"] = sorted(each.claims)
        counts = self.meter.snapshot()
        return {
            "service": self.plan.name,
            "member": self.member,
            "partitions": held,
            "lag": sum(self.lags().values()),
            "lags": self._lags_by_topic(),
            "outbox": self._outbox.said() if self._outbox is not None else None,
            **counts,
        }

    def lags(self) -> dict[str, int]:
        """Events that wait on the partitions held here, by group and topic."""
        return {f"{each.group}:{each.topic}": each.lag for each in self._subscriptions}

    def _lags_by_topic(self) -> dict[str, int]:
        found: dict[str, int] = {}
        for each in self._subscriptions:
            found[each.topic] = found.get(each.topic, 0) + each.lag
        return found

    async def drain(self, timeout_s: float) -> Drained:
        """Take nothing new, finish what is in flight within the time, give partitions back."""
        began = monotonic()
        for each in self._subscriptions:
            each.stop()
        working = self._tasks[: len(self._subscriptions)]
        finished = True
        if working:
            _, unfinished = await asyncio.wait(working, timeout=timeout_s)
            finished = not unfinished
        return Drained(sum(self.meter.snapshot()["handled"].values()), monotonic() - began, finished)

    async def stop(self, timeout_s: float = 25.0) -> Drained:
        """Drain, then close. What did not finish in time is rolled back and handled after the next start."""
        drained = await self.drain(timeout_s)
        await self._close()
        return drained

    async def kill(self) -> None:
        """End at once, as if the process were killed: nothing is finished, and no partition is given back."""
        for each in self._subscriptions:
            each.stop()  # a handler that swallows its cancellation must not be followed by another
        await self._close()

    async def _close(self) -> None:
        self._closing = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()
        try:
            if self.engine is not None:
                await self.engine.close()
        finally:
            await self._stack.aclose()
        if not self.failure.done():
            self.failure.cancel()


def _group_name(service: str, subscription: str) -> str:
    return service if subscription == SHARED else f"{service}.{subscription}"


async def _entry(
    log: Log, name: str, topic: str, handlers: Sequence[Handler], chosen: Start | None
) -> SubscriptionEntry:
    bounds = await log.bounds(topic)
    entries = [
        HandlerEntry(
            handler.name,
            handler.kind.value,
            handler.start_text,
            tuple(event.type for event in handler.event_types if event.topic == topic),
            await _starts(log, topic, bounds, handler.start),
        )
        for handler in handlers
    ]
    starts = tuple(min(offsets) for offsets in zip(*(entry.joined for entry in entries), strict=True))
    return SubscriptionEntry(
        name,
        topic,
        handlers[0].kind is not HandlerKind.PLAIN,
        tuple(entries),
        starts,
        None if chosen is None else await _starts(log, topic, bounds, chosen),
    )


async def _starts(log: Log, topic: str, bounds: Sequence[tuple[int, int]], start: Start) -> tuple[int, ...]:
    """The offsets to begin at."""
    if isinstance(start, datetime):
        return tuple(await log.since(topic, start))
    return tuple(first if start == "earliest" else end for first, end in bounds)
