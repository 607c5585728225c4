"""The storefront's desk: stores an order and publishes it in one transaction, and reads journeys back."""

from collections.abc import Sequence
from decimal import Decimal
from uuid import uuid4

import msgspec

from onward.blueprints.shop.catalogue import PRODUCTS
from onward.blueprints.shop.events import DeliveryArrived, Goods, OrderPlaced
from onward.blueprints.shop.journey import Step, step_of
from onward.blueprints.shop.lines import Line
from onward.blueprints.shop.money import from_e4, to_e4
from onward.blueprints.shop.storefront import CHANNEL, app, next_value, now_ms
from onward.blueprints.shop.web.desk import RUSH_ORDERS, Basket, OrderView

RUSH_CHANNEL = "rush"
COUNTRY = "United Kingdom"
KEPT_ORDERS = 200
FIRST_NUMBER = 1000
VOUCHER = Line("OS-VOUCHER", "Gift voucher", 1, Decimal(10))


class FrontDesk:
    """`Desk` on the storefront's own tables. The storefront app must be open."""

    async def open_shelves(self) -> None:
        """Have the catalogue's opening stock delivered, the first time the shop opens on a store."""
        async with app.transaction() as tx:
            if await next_value(tx, "openings") == 1:
                await tx.publish(_delivery())

    async def place(self, basket: Basket) -> str:
        async with app.transaction() as tx:
            number = FIRST_NUMBER + await next_value(tx, "orders")
            order = OrderPlaced(
                channel=CHANNEL,
                order_id=f"OS-{number}",
                customer_id=basket.customer,
                country=COUNTRY,
                lines=list(basket.lines),
                payment_method=basket.payment_method,
            )
            first = step_of(order)
            await tx.submit(
                "INSERT INTO storefront_order"
                " (number, order_id, customer, placed_at_ms, total_e4, lines, steps, revision)"
                " VALUES (:number, :order_id, :customer, :now, :total_e4, :lines, :steps, :revision)",
                number=number,
                order_id=order.order_id,
                customer=basket.customer,
                now=now_ms(),
                total_e4=to_e4(order.total),
                lines=msgspec.json.encode(order.lines).decode(),
                steps=msgspec.json.encode([first]).decode(),
                revision=await next_value(tx, "revision"),
            )
            await tx.submit("DELETE FROM storefront_order WHERE number <= :number", number=number - KEPT_ORDERS)
            await tx.publish(order)
        return order.order_id

    async def rush(self) -> int:
        async with app.transaction() as tx:
            rush = await next_value(tx, "rushes")
            orders = [
                OrderPlaced(
                    channel=RUSH_CHANNEL,
                    order_id=f"RUSH-{rush}-{place}",
                    customer_id=None,
                    country=COUNTRY,
                    lines=[VOUCHER],
                    backorder=True,
                )
                for place in range(1, RUSH_ORDERS + 1)
            ]
            await tx.publish(*orders)
        return len(orders)

    async def restock(self) -> None:
        await app.publish(_delivery())

    async def orders_since(self, revision: int, limit: int) -> Sequence[OrderView]:
        found = await app.read(
            "SELECT order_id, customer, placed_at_ms, total_e4, lines, steps, revision FROM storefront_order"
            " WHERE revision > :revision ORDER BY number DESC LIMIT :limit",
            revision=revision,
            limit=limit,
        )
        return sorted(map(_view, found.rows), key=lambda order: order.revision)

    async def levels(self) -> dict[str, int]:
        found = await app.read("SELECT sku, free FROM storefront_level")
        return dict(found.rows)


def _view(row: tuple[str, str, int, int, str, str, int]) -> OrderView:
    order_id, customer, placed_at_ms, total_e4, lines, steps, revision = row
    return OrderView(
        order_id=order_id,
        customer=customer,
        placed_at_ms=placed_at_ms,
        total=from_e4(total_e4),
        lines=msgspec.json.decode(lines, type=list[Line]),
        steps=msgspec.json.decode(steps, type=list[Step]),
        revision=revision,
    )


def _delivery() -> DeliveryArrived:
    goods = [Goods(product.sku, product.opening_stock) for product in PRODUCTS]
    return DeliveryArrived(delivery_id=str(uuid4()), goods=goods)
