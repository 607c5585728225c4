"""The inventory service: sets goods aside for an order, and puts them back when it comes to nothing.

An order and its declined payment come on different topics, so either may be first; what the order needs is told
by its state. The counters beside the state are plain additions: an event that took effect twice would show.
"""

from onward import App, Transaction
from onward.blueprints.shop.events import (
    DeliveryArrived,
    DeliveryShelved,
    OrderCancelled,
    OrderPlaced,
    OutOfStock,
    PaymentDeclined,
    StockLevel,
    StockReleased,
    StockReserved,
    StockReturned,
)
from onward.blueprints.shop.lines import units_by_sku

SCHEMA = """
CREATE TABLE IF NOT EXISTS inventory_stock (
    sku TEXT PRIMARY KEY,
    free BIGINT NOT NULL DEFAULT 0,
    delivered BIGINT NOT NULL DEFAULT 0,
    reserved BIGINT NOT NULL DEFAULT 0,
    released BIGINT NOT NULL DEFAULT 0,
    returned BIGINT NOT NULL DEFAULT 0,
    revision BIGINT NOT NULL DEFAULT 1
);
CREATE TABLE IF NOT EXISTS inventory_order (
    channel TEXT NOT NULL,
    order_id TEXT NOT NULL,
    state TEXT NOT NULL,
    units BIGINT NOT NULL DEFAULT 0,
    placed INTEGER NOT NULL DEFAULT 0,
    declined INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (channel, order_id)
);
CREATE TABLE IF NOT EXISTS inventory_held (
    channel TEXT NOT NULL,
    order_id TEXT NOT NULL,
    sku TEXT NOT NULL,
    units BIGINT NOT NULL,
    PRIMARY KEY (channel, order_id, sku)
);
CREATE TABLE IF NOT EXISTS inventory_return (
    channel TEXT NOT NULL,
    cancellation_id TEXT NOT NULL,
    units BIGINT NOT NULL,
    times INTEGER NOT NULL,
    PRIMARY KEY (channel, cancellation_id)
);
CREATE TABLE IF NOT EXISTS inventory_books (
    channel TEXT NOT NULL,
    entry TEXT NOT NULL,
    kind TEXT NOT NULL,
    units BIGINT NOT NULL,
    PRIMARY KEY (channel, entry, kind)
);
"""

app = App("inventory", schema=SCHEMA)


@app.on(OrderPlaced)
async def reserve_stock(order: OrderPlaced, tx: Transaction) -> StockReserved | OutOfStock | StockReleased:
    """Set all of an order's goods aside, or none of them."""
    of = {"channel": order.channel, "order_id": order.order_id}
    if await _state(tx, order.channel, order.order_id) == "declined_first":
        await _note_order(tx, order, state="released", units=0)
        return StockReleased(channel=order.channel, order_id=order.order_id, units=0)
    wanted = units_by_sku(order.lines)
    if not order.backorder and (short := await _short(tx, wanted)):
        await _note_order(tx, order, state="out_of_stock", units=0)
        return OutOfStock(**of, short=short)
    levels = []
    for sku, units in wanted.items():
        level = await tx.execute(
            "INSERT INTO inventory_stock (sku, free, reserved) VALUES (:sku, -:units, :units)"
            " ON CONFLICT (sku) DO UPDATE SET free = inventory_stock.free - :units,"
            " reserved = inventory_stock.reserved + :units, revision = inventory_stock.revision + 1"
            " RETURNING free, revision",
            sku=sku,
            units=units,
        )
        levels.append(StockLevel(sku, *level.one()))
        await tx.submit(
            "INSERT INTO inventory_held (channel, order_id, sku, units) VALUES (:channel, :order_id, :sku, :units)"
            " ON CONFLICT (channel, order_id, sku) DO UPDATE SET units = inventory_held.units + :units",
            sku=sku,
            units=units,
            **of,
        )
    total = sum(wanted.values())
    await _note_order(tx, order, state="reserved", units=total)
    by_kind: dict[str, int] = {}
    for line in order.lines:
        by_kind[line.kind.value] = by_kind.get(line.kind.value, 0) + line.quantity
    for kind, units in by_kind.items():
        await _book(tx, order.channel, "reserved", kind, units)
    return StockReserved(**of, units=total, levels=[] if order.backorder else levels)


@app.on(PaymentDeclined)
async def release_stock(declined: PaymentDeclined, tx: Transaction) -> StockReleased | None:
    """Free what was set aside for an order that was not paid; or remember not to set anything aside."""
    of = {"channel": declined.channel, "order_id": declined.order_id}
    state = await _state(tx, declined.channel, declined.order_id)
    state_after = {None: "declined_first", "reserved": "released"}
    await tx.submit(
        "INSERT INTO inventory_order (channel, order_id, state, declined) VALUES (:channel, :order_id, :state, 1)"
        " ON CONFLICT (channel, order_id) DO UPDATE SET state = :state, declined = inventory_order.declined + 1",
        state=state_after.get(state, state),
        **of,
    )
    if state != "reserved":
        return None
    held = await tx.execute(
        "SELECT sku, units FROM inventory_held WHERE channel = :channel AND order_id = :order_id ORDER BY sku", **of
    )
    levels = []
    for sku, units in held.rows:
        level = await tx.execute(
            "UPDATE inventory_stock SET free = free + :units, released = released + :units, revision = revision + 1"
            " WHERE sku = :sku RETURNING free, revision",
            sku=sku,
            units=units,
        )
        levels.append(StockLevel(sku, *level.one()))
    total = sum(units for _, units in held.rows)
    await tx.submit("DELETE FROM inventory_held WHERE channel = :channel AND order_id = :order_id", **of)
    await _book(tx, declined.channel, "released", "refusal", total)
    return StockReleased(**of, units=total, levels=levels)


@app.on(OrderCancelled)
async def take_back(cancelled: OrderCancelled, tx: Transaction) -> StockReturned:
    """Put returned goods back on the shelf."""
    back = units_by_sku(cancelled.lines)
    for sku, units in back.items():
        await tx.submit(
            "INSERT INTO inventory_stock (sku, free, returned) VALUES (:sku, :units, :units)"
            " ON CONFLICT (sku) DO UPDATE SET free = inventory_stock.free + :units,"
            " returned = inventory_stock.returned + :units, revision = inventory_stock.revision + 1",
            sku=sku,
            units=units,
        )
    total = sum(back.values())
    await tx.submit(
        "INSERT INTO inventory_return (channel, cancellation_id, units, times) VALUES (:channel, :id, :units, 1)"
        " ON CONFLICT (channel, cancellation_id) DO UPDATE SET times = inventory_return.times + 1",
        channel=cancelled.channel,
        id=cancelled.cancellation_id,
        units=total,
    )
    await _book(tx, cancelled.channel, "returned", "return", total)
    return StockReturned(
        channel=cancelled.channel,
        order_id=cancelled.order_id,
        cancellation_id=cancelled.cancellation_id,
        units=total,
    )


@app.on(DeliveryArrived)
async def shelve_delivery(delivery: DeliveryArrived, tx: Transaction) -> DeliveryShelved:
    """Make a delivery's goods free to be ordered."""
    levels = []
    for goods in delivery.goods:
        level = await tx.execute(
            "INSERT INTO inventory_stock (sku, free, delivered) VALUES (:sku, :units, :units)"
            " ON CONFLICT (sku) DO UPDATE SET free = inventory_stock.free + :units,"
            " delivered = inventory_stock.delivered + :units, revision = inventory_stock.revision + 1"
            " RETURNING free, revision",
            sku=goods.sku,
            units=goods.units,
        )
        levels.append(StockLevel(goods.sku, *level.one()))
    return DeliveryShelved(delivery_id=delivery.delivery_id, levels=levels)


async def _state(tx: Transaction, channel: str, order_id: str) -> str | None:
    found = await tx.execute(
        "SELECT state FROM inventory_order WHERE channel = :channel AND order_id = :order_id",
        channel=channel,
        order_id=order_id,
    )
    state: str | None = found.scalar()
    return state


async def _short(tx: Transaction, wanted: dict[str, int]) -> list[StockLevel]:
    """The products of which fewer are free than wanted."""
    short = []
    for sku, units in wanted.items():
        found = await tx.execute("SELECT free, revision FROM inventory_stock WHERE sku = :sku", sku=sku)
        free, revision = found.rows[0] if found.rows else (0, 0)
        if free < units:
            short.append(StockLevel(sku, free, revision))
    return short


async def _note_order(tx: Transaction, order: OrderPlaced, *, state: str, units: int) -> None:
    await tx.submit(
        "INSERT INTO inventory_order (channel, order_id, state, units, placed)"
        " VALUES (:channel, :order_id, :state, :units, 1)"
        " ON CONFLICT (channel, order_id) DO UPDATE SET state = :state, units = :units,"
        " placed = inventory_order.placed + 1",
        channel=order.channel,
        order_id=order.order_id,
        state=state,
        units=units,
    )


async def _book(tx: Transaction, channel: str, entry: str, kind: str, units: int) -> None:
    await tx.submit(
        "INSERT INTO inventory_books (channel, entry, kind, units) VALUES (:channel, :entry, :kind, :units)"
        " ON CONFLICT (channel, entry, kind) DO UPDATE SET units = inventory_books.units + :units",
        channel=channel,
        entry=entry,
        kind=kind,
        units=units,
    )


app.invariant(
    "stock is what came in less what went out",
    "SELECT sku, free, delivered - reserved + released + returned AS expected FROM inventory_stock"
    " WHERE free <> delivered - reserved + released + returned",
)
app.invariant(
    "no product of a delivery is oversold",
    "SELECT sku, free FROM inventory_stock WHERE delivered > 0 AND free < 0",
)
app.invariant(
    "every order is heard of once",
    "SELECT channel, order_id, placed, declined FROM inventory_order WHERE placed > 1 OR declined > 1",
)
app.invariant(
    "every return is shelved once",
    "SELECT channel, cancellation_id, times FROM inventory_return WHERE times <> 1",
)
app.invariant(
    "the books hold what the orders hold",
    "SELECT channel, SUM(units) AS difference FROM"
    " (SELECT channel, CASE entry WHEN 'reserved' THEN units ELSE -units END AS units"
    " FROM inventory_books WHERE entry <> 'returned'"
    " UNION ALL SELECT channel, -units FROM inventory_order WHERE state = 'reserved') moves"
    " GROUP BY channel HAVING SUM(units) <> 0",
)
