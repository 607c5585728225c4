"""Orders and deliveries as tests want them."""

from decimal import Decimal

from onward.blueprints.shop.events import DeliveryArrived, Goods, OrderCancelled, OrderPlaced
from onward.blueprints.shop.lines import Line

MUG = Line("mug", "Enamel mug", 2, Decimal("12.50"))


def order(
    order_id: str = "1",
    *lines: Line,
    method: str = "card-4242",
    backorder: bool = False,
    channel: str = "web",
    customer: str | None = "Ada",
) -> OrderPlaced:
    return OrderPlaced(
        channel=channel,
        order_id=order_id,
        customer_id=customer,
        country="United Kingdom",
        lines=list(lines or (MUG,)),
        payment_method=method,
        backorder=backorder,
    )


def cancellation(number: str, *lines: Line) -> OrderCancelled:
    return OrderCancelled(
        channel="web",
        order_id=number.removeprefix("C"),
        cancellation_id=number,
        customer_id="Ada",
        lines=list(lines or (MUG,)),
    )


def delivery(**units: int) -> DeliveryArrived:
    return DeliveryArrived(delivery_id="d", goods=[Goods(sku, count) for sku, count in units.items()])
