"""The storefront service: keeps each order's journey, and stock levels, from what the other services say.

It asks nobody anything. Orders get into its tables by `FrontDesk.place`, in the transaction that publishes them.
"""

import time
from dataclasses import replace

import msgspec

from onward import App, Transaction
from onward.blueprints.shop.events import (
    DeliveryShelved,
    OutOfStock,
    PaymentDeclined,
    PaymentRefunded,
    PaymentTaken,
    PaymentVoided,
    PointsEarned,
    ShipmentAbandoned,
    ShipmentDispatched,
    ShipmentOpened,
    StockLevel,
    StockReleased,
    StockReserved,
)
from onward.blueprints.shop.journey import Step, step_of

CHANNEL = "web"

SCHEMA = """
CREATE TABLE IF NOT EXISTS storefront_counter (
    name TEXT PRIMARY KEY,
    value BIGINT NOT NULL
);
CREATE TABLE IF NOT EXISTS storefront_level (
    sku TEXT PRIMARY KEY,
    free BIGINT NOT NULL,
    revision BIGINT NOT NULL
);
CREATE TABLE IF NOT EXISTS storefront_order (
    number BIGINT PRIMARY KEY,
    order_id TEXT NOT NULL UNIQUE,
    customer TEXT NOT NULL,
    placed_at_ms BIGINT NOT NULL,
    total_e4 BIGINT NOT NULL,
    lines TEXT NOT NULL,
    steps TEXT NOT NULL,
    revision BIGINT NOT NULL
);
CREATE INDEX IF NOT EXISTS storefront_order_revision ON storefront_order (revision);
"""

app = App("storefront", schema=SCHEMA)


@app.on(
    StockReserved,
    OutOfStock,
    StockReleased,
    PaymentTaken,
    PaymentDeclined,
    PaymentVoided,
    PaymentRefunded,
    ShipmentOpened,
    ShipmentDispatched,
    ShipmentAbandoned,
    PointsEarned,
)
async def note_step(
    fact: StockReserved
    | OutOfStock
    | StockReleased
    | PaymentTaken
    | PaymentDeclined
    | PaymentVoided
    | PaymentRefunded
    | ShipmentOpened
    | ShipmentDispatched
    | ShipmentAbandoned
    | PointsEarned,
    tx: Transaction,
) -> None:
    """Add a step to the journey of an order that was placed here; other channels' orders are none of ours."""
    match fact:
        case StockReserved(levels=levels) | StockReleased(levels=levels) | OutOfStock(short=levels):
            await _note_levels(tx, levels)
    if fact.channel != CHANNEL:
        return
    found = await tx.execute(
        "SELECT placed_at_ms, steps FROM storefront_order WHERE order_id = :order_id", order_id=fact.order_id
    )
    step = step_of(fact)
    if not found.rows or step is None:
        return
    placed_at_ms, text = found.rows[0]
    steps = msgspec.json.decode(text, type=list[Step])
    steps.append(replace(step, after_ms=max(0, now_ms() - placed_at_ms)))
    await tx.submit(
        "UPDATE storefront_order SET steps = :steps, revision = :revision WHERE order_id = :order_id",
        steps=msgspec.json.encode(steps).decode(),
        revision=await next_value(tx, "revision"),
        order_id=fact.order_id,
    )


@app.on(DeliveryShelved)
async def note_delivery(delivery: DeliveryShelved, tx: Transaction) -> None:
    """Note what can be ordered since a delivery."""
    await _note_levels(tx, delivery.levels)


async def next_value(tx: Transaction, counter: str) -> int:
    """The counter's next value, from 1; no two transactions get the same."""
    value = await tx.execute(
        "INSERT INTO storefront_counter (name, value) VALUES (:name, 1)"
        " ON CONFLICT (name) DO UPDATE SET value = storefront_counter.value + 1 RETURNING value",
        name=counter,
    )
    return int(value.scalar())


def now_ms() -> int:
    """Milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


async def _note_levels(tx: Transaction, levels: list[StockLevel]) -> None:
    """Keep the newest level of each product: facts about different orders may come in any order."""
    for level in levels:
        await tx.submit(
            "INSERT INTO storefront_level (sku, free, revision) VALUES (:sku, :free, :revision)"
            " ON CONFLICT (sku) DO UPDATE SET free = :free, revision = :revision"
            " WHERE storefront_level.revision < :revision",
            sku=level.sku,
            free=level.free,
            revision=level.revision,
        )
