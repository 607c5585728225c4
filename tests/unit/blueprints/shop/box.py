"""The shop in a box: its handlers on one SQLite file in memory, events delivered by hand in any order."""

import sqlite3
from collections import deque
from collections.abc import Coroutine, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any

from onward import App, Event
from onward.blueprints.shop import inventory, loyalty, payment, shipping, storefront
from onward.events import event_type


@dataclass
class Answer:
    """`onward.Result` of sqlite3."""

    rows: list[tuple[Any, ...]]
    rowcount: int

    def one(self) -> tuple[Any, ...]:
        (row,) = self.rows
        return row

    def scalar(self) -> Any:
        return self.rows[0][0] if self.rows else None


class Tx:
    """`onward.Transaction` of sqlite3; what is published is kept in `published`."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        self.published: list[Event] = []

    async def execute(self, sql: str, /, **params: object) -> Answer:
        cursor = self.connection.execute(sql, params)
        return Answer(cursor.fetchall(), cursor.rowcount)

    async def submit(self, sql: str, /, **params: object) -> None:
        await self.execute(sql, **params)

    async def publish(self, *events: object) -> None:
        assert all(isinstance(event, Event) for event in events)
        self.published.extend(event for event in events if isinstance(event, Event))

    def savepoint(self) -> AbstractAsyncContextManager[None]:
        raise AssertionError("the shop needs no savepoints")


class Box:
    """Services that hear of events in the order a test chooses, per service and topic first come first served."""

    def __init__(self, *apps: App) -> None:
        self.apps = apps
        self.connection = sqlite3.connect(":memory:")
        self.queues: dict[tuple[str, str], deque[Event]] = {}
        self.heard: list[Event] = []
        for app in apps:
            for schema in app.schema:
                self.connection.executescript(schema)

    def close(self) -> None:
        self.connection.close()

    def publish(self, *events: Event) -> None:
        """Put events into the queue of each service that handles them."""
        for event in events:
            self.heard.append(event)
            topic = event_type(type(event)).topic
            for app in self.apps:
                if any(type(event) in _classes(handler) for handler in app.handlers):
                    self.queues.setdefault((app.name, topic), deque()).append(event)

    def waiting(self) -> list[tuple[str, str]]:
        return sorted(place for place, queue in self.queues.items() if queue)

    def deliver(self, place: tuple[str, str]) -> None:
        """Give a service its next event of a topic, and publish what it answers."""
        event = self.queues[place].popleft()
        app = next(app for app in self.apps if app.name == place[0])
        for handler in app.handlers:
            if type(event) in _classes(handler):
                answer = run(handler.function(event, Tx(self.connection)))
                self.publish(*(answer if isinstance(answer, list) else [answer] if answer is not None else []))

    def settle(self, first: Sequence[tuple[str, str]] = ()) -> None:
        """Deliver everything, `first` in that order and then whatever waits."""
        for place in first:
            self.deliver(place)
        while waiting := self.waiting():
            self.deliver(waiting[0])

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        return self.connection.execute(sql).fetchall()

    def violations(self) -> dict[str, list[tuple[Any, ...]]]:
        found = {f"{app.name}: {name}": self.rows(sql) for app in self.apps for name, sql in app.invariants.items()}
        return {name: rows for name, rows in found.items() if rows}

    def titles(self) -> list[str]:
        return [event_type(type(event)).type.removeprefix("shop.") for event in self.heard]


def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """What a coroutine returns that never waits for anything."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        return end.value
    raise AssertionError("the coroutine waited for something other than the transaction")


def _classes(handler: Any) -> set[type]:
    return {declared.cls for declared in handler.event_types}


def whole_shop() -> Box:
    return Box(inventory.app, payment.app, shipping.app, loyalty.app, storefront.app)
