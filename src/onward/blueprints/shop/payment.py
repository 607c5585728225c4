"""The payment service: charges an order, and gives the money back when the goods turn out not to be there.

An order and its missing stock come on different topics, so either may be first. The counters beside the state are
plain additions: an event that took effect twice would show.
"""

from decimal import Decimal

from onward import App, Transaction
from onward.blueprints.shop.catalogue import CARD_LIMIT, DECLINED_CARD
from onward.blueprints.shop.events import (
    OrderCancelled,
    OrderPlaced,
    OutOfStock,
    PaymentDeclined,
    PaymentRefunded,
    PaymentTaken,
    PaymentVoided,
)
from onward.blueprints.shop.money import from_e4, pounds, to_e4

SCHEMA = """
CREATE TABLE IF NOT EXISTS payment_order (
    channel TEXT NOT NULL,
    order_id TEXT NOT NULL,
    state TEXT NOT NULL,
    customer_id TEXT,
    amount_e4 BIGINT NOT NULL DEFAULT 0,
    placed INTEGER NOT NULL DEFAULT 0,
    charges INTEGER NOT NULL DEFAULT 0,
    refunds INTEGER NOT NULL DEFAULT 0,
    shortages INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (channel, order_id)
);
CREATE TABLE IF NOT EXISTS payment_return (
    channel TEXT NOT NULL,
    cancellation_id TEXT NOT NULL,
    amount_e4 BIGINT NOT NULL,
    times INTEGER NOT NULL,
    PRIMARY KEY (channel, cancellation_id)
);
CREATE TABLE IF NOT EXISTS payment_books (
    channel TEXT NOT NULL,
    entry TEXT NOT NULL,
    kind TEXT NOT NULL,
    amount_e4 BIGINT NOT NULL,
    PRIMARY KEY (channel, entry, kind)
);
"""

app = App("payment", schema=SCHEMA)


@app.on(OrderPlaced)
async def take_payment(order: OrderPlaced, tx: Transaction) -> PaymentTaken | PaymentDeclined | PaymentVoided:
    """Charge the customer, unless the card says no or the goods are known to be out of stock."""
    of = {"channel": order.channel, "order_id": order.order_id}
    known = await tx.execute("SELECT state FROM payment_order WHERE channel = :channel AND order_id = :order_id", **of)
    if known.scalar() == "short_first":
        await _note_order(tx, order, state="voided", charges=0)
        return PaymentVoided(**of, amount=order.total)
    if (reason := reason_to_decline(order.payment_method, order.total)) is not None:
        await _note_order(tx, order, state="declined", charges=0)
        return PaymentDeclined(**of, amount=order.total, reason=reason)
    await _note_order(tx, order, state="taken", charges=1)
    by_kind: dict[str, Decimal] = {}
    for line in order.lines:
        by_kind[line.kind.value] = by_kind.get(line.kind.value, Decimal(0)) + line.value
    for kind, amount in by_kind.items():
        await _book(tx, order.channel, "taken", kind, to_e4(amount))
    return PaymentTaken(**of, customer_id=order.customer_id, amount=order.total)


@app.on(OutOfStock)
async def undo_payment(shortage: OutOfStock, tx: Transaction) -> PaymentRefunded | None:
    """Refund an order that was charged; or remember not to charge it."""
    of = {"channel": shortage.channel, "order_id": shortage.order_id}
    noted = await tx.execute(
        "INSERT INTO payment_order (channel, order_id, state, shortages) VALUES (:channel, :order_id, 'short_first', 1)"
        " ON CONFLICT (channel, order_id) DO UPDATE SET shortages = payment_order.shortages + 1"
        " RETURNING state, amount_e4, customer_id",
        **of,
    )
    state, amount_e4, customer_id = noted.one()
    if state != "taken":
        return None
    await tx.submit(
        "UPDATE payment_order SET state = 'refunded', refunds = refunds + 1"
        " WHERE channel = :channel AND order_id = :order_id",
        **of,
    )
    await _book(tx, shortage.channel, "refunded", "refusal", amount_e4)
    return PaymentRefunded(**of, customer_id=customer_id, amount=from_e4(amount_e4))


@app.on(OrderCancelled)
async def refund_return(cancelled: OrderCancelled, tx: Transaction) -> PaymentRefunded:
    """Give back what was paid for returned goods."""
    amount_e4 = to_e4(cancelled.total)
    await tx.submit(
        "INSERT INTO payment_return (channel, cancellation_id, amount_e4, times) VALUES (:channel, :id, :amount_e4, 1)"
        " ON CONFLICT (channel, cancellation_id) DO UPDATE SET times = payment_return.times + 1",
        channel=cancelled.channel,
        id=cancelled.cancellation_id,
        amount_e4=amount_e4,
    )
    await _book(tx, cancelled.channel, "refunded", "return", amount_e4)
    return PaymentRefunded(
        channel=cancelled.channel,
        order_id=cancelled.order_id,
        cancellation_id=cancelled.cancellation_id,
        customer_id=cancelled.customer_id,
        amount=cancelled.total,
    )


def reason_to_decline(method: str, total: Decimal) -> str | None:
    """Why a charge is refused, or None. Accounts have no limit; cards do, and one card is always refused."""
    if method == DECLINED_CARD:
        return "the bank declined the card"
    if method.startswith("card-") and total > CARD_LIMIT:
        return f"over the card limit of {pounds(CARD_LIMIT)}"
    return None


async def _note_order(tx: Transaction, order: OrderPlaced, *, state: str, charges: int) -> None:
    await tx.submit(
        "INSERT INTO payment_order (channel, order_id, state, customer_id, amount_e4, placed, charges)"
        " VALUES (:channel, :order_id, :state, :customer_id, :amount_e4, 1, :charges)"
        " ON CONFLICT (channel, order_id) DO UPDATE SET state = :state, customer_id = :customer_id,"
        " amount_e4 = :amount_e4, placed = payment_order.placed + 1, charges = payment_order.charges + :charges",
        channel=order.channel,
        order_id=order.order_id,
        state=state,
        customer_id=order.customer_id,
        amount_e4=to_e4(order.total),
        charges=charges,
    )


async def _book(tx: Transaction, channel: str, entry: str, kind: str, amount_e4: int) -> None:
    await tx.submit(
        "INSERT INTO payment_books (channel, entry, kind, amount_e4) VALUES (:channel, :entry, :kind, :amount_e4)"
        " ON CONFLICT (channel, entry, kind) DO UPDATE SET amount_e4 = payment_books.amount_e4 + :amount_e4",
        channel=channel,
        entry=entry,
        kind=kind,
        amount_e4=amount_e4,
    )


app.invariant(
    "every order is charged once",
    "SELECT channel, order_id, state, charges, placed FROM payment_order WHERE placed > 1"
    " OR charges <> CASE WHEN state IN ('taken', 'refunded') THEN 1 ELSE 0 END",
)
app.invariant(
    "every refund is given once",
    "SELECT channel, order_id, refunds, shortages FROM payment_order WHERE shortages > 1"
    " OR refunds <> CASE state WHEN 'refunded' THEN 1 ELSE 0 END"
    " UNION ALL SELECT channel, cancellation_id, times, 0 FROM payment_return WHERE times <> 1",
)
app.invariant(
    "the books hold what the orders hold",
    "SELECT channel, SUM(amount_e4) AS difference FROM"
    " (SELECT channel, CASE entry WHEN 'taken' THEN amount_e4 ELSE -amount_e4 END AS amount_e4 FROM payment_books"
    " UNION ALL SELECT channel, -amount_e4 FROM payment_order WHERE state = 'taken'"
    " UNION ALL SELECT channel, amount_e4 FROM payment_return) moves"
    " GROUP BY channel HAVING SUM(amount_e4) <> 0",
)
