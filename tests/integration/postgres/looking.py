"""A database in which a service has been at work, the command line in this process, and another program's hands."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import psycopg
from click.testing import CliRunner, Result

from onward import App, Event, FatalError, Topic, Transaction
from onward.cli import main
from tests.integration.postgres.stage import Stage, on_stage

SCHEMA = "CREATE TABLE IF NOT EXISTS payment (place bigserial PRIMARY KEY, order_id text, cents integer)"
PAID_TWICE = "SELECT order_id, count(*) AS payments FROM payment GROUP BY order_id HAVING count(*) > 1"
ORDERS = 6

Onward = Callable[..., Result]


class Ordered(Event, type="looking.ordered", topic="looking.orders", key="order_id"):
    order_id: str
    cents: int


class Cancelled(Event, type="looking.cancelled", topic="looking.orders", key="order_id"):
    order_id: str


def payment(*, least_cents: int = 0) -> App:
    app = App("payment", schema=SCHEMA, topics=[Topic("looking.orders", partitions=2)])
    app.invariant("paid once", PAID_TWICE)

    @app.on(Ordered)
    async def take_payment(order: Ordered, tx: Transaction) -> None:
        if order.cents < least_cents:
            raise FatalError("nobody pays less than nothing")
        await tx.execute("INSERT INTO payment (order_id, cents) VALUES (:o, :c)", o=order.order_id, c=order.cents)

    @app.on(Cancelled)
    async def note_cancellation(order: Cancelled, tx: Transaction) -> None:
        await tx.execute("SELECT 1")

    return app


def handle(url: str, app: App, *events: Event) -> None:
    """Publish, and handle everything there is."""

    async def scene(stage: Stage) -> None:
        async with stage.running(app):
            await stage.publish(*events)
            await stage.settled()

    on_stage(url, scene)


def handle_orders(url: str) -> None:
    """Six events: four orders are paid, one is a dead letter, one is cancelled."""
    orders = [Ordered(order_id=f"o{n}", cents=100 * n) for n in range(4)]
    handle(url, payment(), *orders, Ordered(order_id="bad", cents=-1), Cancelled(order_id="o1"))


def command_line(url: str) -> Onward:
    """Commands on one store, in this process."""

    def invoke(*arguments: str) -> Result:
        return CliRunner().invoke(main, [*arguments, "--store", url], catch_exceptions=False)

    return invoke


def change(url: str, sql: str, *parameters: object) -> None:
    """What another program does to the database."""
    with psycopg.connect(url) as connection:
        assert connection.execute(sql.encode(), parameters).rowcount >= 1, "the damage must have been done"


def park(url: str, handler: str) -> None:
    """Of two events that it did, make the first a dead letter and park the second behind it."""
    change(
        url,
        'INSERT INTO onward.dead_letter (subscription, partition, "offset", handler, state, cause, error, detail,'
        " fingerprint, attempts, first_at, died_at, event_id, event_type, event_version, event_source, event_time,"
        " event_key) SELECT subscription, partition, 1000, handler, 'dead', 'fatal', 'no', '', '', 1, now(), now(),"
        " 'e', 'x', 1, '', now(), 'parked' FROM onward.tally WHERE handler = %s AND succeeded >= 2 LIMIT 1",
        handler,
    )
    change(
        url,
        "INSERT INTO onward.blocked (subscription, handler, key, partition, letter, waiting)"
        " SELECT subscription, handler, event_key, partition, id, 1 FROM onward.dead_letter"
        " WHERE event_key = 'parked'",
    )
    change(
        url,
        'INSERT INTO onward.parked (blocked, partition, "offset", event_id, event_type, event_version, event_source,'
        " event_time) SELECT id, partition, 1001, 'f', 'x', 1, '', now() FROM onward.blocked",
    )
    change(
        url,
        "UPDATE onward.tally SET succeeded = succeeded - 2, dead = dead + 1 WHERE (subscription, partition, handler) ="
        " (SELECT subscription, partition, handler FROM onward.blocked)",
    )


def rows(url: str, sql: str) -> Sequence[tuple[object, ...]]:
    with psycopg.connect(url) as connection:
        return connection.execute(sql.encode()).fetchall()
