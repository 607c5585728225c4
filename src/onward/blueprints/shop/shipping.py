"""The shipping service: opens a parcel for every order, and sends it when goods and payment are both there.

The order, its stock and its payment come on three topics in any order, so a parcel's row is made by whichever
comes first; and it is settled, one way and once, by whichever comes last.
"""

from onward import App, Transaction
from onward.blueprints.shop.events import (
    OrderCancelled,
    OrderFact,
    OrderPlaced,
    OutOfStock,
    PaymentDeclined,
    PaymentTaken,
    ShipmentAbandoned,
    ShipmentDispatched,
    ShipmentOpened,
    StockReserved,
)
from onward.blueprints.shop.lines import Kind

SCHEMA = """
CREATE TABLE IF NOT EXISTS shipping_parcel (
    channel TEXT NOT NULL,
    order_id TEXT NOT NULL,
    state TEXT NOT NULL DEFAULT 'open',
    units BIGINT NOT NULL DEFAULT 0,
    country TEXT NOT NULL DEFAULT '',
    placed INTEGER NOT NULL DEFAULT 0,
    reserved INTEGER NOT NULL DEFAULT 0,
    paid INTEGER NOT NULL DEFAULT 0,
    short INTEGER NOT NULL DEFAULT 0,
    declined INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (channel, order_id)
);
CREATE TABLE IF NOT EXISTS shipping_return (
    channel TEXT NOT NULL,
    cancellation_id TEXT NOT NULL,
    units BIGINT NOT NULL,
    times INTEGER NOT NULL,
    PRIMARY KEY (channel, cancellation_id)
);
CREATE TABLE IF NOT EXISTS shipping_books (
    channel TEXT NOT NULL,
    entry TEXT NOT NULL,
    parcels BIGINT NOT NULL,
    units BIGINT NOT NULL,
    PRIMARY KEY (channel, entry)
);
"""

GOODS = (Kind.SALE, Kind.GIVEAWAY)

app = App("shipping", schema=SCHEMA)


@app.on(OrderPlaced)
async def open_parcel(
    order: OrderPlaced, tx: Transaction
) -> list[ShipmentOpened | ShipmentDispatched | ShipmentAbandoned]:
    """Open a parcel for the goods of the order; an order that only adjusts the books needs none."""
    units = sum(line.quantity for line in order.lines if line.kind in GOODS)
    await tx.submit(
        "INSERT INTO shipping_parcel (channel, order_id, units, country, placed)"
        " VALUES (:channel, :order_id, :units, :country, 1)"
        " ON CONFLICT (channel, order_id) DO UPDATE SET units = :units, country = :country,"
        " placed = shipping_parcel.placed + 1",
        channel=order.channel,
        order_id=order.order_id,
        units=units,
        country=order.country,
    )
    if units == 0:
        return []
    opened = ShipmentOpened(channel=order.channel, order_id=order.order_id, units=units)
    settled = await _settle(tx, order)
    return [opened, settled] if settled is not None else [opened]


@app.on(StockReserved)
async def add_goods(fact: StockReserved, tx: Transaction) -> ShipmentDispatched | ShipmentAbandoned | None:
    """Note that the goods are there."""
    return await _hear(tx, fact, reserved=1)


@app.on(PaymentTaken)
async def add_payment(fact: PaymentTaken, tx: Transaction) -> ShipmentDispatched | ShipmentAbandoned | None:
    """Note that the order is paid."""
    return await _hear(tx, fact, paid=1)


@app.on(OutOfStock)
async def note_shortage(fact: OutOfStock, tx: Transaction) -> ShipmentDispatched | ShipmentAbandoned | None:
    """Note that the goods will not come."""
    return await _hear(tx, fact, short=1)


@app.on(PaymentDeclined)
async def note_refusal(fact: PaymentDeclined, tx: Transaction) -> ShipmentDispatched | ShipmentAbandoned | None:
    """Note that the order will not be paid."""
    return await _hear(tx, fact, declined=1)


@app.on(OrderCancelled)
async def expect_return(cancelled: OrderCancelled, tx: Transaction) -> None:
    """Count a parcel that comes back."""
    units = sum(line.quantity for line in cancelled.lines)
    await tx.submit(
        "INSERT INTO shipping_return (channel, cancellation_id, units, times) VALUES (:channel, :id, :units, 1)"
        " ON CONFLICT (channel, cancellation_id) DO UPDATE SET times = shipping_return.times + 1",
        channel=cancelled.channel,
        id=cancelled.cancellation_id,
        units=units,
    )
    await _book(tx, cancelled.channel, "returned", units)


async def _hear(
    tx: Transaction, fact: OrderFact, *, reserved: int = 0, paid: int = 0, short: int = 0, declined: int = 0
) -> ShipmentDispatched | ShipmentAbandoned | None:
    """Add to what is known of a parcel, which may be the first that is heard of it; then settle it."""
    await tx.submit(
        "INSERT INTO shipping_parcel (channel, order_id, reserved, paid, short, declined)"
        " VALUES (:channel, :order_id, :reserved, :paid, :short, :declined)"
        " ON CONFLICT (channel, order_id) DO UPDATE SET reserved = shipping_parcel.reserved + :reserved,"
        " paid = shipping_parcel.paid + :paid, short = shipping_parcel.short + :short,"
        " declined = shipping_parcel.declined + :declined",
        channel=fact.channel,
        order_id=fact.order_id,
        reserved=reserved,
        paid=paid,
        short=short,
        declined=declined,
    )
    return await _settle(tx, fact)


async def _settle(tx: Transaction, fact: OrderFact) -> ShipmentDispatched | ShipmentAbandoned | None:
    """Send or abandon an open parcel if what is known of it is enough to do so."""
    of = {"channel": fact.channel, "order_id": fact.order_id}
    parcel = await tx.execute(
        "SELECT state, units, country, placed, reserved, paid, short, declined FROM shipping_parcel"
        " WHERE channel = :channel AND order_id = :order_id",
        **of,
    )
    state, units, country, placed, reserved, paid, short, declined = parcel.one()
    if state != "open" or not placed or not units:
        return None
    if short or declined:
        reason = "goods and payment were refused" if short and declined else None
        reason = reason or ("the goods are out of stock" if short else "the payment was declined")
        await _close(tx, fact, "abandoned", units)
        return ShipmentAbandoned(**of, reason=reason)
    if reserved and paid:
        await _close(tx, fact, "dispatched", units)
        return ShipmentDispatched(**of, units=units, country=country)
    return None


async def _close(tx: Transaction, fact: OrderFact, state: str, units: int) -> None:
    await tx.submit(
        "UPDATE shipping_parcel SET state = :state WHERE channel = :channel AND order_id = :order_id",
        state=state,
        channel=fact.channel,
        order_id=fact.order_id,
    )
    await _book(tx, fact.channel, state, units)


async def _book(tx: Transaction, channel: str, entry: str, units: int) -> None:
    await tx.submit(
        "INSERT INTO shipping_books (channel, entry, parcels, units) VALUES (:channel, :entry, 1, :units)"
        " ON CONFLICT (channel, entry) DO UPDATE SET parcels = shipping_books.parcels + 1,"
        " units = shipping_books.units + :units",
        channel=channel,
        entry=entry,
        units=units,
    )


app.invariant(
    "no parcel leaves without its goods and its payment",
    "SELECT channel, order_id, reserved, paid, short, declined FROM shipping_parcel WHERE state = 'dispatched'"
    " AND (reserved = 0 OR paid = 0 OR short > 0 OR declined > 0)",
)
app.invariant(
    "every fact about an order is heard of once",
    "SELECT channel, order_id, placed, reserved, paid, short, declined FROM shipping_parcel"
    " WHERE placed > 1 OR reserved > 1 OR paid > 1 OR short > 1 OR declined > 1"
    " UNION ALL SELECT channel, cancellation_id, times, 0, 0, 0, 0 FROM shipping_return WHERE times <> 1",
)
app.invariant(
    "the books hold what the parcels hold",
    "SELECT channel, entry, SUM(parcels) AS parcels, SUM(units) AS units FROM"
    " (SELECT channel, entry, parcels, units FROM shipping_books WHERE entry <> 'returned'"
    " UNION ALL SELECT channel, state, -1, -units FROM shipping_parcel WHERE state <> 'open') moves"
    " GROUP BY channel, entry HAVING SUM(parcels) <> 0 OR SUM(units) <> 0",
)
