"""Apps at work in a test: the real pipeline, on a broker and a store in memory, until everything is settled."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from time import time
from types import TracebackType
from typing import Any

from onward.app import App
from onward.errors import DeliveryError, TransactionError
from onward.outgoing import encode
from onward.pipeline.handlers import Handler
from onward.ports import Clock, DeadLetter, Outgoing
from onward.runtime.service import Service, ServicePlan
from onward.settings import resolve
from onward.stores.memory import MemoryAccount, MemorySubscription
from onward.testing.clock import FakeClock
from onward.testing.observed import Handled, Observer, decoded, published
from onward.testing.parts import MemoryParts

SOURCE = "harness"
MOST_NAMED = 10
CALM_TURNS = 50
IDLE_TURNS = 20  # for those who have heard of an earlier time to wait for it instead


class Harness:
    """`async with Harness(app) as h`: the Apps run, and what they do is there to be looked at.

    apps:  one or more; they share one broker and one database, each with its own accounts.
    clock: what all times come from; by default a `FakeClock` that begins now and stands still until `advance`.
    waits: keep the waits that handlers declare, between retries and by `rate_limit`. By default retries come at
           once, as often as declared, and calls as they can, so that a test waits for nothing.

    A new harness begins with nothing stored. While it is open, `app.publish` and `app.transaction` use its broker
    and database too.
    """

    def __init__(self, *apps: App, clock: Clock | None = None, waits: bool = False) -> None:
        if not apps or len({app.name for app in apps}) != len(apps):
            raise ValueError("Harness(…) takes one or more Apps, each with a name of its own.")
        self.handled: list[Handled] = []
        self.clock: Clock = FakeClock(start_s=float(int(time()))) if clock is None else clock
        self._apps = apps
        self._waits = waits
        self._services: list[Service] = []
        self._changed = asyncio.Event()
        self._parts = MemoryParts(self.clock)

    async def __aenter__(self) -> Harness:
        self._parts.broker.appended.append(lambda _topics: self._changed.set())
        try:
            for app in self._apps:
                await self._start(app)
        except BaseException:
            await self._close()
            raise
        return self

    async def _start(self, app: App) -> None:
        plan = app.plan if self._waits else _without_waits(app.plan)
        observer = Observer(plan, self._parts.broker.log, self.handled)
        self._parts.store(app.name).settled += [observer.settled, lambda *_: self._changed.set()]
        service = Service(plan, resolve(app.name, environment={}), open_engine=self._parts.open_engine)
        service.failure.add_done_callback(lambda _: self._changed.set())
        await service.start()
        self._services.append(service)
        app._engine = service.engine

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        failures = [*self._failures()]
        await self._close()
        if kind is None and failures:
            raise failures[0]

    async def _close(self) -> None:
        stopping = [asyncio.create_task(service.stop()) for service in self._services]
        await asyncio.sleep(0)
        self._parts.broker.wake(())  # idle loops see at once that they should stop
        await asyncio.gather(*stopping)
        for app in self._apps:
            app._engine = None
        await self._parts.close()

    async def restart(self) -> None:
        """As if the process had been killed, in the middle of whatever it did, and another one had started.

        What was not committed is undone, and is handled again from what broker and store hold: nothing was drained
        or given back. `handled` goes on. Resources are closed and opened anew; variables of your modules stay.
        """
        services, self._services = self._services, []
        await self._parts.crash()
        await asyncio.gather(*(service.kill() for service in services))
        for app in self._apps:
            await self._start(app)

    async def advance(self, seconds: float) -> None:
        """Let time pass on the FakeClock: who waits for a time within it goes on at that time, in order. Then `settle`.

        What goes on without waiting has its turn before and in between, as far as it awaits nothing of its own. Raises
        ValueError for a time that would go back, and where `clock` is one that nobody can turn.
        """
        clock = self.clock
        if not isinstance(clock, FakeClock):
            raise ValueError(f"advance({seconds}) turns a FakeClock, and this harness was given {clock!r}.")
        end = clock.time() + seconds
        await self._calm()
        while clock.next_at is not None and clock.next_at <= end:
            await clock.advance(clock.next_at - clock.time())
            await self._calm()
        await clock.advance(max(0.0, end - clock.time()))
        await self._calm()

    async def _calm(self) -> None:
        """Until nothing has been committed for some turns of the loop: what is not settled then waits for something."""
        quiet = 0
        while quiet < (CALM_TURNS if self._unsettled() else IDLE_TURNS):
            self._changed.clear()
            await asyncio.sleep(0)
            quiet = 0 if self._changed.is_set() else quiet + 1

    async def publish(self, *events: object) -> None:
        """Publish as somebody outside of the Apps: these events are not among `published`."""
        await self._parts.broker.publish([encode(event) for event in events], SOURCE)

    async def publish_bytes(self, topic: str, value: bytes, *, key: str | None = None, type: str = "") -> None:
        """Publish what any client might: any bytes, without a type if none is given."""
        await self._parts.broker.publish([Outgoing(topic, type, 1, value, key)], SOURCE)

    async def settle(self, *, timeout_s: float = 5.0) -> None:
        """Return when every event has been handled, or skipped, or is a dead letter; outputs' outputs too.

        Raises DeliveryError after `timeout_s` seconds, saying what is stuck, and what ended a service if one ended.
        """
        try:
            async with asyncio.timeout(timeout_s):
                while self._unsettled():
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError as error:
            raise DeliveryError(
                f"Not settled after {timeout_s:g} s: a handler still waits for something, or fails and is tried again."
                " If it waits for a later time, `advance` first. Stuck are:\n"
                + "\n".join(islice(self._stuck(), MOST_NAMED))
            ) from error

    @property
    def published(self) -> list[Any]:
        """The events that the Apps published, by handlers or by `app.publish`, in their order."""
        return published(self._parts.broker.log, [app.name for app in self._apps])

    @property
    def delayed(self) -> list[Any]:
        """Events that were published for a later time, by whomever, and wait for it: the next one first."""
        return [decoded(each.outgoing) for each in self._parts.broker.delayed]

    @property
    def dead_letters(self) -> list[DeadLetter]:
        """What handlers gave up, with cause and bytes."""
        return [each.letter for store in self._parts.stores.values() for each in store.letters if each.state == "dead"]

    def rows(self, sql: str, /, **params: Any) -> list[tuple[Any, ...]]:
        """What a query finds in the database that the Apps share. Raises StoreError; `settle` first."""
        if self._parts.database.writer.in_transaction:
            raise TransactionError("A handler's transaction is open, and would be read half done: `await h.settle()`.")
        return self._parts.database.read(sql, params)

    def _failures(self) -> Iterator[BaseException]:
        for service in self._services:
            if service.failure.done() and not service.failure.cancelled():
                error = service.failure.exception()
                if error is not None:
                    yield error

    def _unsettled(self) -> bool:
        for error in self._failures():
            raise error
        return next(self._stuck(), None) is not None

    def _stuck(self) -> Iterator[str]:
        """A line for each partition that is not done."""
        log = self._parts.broker.log
        for service, store in self._parts.stores.items():
            for subscription in store.subscriptions:
                for partition, lane in enumerate(log.lanes.get(subscription.entry.topic, ())):
                    account = subscription.accounts[partition]
                    if account.position.in_flight(len(lane)):
                        yield f"  {service}: {self._account_in_words(subscription, account, partition, len(lane))}"

    def _account_in_words(
        self, subscription: MemorySubscription, account: MemoryAccount, partition: int, end: int
    ) -> str:
        log, topic = self._parts.broker.log, subscription.entry.topic
        first = next(account.position.unfinished(end))[0]
        record = log.lanes[topic][partition][first]
        tried = [each for (offset, _), each in account.attempts.items() if offset == first]
        return (
            f"{account.position.in_flight(end)} event(s) on {topic!r} for {', '.join(subscription.handlers)}, the first"
            f" of type {log.wire_type(record[1]).type!r} with key {record[3]!r}"
            + "".join(f", tried {each.attempts} times: {each.error}" for each in tried)
        )


def _without_waits(plan: ServicePlan) -> ServicePlan:
    return replace(plan, handlers=tuple(map(_unhindered, plan.handlers)))


def _unhindered(handler: Handler) -> Handler:
    return replace(handler, retry=replace(handler.retry, first_s=0.0, max_s=0.0), calls_per_s=None)
