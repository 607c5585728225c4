"""A fourth service, not part of the shop when it opens: a point for each whole pound paid.

`onward run onward.blueprints.shop.loyalty:app` joins a running shop; nothing else is restarted. It begins with
the oldest payment still retained, so customers get points for what they bought before it existed; with
`--start now` they get them from then on.
"""

from onward import App, Transaction
from onward.blueprints.shop.events import PaymentRefunded, PaymentTaken, PointsEarned

SCHEMA = """
CREATE TABLE IF NOT EXISTS loyalty_account (
    customer_id TEXT PRIMARY KEY,
    points BIGINT NOT NULL DEFAULT 0,
    earned BIGINT NOT NULL DEFAULT 0,
    withdrawn BIGINT NOT NULL DEFAULT 0,
    payments BIGINT NOT NULL DEFAULT 0
);
"""

app = App("loyalty", schema=SCHEMA)


@app.on(PaymentTaken)
async def earn_points(taken: PaymentTaken, tx: Transaction) -> PointsEarned | None:
    """Credit a known customer; payments without a customer, and credits, earn nothing."""
    points = int(taken.amount)
    if taken.customer_id is None or points <= 0:
        return None
    balance = await tx.execute(
        "INSERT INTO loyalty_account (customer_id, points, earned, payments) VALUES (:customer, :points, :points, 1)"
        " ON CONFLICT (customer_id) DO UPDATE SET points = loyalty_account.points + :points,"
        " earned = loyalty_account.earned + :points, payments = loyalty_account.payments + 1 RETURNING points",
        customer=taken.customer_id,
        points=points,
    )
    return PointsEarned(
        channel=taken.channel,
        order_id=taken.order_id,
        customer_id=taken.customer_id,
        points=points,
        balance=balance.scalar(),
    )


@app.on(PaymentRefunded)
async def withdraw_points(refunded: PaymentRefunded, tx: Transaction) -> None:
    """Take the points of a refund back; a balance may go below zero."""
    points = int(refunded.amount)
    if refunded.customer_id is None or points <= 0:
        return
    await tx.submit(
        "INSERT INTO loyalty_account (customer_id, points, withdrawn) VALUES (:customer, -:points, :points)"
        " ON CONFLICT (customer_id) DO UPDATE SET points = loyalty_account.points - :points,"
        " withdrawn = loyalty_account.withdrawn + :points",
        customer=refunded.customer_id,
        points=points,
    )


app.invariant(
    "points are what was earned less what was withdrawn",
    "SELECT customer_id, points, earned, withdrawn FROM loyalty_account WHERE points <> earned - withdrawn",
)
