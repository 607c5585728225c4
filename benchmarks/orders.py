"""The events and services under measurement, and how their effects are counted from outside."""

import os
from collections.abc import Iterator
from contextlib import closing
from decimal import Decimal
from pathlib import Path

import apsw

from onward import App, Event, Retention, Topic, Transaction

BATCH = 1000
SKUS = 100
FREE = 1_000_000_000  # of each, as SCHEMA has it
QUANTITY = 2
SCHEMA = (
    "CREATE TABLE IF NOT EXISTS stock (sku TEXT PRIMARY KEY, free INTEGER NOT NULL) WITHOUT ROWID",
    "WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 99)"
    " INSERT OR IGNORE INTO stock SELECT 'sku' || i, 1000000000 FROM n",
)
TAKE = "UPDATE stock SET free = free - :n WHERE sku = :sku AND free >= :n"
ORDERS = Topic("orders", partitions=4, retention=Retention(backlog_bytes=1 << 40, bytes=1 << 40))
STOCK = Topic("stock", partitions=4)


class OrderPlaced(Event, type="bench.order_placed", topic="orders", key="order_id"):
    order_id: str
    sku: str
    quantity: int
    total: Decimal


class StockReserved(Event, type="bench.stock_reserved", topic="stock", key="order_id"):
    order_id: str


async def look(order: OrderPlaced, tx: Transaction) -> None:
    """Takes the typed event and does nothing with it."""


async def take(order: OrderPlaced, tx: Transaction) -> None:
    """One UPDATE."""
    await tx.execute(TAKE, n=order.quantity, sku=order.sku)


async def reserve(order: OrderPlaced, tx: Transaction) -> StockReserved:
    """One UPDATE and one event."""
    await tx.execute(TAKE, n=order.quantity, sku=order.sku)
    return StockReserved(order_id=order.order_id)


HANDLERS = {"look": look, "take": take, "reserve": reserve}


def file_in(folder: Path) -> Path:
    return folder / "onward.db"


def service(folder: Path, handler: str = "") -> App:
    """The service with one of HANDLERS, or with none, to publish."""
    app = App("inventory", store=f"sqlite:///{file_in(folder)}", schema=SCHEMA, topics=(ORDERS, STOCK))
    if handler:
        app.on(OrderPlaced)(HANDLERS[handler])
    return app


def orders(count: int) -> Iterator[list[OrderPlaced]]:
    """`count` orders, in lists of BATCH."""
    for begin in range(0, count, BATCH):
        yield [order(number) for number in range(begin, min(begin + BATCH, count))]


def order(number: int) -> OrderPlaced:
    return OrderPlaced(
        order_id=f"order-{number:08d}", sku=f"sku{number % SKUS}", quantity=QUANTITY, total=Decimal("19.99")
    )


async def fill(folder: Path, count: int, handler: str = "look") -> None:
    """Register topics and handler, and write a backlog."""
    app = service(folder, handler)
    async with app.lifespan():
        pass
    writer = service(folder)
    for batch in orders(count):
        await writer.publish(*batch)
    await writer.close()


def ask(folder: Path, sql: str, *parameters: str | int) -> int:
    """One number, by a connection of its own."""
    with closing(apsw.Connection(str(file_in(folder)), flags=apsw.SQLITE_OPEN_READONLY)) as connection:
        connection.set_busy_timeout(2000)
        ((value,),) = connection.execute(sql, parameters).fetchall()
    assert isinstance(value, int)
    return value


def taken(folder: Path) -> int:
    """How many orders took effect on the stock."""
    return ask(folder, "SELECT sum(? - free) / ? FROM stock", FREE, QUANTITY)


def logged(folder: Path, topic: str) -> int:
    """How many events a topic's log holds."""
    return ask(
        folder,
        "SELECT count(*) FROM onward_log JOIN onward_lane l ON l.id = pos >> 40"
        " JOIN onward_topic t ON t.id = l.topic WHERE t.name = ?",
        topic,
    )


def passed(folder: Path) -> int:
    """How far the subscriptions to the orders have come, all partitions added."""
    return ask(folder, "SELECT sum(next_offset - start_offset) FROM onward_account")


def expect(claim: str, found: int, wanted: int) -> None:
    """A figure for work that was not done is worth nothing: raises unless the counts agree."""
    if found != wanted:
        raise AssertionError(f"{claim}: {found:,} instead of {wanted:,}")


def environment() -> dict[str, str]:
    """For children: this environment without settings that would lead elsewhere."""
    return {name: value for name, value in os.environ.items() if not name.startswith("ONWARD_")}
