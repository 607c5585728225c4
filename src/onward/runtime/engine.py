"""What one App holds open in a process: its broker and store, its place among the neighbours, and what runs beside."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from time import time
from typing import Protocol

from onward.delays import DELAYED
from onward.ids import uuid7
from onward.ports import Broker, Clock, Outgoing, ServiceEntry, Store
from onward.relay import Outbox, outbox_of
from onward.relay.leader import Relay
from onward.sqlite.database import Database
from onward.sqlite.neighbours import Neighbours
from onward.sqlite.retention import prune, prune_letters
from onward.timers import Timers


class WokenBroker(Broker, Protocol):
    """A broker whose waiting consumers can be told that topics grew, by whoever hears of it first."""

    def wake(self, topics: Iterable[str]) -> None: ...


@dataclass(slots=True)
class File:
    """What a service has on an SQLite file: `timers` only where its log is in it."""

    database: Database
    neighbours: Neighbours
    timers: Timers | None = None


@dataclass(slots=True)
class Outlets:
    """How events leave a store that is not the broker's: what waits there, and who sends it."""

    outbox: Outbox
    relay: Relay
    told: Callable[[], None] = lambda: None
    """To be called from any thread when a transaction of the user's own has put something there."""


@dataclass(slots=True)
class Engine:
    """Open broker and store of one service; `close` gives everything back. Belongs to one event loop.

    `file` is None where neither is on SQLite, `outlets` where a transaction's events are in the log by its commit.
    """

    service: str
    broker: WokenBroker
    store: Store
    clock: Clock
    file: File | None = None
    outlets: Outlets | None = None
    prepared: bool = False

    def ready(self, *, to_send: bool = False) -> bool:
        """Whether it may be used; `to_send` alone nothing of a store on a server is needed."""
        return self.prepared or (to_send and self.outlets is not None and self.file is None)

    async def prepare(self, service: ServiceEntry) -> list[int]:
        """Tables, invariants and subscriptions of a service; the ids of the latter. Timers and relay run from here."""
        ids = await self.store.open(service)
        if self.file is not None and self.file.timers is not None:
            self.file.timers.start()
        if self.outlets is not None:
            self.outlets.relay.start()
        self.prepared = True
        return ids

    @property
    def tasks(self) -> list[asyncio.Task[None]]:
        """What goes on beside the subscriptions, and without which the service can't go on."""
        timers = self.file.timers if self.file is not None else None
        beside = (timers, self.outlets.relay if self.outlets is not None else None)
        return [each.task for each in beside if each is not None and each.task is not None]

    async def publish(self, outgoing: Sequence[Outgoing]) -> None:
        """Durable when this returns: in the log, or in the outbox. Raises as `Broker.publish` and `Unit.commit` do."""
        if self.outlets is None:
            await self.broker.publish(outgoing, self.service)
            return
        async with self.store.unit() as unit:
            unit.outputs.extend(outgoing)
            await unit.commit(None, None)

    async def prune(self) -> None:
        """Take one bounded step of retention after the other, until nothing is left that may go."""
        if self.file is None:
            return
        more = True
        while more:
            more = (await prune(self.file.database, time())).more
        while await prune_letters(self.file.database, time()):
            continue

    def join(self, groups: Sequence[str], topics: Sequence[str]) -> str:
        """Become a member of these groups, woken when these topics grow; returns the member's id."""
        if self.file is None:
            return uuid7()
        return self.file.neighbours.join(groups, [*topics, DELAYED, outbox_of(self.service)], self._told)

    def beat(self) -> None:
        """Say that our event loop turns, to those who would take our partitions otherwise."""
        if self.file is not None:
            self.file.neighbours.beat()

    def unready(self) -> list[str]:
        """Why what is published does not leave."""
        trouble = self.outlets.relay.trouble if self.outlets is not None else ""
        return [trouble] if trouble else []

    def wake_relay(self) -> None:
        """After a commit on a connection of the user's own. From any thread; waits for nothing and never raises."""
        if self.outlets is not None:
            self.outlets.told()

    def _told(self, topics: Iterable[str]) -> None:
        names = set(topics)
        self.broker.wake(names)
        if self.file is not None and self.file.timers is not None:
            self.file.timers.told(names)
        if self.outlets is not None:
            self.outlets.relay.told(names)

    async def close(self) -> None:
        """Send what waits to leave, for a moment, and close everything."""
        try:
            if self.file is not None and self.file.timers is not None:
                await self.file.timers.stop()
            if self.outlets is not None:
                await self.outlets.relay.stop()
            await self.broker.close()
            await self.store.close()
        finally:
            if self.file is not None:
                self.file.neighbours.leave()
                self.file.database.close()
